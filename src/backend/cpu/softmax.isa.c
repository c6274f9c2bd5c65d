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

float MG_LOOP(dot)(const float *a, const float *b, int64_t n) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

static inline uint16_t round_bf16(float f) {
    mg_bits v = { .f = f };
    return (uint16_t)((v.u + 0x7fffu + (v.u >> 16 & 1)) >> 16); /* the NaNs of arithmetic stay NaNs */
}

void MG_LOOP(pack)(void *out, const float *x, int64_t rows, int64_t rows_out, int64_t cols, int64_t ld, bool bf16) {
    size_t size = bf16 ? sizeof(uint16_t) : sizeof(float);
    for (int64_t r = 0; r < rows; r++, x += ld) {
        uint16_t *half = (uint16_t *)out + r * cols;
        if (!bf16)
            memcpy((float *)out + r * cols, x, (size_t)cols * size);
        else {
            MG_VECTOR
            for (int64_t c = 0; c < cols; c++) half[c] = round_bf16(x[c]);
        }
    }
    memset((char *)out + (size_t)(rows * cols) * size, 0, (size_t)((rows_out - rows) * cols) * size);
}

static void clear_outside(void *z, size_t size, int64_t n, int64_t first, int64_t last) {
    memset(z, 0, (size_t)first * size);
    memset((char *)z + (size_t)last * size, 0, (size_t)(n - last) * size);
}

#define EXP_SUM(store)                                           \
    _Pragma("omp simd reduction(+ : sum)")                       \
    for (int64_t i = 0; i < n; i++) {                            \
        float p = mg_exp(z[i] - most);                           \
        sum += p;                                                \
        store;                                                   \
    }

float MG_LOOP(softmax)(float *row, uint16_t *p16, int64_t n_row, int64_t first, int64_t last, float scale, float cap,
                       float *lse) {
    float   sum = 0, most = -INFINITY, *z = row + first;
    int64_t n = last - first;
#pragma omp simd reduction(max : most)
    for (int64_t i = 0; i < n; i++) {
        z[i] *= scale;
        most = z[i] > most ? z[i] : most;
    }
    if (cap > 0) {
        MG_LOOP(softcap)(z, n, cap);
        most = cap * mg_tanh(most / cap);
    }
    if (p16) {
        uint16_t *p_row = p16 + first;
        clear_outside(p16, sizeof *p16, n_row, first, last);
        EXP_SUM(p_row[i] = round_bf16(p))
    } else {
        clear_outside(row, sizeof *row, n_row, first, last);
        EXP_SUM(z[i] = p)
    }
    *lse = most + logf(sum);
    return 1 / sum;
}

#define SOFTMAX_BACK(value, slope, p_out, ds_out)                \
    MG_VECTOR                                                    \
    for (int64_t i = first; i < last; i++) {                     \
        float x = z[i] * scale, t = (value);                     \
        float p = mg_exp(t - lse), ds = scale * p * (dp[i] - along) * (slope); \
        p_out;                                                   \
        ds_out;                                                  \
    }

void MG_LOOP(softmax_back)(float *z, float *dp, uint16_t *p16, uint16_t *ds16, int64_t n, int64_t first, int64_t last,
                           float scale, float cap, float lse, float along) {
    float inverse = cap > 0 ? 1 / cap : 0;
    if (p16) {
        clear_outside(p16, sizeof *p16, n, first, last);
        clear_outside(ds16, sizeof *ds16, n, first, last);
    } else {
        clear_outside(z, sizeof *z, n, first, last);
        clear_outside(dp, sizeof *dp, n, first, last);
    }
    if (p16 && cap > 0) {
        SOFTMAX_BACK(cap * mg_tanh(x * inverse), 1 - t * t * inverse * inverse, p16[i] = round_bf16(p),
                     ds16[i] = round_bf16(ds))
    } else if (p16) {
        SOFTMAX_BACK(x, 1, p16[i] = round_bf16(p), ds16[i] = round_bf16(ds))
    } else if (cap > 0) {
        SOFTMAX_BACK(cap * mg_tanh(x * inverse), 1 - t * t * inverse * inverse, z[i] = p, dp[i] = ds)
    } else {
        SOFTMAX_BACK(x, 1, z[i] = p, dp[i] = ds)
    }
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
