/* glu.c -- gated activation: y = f(gate) up with f = silu (SwiGLU), gelu (GeGLU), or f(gate) alone.
 *
 *     dup = dy f(gate)      dgate = dy up f'(gate)
 *
 * y is cheap and as wide as the feed-forward layer: it is made again in the backward pass. */
#include "autograd/ops.h"

static mg_mat up_of(const mg_tensor *up) { return up ? mg_mat_of(up) : (mg_mat){ 0 }; }

static void glu_back(mg_tape *t, mg_node *n) {
    bool   add_gate, add_up;
    mg_mat dgate = mg_grad(t, n->in[0], &add_gate), dup = mg_grad(t, n->in[1], &add_up);
    MG_ASSERT(!add_gate && !add_up); /* gate and up have no other reader */
    t->backend->glu_back((mg_glu_back_args){ dgate, dup, mg_grad_of(n->out), mg_mat_of(n->in[0]), up_of(n->in[1]),
                                             (mg_activation)n->i[0] });
}

static void glu_redo(mg_tape *t, mg_node *n) {
    t->backend->glu((mg_glu_args){ mg_mat_of(n->out), mg_mat_of(n->in[0]), up_of(n->in[1]), (mg_activation)n->i[0] });
}

static const mg_op op_glu = { "glu", glu_back, glu_redo };

mg_tensor *mg_glu(mg_tape *t, mg_tensor *gate, mg_tensor *up, mg_activation kind) {
    if (!gate) return NULL;
    MG_ASSERT(!up || (gate->rows == up->rows && gate->cols == up->cols));
    mg_tensor *y = mg_result_cheap(t, gate->rows, gate->cols);
    if (!y) return NULL;
    t->backend->glu((mg_glu_args){ mg_mat_of(y), mg_mat_of(gate), up_of(up), kind });
    MG_RECORD(t, &op_glu, y, gate, up)->i[0] = kind;
    return y;
}
