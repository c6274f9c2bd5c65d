/* put_rows.c -- the virtual tokens of a prompt: their rows of y are rows of x, in place.
 *
 *     y[row[i]] = x[id[i]]      dx[id[i]] += dy[row[i]], and what lay there before gets no gradient
 *
 * Every sequence of the batch has them (mg_batch.virtual_row), so each row of x gathers the gradients of all. */
#include "autograd/ops.h"

static void put(mg_tape *t, const mg_node *n, mg_mat y, mg_mat x) {
    t->backend->put_rows((mg_put_rows_args){ .y = y, .x = x, .row = n->ref[0], .id = n->ref[1], .n = n->i[0] });
}

static void put_back(mg_tape *t, mg_node *n) {
    bool   accumulate;
    mg_mat dx = mg_grad(t, n->in[1], &accumulate);
    if (t->error) return;
    if (dx.data && !accumulate) t->backend->fill((mg_fill_args){ dx, 0 });
    t->backend->put_rows_back((mg_put_rows_back_args){ .dx = dx, .dy = mg_grad_of(n->out), .row = n->ref[0], .id = n->ref[1], .n = n->i[0] });
    mg_grad_pass(t, n->in[0], n->out);
}

static void put_redo(mg_tape *t, mg_node *n) { put(t, n, mg_mat_of(n->out), mg_mat_of(n->in[1])); }

static const mg_op op_put_rows = { "put_rows", put_back, put_redo };

mg_tensor *mg_put_rows(mg_tape *t, mg_tensor *y, mg_tensor *x) {
    const mg_batch *b = t->batch;
    if (!y || !x || !b->n_virtual) return y;
    MG_ASSERT_EQ(y->cols, x->cols);
    mg_tensor *out = mg_result_in_place(t, y);
    mg_node    here = { .ref = { b->virtual_row, b->virtual_id }, .i = { b->n_virtual } };
    put(t, &here, mg_mat_of(out), mg_mat_of(x));
    mg_node *n = MG_RECORD(t, &op_put_rows, out, y, x);
    n->ref[0] = b->virtual_row;
    n->ref[1] = b->virtual_id;
    n->i[0] = b->n_virtual;
    return out;
}
