/* square_error.c -- y = sum over i of (z[i] - v[i])^2, v the numbers of the batch.
 *
 *     dz[i] = 2 dy (z[i] - v[i])
 *
 * The differences are kept.  Sum and gradient are products of thin matrices, so no kernel is needed for them. */
#include "autograd/ops.h"

static void square_error_back(mg_tape *t, mg_node *n) {
    const mg_format *element = t->backend->element;
    bool             accumulate;
    mg_mat           dz = mg_grad(t, n->in[0], &accumulate);
    size_t           mark;
    if (!dz.data) return;
    mg_mat dy = { mg_work_begin(t, element->block_bytes, &mark), 1, 1, element, NULL };
    if (!dy.data) return;
    t->backend->add((mg_add_args){ .y = dy, .x = mg_grad_of(n->out), .scale = 1 });
    t->backend->gemm((mg_gemm_args){ .c = dz, .a = { n->saved[0], dz.rows, 1, element, NULL }, .b = dy, .alpha = 2,
                                     .beta = accumulate ? 1.0f : 0.0f });
    mg_work_end(t, mark);
}

static const mg_op op_square_error = { "square_error", square_error_back, NULL };

mg_tensor *mg_square_error(mg_tape *t, mg_tensor *z) {
    if (!z) return NULL;
    const mg_batch *b = t->batch;
    MG_ASSERT(z->cols == 1 && z->rows == b->n_labels && b->value);
    mg_tensor *y = mg_result_scalars(t, 1, 1);
    mg_mat     r = { mg_keep_bytes(t, (size_t)z->rows * t->backend->element->block_bytes), z->rows, 1, t->backend->element, NULL };
    if (!y || !r.data) return NULL;
    t->backend->add((mg_add_args){ .y = r, .x = mg_mat_of(z), .scale = 1 });
    t->backend->add((mg_add_args){ .y = r, .x = { (void *)b->value, z->rows, 1, t->backend->scalar, NULL }, .scale = -1, .accumulate = true });
    t->backend->gemm((mg_gemm_args){ .c = mg_mat_of(y), .a = r, .ta = true, .b = r, .alpha = 1 });
    MG_RECORD(t, &op_square_error, y, z)->saved[0] = r.data;
    return y;
}
