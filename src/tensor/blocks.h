/* blocks.h -- byte layouts of ggml's quantised blocks, private to the decoders.
 *
 * Only byte arrays, so that a block may lie at any address of a mapped file and
 * sizeof is the size in the file.  Half-precision numbers are little endian.
 * `value = scale * q` for the types ending in _0, q3_k and q6_k,
 * `value = scale * q + min` (or - min) for the others.  The K types have 256
 * elements in sub-blocks of 16 or 32 whose scales are themselves quantised.
 * Source: github.com/ggml-org/ggml src/ggml-common.h. */
#ifndef MG_TENSOR_BLOCKS_H
#define MG_TENSOR_BLOCKS_H

#include "tensor/format.h"

#include <string.h>

typedef struct {
    uint8_t d[2], q[16];
} block_q4_0; /* q: element i low, i + 16 high nibble */
typedef struct {
    uint8_t d[2], m[2], q[16];
} block_q4_1;
typedef struct {
    uint8_t d[2], high[4], q[16];
} block_q5_0; /* high: bit i is the 5th bit of element i */
typedef struct {
    uint8_t d[2], m[2], high[4], q[16];
} block_q5_1;
typedef struct {
    uint8_t d[2];
    int8_t  q[32];
} block_q8_0;
typedef struct {
    uint8_t scale[16], q[64], d[2], m[2];
} block_q2_k; /* scale: low nibble scale, high nibble min */
typedef struct {
    uint8_t high[32], q[64], scale[12], d[2];
} block_q3_k;
typedef struct {
    uint8_t d[2], m[2], scale[12], q[128];
} block_q4_k;
typedef struct {
    uint8_t d[2], m[2], scale[12], high[32], q[128];
} block_q5_k;
typedef struct {
    uint8_t q[128], high[64];
    int8_t  scale[16];
    uint8_t d[2];
} block_q6_k;

_Static_assert(sizeof(block_q4_0) == 18 && sizeof(block_q4_1) == 20 && sizeof(block_q5_0) == 22 &&
                   sizeof(block_q5_1) == 24 && sizeof(block_q8_0) == 34,
               "block layout");
_Static_assert(sizeof(block_q2_k) == 84 && sizeof(block_q3_k) == 110 && sizeof(block_q4_k) == 144 &&
                   sizeof(block_q5_k) == 176 && sizeof(block_q6_k) == 210,
               "block layout");

static inline float half_at(const uint8_t *p) { return mg_f16_to_f32((uint16_t)(p[0] | p[1] << 8)); }

/* Four bytes at once; shifts move bits over byte borders, and the masks drop those. */
static inline uint32_t word_at(const uint8_t *p) {
    uint32_t w;
    memcpy(&w, p, 4);
    return w;
}

/* The eight 6-bit scales and mins of q4_k and q5_k.  Bytes 0-3 and 4-7 hold those of
 * sub-blocks 0-3 in their low six bits; 4-7 are put together from the nibbles of
 * bytes 8-11 and the two high bits left over. */
static inline void unpack_scales_k4(const uint8_t s[12], uint8_t scale[8], uint8_t min[8]) {
    uint32_t a = word_at(s), b = word_at(s + 4), c = word_at(s + 8);
    uint32_t scales[2] = { a & 0x3f3f3f3f, (c & 0x0f0f0f0f) | (a >> 2 & 0x30303030) };
    uint32_t mins[2] = { b & 0x3f3f3f3f, (c >> 4 & 0x0f0f0f0f) | (b >> 2 & 0x30303030) };
    memcpy(scale, scales, 8);
    memcpy(min, mins, 8);
}

/* The sixteen 6-bit scales of q3_k, -32..31: nibbles in bytes 0-7 (low ones first), the
 * two high bits in bytes 8-11. */
static inline void unpack_scales_k3(const uint8_t s[12], int8_t scale[16]) {
    uint32_t a = word_at(s), b = word_at(s + 4), c = word_at(s + 8);
    uint32_t scales[4] = {
        (a & 0x0f0f0f0f) | (c << 4 & 0x30303030),
        (b & 0x0f0f0f0f) | (c << 2 & 0x30303030),
        (a >> 4 & 0x0f0f0f0f) | (c & 0x30303030),
        (b >> 4 & 0x0f0f0f0f) | (c >> 2 & 0x30303030),
    };
    memcpy(scale, scales, 16);
    for (int i = 0; i < 16; i++) scale[i] = (int8_t)(scale[i] - 32);
}

#endif
