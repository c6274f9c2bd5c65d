/* head.h -- small layers on the hidden states of a model, for tasks other than going on with a text.
 *
 *     z = h w^T + b        [rows, labels]
 *
 * A kind of head is a row: which goal it learns, what Hugging Face and PEFT call it and its layer, and its loss.
 * Several heads may stand on one model; a batch says which is meant (mg_batch.head), and mg_model_logprobs then
 * answers with that head's. */
#ifndef MG_MODEL_HEAD_H
#define MG_MODEL_HEAD_H

#include "data/labelled.h"
#include "model/model.h"

typedef struct mg_head mg_head;

typedef struct mg_head_kind {
    const mg_goal *goal;
    const char    *task_type;   /* of PEFT: "SEQ_CLS" */
    const char    *class_end;   /* of transformers: "ForSequenceClassification" */
    const char    *module, *encoder_module; /* its layer: "score" */
    bool           bias, encoder_bias;
    bool           pooled;      /* an encoder's pooler stands below it */
    int            columns;     /* rows of w; 0: one a label */
    /* Log-probabilities of the batch's labels out of z [rows, labels]; their sum is the negative loss. */
    mg_tensor *(*logprobs)(mg_tape *t, const mg_head *h, mg_tensor *z, int32_t *top);
} mg_head_kind;

const mg_head_kind *mg_head_kind_of(const mg_goal *goal);
const mg_head_kind *mg_head_kind_named(const char *task_type); /* "SEQ_CLS"; NULL: none */

struct mg_head {
    const mg_head_kind *kind;
    char       name[64]; /* of the task */
    mg_labels  labels;   /* names of the rows of w; none for numbers and places */
    int64_t    columns;
    mg_linear  l;
    mg_tensor *eye;      /* identity [columns, columns], a constant */
};

/* What the layer is called in a model of this architecture, and whether it has a bias. */
const char *mg_head_module(const mg_head_kind *k, const mg_arch *a, bool *bias);
/* How transformers' class spells what this program calls "model.layers.0...": the first is replaced by the second. */
void mg_head_prefix(const mg_head_kind *k, const mg_arch *a, const char **from, const char **to);
/* First values as transformers has them: normal with deviation 0.02, a pure function of seed and number; bias 0. */
void mg_head_values(float *w, int64_t n, uint64_t seed, uint32_t number);

/* z of the batch's head, [rows, columns]; recorded. */
mg_tensor *mg_head_logits(mg_tape *t, const mg_model *m, const mg_head *h);
/* The loss of the batch with its head, as in mg_model_logprobs; z, or NULL, receives the logits. */
mg_tensor *mg_head_logprobs(mg_tape *t, const mg_model *m, const mg_head *h, int32_t *top, mg_tensor **z);

#endif
