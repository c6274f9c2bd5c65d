/* qwen3.c -- Qwen3 (dense): Llama's block with RMS norms on the heads of q and k and a head width of its own.
 * GGUF files keep the rows of q and k as Hugging Face has them. */
#include "model/arch/qwen.h"

static const mg_weight_row weights[] = {
    QWEN_QKV,
    { MG_LAYER(o), MG_ROLE_O, LAYER "self_attn.o_proj", "blk.%d.attn_output", BIAS("self_attn.o_proj", "attn_output"),
      MG_DIM_D, MG_DIM_Q, 0 },
    QWEN_FFN,
    QWEN_NORMS,
    { MG_LAYER(q_norm), 0, LAYER "self_attn.q_norm", "blk.%d.attn_q_norm", NULL, NULL, MG_DIM_1, MG_DIM_HD, 0 },
    { MG_LAYER(k_norm), 0, LAYER "self_attn.k_norm", "blk.%d.attn_k_norm", NULL, NULL, MG_DIM_1, MG_DIM_HD, 0 },
    { 0 },
};

const mg_arch mg_arch_qwen3 = {
    .name = "qwen3", .hf_class = "Qwen3ForCausalLM", .hf_types = { "qwen3" }, .gguf_archs = { "qwen3" }, .prefix = "model.", .ends = mg_llama_ends,
    .weights = weights, .activation = "silu", .adjust = mg_qwen_adjust, .block = mg_llama_block,
};
