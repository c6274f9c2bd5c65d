/* attention_wide.h -- what Hopper adds (sm_90a): products of a warpgroup, copies by the tensor engine, barriers.
 *
 * A warpgroup is four warps; its products are 64 rows high, row 16 w + l/4 (+8) belonging to lane l of warp w
 * just as in mma.sync, so a result is again the first operand of the next product without leaving its registers.
 *
 * Tiles lie in shared memory as panels of 64 columns: rows of 128 bytes, whose 16-byte pieces the copy engine
 * exchanges by the row's number (128-byte swizzle).  Rows of a panel may run along the product's sum (`across`)
 * or be what is summed over (`down`); a descriptor says which.  Source: PTX ISA, "Asynchronous warpgroup level
 * matrix instructions". */
#ifndef MG_BACKEND_CUDA_ATTENTION_WIDE_H
#define MG_BACKEND_CUDA_ATTENTION_WIDE_H

#include "backend/cuda/attention.h"

#include <cuda.h>

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define MG_WIDE 1
#else
#define MG_WIDE 0
#endif

/* ---- on the host: how the engine finds a head's rows ---- */

/* Columns of a head, heads, rows; a copy is 64 columns of one head in `rows` rows, zeros beyond any border. */
static inline bool mg_tensor_map(CUtensorMap *map, mg_mat m, int hd, int rows) {
    typedef CUresult (*encode_fn)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *, const cuuint64_t *,
                                  const cuuint64_t *, const cuuint32_t *, const cuuint32_t *, CUtensorMapInterleave,
                                  CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);
    static encode_fn encode; /* no need of a link to the driver's library */
    if (!encode) {
        cudaDriverEntryPointQueryResult found;
        void                           *p = NULL;
        if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &p, 12000, cudaEnableDefault, &found) !=
                cudaSuccess ||
            !p)
            return false;
        encode = (encode_fn)p;
    }
    cuuint64_t size[3] = { (cuuint64_t)hd, (cuuint64_t)(m.cols / hd), (cuuint64_t)m.rows };
    cuuint64_t stride[2] = { (cuuint64_t)hd * 2, (cuuint64_t)m.cols * 2 };
    cuuint32_t box[3] = { 64, 1, (cuuint32_t)rows }, step[3] = { 1, 1, 1 };
    return encode(map, m.format == mg_cuda_f16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3,
                  m.data, size, stride, box, step, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                  CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

#if MG_WIDE

/* ---- barriers in shared memory: complete when all have arrived and all announced bytes are there ---- */

static __device__ inline void mg_bar_init(uint64_t *bar, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(mg_shared_address(bar)), "r"(arrivals) : "memory");
}
static __device__ inline void mg_bar_ready(void) { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
static __device__ inline void mg_bar_arrive(uint64_t *bar) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(mg_shared_address(bar)) : "memory");
}
static __device__ inline void mg_bar_expect(uint64_t *bar, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(mg_shared_address(bar)), "r"(bytes)
                 : "memory");
}
/* Until the phase of this parity has completed; the one before the first counts as complete, its parity is 1. */
static __device__ inline void mg_bar_wait(uint64_t *bar, int parity) {
    uint32_t done, at = mg_shared_address(bar);
    do {
        asm volatile("{\n.reg .pred p;\n"
                     "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
                     "selp.u32 %0, 1, 0, p;\n}" : "=r"(done) : "r"(at), "r"(parity) : "memory");
    } while (!done);
}

#endif

/* Panels of a head, and columns of its tiles: what is behind its own columns is 0. */
#define MG_PANELS(hd) (((hd) + 63) / 64)
#define MG_WIDTH(hd) (MG_PANELS(hd) * 64)

#if MG_WIDE

/* A place in a ring of N stages. */
template <int N> struct mg_ring {
    int stage, parity;
    __device__ inline void next(void) {
        if (++stage == N) stage = 0, parity ^= 1;
    }
};

/* Panels of rows row .. of a head. */
template <typename T, int PANELS, int ROWS>
static __device__ inline void mg_fetch(T *to, const CUtensorMap *map, uint64_t *bar, int head, int row) {
#pragma unroll
    for (int p = 0; p < PANELS; p++)
        asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, "
                     "{%2, %3, %4}], [%5];" ::"r"(mg_shared_address(to + p * ROWS * 64)),
                     "l"(map), "r"(p * 64), "r"(head), "r"(row), "r"(mg_shared_address(bar))
                     : "memory");
}

/* Ordinary writes to shared memory are seen by products after this and a barrier. */
static __device__ inline void mg_fence_async(void) { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
/* Of the two groups that use tiles. */
static __device__ inline void mg_users_sync(void) { asm volatile("bar.sync 1, 256;" ::: "memory"); }

template <int N> static __device__ inline void mg_registers_more(void) {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
}
template <int N> static __device__ inline void mg_registers_less(void) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
}

/* Rows from `from` on become 0 in a tile that both groups are about to use. */
template <typename T, int PANELS, int ROWS> static __device__ inline void mg_clear_rows(T *tile, int from) {
    for (int i = threadIdx.x - 128; i < (ROWS - from) * PANELS * 8; i += 256) {
        int row = from + i / (PANELS * 8), piece = i % (PANELS * 8);
        *(uint4 *)(tile + (piece / 8 * ROWS + row) * 64 + piece % 8 * 8) = make_uint4(0, 0, 0, 0);
    }
    mg_fence_async();
    mg_users_sync();
}

/* ---- products ---- */

/* Of panels: eight rows are 1024 bytes; `leading`, the bytes between panels, counts for `down` alone. */
static __device__ inline uint64_t mg_descriptor(const void *p, uint32_t leading) {
    return (uint64_t)((mg_shared_address(p) & 0x3ffff) >> 4) | (uint64_t)(leading >> 4) << 16 |
           (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 62;
}

static __device__ inline void mg_products_begin(void) { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
static __device__ inline void mg_products_end(void) { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
/* Until at most N of the newest batches are at work. */
template <int N> static __device__ inline void mg_products_wait(void) {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}
/* Keeps uses of registers that products write behind the wait. */
template <int N> static __device__ inline void mg_settled(float (&c)[N]) {
#pragma unroll
    for (int i = 0; i < N; i++) asm volatile("" : "+f"(c[i])::"memory");
}

#define MG_R4(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define MG_R16(d, i) MG_R4(d, i), MG_R4(d, i + 4), MG_R4(d, i + 8), MG_R4(d, i + 12)
#define MG_R32(d, i) MG_R16(d, i), MG_R16(d, i + 16)
#define MG_LIST16 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15"
#define MG_LIST32                                                                                                     \
    "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%" \
    "30,%31"
#define MG_LIST48 MG_LIST32 ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47"
#define MG_LIST64                                                                                                     \
    MG_LIST32 ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56," \
              "%57,%58,%59,%60,%61,%62,%63"
/* keep: 0 overwrites the result.  Both operands in shared memory, the sum along their rows. */
#define MG_SHARED(n, type, list, a, b, keep)                                                                      \
    "{\n.reg .pred p;\nsetp.ne.b32 p, " keep ", 0;\nwgmma.mma_async.sync.aligned.m64n" n "k16.f32." type "." type \
    " {" list "}, " a ", " b ", p, 1, 1, 0, 0;\n}"
/* The first operand in registers, the second one's rows are summed over. */
#define MG_MIXED(n, type, list, a, b) \
    "wgmma.mma_async.sync.aligned.m64n" n "k16.f32." type "." type " {" list "}, {" a "}, " b ", 1, 1, 1, 1;"

template <typename T> static __device__ inline void mg_product(float (&c)[16], uint64_t a, uint64_t b, int keep) {
    if constexpr (mg_is_half<T>::yes)
        asm volatile(MG_SHARED("32", "f16", MG_LIST16, "%16", "%17", "%18") : MG_R16(c, 0) : "l"(a), "l"(b), "r"(keep));
    else
        asm volatile(MG_SHARED("32", "bf16", MG_LIST16, "%16", "%17", "%18")
                     : MG_R16(c, 0)
                     : "l"(a), "l"(b), "r"(keep));
}
template <typename T> static __device__ inline void mg_product(float (&c)[32], uint64_t a, uint64_t b, int keep) {
    if constexpr (mg_is_half<T>::yes)
        asm volatile(MG_SHARED("64", "f16", MG_LIST32, "%32", "%33", "%34") : MG_R32(c, 0) : "l"(a), "l"(b), "r"(keep));
    else
        asm volatile(MG_SHARED("64", "bf16", MG_LIST32, "%32", "%33", "%34")
                     : MG_R32(c, 0)
                     : "l"(a), "l"(b), "r"(keep));
}
template <typename T> static __device__ inline void mg_product(float (&c)[64], uint64_t a, uint64_t b, int keep) {
    if constexpr (mg_is_half<T>::yes)
        asm volatile(MG_SHARED("128", "f16", MG_LIST64, "%64", "%65", "%66")
                     : MG_R32(c, 0), MG_R32(c, 32) : "l"(a), "l"(b), "r"(keep));
    else
        asm volatile(MG_SHARED("128", "bf16", MG_LIST64, "%64", "%65", "%66")
                     : MG_R32(c, 0), MG_R32(c, 32) : "l"(a), "l"(b), "r"(keep));
}
template <typename T> static __device__ inline void mg_product(float (&c)[32], const uint32_t a[4], uint64_t b) {
    if constexpr (mg_is_half<T>::yes)
        asm volatile(MG_MIXED("64", "f16", MG_LIST32, "%32,%33,%34,%35", "%36")
                     : MG_R32(c, 0) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
    else
        asm volatile(MG_MIXED("64", "bf16", MG_LIST32, "%32,%33,%34,%35", "%36")
                     : MG_R32(c, 0) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
template <typename T> static __device__ inline void mg_product(float (&c)[48], const uint32_t a[4], uint64_t b) {
    if constexpr (mg_is_half<T>::yes)
        asm volatile(MG_MIXED("96", "f16", MG_LIST48, "%48,%49,%50,%51", "%52")
                     : MG_R32(c, 0), MG_R16(c, 32) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
    else
        asm volatile(MG_MIXED("96", "bf16", MG_LIST48, "%48,%49,%50,%51", "%52")
                     : MG_R32(c, 0), MG_R16(c, 32) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
template <typename T> static __device__ inline void mg_product(float (&c)[64], const uint32_t a[4], uint64_t b) {
    if constexpr (mg_is_half<T>::yes)
        asm volatile(MG_MIXED("128", "f16", MG_LIST64, "%64,%65,%66,%67", "%68")
                     : MG_R32(c, 0), MG_R32(c, 32) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
    else
        asm volatile(MG_MIXED("128", "bf16", MG_LIST64, "%64,%65,%66,%67", "%68")
                     : MG_R32(c, 0), MG_R32(c, 32) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

/* c [64, N] = a [64, HD] b [N, HD]^T: a, b panels of A_ROWS and N rows; a's descriptor leads to the group's rows. */
template <typename T, int HD, int A_ROWS, int N>
static __device__ inline void mg_wide_across(float (&c)[N / 2], uint64_t a, uint64_t b) {
#pragma unroll
    for (int k = 0; k < HD / 16; k++)
        mg_product<T>(c, a + (k / 4 * A_ROWS * 128 + k % 4 * 32) / 16, b + (k / 4 * N * 128 + k % 4 * 32) / 16, k > 0);
}

/* Accumulators [64, HD]: at most 128 columns a product. */
template <int HD> struct mg_wide_sum {
    static constexpr int SPAN = HD < 128 ? HD : 128, PARTS = HD / SPAN;
    float part[PARTS][SPAN / 2];
};

template <int HD> static __device__ inline void mg_wide_settled(mg_wide_sum<HD> &c) {
#pragma unroll
    for (int p = 0; p < mg_wide_sum<HD>::PARTS; p++) mg_settled(c.part[p]);
}

/* c [64, HD] += p [64, N] b [N, HD]; b's descriptor has its panels' distance as `leading`. */
template <typename T, int HD, int N>
static __device__ inline void mg_wide_down(mg_wide_sum<HD> &c, const uint32_t p[N / 16][4], uint64_t b) {
#pragma unroll
    for (int k = 0; k < N / 16; k++)
#pragma unroll
        for (int i = 0; i < mg_wide_sum<HD>::PARTS; i++)
            mg_product<T>(c.part[i], p[k], b + (i * 2 * N * 128 + k * 2048) / 16);
}

/* A result as the first operand of the next product. */
template <typename T, int N>
static __device__ inline void mg_wide_pack(uint32_t p[N / 16][4], const float (&s)[N / 2]) {
#pragma unroll
    for (int k = 0; k < N / 16; k++)
#pragma unroll
        for (int i = 0; i < 4; i++) p[k][i] = mg_pair<T>::of(s[8 * k + 2 * i], s[8 * k + 2 * i + 1]);
}

/* Four lanes exchange words so that each has 16 bytes of a row: w[j] of lane t becomes w[t] of lane j. */
static __device__ inline void mg_transpose4(uint32_t w[4]) {
    int  lane = threadIdx.x;
    bool one = lane & 1, two = lane & 2;
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
        uint32_t got = __shfl_xor_sync(~0u, one ? w[i] : w[i + 1], 1);
        if (one) w[i] = got;
        else w[i + 1] = got;
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        uint32_t got = __shfl_xor_sync(~0u, two ? w[i] : w[i + 2], 2);
        if (two) w[i] = got;
        else w[i + 2] = got;
    }
}

/* scale[h] c to rows of a matrix; `to` is the warp's first row, of which `real` exist. */
template <typename T, int HD>
static __device__ inline void mg_wide_store(T *to, int64_t ld, int real, int hd, const mg_wide_sum<HD> &c,
                                            const float scale[2]) {
    constexpr int SPAN = mg_wide_sum<HD>::SPAN;
    int           lane = threadIdx.x & 31;
#pragma unroll
    for (int p = 0; p < mg_wide_sum<HD>::PARTS; p++)
#pragma unroll
        for (int n = 0; n < SPAN / 8; n += 4)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                uint32_t w[4];
#pragma unroll
                for (int i = 0; i < 4; i++)
                    w[i] = mg_pair<T>::of(c.part[p][4 * (n + i) + 2 * h] * scale[h],
                                          c.part[p][4 * (n + i) + 2 * h + 1] * scale[h]);
                mg_transpose4(w);
                int row = (lane >> 2) + 8 * h, col = p * SPAN + (n + (lane & 3)) * 8;
                if (row < real && col < hd) *(uint4 *)(to + row * ld + col) = make_uint4(w[0], w[1], w[2], w[3]);
            }
}

/* What a tile of `size` rows sees; the same for all threads. */
template <bool KEYS>
static __device__ inline mg_columns_seen mg_wide_seen(const mg_attention_shape &s, mg_tile t, int size) {
    mg_range        top = mg_row_range<KEYS>(s, t, 0), bottom = mg_row_range<KEYS>(s, t, size - 1);
    mg_columns_seen c = { top.begin, bottom.end, { bottom.begin, top.end } };
    return c;
}

#endif
#endif
