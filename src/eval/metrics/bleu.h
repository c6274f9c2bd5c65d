/* bleu.h -- BLEU's smoothing methods, and the score from counts alone. */
#ifndef MG_EVAL_METRICS_BLEU_H
#define MG_EVAL_METRICS_BLEU_H

#include "eval/metrics/metric.h"

/* Chen and Cherry (2014).  What an order without a match gets: `halves` doubles for each such order, from 1. */
struct mg_smoothing {
    const char *name;
    double      value; /* default, NaN: takes none */
    bool        adds;  /* the value is added to counts and totals from 2-grams on */
    double (*empty)(double *halves, double value, double total); /* precision in percent */
};
extern const mg_smoothing mg_smoothings[]; /* the last has no name */
const mg_smoothing *mg_smoothing_find(const char *name);

/* `sum`: length of the hypotheses, of the closest references, n matches, n totals (n = max_order). */
double mg_bleu_score(const mg_metric_settings *s, const double *sum);

#endif
