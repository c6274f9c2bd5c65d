/* phi3.c -- Phi-3, Phi-3.5 and Phi-4: Llama's block with q, k, v in one product, gate and up in another, and longrope
 * for long contexts (Phi-4-mini turns a part of each head).
 *
 *     [q | k | v] = qkv(norm(x))      [gate | up] = gate_up(norm(x)) */
#include "model/model.h"

static mg_tensor *block(mg_tape *t, const void *model, int layer, mg_tensor *x) {
    const mg_model      *m = model;
    const mg_layer      *l = &m->layer[layer];
    const float          eps = (float)m->c.eps;
    const int            hd = (int)m->c.hd;
    const int64_t        Q = m->c.heads * hd, KV = m->c.kv_heads * hd, F = m->c.ffn;
    const mg_rope_table *rope = mg_rope_of(t, m, l);

    mg_tensor *n = mg_rmsnorm(t, x, l->attn_norm.g, NULL, eps);
    mg_tensor *qkv = mg_linear_apply(t, &l->qkv, n);
    mg_tensor *q = mg_rope(t, mg_columns(t, qkv, Q + 2 * KV, 0, Q), rope, hd);
    mg_tensor *k = mg_rope(t, mg_columns(t, qkv, Q + 2 * KV, Q, KV), rope, hd);
    mg_tensor *v = mg_columns(t, qkv, Q + 2 * KV, Q + KV, KV);
    mg_tensor *a = mg_attend(t, &m->net, q, k, v, l->attention, layer);
    x = mg_linear_onto(t, &m->net, &l->o, a, x, layer, MG_SITE_ATTENTION);

    n = mg_rmsnorm(t, x, l->ffn_norm.g, NULL, eps);
    mg_tensor *both = mg_linear_apply(t, &l->gate_up, n);
    mg_tensor *gate = mg_columns(t, both, 2 * F, 0, F), *up = mg_columns(t, both, 2 * F, F, F);
    return mg_linear_onto(t, &m->net, &l->down, mg_glu(t, gate, up, m->activation), x, layer, MG_SITE_FFN);
}

#define LAYER "model.layers.%d."
static const mg_weight_row weights[] = {
    { MG_LAYER(qkv), MG_ROLE_Q | MG_ROLE_K | MG_ROLE_V, LAYER "self_attn.qkv_proj", "blk.%d.attn_qkv", NULL, NULL, MG_DIM_QKV,
      MG_DIM_D, 0 },
    { MG_LAYER(o), MG_ROLE_O, LAYER "self_attn.o_proj", "blk.%d.attn_output", NULL, NULL, MG_DIM_D, MG_DIM_Q, 0 },
    { MG_LAYER(gate_up), MG_ROLE_GATE | MG_ROLE_UP, LAYER "mlp.gate_up_proj", "blk.%d.ffn_up", NULL, NULL, MG_DIM_2F, MG_DIM_D, 0 },
    { MG_LAYER(down), MG_ROLE_DOWN, LAYER "mlp.down_proj", "blk.%d.ffn_down", NULL, NULL, MG_DIM_D, MG_DIM_F, 0 },
    { MG_LAYER(attn_norm), 0, LAYER "input_layernorm", "blk.%d.attn_norm", NULL, NULL, MG_DIM_1, MG_DIM_D, 0 },
    { MG_LAYER(ffn_norm), 0, LAYER "post_attention_layernorm", "blk.%d.ffn_norm", NULL, NULL, MG_DIM_1, MG_DIM_D, 0 },
    { 0 },
};

const mg_arch mg_arch_phi3 = {
    .name = "phi3", .hf_class = "Phi3ForCausalLM", .hf_types = { "phi3" }, .gguf_archs = { "phi3" }, .prefix = "model.", .ends = mg_llama_ends,
    .weights = weights, .activation = "silu", .block = block,
};
