/* prompt.h -- what the methods with virtual tokens share: settings, encoders, the rows that they put.
 *
 *     prompt tuning   rows of the embedding, trained as they are      Lester et al. 2021, arXiv 2104.08691
 *     P-tuning        the same, made by an encoder (MLP or LSTM)      Liu et al. 2021, arXiv 2103.10385
 *     prefix tuning   keys and values of every layer, with or without an encoder   Li & Liang 2021, arXiv 2101.00190
 *
 * A virtual token is a row of the batch (nn/virtual.h).  As PEFT does, the folder keeps only what the encoder made
 * ("prompt_embeddings"); the encoder itself is for training, in adapter_training.safetensors. */
#ifndef MG_PEFT_PROMPT_H
#define MG_PEFT_PROMPT_H

#include "peft/adapter.h"

typedef enum mg_prompt_init { MG_PROMPT_RANDOM, MG_PROMPT_TEXT, MG_PROMPT_SAMPLE_VOCAB } mg_prompt_init;
typedef enum mg_prompt_encoder { MG_ENCODER_MLP, MG_ENCODER_LSTM } mg_prompt_encoder;

typedef struct mg_prompt_settings {
    int64_t num_virtual_tokens;
    int     init; /* mg_prompt_init */
    char   *init_text;
    int     reparameterization; /* mg_prompt_encoder */
    int64_t encoder_hidden_size, encoder_num_layers; /* hidden size 0: that of the model */
    double  encoder_dropout;
    bool    projection;
} mg_prompt_settings;
extern const mg_option mg_prompt_options[];

/* One layer of an encoder: y = x w^T + b. */
typedef struct mg_dense { mg_tensor *w, *b; } mg_dense;

enum { MG_ENCODER_DENSE = 3, MG_ENCODER_LSTMS = 8 };
typedef struct mg_encoder { /* of one adapter, when it trains; owned as mg_adapter.state */
    mg_tensor *embedding;                 /* [P, cols] */
    mg_dense   dense[MG_ENCODER_DENSE];
    int        n_dense;
    mg_activation between;                /* dense layers */
    struct { mg_dense in, state; } lstm[MG_ENCODER_LSTMS][2]; /* both directions: [4H,I] and [4H,H] */
    int        n_lstm;
    float      dropout;                   /* between LSTM layers */
    mg_tensor *made;                      /* "prompt_embeddings", a constant: what before_save leaves */
    mg_tensor *rows;                      /* of the pass at hand */
} mg_encoder;

static inline const mg_prompt_settings *mg_prompt_of(const mg_adapter_config *c) { return (const void *)c->own; }

int64_t mg_prompt_rows(const mg_adapter_config *c); /* num_virtual_tokens */
/* Check num_virtual_tokens and the like. */
mg_status mg_prompt_check(const mg_adapter_config *c, mg_error *err);
/* A dense layer with PEFT's name: "prompt_encoder.default.NAME.weight" and ".bias". */
void mg_encoder_add(mg_adapter *a, mg_encoder *e, int64_t in, int64_t out, const char *name);
/* [P, out]: what the encoder makes of its embedding. */
mg_tensor *mg_encode(mg_tape *t, const mg_encoder *e, mg_rng rng);
/* Rows of method rows: init as torch does, made after training, released. */
mg_status mg_encoder_init(mg_adapter *a, uint64_t seed, mg_error *err);
mg_status mg_encoder_before_save(mg_adapter *a, mg_error *err);
void      mg_encoder_free(void *state);
/* x [n] normal with deviation 1, of stream `index`. */
void mg_normal(float *x, int64_t n, uint64_t seed, uint32_t index);

/* adapter_config.json of all of them.  `cols`: token_dim. */
void      mg_prompt_write_config(const mg_adapter *a, int64_t cols, int64_t heads, mg_buf *out);
mg_status mg_prompt_read_config(mg_adapter_config *c, yyjson_val *json, const char *name, mg_error *err);
extern const char *const mg_prompt_keys[];

#endif
