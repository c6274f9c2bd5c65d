/* tokenizer.h -- text to token ids and back, exactly as Hugging Face tokenizers does.
 *
 * A tokenizer is described by an mg_tokenizer_spec, which these readers fill:
 * tokenizer.json (tokenizer_json.c), SentencePiece tokenizer.model (tokenizer_spm.c), BERT's vocab.txt
 * (tokenizer_vocab_txt.c) and GGUF metadata (tokenizer_gguf.c, format/gguf_tokenizer.c).  The kinds of
 * model (byte-level BPE, SentencePiece BPE, ...) are rows of a table.
 * Authority where they differ: Hugging Face tokenizers 0.22. */
#ifndef MG_TEXT_TOKENIZER_H
#define MG_TEXT_TOKENIZER_H

#include "base/mem.h"

typedef struct mg_tokenizer mg_tokenizer;

enum {
    MG_TOKENIZE_SPECIAL = 1, /* add what the post-processor adds (BOS, EOS) */
    MG_TOKENIZE_PARSE = 2,   /* text that spells a special token becomes that token; without it
                                such text is encoded as plain text (what a user typed) */
};

/* Read tokenizer.json, else tokenizer.model, else BERT's vocab.txt, from a Hugging Face model folder,
 * with tokenizer_config.json / special_tokens_map.json beside it when present. */
mg_status mg_tokenizer_open(mg_tokenizer **out, const char *folder, mg_error *err);
mg_status mg_tokenizer_parse_json(mg_tokenizer **out, const char *text, size_t n, const char *name, mg_error *err);
mg_status mg_tokenizer_parse_spm(mg_tokenizer **out, const void *bytes, size_t n, const char *name, mg_error *err);
void      mg_tokenizer_free(mg_tokenizer *t);

/* What a GGUF file knows of its tokenizer (tokenizer.ggml.*).  Borrowed during
 * the call only.  `model`: "llama" (SentencePiece BPE), "gpt2" (byte-level BPE), "t5" (Unigram),
 * "bert" (WordPiece). */
typedef struct mg_gguf_vocab {
    const char        *model, *pre; /* pre: "smollm", "qwen2", "llama-bpe", ...; NULL: absent */
    size_t             n;
    const char *const *token; /* [n] bytes */
    const size_t      *token_len;
    const float       *score; /* [n] or NULL */
    const int32_t     *type;  /* [n] ggml token types or NULL: 1 normal, 2 unknown, 3 control,
                                 4 user defined, 5 unused, 6 byte */
    size_t             n_merges;
    const char *const *merge; /* "left right" */
    const size_t      *merge_len;
    int32_t            bos, eos, unk, pad, eot;            /* -1: absent */
    int                add_bos, add_eos, add_space_prefix; /* -1: absent */
    int                remove_extra_whitespaces;           /* -1: absent */
    const void        *charsmap;                           /* precompiled_charsmap, or NULL */
    size_t             charsmap_bytes;
    char              *owned; /* of mg_tokenizer_to_gguf: where the text lies */
} mg_gguf_vocab;
mg_status mg_tokenizer_from_gguf(mg_tokenizer **out, const mg_gguf_vocab *vocab, const char *name, mg_error *err);

/* The way back, for writers of GGUF files: token list, scores, types, merges, model and pre, special ids and flags as
 * they go under tokenizer.ggml.* (an id of -1, a flag of -1 or a NULL pointer is not written).  What it gives,
 * mg_tokenizer_from_gguf reads back to a tokenizer of the same ids; llama.cpp reads it, too.  Texts of added
 * tokens are spelled as llama.cpp's converter does (a user-defined run of U+2581 becomes blanks), ids without a
 * token become unused "[PAD17]" up to `n` rows (of the embedding; 0: mg_tokenizer_size).  `pre` is found by
 * comparing normalizer and pre-tokenizer with those that GGUF has a name for; a tokenizer that none fits is
 * MG_UNSUPPORTED, and so is a kind that GGUF cannot hold.  Scores of a BPE model that was read from a list of merges
 * are the places in that list, counted down.  A file that was GGUF before keeps its metadata best by copying it.
 * The chat template is not the tokenizer's.  Release with mg_gguf_vocab_free; `t` must live as long. */
mg_status mg_tokenizer_to_gguf(const mg_tokenizer *t, size_t n, mg_gguf_vocab *out, mg_error *err);
void      mg_gguf_vocab_free(mg_gguf_vocab *v); /* only of mg_tokenizer_to_gguf */

/* The names of the files in a Hugging Face folder that describe its tokenizer, NULL at the end.  Who exports a
 * folder copies those that exist byte for byte; from a GGUF file mg_tokenizer_write_json makes the first. */
extern const char *const mg_tokenizer_files[];

/* Append the ids of text[0..n).  Thread-safe. */
mg_status mg_tokenize(const mg_tokenizer *t, const char *text, size_t n, unsigned flags, mg_ids *out,
                      mg_error *err);

/* The same for a text that a program and its users wrote together (a rendered chat template): where plain[i] is
 * not 0 a user wrote byte i, and special tokens that touch such a byte are encoded as plain text whatever the
 * flags say. `plain` has n entries or is NULL.  MG_DATA when the two cannot be told apart (see tokenizer.c). */
mg_status mg_tokenize_marked(const mg_tokenizer *t, const char *text, size_t n, const uint8_t *plain,
                             unsigned flags, mg_ids *out, mg_error *err);

/* Append the text of ids; special tokens are skipped when asked. */
mg_status mg_detokenize(const mg_tokenizer *t, const int32_t *ids, size_t n, bool skip_special, mg_buf *out,
                        mg_error *err);

/* Streaming: feed one id, get the bytes that are certain (whole UTF-8 characters,
 * nothing of a character that the next token may complete); flush gives the rest. */
typedef struct mg_detok_stream mg_detok_stream;
mg_detok_stream               *mg_detok_new(const mg_tokenizer *t, bool skip_special);
bool                           mg_detok_feed(mg_detok_stream *s, int32_t id, mg_buf *out); /* false: no memory */
bool                           mg_detok_flush(mg_detok_stream *s, mg_buf *out);
void                           mg_detok_free(mg_detok_stream *s);

int32_t     mg_tokenizer_size(const mg_tokenizer *t);                  /* highest id + 1 */
int32_t     mg_tokenizer_id(const mg_tokenizer *t, const char *token); /* of an exact token, -1: none */
const char *mg_tokenizer_token(const mg_tokenizer *t, int32_t id,
                               size_t *len); /* as in the vocabulary; NULL: no such id */
bool        mg_tokenizer_is_special(const mg_tokenizer *t, int32_t id);
int32_t     mg_tokenizer_bos(const mg_tokenizer *t); /* -1: none */
int32_t     mg_tokenizer_eos(const mg_tokenizer *t);
int32_t     mg_tokenizer_pad(const mg_tokenizer *t);
int32_t     mg_tokenizer_unk(const mg_tokenizer *t);
/* Does MG_TOKENIZE_SPECIAL put BOS in front? */
bool        mg_tokenizer_adds_bos(const mg_tokenizer *t);
const char *mg_tokenizer_kind(const mg_tokenizer *t); /* "byte-level BPE", "SentencePiece BPE", ... */

/* Write tokenizer.json text that Hugging Face tokenizers reads back to the same
 * tokenizer (for run folders made from GGUF files). */
mg_status mg_tokenizer_write_json(const mg_tokenizer *t, mg_buf *out, mg_error *err);

#endif
