/* dropout.c -- y = x mask / (1 - p) in training, x otherwise.  The mask is drawn again in the backward pass. */
#include "autograd/ops.h"

static void dropout_back(mg_tape *t, mg_node *n) {
    bool   accumulate;
    mg_mat dx = mg_grad(t, n->in[0], &accumulate);
    if (dx.data)
        t->backend->dropout((mg_dropout_args){ .y = dx, .x = mg_grad_of(n->out), .p = n->f[0], .rng = n->rng, .accumulate = accumulate });
}

static const mg_op op_dropout = { "dropout", dropout_back, NULL };

mg_tensor *mg_dropout(mg_tape *t, mg_tensor *x, float p, mg_rng rng) {
    if (!x || !t->training || p == 0) return x;
    mg_tensor *y = mg_result(t, x->rows, x->cols);
    if (!y) return NULL;
    t->backend->dropout((mg_dropout_args){ .y = mg_mat_of(y), .x = mg_mat_of(x), .p = p, .rng = rng });
    mg_node *n = MG_RECORD(t, &op_dropout, y, x);
    n->f[0] = p;
    n->rng = rng;
    return y;
}
