/* tokenizer_charsmap.h -- the "precompiled_charsmap" of SentencePiece.
 *
 * A double-array trie (Darts-clone) from character sequences to offsets into
 * a block of NUL-terminated replacements; see sentencepiece's normalizer.cc. */
#ifndef MG_TEXT_TOKENIZER_CHARSMAP_H
#define MG_TEXT_TOKENIZER_CHARSMAP_H

#include "base/mem.h"

struct tok_charsmap;
/* From base64, as in tokenizer.json; free() releases. */
mg_status tok_charsmap_parse(struct tok_charsmap **out, const char *base64, size_t n, const char *name,
                             mg_error *err);
/* Append text with its characters replaced; false: no memory. */
bool tok_charsmap_apply(const struct tok_charsmap *m, const char *text, size_t n, mg_buf *out);
/* The map as it stands in a SentencePiece model or a GGUF file, inside of m. */
const void *tok_charsmap_bytes(const struct tok_charsmap *m, size_t *n);
/* Append bytes as base64. */
void tok_base64(mg_buf *out, const void *bytes, size_t n);

#endif
