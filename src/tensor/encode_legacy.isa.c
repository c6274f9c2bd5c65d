/* encode_legacy.isa.c -- rounding 32 numbers to one scale and small integers.
 *
 *   q4_0, q5_0   d = the number of largest magnitude / -8 (-16): it becomes the end of the scale that
 *                the two's complement has one step more of; q = floor(x / d + 8.5)
 *   q4_1, q5_1   d = (max - min) / 15 (31), q = floor((x - min) / d + 0.5)
 *   q8_0         d = max |x| / 127, q = x / d to the nearest, halves away from zero
 *
 * The quotients use the reciprocal of d before d is rounded to half precision, as ggml
 * does (ggml_quantize_chunk without an importance matrix): blocks are equal byte for byte. */
#include "tensor/encode_isa.h"

static inline void put_half(uint8_t *to, float x) {
    uint16_t h = mg_f32_to_f16(x);
    memcpy(to, &h, 2);
}

static inline float reciprocal(float d) { return d != 0 ? 1 / d : 0; }

/* Four vectors of 8: a reduction that the compiler may not reorder by itself. */
static inline float largest_magnitude(const float *x) {
    float most[8] = { 0 }, all = 0;
    for (int i = 0; i < 32; i += 8)
        for (int k = 0; k < 8; k++) most[k] = fabsf(x[i + k]) > most[k] ? fabsf(x[i + k]) : most[k];
    for (int k = 0; k < 8; k++) all = most[k] > all ? most[k] : all;
    return all;
}

/* The number of largest magnitude, with its sign; the first of equals. */
static inline float furthest(const float *x) {
    float most = largest_magnitude(x);
    int   at = 0;
    while (at < 31 && fabsf(x[at]) != most) at++;
    return most > 0 ? x[at] : 0;
}

static inline void range(const float *x, float *low, float *high) {
    float l[8], h[8];
    for (int k = 0; k < 8; k++) l[k] = h[k] = x[k];
    for (int i = 8; i < 32; i += 8)
        for (int k = 0; k < 8; k++) {
            l[k] = x[i + k] < l[k] ? x[i + k] : l[k];
            h[k] = x[i + k] > h[k] ? x[i + k] : h[k];
        }
    *low = l[0];
    *high = h[0];
    for (int k = 1; k < 8; k++) {
        *low = l[k] < *low ? l[k] : *low;
        *high = h[k] > *high ? h[k] : *high;
    }
    /* which of 0 and -0 came first is seen in the stored minimum */
    for (int i = 0; *low == 0 && i < 32; i++)
        if (x[i] == 0) {
            *low = x[i];
            break;
        }
}

/* floor((x - from) * id + half), at most `top`; what is no number becomes 0. */
static inline void steps(uint8_t q[32], const float *x, float from, float id, float half, float top) {
    for (int i = 0; i < 32; i++) {
        float v = (x[i] - from) * id + half;
        v = v > 0 ? v : 0;
        q[i] = (uint8_t)(int)(v < top ? v : top);
    }
}

static inline void put_nibbles(uint8_t out[16], const uint8_t q[32]) {
    for (int i = 0; i < 16; i++) out[i] = (uint8_t)((q[i] & 15) | q[i + 16] << 4);
}

static inline void put_high(uint8_t out[4], const uint8_t q[32]) {
    uint32_t bits = 0;
    for (int i = 0; i < 32; i++) bits |= (uint32_t)(q[i] >> 4) << i;
    memcpy(out, &bits, 4);
}

static void q4_0(block_q4_0 *b, const float *x, int64_t blocks) {
    uint8_t q[32];
    for (; blocks--; b++, x += 32) {
        float d = furthest(x) / -8;
        put_half(b->d, d);
        steps(q, x, 0, reciprocal(d), 8.5f, 15);
        put_nibbles(b->q, q);
    }
}

static void q5_0(block_q5_0 *b, const float *x, int64_t blocks) {
    uint8_t q[32];
    for (; blocks--; b++, x += 32) {
        float d = furthest(x) / -16;
        put_half(b->d, d);
        steps(q, x, 0, reciprocal(d), 16.5f, 31);
        put_nibbles(b->q, q);
        put_high(b->high, q);
    }
}

static void q4_1(block_q4_1 *b, const float *x, int64_t blocks) {
    uint8_t q[32];
    for (; blocks--; b++, x += 32) {
        float low, high;
        range(x, &low, &high);
        float d = (high - low) / 15;
        put_half(b->d, d);
        put_half(b->m, low);
        steps(q, x, low, reciprocal(d), 0.5f, 15);
        put_nibbles(b->q, q);
    }
}

static void q5_1(block_q5_1 *b, const float *x, int64_t blocks) {
    uint8_t q[32];
    for (; blocks--; b++, x += 32) {
        float low, high;
        range(x, &low, &high);
        float d = (high - low) / 31;
        put_half(b->d, d);
        put_half(b->m, low);
        steps(q, x, low, reciprocal(d), 0.5f, 31);
        put_nibbles(b->q, q);
        put_high(b->high, q);
    }
}

static void q8_0(block_q8_0 *b, const float *x, int64_t blocks) {
    for (; blocks--; b++, x += 32) {
        float d = largest_magnitude(x) / 127, id = reciprocal(d);
        put_half(b->d, d);
        for (int i = 0; i < 32; i++) {
            float v = x[i] * id, r = to_nearest(v), off = v - r; /* exact: |v| < 2^22 */
            r += off == 0.5f && v > 0 ? 1.0f : 0.0f;
            r -= off == -0.5f && v < 0 ? 1.0f : 0.0f;
            b->q[i] = (int8_t)(int)within(r, -127, 127);
        }
    }
}

ENCODERS(legacy, .q4_0 = q4_0, .q4_1 = q4_1, .q5_0 = q5_0, .q5_1 = q5_1, .q8_0 = q8_0);
