/* pca.c -- subspace iteration on the data itself, in double.
 *
 *     V <- orthonormal(X^T X V), until the variances along V stand still
 *
 * with more directions than are wanted (Halko, Martinsson and Tropp 2011), so neither the d x d covariance nor the
 * n x n products are ever stored.  Starting directions are drawn from a fixed seed: the same points, the same bits,
 * with any number of threads. */
#include "eval/map/pca.h"

#include "base/rng.h"
#include "base/thread.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 16, ROUNDS = 300 };

typedef struct work {
    float  *x;   /* [n, d] centred */
    double *v;   /* [d, BLOCK] directions, orthonormal columns */
    double *xv;  /* [n, BLOCK] */
    double *xtxv; /* [d, BLOCK] */
    int64_t n, d;
} work;

static void project(void *context, int64_t begin, int64_t end, int thread) {
    work *w = context;
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        double sum[BLOCK] = { 0 };
        for (int64_t c = 0; c < w->d; c++) {
            double x = (double)w->x[i * w->d + c];
            for (int b = 0; b < BLOCK; b++) sum[b] += x * w->v[c * BLOCK + b];
        }
        memcpy(w->xv + i * BLOCK, sum, sizeof sum);
    }
}

/* A range of columns each, so that every sum runs over the rows in order. */
static void project_back(void *context, int64_t begin, int64_t end, int thread) {
    work *w = context;
    (void)thread;
    memset(w->xtxv + begin * BLOCK, 0, (size_t)(end - begin) * BLOCK * sizeof *w->xtxv);
    for (int64_t i = 0; i < w->n; i++)
        for (int64_t c = begin; c < end; c++) {
            double x = (double)w->x[i * w->d + c];
            for (int b = 0; b < BLOCK; b++) w->xtxv[c * BLOCK + b] += x * w->xv[i * BLOCK + b];
        }
}

/* Gram-Schmidt over the columns of v [d, BLOCK], twice; a column without a direction of its own becomes 0. */
static void orthonormal(double *v, int64_t d) {
    for (int b = 0; b < BLOCK; b++) {
        double before = 0, after = 0;
        for (int64_t c = 0; c < d; c++) before += v[c * BLOCK + b] * v[c * BLOCK + b];
        for (int pass = 0; pass < 2; pass++)
            for (int a = 0; a < b; a++) {
                double dot = 0;
                for (int64_t c = 0; c < d; c++) dot += v[c * BLOCK + a] * v[c * BLOCK + b];
                for (int64_t c = 0; c < d; c++) v[c * BLOCK + b] -= dot * v[c * BLOCK + a];
            }
        for (int64_t c = 0; c < d; c++) after += v[c * BLOCK + b] * v[c * BLOCK + b];
        double scale = after > before * 1e-24 && after > 0 ? 1 / sqrt(after) : 0;
        for (int64_t c = 0; c < d; c++) v[c * BLOCK + b] *= scale;
    }
}

/* Eigenvectors e (columns) of a symmetric matrix a [BLOCK, BLOCK] by Jacobi's rotations; a ends diagonal. */
static void jacobi(double a[BLOCK][BLOCK], double e[BLOCK][BLOCK]) {
    memset(e, 0, sizeof(double[BLOCK][BLOCK]));
    for (int i = 0; i < BLOCK; i++) e[i][i] = 1;
    for (int sweep = 0; sweep < 60; sweep++) {
        double off = 0, all = 0;
        for (int i = 0; i < BLOCK; i++)
            for (int j = 0; j < BLOCK; j++) {
                all += a[i][j] * a[i][j];
                if (i != j) off += a[i][j] * a[i][j];
            }
        if (!(off > all * 1e-30)) return;
        for (int p = 0; p < BLOCK; p++)
            for (int q = p + 1; q < BLOCK; q++) {
                if (!(fabs(a[p][q]) > 0)) continue;
                double theta = (a[q][q] - a[p][p]) / (2 * a[p][q]);
                double t = (theta >= 0 ? 1 : -1) / (fabs(theta) + sqrt(theta * theta + 1)), c = 1 / sqrt(t * t + 1), s = t * c;
                for (int k = 0; k < BLOCK; k++) {
                    double x = a[k][p], y = a[k][q];
                    a[k][p] = c * x - s * y;
                    a[k][q] = s * x + c * y;
                }
                for (int k = 0; k < BLOCK; k++) {
                    double x = a[p][k], y = a[q][k];
                    a[p][k] = c * x - s * y;
                    a[q][k] = s * x + c * y;
                    x = e[k][p], y = e[k][q];
                    e[k][p] = c * x - s * y;
                    e[k][q] = s * x + c * y;
                }
            }
    }
}

/* Turn the columns of m [rows, BLOCK] by e and put them into `order`. */
static void turn(double *m, int64_t rows, double e[BLOCK][BLOCK], const int *order) {
    for (int64_t r = 0; r < rows; r++) {
        double sum[BLOCK] = { 0 };
        for (int b = 0; b < BLOCK; b++)
            for (int a = 0; a < BLOCK; a++) sum[b] += m[r * BLOCK + a] * e[a][order[b]];
        memcpy(m + r * BLOCK, sum, sizeof sum);
    }
}

/* The best directions within the span of v, largest variance first; variance [BLOCK] gets the sums of squares. */
static void rotate(work *w, double variance[BLOCK]) {
    double a[BLOCK][BLOCK] = { { 0 } }, e[BLOCK][BLOCK];
    int    order[BLOCK];
    mg_parallel(w->n, 64, project, w);
    for (int64_t i = 0; i < w->n; i++)
        for (int p = 0; p < BLOCK; p++)
            for (int q = 0; q < BLOCK; q++) a[p][q] += w->xv[i * BLOCK + p] * w->xv[i * BLOCK + q];
    jacobi(a, e);
    for (int b = 0; b < BLOCK; b++) {
        int at = b;
        for (; at > 0 && a[order[at - 1]][order[at - 1]] < a[b][b]; at--) order[at] = order[at - 1];
        order[at] = b;
    }
    turn(w->v, w->d, e, order);
    turn(w->xv, w->n, e, order);
    for (int b = 0; b < BLOCK; b++) variance[b] = a[order[b]][order[b]];
}

static mg_status centre(work *w, const float *x, double *total, mg_error *err) {
    *total = 0;
    for (int64_t c = 0; c < w->d; c++) {
        double sum = 0;
        for (int64_t i = 0; i < w->n; i++) sum += (double)x[i * w->d + c];
        if (!isfinite(sum)) return mg_fail(err, MG_DATA, "column %lld of the vectors holds a number that is not finite", (long long)c + 1);
        double mean = sum / (double)w->n;
        for (int64_t i = 0; i < w->n; i++) {
            double off = (double)x[i * w->d + c] - mean;
            w->x[i * w->d + c] = (float)off;
            *total += off * off;
        }
    }
    return MG_OK;
}

/* Iterate until the first k variances stand still to ten digits. */
static void find_directions(work *w, int k, double variance[BLOCK]) {
    double last[BLOCK] = { 0 };
    for (int64_t i = 0; i < w->d * BLOCK; i++) w->v[i] = (double)mg_rng_normal((mg_rng){ .seed = 20011 }, (uint64_t)i);
    orthonormal(w->v, w->d);
    for (int round = 0; round < ROUNDS; round++) {
        bool still = round > 2;
        rotate(w, variance);
        for (int b = 0; b < k; b++) {
            if (!(fabs(variance[b] - last[b]) <= 1e-12 * variance[0])) still = false;
            last[b] = variance[b];
        }
        if (still) return;
        mg_parallel(w->d, 8, project_back, w);
        memcpy(w->v, w->xtxv, (size_t)w->d * BLOCK * sizeof *w->v);
        orthonormal(w->v, w->d);
    }
    rotate(w, variance);
}

static double sign_of(const work *w, int b) {
    double most = 0;
    for (int64_t c = 0; c < w->d; c++)
        if (fabs(w->v[c * BLOCK + b]) > fabs(most)) most = w->v[c * BLOCK + b];
    return most < 0 ? -1 : 1;
}

mg_status mg_pca(const float *x, int64_t n, int64_t d, int k, double *y, double *part, mg_error *err) {
    MG_ASSERT(k >= 1 && k <= MG_PCA_MOST && n > 0 && d > 0);
    work      w = { .n = n, .d = d };
    double    total = 0, variance[BLOCK];
    size_t    cells;
    bool      fits = mg_size_mul((size_t)n, (size_t)d, &cells);
    mg_status st = MG_OK;
    w.x = fits ? mg_calloc(cells, sizeof *w.x) : NULL;
    w.v = mg_calloc((size_t)d * BLOCK, sizeof *w.v);
    w.xv = mg_calloc((size_t)n * BLOCK, sizeof *w.xv);
    w.xtxv = mg_calloc((size_t)d * BLOCK, sizeof *w.xtxv);
    if (!w.x || !w.v || !w.xv || !w.xtxv) st = mg_fail(err, MG_NOMEM, "no memory for the principal components of %lld vectors", (long long)n);
    if (!st) st = centre(&w, x, &total, err);
    if (!st) {
        find_directions(&w, k, variance);
        for (int b = 0; b < k; b++) {
            bool   there = variance[b] > 1e-14 * variance[0] && variance[b] > 0;
            double sign = sign_of(&w, b);
            for (int64_t i = 0; i < n; i++) y[i * k + b] = there ? sign * w.xv[i * BLOCK + b] : 0;
            if (part) part[b] = there && total > 0 ? variance[b] / total : 0;
        }
    }
    free(w.x);
    free(w.v);
    free(w.xv);
    free(w.xtxv);
    return st;
}
