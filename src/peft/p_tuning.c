/* p_tuning.c -- P-tuning (Liu et al. 2021): the prompt is made by an encoder, which is trained and then thrown away.
 *
 *     MLP    Linear, ReLU, Linear, ReLU, Linear
 *     LSTM   layers that walk both ways over the virtual tokens; Linear, ReLU, Linear        (PEFT's PromptEncoder)
 *
 * A saved adapter is that of prompt tuning: rows of the embedding. */
#include "peft/prompt.h"

#include <stdio.h>
#include <string.h>

static mg_tensor *embed(mg_tape *t, const mg_hook *h, mg_tensor *y) {
    const mg_adapter *a = h->owner;
    const mg_encoder *e = a->state;
    if (!e) return mg_put_rows(t, y, h->p[0]);
    if (!t->batch->n_virtual) return y;
    return mg_put_rows(t, y, mg_encode(t, e, (mg_rng){ t->seed, mg_rng_where(t->step, 0, h->site) }));
}

static const mg_hook_kind hook_p_tuning = { .name = "p_tuning", .embed = embed };

static mg_dense half(mg_adapter *a, int64_t in, int64_t hidden, const char *what, int layer, const char *way) {
    return (mg_dense){
        mg_adapter_add(a, MG_PART_PRIVATE | MG_PART_BARE, 4 * hidden, in, "prompt_encoder.default.lstm_head.weight_%s_l%d%s", what, layer, way),
        mg_adapter_add(a, MG_PART_PRIVATE | MG_PART_BARE | MG_PART_VECTOR, 1, 4 * hidden, "prompt_encoder.default.lstm_head.bias_%s_l%d%s", what,
                       layer, way)
    };
}

static void add_lstm(mg_adapter *a, mg_encoder *e, int64_t dim, int64_t hidden) {
    const mg_prompt_settings *s = mg_prompt_of(&a->c);
    e->n_lstm = (int)s->encoder_num_layers;
    e->dropout = (float)s->encoder_dropout;
    for (int i = 0; i < e->n_lstm; i++)
        for (int k = 0; k < 2; k++) {
            e->lstm[i][k].in = half(a, i ? 2 * hidden : dim, hidden, "ih", i, k ? "_reverse" : "");
            e->lstm[i][k].state = half(a, hidden, hidden, "hh", i, k ? "_reverse" : "");
        }
    mg_encoder_add(a, e, 2 * hidden, 2 * hidden, "mlp_head.0");
    mg_encoder_add(a, e, 2 * hidden, dim, "mlp_head.2");
}

static void add_mlp(mg_adapter *a, mg_encoder *e, int64_t dim, int64_t hidden) {
    mg_encoder_add(a, e, dim, hidden, "mlp_head.0");
    mg_encoder_add(a, e, hidden, hidden, "mlp_head.2");
    mg_encoder_add(a, e, hidden, dim, "mlp_head.4");
}

static mg_status attach(mg_adapter *a, mg_net *net, mg_error *err) {
    const mg_prompt_settings *s = mg_prompt_of(&a->c);
    int64_t   P = s->num_virtual_tokens, hidden = s->encoder_hidden_size ? s->encoder_hidden_size : net->dim;
    mg_status st = mg_prompt_check(&a->c, err);
    if (st) return st;
    mg_hook    *h = mg_adapter_hook(a, &net->embed_hooks, &hook_p_tuning);
    mg_tensor  *made = mg_adapter_add(a, MG_PART_BARE | MG_PART_FIXED, P, net->dim, "prompt_embeddings");
    mg_encoder *e = a->c.frozen ? NULL : mg_calloc(1, sizeof *e);
    if (!h || !made || (!e && !a->c.frozen)) return mg_fail(err, MG_NOMEM, "no memory for an adapter");
    h->p[0] = made;
    h->virtual_rows = (int)P;
    a->state = e;
    if (!e) return MG_OK;
    *e = (mg_encoder){ .between = MG_RELU, .made = made };
    e->embedding = mg_adapter_add(a, MG_PART_PRIVATE | MG_PART_BARE, P, net->dim, "prompt_encoder.default.embedding.weight");
    if (s->reparameterization == MG_ENCODER_LSTM)
        add_lstm(a, e, net->dim, hidden);
    else
        add_mlp(a, e, net->dim, hidden);
    return MG_OK;
}

static void write_config(const mg_adapter *a, mg_buf *out) {
    const mg_prompt_settings *s = mg_prompt_of(&a->c);
    int64_t hidden = s->encoder_hidden_size ? s->encoder_hidden_size : a->net->dim;
    mg_prompt_write_config(a, a->net->dim, a->net->heads, out);
    mg_buf_printf(out, "  \"encoder_reparameterization_type\": \"%s\",\n  \"encoder_hidden_size\": %lld,\n  \"encoder_num_layers\": %lld,\n"
                       "  \"encoder_dropout\": %g,\n",
                  s->reparameterization == MG_ENCODER_LSTM ? "LSTM" : "MLP", (long long)hidden, (long long)s->encoder_num_layers, s->encoder_dropout);
}

const mg_method mg_method_p_tuning = {
    .name = "p_tuning", .peft_type = "P_TUNING", .title = "P-tuning", .virtual_rows = mg_prompt_rows, .options = mg_prompt_options, .own = sizeof(mg_prompt_settings), .attach = attach,
    .init = mg_encoder_init, .before_save = mg_encoder_before_save, .write_config = write_config, .read_config = mg_prompt_read_config,
    .keys = mg_prompt_keys, .free_state = mg_encoder_free,
};
