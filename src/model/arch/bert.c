/* bert.c -- BERT, an encoder: every token sees all of its sequence, layer norms stand after each sum.
 *
 *     x = norm( embed(ids) + types + positions )
 *     x = norm( x + o( attention(q(x), k(x), v(x)) ) )
 *     x = norm( x + down( gelu( up(x) ) ) )
 *     pooled = tanh( pooler(x of the first token) )
 *
 * Heads for masked words are not used: what people fine-tune is the encoder.  GGUF files have no pooler. */
#include "model/model.h"

static mg_tensor *block(mg_tape *t, const void *model, int layer, mg_tensor *x) {
    const mg_model *m = model;
    const mg_layer *l = &m->layer[layer];
    const float     eps = (float)m->c.eps;

    mg_tensor *y[3];
    mg_linears_apply(t, MG_LIST(&l->q, &l->k, &l->v), x, y);
    mg_tensor *a = mg_attend(t, &m->net, y[0], y[1], y[2], l->attention, layer);
    x = mg_linear_onto(t, &m->net, &l->o, a, x, layer, MG_SITE_ATTENTION);
    x = mg_layernorm(t, x, l->attn_norm.g, l->attn_norm.b, eps, false);

    mg_tensor *f = mg_glu(t, mg_linear_apply(t, &l->up, x), NULL, m->activation);
    x = mg_linear_onto(t, &m->net, &l->down, f, x, layer, MG_SITE_FFN);
    return mg_layernorm(t, x, l->ffn_norm.g, l->ffn_norm.b, eps, true);
}

#define LAYER "encoder.layer.%d."
#define BIAS(hf, gguf) hf ".bias", gguf ".bias"
#define LINEAR(field, role, hf, gguf, rows, cols)                                                                         \
    { MG_LAYER(field), role, LAYER hf, "blk.%d." gguf, BIAS(LAYER hf, "blk.%d." gguf), rows, cols, 0 }
#define NORM(field, hf, gguf)                                                                                             \
    { MG_LAYER(field), 0, LAYER hf, "blk.%d." gguf, BIAS(LAYER hf, "blk.%d." gguf), MG_DIM_1, MG_DIM_D, 0 }
static const mg_weight_row weights[] = {
    LINEAR(q, MG_ROLE_Q, "attention.self.query", "attn_q", MG_DIM_Q, MG_DIM_D),
    LINEAR(k, MG_ROLE_K, "attention.self.key", "attn_k", MG_DIM_KV, MG_DIM_D),
    LINEAR(v, MG_ROLE_V, "attention.self.value", "attn_v", MG_DIM_KV, MG_DIM_D),
    LINEAR(o, MG_ROLE_O, "attention.output.dense", "attn_output", MG_DIM_D, MG_DIM_Q),
    LINEAR(up, MG_ROLE_UP, "intermediate.dense", "ffn_up", MG_DIM_F, MG_DIM_D),
    LINEAR(down, MG_ROLE_DOWN, "output.dense", "ffn_down", MG_DIM_D, MG_DIM_F),
    NORM(attn_norm, "attention.output.LayerNorm", "attn_output_norm"),
    NORM(ffn_norm, "output.LayerNorm", "layer_output_norm"),
    { 0 },
};

static const mg_weight_row ends[] = {
    { MG_MODEL(embed), 0, "embeddings.word_embeddings", "token_embd", NULL, NULL, MG_DIM_V, MG_DIM_D, 0 },
    { MG_MODEL(position), 0, "embeddings.position_embeddings", "position_embd", NULL, NULL, MG_DIM_POSITIONS, MG_DIM_D, 0 },
    { MG_MODEL(type), 0, "embeddings.token_type_embeddings", "token_types", NULL, NULL, MG_DIM_TYPES, MG_DIM_D, 0 },
    { MG_MODEL(embed_norm), 0, "embeddings.LayerNorm", "token_embd_norm", BIAS("embeddings.LayerNorm", "token_embd_norm"),
      MG_DIM_1, MG_DIM_D, 0 },
    { MG_MODEL(pooler), MG_ROLE_HEAD, "pooler.dense", NULL, "pooler.dense.bias", NULL, MG_DIM_D, MG_DIM_D,
      MG_WEIGHT_OPTIONAL },
    { 0 },
};

static const mg_weight_row classifier[] = {
    { MG_MODEL(head), MG_ROLE_HEAD, "classifier", "cls.output", BIAS("classifier", "cls.output"), MG_DIM_LABELS, MG_DIM_D, 0 },
    { 0 },
};

const mg_arch mg_arch_bert = {
    .name = "bert", .hf_class = "BertModel", .hf_types = { "bert" }, .gguf_archs = { "bert" }, .prefix = "", .ends = ends, .weights = weights,
    .classifier = classifier, .activation = "gelu", .encoder = true, .block = block,
};
