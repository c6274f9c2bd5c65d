/* answer.c -- scores of short answers: exact match and the F1 of characters, both after NFKC; and how much of an
 * answer is said again.
 *
 * Exact match and character F1 are those of JSQuAD: white space at the ends is cut off; characters are counted as a
 * bag, white space left out.  Repetition is seq-rep-4 (Welleck et al. 2020): the part of 4-grams that occurred in the
 * answer before, over the tokenizer's words. */
#include "eval/metrics/metric.h"

#include "text/unicode.h"

#include <string.h>

enum { REPEAT_ORDER = 4 };

static mg_status normal(mg_buf *out, const char *text, size_t n, mg_error *err) {
    out->len = 0;
    text = mg_blank_head(text, &n);
    bool ok = mg_normalize(MG_NFKC, text, mg_blank_tail(text, n), out);
    mg_buf_add(out, "", 0);
    return ok && !out->failed ? MG_OK : mg_fail(err, MG_NOMEM, "not enough memory for an answer");
}

static int mean_width(const mg_metric *m, const mg_metric_settings *s) {
    (void)m, (void)s;
    return 2;
}

static double mean_score(const mg_metric *m, const mg_metric_settings *s, const double *sum) {
    (void)s;
    return sum[1] > 0 ? m->scale * sum[0] / sum[1] : 0;
}

static mg_status exact_segment(mg_scorer *s, const char *hypothesis, size_t n, const char *const *reference,
                               size_t references, double *stats, mg_error *err) {
    mg_status st = normal(&s->text, hypothesis, n, err);
    stats[0] = 0;
    stats[1] = 1;
    for (size_t r = 0; !st && r < references; r++) {
        st = normal(&s->clean[1], reference[r], strlen(reference[r]), err);
        if (!st && s->text.len == s->clean[1].len && !memcmp(s->text.data, s->clean[1].data, s->text.len))
            stats[0] = 1;
    }
    return st;
}

/* Count the characters of a normalised text on one side; how many. */
static double tally(mg_intern *t, const mg_buf *text, bool reference, double *hits) {
    uint32_t c;
    size_t   len;
    double   n = 0;
    for (size_t i = 0; i < text->len; i += len) {
        len = mg_utf8_next(text->data + i, text->len - i, &c);
        if (mg_is_blank(c)) continue;
        uint32_t id = mg_intern_char(t, c);
        if (t->failed) return 0;
        n++;
        if (!reference) t->tally[id].a++;
        else *hits += ++t->tally[id].b <= t->tally[id].a;
    }
    return n;
}

static mg_status f1_segment(mg_scorer *s, const char *hypothesis, size_t n, const char *const *reference,
                            size_t references, double *stats, mg_error *err) {
    mg_status st = normal(&s->text, hypothesis, n, err);
    stats[0] = 0;
    stats[1] = 1;
    for (size_t r = 0; !st && r < references; r++) {
        double hits = 0;
        st = normal(&s->clean[1], reference[r], strlen(reference[r]), err);
        if (st) break;
        mg_intern_clear(&s->intern);
        double hyp = tally(&s->intern, &s->text, false, &hits), ref = tally(&s->intern, &s->clean[1], true, &hits);
        double f = hyp + ref > 0 ? 2 * hits / (hyp + ref) : 1; /* two empty answers agree */
        if (f > stats[0]) stats[0] = f;
    }
    return st;
}

static mg_status repetition_segment(mg_scorer *s, const char *hypothesis, size_t n, const char *const *reference,
                                    size_t references, double *stats, mg_error *err) {
    (void)reference, (void)references;
    size_t    words, again = 0, total;
    mg_intern_clear(&s->intern);
    mg_status st = mg_scorer_words(s, 0, hypothesis, n, &words, err);
    if (st) return st;
    total = words >= REPEAT_ORDER ? words - REPEAT_ORDER + 1 : 0;
    for (size_t i = 0; i < total; i++) {
        uint32_t id = s->ids[0][i];
        for (size_t k = 1; k < REPEAT_ORDER; k++) id = mg_intern_pair(&s->intern, id, s->ids[0][i + k]);
        if (s->intern.failed) return mg_fail(err, MG_NOMEM, "not enough memory for the n-grams of an answer");
        again += s->intern.tally[id].a++ > 0;
    }
    stats[0] = total ? (double)again / (double)total : 0;
    stats[1] = 1;
    return MG_OK;
}

static void sign_normal(const mg_scorer *s, mg_buf *out) {
    (void)s;
    mg_buf_str(out, "norm:NFKC|refs:best");
}

static void sign_repetition(const mg_scorer *s, mg_buf *out) {
    mg_buf_printf(out, "n:%d|tok:", REPEAT_ORDER);
    mg_splitter_sign(s->settings.splitter, &s->work, out);
}

const mg_metric mg_metric_exact_match = {
    .name = "exact_match", .label = "Exact match", .scale = 100,
    .width = mean_width, .segment = exact_segment, .score = mean_score, .sign = sign_normal,
};
const mg_metric mg_metric_char_f1 = {
    .name = "char_f1", .label = "Character F1", .scale = 100,
    .width = mean_width, .segment = f1_segment, .score = mean_score, .sign = sign_normal,
};
const mg_metric mg_metric_repetition = {
    .name = "repetition", .label = "Repetition", .splitter = "13a", .scale = 100, .lower_is_better = true,
    .width = mean_width, .segment = repetition_segment, .score = mean_score, .sign = sign_repetition,
};
