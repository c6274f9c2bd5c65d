/* attention.cu -- attention: which kernels run, and plain ones for all the rest.
 *
 * The plain kernels take any element type, head width and alignment: fp32 for checking, and the tiny models
 * of tests.  A warp has one row of one head.  Its lanes take a column of the scores each, then a column of
 * the output each; all sums are in fp32 and in one order. */
#include "backend/cuda/attention.h"

#include <math.h>

enum { WARPS = 4, PLAIN_WIDTH = 32 }; /* a lane has up to 32 columns of the output: heads of up to 1024 */

template <typename T> static __device__ inline float plain_dot(const T *a, const T *b, int n) {
    float sum = 0;
    for (int i = 0; i < n; i++) sum += mg_float(a[i]) * mg_float(b[i]);
    return sum;
}

static __device__ inline float warp_sum(float x) {
    for (int d = 16; d; d >>= 1) x += __shfl_xor_sync(~0u, x, d);
    return x;
}

static __device__ inline float warp_max(float x) {
    for (int d = 16; d; d >>= 1) x = fmaxf(x, __shfl_xor_sync(~0u, x, d));
    return x;
}

/* In full precision: exp2 and tanh of the fast kernels would be fine for fp32 too, but this is what they are checked
 * by. */
static __device__ inline float plain_score(const mg_attention_shape &s, float x, float *slope) {
    *slope = 1;
    x *= s.scale;
    if (!(s.softcap > 0)) return x;
    float t = tanhf(x / s.softcap);
    *slope = 1 - t * t;
    return s.softcap * t;
}

template <typename T> static __device__ inline const T *head_row(mg_mat m, int row, int head, int hd) {
    return (const T *)m.data + row * m.cols + head * hd;
}

/* Row and head of a warp; false: none. */
template <bool KEYS>
static __device__ inline bool warp_row(const mg_attention_shape &s, int rows, int *row, mg_range *see) {
    mg_tile t = mg_tile_of<KEYS>(s, blockIdx.y, WARPS, rows);
    int     i = threadIdx.x >> 5;
    if (i >= t.rows) return false;
    *row = t.row0 + i;
    *see = mg_row_range<KEYS>(s, t, i);
    return true;
}

template <typename T> static __global__ void __launch_bounds__(WARPS * 32) plain_forward(mg_attention_args a) {
    int      row, head = blockIdx.x, hd = a.s.hd, kv = head / (a.s.heads / a.s.kv_heads), lane = threadIdx.x & 31;
    mg_range see;
    if (!warp_row<false>(a.s, (int)a.q.rows, &row, &see)) return;
    const T *q = head_row<T>(a.q, row, head, hd);
    float    most = -INFINITY, sum = 0, slope, y[PLAIN_WIDTH] = {};
    for (int c = see.begin; c < see.end; c += 32) {
        float z = c + lane < see.end ? plain_score(a.s, plain_dot(q, head_row<T>(a.k, c + lane, kv, hd), hd), &slope)
                                     : -INFINITY;
        float old = most;
        most = fmaxf(most, warp_max(z));
        float p = expf(z - most), rescale = expf(old - most);
        sum = sum * rescale + warp_sum(p);
#pragma unroll
        for (int i = 0; i < PLAIN_WIDTH; i++) y[i] *= rescale;
        for (int k = 0; k < min(32, see.end - c); k++) {
            float    pk = __shfl_sync(~0u, p, k);
            const T *v = head_row<T>(a.v, c + k, kv, hd);
#pragma unroll
            for (int i = 0; i < PLAIN_WIDTH; i++)
                if (lane + 32 * i < hd) y[i] += pk * mg_float(v[lane + 32 * i]);
        }
    }
    T *to = (T *)a.y.data + row * a.y.cols + head * hd;
#pragma unroll
    for (int i = 0; i < PLAIN_WIDTH; i++)
        if (lane + 32 * i < hd) mg_set(to + lane + 32 * i, sum > 0 ? y[i] / sum : 0);
    if (lane == 0) ((float *)a.lse)[(int64_t)row * a.s.heads + head] = sum > 0 ? most + logf(sum) : 0;
}

/* delta [N,H] = rowsum(dy y); rows of no sequence may hold anything and are not looked at again */
template <typename T> static __global__ void plain_delta(mg_attention_back_args a, float *delta) {
    int64_t i = blockIdx.x * (int64_t)WARPS + (threadIdx.x >> 5), row = i / a.s.heads;
    int     head = (int)(i % a.s.heads), lane = threadIdx.x & 31, hd = a.s.hd;
    if (row >= a.q.rows) return;
    const T *dy = head_row<T>(a.dy, (int)row, head, hd), *y = head_row<T>(a.y, (int)row, head, hd);
    float    sum = 0;
    for (int c = lane; c < hd; c += 32) sum += mg_float(dy[c]) * mg_float(y[c]);
    sum = warp_sum(sum);
    if (lane == 0) delta[i] = sum;
}

/* The same with loads of 16 bytes: `lanes`, a power of two, for a head. */
template <typename T>
static __global__ void __launch_bounds__(256) fast_delta(mg_attention_back_args a, float *delta, int lanes) {
    int64_t i = (blockIdx.x * (int64_t)256 + threadIdx.x) / lanes, row = i / a.s.heads;
    int     head = (int)(i % a.s.heads), lane = threadIdx.x % lanes, hd = a.s.hd;
    float   sum = 0;
    if (row < a.q.rows && lane * 8 < hd) {
        uint4          u = *(const uint4 *)(head_row<T>(a.dy, (int)row, head, hd) + lane * 8);
        uint4          v = *(const uint4 *)(head_row<T>(a.y, (int)row, head, hd) + lane * 8);
        const uint32_t x[4] = { u.x, u.y, u.z, u.w }, y[4] = { v.x, v.y, v.z, v.w };
#pragma unroll
        for (int k = 0; k < 4; k++) {
            float2 p = mg_pair<T>::floats(x[k]), q = mg_pair<T>::floats(y[k]);
            sum += p.x * q.x + p.y * q.y;
        }
    }
    for (int d = lanes / 2; d; d >>= 1) sum += __shfl_xor_sync(~0u, sum, d);
    if (lane == 0 && row < a.q.rows) delta[i] = sum;
}

/* dq: a row is a query.  dk, dv: a row is a key, and its columns are the queries of all heads of the group. */
template <typename T, bool KEYS>
static __global__ void __launch_bounds__(WARPS * 32) plain_back(mg_attention_back_args a, const float *delta) {
    int      row, hd = a.s.hd, each = a.s.heads / a.s.kv_heads, lane = threadIdx.x & 31;
    int      kv = KEYS ? blockIdx.x : blockIdx.x / each;
    mg_range see;
    if (!warp_row<KEYS>(a.s, (int)(KEYS ? a.k.rows : a.q.rows), &row, &see)) return;
    float acc0[PLAIN_WIDTH] = {}, acc1[PLAIN_WIDTH] = {};
    for (int head = KEYS ? kv * each : blockIdx.x; head < (KEYS ? (kv + 1) * each : blockIdx.x + 1); head++)
        for (int c = see.begin; c < see.end; c += 32) {
            float p = 0, ds = 0, slope;
            if (c + lane < see.end) {
                int      query = KEYS ? c + lane : row, key = KEYS ? row : c + lane;
                int64_t  at = (int64_t)query * a.s.heads + head;
                const T *q = head_row<T>(a.q, query, head, hd), *dy = head_row<T>(a.dy, query, head, hd);
                p = expf(plain_score(a.s, plain_dot(q, head_row<T>(a.k, key, kv, hd), hd), &slope) -
                         ((const float *)a.lse)[at]);
                ds = p * slope * a.s.scale * (plain_dot(dy, head_row<T>(a.v, key, kv, hd), hd) - delta[at]);
            }
            for (int k = 0; k < min(32, see.end - c); k++) {
                float    pk = __shfl_sync(~0u, p, k), dk = __shfl_sync(~0u, ds, k);
                const T *c0 = KEYS ? head_row<T>(a.q, c + k, head, hd) : head_row<T>(a.k, c + k, kv, hd);
                const T *c1 = KEYS ? head_row<T>(a.dy, c + k, head, hd) : c0;
#pragma unroll
                for (int i = 0; i < PLAIN_WIDTH; i++)
                    if (lane + 32 * i < hd) {
                        acc0[i] += dk * mg_float(c0[lane + 32 * i]);
                        if (KEYS) acc1[i] += pk * mg_float(c1[lane + 32 * i]);
                    }
            }
        }
    T *out0 = (T *)(KEYS ? a.dk.data : a.dq.data), *out1 = (T *)(KEYS ? a.dv.data : NULL);
    int64_t at = KEYS ? row * a.k.cols + kv * hd : row * a.q.cols + (int64_t)blockIdx.x * hd;
#pragma unroll
    for (int i = 0; i < PLAIN_WIDTH; i++)
        if (lane + 32 * i < hd) {
            if (out0) mg_set(out0 + at + lane + 32 * i, acc0[i]);
            if (out1) mg_set(out1 + at + lane + 32 * i, acc1[i]);
        }
}

template <typename T> static void plain_attention(const mg_attention_args &a) {
    plain_forward<T><<<dim3(a.s.heads, mg_tiles(a.s, a.q.rows, WARPS)), WARPS * 32, 0, mg_cuda_stream>>>(a);
    MG_CUDA_LAUNCHED("attention");
}

template <typename T> static void make_delta(const mg_attention_back_args &a, float *delta) {
    int64_t n = a.q.rows * a.s.heads;
    int     lanes = 1;
    while (lanes * 8 < a.s.hd) lanes *= 2;
    if constexpr (sizeof(T) == 2) {
        if (lanes <= 32 && mg_aligned(a.dy, a.s.hd) && mg_aligned(a.y, a.s.hd)) {
            fast_delta<T><<<(unsigned)((n * lanes + 255) / 256), 256, 0, mg_cuda_stream>>>(a, delta, lanes);
            MG_CUDA_LAUNCHED("attention_back");
            return;
        }
    }
    plain_delta<T><<<(unsigned)((n + WARPS - 1) / WARPS), WARPS * 32, 0, mg_cuda_stream>>>(a, delta);
    MG_CUDA_LAUNCHED("attention_back");
}

template <typename T> static void plain_attention_back(const mg_attention_back_args &a, const float *delta) {
    const mg_attention_shape &s = a.s;
    if (a.dq.data)
        plain_back<T, false><<<dim3(s.heads, mg_tiles(s, a.q.rows, WARPS)), WARPS * 32, 0, mg_cuda_stream>>>(a, delta);
    if (a.dk.data || a.dv.data)
        plain_back<T, true>
            <<<dim3(s.kv_heads, mg_tiles(s, a.k.rows, WARPS)), WARPS * 32, 0, mg_cuda_stream>>>(a, delta);
    MG_CUDA_LAUNCHED("attention_back");
}

extern "C" size_t mg_cuda_attention_work(const mg_attention_shape *s, int64_t q_rows, bool back) {
    return back ? (size_t)q_rows * (size_t)s->heads * sizeof(float) : mg_cuda_attention_few_work(s, q_rows);
}

extern "C" void mg_cuda_attention(mg_attention_args a) {
    if (a.q.rows == 0 || a.s.n_seq == 0) return;
    if (mg_cuda_attention_few(&a) || mg_cuda_attention_wide(&a) || mg_cuda_attention_tiles(&a)) return;
    if (a.q.format == mg_cuda_f32) plain_attention<float>(a);
    else if (a.q.format == mg_cuda_f16) plain_attention<__half>(a);
    else plain_attention<__nv_bfloat16>(a);
}

template <typename T> static void back(const mg_attention_back_args &a) {
    float *delta = (float *)a.work;
    make_delta<T>(a, delta);
    if (!mg_cuda_attention_back_wide(&a, delta) && !mg_cuda_attention_back_tiles(&a, delta))
        plain_attention_back<T>(a, delta);
}

extern "C" void mg_cuda_attention_back(mg_attention_back_args a) {
    if (a.q.rows == 0 || a.s.n_seq == 0) return;
    if (a.q.format == mg_cuda_f32) back<float>(a);
    else if (a.q.format == mg_cuda_f16) back<__half>(a);
    else back<__nv_bfloat16>(a);
}
