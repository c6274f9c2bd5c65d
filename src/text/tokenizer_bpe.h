/* tokenizer_bpe.h -- the inside of the BPE model, for the tokenizer_bpe*.c files only. */
#ifndef MG_TEXT_TOKENIZER_BPE_H
#define MG_TEXT_TOKENIZER_BPE_H

#include "text/tokenizer_impl.h"

enum { TOK_BMP = 0x10000 };

typedef struct {
    int32_t  left, right; /* left -1: empty */
    uint32_t rank;
    int32_t  merged; /* ~id: of a special token, which text never becomes */
} tok_pair;

typedef struct {
    const tok_vocab *vocab;
    tok_pair        *pair;            /* NULL: merges from scores */
    size_t           pairs, n_merges; /* slots, a power of two; entries of the list */
    uint64_t        *maybe;           /* [pairs / 16] four bits a slot, one set for each pair of the list */
    uint32_t        *order;           /* [vocab.n] scores as integers, the best one smallest */
    uint16_t        *chars;           /* [vocab.n] characters of a token */
    uint8_t         *special;         /* [vocab.n] */
    bool             ids_break_ties;
    bool             byte_fallback, fuse_unk, ignore_merges, cuts;
    uint8_t          glue[256];       /* last bytes of characters that stand before the space inside of tokens */
    char            *prefix, *suffix; /* of what continues a word and what ends it; NULL: none */
    size_t           prefix_len, suffix_len;
    int32_t          unk;
    int32_t          byte_id[256];
    int32_t          char_id[TOK_BMP]; /* tokens of one character */
} tok_bpe;

typedef struct {
    uint64_t a;      /* rank; smaller goes first */
    uint32_t b;      /* breaks ties */
    int32_t  merged; /* -1: they do not merge */
} tok_pair_key;

typedef struct {
    int32_t      id;
    uint32_t     begin, end; /* bytes of the word */
    tok_pair_key key;        /* of the pair with the next symbol */
    int32_t      prev, next; /* of long words; -1: none */
} tok_symbol;

static inline uint64_t tok_bpe_pair_hash(int32_t left, int32_t right) {
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

/* The slot of a pair in a model with a list of merges, or the empty one where it would go. */
static inline tok_pair *tok_bpe_find_pair(const tok_bpe *m, int32_t left, int32_t right) {
    for (size_t i = tok_bpe_pair_hash(left, right) & (m->pairs - 1);; i = (i + 1) & (m->pairs - 1)) {
        tok_pair *s = &m->pair[i];
        if (s->left < 0 || (s->left == left && s->right == right)) return s;
    }
}

/* The key of two neighbours in a model without a list of merges. */
tok_pair_key tok_bpe_scored_key(const tok_bpe *m, const char *word, const tok_symbol *l, const tok_symbol *r);
mg_status    tok_bpe_to_gguf(const mg_tokenizer *t, tok_gguf *g, mg_error *err);
bool         tok_is_byte_level(const mg_tokenizer *t);
mg_status    tok_bpe_write(const mg_tokenizer *t, mg_buf *out, mg_error *err);

#endif
