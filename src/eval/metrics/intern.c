/* intern.c -- two open hash tables that are emptied by counting a mark up. */
#include "eval/metrics/intern.h"

#include <stdlib.h>
#include <string.h>

void mg_intern_clear(mg_intern *t) {
    t->words = t->pairs = t->n = t->text.len = 0;
    if (++t->mark) return;
    for (size_t i = 0; i < t->word_cap; i++) t->word[i].mark = 0; /* once in 2^32 */
    for (size_t i = 0; i < t->pair_cap; i++) t->pair[i].mark = 0;
    t->mark = 1;
}

void mg_intern_free(mg_intern *t) {
    free(t->word);
    free(t->pair);
    free(t->tally);
    mg_buf_free(&t->text);
    *t = (mg_intern){ 0 };
}

static uint32_t fresh(mg_intern *t) {
    if (t->n >= UINT32_MAX || !MG_GROW(t->tally, t->cap, t->n + 1)) {
        t->failed = true;
        return 0;
    }
    t->tally[t->n] = (mg_tally){ 0 };
    return (uint32_t)t->n++;
}

static uint64_t mix(uint64_t h) {
    h ^= h >> 32;
    h *= 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

static uint64_t hash_bytes(const char *s, size_t n) {
    uint64_t h = 0xcbf29ce484222325u ^ n;
    for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)s[i]) * 0x100000001b3u;
    return mix(h);
}

static bool grow_words(mg_intern *t) {
    size_t cap = t->word_cap ? t->word_cap * 2 : 256;
    struct mg_intern_word *old = t->word, *new = mg_calloc(cap, sizeof *new);
    if (!new) return false;
    for (size_t i = 0; i < t->word_cap; i++) {
        if (old[i].mark != t->mark) continue;
        size_t at = old[i].hash & (cap - 1);
        while (new[at].mark) at = (at + 1) & (cap - 1);
        new[at] = old[i];
    }
    free(old);
    t->word = new;
    t->word_cap = cap;
    return true;
}

static bool grow_pairs(mg_intern *t) {
    size_t cap = t->pair_cap ? t->pair_cap * 2 : 1024;
    struct mg_intern_pair *old = t->pair, *new = mg_calloc(cap, sizeof *new);
    if (!new) return false;
    for (size_t i = 0; i < t->pair_cap; i++) {
        if (old[i].mark != t->mark) continue;
        size_t at = mix(old[i].key) & (cap - 1);
        while (new[at].mark) at = (at + 1) & (cap - 1);
        new[at] = old[i];
    }
    free(old);
    t->pair = new;
    t->pair_cap = cap;
    return true;
}

uint32_t mg_intern_word(mg_intern *t, const char *text, size_t len) {
    if (!t->mark) t->mark = 1;
    if (t->failed || (t->words * 2 >= t->word_cap && !grow_words(t))) {
        t->failed = true;
        return 0;
    }
    uint64_t h = hash_bytes(text, len);
    size_t   at = h & (t->word_cap - 1);
    for (; t->word[at].mark == t->mark; at = (at + 1) & (t->word_cap - 1)) {
        const struct mg_intern_word *w = &t->word[at];
        if (w->hash == h && w->len == len && !memcmp(t->text.data + w->at, text, len)) return w->id;
    }
    uint32_t id = fresh(t);
    t->word[at] = (struct mg_intern_word){ .at = t->text.len, .len = len, .hash = h, .id = id, .mark = t->mark };
    t->words++;
    mg_buf_add(&t->text, text, len);
    t->failed = t->failed || t->text.failed;
    return id;
}

static uint32_t find_pair(mg_intern *t, uint64_t key) {
    if (!t->mark) t->mark = 1;
    if (t->failed || (t->pairs * 2 >= t->pair_cap && !grow_pairs(t))) {
        t->failed = true;
        return 0;
    }
    size_t at = mix(key) & (t->pair_cap - 1);
    for (; t->pair[at].mark == t->mark; at = (at + 1) & (t->pair_cap - 1))
        if (t->pair[at].key == key) return t->pair[at].id;
    uint32_t id = fresh(t);
    t->pair[at] = (struct mg_intern_pair){ .key = key, .id = id, .mark = t->mark };
    t->pairs++;
    return id;
}

uint32_t mg_intern_pair(mg_intern *t, uint32_t first, uint32_t last) { return find_pair(t, (uint64_t)first << 32 | last); }

/* Above every number that a first half can have, so that no n-gram is taken for a character. */
uint32_t mg_intern_char(mg_intern *t, uint32_t c) { return find_pair(t, (uint64_t)UINT32_MAX << 32 | c); }
