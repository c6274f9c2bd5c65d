/* embed.c -- y[r] = scale * table[ids[r]]; the table may have any storage format.
 * Backward: dtable[ids[r]] += scale * dy[r], row after row, so that equal ids add in a fixed order. */
#include "autograd/ops.h"

static void embed_back(mg_tape *t, mg_node *n) {
    bool   accumulate;
    mg_mat dw = mg_grad(t, n->in[0], &accumulate);
    if (dw.data) t->backend->embed_dw((mg_embed_dw_args){ dw, mg_grad_of(n->out), n->ref[0], n->f[0] });
}

static const mg_op op_embed = { "embed", embed_back, NULL };

mg_tensor *mg_embed(mg_tape *t, mg_tensor *table, float scale) {
    mg_tensor *y = mg_result(t, mg_batch_rows(t->batch), table->cols);
    if (!y) return NULL;
    t->backend->embed((mg_embed_args){ mg_mat_of(y), mg_mat_of(table), t->batch->ids, scale });
    mg_node *n = MG_RECORD(t, &op_embed, y, table);
    n->ref[0] = t->batch->ids;
    n->f[0] = scale;
    return y;
}
