/* beside.c -- y = [a | b]: the columns of two matrices side by side.  da and db are the columns of dy. */
#include "autograd/ops.h"

static void take(mg_tape *t, mg_tensor *x, mg_mat dy, int64_t first) {
    bool   accumulate;
    mg_mat dx = mg_grad(t, x, &accumulate), to = dx;
    size_t mark;
    if (!dx.data) return;
    to.format = t->backend->element;
    to.data = mg_work_begin(t, (size_t)(dx.rows * dx.cols) * to.format->block_bytes, &mark);
    if (!to.data) return;
    t->backend->columns((mg_columns_args){ .y = to, .x = dy, .group = dy.cols, .first = first });
    t->backend->add((mg_add_args){ .y = dx, .x = to, .scale = 1, .accumulate = accumulate });
    mg_work_end(t, mark);
}

static void beside_back(mg_tape *t, mg_node *n) {
    take(t, n->in[0], mg_grad_of(n->out), 0);
    take(t, n->in[1], mg_grad_of(n->out), n->in[0]->cols);
}

static const mg_op op_beside = { "beside", beside_back, NULL };

mg_tensor *mg_beside(mg_tape *t, mg_tensor *a, mg_tensor *b) {
    if (!a || !b) return NULL;
    MG_ASSERT_EQ(a->rows, b->rows);
    mg_tensor *y = mg_result(t, a->rows, a->cols + b->cols);
    if (!y) return NULL;
    t->backend->columns((mg_columns_args){ .y = mg_mat_of(a), .x = mg_mat_of(y), .group = y->cols, .first = 0, .back = true });
    t->backend->columns((mg_columns_args){ .y = mg_mat_of(b), .x = mg_mat_of(y), .group = y->cols, .first = a->cols, .back = true });
    MG_RECORD(t, &op_beside, y, a, b);
    return y;
}
