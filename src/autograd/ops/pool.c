/* pool.c -- from rows to one row a sequence: chosen rows (the first, the last), or the mean.
 *
 *     rows: y[i] = x[row[i]]                      dx[row[i]] += dy[i]
 *     mean: y[s] = 1/n_s sum of s's rows of x     dx[r] += dy[s] / n_s
 *
 * Looking up a row of x is what an embedding does, so its kernels serve. */
#include "autograd/ops.h"

static mg_mat part(mg_mat m, int64_t first, int64_t rows) {
    m.data = (uint8_t *)m.data + (size_t)(first * m.cols) * m.format->block_bytes;
    m.rows = rows;
    return m;
}

/* Where gradients of results are no scalars, embed_dw adds up in scalars beside them. */
static void rows_back(mg_tape *t, mg_node *n) {
    bool             accumulate;
    const mg_format *scalar = t->backend->scalar;
    mg_mat           dx = mg_grad(t, n->in[0], &accumulate), to = dx;
    size_t           mark;
    if (!dx.data) return;
    if (dx.format != scalar) {
        to = (mg_mat){ mg_work_begin(t, (size_t)(dx.rows * dx.cols) * scalar->block_bytes, &mark), dx.rows, dx.cols, scalar, NULL };
        if (!to.data) return;
    }
    if (dx.format != scalar || !accumulate) t->backend->fill((mg_fill_args){ to, 0 });
    t->backend->embed_dw((mg_embed_dw_args){ to, mg_grad_of(n->out), n->ref[0], 1 });
    if (dx.format == scalar) return;
    t->backend->add((mg_add_args){ .y = dx, .x = to, .scale = 1, .accumulate = accumulate });
    mg_work_end(t, mark);
}

static const mg_op op_rows = { "rows", rows_back, NULL };

mg_tensor *mg_rows(mg_tape *t, mg_tensor *x, const int32_t *row, int64_t n) {
    if (!x) return NULL;
    mg_tensor *y = mg_result(t, n, x->cols);
    if (!y) return NULL;
    t->backend->embed((mg_embed_args){ mg_mat_of(y), mg_mat_of(x), row, 1 });
    MG_RECORD(t, &op_rows, y, x)->ref[0] = row;
    return y;
}

static void mean_back(mg_tape *t, mg_node *n) {
    const mg_batch *b = n->ref[0];
    bool            accumulate;
    mg_mat          dx = mg_grad(t, n->in[0], &accumulate);
    if (!dx.data) return;
    size_t mark;
    mg_mat dy = mg_grad_of(n->out), ones = { NULL, dx.rows, 1, dx.format, NULL };
    ones.data = mg_work_begin(t, (size_t)dx.rows * dx.format->block_bytes, &mark);
    if (!ones.data) return;
    t->backend->fill((mg_fill_args){ ones, 1 });
    for (int s = 0; s < b->n_seq; s++) { /* a column of ones spreads dy's row */
        int64_t rows = b->start[s + 1] - b->start[s];
        t->backend->gemm((mg_gemm_args){ .c = part(dx, b->start[s], rows), .a = part(ones, 0, rows), .b = part(dy, s, 1),
                                         .alpha = 1.0f / (float)rows, .beta = accumulate ? 1.0f : 0.0f });
    }
    mg_work_end(t, mark);
}

static const mg_op op_mean = { "mean", mean_back, NULL };

mg_tensor *mg_mean_rows(mg_tape *t, mg_tensor *x) {
    if (!x) return NULL;
    const mg_batch *b = t->batch;
    mg_tensor      *y = mg_result(t, b->n_seq, x->cols);
    if (!y) return NULL;
    size_t mark;
    mg_mat sum = { NULL, 1, x->cols, t->backend->scalar, NULL };
    sum.data = mg_work_begin(t, (size_t)x->cols * t->backend->scalar->block_bytes, &mark);
    if (!sum.data) return NULL;
    for (int s = 0; s < b->n_seq; s++) {
        int64_t n = b->start[s + 1] - b->start[s];
        MG_ASSERT(n > 0);
        t->backend->fill((mg_fill_args){ sum, 0 });
        t->backend->column_sum((mg_column_sum_args){ sum, part(mg_mat_of(x), b->start[s], n) });
        t->backend->add((mg_add_args){ .y = part(mg_mat_of(y), s, 1), .x = sum, .scale = 1.0f / (float)n });
    }
    mg_work_end(t, mark);
    MG_RECORD(t, &op_mean, y, x)->ref[0] = b;
    return y;
}
