/* sums.h -- sums of columns for kernels of other files. */
#ifndef MG_BACKEND_CUDA_SUMS_H
#define MG_BACKEND_CUDA_SUMS_H

#include "backend/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

/* y [1,C] += column sums of x [N,C], any elements each. */
void mg_cuda_add_columns(mg_mat y, mg_mat x);

#ifdef __cplusplus
}
#endif
#endif
