/* sample.c -- candidates in descending order, as many of them as are needed.
 *
 * A heap gives the largest logits one by one, so a draw costs one pass over the vocabulary and a few pops,
 * not a sort of 262,144 numbers.  Popped candidates lie at the end of the heap's own array, the largest
 * last.  Equal logits come in the order of their ids: the result does not depend on the heap. */
#include "infer/sample.h"

#include "base/rng.h"

#include <math.h>
#include <stdlib.h>

enum { SAMPLING_SITE = 0xffd }; /* a stream of random numbers that no layer has */

mg_sampling mg_sampling_greedy(void) { return (mg_sampling){ .top_p = 1, .repetition_penalty = 1 }; }

mg_status mg_sampler_open(mg_sampler *s, int64_t vocab, mg_error *err) {
    mg_sampler made = { .vocab = vocab };
    made.heap = mg_calloc((size_t)vocab, sizeof *made.heap);
    made.seen = mg_calloc((size_t)vocab, sizeof *made.seen);
    if (!made.heap || !made.seen) {
        mg_sampler_close(&made);
        return mg_fail(err, MG_NOMEM, "no memory to choose among %lld tokens", (long long)vocab);
    }
    *s = made;
    return MG_OK;
}

void mg_sampler_close(mg_sampler *s) {
    free(s->heap);
    free(s->seen);
    *s = (mg_sampler){ 0 };
}

void mg_sampler_begin(mg_sampler *s) { s->mark++; }

void mg_sampler_penalize(mg_sampler *s, float *logit, double penalty, const int32_t *ids, size_t n) {
    for (size_t i = 0; i < n; i++) {
        int32_t id = ids[i];
        if (id < 0 || id >= s->vocab || s->seen[id] == s->mark) continue;
        s->seen[id] = s->mark;
        logit[id] = (float)(logit[id] < 0 ? logit[id] * penalty : logit[id] / penalty);
    }
}

static int32_t largest(const float *logit, int64_t n) {
    int64_t best = -1;
    for (int64_t i = 0; i < n; i++)
        if (isfinite(logit[i]) && (best < 0 || logit[i] > logit[best])) best = i;
    return (int32_t)best;
}

/* ---- the heap ---- */

static bool before(mg_candidate a, mg_candidate b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

static void sift_down(mg_candidate *h, int64_t n, int64_t i) {
    mg_candidate c = h[i];
    for (int64_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && before(h[child + 1], h[child])) child++;
        if (!before(h[child], c)) break;
        h[i] = h[child];
    }
    h[i] = c;
}

typedef struct {
    mg_candidate *h;
    int64_t       n, popped; /* candidates in all, and of these in order at the end */
    double        top, temperature;
} order;

/* Finite logits as a heap; *mass = sum of their weights. */
static order order_of(mg_sampler *s, const float *logit, int32_t top, double temperature, double *mass) {
    order o = { .h = s->heap, .top = (double)logit[top], .temperature = temperature };
    *mass = 0;
    for (int64_t i = 0; i < s->vocab; i++) {
        if (!isfinite(logit[i])) continue;
        o.h[o.n++] = (mg_candidate){ logit[i], (int32_t)i };
        *mass += exp(((double)logit[i] - o.top) / temperature);
    }
    for (int64_t i = o.n / 2 - 1; i >= 0; i--) sift_down(o.h, o.n, i);
    return o;
}

/* The candidate of rank i < n. */
static mg_candidate ranked(order *o, int64_t i) {
    while (o->popped <= i) {
        int64_t      end = o->n - 1 - o->popped++;
        mg_candidate first = o->h[0];
        o->h[0] = o->h[end];
        o->h[end] = first;
        sift_down(o->h, end, 0);
    }
    return o->h[o->n - 1 - i];
}

/* e^((logit - largest) / temperature): 1 for the most likely token. */
static double weight(order *o, int64_t i) { return exp(((double)ranked(o, i).logit - o->top) / o->temperature); }

/* In [0, 1), with all 53 bits of a double. */
static double uniform(uint64_t seed, int64_t position) {
    uint32_t word[4];
    mg_rng_block((mg_rng){ seed, mg_rng_where(0, 0, SAMPLING_SITE) }, (uint64_t)position, word);
    return (double)((uint64_t)word[0] << 21 | word[1] >> 11) * 0x1p-53;
}

/* How many candidates top-p and min-p leave, and their mass.  A candidate stays while those before it hold
 * less than top_p of `mass`; the first one always does. */
static int64_t cut(order *o, const mg_sampling *s, int64_t n, double *mass) {
    double  limit = s->top_p * *mass, sum = 0;
    int64_t kept = 0;
    if (s->top_p >= 1 && s->min_p <= 0) return n;
    for (; kept < n; kept++) {
        double w = weight(o, kept);
        if (kept && (sum >= limit || w < s->min_p)) break;
        sum += w;
    }
    *mass = sum;
    return kept;
}

int32_t mg_sampler_choose(mg_sampler *s, const float *logit, const mg_sampling *o, int64_t position) {
    int32_t top = largest(logit, s->vocab);
    if (top < 0 || o->temperature <= 0) return top;
    double  mass;
    order   all = order_of(s, logit, top, o->temperature, &mass);
    int64_t n = all.n;
    if (o->top_k > 0 && o->top_k < n) {
        n = o->top_k;
        mass = 0;
        for (int64_t i = 0; i < n; i++) mass += weight(&all, i);
    }
    n = cut(&all, o, n, &mass);
    double target = uniform(o->seed, position) * mass, sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += weight(&all, i);
        if (sum > target) return ranked(&all, i).id;
    }
    return top; /* rounding left the target at the very end */
}
