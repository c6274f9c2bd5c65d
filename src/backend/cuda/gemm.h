/* gemm.h -- dense products for the files of this folder. */
#ifndef MG_BACKEND_CUDA_GEMM_H
#define MG_BACKEND_CUDA_GEMM_H

#include "backend/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Once, after the stream exists; false: cuBLASLt or its work memory cannot be had. */
bool mg_cuda_gemm_open(void);

/* c = alpha op(a) op(b) + beta onto + bias on each row; onto.data NULL: c itself.  bias [1, c.cols] of c's format, or data NULL.  a and b have one
 * format; c that or f32. */
void mg_cuda_product(mg_mat c, mg_mat a, bool ta, mg_mat b, bool tb, float alpha, float beta, mg_mat bias, mg_mat onto);

/* A weight as plain elements of format f: w itself, or decoded into `room`. */
mg_mat mg_cuda_plain(mg_mat w, const mg_format *f, void *room);

size_t mg_cuda_linear_work(int64_t n, mg_mat w, const mg_format *element);

#ifdef __cplusplus
}
#endif
#endif
