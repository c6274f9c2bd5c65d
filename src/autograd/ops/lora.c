/* lora.c -- y += s (d(x) a^T) b^T, in place on y (Hu et al., LoRA, 2021).
 *
 *     u = d(x) a^T                      kept: N x R
 *     db = s dy^T u      du = s dy b    da = du^T d(x)      dx = d'(du a)
 *
 * d is dropout; its mask is drawn again from (seed, step, layer, site) in the
 * backward pass.  In place, because neither the product below nor this operation
 * reads y again; dy passes through unchanged.
 *
 * Layers that read one x share its passes: u = [a_0; a_1; ..] x^T stands on its side, so that the part of each
 * layer is whole rows of it, and du, da and dx are one product each for all of them.
 *
 * What an adapter adds is small beside y.  Rounded to a narrow element, y + small is y again: not now and then,
 * but always, because y stood on the grid of its element before.  So where elements are narrow the small part
 * comes first and the layer's product is added to it, or y, the small part and the residual are rounded together. */
#include "autograd/ops.h"

static mg_mat work_mat(const mg_tape *t, void *data, int64_t rows, int64_t cols) {
    return (mg_mat){ data, rows, cols, t->backend->element, NULL };
}

static size_t bytes_of(const mg_tape *t, int64_t rows, int64_t cols) {
    return (size_t)(rows * cols) * t->backend->element->block_bytes;
}

/* d(x), in x itself when nothing is dropped, else in memory at `room`. */
static mg_mat dropped(mg_tape *t, mg_tensor *x, float p, mg_rng rng, void *room) {
    if (p == 0) return mg_mat_of(x);
    mg_mat d = work_mat(t, room, x->rows, x->cols);
    t->backend->dropout((mg_dropout_args){ .y = d, .x = mg_mat_of(x), .p = p, .rng = rng });
    return d;
}

static void lora_back(mg_tape *t, mg_node *n) {
    mg_tensor *y = n->in[0], *x = n->in[1], *a = n->in[2], *b = n->in[3];
    float      scale = n->f[0], p = n->f[1];
    mg_mat     dy = mg_grad_of(n->out), u = work_mat(t, n->saved[0], x->rows, a->rows);
    bool       accumulate;
    size_t     mark, unused;
    mg_mat     dx = mg_grad(t, x, &accumulate), da, db;
    bool       add_dx = accumulate;
    void      *du_room = mg_work_begin(t, bytes_of(t, x->rows, a->rows), &mark);
    void      *x_room = p > 0 ? mg_work_begin(t, bytes_of(t, x->rows, x->cols), &unused) : NULL;
    if (!du_room || (p > 0 && !x_room)) return;
    mg_mat du = work_mat(t, du_room, x->rows, a->rows);

    db = mg_grad(t, b, &accumulate);
    if (db.data)
        t->backend->gemm((mg_gemm_args){ .c = db, .a = dy, .b = u, .ta = true, .alpha = scale, .beta = accumulate });
    t->backend->gemm((mg_gemm_args){ .c = du, .a = dy, .b = mg_mat_of(b), .alpha = scale });
    da = mg_grad(t, a, &accumulate);
    if (da.data)
        t->backend->gemm((mg_gemm_args){ .c = da, .a = du, .b = dropped(t, x, p, n->rng, x_room), .ta = true,
                                         .alpha = 1, .beta = accumulate });
    if (dx.data && p == 0)
        t->backend->gemm((mg_gemm_args){ .c = dx, .a = du, .b = mg_mat_of(a), .alpha = 1, .beta = add_dx });
    else if (dx.data) {
        mg_mat d = work_mat(t, x_room, x->rows, x->cols);
        t->backend->gemm((mg_gemm_args){ .c = d, .a = du, .b = mg_mat_of(a), .alpha = 1 });
        t->backend->dropout((mg_dropout_args){ .y = dx, .x = d, .p = p, .rng = n->rng, .accumulate = add_dx });
    }
    mg_work_end(t, mark);
    mg_grad_pass(t, y, n->out);
    if (n->in[4]) mg_grad_pass(t, n->in[4], n->out); /* nothing is added to it before y's own node has read it */
}

static const mg_op op_lora = { "lora", lora_back, NULL };

mg_tensor *mg_lora_onto(mg_tape *t, mg_tensor *y, mg_tensor *x, mg_tensor *a, mg_tensor *b, mg_tensor *residual, float scale, float p,
                        mg_rng rng) {
    if (!y || !x) return NULL;
    MG_ASSERT(!residual || (residual->rows == y->rows && residual->cols == y->cols));
    MG_ASSERT_EQ(x->cols, a->cols);
    MG_ASSERT_EQ(y->cols, b->rows);
    MG_ASSERT_EQ(a->rows, b->cols);
    MG_ASSERT(!y->transient);
    if (!t->training) p = 0;
    void *u_room = mg_keep_bytes(t, bytes_of(t, x->rows, a->rows));
    if (!u_room) return NULL;
    mg_mat u = work_mat(t, u_room, x->rows, a->rows);
    size_t mark;
    void  *x_room = mg_work_begin(t, p > 0 ? bytes_of(t, x->rows, x->cols) : 0, &mark);
    if (!x_room) return NULL;
    t->backend->gemm((mg_gemm_args){ .c = u, .a = dropped(t, x, p, rng, x_room), .b = mg_mat_of(a), .tb = true, .alpha = 1 });
    if (!t->unread)
        t->backend->gemm((mg_gemm_args){ .c = mg_mat_of(y), .a = u, .b = mg_mat_of(b), .tb = true, .alpha = scale, .beta = 1,
                                         .onto = residual ? mg_mat_of(residual) : (mg_mat){ 0 } });
    mg_work_end(t, mark);
    mg_tensor *out = mg_result_in_place(t, y);
    mg_node   *n = MG_RECORD(t, &op_lora, out, y, x, a, b, residual);
    n->saved[0] = u_room;
    n->f[0] = scale;
    n->f[1] = p;
    n->rng = rng;
    return out;
}

mg_tensor *mg_lora(mg_tape *t, mg_tensor *y, mg_tensor *x, mg_tensor *a, mg_tensor *b, float scale, float p, mg_rng rng) {
    return mg_lora_onto(t, y, x, a, b, NULL, scale, p, rng);
}

/* ---- several layers that read one x ---- */

static mg_mat stack(const mg_tensor *a, int n) { return (mg_mat){ a->data, n * a->rows, a->cols, a->format, a->side }; }

static void down_back(mg_tape *t, mg_node *n) {
    mg_tensor *x = n->in[0], *a = n->in[1];
    mg_mat     du = mg_grad_of(n->out);
    bool       accumulate;
    mg_mat     da = mg_grad(t, a, &accumulate);
    da.rows *= n->i[0];
    if (da.data)
        t->backend->gemm((mg_gemm_args){ .c = da, .a = du, .b = mg_mat_of(x), .alpha = 1, .beta = accumulate });
    mg_mat dx = mg_grad(t, x, &accumulate);
    if (dx.data)
        t->backend->gemm((mg_gemm_args){ .c = dx, .a = du, .b = stack(a, (int)n->i[0]), .ta = true, .alpha = 1, .beta = accumulate });
}

static const mg_op op_down = { "lora_down", down_back, NULL };

mg_tensor *mg_lora_down(mg_tape *t, mg_tensor *x, mg_tensor *const *a, int n) {
    if (!x) return NULL;
    MG_ASSERT(n >= 1 && n <= MG_LORAS && a[0]->cols == x->cols);
    for (int i = 1; i < n; i++)
        MG_ASSERT(a[i]->behind == a[i - 1] && a[i]->rows == a[0]->rows && a[i]->needs_grad == a[0]->needs_grad);
    mg_tensor *u = mg_result(t, n * a[0]->rows, x->rows), *in[1 + MG_LORAS] = { x };
    if (!u) return NULL;
    t->backend->gemm((mg_gemm_args){ .c = mg_mat_of(u), .a = stack(a[0], n), .b = mg_mat_of(x), .tb = true, .alpha = 1 });
    for (int i = 0; i < n; i++) in[1 + i] = a[i];
    mg_record(t, &op_down, u, in, 1 + n)->i[0] = n;
    return u;
}

static mg_mat rows_of(mg_mat u, int64_t first, int64_t rows) {
    u.data = (uint8_t *)u.data + (size_t)(first * u.cols) * u.format->block_bytes;
    u.rows = rows;
    return u;
}

static void up_back(mg_tape *t, mg_node *n) {
    mg_tensor *u = n->in[0], *b = n->in[1];
    float      scale = n->f[0];
    int64_t    rank = b->cols, first = n->i[0] * rank;
    mg_mat     dy = mg_grad_of(n->out), part = rows_of(mg_mat_of(u), first, rank);
    bool       accumulate;
    mg_mat     db = mg_grad(t, b, &accumulate);
    if (db.data)
        t->backend->gemm((mg_gemm_args){ .c = db, .a = dy, .ta = true, .b = part, .tb = true, .alpha = scale, .beta = accumulate });
    mg_mat du = mg_grad(t, u, &accumulate);
    if (du.data && !accumulate && u->rows > rank) t->backend->fill((mg_fill_args){ du, 0 }); /* layers whose result nobody used */
    if (du.data)
        t->backend->gemm((mg_gemm_args){ .c = rows_of(du, first, rank), .a = mg_mat_of(b), .ta = true, .b = dy, .tb = true, .alpha = scale });
}

static const mg_op op_up = { "lora_up", up_back, NULL };

mg_tensor *mg_lora_up(mg_tape *t, mg_tensor *u, int part, mg_tensor *b, float scale) {
    if (!u) return NULL;
    MG_ASSERT((part + 1) * b->cols <= u->rows);
    mg_tensor *y = mg_result(t, u->cols, b->rows);
    if (!y) return NULL;
    t->backend->gemm((mg_gemm_args){ .c = mg_mat_of(y), .a = rows_of(mg_mat_of(u), part * b->cols, b->cols), .ta = true, .b = mg_mat_of(b),
                                     .tb = true, .alpha = scale });
    mg_node *n = MG_RECORD(t, &op_up, y, u, b);
    n->f[0] = scale;
    n->i[0] = part;
    return y;
}
