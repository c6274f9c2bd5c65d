/* split.c -- put samples aside for validation, the same ones for the same seed. */
#include "data/dataset.h"
#include "base/rng.h"

#include <math.h>
#include <stdlib.h>

enum { SITE_SPLIT = 0x5b1 }; /* names the stream of random numbers */

static void count(mg_dataset *d) {
    d->tokens = d->labelled = 0;
    for (size_t i = 0; i < d->n; i++) {
        d->tokens += d->sample[i].n;
        d->labelled += d->sample[i].n_labels;
    }
}

mg_status mg_dataset_split(mg_dataset *d, double part, uint64_t seed, mg_dataset *valid, mg_error *err) {
    double wanted = part < 1 ? floor(part * (double)d->n + 0.5) : floor(part);
    if (!(part >= 0) || !(wanted < (double)d->n))
        return mg_fail(err, MG_CONFIG, "%g of %zu samples for validation leaves none to train on; lower val_size",
                       part, d->n);
    if (part > 0 && wanted < 1) wanted = d->n > 1;
    size_t     k = (size_t)wanted, kept = 0;
    mg_dataset v = { .form = d->form, .encoding = d->encoding };
    uint32_t  *order = mg_calloc(d->n + 1, sizeof *order);
    bool      *chosen = mg_calloc(d->n + 1, sizeof *chosen);
    v.sample = mg_calloc(k ? k : 1, sizeof *v.sample);
    v.cap = k ? k : 1;
    if (!order || !chosen || !v.sample || d->n > UINT32_MAX) {
        free(v.sample);
        free(order);
        free(chosen);
        return mg_fail(err, MG_NOMEM, "no memory to split %zu samples", d->n);
    }
    mg_rng_shuffle((mg_rng){ seed, mg_rng_where(0, 0, SITE_SPLIT) }, order, (uint32_t)d->n);
    for (size_t i = 0; i < k; i++) chosen[order[i]] = true;
    for (size_t i = 0; i < d->n; i++) /* both keep the order of the file */
        if (chosen[i])
            v.sample[v.n++] = d->sample[i];
        else
            d->sample[kept++] = d->sample[i];
    d->n = kept;
    v.read = (int64_t)v.n;
    count(d);
    count(&v);
    free(order);
    free(chosen);
    *valid = v;
    return MG_OK;
}
