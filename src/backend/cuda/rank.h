/* rank.h -- for gemm.cu. */
#ifndef MG_BACKEND_CUDA_RANK_H
#define MG_BACKEND_CUDA_RANK_H

#include "backend/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What gemm does, for sums of few numbers; false, and nothing done: these types or shapes are not for it. */
bool mg_cuda_rank_product(mg_gemm_args a);

#ifdef __cplusplus
}
#endif
#endif
