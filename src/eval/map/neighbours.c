/* neighbours.c -- all distances by one product, the near ones again in double.
 *
 * |a - b|^2 = |a|^2 + |b|^2 - 2 ab makes distances a matrix product, which is the fast way and an inexact one: the
 * points are centred first, a few more than k are taken, and those are measured again, difference by difference. */
#include "eval/map/neighbours.h"

#include "backend/backend.h"
#include "base/thread.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 128, SPARE = 8 };

typedef struct near { double d2; int32_t at; } near;

typedef struct work {
    const float *x;     /* [n, d] as given */
    float       *c;     /* [n, d] centred */
    float       *norm;  /* [n] squared */
    float       *dot;   /* [ROWS, n] */
    near        *list;  /* [threads, n] */
    int64_t      n, d, k, first;
    int32_t     *index;
    double      *distance2;
} work;

static int by_distance(const void *a, const void *b) {
    const near *p = a, *q = b;
    return p->d2 < q->d2 ? -1 : p->d2 > q->d2 ? 1 : p->at < q->at ? -1 : p->at > q->at;
}

/* The k least of list [n] to its front, in any order (Hoare's selection). */
static void select_least(near *list, int64_t n, int64_t k) {
    int64_t low = 0, high = n - 1;
    while (low < high) {
        near    pivot = list[low + (high - low) / 2];
        int64_t i = low, j = high;
        while (i <= j) {
            while (by_distance(&list[i], &pivot) < 0) i++;
            while (by_distance(&list[j], &pivot) > 0) j--;
            if (i > j) break;
            near swap = list[i];
            list[i++] = list[j];
            list[j--] = swap;
        }
        if (k <= j + 1) high = j;
        else if (k > i) low = i;
        else return;
    }
}

static double true_distance2(const float *a, const float *b, int64_t d) {
    double sum[4] = { 0 };
    int64_t i = 0;
    for (; i + 4 <= d; i += 4)
        for (int l = 0; l < 4; l++) {
            double difference = (double)a[i + l] - (double)b[i + l];
            sum[l] += difference * difference;
        }
    for (; i < d; i++) sum[0] += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

static void choose(void *context, int64_t begin, int64_t end, int thread) {
    work *w = context;
    near *list = w->list + (int64_t)thread * w->n;
    for (int64_t r = begin; r < end; r++) {
        int64_t      i = w->first + r, taken = 0, keep = w->k + SPARE < w->n - 1 ? w->k + SPARE : w->n - 1;
        const float *dot = w->dot + r * w->n;
        for (int64_t j = 0; j < w->n; j++)
            if (j != i) list[taken++] = (near){ (double)(w->norm[i] + w->norm[j] - 2 * dot[j]), (int32_t)j };
        select_least(list, taken, keep);
        for (int64_t j = 0; j < keep; j++) list[j].d2 = true_distance2(w->x + i * w->d, w->x + list[j].at * w->d, w->d);
        qsort(list, (size_t)keep, sizeof *list, by_distance);
        for (int64_t j = 0; j < w->k; j++) {
            w->index[i * w->k + j] = list[j].at;
            w->distance2[i * w->k + j] = list[j].d2;
        }
    }
}

static mg_status centre(work *w, mg_error *err) {
    for (int64_t c = 0; c < w->d; c++) {
        double sum = 0;
        for (int64_t i = 0; i < w->n; i++) sum += (double)w->x[i * w->d + c];
        if (!isfinite(sum)) return mg_fail(err, MG_DATA, "column %lld of the vectors holds a number that is not finite", (long long)c + 1);
        float mean = (float)(sum / (double)w->n);
        for (int64_t i = 0; i < w->n; i++) w->c[i * w->d + c] = w->x[i * w->d + c] - mean;
    }
    for (int64_t i = 0; i < w->n; i++) {
        double sum = 0;
        for (int64_t c = 0; c < w->d; c++) sum += (double)w->c[i * w->d + c] * (double)w->c[i * w->d + c];
        w->norm[i] = (float)sum;
    }
    return MG_OK;
}

mg_status mg_neighbours(const float *x, int64_t n, int64_t d, int64_t k, int32_t *index, double *distance2, mg_error *err) {
    MG_ASSERT(k >= 1 && k < n && n < INT32_MAX);
    work      w = { .x = x, .n = n, .d = d, .k = k, .index = index, .distance2 = distance2 };
    mg_mat    all = { NULL, n, d, &mg_format_f32, NULL };
    size_t    cells, listed;
    mg_status st = MG_OK;
    bool      fits = mg_size_mul((size_t)n, (size_t)d, &cells) && mg_size_mul((size_t)n, (size_t)mg_threads(), &listed);
    w.c = fits ? mg_calloc(cells, sizeof *w.c) : NULL;
    w.norm = mg_calloc((size_t)n, sizeof *w.norm);
    w.dot = mg_calloc((size_t)n * ROWS, sizeof *w.dot);
    w.list = fits ? mg_calloc(listed, sizeof *w.list) : NULL;
    all.data = w.c;
    if (!w.c || !w.norm || !w.dot || !w.list)
        st = mg_fail(err, MG_NOMEM, "no memory for the distances of %lld vectors", (long long)n);
    else st = centre(&w, err);
    for (w.first = 0; !st && w.first < n; w.first += ROWS) {
        int64_t rows = n - w.first < ROWS ? n - w.first : ROWS;
        mg_mat  some = { w.c + w.first * d, rows, d, &mg_format_f32, NULL }, dot = { w.dot, rows, n, &mg_format_f32, NULL };
        mg_backend_cpu.gemm((mg_gemm_args){ .c = dot, .a = some, .b = all, .tb = true, .alpha = 1 });
        mg_parallel(rows, 1, choose, &w);
    }
    free(w.c);
    free(w.norm);
    free(w.dot);
    free(w.list);
    return st;
}

/* ---- trustworthiness ---- */

typedef struct trust {
    const float   *x;
    const int32_t *shown; /* [n, k] nearest in the picture */
    int64_t        n, d, k;
    double        *distance; /* [threads, n] */
    double        *lost;     /* [n] */
} trust;

static void rank_shown(void *context, int64_t begin, int64_t end, int thread) {
    trust  *t = context;
    double *distance = t->distance + (int64_t)thread * t->n;
    for (int64_t i = begin; i < end; i++) {
        for (int64_t j = 0; j < t->n; j++) distance[j] = true_distance2(t->x + i * t->d, t->x + j * t->d, t->d);
        for (int64_t s = 0; s < t->k; s++) {
            int32_t at = t->shown[i * t->k + s];
            int64_t rank = 1;
            for (int64_t j = 0; j < t->n; j++)
                rank += j != i && (distance[j] < distance[at] || (!(distance[j] > distance[at]) && j < at));
            if (rank > t->k) t->lost[i] += (double)(rank - t->k);
        }
    }
}

mg_status mg_trustworthiness(const float *x, int64_t n, int64_t d, const double *y, int64_t k, double *out, mg_error *err) {
    if (k < 1 || 2 * k >= n)
        return mg_fail(err, MG_CONFIG, "trustworthiness of %lld neighbours needs more than %lld points, there are %lld", (long long)k,
                       (long long)(2 * k), (long long)n);
    trust     t = { .x = x, .n = n, .d = d, .k = k };
    float    *flat = mg_calloc((size_t)n * 2, sizeof *flat);
    int32_t  *shown = mg_calloc((size_t)n * (size_t)k, sizeof *shown);
    double   *distance2 = mg_calloc((size_t)n * (size_t)k, sizeof *distance2);
    mg_status st = MG_OK;
    t.shown = shown;
    t.distance = mg_calloc((size_t)n * (size_t)mg_threads(), sizeof *t.distance);
    t.lost = mg_calloc((size_t)n, sizeof *t.lost);
    if (!flat || !shown || !distance2 || !t.distance || !t.lost)
        st = mg_fail(err, MG_NOMEM, "no memory for the trustworthiness of %lld points", (long long)n);
    if (!st) {
        for (int64_t i = 0; i < 2 * n; i++) flat[i] = (float)y[i];
        st = mg_neighbours(flat, n, 2, k, shown, distance2, err);
    }
    if (!st) {
        double sum = 0, scale = 2.0 / ((double)n * (double)k * (2.0 * (double)n - 3.0 * (double)k - 1));
        mg_parallel(n, 1, rank_shown, &t);
        for (int64_t i = 0; i < n; i++) sum += t.lost[i];
        *out = 1 - scale * sum;
    }
    free(flat);
    free(shown);
    free(distance2);
    free(t.distance);
    free(t.lost);
    return st;
}
