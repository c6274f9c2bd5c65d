/* loha.c -- LoHa (Hyeon-Woo et al., arXiv 2108.06098): y + s x ((w1_a w1_b) * (w2_a w2_b))^T, an update of rank up to
 * r^2 with the numbers of two LoRAs.  s = alpha / r.  w2_b starts as zero, so training begins at the base model. */
#include "peft/lora.h"
#include "peft/lycoris.h"

#include <math.h>

static mg_tensor *apply(mg_tape *t, const mg_hook *h, const mg_linear *l, mg_tensor *x, mg_tensor *y) {
    (void)l;
    return mg_delta(t, y, x, &mg_delta_hadamard, h->p, h->scale);
}

/* One number of a product: row of a [O,r] times column i of b [r,I]. */
static double entry(const mg_tensor *a, const mg_tensor *b, int64_t row, int64_t i) {
    const float *of_a = (const float *)a->data + row * a->cols, *of_b = (const float *)b->data + i;
    double       sum = 0;
    for (int64_t k = 0; k < a->cols; k++) sum += (double)of_a[k] * (double)of_b[k * b->cols];
    return sum;
}

static void merge(const mg_hook *h, const mg_linear *l, float *w, int64_t first, int64_t n) {
    int64_t cols = l->w->cols;
    for (int64_t r = 0; r < n; r++, w += cols)
        for (int64_t i = 0; i < cols; i++)
            w[i] += (float)((double)h->scale * entry(h->p[0], h->p[1], first + r, i) * entry(h->p[2], h->p[3], first + r, i));
}

static const mg_hook_kind hook_loha = { .name = "loha", .additive = true, .apply = apply, .merge = merge };

static mg_status attach_one(mg_adapter *a, mg_linear *l, mg_hook *h, mg_error *err) {
    static const char *const names[] = { "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b" };
    int                      r = mg_adapter_rank(&a->c, l);
    mg_status                st = mg_lycoris_scale(a, l, h, err);
    h->kind = &hook_loha;
    for (int i = 0; !st && i < 4; i++)
        h->p[i] = mg_adapter_add(a, 0, i % 2 ? r : l->w->rows, i % 2 ? l->w->cols : r, "%s.%s", l->name, names[i]);
    return st;
}

static mg_status attach(mg_adapter *a, mg_net *net, mg_error *err) { return mg_adapter_each_linear(a, net, attach_one, err); }

static mg_status init(mg_adapter *a, uint64_t seed, mg_error *err) {
    (void)err;
    for (size_t i = 0; i < a->n_linear; i++)
        for (int k = 0; k < 3; k++) {
            const mg_tensor *x = a->hook[i]->p[k];
            mg_uniform(mg_adapter_values(a, x), x->rows * x->cols, 1 / sqrtf((float)x->cols), seed, (uint32_t)(4 * i) + (uint32_t)k);
        }
    return MG_OK; /* w2_b stays zero */
}

/* ---- settings of LoHa and LoKr ---- */

mg_status mg_lycoris_scale(const mg_adapter *a, const mg_linear *l, mg_hook *h, mg_error *err) {
    int     r = mg_adapter_rank(&a->c, l);
    int64_t most = l->w->cols < l->w->rows ? l->w->cols : l->w->rows;
    if (r < 1 || r > most) return mg_fail(err, MG_CONFIG, "lora_r is %d; allowed for %s are 1 to %lld", r, l->name, (long long)most);
    if (a->c.dropout > 0)
        return mg_fail(err, MG_CONFIG, "lora_dropout is %g; %s has no dropout, set 0", (double)a->c.dropout, a->c.method->title);
    h->scale = mg_adapter_alpha(&a->c, l) / (float)r;
    return MG_OK;
}

void mg_lycoris_write_config(const mg_adapter *a, mg_buf *out) {
    mg_buf_printf(out, "  \"r\": %d,\n  \"alpha\": %g,\n", a->c.r, (double)a->c.alpha);
    mg_config_write_pattern(a->c.rank_pattern, "rank_pattern", out);
    mg_config_write_pattern(a->c.alpha_pattern, "alpha_pattern", out);
}

mg_status mg_lycoris_read_config(mg_adapter_config *c, yyjson_val *json, const char *name, mg_error *err) {
    mg_status st = mg_config_int(&c->r, json, "r", name, err);
    if (!st) st = mg_config_number(&c->alpha, json, "alpha", name, err);
    if (!st) st = mg_config_pattern(c->rank_pattern, sizeof c->rank_pattern, yyjson_obj_get(json, "rank_pattern"), "rank_pattern", name, err);
    if (!st) st = mg_config_pattern(c->alpha_pattern, sizeof c->alpha_pattern, yyjson_obj_get(json, "alpha_pattern"), "alpha_pattern", name, err);
    return st;
}

static const char *const keys[] = { "r", "alpha", "rank_pattern", "alpha_pattern", "init_weights", NULL };

const mg_method mg_method_loha = {
    .name = "loha", .peft_type = "LOHA", .title = "LoHa", .ranked = true, .attach = attach, .init = init,
    .write_config = mg_lycoris_write_config, .read_config = mg_lycoris_read_config, .keys = keys,
};
