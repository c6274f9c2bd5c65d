/* loss_scale.h -- what fp16 training needs beside the kernels: factors and tests that stay on the device. */
#ifndef MG_BACKEND_CUDA_LOSS_SCALE_H
#define MG_BACKEND_CUDA_LOSS_SCALE_H

#include "backend/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

/* x *= *factor, or x /= *factor with `inverse`; factor in device memory. */
void mg_cuda_scale_by(mg_mat x, const float *factor, bool inverse);
/* *flag = 1 when an element of x is infinite or NaN; left alone otherwise, so that several matrices can share it. */
void mg_cuda_find_nonfinite(mg_mat x, int32_t *flag);

#ifdef __cplusplus
}
#endif
#endif
