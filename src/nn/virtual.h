/* virtual.h -- room in a batch for the virtual tokens of prompts (prompt tuning, P-tuning, prefix tuning).
 *
 * A virtual token is a row like any other: it has a position in front of the text, keys and values, and a place in the
 * cache.  Its id is 0 and what the table says of that is overwritten at the embedding (or its keys and values in each
 * layer) by the method's hook.  Causal and windowed attention, packing, the cache and every device know nothing of it. */
#ifndef MG_NN_VIRTUAL_H
#define MG_NN_VIRTUAL_H

#include "nn/seam.h"

/* Virtual tokens in front of a sequence: those of the hooks that are switched on; with `loaded`, the most that any has. */
int64_t mg_net_virtual(const mg_net *net, bool loaded);

typedef struct mg_virtual {
    int32_t *memory;
    size_t   cap;
} mg_virtual;

/* Put n rows in front of each sequence of *b; its arrays are then those of `v`, as long as that lives and is not used
 * again.  Labels keep their tokens.  n = 0 leaves *b as it is. */
mg_status mg_virtual_insert(mg_virtual *v, mg_batch *b, int64_t n, mg_error *err);
void      mg_virtual_free(mg_virtual *v);

#endif
