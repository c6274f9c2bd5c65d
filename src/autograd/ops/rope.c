/* rope.c -- rotary positions (Su et al. 2021), in place: pairs (x[i], x[i + rot/2]) of each head turn by
 * pos * angle[i].  A rotation's gradient is the rotation back, in place on dy, so nothing is kept. */
#include "autograd/ops.h"

static void turn(mg_tape *t, const mg_node *n, mg_mat x, bool back) {
    const mg_rope_table *table = n->ref[0];
    t->backend->rope((mg_rope_args){ x, n->ref[1], table->cos, table->sin, (int)n->i[0], table->rot, back });
}

static void rope_back(mg_tape *t, mg_node *n) {
    turn(t, n, mg_grad_of(n->out), true);
    mg_grad_pass(t, n->in[0], n->out);
}

static void rope_redo(mg_tape *t, mg_node *n) { turn(t, n, mg_mat_of(n->out), false); }

static const mg_op op_rope = { "rope", rope_back, rope_redo };

mg_tensor *mg_rope(mg_tape *t, mg_tensor *x, const mg_rope_table *table, int hd) {
    if (!x) return NULL;
    MG_ASSERT(x->cols % hd == 0 && table->rot <= hd && table->rot % 2 == 0);
    mg_tensor *y = mg_result_in_place(t, x);
    mg_node    here = { .i = { hd }, .ref = { table, t->batch->pos } };
    turn(t, &here, mg_mat_of(y), false);
    mg_node *n = MG_RECORD(t, &op_rope, y, x);
    n->i[0] = hd;
    n->ref[0] = table;
    n->ref[1] = t->batch->pos;
    return y;
}
