/* lowrank.h -- the first singular triplets and the first columns of QR of a weight in any storage format. */
#ifndef MG_NN_LOWRANK_H
#define MG_NN_LOWRANK_H

#include "autograd/tape.h"

/* w [O,I] ~ sum over i < r of s[i] u_i v_i^T: u [r,O] and v [r,I] with orthonormal rows, s descending.  w stays packed:
 * it is only multiplied.  Randomised subspace iteration (Halko, Martinsson & Tropp, arXiv 0909.4061); exact when w has
 * few rows or columns.  A pure function of w and the seed for one number of threads. */
mg_status mg_lowrank_svd(const mg_tensor *w, int r, uint64_t seed, float *u, float *v, float *s, mg_error *err);
/* q [r,O], rows orthonormal: the first columns of Q of w = Q R; rr [r,I]: the first rows of R. */
mg_status mg_lowrank_qr(const mg_tensor *w, int r, float *q, float *rr, mg_error *err);
/* The same triplets of the difference a - b of two weights of one shape, from the products of both. */
mg_status mg_lowrank_difference(const mg_tensor *a, const mg_tensor *b, int r, uint64_t seed, float *u, float *v, float *s, mg_error *err);

#endif
