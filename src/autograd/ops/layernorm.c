/* layernorm.c -- layer norm (Ba et al. 2016) of each row.
 *
 *     n = (x - mean) r,  r = 1 / sqrt(mean((x - mean)^2) + eps)        y = n g + b
 *     dx = r (g dy - mean(g dy) - n mean(g dy n))   dg = sum over rows of dy n   db = sum of dy
 *
 * Two numbers a row are kept; y is cheap enough to be made again in the backward pass, unless it is what a block
 * leaves (BERT). */
#include "autograd/ops.h"

static void layernorm_back(mg_tape *t, mg_node *n) {
    mg_tensor *x = n->in[0], *g = n->in[1], *b = n->in[2];
    bool       accumulate, unused;
    mg_mat     dy = mg_grad_of(n->out), db = mg_grad(t, b, &unused), dg = mg_grad(t, g, &unused);
    mg_mat     dx = mg_grad(t, x, &accumulate);
    if (db.data) t->backend->column_sum((mg_column_sum_args){ db, dy });
    if (!dx.data && !dg.data) return;
    size_t mark;
    void  *work = mg_work_begin(t, (size_t)g->cols * 256 * sizeof(double), &mark);
    if (work)
        t->backend->layernorm_back((mg_layernorm_back_args){ .dx = dx, .dg = dg, .dy = dy, .x = mg_mat_of(x), .g = mg_mat_of(g),
                                                             .stats = n->saved[0], .accumulate = accumulate, .work = work });
    mg_work_end(t, mark);
}

static void forward(mg_tape *t, const mg_node *n) {
    mg_mat none = { 0 };
    t->backend->layernorm((mg_layernorm_args){ .y = mg_mat_of(n->out), .x = mg_mat_of(n->in[0]), .g = mg_mat_of(n->in[1]),
                                               .b = n->in[2] ? mg_mat_of(n->in[2]) : none, .stats = n->saved[0],
                                               .eps = n->f[0] });
}

static void layernorm_redo(mg_tape *t, mg_node *n) { forward(t, n); }

static const mg_op op_layernorm = { "layernorm", layernorm_back, layernorm_redo };

mg_tensor *mg_layernorm(mg_tape *t, mg_tensor *x, mg_tensor *g, mg_tensor *b, float eps, bool kept) {
    if (!x) return NULL;
    g = mg_tuned(t, g);
    b = mg_tuned(t, b);
    MG_ASSERT_EQ(x->cols, g->cols);
    void      *stats = mg_keep_bytes(t, 2 * (size_t)x->rows * t->backend->scalar->block_bytes);
    mg_tensor *y = kept ? mg_result(t, x->rows, x->cols) : mg_result_cheap(t, x->rows, x->cols);
    if (!y || !stats) return NULL;
    forward(t, &(mg_node){ .out = y, .in = { x, g, b }, .saved = { stats }, .f = { eps } });
    mg_node *n = MG_RECORD(t, &op_layernorm, y, x, g, b);
    n->saved[0] = stats;
    n->f[0] = eps;
    return y;
}
