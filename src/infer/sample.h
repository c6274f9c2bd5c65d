/* sample.h -- the next token out of the logits.
 *
 * The order of things is that of transformers: repetition penalty (Keskar et al. 2019), temperature, top-k,
 * top-p (Holtzman et al. 2020), min-p (Nguyen et al. 2024), then one draw.  The draw is a pure function of
 * seed and position, so a text can be had again, whatever else is generated beside it. */
#ifndef MG_INFER_SAMPLE_H
#define MG_INFER_SAMPLE_H

#include "base/mem.h"

typedef struct mg_sampling {
    double   temperature;        /* 0: the most likely token, always */
    int64_t  top_k;              /* 0: all */
    double   top_p;              /* 1: all */
    double   min_p;              /* 0: all; relative to the most likely token */
    double   repetition_penalty; /* 1: none */
    uint64_t seed;
} mg_sampling;

/* Greedy, everything else off. */
mg_sampling mg_sampling_greedy(void);

typedef struct mg_candidate {
    float   logit;
    int32_t id;
} mg_candidate;

/* Work memory for one vocabulary. */
typedef struct mg_sampler {
    int64_t       vocab;
    mg_candidate *heap; /* [vocab] */
    uint32_t     *seen; /* [vocab] mark of the call that met the token last */
    uint32_t      mark;
} mg_sampler;

mg_status mg_sampler_open(mg_sampler *s, int64_t vocab, mg_error *err);
void      mg_sampler_close(mg_sampler *s);

/* Divide positive logits of the tokens in ids by `penalty`, multiply negative ones; each token once. */
void mg_sampler_penalize(mg_sampler *s, float *logit, double penalty, const int32_t *ids, size_t n);
/* A new set of met tokens begins: mg_sampler_penalize adds to it. */
void mg_sampler_begin(mg_sampler *s);

/* The token for `position`; -1 when no logit is finite.  `logit` [vocab] is only read. */
int32_t mg_sampler_choose(mg_sampler *s, const float *logit, const mg_sampling *o, int64_t position);

#endif
