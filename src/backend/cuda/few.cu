/* few.cu -- y = x w^T for up to eight rows of x, from packed weights.
 *
 * Time is what reading w takes, if the arithmetic keeps out of the way: so it is done by tensor cores, for which
 * eight rows of x are one tile.  Weights enter them as small integers (exact in bf16 and fp16); scale and minimum
 * of a block are applied to the block's sums in fp32, so the result is at least as exact as a product with
 * decoded weights.  Per block of the grid: 16 rows of w; its warps share the columns, a chunk each in turn, and
 * copy chunks into shared memory as whole 16-byte words, ahead of their use.  Sums over chunks and warps are
 * taken in fixed order.
 *
 * The sum of a block's x, which the minimum is multiplied by, is a product too: with a matrix of ones.
 *
 * A product of 16 columns does not care which they are, as long as x and w agree: lane t of four has columns
 * place(half, t) .. +3 of a sub-block of 32, as suits the format's bytes.
 *
 * fp32 rows of x and formats without a packer below take few_plain.  */
#include "backend/cuda/codec.h"
#include "backend/cuda/few.h"

enum { ROWS = 16, MOST_WARPS = 8, PLAIN_WARPS = 4 };

/* ---- tensor cores ---- */

template <class T> static __device__ __forceinline__ void mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);

template <>
__device__ __forceinline__ void mma<__nv_bfloat16>(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

template <>
__device__ __forceinline__ void mma<__half>(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(b0));
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[2]), "r"(a[3]), "r"(b1));
#endif
}

/* ---- pairs of elements ---- */

static __device__ __forceinline__ uint32_t bits_of(__half2 x) { return *reinterpret_cast<uint32_t *>(&x); }
static __device__ __forceinline__ uint32_t bits_of(__nv_bfloat162 x) { return *reinterpret_cast<uint32_t *>(&x); }

static __device__ __forceinline__ void pair_of(uint32_t *to, float a, float b, __half) { *to = bits_of(__floats2half2_rn(a, b)); }
static __device__ __forceinline__ void pair_of(uint32_t *to, float a, float b, __nv_bfloat16) {
    *to = bits_of(__floats2bfloat162_rn(a, b));
}
template <class T> static __device__ __forceinline__ uint32_t pair(float a, float b) {
    uint32_t p;
    pair_of(&p, a, b, T(0.0f));
    return p;
}

/* Four bytes, each below 128, minus a bias: as the fraction of 128 (bf16) or 1024 (fp16). */
static __device__ __forceinline__ void small_ints(uint32_t (&p)[2], uint32_t bytes, int bias, __nv_bfloat16) {
    const float over = -(float)(128 + bias);
#pragma unroll
    for (int k = 0; k < 2; k++) {
        uint32_t        raised = __byte_perm(bytes, 0x43434343u, k ? 0x4342 : 0x4140);
        __nv_bfloat162  sum = __hadd2(*reinterpret_cast<__nv_bfloat162 *>(&raised), __floats2bfloat162_rn(over, over));
        p[k] = bits_of(sum);
    }
}
static __device__ __forceinline__ void small_ints(uint32_t (&p)[2], uint32_t bytes, int bias, __half) {
    const float over = -(float)(1024 + bias);
#pragma unroll
    for (int k = 0; k < 2; k++) {
        uint32_t raised = __byte_perm(bytes, 0x64646464u, k ? 0x4342 : 0x4140);
        p[k] = bits_of(__hadd2(*reinterpret_cast<__half2 *>(&raised), __floats2half2_rn(over, over)));
    }
}

/* Four signed bytes. */
static __device__ __forceinline__ void signed_bytes(uint32_t (&p)[2], uint32_t bytes, __half x) {
    small_ints(p, bytes ^ 0x80808080u, 128, x);
}
static __device__ __forceinline__ void signed_bytes(uint32_t (&p)[2], uint32_t bytes, __nv_bfloat16) {
    float v[4];
    bytes ^= 0x80808080u;
#pragma unroll
    for (int k = 0; k < 4; k++) v[k] = __uint_as_float(__byte_perm(bytes, 0x4B000000u, 0x7440 | k)) - 8388736.0f;
    p[0] = pair<__nv_bfloat16>(v[0], v[1]);
    p[1] = pair<__nv_bfloat16>(v[2], v[3]);
}

/* ---- packers: how a chunk of a row becomes pairs ----
 *
 * block, bytes: of the format; chunk: columns that are copied at once; span: columns of a scale, 0: none; mins: is
 * there a minimum?  scale(row, i): scale and minimum number i of a chunk.  pairs(p, row, sub, t): the eight columns
 * of lane t in sub-block `sub` of 32. */

struct legacy {
    static constexpr int block = 32, chunk = 256, span = 32;
    static constexpr bool tabled = false;
    static __device__ __forceinline__ int place(int half, int t) { return 16 * half + 4 * t; }
};

/* both halves from the nibbles of four bytes, with fifth bits where there are some */
template <class T>
static __device__ __forceinline__ void nibble_halves(uint32_t (&p)[4], uint32_t q, uint32_t fifth_low, uint32_t fifth_high, int bias) {
    uint32_t low[2], high[2];
    small_ints(low, (q & 0x0f0f0f0fu) | fifth_low, bias, T(0.0f));
    small_ints(high, (q >> 4 & 0x0f0f0f0fu) | fifth_high, bias, T(0.0f));
    p[0] = low[0], p[1] = low[1], p[2] = high[0], p[3] = high[1];
}

/* bits 0..3 to bit 4 of bytes 0..3 */
static __device__ __forceinline__ uint32_t spread(uint32_t b) { return (b & 15) * 0x00204081u << 4 & 0x10101010u; }

struct pack_q4_0 : legacy {
    static constexpr int  bytes = 18;
    static constexpr bool mins = false;
    static __device__ float2 scale(const uint8_t *row, int i) { return make_float2(mg_half_at(row + i * 18), 0); }
    template <class T> static __device__ __forceinline__ void pairs(uint32_t (&p)[4], const uint8_t *row, int sub, int t, const uint32_t *) {
        nibble_halves<T>(p, mg_word<2>(row + sub * 18 + 2 + 4 * t), 0, 0, 8);
    }
};
struct pack_q4_1 : legacy {
    static constexpr int  bytes = 20;
    static constexpr bool mins = true;
    static __device__ float2 scale(const uint8_t *row, int i) {
        return make_float2(mg_half_at(row + i * 20), mg_half_at(row + i * 20 + 2));
    }
    template <class T> static __device__ __forceinline__ void pairs(uint32_t (&p)[4], const uint8_t *row, int sub, int t, const uint32_t *) {
        nibble_halves<T>(p, mg_word<4>(row + sub * 20 + 4 + 4 * t), 0, 0, 0);
    }
};
struct pack_q5_0 : legacy {
    static constexpr int  bytes = 22;
    static constexpr bool mins = false;
    static __device__ float2 scale(const uint8_t *row, int i) { return make_float2(mg_half_at(row + i * 22), 0); }
    template <class T> static __device__ __forceinline__ void pairs(uint32_t (&p)[4], const uint8_t *row, int sub, int t, const uint32_t *) {
        uint32_t high = mg_word<2>(row + sub * 22 + 2) >> 4 * t;
        nibble_halves<T>(p, mg_word<2>(row + sub * 22 + 6 + 4 * t), spread(high), spread(high >> 16), 16);
    }
};
struct pack_q8_0 : legacy {
    static constexpr int  bytes = 34;
    static constexpr bool mins = false;
    static __device__ float2 scale(const uint8_t *row, int i) { return make_float2(mg_half_at(row + i * 34), 0); }
    template <class T> static __device__ __forceinline__ void pairs(uint32_t (&p)[4], const uint8_t *row, int sub, int t, const uint32_t *) {
        uint32_t low[2], high[2];
        signed_bytes(low, mg_word<2>(row + sub * 34 + 2 + 4 * t), T(0.0f));
        signed_bytes(high, mg_word<2>(row + sub * 34 + 18 + 4 * t), T(0.0f));
        p[0] = low[0], p[1] = low[1], p[2] = high[0], p[3] = high[1];
    }
};

struct k_quants {
    static constexpr int  block = 256, chunk = 256;
    static constexpr bool tabled = false;
    static __device__ __forceinline__ int place(int half, int t) { return 16 * half + 4 * t; }
};

static __device__ __forceinline__ float2 scale_k4(const uint8_t *row, int i) {
    uint32_t scale, min;
    mg_scale_k4(row + 4, i, &scale, &min);
    return make_float2(mg_half_at(row) * (float)scale, -mg_half_at(row + 2) * (float)min);
}

struct pack_q4_k : k_quants {
    static constexpr int  bytes = 144, span = 32;
    static constexpr bool mins = true;
    static __device__ float2 scale(const uint8_t *row, int i) { return scale_k4(row, i); }
    template <class T> static __device__ __forceinline__ void pairs(uint32_t (&p)[4], const uint8_t *row, int sub, int t, const uint32_t *) {
        uint32_t half[2];
#pragma unroll
        for (int h = 0; h < 2; h++) {
            uint32_t q = mg_word<4>(row + 16 + 32 * (sub / 2) + 16 * h + 4 * t) >> sub % 2 * 4 & 0x0f0f0f0fu;
            small_ints(half, q, 0, T(0.0f));
            p[2 * h] = half[0], p[2 * h + 1] = half[1];
        }
    }
};
struct pack_q5_k : k_quants {
    static constexpr int  bytes = 176, span = 32;
    static constexpr bool mins = true;
    static __device__ float2 scale(const uint8_t *row, int i) { return scale_k4(row, i); }
    template <class T> static __device__ __forceinline__ void pairs(uint32_t (&p)[4], const uint8_t *row, int sub, int t, const uint32_t *) {
        uint32_t half[2];
#pragma unroll
        for (int h = 0; h < 2; h++) {
            uint32_t q = mg_word<4>(row + 48 + 32 * (sub / 2) + 16 * h + 4 * t) >> sub % 2 * 4 & 0x0f0f0f0fu;
            q |= (mg_word<4>(row + 16 + 16 * h + 4 * t) >> sub & 0x01010101u) << 4;
            small_ints(half, q, 0, T(0.0f));
            p[2 * h] = half[0], p[2 * h + 1] = half[1];
        }
    }
};
struct pack_q6_k : k_quants {
    static constexpr int  bytes = 210, span = 16;
    static constexpr bool mins = false;
    static __device__ float2 scale(const uint8_t *row, int i) {
        return make_float2(mg_half_at(row + 208) * (float)(int8_t)row[192 + i], 0);
    }
    template <class T> static __device__ __forceinline__ void pairs(uint32_t (&p)[4], const uint8_t *row, int sub, int t, const uint32_t *) {
        uint32_t half[2];
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const uint8_t *low = row + 64 * (sub / 4) + 32 * (sub % 2) + 16 * h + 4 * t;
            const uint8_t *high = row + 128 + 32 * (sub / 4) + 16 * h + 4 * t;
            uint32_t q = (mg_word<2>(low) >> sub / 2 % 2 * 4 & 0x0f0f0f0fu) | (mg_word<2>(high) >> sub % 4 * 2 & 0x03030303u) << 4;
            small_ints(half, q, 32, T(0.0f));
            p[2 * h] = half[0], p[2 * h + 1] = half[1];
        }
    }
};

/* The table has a pair for each byte, eight times over, so that lanes seldom meet in a bank. */
template <bool NF4> struct pack_four_bits {
    static constexpr int  block = 64, bytes = 32, chunk = 256, span = 64;
    static constexpr bool mins = false, tabled = true;
    static __device__ __forceinline__ int place(int half, int t) { return 8 * t + 4 * half; }
    template <class T> static __device__ uint32_t entry(int byte) {
        const float *v = NF4 ? mg_nf4_values : mg_fp4_values;
        return pair<T>(v[byte >> 4], v[byte & 15]);
    }
    template <class T> static __device__ __forceinline__ void pairs(uint32_t (&p)[4], const uint8_t *row, int sub, int t, const uint32_t *table) {
        uint32_t q = mg_word<4>(row + 16 * sub + 4 * t);
#pragma unroll
        for (int k = 0; k < 4; k++) p[k] = table[(q >> 8 * k & 0xff) * 8 + threadIdx.x % 8];
    }
};

template <class S> struct pack_plain {
    static constexpr int  block = 32, bytes = 32 * sizeof(S), chunk = sizeof(S) == 4 ? 64 : 128, span = 0;
    static constexpr bool mins = false, tabled = false;
    static __device__ __forceinline__ int place(int half, int t) { return 8 * t + 4 * half; }
    template <class T> static __device__ __forceinline__ void pairs(uint32_t (&p)[4], const uint8_t *row, int sub, int t, const uint32_t *) {
        float v[8];
        mg_load8(reinterpret_cast<const S *>(row) + 32 * sub + 8 * t, v);
#pragma unroll
        for (int k = 0; k < 4; k++) p[k] = pair<T>(v[2 * k], v[2 * k + 1]);
    }
};

/* ---- copies that run ahead ---- */

static __device__ __forceinline__ void copy16(uint8_t *to, const uint8_t *from) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"((uint32_t)__cvta_generic_to_shared(to)), "l"(from));
#else
    *reinterpret_cast<uint4 *>(to) = *reinterpret_cast<const uint4 *>(from);
#endif
}
static __device__ __forceinline__ void copies_issued(void) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;");
#endif
}
template <int LEFT> static __device__ __forceinline__ void wait_for_copies(void) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT));
#endif
    __syncwarp();
}

/* Places of a warp in shared memory. */
template <class Q> struct layout {
    static constexpr int chunk_bytes = Q::chunk / Q::block * Q::bytes, subs = Q::chunk / 32;
    static constexpr int words = (chunk_bytes + 30) / 16; /* a row that starts anywhere */
    static constexpr int stride = 16 * (words | 1);       /* odd: rows lie in different banks */
    static constexpr int stage_bytes = ROWS * stride, stages = stage_bytes > 3200 ? 2 : 3;
    static constexpr int scales = Q::span ? Q::chunk / Q::span : 0;
    static constexpr int warp_bytes = stages * stage_bytes + ROWS * scales * 8;
    static constexpr int table_bytes = Q::tabled ? 256 * 8 * 4 : 0;
};

struct packed_rows {
    const uint8_t     *data, *end;
    const mg_nf4_side *side;
    int64_t            rows, cols;
    int                row_bytes;
};

static __device__ __forceinline__ int64_t row_at(int r, const packed_rows &w) {
    int64_t row = (int64_t)blockIdx.x * ROWS + r;
    return row < w.rows ? row : w.rows - 1;
}

/* Copies what a chunk has of the block's rows, which start at `start`: neighbouring lanes take neighbouring words. */
template <class Q>
static __device__ __forceinline__ void copy_chunk(uint8_t *stage, const uint8_t *const (&start)[ROWS], const packed_rows &w, int chunk) {
    using L = layout<Q>;
    int left = w.row_bytes - chunk * L::chunk_bytes, bytes = left < L::chunk_bytes ? left : L::chunk_bytes;
#pragma unroll
    for (int j = 0; j < (ROWS * L::words + 31) / 32; j++) {
        int i = threadIdx.x % 32 + 32 * j, r = i / L::words, k = i % L::words;
        if (ROWS * L::words % 32 && r >= ROWS) break;
        const uint8_t *from = start[r] + chunk * L::chunk_bytes;
        int            shift = (int)((uintptr_t)from & 15);
        if (16 * k >= shift + bytes) continue;
        const uint8_t *word = from - shift + 16 * k;
        uint8_t       *to = stage + r * L::stride + 16 * k;
        if (word + 16 <= w.end) copy16(to, word);
        else
            for (int b = 0; word + b < w.end; b++) to[b] = word[b];
    }
}

/* The scales of a chunk; two lanes read those of a row.  Those of the 4-bit formats lie in arrays of their own, and are
 * read before the chunk's copy is waited for; all others lie in the chunk. */
template <class Q>
static __device__ __forceinline__ void outer_scales(float2 *scale, const mg_nf4_side &side, int64_t first, int cols, int chunk) {
    using L = layout<Q>;
    if constexpr (Q::tabled)
#pragma unroll
        for (int j = 0; j < L::scales / 2; j++) {
            int i = threadIdx.x % 2 + 2 * j, c = chunk * Q::chunk + i * Q::span;
            if (c < cols) scale[threadIdx.x % 32 / 2 * L::scales + i] = make_float2(mg_absmax(side, first + c), 0);
        }
}

template <class Q>
static __device__ __forceinline__ void inner_scales(float2 *scale, const uint8_t *stage, const uint8_t *start, int chunk, int subs) {
    using L = layout<Q>;
    if constexpr (!Q::tabled && Q::span > 0) {
        const uint8_t *row = stage + threadIdx.x % 32 / 2 * L::stride + ((uintptr_t)(start + chunk * L::chunk_bytes) & 15);
#pragma unroll
        for (int j = 0; j < L::scales / 2; j++) {
            int i = threadIdx.x % 2 + 2 * j;
            if (i * Q::span < 32 * subs) scale[threadIdx.x % 32 / 2 * L::scales + i] = Q::scale(row, i);
        }
    }
    __syncwarp();
}

/* acc += the products of sub-block `sub`; b: this lane's x */
template <class Q, class T>
static __device__ __forceinline__ void multiply(float (&acc)[4], const uint32_t (&b)[4], const uint8_t *low, const uint8_t *high,
                                                const float2 *scale, const uint32_t *table, int sub) {
    using L = layout<Q>;
    const uint32_t one = pair<T>(1, 1), ones[4] = { one, one, one, one };
    uint32_t       p[4], q[4];
    Q::template pairs<T>(p, low, sub, threadIdx.x % 4, table);
    Q::template pairs<T>(q, high, sub, threadIdx.x % 4, table);
    uint32_t a[2][4] = { { p[0], q[0], p[1], q[1] }, { p[2], q[2], p[3], q[3] } };
    if constexpr (Q::span == 0) {
        mma<T>(acc, a[0], b[0], b[1]);
        mma<T>(acc, a[1], b[2], b[3]);
    } else {
#pragma unroll
        for (int h = 0; h < (Q::span == 16 ? 2 : 1); h++) {
            float  part[4] = { 0, 0, 0, 0 };
            int    i = (32 * sub + 16 * h) / Q::span;
            float2 s = scale[i], r = scale[8 * L::scales + i];
            mma<T>(part, a[h], b[2 * h], b[2 * h + 1]);
            if constexpr (Q::span != 16) mma<T>(part, a[1], b[2], b[3]);
            acc[0] += s.x * part[0], acc[1] += s.x * part[1], acc[2] += r.x * part[2], acc[3] += r.x * part[3];
            if constexpr (Q::mins) {
                float sum[4] = { 0, 0, 0, 0 };
                mma<T>(sum, ones, b[0], b[1]);
                mma<T>(sum, ones, b[2], b[3]);
                acc[0] += s.y * sum[0], acc[1] += s.y * sum[1], acc[2] += r.y * sum[0], acc[3] += r.y * sum[1];
            }
        }
    }
}

/* x: at this lane's row and the chunk's first column */
template <class Q, class T> static __device__ __forceinline__ void read_x(uint32_t (&b)[4], const T *x, int sub) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
        uint2 v = *reinterpret_cast<const uint2 *>(x + 32 * sub + Q::place(h, threadIdx.x % 4));
        b[2 * h] = v.x, b[2 * h + 1] = v.y;
    }
}

struct few_outputs {
    mixed y, bias, onto;
    bool  accumulate;
};

static few_outputs outputs_of(mg_linear_args a) {
    return few_outputs{ mixed::of(a.y), mixed::of(a.bias), mixed::of(a.onto.data ? a.onto : a.y), a.accumulate };
}

static __device__ __forceinline__ void put_output(const few_outputs &o, int64_t row, int64_t col, int64_t cols, float sum) {
    float v[1] = { sum }, more[1];
    if (o.bias) {
        o.bias.get(col, more);
        v[0] += more[0];
    }
    if (o.accumulate) {
        o.onto.get(row * cols + col, more);
        v[0] += more[0];
    }
    o.y.put(row * cols + col, v);
}

template <class Q, class T>
static __global__ void __launch_bounds__(32 * MOST_WARPS, 3) few(few_outputs o, const T *x, packed_rows w, int n) {
    using L = layout<Q>;
    extern __shared__ __align__(16) uint8_t memory[];
    __shared__ float                        sums[MOST_WARPS][ROWS * 8];
    int          warp = threadIdx.x / 32, warps = blockDim.x / 32, group = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    __shared__ const uint8_t               *start[ROWS];
    uint8_t     *mine = memory + L::table_bytes + warp * L::warp_bytes;
    float2      *scale = reinterpret_cast<float2 *>(mine + L::stages * L::stage_bytes);
    uint32_t    *table = reinterpret_cast<uint32_t *>(memory);
    int          cols = (int)w.cols, chunks = (cols + Q::chunk - 1) / Q::chunk, stage = 0, own = threadIdx.x % 32 / 2;
    float        acc[4] = { 0, 0, 0, 0 };
    uint32_t     b[L::subs][4] = { { 0 } }; /* rows that x does not have stay zeros */
    mg_nf4_side  side = {};
    if (threadIdx.x < ROWS) start[threadIdx.x] = w.data + row_at(threadIdx.x, w) * w.row_bytes;
    __syncthreads();
#pragma unroll
    for (int s = 0; s < L::stages - 1; s++) {
        if (warp + s * warps < chunks) copy_chunk<Q>(mine + s * L::stage_bytes, start, w, warp + s * warps);
        copies_issued();
    }
    if constexpr (Q::tabled) {
        side = *w.side;
        for (int i = threadIdx.x; i < 256; i += blockDim.x) {
            uint32_t e = Q::template entry<T>(i);
            for (int k = 0; k < 8; k++) table[i * 8 + k] = e;
        }
        __syncthreads();
    }
    for (int chunk = warp; chunk < chunks; chunk += warps) {
        int      left = (cols - chunk * Q::chunk) / 32, subs = left < L::subs ? left : L::subs;
        uint8_t *now = mine + stage * L::stage_bytes;
        int      ahead = stage ? stage - 1 : L::stages - 1, next = chunk + (L::stages - 1) * warps;
        if (next < chunks) copy_chunk<Q>(mine + ahead * L::stage_bytes, start, w, next);
        copies_issued();
        if (group < n) {
            const T *at = x + group * w.cols + chunk * Q::chunk;
            if (subs == L::subs) {
#pragma unroll
                for (int sub = 0; sub < L::subs; sub++) read_x<Q, T>(b[sub], at, sub);
            } else {
#pragma unroll
                for (int sub = 0; sub < L::subs; sub++)
                    if (sub < subs) read_x<Q, T>(b[sub], at, sub);
            }
        }
        outer_scales<Q>(scale, side, row_at(own, w) * w.cols, cols, chunk);
        wait_for_copies<L::stages - 1>();
        inner_scales<Q>(scale, now, start[own], chunk, subs);
        const uint8_t *p = now + group * L::stride + ((uintptr_t)(start[group] + chunk * L::chunk_bytes) & 15);
        const uint8_t *q = now + (group + 8) * L::stride + ((uintptr_t)(start[group + 8] + chunk * L::chunk_bytes) & 15);
        if (subs == L::subs) {
#pragma unroll
            for (int sub = 0; sub < L::subs; sub++) multiply<Q, T>(acc, b[sub], p, q, scale + group * L::scales, table, sub);
        } else {
#pragma unroll
            for (int sub = 0; sub < L::subs; sub++)
                if (sub < subs) multiply<Q, T>(acc, b[sub], p, q, scale + group * L::scales, table, sub);
        }
        __syncwarp();
        stage = stage + 1 == L::stages ? 0 : stage + 1;
    }
    sums[warp][group * 8 + 2 * t] = acc[0];
    sums[warp][group * 8 + 2 * t + 1] = acc[1];
    sums[warp][(group + 8) * 8 + 2 * t] = acc[2];
    sums[warp][(group + 8) * 8 + 2 * t + 1] = acc[3];
    __syncthreads();
    for (int i = threadIdx.x; i < ROWS * n; i += blockDim.x) {
        int     r = i % ROWS, row = i / ROWS;
        int64_t col = (int64_t)blockIdx.x * ROWS + r;
        float   sum = 0;
        for (int k = 0; k < warps; k++) sum += sums[k][r * 8 + row];
        if (col < w.rows) put_output(o, row, col, w.rows, sum);
    }
}

/* Shared memory of a block: 64 KB on sm_75, 99 KB and more on all others. */
static int warps_that_fit(int table_bytes, int warp_bytes) {
    static int limit;
    if (!limit) {
        int device = 0;
        mg_cuda_check(cudaGetDevice(&device), "linear_few");
        mg_cuda_check(cudaDeviceGetAttribute(&limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, device), "linear_few");
    }
    int of_block = (int)sizeof(float) * MOST_WARPS * ROWS * 8 + (int)sizeof(void *) * ROWS; /* not of a warp */
    int fit = (limit - table_bytes - of_block) / warp_bytes;
    return fit < MOST_WARPS ? fit : MOST_WARPS;
}

template <class Q, class T> static void few_as(mg_linear_args a) {
    using L = layout<Q>;
    int64_t     chunks = (a.w.cols + Q::chunk - 1) / Q::chunk, row_bytes = a.w.cols / Q::block * Q::bytes;
    int         most = warps_that_fit(L::table_bytes, L::warp_bytes), warps = chunks < most ? (int)chunks : most;
    int         bytes = L::table_bytes + warps * L::warp_bytes;
    auto        data = static_cast<const uint8_t *>(a.w.data);
    packed_rows w = { data, data + a.w.rows * row_bytes, static_cast<const mg_nf4_side *>(a.w.side), a.w.rows, a.w.cols, (int)row_bytes };
    static bool raised;
    if (!raised) {
        mg_cuda_check(cudaFuncSetAttribute(few<Q, T>, cudaFuncAttributeMaxDynamicSharedMemorySize, L::table_bytes + most * L::warp_bytes),
                      "linear_few");
        raised = true;
    }
    few<Q, T><<<mg_blocks(a.w.rows, ROWS), 32 * warps, bytes, mg_cuda_stream>>>(
        outputs_of(a), static_cast<const T *>(a.x.data), w, (int)a.x.rows);
    MG_CUDA_LAUNCHED("linear_few");
}

/* ---- the plain way: a warp an output ---- */

template <class C, class T>
static __global__ void __launch_bounds__(32 * PLAIN_WARPS)
    few_plain(few_outputs o, const T *x, const void *data, const void *side, int64_t rows, int64_t cols, int n) {
    weight_source s = mg_open_source<C>(data, side);
    int64_t       row = (int64_t)blockIdx.x * PLAIN_WARPS + threadIdx.x / 32;
    float         sum[MG_CUDA_FEW_ROWS] = { 0 }, w[8], v[8];
    if (row >= rows) return;
    for (int64_t c = threadIdx.x % 32 * 8; c < cols; c += 256) {
        C::get(s, row * cols + c, w);
#pragma unroll
        for (int i = 0; i < MG_CUDA_FEW_ROWS; i++) {
            if (i >= n) break;
            typed<const T>{ x }.get(i * cols + c, v);
#pragma unroll
            for (int k = 0; k < 8; k++) sum[i] += w[k] * v[k];
        }
    }
#pragma unroll
    for (int i = 0; i < MG_CUDA_FEW_ROWS; i++) {
        for (int d = 16; d; d >>= 1) sum[i] += __shfl_xor_sync(0xffffffffu, sum[i], d);
        if (i < n && threadIdx.x % 32 == 0) put_output(o, i, row, rows, sum[i]);
    }
}

template <class C, class T> static void plain_as(mg_linear_args a) {
    few_plain<C, T><<<mg_blocks(a.w.rows, PLAIN_WARPS), 32 * PLAIN_WARPS, 0, mg_cuda_stream>>>(
        outputs_of(a), static_cast<const T *>(a.x.data), a.w.data, a.w.side,
        a.w.rows, a.w.cols, (int)a.x.rows);
    MG_CUDA_LAUNCHED("linear_few");
}

/* ---- the table: for x in bf16, fp16, fp32 ---- */

typedef struct few_row {
    const char      *name;
    const mg_format *format;
    void (*bf16)(mg_linear_args a);
    void (*f16)(mg_linear_args a);
    void (*f32)(mg_linear_args a);
} few_row;

#define PACKED(name, packer, codec) { #name, nullptr, few_as<packer, __nv_bfloat16>, few_as<packer, __half>, plain_as<codec, float> }
#define UNPACKED(name, codec) { #name, nullptr, plain_as<codec, __nv_bfloat16>, plain_as<codec, __half>, plain_as<codec, float> }

static few_row rows[] = {
    PACKED(f32, pack_plain<float>, unquantised<float>),
    UNPACKED(f64, unquantised<double>),
    PACKED(f16, pack_plain<__half>, unquantised<__half>),
    PACKED(bf16, pack_plain<__nv_bfloat16>, unquantised<__nv_bfloat16>),
    PACKED(q4_0, pack_q4_0, blocked<codec_q4_0>),
    PACKED(q4_1, pack_q4_1, blocked<codec_q4_1>),
    PACKED(q5_0, pack_q5_0, blocked<codec_q5_0>),
    UNPACKED(q5_1, blocked<codec_q5_1>),
    PACKED(q8_0, pack_q8_0, blocked<codec_q8_0>),
    UNPACKED(q2_k, blocked<codec_q2_k>),
    UNPACKED(q3_k, blocked<codec_q3_k>),
    PACKED(q4_k, pack_q4_k, blocked<codec_q4_k>),
    PACKED(q5_k, pack_q5_k, blocked<codec_q5_k>),
    PACKED(q6_k, pack_q6_k, blocked<codec_q6_k>),
    PACKED(nf4, pack_four_bits<true>, four_bits<true>),
    PACKED(fp4, pack_four_bits<false>, four_bits<false>),
    UNPACKED(int8, eight_bits),
};

bool mg_cuda_linear_few(mg_linear_args a) {
    few_row *r = mg_row_of(rows, a.w.format);
    int64_t  of = mg_format_is_plain(a.w.format) ? 32 : a.w.format->block;
    if (!r || a.x.rows > MG_CUDA_FEW_ROWS || a.w.cols > 1 << 24 || a.w.rows >= INT32_MAX - ROWS || a.w.cols % of || !mg_on16(a.x.data) || !mg_on16(a.w.data)) return false;
    MG_ASSERT(a.x.cols == a.w.cols && a.y.cols == a.w.rows && a.y.rows == a.x.rows);
    if (!a.x.rows || !a.w.rows) return true;
    (a.x.format == mg_cuda_bf16 ? r->bf16 : a.x.format == mg_cuda_f16 ? r->f16 : r->f32)(a);
    return true;
}
