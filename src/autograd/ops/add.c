/* add.c -- y = a + s b.  da = dy, db = s dy. */
#include "autograd/ops.h"

static void add_back(mg_tape *t, mg_node *n) {
    bool   accumulate;
    mg_mat db = mg_grad(t, n->in[1], &accumulate);
    if (db.data)
        t->backend->add((mg_add_args){ .y = db, .x = mg_grad_of(n->out), .scale = n->f[0], .accumulate = accumulate });
    mg_grad_pass(t, n->in[0], n->out); /* last: it may give dy's memory away */
}

static const mg_op op_add = { "add", add_back, NULL };

mg_tensor *mg_add(mg_tape *t, mg_tensor *a, mg_tensor *b, float scale) {
    if (!a || !b) return NULL;
    MG_ASSERT(a->rows == b->rows && a->cols == b->cols);
    mg_tensor *y = mg_result(t, a->rows, a->cols);
    if (!y) return NULL;
    t->backend->add((mg_add_args){ .y = mg_mat_of(y), .x = mg_mat_of(a), .scale = 1 });
    t->backend->add((mg_add_args){ .y = mg_mat_of(y), .x = mg_mat_of(b), .scale = scale, .accumulate = true });
    MG_RECORD(t, &op_add, y, a, b)->f[0] = scale;
    return y;
}
