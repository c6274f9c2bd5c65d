/* gemma2.c -- Gemma 2: norms before and after each branch, soft caps on attention scores and logits, and every
 * second layer, from the first on, with a window.
 *
 *     x = x + norm( o( attention( rope(q(n)), rope(k(n)), v(n) ) ) )     n = norm(x)
 *     x = x + norm( down( gelu(gate(n)) up(n) ) )                        n = norm(x)
 *
 * Scores are divided by sqrt(query_pre_attn_scalar).  Gemma 3 has the same block with norms on q and k. */
#include "model/arch/gemma.h"

#include <math.h>

mg_tensor *mg_gemma2_block(mg_tape *t, const void *model, int layer, mg_tensor *x) {
    const mg_model *m = model;
    const mg_layer *l = &m->layer[layer];
    const float     eps = (float)m->c.eps;
    const int       hd = (int)m->c.hd;

    mg_tensor *n = mg_rmsnorm(t, x, l->attn_norm.g, NULL, eps);
    mg_tensor *y[3], *g[2];
    mg_linears_apply(t, MG_LIST(&l->q, &l->k, &l->v), n, y);
    mg_tensor *q = mg_rope(t, mg_head_norm(t, y[0], l->q_norm, eps), l->rope, hd);
    mg_tensor *k = mg_rope(t, mg_head_norm(t, y[1], l->k_norm, eps), l->rope, hd);
    mg_tensor *a = mg_attend(t, &m->net, q, k, y[2], l->attention, layer);
    a = mg_linear_apply(t, &l->o, a);
    x = mg_residual_norm(t, &m->net, x, a, l->post_attn_norm.g, eps, layer, MG_SITE_ATTENTION);

    n = mg_rmsnorm(t, x, l->ffn_norm.g, NULL, eps);
    mg_linears_apply(t, MG_LIST(&l->gate, &l->up), n, g);
    mg_tensor *f = mg_linear_apply(t, &l->down, mg_glu(t, g[0], g[1], m->activation));
    return mg_residual_norm(t, &m->net, x, f, l->post_ffn_norm.g, eps, layer, MG_SITE_FFN);
}

static const mg_weight_row weights[] = {
    GEMMA_LINEARS,
    GEMMA_NORMS,
    { 0 },
};

enum { LAYERS_OF_27B = 46 };

static mg_status adjust(mg_config *c, bool from_gguf, mg_error *err) {
    (void)err;
    for (int64_t i = 0; !c->windows_given && i < c->layers; i++) c->windowed[i] = c->window > 0 && i % 2 == 0;
    /* early GGUF files leave out the caps: readers take these */
    if (from_gguf && c->attention_softcap <= 0) c->attention_softcap = 50;
    if (from_gguf && c->final_softcap <= 0) c->final_softcap = 30;
    /* GGUF leaves out query_pre_attn_scalar: it is the head width in all sizes but one */
    if (from_gguf && c->layers == LAYERS_OF_27B) c->query_scale = (double)c->dim / (double)c->heads;
    return MG_OK;
}

const mg_arch mg_arch_gemma2 = {
    .name = "gemma2", .hf_class = "Gemma2ForCausalLM", .hf_types = { "gemma2" }, .gguf_archs = { "gemma2" }, .prefix = "model.", .ends = mg_gemma_ends,
    .weights = weights, .activation = "gelu_pytorch_tanh", .adjust = adjust, .embedding_scale = mg_gemma_embedding_scale,
    .block = mg_gemma2_block,
};
