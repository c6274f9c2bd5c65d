/* attention_back_tiles.cu -- attention backward on tensor cores, tile by tile.
 *
 * One kernel in two forms.  A block keeps a tile of rows r and walks over columns c:
 *
 *     s = r0 c0^T        p = exp(f(scale s) - lse)           acc1 += p c1
 *     dp = r1 c1^T       ds = p f' (dp - delta)              acc0 += ds c0
 *
 * Rows are queries: r0 = q, r1 = dy, c0 = k, c1 = v; acc0 scale = dq.
 * Rows are keys: r0 = k, r1 = v, c0 = q, c1 = dy; acc0 scale = dk, acc1 = dv; the columns of all query heads
 * that read the key head follow each other, so their sums have one order and nothing is added atomically.
 *
 * Both forms make s and dp again: 7 products instead of 5, but no dq of fp32 in memory and no turn to wait
 * for.  Products go from registers to registers: the tile of p that one product leaves is the operand of
 * the next one.  delta = rowsum(dy y) is made beforehand.
 *
 * A warp has 16 rows.  At head width 256 two accumulators do not fit the registers, and dk and dv are made
 * by a launch each. */
#include "backend/cuda/attention.h"

#include <math.h>

enum { ACC0 = 1, ACC1 = 2 };

template <typename T> struct back_job {
    const T     *r0, *r1, *c0, *c1;
    T           *out0, *out1;
    const float *lse, *delta; /* of queries, [.,heads] */
    int64_t      r_ld, c0_ld, c1_ld, r1_ld;
    int          rows;
    mg_attention_shape s;
    mg_scores    z;
};

/* Where the stages of a block's columns lie. */
template <typename T, int HD, int BR, int BC, int STAGES> struct back_room {
    T     r0[BR * MG_PITCH(HD)], r1[BR * MG_PITCH(HD)];
    T     c0[STAGES][BC * MG_PITCH(HD)], c1[STAGES][BC * MG_PITCH(HD)];
    float lse[STAGES][BC], delta[STAGES][BC];
    int   begin[BR], end[BR];
};

template <typename T, int HD, int WARPS, int BC, int STAGES, bool KEYS, int WANT>
static __device__ inline void back_tile(const back_job<T> &j) {
    constexpr int BR = WARPS * 16, THREADS = WARPS * 32, NT = BC / 8, LD = MG_PITCH(HD);
    typedef back_room<T, HD, BR, BC, STAGES> room;
    extern __shared__ __align__(16) unsigned char memory[];
    room &m = *(room *)memory;
    const mg_attention_shape &s = j.s;
    int     each = s.heads / s.kv_heads, hd = s.hd, lane = threadIdx.x & 31, mine = (threadIdx.x >> 5) * 16;
    int     r_head = blockIdx.x, c_head = KEYS ? blockIdx.x * each : blockIdx.x / each;
    mg_tile t = mg_tile_of<KEYS>(s, KEYS ? blockIdx.y : gridDim.y - 1 - blockIdx.y, BR, j.rows);
    if (t.rows <= 0) return;
    mg_load_rows<T, HD, THREADS>(m.r0, j.r0 + t.row0 * j.r_ld + r_head * hd, j.r_ld, BR, t.rows, hd);
    if (WANT & ACC0) mg_load_rows<T, HD, THREADS>(m.r1, j.r1 + t.row0 * j.r1_ld + r_head * hd, j.r1_ld, BR, t.rows, hd);
    for (int i = threadIdx.x; i < BR; i += THREADS) {
        mg_range c = mg_row_range<KEYS>(s, t, i);
        m.begin[i] = c.begin, m.end[i] = c.end;
    }
    __syncthreads();
    mg_columns_seen see = mg_columns_of(m.begin, m.end, BR);
    int   tiles = see.first < see.last ? (see.last - see.first + BC - 1) / BC : 0, steps = KEYS ? tiles * each : tiles;
    float acc0[1][HD / 8][4] = {}, acc1[1][HD / 8][4] = {};
    float row_lse[2] = {}, row_delta[2] = {};
    int   row_begin[2], row_end[2];
#pragma unroll
    for (int h = 0; h < 2; h++) {
        int i = mine + h * 8 + (lane >> 2);
        row_begin[h] = m.begin[i], row_end[h] = m.end[i];
        if (!KEYS && i < t.rows) {
            row_lse[h] = j.lse[(int64_t)(t.row0 + i) * s.heads + r_head] * MG_LOG2E;
            row_delta[h] = j.delta[(int64_t)(t.row0 + i) * s.heads + r_head];
        }
    }
    auto load = [&](int step) {
        int stage = step % STAGES, head = KEYS ? c_head + step / tiles : c_head, c = see.first + step % tiles * BC;
        mg_load_rows<T, HD, THREADS>(m.c0[stage], j.c0 + c * j.c0_ld + head * hd, j.c0_ld, BC, see.last - c, hd);
        mg_load_rows<T, HD, THREADS>(m.c1[stage], j.c1 + c * j.c1_ld + head * hd, j.c1_ld, BC, see.last - c, hd);
        for (int i = threadIdx.x; KEYS && i < 2 * BC; i += THREADS) {
            int  k = i % BC;
            bool real = k < see.last - c;
            mg_copy4((i < BC ? m.lse[stage] : m.delta[stage]) + k,
                     (i < BC ? j.lse : j.delta) + (real ? (int64_t)(c + k) * s.heads + head : 0), real);
        }
    };
    if (steps) load(0);
    mg_copy_commit();
    for (int step = 0; step < steps; step++) {
        int stage = step % STAGES, c = see.first + step % tiles * BC;
        if (STAGES == 2) {
            if (step + 1 < steps) load(step + 1);
            mg_copy_commit();
            mg_copy_wait<1>();
        } else {
            mg_copy_wait<0>();
        }
        __syncthreads();
        float p[1][NT][4] = {}, dp[1][NT][4] = {};
        mg_across<T, HD, 1, NT>(p, m.r0 + mine * LD, m.c0[stage]);
        if (WANT & ACC0) mg_across<T, HD, 1, NT>(dp, m.r1 + mine * LD, m.c1[stage]);
        bool part = c < see.full.begin || c + BC > see.full.end;
#pragma unroll
        for (int n = 0; n < NT; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int   h = i >> 1, k = n * 8 + (lane & 3) * 2 + (i & 1);
                float lse = KEYS ? m.lse[stage][k] * MG_LOG2E : row_lse[h];
                float delta = KEYS ? m.delta[stage][k] : row_delta[h], slope;
                float x = mg_exp2(mg_score_slope(j.z, p[0][n][i], &slope) - lse);
                float d = x * slope * (dp[0][n][i] - delta);
                bool  seen = !part || (c + k >= row_begin[h] && c + k < row_end[h]);
                p[0][n][i] = seen ? x : 0;
                dp[0][n][i] = seen ? d : 0;
            }
        if (WANT & ACC1) mg_down<T, HD, 1, NT>(acc1, p, m.c1[stage]);
        if (WANT & ACC0) mg_down<T, HD, 1, NT>(acc0, dp, m.c0[stage]);
        __syncthreads();
        if (STAGES == 1 && step + 1 < steps) load(step + 1);
        if (STAGES == 1) mg_copy_commit();
    }
    mg_copy_wait<0>();
    __syncthreads();
    int64_t at = (t.row0 + mine) * j.r_ld + r_head * hd;
    float   scale0[1][2] = { { s.scale, s.scale } }, scale1[1][2] = { { 1, 1 } };
    if ((WANT & ACC0) && j.out0)
        mg_store_rows<T, HD, 1>(j.out0 + at, j.r_ld, t.rows - mine, hd, m.r0 + mine * LD, acc0, scale0);
    if ((WANT & ACC1) && j.out1)
        mg_store_rows<T, HD, 1>(j.out1 + at, j.r_ld, t.rows - mine, hd, m.r0 + mine * LD, acc1, scale1);
}

template <typename T, int HD, int WARPS, int BC, int STAGES, bool KEYS, int WANT, bool ASYNC>
static __global__ void __launch_bounds__(WARPS * 32) back_kernel(back_job<T> j) {
    if constexpr (ASYNC == (MG_ASYNC != 0)) back_tile<T, HD, WARPS, BC, STAGES, KEYS, WANT>(j);
}

template <typename T, int HD, int WARPS, int BC, int STAGES, bool KEYS, int WANT, bool ASYNC>
static void back(const back_job<T> &j) {
    size_t bytes = sizeof(back_room<T, HD, WARPS * 16, BC, STAGES>);
    auto   kernel = back_kernel<T, HD, WARPS, BC, STAGES, KEYS, WANT, ASYNC>;
    mg_with_shared(kernel, bytes);
    dim3 grid(KEYS ? j.s.kv_heads : j.s.heads, mg_tiles(j.s, j.rows, WARPS * 16));
    kernel<<<grid, WARPS * 32, bytes, mg_cuda_stream>>>(j);
    MG_CUDA_LAUNCHED("attention_back");
}

/* q: rows are queries; k: rows are keys */
template <typename T, int HD, int WARPS, int BC, int STAGES, bool ASYNC>
static void back_both(const back_job<T> &q, const back_job<T> &k) {
    if constexpr (HD > 128) {
        if (k.out1) back<T, HD, WARPS, BC, STAGES, true, ACC1, ASYNC>(k);
        if (k.out0) back<T, HD, WARPS, BC, STAGES, true, ACC0, ASYNC>(k);
    } else if (k.out0 || k.out1) {
        back<T, HD, WARPS, BC, STAGES, true, ACC0 | ACC1, ASYNC>(k);
    }
    if (q.out0) back<T, HD, WARPS, BC, STAGES, false, ACC0, ASYNC>(q);
}

template <typename T> static void back_async(const back_job<T> &q, const back_job<T> &k) {
    if (q.s.hd <= 32) back_both<T, 32, 4, 32, 2, true>(q, k);
    else if (q.s.hd <= 64) back_both<T, 64, 4, 32, 2, true>(q, k);
    else if (q.s.hd <= 96) back_both<T, 96, 4, 32, 2, true>(q, k);
    else if (q.s.hd <= 128) back_both<T, 128, 4, 32, 2, true>(q, k);
    else back_both<T, 256, 4, 16, 1, true>(q, k);
}

static void back_sm75(const back_job<__half> &q, const back_job<__half> &k) {
    if (q.s.hd <= 32) back_both<__half, 32, 4, 32, 1, false>(q, k);
    else if (q.s.hd <= 64) back_both<__half, 64, 4, 32, 1, false>(q, k);
    else if (q.s.hd <= 96) back_both<__half, 96, 4, 32, 1, false>(q, k);
    else if (q.s.hd <= 128) back_both<__half, 128, 4, 32, 1, false>(q, k);
    else back_both<__half, 256, 2, 16, 1, false>(q, k);
}

template <typename T> static back_job<T> job_of(const mg_attention_back_args &a, const float *delta, bool keys) {
    back_job<T> j;
    const T    *q = (const T *)a.q.data, *k = (const T *)a.k.data, *v = (const T *)a.v.data, *dy = (const T *)a.dy.data;
    j.r0 = keys ? k : q, j.r1 = keys ? v : dy, j.c0 = keys ? q : k, j.c1 = keys ? dy : v;
    j.r_ld = keys ? a.k.cols : a.q.cols, j.r1_ld = keys ? a.v.cols : a.dy.cols;
    j.c0_ld = keys ? a.q.cols : a.k.cols, j.c1_ld = keys ? a.dy.cols : a.v.cols;
    j.out0 = (T *)(keys ? a.dk.data : a.dq.data), j.out1 = (T *)(keys ? a.dv.data : NULL);
    j.lse = (const float *)a.lse, j.delta = delta;
    j.rows = (int)(keys ? a.k.rows : a.q.rows);
    j.s = a.s, j.z = mg_scores_of(a.s);
    return j;
}

bool mg_cuda_attention_back_tiles(const mg_attention_back_args *a, const float *delta) {
    const mg_mat m[] = { a->q, a->k, a->v, a->dy, a->dq, a->dk, a->dv };
    for (int i = 0; i < 7; i++)
        if (m[i].data && !mg_aligned(m[i], a->s.hd)) return false;
    if (a->s.hd > 256) return false;
    if (a->q.format == mg_cuda_f16 && mg_cuda_cc < 80)
        back_sm75(job_of<__half>(*a, delta, false), job_of<__half>(*a, delta, true));
    else if (a->q.format == mg_cuda_f16)
        back_async(job_of<__half>(*a, delta, false), job_of<__half>(*a, delta, true));
    else if (a->q.format == mg_cuda_bf16 && mg_cuda_cc >= 80)
        back_async(job_of<__nv_bfloat16>(*a, delta, false), job_of<__nv_bfloat16>(*a, delta, true));
    else return false;
    return true;
}
