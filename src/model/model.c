/* model.c -- what all architectures share: the table, and the way from ids to log-probabilities. */
#include "model/model.h"

#include "autograd/cache.h"
#include "model/head.h"

#include <stddef.h>

#define ARCH(x) extern const mg_arch mg_arch_##x;
#include "model/arch.def"
#undef ARCH

const mg_arch *const *mg_archs(void) {
    static const mg_arch *const all[] = {
#define ARCH(x) &mg_arch_##x,
#include "model/arch.def"
#undef ARCH
        NULL,
    };
    return all;
}

static int64_t longest(const mg_batch *b) {
    int64_t most = 0;
    for (int s = 0; s < b->n_seq; s++) {
        int64_t n = b->start[s + 1] - b->start[s] + (b->cache ? b->cache->len[b->slot[s]] : 0);
        most = n > most ? n : most;
    }
    return most;
}

const mg_rope_table *mg_rope_of(const mg_tape *t, const mg_model *m, const mg_layer *l) {
    bool beyond = m->rope_long.cos && l->rope == &m->rope && longest(t->batch) > m->c.rope.original_positions;
    return beyond ? &m->rope_long : l->rope;
}

static mg_tensor *embedded(mg_tape *t, const mg_model *m) {
    mg_tensor *x = mg_embedding_apply(t, &m->net, m->embed, m->embed_scale);
    if (m->type) x = mg_embed_onto(t, x, m->type, t->batch->type);
    if (m->position) x = mg_embed_onto(t, x, m->position, t->batch->pos);
    return m->embed_norm.g ? mg_layernorm(t, x, m->embed_norm.g, m->embed_norm.b, (float)m->c.eps, true) : x;
}

mg_tensor *mg_model_hidden_at(mg_tape *t, const mg_model *m, int layer) {
    const float eps = (float)m->c.eps;
    mg_tensor  *x = embedded(t, m);
    for (int i = 0; i < layer; i++) x = mg_segment(t, m->arch->block, m, i, x);
    if (!m->norm.g || layer < (int)m->c.layers) return x;
    return m->norm.b ? mg_layernorm(t, x, m->norm.g, m->norm.b, eps, true) : mg_rmsnorm(t, x, m->norm.g, NULL, eps);
}

mg_tensor *mg_model_hidden(mg_tape *t, const mg_model *m) { return mg_model_hidden_at(t, m, (int)m->c.layers); }

static mg_tensor *pooled(mg_tape *t, const mg_model *m, mg_tensor *h) {
    return m->pooler.w ? mg_glu(t, mg_linear_apply(t, &m->pooler, h), NULL, MG_TANH) : h;
}

mg_tensor *mg_model_pooled(mg_tape *t, const mg_model *m, mg_tensor *hidden, const int32_t *row, int64_t n) {
    return pooled(t, m, mg_rows(t, hidden, row, n));
}

mg_tensor *mg_model_class_logits(mg_tape *t, const mg_model *m, mg_tensor *hidden, const int32_t *row, int64_t n) {
    MG_ASSERT(m->c.labels);
    return mg_linear_apply(t, &m->head, mg_model_pooled(t, m, hidden, row, n));
}

int32_t mg_model_class_row(const mg_model *m, const mg_batch *b, int s) {
    return m->arch->encoder ? b->start[s] : b->start[s + 1] - 1;
}

/* A head with a bias is a product of its own; its logits then meet the identity as the head that logprob wants. */
mg_tensor *mg_model_logprobs(mg_tape *t, const mg_model *m, int32_t *top_id) {
    if (t->batch->head) return mg_head_logprobs(t, m, t->batch->head, top_id, NULL);
    mg_tensor *h = mg_model_hidden(t, m);
    if (!m->unit) return mg_logprob(t, h, mg_linear_weight(t, &m->head), (float)m->c.final_softcap, top_id);
    return mg_logprob(t, mg_linear_apply(t, &m->head, pooled(t, m, h)), m->unit, 0, top_id);
}

mg_status mg_model_require_text(const mg_model *m, mg_error *err) {
    if (m->c.labels)
        return mg_fail(err, MG_UNSUPPORTED, "this model is a classifier of %lld labels and writes no text; give its base model",
                       (long long)m->c.labels);
    if (!m->head.w)
        return mg_fail(err, MG_UNSUPPORTED, "this model (%s) is an encoder and writes no text; its vectors are for search and "
                       "classification", m->arch->name);
    return MG_OK;
}

mg_tensor *mg_model_logits(mg_tape *t, const mg_model *m, mg_tensor *hidden, const int32_t *row, int64_t n) {
    if (!hidden) return NULL;
    mg_tensor *chosen = mg_result(t, n, hidden->cols);
    if (!chosen) return NULL;
    size_t bytes = (size_t)hidden->cols * hidden->format->block_bytes;
    for (int64_t i = 0; i < n; i++) {
        mg_mat from = { (uint8_t *)hidden->data + (size_t)row[i] * bytes, 1, hidden->cols, hidden->format, NULL };
        mg_mat to = { (uint8_t *)chosen->data + (size_t)i * bytes, 1, hidden->cols, hidden->format, NULL };
        t->backend->add((mg_add_args){ .y = to, .x = from, .scale = 1 });
    }
    return mg_linear_apply(t, &m->head, chosen);
}
