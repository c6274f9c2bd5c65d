/* rows.isa.c -- loops over the rows of a matrix: norms, rotations, sums of columns.
 *
 * Sums run in sixteen lanes of fp32 (`omp simd reduction`); the lanes depend on
 * the instruction set alone, so a machine gives the same bits every time. */
#include "backend/cpu/loops.h"

#include <math.h>

void MG_LOOP(rmsnorm)(const mg_rmsnorm_args *a, int64_t first, int64_t last) {
    int64_t      n = a->g.cols;
    const float *g = a->g.data;
    for (int64_t k = first; k < last; k++) {
        const float *x = (const float *)a->x.data + k * n;
        float       *y = (float *)a->y.data + k * n, sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t c = 0; c < n; c++) sum += x[c] * x[c];
        float r = 1 / sqrtf(sum / (float)n + a->eps);
        ((float *)a->inv)[k] = r;
        if (a->residual.data) {
            const float *residual = (const float *)a->residual.data + k * n;
            MG_VECTOR
            for (int64_t c = 0; c < n; c++) y[c] = x[c] * r * g[c] + residual[c];
        } else {
            MG_VECTOR
            for (int64_t c = 0; c < n; c++) y[c] = x[c] * r * g[c];
        }
    }
}

void MG_LOOP(rmsnorm_back)(const mg_rmsnorm_back_args *a, float *dg, int64_t first, int64_t last) {
    int64_t      n = a->g.cols;
    const float *g = a->g.data;
    for (int64_t k = first; k < last; k++) {
        const float *x = (const float *)a->x.data + k * n, *dy = (const float *)a->dy.data + k * n;
        float       *dx = a->dx.data ? (float *)a->dx.data + k * n : NULL, r = ((const float *)a->inv)[k], sum = 0;
        if (dg) {
            MG_VECTOR
            for (int64_t c = 0; c < n; c++) dg[c] += dy[c] * x[c] * r;
        }
        if (!dx) continue;
#pragma omp simd reduction(+ : sum)
        for (int64_t c = 0; c < n; c++) sum += g[c] * dy[c] * x[c];
        float along = sum / (float)n * r * r * r;
        if (a->accumulate) {
            MG_VECTOR
            for (int64_t c = 0; c < n; c++) dx[c] += r * g[c] * dy[c] - along * x[c];
        } else {
            MG_VECTOR
            for (int64_t c = 0; c < n; c++) dx[c] = r * g[c] * dy[c] - along * x[c];
        }
    }
}

/* Two passes over a row that lies in the cache: the variance is of differences, so nothing cancels. */
void MG_LOOP(layernorm)(const mg_layernorm_args *a, int64_t first, int64_t last) {
    int64_t      n = a->x.cols;
    const float *g = a->g.data, *b = a->b.data;
    for (int64_t r = first; r < last; r++) {
        const float *x = (const float *)a->x.data + r * n;
        float       *y = (float *)a->y.data + r * n, sum = 0, square = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t c = 0; c < n; c++) sum += x[c];
        float mean = sum / (float)n;
#pragma omp simd reduction(+ : square)
        for (int64_t c = 0; c < n; c++) square += (x[c] - mean) * (x[c] - mean);
        float inv = 1 / sqrtf(square / (float)n + a->eps);
        ((float *)a->stats)[2 * r] = mean;
        ((float *)a->stats)[2 * r + 1] = inv;
        if (b) {
            MG_VECTOR
            for (int64_t c = 0; c < n; c++) y[c] = (x[c] - mean) * inv * g[c] + b[c];
        } else {
            MG_VECTOR
            for (int64_t c = 0; c < n; c++) y[c] = (x[c] - mean) * inv * g[c];
        }
    }
}

void MG_LOOP(layernorm_back)(const mg_layernorm_back_args *a, float *dg, int64_t first, int64_t last) {
    int64_t      n = a->x.cols;
    const float *g = a->g.data;
    for (int64_t r = first; r < last; r++) {
        const float *x = (const float *)a->x.data + r * n, *dy = (const float *)a->dy.data + r * n;
        float       *dx = a->dx.data ? (float *)a->dx.data + r * n : NULL, sum = 0, along = 0;
        float        mean = ((const float *)a->stats)[2 * r], inv = ((const float *)a->stats)[2 * r + 1];
        if (dg) {
            MG_VECTOR
            for (int64_t c = 0; c < n; c++) dg[c] += dy[c] * (x[c] - mean) * inv;
        }
        if (!dx) continue;
#pragma omp simd reduction(+ : sum, along)
        for (int64_t c = 0; c < n; c++) {
            sum += g[c] * dy[c];
            along += g[c] * dy[c] * (x[c] - mean);
        }
        sum /= (float)n;
        along *= inv * inv / (float)n;
        if (a->accumulate) {
            MG_VECTOR
            for (int64_t c = 0; c < n; c++) dx[c] += inv * (g[c] * dy[c] - sum - (x[c] - mean) * along);
        } else {
            MG_VECTOR
            for (int64_t c = 0; c < n; c++) dx[c] = inv * (g[c] * dy[c] - sum - (x[c] - mean) * along);
        }
    }
}

void MG_LOOP(columns)(const mg_columns_args *a, int64_t first, int64_t last) {
    int64_t groups = a->x.cols / a->group, n = a->y.cols / groups;
    for (int64_t i = first * groups; i < last * groups; i++) {
        float *restrict y = (float *)a->y.data + i * n, *restrict x = (float *)a->x.data + i * a->group + a->first;
        if (!a->back)
            for (int64_t c = 0; c < n; c++) y[c] = x[c];
        else if (a->accumulate)
            for (int64_t c = 0; c < n; c++) x[c] += y[c];
        else
            for (int64_t c = 0; c < n; c++) x[c] = y[c];
    }
}

void MG_LOOP(rope)(const mg_rope_args *a, int64_t first, int64_t last) {
    int64_t half = a->rot / 2, heads = a->x.cols / a->hd;
    float   sign = a->back ? -1.0f : 1.0f;
    for (int64_t r = first; r < last; r++) {
        const float *restrict cosine = a->cos + a->pos[r] * half, *restrict sine = a->sin + a->pos[r] * half;
        for (int64_t h = 0; h < heads; h++) {
            float *restrict p = (float *)a->x.data + r * a->x.cols + h * a->hd, *restrict q = p + half;
            for (int64_t i = 0; i < half; i++) {
                float x = p[i], y = q[i], s = sign * sine[i];
                p[i] = x * cosine[i] - y * s;
                q[i] = y * cosine[i] + x * s;
            }
        }
    }
}

void MG_LOOP(column_sum)(float *y, const float *x, int64_t rows, int64_t cols, int64_t ld) {
    for (int64_t r = 0; r < rows; r++, x += ld) {
        MG_VECTOR
        for (int64_t c = 0; c < cols; c++) y[c] += x[c];
    }
}

/* (x - shift) g h into y, or onto it; what is not there is a row of its neutral number. */
void MG_LOOP(multiply)(const mg_multiply_args *a, int64_t first, int64_t last) {
    int64_t      n = a->x.cols;
    const float *h = a->h.data, *shift = a->shift.data;
    float        back = a->put_back;
    for (int64_t r = first; r < last; r++) {
        const float *x = (const float *)a->x.data + r * n, *g = (const float *)a->g.data + (a->g.rows == 1 ? 0 : r * n);
        float       *y = (float *)a->y.data + r * n;
        if (!h && !shift && a->accumulate) {
            MG_VECTOR
            for (int64_t c = 0; c < n; c++) y[c] += x[c] * g[c];
        } else if (!h && !shift) {
            MG_VECTOR
            for (int64_t c = 0; c < n; c++) y[c] = x[c] * g[c];
        } else if (!shift && a->accumulate) {
            MG_VECTOR
            for (int64_t c = 0; c < n; c++) y[c] += x[c] * g[c] * h[c];
        } else if (!shift) {
            MG_VECTOR
            for (int64_t c = 0; c < n; c++) y[c] = x[c] * g[c] * h[c];
        } else {
            for (int64_t c = 0; c < n; c++)
                y[c] = (x[c] - shift[c]) * g[c] * (h ? h[c] : 1) + back * shift[c] + (a->accumulate ? y[c] : 0);
        }
    }
}

double MG_LOOP(sum)(const float *x, int64_t n) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += (double)x[i];
    return sum;
}

double MG_LOOP(square_sum)(const float *x, int64_t n) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sum;
}
