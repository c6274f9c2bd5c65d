/* gguf_legacy.c -- ggml's first generation of block formats, 32 elements each.
 *
 *   q4_0, q5_0   d * (q - 8), d * (q - 16)      q4_1, q5_1   d * q + m      q8_0   d * q
 *
 * with half-precision d and m.  Low nibbles are elements 0-15, high nibbles 16-31.
 * Products and sums are rounded one by one (no fused multiply-add), so the values are
 * those of ggml and of the Python package gguf, bit for bit.  Inner loops have a fixed
 * length and no branch, so that the compiler turns them into vectors. */
#include "tensor/encode.h"

static inline void q4_0_block(float *restrict out, const block_q4_0 *restrict b) {
    float d = half_at(b->d);
    for (int i = 0; i < 16; i++) out[i] = d * (float)((b->q[i] & 15) - 8);
    for (int i = 0; i < 16; i++) out[i + 16] = d * (float)((b->q[i] >> 4) - 8);
}

static inline void q4_1_block(float *restrict out, const block_q4_1 *restrict b) {
    float d = half_at(b->d), m = half_at(b->m);
    for (int i = 0; i < 16; i++) out[i] = d * (float)(b->q[i] & 15) + m;
    for (int i = 0; i < 16; i++) out[i + 16] = d * (float)(b->q[i] >> 4) + m;
}

static inline uint32_t high_bits(const uint8_t p[4]) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline void q5_0_block(float *restrict out, const block_q5_0 *restrict b) {
    float    d = half_at(b->d);
    uint32_t high = high_bits(b->high);
    for (int i = 0; i < 16; i++) out[i] = d * (float)((int)((b->q[i] & 15) | (high >> i & 1) << 4) - 16);
    for (int i = 0; i < 16; i++) out[i + 16] = d * (float)((int)(b->q[i] >> 4 | (high >> (i + 16) & 1) << 4) - 16);
}

static inline void q5_1_block(float *restrict out, const block_q5_1 *restrict b) {
    float    d = half_at(b->d), m = half_at(b->m);
    uint32_t high = high_bits(b->high);
    for (int i = 0; i < 16; i++) out[i] = d * (float)(int)((b->q[i] & 15) | (high >> i & 1) << 4) + m;
    for (int i = 0; i < 16; i++) out[i + 16] = d * (float)(int)(b->q[i] >> 4 | (high >> (i + 16) & 1) << 4) + m;
}

static inline void q8_0_block(float *restrict out, const block_q8_0 *restrict b) {
    float d = half_at(b->d);
    for (int i = 0; i < 32; i++) out[i] = (float)b->q[i] * d;
}

/* The loop over blocks and the row of the table, the same for all. */
#define LEGACY(x, type)                                                                                     \
    static void x##_decode(float *restrict out, const void *restrict data, const void *side, int64_t first, \
                           int64_t n) {                                                                     \
        const block_##x *b = (const block_##x *)data + first / 32;                                          \
        (void)side;                                                                                         \
        for (int64_t i = 0; i < n / 32; i++) x##_block(out + 32 * i, b + i);                                \
    }                                                                                                       \
    const mg_format mg_format_##x = {                                                                       \
        .name = #x, .block = 32, .block_bytes = sizeof(block_##x), .gguf_type = type, .decode = x##_decode, \
        .encode = mg_##x##_encode                                                                           \
    };

LEGACY(q4_0, 2)
LEGACY(q4_1, 3)
LEGACY(q5_0, 6)
LEGACY(q5_1, 7)
LEGACY(q8_0, 8)
