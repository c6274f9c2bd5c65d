/* decode.c -- storage formats to fp32 and bf16 with AVX2 or AVX-512.
 *
 * Compiled once an instruction set: MG_ISA is base, v3 or v4 and ends the names of the two
 * functions.  Codes are brought into the bytes of a 256-bit register, which is the same for
 * both sets; then 16 codes at a time are widened, scaled and stored.  "Sixteen floats" is
 * one register for v4 and two for v3.  A block function is written once for both outputs:
 * `half` is a constant wherever it is inlined.
 *
 * Nibbles that go to bf16 take a shorter way: a block of them has only 16 different values,
 * so that those are computed and rounded, and the rest is a look-up by byte shuffle.
 *
 * Products and sums are rounded one by one, never fused: the results have the bits of the
 * plain decoders in tensor/, which the base set uses as they are.  Compile without
 * -ffast-math and with -ffp-contract=off. */
#include "backend/cpu/decode.h"

#include "tensor/nf4.h"

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
#define ISA_NAME(x) JOIN(x, MG_ISA)

typedef struct {
    const mg_format  *format;
    mg_decode_fn      fp32;
    mg_decode_bf16_fn bf16;
} decode_row;

/* ---- any format, by way of the plain decoder ---- */

enum { CHUNK = 256 }; /* a multiple of every block */

static void round_chunk(uint16_t *restrict out, const float *restrict in, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = mg_f32_to_bf16(in[i]);
}

#define FORMAT(x)                                                                                       \
    static void x##_bf16(uint16_t *out, const void *data, const void *side, int64_t first, int64_t n) { \
        float chunk[CHUNK];                                                                             \
        for (int64_t i = 0; i < n; i += CHUNK) {                                                        \
            int64_t step = n - i < CHUNK ? n - i : CHUNK;                                               \
            mg_format_##x.decode(chunk, data, side, first + i, step);                                   \
            round_chunk(out + i, chunk, step);                                                          \
        }                                                                                               \
    }
#include "tensor/formats.def"
#undef FORMAT

static const struct {
    const mg_format  *format;
    mg_decode_bf16_fn bf16;
} plain_rows[] = {
#define FORMAT(x) { &mg_format_##x, x##_bf16 },
#include "tensor/formats.def"
#undef FORMAT
};

#ifdef __AVX2__

#include "tensor/blocks.h"

#include <immintrin.h>

/* ---- sixteen floats ---- */

#ifdef __AVX512F__

typedef __m512       floats;
static inline floats fill(float x) { return _mm512_set1_ps(x); }
static inline floats halves(float x, float y) {
    return _mm512_insertf32x8(_mm512_set1_ps(x), _mm256_set1_ps(y), 1);
}
static inline floats times(floats a, floats b) { return _mm512_mul_ps(a, b); }
static inline floats plus(floats a, floats b) { return _mm512_add_ps(a, b); }
static inline floats minus(floats a, floats b) { return _mm512_sub_ps(a, b); }
static inline floats load(const float *p) { return _mm512_loadu_ps(p); }
static inline void   store(float *p, floats a) { _mm512_storeu_ps(p, a); }
static inline floats from_i8(__m128i q) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(q)); }
static inline floats from_f16(__m256i h) { return _mm512_cvtph_ps(h); }
static inline floats from_bf16(__m256i h) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

static inline __m256i to_bf16(floats a) {
    __m512i u = _mm512_castps_si512(a);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
    __m512i quiet = _mm512_or_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(0x40));
    return _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), quiet));
}

/* table[code] for 16 codes of 0..15. */
static inline floats look_up(floats table, __m128i code) {
    return _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(code), table);
}

/* Is a look-up shorter than converting, scaling and adding? */
enum { SHORT_LOOK_UP = 1 };

/* Byte i of the result is 16 where bit i is set. */
static inline __m256i bits_to_16(uint32_t bits) { return _mm256_maskz_set1_epi8(bits, 16); }

#else

typedef struct {
    __m256 a, b;
} floats;
static inline floats fill(float x) { return (floats){ _mm256_set1_ps(x), _mm256_set1_ps(x) }; }
static inline floats halves(float x, float y) { return (floats){ _mm256_set1_ps(x), _mm256_set1_ps(y) }; }
static inline floats times(floats x, floats y) {
    return (floats){ _mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b) };
}
static inline floats plus(floats x, floats y) {
    return (floats){ _mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b) };
}
static inline floats minus(floats x, floats y) {
    return (floats){ _mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b) };
}
static inline floats load(const float *p) { return (floats){ _mm256_loadu_ps(p), _mm256_loadu_ps(p + 8) }; }
static inline void   store(float *p, floats x) {
      _mm256_storeu_ps(p, x.a);
      _mm256_storeu_ps(p + 8, x.b);
}
static inline floats from_i8(__m128i q) {
    return (floats){ _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q)),
                     _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(q, q))) };
}
static inline floats from_f16(__m256i h) {
    return (floats){ _mm256_cvtph_ps(_mm256_castsi256_si128(h)), _mm256_cvtph_ps(_mm256_extracti128_si256(h, 1)) };
}
static inline __m256 from_bf16_8(__m128i h) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}
static inline floats from_bf16(__m256i h) {
    return (floats){ from_bf16_8(_mm256_castsi256_si128(h)), from_bf16_8(_mm256_extracti128_si256(h, 1)) };
}

static inline __m256i to_bf16_8(__m256 a) {
    __m256i u = _mm256_castps_si256(a);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
    __m256i quiet = _mm256_or_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(0x40));
    return _mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q)));
}
/* packus works within 128-bit lanes: the permutation puts the four quarters in order. */
static inline __m256i to_bf16(floats x) {
    return _mm256_permute4x64_epi64(_mm256_packus_epi32(to_bf16_8(x.a), to_bf16_8(x.b)), 0xd8);
}

/* A register holds half a table; bit 3 of the code chooses. */
enum { SHORT_LOOK_UP = 0 };
static inline __m256 look_up_8(floats table, __m128i code) {
    __m256i i = _mm256_cvtepu8_epi32(code);
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(table.a, i), _mm256_permutevar8x32_ps(table.b, i),
                            _mm256_castsi256_ps(_mm256_slli_epi32(i, 28)));
}
static inline floats look_up(floats table, __m128i code) {
    return (floats){ look_up_8(table, code), look_up_8(table, _mm_unpackhi_epi64(code, code)) };
}

/* Four times eight copies of a byte, of which each keeps another bit. */
static inline __m256i bits_to_16(uint32_t bits) {
    const __m256i spread = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201u);
    __m256i       on = _mm256_shuffle_epi8(_mm256_set1_epi32((int)bits), spread);
    return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(on, bit), bit), _mm256_set1_epi8(16));
}

#endif

/* ---- storing, and bytes of codes ---- */

/* Elements at, at + 1, ... of the output, which is bf16 or fp32. */
static inline void put(void *out, int64_t at, floats x, bool half) {
    if (half)
        _mm256_storeu_si256((__m256i *)(void *)((uint16_t *)out + at), to_bf16(x));
    else
        store((float *)out + at, x);
}

static inline __m128i low16(__m256i q) { return _mm256_castsi256_si128(q); }
static inline __m128i high16(__m256i q) { return _mm256_extracti128_si256(q, 1); }
static inline __m128i load16(const void *p) { return _mm_loadu_si128(p); }
static inline __m256i load32(const void *p) { return _mm256_loadu_si256(p); }
static inline float   half_float(const uint8_t *p) { return _cvtsh_ss((unsigned short)(p[0] | p[1] << 8)); }

/* scale * q, and scale * q + min, of 32 codes. */
static inline void put_scaled(void *out, int64_t at, __m256i q, float scale, bool half) {
    put(out, at, times(fill(scale), from_i8(low16(q))), half);
    put(out, at + 16, times(fill(scale), from_i8(high16(q))), half);
}
static inline void put_raised(void *out, int64_t at, __m256i q, float scale, float min, bool half) {
    put(out, at, plus(times(fill(scale), from_i8(low16(q))), fill(min)), half);
    put(out, at + 16, plus(times(fill(scale), from_i8(high16(q))), fill(min)), half);
}

/* Bytes shifted and masked; 16-bit shifts do, because the mask drops what comes from the neighbour. */
static inline __m256i right(__m256i q, int by, int mask) {
    return _mm256_and_si256(_mm256_srli_epi16(q, by), _mm256_set1_epi8((char)mask));
}
static inline __m256i left(__m256i q, int by, int mask) {
    return _mm256_and_si256(_mm256_slli_epi16(q, by), _mm256_set1_epi8((char)mask));
}
static inline __m256i shifted(__m256i q, int right_by, int mask) { /* to the left when negative */
    return right_by >= 0 ? right(q, right_by, mask) : left(q, -right_by, mask);
}

/* Low nibbles in the lower half, high nibbles in the upper one. */
static inline __m256i split_nibbles(__m128i q) {
    return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(q, 4), q), _mm256_set1_epi8(15));
}

/* ---- tables of sixteen values, for 4-bit codes ---- */

static inline floats counting(void) {
    static const float count[16] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };
    return load(count);
}

/* A table rounded to bf16, its low and high bytes apart, twice for the two lanes. */
typedef struct {
    __m256i low, high;
} half_table;

static inline half_table halves_of(floats table) {
    __m256i h = to_bf16(table);
    __m256i low = _mm256_and_si256(h, _mm256_set1_epi16(0xff)), high = _mm256_srli_epi16(h, 8);
    return (half_table){ _mm256_permute4x64_epi64(_mm256_packus_epi16(low, low), 0x88),
                         _mm256_permute4x64_epi64(_mm256_packus_epi16(high, high), 0x88) };
}

static inline void put_halves(uint16_t *out, int64_t at, __m256i code, half_table t) {
    __m256i low = _mm256_shuffle_epi8(t.low, code), high = _mm256_shuffle_epi8(t.high, code);
    __m256i even = _mm256_unpacklo_epi8(low, high), odd = _mm256_unpackhi_epi8(low, high);
    _mm256_storeu_si256((__m256i *)(void *)(out + at), _mm256_permute2x128_si256(even, odd, 0x20));
    _mm256_storeu_si256((__m256i *)(void *)(out + at + 16), _mm256_permute2x128_si256(even, odd, 0x31));
}

static inline void put_nibbles(void *out, int64_t at, __m256i code, floats table, bool half) {
    if (half) {
        put_halves(out, at, code, halves_of(table));
    } else {
        put(out, at, look_up(table, low16(code)), false);
        put(out, at + 16, look_up(table, high16(code)), false);
    }
}

/* ---- blocks of 32 ---- */

static inline void q4_0_block(void *out, int64_t at, const block_q4_0 *b, bool half) {
    float   d = half_float(b->d);
    __m256i q = split_nibbles(load16(b->q));
    if (half || SHORT_LOOK_UP)
        put_nibbles(out, at, q, times(fill(d), minus(counting(), fill(8))), half);
    else
        put_scaled(out, at, _mm256_sub_epi8(q, _mm256_set1_epi8(8)), d, false);
}

/* scale code + min of 32 codes of 0..15 */
static inline void put_line(void *out, int64_t at, __m256i q, float scale, float min, bool half) {
    if (half || SHORT_LOOK_UP)
        put_nibbles(out, at, q, plus(times(fill(scale), counting()), fill(min)), half);
    else
        put_raised(out, at, q, scale, min, false);
}

static inline void q4_1_block(void *out, int64_t at, const block_q4_1 *b, bool half) {
    put_line(out, at, split_nibbles(load16(b->q)), half_float(b->d), half_float(b->m), half);
}

static inline void q5_0_block(void *out, int64_t at, const block_q5_0 *b, bool half) {
    __m256i q = _mm256_or_si256(split_nibbles(load16(b->q)), bits_to_16(word_at(b->high)));
    put_scaled(out, at, _mm256_sub_epi8(q, _mm256_set1_epi8(16)), half_float(b->d), half);
}

static inline void q5_1_block(void *out, int64_t at, const block_q5_1 *b, bool half) {
    __m256i q = _mm256_or_si256(split_nibbles(load16(b->q)), bits_to_16(word_at(b->high)));
    put_raised(out, at, q, half_float(b->d), half_float(b->m), half);
}

static inline void q8_0_block(void *out, int64_t at, const block_q8_0 *b, bool half) {
    put_scaled(out, at, load32(b->q), half_float(b->d), half);
}

/* ---- blocks of 256 ---- */

/* Two sub-blocks of 16 with scales of their own; the min of q2_k is taken away. */
static inline void put_pair(void *out, int64_t at, __m256i q, const float scale[2], bool half) {
    put(out, at, times(fill(scale[0]), from_i8(low16(q))), half);
    put(out, at + 16, times(fill(scale[1]), from_i8(high16(q))), half);
}
static inline void put_lowered_pair(void *out, int64_t at, __m256i q, const float scale[2], const float min[2],
                                    bool half) {
    put(out, at, minus(times(fill(scale[0]), from_i8(low16(q))), fill(min[0])), half);
    put(out, at + 16, minus(times(fill(scale[1]), from_i8(high16(q))), fill(min[1])), half);
}

static inline void q2_k_block(void *out, int64_t at, const block_q2_k *b, bool half) {
    float   scale[16], min[16];
    __m128i s = load16(b->scale), nibble = _mm_set1_epi8(15);
    store(scale, times(fill(half_float(b->d)), from_i8(_mm_and_si128(s, nibble))));
    store(min, times(fill(half_float(b->m)), from_i8(_mm_and_si128(_mm_srli_epi16(s, 4), nibble))));
#pragma GCC unroll 8
    for (int pair = 0; pair < 8; pair++)
        put_lowered_pair(out, at + 32 * pair, right(load32(b->q + 32 * (pair / 4)), pair % 4 * 2, 3),
                         scale + 2 * pair, min + 2 * pair, half);
}

static inline void q3_k_block(void *out, int64_t at, const block_q3_k *b, bool half) {
    float   scale[16];
    int8_t  scales[16];
    __m256i high = load32(b->high);
    unpack_scales_k3(b->scale, scales);
    store(scale, times(fill(half_float(b->d)), from_i8(load16(scales))));
#pragma GCC unroll 8
    for (int pair = 0; pair < 8; pair++) {
        __m256i q = right(load32(b->q + 32 * (pair / 4)), pair % 4 * 2, 3);
        q = _mm256_or_si256(q, shifted(high, pair - 2, 4));
        put_pair(out, at + 32 * pair, _mm256_sub_epi8(q, _mm256_set1_epi8(4)), scale + 2 * pair, half);
    }
}

/* The scales and mins of the eight sub-blocks of q4_k and q5_k; mins stand in the upper half. */
static inline void scales_k4(float scale[16], const uint8_t packed[12], const uint8_t d[2], const uint8_t m[2]) {
    uint8_t bytes[16];
    unpack_scales_k4(packed, bytes, bytes + 8);
    store(scale, times(halves(half_float(d), half_float(m)), from_i8(load16(bytes))));
}

static inline void q4_k_block(void *out, int64_t at, const block_q4_k *b, bool half) {
    float scale[16];
    scales_k4(scale, b->scale, b->d, b->m);
#pragma GCC unroll 8
    for (int sub = 0; sub < 8; sub++) {
        __m256i q = right(load32(b->q + 32 * (sub / 2)), sub % 2 * 4, 15);
        put_line(out, at + 32 * sub, q, scale[sub], -scale[sub + 8], half);
    }
}

static inline void q5_k_block(void *out, int64_t at, const block_q5_k *b, bool half) {
    float   scale[16];
    __m256i high = load32(b->high);
    scales_k4(scale, b->scale, b->d, b->m);
#pragma GCC unroll 8
    for (int sub = 0; sub < 8; sub++) {
        __m256i q = right(load32(b->q + 32 * (sub / 2)), sub % 2 * 4, 15);
        float   both[4] = { scale[sub], scale[sub], scale[sub + 8], scale[sub + 8] };
        q = _mm256_or_si256(q, shifted(high, sub - 4, 16));
        put_lowered_pair(out, at + 32 * sub, q, both, both + 2, half);
    }
}

static inline void q6_k_block(void *out, int64_t at, const block_q6_k *b, bool half) {
    float scale[16];
    store(scale, times(fill(half_float(b->d)), from_i8(load16(b->scale))));
#pragma GCC unroll 8
    for (int pair = 0; pair < 8; pair++) {
        int     part = pair / 4, row = pair % 4; /* 128 elements, of which row holds 32 */
        __m256i q = right(load32(b->q + 64 * part + 32 * (row % 2)), row / 2 * 4, 15);
        q = _mm256_or_si256(q, shifted(load32(b->high + 32 * part), 2 * row - 4, 0x30));
        put_pair(out, at + 32 * pair, _mm256_sub_epi8(q, _mm256_set1_epi8(32)), scale + 2 * pair, half);
    }
}

/* ---- nf4 and fp4: the table is the format's, the scale is in the side table ---- */

static inline float block_scale(const mg_nf4_side *s, int64_t block) {
    if (s->absmax) return s->absmax[block];
    return s->nested_code[s->absmax_code[block]] * s->nested_absmax[block / 256] + s->offset;
}

/* The sixteen values of a format, which its plain decoder gives for the codes 0..15. */
static inline floats code_table(const mg_format *format) {
    static const float one = 1;
    float              values[64];
    uint8_t            codes[32] = { 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef };
    mg_nf4_side        side = { .block = 64, .absmax = &one };
    format->decode(values, codes, &side, 0, 64);
    return load(values);
}

static inline void decode_4bit(const mg_format *format, void *out, const void *data, const mg_nf4_side *side,
                               int64_t first, int64_t n, bool half) {
    floats codes = code_table(format);
    for (int64_t i = 0; i < n; i += 64) {
        floats  table = times(codes, fill(block_scale(side, (first + i) / side->block)));
        __m256i q = load32((const uint8_t *)data + (first + i) / 2);
        __m256i early = right(q, 4, 15), late = right(q, 0, 15);
        __m256i a = _mm256_unpacklo_epi8(early, late), b = _mm256_unpackhi_epi8(early, late);
        put_nibbles(out, i, _mm256_permute2x128_si256(a, b, 0x20), table, half);
        put_nibbles(out, i + 32, _mm256_permute2x128_si256(a, b, 0x31), table, half);
    }
}

/* ---- int8: a scale a row ---- */

static inline void decode_int8(void *out, const int8_t *data, const mg_nf4_side *side, int64_t first, int64_t n, bool half) {
    for (int64_t i = 0; i < n;) { /* rows and pieces of them are multiples of 32 */
        int64_t row = (first + i) / side->block, end = (row + 1) * side->block - first;
        float   scale = side->absmax[row] * (1.0f / 127);
        for (end = end < n ? end : n; i < end; i += 32) put_scaled(out, i, load32((const uint8_t *)data + first + i), scale, half);
    }
}

/* ---- halves ---- */

static inline void decode_halves(floats (*widen)(__m256i), void *out, const char *in, int64_t n, bool half) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) put(out, i, widen(load32(in + 2 * i)), half);
    if (i == n) return;
    uint16_t last[16] = { 0 }; /* fewer than sixteen: through a block of its own, on both sides */
    float    values[16];
    size_t   size = half ? 2 : 4;
    memcpy(last, in + 2 * i, (size_t)(n - i) * 2);
    put(values, 0, widen(load32(last)), half);
    memcpy((char *)out + (size_t)i * size, values, (size_t)(n - i) * size);
}

/* ---- the functions of the table: two for each format, from one body ---- */

#define BOTH(x, BODY)                                                                                           \
    static void x##_to_fp32(float *restrict out, const void *restrict data, const void *side, int64_t first,    \
                            int64_t n) {                                                                        \
        (void)side;                                                                                             \
        BODY(x, false)                                                                                          \
    }                                                                                                           \
    static void x##_to_bf16(uint16_t *restrict out, const void *restrict data, const void *side, int64_t first, \
                            int64_t n) {                                                                        \
        (void)side;                                                                                             \
        BODY(x, true)                                                                                           \
    }
#define BLOCKS(x, half)                                                                          \
    const block_##x *b = (const block_##x *)data + first / mg_format_##x.block;                  \
    const int64_t    block = sizeof(block_##x) < 40 ? 32 : 256; /* a constant to the compiler */ \
    for (int64_t i = 0; i < n / block; i++) x##_block(out, block *i, b + i, half);
#define CODES(x, half) decode_4bit(&mg_format_##x, out, data, side, first, n, half);
#define BYTES(x, half)  decode_int8(out, data, side, first, n, half);
#define HALVES(x, half) decode_halves(from_##x, out, (const char *)data + 2 * first, n, half);

BOTH(q4_0, BLOCKS)
BOTH(q4_1, BLOCKS)
BOTH(q5_0, BLOCKS)
BOTH(q5_1, BLOCKS)
BOTH(q8_0, BLOCKS)
BOTH(q2_k, BLOCKS)
BOTH(q3_k, BLOCKS)
BOTH(q4_k, BLOCKS)
BOTH(q5_k, BLOCKS)
BOTH(q6_k, BLOCKS)
BOTH(nf4, CODES)
BOTH(fp4, CODES)
BOTH(int8, BYTES)
BOTH(f16, HALVES)
BOTH(bf16, HALVES)

#define ROW(x) \
    { &mg_format_##x, x##_to_fp32, x##_to_bf16 }
static const decode_row fast_rows[] = {
    ROW(q4_0), ROW(q4_1), ROW(q5_0), ROW(q5_1), ROW(q8_0), ROW(q2_k), ROW(q3_k),
    ROW(q4_k), ROW(q5_k), ROW(q6_k), ROW(nf4),  ROW(fp4),  ROW(int8), ROW(f16),  ROW(bf16),
};
enum { N_FAST = sizeof fast_rows / sizeof *fast_rows };

#else

static const decode_row fast_rows[1];
enum { N_FAST = 0 };

#endif

mg_decode_fn ISA_NAME(mg_cpu_decode)(const mg_format *f) {
    for (int i = 0; i < N_FAST; i++)
        if (fast_rows[i].format == f) return fast_rows[i].fp32;
    return f->decode;
}

mg_decode_bf16_fn ISA_NAME(mg_cpu_decode_bf16)(const mg_format *f) {
    for (int i = 0; i < N_FAST; i++)
        if (fast_rows[i].format == f) return fast_rows[i].bf16;
    for (size_t i = 0; i < sizeof plain_rows / sizeof *plain_rows; i++)
        if (plain_rows[i].format == f) return plain_rows[i].bf16;
    return NULL;
}
