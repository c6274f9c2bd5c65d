/* galore.c -- GaLore (Zhao et al. 2024, arXiv 2403.03507), as galore_torch's AdamW: the state of a matrix lies in the space
 * of the first `rank` singular vectors of its gradient, which is found anew every `gap` steps.
 *
 *     P [rank, dim]: rows orthonormal        G' = G P^T (right) or P G (left)
 *     m, v of G';  N = sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps);  p -= lr scale (N P or P^T N);  p -= lr decay p
 *
 * Each vector's largest component is positive, so that moments go on in the sense in which they were begun.  Matrices
 * that are no larger than the rank, and all that is no hidden matrix, get the same AdamW without a projection.
 * Decompositions are done on the host; where there is no memory for one, the last projection stays. */
#include "nn/lowrank.h"
#include "optim/rule.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The side whose space is kept: P is over the columns (right) or the rows (left). */
static bool right_side(const mg_optim *o, const mg_tensor *x) {
    bool tall = x->rows >= x->cols;
    const bool right[] = { [MG_GALORE_STD] = tall, [MG_GALORE_REVERSE_STD] = !tall, [MG_GALORE_LEFT] = false, [MG_GALORE_RIGHT] = true };
    return right[o->s.galore.side];
}

static bool projected(const mg_optim *o, const mg_tensor *x) {
    return mg_optim_is_hidden(x) && x->rows > o->s.galore.rank && x->cols > o->s.galore.rank;
}

static int64_t low_count(const mg_optim *o, const mg_tensor *x) { return o->s.galore.rank * (right_side(o, x) ? x->rows : x->cols); }

static mg_status lay_out(mg_optim *o, mg_error *err) {
    mg_status st = MG_OK;
    size_t    work = 0;
    for (size_t i = 0; !st && i < o->p->n; i++) {
        const mg_tensor *x = o->p->item[i];
        int64_t          n = x->rows * x->cols;
        if (projected(o, x)) {
            if (!mg_optim_add_state(o, "projection", x, "F32", 1, o->s.galore.rank * (right_side(o, x) ? x->cols : x->rows)))
                return mg_fail(err, MG_NOMEM, "no memory for an optimizer");
            n = low_count(o, x);
            if (2 * (size_t)n * sizeof(float) > work) work = 2 * (size_t)n * sizeof(float);
        }
        st = mg_rule_add_state(o, &mg_rule_adamw, i, n, err); /* the projection stands before them */
    }
    o->work_bytes = work;
    return st;
}

/* to -= sqrt(c2) / c1 lr m / (sqrt(v) + eps), with the moments of tensor i */
static void adam(mg_optim *o, const mg_update *u, size_t i, float *to, const float *grad, int64_t n, double lr, float grad_scale) {
    const mg_state *state = o->state + o->first[i];
    double          t = (double)u->step, c1 = 1 - pow((double)o->s.beta1, t), c2 = 1 - pow((double)o->s.beta2, t);
    o->p->backend->adamw((mg_adamw_args){ .p = to, .grad = grad, .m = (float *)(void *)state[0].data, .v = (float *)(void *)state[1].data, .n = n,
                                          .lr = (float)lr, .beta1 = o->s.beta1, .beta2 = o->s.beta2, .eps = o->s.eps,
                                          .grad_scale = grad_scale, .c1 = c1 / sqrt(c2), .c2 = 1 });
}

/* The largest component of each row is positive. */
static void fix_signs(float *p, int64_t rows, int64_t n) {
    for (int64_t r = 0; r < rows; r++) {
        float *row = p + r * n, largest = 0;
        for (int64_t k = 0; k < n; k++)
            if (fabsf(row[k]) > fabsf(largest)) largest = row[k];
        for (int64_t k = 0; largest < 0 && k < n; k++) row[k] = -row[k];
    }
}

static void find_projection(mg_optim *o, const mg_tensor *x, float *to, bool right) {
    const mg_device *d = o->p->backend->device;
    int64_t          rank = o->s.galore.rank;
    size_t           bytes = (size_t)(x->rows * x->cols) * sizeof(float);
    float           *copy = d->host ? NULL : mg_calloc(1, bytes), *room = mg_calloc((size_t)rank, (size_t)(x->rows + x->cols + 1) * sizeof *room);
    if (copy) d->get(copy, x->grad, bytes);
    float    *v = room ? room + rank * x->rows : NULL, *s = room ? v + rank * x->cols : NULL;
    mg_tensor g = { .name = x->name, .rows = x->rows, .cols = x->cols, .format = &mg_format_f32, .data = copy ? copy : x->grad };
    if (room && (copy || d->host) && !mg_lowrank_svd(&g, (int)rank, o->s.noise.seed, room, v, s, NULL)) {
        fix_signs(right ? v : room, rank, right ? x->cols : x->rows);
        d->put(to, right ? v : room, (size_t)(rank * (right ? x->cols : x->rows)) * sizeof(float));
    }
    free(room);
    free(copy);
}

static void projected_step(mg_optim *o, const mg_update *u, size_t i, const mg_piece *x) {
    const mg_tensor  *t = o->p->item[i];
    const mg_backend *b = o->p->backend;
    bool              right = right_side(o, t);
    int64_t           rank = o->s.galore.rank, n = low_count(o, t);
    float            *p = (float *)(void *)o->state[o->first[i] - 1].data, *low = o->work, *made = low + n;
    mg_mat            g = { x->grad, t->rows, t->cols, b->scalar, NULL }, value = { x->p, t->rows, t->cols, b->scalar, NULL };
    mg_mat            pm = { p, rank, right ? t->cols : t->rows, b->scalar, NULL };
    mg_mat            lm = { low, right ? t->rows : rank, right ? rank : t->cols, b->scalar, NULL }, mm = lm;
    mm.data = made;
    if ((u->step - 1) % o->s.galore.gap == 0) find_projection(o, t, p, right);
    b->gemm((mg_gemm_args){ .c = lm, .a = right ? g : pm, .b = right ? pm : g, .tb = right, .alpha = 1 });
    b->device->zero(made, (size_t)n * sizeof(float));
    adam(o, u, i, made, low, n, 1, u->grad_scale);
    b->gemm((mg_gemm_args){ .c = value, .a = right ? mm : pm, .b = right ? pm : mm, .ta = !right, .alpha = x->lr * o->s.galore.scale, .beta = 1 });
}

static void step(mg_optim *o, const mg_update *u) {
    for (size_t i = 0; i < o->p->n; i++) {
        mg_piece x = mg_optim_piece(o, u, i);
        if (projected(o, o->p->item[i]))
            projected_step(o, u, i, &x);
        else
            adam(o, u, i, x.p, x.grad, x.n, (double)x.lr, u->grad_scale);
        if (x.decay > 0) mg_optim_sum(o, x.p, x.p, (float)(1 - (double)x.lr * (double)x.decay), false, x.n);
        mg_optim_shadow(o, &x);
    }
}

const mg_optimizer mg_optimizer_galore_adamw = { .name = "galore_adamw", .lay_out = lay_out, .step = step };
