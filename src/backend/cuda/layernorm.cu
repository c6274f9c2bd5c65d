/* layernorm.cu -- layer norm, forward and backward; the same plan as rmsnorm.cu with two sums a row.  Gains and
 * shifts have a view of their own, for they are fp32 as a rule. */
#include "backend/cuda/rows.h"
#include "backend/cuda/sums.h"

template <class V, int W, int K>
static __global__ void __launch_bounds__(K ? ROW_BLOCK : ROW_MOST)
    layernorm(V y, V x, mixed g, mixed b, float *stats, float eps, int64_t rows, int64_t cols, int threads) {
    __shared__ float shared[33];
    int              lane = threadIdx.x % threads, steps = ROW_STEPS;
    int64_t          row = (int64_t)blockIdx.x * (blockDim.x / threads) + threadIdx.x / threads, at = row * cols;
    bool             there = row < rows;
    piece<V, W, K>   p = { x, {} };
    float            mean = 0, square = 0, gain[W], shift[W];
    if (K && there)
        PIECES(j, c) p.read(j, at + c);
    if (there)
        PIECES(j, c) {
            float v[W];
            p.again(j, at + c, v);
#pragma unroll
            for (int k = 0; k < W; k++) mean += v[k];
        }
    mean = mg_row_sum(mean, threads, shared) / (float)cols;
    if (there)
        PIECES(j, c) {
            float v[W];
            p.again(j, at + c, v);
#pragma unroll
            for (int k = 0; k < W; k++) square += (v[k] - mean) * (v[k] - mean);
        }
    square = mg_row_sum(square, threads, shared);
    if (!there) return;
    float r = 1.0f / sqrtf(square / (float)cols + eps);
    if (lane == 0) {
        stats[2 * row] = mean;
        stats[2 * row + 1] = r;
    }
    PIECES(j, c) {
        float v[W];
        p.again(j, at + c, v);
        g.get(c, gain);
        if (b) b.get(c, shift);
#pragma unroll
        for (int k = 0; k < W; k++) v[k] = (v[k] - mean) * r * gain[k] + (b ? shift[k] : 0.0f);
        y.put(at + c, v);
    }
}

void mg_cuda_layernorm(mg_layernorm_args a) {
    int64_t cols = a.x.cols;
    if (!a.x.rows) return;
    mg_with_views({ a.y, a.x }, cols % 8 == 0 && mg_on16(a.g.data) && mg_on16(a.b.data), [&](auto v, auto w) {
        using V = decltype(v);
        constexpr int W = decltype(w)::value;
        mg_with_kept(cols, W, [&](auto k) {
            constexpr int K = decltype(k)::value;
            row_plan      p = mg_plan_rows(cols, W, K);
            layernorm<V, W, K><<<mg_blocks(a.x.rows, p.rows), p.block, 0, mg_cuda_stream>>>(
                V::of(a.y), V::of(a.x), mixed::of(a.g), mixed::of(a.b), (float *)a.stats, a.eps, a.x.rows, cols, p.threads);
            MG_CUDA_LAUNCHED("layernorm");
        });
    });
}

template <class V, int W, int K, bool DG>
static __global__ void __launch_bounds__(K ? ROW_BLOCK : ROW_MOST)
    layernorm_back(V dx, V dy, V x, mixed g, const float *stats, float *dg, bool accumulate, int64_t all_rows, int64_t cols,
                   int threads) {
    extern __shared__ float of_rows[];
    __shared__ float        shared[33];
    int                     lane = threadIdx.x % threads, rows = blockDim.x / threads, steps = ROW_STEPS;
    float                   gain_sum[K ? K : 1][W], gain[W], old[W];
    float                  *mine = dg + (K ? blockIdx.x : (int64_t)blockIdx.x * rows + threadIdx.x / threads) * cols;
    for (int j = 0; j < (K ? K : 1); j++)
#pragma unroll
        for (int k = 0; k < W; k++) gain_sum[j][k] = 0;
    if (!K && DG)
        PIECES(j, c)
#pragma unroll
    for (int k = 0; k < W; k++) mine[c + k] = 0;
    for (int64_t first = (int64_t)blockIdx.x * rows; first < all_rows; first += (int64_t)gridDim.x * rows) {
        int64_t        row = first + threadIdx.x / threads, at = row * cols;
        bool           there = row < all_rows;
        piece<V, W, K> px = { x, {} }, py = { dy, {} }, before = { dx, {} };
        float          mean = there ? stats[2 * row] : 0, r = there ? stats[2 * row + 1] : 0, sum = 0, along = 0;
        if (K && there)
            PIECES(j, c) {
                px.read(j, at + c);
                py.read(j, at + c);
                if (accumulate) before.read(j, at + c);
            }
        if (there)
            PIECES(j, c) {
                float vx[W], vy[W];
                px.again(j, at + c, vx);
                py.again(j, at + c, vy);
                g.get(c, gain);
#pragma unroll
                for (int k = 0; k < W; k++) {
                    sum += gain[k] * vy[k];
                    along += gain[k] * vy[k] * ((vx[k] - mean) * r);
                }
            }
        sum = mg_row_sum(sum, threads, shared) / (float)cols;
        along = mg_row_sum(along, threads, shared) / (float)cols;
        if (!there) continue;
        PIECES(j, c) {
            float vx[W], vy[W];
            px.again(j, at + c, vx);
            py.again(j, at + c, vy);
            g.get(c, gain);
            if (accumulate) before.again(j, at + c, old);
#pragma unroll
            for (int k = 0; k < W; k++) {
                float normed = (vx[k] - mean) * r;
                if (K && DG) gain_sum[j][k] += vy[k] * normed;
                else if (DG) mine[c + k] += vy[k] * normed;
                vx[k] = r * (gain[k] * vy[k] - sum - normed * along) + (accumulate ? old[k] : 0.0f);
            }
            if (dx) dx.put(at + c, vx);
        }
    }
    if (K && DG) mg_put_column_sums<W, K>(mine, gain_sum, of_rows, cols, threads);
}

void mg_cuda_layernorm_back(mg_layernorm_back_args a) {
    int64_t  cols = a.x.cols;
    unsigned blocks = 0, parts = 0;
    if (!a.x.rows || (!a.dx.data && !a.dg.data)) return;
    mg_with_views({ a.dx, a.dy, a.x }, cols % 8 == 0 && mg_on16(a.g.data), [&](auto v, auto w) {
        using V = decltype(v);
        constexpr int W = decltype(w)::value;
        mg_with_kept(cols, W, [&](auto k) {
            constexpr int K = decltype(k)::value;
            row_plan      p = mg_plan_rows(cols, W, K);
            blocks = mg_walking_blocks(a.x.rows, p, K, a.dg.data);
            parts = K ? blocks : blocks * p.rows;
            size_t bytes = K && p.rows > 1 && a.dg.data ? (size_t)p.rows * cols * sizeof(float) : 0;
            mg_with_flag(a.dg.data, [&](auto dg) {
                layernorm_back<V, W, K, decltype(dg)::value><<<blocks, p.block, bytes, mg_cuda_stream>>>(
                    V::of(a.dx), V::of(a.dy), V::of(a.x), mixed::of(a.g), (const float *)a.stats,
                    a.dg.data ? (float *)a.work : nullptr, a.accumulate && a.dx.data, a.x.rows, cols, p.threads);
            });
            MG_CUDA_LAUNCHED("layernorm_back");
        });
    });
    if (!a.dg.data) return;
    mg_cuda_add_columns(a.dg, mg_mat{ a.work, (int64_t)parts, cols, mg_cuda_f32, nullptr });
}
