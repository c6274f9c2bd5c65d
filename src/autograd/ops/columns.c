/* columns.c -- a part of a fused product: y = the columns first .. first+n-1 of every group of `group` columns of x.
 *
 *     x = [q | k | v]                  one group: GPT-2, Phi-3
 *     x = [q0 k0 v0 | q1 k1 v1 | ..]   a group a head: GPT-NeoX
 *
 * The product stays one layer, as Hugging Face and adapters know it; its parts are
 * copies, cheap enough to be made again in the backward pass.
 *
 *     dx's columns = dy, zero where no part reads */
#include "autograd/ops.h"

static void columns_back(mg_tape *t, mg_node *n) {
    bool   accumulate;
    mg_mat dx = mg_grad(t, n->in[0], &accumulate);
    if (!dx.data) return;
    if (!accumulate) t->backend->fill((mg_fill_args){ dx, 0 });
    t->backend->columns((mg_columns_args){ .y = mg_grad_of(n->out), .x = dx, .group = n->i[0], .first = n->i[1], .back = true,
                                           .accumulate = true });
}

static void columns_redo(mg_tape *t, mg_node *n) {
    t->backend->columns((mg_columns_args){ .y = mg_mat_of(n->out), .x = mg_mat_of(n->in[0]), .group = n->i[0], .first = n->i[1] });
}

static const mg_op op_columns = { "columns", columns_back, columns_redo };

mg_tensor *mg_columns(mg_tape *t, mg_tensor *x, int64_t group, int64_t first, int64_t n) {
    if (!x) return NULL;
    MG_ASSERT(x->cols % group == 0 && first + n <= group);
    mg_tensor *y = mg_result_cheap(t, x->rows, x->cols / group * n);
    if (!y) return NULL;
    t->backend->columns((mg_columns_args){ .y = mg_mat_of(y), .x = mg_mat_of(x), .group = group, .first = first });
    mg_node *node = MG_RECORD(t, &op_columns, y, x);
    node->i[0] = group;
    node->i[1] = first;
    return y;
}
