/* forgetting.c -- likelihoods of texts that training was not about, before and after. */
#include "cli/forgetting.h"

#include <libintl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static mg_status no_memory(mg_error *err) { return mg_fail(err, MG_NOMEM, "no memory for a report"); }

/* One item becomes one for each of its lines. */
static mg_status cut_lines(mg_task *t, mg_error *err) {
    mg_item   whole = t->item[0];
    char     *rest = NULL;
    mg_status st = MG_OK;
    t->n = 0; /* its place is taken by the first line */
    for (char *line = strtok_r(whole.prompt, "\r\n", &rest); !st && line; line = strtok_r(NULL, "\r\n", &rest)) {
        mg_item x = { .prompt = mg_strdup(line), .category = mg_strdup(whole.category) };
        if (x.prompt && x.category && MG_GROW(t->item, t->cap, t->n + 1)) t->item[t->n++] = x;
        else {
            free(x.prompt);
            free(x.category);
            st = no_memory(err);
        }
    }
    free(whole.prompt);
    free(whole.category);
    return st;
}

static mg_status drop_short(mg_task *t, const mg_bundle *b, mg_error *err) {
    size_t    kept = 0, n = t->n;
    mg_status st = MG_OK;
    for (size_t i = 0; i < n; i++) {
        mg_ids   ids = { 0 };
        mg_item *x = &t->item[i];
        if (!st) st = mg_tokenize(b->tokenizer, x->prompt, strlen(x->prompt), MG_TOKENIZE_SPECIAL, &ids, err);
        if (!st && ids.len < 2) {
            free(x->prompt);
            free(x->category);
            *x = (mg_item){ 0 };
        } else if (kept++ != i) {
            t->item[kept - 1] = *x;
            *x = (mg_item){ 0 };
        }
        mg_ids_free(&ids);
    }
    t->n = kept;
    return st;
}

mg_status mg_forgetting_prepare(mg_task *t, const char *path, const mg_bundle *b, mg_error *err) {
    mg_status st = MG_OK;
    if (t->n == 1) st = cut_lines(t, err);
    if (!st) st = drop_short(t, b, err);
    return st || t->n ? st : mg_fail(err, MG_DATA, "%s: no line has two tokens, and less has no likelihood", path);
}

static double nll_of(const void *context, const double *sum) {
    (void)context;
    return sum[1] > 0 ? sum[0] / sum[1] : NAN;
}

mg_status mg_forgetting_measure(const mg_task *t, const mg_eval_settings *s, mg_report_text *out, mg_error *err) {
    mg_eval_result r = { 0 };
    mg_difference  d = { 0 };
    mg_status      st = mg_eval_run(t, s, &r, err);
    if (st) return st;
    mg_resample before = { .stats = r.side[1].text, .n = t->n, .width = 3, .score = nll_of }, after = before;
    after.stats = r.side[0].text;
    st = mg_paired_test(&before, r.side[0].text, s->seed, MG_RESAMPLES, 2000, &d, err);
    if (!st) {
        double tokens = 0;
        for (size_t i = 0; i < t->n; i++) tokens += r.side[0].text[3 * i + 1];
        bool one = t->n == 1; /* nothing to resample */
        *out = (mg_report_text){ .data = t->name, .signature = "nats by token, mean over all tokens; each text by itself",
                                 .texts = (double)t->n, .tokens = tokens,
                                 .before = mg_sample_score(&before), .after = mg_sample_score(&after), .difference = d.d.score,
                                 .low = one ? NAN : d.d.low, .high = one ? NAN : d.d.high, .p = one ? NAN : d.p_shuffle };
    }
    mg_eval_free(&r);
    return st;
}

void mg_forgetting_show(mg_buf *b, const mg_report_text *t, size_t n) {
    for (size_t i = 0; i < n; i++) {
        mg_buf_printf(b, gettext("%s: nll per token before %.4f, after %.4f; difference %+.4f"), t[i].data, t[i].before, t[i].after, t[i].difference);
        if (isfinite(t[i].low)) mg_buf_printf(b, " [%+.4f, %+.4f], p %.4f", t[i].low, t[i].high, t[i].p);
        mg_buf_char(b, '\n');
    }
}
