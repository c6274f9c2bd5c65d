/* ia3.c -- (IA)^3 (Liu et al., arXiv 2205.05638): a trained vector stretches the outputs of keys and values and the
 * inputs of the feed-forward block's last product.  All ones at the start. */
#include "peft/adapter.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

typedef struct settings {
    char *feedforward_modules; /* of the options; NULL: `feed` */
    char  feed[200];           /* of a file */
} settings;

static mg_tensor *before(mg_tape *t, const mg_hook *h, const mg_linear *l, mg_tensor *x) {
    (void)l;
    return mg_scale_columns(t, x, h->p[0], NULL, NULL, false);
}

static mg_tensor *after(mg_tape *t, const mg_hook *h, const mg_linear *l, mg_tensor *x, mg_tensor *y) {
    (void)l, (void)x;
    return mg_scale_columns(t, y, h->p[0], NULL, NULL, true);
}

static void merge_inputs(const mg_hook *h, const mg_linear *l, float *w, int64_t first, int64_t n) {
    const float *scale = h->p[0]->data;
    (void)first;
    for (int64_t r = 0; r < n; r++, w += l->w->cols)
        for (int64_t i = 0; i < l->w->cols; i++) w[i] *= scale[i];
}

static void merge_outputs(const mg_hook *h, const mg_linear *l, float *w, int64_t first, int64_t n) {
    const float *scale = h->p[0]->data;
    for (int64_t r = 0; r < n; r++, w += l->w->cols)
        for (int64_t i = 0; i < l->w->cols; i++) w[i] *= scale[first + r];
}

static void merge_bias(const mg_hook *h, float *bias, int64_t first, int64_t n) {
    const float *scale = h->p[0]->data;
    for (int64_t i = 0; i < n; i++) bias[i] *= scale[first + i];
}

static const mg_hook_kind hook_in = { .name = "ia3", .additive = true, .before = before, .merge = merge_inputs },
                          hook_out = { .name = "ia3", .apply = after, .merge = merge_outputs, .merge_bias = merge_bias };

static bool is_feed(const mg_adapter *a, const mg_linear *l) {
    const settings *own = (const void *)a->c.own;
    return mg_targets_have(own->feedforward_modules ? own->feedforward_modules : own->feed, l);
}

static mg_status attach_one(mg_adapter *a, mg_linear *l, mg_hook *h, mg_error *err) {
    bool in = is_feed(a, l);
    h->kind = in ? &hook_in : &hook_out;
    h->p[0] = mg_adapter_add(a, 0, in ? 1 : l->w->rows, in ? l->w->cols : 1, "%s.ia3_l", l->name);
    return h->p[0] ? MG_OK : mg_fail(err, MG_NOMEM, "no memory for an adapter");
}

/* The paper's layers stand for the general default, which is LoRA's. */
static mg_status attach(mg_adapter *a, mg_net *net, mg_error *err) {
    if (!a->c.frozen && !strcmp(a->c.targets, "all-linear")) snprintf(a->c.targets, sizeof a->c.targets, "k,v,down");
    return mg_adapter_each_linear(a, net, attach_one, err);
}

static mg_status init(mg_adapter *a, uint64_t seed, mg_error *err) {
    (void)seed, (void)err;
    for (size_t i = 0; i < a->n_linear; i++) {
        const mg_tensor *x = a->hook[i]->p[0];
        for (int64_t k = 0; k < x->rows * x->cols; k++) mg_adapter_values(a, x)[k] = 1;
    }
    return MG_OK;
}

static void write_config(const mg_adapter *a, mg_buf *out) {
    mg_buf_str(out, "  \"fan_in_fan_out\": false,\n");
    mg_adapter_write_modules(a, "feedforward_modules", is_feed, out);
}

static mg_status read_config(mg_adapter_config *c, yyjson_val *json, const char *name, mg_error *err) {
    settings *own = (void *)c->own;
    own->feedforward_modules = NULL;
    return mg_config_names(own->feed, sizeof own->feed, yyjson_obj_get(json, "feedforward_modules"), "feedforward_modules", name, err);
}

static const mg_option options[] = {
    { .name = "feedforward_modules", .type = &mg_option_string, .offset = offsetof(settings, feedforward_modules), .def = "down",
      .metavar = "MODULES", .group = MG_N("Adapter"), .help = MG_N("(IA)3: layers that are stretched at their inputs, not their outputs") },
    { 0 },
};

static const char *const keys[] = { "feedforward_modules", "init_ia3_weights", NULL };

const mg_method mg_method_ia3 = {
    .name = "ia3", .peft_type = "IA3", .title = "(IA)3", .options = options, .own = sizeof(settings), .attach = attach, .init = init,
    .write_config = write_config, .read_config = read_config, .keys = keys,
};
