/* multiply.c -- columns scaled by trained numbers: out = (x - shift) g h + shift.
 *
 *     dx = dout g h      dg = h sum over rows of dout (x - shift)
 *
 * g [1,C] trains (IA3's vectors, DoRA's magnitudes, VeRA's and AdaLoRA's diagonals); h (constants made in this step) and
 * shift (a frozen bias that must not be scaled) may be missing. */
#include "autograd/ops.h"

static mg_mat as_row(const mg_tensor *x) { /* a vector, however its file lays it out */
    mg_mat none = { 0 };
    if (!x) return none;
    mg_mat m = mg_mat_of(x);
    m.cols *= m.rows;
    m.rows = 1;
    return m;
}

static void forward(mg_tape *t, const mg_node *n) {
    t->backend->multiply((mg_multiply_args){ .y = mg_mat_of(n->out), .x = mg_mat_of(n->in[0]), .g = as_row(n->in[1]), .h = as_row(n->in[2]),
                                             .shift = as_row(n->in[3]), .put_back = true });
}

static void multiply_back(mg_tape *t, mg_node *n) {
    mg_tensor *x = n->in[0], *g = n->in[1];
    mg_mat     dy = mg_grad_of(n->out), none = { 0 };
    bool       accumulate, unused;
    mg_mat     dg = mg_grad(t, g, &unused);
    if (dg.data) {
        size_t mark;
        mg_mat each = { mg_work_begin(t, (size_t)(x->rows * x->cols) * t->backend->element->block_bytes, &mark), x->rows, x->cols,
                        t->backend->element, NULL };
        dg.cols *= dg.rows;
        dg.rows = 1;
        if (each.data) {
            t->backend->multiply((mg_multiply_args){ .y = each, .x = mg_mat_of(x), .g = dy, .h = as_row(n->in[2]), .shift = as_row(n->in[3]) });
            t->backend->column_sum((mg_column_sum_args){ dg, each });
        }
        mg_work_end(t, mark);
    }
    mg_mat dx = mg_grad(t, x, &accumulate);
    if (dx.data)
        t->backend->multiply((mg_multiply_args){ .y = dx, .x = dy, .g = as_row(g), .h = n->in[2] ? as_row(n->in[2]) : none,
                                                 .accumulate = accumulate });
}

static void multiply_redo(mg_tape *t, mg_node *n) { forward(t, n); }

static const mg_op op_multiply = { "multiply", multiply_back, multiply_redo };

mg_tensor *mg_scale_columns(mg_tape *t, mg_tensor *x, mg_tensor *g, mg_tensor *h, mg_tensor *shift, bool kept) {
    if (!x || !g) return NULL;
    MG_ASSERT_EQ(x->cols, g->rows * g->cols);
    MG_ASSERT(g->param || !g->needs_grad);
    shift = mg_tuned(t, shift);
    mg_tensor *y = kept ? mg_result(t, x->rows, x->cols) : mg_result_cheap(t, x->rows, x->cols);
    if (!y) return NULL;
    forward(t, &(mg_node){ .out = y, .in = { x, g, h, shift } });
    MG_RECORD(t, &op_multiply, y, x, g, h, shift);
    return y;
}
