/* gemma3.c -- Gemma 3 (text): Gemma 2's block with RMS norms on the heads of q and k and without soft caps, five
 * windowed layers to one that sees all, and two rope bases. */
#include "model/model.h"

#define LAYER "model.layers.%d."
#define NORM(field, hf, gguf, width)                                                                     \
    { MG_LAYER(field), 0, LAYER hf, "blk.%d." gguf, NULL, NULL, MG_DIM_1, width, MG_WEIGHT_PLUS_ONE }
static const mg_weight_row weights[] = {
    { MG_LAYER(q), MG_ROLE_Q, LAYER "self_attn.q_proj", "blk.%d.attn_q", NULL, NULL, MG_DIM_Q, MG_DIM_D, 0 },
    { MG_LAYER(k), MG_ROLE_K, LAYER "self_attn.k_proj", "blk.%d.attn_k", NULL, NULL, MG_DIM_KV, MG_DIM_D, 0 },
    { MG_LAYER(v), MG_ROLE_V, LAYER "self_attn.v_proj", "blk.%d.attn_v", NULL, NULL, MG_DIM_KV, MG_DIM_D, 0 },
    { MG_LAYER(o), MG_ROLE_O, LAYER "self_attn.o_proj", "blk.%d.attn_output", NULL, NULL, MG_DIM_D, MG_DIM_Q, 0 },
    { MG_LAYER(gate), MG_ROLE_GATE, LAYER "mlp.gate_proj", "blk.%d.ffn_gate", NULL, NULL, MG_DIM_F, MG_DIM_D, 0 },
    { MG_LAYER(up), MG_ROLE_UP, LAYER "mlp.up_proj", "blk.%d.ffn_up", NULL, NULL, MG_DIM_F, MG_DIM_D, 0 },
    { MG_LAYER(down), MG_ROLE_DOWN, LAYER "mlp.down_proj", "blk.%d.ffn_down", NULL, NULL, MG_DIM_D, MG_DIM_F, 0 },
    NORM(attn_norm, "input_layernorm", "attn_norm", MG_DIM_D),
    NORM(post_attn_norm, "post_attention_layernorm", "post_attention_norm", MG_DIM_D),
    NORM(ffn_norm, "pre_feedforward_layernorm", "ffn_norm", MG_DIM_D),
    NORM(post_ffn_norm, "post_feedforward_layernorm", "post_ffw_norm", MG_DIM_D),
    NORM(q_norm, "self_attn.q_norm", "attn_q_norm", MG_DIM_HD),
    NORM(k_norm, "self_attn.k_norm", "attn_k_norm", MG_DIM_HD),
    { 0 },
};

enum { LAYERS_OF_27B = 62, WINDOW_PATTERN = 6 };

static mg_status adjust(mg_config *c, bool from_gguf, mg_error *err) {
    (void)err;
    c->has_local = true;
    c->tied = true;
    for (int64_t i = 0; !c->windows_given && i < c->layers; i++) c->windowed[i] = c->window > 0 && (i + 1) % WINDOW_PATTERN != 0;
    if (!from_gguf) return MG_OK;
    /* GGUF leaves out query_pre_attn_scalar: it is the head width in all sizes but one */
    if (c->layers == LAYERS_OF_27B) c->query_scale = (double)c->dim / (double)c->heads;
    return MG_OK;
}

const mg_arch mg_arch_gemma3 = {
    .name = "gemma3", .hf_class = "Gemma3ForCausalLM", .hf_types = { "gemma3_text", "gemma3" }, .gguf_archs = { "gemma3" }, .prefix = "model.",
    .ends = mg_gemma_ends, .weights = weights, .activation = "gelu_pytorch_tanh", .adjust = adjust,
    .embedding_scale = mg_gemma_embedding_scale, .block = mg_gemma2_block,
};
