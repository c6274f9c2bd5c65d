/* muon.c -- Muon (Jordan et al. 2024), as torch.optim.Muon: the momentum of a matrix is replaced by a matrix with
 * the same singular vectors whose singular values are all about one; everything else gets AdamW.
 *
 *     b = momentum b + (1 - momentum) g;  u = nesterov ? (1 - momentum) g + momentum b : b
 *     X = u / |u|;  five times X = a X + (b G + c G G) X with G = X X^T       (Newton-Schulz, no decomposition)
 *     p -= lr decay p;  p -= lr ratio X
 *
 * G is taken on the shorter side.  torch does the iteration in bf16 on any device; here it is done as the backend
 * does products, so in fp32 unless dtype says bf16.  Matrices are all weights with more than one row and column but
 * those of embeddings and heads, whose rows are looked up one by one (their names say so). */
#include "optim/rule.h"

#include <math.h>

static int64_t smaller(const mg_tensor *x) { return x->rows < x->cols ? x->rows : x->cols; }

/* Work: X and the next X, G and its polynomial. */
static mg_status lay_out(mg_optim *o, mg_error *err) {
    mg_status st = MG_OK;
    size_t    work = 0;
    for (size_t i = 0; !st && i < o->p->n; i++) {
        const mg_tensor *x = o->p->item[i];
        size_t           need = 2 * (size_t)(x->rows * x->cols + smaller(x) * smaller(x)) * sizeof(float);
        if (!mg_optim_is_hidden(x)) {
            st = mg_rule_add_state(o, &mg_rule_adamw, i, x->rows * x->cols, err);
            continue;
        }
        o->first[i] = o->n_states;
        if (!mg_optim_add_state(o, "momentum_buffer", x, "F32", 1, x->rows * x->cols)) st = mg_fail(err, MG_NOMEM, "no memory for an optimizer");
        if (need > work) work = need;
    }
    o->work_bytes = work;
    return st;
}

static double ratio(const mg_optim *o, const mg_tensor *x) {
    double rows = (double)x->rows, cols = (double)x->cols;
    return o->s.muon.match_rms_adamw ? 0.2 * sqrt(fmax(rows, cols)) : sqrt(fmax(1, rows / cols));
}

/* X [rows, cols], overwritten and moved to where it is returned; `next` of the same size, g and poly [n, n]. */
static float *newton_schulz(mg_optim *o, float *x, float *next, float *g, float *poly, int64_t rows, int64_t cols) {
    static const float a = 3.4445f, b = -4.7750f, c = 2.0315f;
    const mg_backend  *be = o->p->backend;
    bool               wide = rows <= cols;
    int64_t            n = wide ? rows : cols;
    mg_mat             gm = { g, n, n, be->scalar, NULL }, pm = { poly, n, n, be->scalar, NULL };
    for (int i = 0; i < o->s.muon.ns_steps; i++) {
        mg_mat xm = { x, rows, cols, be->scalar, NULL }, nm = { next, rows, cols, be->scalar, NULL };
        be->gemm((mg_gemm_args){ .c = gm, .a = xm, .b = xm, .ta = !wide, .tb = wide, .alpha = 1 });
        mg_optim_sum(o, poly, g, 1, false, n * n);
        be->gemm((mg_gemm_args){ .c = pm, .a = gm, .b = gm, .alpha = c, .beta = b });
        mg_optim_sum(o, next, x, 1, false, rows * cols);
        be->gemm((mg_gemm_args){ .c = nm, .a = wide ? pm : xm, .b = wide ? xm : pm, .alpha = 1, .beta = a });
        float *t = x;
        x = next;
        next = t;
    }
    return x;
}

static void orthogonal_step(mg_optim *o, const mg_update *u, size_t i) {
    const mg_tensor *t = o->p->item[i];
    int64_t          n = t->rows * t->cols, small = smaller(t);
    mg_piece         x = mg_optim_piece(o, u, i);
    float           *buffer = (float *)(void *)o->state[o->first[i]].data, *m = o->work, *next = m + n, *g = next + n;
    float            momentum = o->s.muon.momentum;
    mg_optim_sum(o, buffer, buffer, momentum, false, n);
    mg_optim_sum(o, buffer, x.grad, (1 - momentum) * u->grad_scale, true, n);
    if (o->s.muon.nesterov) mg_optim_sum(o, m, x.grad, (1 - momentum) * u->grad_scale, false, n);
    mg_optim_sum(o, m, buffer, o->s.muon.nesterov ? momentum : 1, o->s.muon.nesterov, n);
    double norm = mg_optim_norm(o, m, n);
    mg_optim_sum(o, m, m, (float)(1 / fmax(norm, 1e-7)), false, n);
    m = newton_schulz(o, m, next, g, g + small * small, t->rows, t->cols);
    if (x.decay > 0) mg_optim_sum(o, x.p, x.p, (float)(1 - (double)x.lr * (double)x.decay), false, n);
    mg_optim_sum(o, x.p, m, (float)(-(double)x.lr * ratio(o, t)), true, n);
    mg_optim_shadow(o, &x);
}

static void step(mg_optim *o, const mg_update *u) {
    for (size_t i = 0; i < o->p->n; i++) {
        if (mg_optim_is_hidden(o->p->item[i])) {
            orthogonal_step(o, u, i);
            continue;
        }
        mg_piece x = mg_optim_piece(o, u, i);
        mg_rule_update(o, u, &mg_rule_adamw, i, &x);
    }
}

const mg_optimizer mg_optimizer_muon = { .name = "muon", .lay_out = lay_out, .step = step };
