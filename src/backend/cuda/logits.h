/* logits.h -- softmax over a vocabulary whose logits come in tiles of columns, each made by a GEMM.
 *
 *   for each tile:  z = h w_tile^T;  mg_cuda_logit_stats            running maximum, sum, target's logit, best id
 *   mg_cuda_logit_finish                                            log-sum-exp and log-probability
 *   for each tile:  z again;  mg_cuda_logit_slopes;  dh += z w_tile    z becomes d logp / d (h w^T)
 *
 * When a tile has the whole vocabulary (few rows at a time), mg_cuda_logit_whole does the softmax and the slopes
 * in one launch, so that z is made once.  Logits are elements of any kind; everything else is fp32.  f(z) =
 * softcap tanh(z / softcap) for softcap > 0, else z. */
#ifndef MG_BACKEND_CUDA_LOGITS_H
#define MG_BACKEND_CUDA_LOGITS_H

#include "backend/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Columns first .. first+z.cols-1 of the logits of z.rows rows, not yet capped; target[row] counts from 0 over the
 * whole vocabulary. */
typedef struct mg_cuda_logits {
    mg_mat         z;
    int64_t        first;
    const int32_t *target;
    float          softcap;
} mg_cuda_logits;

/* What is known of each row so far: [rows] each.  top_id may be NULL.  In units of log 2: `most` and `sum` belong
 * together, sum = sum of 2^(f(z) log2(e) - most). */
typedef struct mg_cuda_logit_state {
    float   *most, *sum, *at_target;
    int32_t *top_id;
} mg_cuda_logit_state;

/* Takes a tile into the state; `begin`: the state held nothing.  Tiles come in ascending order. */
void mg_cuda_logit_stats(mg_cuda_logits t, mg_cuda_logit_state s, bool begin);
/* lse[i] = log sum exp, logp[i] = f(z[target]) - lse[i]; either may be NULL or part of the state. */
void mg_cuda_logit_finish(mg_cuda_logit_state s, int64_t rows, float *logp, float *lse);
/* to = factor[i] (1[v = target] - exp(f(z) - lse[i])) f'(z); factor NULL: 1.  `to` may be z itself. */
void mg_cuda_logit_slopes(mg_cuda_logits t, mg_mat to, const float *lse, const float *factor);
/* All at once for a tile with the whole vocabulary.  to.data NULL: no slopes.  logp, lse, top_id, factor may be NULL. */
void mg_cuda_logit_whole(mg_cuda_logits t, mg_mat to, float *logp, float *lse, int32_t *top_id, const float *factor);

/* to[i] = from[row[i]], i < to.rows */
void mg_cuda_gather_rows(mg_mat to, mg_mat from, const int32_t *row);
/* to[row[i]] += factor[i] from[i], i < from.rows; no row comes twice; factor NULL: 1. */
void mg_cuda_scatter_rows(mg_mat to, mg_mat from, const int32_t *row, const float *factor);

#ifdef __cplusplus
}
#endif
#endif
