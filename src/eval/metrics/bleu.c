/* bleu.c -- BLEU (Papineni et al. 2002): n-grams of 1 to 4 words, clipped by the reference that has most of each.
 *
 *     BLEU = BP * exp(1/N * sum_n log p_n),  BP = min(1, exp(1 - r/c))
 *
 * r is the length of the reference that is closest to the hypothesis, the shorter of two that are equally close. */
#include "eval/metrics/bleu.h"

#include <math.h>
#include <string.h>

static double empty_none(double *halves, double value, double total) {
    (void)halves, (void)value, (void)total;
    return 0;
}
static double empty_floor(double *halves, double value, double total) {
    (void)halves;
    return 100. * value / total;
}
static double empty_exp(double *halves, double value, double total) {
    (void)value;
    *halves *= 2;
    return 100. / (*halves * total);
}

const mg_smoothing mg_smoothings[] = {
    { .name = "exp", .value = NAN, .empty = empty_exp },
    { .name = "floor", .value = 0.1, .empty = empty_floor },
    { .name = "add-k", .value = 1, .adds = true, .empty = empty_none },
    { .name = "none", .value = NAN, .empty = empty_none },
    { .name = NULL },
};

const mg_smoothing *mg_smoothing_find(const char *name) {
    for (const mg_smoothing *s = mg_smoothings; s->name; s++)
        if (!strcmp(s->name, name)) return s;
    return NULL;
}

static double smooth_value(const mg_metric_settings *s, const mg_smoothing *how) {
    return isnan(s->smooth_value) ? how->value : s->smooth_value;
}

/* The precisions in percent; how many orders count. */
static int precisions(const mg_metric_settings *s, const double *sum, double *precision) {
    const mg_smoothing *how = s->smoothing ? s->smoothing : &mg_smoothings[0];
    double              value = smooth_value(s, how), halves = 1;
    int                 orders = s->max_order;
    bool                any = false;
    for (int n = 0; n < s->max_order; n++) {
        precision[n] = 0;
        any = any || sum[2 + n] > 0;
    }
    if (!any) return 0;
    for (int n = 0; n < s->max_order; n++) {
        double add = how->adds && n > 0 ? value : 0, correct = sum[2 + n] + add, total = sum[2 + s->max_order + n] + add;
        if (total == 0) break;
        if (s->effective_order) orders = n + 1;
        precision[n] = correct == 0 ? how->empty(&halves, value, total) : 100. * correct / total;
    }
    return orders;
}

static double brevity(const double *sum) {
    if (sum[0] >= sum[1]) return 1;
    return sum[0] > 0 ? exp(1 - sum[1] / sum[0]) : 0;
}

double mg_bleu_score(const mg_metric_settings *s, const double *sum) {
    double precision[MG_NGRAM_MAX], logs = 0;
    int    orders = precisions(s, sum, precision);
    if (!orders) return 0;
    for (int n = 0; n < orders; n++) logs += precision[n] == 0 ? -9999999999. : log(precision[n]);
    return brevity(sum) * exp(logs / orders);
}

static int width(const mg_metric *m, const mg_metric_settings *s) {
    (void)m;
    return 2 + 2 * s->max_order;
}

static double score(const mg_metric *m, const mg_metric_settings *s, const double *sum) {
    (void)m;
    return mg_bleu_score(s, sum);
}

/* chain[i], the number of the (n-1)-gram that begins at i, becomes that of the n-gram. */
static void longer(mg_intern *t, const uint32_t *word, uint32_t *chain, size_t words, int n) {
    for (size_t i = 0; i + (size_t)n <= words; i++) chain[i] = mg_intern_pair(t, chain[i], word[i + (size_t)n - 1]);
}

/* tally.b: the most that one reference has; .a counts, of reference `owner`. */
static void count_reference(mg_scorer *s, const uint32_t *word, uint32_t *chain, size_t words, uint32_t owner) {
    memcpy(chain, word, words * sizeof *chain);
    for (int n = 1; n <= s->settings.max_order; n++) {
        if (n > 1) longer(&s->intern, word, chain, words, n);
        if (s->intern.failed) return;
        for (size_t i = 0; i + (size_t)n <= words; i++) {
            mg_tally *t = &s->intern.tally[chain[i]];
            if (t->owner != owner) t->owner = owner, t->a = 0;
            if (++t->a > t->b) t->b = t->a;
        }
    }
}

static void match(mg_scorer *s, const uint32_t *word, uint32_t *chain, size_t words, uint32_t owner, double *stats) {
    int orders = s->settings.max_order;
    memcpy(chain, word, words * sizeof *chain);
    for (int n = 1; n <= orders; n++) {
        if (n > 1) longer(&s->intern, word, chain, words, n);
        if (s->intern.failed) return;
        uint32_t correct = 0;
        for (size_t i = 0; i + (size_t)n <= words; i++) {
            mg_tally *t = &s->intern.tally[chain[i]];
            if (t->owner != owner) t->owner = owner, t->a = 0;
            correct += ++t->a <= t->b;
        }
        stats[1 + n] = correct;
        stats[1 + orders + n] = words >= (size_t)n ? (double)(words - (size_t)n + 1) : 0;
    }
}

static mg_status segment(mg_scorer *s, const char *hypothesis, size_t len, const char *const *reference,
                         size_t references, double *stats, mg_error *err) {
    size_t    words, ref_words, best = 0;
    double    closest = -1;
    mg_status st = MG_OK;
    mg_intern_clear(&s->intern);
    st = mg_scorer_words(s, 0, hypothesis, len, &words, err);
    for (size_t r = 0; !st && r < references; r++) {
        st = mg_scorer_words(s, 1, reference[r], strlen(reference[r]), &ref_words, err);
        if (st) return st;
        uint32_t *chain = mg_scorer_extra(s, (ref_words + 1) * sizeof *chain);
        if (!chain) return mg_fail(err, MG_NOMEM, "not enough memory for the n-grams of an answer");
        count_reference(s, s->ids[1], chain, ref_words, (uint32_t)r + 1);
        double diff = fabs((double)words - (double)ref_words);
        if (closest < 0 || diff < closest || (diff == closest && ref_words < best)) {
            closest = diff;
            best = ref_words;
        }
    }
    if (st) return st;
    uint32_t *chain = mg_scorer_extra(s, (words + 1) * sizeof *chain);
    if (!chain) return mg_fail(err, MG_NOMEM, "not enough memory for the n-grams of an answer");
    stats[0] = (double)words;
    stats[1] = (double)best;
    match(s, s->ids[0], chain, words, 0, stats);
    return MG_OK;
}

static void sign(const mg_scorer *s, mg_buf *out) {
    const mg_smoothing *how = s->settings.smoothing ? s->settings.smoothing : &mg_smoothings[0];
    mg_buf_printf(out, "case:%s|eff:%s|tok:", s->settings.lowercase ? "lc" : "mixed",
                  s->settings.effective_order ? "yes" : "no");
    mg_splitter_sign(s->settings.splitter, &s->work, out);
    mg_buf_printf(out, "|smooth:%s", how->name);
    if (!isnan(how->value)) mg_buf_printf(out, "[%.2f]", smooth_value(&s->settings, how));
}

static void detail(const mg_scorer *s, const double *sum, mg_buf *out) {
    double precision[MG_NGRAM_MAX];
    precisions(&s->settings, sum, precision);
    mg_buf_str(out, ",\"precisions\":[");
    for (int n = 0; n < s->settings.max_order; n++) mg_buf_printf(out, "%s%.9g", n ? "," : "", precision[n]);
    mg_buf_printf(out, "],\"bp\":%.9g,\"sys_len\":%.0f,\"ref_len\":%.0f", brevity(sum), sum[0], sum[1]);
}

const mg_metric mg_metric_bleu = {
    .name = "bleu", .label = "BLEU", .splitter = "13a", .scale = 100,
    .width = width, .segment = segment, .score = score, .sign = sign, .detail = detail,
};
