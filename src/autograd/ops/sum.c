/* sum.c -- y = s * sum of all elements of x.  dx = s dy, everywhere the same.
 *
 * dy lies where the backend computes, so the host cannot hand it to a kernel as a
 * number: it is spread as the only row of a table that all elements look up. */
#include "autograd/ops.h"

static void sum_back(mg_tape *t, mg_node *n) {
    bool   accumulate;
    mg_mat dx = mg_grad(t, n->in[0], &accumulate);
    if (!dx.data) return;
    const mg_format *element = dx.format;
    int64_t          elements = dx.rows * dx.cols;
    size_t           bytes = (size_t)elements * element->block_bytes, mark, unused;
    mg_mat           zeros = { mg_work_begin(t, bytes, &mark), elements, 1, element, NULL };
    mg_mat           to = { dx.data, elements, 1, element, NULL };
    if (accumulate) to.data = mg_work_begin(t, bytes, &unused);
    if (zeros.data && to.data) {
        t->backend->fill((mg_fill_args){ zeros, 0 }); /* as integers these are zeros too */
        t->backend->embed((mg_embed_args){ to, mg_grad_of(n->out), zeros.data, n->f[0] });
        if (accumulate) t->backend->add((mg_add_args){ .y = dx, .x = to, .scale = 1, .accumulate = true });
    }
    mg_work_end(t, mark);
}

static const mg_op op_sum = { "sum", sum_back, NULL };

mg_tensor *mg_sum(mg_tape *t, mg_tensor *x, float scale) {
    if (!x) return NULL;
    mg_tensor *y = mg_result_scalars(t, 1, 1);
    if (!y) return NULL;
    t->backend->weighted_sum((mg_weighted_sum_args){ mg_mat_of(x), scale, y->data });
    MG_RECORD(t, &op_sum, y, x)->f[0] = scale;
    return y;
}
