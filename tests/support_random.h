/* support_random.h -- random numbers and shapes for tests: the same ones in every run.
 * Sizes favour what breaks kernels: 1, odd, and the neighbours of multiples of tiles. */
#ifndef MG_TESTS_SUPPORT_RANDOM_H
#define MG_TESTS_SUPPORT_RANDOM_H

#include "base/rng.h"

typedef struct support_random {
    mg_rng   stream;
    uint64_t next;
} support_random;

static inline support_random random_of(uint64_t seed) { return (support_random){ { seed, 0 }, 0 }; }

static inline uint32_t random_bits(support_random *r) { return mg_rng_u32(r->stream, r->next++); }

static inline double random_normal(support_random *r) { return (double)mg_rng_normal(r->stream, r->next++); }

/* lowest .. highest, both possible */
static inline int random_int(support_random *r, int lowest, int highest) {
    return lowest + (int)(random_bits(r) % (uint32_t)(highest - lowest + 1));
}

/* 1 .. most */
static inline int random_size(support_random *r, int most) {
    int kind = random_int(r, 0, 7), n = random_int(r, 1, most);
    if (kind == 0) n = 1;
    if (kind == 1) n |= 1;
    if (kind == 2) n = (n + 7) / 8 * 8 + random_int(r, -1, 1);
    if (kind == 3) n = (n + 15) / 16 * 16 + random_int(r, -1, 1);
    return n < 1 ? 1 : n > most ? most : n;
}

#endif
