/* agreement.h -- do several people judge alike, and how sure is a share of so many?
 *
 * Krippendorff's alpha (Krippendorff 2011, "Computing Krippendorff's alpha-reliability"): 1 - observed / expected
 * disagreement.  It takes any number of raters, of whom each may have left out what he liked; 1 is full agreement,
 * 0 what chance would give, below 0 worse than chance.  0.8 is called reliable, 0.667 the least for tentative
 * conclusions.
 *
 * Wilson's interval (1927) for a share of few trials: unlike share +- 1.96 deviations it stays within 0..1. */
#ifndef MG_EVAL_METRICS_AGREEMENT_H
#define MG_EVAL_METRICS_AGREEMENT_H

#include "base/mem.h"

typedef enum mg_level { /* how far two values are apart */
    MG_LEVEL_NOMINAL,   /* equal or not */
    MG_LEVEL_ORDINAL,   /* by the number of values given between them */
    MG_LEVEL_INTERVAL,  /* by their squared difference */
} mg_level;

/* value [raters][units], NaN: not judged.  *out is NaN where alpha is not defined: no unit with two values, or one
 * value only (nobody had a choice to disagree in). */
mg_status mg_krippendorff_alpha(const double *value, size_t raters, size_t units, mg_level level, double *out, mg_error *err);

/* The 95% interval of hits / n, 0..1; n = 0 gives 0..1. */
void mg_wilson(double hits, double n, double *low, double *high);

#endif
