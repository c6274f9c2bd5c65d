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

static void clear_outside(float *z, int64_t n, int64_t first, int64_t last) {
    memset(z, 0, (size_t)first * sizeof *z);
    memset(z + last, 0, (size_t)(n - last) * sizeof *z);
}

float MG_LOOP(softmax)(float *z, int64_t n, int64_t first, int64_t last, float cap, float *lse) {
    float sum = 0, *at = z + first;
    clear_outside(z, n, first, last);
    n = last - first;
    if (cap > 0) MG_LOOP(softcap)(at, n, cap);
    float most = MG_LOOP(max)(at, n);
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) {
        at[i] = mg_exp(at[i] - most);
        sum += at[i];
    }
    *lse = most + logf(sum);
    return 1 / sum;
}

void MG_LOOP(softmax_back)(float *restrict z, float *restrict dp, int64_t n, int64_t first, int64_t last, float cap,
                           float lse, float along) {
    clear_outside(z, n, first, last);
    clear_outside(dp, n, first, last);
    if (cap > 0) {
        float inverse = 1 / cap;
        for (int64_t i = first; i < last; i++) {
            float t = mg_tanh(z[i] * inverse), p = mg_exp(cap * t - lse);
            z[i] = p;
            dp[i] = p * (dp[i] - along) * (1 - t * t);
        }
        return;
    }
    for (int64_t i = first; i < last; i++) {
        float p = mg_exp(z[i] - lse);
        z[i] = p;
        dp[i] = p * (dp[i] - along);
    }
}

static inline uint16_t round_bf16(float f) { /* of numbers known not to be NaN in a healthy step; NaN stays NaN */
    mg_bits v = { .f = f };
    return (uint16_t)(f != f ? 0x7fc0u : (v.u + 0x7fffu + (v.u >> 16 & 1)) >> 16);
}

#define EXP_SUM(store)                                           \
    _Pragma("omp simd reduction(+ : sum)")                       \
    for (int64_t i = 0; i < n; i++) {                            \
        float p = mg_exp(z[i] - most), w = p;                    \
        sum += p;                                                \
        if (cap > 0) w = p * (1 - z[i] * z[i] * inverse);        \
        store;                                                   \
    }

float MG_LOOP(exp_sum)(float *e, uint16_t *e16, const float *z, int64_t n, float most, float cap) {
    float sum = 0, inverse = cap > 0 ? 1 / (cap * cap) : 0;
    if (e16) {
        EXP_SUM(e16[i] = round_bf16(w))
    } else {
        EXP_SUM(e[i] = w)
    }
    return sum;
}

void MG_LOOP(logit_slopes)(float *g, const float *z, int64_t n, float lse, float scale, float cap) {
    float inverse = cap > 0 ? 1 / (cap * cap) : 0;
    MG_VECTOR
    for (int64_t i = 0; i < n; i++) g[i] = -scale * mg_exp(z[i] - lse) * (1 - z[i] * z[i] * inverse);
}
