/* gguf_k.c -- ggml's K formats: 256 elements, scales of sub-blocks quantised to 4-8 bits.
 *
 *   q2_k, q4_k, q5_k   (d * scale) * q - (m * min)
 *   q3_k, q6_k         (d * scale) * (q - 4), (d * scale) * (q - 32)
 *
 * A byte of q holds elements that are 32 (q2, q3, q4, q5) or 64 (q6) apart, so that a
 * shift of a whole vector gives neighbours.  The order of the roundings is that of ggml
 * and of the Python package gguf: values are equal bit for bit. */
#include "tensor/encode.h"

static inline void q2_k_block(float *restrict out, const block_q2_k *restrict b) {
    float d = half_at(b->d), m = half_at(b->m);
    for (int sub = 0; sub < 16; sub++) {
        const uint8_t *q = b->q + 32 * (sub / 8) + 16 * (sub % 2);
        int            shift = sub / 2 % 4 * 2;
        float          scale = d * (float)(b->scale[sub] & 15);
        float          min = m * (float)(b->scale[sub] >> 4);
        for (int i = 0; i < 16; i++) out[16 * sub + i] = scale * (float)(q[i] >> shift & 3) - min;
    }
}

static inline void q3_k_block(float *restrict out, const block_q3_k *restrict b) {
    float  d = half_at(b->d);
    int8_t scales[16];
    unpack_scales_k3(b->scale, scales);
    for (int sub = 0; sub < 16; sub++) {
        const uint8_t *q = b->q + 32 * (sub / 8) + 16 * (sub % 2);
        const uint8_t *high = b->high + 16 * (sub % 2);
        int            shift = sub / 2 % 4 * 2, bit = sub / 2;
        float          scale = d * (float)scales[sub];
        for (int i = 0; i < 16; i++)
            out[16 * sub + i] = scale * (float)((q[i] >> shift & 3) + (high[i] >> bit & 1) * 4 - 4);
    }
}

static inline void q4_k_block(float *restrict out, const block_q4_k *restrict b) {
    float   d = half_at(b->d), m = half_at(b->m);
    uint8_t scales[8], mins[8];
    unpack_scales_k4(b->scale, scales, mins);
    for (int sub = 0; sub < 8; sub++) {
        const uint8_t *q = b->q + 32 * (sub / 2);
        int            shift = sub % 2 * 4;
        float          scale = d * (float)scales[sub], min = m * (float)mins[sub];
        for (int i = 0; i < 32; i++) out[32 * sub + i] = scale * (float)(q[i] >> shift & 15) - min;
    }
}

static inline void q5_k_block(float *restrict out, const block_q5_k *restrict b) {
    float   d = half_at(b->d), m = half_at(b->m);
    uint8_t scales[8], mins[8];
    unpack_scales_k4(b->scale, scales, mins);
    for (int sub = 0; sub < 8; sub++) {
        const uint8_t *q = b->q + 32 * (sub / 2);
        int            shift = sub % 2 * 4;
        float          scale = d * (float)scales[sub], min = m * (float)mins[sub];
        for (int i = 0; i < 32; i++)
            out[32 * sub + i] = scale * (float)((q[i] >> shift & 15) + (b->high[i] >> sub & 1) * 16) - min;
    }
}

static inline void q6_k_block(float *restrict out, const block_q6_k *restrict b) {
    float d = half_at(b->d);
    for (int sub = 0; sub < 16; sub++) {
        const uint8_t *q = b->q + 64 * (sub / 8) + 16 * (sub % 4);
        const uint8_t *high = b->high + 32 * (sub / 8) + 16 * (sub % 2);
        int            shift = sub / 4 % 2 * 4, high_shift = sub / 2 % 4 * 2;
        float          scale = d * (float)b->scale[sub];
        for (int i = 0; i < 16; i++)
            out[16 * sub + i] = scale * (float)((q[i] >> shift & 15) + (high[i] >> high_shift & 3) * 16 - 32);
    }
}

/* The loop over blocks and the row of the table, the same for all. */
#define K_FORMAT(x, type, encoder)                                                                          \
    static void x##_decode(float *restrict out, const void *restrict data, const void *side, int64_t first, \
                           int64_t n) {                                                                     \
        const block_##x *b = (const block_##x *)data + first / 256;                                         \
        (void)side;                                                                                         \
        for (int64_t i = 0; i < n / 256; i++) x##_block(out + 256 * i, b + i);                              \
    }                                                                                                       \
    const mg_format mg_format_##x = {                                                                       \
        .name = #x, .block = 256, .block_bytes = sizeof(block_##x), .gguf_type = type, .decode = x##_decode, \
        .encode = encoder                                                                                   \
    };

K_FORMAT(q2_k, 10, NULL)
K_FORMAT(q3_k, 11, NULL)
K_FORMAT(q4_k, 12, mg_q4_k_encode)
K_FORMAT(q5_k, 13, mg_q5_k_encode)
K_FORMAT(q6_k, 14, mg_q6_k_encode)
