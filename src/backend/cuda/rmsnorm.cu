/* rmsnorm.cu -- RMSNorm of groups of columns, forward and backward.
 *
 * Gains are fp32 beside elements of another type as a rule, so they have a view of their own: they stay in the
 * cache, and the rows keep the fast one. */
#include "backend/cuda/rows.h"
#include "backend/cuda/sums.h"

template <class V, int W, int K>
static __global__ void __launch_bounds__(K ? ROW_BLOCK : ROW_MOST)
    rmsnorm(V y, V x, mixed g, V residual, float *inv, float eps, int64_t groups, int64_t cols, int threads) {
    __shared__ float shared[33];
    int              lane = threadIdx.x % threads, steps = ROW_STEPS;
    int64_t          group = (int64_t)blockIdx.x * (blockDim.x / threads) + threadIdx.x / threads, at = group * cols;
    bool             there = group < groups;
    piece<V, W, K>   p = { x, {} };
    float            sum = 0, gain[W], add[W];
    if (K && there)
        PIECES(j, c) p.read(j, at + c);
    if (there)
        PIECES(j, c) {
            float v[W];
        p.again(j, at + c, v);
#pragma unroll
            for (int k = 0; k < W; k++) sum += v[k] * v[k];
        }
    sum = mg_row_sum(sum, threads, shared);
    if (!there) return;
    float r = 1.0f / sqrtf(sum / (float)cols + eps);
    if (lane == 0) inv[group] = r;
    PIECES(j, c) {
        float v[W];
        p.again(j, at + c, v);
        g.get(c, gain);
        if (residual) residual.get(at + c, add);
#pragma unroll
        for (int k = 0; k < W; k++) v[k] = v[k] * r * gain[k] + (residual ? add[k] : 0.0f);
        y.put(at + c, v);
    }
}

void mg_cuda_rmsnorm(mg_rmsnorm_args a) {
    int64_t cols = a.g.cols, groups = a.x.rows * a.x.cols / cols;
    if (!groups) return;
    mg_with_views({ a.y, a.x, a.residual }, cols % 8 == 0 && mg_on16(a.g.data), [&](auto v, auto w) {
        using V = decltype(v);
        constexpr int W = decltype(w)::value;
        mg_with_kept(cols, W, [&](auto k) {
            constexpr int K = decltype(k)::value;
            row_plan      p = mg_plan_rows(cols, W, K);
            rmsnorm<V, W, K><<<mg_blocks(groups, p.rows), p.block, 0, mg_cuda_stream>>>(
                V::of(a.y), V::of(a.x), mixed::of(a.g), V::of(a.residual), (float *)a.inv, a.eps, groups, cols, p.threads);
            MG_CUDA_LAUNCHED("rmsnorm");
        });
    });
}

/* ---- backward ----
 *
 * Blocks walk over rows, so that what a column's gain gets is summed in registers; the blocks' sums go to the
 * work memory, [block][cols] floats, and are added up by a second launch. */

template <class V, int W, int K, bool GAIN>
static __global__ void __launch_bounds__(K ? ROW_BLOCK : ROW_MOST)
    rmsnorm_back(V dx, V dy, V x, mixed g, const float *inv, float *dg, bool accumulate, int64_t groups, int64_t cols, int threads) {
    extern __shared__ float of_rows[]; /* [rows of the block][cols], when there are several */
    __shared__ float        shared[33];
    int                     lane = threadIdx.x % threads, rows = blockDim.x / threads;
    int                     steps = ROW_STEPS;
    float                   gain_sum[K && GAIN ? K : 1][W], gain[W], old[W];
    float                  *mine = GAIN ? dg + (K ? blockIdx.x : (int64_t)blockIdx.x * rows + threadIdx.x / threads) * cols : nullptr;
    for (int j = 0; j < (K && GAIN ? K : 1); j++)
#pragma unroll
        for (int k = 0; k < W; k++) gain_sum[j][k] = 0;
    if (!K && GAIN)
        PIECES(j, c)
#pragma unroll
    for (int k = 0; k < W; k++) mine[c + k] = 0;
    for (int64_t first = (int64_t)blockIdx.x * rows; first < groups; first += (int64_t)gridDim.x * rows) {
        int64_t        group = first + threadIdx.x / threads, at = group * cols;
        bool           there = group < groups;
        piece<V, W, K> px = { x, {} }, py = { dy, {} }, before = { dx, {} };
        float          r = there ? inv[group] : 0, mean = 0;
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
                for (int k = 0; k < W; k++) mean += gain[k] * vy[k] * vx[k];
            }
        mean = mg_row_sum(mean, threads, shared) / (float)cols;
        if (!there) continue;
        float along = r * r * mean;
        PIECES(j, c) {
            float vx[W], vy[W];
            px.again(j, at + c, vx);
            py.again(j, at + c, vy);
            g.get(c, gain);
            if (accumulate) before.again(j, at + c, old);
#pragma unroll
            for (int k = 0; k < W; k++) {
                float through = vy[k] * vx[k] * r;
                if (K && GAIN) gain_sum[j][k] += through;
                else if (GAIN) mine[c + k] += through;
                vx[k] = r * (gain[k] * vy[k] - vx[k] * along) + (accumulate ? old[k] : 0.0f);
            }
            if (dx) dx.put(at + c, vx);
        }
    }
    if constexpr (K && GAIN) mg_put_column_sums<W, K>(mine, gain_sum, of_rows, cols, threads);
}

template <bool GAIN> static unsigned launch_back(mg_rmsnorm_back_args a, int64_t groups, int64_t cols) {
    unsigned parts = 0;
    mg_with_views({ a.dx, a.dy, a.x }, cols % 8 == 0 && mg_on16(a.g.data), [&](auto v, auto w) {
        using V = decltype(v);
        constexpr int W = decltype(w)::value;
        mg_with_kept(cols, W, [&](auto k) {
            constexpr int K = decltype(k)::value;
            row_plan      p = mg_plan_rows(cols, W, K);
            unsigned      blocks = mg_walking_blocks(groups, p, K, GAIN);
            size_t        bytes = GAIN && K && p.rows > 1 ? (size_t)p.rows * cols * sizeof(float) : 0;
            parts = K ? blocks : blocks * p.rows;
            rmsnorm_back<V, W, K, GAIN><<<blocks, p.block, bytes, mg_cuda_stream>>>(
                V::of(a.dx), V::of(a.dy), V::of(a.x), mixed::of(a.g), (const float *)a.inv, GAIN ? (float *)a.work : nullptr,
                a.accumulate && a.dx.data, groups, cols, p.threads);
            MG_CUDA_LAUNCHED("rmsnorm_back");
        });
    });
    return parts;
}

void mg_cuda_rmsnorm_back(mg_rmsnorm_back_args a) {
    int64_t cols = a.g.cols, groups = a.x.rows * a.x.cols / cols;
    if (!groups || (!a.dx.data && !a.dg.data)) return;
    if (!a.dg.data) {
        launch_back<false>(a, groups, cols);
        return;
    }
    unsigned parts = launch_back<true>(a, groups, cols);
    mg_cuda_add_columns(a.dg, mg_mat{ a.work, (int64_t)parts, cols, mg_cuda_f32, nullptr });
}
