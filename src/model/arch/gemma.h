/* gemma.h -- rows of the weight tables that all Gemmas have: seven linears without biases, and norms that Hugging
 * Face stores as g - 1. */
#ifndef MG_MODEL_ARCH_GEMMA_H
#define MG_MODEL_ARCH_GEMMA_H

#include "model/model.h"

#define LAYER "model.layers.%d."
#define NORM(field, hf, gguf, width)                                                                     \
    { MG_LAYER(field), 0, LAYER hf, "blk.%d." gguf, NULL, NULL, MG_DIM_1, width, MG_WEIGHT_PLUS_ONE }
#define GEMMA_LINEARS \
    { MG_LAYER(q), MG_ROLE_Q, LAYER "self_attn.q_proj", "blk.%d.attn_q", NULL, NULL, MG_DIM_Q, MG_DIM_D, 0 },       \
    { MG_LAYER(k), MG_ROLE_K, LAYER "self_attn.k_proj", "blk.%d.attn_k", NULL, NULL, MG_DIM_KV, MG_DIM_D, 0 },      \
    { MG_LAYER(v), MG_ROLE_V, LAYER "self_attn.v_proj", "blk.%d.attn_v", NULL, NULL, MG_DIM_KV, MG_DIM_D, 0 },      \
    { MG_LAYER(o), MG_ROLE_O, LAYER "self_attn.o_proj", "blk.%d.attn_output", NULL, NULL, MG_DIM_D, MG_DIM_Q, 0 },  \
    { MG_LAYER(gate), MG_ROLE_GATE, LAYER "mlp.gate_proj", "blk.%d.ffn_gate", NULL, NULL, MG_DIM_F, MG_DIM_D, 0 },  \
    { MG_LAYER(up), MG_ROLE_UP, LAYER "mlp.up_proj", "blk.%d.ffn_up", NULL, NULL, MG_DIM_F, MG_DIM_D, 0 },          \
    { MG_LAYER(down), MG_ROLE_DOWN, LAYER "mlp.down_proj", "blk.%d.ffn_down", NULL, NULL, MG_DIM_D, MG_DIM_F, 0 }
/* Gemma 2 and 3 have norms before and after each branch. */
#define GEMMA_NORMS \
    NORM(attn_norm, "input_layernorm", "attn_norm", MG_DIM_D),                               \
    NORM(post_attn_norm, "post_attention_layernorm", "post_attention_norm", MG_DIM_D),       \
    NORM(ffn_norm, "pre_feedforward_layernorm", "ffn_norm", MG_DIM_D),                       \
    NORM(post_ffn_norm, "post_feedforward_layernorm", "post_ffw_norm", MG_DIM_D)

#endif
