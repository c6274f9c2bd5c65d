/* few.h -- linear layers for few rows, straight from packed weights: what decoding a token does. */
#ifndef MG_BACKEND_CUDA_FEW_H
#define MG_BACKEND_CUDA_FEW_H

#include "backend/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { MG_CUDA_FEW_ROWS = 8 };

/* mg_cuda_linear for at most MG_CUDA_FEW_ROWS rows of x, reading each weight once and in its storage format; each
 * row has the bits that it has alone.  False, and nothing was done, when x has more rows, or columns or places in
 * memory do not suit: columns are a multiple of 32 and x and w lie on 16 bytes.  `work` is not used. */
bool mg_cuda_linear_few(mg_linear_args a);

#ifdef __cplusplus
}
#endif
#endif
