/* delta.c -- y += x dW^T where dW is made of small trained matrices (LoHa, LoKr).
 *
 *     ddW = dy^T x      dx += dy dW
 *
 * dW exists only while it is used, in work memory, and is made again in the backward pass; its kind knows how it is made
 * and where its gradient goes.  In place on y, as mg_lora. */
#include "autograd/ops.h"

enum { GAP = 16 }; /* numbers between matrices in work memory, at most */

typedef struct { mg_mat w, work; } room;

static bool take(mg_tape *t, const mg_tensor *x, const mg_tensor *y, room *r, size_t *mark) {
    size_t            unused;
    const mg_format  *f = t->backend->element;
    size_t            bytes = (size_t)(y->cols * x->cols) * f->block_bytes;
    r->w = (mg_mat){ mg_work_begin(t, bytes, mark), y->cols, x->cols, f, NULL };
    r->work = (mg_mat){ mg_work_begin(t, 2 * bytes + 4 * GAP * f->block_bytes, &unused), y->cols, x->cols, f, NULL };
    return r->w.data && r->work.data;
}

static void delta_back(mg_tape *t, mg_node *n) {
    const mg_delta_kind *kind = n->ref[0];
    mg_tensor           *y = n->in[0], *x = n->in[1];
    mg_mat               dy = mg_grad_of(n->out), p[MG_DELTA_PARTS] = { 0 }, dp[MG_DELTA_PARTS] = { 0 };
    bool                 accumulate, unused;
    room                 r;
    size_t               mark;
    mg_mat               dx = mg_grad(t, x, &accumulate);
    for (int i = 0; i < MG_DELTA_PARTS; i++) {
        if (!n->in[2 + i]) continue;
        p[i] = mg_mat_of(n->in[2 + i]);
        dp[i] = mg_grad(t, n->in[2 + i], &unused);
    }
    if (!take(t, x, y, &r, &mark)) return;
    if (dx.data) {
        kind->build(t->backend, p, n->f[0], r.w, r.work);
        t->backend->gemm((mg_gemm_args){ .c = dx, .a = dy, .b = r.w, .alpha = 1, .beta = accumulate });
    }
    t->backend->gemm((mg_gemm_args){ .c = r.w, .a = dy, .b = mg_mat_of(x), .ta = true, .alpha = 1 });
    kind->back(t->backend, p, dp, n->f[0], r.w, r.work);
    mg_work_end(t, mark);
    mg_grad_pass(t, y, n->out);
}

static const mg_op op_delta = { "delta", delta_back, NULL };

mg_tensor *mg_delta(mg_tape *t, mg_tensor *y, mg_tensor *x, const mg_delta_kind *kind, mg_tensor *const part[MG_DELTA_PARTS], float scale) {
    if (!y || !x) return NULL;
    MG_ASSERT(!y->transient);
    mg_mat p[MG_DELTA_PARTS] = { 0 };
    room   r;
    size_t mark;
    for (int i = 0; i < MG_DELTA_PARTS; i++)
        if (part[i]) p[i] = mg_mat_of(part[i]);
    if (!take(t, x, y, &r, &mark)) return NULL;
    kind->build(t->backend, p, scale, r.w, r.work);
    t->backend->gemm((mg_gemm_args){ .c = mg_mat_of(y), .a = mg_mat_of(x), .b = r.w, .tb = true, .alpha = 1, .beta = 1 });
    mg_work_end(t, mark);
    mg_tensor *out = mg_result_in_place(t, y);
    mg_node   *n = MG_RECORD(t, &op_delta, out, y, x, part[0], part[1], part[2], part[3]);
    n->ref[0] = kind;
    n->f[0] = scale;
    return out;
}

/* ---- LoHa: scale (p0 p1) * (p2 p3), element by element (Hyeon-Woo et al., arXiv 2108.06098) ---- */

static void product(const mg_backend *b, mg_mat to, mg_mat left, mg_mat right, float scale) {
    b->gemm((mg_gemm_args){ .c = to, .a = left, .b = right, .alpha = scale });
}

static void hadamard_build(const mg_backend *b, const mg_mat *p, float scale, mg_mat w, mg_mat work) {
    product(b, w, p[0], p[1], scale);
    product(b, work, p[2], p[3], 1);
    b->multiply((mg_multiply_args){ .y = w, .x = w, .g = work });
}

/* What g, the gradient of left right, gives the two. */
static void product_back(const mg_backend *b, mg_mat dleft, mg_mat dright, mg_mat left, mg_mat right, mg_mat g, float scale) {
    if (dleft.data) b->gemm((mg_gemm_args){ .c = dleft, .a = g, .b = right, .tb = true, .alpha = scale, .beta = 1 });
    if (dright.data) b->gemm((mg_gemm_args){ .c = dright, .a = left, .b = g, .ta = true, .alpha = scale, .beta = 1 });
}

static void hadamard_back(const mg_backend *b, const mg_mat *p, const mg_mat *dp, float scale, mg_mat dw, mg_mat work) {
    product(b, work, p[2], p[3], 1);
    b->multiply((mg_multiply_args){ .y = work, .x = work, .g = dw });
    product_back(b, dp[0], dp[1], p[0], p[1], work, scale);
    product(b, work, p[0], p[1], 1);
    b->multiply((mg_multiply_args){ .y = work, .x = work, .g = dw });
    product_back(b, dp[2], dp[3], p[2], p[3], work, scale);
}

const mg_delta_kind mg_delta_hadamard = { "hadamard", hadamard_build, hadamard_back };

/* ---- LoKr: scale w1 kron w2 (Edalati et al., arXiv 2212.10650), each whole or a product of two ---- */

/* The next matrix in work memory. */
static mg_mat next(mg_mat *work, int64_t rows, int64_t cols) {
    mg_mat m = { work->data, rows, cols, work->format, NULL };
    work->data = (uint8_t *)work->data + (size_t)((rows * cols + GAP - 1) / GAP * GAP) * work->format->block_bytes;
    return m;
}

static mg_mat factor(const mg_backend *b, const mg_mat *p, mg_mat *work) {
    if (!p[1].data) return p[0];
    mg_mat made = next(work, p[0].rows, p[1].cols);
    product(b, made, p[0], p[1], 1);
    return made;
}

static void kron_build(const mg_backend *b, const mg_mat *p, float scale, mg_mat w, mg_mat work) {
    mg_mat first = factor(b, p, &work), second = factor(b, p + 2, &work);
    b->kron((mg_kron_args){ .y = w, .a = first, .b = second, .scale = scale });
}

/* A factor that is a product gets its own gradient in work memory first. */
static mg_mat gradient_room(const mg_backend *b, const mg_mat *p, const mg_mat *dp, mg_mat *work) {
    if (!p[1].data) return dp[0];
    mg_mat d = next(work, p[0].rows, p[1].cols);
    b->fill((mg_fill_args){ d, 0 });
    return d;
}

static void kron_back(const mg_backend *b, const mg_mat *p, const mg_mat *dp, float scale, mg_mat dw, mg_mat work) {
    mg_mat first = factor(b, p, &work), second = factor(b, p + 2, &work);
    mg_mat d1 = gradient_room(b, p, dp, &work), d2 = gradient_room(b, p + 2, dp + 2, &work);
    b->kron_back((mg_kron_back_args){ .da = d1, .db = d2, .dy = dw, .a = first, .b = second, .scale = scale });
    if (p[1].data) product_back(b, dp[0], dp[1], p[0], p[1], d1, 1);
    if (p[3].data) product_back(b, dp[2], dp[3], p[2], p[3], d2, 1);
}

const mg_delta_kind mg_delta_kron = { "kron", kron_build, kron_back };
