/* lora.c -- LoRA (Hu et al. 2021): y + s B A d(x), with B = 0 at the start so that training begins at the base model.
 *
 * s = alpha / r, or alpha / sqrt(r) with rank stabilisation (arXiv 2312.03732), which keeps the size of the update
 * when r grows.  A starts uniform in +-1/sqrt(I), as PEFT's kaiming_uniform with a = sqrt(5).  d is dropout.
 * It only adds to y, so the product below it may carry the residual. */
#include "peft/adapter.h"

#include <math.h>
#include <stdio.h>

static mg_tensor *apply(mg_tape *t, const mg_hook *h, const mg_linear *l, mg_tensor *x, mg_tensor *y) {
    mg_rng stream = { t->seed, mg_rng_where(t->step, (uint32_t)(l->layer + 1), h->site) };
    return mg_lora(t, y, x, h->p[0], h->p[1], h->scale, h->dropout, stream);
}

/* W + s B A */
static void merge(const mg_hook *h, const mg_linear *l, float *w, int64_t first, int64_t n) {
    const mg_tensor *a = h->p[0], *b = h->p[1];
    const float     *down = a->data, *up = b->data;
    MG_ASSERT_EQ(a->cols, l->w->cols);
    for (int64_t row = 0; row < n; row++, w += a->cols)
        for (int64_t k = 0; k < a->rows; k++) {
            const float *from = down + k * a->cols;
            float        by = h->scale * up[(first + row) * b->cols + k];
            for (int64_t i = 0; i < a->cols; i++) w[i] += by * from[i];
        }
}

static const mg_hook_kind hook_lora = { .name = "lora", .additive = true, .apply = apply, .merge = merge };

static mg_status attach(const mg_adapter_config *c, mg_linear *l, mg_hook *h, mg_params *p, mg_error *err) {
    char name[160];
    if (c->r < 1 || c->r > l->w->cols)
        return mg_fail(err, MG_CONFIG, "lora_r is %d; allowed for %s are 1 to %lld", c->r, l->name, (long long)l->w->cols);
    if (!(c->dropout >= 0 && c->dropout < 1)) return mg_fail(err, MG_CONFIG, "lora_dropout is %g; allowed are 0 up to below 1", (double)c->dropout);
    *h = (mg_hook){ .kind = &hook_lora, .dropout = c->dropout };
    h->scale = c->rslora ? c->alpha / sqrtf((float)c->r) : c->alpha / (float)c->r;
    snprintf(name, sizeof name, "%s.lora_A.weight", l->name);
    h->p[0] = mg_params_add(p, name, c->r, l->w->cols);
    snprintf(name, sizeof name, "%s.lora_B.weight", l->name);
    h->p[1] = mg_params_add(p, name, l->w->rows, c->r);
    return h->p[0] && h->p[1] ? MG_OK : mg_fail(err, MG_NOMEM, "no memory for an adapter of rank %d", c->r);
}

static void init(const mg_adapter_config *c, mg_params *p, const mg_hook *h, uint64_t seed, uint32_t index) {
    (void)c;
    mg_rng  stream = { seed, mg_rng_where(0, index >> 12, index) };
    float  *a = mg_params_values(p, h->p[0]), bound = 1 / sqrtf((float)h->p[0]->cols);
    for (int64_t i = 0; i < h->p[0]->rows * h->p[0]->cols; i++) a[i] = bound * (2 * mg_rng_uniform(stream, (uint64_t)i) - 1);
    float *b = mg_params_values(p, h->p[1]);
    for (int64_t i = 0; i < h->p[1]->rows * h->p[1]->cols; i++) b[i] = 0;
}

static void write_config(const mg_adapter_config *c, mg_buf *out) {
    mg_buf_printf(out, "  \"r\": %d,\n  \"lora_alpha\": %g,\n  \"lora_dropout\": %g,\n  \"use_rslora\": %s,\n", c->r, (double)c->alpha,
                  (double)c->dropout, c->rslora ? "true" : "false");
    mg_buf_str(out, "  \"fan_in_fan_out\": false,\n  \"bias\": \"none\",\n");
}

static mg_status read_config(mg_adapter_config *c, yyjson_val *json, const char *name, mg_error *err) {
    yyjson_val *r = yyjson_obj_get(json, "r"), *alpha = yyjson_obj_get(json, "lora_alpha"), *dropout = yyjson_obj_get(json, "lora_dropout");
    yyjson_val *bias = yyjson_obj_get(json, "bias");
    if (!yyjson_is_int(r) || yyjson_get_sint(r) < 1 || yyjson_get_sint(r) > 65536)
        return mg_fail(err, MG_FORMAT, "%s: 'r' must be an integer of at least 1", name);
    if (!yyjson_is_num(alpha)) return mg_fail(err, MG_FORMAT, "%s: 'lora_alpha' must be a number", name);
    if (bias && !yyjson_equals_str(bias, "none"))
        return mg_fail(err, MG_UNSUPPORTED, "%s: bias '%s' is not supported, only \"none\"", name, yyjson_get_str(bias));
    c->r = (int)yyjson_get_sint(r);
    c->alpha = (float)yyjson_get_num(alpha);
    c->dropout = (float)yyjson_get_num(dropout);
    c->rslora = yyjson_get_bool(yyjson_obj_get(json, "use_rslora"));
    return MG_OK;
}

static const char *const keys[] = { "r", "lora_alpha", "lora_dropout", "use_rslora", "bias", "init_lora_weights", NULL };

const mg_method mg_method_lora = {
    .name = "lora", .peft_type = "LORA", .attach = attach, .init = init, .write_config = write_config, .read_config = read_config,
    .keys = keys,
};
