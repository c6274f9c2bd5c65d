/* rng.c -- Philox 4x32 with ten rounds; constants as in the paper. */
#include "base/rng.h"

#include <math.h>

void mg_rng_block(mg_rng r, uint64_t i, uint32_t out[4]) {
    uint32_t c[4] = { (uint32_t)i, (uint32_t)(i >> 32), (uint32_t)r.where, (uint32_t)(r.where >> 32) };
    uint32_t k0 = (uint32_t)r.seed, k1 = (uint32_t)(r.seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * c[0], b = (uint64_t)0xCD9E8D57u * c[2];
        uint32_t next[4] = { (uint32_t)(b >> 32) ^ c[1] ^ k0, (uint32_t)b, (uint32_t)(a >> 32) ^ c[3] ^ k1,
                             (uint32_t)a };
        for (int j = 0; j < 4; j++) c[j] = next[j];
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    for (int j = 0; j < 4; j++) out[j] = c[j];
}

uint32_t mg_rng_u32(mg_rng r, uint64_t i) {
    uint32_t w[4];
    mg_rng_block(r, i / 4, w);
    return w[i % 4];
}

float mg_rng_uniform(mg_rng r, uint64_t i) { return (float)(mg_rng_u32(r, i) >> 8) * 0x1p-24f; }

float mg_rng_normal(mg_rng r, uint64_t i) {
    uint32_t w[4];
    mg_rng_block(r, i, w);
    double u = ((double)w[0] + 1) * 0x1p-32, v = (double)w[1] * 0x1p-32;
    return (float)(sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
}

void mg_rng_shuffle(mg_rng r, uint32_t *order, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) order[i] = i;
    for (uint32_t i = n; i > 1; i--) {
        /* the product of 32-bit words: bias below 2^-32 * n */
        uint32_t j = (uint32_t)((uint64_t)mg_rng_u32(r, n - i) * i >> 32);
        uint32_t t = order[i - 1];
        order[i - 1] = order[j];
        order[j] = t;
    }
}
