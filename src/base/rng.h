/* rng.h -- random numbers as a pure function of where they are needed.
 *
 * Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
 * SC 2011): a block cipher over a counter.  Nothing has a state, so nothing is
 * lost on resume, and a checkpointed block that runs again draws the same
 * dropout mask.  Streams are named by (seed, step, layer, site). */
#ifndef MG_BASE_RNG_H
#define MG_BASE_RNG_H

#include <stdint.h>

typedef struct mg_rng {
    uint64_t seed;  /* the run's seed */
    uint64_t where; /* which stream: mg_rng_where(step, layer, site) */
} mg_rng;

/* layer < 2^12, site < 2^12, step < 2^40. */
static inline uint64_t mg_rng_where(uint64_t step, uint32_t layer, uint32_t site) {
    return step << 24 | (uint64_t)(layer & 0xfff) << 12 | (site & 0xfff);
}

/* Four independent words for position `i` of the stream. */
void     mg_rng_block(mg_rng r, uint64_t i, uint32_t out[4]);
uint32_t mg_rng_u32(mg_rng r, uint64_t i);
float    mg_rng_uniform(mg_rng r, uint64_t i); /* in [0, 1) */
float    mg_rng_normal(mg_rng r, uint64_t i);  /* Box-Muller */
/* Shuffle 0..n-1 (Fisher-Yates); `order` has n entries. */
void mg_rng_shuffle(mg_rng r, uint32_t *order, uint32_t n);

#endif
