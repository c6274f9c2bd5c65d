/* repeat.c -- the recent shapes of passes, and their recordings.
 *
 * A shape's first pass runs as it stands, so that kernels are loaded and the library has chosen its products.  The second is
 * recorded and then replayed.  A recording costs about as much as a step and some memory, so the one not used for longest
 * makes room when there are SLOTS; a pass that cannot be recorded is never tried again. */
#include "autograd/repeat.h"

#include <stdlib.h>
#include <string.h>

enum { SLOTS = 12 };

typedef struct {
    mg_repeat_key key;
    bool          hopeless;
    void         *graph; /* NULL: seen, not recorded */
    mg_tensor     result;
    uint64_t      used; /* when last; 0: never, the slot is free */
} recording;

struct mg_repeats {
    recording slot[SLOTS];
    uint64_t  clock;
};

void mg_repeats_free(mg_tape *t) {
    for (int i = 0; t->repeats && i < SLOTS; i++)
        if (t->repeats->slot[i].graph) t->backend->device->forget(t->repeats->slot[i].graph);
    free(t->repeats);
    t->repeats = NULL;
}

/* Found, or the slot that was not used for longest, emptied. */
static recording *slot_of(mg_tape *t, const mg_repeat_key *key) {
    if (!t->repeats) t->repeats = mg_calloc(1, sizeof *t->repeats);
    if (!t->repeats) return NULL;
    recording *oldest = t->repeats->slot;
    for (recording *r = t->repeats->slot; r < t->repeats->slot + SLOTS; r++) {
        if (r->used && r->key.model == key->model && r->key.n_seq == key->n_seq && r->key.rows == key->rows && r->key.n_labels == key->n_labels)
            return r;
        if (r->used < oldest->used) oldest = r;
    }
    if (oldest->graph) t->backend->device->forget(oldest->graph);
    *oldest = (recording){ .key = *key };
    return oldest;
}

static void record(mg_tape *t, recording *r, mg_repeat_fn f, void *context) {
    const mg_device *d = t->backend->device;
    mg_arena         mem = *t->mem;
    int              tensors = t->n_tensors;
    d->record();
    mg_tensor *y = f(t, context);
    r->graph = d->recorded();
    if (y) r->result = *y;
    r->hopeless = !r->graph;
    if (t->error && r->graph) {
        d->forget(r->graph);
        r->graph = NULL;
    }
    if (!r->hopeless || t->error) return;
    t->mem->lo = mem.lo; /* nothing was done: it starts from the beginning */
    t->mem->hi = mem.hi;
    t->n_tensors = tensors;
    t->n_nodes = 0;
}

void mg_repeat(mg_tape *t, const mg_repeat_key *key, mg_repeat_fn f, void *context, mg_tensor *out) {
    const mg_device *d = t->backend->device;
    recording       *r = !d->record || t->mem->dry || t->no_repeats ? NULL : slot_of(t, key);
    *out = (mg_tensor){ 0 };
    if (r && r->used && !r->graph && !r->hopeless) record(t, r, f, context);
    if (r) r->used = ++t->repeats->clock;
    if (t->error) return;
    if (r && r->graph) {
        d->replay(r->graph);
        *out = r->result;
        return;
    }
    mg_tensor *y = f(t, context);
    if (y) *out = *y;
}
