/* delivery.h -- what `export`, `merge` and `quantize` share: open, write, replay, put in place. */
#ifndef MG_CLI_DELIVERY_H
#define MG_CLI_DELIVERY_H

#include "cli/inference.h"

typedef struct mg_delivery_options {
    mg_inference_options model; /* dtype is not used: the check computes in float32 */
    char    *to;             /* "gguf:q4_k_m" */
    char    *out;
    int      dtype;          /* 0 auto, 1 float32, 2 float16, 3 bfloat16: of a Hugging Face folder or a LoRA */
    uint64_t max_shard_size;
    double   max_kl;         /* below 0: what the type may lose */
    char    *prompts;
    int      merge_base;     /* 0 trained, 1 original: what an adapter trained on nf4 or fp4 is added to */
    bool     overwrite;
} mg_delivery_options;

#define MG_DELIVERY_ROWS(T, f) \
    { .name = "max_kl", .type = &mg_option_float, .offset = offsetof(T, f.max_kl), .def = "-1", .min = -1, .max = 1e9, \
      .metavar = "NATS", .group = MG_N("Check"), \
      .help = MG_N("refuse what loses more than this (mean KL divergence a token); -1: a bound that fits the type") }, \
    { .name = "prompts", .type = &mg_option_string, .offset = offsetof(T, f.prompts), .metavar = "FILE", .group = MG_N("Check"), \
      .help = MG_N("prompts to replay, one a line; otherwise those that the run stored, else a few of our own") }, \
    { .name = "overwrite", .type = &mg_option_bool, .offset = offsetof(T, f.overwrite), .def = "false", .group = "", \
      .help = MG_N("replace what stands at the output already") }, \
    { .name = "threads", .type = &mg_option_int, .offset = offsetof(T, f.model.threads), .def = "0", .max = 4096, \
      .group = MG_N("Machine"), .help = MG_N("threads; 0: every usable core") }
#define MG_DELIVERY_OUT_ROW(T, f) \
    { .name = "output", .aliases = "output_dir,out,outfile", .type = &mg_option_string, .offset = offsetof(T, f.out), .flag = 'o', \
      .metavar = "PATH", .group = "", .help = MG_N("the file or folder to write") }
#define MG_DELIVERY_MERGE_ROWS(T, f) \
    { .name = "dtype", .aliases = "torch_dtype", .type = &mg_option_enum, .offset = offsetof(T, f.dtype), .def = "auto", \
      .choices = "auto|float32,fp32,f32|float16,fp16,f16|bfloat16,bf16", .group = MG_N("Format"), \
      .help = MG_N("number format of a Hugging Face folder; auto: the base model's, bfloat16 for a packed one") }, \
    { .name = "max_shard_size", .type = &mg_option_size, .offset = offsetof(T, f.max_shard_size), .def = "5GB", \
      .group = MG_N("Format"), .help = MG_N("largest safetensors file; larger models are cut into several") }, \
    { .name = "merge_base", .type = &mg_option_enum, .offset = offsetof(T, f.merge_base), .def = "trained", \
      .choices = "trained|original", .group = MG_N("Format"), \
      .help = MG_N("after training on nf4 or fp4: merge into the weights as they were trained on, or into the original ones") }

/* Write o->to from model and adapter.  MG_SELFCHECK: what was written computes something else, and was removed. */
mg_status mg_deliver(mg_cli *cli, const mg_delivery_options *o, mg_error *err);

#endif
