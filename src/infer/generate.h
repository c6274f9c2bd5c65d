/* generate.h -- text from a model, token by token, with a cache of keys and values.
 *
 * A prompt is read alone and in pieces of fixed size; then all sequences take their steps together, and
 * one that ends makes room for the next prompt.  On backends that keep a row's bits in a batch
 * (mg_backend.steady_rows) a prompt gives one text, whatever else is generated beside it. */
#ifndef MG_INFER_GENERATE_H
#define MG_INFER_GENERATE_H

#include "infer/sample.h"
#include "model/model.h"
#include "text/tokenizer.h"

typedef enum mg_finish {
    MG_FINISH_STOP,    /* a stop token or a stop text */
    MG_FINISH_LENGTH,  /* max_new_tokens */
    MG_FINISH_CONTEXT, /* the context is full */
    MG_FINISH_CANCELLED,
} mg_finish;

typedef struct mg_generation {
    mg_ids    ids;  /* what was generated, with the stop token when one ended it */
    mg_buf    text; /* of the ids without special tokens, up to a stop text; NULL data when nothing came */
    mg_finish finish;
    int64_t   reused; /* tokens of the prompt that the cache had already */
} mg_generation;

typedef struct mg_generate_options {
    mg_sampling        sampling;
    int64_t            max_new_tokens; /* 0: until the context is full */
    const int32_t     *stop;           /* [n_stop] tokens */
    size_t             n_stop;
    const char *const *stop_text; /* [n_stop_texts] */
    size_t             n_stop_texts;
    bool               adapters_off; /* the base model */
    bool               keep; /* one prompt only: tokens that the cache holds from the last call are not read again.
                                Their numbers may then differ in the last bits from those of a fresh start. */
    void *context;
    /* Whole characters, as soon as they are certain; false ends this sequence. */
    bool (*on_text)(void *context, size_t prompt, const char *text, size_t n);
    /* Asked before every pass; true ends all. */
    bool (*cancelled)(void *context);
} mg_generate_options;

typedef struct mg_generator mg_generator;

/* `slots` sequences side by side (cut to what the backend keeps steady), each of up to `context` tokens, prompt
 * and answer together.  All memory is made here.  MG_CONFIG when the model was opened for fewer positions.
 * Everything is borrowed until mg_generator_close; without a tokenizer (NULL) there are ids and no text. */
mg_status mg_generator_open(mg_generator **out, const mg_model *m, const mg_tokenizer *tokenizer,
                            const mg_backend *b, int slots, int64_t context, mg_error *err);
/* The same for prompts of at most `longest` tokens, which takes less memory. */
mg_status mg_generator_open_for(mg_generator **out, const mg_model *m, const mg_tokenizer *tokenizer,
                                const mg_backend *b, int slots, int64_t context, int64_t longest, mg_error *err);
void      mg_generator_close(mg_generator *g); /* NULL is fine */
int       mg_generator_slots(const mg_model *m, size_t prompts); /* the number side by side that is fastest */
int64_t   mg_generator_context(const mg_generator *g);
size_t    mg_generator_bytes(const mg_generator *g); /* arena and cache, when every slot is full */
/* After weights or adapter have changed: what the cache holds is void. */
void mg_generator_forget(mg_generator *g);
/* After another adapter was switched on: the cache is void, and its passes may need other memory. */
mg_status mg_generator_adapted(mg_generator *g, mg_error *err);

/* Answers to n prompts; out [n] is overwritten and freed with mg_generation_free, also after a failure (then
 * all are empty).  MG_TRUNCATED: a prompt leaves no room in the context. */
mg_status mg_generate(mg_generator *g, const mg_ids *prompt, size_t n, const mg_generate_options *o,
                      mg_generation *out, mg_error *err);
void      mg_generation_free(mg_generation *g);

/* The same with a generator of its own, just as large as these prompts need. */
mg_status mg_generate_all(const mg_model *m, const mg_tokenizer *tokenizer, const mg_backend *b,
                          const mg_ids *prompt, size_t n, const mg_generate_options *o, mg_generation *out,
                          mg_error *err);

#endif
