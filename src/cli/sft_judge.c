/* sft_judge.c -- rows of eval/metrics behind the trainer's interface, words split by the language of the references. */
#include "cli/sft_judge.h"

#include "eval/metrics/diversity.h"
#include "eval/metrics/metric.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

enum { TIMES = 4 }; /* "はい。はい。はい。はい。" */

static bool knows(const char *name, bool *lower_is_better) {
    const mg_metric *m = mg_metric_find(name);
    if (m && lower_is_better) *lower_is_better = m->lower_is_better;
    return m != NULL;
}

static mg_status score(const char *name, const char *const *answer, const char *const *reference, size_t n, double *out, mg_error *err) {
    mg_metric_settings settings = mg_metric_defaults();
    mg_scorer          scorer = { 0 };
    const mg_metric   *m = mg_metric_find(name);
    mg_scored         *segment = mg_calloc(n, sizeof *segment);
    double             sum[MG_METRIC_WIDTH] = { 0 }, *stats = NULL;
    const mg_splitter *words = mg_splitter_for(reference, n, "13a");
    if (!words) words = mg_splitter_find("13a");
    settings.splitter = m->splitter ? words : NULL;
    settings.ter_normalized = settings.ter_asian = words->asian;
    mg_status st = segment ? mg_scorer_open(&scorer, m, &settings, err) : mg_fail(err, MG_NOMEM, "no memory for %zu answers", n);
    size_t    width = st ? 0 : (size_t)mg_scorer_width(&scorer);
    if (!st && !(stats = mg_calloc(n, width * sizeof *stats))) st = mg_fail(err, MG_NOMEM, "no memory for %zu answers", n);
    for (size_t i = 0; !st && i < n; i++) segment[i] = (mg_scored){ answer[i], &reference[i], 1 };
    if (!st) st = mg_score_segments(&scorer, segment, n, stats, err);
    for (size_t i = 0; !st && i < n * width; i++) sum[i % width] += stats[i];
    if (!st) *out = mg_scorer_score(&scorer, sum);
    mg_scorer_close(&scorer);
    free(segment);
    free(stats);
    return st;
}

/* A single character again and again is a rule of a table, or dots; a phrase has two or more. */
static bool repeats(const char *answer, size_t *at, size_t *len) {
    mg_place place;
    size_t   n = strlen(answer), from = 0;
    while (mg_repeated_phrase(answer + from, n - from, TIMES, &place)) {
        *at = from + place.at;
        *len = place.len;
        if (place.len > (size_t)mg_utf8_width(answer[*at])) return true;
        for (from = *at; from + place.len <= n && !memcmp(answer + from, answer + *at, place.len);) from += place.len;
    }
    return false;
}

const mg_judge mg_sft_judge = {
    .knows = knows, .score = score, .repeats = repeats,
    .names = "bleu, chrf, chrf++, ter, rouge1, rouge2, rougeL, rougeLsum, exact_match, char_f1, repetition",
};
