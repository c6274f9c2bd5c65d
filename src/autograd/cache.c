/* cache.c -- the key/value cache: plain slabs, appended to in place. */
#include "autograd/cache.h"

#include <stdlib.h>
#include <string.h>

size_t mg_cache_bytes(int layers, int slots, int64_t capacity, int64_t width, const mg_format *element) {
    return (size_t)layers * 2 * (size_t)slots * (size_t)(capacity * width) * element->block_bytes;
}

mg_status mg_cache_open(mg_cache *c, const mg_device *d, int layers, int slots, int64_t capacity, int64_t width,
                        const mg_format *element, mg_error *err) {
    mg_cache made = { .layers = layers, .slots = slots, .capacity = capacity, .width = width, .element = element, .device = d };
    size_t   bytes = mg_cache_bytes(layers, slots, capacity, width, element);
    made.memory = d->alloc(bytes ? bytes : 1); /* not cleared: pages come as tokens do */
    made.len = mg_calloc((size_t)slots * 3, sizeof *made.len);
    made.placed = d->host && made.len ? made.len + slots : d->alloc((size_t)slots * 2 * sizeof *made.placed);
    if (!made.memory || !made.len || !made.placed) {
        mg_cache_close(&made);
        return mg_fail(err, MG_NOMEM,
                       "no memory for a context of %lld tokens in %d sequences (%.1f MB); shorten --max_length",
                       (long long)capacity, slots, (double)bytes / 1e6);
    }
    made.k_start = made.len + slots;
    made.k_len = made.k_start + slots;
    *c = made;
    return MG_OK;
}

void mg_cache_close(mg_cache *c) {
    if (c->memory) c->device->free(c->memory);
    if (c->placed && !c->device->host) c->device->free(c->placed);
    free(c->len);
    *c = (mg_cache){ 0 };
}

static mg_mat slab(const mg_cache *c, int layer, int value) {
    int64_t rows = c->slots * c->capacity;
    size_t  bytes = (size_t)(rows * c->width) * c->element->block_bytes;
    return (mg_mat){ (uint8_t *)c->memory + (size_t)(layer * 2 + value) * bytes, rows, c->width, c->element, NULL };
}

static mg_mat rows_of(mg_mat m, int64_t first, int64_t n) {
    m.data = (uint8_t *)m.data + (size_t)(first * m.cols) * m.format->block_bytes;
    m.rows = n;
    return m;
}

void mg_cache_extend(mg_tape *t, int layer, mg_mat *k, mg_mat *v, mg_attention_shape *s) {
    const mg_batch *b = t->batch;
    mg_cache       *c = b->cache;
    mg_mat          keys = slab(c, layer, 0), values = slab(c, layer, 1);
    MG_ASSERT_EQ(k->cols, c->width);
    for (int i = 0; i < b->n_seq; i++) {
        int64_t n = b->start[i + 1] - b->start[i], slot = b->slot[i], at = slot * c->capacity + c->len[slot];
        MG_ASSERT(c->len[slot] + n <= c->capacity);
        t->backend->add((mg_add_args){ .y = rows_of(keys, at, n), .x = rows_of(*k, b->start[i], n), .scale = 1 });
        t->backend->add((mg_add_args){ .y = rows_of(values, at, n), .x = rows_of(*v, b->start[i], n), .scale = 1 });
        c->k_start[i] = (int32_t)(slot * c->capacity);
        c->k_len[i] = (int32_t)(c->len[slot] + n);
    }
    *k = keys;
    *v = values;
    if (!layer && !c->device->host && !t->mem->dry) /* the same for all layers */
        c->device->put(c->placed, c->k_start, (size_t)c->slots * 2 * sizeof *c->placed);
    s->k_start = c->placed;
    s->k_len = c->placed + c->slots;
}

void mg_cache_advance(mg_cache *c, const mg_batch *b) {
    for (int i = 0; i < b->n_seq; i++) c->len[b->slot[i]] += b->start[i + 1] - b->start[i];
}
