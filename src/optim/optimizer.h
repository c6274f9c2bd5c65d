/* optimizer.h -- from gradients to new values.
 *
 * Optimizers and learning-rate schedules are rows of tables.  One update is:
 * norm of all gradients, clipping, the optimizer's rule over the whole parameter
 * array, gradients back to zero.  A gradient that is not finite never reaches
 * the values. */
#ifndef MG_OPTIM_OPTIMIZER_H
#define MG_OPTIM_OPTIMIZER_H

#include "nn/params.h"

typedef struct mg_optimizer_settings {
    float beta1, beta2, eps, weight_decay;
    float max_grad_norm; /* 0: no clipping */
} mg_optimizer_settings;

typedef struct mg_optimizer {
    const char *name; /* "adamw" */
    /* Update all values with gradients times grad_scale; step counts from 1. */
    void (*step)(mg_params *p, const mg_backend *b, const mg_optimizer_settings *s, float lr, float grad_scale, int64_t step);
} mg_optimizer;
const mg_optimizer *mg_optimizer_find(const char *name); /* NULL: unknown */

/* One update.  *norm: gradient norm before clipping (fp64 sum); false, and nothing but the
 * gradients changed (to zero), when it is not finite. */
bool mg_optimizer_update(const mg_optimizer *o, mg_params *p, const mg_backend *b, const mg_optimizer_settings *s, float lr,
                         int64_t step, double *norm);

/* The factor on the learning rate at update `step` (from 0) of `total`, after `warmup` updates; as in transformers. */
typedef struct mg_schedule {
    const char *name;
    double (*factor)(int64_t step, int64_t warmup, int64_t total);
} mg_schedule;
const mg_schedule *mg_schedule_find(const char *name); /* NULL: unknown */

#endif
