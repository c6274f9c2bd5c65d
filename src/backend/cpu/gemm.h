/* gemm.h -- dense matrix products done by one thread; the threads are ours.
 *
 * Row-major, leading dimensions in elements.  `thread` is the pool's number of the
 * calling thread: what a library keeps per thread is found by it. */
#ifndef MG_BACKEND_CPU_GEMM_H
#define MG_BACKEND_CPU_GEMM_H

#include <stdbool.h>
#include <stdint.h>

typedef struct mg_gemm_shape {
    int64_t m, n, k;
    bool    ta, tb; /* op(a) [m,k] is a's transpose, op(b) [k,n] is b's */
    int64_t lda, ldb, ldc;
} mg_gemm_shape;

/* c = alpha op(a) op(b) + beta c; with beta 0, c may hold anything */
void mg_gemm_f32(int thread, mg_gemm_shape s, float alpha, const float *a, const float *b, float beta, float *c);

/* c = op(a) op(b), plus c when `accumulate`; a and b are bf16, sums are fp32 */
void mg_gemm_bf16(int thread, mg_gemm_shape s, const uint16_t *a, const uint16_t *b, bool accumulate, float *c);

const char *mg_gemm_library(void); /* with the instructions that it picks: "oneDNN 2.6.3 (isa 0x7ff)", "plain loops" */

#endif
