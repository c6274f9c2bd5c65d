/* step.h -- one micro-batch: samples packed into rows, forward, backward. */
#ifndef MG_TRAIN_STEP_H
#define MG_TRAIN_STEP_H

#include "data/dataset.h"
#include "model/head.h"
#include "nn/virtual.h"

/* Samples laid end to end.  Reused from step to step; grows, never shrinks. */
typedef struct mg_packed {
    mg_batch batch;
    int32_t *memory; /* start, ids, pos, label_row, label, type, value in one block */
    size_t   cap;
    int64_t  virtual_rows; /* in front of each sample: mg_net_virtual of the model; set once */
    mg_virtual prompted;
} mg_packed;

mg_status mg_pack(mg_packed *p, const mg_sample *const *sample, int n, mg_error *err);
/* The same for samples that `head` reads, all of its goal; NULL: of texts. */
mg_status mg_pack_for(mg_packed *p, const mg_sample *const *sample, int n, const mg_head *head, mg_error *err);
void      mg_packed_free(mg_packed *p);

/* Forward and backward; gradients are added to the parameters.  The loss is the sum of -log p over the batch's
 * labels times `scale` (1 / labels of the whole optimizer step).  *loss receives it. */
mg_status mg_step_train(mg_tape *t, const mg_model *m, const mg_batch *b, float scale, double *loss, mg_error *err);

/* Forward only: *nll = sum of -log p, *right = labels that were the most likely token; top is [n_labels] scratch. */
mg_status mg_step_evaluate(mg_tape *t, const mg_model *m, const mg_batch *b, int32_t *top, double *nll, int64_t *right,
                           mg_error *err);

/* Forward only, with the batch's head: z [rows, columns] of every row, and *nll, whose sum over batches divided by their
 * labels is the head's loss. */
mg_status mg_step_head(mg_tape *t, const mg_model *m, const mg_batch *b, float *z, double *nll, mg_error *err);

#endif
