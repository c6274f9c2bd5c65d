/* rank_add.h -- for gemm.cu. */
#ifndef MG_BACKEND_CUDA_RANK_ADD_H
#define MG_BACKEND_CUDA_RANK_ADD_H

#include "backend/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

/* c += alpha op(a) op(b), few numbers summed over; false, and nothing done: these types or shapes are not for it. */
bool mg_cuda_rank_add(mg_mat c, mg_mat a, bool ta, mg_mat b, bool tb, float alpha);

#ifdef __cplusplus
}
#endif
#endif
