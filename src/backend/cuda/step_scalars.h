/* step_scalars.h -- the numbers of an optimizer step that change from step to step, in device memory.
 *
 * A step that is captured as a CUDA graph is replayed with the same arguments; what differs must be read by
 * the kernels themselves.  The host writes the first part before a replay (one small copy); the rest lives on
 * the device: the number of updates made, the loss scale, the norm.  Order of a step:
 *
 *   square_sum = 0;  mg_cuda_square_sum into it;  mg_cuda_step_prepare;  mg_cuda_adamw_step
 *
 * A gradient that is not finite makes no update: values and moments stay, the number of updates too (as
 * torch.amp.GradScaler skips a step), and a loss scale that may grow is halved. */
#ifndef MG_BACKEND_CUDA_STEP_SCALARS_H
#define MG_BACKEND_CUDA_STEP_SCALARS_H

#include "backend/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mg_cuda_step_scalars {
    /* written by the host */
    float   lr, beta1, beta2;
    float   max_norm;   /* of the gradients, 0: no clipping */
    int32_t grow_after; /* the loss scale doubles after so many updates in a row, 0: it never changes */
    /* set once by the host, then kept by mg_cuda_step_prepare */
    float   loss_scale; /* gradients are this many times too large; 1 without scaling */
    int64_t updates;    /* made so far */
    int32_t good;       /* updates since the loss scale last changed */
    /* of this step */
    int32_t finite;     /* 0: no update */
    double  square_sum; /* of the gradients as they lie */
    double  norm;       /* of the gradients without the loss scale, before clipping */
    double  c1, c2;     /* 1 - beta^updates, with this one */
    float   grad_scale; /* clipping and loss scale in one factor */
} mg_cuda_step_scalars;

/* square_sum to everything below it; s in device memory. */
void mg_cuda_step_prepare(mg_cuda_step_scalars *s);

/* AdamW as mg_cuda_adamw does it; also writes the new values as elements into shadow (data NULL: none), whose n
 * elements stand in the order of p, and with zero_grad clears grad.  With `s` (device memory), lr, beta1, beta2,
 * c1, c2 and grad_scale come from there, and only grad is cleared when s->finite is 0. */
void mg_cuda_adamw_step(mg_adamw_args a, mg_mat shadow, bool zero_grad, const mg_cuda_step_scalars *s);

#ifdef __cplusplus
}
#endif
#endif
