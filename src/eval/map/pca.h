/* pca.h -- the directions in which points differ most (principal components). */
#ifndef MG_EVAL_MAP_PCA_H
#define MG_EVAL_MAP_PCA_H

#include "base/mem.h"

enum { MG_PCA_MOST = 8 };

/* Project n points x [n, d] onto their first k principal components: y [n, k], centred.  part [k], or NULL, receives
 * the part of all variance that each explains.  The sign of a component is that its largest coefficient is positive
 * (scikit-learn's rule).  1 <= k <= MG_PCA_MOST; where the points span fewer dimensions the rest of y is 0.
 * MG_DATA: a number is not finite. */
mg_status mg_pca(const float *x, int64_t n, int64_t d, int k, double *y, double *part, mg_error *err);

#endif
