/* logprob.c -- log softmax(f(h w^T))[target] of the labelled rows, and nothing of the others.
 *
 * SFT, DPO, distillation and perplexity all stand on this one operation.  The
 * logits are made tile by tile over the vocabulary with a running maximum and
 * sum, as attention does over keys, and never stored.  With a frozen head the
 * same pass collects sum_v p_v w_v, so that
 *
 *     dh = dlogp (w_target - sum_v p_v w_v)
 *
 * is known without a second look at w: two products with the head instead of
 * three.  A head that trains takes the general backward, which makes the tiles
 * again. */
#include "autograd/ops.h"

static void logprob_back(mg_tape *t, mg_node *n) {
    mg_tensor *h = n->in[0], *w = n->in[1];
    bool       accumulate, unused;
    mg_mat     dh = mg_grad(t, h, &accumulate), dw = mg_grad(t, w, &unused);
    if (dh.data && !accumulate) t->backend->fill((mg_fill_args){ dh, 0 }); /* rows without a label */
    size_t mark;
    void  *work = mg_work_begin(t, t->backend->logprob_work(n->i[0], mg_mat_of(w), false), &mark);
    if (!work) return;
    mg_mat none = { 0 };
    mg_mat made = { n->saved[1], n->i[0], h->cols, t->backend->element, NULL };
    t->backend->logprob_back((mg_logprob_back_args){
        .dh = dh, .dw = dw, .h = made.data ? made : mg_mat_of(h), .w = made.data ? none : mg_mat_of(w), .row = n->ref[0],
        .target = n->ref[1], .n = n->i[0], .dlogp = n->out->grad, .lse = n->saved[0], .softcap = n->f[0], .work = work });
    mg_work_end(t, mark);
}

static const mg_op op_logprob = { "logprob", logprob_back, NULL };

mg_tensor *mg_logprob(mg_tape *t, mg_tensor *h, mg_tensor *head, float softcap, int32_t *top_id) {
    if (!h) return NULL;
    head = mg_tuned(t, head);
    const mg_batch *b = t->batch;
    MG_ASSERT_EQ(h->cols, head->cols);
    bool       at_once = !t->off && h->needs_grad && !head->needs_grad;
    size_t     element = t->backend->element->block_bytes, mark;
    mg_tensor *y = mg_result_scalars(t, b->n_labels, 1);
    void      *lse = mg_keep_bytes(t, (size_t)b->n_labels * t->backend->scalar->block_bytes);
    void      *made = at_once ? mg_keep_bytes(t, (size_t)(b->n_labels * h->cols) * element) : NULL;
    if (!y || !lse || (at_once && !made)) return NULL;
    const mg_device *device = t->mem->device;
    int32_t         *top_there = top_id && !device->host ? mg_keep_bytes(t, (size_t)b->n_labels * sizeof *top_id) : top_id;
    void            *work = mg_work_begin(t, t->backend->logprob_work(b->n_labels, mg_mat_of(head), at_once), &mark);
    if (!work || (top_id && !top_there)) return NULL;
    t->backend->logprob((mg_logprob_args){ .h = mg_mat_of(h), .w = mg_mat_of(head),
                                           .dh = { made, b->n_labels, h->cols, t->backend->element, NULL },
                                           .row = b->label_row, .target = b->label, .n = b->n_labels, .logp = y->data,
                                           .lse = lse, .top_id = top_there, .softcap = softcap, .work = work });
    mg_work_end(t, mark);
    if (top_there != top_id && !t->mem->dry) device->get(top_id, top_there, (size_t)b->n_labels * sizeof *top_id);
    mg_node *n = MG_RECORD(t, &op_logprob, y, h, head);
    n->saved[0] = lse;
    n->saved[1] = made;
    n->i[0] = b->n_labels;
    n->ref[0] = b->label_row;
    n->ref[1] = b->label;
    n->f[0] = softcap;
    return y;
}
