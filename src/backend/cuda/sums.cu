/* sums.cu -- sums over columns and over everything, the same bits each time.
 *
 * Blocks leave their part in a table of this file; the one that finishes last adds the parts in their order.
 * So one launch is enough, and no floating-point number is added atomically.  The table is one for all calls:
 * kernels of one stream run one after the other. */
#include "backend/cuda/loss_scale.h"
#include "backend/cuda/reduce.h"
#include "backend/cuda/sums.h"
#include "backend/cuda/vec.h"

/* ---- columns: a block has LANES groups of neighbouring columns, ROWS threads deep ---- */

enum { LANES = 8, DEPTH = 32, COLUMN_PARTS = 1 << 20, COLUMN_GROUPS = 1 << 14 };

static __device__ float    column_parts[COLUMN_PARTS]; /* [split][C] */
static __device__ unsigned column_counters[COLUMN_GROUPS];

/* The sums over the block's depth of what its threads have; true in the threads that got one, for column c. */
template <int W> static __device__ bool sum_depth(const float (&sum)[W], int64_t cols, int64_t *c, float *all) {
    __shared__ float part[DEPTH][LANES * W + 1];
    int              i = threadIdx.y * LANES + threadIdx.x;
    __syncthreads();
#pragma unroll
    for (int k = 0; k < W; k++) part[threadIdx.y][threadIdx.x * W + k] = sum[k];
    __syncthreads();
    *c = (int64_t)blockIdx.x * LANES * W + i;
    *all = 0;
    if (i >= LANES * W || *c >= cols) return false;
#pragma unroll 8
    for (int d = 0; d < DEPTH; d++) *all += part[d][i];
    return true;
}

template <class V, int W>
static __global__ void __launch_bounds__(LANES *DEPTH) column_sum(V x, mixed y, int64_t rows, int64_t cols, int64_t per_split) {
    int64_t c = ((int64_t)blockIdx.x * LANES + threadIdx.x) * W, at;
    int64_t begin = blockIdx.y * per_split, end = begin + per_split < rows ? begin + per_split : rows;
    float   sum[W], v[W], all[1], old[1];
#pragma unroll
    for (int k = 0; k < W; k++) sum[k] = 0;
    if (c < cols) {
#pragma unroll 4
        for (int64_t r = begin + threadIdx.y; r < end; r += DEPTH) {
            x.get(r * cols + c, v);
#pragma unroll
            for (int k = 0; k < W; k++) sum[k] += v[k];
        }
    }
    bool mine = sum_depth<W>(sum, cols, &at, all);
    if (gridDim.y > 1) {
        if (mine) column_parts[blockIdx.y * cols + at] = all[0];
        if (!mg_last_block(&column_counters[blockIdx.x], gridDim.y)) return;
#pragma unroll
        for (int k = 0; k < W; k++) sum[k] = 0;
        for (unsigned s = threadIdx.y; c < cols && s < gridDim.y; s += DEPTH)
#pragma unroll
            for (int k = 0; k < W; k++) sum[k] += __ldcg(&column_parts[s * cols + c + k]);
        mine = sum_depth<W>(sum, cols, &at, all);
    }
    if (!mine) return;
    y.get(at, old);
    all[0] += old[0];
    y.put(at, all);
}

void mg_cuda_add_columns(mg_mat y, mg_mat x) {
    if (!x.rows || !x.cols) return;
    mg_with_views({ x }, x.cols % 8 == 0, [&](auto v, auto w) {
        using V = decltype(v);
        constexpr int W = decltype(w)::value;
        unsigned      groups = mg_blocks(x.cols, LANES * W);
        int64_t       splits = (4 * mg_cuda_sms + groups - 1) / groups, most = mg_blocks(x.rows, 2 * DEPTH);
        if (splits > most) splits = most;
        if (splits > COLUMN_PARTS / x.cols) splits = COLUMN_PARTS / x.cols;
        if (splits < 1 || groups > COLUMN_GROUPS) splits = 1;
        int64_t per_split = (x.rows + splits - 1) / splits;
        dim3    grid(groups, mg_blocks(x.rows, per_split)), block(LANES, DEPTH);
        column_sum<V, W><<<grid, block, 0, mg_cuda_stream>>>(V::of(x), mixed::of(y), x.rows, x.cols, per_split);
        MG_CUDA_LAUNCHED("column_sum");
    });
}

void mg_cuda_column_sum(mg_column_sum_args a) {
    MG_ASSERT_EQ(a.y.cols, a.x.cols);
    mg_cuda_add_columns(a.y, a.x);
}

/* ---- everything ---- */

enum { THREADS = 256, MOST_BLOCKS = 1024 };

static __device__ double   parts[MOST_BLOCKS];
static __device__ unsigned part_counter;

/* The sum of x over the blocks' threads; true, with the sum of all blocks, in one thread only. */
static __device__ bool sum_of_all(double x, double *sum) {
    __shared__ double shared[33];
    x = mg_row_sum(x, THREADS, shared);
    if (threadIdx.x == 0) parts[blockIdx.x] = x;
    if (!mg_last_block(&part_counter, gridDim.x)) return false;
    double all = 0;
    for (unsigned i = threadIdx.x; i < gridDim.x; i += THREADS) all += __ldcg(&parts[i]);
    all = mg_row_sum(all, THREADS, shared);
    *sum = all;
    return threadIdx.x == 0;
}

static unsigned sum_blocks(int64_t n, int width) {
    int64_t want = mg_blocks(n, (int64_t)THREADS * width), most = 8 * mg_cuda_sms < MOST_BLOCKS ? 8 * mg_cuda_sms : MOST_BLOCKS;
    return (unsigned)(want < 1 ? 1 : want < most ? want : most);
}

struct plain_value {
    static __device__ float of(float x) { return x; }
    static __device__ double exactly(double x) { return x; }
};
struct squared {
    static __device__ float of(float x) { return x * x; }
    static __device__ double exactly(double x) { return x * x; }
};

/* Sums of eight in float, which then go into a double; where float is too narrow, all in double. */
template <class F, class V, int W> static __device__ double thread_sum(V x, int64_t n) {
    double  sum = 0;
    int64_t step = (int64_t)gridDim.x * THREADS * W;
#pragma unroll 2
    for (int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * W; i < n; i += step) {
        float v[W], few = 0, one[1];
        if (i + W <= n) {
            x.get(i, v);
#pragma unroll
            for (int k = 0; k < W; k++) few += F::of(v[k]);
            if (isfinite(few)) {
                sum += few;
            } else
                for (int k = 0; k < W; k++) sum += F::exactly(v[k]);
        } else
            for (int64_t k = i; k < n; k++) {
                x.get(k, one);
                sum += F::exactly(one[0]);
            }
    }
    return sum;
}

template <class V, int W>
static __global__ void __launch_bounds__(THREADS) weighted_sum(V x, int64_t n, float scale, float *out) {
    double sum;
    if (sum_of_all(thread_sum<plain_value, V, W>(x, n), &sum)) *out = (float)(scale * sum);
}

void mg_cuda_weighted_sum(mg_weighted_sum_args a) {
    int64_t n = a.x.rows * a.x.cols;
    mg_with_views({ a.x }, true, [&](auto v, auto w) {
        using V = decltype(v);
        constexpr int W = decltype(w)::value;
        weighted_sum<V, W><<<sum_blocks(n, W), THREADS, 0, mg_cuda_stream>>>(V::of(a.x), n, a.scale, (float *)a.out);
        MG_CUDA_LAUNCHED("weighted_sum");
    });
}

template <class V, int W>
static __global__ void __launch_bounds__(THREADS) square_sum(V x, int64_t n, double *out) {
    double sum;
    if (sum_of_all(thread_sum<squared, V, W>(x, n), &sum)) *out += sum;
}

void mg_cuda_square_sum(mg_square_sum_args a) {
    typed<float> x = { const_cast<float *>(a.x) };
    if (mg_on16(a.x))
        square_sum<typed<float>, 8><<<sum_blocks(a.n, 8), THREADS, 0, mg_cuda_stream>>>(x, a.n, a.out);
    else
        square_sum<typed<float>, 1><<<sum_blocks(a.n, 1), THREADS, 0, mg_cuda_stream>>>(x, a.n, a.out);
    MG_CUDA_LAUNCHED("square_sum");
}

/* Finite numbers times zero are zero, so one addition a number finds the others. */
template <class V, int W>
static __global__ void __launch_bounds__(THREADS) find_nonfinite(V x, int64_t n, int32_t *flag) {
    int64_t step = (int64_t)gridDim.x * THREADS * W;
    bool    found = false;
    for (int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * W; i < n; i += step) {
        float v[W], zero = 0, one[1];
        if (i + W <= n) {
            x.get(i, v);
#pragma unroll
            for (int k = 0; k < W; k++) zero += __fmul_rn(v[k], 0.0f);
        } else
            for (int64_t k = i; k < n; k++) {
                x.get(k, one);
                zero += __fmul_rn(one[0], 0.0f);
            }
        found = found || zero != 0;
    }
    if (found) *flag = 1;
}

void mg_cuda_find_nonfinite(mg_mat x, int32_t *flag) {
    int64_t n = x.rows * x.cols;
    mg_with_views({ x }, true, [&](auto v, auto w) {
        using V = decltype(v);
        constexpr int W = decltype(w)::value;
        find_nonfinite<V, W><<<sum_blocks(n, W), THREADS, 0, mg_cuda_stream>>>(V::of(x), n, flag);
        MG_CUDA_LAUNCHED("find_nonfinite");
    });
}
