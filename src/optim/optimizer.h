/* optimizer.h -- from gradients to new values.
 *
 * Optimizers are rows of a table (optim.def).  An optimizer at work
 * (mg_optim) owns named arrays of state, which are planned before there is memory, saved with a checkpoint and
 * read back.  One update is: norm of all gradients, clipping, the optimizer's rule over the parameters, gradients
 * back to zero.  A gradient that is not finite never reaches the values.
 *
 *     mg_optim_open(&o, kind, &settings, &params, err)     sizes are known: mg_optim_bytes
 *     mg_optim_allocate(o, err)                            after mg_params_seal
 *     mg_optim_update(o, lr, step, &norm)                  once a step
 *
 * Paged state lies in memory of the host that the device can copy from and to while it computes, and goes through
 * two small buffers of the device piece by piece; the arithmetic is that of the unpaged optimizer, bit for bit. */
#ifndef MG_OPTIM_OPTIMIZER_H
#define MG_OPTIM_OPTIMIZER_H

#include "nn/params.h"

/* Whose singular vectors GaLore projects on: of the smaller side, the larger one, the rows, the columns. */
typedef enum mg_galore_side { MG_GALORE_STD, MG_GALORE_REVERSE_STD, MG_GALORE_LEFT, MG_GALORE_RIGHT } mg_galore_side;

/* All optimizers' settings; each reads its own. */
typedef struct mg_optimizer_settings {
    float beta1, beta2, eps, weight_decay;
    float max_grad_norm; /* 0: no clipping */
    float ema_decay;     /* of an average of the values; 0: none */
    struct { float eta, gamma; uint64_t seed; } noise; /* on the gradients, variance eta / (1 + t)^gamma; eta 0: none */
    struct { float momentum, dampening; bool nesterov; } sgd;
    struct {
        bool  scale_parameter, relative_step, warmup_init;
        float eps1, eps2, clip_threshold, decay_rate, beta1; /* beta1 0: no first moment */
    } adafactor;
    struct {
        float momentum;
        bool  nesterov, match_rms_adamw; /* step as large as AdamW's usually is; else sqrt(max(1, rows / cols)) */
        int   ns_steps;
    } muon;
    struct { int64_t rank, gap; float scale; int side; } galore; /* side: mg_galore_side */
} mg_optimizer_settings;
/* As transformers and torch have them where the user says nothing. */
mg_optimizer_settings mg_optimizer_defaults(void);

typedef struct mg_optim mg_optim;

/* What all tensors of one update have in common; step counts from 1. */
typedef struct mg_update {
    double  lr;
    float   grad_scale; /* gradients are to be multiplied by this first */
    int64_t step;
} mg_update;

typedef struct mg_rule mg_rule;

typedef struct mg_optimizer {
    const char    *name;  /* "adamw" */
    bool           paged; /* state lies on the host */
    bool           eight; /* in block-wise 8 bits */
    const mg_rule *rule;  /* of optimizers that treat each number alone (rule.h), else NULL */
    /* Add the arrays of state (mg_optim_add_state) and ask for work memory; nothing is allocated yet. */
    mg_status (*lay_out)(mg_optim *o, mg_error *err);
    /* Prepare work memory; NULL: nothing to do. */
    void (*start)(mg_optim *o);
    /* Update all values, shadows too. */
    void (*step)(mg_optim *o, const mg_update *u);
} mg_optimizer;
const mg_optimizer *mg_optimizer_find(const char *name); /* NULL: unknown */
/* Number i of the table, in the order of optim.def; NULL behind the last. */
const mg_optimizer *mg_optimizer_at(size_t i);

/* No weight decay for biases and gains of norms, recognised by their names as transformers' trainer does it. */
void mg_optim_spare_norms(mg_params *p);

/* Plans `kind` for the tensors of p, which must not change after this and outlives it. */
mg_status mg_optim_open(mg_optim **out, const mg_optimizer *kind, const mg_optimizer_settings *s, mg_params *p, mg_error *err);
size_t    mg_optim_bytes(const mg_optim *o, const mg_device *d); /* of d's memory, once allocated there */
mg_status mg_optim_allocate(mg_optim *o, mg_error *err); /* p is sealed; the state is zero */
void      mg_optim_close(mg_optim *o); /* NULL is fine */

/* One update.  *norm: gradient norm before clipping (fp64 sum); false, and nothing but the gradients changed (to
 * zero), when it is not finite. */
bool mg_optim_update(mg_optim *o, double lr, int64_t step, double *norm);

/* The average of the values (ema_decay): after each update it moves by 1 - min(ema_decay, (1 + t) / (10 + t)) of the
 * way, so that its beginning is forgotten soon.  begin: it is what the values are.  swap: values and average change
 * places, shadows follow; twice is as before.  Without an average both do nothing. */
void mg_optim_begin_average(mg_optim *o);
void mg_optim_swap_average(mg_optim *o);

/* The state as a safetensors file, and back.  MG_MISMATCH: the file is of another optimizer or another set of
 * tensors; the state is then as it was. */
mg_status mg_optim_save(const mg_optim *o, const char *path, mg_error *err);
mg_status mg_optim_load(mg_optim *o, const char *path, mg_error *err);

#endif
