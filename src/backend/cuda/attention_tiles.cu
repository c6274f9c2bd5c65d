/* attention_tiles.cu -- attention forward on tensor cores, tile by tile (Dao, FlashAttention-2, arXiv 2307.08691).
 *
 * A block of threads keeps a tile of queries of one head and walks over its keys; the scores of a tile of
 * keys exist in registers only, and what softmax has summed is scaled whenever a larger score turns up.
 * While scores are made and exponentials taken, the values of the tile arrive; while these are multiplied,
 * the next keys do.  Heads change fastest over the grid, and late tiles, which see most keys, come first.
 *
 * A warp has 32 query rows up to head width 128: what it reads of keys and values from shared memory is then
 * used twice.  Tiles fit the 99 KB of shared memory that consumer cards have, and on sm_75 its 64 KB. */
#include "backend/cuda/attention.h"

#include <math.h>

/* Running maximum, of unscaled scores, and sum of a thread's rows; the sum is of its own columns until the end. */
template <int MT> struct softmax_rows {
    float most[MT][2], sum[MT][2];
};

/* Scores become exponentials, 2 to the power of `unit` times them; o is scaled to the new maximum. */
template <int MT, int NT, int OT>
static __device__ inline void softmax_step(softmax_rows<MT> &r, float s[MT][NT][4], float o[MT][OT][4], float unit) {
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float most = r.most[m][h];
#pragma unroll
            for (int n = 0; n < NT; n++) most = fmaxf(most, fmaxf(s[m][n][2 * h], s[m][n][2 * h + 1]));
            most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
            most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
            float base = most == -INFINITY ? 0 : most * unit, rescale = mg_exp2(r.most[m][h] * unit - base), sum = 0;
            r.most[m][h] = most;
#pragma unroll
            for (int n = 0; n < NT; n++)
#pragma unroll
                for (int i = 2 * h; i < 2 * h + 2; i++) {
                    s[m][n][i] = mg_exp2(fmaf(s[m][n][i], unit, -base));
                    sum += s[m][n][i];
                }
            r.sum[m][h] = r.sum[m][h] * rescale + sum;
#pragma unroll
            for (int n = 0; n < OT; n++) o[m][n][2 * h] *= rescale, o[m][n][2 * h + 1] *= rescale;
        }
}

/* 1 / sum of each row, and its log-sum-exp to memory. */
template <int MT>
static __device__ inline void softmax_end(softmax_rows<MT> &r, float scale[MT][2], float unit, float *lse, int heads,
                                          int real) {
    int lane = threadIdx.x & 31;
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float sum = r.sum[m][h];
            sum += __shfl_xor_sync(~0u, sum, 1);
            sum += __shfl_xor_sync(~0u, sum, 2);
            int row = m * 16 + h * 8 + (lane >> 2);
            scale[m][h] = sum > 0 ? 1 / sum : 0;
            if ((lane & 3) == 0 && row < real)
                lse[(int64_t)row * heads] = sum > 0 ? (r.most[m][h] * unit + log2f(sum)) * MG_LN2 : 0;
        }
}

template <int MT, int NT>
static __device__ inline void mask(float s[MT][NT][4], const int *begin, const int *end, int c0) {
    int lane = threadIdx.x & 31;
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int row = m * 16 + h * 8 + (lane >> 2), b = begin[row] - c0, e = end[row] - c0;
#pragma unroll
            for (int n = 0; n < NT; n++)
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    int c = n * 8 + (lane & 3) * 2 + i;
                    if (c < b || c >= e) s[m][n][2 * h + i] = -INFINITY;
                }
        }
}

template <typename T, int HD, int WARPS, int MT, int BN>
static __device__ inline void forward_tile(const mg_attention_args &a, mg_scores z) {
    constexpr int BM = WARPS * MT * 16, THREADS = WARPS * 32, NT = BN / 8, LD = MG_PITCH(HD);
    extern __shared__ __align__(16) unsigned char memory[];
    T   *sq = (T *)memory, *sk = sq + BM * LD, *sv = sk + BN * LD;
    int *begin = (int *)(sv + BN * LD), *end = begin + BM;
    int  head = blockIdx.x, hd = a.s.hd, kv = head / (a.s.heads / a.s.kv_heads) * hd, warp = threadIdx.x >> 5;
    mg_tile t = mg_tile_of<false>(a.s, gridDim.y - 1 - blockIdx.y, BM, (int)a.q.rows);
    if (t.rows <= 0) return;
    mg_load_rows<T, HD, THREADS>(sq, (const T *)a.q.data + t.row0 * a.q.cols + head * hd, a.q.cols, BM, t.rows, hd);
    for (int i = threadIdx.x; i < BM; i += THREADS) {
        mg_range c = mg_row_range<false>(a.s, t, i);
        begin[i] = c.begin, end[i] = c.end;
    }
    __syncthreads();
    mg_columns_seen see = mg_columns_of(begin, end, BM);
    const T *k = (const T *)a.k.data + kv, *v = (const T *)a.v.data + kv;
    if (see.first < see.last)
        mg_load_rows<T, HD, THREADS>(sk, k + see.first * a.k.cols, a.k.cols, BN, see.last - see.first, hd);
    mg_copy_commit();
    float            o[MT][HD / 8][4] = {}, scale[MT][2];
    softmax_rows<MT> rows = {};
#pragma unroll
    for (int m = 0; m < MT; m++) rows.most[m][0] = rows.most[m][1] = -INFINITY;
    int   mine = warp * MT * 16;
    float unit = z.cap > 0 ? 1 : z.scale;
    for (int c0 = see.first; c0 < see.last; c0 += BN) {
        mg_copy_wait<0>();
        __syncthreads(); /* the keys are here, the values before them no longer needed */
        mg_load_rows<T, HD, THREADS>(sv, v + c0 * a.v.cols, a.v.cols, BN, see.last - c0, hd);
        mg_copy_commit();
        float s[MT][NT][4] = {};
        mg_across<T, HD, MT, NT>(s, sq + mine * LD, sk);
        if (z.cap > 0) {
#pragma unroll
            for (int m = 0; m < MT; m++)
#pragma unroll
                for (int n = 0; n < NT; n++)
#pragma unroll
                    for (int i = 0; i < 4; i++) s[m][n][i] = z.cap * mg_tanh(z.inside * s[m][n][i]);
        }
        if (c0 < see.full.begin || c0 + BN > see.full.end) mask<MT, NT>(s, begin + mine, end + mine, c0);
        softmax_step<MT, NT, HD / 8>(rows, s, o, unit);
        mg_copy_wait<0>();
        __syncthreads(); /* the values are here, the keys no longer needed */
        if (c0 + BN < see.last)
            mg_load_rows<T, HD, THREADS>(sk, k + (c0 + BN) * a.k.cols, a.k.cols, BN, see.last - c0 - BN, hd);
        mg_copy_commit();
        mg_down<T, HD, MT, NT>(o, s, sv);
    }
    mg_copy_wait<0>();
    __syncthreads();
    int64_t row = t.row0 + mine;
    softmax_end<MT>(rows, scale, unit, (float *)a.lse + row * a.s.heads + head, a.s.heads, t.rows - mine);
    mg_store_rows<T, HD, MT>((T *)a.y.data + row * a.y.cols + head * hd, a.y.cols, t.rows - mine, hd, sq + mine * LD, o,
                             scale);
}

/* ASYNC: for sm_80 and later; the others are compiled for sm_75 alone. */
template <typename T, int HD, int WARPS, int MT, int BN, bool ASYNC>
static __global__ void __launch_bounds__(WARPS * 32) forward_kernel(mg_attention_args a, mg_scores z) {
    if constexpr (ASYNC == (MG_ASYNC != 0)) forward_tile<T, HD, WARPS, MT, BN>(a, z);
}

template <typename T, int HD, int WARPS, int MT, int BN, bool ASYNC> static void forward(const mg_attention_args &a) {
    constexpr int BM = WARPS * MT * 16;
    size_t        bytes = (size_t)(BM + 2 * BN) * MG_PITCH(HD) * sizeof(T) + 2 * BM * sizeof(int);
    auto          kernel = forward_kernel<T, HD, WARPS, MT, BN, ASYNC>;
    mg_with_shared(kernel, bytes);
    kernel<<<dim3(a.s.heads, mg_tiles(a.s, a.q.rows, BM)), WARPS * 32, bytes, mg_cuda_stream>>>(a, mg_scores_of(a.s));
    MG_CUDA_LAUNCHED("attention");
}

/* Widths in between run at the next larger one: columns of zeros. */
template <typename T> static void forward_async(const mg_attention_args &a) {
    if (a.s.hd <= 32) forward<T, 32, 4, 2, 64, true>(a);
    else if (a.s.hd <= 64) forward<T, 64, 4, 2, 64, true>(a);
    else if (a.s.hd <= 96) forward<T, 96, 4, 2, 64, true>(a);
    else if (a.s.hd <= 128) forward<T, 128, 4, 2, 64, true>(a);
    else forward<T, 256, 4, 1, 32, true>(a);
}

static void forward_sm75(const mg_attention_args &a) {
    if (a.s.hd <= 32) forward<__half, 32, 4, 1, 64, false>(a);
    else if (a.s.hd <= 64) forward<__half, 64, 4, 1, 64, false>(a);
    else if (a.s.hd <= 96) forward<__half, 96, 4, 1, 64, false>(a);
    else if (a.s.hd <= 128) forward<__half, 128, 4, 1, 64, false>(a);
    else forward<__half, 256, 2, 1, 32, false>(a);
}

bool mg_cuda_attention_tiles(const mg_attention_args *a) {
    if (a->s.hd > 256 || !(a->s.scale > 0) || !mg_aligned(a->q, a->s.hd) || !mg_aligned(a->k, a->s.hd) ||
        !mg_aligned(a->v, a->s.hd) || !mg_aligned(a->y, a->s.hd))
        return false;
    if (a->q.format == mg_cuda_f16 && mg_cuda_cc < 80) forward_sm75(*a);
    else if (a->q.format == mg_cuda_f16) forward_async<__half>(*a);
    else if (a->q.format == mg_cuda_bf16 && mg_cuda_cc >= 80) forward_async<__nv_bfloat16>(*a);
    else return false;
    return true;
}
