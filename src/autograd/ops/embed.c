/* embed.c -- y[r] = scale * table[ids[r]], or y[r] = x[r] + table[ids[r]]; the table may have any storage format.
 * Backward: dtable[ids[r]] += scale * dy[r], row after row, so that equal ids add in a fixed order. */
#include "autograd/ops.h"

static void embed_back(mg_tape *t, mg_node *n) {
    bool   accumulate;
    mg_mat dw = mg_grad(t, n->in[0], &accumulate);
    if (dw.data) t->backend->embed_dw((mg_embed_dw_args){ dw, mg_grad_of(n->out), n->ref[0], n->f[0] });
}

static const mg_op op_embed = { "embed", embed_back, NULL };

mg_tensor *mg_embed(mg_tape *t, mg_tensor *table, float scale) {
    table = mg_tuned(t, table);
    mg_tensor *y = mg_result(t, mg_batch_rows(t->batch), table->cols);
    if (!y) return NULL;
    t->backend->embed((mg_embed_args){ mg_mat_of(y), mg_mat_of(table), t->batch->ids, scale });
    mg_node *n = MG_RECORD(t, &op_embed, y, table);
    n->ref[0] = t->batch->ids;
    n->f[0] = scale;
    return y;
}

static void embed_onto_back(mg_tape *t, mg_node *n) {
    bool   accumulate;
    mg_mat dw = mg_grad(t, n->in[1], &accumulate);
    if (dw.data) t->backend->embed_dw((mg_embed_dw_args){ dw, mg_grad_of(n->out), n->ref[0], 1 });
    mg_grad_pass(t, n->in[0], n->out);
}

static const mg_op op_embed_onto = { "embed_onto", embed_onto_back, NULL };

mg_tensor *mg_embed_onto(mg_tape *t, mg_tensor *x, mg_tensor *table, const int32_t *ids) {
    if (!x) return NULL;
    table = mg_tuned(t, table);
    MG_ASSERT_EQ(x->cols, table->cols);
    mg_tensor *y = mg_result(t, x->rows, x->cols);
    if (!y) return NULL;
    if (!ids) {
        mg_mat zeros = { mg_keep_bytes(t, (size_t)x->rows * t->backend->scalar->block_bytes), x->rows, 1, t->backend->scalar, NULL };
        if (!zeros.data) return NULL;
        t->backend->fill((mg_fill_args){ zeros, 0 }); /* as integers these are zeros too */
        ids = zeros.data;
    }
    t->backend->embed((mg_embed_args){ mg_mat_of(y), mg_mat_of(table), ids, 1 });
    t->backend->add((mg_add_args){ .y = mg_mat_of(y), .x = mg_mat_of(x), .scale = 1, .accumulate = true });
    MG_RECORD(t, &op_embed_onto, y, x, table)->ref[0] = ids;
    return y;
}
