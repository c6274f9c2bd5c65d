/* rows.cu -- RMSNorm, forward and backward.
 *
 * A row (a group of g.cols columns) belongs to `threads` threads, a power of two: part of a warp, a warp, or a
 * whole block.  Each keeps its K times eight numbers in registers, so that a row is read once; K = 0 is for rows
 * that are too wide for that, or that do not lie on 16 bytes, and reads them a second time. */
#include "backend/cuda/reduce.h"
#include "backend/cuda/sums.h"
#include "backend/cuda/vec.h"

enum { BLOCK = 256, MOST_THREADS = 1024, PART_ROWS = 512 };

/* How a row is cut: threads of a row, rows of a block. */
typedef struct row_plan {
    int threads, rows, block;
} row_plan;

static row_plan plan_rows(int64_t cols, int width, int kept) {
    row_plan p = { 8, 0, 0 };
    while (p.threads < MOST_THREADS && (int64_t)p.threads * width * (kept ? kept : 4) < cols) p.threads *= 2;
    p.block = p.threads > BLOCK ? p.threads : BLOCK;
    if (p.threads > 32) p.block = p.threads;
    p.rows = p.block / p.threads;
    return p;
}

/* Does a row fit into the registers of a block's threads? */
static int kept_of(int64_t cols, int width) {
    if (width == 1) return 0;
    return cols <= 8 * 32 ? 1 : cols <= 8 * 4 * BLOCK ? 4 : 0;
}

struct width_and_kept {
    int64_t cols;
    template <class F> void operator()(int width, F launch) const {
        int kept = kept_of(cols, width);
        if (kept == 1) launch(width_of<1>{});
        else if (kept == 4) launch(width_of<4>{});
        else launch(width_of<0>{});
    }
};

/* The numbers of a thread: j counts its pieces of W. */
template <class V, int W, int K> struct piece {
    V     view;
    float kept[K ? K : 1][W];
    __device__ __forceinline__ void read(int j, int64_t at) { view.get(at, kept[K ? j : 0]); }
    __device__ __forceinline__ float (&again(int j, int64_t at))[W] {
        if (!K) view.get(at, kept[0]);
        return kept[K ? j : 0];
    }
};

/* Piece j of the thread: columns c .. c+W-1 of its row, as long as there are some. */
#define PIECES(j, c)                                                                                       \
    _Pragma("unroll") for (int64_t j = 0, c = lane * W; j < (K ? K : steps); j++, c += (int64_t)threads *W) \
        if (c < cols)

template <class V, int W, int K>
static __global__ void __launch_bounds__(K ? BLOCK : MOST_THREADS)
    rmsnorm(V y, V x, V g, V residual, float *inv, float eps, int64_t groups, int64_t cols, int threads) {
    __shared__ float shared[33];
    int              lane = threadIdx.x % threads, steps = (int)((cols + (int64_t)threads * W - 1) / ((int64_t)threads * W));
    int64_t          group = (int64_t)blockIdx.x * (blockDim.x / threads) + threadIdx.x / threads, at = group * cols;
    bool             there = group < groups;
    piece<V, W, K>   p = { x, {} };
    float            sum = 0, gain[W], add[W];
    if (there)
        PIECES(j, c) p.read((int)j, at + c);
    if (there)
        PIECES(j, c) {
            float(&v)[W] = p.again((int)j, at + c);
#pragma unroll
            for (int k = 0; k < W; k++) sum += v[k] * v[k];
        }
    sum = mg_row_sum(sum, threads, shared);
    if (!there) return;
    float r = 1.0f / sqrtf(sum / (float)cols + eps);
    if (lane == 0) inv[group] = r;
    PIECES(j, c) {
        float(&v)[W] = p.again((int)j, at + c);
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
    mg_with_views({ a.y, a.x, a.g, a.residual }, cols % 8 == 0, [&](auto v, auto w) {
        using V = decltype(v);
        constexpr int W = decltype(w)::value;
        width_and_kept{ cols }(W, [&](auto k) {
            constexpr int K = decltype(k)::value;
            row_plan      p = plan_rows(cols, W, K);
            rmsnorm<V, W, K><<<mg_blocks(groups, p.rows), p.block, 0, mg_cuda_stream>>>(
                V::of(a.y), V::of(a.x), V::of(a.g), V::of(a.residual), (float *)a.inv, a.eps, groups, cols, p.threads);
            MG_CUDA_LAUNCHED("rmsnorm");
        });
    });
}

/* ---- backward ----
 *
 * Blocks walk over rows, so that what a column's gain gets is summed in registers; the blocks' sums go to the
 * work memory, [block][cols] floats, and are added up by a second launch. */

template <class V, int W, int K>
static __global__ void __launch_bounds__(K ? BLOCK : MOST_THREADS)
    rmsnorm_back(V dx, V dy, V x, V g, const float *inv, float *dg, bool accumulate, int64_t groups, int64_t cols, int threads) {
    extern __shared__ float of_rows[]; /* [rows of the block][cols], when there are several */
    __shared__ float        shared[33];
    int                     lane = threadIdx.x % threads, rows = blockDim.x / threads, row = threadIdx.x / threads;
    int                     steps = (int)((cols + (int64_t)threads * W - 1) / ((int64_t)threads * W));
    float                   gain_sum[K ? K : 1][W], gain[W], old[W];
    float                  *mine = dg + blockIdx.x * cols;
    for (int j = 0; j < (K ? K : 1); j++)
#pragma unroll
        for (int k = 0; k < W; k++) gain_sum[j][k] = 0;
    if (!K && dg)
        for (int64_t c = lane; c < cols; c += threads) mine[c] = 0;
    if (!K) __syncthreads();
    for (int64_t first = (int64_t)blockIdx.x * rows; first < groups; first += (int64_t)gridDim.x * rows) {
        int64_t        group = first + row, at = group * cols;
        bool           there = group < groups;
        piece<V, W, K> px = { x, {} }, py = { dy, {} };
        float          r = there ? inv[group] : 0, mean = 0;
        if (there)
            PIECES(j, c) {
                px.read((int)j, at + c);
                py.read((int)j, at + c);
                if (K) continue;
                g.get(c, gain);
#pragma unroll
                for (int k = 0; k < W; k++) mean += gain[k] * py.kept[0][k] * px.kept[0][k];
            }
        if (K && there)
            PIECES(j, c) {
                g.get(c, gain);
#pragma unroll
                for (int k = 0; k < W; k++) mean += gain[k] * py.kept[j][k] * px.kept[j][k];
            }
        mean = mg_row_sum(mean, threads, shared) / (float)cols;
        if (!there) continue;
        float along = r * r * mean;
        PIECES(j, c) {
            float(&vx)[W] = px.again((int)j, at + c);
            float(&vy)[W] = py.again((int)j, at + c);
            g.get(c, gain);
            if (dx && accumulate) dx.get(at + c, old);
#pragma unroll
            for (int k = 0; k < W; k++) {
                float through = vy[k] * vx[k] * r;
                if (K) gain_sum[j][k] += through;
                else if (dg) mine[c + k] += through;
                vx[k] = r * (gain[k] * vy[k] - vx[k] * along) + (accumulate ? old[k] : 0.0f);
            }
            if (dx) dx.put(at + c, vx);
        }
    }
    if (!K || !dg) return;
    if (rows == 1) {
        PIECES(j, c)
#pragma unroll
        for (int k = 0; k < W; k++) mine[c + k] = gain_sum[j][k];
        return;
    }
    PIECES(j, c)
#pragma unroll
    for (int k = 0; k < W; k++) of_rows[row * cols + c + k] = gain_sum[j][k];
    __syncthreads();
    for (int64_t c = threadIdx.x; c < cols; c += blockDim.x) {
        float sum = 0;
        for (int i = 0; i < rows; i++) sum += of_rows[i * cols + c];
        mine[c] = sum;
    }
}

void mg_cuda_rmsnorm_back(mg_rmsnorm_back_args a) {
    int64_t cols = a.g.cols, groups = a.x.rows * a.x.cols / cols;
    if (!groups || (!a.dx.data && !a.dg.data)) return;
    unsigned blocks = 0;
    mg_with_views({ a.dx, a.dy, a.x, a.g }, cols % 8 == 0, [&](auto v, auto w) {
        using V = decltype(v);
        constexpr int W = decltype(w)::value;
        width_and_kept{ cols }(W, [&](auto k) {
            constexpr int K = decltype(k)::value;
            row_plan      p = plan_rows(cols, W, K);
            unsigned      most = 4 * mg_cuda_sms < PART_ROWS ? 4 * mg_cuda_sms : PART_ROWS;
            blocks = mg_blocks(groups, p.rows);
            if (blocks > most) blocks = most;
            size_t bytes = K && p.rows > 1 && a.dg.data ? (size_t)p.rows * cols * sizeof(float) : 0;
            rmsnorm_back<V, W, K><<<blocks, p.block, bytes, mg_cuda_stream>>>(
                V::of(a.dx), V::of(a.dy), V::of(a.x), V::of(a.g), (const float *)a.inv,
                a.dg.data ? (float *)a.work : nullptr, a.accumulate && a.dx.data, groups, cols, p.threads);
            MG_CUDA_LAUNCHED("rmsnorm_back");
        });
    });
    if (!a.dg.data) return;
    mg_mat parts = { a.work, (int64_t)blocks, cols, mg_cuda_f32, nullptr };
    mg_cuda_add_columns(a.dg, parts);
}
