/* philox.h -- the random numbers of base/rng.h, on the device. */
#ifndef MG_BACKEND_CUDA_PHILOX_H
#define MG_BACKEND_CUDA_PHILOX_H

#include "backend/cuda/cuda.h"

static __device__ __forceinline__ void mg_cuda_philox(mg_rng r, uint64_t i, uint32_t (&c)[4]) {
    c[0] = (uint32_t)i, c[1] = (uint32_t)(i >> 32), c[2] = (uint32_t)r.where, c[3] = (uint32_t)(r.where >> 32);
    uint32_t k0 = (uint32_t)r.seed, k1 = (uint32_t)(r.seed >> 32);
#pragma unroll
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * c[0], b = (uint64_t)0xCD9E8D57u * c[2];
        c[0] = (uint32_t)(b >> 32) ^ c[1] ^ k0;
        c[1] = (uint32_t)b;
        c[2] = (uint32_t)(a >> 32) ^ c[3] ^ k1;
        c[3] = (uint32_t)a;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

#endif
