/* qwen3.c -- Qwen3 (dense): Llama's block with RMS norms on the heads of q and k and a head width of its own.
 * GGUF files keep the rows of q and k as Hugging Face has them. */
#include "model/model.h"

#define LAYER "model.layers.%d."
#define BIAS(hf, gguf) LAYER hf ".bias", "blk.%d." gguf ".bias"
static const mg_weight_row weights[] = {
    { MG_LAYER(q), MG_ROLE_Q, LAYER "self_attn.q_proj", "blk.%d.attn_q", BIAS("self_attn.q_proj", "attn_q"), MG_DIM_Q,
      MG_DIM_D, 0 },
    { MG_LAYER(k), MG_ROLE_K, LAYER "self_attn.k_proj", "blk.%d.attn_k", BIAS("self_attn.k_proj", "attn_k"), MG_DIM_KV,
      MG_DIM_D, 0 },
    { MG_LAYER(v), MG_ROLE_V, LAYER "self_attn.v_proj", "blk.%d.attn_v", BIAS("self_attn.v_proj", "attn_v"), MG_DIM_KV,
      MG_DIM_D, 0 },
    { MG_LAYER(o), MG_ROLE_O, LAYER "self_attn.o_proj", "blk.%d.attn_output", BIAS("self_attn.o_proj", "attn_output"),
      MG_DIM_D, MG_DIM_Q, 0 },
    { MG_LAYER(gate), MG_ROLE_GATE, LAYER "mlp.gate_proj", "blk.%d.ffn_gate", NULL, NULL, MG_DIM_F, MG_DIM_D, 0 },
    { MG_LAYER(up), MG_ROLE_UP, LAYER "mlp.up_proj", "blk.%d.ffn_up", NULL, NULL, MG_DIM_F, MG_DIM_D, 0 },
    { MG_LAYER(down), MG_ROLE_DOWN, LAYER "mlp.down_proj", "blk.%d.ffn_down", NULL, NULL, MG_DIM_D, MG_DIM_F, 0 },
    { MG_LAYER(attn_norm), 0, LAYER "input_layernorm", "blk.%d.attn_norm", NULL, NULL, MG_DIM_1, MG_DIM_D, 0 },
    { MG_LAYER(ffn_norm), 0, LAYER "post_attention_layernorm", "blk.%d.ffn_norm", NULL, NULL, MG_DIM_1, MG_DIM_D, 0 },
    { MG_LAYER(q_norm), 0, LAYER "self_attn.q_norm", "blk.%d.attn_q_norm", NULL, NULL, MG_DIM_1, MG_DIM_HD, 0 },
    { MG_LAYER(k_norm), 0, LAYER "self_attn.k_norm", "blk.%d.attn_k_norm", NULL, NULL, MG_DIM_1, MG_DIM_HD, 0 },
    { 0 },
};

/* As Qwen2's: config.c has read which layers have a window; GGUF files have none. */
static mg_status adjust(mg_config *c, bool from_gguf, mg_error *err) {
    (void)err;
    for (int64_t i = 0; from_gguf && i < c->layers; i++) c->windowed[i] = false;
    return MG_OK;
}

const mg_arch mg_arch_qwen3 = {
    .name = "qwen3", .hf_class = "Qwen3ForCausalLM", .hf_types = { "qwen3" }, .gguf_archs = { "qwen3" }, .prefix = "model.", .ends = mg_llama_ends,
    .weights = weights, .activation = "silu", .adjust = adjust, .block = mg_llama_block,
};
