/* gemma.c -- Gemma 1: Llama's block with GELU, an embedding multiplied by sqrt(D) that is also the head, and norm
 * weights that Hugging Face stores as g - 1 and GGUF as g.
 *
 * Its early config files say "gelu"; the models were trained with the tanh form, which transformers 4 and llama.cpp
 * compute for them, and so do we. */
#include "model/model.h"

#include <math.h>
#include <string.h>

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
    NORM(ffn_norm, "post_attention_layernorm", "ffn_norm", MG_DIM_D),
    { 0 },
};

const mg_weight_row mg_gemma_ends[] = {
    { MG_MODEL(embed), 0, "model.embed_tokens", "token_embd", NULL, NULL, MG_DIM_V, MG_DIM_D, 0 },
    { MG_MODEL(norm), 0, "model.norm", "output_norm", NULL, NULL, MG_DIM_1, MG_DIM_D, MG_WEIGHT_PLUS_ONE },
    { MG_MODEL(head), MG_ROLE_HEAD, "lm_head", "output", NULL, NULL, MG_DIM_V, MG_DIM_D, 0 },
    { 0 },
};

static mg_status adjust(mg_config *c, bool from_gguf, mg_error *err) {
    (void)from_gguf, (void)err;
    strcpy(c->activation, "gelu_pytorch_tanh");
    for (int64_t i = 0; i < c->layers; i++) c->windowed[i] = false;
    return MG_OK;
}

double mg_gemma_embedding_scale(const mg_config *c) { return sqrt((double)c->dim); }

const mg_arch mg_arch_gemma = {
    .name = "gemma", .hf_class = "GemmaForCausalLM", .hf_types = { "gemma" }, .gguf_archs = { "gemma" }, .prefix = "model.", .ends = mg_gemma_ends,
    .weights = weights, .activation = "gelu_pytorch_tanh", .adjust = adjust, .embedding_scale = mg_gemma_embedding_scale,
    .block = mg_llama_block,
};
