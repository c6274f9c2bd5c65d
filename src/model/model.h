/* model.h -- an architecture is one row: a forward pass of one block and a table of weights.
 *
 * The table serves loading from Hugging Face folders and GGUF files, the names of
 * adapter tensors, and saving.  The driver (model.c) owns what all architectures
 * share: embedding, the loop over blocks (each a segment of the tape), final norm
 * and head.  Training and generation run the same block. */
#ifndef MG_MODEL_MODEL_H
#define MG_MODEL_MODEL_H

#include "format/config.h"
#include "nn/params.h"
#include "nn/seam.h"
#include "tensor/nf4.h"

typedef struct mg_layer {
    mg_linear            q, k, v, o, gate, up, down;
    mg_tensor           *attn_norm, *ffn_norm;           /* before the branch */
    mg_tensor           *post_attn_norm, *post_ffn_norm; /* after it (Gemma) */
    mg_tensor           *q_norm, *k_norm;                /* of each head */
    const mg_rope_table *rope;
    mg_attention_kind    attention;
} mg_layer;

typedef struct mg_model mg_model;

/* Sizes that a shape is made of; MG_DIM_1 marks a vector. */
typedef enum mg_dim { MG_DIM_1, MG_DIM_D, MG_DIM_Q, MG_DIM_KV, MG_DIM_F, MG_DIM_HD, MG_DIM_V } mg_dim;

enum {
    MG_WEIGHT_OPTIONAL = 1,   /* absent: the field stays NULL */
    MG_WEIGHT_PLUS_ONE = 2,   /* Hugging Face stores g - 1 (Gemma's norms) */
    MG_WEIGHT_INTERLEAVED = 4 /* GGUF stores the rows of each head interleaved for its rope; put back on loading */
};

/* One weight: where it goes (a field of mg_layer), what files call it (%d: layer), its shape. */
typedef struct mg_weight_row {
    size_t      field;        /* offset in mg_layer of an mg_linear (role set) or an mg_tensor pointer */
    mg_role     role;         /* 0: a vector */
    const char *hf, *gguf;    /* without ".weight" */
    const char *hf_bias, *gguf_bias; /* whole names; NULL: never has one */
    mg_dim      rows, cols;
    unsigned    flags;
} mg_weight_row;

typedef struct mg_arch {
    const char          *name;                        /* "llama" */
    const char          *hf_types[4], *gguf_archs[4]; /* NULL ends; the first is what is written */
    const char          *hf_class;                    /* of transformers: "LlamaForCausalLM" */
    const mg_weight_row *weights;                     /* role 0 and hf NULL ends */
    bool                 norms_plus_one;              /* also the final norm */
    /* What config files of this architecture leave out or mean differently. */
    mg_status (*adjust)(mg_config *c, bool from_gguf, mg_error *err);
    double (*embedding_scale)(const mg_config *c); /* NULL: 1 */
    mg_block_fn block;
} mg_arch;

typedef struct mg_model_options {
    int64_t          positions;    /* longest sequence that will be seen; 0: 2048 */
    const mg_format *quant;        /* nf4 or fp4: pack the linears of a plain model; NULL: as they are */
    int              quant_block;  /* 64 or 128 */
    bool             quant_nested; /* double quantisation */
} mg_model_options;

struct mg_model {
    const mg_arch *arch;
    mg_config      c;
    mg_net         net;
    mg_layer      *layer; /* [c.layers] */
    mg_tensor     *embed, *norm;
    mg_linear      head; /* w is embed when tied; never adapted by default */
    mg_rope_table  rope, rope_local;
    mg_activation  activation;
    float          embed_scale;
    bool           from_gguf;
    size_t         weight_bytes;      /* all weights as they lie in memory */
    size_t         copied_bytes;      /* of these, in memory of our own (the rest is mapped) */
    int64_t        parameters;
    const char    *format_summary;    /* "q4_k, q5_0, q6_k, q8_0" */
    const mg_device *device;          /* where the weights lie */
    struct mg_model_store *store;     /* files, mappings, buffers, tensor structs */
};

/* `path`: a .gguf file or a Hugging Face folder. */
mg_status mg_model_open(mg_model **out, const char *path, const mg_model_options *o, mg_error *err);
void      mg_model_close(mg_model *m);

/* Move all weights and the tables of angles to the backend's device: packed types as they are, plain matrices as its
 * elements, norms in fp32.  Tensors of a sealed parameter set are there already.  Nothing to do on the host.
 * MG_NOMEM when the device has no room; the model is then as it was. */
mg_status mg_model_place(mg_model *m, const mg_backend *b, mg_error *err);
/* Bytes of the weights on the backend's device. */
size_t mg_model_placed_bytes(const mg_model *m, const mg_backend *b);

/* The GGUF file behind the model, NULL for a folder: for its tokenizer and template. */
const mg_gguf *mg_model_gguf(const mg_model *m);

/* Every weight, for full training and tests: names as Hugging Face has them ("model.norm.weight").
 * f returns false to stop. */
typedef bool (*mg_weight_fn)(mg_tensor *w, void *context);
void mg_model_each_weight(mg_model *m, mg_weight_fn f, void *context);

/* Hidden states after the final norm, [rows, D]. */
mg_tensor *mg_model_hidden(mg_tape *t, const mg_model *m);
/* Log-probabilities of the batch's labelled rows, [n_labels, 1]; top_id or NULL as in mg_logprob. */
mg_tensor *mg_model_logprobs(mg_tape *t, const mg_model *m, int32_t *top_id);
/* Logits [n, V] of chosen rows of the hidden states (soft cap applied by the reader: m->c.final_softcap). */
mg_tensor *mg_model_logits(mg_tape *t, const mg_model *m, mg_tensor *hidden, const int32_t *row, int64_t n);

const mg_arch *const *mg_archs(void); /* NULL ends */

/* ---- for architectures ---- */
mg_tensor *mg_llama_block(mg_tape *t, const void *model, int layer, mg_tensor *x); /* pre-norm, gated: llama, qwen2 */
#define MG_LAYER(field) offsetof(mg_layer, field)

#endif
