/* attention_few.cu -- attention of few queries over a cache: reading the cache is all the work there is.
 *
 * A block has one key head of one sequence and one part of its keys; 16 rows of a tensor core tile are pairs
 * of a query and a head that reads this key head, so that grouped heads share what is read.  Keys and values
 * go from memory straight to the registers of the product, 16 bytes a load:
 *  - in q k^T the order of the columns is free, as long as q and k have the same one: a thread takes eight
 *    neighbours, where a product would give it two here and two there;
 *  - in p v the order of the output's columns is: two keys' eight neighbours are interleaved into the
 *    operands of eight products.
 * Each warp takes blocks of 16 keys in turn.  Warps, then parts, are put together in their order, so the
 * bits depend on the shapes alone. */
#include "backend/cuda/attention.h"

#include <math.h>

enum { WARPS = 4, KEYS = 16, ROWS = 16, MOST_PARTS = 64, FEW = 8 };

typedef struct few_job {
    mg_attention_args a;
    mg_scores         z;
    int               parts;
} few_job;

/* part [.,H,parts]: sums of exp-weighted values [hd]; behind them maximum and sum of weights */
static __host__ __device__ inline int64_t part_floats(int64_t rows, int heads, int hd, int parts) {
    return rows * heads * parts * (hd + 2);
}

static __device__ inline uint4 load16(const void *p, bool real) {
    return real ? __ldg((const uint4 *)p) : make_uint4(0, 0, 0, 0);
}

/* Where the parts of the pair (row, head) lie. */
static __device__ inline float *part_at(const few_job &j, int64_t row, int head, int part) {
    return (float *)j.a.work + ((row * j.a.s.heads + head) * j.parts + part) * (j.a.s.hd + 2);
}

template <typename T, int HD> struct few_room {
    T      q[ROWS * MG_PITCH(HD)];
    float4 o[HD / 8][32]; /* as the lanes have it: no two of them in one bank */
    float  most[WARPS][ROWS], sum[WARPS][ROWS];
};

/* A thread's keys: l/4 and l/4 + 8 of 16, of which `real` exist; of each 32 columns eight. */
template <typename T, int HD>
static __device__ inline void few_keys(uint4 b[2][HD / 32], const T *k, int64_t ld, int real, int hd) {
    int lane = threadIdx.x & 31, g = lane >> 2, c = (lane & 3) * 8;
#pragma unroll
    for (int n = 0; n < 2; n++)
#pragma unroll
        for (int i = 0; i < HD / 32; i++) {
            bool ok = n * 8 + g < real && i * 32 + c < hd;
            b[n][i] = load16(k + (ok ? (n * 8 + g) * ld + i * 32 + c : 0), ok);
        }
}

/* s [16, 16 keys] = q k^T */
template <typename T, int HD>
static __device__ inline void few_scores(float s[2][4], const T *q, const uint4 b[2][HD / 32]) {
    int lane = threadIdx.x & 31, g = lane >> 2, c = (lane & 3) * 8;
#pragma unroll
    for (int i = 0; i < HD / 32; i++) {
        uint4    low = *(const uint4 *)(q + g * MG_PITCH(HD) + i * 32 + c);
        uint4    high = *(const uint4 *)(q + (g + 8) * MG_PITCH(HD) + i * 32 + c);
        uint32_t a0[4] = { low.x, high.x, low.y, high.y }, a1[4] = { low.z, high.z, low.w, high.w };
#pragma unroll
        for (int n = 0; n < 2; n++) {
            mg_mma<T>(s[n], a0, b[n][i].x, b[n][i].y);
            mg_mma<T>(s[n], a1, b[n][i].z, b[n][i].w);
        }
    }
}

static __device__ inline void put_words(uint32_t w[4], uint4 x) { w[0] = x.x, w[1] = x.y, w[2] = x.z, w[3] = x.w; }

/* A thread's values: of keys 2t, 2t+1, 2t+8, 2t+9 the eight columns from 8g on of each 64. */
template <typename T, int HD>
static __device__ inline void few_values(uint4 v[HD / 64][4], const T *from, int64_t ld, int real, int hd) {
    int lane = threadIdx.x & 31, c = (lane >> 2) * 8, t = (lane & 3) * 2;
#pragma unroll
    for (int i = 0; i < HD / 64; i++)
#pragma unroll
        for (int k = 0; k < 4; k++) {
            int  key = t + (k & 1) + (k >> 1) * 8;
            bool ok = key < real && i * 64 + c < hd;
            v[i][k] = load16(from + (ok ? key * ld + i * 64 + c : 0), ok);
        }
}

template <typename T, int HD>
static __device__ inline void few_mix(float o[HD / 8][4], const float s[2][4], const uint4 v[HD / 64][4]) {
    uint32_t a[4] = { mg_pair<T>::of(s[0][0], s[0][1]), mg_pair<T>::of(s[0][2], s[0][3]),
                      mg_pair<T>::of(s[1][0], s[1][1]), mg_pair<T>::of(s[1][2], s[1][3]) };
#pragma unroll
    for (int i = 0; i < HD / 64; i++) {
        uint32_t w[4][4];
#pragma unroll
        for (int k = 0; k < 4; k++) put_words(w[k], v[i][k]);
#pragma unroll
        for (int n = 0; n < 8; n++) {
            uint32_t pick = n & 1 ? 0x7632 : 0x5410;
            mg_mma<T>(o[i * 8 + n], a, __byte_perm(w[0][n / 2], w[1][n / 2], pick),
                      __byte_perm(w[2][n / 2], w[3][n / 2], pick));
        }
    }
}

/* Row r, column c of the sum: few_mix gave o[n][i] of lane 4 g + t the row g + 8 (i / 2) and the column
 * 64 (n / 8) + 16 t + 8 (i & 1) + n % 8. */
template <typename T, int HD> static __device__ inline float few_sum(const few_room<T, HD> &m, int r, int c) {
    const float *lane = (const float *)&m.o[c / 64 * 8 + c % 8][(r & 7) * 4 + c % 64 / 16];
    return lane[(r >> 3) * 2 + (c >> 3 & 1)];
}

/* Adds up the warps in room.o, and leaves in most[0], sum[0] what belongs to it. */
template <typename T, int HD>
static __device__ inline void few_join(few_room<T, HD> &m, float o[HD / 8][4], const float most[2],
                                       const float sum[2]) {
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, g = lane >> 2;
    __syncthreads(); /* the pass before is done with the room */
    if ((lane & 3) == 0)
        for (int h = 0; h < 2; h++) m.most[warp][g + 8 * h] = most[h], m.sum[warp][g + 8 * h] = sum[h];
    __syncthreads();
    float all[2], weight[2], total[2] = {};
    for (int h = 0; h < 2; h++) {
        all[h] = -INFINITY;
        for (int w = 0; w < WARPS; w++) all[h] = fmaxf(all[h], m.most[w][g + 8 * h]);
        float base = all[h] == -INFINITY ? 0 : all[h];
        weight[h] = mg_exp2(most[h] - base);
        for (int w = 0; w < WARPS; w++) total[h] += m.sum[w][g + 8 * h] * mg_exp2(m.most[w][g + 8 * h] - base);
    }
    for (int w = 0; w < WARPS; w++) {
        __syncthreads();
        if (warp != w) continue;
#pragma unroll
        for (int n = 0; n < HD / 8; n++) {
            float4 x = w ? m.o[n][lane] : make_float4(0, 0, 0, 0);
            x.x += o[n][0] * weight[0], x.y += o[n][1] * weight[0];
            x.z += o[n][2] * weight[1], x.w += o[n][3] * weight[1];
            m.o[n][lane] = x;
        }
    }
    if (warp == WARPS - 1 && (lane & 3) == 0) /* all have read these before the first barrier of the loop */
        for (int h = 0; h < 2; h++) m.most[0][g + 8 * h] = all[h], m.sum[0][g + 8 * h] = total[h];
    __syncthreads();
}

template <typename T, int HD>
static __device__ inline void few_write(const few_job &j, const few_room<T, HD> &m, mg_span x, int kv, int first,
                                        int pairs) {
    const mg_attention_args &a = j.a;
    int each = a.s.heads / a.s.kv_heads, hd = a.s.hd;
    for (int i = threadIdx.x; i < min(ROWS, pairs - first) * (HD / 2); i += WARPS * 32) {
        int     r = i / (HD / 2), c = i % (HD / 2) * 2, head = kv * each + (first + r) % each;
        int64_t row = x.q + (first + r) / each;
        if (c >= hd) continue;
        float sum = m.sum[0][r], most = m.most[0][r];
        if (j.parts > 1) {
            float *to = part_at(j, row, head, blockIdx.y);
            to[c] = few_sum(m, r, c), to[c + 1] = few_sum(m, r, c + 1);
            if (c == 0) to[hd] = most, to[hd + 1] = sum;
            continue;
        }
        float scale = sum > 0 ? 1 / sum : 0;
        *(uint32_t *)((T *)a.y.data + row * a.y.cols + head * hd + c) =
            mg_pair<T>::of(few_sum(m, r, c) * scale, few_sum(m, r, c + 1) * scale);
        if (c == 0) ((float *)a.lse)[row * a.s.heads + head] = sum > 0 ? (most + log2f(sum)) * MG_LN2 : 0;
    }
}

/* 16 pairs from `first` on. */
template <typename T, int HD>
static __device__ inline void few_pass(const few_job &j, few_room<T, HD> &m, mg_span x, int kv, int first, int pairs) {
    const mg_attention_args &a = j.a;
    int each = a.s.heads / a.s.kv_heads, hd = a.s.hd, lane = threadIdx.x & 31, g = lane >> 2, warp = threadIdx.x >> 5;
    mg_range see[2] = {};
    for (int h = 0; h < 2; h++)
        if (first + g + 8 * h < pairs) see[h] = mg_seen<false>(a.s, x, x.q + (first + g + 8 * h) / each);
    int begin = mg_seen<false>(a.s, x, x.q + first / each).begin;
    int end = mg_seen<false>(a.s, x, x.q + (min(first + ROWS, pairs) - 1) / each).end;
    int blocks = (end - begin + KEYS - 1) / KEYS;
    int b0 = (int)((int64_t)blocks * blockIdx.y / j.parts), b1 = (int)((int64_t)blocks * (blockIdx.y + 1) / j.parts);
    /* Where registers are enough, the next keys and values are under way while these are used. */
    constexpr bool AHEAD = HD <= 128;
    const T       *keys = (const T *)a.k.data + kv * hd, *values = (const T *)a.v.data + kv * hd;
    float          o[HD / 8][4] = {}, most[2] = { -INFINITY, -INFINITY }, sum[2] = {};
    uint4          k[2][HD / 32], v[HD / 64][4];
    if (AHEAD && b0 + warp < b1) {
        int k0 = begin + (b0 + warp) * KEYS;
        few_keys<T, HD>(k, keys + k0 * a.k.cols, a.k.cols, end - k0, hd);
        few_values<T, HD>(v, values + k0 * a.v.cols, a.v.cols, end - k0, hd);
    }
    for (int i = threadIdx.x; i < ROWS * (HD / 8); i += WARPS * 32) {
        int r = i / (HD / 8), c = i % (HD / 8) * 8, p = first + r;
        *(uint4 *)(m.q + r * MG_PITCH(HD) + c) = load16(
            (const T *)a.q.data + (x.q + p / each) * a.q.cols + (kv * each + p % each) * hd + c, p < pairs && c < hd);
    }
    __syncthreads();
    for (int b = b0 + warp; b < b1; b += WARPS) {
        int   k0 = begin + b * KEYS, next = k0 + WARPS * KEYS;
        bool  more = b + WARPS < b1;
        float s[2][4] = {};
        if (!AHEAD) few_keys<T, HD>(k, keys + k0 * a.k.cols, a.k.cols, end - k0, hd);
        few_scores<T, HD>(s, m.q, k);
        if (AHEAD && more) few_keys<T, HD>(k, keys + next * a.k.cols, a.k.cols, end - next, hd);
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float top = most[h], part = 0;
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int    key = k0 + (i >> 1) * 8 + (lane & 3) * 2 + (i & 1);
                float *z = &s[i >> 1][2 * h + (i & 1)];
                *z = key >= see[h].begin && key < see[h].end ? mg_score(j.z, *z) : -INFINITY;
                top = fmaxf(top, *z);
            }
            top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
            top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
            float base = top == -INFINITY ? 0 : top, rescale = mg_exp2(most[h] - base);
            most[h] = top;
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float *z = &s[i >> 1][2 * h + (i & 1)];
                *z = mg_exp2(*z - base);
                part += *z;
            }
            sum[h] = sum[h] * rescale + part;
#pragma unroll
            for (int n = 0; n < HD / 8; n++) o[n][2 * h] *= rescale, o[n][2 * h + 1] *= rescale;
        }
        if (!AHEAD) few_values<T, HD>(v, values + k0 * a.v.cols, a.v.cols, end - k0, hd);
        few_mix<T, HD>(o, s, v);
        if (AHEAD && more) few_values<T, HD>(v, values + next * a.v.cols, a.v.cols, end - next, hd);
    }
    for (int h = 0; h < 2; h++) {
        sum[h] += __shfl_xor_sync(~0u, sum[h], 1);
        sum[h] += __shfl_xor_sync(~0u, sum[h], 2);
    }
    few_join<T, HD>(m, o, most, sum);
    few_write<T, HD>(j, m, x, kv, first, pairs);
}

template <typename T, int HD>
static __global__ void __launch_bounds__(WARPS * 32, HD > 64 ? 2 : 3) few_kernel(few_job j) {
    if constexpr (mg_has<T>()) {
        __shared__ __align__(16) unsigned char memory[sizeof(few_room<T, HD>)];
        const mg_attention_shape &s = j.a.s;
        mg_span x = mg_span_of(s, blockIdx.x / s.kv_heads);
        int     kv = blockIdx.x % s.kv_heads, pairs = x.n_q * (s.heads / s.kv_heads);
        for (int first = 0; first < pairs; first += ROWS)
            few_pass<T, HD>(j, *(few_room<T, HD> *)memory, x, kv, first, pairs);
    }
}

/* A block puts the parts of one pair together; reads of parts do not wait for each other. */
template <typename T> static __global__ void __launch_bounds__(WARPS * 32) join_parts(few_job j) {
    const mg_attention_args &a = j.a;
    __shared__ float most[MOST_PARTS], weight[MOST_PARTS];
    int64_t row = blockIdx.x / a.s.heads;
    int     head = (int)(blockIdx.x % a.s.heads), hd = a.s.hd;
    if (row < a.s.q_start[0] || row >= a.s.q_start[a.s.n_seq]) return;
    const float *part = part_at(j, row, head, 0);
    if (threadIdx.x < j.parts) {
        most[threadIdx.x] = part[threadIdx.x * (hd + 2) + hd];
        weight[threadIdx.x] = part[threadIdx.x * (hd + 2) + hd + 1];
    }
    __syncthreads();
    float all = -INFINITY, sum = 0;
    for (int i = 0; i < j.parts; i++) all = fmaxf(all, most[i]);
    float base = all == -INFINITY ? 0 : all;
    for (int i = 0; i < j.parts; i++) sum += weight[i] * mg_exp2(most[i] - base);
    T *to = (T *)a.y.data + row * a.y.cols + head * hd;
    for (int c = threadIdx.x; c < hd; c += WARPS * 32) {
        float y = 0;
#pragma unroll 8
        for (int i = 0; i < j.parts; i++) y += part[i * (hd + 2) + c] * mg_exp2(most[i] - base);
        mg_set(to + c, sum > 0 ? y / sum : 0);
    }
    if (threadIdx.x == 0) ((float *)a.lse)[blockIdx.x] = sum > 0 ? (all + log2f(sum)) * MG_LN2 : 0;
}

/* Two rounds of the blocks that fit a multiprocessor. */
static int most_parts(const mg_attention_shape *s) {
    int parts = 2 * (s->hd > 64 ? 2 : 3) * mg_cuda_sms / (s->n_seq * s->kv_heads);
    return parts < 1 ? 1 : parts > MOST_PARTS ? MOST_PARTS : parts;
}

static bool is_few(const mg_attention_shape *s, int64_t q_rows) {
    return s->k_start && q_rows <= (int64_t)FEW * s->n_seq;
}

size_t mg_cuda_attention_few_work(const mg_attention_shape *s, int64_t q_rows) {
    if (!is_few(s, q_rows)) return 0;
    return (size_t)part_floats(q_rows, s->heads, s->hd, most_parts(s)) * sizeof(float);
}

template <typename T> static void few(const mg_attention_args &a) {
    few_job j = { a, mg_scores_of(a.s), most_parts(&a.s) };
    int64_t long_enough = a.k.rows / (WARPS * KEYS); /* below that a part has nothing to do */
    if (j.parts > long_enough) j.parts = long_enough < 1 ? 1 : (int)long_enough;
    dim3 grid(a.s.n_seq * a.s.kv_heads, j.parts);
    if (a.s.hd <= 64) few_kernel<T, 64><<<grid, WARPS * 32, 0, mg_cuda_stream>>>(j);
    else if (a.s.hd <= 128) few_kernel<T, 128><<<grid, WARPS * 32, 0, mg_cuda_stream>>>(j);
    else few_kernel<T, 256><<<grid, WARPS * 32, 0, mg_cuda_stream>>>(j);
    if (j.parts > 1)
        join_parts<T><<<(unsigned)(a.q.rows * a.s.heads), WARPS * 32, 0, mg_cuda_stream>>>(j);
    MG_CUDA_LAUNCHED("attention");
}

bool mg_cuda_attention_few(const mg_attention_args *a) {
    if (!is_few(&a->s, a->q.rows) || a->s.hd > 256 || !mg_aligned(a->q, a->s.hd) || !mg_aligned(a->k, a->s.hd) ||
        !mg_aligned(a->v, a->s.hd) || !mg_aligned(a->y, a->s.hd))
        return false;
    if (a->q.format == mg_cuda_f16) few<__half>(*a);
    else if (a->q.format == mg_cuda_bf16 && mg_cuda_cc >= 80) few<__nv_bfloat16>(*a);
    else return false;
    return true;
}
