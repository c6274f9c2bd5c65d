/* logits.cu -- softmax over tiles of logits and its gradient: a block a row.  Slopes may have another element than
 * logits, as fp32 logits and bf16 slopes do, so they have a view of their own. */
#include "backend/cuda/logits.h"
#include "backend/cuda/reduce.h"
#include "backend/cuda/vec.h"

enum { THREADS = 512 };

static constexpr float LOG2E = 1.44269504088896340736f, LN2 = 0.69314718055994530942f, LOWEST = -3e38f;

/* f(z) log2(e), and f'(z).  tanh u = 1 - 2 / (1 + e^2u): its error is a few units of 2^-24, of a number near 1. */
template <bool CAPPED> static __device__ __forceinline__ float capped(float z, float cap, float over_cap, float *slope) {
    *slope = 1;
    if (!CAPPED) return z * LOG2E;
    float t = 1.0f - __fdividef(2.0f, 1.0f + exp2f(z * over_cap * (2 * LOG2E)));
    *slope = 1.0f - t * t;
    return cap * t * LOG2E;
}

/* Sums of powers of two below a running maximum, and where the largest logit is. */
struct softmax {
    float most, sum, top;
    int   id;
};

/* Two parts in one; of equal logits the smaller id stays. */
static __device__ __forceinline__ softmax joined(softmax a, softmax b) {
    float most = fmaxf(a.most, b.most);
    a.sum = a.sum * exp2f(a.most - most) + b.sum * exp2f(b.most - most);
    a.most = most;
    if (b.top > a.top || (b.top == a.top && b.id < a.id)) a.top = b.top, a.id = b.id;
    return a;
}

static __device__ __forceinline__ softmax from_lane(softmax a, int distance) {
    return softmax{ __shfl_xor_sync(0xffffffffu, a.most, distance), __shfl_xor_sync(0xffffffffu, a.sum, distance),
                    __shfl_xor_sync(0xffffffffu, a.top, distance), __shfl_xor_sync(0xffffffffu, a.id, distance) };
}

/* Known to all threads of the block. */
static __device__ softmax joined_in_block(softmax a) {
    __shared__ softmax shared[THREADS / 32];
    for (int d = 1; d < 32; d *= 2) a = joined(a, from_lane(a, d));
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = a;
    __syncthreads();
    a = shared[threadIdx.x % (THREADS / 32)];
    for (int d = 1; d < THREADS / 32; d *= 2) a = joined(a, from_lane(a, d));
    return a;
}

template <class V, int W, bool CAPPED>
static __device__ softmax row_softmax(V z, int64_t at, int64_t cols, float cap, float over_cap) {
    softmax a = { LOWEST, 0, -INFINITY, 0x7fffffff };
#pragma unroll 2
    for (int64_t c = (int64_t)threadIdx.x * W; c < cols; c += THREADS * W) {
        float v[W], y[W], slope, most = a.most;
        z.get(at + c, v);
#pragma unroll
        for (int k = 0; k < W; k++) {
            y[k] = capped<CAPPED>(v[k], cap, over_cap, &slope);
            if (v[k] > a.top) a.top = v[k], a.id = (int)(c + k);
            most = fmaxf(most, y[k]);
        }
        a.sum *= exp2f(a.most - most);
        a.most = most;
#pragma unroll
        for (int k = 0; k < W; k++) a.sum += exp2f(y[k] - most);
    }
    return joined_in_block(a);
}

template <class V, bool CAPPED> static __device__ float target_logit(V z, int64_t at, int64_t c, float cap, float over_cap) {
    float v[1], slope;
    z.get(at + c, v);
    return capped<CAPPED>(v[0], cap, over_cap, &slope) * LN2;
}

template <class V, int W, bool CAPPED>
static __global__ void __launch_bounds__(THREADS)
    logit_stats(V z, const int32_t *target, mg_cuda_logit_state s, int64_t first, int64_t cols, float cap, float over_cap, bool begin) {
    int64_t row = blockIdx.x, at = row * cols, t = target[row] - first;
    softmax a = row_softmax<V, W, CAPPED>(z, at, cols, cap, over_cap);
    if (threadIdx.x) return;
    if (t >= 0 && t < cols) s.at_target[row] = target_logit<V, CAPPED>(z, at, t, cap, over_cap);
    a.id += (int)first;
    if (!begin) {
        /* the largest logit so far has not been kept, but its power has: f is monotonic */
        bool    better = a.most > s.most[row];
        float   most = fmaxf(a.most, s.most[row]);
        a.sum = s.sum[row] * exp2f(s.most[row] - most) + a.sum * exp2f(a.most - most);
        a.most = most;
        if (s.top_id && !better) a.id = s.top_id[row];
    }
    s.most[row] = a.most;
    s.sum[row] = a.sum;
    if (s.top_id) s.top_id[row] = a.id;
}

static float over(float cap) { return cap > 0 ? 1.0f / cap : 0; }

void mg_cuda_logit_stats(mg_cuda_logits t, mg_cuda_logit_state s, bool begin) {
    if (!t.z.rows) return;
    mg_with_views({ t.z }, t.z.cols % 8 == 0, [&](auto v, auto w) {
        mg_with_flag(t.softcap > 0, [&](auto capped) {
            using V = decltype(v);
            logit_stats<V, decltype(w)::value, decltype(capped)::value><<<(unsigned)t.z.rows, THREADS, 0, mg_cuda_stream>>>(
                V::of(t.z), t.target, s, t.first, t.z.cols, t.softcap, over(t.softcap), begin);
            MG_CUDA_LAUNCHED("logit_stats");
        });
    });
}

static __global__ void logit_finish(mg_cuda_logit_state s, int64_t rows, float *logp, float *lse) {
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= rows) return;
    float l = s.most[i] * LN2 + logf(s.sum[i]), p = s.at_target[i] - l;
    if (lse) lse[i] = l;
    if (logp) logp[i] = p;
}

void mg_cuda_logit_finish(mg_cuda_logit_state s, int64_t rows, float *logp, float *lse) {
    if (!rows) return;
    logit_finish<<<mg_blocks(rows, 128), 128, 0, mg_cuda_stream>>>(s, rows, logp, lse);
    MG_CUDA_LAUNCHED("logit_finish");
}

/* The slopes of a row, from its end: what was read last is still in the cache. */
template <class V, int W, bool CAPPED>
static __device__ void row_slopes(mixed to, V z, int64_t at, int64_t cols, int64_t target, float lse2, float factor, float cap, float over_cap) {
    int64_t last = (cols / W - 1 - threadIdx.x) * W;
#pragma unroll 2
    for (int64_t c = last; c >= 0; c -= THREADS * W) {
        float v[W], slope;
        z.get(at + c, v);
#pragma unroll
        for (int k = 0; k < W; k++) {
            float y = capped<CAPPED>(v[k], cap, over_cap, &slope);
            v[k] = factor * slope * ((c + k == target ? 1.0f : 0.0f) - exp2f(y - lse2));
        }
        to.put(at + c, v);
    }
}

template <class V, int W, bool CAPPED>
static __global__ void __launch_bounds__(THREADS)
    logit_slopes(mixed to, V z, const int32_t *target, const float *lse, const float *factor, int64_t first, int64_t cols, float cap,
                 float over_cap) {
    int64_t row = blockIdx.x;
    row_slopes<V, W, CAPPED>(to, z, row * cols, cols, target[row] - first, lse[row] * LOG2E, factor ? factor[row] : 1.0f, cap,
                             over_cap);
}

void mg_cuda_logit_slopes(mg_cuda_logits t, mg_mat to, const float *lse, const float *factor) {
    if (!t.z.rows) return;
    mg_with_views({ t.z }, t.z.cols % 8 == 0 && mg_on16(to.data), [&](auto v, auto w) {
        mg_with_flag(t.softcap > 0, [&](auto capped) {
            using V = decltype(v);
            logit_slopes<V, decltype(w)::value, decltype(capped)::value><<<(unsigned)t.z.rows, THREADS, 0, mg_cuda_stream>>>(
                mixed::of(to), V::of(t.z), t.target, lse, factor, t.first, t.z.cols, t.softcap, over(t.softcap));
            MG_CUDA_LAUNCHED("logit_slopes");
        });
    });
}

template <class V, int W, bool CAPPED>
static __global__ void __launch_bounds__(THREADS)
    logit_whole(mixed to, V z, const int32_t *target, float *logp, float *lse, int32_t *top_id, const float *factor, int64_t cols,
                float cap, float over_cap) {
    int64_t row = blockIdx.x, at = row * cols, t = target[row];
    softmax a = row_softmax<V, W, CAPPED>(z, at, cols, cap, over_cap);
    float   l2 = a.most + log2f(a.sum);
    if (threadIdx.x == 0) {
        if (lse) lse[row] = l2 * LN2;
        if (logp) logp[row] = target_logit<V, CAPPED>(z, at, t, cap, over_cap) - l2 * LN2;
        if (top_id) top_id[row] = a.id;
    }
    __syncthreads(); /* `to` may be z, whose target has been read now */
    if (to) row_slopes<V, W, CAPPED>(to, z, at, cols, t, l2, factor ? factor[row] : 1.0f, cap, over_cap);
}

void mg_cuda_logit_whole(mg_cuda_logits t, mg_mat to, float *logp, float *lse, int32_t *top_id, const float *factor) {
    if (!t.z.rows) return;
    mg_with_views({ t.z }, t.z.cols % 8 == 0 && mg_on16(to.data), [&](auto v, auto w) {
        mg_with_flag(t.softcap > 0, [&](auto capped) {
            using V = decltype(v);
            logit_whole<V, decltype(w)::value, decltype(capped)::value><<<(unsigned)t.z.rows, THREADS, 0, mg_cuda_stream>>>(
                mixed::of(to), V::of(t.z), t.target, logp, lse, top_id, factor, t.z.cols, t.softcap, over(t.softcap));
            MG_CUDA_LAUNCHED("logit_whole");
        });
    });
}

/* ---- labelled rows ---- */

template <int W>
static __global__ void __launch_bounds__(256)
    move_rows(mixed to, mixed from, const int32_t *row, const float *factor, bool gather, int64_t cols) {
    int64_t i = blockIdx.x, r = row[i], here = (gather ? i : r) * cols, there = (gather ? r : i) * cols;
    float   by = factor ? factor[i] : 1.0f, v[W], old[W];
    for (int64_t c = (int64_t)threadIdx.x * W; c < cols; c += 256 * W) {
        from.get(there + c, v);
        if (!gather) {
            to.get(here + c, old);
#pragma unroll
            for (int k = 0; k < W; k++) v[k] = old[k] + by * v[k];
        }
        to.put(here + c, v);
    }
}

static void launch_move(mg_mat to, mg_mat from, const int32_t *row, const float *factor, bool gather, int64_t n) {
    if (!n) return;
    if (to.cols % 8 == 0 && mg_on16(to.data) && mg_on16(from.data))
        move_rows<8><<<(unsigned)n, 256, 0, mg_cuda_stream>>>(mixed::of(to), mixed::of(from), row, factor, gather, to.cols);
    else
        move_rows<1><<<(unsigned)n, 256, 0, mg_cuda_stream>>>(mixed::of(to), mixed::of(from), row, factor, gather, to.cols);
    MG_CUDA_LAUNCHED("move_rows");
}

void mg_cuda_gather_rows(mg_mat to, mg_mat from, const int32_t *row) { launch_move(to, from, row, nullptr, true, to.rows); }
void mg_cuda_scatter_rows(mg_mat to, mg_mat from, const int32_t *row, const float *factor) {
    launch_move(to, from, row, factor, false, from.rows);
}
