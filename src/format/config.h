/* config.h -- the numbers that describe a model, from config.json or GGUF metadata.
 *
 * Both generations of config.json are read (rope_theta and rope_parameters,
 * torch_dtype and dtype, layer_types and the older pattern keys); keys that a file
 * leaves out have the defaults of transformers' class.  A field that changes what
 * is computed and that no architecture here knows is an error. */
#ifndef MG_FORMAT_CONFIG_H
#define MG_FORMAT_CONFIG_H

#include "base/json.h"
#include "format/gguf.h"

enum { MG_CONFIG_LAYERS = 512, MG_CONFIG_EOS = 8 };

typedef enum mg_rope_kind { MG_ROPE_DEFAULT, MG_ROPE_LINEAR, MG_ROPE_DYNAMIC, MG_ROPE_LLAMA3, MG_ROPE_YARN, MG_ROPE_LONGROPE } mg_rope_kind;

/* Rotary positions of one kind of layer; names as in Hugging Face's rope_parameters. */
typedef struct mg_rope_config {
    mg_rope_kind kind;
    double theta, factor, low_freq_factor, high_freq_factor, beta_fast, beta_slow, attention_factor; /* 0: not given */
    double mscale, mscale_all_dim, partial;       /* partial_rotary_factor, 1: the whole head */
    bool   no_truncate;                           /* yarn: truncate = false */
    int64_t original_positions;                   /* original_max_position_embeddings, 0: not given */
    float  *short_factor, *long_factor;           /* longrope [hd/2]; owned by the config */
    float  *frequency_divisor;                    /* GGUF's rope_freqs [hd/2], borrowed; NULL: none */
} mg_rope_config;

typedef struct mg_config {
    char    arch[32]; /* model_type, or GGUF's general.architecture: "llama", "gemma3_text", "qwen2" */
    int64_t vocab, dim, layers, heads, kv_heads, hd, ffn, max_positions;
    int64_t types;                      /* token types (BERT), 0: none */
    int64_t labels;                     /* of a sequence classifier, 0: the model predicts tokens */
    double  eps;
    double  int8_threshold;             /* of weights that bitsandbytes has packed in 8 bits (LLM.int8) */
    bool    tied;                       /* the head is the embedding */
    bool    attention_bias, mlp_bias;
    bool    serial_residual;            /* GPT-NeoX with use_parallel_residual = false */
    char    activation[32];             /* "silu", "gelu_pytorch_tanh", ...; "": the architecture's own */
    int64_t window;                     /* sliding window, 0: none */
    bool    windowed[MG_CONFIG_LAYERS]; /* which layers use it */
    bool    windows_given;              /* the file says which, else all do */
    double  query_scale;                /* query_pre_attn_scalar, 0: hd */
    double  attention_softcap, final_softcap;
    mg_rope_config rope, rope_local;    /* local: layers with a window when has_local */
    bool    has_local;
    int32_t bos, eos[MG_CONFIG_EOS];    /* -1: none */
    int     n_eos;
} mg_config;

mg_status mg_config_from_json(mg_config *out, const mg_json *json, const char *name, mg_error *err);
mg_status mg_config_from_gguf(mg_config *out, const mg_gguf *g, mg_error *err);
void      mg_config_free(mg_config *c);

#endif
