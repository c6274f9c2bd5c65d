/* gemma3.c -- Gemma 3 (text): Gemma 2's block with RMS norms on the heads of q and k and without soft caps, five
 * windowed layers to one that sees all, and two rope bases. */
#include "model/arch/gemma.h"

static const mg_weight_row weights[] = {
    GEMMA_LINEARS,
    GEMMA_NORMS,
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
    .embedding_scale = mg_gemma_embedding_scale, .table_scales_itself = true, .block = mg_gemma2_block,
};
