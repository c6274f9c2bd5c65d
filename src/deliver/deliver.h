/* deliver.h -- write a trained model in the formats that others read.
 *
 * A bundle with its adapter hooked in goes out as a Hugging Face folder, as a GGUF file, or (the adapter
 * alone) as a GGUF LoRA.  Everything streams tensor by tensor.  Writing and putting in place are two steps, so that what was
 * written can be opened and checked (replay.h) before it gets its name.  Nothing of the model is ever left out in
 * silence: what a format cannot hold is MG_UNSUPPORTED. */
#ifndef MG_DELIVER_DELIVER_H
#define MG_DELIVER_DELIVER_H

#include "deliver/mix.h"
#include "infer/bundle.h"

typedef struct mg_delivery {
    const mg_bundle   *bundle; /* model open without nf4/fp4, tokenizer, template, adapter or none */
    const char        *name;   /* general.name; NULL: from the path */
    mg_piece_progress *progress;
} mg_delivery;

/* The files of a Hugging Face folder into `folder`, which exists and is empty: model.safetensors (or shards of at most
 * `shard_bytes` with an index), config.json, generation_config.json, tokenizer files, chat_template.jinja.  `dtype` NULL:
 * matrices as they are, quantised ones as bf16. */
mg_status mg_deliver_hf(const mg_delivery *d, const char *folder, const mg_format *dtype, uint64_t shard_bytes, mg_error *err);

/* A GGUF file with tokenizer and template; `mix` NULL: every tensor in the format it has (merged ones, too). */
mg_status mg_deliver_gguf(const mg_delivery *d, mg_new_file *out, const mg_mix *mix, mg_error *err);

/* The adapter as llama.cpp loads it beside a GGUF file of the base model, in `format` (f32, f16 or bf16). */
mg_status mg_deliver_gguf_lora(const mg_delivery *d, mg_new_file *out, const mg_format *format, mg_error *err);

/* Hook such a file into a bundle without an adapter; `c` says which layers and rank it must have.  MG_SELFCHECK: it has others.
 * The bundle is closed as usual, after a failure, too. */
mg_status mg_gguf_lora_load(mg_bundle *b, const mg_adapter_config *c, const char *path, const mg_backend *backend, mg_error *err);

#endif
