/* resample.h -- how sure is a score, and is "after" better than "before"?
 *
 * Everything stands on sums over segments (metric.h): a score of any resampled test set is a function of the sums of
 * the segments drawn.  Draws are Philox's, so one seed gives one interval. */
#ifndef MG_EVAL_METRICS_RESAMPLE_H
#define MG_EVAL_METRICS_RESAMPLE_H

#include "base/mem.h"

/* A score from the sums of `width` numbers; higher or lower may be better. */
typedef double (*mg_sum_score)(const void *context, const double *sum);

typedef struct mg_resample { /* n segments with `width` numbers each, row by row */
    const double *stats;
    size_t        n;
    int           width;
    mg_sum_score  score;
    const void   *context;
} mg_resample;

typedef struct mg_interval {
    double score, low, high, mean; /* of the whole; percentile bootstrap at 95%; mean of the resamples */
} mg_interval;

typedef struct mg_difference {
    mg_interval d;        /* of after - before */
    double      p_bootstrap; /* paired bootstrap (Koehn 2004), two-sided, as sacreBLEU computes it */
    double      p_shuffle;   /* approximate randomization (Riezler and Maxwell 2005), two-sided */
} mg_difference;

enum { MG_RESAMPLES = 1000, MG_SHUFFLES = 10000 };

double    mg_sample_score(const mg_resample *s); /* of all segments */
mg_status mg_bootstrap(const mg_resample *s, uint64_t seed, int resamples, mg_interval *out, mg_error *err);
/* Both have the same segments in the same order; `before` gives n and width. */
mg_status mg_paired_test(const mg_resample *before, const double *after, uint64_t seed, int resamples, int shuffles,
                         mg_difference *out, mg_error *err);

/* The jackknife (Quenouille 1949; Tukey 1958) for what is no function of sums: the score of all n segments, and what it is
 * without each, without[i * stride].  The interval is 1.96 standard errors to both sides, *p the two-sided normal test of no
 * difference from 0.  NaN with fewer than two segments. */
mg_interval mg_jackknife(double score, const double *without, size_t n, size_t stride, double *p);

#endif
