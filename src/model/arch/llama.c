/* llama.c -- Llama 1 to 3 and its kin (SmolLM2): the plainest decoder there is.
 *
 *     x = x + o( attention( rope(q(n)), rope(k(n)), v(n) ) )      n = norm(x)
 *     x = x + down( silu(gate(n)) up(n) )                         n = norm(x)
 *
 * Read this file first: every architecture looks like it.  Layers declare their
 * roles in the table; what a method adds to them happens behind mg_linear_apply. */
#include "model/model.h"

/* Qwen3 and Gemma 3 norm each head of q and k; the others have no such weight. */
mg_tensor *mg_head_norm(mg_tape *t, mg_tensor *x, mg_norm n, float eps) { return n.g ? mg_rmsnorm(t, x, n.g, NULL, eps) : x; }

mg_tensor *mg_llama_block(mg_tape *t, const void *model, int layer, mg_tensor *x) {
    const mg_model *m = model;
    const mg_layer *l = &m->layer[layer];
    const float     eps = (float)m->c.eps;
    const int       hd = (int)m->c.hd;
    const mg_rope_table *rope = mg_rope_of(t, m, l);

    mg_tensor *n = mg_rmsnorm(t, x, l->attn_norm.g, NULL, eps);
    mg_tensor *y[3], *g[2];
    mg_linears_apply(t, MG_LIST(&l->q, &l->k, &l->v), n, y);
    mg_tensor *q = mg_rope(t, mg_head_norm(t, y[0], l->q_norm, eps), rope, hd);
    mg_tensor *k = mg_rope(t, mg_head_norm(t, y[1], l->k_norm, eps), rope, hd);
    mg_tensor *a = mg_attend(t, &m->net, q, k, y[2], l->attention, layer);
    x = mg_linear_onto(t, &m->net, &l->o, a, x, layer, MG_SITE_ATTENTION);

    n = mg_rmsnorm(t, x, l->ffn_norm.g, NULL, eps);
    mg_linears_apply(t, MG_LIST(&l->gate, &l->up), n, g);
    return mg_linear_end(t, &m->net, &l->down, mg_glu(t, g[0], g[1], m->activation), x, layer, MG_SITE_FFN);
}

const mg_weight_row mg_llama_ends[] = {
    { MG_MODEL(embed), 0, "model.embed_tokens", "token_embd", NULL, NULL, MG_DIM_V, MG_DIM_D, 0 },
    { MG_MODEL(norm), 0, "model.norm", "output_norm", NULL, NULL, MG_DIM_1, MG_DIM_D, 0 },
    { MG_MODEL(head), MG_ROLE_HEAD, "lm_head", "output", NULL, NULL, MG_DIM_V, MG_DIM_D, 0 },
    { 0 },
};

#define LAYER "model.layers.%d."
#define BIAS(hf, gguf) LAYER hf ".bias", "blk.%d." gguf ".bias"
const mg_weight_row mg_llama_weights[] = {
    { MG_LAYER(q), MG_ROLE_Q, LAYER "self_attn.q_proj", "blk.%d.attn_q", BIAS("self_attn.q_proj", "attn_q"), MG_DIM_Q,
      MG_DIM_D, MG_WEIGHT_INTERLEAVED },
    { MG_LAYER(k), MG_ROLE_K, LAYER "self_attn.k_proj", "blk.%d.attn_k", BIAS("self_attn.k_proj", "attn_k"), MG_DIM_KV,
      MG_DIM_D, MG_WEIGHT_INTERLEAVED },
    { MG_LAYER(v), MG_ROLE_V, LAYER "self_attn.v_proj", "blk.%d.attn_v", BIAS("self_attn.v_proj", "attn_v"), MG_DIM_KV,
      MG_DIM_D, 0 },
    { MG_LAYER(o), MG_ROLE_O, LAYER "self_attn.o_proj", "blk.%d.attn_output", BIAS("self_attn.o_proj", "attn_output"),
      MG_DIM_D, MG_DIM_Q, 0 },
    { MG_LAYER(gate), MG_ROLE_GATE, LAYER "mlp.gate_proj", "blk.%d.ffn_gate", BIAS("mlp.gate_proj", "ffn_gate"), MG_DIM_F,
      MG_DIM_D, 0 },
    { MG_LAYER(up), MG_ROLE_UP, LAYER "mlp.up_proj", "blk.%d.ffn_up", BIAS("mlp.up_proj", "ffn_up"), MG_DIM_F, MG_DIM_D, 0 },
    { MG_LAYER(down), MG_ROLE_DOWN, LAYER "mlp.down_proj", "blk.%d.ffn_down", BIAS("mlp.down_proj", "ffn_down"), MG_DIM_D,
      MG_DIM_F, 0 },
    { MG_LAYER(attn_norm), 0, LAYER "input_layernorm", "blk.%d.attn_norm", NULL, NULL, MG_DIM_1, MG_DIM_D, 0 },
    { MG_LAYER(ffn_norm), 0, LAYER "post_attention_layernorm", "blk.%d.ffn_norm", NULL, NULL, MG_DIM_1, MG_DIM_D, 0 },
    { 0 },
};

/* Llama knows no window: a sliding_window key in its config means nothing. */
static mg_status adjust(mg_config *c, bool from_gguf, mg_error *err) {
    (void)from_gguf, (void)err;
    for (int64_t i = 0; i < c->layers; i++) c->windowed[i] = false;
    return MG_OK;
}

const mg_arch mg_arch_llama = {
    .name = "llama", .hf_class = "LlamaForCausalLM", .hf_types = { "llama" }, .gguf_archs = { "llama" }, .prefix = "model.", .ends = mg_llama_ends,
    .weights = mg_llama_weights, .activation = "silu", .adjust = adjust, .block = mg_llama_block,
};
