/* reduce.h -- sums over the threads of a row, in an order that never changes. */
#ifndef MG_BACKEND_CUDA_REDUCE_H
#define MG_BACKEND_CUDA_REDUCE_H

#include <cuda_runtime.h>

/* The sum over `threads` neighbours (a power of two), known to each of them.  Up to 32 they are part of a
 * warp; more are the whole block, `shared` has 33 entries then, and every thread of the block must call. */
template <typename T> static __device__ __forceinline__ T mg_row_sum(T x, int threads, T *shared) {
    int within = threads < 32 ? threads : 32;
    for (int d = within / 2; d; d >>= 1) x += __shfl_xor_sync(0xffffffffu, x, d);
    if (threads <= 32) return x;
    __syncthreads(); /* the last call's readers are done */
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
    __syncthreads();
    if (threadIdx.x < 32) {
        T y = (int)threadIdx.x < threads / 32 ? shared[threadIdx.x] : T(0);
        for (int d = 16; d; d >>= 1) y += __shfl_xor_sync(0xffffffffu, y, d);
        if (threadIdx.x == 0) shared[32] = y;
    }
    __syncthreads();
    return shared[32];
}

/* True in the block that is the last of `blocks` to come here, which then sees what all of them wrote. */
static __device__ __forceinline__ bool mg_last_block(unsigned *counter, unsigned blocks) {
    __shared__ bool last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0 && threadIdx.y == 0) last = atomicInc(counter, blocks - 1) == blocks - 1;
    __syncthreads();
    if (last) __threadfence();
    return last;
}

#endif
