/* plan.h -- the memory of a run, known before its first step.
 *
 * The tape runs over every micro-batch that the run will see, without arithmetic
 * and without memory, and tells the arena's peak to the byte.  From that the plan
 * chooses, layer by layer, what to keep for the backward pass and what to compute
 * again: as much as fits.  If it starts, it fits. */
#ifndef MG_TRAIN_PLAN_H
#define MG_TRAIN_PLAN_H

#include "model/model.h"

typedef struct mg_memory_plan {
    size_t weights;    /* as they lie in files and copies */
    size_t adapter;    /* trainable values */
    size_t optimizer;  /* gradients and the optimizer's state */
    size_t arena;      /* activations, their gradients and work memory of the largest micro-batch */
    size_t program;    /* everything else: tokenizer, data, libraries, scratch */
    size_t total, available;
    mg_keep keep[MG_CONFIG_LAYERS];
    int     rerun_layers; /* blocks that run twice */
    int     nodes;        /* tape slots that the largest micro-batch needs */
} mg_memory_plan;

/* A source of the run's micro-batches: fills *b with number i; false: there are no more.  Training batches and,
 * marked in *evaluation, those of evaluations. */
typedef bool (*mg_plan_batch_fn)(void *context, int64_t i, mg_batch *b, bool *evaluation);

enum { MG_PLAN_AUTO, MG_PLAN_RERUN_ALL, MG_PLAN_KEEP_ALL };

/* The arena's peak over all micro-batches under one policy. */
size_t mg_plan_arena(const mg_model *m, const mg_backend *real, const mg_keep *keep, mg_plan_batch_fn batches, void *context,
                     int *nodes);

/* `state`: bytes of the optimizer's state.  `program`: bytes of everything but weights, parameters, state and arena.  `limit` 0: what the machine has to spare
 * (plan->available is filled).  The plan is complete also when it does not fit (MG_NOFIT). */
mg_status mg_plan_memory(mg_memory_plan *plan, const mg_model *m, const mg_params *p, const mg_backend *real, int policy,
                         size_t state, size_t program, size_t limit, mg_plan_batch_fn batches, void *context, mg_error *err);

#endif
