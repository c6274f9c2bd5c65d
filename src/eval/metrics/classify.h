/* classify.h -- scores of labels: accuracy, precision, recall, F1 and the confusion matrix, as scikit-learn has them.
 *
 * A prediction may be missing (an answer that names no label): it is wrong, lowers its class's recall, and belongs to
 * no class's precision.  Classes that occur neither as label nor as prediction do not count in averages. */
#ifndef MG_EVAL_METRICS_CLASSIFY_H
#define MG_EVAL_METRICS_CLASSIFY_H

#include "eval/metrics/resample.h"

enum { MG_CLASSES = 60 }; /* the most that there may be */

typedef struct mg_class_scores {
    double precision, recall, f1, support;
} mg_class_scores;

typedef struct mg_classification {
    double          accuracy;
    mg_class_scores macro, weighted, micro; /* support: all items */
    mg_class_scores of[MG_CLASSES];
} mg_classification;

/* Sums are a matrix [classes][classes + 1]: gold by prediction, the last column "none". */
int  mg_confusion_width(int classes);
void mg_confusion_item(double *stats, int classes, int gold, int predicted); /* one item's; predicted -1: none */
void mg_classify(const double *sum, int classes, mg_classification *out);

/* Scores of the matrix for mg_bootstrap and mg_paired_test; the context is an int, the number of classes.  All 0..100. */
double mg_classify_accuracy(const void *classes, const double *sum);
double mg_classify_macro_f1(const void *classes, const double *sum);
double mg_classify_weighted_f1(const void *classes, const double *sum);

#endif
