/* gguf_meta.h -- what a GGUF file says about its model and tokenizer. */
#ifndef MG_DELIVER_GGUF_META_H
#define MG_DELIVER_GGUF_META_H

#include "format/gguf_write.h"
#include "infer/bundle.h"

/* General, hyperparameters and tokenizer of a model that comes from a Hugging Face folder, under llama.cpp's keys.
 * MG_UNSUPPORTED: something that llama.cpp has no key for. */
mg_status mg_gguf_meta_from_config(mg_gguf_writer *w, const mg_bundle *b, const char *name, mg_error *err);
/* The same of one that comes from GGUF: its values as they are, but for the template when the bundle has another one. */
mg_status mg_gguf_meta_copy(mg_gguf_writer *w, const mg_bundle *b, mg_error *err);

/* The factors that divide the frequencies of a llama3 rope, [hd/2] floats; MG_ROPE_LLAMA3 only. */
void mg_llama3_divisors(const mg_rope_config *r, int64_t hd, float *out);

#endif
