/* encode_nf4.isa.c -- the nearest of sixteen values, for 64 weights at a time. */
#include "tensor/encode_isa.h"

enum { NF4_STEP = 64 };

/* The codes of 64 weights.  The table is the outer loop, so that the inner one is a vector. */
static inline void encode_step(const float table[16], bool two_zeros, const float *restrict w, float inverse,
                               uint8_t *restrict packed) {
    float   x[NF4_STEP], best[NF4_STEP];
    int32_t code[NF4_STEP];
    for (int i = 0; i < NF4_STEP; i++) {
        float scaled = w[i] * inverse;
        scaled = scaled > 1 ? 1 : scaled;
        x[i] = scaled < -1 ? -1 : scaled;
        best[i] = fabsf(x[i] - table[0]);
        code[i] = 0;
    }
    for (int k = 1; k < 16; k++)
        for (int i = 0; i < NF4_STEP; i++) {
            float distance = fabsf(x[i] - table[k]);
            code[i] = distance < best[i] ? k : code[i];
            best[i] = distance < best[i] ? distance : best[i];
        }
    if (two_zeros)
        for (int i = 0; i < NF4_STEP; i++) code[i] = code[i] == 0 && x[i] > 0 ? 8 : code[i];
    for (int i = 0; i < NF4_STEP / 2; i++) packed[i] = (uint8_t)(code[2 * i] << 4 | code[2 * i + 1]);
}

static void encode(uint8_t *packed, const float *w, int64_t steps, float inverse, const float table[16], bool two_zeros) {
    for (int64_t i = 0; i < steps; i++) encode_step(table, two_zeros, w + i * NF4_STEP, inverse, packed + i * NF4_STEP / 2);
}

/* n is a multiple of 16; a maximum does not depend on the order.  A NaN is passed over. */
static float find_max(const float *w, int64_t n) {
    float most[16] = { 0 }, all = 0;
    for (int64_t i = 0; i < n; i += 16)
        for (int k = 0; k < 16; k++) most[k] = fabsf(w[i + k]) > most[k] ? fabsf(w[i + k]) : most[k];
    for (int k = 0; k < 16; k++) all = most[k] > all ? most[k] : all;
    return all;
}

ENCODERS(nf4, .four_bits = encode, .absmax = find_max);
