/* logprob.h -- work memory of logprob and logprob_back, in bytes. */
#ifndef MG_BACKEND_CUDA_LOGPROB_H
#define MG_BACKEND_CUDA_LOGPROB_H

#include "backend/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

size_t mg_cuda_logprob_work(int64_t n, mg_mat w, const mg_format *element);

#ifdef __cplusplus
}
#endif
#endif
