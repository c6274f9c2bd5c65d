/* few.isa.c -- products for generation: few rows, many weights.
 *
 * Each result is one chain of fused sums over k in sixteen lanes, folded in a
 * fixed order at the end.  How many rows are done side by side changes the speed
 * and not the bits: greedy decoding of a prompt gives one text whatever else is
 * in the batch. */
#include "backend/cpu/loops.h"

#include <string.h>

/* Sixteen lanes are a register, two or four of them.  (Vectors wider than the registers would say the same, but
 * GCC keeps those in memory: a fifth of the speed.)  SIDE outputs are done side by side with up to ROWS rows, ALONE
 * with one row: their sums fill the registers. */
enum { LANES = 16 };
#if defined(__AVX512F__)
enum { WIDTH = 16, SIDE = 4, ROWS = 4, ALONE = 8 };
#elif defined(__AVX2__)
enum { WIDTH = 8, SIDE = 2, ROWS = 3, ALONE = 4 };
#else
enum { WIDTH = 4, SIDE = 1, ROWS = 2, ALONE = 2 };
#endif
enum { PARTS = LANES / WIDTH };
typedef float vec __attribute__((vector_size(4 * WIDTH)));
typedef float vec_any __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));

#define INLINE static inline __attribute__((always_inline))

/* Lanes 8 apart, 4 apart, 2 apart, 1 apart. */
INLINE float fold(const vec *p) {
    typedef float vec4 __attribute__((vector_size(16)));
#if defined(__AVX512F__)
    typedef float vec8 __attribute__((vector_size(32)));
    vec  v = p[0];
    vec8 a = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
             __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
#elif defined(__AVX2__)
    vec a = p[0] + p[1];
#endif
#if defined(__AVX2__)
    vec4 b = __builtin_shufflevector(a, a, 0, 1, 2, 3) + __builtin_shufflevector(a, a, 4, 5, 6, 7);
#else
    vec4 b = (p[0] + p[2]) + (p[1] + p[3]);
#endif
    return (b[0] + b[2]) + (b[1] + b[3]);
}

INLINE vec load(const float *p) { return *(const vec_any *)p; }

/* outputs o..o+R-1 of rows t..t+T-1; R and T are constants where this is expanded */
INLINE void tile(int R, int T, float *y, int64_t ldy, const float *x, int64_t ldx, const float *w, int64_t ldw,
                 int64_t k, float alpha, bool accumulate) {
    vec     sum[ALONE][ROWS][PARTS];
    int64_t whole = k & ~(int64_t)(LANES - 1);
    for (int r = 0; r < R; r++)
        for (int t = 0; t < T; t++)
            for (int l = 0; l < PARTS; l++) sum[r][t][l] = (vec){ 0 };
    for (int64_t i = 0; i < whole; i += LANES)
        for (int l = 0; l < PARTS; l++) {
            vec part[ROWS];
            for (int t = 0; t < T; t++) part[t] = load(x + t * ldx + i + l * WIDTH);
            for (int r = 0; r < R; r++) {
                vec v = load(w + r * ldw + i + l * WIDTH);
                for (int t = 0; t < T; t++) sum[r][t][l] += v * part[t];
            }
        }
    for (int r = 0; r < R && whole < k; r++)
        for (int t = 0; t < T; t++) {
            float a[LANES] = { 0 }, b[LANES] = { 0 };
            memcpy(a, w + r * ldw + whole, (size_t)(k - whole) * sizeof *a);
            memcpy(b, x + t * ldx + whole, (size_t)(k - whole) * sizeof *b);
            for (int l = 0; l < PARTS; l++) sum[r][t][l] += load(a + l * WIDTH) * load(b + l * WIDTH);
        }
    for (int t = 0; t < T; t++)
        for (int r = 0; r < R; r++) {
            float *out = y + t * ldy + r, s = alpha * fold(sum[r][t]);
            *out = accumulate ? *out + s : s;
        }
}

INLINE void some_outputs(int R, float *y, int64_t ldy, const float *x, int64_t ldx, int64_t rows, const float *w,
                         int64_t ldw, int64_t k, float alpha, bool accumulate) {
    int64_t t = 0;
    for (; R <= SIDE && t + ROWS <= rows; t += ROWS)
        tile(R, ROWS, y + t * ldy, ldy, x + t * ldx, ldx, w, ldw, k, alpha, accumulate);
    for (; R <= SIDE && ROWS > 2 && t + 2 <= rows; t += 2)
        tile(R, 2, y + t * ldy, ldy, x + t * ldx, ldx, w, ldw, k, alpha, accumulate);
    for (; t < rows; t++) tile(R, 1, y + t * ldy, ldy, x + t * ldx, ldx, w, ldw, k, alpha, accumulate);
}

void MG_LOOP(few_rows)(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t rows, const float *w, int64_t ldw,
                       int64_t outputs, int64_t k, float alpha, bool accumulate) {
    int64_t o = 0;
    for (; rows == 1 && o + ALONE <= outputs; o += ALONE)
        some_outputs(ALONE, y + o, ldy, x, ldx, rows, w + o * ldw, ldw, k, alpha, accumulate);
    for (; o + SIDE <= outputs; o += SIDE)
        some_outputs(SIDE, y + o, ldy, x, ldx, rows, w + o * ldw, ldw, k, alpha, accumulate);
    for (; o < outputs; o++) some_outputs(1, y + o, ldy, x, ldx, rows, w + o * ldw, ldw, k, alpha, accumulate);
}

INLINE void mix_columns(int V, float *y, const float *p, const float *v, int64_t rows, int64_t ld) {
    vec sum[4 * PARTS];
    for (int c = 0; c < V * PARTS; c++) sum[c] = (vec){ 0 };
    for (int64_t j = 0; j < rows; j++)
        for (int c = 0; c < V * PARTS; c++) sum[c] += p[j] * load(v + j * ld + c * WIDTH);
    for (int c = 0; c < V * PARTS; c++) *(vec_any *)(y + c * WIDTH) = sum[c];
}

void MG_LOOP(mix)(float *y, const float *p, const float *v, int64_t rows, int64_t ld, int64_t cols) {
    int64_t c = 0;
    for (; c + 4 * LANES <= cols; c += 4 * LANES) mix_columns(4, y + c, p, v + c, rows, ld);
    for (; c + LANES <= cols; c += LANES) mix_columns(1, y + c, p, v + c, rows, ld);
    for (; c < cols; c++) {
        float sum = 0;
        for (int64_t j = 0; j < rows; j++) sum += p[j] * v[j * ld + c];
        y[c] = sum;
    }
}

/* ---- the product without a library: op(b) is copied in blocks of K x N, rows of a stream past ---- */

enum { BLOCK_K = 128, BLOCK_N = 128 };

static void copy_block(float *restrict out, const float *b, int64_t ldb, bool tb, int64_t k, int64_t n) {
    for (int64_t l = 0; l < k; l++)
        for (int64_t j = 0; j < n; j++) out[l * BLOCK_N + j] = tb ? b[j * ldb + l] : b[l * ldb + j];
}

static void add_product(mg_gemm_shape s, float alpha, const float *a, const float *block, int64_t k, int64_t n,
                        float *c) {
    for (int64_t i = 0; i < s.m; i++) {
        float *restrict row = c + i * s.ldc;
        for (int64_t l = 0; l < k; l++) {
            float f = alpha * (s.ta ? a[l * s.lda + i] : a[i * s.lda + l]);
            for (int64_t j = 0; j < n; j++) row[j] += f * block[l * BLOCK_N + j];
        }
    }
}

void MG_LOOP(gemm)(mg_gemm_shape s, float alpha, const float *a, const float *b, float beta, float *c) {
    static _Thread_local float block[BLOCK_K * BLOCK_N];
    for (int64_t i = 0; i < s.m; i++)
        for (int64_t j = 0; j < s.n; j++) c[i * s.ldc + j] = beta != 0 ? beta * c[i * s.ldc + j] : 0;
    for (int64_t j = 0; j < s.n; j += BLOCK_N)
        for (int64_t l = 0; l < s.k; l += BLOCK_K) {
            int64_t n = s.n - j < BLOCK_N ? s.n - j : BLOCK_N, k = s.k - l < BLOCK_K ? s.k - l : BLOCK_K;
            copy_block(block, b + (s.tb ? j * s.ldb + l : l * s.ldb + j), s.ldb, s.tb, k, n);
            add_product(s, alpha, a + (s.ta ? l * s.lda : l), block, k, n, c + j);
        }
}
