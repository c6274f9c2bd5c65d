/* attention_back_wide.cu -- attention backward on Hopper's warpgroups.
 *
 * The arithmetic and the two forms are those of attention_back_tiles.cu: rows stay, columns go by, p and ds
 * go from one product to the next in registers.  A block has 128 rows, 64 for each of two warpgroups; a third
 * starts the copies of columns into a ring of stages, and when columns are queries its second warp brings
 * their log-sum-exps and deltas.  dp runs while p is made, acc1 += p c1 while ds is.
 *
 * At head width 256 a group's registers hold one accumulator: dk and dv are made by a launch each, and what
 * needs both rows in shared memory walks in steps of 32 columns. */
#include "backend/cuda/attention_wide.h"

#include <math.h>

enum { ACC0 = 1, ACC1 = 2, TILE = 128, WARPS_THAT_USE = 8 };

typedef struct wide_job {
    CUtensorMap        r0, r1, c0, c1;
    void              *out0, *out1;
    int64_t            out0_ld, out1_ld;
    const float       *lse, *delta; /* of queries, [.,heads] */
    int                rows, columns;
    mg_attention_shape s;
    mg_scores          z;
} wide_job;

template <typename T, int HD, int BC, int STAGES, int WANT> struct wide_room {
    T        r0[TILE * MG_WIDTH(HD)], r1[WANT & ACC0 ? TILE * MG_WIDTH(HD) : 512];
    T        c0[STAGES][BC * MG_WIDTH(HD)], c1[STAGES][BC * MG_WIDTH(HD)];
    float    lse[STAGES][BC], delta[STAGES][BC];
    uint64_t rows_full, full[STAGES], free[STAGES];
};

#if MG_WIDE

/* What a block works on. */
typedef struct wide_part {
    mg_tile         t;
    mg_columns_seen see;
    int             tiles, steps, r_head, c_head; /* of the first step */
} wide_part;

template <bool KEYS, int BC> static __device__ inline wide_part part_of(const wide_job &j) {
    int       each = j.s.heads / j.s.kv_heads;
    wide_part p;
    p.t = mg_tile_of<KEYS>(j.s, KEYS ? blockIdx.y : gridDim.y - 1 - blockIdx.y, TILE, j.rows);
    p.see = mg_wide_seen<KEYS>(j.s, p.t, TILE);
    p.tiles = p.see.first < p.see.last ? (p.see.last - p.see.first + BC - 1) / BC : 0;
    p.steps = KEYS ? p.tiles * each : p.tiles;
    p.r_head = blockIdx.x;
    p.c_head = KEYS ? blockIdx.x * each : blockIdx.x / each;
    return p;
}

template <typename T, int HD, int BC, int STAGES, bool KEYS, int WANT>
static __device__ inline void fetch_all(const wide_job &j, wide_room<T, HD, BC, STAGES, WANT> &m) {
    constexpr int   PANELS = MG_PANELS(HD), BYTES = (int)sizeof(T) * MG_WIDTH(HD);
    wide_part       p = part_of<KEYS, BC>(j);
    mg_ring<STAGES> ring = { 0, 1 };
    if (p.steps == 0) return;
    mg_bar_expect(&m.rows_full, (WANT & ACC0 ? 2 : 1) * TILE * BYTES);
    mg_fetch<T, PANELS, TILE>(m.r0, &j.r0, &m.rows_full, p.r_head, p.t.row0);
    if (WANT & ACC0) mg_fetch<T, PANELS, TILE>(m.r1, &j.r1, &m.rows_full, p.r_head, p.t.row0);
    int c = p.see.first, head = p.c_head;
    for (int step = 0; step < p.steps; step++, ring.next()) {
        mg_bar_wait(&m.free[ring.stage], ring.parity);
        mg_bar_expect(&m.full[ring.stage], 2 * BC * BYTES);
        mg_fetch<T, PANELS, BC>(m.c0[ring.stage], &j.c0, &m.full[ring.stage], head, c);
        mg_fetch<T, PANELS, BC>(m.c1[ring.stage], &j.c1, &m.full[ring.stage], head, c);
        c += BC;
        if (c >= p.see.last) c = p.see.first, head++;
    }
}

/* A warp brings what belongs to the columns' queries, in units of log 2. */
template <typename T, int HD, int BC, int STAGES, bool KEYS, int WANT>
static __device__ inline void fetch_scalars(const wide_job &j, wide_room<T, HD, BC, STAGES, WANT> &m) {
    wide_part       p = part_of<KEYS, BC>(j);
    mg_ring<STAGES> ring = { 0, 1 };
    int             lane = threadIdx.x & 31, c = p.see.first, head = p.c_head;
    for (int step = 0; step < p.steps; step++, ring.next()) {
        mg_bar_wait(&m.free[ring.stage], ring.parity);
        for (int i = lane; i < BC; i += 32) {
            int64_t at = (int64_t)(c + i) * j.s.heads + head;
            bool    real = c + i < p.see.last;
            m.lse[ring.stage][i] = real ? j.lse[at] * MG_LOG2E : 0;
            m.delta[ring.stage][i] = real ? j.delta[at] : 0;
        }
        __syncwarp();
        if (lane == 0) mg_bar_arrive(&m.full[ring.stage]);
        c += BC;
        if (c >= p.see.last) c = p.see.first, head++;
    }
}

template <typename T, int HD, int BC, int STAGES, bool KEYS, int WANT, bool CAP>
static __device__ inline void use_all(const wide_job &j, wide_room<T, HD, BC, STAGES, WANT> &m) {
    constexpr int   PANELS = MG_PANELS(HD);
    wide_part       part = part_of<KEYS, BC>(j);
    int group = (threadIdx.x >> 7) - 1, lane = threadIdx.x & 31, mine = (threadIdx.x >> 5 & 3) * 16 + group * 64;
    mg_ring<STAGES> ring = { 0, 0 };
    mg_wide_sum<HD> acc0 = {}, acc1 = {};
    uint64_t        r0_at = mg_descriptor(m.r0 + group * 64 * 64, 0), r1_at = mg_descriptor(m.r1 + group * 64 * 64, 0);
    int             begin[2], end[2], columns_end = j.s.q_start[j.s.n_seq], c = part.see.first;
    float           row_lse[2] = {}, row_delta[2] = {};
#pragma unroll
    for (int h = 0; h < 2; h++) {
        int      i = mine + (lane >> 2) + 8 * h;
        mg_range r = mg_row_range<KEYS>(j.s, part.t, i);
        begin[h] = r.begin, end[h] = r.end;
        if (!KEYS && i < part.t.rows) {
            row_lse[h] = j.lse[(int64_t)(part.t.row0 + i) * j.s.heads + part.r_head] * MG_LOG2E;
            row_delta[h] = j.delta[(int64_t)(part.t.row0 + i) * j.s.heads + part.r_head];
        }
    }
    /* Columns behind the last sequence can hold anything, and 0 times NaN is NaN. */
    bool hole = columns_end < j.columns;
    if (part.steps) mg_bar_wait(&m.rows_full, 0);
    for (int step = 0; step < part.steps; step++, ring.next()) {
        int      stage = ring.stage;
        float    s[BC / 2], dp[BC / 2];
        uint32_t p[BC / 16][4];
        mg_bar_wait(&m.full[stage], ring.parity);
        if (hole && c + BC > columns_end) {
            mg_clear_rows<T, PANELS, BC>(m.c0[stage], columns_end - c);
            mg_clear_rows<T, PANELS, BC>(m.c1[stage], columns_end - c);
        }
        mg_products_begin();
        mg_wide_across<T, HD, TILE, BC>(s, r0_at, mg_descriptor(m.c0[stage], 0));
        mg_products_end();
        if constexpr ((WANT & ACC0) != 0) {
            mg_wide_across<T, HD, TILE, BC>(dp, r1_at, mg_descriptor(m.c1[stage], 0));
            mg_products_end();
            mg_products_wait<CAP ? 0 : 1>();
            if (CAP) mg_settled(dp);
        } else {
            mg_products_wait<0>();
        }
        mg_settled(s);
        bool masked = c < part.see.full.begin || c + BC > part.see.full.end;
#pragma unroll
        for (int i = 0; i < BC / 2; i++) {
            int   h = i >> 1 & 1, k = i / 4 * 8 + (lane & 3) * 2 + (i & 1);
            float lse = KEYS ? m.lse[stage][k] : row_lse[h], slope;
            if (CAP) {
                s[i] = mg_exp2(mg_score_slope(j.z, s[i], &slope) - lse);
                if (WANT & ACC0) dp[i] = (dp[i] - (KEYS ? m.delta[stage][k] : row_delta[h])) * slope;
            } else {
                s[i] = mg_exp2(fmaf(s[i], j.z.scale, -lse));
            }
        }
        if (masked) {
            int column = c + (lane & 3) * 2;
#pragma unroll
            for (int i = 0; i < BC / 2; i++) {
                int k = column + i / 4 * 8 + (i & 1), h = i >> 1 & 1;
                if (k < begin[h] || k >= end[h]) s[i] = 0;
            }
        }
        if constexpr ((WANT & ACC1) != 0) {
            mg_wide_pack<T, BC>(p, s);
            mg_products_begin();
            mg_wide_down<T, HD, BC>(acc1, p, mg_descriptor(m.c1[stage], BC * 128));
            mg_products_end();
        }
        if constexpr ((WANT & ACC0) != 0) {
            uint32_t ds[BC / 16][4];
            if (!CAP) {
                mg_products_wait<WANT & ACC1 ? 1 : 0>();
                mg_settled(dp);
#pragma unroll
                for (int i = 0; i < BC / 2; i++)
                    dp[i] -= KEYS ? m.delta[stage][i / 4 * 8 + (lane & 3) * 2 + (i & 1)] : row_delta[i >> 1 & 1];
            }
#pragma unroll
            for (int i = 0; i < BC / 2; i++) dp[i] *= s[i];
            if (masked) {
#pragma unroll
                for (int i = 0; i < BC / 2; i++)
                    if (s[i] == 0) dp[i] = 0; /* it may have been NaN */
            }
            mg_wide_pack<T, BC>(ds, dp);
            mg_products_begin();
            mg_wide_down<T, HD, BC>(acc0, ds, mg_descriptor(m.c0[stage], BC * 128));
            mg_products_end();
        }
        mg_products_wait<0>();
        if (WANT & ACC0) mg_wide_settled(acc0);
        if (WANT & ACC1) mg_wide_settled(acc1);
        __syncwarp(); /* all lanes have read their scalars */
        if (lane == 0) mg_bar_arrive(&m.free[stage]);
        c += BC;
        if (c >= part.see.last) c = part.see.first;
    }
    int   real = part.t.rows - mine, hd = j.s.hd;
    float scale[2] = { j.s.scale, j.s.scale }, one[2] = { 1, 1 };
    if ((WANT & ACC0) && j.out0)
        mg_wide_store<T, HD>((T *)j.out0 + (part.t.row0 + mine) * j.out0_ld + part.r_head * hd, j.out0_ld, real, hd,
                             acc0, scale);
    if ((WANT & ACC1) && j.out1)
        mg_wide_store<T, HD>((T *)j.out1 + (part.t.row0 + mine) * j.out1_ld + part.r_head * hd, j.out1_ld, real, hd,
                             acc1, one);
}

#endif

template <typename T, int HD, int BC, int STAGES, bool KEYS, int WANT, bool CAP>
static __global__ void __launch_bounds__(384, 1) back_kernel(const __grid_constant__ wide_job j) {
#if MG_WIDE
    extern __shared__ __align__(16) unsigned char memory[];
    typedef wide_room<T, HD, BC, STAGES, WANT> room;
    room &m = *(room *)(memory + (-mg_shared_address(memory) & 1023));
    if (threadIdx.x == 0) {
        mg_bar_init(&m.rows_full, 1);
        for (int i = 0; i < STAGES; i++) mg_bar_init(&m.full[i], KEYS ? 2 : 1), mg_bar_init(&m.free[i], WARPS_THAT_USE);
        mg_bar_ready();
    }
    __syncthreads();
    if (threadIdx.x < 128) {
        mg_registers_less<24>();
        if (threadIdx.x == 0) fetch_all<T, HD, BC, STAGES, KEYS, WANT>(j, m);
        else if (KEYS && threadIdx.x >= 32 && threadIdx.x < 64) fetch_scalars<T, HD, BC, STAGES, KEYS, WANT>(j, m);
    } else {
        mg_registers_more<240>();
        use_all<T, HD, BC, STAGES, KEYS, WANT, CAP>(j, m);
    }
#endif
}

/* What both forms are launched with. */
typedef struct back_call {
    const mg_attention_back_args *a;
    const float                  *delta;
} back_call;

template <typename T, int HD, int BC, int STAGES, bool KEYS, int WANT> static bool back(back_call call) {
    const mg_attention_back_args &a = *call.a;
    const mg_mat *r0 = KEYS ? &a.k : &a.q, *r1 = KEYS ? &a.v : &a.dy, *c0 = KEYS ? &a.q : &a.k,
                 *c1 = KEYS ? &a.dy : &a.v;
    const mg_mat *out0 = KEYS ? &a.dk : &a.dq;
    int           hd = a.s.hd;
    wide_job      j;
    if (!mg_tensor_map(&j.r0, *r0, hd, TILE) || !mg_tensor_map(&j.r1, *r1, hd, TILE) ||
        !mg_tensor_map(&j.c0, *c0, hd, BC) || !mg_tensor_map(&j.c1, *c1, hd, BC))
        return false;
    j.out0 = out0->data, j.out0_ld = out0->cols;
    j.out1 = KEYS ? a.dv.data : NULL, j.out1_ld = a.dv.cols;
    j.lse = (const float *)a.lse, j.delta = call.delta;
    j.rows = (int)r0->rows, j.columns = (int)c0->rows;
    j.s = a.s, j.z = mg_scores_of(a.s);
    size_t bytes = sizeof(wide_room<T, HD, BC, STAGES, WANT>) + 1024;
    auto kernel = a.s.softcap > 0 ? back_kernel<T, HD, BC, STAGES, KEYS, WANT, true>
                                  : back_kernel<T, HD, BC, STAGES, KEYS, WANT, false>;
    mg_with_shared(kernel, bytes);
    kernel<<<dim3(KEYS ? a.s.kv_heads : a.s.heads, mg_tiles(a.s, j.rows, TILE)), 384, bytes, mg_cuda_stream>>>(j);
    MG_CUDA_LAUNCHED("attention_back");
    return true;
}

template <typename T> static bool back_of(back_call c) {
    const mg_attention_back_args &a = *c.a;
    bool keys = a.dk.data || a.dv.data, done = true;
    if (a.s.hd <= 64) {
        if (keys) done = back<T, 64, 64, 4, true, ACC0 | ACC1>(c);
        if (a.dq.data && done) done = back<T, 64, 128, 3, false, ACC0>(c);
    } else if (a.s.hd <= 96) {
        if (keys) done = back<T, 96, 64, 3, true, ACC0 | ACC1>(c);
        if (a.dq.data && done) done = back<T, 96, 128, 2, false, ACC0>(c);
    } else if (a.s.hd <= 128) {
        if (keys) done = back<T, 128, 64, 3, true, ACC0 | ACC1>(c);
        if (a.dq.data && done) done = back<T, 128, 128, 2, false, ACC0>(c);
    } else {
        if (a.dv.data) done = back<T, 256, 64, 2, true, ACC1>(c);
        if (a.dk.data && done) done = back<T, 256, 32, 2, true, ACC0>(c);
        if (a.dq.data && done) done = back<T, 256, 32, 2, false, ACC0>(c);
    }
    return done;
}

bool mg_cuda_attention_back_wide(const mg_attention_back_args *a, const float *delta) {
    const mg_mat m[] = { a->q, a->k, a->v, a->dy, a->dq, a->dk, a->dv };
    back_call    c = { a, delta };
    if (mg_cuda_cc != 90 || a->s.k_start || a->s.hd <= 32 || a->s.hd > 256) return false;
    for (int i = 0; i < 7; i++)
        if (m[i].data && !mg_aligned(m[i], a->s.hd)) return false;
    if (a->q.format == mg_cuda_f16) return back_of<__half>(c);
    return a->q.format == mg_cuda_bf16 && back_of<__nv_bfloat16>(c);
}
