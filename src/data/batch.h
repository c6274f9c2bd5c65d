/* batch.h -- which samples make up which step: a pure function of the data, the seed and the epoch.
 *
 * Nothing is drawn from a stream with a state, so a resumed run reproduces the batches of the one that it goes on
 * with by making the same plan again.  A micro-batch is a list of samples laid end to end, without padding; each
 * stays a sequence of its own. */
#ifndef MG_DATA_BATCH_H
#define MG_DATA_BATCH_H

#include "data/dataset.h"

typedef struct mg_batch_options {
    uint64_t seed;
    bool     shuffle;
    bool     packing;                     /* fill micro-batches up to batch_size * max_length tokens */
    int32_t  batch_size;                  /* samples of a micro-batch on one device, without packing; >= 1 */
    int32_t  gradient_accumulation_steps; /* micro-batches of an optimizer step; 0 is 1 */
    int32_t  max_length;                  /* tokens; with packing > 0 */
    double   part;                        /* only so much of the data, 0 < part < 1; 0 and 1: all.  A smaller part is in
                                             every larger one of the same seed */
} mg_batch_options;

typedef struct mg_epoch {
    uint32_t *order; /* [n] indices into the data set, in the order in which they are used; each at most once */
    size_t    n;
    uint32_t *micro_start; /* [n_micro + 1] micro-batch i is order[micro_start[i] .. micro_start[i + 1]) */
    size_t    n_micro;
    size_t    n_steps; /* optimizer steps; the last may have fewer micro-batches */
    int32_t   accumulation;
} mg_epoch;

/* MG_CONFIG: options out of range. */
mg_status mg_plan_epoch(mg_epoch *out, const mg_dataset *d, const mg_batch_options *o, uint64_t epoch,
                        mg_error *err);
void      mg_epoch_free(mg_epoch *e);

/* A part of the data set that is drawn from on its own: samples first .. first+n-1, with a share of each epoch. */
typedef struct mg_portion {
    size_t first, n;
    double part; /* of an epoch's samples; all together 1 */
} mg_portion;
/* An epoch of several shares.  It has as many samples as the data set; what a share gives goes on in the next epoch where
 * this one stopped, so over a long run each of its samples comes equally often.  Every micro-batch is of one share,
 * because it has one loss; their order is drawn, too. */
mg_status mg_plan_mixture(mg_epoch *out, const mg_dataset *d, const mg_portion *share, size_t n_shares, const mg_batch_options *o, uint64_t epoch,
                          mg_error *err);

/* The micro-batches of optimizer step `step` of the epoch: [*first, *first + *n). */
void mg_epoch_step(const mg_epoch *e, size_t step, size_t *first, size_t *n);
/* Trained positions of that step: what the loss is divided by. */
int64_t mg_epoch_labels(const mg_epoch *e, const mg_dataset *d, size_t step);

#endif
