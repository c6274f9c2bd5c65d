/* optim.cu -- Lion, Adafactor, the 8-bit codes of optimizer state, and noise: one thread a number.
 *
 * Adafactor's three sums over a matrix never leave the device: parts are summed by one block in their order, and
 * the last pass reads the factor from work memory. */
#include "backend/cuda/philox.h"
#include "backend/cuda/reduce.h"
#include "backend/cuda/vec.h"

enum { THREADS = 256 };

/* ---- Lion ---- */

static __global__ void __launch_bounds__(THREADS) lion(mg_lion_args a, mixed shadow) {
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= a.n) return;
    float n1 = (float)(1 - (double)a.beta1), n2 = (float)(1 - (double)a.beta2);
    float g = a.grad[i] * a.grad_scale, m = a.m[i], d = a.beta1 * m + n1 * g, out[1];
    float w = a.p[i] - (float)((double)a.lr * a.decay) * a.p[i];
    out[0] = d > 0 ? w - a.lr : d < 0 ? w + a.lr : w;
    a.p[i] = out[0];
    a.m[i] = a.beta2 * m + n2 * g;
    if (shadow) shadow.put(i, out);
}

void mg_cuda_lion(mg_lion_args a) {
    mg_mat shadow = { a.shadow, 1, a.n, a.shadow_format, nullptr };
    if (!a.n) return;
    lion<<<mg_blocks(a.n, THREADS), THREADS, 0, mg_cuda_stream>>>(a, mixed::of(shadow));
    MG_CUDA_LAUNCHED("lion");
}

/* ---- Adafactor ---- */

/* work: [0] mean of row, [1] factor of the update, [2] learning rate; [4..] sums of the parts: updates, values */
enum { WORK_PARTS = 4 };

static __device__ __forceinline__ double square_of(const mg_adafactor_args &a, int64_t i) {
    float g = a.grad[i] * a.grad_scale;
    return (double)(g * g + a.eps);
}

static __global__ void __launch_bounds__(THREADS) factor_rows(mg_adafactor_args a) {
    __shared__ double shared[33];
    double            sum = 0;
    int64_t           r = blockIdx.x;
    for (int64_t c = threadIdx.x; c < a.cols; c += THREADS) sum += square_of(a, r * a.cols + c);
    sum = mg_row_sum(sum, THREADS, shared);
    if (threadIdx.x == 0)
        a.row[r] = (float)(a.beta2 * (double)a.row[r] + (1 - (double)a.beta2) * sum / (double)a.cols);
}

static __global__ void __launch_bounds__(THREADS) factor_cols(mg_adafactor_args a) {
    __shared__ double part[8][32];
    int               x = threadIdx.x % 32, y = threadIdx.x / 32;
    int64_t           c = (int64_t)blockIdx.x * 32 + x;
    double            sum = 0;
    for (int64_t r = y; c < a.cols && r < a.rows; r += 8) sum += square_of(a, r * a.cols + c);
    part[y][x] = sum;
    __syncthreads();
    if (y || c >= a.cols) return;
    for (int k = 1; k < 8; k++) sum += part[k][x];
    a.col[c] = (float)(a.beta2 * (double)a.col[c] + (1 - (double)a.beta2) * sum / (double)a.rows);
}

static __global__ void __launch_bounds__(THREADS) factor_mean(mg_adafactor_args a) {
    __shared__ double shared[33];
    double            sum = 0;
    for (int64_t r = threadIdx.x; r < a.rows; r += THREADS) sum += a.row[r];
    sum = mg_row_sum(sum, THREADS, shared);
    if (threadIdx.x == 0) a.work[0] = sum / (double)a.rows;
}

static __device__ __forceinline__ float direction(const mg_adafactor_args &a, int64_t i) {
    float g = a.grad[i] * a.grad_scale;
    if (a.square) return g / sqrtf(a.square[i]);
    return g / sqrtf((float)((double)a.row[i / a.cols] / a.work[0])) / sqrtf(a.col[i % a.cols]);
}

static __global__ void __launch_bounds__(THREADS) factor_size(mg_adafactor_args a) {
    __shared__ double shared[33];
    double            update = 0, size = 0;
    int64_t           n = a.rows * a.cols;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += (int64_t)MG_ADAFACTOR_PARTS * THREADS) {
        float g = a.grad[i] * a.grad_scale, p = a.p[i];
        if (a.square) a.square[i] = a.beta2 * a.square[i] + (float)(1 - (double)a.beta2) * (g * g + a.eps);
        g = direction(a, i);
        update += (double)g * g;
        size += (double)p * p;
    }
    update = mg_row_sum(update, THREADS, shared);
    size = mg_row_sum(size, THREADS, shared);
    if (threadIdx.x) return;
    a.work[WORK_PARTS + blockIdx.x] = update;
    a.work[WORK_PARTS + MG_ADAFACTOR_PARTS + blockIdx.x] = size;
}

static __global__ void factor_scale(mg_adafactor_args a) {
    double update = 0, size = 0, lr = a.lr, n = (double)(a.rows * a.cols);
    for (int i = 0; i < MG_ADAFACTOR_PARTS; i++) {
        update += a.work[WORK_PARTS + i];
        size += a.work[WORK_PARTS + MG_ADAFACTOR_PARTS + i];
    }
    if (a.param_eps > 0) lr *= fmax((double)a.param_eps, sqrt(size / n));
    a.work[1] = lr / fmax(1.0, sqrt(update / n) / a.clip);
    a.work[2] = lr;
}

static __global__ void __launch_bounds__(THREADS) factor_apply(mg_adafactor_args a, mixed shadow) {
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= a.rows * a.cols) return;
    float d = (float)a.work[1] * direction(a, i), out[1];
    if (a.mean) d = a.mean[i] = a.beta1 * a.mean[i] + (float)(1 - (double)a.beta1) * d;
    out[0] = a.p[i] - (float)(a.work[2] * a.decay) * a.p[i] - d;
    a.p[i] = out[0];
    if (shadow) shadow.put(i, out);
}

void mg_cuda_adafactor(mg_adafactor_args a) {
    int64_t n = a.rows * a.cols;
    mg_mat  shadow = { a.shadow, 1, n, a.shadow_format, nullptr };
    if (!n) return;
    if (!a.square) {
        factor_rows<<<(unsigned)a.rows, THREADS, 0, mg_cuda_stream>>>(a);
        factor_cols<<<mg_blocks(a.cols, 32), THREADS, 0, mg_cuda_stream>>>(a);
        factor_mean<<<1, THREADS, 0, mg_cuda_stream>>>(a);
    }
    factor_size<<<MG_ADAFACTOR_PARTS, THREADS, 0, mg_cuda_stream>>>(a);
    factor_scale<<<1, 1, 0, mg_cuda_stream>>>(a);
    factor_apply<<<mg_blocks(n, THREADS), THREADS, 0, mg_cuda_stream>>>(a, mixed::of(shadow));
    MG_CUDA_LAUNCHED("adafactor");
}

/* ---- 8-bit state: a thread a number, a block a block ---- */

static __global__ void __launch_bounds__(MG_DYNAMIC8_BLOCK) dynamic8_decode(mg_dynamic8_decode_args a) {
    int64_t i = (int64_t)blockIdx.x * MG_DYNAMIC8_BLOCK + threadIdx.x;
    if (i < a.n) a.x[i] = a.map[a.code[i]] * a.absmax[blockIdx.x];
}

void mg_cuda_dynamic8_decode(mg_dynamic8_decode_args a) {
    if (!a.n) return;
    dynamic8_decode<<<mg_blocks(a.n, MG_DYNAMIC8_BLOCK), MG_DYNAMIC8_BLOCK, 0, mg_cuda_stream>>>(a);
    MG_CUDA_LAUNCHED("dynamic8_decode");
}

static __global__ void __launch_bounds__(MG_DYNAMIC8_BLOCK) dynamic8_encode(mg_dynamic8_encode_args a) {
    __shared__ float map[256], part[MG_DYNAMIC8_BLOCK / 32];
    int64_t          i = (int64_t)blockIdx.x * MG_DYNAMIC8_BLOCK + threadIdx.x;
    float            x = i < a.n ? a.x[i] : 0, max = fabsf(x);
    map[threadIdx.x] = a.map[threadIdx.x];
    for (int d = 16; d; d >>= 1) max = fmaxf(max, __shfl_xor_sync(0xffffffffu, max, d));
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = max;
    __syncthreads();
    for (int k = 0; k < MG_DYNAMIC8_BLOCK / 32; k++) max = fmaxf(max, part[k]);
    if (threadIdx.x == 0) a.absmax[blockIdx.x] = max;
    if (i >= a.n) return;
    int at = 0;
    x = max > 0 ? __fdiv_rn(x, max) : 0;
    for (int half = 128; half; half >>= 1) {
        double middle = ((double)map[at + half - 1] + map[at + half]) / 2;
        at += x > middle ? half : 0;
    }
    a.code[i] = (uint8_t)at;
}

void mg_cuda_dynamic8_encode(mg_dynamic8_encode_args a) {
    if (!a.n) return;
    dynamic8_encode<<<mg_blocks(a.n, MG_DYNAMIC8_BLOCK), MG_DYNAMIC8_BLOCK, 0, mg_cuda_stream>>>(a);
    MG_CUDA_LAUNCHED("dynamic8_encode");
}

/* ---- noise ---- */

/* base/rng.c's numbers; the normal ones in double as there. */
static __device__ float noise_at(const mg_noise_args &a, uint64_t i) {
    uint32_t u[4];
    mg_cuda_philox(a.rng, a.normal ? i : i / 4, u);
    if (!a.normal) return 2 * ((float)(u[i % 4] >> 8) * 0x1p-24f) - 1;
    double r = ((double)u[0] + 1) * 0x1p-32, v = (double)u[1] * 0x1p-32;
    return (float)(sqrt(-2 * log(r)) * cos(6.283185307179586 * v));
}

static __global__ void __launch_bounds__(THREADS) noise(mg_noise_args a, mixed y, int64_t n) {
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    float   v[1];
    if (i >= n) return;
    y.get(i, v);
    v[0] += a.scale * noise_at(a, (uint64_t)i);
    y.put(i, v);
}

void mg_cuda_noise(mg_noise_args a) {
    mg_cuda_cannot_repeat(); /* as in dropout */
    int64_t n = a.y.rows * a.y.cols;
    if (!n) return;
    noise<<<mg_blocks(n, THREADS), THREADS, 0, mg_cuda_stream>>>(a, mixed::of(a.y), n);
    MG_CUDA_LAUNCHED("noise");
}
