/* use.h -- read everything that an accepted file offers, as a caller would: for the tests that
 * damage files and for the fuzz targets.  Accepted means usable without further checks. */
#ifndef MG_TESTS_FORMAT_USE_H
#define MG_TESTS_FORMAT_USE_H

#include "format/gguf.h"
#include "format/safetensors.h"
#include "tensor/format.h"

#include <stdlib.h>
#include <string.h>

/* Something that depends on all bytes, so that the reads are not optimised away. */
static inline uint64_t use_bytes(uint64_t sum, const void *p, size_t n) {
    const uint8_t *b = p;
    for (size_t i = 0; i < n; i++) sum = sum * 31 + b[i];
    return sum;
}

static inline uint64_t use_gguf_value(const mg_gguf *g, const mg_gguf_value *v) {
    uint64_t       sum = use_bytes(v->count, v->key.data, v->key.len);
    char          *key = mg_strndup(v->key.data, v->key.len);
    int64_t        whole;
    double         real;
    mg_gguf_string text;
    if (mg_gguf_find(g, key) != v) abort();
    if (mg_gguf_int(g, key, &whole)) sum += (uint64_t)whole;
    if (mg_gguf_float(g, key, &real)) sum = use_bytes(sum, &real, sizeof real);
    if (mg_gguf_str(g, key, &text)) sum = use_bytes(sum, text.data, text.len);
    if (v->item == MG_GGUF_STRING) {
        mg_gguf_string *all = mg_calloc((size_t)v->count, sizeof *all);
        mg_gguf_strings(v, all);
        for (uint64_t i = 0; i < v->count; i++) sum = use_bytes(sum, all[i].data, all[i].len);
        free(all);
    } else
        for (uint64_t i = 0; i < v->count; i++) {
            real = mg_gguf_item_float(v, i);
            sum = use_bytes(sum + (uint64_t)mg_gguf_item_int(v, i), &real, sizeof real);
        }
    free(key);
    return sum;
}

static inline uint64_t use_gguf(const mg_gguf *g) {
    uint64_t sum = use_bytes(g->file_bytes, g->path, strlen(g->path));
    float    block[256];
    for (size_t i = 0; i < g->n_values; i++) sum += use_gguf_value(g, &g->values[i]);
    for (size_t i = 0; i < g->n_tensors; i++) {
        const mg_gguf_tensor *t = &g->tensors[i];
        int64_t               n = t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3];
        if (mg_gguf_find_tensor(g, t->name) != t) abort();
        if (n < t->format->block || t->n_dims < 1 || t->n_dims > 4) abort();
        sum = use_bytes(sum, t->data, t->bytes);
        t->format->decode(block, t->data, NULL, 0, t->format->block);
        t->format->decode(block, t->data, NULL, n - t->format->block, t->format->block);
        sum = use_bytes(sum, block, (size_t)t->format->block * sizeof *block);
    }
    return sum;
}

static inline uint64_t use_safetensors(const mg_safetensors *f) {
    uint64_t sum = use_bytes(f->n, f->path, strlen(f->path));
    for (size_t i = 0; i < f->n; i++) {
        const mg_st_entry *e = &f->entries[i];
        size_t             bytes = mg_st_dtype_size(e->dtype);
        if (mg_safetensors_find(f, e->name) != e || e->n_dims > MG_SAFETENSORS_RANK) abort();
        for (int d = 0; d < e->n_dims; d++) bytes *= (size_t)e->dims[d];
        if (bytes != e->bytes) abort();
        sum = use_bytes(sum, e->data, e->bytes);
        const mg_format *format = mg_format_of_safetensors(e->dtype);
        float            value;
        if (!format || !bytes) continue;
        format->decode(&value, e->data, NULL, (int64_t)(bytes / format->block_bytes) - 1, 1);
        sum = use_bytes(sum, &value, sizeof value);
    }
    const char *kind = mg_safetensors_meta(f, "format");
    return kind ? use_bytes(sum, kind, strlen(kind)) : sum;
}

#endif
