/* gpt2.c -- GPT-2: learned positions, layer norms with biases, q, k, v in one product, a plain GELU.
 *
 *     x = embed(ids) + positions
 *     x = x + proj( attention( [q | k | v](norm(x)) ) )
 *     x = x + proj( gelu( fc(norm(x)) ) )
 *
 * Hugging Face's Conv1D stores weights as [inputs, outputs]; they are turned on loading. */
#include "model/model.h"

static mg_tensor *block(mg_tape *t, const void *model, int layer, mg_tensor *x) {
    const mg_model *m = model;
    const mg_layer *l = &m->layer[layer];
    const float     eps = (float)m->c.eps;
    const int64_t   D = m->c.dim;

    mg_tensor *qkv = mg_linear_apply(t, &l->qkv, mg_layernorm(t, x, l->attn_norm.g, l->attn_norm.b, eps, false));
    mg_tensor *q = mg_columns(t, qkv, 3 * D, 0, D), *k = mg_columns(t, qkv, 3 * D, D, D), *v = mg_columns(t, qkv, 3 * D, 2 * D, D);
    mg_tensor *a = mg_attend(t, &m->net, q, k, v, l->attention, layer);
    x = mg_linear_onto(t, &m->net, &l->o, a, x, layer, MG_SITE_ATTENTION);

    mg_tensor *f = mg_linear_apply(t, &l->up, mg_layernorm(t, x, l->ffn_norm.g, l->ffn_norm.b, eps, false));
    return mg_linear_onto(t, &m->net, &l->down, mg_glu(t, f, NULL, m->activation), x, layer, MG_SITE_FFN);
}

#define LAYER "transformer.h.%d."
#define BIAS(hf, gguf) hf ".bias", gguf ".bias"
#define LINEAR(field, role, hf, gguf, rows, cols)                                                                         \
    { MG_LAYER(field), role, LAYER hf, "blk.%d." gguf, BIAS(LAYER hf, "blk.%d." gguf), rows, cols, MG_WEIGHT_TRANSPOSED }
#define NORM(field, hf, gguf)                                                                                             \
    { MG_LAYER(field), 0, LAYER hf, "blk.%d." gguf, BIAS(LAYER hf, "blk.%d." gguf), MG_DIM_1, MG_DIM_D, 0 }
static const mg_weight_row weights[] = {
    LINEAR(qkv, MG_ROLE_Q | MG_ROLE_K | MG_ROLE_V, "attn.c_attn", "attn_qkv", MG_DIM_QKV, MG_DIM_D),
    LINEAR(o, MG_ROLE_O, "attn.c_proj", "attn_output", MG_DIM_D, MG_DIM_Q),
    LINEAR(up, MG_ROLE_UP, "mlp.c_fc", "ffn_up", MG_DIM_F, MG_DIM_D),
    LINEAR(down, MG_ROLE_DOWN, "mlp.c_proj", "ffn_down", MG_DIM_D, MG_DIM_F),
    NORM(attn_norm, "ln_1", "attn_norm"),
    NORM(ffn_norm, "ln_2", "ffn_norm"),
    { 0 },
};

static const mg_weight_row ends[] = {
    { MG_MODEL(embed), 0, "transformer.wte", "token_embd", NULL, NULL, MG_DIM_V, MG_DIM_D, 0 },
    { MG_MODEL(position), 0, "transformer.wpe", "position_embd", NULL, NULL, MG_DIM_POSITIONS, MG_DIM_D, 0 },
    { MG_MODEL(norm), 0, "transformer.ln_f", "output_norm", BIAS("transformer.ln_f", "output_norm"), MG_DIM_1, MG_DIM_D, 0 },
    { MG_MODEL(head), MG_ROLE_HEAD, "lm_head", "output", NULL, NULL, MG_DIM_V, MG_DIM_D, 0 },
    { 0 },
};

const mg_arch mg_arch_gpt2 = {
    .name = "gpt2", .hf_class = "GPT2LMHeadModel", .hf_types = { "gpt2" }, .gguf_archs = { "gpt2" }, .prefix = "transformer.", .ends = ends, .weights = weights,
    .activation = "gelu_new", .block = block,
};
