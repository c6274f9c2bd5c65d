/* sum.c -- y = s * sum of all elements of x.  dx = s dy, everywhere the same. */
#include "autograd/ops.h"

static void sum_back(mg_tape *t, mg_node *n) {
    bool   accumulate;
    mg_mat dx = mg_grad(t, n->in[0], &accumulate);
    if (!dx.data) return;
    MG_ASSERT(!accumulate);
    /* dy is 1 for a loss; a general dy would have to be read on the device */
    t->backend->fill((mg_fill_args){ dx, n->f[0] });
}

static const mg_op op_sum = { "sum", sum_back, NULL };

mg_tensor *mg_sum(mg_tape *t, mg_tensor *x, float scale) {
    if (!x) return NULL;
    mg_tensor *y = mg_result(t, 1, 1);
    if (!y) return NULL;
    t->backend->weighted_sum((mg_weighted_sum_args){ mg_mat_of(x), scale, y->data });
    MG_RECORD(t, &op_sum, y, x)->f[0] = scale;
    return y;
}
