/* mem.c -- set-up allocation, growing buffers and the one hash map.
 *
 * The map is open addressing with linear probing at a load of at most one
 * half: a vocabulary of 256k strings is built in some 20 ms and needs one
 * cache line a look-up.  Hashes are kept, so growing never touches the keys. */
#include "base/mem.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

void *mg_calloc(size_t count, size_t size) {
    size_t bytes;
    if (!mg_size_mul(count, size, &bytes)) return NULL;
    return calloc(1, bytes ? bytes : 1);
}

void *mg_realloc(void *p, size_t count, size_t size) {
    size_t bytes;
    if (!mg_size_mul(count, size, &bytes)) return NULL;
    return realloc(p, bytes ? bytes : 1);
}

char *mg_strndup(const char *s, size_t n) {
    char *copy = mg_calloc(n + 1, 1);
    if (copy) memcpy(copy, s, n);
    return copy;
}

char *mg_strdup(const char *s) { return mg_strndup(s, strlen(s)); }

bool mg_grow(void **array, size_t *cap, size_t needed, size_t size) {
    if (needed <= *cap) return true;
    size_t want = *cap ? *cap : 16;
    while (want < needed)
        if (!mg_size_mul(want, 2, &want)) return false;
    void *p = mg_realloc(*array, want, size);
    if (!p) return false;
    *array = p;
    *cap = want;
    return true;
}

void mg_buf_add(mg_buf *b, const void *bytes, size_t n) {
    size_t needed;
    if (b->failed) return;
    if (!mg_size_add(b->len, n, &needed) || !mg_size_add(needed, 1, &needed) || !MG_GROW(b->data, b->cap, needed)) {
        b->failed = true;
        return;
    }
    if (n) memcpy(b->data + b->len, bytes, n);
    b->len += n;
    b->data[b->len] = 0;
}

void mg_buf_str(mg_buf *b, const char *s) { mg_buf_add(b, s, strlen(s)); }
void mg_buf_char(mg_buf *b, char c) { mg_buf_add(b, &c, 1); }

void mg_buf_printf(mg_buf *b, const char *format, ...) {
    char    small[512];
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(small, sizeof small, format, args);
    if (n < 0)
        b->failed = true;
    else if ((size_t)n < sizeof small)
        mg_buf_add(b, small, (size_t)n);
    else {
        char *large = mg_calloc((size_t)n + 1, 1);
        if (large) {
            vsnprintf(large, (size_t)n + 1, format, again);
            mg_buf_add(b, large, (size_t)n);
            free(large);
        } else
            b->failed = true;
    }
    va_end(again);
    va_end(args);
}

void mg_buf_free(mg_buf *b) {
    free(b->data);
    *b = (mg_buf){ 0 };
}

bool mg_ids_push(mg_ids *ids, int32_t id) {
    if (!MG_GROW(ids->data, ids->cap, ids->len + 1)) return false;
    ids->data[ids->len++] = id;
    return true;
}

void mg_ids_free(mg_ids *ids) {
    free(ids->data);
    *ids = (mg_ids){ 0 };
}

typedef struct {
    const char *key; /* NULL: empty */
    size_t      len;
    uint64_t    hash;
    int64_t     value;
} map_slot;

struct mg_map {
    map_slot *slot;
    size_t    n, cap; /* cap is a power of two */
};

/* SipHash-1-3 (Aumasson & Bernstein 2012) under a key that is drawn once a process: whoever writes a vocabulary
 * cannot know which keys fall together.  A map is never walked, so no output depends on the key. */
static uint64_t       hash_key[2];
static pthread_once_t hash_once = PTHREAD_ONCE_INIT;

static void draw_hash_key(void) {
    struct timespec now;
    if (getrandom(hash_key, sizeof hash_key, 0) == (ssize_t)sizeof hash_key) return;
    clock_gettime(CLOCK_REALTIME, &now);
    hash_key[0] = (uint64_t)now.tv_nsec << 32 ^ (uint64_t)now.tv_sec;
    hash_key[1] = (uint64_t)(uintptr_t)&now ^ (uint64_t)getpid() << 48;
}

static inline uint64_t rotate(uint64_t x, int n) { return x << n | x >> (64 - n); }

static inline void sip_round(uint64_t v[4]) {
    v[0] += v[1], v[1] = rotate(v[1], 13) ^ v[0], v[0] = rotate(v[0], 32);
    v[2] += v[3], v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3], v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1], v[1] = rotate(v[1], 17) ^ v[2], v[2] = rotate(v[2], 32);
}

static uint64_t hash_bytes(const char *key, size_t len) {
    uint64_t v[4] = { hash_key[0] ^ 0x736f6d6570736575u, hash_key[1] ^ 0x646f72616e646f6du, hash_key[0] ^ 0x6c7967656e657261u,
                      hash_key[1] ^ 0x7465646279746573u };
    for (size_t i = 0; i <= len / 8; i++) {
        size_t   left = len - 8 * i;
        uint64_t word = left < 8 ? (uint64_t)len << 56 : 0; /* the last word, perhaps empty, carries the length */
        uint8_t  byte[8] = { 0 };
        if (left) memcpy(byte, key + 8 * i, left < 8 ? left : 8);
        for (int k = 0; k < 8; k++) word |= (uint64_t)byte[k] << 8 * k;
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++) sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static map_slot *map_find(const mg_map *m, const char *key, size_t len, uint64_t hash) {
    for (size_t i = hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
        map_slot *s = &m->slot[i];
        if (!s->key || (s->hash == hash && s->len == len && !memcmp(s->key, key, len))) return s;
    }
}

mg_map *mg_map_new(size_t expected) {
    size_t cap = 64;
    pthread_once(&hash_once, draw_hash_key);
    while (cap / 2 < expected)
        if (!mg_size_mul(cap, 2, &cap)) return NULL;
    mg_map *m = mg_calloc(1, sizeof *m);
    if (!m) return NULL;
    m->cap = cap;
    m->slot = mg_calloc(cap, sizeof *m->slot);
    if (m->slot) return m;
    free(m);
    return NULL;
}

void mg_map_free(mg_map *m) {
    if (!m) return;
    free(m->slot);
    free(m);
}

int mg_map_put(mg_map *m, const char *key, size_t len, int64_t value) {
    if ((m->n + 1) * 2 > m->cap) {
        mg_map bigger = { mg_calloc(m->cap * 2, sizeof *m->slot), m->n, m->cap * 2 };
        if (!bigger.slot) return -1;
        for (size_t i = 0; i < m->cap; i++) {
            map_slot *s = &m->slot[i];
            if (s->key) *map_find(&bigger, s->key, s->len, s->hash) = *s;
        }
        free(m->slot);
        *m = bigger;
    }
    uint64_t  hash = hash_bytes(key, len);
    map_slot *s = map_find(m, key, len, hash);
    if (s->key) return 0;
    *s = (map_slot){ key, len, hash, value };
    m->n++;
    return 1;
}

bool mg_map_get(const mg_map *m, const char *key, size_t len, int64_t *value) {
    const map_slot *s = map_find(m, key, len, hash_bytes(key, len));
    if (!s->key) return false;
    *value = s->value;
    return true;
}
