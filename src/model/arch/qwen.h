/* qwen.h -- what Qwen2 and Qwen3 share: rows of the weight tables, and windows that GGUF files do not have. */
#ifndef MG_MODEL_ARCH_QWEN_H
#define MG_MODEL_ARCH_QWEN_H

#include "model/model.h"

#define LAYER "model.layers.%d."
#define BIAS(hf, gguf) LAYER hf ".bias", "blk.%d." gguf ".bias"
#define QWEN_QKV \
    { MG_LAYER(q), MG_ROLE_Q, LAYER "self_attn.q_proj", "blk.%d.attn_q", BIAS("self_attn.q_proj", "attn_q"), MG_DIM_Q, MG_DIM_D, 0 },  \
    { MG_LAYER(k), MG_ROLE_K, LAYER "self_attn.k_proj", "blk.%d.attn_k", BIAS("self_attn.k_proj", "attn_k"), MG_DIM_KV, MG_DIM_D, 0 }, \
    { MG_LAYER(v), MG_ROLE_V, LAYER "self_attn.v_proj", "blk.%d.attn_v", BIAS("self_attn.v_proj", "attn_v"), MG_DIM_KV, MG_DIM_D, 0 }
#define QWEN_FFN \
    { MG_LAYER(gate), MG_ROLE_GATE, LAYER "mlp.gate_proj", "blk.%d.ffn_gate", NULL, NULL, MG_DIM_F, MG_DIM_D, 0 }, \
    { MG_LAYER(up), MG_ROLE_UP, LAYER "mlp.up_proj", "blk.%d.ffn_up", NULL, NULL, MG_DIM_F, MG_DIM_D, 0 },         \
    { MG_LAYER(down), MG_ROLE_DOWN, LAYER "mlp.down_proj", "blk.%d.ffn_down", NULL, NULL, MG_DIM_D, MG_DIM_F, 0 }
#define QWEN_NORMS \
    { MG_LAYER(attn_norm), 0, LAYER "input_layernorm", "blk.%d.attn_norm", NULL, NULL, MG_DIM_1, MG_DIM_D, 0 }, \
    { MG_LAYER(ffn_norm), 0, LAYER "post_attention_layernorm", "blk.%d.ffn_norm", NULL, NULL, MG_DIM_1, MG_DIM_D, 0 }

/* The window is off unless the config turns it on by name; then it is for the layers from max_window_layers on, which
 * config.c has read.  GGUF files have none. */
mg_status mg_qwen_adjust(mg_config *c, bool from_gguf, mg_error *err);

#endif
