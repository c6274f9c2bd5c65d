/* gpt_neox.c -- GPT-NeoX (Pythia, the Japanese GPT-NeoX models): rope on a part of each head, layer norms with biases,
 * q, k and v of each head side by side in one product, and both branches from the same x or one after the other.
 *
 *     parallel:  x = x + dense( attention(norm1(x)) ) + fc2( gelu( fc1(norm2(x)) ) )
 *     serial:    x = x + dense( attention(norm1(x)) );   x = x + fc2( gelu( fc1(norm2(x)) ) ) */
#include "model/model.h"

static mg_tensor *block(mg_tape *t, const void *model, int layer, mg_tensor *x) {
    const mg_model *m = model;
    const mg_layer *l = &m->layer[layer];
    const float     eps = (float)m->c.eps;
    const int       hd = (int)m->c.hd;

    mg_tensor *qkv = mg_linear_apply(t, &l->qkv, mg_layernorm(t, x, l->attn_norm.g, l->attn_norm.b, eps, false));
    mg_tensor *q = mg_rope(t, mg_columns(t, qkv, 3 * hd, 0, hd), mg_rope_of(t, m, l), hd);
    mg_tensor *k = mg_rope(t, mg_columns(t, qkv, 3 * hd, hd, hd), mg_rope_of(t, m, l), hd);
    mg_tensor *v = mg_columns(t, qkv, 3 * hd, 2 * hd, hd);
    mg_tensor *a = mg_attend(t, &m->net, q, k, v, l->attention, layer);
    mg_tensor *y = mg_linear_onto(t, &m->net, &l->o, a, x, layer, MG_SITE_ATTENTION);

    mg_tensor *n = mg_layernorm(t, m->c.serial_residual ? y : x, l->ffn_norm.g, l->ffn_norm.b, eps, false);
    mg_tensor *f = mg_glu(t, mg_linear_apply(t, &l->up, n), NULL, m->activation);
    return mg_linear_onto(t, &m->net, &l->down, f, y, layer, MG_SITE_FFN);
}

#define LAYER "gpt_neox.layers.%d."
#define BIAS(hf, gguf) hf ".bias", gguf ".bias"
#define LINEAR(field, role, hf, gguf, rows, cols, flags)                                                                  \
    { MG_LAYER(field), role, LAYER hf, "blk.%d." gguf, BIAS(LAYER hf, "blk.%d." gguf), rows, cols, flags }
#define NORM(field, hf, gguf)                                                                                             \
    { MG_LAYER(field), 0, LAYER hf, "blk.%d." gguf, BIAS(LAYER hf, "blk.%d." gguf), MG_DIM_1, MG_DIM_D, 0 }
static const mg_weight_row weights[] = {
    LINEAR(qkv, MG_ROLE_Q | MG_ROLE_K | MG_ROLE_V, "attention.query_key_value", "attn_qkv", MG_DIM_QKV, MG_DIM_D,
           MG_WEIGHT_BY_HEAD),
    LINEAR(o, MG_ROLE_O, "attention.dense", "attn_output", MG_DIM_D, MG_DIM_Q, 0),
    LINEAR(up, MG_ROLE_UP, "mlp.dense_h_to_4h", "ffn_up", MG_DIM_F, MG_DIM_D, 0),
    LINEAR(down, MG_ROLE_DOWN, "mlp.dense_4h_to_h", "ffn_down", MG_DIM_D, MG_DIM_F, 0),
    NORM(attn_norm, "input_layernorm", "attn_norm"),
    NORM(ffn_norm, "post_attention_layernorm", "ffn_norm"),
    { 0 },
};

static const mg_weight_row ends[] = {
    { MG_MODEL(embed), 0, "gpt_neox.embed_in", "token_embd", NULL, NULL, MG_DIM_V, MG_DIM_D, 0 },
    { MG_MODEL(norm), 0, "gpt_neox.final_layer_norm", "output_norm", BIAS("gpt_neox.final_layer_norm", "output_norm"), MG_DIM_1,
      MG_DIM_D, 0 },
    { MG_MODEL(head), MG_ROLE_HEAD, "embed_out", "output", NULL, NULL, MG_DIM_V, MG_DIM_D, 0 },
    { 0 },
};

const mg_arch mg_arch_gpt_neox = {
    .name = "gpt_neox", .hf_class = "GPTNeoXForCausalLM", .hf_types = { "gpt_neox" }, .gguf_archs = { "gptneox" }, .prefix = "gpt_neox.", .ends = ends,
    .weights = weights, .activation = "gelu", .block = block,
};
