/* cache.h -- keys and values of the tokens that a sequence has already seen.
 *
 * One matrix of keys and one of values a layer, [slots * capacity, K*hd]; a
 * sequence owns a slot.  The attention operation writes the new rows behind the
 * old ones and reads all of them; when every layer has run, the caller tells the
 * cache how many tokens came (mg_cache_advance).  Lives as long as a conversation. */
#ifndef MG_AUTOGRAD_CACHE_H
#define MG_AUTOGRAD_CACHE_H

#include "autograd/tape.h"

typedef struct mg_cache {
    int      layers, slots;
    int64_t  capacity, width; /* tokens a slot, columns of a key row */
    void    *memory;          /* [layers][keys, values][slots * capacity, width] */
    const mg_format *element;
    int32_t *len;             /* [slots] tokens of the slot */
    int32_t *k_start, *k_len; /* [slots] of the batch that is running */
    int32_t *placed;          /* the two where kernels read them */
    const mg_device *device;
} mg_cache;

mg_status mg_cache_open(mg_cache *c, const mg_device *d, int layers, int slots, int64_t capacity, int64_t width, const mg_format *element,
                        mg_error *err);
void      mg_cache_close(mg_cache *c);
size_t    mg_cache_bytes(int layers, int slots, int64_t capacity, int64_t width, const mg_format *element);

/* Write the batch's keys and values of a layer into their slots; *k and *v become
 * the layer's cache matrices, and s says where each sequence's keys lie. */
void mg_cache_extend(mg_tape *t, int layer, mg_mat *k, mg_mat *v, mg_attention_shape *s);
/* The batch has run through all layers. */
void mg_cache_advance(mg_cache *c, const mg_batch *b);

#endif
