/* gemma.c -- Gemma 1: Llama's block with GELU, an embedding multiplied by sqrt(D) that is also the head, and norm
 * weights that Hugging Face stores as g - 1 and GGUF as g.
 *
 * Its early config files say "gelu"; the models were trained with the tanh form, which transformers 4 and llama.cpp
 * compute for them, and so do we. */
#include "model/arch/gemma.h"

#include <math.h>
#include <string.h>

static const mg_weight_row weights[] = {
    GEMMA_LINEARS,
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
