/* codec.h -- eight neighbouring weights of each storage format, as device code.
 *
 * The values are those of the plain decoders in tensor/, bit for bit: products and sums are rounded one by
 * one (__fmul_rn and the like are never contracted to a fused multiply-add).  Eight is a divisor of every
 * block and sub-block, so eight weights share one scale.
 *
 * Layouts: tensor/blocks.h, tensor/nf4.h.  Blocks are read in words of `align` bytes, the largest power of
 * two that their size is a multiple of; the first block lies on 16 bytes. */
#ifndef MG_BACKEND_CUDA_CODEC_H
#define MG_BACKEND_CUDA_CODEC_H

#include "backend/cuda/vec.h"
extern "C" {
#include "tensor/nf4.h"
}

#include <string.h>

/* Where the weights are: data, the side table, the codes' values in shared memory.  `before`: weights of the tensor
 * that stand before data. */
struct weight_source {
    const uint8_t *data;
    int64_t        before;
    mg_nf4_side    side;
    const float   *table;
};

template <int ALIGN> static __device__ __forceinline__ uint32_t mg_word(const uint8_t *p) {
    if (ALIGN >= 4) return *reinterpret_cast<const uint32_t *>(p);
    const uint16_t *h = reinterpret_cast<const uint16_t *>(p);
    return h[0] | (uint32_t)h[1] << 16;
}

static __device__ __forceinline__ float mg_half_at(const uint8_t *p) {
    return __half2float(*reinterpret_cast<const __half *>(p));
}

/* v[k] = scale * (q_k - bias), q_k = byte k of the two words: as the fraction of 2^23, from which 2^23 is taken away. */
static __device__ __forceinline__ void mg_scaled(float (&v)[8], const uint32_t (&q)[2], int bias, float scale) {
#pragma unroll
    for (int k = 0; k < 8; k++) {
        float raised = __uint_as_float(__byte_perm(q[k / 4], 0x4B000000u, 0x7440 | k % 4));
        v[k] = __fmul_rn(scale, raised - (float)(8388608 + bias));
    }
}
static __device__ __forceinline__ void mg_shifted(float (&v)[8], float min) {
#pragma unroll
    for (int k = 0; k < 8; k++) v[k] = __fadd_rn(v[k], min);
}

/* ---- 32 elements: low nibbles are elements 0-15 ---- */

template <int ALIGN> static __device__ __forceinline__ void mg_nibbles(uint32_t (&q)[2], const uint8_t *p, int shift) {
    q[0] = mg_word<ALIGN>(p) >> shift & 0x0f0f0f0fu;
    q[1] = mg_word<ALIGN>(p + 4) >> shift & 0x0f0f0f0fu;
}
/* bit k of `bits` becomes bit 4 of byte k */
static __device__ __forceinline__ void mg_fifth_bits(uint32_t (&q)[2], uint32_t bits) {
    q[0] |= (bits << 4 & 0x10u) | (bits << 11 & 0x1000u) | (bits << 18 & 0x100000u) | (bits << 25 & 0x10000000u);
    bits >>= 4;
    q[1] |= (bits << 4 & 0x10u) | (bits << 11 & 0x1000u) | (bits << 18 & 0x100000u) | (bits << 25 & 0x10000000u);
}

struct codec_q4_0 {
    static constexpr int block = 32, bytes = 18;
    static __device__ __forceinline__ void eight(const uint8_t *b, int at, float (&v)[8]) {
        uint32_t q[2];
        mg_nibbles<2>(q, b + 2 + at % 16, at / 16 * 4);
        mg_scaled(v, q, 8, mg_half_at(b));
    }
};
struct codec_q4_1 {
    static constexpr int block = 32, bytes = 20;
    static __device__ __forceinline__ void eight(const uint8_t *b, int at, float (&v)[8]) {
        uint32_t q[2];
        mg_nibbles<4>(q, b + 4 + at % 16, at / 16 * 4);
        mg_scaled(v, q, 0, mg_half_at(b));
        mg_shifted(v, mg_half_at(b + 2));
    }
};
struct codec_q5_0 {
    static constexpr int block = 32, bytes = 22;
    static __device__ __forceinline__ void eight(const uint8_t *b, int at, float (&v)[8]) {
        uint32_t q[2];
        mg_nibbles<2>(q, b + 6 + at % 16, at / 16 * 4);
        mg_fifth_bits(q, b[2 + at / 8]);
        mg_scaled(v, q, 16, mg_half_at(b));
    }
};
struct codec_q5_1 {
    static constexpr int block = 32, bytes = 24;
    static __device__ __forceinline__ void eight(const uint8_t *b, int at, float (&v)[8]) {
        uint32_t q[2];
        mg_nibbles<4>(q, b + 8 + at % 16, at / 16 * 4);
        mg_fifth_bits(q, b[4 + at / 8]);
        mg_scaled(v, q, 0, mg_half_at(b));
        mg_shifted(v, mg_half_at(b + 2));
    }
};
struct codec_q8_0 {
    static constexpr int block = 32, bytes = 34;
    static __device__ __forceinline__ void eight(const uint8_t *b, int at, float (&v)[8]) {
        uint32_t q[2] = { mg_word<2>(b + 2 + at) ^ 0x80808080u, mg_word<2>(b + 6 + at) ^ 0x80808080u };
        mg_scaled(v, q, 128, mg_half_at(b));
    }
};

/* ---- 256 elements ---- */

struct codec_q2_k {
    static constexpr int block = 256, bytes = 84;
    static __device__ __forceinline__ void eight(const uint8_t *b, int at, float (&v)[8]) {
        int            sub = at / 16, shift = sub / 2 % 4 * 2;
        const uint8_t *p = b + 16 + 32 * (sub / 8) + at % 32;
        uint32_t       q[2] = { mg_word<4>(p) >> shift & 0x03030303u, mg_word<4>(p + 4) >> shift & 0x03030303u };
        uint32_t       scale = b[sub];
        mg_scaled(v, q, 0, __fmul_rn(mg_half_at(b + 80), (float)(scale & 15)));
        mg_shifted(v, -__fmul_rn(mg_half_at(b + 82), (float)(scale >> 4)));
    }
};
struct codec_q3_k {
    static constexpr int block = 256, bytes = 110;
    static __device__ __forceinline__ void eight(const uint8_t *b, int at, float (&v)[8]) {
        int            sub = at / 16, shift = sub / 2 % 4 * 2, bit = sub / 2;
        const uint8_t *p = b + 32 + 32 * (sub / 8) + at % 32, *h = b + at % 32;
        uint32_t       q[2];
#pragma unroll
        for (int k = 0; k < 2; k++)
            q[k] = (mg_word<2>(p + 4 * k) >> shift & 0x03030303u) | (mg_word<2>(h + 4 * k) >> bit & 0x01010101u) << 2;
        uint32_t scale = (b[96 + sub % 8] >> (sub / 8 * 4) & 15) | (b[104 + sub % 4] >> (sub / 4 * 2) & 3) << 4;
        mg_scaled(v, q, 4, __fmul_rn(mg_half_at(b + 108), (float)((int)scale - 32)));
    }
};

/* The 6-bit scale and min of sub-block `sub` of q4_k and q5_k. */
static __device__ __forceinline__ void mg_scale_k4(const uint8_t *s, int sub, uint32_t *scale, uint32_t *min) {
    if (sub < 4) {
        *scale = s[sub] & 63;
        *min = s[sub + 4] & 63;
    } else {
        *scale = (s[sub + 4] & 15) | s[sub - 4] >> 6 << 4;
        *min = s[sub + 4] >> 4 | s[sub] >> 6 << 4;
    }
}

struct codec_q4_k {
    static constexpr int block = 256, bytes = 144;
    static __device__ __forceinline__ void eight(const uint8_t *b, int at, float (&v)[8]) {
        int      sub = at / 32;
        uint32_t q[2], scale, min;
        mg_nibbles<4>(q, b + 16 + 32 * (sub / 2) + at % 32, sub % 2 * 4);
        mg_scale_k4(b + 4, sub, &scale, &min);
        mg_scaled(v, q, 0, __fmul_rn(mg_half_at(b), (float)scale));
        mg_shifted(v, -__fmul_rn(mg_half_at(b + 2), (float)min));
    }
};
struct codec_q5_k {
    static constexpr int block = 256, bytes = 176;
    static __device__ __forceinline__ void eight(const uint8_t *b, int at, float (&v)[8]) {
        int      sub = at / 32;
        uint32_t q[2], scale, min;
        mg_nibbles<4>(q, b + 48 + 32 * (sub / 2) + at % 32, sub % 2 * 4);
#pragma unroll
        for (int k = 0; k < 2; k++) q[k] |= (mg_word<4>(b + 16 + at % 32 + 4 * k) >> sub & 0x01010101u) << 4;
        mg_scale_k4(b + 4, sub, &scale, &min);
        mg_scaled(v, q, 0, __fmul_rn(mg_half_at(b), (float)scale));
        mg_shifted(v, -__fmul_rn(mg_half_at(b + 2), (float)min));
    }
};
struct codec_q6_k {
    static constexpr int block = 256, bytes = 210;
    static __device__ __forceinline__ void eight(const uint8_t *b, int at, float (&v)[8]) {
        int            sub = at / 16, shift = sub / 2 % 4 * 2;
        const uint8_t *h = b + 128 + 32 * (sub / 8) + at % 32;
        uint32_t       q[2];
        mg_nibbles<2>(q, b + 64 * (sub / 8) + at % 64, sub / 4 % 2 * 4);
#pragma unroll
        for (int k = 0; k < 2; k++) q[k] |= (mg_word<2>(h + 4 * k) >> shift & 0x03030303u) << 4;
        mg_scaled(v, q, 32, __fmul_rn(mg_half_at(b + 208), (float)(int8_t)b[192 + sub]));
    }
};

/* ---- sources: a codec over a whole tensor ---- */

template <class B> struct blocked {
    static constexpr bool plain = false, tabled = false;
    static constexpr int  block = B::block, bytes = B::bytes;
    static __device__ __forceinline__ float entry(int) { return 0; }
    template <class I> static __device__ __forceinline__ void get(const weight_source &s, I first, float (&v)[8]) {
        B::eight(s.data + first / B::block * B::bytes, (int)(first % B::block), v);
    }
};

/* Quantiles of the normal distribution, scaled to [-1, 1] (QLoRA, arXiv 2305.14314, appendix E). */
static __device__ const float mg_nf4_values[16] = {
    -1.0f,         -0.696192801f, -0.525073051f, -0.394917488f, -0.284441382f, -0.18477343f, -0.0910500363f, 0.0f,
    0.0795802996f, 0.160930201f,  0.246112302f,  0.337915242f,  0.44070983f,   0.562617004f, 0.722956836f,   1.0f,
};
/* Sign, two bits of exponent, one of fraction, over 12. */
static __device__ const float mg_fp4_values[16] = {
    0.0f, 0.0625f / 12,  8.0f / 12,  12.0f / 12,  4.0f / 12,  6.0f / 12,  2.0f / 12,  3.0f / 12,
    0.0f, -0.0625f / 12, -8.0f / 12, -12.0f / 12, -4.0f / 12, -6.0f / 12, -2.0f / 12, -3.0f / 12,
};

/* The absolute maximum of the block of element `first`.  __ldg says that the arrays lie in global memory: nvcc 13.0
 * took one of the struct's pointers for one to shared memory, because another of its source's pointers is. */
static __device__ __forceinline__ float mg_absmax(const mg_nf4_side &side, int64_t first) {
    int64_t block = side.block == 64 ? first >> 6 : first >> 7;
    if (side.absmax) return __ldg(side.absmax + block);
    float code = __ldg(side.nested_code + __ldg(side.absmax_code + block));
    return __fadd_rn(__fmul_rn(code, __ldg(side.nested_absmax + (block >> 8))), side.offset);
}

template <bool NF4> struct four_bits {
    static constexpr bool plain = false, tabled = true;
    static constexpr int  block = 64, bytes = 32;
    static __device__ __forceinline__ float entry(int i) { return NF4 ? mg_nf4_values[i] : mg_fp4_values[i]; }
    template <class I> static __device__ __forceinline__ void get(const weight_source &s, I first, float (&v)[8]) {
        uint32_t q = *reinterpret_cast<const uint32_t *>(s.data + first / 2);
        float    scale = mg_absmax(s.side, s.before + first);
#pragma unroll
        for (int k = 0; k < 8; k++) v[k] = __fmul_rn(s.table[q >> (k / 2 * 8 + (k % 2 ? 0 : 4)) & 15], scale);
    }
};

/* int8: a scale a row, in the side table of the 4-bit formats. */
struct eight_bits {
    static constexpr bool plain = false, tabled = true;
    static constexpr int  block = 32, bytes = 32;
    static __device__ __forceinline__ float entry(int) { return 0; }
    template <class I> static __device__ __forceinline__ void get(const weight_source &s, I first, float (&v)[8]) {
        const int8_t *q = reinterpret_cast<const int8_t *>(s.data) + first;
        float         scale = __fmul_rn(__ldg(s.side.absmax + (s.before + first) / s.side.block), 1.0f / 127);
#pragma unroll
        for (int k = 0; k < 8; k++) v[k] = __fmul_rn((float)q[k], scale);
    }
};

template <class T> struct unquantised {
    static constexpr bool plain = true, tabled = false;
    static constexpr int  block = 1, bytes = sizeof(T);
    static __device__ __forceinline__ float entry(int) { return 0; }
    template <class I, int W> static __device__ __forceinline__ void get(const weight_source &s, I first, float (&v)[W]) {
        typed<const T>{ reinterpret_cast<const T *>(s.data) }.get(first, v);
    }
};
template <> struct unquantised<double> {
    static constexpr bool plain = true, tabled = false;
    static constexpr int  block = 1, bytes = 8;
    static __device__ __forceinline__ float entry(int) { return 0; }
    template <class I, int W> static __device__ __forceinline__ void get(const weight_source &s, I first, float (&v)[W]) {
#pragma unroll
        for (int k = 0; k < W; k++) v[k] = (float)reinterpret_cast<const double *>(s.data)[first + k];
    }
};

/* The source from weight `before` on, a multiple of its block.  Every thread of the block must call. */
template <class C>
static __device__ __forceinline__ weight_source mg_open_source(const void *data, const void *side, int64_t before = 0) {
    __shared__ float table[16];
    weight_source    s = {};
    s.data = static_cast<const uint8_t *>(data) + before / C::block * C::bytes;
    s.before = before;
    s.table = table;
    if (C::tabled) {
        s.side = *static_cast<const mg_nf4_side *>(side);
        if (threadIdx.x < 16) table[threadIdx.x] = C::entry(threadIdx.x);
        __syncthreads();
    }
    return s;
}

/* ---- tables with a row for each storage format ---- */

/* The row of a format, NULL when there is none.  The formats' table lies in the program: their names are
 * compared once, then their addresses. */
template <class Row, size_t N> static Row *mg_row_of(Row (&rows)[N], const mg_format *f) {
    for (Row &r : rows)
        if (r.format == f) return &r;
    for (Row &r : rows)
        if (!strcmp(r.name, f->name)) {
            r.format = f;
            return &r;
        }
    return nullptr;
}

#endif
