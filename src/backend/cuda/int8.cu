/* int8.cu -- the inputs of LLM.int8: outlier columns are found first, then each row is rounded by a block. */
#include "backend/cuda/vec.h"

enum { THREADS = 256 };

static __global__ void __launch_bounds__(THREADS) find_outliers(mixed x, int64_t rows, int64_t cols, float limit, uint8_t *kept) {
    int64_t c = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    bool    found = false;
    float   v[1];
    if (c >= cols) return;
    for (int64_t r = 0; r < rows; r++) {
        x.get(r * cols + c, v);
        found = found || fabsf(mg_to_11_bits(v[0])) >= limit;
    }
    kept[c] = found;
}

static __global__ void __launch_bounds__(THREADS) int8_round(mixed y, mixed x, int64_t cols, float limit, const uint8_t *kept) {
    __shared__ float part[THREADS / 32];
    int64_t          row = (int64_t)blockIdx.x * cols;
    float            max = 0, v[1];
    for (int64_t c = threadIdx.x; c < cols; c += THREADS) {
        x.get(row + c, v);
        float w = fabsf(mg_to_11_bits(v[0]));
        if (w < limit) max = fmaxf(max, w);
    }
    for (int d = 16; d; d >>= 1) max = fmaxf(max, __shfl_xor_sync(0xffffffffu, max, d));
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = max;
    __syncthreads();
    for (int k = 0; k < THREADS / 32; k++) max = fmaxf(max, part[k]);
    float by = max > 0 ? __fdiv_rn(127, max) : 0, back = __fmul_rn(max, 1.0f / 127);
    for (int64_t c = threadIdx.x; c < cols; c += THREADS) {
        x.get(row + c, v);
        float w = mg_to_11_bits(v[0]);
        if (!(fabsf(w) >= limit || (kept && kept[c]))) v[0] = __fmul_rn(rintf(__fmul_rn(w, by)), back);
        y.put(row + c, v);
    }
}

void mg_cuda_int8_round(mg_int8_round_args a) {
    float    limit = a.threshold > 0 ? a.threshold : INFINITY;
    uint8_t *kept = a.alone || !(a.threshold > 0) ? nullptr : static_cast<uint8_t *>(a.work);
    if (!a.x.rows || !a.x.cols) return;
    if (kept) find_outliers<<<mg_blocks(a.x.cols, THREADS), THREADS, 0, mg_cuda_stream>>>(mixed::of(a.x), a.x.rows, a.x.cols, limit, kept);
    int8_round<<<(unsigned)a.x.rows, THREADS, 0, mg_cuda_stream>>>(mixed::of(a.y), mixed::of(a.x), a.x.cols, limit, kept);
    MG_CUDA_LAUNCHED("int8_round");
}
