/* gguf_tokenizer.h -- the tokenizer inside of a GGUF file. */
#ifndef MG_FORMAT_GGUF_TOKENIZER_H
#define MG_FORMAT_GGUF_TOKENIZER_H

#include "format/gguf.h"
#include "text/tokenizer.h"

/* Read tokenizer.ggml.* of `g`.  The tokenizer keeps nothing of the file.
 * MG_NOTFOUND when the file has no tokenizer, MG_UNSUPPORTED for an unknown kind,
 * MG_FORMAT when arrays or ids do not fit together. */
mg_status mg_gguf_tokenizer(mg_tokenizer **out, const mg_gguf *g, mg_error *err);

#endif
