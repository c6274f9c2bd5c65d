/* matmul.c -- y = x w^T + bias + residual.
 *
 *     dx = dy w      dw = dy^T x      dbias = column sums of dy      dresidual = dy
 *
 * The weight may be packed in any storage format; it is decoded in blocks inside
 * the kernels, and a frozen one never has a dw.  Bias and residual ride along
 * because the sum is then formed in the product's own accumulator. */
#include "autograd/ops.h"

static void matmul_back(mg_tape *t, mg_node *n) {
    mg_tensor *x = n->in[0], *w = n->in[1], *bias = n->in[2], *residual = n->in[3];
    mg_mat     dy = mg_grad_of(n->out);
    bool       accumulate;
    mg_mat     dw = mg_grad(t, w, &accumulate);
    if (dw.data)
        t->backend->gemm((mg_gemm_args){ .c = dw, .a = dy, .b = mg_mat_of(x), .ta = true, .alpha = 1,
                                         .beta = accumulate ? 1.0f : 0.0f });
    mg_mat db = mg_grad(t, bias, &accumulate);
    if (db.data) t->backend->column_sum((mg_column_sum_args){ db, dy });
    mg_mat dx = mg_grad(t, x, &accumulate);
    if (dx.data) {
        size_t mark;
        void  *work = mg_work_begin(t, t->backend->linear_work(x->rows, mg_mat_of(w)), &mark);
        if (work) t->backend->linear_dx((mg_linear_dx_args){ dx, dy, mg_mat_of(w), accumulate, work });
        mg_work_end(t, mark);
    }
    if (residual) mg_grad_pass(t, residual, n->out);
}

/* The product's own inputs: those of int8 weights are rounded, too (LLM.int8), in work memory; dx passes as if they were
 * not.  While generating rows are rounded one by one, so that no text depends on what else is in the batch. */
static mg_mat input_of(mg_tape *t, const mg_tensor *x, const mg_tensor *w, void *room) {
    mg_mat from = mg_mat_of(x), to = from;
    if (w->format != &mg_format_int8) return from;
    to.data = (uint8_t *)room + (mg_int8_round_work(x->cols) + 63) / 64 * 64;
    t->backend->int8_round((mg_int8_round_args){ to, from, w->outlier, t->batch && t->batch->cache, room });
    return to;
}

static size_t input_bytes(const mg_tape *t, const mg_tensor *x, const mg_tensor *w) {
    if (w->format != &mg_format_int8) return 0;
    return (mg_int8_round_work(x->cols) + 63) / 64 * 64 + (size_t)(x->rows * x->cols) * t->backend->element->block_bytes;
}

static const mg_op op_matmul = { "matmul", matmul_back, NULL };

static mg_tensor *matmul(mg_tape *t, mg_tensor *x, mg_tensor *w, mg_tensor *bias, mg_tensor *residual, bool in_place) {
    if (!x || !w) return NULL;
    w = mg_tuned(t, w);
    bias = mg_tuned(t, bias);
    MG_ASSERT_EQ(x->cols, w->cols);
    MG_ASSERT(!residual || (residual->rows == x->rows && residual->cols == w->rows));
    mg_tensor *y = in_place ? mg_result_in_place(t, residual) : mg_result(t, x->rows, w->rows);
    if (!y) return NULL;
    mg_mat none = { 0 };
    size_t mark, unused;
    void  *work = mg_work_begin(t, t->backend->linear_work(x->rows, mg_mat_of(w)), &mark);
    void  *room = mg_work_begin(t, input_bytes(t, x, w), &unused);
    if (!work || !room) return NULL;
    if (!t->unread)
        t->backend->linear((mg_linear_args){ .y = mg_mat_of(y), .x = input_of(t, x, w, room), .w = mg_mat_of(w), .bias = bias ? mg_mat_of(bias) : none,
                                             .onto = residual ? mg_mat_of(residual) : none, .accumulate = residual != NULL, .work = work });
    mg_work_end(t, mark);
    MG_RECORD(t, &op_matmul, y, x, w, bias, residual);
    return y;
}

mg_tensor *mg_matmul(mg_tape *t, mg_tensor *x, mg_tensor *w, mg_tensor *bias, mg_tensor *residual) {
    return matmul(t, x, w, bias, residual, false);
}

mg_tensor *mg_matmul_onto(mg_tape *t, mg_tensor *x, mg_tensor *w, mg_tensor *bias, mg_tensor *start) {
    return start ? matmul(t, x, w, bias, start, true) : NULL;
}
