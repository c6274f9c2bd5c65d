/* model.c -- what all architectures share: the table, and the way from ids to log-probabilities. */
#include "model/model.h"

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

mg_tensor *mg_model_hidden(mg_tape *t, const mg_model *m) {
    mg_tensor *x = mg_embedding_apply(t, &m->net, m->embed, m->embed_scale);
    for (int i = 0; i < (int)m->c.layers; i++) x = mg_segment(t, m->arch->block, m, i, x);
    return mg_rmsnorm(t, x, m->norm, NULL, (float)m->c.eps);
}

mg_tensor *mg_model_logprobs(mg_tape *t, const mg_model *m, int32_t *top_id) {
    return mg_logprob(t, mg_model_hidden(t, m), m->head.w, (float)m->c.final_softcap, top_id);
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
