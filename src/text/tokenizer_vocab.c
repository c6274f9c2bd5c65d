/* tokenizer_vocab.c -- token text by id, and ids by text.
 *
 * A hash table of (hash, id) pairs, 8 bytes each, over an arena: 262,144
 * tokens take 4 MiB of slots, so that a look-up touches one line there and one
 * of text.  The hash reads eight bytes at a time, as tokens are short and
 * the BPE model without merges asks for each pair of neighbours. */
#include "text/tokenizer_impl.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK_BYTES = 1 << 16 };

static uint64_t fold(uint64_t a, uint64_t b) {
    __extension__ unsigned __int128 p = (unsigned __int128)a * b;
    return (uint64_t)p ^ (uint64_t)(p >> 64);
}

uint32_t tok_hash(const char *s, size_t n) {
    uint64_t h = 0x9e3779b97f4a7c15u ^ n, word;
    for (; n > 8; s += 8, n -= 8) {
        memcpy(&word, s, 8);
        h = fold(h ^ word, 0xd6e8feb86659fd93u);
    }
    word = 0;
    if (n >= 4) { /* two overlapping halves, instead of a loop */
        uint32_t low, high;
        memcpy(&low, s, 4);
        memcpy(&high, s + n - 4, 4);
        word = (uint64_t)high << 32 | low;
    } else if (n) {
        word = (uint64_t)(uint8_t)s[0] | (uint64_t)(uint8_t)s[n / 2] << 8 | (uint64_t)(uint8_t)s[n - 1] << 16;
    }
    h = fold(h ^ word, 0xa0761d6478bd642fu);
    return (uint32_t)(h ^ h >> 32);
}

mg_status tok_vocab_reserve(tok_vocab *v, size_t n, size_t bytes, const char *name, mg_error *err) {
    size_t slots = 256;
    if (n > TOK_MAX_ID)
        return mg_fail(err, MG_FORMAT, "%s: %zu tokens, at most %d are allowed", name, n, TOK_MAX_ID);
    while (slots < 2 * n) slots *= 2;
    v->text = mg_calloc(n, sizeof *v->text);
    v->len = mg_calloc(n, sizeof *v->len);
    v->slot = mg_calloc(slots, sizeof *v->slot);
    bool room = MG_GROW(v->block, v->cap_blocks, 1) && mg_size_add(bytes, n, &v->room) &&
                (v->block[0] = mg_calloc(v->room, 1)) != NULL;
    v->blocks = room;
    if (!v->text || !v->len || !v->slot || !room)
        return mg_fail(err, MG_NOMEM, "%s: no memory for %zu tokens", name, n);
    v->cap = n;
    v->slots = slots;
    memset(v->slot, 0xff, slots * sizeof *v->slot);
    return MG_OK;
}

void tok_vocab_free(tok_vocab *v) {
    for (size_t i = 0; i < v->blocks; i++) free(v->block[i]);
    free(v->block);
    free(v->text);
    free(v->len);
    free(v->slot);
    *v = (tok_vocab){ 0 };
}

static tok_slot *find_slot(const tok_vocab *v, const char *s, size_t n, uint32_t hash) {
    for (size_t i = hash & (v->slots - 1);; i = (i + 1) & (v->slots - 1)) {
        tok_slot *at = &v->slot[i];
        if (at->id < 0) return at;
        if (at->hash == hash && v->len[at->id] == n && !memcmp(v->text[at->id], s, n)) return at;
    }
}

int32_t tok_vocab_find(const tok_vocab *v, const char *s, size_t n) {
    if (n > v->longest || !v->slots) return -1;
    return find_slot(v, s, n, tok_hash(s, n))->id;
}

static char *keep_text(tok_vocab *v, const char *s, size_t n) {
    if (n + 1 > v->room - v->used) {
        size_t room = n + 1 > BLOCK_BYTES ? n + 1 : BLOCK_BYTES;
        if (!MG_GROW(v->block, v->cap_blocks, v->blocks + 1) || !(v->block[v->blocks] = mg_calloc(room, 1)))
            return NULL;
        v->blocks++;
        v->used = 0;
        v->room = room;
    }
    char *kept = v->block[v->blocks - 1] + v->used;
    memcpy(kept, s, n);
    kept[n] = 0;
    v->used += n + 1;
    return kept;
}

/* Ids beyond what was reserved come one at a time, from added tokens. */
static bool grow_vocab(tok_vocab *v, size_t needed) {
    if (needed > v->cap) {
        size_t       cap = needed + needed / 8 + 64;
        const char **text = mg_realloc(v->text, cap, sizeof *text);
        if (!text) return false;
        v->text = text;
        uint32_t *len = mg_realloc(v->len, cap, sizeof *len);
        if (!len) return false;
        v->len = len;
        for (size_t i = v->cap; i < cap; i++) v->text[i] = NULL, v->len[i] = 0;
        v->cap = cap;
    }
    if ((v->count + 1) * 2 <= v->slots) return true;
    size_t    slots = v->slots * 2;
    tok_slot *slot = mg_calloc(slots, sizeof *slot);
    if (!slot) return false;
    memset(slot, 0xff, slots * sizeof *slot);
    for (size_t i = 0; i < v->slots; i++)
        if (v->slot[i].id >= 0) {
            size_t at = v->slot[i].hash & (slots - 1);
            while (slot[at].id >= 0) at = (at + 1) & (slots - 1);
            slot[at] = v->slot[i];
        }
    free(v->slot);
    v->slot = slot;
    v->slots = slots;
    return true;
}

mg_status tok_vocab_add(tok_vocab *v, int32_t id, const char *s, size_t n, const char *name, mg_error *err) {
    if (id < 0 || id >= TOK_MAX_ID)
        return mg_fail(err, MG_FORMAT, "%s: token id %d is outside 0..%d", name, (int)id, TOK_MAX_ID - 1);
    if (n > TOK_MAX_TOKEN)
        return mg_fail(err, MG_FORMAT, "%s: token %d has %zu bytes, at most %d are allowed", name, (int)id, n,
                       TOK_MAX_TOKEN);
    if (!mg_utf8_valid(s, n))
        return mg_fail(err, MG_FORMAT, "%s: the text of token %d is not UTF-8", name, (int)id);
    if (!grow_vocab(v, (size_t)id + 1)) return mg_fail(err, MG_NOMEM, "%s: no memory for its tokens", name);
    if (v->text[id]) return mg_fail(err, MG_FORMAT, "%s: two tokens have the id %d", name, (int)id);
    uint32_t  hash = tok_hash(s, n);
    tok_slot *slot = find_slot(v, s, n, hash);
    if (slot->id >= 0)
        return mg_fail(err, MG_FORMAT, "%s: the tokens %d and %d are both '%.80s'", name, (int)slot->id, (int)id,
                       v->text[slot->id]);
    const char *kept = keep_text(v, s, n);
    if (!kept) return mg_fail(err, MG_NOMEM, "%s: no memory for its tokens", name);
    v->text[id] = kept;
    v->len[id] = (uint32_t)n;
    *slot = (tok_slot){ hash, id };
    v->count++;
    if ((size_t)id + 1 > v->n) v->n = (size_t)id + 1;
    if (n > v->longest) v->longest = n;
    return MG_OK;
}
