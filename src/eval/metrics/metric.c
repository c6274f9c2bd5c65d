/* metric.c -- the table of metrics and what they share: opening, repairing, splitting, numbering. */
#include "eval/metrics/metric.h"

#include "base/thread.h"
#include "text/unicode.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define METRIC(x) extern const mg_metric mg_metric_##x;
#include "eval/metrics/metrics.def"
#undef METRIC

const mg_metric *const mg_metrics[] = {
#define METRIC(x) &mg_metric_##x,
#include "eval/metrics/metrics.def"
#undef METRIC
    NULL,
};

const mg_metric *mg_metric_find(const char *name) {
    for (const mg_metric *const *m = mg_metrics; *m; m++)
        if (!strcmp((*m)->name, name)) return *m;
    return NULL;
}

mg_metric_settings mg_metric_defaults(void) {
    return (mg_metric_settings){ .smooth_value = NAN, .max_order = 4, .beta = 2 };
}

mg_status mg_scorer_open(mg_scorer *out, const mg_metric *m, const mg_metric_settings *s, mg_error *err) {
    MG_ASSERT(m);
    mg_scorer one = { .metric = m, .settings = *s, .refs_min = SIZE_MAX };
    if (s->max_order < 1 || s->max_order > MG_NGRAM_MAX)
        return mg_fail(err, MG_CONFIG, "n-grams of %d words: there are 1 to %d", s->max_order, MG_NGRAM_MAX);
    if (m->splitter && !one.settings.splitter) one.settings.splitter = mg_splitter_find(m->splitter);
    mg_status st = m->splitter ? mg_splitter_open(one.settings.splitter, &one.work, err) : MG_OK;
    if (!st) *out = one;
    return st;
}

void mg_scorer_close(mg_scorer *s) {
    mg_word_work_close(&s->work);
    mg_words_free(&s->hypothesis);
    mg_words_free(&s->reference);
    mg_buf_free(&s->text);
    mg_buf_free(&s->clean[0]);
    mg_buf_free(&s->clean[1]);
    mg_intern_free(&s->intern);
    free(s->ids[0]);
    free(s->ids[1]);
    free(s->extra);
    *s = (mg_scorer){ 0 };
}

int mg_scorer_width(const mg_scorer *s) { return s->metric->width(s->metric, &s->settings); }

double mg_scorer_score(const mg_scorer *s, const double *sum) { return s->metric->score(s->metric, &s->settings, sum); }

void mg_scorer_sign(const mg_scorer *s, mg_buf *out) {
    if (s->refs_min == s->refs_max) mg_buf_printf(out, "nrefs:%zu|", s->refs_max);
    else mg_buf_str(out, "nrefs:var|");
    s->metric->sign(s, out);
    mg_buf_str(out, "|version:2.6.0+migaki");
}

static const char *repair(mg_buf *b, const char *text, size_t *n) {
    if (mg_utf8_valid(text, *n)) return text;
    b->len = 0;
    mg_utf8_lossy(b, text, *n);
    *n = b->len;
    return b->data ? b->data : "";
}

mg_status mg_score_segment(mg_scorer *s, const char *hypothesis, const char *const *reference, size_t references,
                           double *stats, mg_error *err) {
    MG_ASSERT(references > 0);
    size_t n = strlen(hypothesis);
    hypothesis = repair(&s->clean[0], hypothesis, &n);
    if (references < s->refs_min) s->refs_min = references;
    if (references > s->refs_max) s->refs_max = references;
    const char *one[16], **clean = references > 16 ? mg_calloc(references, sizeof *clean) : one;
    mg_buf      all = { 0 };
    mg_status   st = clean ? MG_OK : mg_fail(err, MG_NOMEM, "not enough memory for %zu references", references);
    /* repaired references lie one behind the other; places first, because the buffer moves while it grows */
    for (size_t i = 0; !st && i < references; i++) {
        clean[i] = reference[i];
        if (mg_utf8_valid(reference[i], strlen(reference[i]))) continue;
        clean[i] = NULL;
        mg_utf8_lossy(&all, reference[i], strlen(reference[i]));
        mg_buf_char(&all, 0);
    }
    const char *next = all.data;
    for (size_t i = 0; !st && next && i < references; i++) {
        if (clean[i]) continue;
        clean[i] = next;
        next += strlen(next) + 1;
    }
    if (!st && (all.failed || s->clean[0].failed)) st = mg_fail(err, MG_NOMEM, "not enough memory for an answer");
    if (!st) st = s->metric->segment(s, hypothesis, n, clean, references, stats, err);
    if (!st && s->intern.failed) st = mg_fail(err, MG_NOMEM, "not enough memory for the n-grams of an answer");
    mg_buf_free(&all);
    if (clean != one) free(clean);
    return st;
}

typedef struct job {
    mg_scorer        *first; /* the caller's: thread 0 works with it */
    const mg_scored *segment;
    double           *stats;
    mg_scorer        *scorer; /* [threads] */
    mg_error         *error;  /* [threads] */
} job;

static void score_range(void *context, int64_t begin, int64_t end, int thread) {
    job       *j = context;
    mg_scorer *s = thread ? &j->scorer[thread] : j->first;
    mg_error  *err = &j->error[thread];
    size_t     width = (size_t)mg_scorer_width(j->first);
    if (!s->metric && mg_scorer_open(s, j->first->metric, &j->first->settings, err)) return;
    for (int64_t i = begin; i < end && !err->status; i++)
        mg_score_segment(s, j->segment[i].hypothesis, j->segment[i].reference, j->segment[i].references,
                         j->stats + (size_t)i * width, err);
}

mg_status mg_score_segments(mg_scorer *s, const mg_scored *segment, size_t n, double *stats, mg_error *err) {
    size_t    threads = (size_t)mg_threads();
    mg_status st = MG_OK;
    job       j = { .first = s, .segment = segment, .stats = stats };
    j.scorer = mg_calloc(threads, sizeof *j.scorer);
    j.error = mg_calloc(threads, sizeof *j.error);
    if (!j.scorer || !j.error) st = mg_fail(err, MG_NOMEM, "not enough memory for %zu threads", threads);
    else mg_parallel((int64_t)n, 64, score_range, &j);
    for (size_t t = 0; j.scorer && j.error && t < threads; t++) {
        const mg_scorer *one = &j.scorer[t];
        if (one->metric && one->refs_min < s->refs_min) s->refs_min = one->refs_min;
        if (one->metric && one->refs_max > s->refs_max) s->refs_max = one->refs_max;
        if (!st && j.error[t].status) {
            st = j.error[t].status;
            if (err) *err = j.error[t];
        }
        mg_scorer_close(&j.scorer[t]);
    }
    free(j.scorer);
    free(j.error);
    return st;
}

bool mg_scorer_room(mg_scorer *s, int side, size_t n) { return MG_GROW(s->ids[side], s->cap[side], n); }

bool mg_scorer_number(mg_scorer *s, int side, const mg_words *w) {
    if (!mg_scorer_room(s, side, w->at.n + 1)) return false; /* never NULL, also without a word */
    for (size_t i = 0; i < w->at.n; i++)
        s->ids[side][i] = mg_intern_word(&s->intern, w->text.data + w->at.span[i].at, w->at.span[i].len);
    return !s->intern.failed;
}

mg_status mg_scorer_words(mg_scorer *s, int side, const char *text, size_t len, size_t *n, mg_error *err) {
    mg_words *w = side ? &s->reference : &s->hypothesis;
    len = mg_blank_tail(text, len);
    if (s->settings.lowercase) {
        s->text.len = 0;
        mg_lower_text(text, len, &s->text);
        text = s->text.data ? s->text.data : "";
        len = s->text.len;
    }
    mg_status st = mg_split_words(s->settings.splitter, &s->work, text, len, w, err);
    if (!st && (s->text.failed || !mg_scorer_number(s, side, w)))
        st = mg_fail(err, MG_NOMEM, "not enough memory for the words of a text");
    *n = st ? 0 : w->at.n;
    return st;
}

void *mg_scorer_extra(mg_scorer *s, size_t bytes) {
    if (bytes > s->extra_bytes) {
        void *p = mg_realloc(s->extra, 1, bytes);
        if (!p) return NULL;
        s->extra = p;
        s->extra_bytes = bytes;
    }
    return s->extra;
}
