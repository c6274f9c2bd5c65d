/* places.c -- which row of its sequence: log softmax of each column of z over the rows of one sequence.
 *
 *     y[K s + k] = z[r, k] - log sum over the rows q of s of exp z[q, k]        r = row label[K s + k] of s
 *
 * An answer's beginning and its end are two columns.  With the roles of its inputs exchanged this is what logprob
 * does: the rows of the identity are the "hidden states", the rows of z the "vocabulary", so its kernels serve.  Their
 * gradient of a vocabulary is in scalars and is added up beside dz where elements are something else. */
#include "autograd/ops.h"

static mg_mat part(mg_mat m, int64_t first, int64_t rows) {
    m.data = (uint8_t *)m.data + (size_t)(first * m.cols) * m.format->block_bytes;
    m.rows = rows;
    return m;
}

static uint8_t *at(const mg_tape *t, void *scalars, int64_t i) { return (uint8_t *)scalars + (size_t)i * t->backend->scalar->block_bytes; }

static int64_t longest(const mg_batch *b) {
    int64_t most = 0;
    for (int s = 0; s < b->n_seq; s++) most = b->start[s + 1] - b->start[s] > most ? b->start[s + 1] - b->start[s] : most;
    return most;
}

static void places_back(mg_tape *t, mg_node *n) {
    const mg_batch  *b = n->ref[0];
    const mg_tensor *z = n->in[0], *eye = n->in[1];
    int64_t          K = z->cols, most = longest(b);
    bool             accumulate;
    mg_mat           dz = mg_grad(t, n->in[0], &accumulate);
    size_t           mark, unused;
    if (!dz.data) return;
    mg_mat dw = { mg_work_begin(t, (size_t)(most * K) * t->backend->scalar->block_bytes, &mark), most, K, t->backend->scalar, NULL };
    void  *work = mg_work_begin(t, t->backend->logprob_work(K, part(mg_mat_of(z), 0, most), false), &unused);
    for (int s = 0; dw.data && work && s < b->n_seq; s++) {
        int64_t first = b->start[s];
        dw.rows = b->start[s + 1] - first;
        t->backend->fill((mg_fill_args){ dw, 0 });
        t->backend->logprob_back((mg_logprob_back_args){
            .dw = dw, .h = mg_mat_of(eye), .w = part(mg_mat_of(z), first, dw.rows), .row = b->label_row + K * s, .target = b->label + K * s,
            .n = K, .dlogp = at(t, n->out->grad, K * s), .lse = at(t, n->saved[0], K * s), .work = work });
        t->backend->add((mg_add_args){ .y = part(dz, first, dw.rows), .x = dw, .scale = 1, .accumulate = accumulate });
    }
    mg_work_end(t, mark);
}

static const mg_op op_places = { "places", places_back, NULL };

mg_tensor *mg_places(mg_tape *t, mg_tensor *z, mg_tensor *eye) {
    if (!z) return NULL;
    const mg_batch *b = t->batch;
    int64_t         K = z->cols;
    MG_ASSERT(eye->rows == K && eye->cols == K && b->n_labels == K * b->n_seq);
    mg_tensor *y = mg_result_scalars(t, b->n_labels, 1);
    void      *lse = mg_keep_bytes(t, (size_t)b->n_labels * t->backend->scalar->block_bytes);
    size_t     mark;
    if (!y || !lse) return NULL;
    void *work = mg_work_begin(t, t->backend->logprob_work(K, part(mg_mat_of(z), 0, longest(b)), false), &mark);
    if (!work) return NULL;
    for (int s = 0; s < b->n_seq; s++) {
        MG_ASSERT(b->start[s + 1] > b->start[s]);
        t->backend->logprob((mg_logprob_args){
            .h = mg_mat_of(eye), .w = part(mg_mat_of(z), b->start[s], b->start[s + 1] - b->start[s]), .row = b->label_row + K * s,
            .target = b->label + K * s, .n = K, .logp = at(t, y->data, K * s), .lse = at(t, lse, K * s), .work = work });
    }
    mg_work_end(t, mark);
    mg_node *n = MG_RECORD(t, &op_places, y, z, eye);
    n->saved[0] = lse;
    n->ref[0] = b;
    return y;
}
