/* hf.h -- the small files of a Hugging Face folder. */
#ifndef MG_DELIVER_HF_H
#define MG_DELIVER_HF_H

#include "deliver/deliver.h"

/* config.json, for weights written as `dtype` ("bfloat16"): the source folder's own, or from the numbers of a GGUF file.
 * MG_UNSUPPORTED: the file says something that config.json cannot. */
mg_status mg_hf_write_config(const mg_bundle *b, const char *folder, const char *dtype, mg_error *err);

/* Tokenizer files, generation_config.json and chat_template.jinja: copies from a source folder, made anew from GGUF. */
mg_status mg_hf_write_text(const mg_bundle *b, const char *folder, mg_error *err);

#endif
