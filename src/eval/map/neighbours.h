/* neighbours.h -- who is near whom: exact nearest neighbours, and whether a picture keeps them.
 *
 * Distances are Euclidean.  A result does not depend on the number of threads. */
#ifndef MG_EVAL_MAP_NEIGHBOURS_H
#define MG_EVAL_MAP_NEIGHBOURS_H

#include "base/mem.h"

/* The k nearest of each of n points x [n, d], itself left out: index [n, k] and squared distance2 [n, k], ascending,
 * of equals the lower index first.  1 <= k < n.  MG_DATA: a number is not finite. */
mg_status mg_neighbours(const float *x, int64_t n, int64_t d, int64_t k, int32_t *index, double *distance2, mg_error *err);

/* Trustworthiness (Venna and Kaski 2001) of the picture y [n, 2] of x [n, d]: 1 when the k nearest in the picture are
 * near in truth, less the farther they are; as scikit-learn's.  1 <= k < n / 2, else MG_CONFIG. */
mg_status mg_trustworthiness(const float *x, int64_t n, int64_t d, const double *y, int64_t k, double *out, mg_error *err);

#endif
