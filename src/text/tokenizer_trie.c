/* tokenizer_trie.c -- build the double array from the sorted tokens.
 *
 * Free records are a ring, linked through base (next) and id (previous). A node's children go where the first of them
 * finds a free record and the others do, too; after some tries a new block of 256 is opened, so that building stays
 * linear. */
#include "text/tokenizer_trie.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK = 256, TRIES = 48, ROOTS_PARENT = INT32_MAX };

typedef struct {
    const char *text;
    uint32_t    len;
    int32_t     id;
} entry;

typedef struct {
    size_t  begin, end; /* of the sorted tokens */
    size_t  depth;      /* bytes that they share */
    int32_t node;
} job;

typedef struct {
    tok_walk    *walk;
    size_t       cap;
    const entry *list;
    job         *job; /* a stack, as tokens may be long */
    size_t       jobs, cap_jobs;
    int32_t      first; /* free record, -1: none */
} builder;

static int by_text(const void *x, const void *y) {
    const entry *a = x, *b = y;
    int          c = memcmp(a->text, b->text, a->len < b->len ? a->len : b->len);
    return c ? c : (a->len > b->len) - (a->len < b->len);
}

/* Into the ring before the first free record, that is at its end. */
static void link_free(builder *b, int32_t at) {
    tok_step *step = b->walk->step;
    int32_t   first = b->first < 0 ? (b->first = at) : b->first, last = first == at ? at : step[first].id;
    step[at] = (tok_step){ .base = first, .parent = -1, .id = last };
    step[last].base = at;
    step[first].id = at;
}

static void take_free(builder *b, int32_t at) {
    tok_step *step = b->walk->step;
    int32_t   next = step[at].base, previous = step[at].id;
    step[previous].base = next;
    step[next].id = previous;
    if (b->first == at) b->first = next == at ? -1 : next;
}

static bool add_block(builder *b) {
    tok_walk *w = b->walk;
    size_t    from = w->n;
    if (w->n + BLOCK > INT32_MAX / 2 || !MG_GROW(w->step, b->cap, w->n + BLOCK)) return false;
    w->n += BLOCK;
    for (size_t i = from ? from : 1; i < w->n; i++) link_free(b, (int32_t)i); /* record 0 is the root */
    return true;
}

static bool fits(const tok_walk *w, int32_t base, const uint8_t *byte, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (w->step[base ^ byte[i]].parent != -1) return false;
    return true;
}

/* A base for these children; false: no memory. */
static bool find_base(builder *b, const uint8_t *byte, size_t n, int32_t *base) {
    int32_t at = b->first;
    for (int tries = 0; at >= 0 && tries < TRIES; tries++) {
        *base = at ^ byte[0];
        if (fits(b->walk, *base, byte, n)) return true;
        at = b->walk->step[at].base;
        if (at == b->first) break;
    }
    *base = (int32_t)b->walk->n;
    return add_block(b);
}

static bool lay_children(builder *b, job j) {
    uint8_t byte[256];
    size_t  from[257], n = 0;
    int32_t base;
    for (size_t i = j.begin; i < j.end; i++) {
        if (b->list[i].len == j.depth) { /* ends here; of equals (there are none) the last counts */
            b->walk->step[j.node].id = b->list[i].id;
            continue;
        }
        uint8_t c = (uint8_t)b->list[i].text[j.depth];
        if (!n || byte[n - 1] != c) {
            from[n] = i;
            byte[n++] = c;
        }
    }
    if (!n) return true;
    from[n] = j.end;
    if (!find_base(b, byte, n, &base) || !MG_GROW(b->job, b->cap_jobs, b->jobs + n)) return false;
    b->walk->step[j.node].base = base;
    for (size_t i = 0; i < n; i++) {
        int32_t child = base ^ byte[i];
        take_free(b, child);
        b->walk->step[child] = (tok_step){ .base = 0, .parent = j.node, .id = -1 };
        b->job[b->jobs++] = (job){ from[i], from[i + 1], j.depth + 1, child };
    }
    return true;
}

bool tok_walk_build(tok_walk *w, const tok_vocab *v, size_t n, const uint8_t *skip) {
    entry  *list = mg_calloc(n, sizeof *list);
    size_t  count = 0;
    builder b = { .walk = w, .list = list, .first = -1 };
    *w = (tok_walk){ 0 };
    bool ok = list && add_block(&b);
    for (size_t id = 0; ok && id < n; id++)
        if (v->text[id] && v->len[id] && !(skip && skip[id]))
            list[count++] = (entry){ v->text[id], v->len[id], (int32_t)id };
    if (ok && count) qsort(list, count, sizeof *list, by_text);
    if (ok) w->step[0] = (tok_step){ .base = 0, .parent = ROOTS_PARENT, .id = -1 };
    ok = ok && lay_children(&b, (job){ 0, count, 0, 0 });
    while (ok && b.jobs) ok = lay_children(&b, b.job[--b.jobs]);
    free(b.job);
    free(list);
    if (!ok) tok_walk_free(w);
    return ok;
}

void tok_walk_free(tok_walk *w) {
    free(w->step);
    *w = (tok_walk){ 0 };
}
