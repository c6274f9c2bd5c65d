/* inference.h -- what the commands that run a model have in common: options, opening, reading, showing. */
#ifndef MG_CLI_INFERENCE_H
#define MG_CLI_INFERENCE_H

#include "cli/command.h"
#include "infer/bundle.h"
#include "infer/generate.h"
#include "infer/prompt.h"

typedef struct mg_inference_options {
    char   *model;         /* a model, or a run (then its adapter, too) */
    char   *adapter;       /* folder, run name or `last` */
    char   *chat_template;
    char   *device;        /* auto, cpu, cuda, cuda:0 */
    int     dtype;         /* auto, float32, bfloat16, float16 */
    int64_t threads;
    int64_t max_length;    /* context */
} mg_inference_options;

typedef struct mg_answer_options {
    double  temperature, top_p, min_p, repetition_penalty;
    int64_t top_k, seed, max_new_tokens;
    mg_list stop;
} mg_answer_options;

/* Rows of an option table, for a struct that holds one of the above as member `f`. */
#define MG_TEXT_ROWS(T, f) \
    { .name = "model_name_or_path", .aliases = "model,base_model,model_id", .type = &mg_option_string, \
      .offset = offsetof(T, f.model), .flag = 'm', .metavar = "MODEL", .group = MG_N("Model"), \
      .help = MG_N("the model: a Hugging Face folder, a .gguf file, or a run with its adapter") }, \
    { .name = "adapter", .aliases = "adapter_name_or_path", .type = &mg_option_string, \
      .offset = offsetof(T, f.adapter), .flag = 'a', .metavar = "DIR", .group = MG_N("Model"), \
      .help = MG_N("an adapter on top of the model: its folder, a run, or `last`") }
#define MG_TEMPLATE_ROW(T, f) \
    { .name = "chat_template", .aliases = "template", .type = &mg_option_string, \
      .offset = offsetof(T, f.chat_template), .metavar = "FILE", .group = MG_N("Model"), \
      .help = MG_N("chat template: a Jinja file or a built-in name; otherwise the model's own") }
#define MG_MACHINE_ROWS(T, f) \
    { .name = "device", .type = &mg_option_string, .offset = offsetof(T, f.device), .def = "auto", .metavar = "DEVICE", \
      .group = MG_N("Machine"), .help = MG_N("where to compute: auto (a GPU if there is one), cpu, cuda or cuda:0") }, \
    { .name = "dtype", .aliases = "torch_dtype", .type = &mg_option_enum, .offset = offsetof(T, f.dtype), \
      .def = "auto", .choices = "auto|float32,fp32,f32|bfloat16,bf16|float16,fp16,f16", .group = MG_N("Machine"), \
      .help = MG_N("number format of the products") }, \
    { .name = "threads", .type = &mg_option_int, .offset = offsetof(T, f.threads), .def = "0", .max = 4096, \
      .group = MG_N("Machine"), .help = MG_N("threads; 0: every usable core") }
#define MG_CONTEXT_ROW(T, f) \
    { .name = "max_length", .aliases = "max_seq_length,n_ctx,num_ctx", .type = &mg_option_int, \
      .offset = offsetof(T, f.max_length), .def = "4096", .min = 2, .max = 1 << 20, .group = MG_N("Machine"), \
      .help = MG_N("longest context in tokens, prompt and answer together") }
#define MG_ANSWER_ROWS(T, f, default_temperature, default_tokens) \
    { .name = "temperature", .type = &mg_option_float, .offset = offsetof(T, f.temperature), \
      .def = default_temperature, .max = 100, .group = MG_N("Answer"), .help = MG_N("0: always the most likely token") },\
    { .name = "top_k", .type = &mg_option_int, .offset = offsetof(T, f.top_k), .def = "0", .max = 1 << 20, \
      .group = MG_N("Answer"), .help = MG_N("draw among so many of the most likely tokens; 0: all") }, \
    { .name = "top_p", .type = &mg_option_float, .offset = offsetof(T, f.top_p), .def = "0.95", .max = 1, \
      .group = MG_N("Answer"), .help = MG_N("draw among the most likely tokens that hold this probability") }, \
    { .name = "min_p", .type = &mg_option_float, .offset = offsetof(T, f.min_p), .def = "0", .max = 1, \
      .group = MG_N("Answer"), .help = MG_N("leave out tokens less likely than this part of the most likely one") }, \
    { .name = "repetition_penalty", .type = &mg_option_float, .offset = offsetof(T, f.repetition_penalty), \
      .def = "1", .min = 0.01, .max = 100, .group = MG_N("Answer"), \
      .help = MG_N("above 1: tokens that were there already become less likely") }, \
    { .name = "seed", .type = &mg_option_int, .offset = offsetof(T, f.seed), .def = "42", \
      .max = 9007199254740991.0, .group = MG_N("Answer"), .help = MG_N("the same seed gives the same answer") }, \
    { .name = "max_new_tokens", .aliases = "max_tokens,n_predict,num_predict", .type = &mg_option_int, \
      .offset = offsetof(T, f.max_new_tokens), .def = default_tokens, .max = 1 << 20, .group = MG_N("Answer"), \
      .help = MG_N("longest answer in tokens; 0: until the context is full") }, \
    { .name = "stop", .type = &mg_option_texts, .offset = offsetof(T, f.stop), .metavar = "TEXT", \
      .group = MG_N("Answer"), .help = MG_N("end the answer before this text; may be given several times") }

/* What model and adapter mean, found without opening them: paths on the heap.  A run in the place of the model
 * brings its adapter; an adapter alone names its model.  `adapter` is NULL without one. */
typedef struct mg_inference_paths {
    char *model, *adapter;
    char *chat_template; /* by the user, else of the run's folder, else NULL */
} mg_inference_paths;
mg_status mg_inference_find(mg_inference_paths *out, const mg_inference_options *o, mg_error *err);
void      mg_inference_paths_free(mg_inference_paths *p);

/* Open for text; chat_template "none" overrides what o says.  Weights and adapter come with mg_inference_load,
 * which also starts the threads and answers with the kernels to use. */
mg_status mg_inference_open(mg_bundle *b, const mg_inference_paths *p, bool wants_template, mg_error *err);
mg_status mg_inference_load(mg_bundle *b, const mg_inference_paths *p, const mg_inference_options *o, int64_t positions,
                            const mg_backend **backend, mg_error *err);
/* The context to use: o->max_length, but no more than the model was made for. */
int64_t mg_inference_context(const mg_bundle *b, const mg_inference_options *o);

/* Borrowed from `o` and `b`. */
mg_generate_options mg_answer_settings(const mg_answer_options *o, const mg_bundle *b);

/* Standard input as a whole. */
mg_status mg_read_input(mg_buf *out, mg_error *err);
/* What a model says, to standard output at once.  On a terminal, control characters are left out: a model must
 * not be able to work the terminal.  False: it cannot be written. */
bool mg_show_text(const char *text, size_t n);

void mg_json_ids(mg_buf *b, const int32_t *ids, size_t n); /* [1,2,3] */

/* SIGINT while a model works: the first is counted, and mg_interrupted says so to the loop. */
void mg_interrupts_begin(void);
void mg_interrupts_end(void);
bool mg_interrupted(void);
bool mg_cancelled(void *nothing); /* the same, as the `cancelled` of generation and the like */
void mg_interrupts_clear(void);
/* One byte of standard input: 1; 0: its end; -1: interrupted since the last clear, also before the call. */
int mg_read_byte(char *out);

#endif
