/* resample.c -- bootstrap intervals (Efron 1979; Koehn 2004 for scores of texts) and paired tests. */
#include "eval/metrics/resample.h"

#include "base/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_WIDTH = 4096, STREAM_DRAW = 1, STREAM_SHUFFLE = 2 };

static void add(double *sum, const double *row, int width) {
    for (int k = 0; k < width; k++) sum[k] += row[k];
}

double mg_sample_score(const mg_resample *s) {
    double sum[MAX_WIDTH] = { 0 };
    MG_ASSERT(s->width <= MAX_WIDTH);
    for (size_t i = 0; i < s->n; i++) add(sum, s->stats + i * (size_t)s->width, s->width);
    return s->score(s->context, sum);
}

/* The segment that draw i of a resample takes: uniform in [0, n). */
static size_t draw(mg_rng r, size_t i, size_t n) {
    return (size_t)(((uint64_t)mg_rng_u32(r, i) * (uint64_t)n) >> 32);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void percentiles(double *value, int n, mg_interval *out) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += value[i];
    qsort(value, (size_t)n, sizeof *value, ascending);
    int cut = n / 40;
    out->low = value[cut];
    out->high = value[n - cut - 1];
    out->mean = sum / n;
}

mg_status mg_bootstrap(const mg_resample *s, uint64_t seed, int resamples, mg_interval *out, mg_error *err) {
    MG_ASSERT(s->n > 0 && s->n <= UINT32_MAX && s->width <= MAX_WIDTH && resamples > 0);
    double *value = mg_calloc((size_t)resamples, sizeof *value), sum[MAX_WIDTH];
    if (!value) return mg_fail(err, MG_NOMEM, "not enough memory for %d resamples", resamples);
    for (int b = 0; b < resamples; b++) {
        mg_rng r = { .seed = seed, .where = mg_rng_where((uint64_t)b, 0, STREAM_DRAW) };
        memset(sum, 0, (size_t)s->width * sizeof *sum);
        for (size_t i = 0; i < s->n; i++) add(sum, s->stats + draw(r, i, s->n) * (size_t)s->width, s->width);
        value[b] = s->score(s->context, sum);
    }
    mg_interval got = { .score = mg_sample_score(s) };
    percentiles(value, resamples, &got);
    free(value);
    *out = got;
    return MG_OK;
}

/* |difference - mean difference| > observed: how often chance alone gives as much. */
static double bootstrap_p(const double *value, int n, double mean_abs, double observed) {
    int more = 0;
    for (int i = 0; i < n; i++) more += fabs(value[i]) - mean_abs > fabs(observed);
    return (double)(more + 1) / (n + 1);
}

/* Swap before and after of each segment by a coin. */
static double shuffle_p(const mg_resample *before, const double *after, uint64_t seed, int shuffles, double observed) {
    double a[MAX_WIDTH], b[MAX_WIDTH];
    int    more = 0, width = before->width;
    for (int t = 0; t < shuffles; t++) {
        mg_rng   r = { .seed = seed, .where = mg_rng_where((uint64_t)t, 0, STREAM_SHUFFLE) };
        uint32_t coins[4] = { 0 };
        memset(a, 0, (size_t)width * sizeof *a);
        memset(b, 0, (size_t)width * sizeof *b);
        for (size_t i = 0; i < before->n; i++) {
            if (i % 128 == 0) mg_rng_block(r, i / 128, coins);
            bool          swap = coins[i / 32 % 4] >> (i % 32) & 1;
            const double *x = before->stats + i * (size_t)width, *y = after + i * (size_t)width;
            add(swap ? b : a, x, width);
            add(swap ? a : b, y, width);
        }
        double d = before->score(before->context, b) - before->score(before->context, a);
        more += fabs(d) >= fabs(observed) - 1e-12;
    }
    return (double)(more + 1) / (shuffles + 1);
}

mg_status mg_paired_test(const mg_resample *before, const double *after, uint64_t seed, int resamples, int shuffles,
                         mg_difference *out, mg_error *err) {
    MG_ASSERT(before->n > 0 && before->n <= UINT32_MAX && before->width <= MAX_WIDTH && resamples > 0);
    size_t  width = (size_t)before->width;
    double *value = mg_calloc((size_t)resamples, sizeof *value), a[MAX_WIDTH], b[MAX_WIDTH], mean_abs = 0;
    if (!value) return mg_fail(err, MG_NOMEM, "not enough memory for %d resamples", resamples);
    for (int k = 0; k < resamples; k++) {
        mg_rng r = { .seed = seed, .where = mg_rng_where((uint64_t)k, 0, STREAM_DRAW) };
        memset(a, 0, width * sizeof *a);
        memset(b, 0, width * sizeof *b);
        for (size_t i = 0; i < before->n; i++) {
            size_t at = draw(r, i, before->n) * width;
            add(a, before->stats + at, before->width);
            add(b, after + at, before->width);
        }
        value[k] = before->score(before->context, b) - before->score(before->context, a);
        mean_abs += fabs(value[k]) / resamples;
    }
    mg_resample     second = *before;
    mg_difference got = { 0 };
    second.stats = after;
    got.d.score = mg_sample_score(&second) - mg_sample_score(before);
    got.p_bootstrap = bootstrap_p(value, resamples, mean_abs, got.d.score);
    percentiles(value, resamples, &got.d);
    got.p_shuffle = shuffles ? shuffle_p(before, after, seed, shuffles, got.d.score) : NAN;
    free(value);
    *out = got;
    return MG_OK;
}

mg_interval mg_jackknife(double score, const double *without, size_t n, size_t stride, double *p) {
    double mean = 0, squares = 0;
    for (size_t i = 0; i < n; i++) mean += without[i * stride] / (double)n;
    for (size_t i = 0; i < n; i++) squares += (without[i * stride] - mean) * (without[i * stride] - mean);
    double deviation = n > 1 ? sqrt(squares * (double)(n - 1) / (double)n) : NAN;
    if (p) *p = deviation > 0 ? erfc(fabs(score) / deviation / sqrt(2)) : score == 0 ? 1 : n > 1 ? 0 : NAN;
    return (mg_interval){ .score = score, .low = score - 1.96 * deviation, .high = score + 1.96 * deviation, .mean = mean };
}
