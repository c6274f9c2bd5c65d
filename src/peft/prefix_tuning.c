/* prefix_tuning.c -- prefix tuning (Li & Liang 2021): keys and values in front of every layer's own, trained directly, or made by
 * an encoder that is thrown away.  P-tuning v2 (Liu et al. 2022, arXiv 2110.07602) is the same without an encoder.
 *
 *     rows [P, 2 L kv]: keys of layer 0, values of layer 0, keys of layer 1, ...        (PEFT's order)
 *     the virtual rows of k and v of layer l, behind rope, become columns of it
 *
 * What the virtual tokens' own hidden states are is nobody's business: nothing but attention looks at a row before its own,
 * and attention sees the prefix there. */
#include "peft/prompt.h"

#include <stdlib.h>

/* Once a pass, before the first layer: the prefix of all layers. */
static mg_tensor *embed(mg_tape *t, const mg_hook *h, mg_tensor *y) {
    const mg_adapter *a = h->owner;
    mg_encoder       *e = a->state;
    bool              makes = e->embedding && t->batch->n_virtual;
    e->rows = makes ? mg_share(t, mg_encode(t, e, (mg_rng){ 0, 0 })) : h->p[0];
    return y;
}

static mg_tensor *attend(mg_tape *t, const mg_hook *h, mg_tensor *q, mg_tensor *k, mg_tensor *v, mg_attention_kind kind, int layer) {
    const mg_adapter *a = h->owner;
    const mg_encoder *e = a->state;
    if (k && v && t->batch->n_virtual) {
        k = mg_put_rows(t, k, mg_columns(t, e->rows, e->rows->cols, 2 * layer * k->cols, k->cols));
        v = mg_put_rows(t, v, mg_columns(t, e->rows, e->rows->cols, (2 * layer + 1) * v->cols, v->cols));
    }
    return mg_attention(t, q, k, v, kind, layer);
}

static const mg_hook_kind hook_prefix = { .name = "prefix_tuning", .embed = embed }, hook_keys = { .name = "prefix_tuning", .attend = attend };

static mg_status attach(mg_adapter *a, mg_net *net, mg_error *err) {
    const mg_prompt_settings *s = mg_prompt_of(&a->c);
    int64_t   P = s->num_virtual_tokens, kv = net->kv_heads * net->hd, cols = 2 * net->layers * kv, hidden = s->encoder_hidden_size ? s->encoder_hidden_size : kv;
    bool      makes = s->projection && !a->c.frozen;
    mg_status st = mg_prompt_check(&a->c, err);
    if (st) return st;
    mg_hook    *h = mg_adapter_hook(a, &net->embed_hooks, &hook_prefix);
    mg_tensor  *rows = mg_adapter_add(a, MG_PART_BARE | (makes ? MG_PART_FIXED : 0u), P, cols, "prompt_embeddings");
    mg_encoder *e = mg_calloc(1, sizeof *e);
    if (!h || !rows || !e) {
        free(e);
        return mg_fail(err, MG_NOMEM, "no memory for an adapter");
    }
    *e = (mg_encoder){ .between = MG_TANH, .made = rows };
    a->state = e;
    h->p[0] = rows;
    h->virtual_rows = (int)P;
    for (int i = 0; i < net->layers; i++) mg_adapter_hook(a, &net->attend_hooks[i], &hook_keys);
    if (!makes) return MG_OK;
    e->embedding = mg_adapter_add(a, MG_PART_PRIVATE | MG_PART_BARE, P, kv, "prompt_encoder.default.embedding.weight");
    mg_encoder_add(a, e, kv, hidden, "transform.0");
    mg_encoder_add(a, e, hidden, cols, "transform.2");
    return MG_OK;
}

static mg_status init(mg_adapter *a, uint64_t seed, mg_error *err) {
    const mg_encoder *e = a->state;
    if (!e->embedding) mg_normal(mg_adapter_values(a, e->made), e->made->rows * e->made->cols, seed, 0);
    return mg_encoder_init(a, seed, err);
}

static void write_config(const mg_adapter *a, mg_buf *out) {
    const mg_prompt_settings *s = mg_prompt_of(&a->c);
    int64_t                   kv = a->net->kv_heads * a->net->hd;
    mg_prompt_write_config(a, kv, a->net->kv_heads, out);
    mg_buf_printf(out, "  \"encoder_hidden_size\": %lld,\n  \"prefix_projection\": %s,\n",
                  (long long)(s->encoder_hidden_size ? s->encoder_hidden_size : kv), s->projection ? "true" : "false");
}

const mg_method mg_method_prefix_tuning = {
    .name = "prefix_tuning", .peft_type = "PREFIX_TUNING", .title = "prefix tuning", .virtual_rows = mg_prompt_rows, .options = mg_prompt_options, .own = sizeof(mg_prompt_settings),
    .attach = attach, .init = init, .before_save = mg_encoder_before_save, .write_config = write_config, .read_config = mg_prompt_read_config,
    .keys = mg_prompt_keys, .free_state = mg_encoder_free,
};
