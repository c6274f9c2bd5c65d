/* lowrank.c -- few singular triplets of a large matrix by products alone.
 *
 * Rows of X [k,I] and Y [k,O] span the searched spaces; Y = X W^T and X = Y W by turns, made orthonormal between, turn
 * them towards the largest singular values.  What is left is a k x k problem, solved by Jacobi's rotations in double. */
#include "nn/lowrank.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 12, SMALL = 128, SWEEPS = 40 };

typedef struct {
    const mg_tensor *w, *minus; /* the matrix: w, or w - minus */
    int64_t          k;
    float           *x, *y, *other; /* [k,I], [k,O], the larger of both */
    void            *work;
} search;

static mg_mat plain(float *data, int64_t rows, int64_t cols) { return (mg_mat){ data, rows, cols, &mg_format_f32, NULL }; }

static void subtract(float *from, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) from[i] -= x[i];
}

/* y = x w^T, x = y w */
static void across(search *s) {
    const mg_backend *b = &mg_backend_cpu;
    int64_t           in = s->w->cols, out = s->w->rows;
    b->linear((mg_linear_args){ .y = plain(s->y, s->k, out), .x = plain(s->x, s->k, in), .w = mg_mat_of(s->w), .work = s->work });
    if (!s->minus) return;
    b->linear((mg_linear_args){ .y = plain(s->other, s->k, out), .x = plain(s->x, s->k, in), .w = mg_mat_of(s->minus), .work = s->work });
    subtract(s->y, s->other, s->k * out);
}

static void back(search *s) {
    const mg_backend *b = &mg_backend_cpu;
    int64_t           in = s->w->cols, out = s->w->rows;
    b->linear_dx((mg_linear_dx_args){ .dx = plain(s->x, s->k, in), .dy = plain(s->y, s->k, out), .w = mg_mat_of(s->w), .work = s->work });
    if (!s->minus) return;
    b->linear_dx((mg_linear_dx_args){ .dx = plain(s->other, s->k, in), .dy = plain(s->y, s->k, out), .w = mg_mat_of(s->minus), .work = s->work });
    subtract(s->x, s->other, s->k * in);
}

static double dot(const float *a, const float *b, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)a[i] * (double)b[i];
    return sum;
}

/* Gram and Schmidt, each row twice; one that depends on those before becomes zero. */
static void orthonormal(float *x, int64_t rows, int64_t n) {
    for (int64_t r = 0; r < rows; r++) {
        float *row = x + r * n;
        double before = sqrt(dot(row, row, n));
        for (int twice = 0; twice < 2; twice++)
            for (int64_t q = 0; q < r; q++) {
                double along = dot(row, x + q * n, n);
                for (int64_t i = 0; i < n; i++) row[i] -= (float)(along * (double)x[q * n + i]);
            }
        double length = sqrt(dot(row, row, n));
        float  by = length > 1e-6 * before ? (float)(1 / length) : 0;
        for (int64_t i = 0; i < n; i++) row[i] *= by;
    }
}

static mg_status open_search(search *s, const mg_tensor *w, const mg_tensor *minus, int64_t k, mg_error *err) {
    int64_t in = w->cols, out = w->rows, larger = in > out ? in : out;
    size_t  work = mg_backend_cpu.linear_work(k, mg_mat_of(w)), more = minus ? mg_backend_cpu.linear_work(k, mg_mat_of(minus)) : 0;
    *s = (search){ .w = w, .minus = minus, .k = k, .x = mg_calloc((size_t)k, (size_t)in * sizeof(float)),
                   .y = mg_calloc((size_t)k, (size_t)out * sizeof(float)), .other = mg_calloc((size_t)k, (size_t)larger * sizeof(float)),
                   .work = aligned_alloc(64, (((work > more ? work : more) + 63) & ~(size_t)63) + 64) };
    if (s->x && s->y && s->other && s->work) return MG_OK;
    return mg_fail(err, MG_NOMEM, "no memory to decompose %s", w->name ? w->name : "a weight");
}

static void close_search(search *s) {
    free(s->x);
    free(s->y);
    free(s->other);
    free(s->work);
}

/* Eigenvectors of the symmetric g [k,k] into the rows of v, by cyclic rotations; the values end up on g's diagonal. */
static void jacobi(double *g, double *v, int64_t k) {
    for (int64_t i = 0; i < k * k; i++) v[i] = i / k == i % k;
    for (int sweep = 0; sweep < SWEEPS; sweep++) {
        double off = 0, all = 0;
        for (int64_t i = 0; i < k * k; i++) *(i / k == i % k ? &all : &off) += g[i] * g[i];
        if (off <= 1e-28 * all) return;
        for (int64_t p = 0; p < k; p++)
            for (int64_t q = p + 1; q < k; q++) {
                double pq = g[p * k + q];
                if (pq == 0) continue;
                double theta = (g[q * k + q] - g[p * k + p]) / (2 * pq);
                double t = (theta >= 0 ? 1 : -1) / (fabs(theta) + sqrt(theta * theta + 1)), c = 1 / sqrt(t * t + 1), s = t * c;
                for (int64_t i = 0; i < k; i++) {
                    double a = g[i * k + p], b = g[i * k + q];
                    g[i * k + p] = c * a - s * b;
                    g[i * k + q] = s * a + c * b;
                }
                for (int64_t i = 0; i < k; i++) {
                    double a = g[p * k + i], b = g[q * k + i];
                    g[p * k + i] = c * a - s * b;
                    g[q * k + i] = s * a + c * b;
                    a = v[p * k + i], b = v[q * k + i];
                    v[p * k + i] = c * a - s * b;
                    v[q * k + i] = s * a + c * b;
                }
            }
    }
}

/* out [n] = sum over q of by[q] rows q of x */
static void combine(float *out, const double *by, const float *x, int64_t rows, int64_t n, double scale) {
    for (int64_t i = 0; i < n; i++) {
        double sum = 0;
        for (int64_t q = 0; q < rows; q++) sum += by[q] * (double)x[q * n + i];
        out[i] = (float)(sum * scale);
    }
}

/* x = y w with orthonormal y: the triplets of x, turned into those of w. */
static mg_status finish(search *s, int r, float *u, float *v, float *sigma, mg_error *err) {
    int64_t k = s->k, in = s->w->cols, out = s->w->rows;
    double *g = mg_calloc(2 * (size_t)k, (size_t)k * sizeof *g), *turn = g ? g + k * k : NULL;
    if (!g) return mg_fail(err, MG_NOMEM, "no memory to decompose a weight");
    for (int64_t p = 0; p < k; p++)
        for (int64_t q = p; q < k; q++) g[p * k + q] = g[q * k + p] = dot(s->x + p * in, s->x + q * in, in);
    jacobi(g, turn, k);
    for (int i = 0; i < r; i++) {
        int64_t best = 0;
        for (int64_t q = 1; q < k; q++) best = g[q * k + q] > g[best * k + best] ? q : best;
        double value = sqrt(g[best * k + best] > 0 ? g[best * k + best] : 0);
        sigma[i] = (float)value;
        combine(u + i * out, turn + best * k, s->y, k, out, 1);
        combine(v + i * in, turn + best * k, s->x, k, in, value > 0 ? 1 / value : 0);
        g[best * k + best] = -1;
    }
    free(g);
    return MG_OK;
}

mg_status mg_lowrank_difference(const mg_tensor *a, const mg_tensor *b, int r, uint64_t seed, float *u, float *v, float *s, mg_error *err) {
    int64_t   in = a->cols, out = a->rows, least = in < out ? in : out, k = 2 * r > r + 8 ? 2 * r : r + 8;
    search    x;
    if (k > least || least <= SMALL) k = least;
    MG_ASSERT(r >= 1 && r <= least);
    mg_status st = open_search(&x, a, b, k, err);
    if (!st) {
        mg_rng stream = { seed, mg_rng_where(0, 0, 77) };
        for (int64_t i = 0; i < k * in; i++) x.x[i] = 2 * mg_rng_uniform(stream, (uint64_t)i) - 1;
        for (int round = 0; round < ROUNDS; round++) {
            orthonormal(x.x, k, in);
            across(&x);
            orthonormal(x.y, k, out);
            back(&x);
        }
        st = finish(&x, r, u, v, s, err);
    }
    close_search(&x);
    return st;
}

mg_status mg_lowrank_svd(const mg_tensor *w, int r, uint64_t seed, float *u, float *v, float *s, mg_error *err) {
    return mg_lowrank_difference(w, NULL, r, seed, u, v, s, err);
}

mg_status mg_lowrank_qr(const mg_tensor *w, int r, float *q, float *rr, mg_error *err) {
    search    x;
    mg_status st = open_search(&x, w, NULL, r, err);
    if (!st) {
        for (int i = 0; i < r; i++) x.x[i * w->cols + i] = 1; /* its product: column i */
        across(&x);
        orthonormal(x.y, r, w->rows);
        back(&x);
        memcpy(q, x.y, (size_t)r * (size_t)w->rows * sizeof *q);
        memcpy(rr, x.x, (size_t)r * (size_t)w->cols * sizeof *rr);
    }
    close_search(&x);
    return st;
}
