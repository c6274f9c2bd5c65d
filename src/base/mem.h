/* mem.h -- allocation at set-up, checked arithmetic on sizes, growing buffers.
 *
 * Sizes that come from a file are only ever multiplied and added through
 * mg_size_mul and mg_size_add.  The allocators return NULL when memory is short; callers
 * answer MG_NOMEM.  Nothing here runs inside a training step. */
#ifndef MG_BASE_MEM_H
#define MG_BASE_MEM_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* *out = a * b or a + b; false, and *out untouched, when that wraps around. */
static inline bool mg_size_mul(size_t a, size_t b, size_t *out) {
    size_t r;
    if (__builtin_mul_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}
static inline bool mg_size_add(size_t a, size_t b, size_t *out) {
    size_t r;
    if (__builtin_add_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

/* count * size zeroed bytes, or NULL (also when the product wraps).  free() releases. */
void *mg_calloc(size_t count, size_t size);
/* Resize like realloc, with a checked product; new bytes are not cleared. */
void *mg_realloc(void *p, size_t count, size_t size);
char *mg_strdup(const char *s);
char *mg_strndup(const char *s, size_t n);

/* Make room for one more element in a growing array: doubles *cap from 16 on.
 * False when memory is short; the array is then as it was. */
bool mg_grow(void **array, size_t *cap, size_t needed, size_t size);
#define MG_GROW(array, cap, needed) mg_grow((void **)&(array), &(cap), (needed), sizeof *(array))

/* A growing byte string, always NUL-terminated once something was written.
 * Zero-initialise; `failed` is sticky and is checked once at the end. */
typedef struct mg_buf {
    char  *data;
    size_t len, cap;
    bool   failed;
} mg_buf;

void mg_buf_add(mg_buf *b, const void *bytes, size_t n);
void mg_buf_str(mg_buf *b, const char *s);
void mg_buf_char(mg_buf *b, char c);
void mg_buf_printf(mg_buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void mg_buf_free(mg_buf *b); /* and zero it */

/* A growing array of token ids. */
typedef struct mg_ids {
    int32_t *data;
    size_t   len, cap;
} mg_ids;

bool mg_ids_push(mg_ids *ids, int32_t id);
void mg_ids_free(mg_ids *ids);

/* A dictionary from byte strings to int64, for vocabularies and key sets.
 * Open addressing under a seeded hash, so that no file can make keys collide; keys are borrowed, they must
 * outlive the map. */
typedef struct mg_map mg_map;
mg_map *mg_map_new(size_t expected); /* NULL: no memory */
void    mg_map_free(mg_map *m);
/* 1: added, 0: the key was there already (value kept), -1: no memory. */
int  mg_map_put(mg_map *m, const char *key, size_t len, int64_t value);
bool mg_map_get(const mg_map *m, const char *key, size_t len, int64_t *value);

#endif
