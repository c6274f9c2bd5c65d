/* batch.c -- order, packing and accumulation.
 *
 * Packing is first fit: each sample, in order, goes into the first open micro-batch that has room.  Only the last
 * few micro-batches are open, so the plan is made in one pass and a sample never moves far from its place in the
 * order. */
#include "data/batch.h"
#include "base/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SITE_ORDER = 0x0bd, SITE_PART = 0x0be, OPEN_BINS = 32 };

void mg_epoch_free(mg_epoch *e) {
    free(e->order);
    free(e->micro_start);
    *e = (mg_epoch){ 0 };
}

/* The micro-batch of each sample of `order`, in bin[]; how many there are. */
static size_t first_fit(const mg_dataset *d, const uint32_t *order, size_t n, int64_t budget, uint32_t *bin) {
    int64_t room[OPEN_BINS] = { 0 };
    size_t  open = 0, n_bins = 0; /* bins [open, n_bins) are open, bin b keeps its room at b % OPEN_BINS */
    for (size_t i = 0; i < n; i++) {
        int64_t size = d->sample[order[i]].n;
        size_t  b = open;
        while (b < n_bins && room[b % OPEN_BINS] < size) b++;
        if (b == n_bins) {
            if (n_bins - open == OPEN_BINS) open++;
            room[n_bins++ % OPEN_BINS] = budget;
        }
        room[b % OPEN_BINS] -= size;
        bin[i] = (uint32_t)b;
    }
    return n_bins;
}

/* Sort `order` by bin, keeping the order within one (counting sort); starts into start[n_bins + 1]. */
static void by_bin(uint32_t *order, const uint32_t *bin, size_t n, uint32_t *start, size_t n_bins,
                   uint32_t *spare) {
    memset(start, 0, (n_bins + 1) * sizeof *start);
    for (size_t i = 0; i < n; i++) start[bin[i] + 1]++;
    for (size_t b = 0; b < n_bins; b++) start[b + 1] += start[b];
    for (size_t i = 0; i < n; i++) spare[start[bin[i]]++] = order[i];
    memcpy(order, spare, n * sizeof *order);
    for (size_t b = n_bins; b > 0; b--) start[b] = start[b - 1]; /* the counters ran on to the next start */
    start[0] = 0;
}

static mg_status check(const mg_dataset *d, const mg_batch_options *o, mg_error *err) {
    if (o->batch_size < 1 || o->gradient_accumulation_steps < 0)
        return mg_fail(err, MG_CONFIG, "batch size %d and accumulation %d; both are at least 1",
                       (int)o->batch_size, (int)o->gradient_accumulation_steps);
    if (!(o->part >= 0 && o->part <= 1)) return mg_fail(err, MG_CONFIG, "%g is no part of the data; wanted is above 0 to 1", o->part);
    if (o->packing && o->max_length < 1)
        return mg_fail(err, MG_CONFIG, "packing needs max_length, the tokens of a row; set it");
    if (d->n > UINT32_MAX - 1) return mg_fail(err, MG_UNSUPPORTED, "%zu samples in one epoch", d->n);
    return MG_OK;
}

/* Leave in order[n] the samples that are among the first `part` of them in one order for all epochs; how many stay. */
static size_t take_part(uint32_t *order, size_t n, const mg_batch_options *o, uint32_t *place, uint32_t *spare) {
    size_t kept = 0, wanted = (size_t)ceil(o->part * (double)n);
    mg_rng_shuffle((mg_rng){ o->seed, mg_rng_where(0, 0, SITE_PART) }, spare, (uint32_t)n);
    for (size_t i = 0; i < n; i++) place[spare[i]] = (uint32_t)i;
    for (size_t i = 0; i < n; i++)
        if (place[order[i]] < wanted) order[kept++] = order[i];
    return kept;
}

mg_status mg_plan_epoch(mg_epoch *out, const mg_dataset *d, const mg_batch_options *o, uint64_t epoch,
                        mg_error *err) {
    mg_status st = check(d, o, err);
    if (st) return st;
    size_t    n = d->n;
    mg_epoch  e = { .n = n, .accumulation = o->gradient_accumulation_steps ? o->gradient_accumulation_steps : 1 };
    uint32_t *work = mg_calloc(n + 1, 2 * sizeof *work);
    e.order = mg_calloc(n + 1, sizeof *e.order);
    e.micro_start = mg_calloc(n + 2, sizeof *e.micro_start);
    if (!work || !e.order || !e.micro_start) {
        st = mg_fail(err, MG_NOMEM, "no memory to plan %zu samples", n);
        goto done;
    }
    if (o->shuffle)
        mg_rng_shuffle((mg_rng){ o->seed, mg_rng_where(epoch, 0, SITE_ORDER) }, e.order, (uint32_t)n);
    else
        for (size_t i = 0; i < n; i++) e.order[i] = (uint32_t)i;
    if (o->part > 0 && o->part < 1) e.n = n = take_part(e.order, n, o, work, work + n);
    if (o->packing) {
        e.n_micro = first_fit(d, e.order, n, (int64_t)o->batch_size * o->max_length, work);
        by_bin(e.order, work, n, e.micro_start, e.n_micro, work + n);
    } else {
        size_t size = (size_t)o->batch_size;
        e.n_micro = (n + size - 1) / size;
        for (size_t b = 0; b <= e.n_micro; b++) e.micro_start[b] = (uint32_t)(b * size < n ? b * size : n);
    }
    e.n_steps = (e.n_micro + (size_t)e.accumulation - 1) / (size_t)e.accumulation;
done:
    free(work);
    if (st)
        mg_epoch_free(&e);
    else
        *out = e;
    return st;
}

void mg_epoch_step(const mg_epoch *e, size_t step, size_t *first, size_t *n) {
    MG_ASSERT(step < e->n_steps);
    *first = step * (size_t)e->accumulation;
    *n = e->n_micro - *first < (size_t)e->accumulation ? e->n_micro - *first : (size_t)e->accumulation;
}

int64_t mg_epoch_labels(const mg_epoch *e, const mg_dataset *d, size_t step) {
    size_t  first, n;
    int64_t labels = 0;
    mg_epoch_step(e, step, &first, &n);
    for (size_t i = e->micro_start[first]; i < e->micro_start[first + n]; i++)
        labels += d->sample[e->order[i]].n_labels;
    return labels;
}

/* ---- mixtures ---- */

enum { SITE_SHARE = 0x0c0, SITE_MIX = 0x0bf };

/* Samples of the share at places first .. first+n-1 of the endless row of its shuffled passes, into order[n]. */
static bool draw_share(const mg_portion *s, uint32_t number, const mg_batch_options *o, uint64_t first, size_t n, uint32_t *order) {
    size_t    kept = o->part > 0 && o->part < 1 ? (size_t)ceil(o->part * (double)s->n) : s->n;
    uint32_t *subset = mg_calloc(2 * s->n + 1, sizeof *subset), *pass = subset ? subset + s->n : NULL;
    uint64_t  at = UINT64_MAX;
    MG_ASSERT(kept > 0);
    if (!subset) return false;
    for (size_t i = 0; i < s->n; i++) subset[i] = (uint32_t)i;
    if (kept < s->n) mg_rng_shuffle((mg_rng){ o->seed, mg_rng_where(0, number, SITE_PART) }, subset, (uint32_t)s->n);
    for (size_t i = 0; i < n; i++) {
        uint64_t round = (first + i) / kept;
        if (round != at && o->shuffle) mg_rng_shuffle((mg_rng){ o->seed, mg_rng_where(round, number, SITE_SHARE) }, pass, (uint32_t)kept);
        at = round;
        size_t k = (size_t)((first + i) % kept);
        order[i] = (uint32_t)s->first + subset[o->shuffle ? pass[k] : k];
    }
    free(subset);
    return true;
}

/* Micro-batches of order[n], in bins; how many. */
static size_t bin_share(const mg_dataset *d, uint32_t *order, size_t n, const mg_batch_options *o, uint32_t *start, uint32_t *work) {
    if (o->packing) {
        size_t bins = first_fit(d, order, n, (int64_t)o->batch_size * o->max_length, work);
        by_bin(order, work, n, start, bins, work + n);
        return bins;
    }
    size_t size = (size_t)o->batch_size, bins = (n + size - 1) / size;
    for (size_t b = 0; b <= bins; b++) start[b] = (uint32_t)(b * size < n ? b * size : n);
    return bins;
}

typedef struct mixed { uint32_t first, n; double place; } mixed;
static int by_place(const void *a, const void *b) {
    const mixed *x = a, *y = b;
    return x->place < y->place ? -1 : x->place > y->place ? 1 : x->first < y->first ? -1 : x->first > y->first;
}

/* Micro-batches in their new order. */
static void lay_out(mg_epoch *e, const uint32_t *drawn, mixed *m, size_t n, const mg_batch_options *o, uint64_t epoch, uint32_t *work) {
    if (o->shuffle) {
        mg_rng_shuffle((mg_rng){ o->seed, mg_rng_where(epoch, 0, SITE_MIX) }, work, (uint32_t)n);
        for (size_t i = 0; i < n; i++) m[work[i]].place = (double)i;
    }
    qsort(m, n, sizeof *m, by_place);
    for (size_t i = 0, at = 0; i < n; i++) {
        memcpy(e->order + at, drawn + m[i].first, m[i].n * sizeof *drawn);
        e->micro_start[i] = (uint32_t)at;
        at += m[i].n;
        e->micro_start[i + 1] = (uint32_t)at;
    }
}

static size_t share_of(const mg_portion *s, double samples) {
    double n = floor(s->part * samples + 0.5);
    return n < 1 ? 1 : (size_t)n;
}

mg_status mg_plan_mixture(mg_epoch *out, const mg_dataset *d, const mg_portion *share, size_t n_shares, const mg_batch_options *o, uint64_t epoch,
                          mg_error *err) {
    mg_status st = check(d, o, err);
    if (st) return st;
    double samples = (double)d->n * (o->part > 0 && o->part < 1 ? o->part : 1);
    size_t total = 0, at = 0, n_micro = 0;
    for (size_t s = 0; s < n_shares; s++) total += share_of(&share[s], samples);
    mg_epoch  e = { .n = total, .accumulation = o->gradient_accumulation_steps ? o->gradient_accumulation_steps : 1 };
    uint32_t *drawn = mg_calloc(total + 1, sizeof *drawn), *work = mg_calloc(2 * total + 2, sizeof *work), *start = mg_calloc(total + 2, sizeof *start);
    mixed    *m = mg_calloc(total + 1, sizeof *m);
    e.order = mg_calloc(total + 1, sizeof *e.order);
    e.micro_start = mg_calloc(total + 2, sizeof *e.micro_start);
    bool ok = drawn && work && start && m && e.order && e.micro_start;
    for (size_t s = 0; ok && s < n_shares; s++) {
        size_t n = share_of(&share[s], samples);
        ok = draw_share(&share[s], (uint32_t)s, o, epoch * n, n, drawn + at);
        size_t bins = ok ? bin_share(d, drawn + at, n, o, start, work) : 0;
        for (size_t b = 0; b < bins; b++) /* without shuffling every share is spread evenly */
            m[n_micro++] = (mixed){ (uint32_t)at + start[b], start[b + 1] - start[b], ((double)b + 0.5) / (double)bins };
        at += n;
    }
    if (ok) {
        lay_out(&e, drawn, m, n_micro, o, epoch, work);
        e.n_micro = n_micro;
        e.n_steps = (n_micro + (size_t)e.accumulation - 1) / (size_t)e.accumulation;
    } else
        st = mg_fail(err, MG_NOMEM, "no memory to plan %zu samples", total);
    free(drawn);
    free(work);
    free(start);
    free(m);
    if (st)
        mg_epoch_free(&e);
    else
        *out = e;
    return st;
}
