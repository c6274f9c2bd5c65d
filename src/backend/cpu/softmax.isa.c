/* softmax.isa.c -- rows of scores and logits: soft cap, maximum, exponentials and their gradients. */
#include "backend/cpu/loops.h"
#include "backend/cpu/vmath.h"

#include <string.h>

float MG_LOOP(max)(const float *z, int64_t n) {
    float most = -INFINITY;
#pragma omp simd reduction(max : most)
    for (int64_t i = 0; i < n; i++) most = z[i] > most ? z[i] : most;
    return most;
}

void MG_LOOP(softcap)(float *z, int64_t n, float cap) {
    float inverse = 1 / cap;
    for (int64_t i = 0; i < n; i++) z[i] = cap * mg_tanh(z[i] * inverse);
}

static inline uint16_t round_bf16(float f) {
    mg_bits v = { .f = f };
    return (uint16_t)((v.u + 0x7fffu + (v.u >> 16 & 1)) >> 16); /* the NaNs of arithmetic stay NaNs */
}

void MG_LOOP(pack)(uint16_t *out, const float *x, int64_t rows, int64_t rows_out, int64_t cols, int64_t ld) {
    for (int64_t r = 0; r < rows; r++, x += ld) {
        uint16_t *row = out + r * cols;
        MG_VECTOR
        for (int64_t c = 0; c < cols; c++) row[c] = round_bf16(x[c]);
    }
    memset(out + rows * cols, 0, (size_t)((rows_out - rows) * cols) * sizeof *out);
}

/* ---- rows of attention scores ----
 *
 * Loops run over whole vectors around [first, last), which lie inside the row: an end of fifteen numbers done
 * one by one would cost as much as the rest of a short row. */

enum { WHOLE = 16 };
#define IS_WHOLE(n)                                              \
    if ((n) % WHOLE) __builtin_unreachable()

typedef struct { int64_t begin, end; } range;

static range around(int64_t first, int64_t last) {
    return (range){ first & ~(int64_t)(WHOLE - 1), (last + WHOLE - 1) & ~(int64_t)(WHOLE - 1) };
}

/* What is done and not wanted, at most fifteen numbers a side. */
static void set_edges(float *z, range r, int64_t first, int64_t last, float value) {
    for (int64_t i = r.begin; i < first; i++) z[i] = value;
    for (int64_t i = last; i < r.end; i++) z[i] = value;
}

/* The row as it enters products: zeros outside `r`, rounded when out16 is set. */
static void finish_row(float *z, uint16_t *out16, int64_t n, range r) {
    int64_t inside = r.end - r.begin;
    IS_WHOLE(inside);
    if (!out16) {
        memset(z, 0, (size_t)r.begin * sizeof *z);
        memset(z + r.end, 0, (size_t)(n - r.end) * sizeof *z);
        return;
    }
    const float *from = z + r.begin;
    uint16_t    *to = out16 + r.begin;
    memset(out16, 0, (size_t)r.begin * sizeof *out16);
    MG_VECTOR
    for (int64_t i = 0; i < inside; i++) to[i] = round_bf16(from[i]);
    memset(out16 + r.end, 0, (size_t)(n - r.end) * sizeof *out16);
}

float MG_LOOP(softmax)(float *row, uint16_t *p16, int64_t n_row, int64_t first, int64_t last, float scale, float cap,
                       float *lse) {
    range   r = around(first, last);
    float   sum = 0, most = -INFINITY, *z = row + r.begin;
    int64_t n = r.end - r.begin;
    IS_WHOLE(n);
    MG_VECTOR
    for (int64_t i = 0; i < n; i++) z[i] *= scale;
    if (cap > 0) MG_LOOP(softcap)(z, n, cap);
    set_edges(row, r, first, last, -INFINITY);
#pragma omp simd reduction(max : most)
    for (int64_t i = 0; i < n; i++) most = z[i] > most ? z[i] : most;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) {
        z[i] = mg_exp(z[i] - most);
        sum += z[i];
    }
    set_edges(row, r, first, last, 0); /* e^-87 until here */
    finish_row(row, p16, n_row, r);
    *lse = most + logf(sum);
    return 1 / sum;
}

/* sum p dp stands for dy . y, which it equals, and p is made to sum to one: exp(z - lse) does so only as far as
 * these z are those of the forward pass.  Made of the same rounded numbers, dp and its mean cancel as they should. */
void MG_LOOP(softmax_back)(float *z_row, float *dp_row, uint16_t *p16, uint16_t *ds16, int64_t n_row, int64_t first,
                           int64_t last, float scale, float cap, float lse) {
    range   r = around(first, last);
    float  *restrict z = z_row + r.begin, *restrict dp = dp_row + r.begin, along = 0, sum = 0;
    int64_t n = r.end - r.begin;
    IS_WHOLE(n);
    for (int64_t i = 0; i < n; i++) z[i] *= scale;
    if (cap > 0) MG_LOOP(softcap)(z, n, cap);
    set_edges(z_row, r, first, last, -INFINITY); /* e^-87 */
    set_edges(dp_row, r, first, last, 0);
    if (cap > 0) {
        float inverse = 1 / (cap * cap);
#pragma omp simd reduction(+ : along, sum)
        for (int64_t i = 0; i < n; i++) {
            float p = mg_exp(z[i] - lse);
            sum += p;
            along += p * dp[i];
        }
        along /= sum;
        for (int64_t i = 0; i < n; i++) {
            float p = mg_exp(z[i] - lse) / sum;
            dp[i] = scale * p * (dp[i] - along) * (1 - z[i] * z[i] * inverse);
            z[i] = p;
        }
    } else {
#pragma omp simd reduction(+ : along, sum)
        for (int64_t i = 0; i < n; i++) {
            z[i] = mg_exp(z[i] - lse);
            sum += z[i];
            along += z[i] * dp[i];
        }
        float part = 1 / sum;
        along *= part;
        for (int64_t i = 0; i < n; i++) {
            z[i] *= part;
            dp[i] = scale * z[i] * (dp[i] - along);
        }
    }
    set_edges(z_row, r, first, last, 0);
    set_edges(dp_row, r, first, last, 0);
    finish_row(z_row, p16, n_row, r);
    finish_row(dp_row, ds16, n_row, r);
}

/* ---- rows of logits ---- */

#define EXP_SUM(store)                                           \
    _Pragma("omp simd reduction(+ : sum)")                       \
    for (int64_t i = 0; i < n; i++) {                            \
        float p = mg_exp(z[i] - most);                           \
        sum += p;                                                \
        store;                                                   \
    }

float MG_LOOP(exp_sum)(float *e, uint16_t *e16, const float *z, int64_t n, float most, float cap) {
    float sum = 0, inverse = cap > 0 ? 1 / (cap * cap) : 0;
    if (e16 && cap > 0) {
        EXP_SUM(e16[i] = round_bf16(p * (1 - z[i] * z[i] * inverse)))
    } else if (e16) {
        EXP_SUM(e16[i] = round_bf16(p))
    } else if (cap > 0) {
        EXP_SUM(e[i] = p * (1 - z[i] * z[i] * inverse))
    } else {
        EXP_SUM(e[i] = p)
    }
    return sum;
}

void MG_LOOP(logit_slopes)(float *g, const float *z, int64_t n, float lse, float scale, float cap) {
    float inverse = cap > 0 ? 1 / (cap * cap) : 0;
    MG_VECTOR
    for (int64_t i = 0; i < n; i++) g[i] = -scale * mg_exp(z[i] - lse) * (1 - z[i] * z[i] * inverse);
}
