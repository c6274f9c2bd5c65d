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

/* b is NULL for RMS norms. */
typedef struct mg_norm { mg_tensor *g, *b; } mg_norm;

typedef struct mg_layer {
    mg_linear            q, k, v, o, gate, up, down;
    mg_linear            qkv, gate_up;                   /* in place of these where a file fuses them */
    mg_norm              attn_norm, ffn_norm;            /* before the branch; BERT: after it */
    mg_norm              post_attn_norm, post_ffn_norm;  /* after it (Gemma) */
    mg_norm              q_norm, k_norm;                 /* of each head */
    const mg_rope_table *rope;                           /* mg_rope_of says which to take */
    mg_attention_kind    attention;
} mg_layer;

typedef struct mg_model mg_model;

/* Sizes that a shape is made of; MG_DIM_1 marks a vector. */
typedef enum mg_dim {
    MG_DIM_1, MG_DIM_D, MG_DIM_Q, MG_DIM_KV, MG_DIM_QKV, MG_DIM_F, MG_DIM_2F, MG_DIM_HD, MG_DIM_V, MG_DIM_POSITIONS,
    MG_DIM_TYPES, MG_DIM_LABELS,
} mg_dim;

enum {
    MG_WEIGHT_OPTIONAL = 1,   /* absent: the field stays NULL */
    MG_WEIGHT_PLUS_ONE = 2,   /* Hugging Face stores g - 1 (Gemma's norms) */
    MG_WEIGHT_INTERLEAVED = 4, /* GGUF stores the rows of each head interleaved for its rope; put back on loading */
    MG_WEIGHT_BY_HEAD = 8,    /* Hugging Face keeps q, k and v of a head together, GGUF those of all heads; put back too */
    MG_WEIGHT_TRANSPOSED = 16, /* Hugging Face stores [inputs, outputs] (Conv1D), GGUF and we the other way */
    MG_WEIGHT_OTHER_ROWS = MG_WEIGHT_INTERLEAVED | MG_WEIGHT_BY_HEAD
};

/* One weight: where it goes (a field of mg_layer or mg_model), what files call it (%d: layer), its shape.
 * Linears and norms may have a bias of as many numbers as rows (norms: columns). */
typedef struct mg_weight_row {
    size_t      field;        /* offset of an mg_linear (role set), an mg_norm (rows MG_DIM_1), else an mg_tensor * */
    mg_role     role;         /* 0: no linear; several roles: a fused one */
    const char *hf, *gguf;    /* without ".weight"; gguf NULL: not in such files */
    const char *hf_bias, *gguf_bias; /* whole names; NULL: never has one */
    mg_dim      rows, cols;
    unsigned    flags;
} mg_weight_row;

typedef struct mg_arch {
    const char          *name;                        /* "llama" */
    const char          *hf_types[4], *gguf_archs[4]; /* NULL ends; the first is what is written */
    const char          *hf_class;   /* of transformers: "LlamaForCausalLM" */
    const char          *prefix;     /* of the base model in Hugging Face's names; "": as the file has it */
    const mg_weight_row *ends;       /* outside the blocks: fields of mg_model; hf NULL ends */
    const mg_weight_row *weights;    /* of a block: fields of mg_layer */
    const mg_weight_row *classifier; /* head of a sequence classifier; NULL: "score" without bias */
    const char          *activation; /* where files name none */
    bool                 encoder;    /* sees both directions, predicts no next token */
    /* What config files of this architecture leave out or mean differently. */
    mg_status (*adjust)(mg_config *c, bool from_gguf, mg_error *err);
    double (*embedding_scale)(const mg_config *c); /* NULL: 1 */
    bool   table_scales_itself; /* the scale belongs to the table (Hugging Face's ScaledWordEmbedding), not to the stream */
    mg_block_fn block;
} mg_arch;

typedef struct mg_model_options {
    int64_t          positions;    /* longest sequence that will be seen; 0: 2048 */
    const mg_format *quant;        /* nf4, fp4 or int8: pack the linears of a plain model; NULL: as they are */
    int              quant_block;  /* 64 or 128 */
    bool             quant_nested; /* double quantisation */
    float            outlier;      /* int8: inputs from this size on are not rounded; 0: all are */
    const char      *quant_skip;   /* "lm_head,down_proj": modules that are not packed, by parts of their names; NULL: heads */
} mg_model_options;

struct mg_model {
    const mg_arch *arch;
    mg_config      c;
    mg_net         net;
    mg_layer      *layer; /* [c.layers] */
    mg_tensor     *embed, *position, *type; /* tables; position and type may be NULL */
    mg_norm        embed_norm, norm;        /* g NULL: none */
    mg_linear      head;   /* w is embed when tied, NULL when there is none; never adapted by default */
    mg_linear      pooler; /* BERT: on the first token of a sequence; w NULL: none */
    mg_tensor     *unit;   /* [labels, labels] identity, for a classifier with a bias */
    int64_t        positions; /* longest sequence */
    mg_rope_table  rope, rope_local, rope_long; /* long: of longrope, for sequences beyond the original length */
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

/* Where row r of Hugging Face's order lies in a GGUF file, for a weight with these flags; and the other way round. */
int64_t mg_weight_row_in_gguf(const mg_config *c, unsigned flags, int64_t r);
int64_t mg_weight_row_in_hf(const mg_config *c, unsigned flags, int64_t r);

/* The head of a sequence classifier. */
const mg_weight_row *mg_model_classifier(const mg_model *m);

/* The table row of a weight of this model; *bias says which of the two it is.  For who writes files. */
const mg_weight_row *mg_model_weight_row(const mg_model *m, const mg_tensor *w, bool *bias);

/* MG_UNSUPPORTED for an encoder or a classifier, which write no text. */
mg_status mg_model_require_text(const mg_model *m, mg_error *err);

/* Hidden states after the final norm, [rows, D]. */
mg_tensor *mg_model_hidden(mg_tape *t, const mg_model *m);
/* Hidden states behind `layer` blocks, 0..c.layers, as transformers' hidden_states: 0 is what enters the first block,
 * c.layers what mg_model_hidden gives. */
mg_tensor *mg_model_hidden_at(mg_tape *t, const mg_model *m, int layer);
/* Log-probabilities of the batch's labelled rows, [n_labels, 1]; top_id or NULL as in mg_logprob.  A classifier's
 * labels are classes, and stand at the row that mg_model_class_row says. */
mg_tensor *mg_model_logprobs(mg_tape *t, const mg_model *m, int32_t *top_id);
/* Logits [n, labels] of a classifier at chosen rows of the hidden states; recorded. */
mg_tensor *mg_model_class_logits(mg_tape *t, const mg_model *m, mg_tensor *hidden, const int32_t *row, int64_t n);
/* Where sequence s of a batch is classified: its last row, an encoder's first. */
int32_t    mg_model_class_row(const mg_model *m, const mg_batch *b, int s);
/* tanh of the pooler on chosen rows (BERT's pooled output: the first row of each sequence), [n, D]; recorded. */
mg_tensor *mg_model_pooled(mg_tape *t, const mg_model *m, mg_tensor *hidden, const int32_t *row, int64_t n);
/* Logits [n, V] of chosen rows of the hidden states (soft cap applied by the reader: m->c.final_softcap). */
mg_tensor *mg_model_logits(mg_tape *t, const mg_model *m, mg_tensor *hidden, const int32_t *row, int64_t n);

const mg_arch *const *mg_archs(void); /* NULL ends */

/* ---- for architectures ---- */
mg_tensor *mg_llama_block(mg_tape *t, const void *model, int layer, mg_tensor *x);  /* pre-norm, gated */
mg_tensor *mg_gemma2_block(mg_tape *t, const void *model, int layer, mg_tensor *x); /* norms after the branches, too */
mg_tensor *mg_head_norm(mg_tape *t, mg_tensor *x, mg_norm n, float eps);            /* x where n has no weight */
double     mg_gemma_embedding_scale(const mg_config *c);
/* The layer's rope for this batch: longrope has another one for long sequences. */
const mg_rope_table *mg_rope_of(const mg_tape *t, const mg_model *m, const mg_layer *l);
extern const mg_weight_row mg_llama_ends[], mg_gemma_ends[], mg_llama_weights[];
#define MG_LAYER(field) offsetof(mg_layer, field)
#define MG_MODEL(field) offsetof(mg_model, field)

#endif
