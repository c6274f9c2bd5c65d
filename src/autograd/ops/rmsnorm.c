/* rmsnorm.c -- root mean square norm (Zhang & Sennrich 2019) over groups of C = g->cols columns.
 *
 *     r = 1 / sqrt(mean(x^2) + eps)        y = x r g  (+ residual)
 *     dx = r (g dy - x r^2 mean(g dy x))   dg = sum over groups of dy x r      dresidual = dy
 *
 * With C = D it is a layer's norm, with C = hd the norm of each head of q and k
 * (Qwen3, Gemma 3), with a residual Gemma's norm after a branch.  One number a
 * group is kept; y itself is cheap enough to be made again in the backward pass. */
#include "autograd/ops.h"

static void rmsnorm_back(mg_tape *t, mg_node *n) {
    mg_tensor *x = n->in[0], *g = n->in[1], *residual = n->in[2];
    bool       accumulate, unused;
    mg_mat     dg = mg_grad(t, g, &unused), dx = mg_grad(t, x, &accumulate);
    if (dx.data || dg.data) {
        size_t mark;
        void  *work = mg_work_begin(t, (size_t)g->cols * 256 * sizeof(double), &mark);
        if (work)
            t->backend->rmsnorm_back((mg_rmsnorm_back_args){ .dx = dx, .dg = dg, .dy = mg_grad_of(n->out),
                                                             .x = mg_mat_of(x), .g = mg_mat_of(g), .inv = n->saved[0],
                                                             .accumulate = accumulate, .work = work });
        mg_work_end(t, mark);
    }
    if (residual) mg_grad_pass(t, residual, n->out);
}

static void rmsnorm_redo(mg_tape *t, mg_node *n) {
    t->backend->rmsnorm((mg_rmsnorm_args){ .y = mg_mat_of(n->out), .x = mg_mat_of(n->in[0]), .g = mg_mat_of(n->in[1]),
                                           .inv = n->saved[0], .eps = n->f[0] });
}

static const mg_op op_rmsnorm = { "rmsnorm", rmsnorm_back, rmsnorm_redo };

mg_tensor *mg_rmsnorm(mg_tape *t, mg_tensor *x, mg_tensor *g, mg_tensor *residual, float eps) {
    if (!x) return NULL;
    g = mg_tuned(t, g);
    MG_ASSERT_EQ(x->cols % g->cols, 0);
    int64_t    groups = x->rows * (x->cols / g->cols);
    void      *inv = mg_keep_bytes(t, (size_t)groups * t->backend->scalar->block_bytes);
    mg_tensor *y = residual ? mg_result(t, x->rows, x->cols) : mg_result_cheap(t, x->rows, x->cols);
    if (!y || !inv) return NULL;
    mg_mat none = { 0 };
    t->backend->rmsnorm((mg_rmsnorm_args){ .y = mg_mat_of(y), .x = mg_mat_of(x), .g = mg_mat_of(g),
                                           .residual = residual ? mg_mat_of(residual) : none, .inv = inv, .eps = eps });
    mg_node *n = MG_RECORD(t, &op_rmsnorm, y, x, g, residual);
    n->saved[0] = inv;
    n->f[0] = eps;
    return y;
}
