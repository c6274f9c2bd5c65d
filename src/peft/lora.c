/* lora.c -- LoRA (Hu et al. 2021): y + s B A d(x), with B = 0 at the start so that training begins at the base model.
 *
 * s = alpha / r, or alpha / sqrt(r) with rank stabilisation (arXiv 2312.03732), which keeps the size of the update
 * when r grows; patterns give single layers a rank or alpha of their own.  A starts uniform in +-1/sqrt(I), as PEFT's
 * kaiming_uniform with a = sqrt(5).  d is dropout.  LoRA+ (arXiv 2402.12354) trains B at a multiple of the learning
 * rate.  It only adds to y, so the product below it may carry the residual. */
#include "peft/lora.h"

#include <math.h>
#include <stddef.h>

static mg_tensor *apply(mg_tape *t, const mg_hook *h, const mg_linear *l, mg_tensor *x, mg_tensor *y) {
    return mg_lora(t, y, x, h->p[0], h->p[1], h->scale, h->dropout, mg_lora_stream(t, h, l));
}

static bool start_all(mg_tape *t, const mg_hook *const *h, const mg_linear *const *l, int n, mg_tensor *x, mg_tensor **y) {
    mg_tensor *a[MG_LORAS] = { h[0]->p[0] };
    (void)l;
    if (n > MG_LORAS) return false;
    for (int i = 0; i < n; i++) {
        a[i] = h[i]->p[0];
        if ((h[i]->dropout > 0 && t->training) ||
            (i && (a[i]->behind != a[i - 1] || a[i]->rows != a[0]->rows || a[i]->needs_grad != a[0]->needs_grad)))
            return false;
    }
    mg_tensor *u = mg_lora_down(t, x, a, n);
    for (int i = 0; i < n; i++) y[i] = mg_lora_up(t, u, i, h[i]->p[1], h[i]->scale);
    return true;
}

static mg_tensor *onto(mg_tape *t, const mg_hook *h, const mg_linear *l, mg_tensor *x, mg_tensor *y, mg_tensor *residual) {
    return mg_lora_onto(t, y, x, h->p[0], h->p[1], residual, h->scale, h->dropout, mg_lora_stream(t, h, l));
}

void mg_lora_add(const mg_hook *h, float *w, int64_t first, int64_t n) {
    const mg_tensor *a = h->p[0], *b = h->p[1];
    const float     *down = a->data, *up = b->data;
    for (int64_t row = 0; row < n; row++, w += a->cols)
        for (int64_t k = 0; k < a->rows; k++) {
            const float *from = down + k * a->cols;
            float        by = h->scale * up[(first + row) * b->cols + k];
            for (int64_t i = 0; i < a->cols; i++) w[i] += by * from[i];
        }
}

/* W + s B A */
static void merge(const mg_hook *h, const mg_linear *l, float *w, int64_t first, int64_t n) {
    MG_ASSERT_EQ(h->p[0]->cols, l->w->cols);
    mg_lora_add(h, w, first, n);
}

static const mg_hook_kind hook_lora = { .name = "lora", .additive = true, .apply = apply, .start_all = start_all, .onto = onto,
                                       .merge = merge };

mg_rng mg_lora_stream(const mg_tape *t, const mg_hook *h, const mg_linear *l) {
    return (mg_rng){ t->seed, mg_rng_where(t->step, (uint32_t)(l->layer + 1), h->site) };
}

mg_status mg_lora_pair(mg_adapter *a, mg_linear *l, mg_hook *h, mg_error *err) {
    const mg_adapter_config *c = &a->c;
    const mg_lora_settings  *own = (const void *)c->own;
    int                      r = mg_adapter_rank(c, l);
    float                    alpha = mg_adapter_alpha(c, l);
    if (r < 1 || r > l->w->cols)
        return mg_fail(err, MG_CONFIG, "lora_r is %d; allowed for %s are 1 to %lld", r, l->name, (long long)l->w->cols);
    if (!(c->dropout >= 0 && c->dropout < 1)) return mg_fail(err, MG_CONFIG, "lora_dropout is %g; allowed are 0 up to below 1", (double)c->dropout);
    h->dropout = c->dropout;
    h->scale = c->rslora ? alpha / sqrtf((float)r) : alpha / (float)r;
    h->p[0] = mg_adapter_add(a, 0, r, l->w->cols, "%s.lora_A.weight", l->name);
    if (h->p[0]) mg_params_stack(a->params, h->p[0]);
    h->p[1] = mg_adapter_add(a, 0, l->w->rows, r, "%s.lora_B.weight", l->name);
    if (!h->p[0] || !h->p[1]) return mg_fail(err, MG_NOMEM, "no memory for an adapter of rank %d", r);
    if (!c->frozen && own->loraplus_lr_ratio > 0) mg_params_set_rule(a->params, h->p[1], (mg_param_rule){ (float)own->loraplus_lr_ratio, 1 });
    return MG_OK;
}

static mg_status attach_one(mg_adapter *a, mg_linear *l, mg_hook *h, mg_error *err) {
    h->kind = &hook_lora;
    return mg_lora_pair(a, l, h, err);
}

mg_status mg_lora_attach(mg_adapter *a, mg_net *net, mg_error *err) { return mg_adapter_each_linear(a, net, attach_one, err); }

void mg_uniform(float *x, int64_t n, float bound, uint64_t seed, uint32_t index) {
    mg_rng stream = { seed, mg_rng_where(0, index >> 12, index) };
    for (int64_t i = 0; i < n; i++) x[i] = bound * (2 * mg_rng_uniform(stream, (uint64_t)i) - 1);
}

mg_status mg_lora_init(mg_adapter *a, uint64_t seed, mg_error *err) {
    (void)err;
    for (size_t i = 0; i < a->n_linear; i++) {
        const mg_tensor *down = a->hook[i]->p[0];
        mg_uniform(mg_adapter_values(a, down), down->rows * down->cols, 1 / sqrtf((float)down->cols), seed, (uint32_t)i);
    }
    return MG_OK; /* B stays zero */
}

void mg_lora_write_config(const mg_adapter *a, mg_buf *out) {
    const mg_adapter_config *c = &a->c;
    mg_buf_printf(out, "  \"r\": %d,\n  \"lora_alpha\": %g,\n  \"lora_dropout\": %g,\n  \"use_rslora\": %s,\n", c->r, (double)c->alpha,
                  (double)c->dropout, c->rslora ? "true" : "false");
    mg_buf_str(out, "  \"fan_in_fan_out\": false,\n  \"bias\": \"none\",\n");
    mg_config_write_pattern(c->rank_pattern, "rank_pattern", out);
    mg_config_write_pattern(c->alpha_pattern, "alpha_pattern", out);
}

mg_status mg_lora_read_config(mg_adapter_config *c, yyjson_val *json, const char *name, mg_error *err) {
    yyjson_val *bias = yyjson_obj_get(json, "bias");
    if (bias && !yyjson_equals_str(bias, "none"))
        return mg_fail(err, MG_UNSUPPORTED, "%s: bias '%s' is not supported, only \"none\"", name, yyjson_get_str(bias));
    mg_status st = mg_config_int(&c->r, json, "r", name, err);
    if (!st) st = mg_config_number(&c->alpha, json, "lora_alpha", name, err);
    if (!st) st = mg_config_pattern(c->rank_pattern, sizeof c->rank_pattern, yyjson_obj_get(json, "rank_pattern"), "rank_pattern", name, err);
    if (!st) st = mg_config_pattern(c->alpha_pattern, sizeof c->alpha_pattern, yyjson_obj_get(json, "alpha_pattern"), "alpha_pattern", name, err);
    c->dropout = (float)yyjson_get_num(yyjson_obj_get(json, "lora_dropout"));
    c->rslora = yyjson_get_bool(yyjson_obj_get(json, "use_rslora"));
    return st;
}

const mg_option mg_lora_options[] = {
    { .name = "loraplus_lr_ratio", .type = &mg_option_float, .offset = offsetof(mg_lora_settings, loraplus_lr_ratio), .def = "0", .min = 0,
      .max = 1e6, .group = MG_N("Adapter"), .help = MG_N("LoRA+: B learns at this multiple of the learning rate, 16 is usual; 0: the same") },
    { 0 },
};

const char *const mg_lora_keys[] = { "r", "lora_alpha", "lora_dropout", "use_rslora", "bias", "init_lora_weights", "rank_pattern",
                                     "alpha_pattern", NULL };

const mg_method mg_method_lora = {
    .name = "lora", .peft_type = "LORA", .title = "LoRA", .ranked = true, .options = mg_lora_options, .own = sizeof(mg_lora_settings), .attach = mg_lora_attach,
    .init = mg_lora_init, .write_config = mg_lora_write_config, .read_config = mg_lora_read_config, .keys = mg_lora_keys,
};
