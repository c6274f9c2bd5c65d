/* qwen2.c -- Qwen2 and Qwen2.5: Llama's block with biases on q, k and v.
 * GGUF files keep the rows of q and k as Hugging Face has them. */
#include "model/arch/qwen.h"

static const mg_weight_row weights[] = {
    QWEN_QKV,
    { MG_LAYER(o), MG_ROLE_O, LAYER "self_attn.o_proj", "blk.%d.attn_output", NULL, NULL, MG_DIM_D, MG_DIM_Q, 0 },
    QWEN_FFN,
    QWEN_NORMS,
    { 0 },
};

mg_status mg_qwen_adjust(mg_config *c, bool from_gguf, mg_error *err) {
    (void)err;
    for (int64_t i = 0; from_gguf && i < c->layers; i++) c->windowed[i] = false;
    return MG_OK;
}

const mg_arch mg_arch_qwen2 = {
    .name = "qwen2", .hf_class = "Qwen2ForCausalLM", .hf_types = { "qwen2" }, .gguf_archs = { "qwen2" }, .prefix = "model.", .ends = mg_llama_ends,
    .weights = weights, .activation = "silu", .adjust = mg_qwen_adjust, .block = mg_llama_block,
};
