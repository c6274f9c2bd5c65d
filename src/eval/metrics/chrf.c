/* chrf.c -- chrF (Popovic 2015) and chrF++ (2017): F-scores of character n-grams of 1 to 6, averaged over the orders.
 *
 * White space does not count unless asked.  chrF++ adds words and pairs of words, of which punctuation at one end is
 * split off.  Of several references the one with the best F-score of the segment counts. */
#include "eval/metrics/metric.h"

#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

enum { CHAR_ORDER = 6 };

static int orders(const mg_metric *m) { return CHAR_ORDER + m->order; }

static int width(const mg_metric *m, const mg_metric_settings *s) {
    (void)s;
    return 3 * orders(m);
}

/* sum: (hypothesis, reference, matches) of each order. */
static double score(const mg_metric *m, const mg_metric_settings *s, const double *sum) {
    double total = 0, precision = 0, recall = 0, factor = (double)s->beta * s->beta;
    int    effective = 0;
    for (int i = 0; i < orders(m); i++) {
        double hyp = sum[3 * i], ref = sum[3 * i + 1], both = sum[3 * i + 2];
        double p = hyp > 0 ? both / hyp : 1e-16, r = ref > 0 ? both / ref : 1e-16, d = factor * p + r;
        total += d > 0 ? (1 + factor) * p * r / d : 1e-16;
        if (hyp > 0 && ref > 0) {
            precision += p;
            recall += r;
            effective++;
        }
    }
    if (s->eps) return 100 * total / orders(m);
    if (!effective) return 0;
    precision /= effective;
    recall /= effective;
    return precision + recall > 0 ? 100 * ((1 + factor) * precision * recall / (factor * precision + recall)) : 0;
}

/* Numbers of the characters, white space left out unless it counts. */
static bool characters(mg_scorer *s, int side, const char *text, size_t n, size_t *count) {
    if (!mg_scorer_room(s, side, n + 1)) return false;
    uint32_t c;
    size_t   len, k = 0;
    for (size_t i = 0; i < n; i += len) {
        len = mg_utf8_next(text + i, n - i, &c);
        if (s->settings.whitespace || !mg_is_blank(c)) s->ids[side][k++] = mg_intern_char(&s->intern, c);
    }
    *count = k;
    return !s->intern.failed;
}

static bool is_ascii_punctuation(char c) { return c && strchr("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", c) != NULL; }

/* Words by white space; of a longer one punctuation is cut off behind, else in front. */
static bool split_punctuation(const char *text, size_t n, mg_words *plain, mg_words *out) {
    plain->text.len = plain->at.n = out->text.len = out->at.n = 0;
    if (!mg_split_blanks(text, n, plain)) return false;
    for (size_t i = 0; i < plain->at.n; i++) {
        const char *w = plain->text.data + plain->at.span[i].at;
        size_t      len = plain->at.span[i].len, cut = 0;
        if (mg_utf8_count(w, len) > 1) cut = is_ascii_punctuation(w[len - 1]) ? len - 1 : is_ascii_punctuation(w[0]);
        if (!MG_GROW(out->at.span, out->at.cap, out->at.n + 2)) return false;
        if (cut) out->at.span[out->at.n++] = (mg_place){ .at = out->text.len, .len = cut };
        out->at.span[out->at.n++] = (mg_place){ .at = out->text.len + cut, .len = len - cut };
        mg_buf_add(&out->text, w, len);
    }
    return !out->text.failed;
}

/* Count n-grams: those of the hypothesis in tally.a; those of a reference in .b, and how many of them match. */
static void count_hypothesis(mg_intern *t, uint32_t *chain, const uint32_t *unit, size_t units, int order) {
    memcpy(chain, unit, units * sizeof *chain);
    for (int n = 1; n <= order; n++) {
        for (size_t i = 0; n > 1 && i + (size_t)n <= units; i++)
            chain[i] = mg_intern_pair(t, chain[i], unit[i + (size_t)n - 1]);
        if (t->failed) return;
        for (size_t i = 0; i + (size_t)n <= units; i++) t->tally[chain[i]].a++;
    }
}

static void count_reference(mg_intern *t, uint32_t *chain, const uint32_t *unit, size_t units, size_t hyp_units,
                            int order, uint32_t owner, double *stats) {
    memcpy(chain, unit, units * sizeof *chain);
    for (int n = 1; n <= order; n++) {
        for (size_t i = 0; n > 1 && i + (size_t)n <= units; i++)
            chain[i] = mg_intern_pair(t, chain[i], unit[i + (size_t)n - 1]);
        if (t->failed) return;
        uint32_t both = 0;
        for (size_t i = 0; i + (size_t)n <= units; i++) {
            mg_tally *x = &t->tally[chain[i]];
            if (x->owner != owner) x->owner = owner, x->b = 0;
            both += ++x->b <= x->a;
        }
        size_t k = (size_t)n, refs = units >= k ? units - k + 1 : 0;
        stats[3 * (n - 1)] = refs && hyp_units >= k ? (double)(hyp_units - k + 1) : 0;
        stats[3 * (n - 1) + 1] = (double)refs;
        stats[3 * (n - 1) + 2] = both;
    }
}

/* One kind of unit, characters or words: the hypothesis first, then every reference into stats[r]. */
typedef bool (*unit_fn)(mg_scorer *s, int side, const char *text, size_t n, size_t *count);

static bool words(mg_scorer *s, int side, const char *text, size_t n, size_t *count) {
    mg_words *w = side ? &s->reference : &s->hypothesis, plain = { 0 };
    bool      ok = split_punctuation(text, n, &plain, w) && mg_scorer_number(s, side, w);
    mg_words_free(&plain);
    *count = w->at.n;
    return ok;
}

static bool count_units(mg_scorer *s, unit_fn units, int order, const char *hypothesis, size_t len,
                        const char *const *reference, size_t references, double *stats, size_t stride) {
    size_t n, m;
    mg_intern_clear(&s->intern);
    if (!units(s, 0, hypothesis, len, &n)) return false;
    uint32_t *chain = mg_scorer_extra(s, (n + 1) * sizeof *chain);
    if (!chain) return false;
    count_hypothesis(&s->intern, chain, s->ids[0], n, order);
    for (size_t r = 0; r < references; r++) {
        if (s->intern.failed || !units(s, 1, reference[r], strlen(reference[r]), &m)) return false;
        chain = mg_scorer_extra(s, (m + 1) * sizeof *chain);
        if (!chain) return false;
        count_reference(&s->intern, chain, s->ids[1], m, n, order, (uint32_t)r + 1, stats + r * stride);
    }
    return !s->intern.failed;
}

static mg_status lower(mg_scorer *s, const char **hypothesis, size_t *n, const char *const **reference, size_t references,
                       char ***made, mg_error *err) {
    if (!s->settings.lowercase) return MG_OK;
    s->text.len = 0;
    size_t *at = mg_calloc(references + 1, sizeof *at);
    *made = mg_calloc(references, sizeof **made);
    mg_lower_text(*hypothesis, *n, &s->text);
    *n = s->text.len;
    mg_buf_char(&s->text, 0);
    for (size_t r = 0; at && r < references; r++) {
        at[r] = s->text.len;
        mg_lower_text((*reference)[r], strlen((*reference)[r]), &s->text);
        mg_buf_char(&s->text, 0);
    }
    bool ok = at && *made && !s->text.failed;
    for (size_t r = 0; ok && r < references; r++) (*made)[r] = s->text.data + at[r];
    if (ok) {
        *hypothesis = s->text.data;
        *reference = (const char *const *)*made;
    }
    free(at);
    return ok ? MG_OK : mg_fail(err, MG_NOMEM, "not enough memory for the characters of an answer");
}

static mg_status segment(mg_scorer *s, const char *hypothesis, size_t len, const char *const *reference,
                         size_t references, double *stats, mg_error *err) {
    size_t    stride = (size_t)width(s->metric, &s->settings), best = 0;
    char    **made = NULL;
    double   *all = mg_calloc(references * stride, sizeof *all), most = -1;
    mg_status st = lower(s, &hypothesis, &len, &reference, references, &made, err);
    if (st) goto done;
    if (!all || !count_units(s, characters, CHAR_ORDER, hypothesis, len, reference, references, all, stride) ||
        (s->metric->order && !count_units(s, words, s->metric->order, hypothesis, len, reference, references,
                                          all + (size_t)3 * CHAR_ORDER, stride))) {
        st = mg_fail(err, MG_NOMEM, "not enough memory for the characters of an answer");
        goto done;
    }
    for (size_t r = 0; r < references; r++) {
        double f = score(s->metric, &s->settings, all + r * stride);
        if (f > most) most = f, best = r;
    }
    memcpy(stats, all + best * stride, stride * sizeof *stats);
done:
    free(all);
    free(made);
    return st;
}

static void sign(const mg_scorer *s, mg_buf *out) {
    mg_buf_printf(out, "case:%s|eff:%s|nc:%d|nw:%d|space:%s", s->settings.lowercase ? "lc" : "mixed",
                  s->settings.eps ? "no" : "yes", CHAR_ORDER, s->metric->order, s->settings.whitespace ? "yes" : "no");
}

const mg_metric mg_metric_chrf = {
    .name = "chrf", .label = "chrF2", .scale = 100, .order = 0,
    .width = width, .segment = segment, .score = score, .sign = sign,
};
const mg_metric mg_metric_chrfpp = {
    .name = "chrf++", .label = "chrF2++", .scale = 100, .order = 2,
    .width = width, .segment = segment, .score = score, .sign = sign,
};
