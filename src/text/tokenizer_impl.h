/* tokenizer_impl.h -- the inside of a tokenizer, for the tokenizer*.c files only.
 *
 * text -> [added tokens] -> normalizer -> [normalized added tokens] -> pre-tokenizer
 *      -> model (a row of tokenizer_models.def) -> post-processor, as in Hugging
 * Face tokenizers; ids -> decoder -> text.  Every step is a chain of stages; a
 * stage is a row of a table plus what its JSON object says.  The three readers
 * fill the same struct: GGUF and SentencePiece files say in JSON what a
 * tokenizer.json would have said, so one parser and one writer serve all.
 *
 * A tokenizer is constant once built.  What encoding needs (buffers, match
 * data, the cache of words) lies in work records, taken from a pool under a lock,
 * so that threads never share one. */
#ifndef MG_TEXT_TOKENIZER_IMPL_H
#define MG_TEXT_TOKENIZER_IMPL_H

#include "base/json.h"
#include "text/mecab.h"
#include "text/regex.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

#include <pthread.h>

enum { TOK_MAX_STAGES = 16, TOK_MAX_TOKEN = 65535, TOK_MAX_ID = 1 << 24, TOK_KEPT_BYTES = 4 << 20 };

#define TOK_SPACE_MARK "\xe2\x96\x81" /* U+2581, which stands for a space in SentencePiece's tokens */

/* How long a normalizer may make a text of n bytes; a hostile one would double it 16 times over. */
static inline size_t tok_growth_limit(size_t n) { return 64 * (n + 1024); }

/* --- vocabulary: tokenizer_vocab.c --- */

typedef struct tok_slot {
    uint32_t hash;
    int32_t  id; /* -1: empty */
} tok_slot;

typedef struct tok_vocab {
    const char **text;   /* [cap] by id, NULL: no such id; NUL-terminated, in `arena` */
    uint32_t    *len;    /* [cap] */
    size_t       n, cap; /* n: highest id + 1 */
    size_t       count;  /* how many there are */
    size_t       longest;
    tok_slot    *slot;
    size_t       slots; /* a power of two */
    char       **block; /* the arena's blocks */
    size_t       blocks, cap_blocks, used, room;
} tok_vocab;

uint32_t tok_hash(const char *s, size_t n);
/* Room for ids below n and text of `bytes` in all; call once, before adding. */
mg_status tok_vocab_reserve(tok_vocab *v, size_t n, size_t bytes, const char *name, mg_error *err);
/* The id must be free and the text new. */
mg_status tok_vocab_add(tok_vocab *v, int32_t id, const char *s, size_t n, const char *name, mg_error *err);
int32_t   tok_vocab_find(const tok_vocab *v, const char *s, size_t n); /* -1: none */
void      tok_vocab_free(tok_vocab *v);

/* --- added tokens: tokenizer_added.c --- */

typedef struct tok_added {
    int32_t     id;
    const char *text; /* in the vocabulary's arena */
    uint32_t    len;
    bool        single_word, lstrip, rstrip, normalized, special;
} tok_added;

/* A trie: the children of a node are a list; the root's are a table. */
typedef struct tok_trie_node {
    int32_t child, sibling, added; /* indices, -1: none */
    char    byte;
} tok_trie_node;

typedef struct tok_trie {
    tok_trie_node *node;
    size_t         n, cap;
    int32_t        root[256];
} tok_trie;

/* --- stages --- */

typedef struct mg_tok_work mg_tok_work;
struct tok_stage;

/* A row: what one type of normalizer, pre-tokenizer or decoder is. */
typedef struct tok_stage_row {
    const char *type; /* as in tokenizer.json */
    mg_status (*parse)(struct tok_stage *s, yyjson_val *config, const char *name, mg_error *err);
    /* normalizers: append the normal form of s */
    bool (*normalize)(const struct tok_stage *s, mg_tok_work *w, const char *text, size_t n, mg_buf *out);
    /* pre-tokenizers: hand pieces to tok_pretokenize_from(w, stage + 1, ...) */
    mg_status (*split)(const struct tok_stage *s, mg_tok_work *w, int stage, const char *text, size_t n,
                       bool first);
    /* decoders: see tokenizer_decode.c */
    bool (*feed)(const struct tok_stage *s, mg_detok_stream *d, int stage, const char *text, size_t n,
                 unsigned edges);
    bool (*flush)(const struct tok_stage *s, mg_detok_stream *d, int stage);
} tok_stage_row;

typedef enum tok_behavior {
    TOK_REMOVED,
    TOK_ISOLATED,
    TOK_MERGED_WITH_PREVIOUS,
    TOK_MERGED_WITH_NEXT,
    TOK_CONTIGUOUS
} tok_behavior;

typedef struct tok_stage {
    const tok_stage_row *row;
    mg_regex            *regex;   /* the pattern, or NULL: `pattern` is literal */
    char                *pattern; /* literal pattern, prefix or replaced character */
    size_t               pattern_len;
    char                *content; /* replacement */
    size_t               content_len;
    tok_behavior         behavior;
    mg_normal_form       form;
    bool                 invert, prefix, use_regex, left, right;
    /* of BERT's normalizer and decoder, and of MeCab */
    bool clean, chinese, accents, lower, single;
    bool (*chars)(uint32_t c); /* with neither regex nor pattern: matches one of these */
    enum { TOK_PREPEND_ALWAYS, TOK_PREPEND_FIRST, TOK_PREPEND_NEVER } prepend;
    size_t               start, stop;
    struct tok_charsmap *charsmap; /* of "Precompiled" */
} tok_stage;

typedef struct tok_chain {
    tok_stage stage[TOK_MAX_STAGES];
    int       n;
    char     *json; /* the component as it stands in tokenizer.json, NULL: null */
} tok_chain;

/* Parse a component (JSON null or absent: an empty chain); unknown types are errors that
 * name them.  `what` is "normalizer", "pre_tokenizer" or "decoder". */
mg_status tok_chain_parse(tok_chain *c, const tok_stage_row *const *rows, const char *list_key, yyjson_val *config,
                          const char *what, const char *name, mg_error *err);
void      tok_chain_free(tok_chain *c);
extern const tok_stage_row *const tok_normalizers[], *const tok_pretokenizers[], *const tok_decoders[];
extern const tok_stage_row        tok_row_mecab; /* tokenizer_mecab.c */

/* Helpers of parse functions. */
mg_status tok_parse_pattern(tok_stage *s, yyjson_val *config, const char *name, mg_error *err);
mg_status tok_parse_string(char **out, size_t *n, yyjson_val *config, const char *key, const char *name,
                           mg_error *err);
bool      tok_parse_bool(yyjson_val *config, const char *key, bool fallback);
/* Append text with every match of the stage's pattern replaced; false: no memory, a match limit or
 * the growth limit. */
bool tok_replace(const tok_stage *s, mg_regex_work *w, const char *text, size_t n, mg_buf *out);

mg_status tok_pretokenize_from(mg_tok_work *w, int stage, const char *text, size_t n, bool first);
/* GPT-2's printable stand-ins for bytes: UTF-8 of byte b, and back (-1: stands for none). */
extern const char *tok_byte_char(unsigned char b, size_t *len);
int                tok_char_byte(uint32_t c);

/* --- models: tokenizer_models.def --- */

/* A GGUF description in the making, see mg_tokenizer_to_gguf. */
typedef struct tok_gguf {
    mg_gguf_vocab v;
    float        *score; /* [v.n] */
    int32_t      *type;  /* [v.n] */
    mg_buf        merges;
    size_t       *merge_len;
} tok_gguf;

enum {
    TOK_GGUF_NORMAL = 1,
    TOK_GGUF_UNKNOWN,
    TOK_GGUF_CONTROL,
    TOK_GGUF_USER,
    TOK_GGUF_UNUSED,
    TOK_GGUF_BYTE
};

/* The name that GGUF has for this normalizer and pre-tokenizer of byte-level BPE, NULL: none. */
const char *tok_gguf_pre(const mg_tokenizer *t, bool ignore_merges);
/* add_space_prefix and the like of a SentencePiece model. */
mg_status tok_gguf_spaces(const mg_tokenizer *t, tok_gguf *g, mg_error *err);
/* A token's text, the space inside of a user's own token as a blank. */
void tok_gguf_blanks(const mg_tokenizer *t, int32_t id, int32_t type, mg_buf *out);

typedef struct tok_model_row {
    const char *type; /* in tokenizer.json */
    const char *(*kind)(const mg_tokenizer *t);
    mg_status (*parse)(mg_tokenizer *t, yyjson_val *config, mg_error *err);
    /* Append the ids of one word. */
    mg_status (*encode)(const void *model, mg_tok_work *w, const char *word, size_t n);
    /* The length of the first part of a word whose ids do not depend on what follows; NULL: all of it. */
    size_t (*cut)(const void *model, const char *word, size_t n);
    /* Never make one of these tokens (flags by id) from text; they come from tok_add alone. */
    mg_status (*forbid)(mg_tokenizer *t, const uint8_t *special, mg_error *err);
    /* Append the members of the JSON object "model" behind its type. */
    mg_status (*write)(const mg_tokenizer *t, mg_buf *out, mg_error *err);
    /* Set model, pre, scores, merges and what else GGUF wants; types are set before. */
    mg_status (*to_gguf)(const mg_tokenizer *t, tok_gguf *g, mg_error *err);
    /* Append a token's text as GGUF spells it. */
    void (*gguf_text)(const mg_tokenizer *t, int32_t id, int32_t type, mg_buf *out);
    void (*free)(void *model);
} tok_model_row;

#define MODEL(x) extern const tok_model_row tok_model_##x;
#include "text/tokenizer_models.def"
#undef MODEL
const tok_model_row *tok_model_find(const char *type);

/* --- the whole --- */

typedef struct tok_ids {
    int32_t *id;
    size_t   n;
} tok_ids;

struct mg_tokenizer {
    char                *name; /* for messages */
    char                *pre;  /* what a GGUF file calls the way of cutting text; NULL: it was no such file */
    tok_vocab            vocab;
    uint8_t             *outside; /* by id below `model_tokens`: no token of the model, only an added one */
    size_t               model_tokens;
    tok_added           *added;
    size_t               n_added, cap_added;
    uint8_t             *special;         /* [vocab.n] by id */
    tok_trie             raw, normalized; /* added tokens matched before and behind the normalizer */
    tok_chain            normalizer, pretokenizer, decoder;
    char                *post_json;
    tok_ids              before, behind; /* what the post-processor adds */
    const tok_model_row *model_row;
    void                *model;
    int32_t              bos, eos, pad, unk;
    pthread_mutex_t      lock; /* of the pool */
    mg_tok_work         *pool;
};

/* A word and its ids, kept because words come back. */
enum { TOK_CACHE_KEY = 30, TOK_CACHE_IDS = 7, TOK_CACHE_SLOTS = 16384 };
typedef struct tok_cached {
    uint8_t len, n; /* len 0: empty */
    char    key[TOK_CACHE_KEY];
    int32_t id[TOK_CACHE_IDS];
} tok_cached;

typedef struct tok_range {
    size_t begin, end;
    bool   match;
} tok_range;

struct mg_tok_work {
    const mg_tokenizer *t;
    mg_ids             *ids;
    mg_error           *err;
    mg_regex_work      *regex;
    mg_buf              lossy, normal[2];
    mg_buf              stage[TOK_MAX_STAGES]; /* a pre-tokenizer's rewritten text */
    tok_range          *range[TOK_MAX_STAGES];
    size_t              cap_range[TOK_MAX_STAGES];
    void               *symbol, *heap; /* the model's own, of the sizes below */
    size_t              cap_symbol, cap_heap;
    tok_cached         *cache; /* [TOK_CACHE_SLOTS] */
    mg_mecab           *mecab; /* opened when a word is asked for */
    mg_tok_work        *next;
};

mg_status tok_no_memory(const mg_tokenizer *t, mg_error *err);
mg_status tok_encode_word(mg_tok_work *w, const char *word, size_t n);

/* --- building, used by the three readers in this order --- */

mg_tokenizer *tok_new(const char *name); /* NULL: no memory */
/* The vocabulary is filled by hand, then comes the model, then these. */
mg_status tok_set_components(mg_tokenizer *t, yyjson_val *normalizer, yyjson_val *pretokenizer,
                             yyjson_val *decoder, mg_error *err); /* NULL or JSON null: none */
/* An added token; text that the vocabulary knows keeps its id there. */
mg_status tok_add(mg_tokenizer *t, tok_added token, mg_error *err);
mg_status tok_set_post(mg_tokenizer *t, yyjson_val *post, mg_error *err);
/* A post-processor that puts bos before and eos behind (-1: not). */
mg_status tok_set_bos_eos(mg_tokenizer *t, int32_t bos, int32_t eos, mg_error *err);
/* The vocabulary from a JSON object {"text": id}. */
mg_status tok_vocab_parse(mg_tokenizer *t, yyjson_val *vocab, mg_error *err);
/* Append it as the member "vocab" of an object, a comma before it. */
void tok_vocab_write(const mg_tokenizer *t, mg_buf *out);
/* Components from the text of a JSON object {"normalizer": .., "pre_tokenizer": .., "decoder": ..}. */
mg_status tok_set_components_text(mg_tokenizer *t, const char *json, mg_error *err);
/* The components of a SentencePiece model.  `prefix`: a space is put in front of the text; `legacy`:
 * in front of what follows an added token, too (transformers' "legacy": true).  charsmap may be NULL. */
typedef struct tok_spm_style {
    bool        prefix, legacy, squeeze; /* squeeze: runs of spaces become one, those at the ends go */
    const void *charsmap;
    size_t      charsmap_bytes;
} tok_spm_style;
mg_status tok_set_spm_components(mg_tokenizer *t, tok_spm_style style, mg_error *err);
/* mg_tokenizer_parse_spm with what tokenizer_config.json says. */
typedef struct tok_spm_config {
    bool legacy, add_bos, add_eos;
} tok_spm_config;
mg_status tok_parse_spm(mg_tokenizer **out, const void *bytes, size_t n, tok_spm_config config, const char *name,
                        mg_error *err);
/* vocab.txt of a BERT model; config: tokenizer_config.json or NULL. */
mg_status tok_parse_vocab_txt(mg_tokenizer **out, const char *text, size_t n, yyjson_val *config, const char *name,
                              mg_error *err);
/* A buffer of at least n elements, contents kept. */
bool tok_room(void **p, size_t *cap, size_t n, size_t size);
/* Tries and flags; call last. */
mg_status tok_finish(mg_tokenizer *t, mg_error *err);

mg_status tok_trie_build(mg_tokenizer *t, mg_error *err);
/* The normal form of *text, in one of the buffers or as it was; makes *w when it is NULL. */
mg_status    tok_normalize_one(const mg_tokenizer *t, mg_tok_work **w, const char **text, size_t *n, mg_buf *a,
                               mg_buf *b, mg_error *err);
mg_tok_work *tok_work_new(const mg_tokenizer *t); /* NULL: no memory */
void         tok_work_free(mg_tok_work *w);
/* Text cut at added tokens: tok_cut_next gives a gap of plain text (perhaps empty) and the
 * added token behind it, -1 at the end. */
typedef struct tok_cut {
    const mg_tokenizer *t;
    const tok_trie     *trie;
    const char         *text;
    size_t              n, at, gap; /* where the search goes on; where the gap begins */
    bool                skip_special;
    const uint8_t      *plain; /* [n] or NULL: special tokens must not touch these bytes */
} tok_cut;
typedef struct tok_piece {
    size_t  begin, end; /* of the gap */
    int32_t added;
} tok_piece;
tok_piece tok_cut_next(tok_cut *c);
/* The BPE model without a list of merges: two tokens merge when their text together is a
 * token, best score first, as transformers converts SentencePiece models. */
/* score: [vocab.n] by id, copied.  ids_break_ties: of equal scores the pair with the
 * lower ids goes first, as in the files of Gemma 1 and 2; else the longer left part. */
mg_status tok_bpe_from_scores(mg_tokenizer *t, const float *score, int32_t unk, bool ids_break_ties,
                              mg_error *err);
/* The Unigram model; score as above.  aside: as in SentencePiece: sums are in single precision, and the tokens
 * that it names (by id, copied) neither come from text nor count for the worst score; NULL: as in Hugging Face tokenizers. */
mg_status tok_unigram_from_scores(mg_tokenizer *t, const float *score, int32_t unk, bool byte_fallback,
                                  const uint8_t *aside, mg_error *err);
/* The WordPiece model with "##", over a filled vocabulary. */
mg_status tok_wordpiece_over_vocab(mg_tokenizer *t, int32_t unk, mg_error *err);
/* The byte-level BPE model from "left right" lines. */
mg_status tok_bpe_from_merges(mg_tokenizer *t, const char *const *merge, const size_t *len, size_t n,
                              bool ignore_merges, mg_error *err);

#endif
