/* attention_wide.cu -- attention forward on Hopper's warpgroups (after Shah et al., FlashAttention-3, arXiv
 * 2407.08608).
 *
 * Three warpgroups live as long as the launch, one set on each multiprocessor, and take tiles of 128 queries of a
 * head.  The first only starts copies: keys and values go round a ring of stages, and the queries of the next
 * tile come while the last one is still being finished.  The other two have 64 queries each.  A group starts
 * the scores of the next keys and the product with the values before these, and takes exponentials while both
 * run.  (Making the groups take turns in starting products changed nothing that could be measured.)
 *
 * Tiles differ in length by a factor of T / 128, so each set takes the next one when it is done: from a
 * counter, which the launch leaves at 0 again.  Which set does a tile does not change its bits. */
#include "backend/cuda/attention_wide.h"

#include <math.h>

enum { TILE = 128, STAGES = 2, WARPS_THAT_USE = 8 };

typedef struct wide_job {
    CUtensorMap       q, k, v;
    mg_attention_args a;
    mg_scores         z;
    int               tiles;
} wide_job;

template <typename T, int HD, int BN> struct wide_room {
    T        q[TILE * MG_WIDTH(HD)], k[STAGES][BN * MG_WIDTH(HD)], v[STAGES][BN * MG_WIDTH(HD)];
    int      item[2]; /* -1: none is left */
    uint64_t item_full[2], item_free[2], q_full, q_free, k_full[STAGES], k_free[STAGES], v_full[STAGES], v_free[STAGES];
};

/* One launch at a time uses these: all are on one stream. */
static __device__ int items_taken, blocks_done;

#if MG_WIDE

static __device__ inline mg_tile tile_of_item(const wide_job &j, int item) {
    return mg_tile_of<false>(j.a.s, j.tiles - 1 - item / j.a.s.heads, TILE, (int)j.a.q.rows);
}

template <typename T, int HD, int BN>
static __device__ inline void fetch_all(const wide_job &j, wide_room<T, HD, BN> &m) {
    constexpr int   PANELS = MG_PANELS(HD), BYTES = BN * MG_WIDTH(HD) * (int)sizeof(T);
    mg_ring<STAGES> ring = { 0, 1 };
    mg_ring<2>      slot = { 0, 1 };
    int             items = j.tiles * j.a.s.heads, item = blockIdx.x, each = j.a.s.heads / j.a.s.kv_heads, q_parity = 1;
    for (bool more = true; more; slot.next()) {
        more = item < items;
        mg_bar_wait(&m.item_free[slot.stage], slot.parity);
        m.item[slot.stage] = more ? item : -1;
        mg_bar_arrive(&m.item_full[slot.stage]);
        if (!more) break;
        int             head = item % j.a.s.heads;
        mg_tile         t = tile_of_item(j, item);
        mg_columns_seen see = mg_wide_seen<false>(j.a.s, t, TILE);
        item = gridDim.x + atomicAdd(&items_taken, 1);
        if (see.first >= see.last) continue;
        mg_bar_wait(&m.q_free, q_parity), q_parity ^= 1;
        mg_bar_expect(&m.q_full, TILE * MG_WIDTH(HD) * (int)sizeof(T));
        mg_fetch<T, PANELS, TILE>(m.q, &j.q, &m.q_full, head, t.row0);
        for (int c = see.first; c < see.last; c += BN, ring.next()) {
            mg_bar_wait(&m.k_free[ring.stage], ring.parity);
            mg_bar_expect(&m.k_full[ring.stage], BYTES);
            mg_fetch<T, PANELS, BN>(m.k[ring.stage], &j.k, &m.k_full[ring.stage], head / each, c);
            mg_bar_wait(&m.v_free[ring.stage], ring.parity);
            mg_bar_expect(&m.v_full[ring.stage], BYTES);
            mg_fetch<T, PANELS, BN>(m.v[ring.stage], &j.v, &m.v_full[ring.stage], head / each, c);
        }
    }
    __threadfence();
    if (atomicAdd(&blocks_done, 1) == (int)gridDim.x - 1) items_taken = blocks_done = 0;
}

/* A group's softmax: maxima are of unscaled scores. */
typedef struct wide_rows {
    int   begin[2], end[2];
    float most[2], sum[2];
} wide_rows;

/* Scores become exponentials; what was summed before is to be multiplied by `rescale`. */
template <int N>
static __device__ inline void wide_softmax(float (&s)[N / 2], wide_rows &r, float rescale[2], mg_scores z, int c0,
                                           bool part) {
    int   column = c0 + (threadIdx.x & 3) * 2;
    float scale = z.cap > 0 ? 1 : z.scale;
    if (z.cap > 0) {
#pragma unroll
        for (int i = 0; i < N / 2; i++) s[i] = z.cap * mg_tanh(z.inside * s[i]);
    }
    if (part) {
#pragma unroll
        for (int i = 0; i < N / 2; i++) {
            int c = column + i / 4 * 8 + (i & 1), h = i >> 1 & 1;
            if (c < r.begin[h] || c >= r.end[h]) s[i] = -INFINITY;
        }
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float most = r.most[h], sum = 0;
#pragma unroll
        for (int n = 0; n < N / 8; n++) most = fmaxf(most, fmaxf(s[4 * n + 2 * h], s[4 * n + 2 * h + 1]));
        most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
        most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
        float base = most == -INFINITY ? 0 : most * scale;
        rescale[h] = mg_exp2(r.most[h] * scale - base);
        r.most[h] = most;
#pragma unroll
        for (int n = 0; n < N / 8; n++)
#pragma unroll
            for (int i = 2 * h; i < 2 * h + 2; i++) {
                s[4 * n + i] = mg_exp2(fmaf(s[4 * n + i], scale, -base));
                sum += s[4 * n + i];
            }
        r.sum[h] = r.sum[h] * rescale[h] + sum;
    }
}

template <int HD> static __device__ inline void wide_rescale(mg_wide_sum<HD> &o, const float rescale[2]) {
#pragma unroll
    for (int p = 0; p < mg_wide_sum<HD>::PARTS; p++)
#pragma unroll
        for (int i = 0; i < mg_wide_sum<HD>::SPAN / 2; i++) o.part[p][i] *= rescale[i >> 1 & 1];
}

/* Softmax's end and the tile's way to memory. */
template <typename T, int HD>
static __device__ inline void finish(const wide_job &j, mg_tile t, int head, int mine, wide_rows &r,
                                     const mg_wide_sum<HD> &o) {
    const mg_attention_args &a = j.a;
    int     lane = threadIdx.x & 31, real = t.rows - mine;
    int64_t row = t.row0 + mine;
    float   scale[2], unit = j.z.cap > 0 ? 1 : j.z.scale;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float sum = r.sum[h];
        sum += __shfl_xor_sync(~0u, sum, 1);
        sum += __shfl_xor_sync(~0u, sum, 2);
        scale[h] = sum > 0 ? 1 / sum : 0;
        int i = (lane >> 2) + 8 * h;
        if ((lane & 3) == 0 && i < real)
            ((float *)a.lse)[(row + i) * a.s.heads + head] = sum > 0 ? (r.most[h] * unit + log2f(sum)) * MG_LN2 : 0;
    }
    mg_wide_store<T, HD>((T *)a.y.data + row * a.y.cols + head * a.s.hd, a.y.cols, real, a.s.hd, o, scale);
}

template <typename T, int HD, int BN>
static __device__ inline void use_all(const wide_job &j, wide_room<T, HD, BN> &m) {
    constexpr int   PANELS = MG_PANELS(HD);
    int group = (threadIdx.x >> 7) - 1, lane = threadIdx.x & 31, mine = (threadIdx.x >> 5 & 3) * 16 + group * 64;
    mg_ring<STAGES> ring = { 0, 0 };
    mg_ring<2>      slot = { 0, 0 };
    int             q_parity = 0, rows_end = j.a.s.q_start[j.a.s.n_seq];
    uint64_t        q_at = mg_descriptor(m.q + group * 64 * 64, 0);
    for (;; slot.next()) {
        mg_bar_wait(&m.item_full[slot.stage], slot.parity);
        int item = m.item[slot.stage];
        __syncwarp();
        if (lane == 0) mg_bar_arrive(&m.item_free[slot.stage]);
        if (item < 0) break;
        int             head = item % j.a.s.heads;
        mg_tile         t = tile_of_item(j, item);
        mg_columns_seen see = mg_wide_seen<false>(j.a.s, t, TILE);
        wide_rows       r = { {}, {}, { -INFINITY, -INFINITY }, {} };
        mg_wide_sum<HD> o = {};
        float           s[BN / 2], rescale[2];
        uint32_t        p[BN / 16][4];
#pragma unroll
        for (int h = 0; h < 2; h++) {
            mg_range c = mg_row_range<false>(j.a.s, t, mine + (lane >> 2) + 8 * h);
            r.begin[h] = c.begin, r.end[h] = c.end;
        }
        /* Rows behind the last sequence can hold anything, and 0 times NaN is NaN. */
        bool hole = rows_end < j.a.k.rows;
        auto values = [&](int stage, int c) {
            mg_bar_wait(&m.v_full[stage], ring.parity);
            if (hole && c + BN > rows_end) mg_clear_rows<T, PANELS, BN>(m.v[stage], rows_end - c);
        };
        if (see.first < see.last) {
            mg_bar_wait(&m.q_full, q_parity), q_parity ^= 1;
            mg_bar_wait(&m.k_full[ring.stage], ring.parity);
            mg_products_begin();
            mg_wide_across<T, HD, TILE, BN>(s, q_at, mg_descriptor(m.k[ring.stage], 0));
            mg_products_end();
            mg_products_wait<0>();
            mg_settled(s);
            if (lane == 0) mg_bar_arrive(&m.k_free[ring.stage]);
            wide_softmax<BN>(s, r, rescale, j.z, see.first,
                             see.first < see.full.begin || see.first + BN > see.full.end);
            mg_wide_pack<T, BN>(p, s);
            for (int c = see.first + BN; c < see.last; c += BN) {
                values(ring.stage, c - BN);
                int old = ring.stage;
                ring.next();
                mg_bar_wait(&m.k_full[ring.stage], ring.parity);
                mg_products_begin();
                mg_wide_across<T, HD, TILE, BN>(s, q_at, mg_descriptor(m.k[ring.stage], 0));
                mg_products_end();
                mg_wide_down<T, HD, BN>(o, p, mg_descriptor(m.v[old], BN * 128));
                mg_products_end();
                mg_products_wait<1>();
                mg_settled(s);
                if (lane == 0) mg_bar_arrive(&m.k_free[ring.stage]);
                wide_softmax<BN>(s, r, rescale, j.z, c, c < see.full.begin || c + BN > see.full.end);
                mg_products_wait<0>();
                mg_wide_settled(o);
                if (lane == 0) mg_bar_arrive(&m.v_free[old]);
                wide_rescale(o, rescale);
                mg_wide_pack<T, BN>(p, s);
            }
            if (lane == 0) mg_bar_arrive(&m.q_free);
            values(ring.stage, see.first + (see.last - see.first - 1) / BN * BN);
            mg_products_begin();
            mg_wide_down<T, HD, BN>(o, p, mg_descriptor(m.v[ring.stage], BN * 128));
            mg_products_end();
            mg_products_wait<0>();
            mg_wide_settled(o);
            if (lane == 0) mg_bar_arrive(&m.v_free[ring.stage]);
            ring.next();
        }
        finish<T, HD>(j, t, head, mine, r, o);
    }
}

#endif

template <typename T, int HD, int BN>
static __global__ void __launch_bounds__(384, 1) wide_kernel(const __grid_constant__ wide_job j) {
#if MG_WIDE
    extern __shared__ __align__(16) unsigned char memory[];
    wide_room<T, HD, BN> &m = *(wide_room<T, HD, BN> *)(memory + (-mg_shared_address(memory) & 1023));
    if (threadIdx.x == 0) {
        for (int i = 0; i < 2; i++) mg_bar_init(&m.item_full[i], 1), mg_bar_init(&m.item_free[i], WARPS_THAT_USE);
        mg_bar_init(&m.q_full, 1), mg_bar_init(&m.q_free, WARPS_THAT_USE);
        for (int i = 0; i < STAGES; i++) {
            mg_bar_init(&m.k_full[i], 1), mg_bar_init(&m.k_free[i], WARPS_THAT_USE);
            mg_bar_init(&m.v_full[i], 1), mg_bar_init(&m.v_free[i], WARPS_THAT_USE);
        }
        mg_bar_ready();
    }
    __syncthreads();
    if (threadIdx.x < 128) {
        mg_registers_less<40>();
        if (threadIdx.x == 0) fetch_all<T, HD, BN>(j, m);
    } else {
        mg_registers_more<232>();
        use_all<T, HD, BN>(j, m);
    }
#endif
}

template <typename T, int HD, int BN> static bool wide(const mg_attention_args &a) {
    wide_job j;
    size_t   bytes = sizeof(wide_room<T, HD, BN>) + 1024;
    auto     kernel = wide_kernel<T, HD, BN>;
    if (!mg_tensor_map(&j.q, a.q, a.s.hd, TILE) || !mg_tensor_map(&j.k, a.k, a.s.hd, BN) ||
        !mg_tensor_map(&j.v, a.v, a.s.hd, BN))
        return false;
    j.a = a, j.z = mg_scores_of(a.s), j.tiles = mg_tiles(a.s, a.q.rows, TILE);
    int items = j.tiles * a.s.heads;
    mg_with_shared(kernel, bytes);
    kernel<<<items < mg_cuda_sms ? items : mg_cuda_sms, 384, bytes, mg_cuda_stream>>>(j);
    MG_CUDA_LAUNCHED("attention");
    return true;
}

template <typename T> static bool wide_of(const mg_attention_args &a) {
    if (a.s.hd <= 64) return wide<T, 64, 128>(a);
    if (a.s.hd <= 96) return wide<T, 96, 128>(a);
    if (a.s.hd <= 128) return wide<T, 128, 128>(a);
    return wide<T, 256, 64>(a);
}

bool mg_cuda_attention_wide(const mg_attention_args *a) {
    if (mg_cuda_cc != 90 || a->s.k_start || a->s.hd <= 32 || a->s.hd > 256 || !(a->s.scale > 0) ||
        !mg_aligned(a->q, a->s.hd) || !mg_aligned(a->k, a->s.hd) || !mg_aligned(a->v, a->s.hd) ||
        !mg_aligned(a->y, a->s.hd))
        return false;
    if (a->q.format == mg_cuda_f16) return wide_of<__half>(*a);
    return a->q.format == mg_cuda_bf16 && wide_of<__nv_bfloat16>(*a);
}
