/* eval_options.c -- from options to the settings of a metric. */
#include "cli/eval_options.h"

#include <math.h>
#include <string.h>

static const char *const smoothings[] = { "exp", "none", "floor", "add-k" }; /* in the order of the choices */

static mg_status known_splitter(const char *option, const char *name, mg_error *err) {
    return !name || mg_splitter_find(name)
               ? MG_OK : mg_fail(err, MG_CONFIG, "%s %s: there are 13a, intl, zh, char, ja-mecab, none and rouge", option, name);
}

mg_status mg_metric_options_check(const mg_metric_options *o, mg_error *err) {
    mg_status st = known_splitter("tokenize", o->tokenize, err);
    if (!st) st = known_splitter("rouge_tokenize", o->rouge_tokenize, err);
    if (!st && o->smooth_value >= 0 && isnan(mg_smoothing_find(smoothings[o->smooth_method])->value))
        st = mg_fail(err, MG_CONFIG, "smooth_value: smoothing '%s' takes none; floor and add-k do", smoothings[o->smooth_method]);
    return st;
}

static bool chosen(int option, bool otherwise) { return option ? option == 1 : otherwise; }

mg_metric_settings mg_metric_options_settings(const mg_metric_options *o, bool asian) {
    mg_metric_settings s = mg_metric_defaults();
    s.lowercase = o->lowercase;
    s.smoothing = mg_smoothing_find(smoothings[o->smooth_method]);
    if (o->smooth_value >= 0) s.smooth_value = o->smooth_value;
    s.max_order = (int)o->max_order;
    s.effective_order = o->effective_order;
    s.beta = (int)o->beta;
    s.whitespace = o->whitespace;
    s.eps = o->eps;
    s.ter_normalized = chosen(o->ter_normalized, asian);
    s.ter_asian = chosen(o->ter_asian, asian);
    s.ter_no_punct = o->no_punct;
    s.ter_case = o->ter_case;
    s.rouge_part = o->rouge_score;
    return s;
}
