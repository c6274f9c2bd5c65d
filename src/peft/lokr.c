/* lokr.c -- LoKr (Edalati et al., arXiv 2212.10650; LyCORIS): y + s x (w1 kron w2)^T, s = alpha / r.
 *
 * Sizes are cut as PEFT cuts them: near their square roots, or with decompose_factor near that.  A factor that is
 * large beside r is itself a product of rank r.  w1 starts as zero, so training begins at the base model. */
#include "peft/lora.h"
#include "peft/lycoris.h"

#include <math.h>
#include <stddef.h>

typedef struct settings {
    int64_t decompose_factor; /* -1: near the square root */
    bool    decompose_both;   /* w1, too, may be a product */
} settings;

static mg_tensor *apply(mg_tape *t, const mg_hook *h, const mg_linear *l, mg_tensor *x, mg_tensor *y) {
    (void)l;
    return mg_delta(t, y, x, &mg_delta_kron, h->p, h->scale);
}

/* Number [row, col] of a factor: a whole matrix, or a product. */
static double entry(mg_tensor *const *p, int64_t row, int64_t col) {
    const float *a = (const float *)p[0]->data + row * p[0]->cols;
    double       sum = 0;
    if (!p[1]) return (double)a[col];
    for (int64_t k = 0; k < p[0]->cols; k++) sum += (double)a[k] * (double)((const float *)p[1]->data)[k * p[1]->cols + col];
    return sum;
}

static void merge(const mg_hook *h, const mg_linear *l, float *w, int64_t first, int64_t n) {
    int64_t rows = h->p[2]->rows, cols = h->p[3] ? h->p[3]->cols : h->p[2]->cols;
    for (int64_t r = 0; r < n; r++, w += l->w->cols)
        for (int64_t i = 0; i < l->w->cols; i++) {
            double one = entry(h->p, (first + r) / rows, i / cols);
            if (one != 0) w[i] += (float)((double)h->scale * one * entry(h->p + 2, (first + r) % rows, i % cols));
        }
}

static const mg_hook_kind hook_lokr = { .name = "lokr", .additive = true, .apply = apply, .merge = merge };

/* n = small large, small <= large: `factor` itself when it divides n, else the pair with the least sum whose small one is
 * not beyond it. */
static void cut(int64_t n, int64_t factor, int64_t *small, int64_t *large) {
    int64_t sum = n + 1;
    *small = factor > 0 && n % factor == 0 ? factor : 1;
    *large = n / *small;
    if (*small > 1 || factor == 1) return;
    for (int64_t m = 2; m <= n / m && (factor < 0 || m <= factor); m++)
        if (n % m == 0 && m + n / m < sum) {
            *small = m;
            *large = n / m;
            sum = m + *large;
        }
}

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

static void add_factor(mg_adapter *a, const mg_linear *l, mg_tensor **p, const char *name, int64_t rows, int64_t cols, int r, bool whole) {
    if (whole) {
        p[0] = mg_adapter_add(a, 0, rows, cols, "%s.%s", l->name, name);
        return;
    }
    p[0] = mg_adapter_add(a, 0, rows, r, "%s.%s_a", l->name, name);
    p[1] = mg_adapter_add(a, 0, r, cols, "%s.%s_b", l->name, name);
}

static mg_status attach_one(mg_adapter *a, mg_linear *l, mg_hook *h, mg_error *err) {
    const settings *own = (const void *)a->c.own;
    int             r = mg_adapter_rank(&a->c, l);
    int64_t         out1, out2, in1, in2;
    mg_status       st = mg_lycoris_scale(a, l, h, err);
    if (st) return st;
    h->kind = &hook_lokr;
    cut(l->w->rows, own->decompose_factor, &out1, &out2);
    cut(l->w->cols, own->decompose_factor, &in1, &in2);
    add_factor(a, l, h->p, "lokr_w1", out1, in1, r, !(own->decompose_both && 2 * r < larger(out1, in1)));
    add_factor(a, l, h->p + 2, "lokr_w2", out2, in2, r, 2 * r >= larger(out2, in2));
    return MG_OK;
}

static mg_status attach(mg_adapter *a, mg_net *net, mg_error *err) { return mg_adapter_each_linear(a, net, attach_one, err); }

static mg_status init(mg_adapter *a, uint64_t seed, mg_error *err) {
    (void)err;
    for (size_t i = 0; i < a->n_linear; i++)
        for (int k = 1; k < MG_DELTA_PARTS; k++) { /* p[0] stays zero */
            const mg_tensor *x = a->hook[i]->p[k];
            if (x) mg_uniform(mg_adapter_values(a, x), x->rows * x->cols, 1 / sqrtf((float)x->cols), seed, (uint32_t)(4 * i) + (uint32_t)k);
        }
    return MG_OK;
}

static void write_config(const mg_adapter *a, mg_buf *out) {
    const settings *own = (const void *)a->c.own;
    mg_lycoris_write_config(a, out);
    mg_buf_printf(out, "  \"decompose_factor\": %lld,\n  \"decompose_both\": %s,\n", (long long)own->decompose_factor,
                  own->decompose_both ? "true" : "false");
}

static mg_status read_config(mg_adapter_config *c, yyjson_val *json, const char *name, mg_error *err) {
    settings   *own = (void *)c->own;
    yyjson_val *factor = yyjson_obj_get(json, "decompose_factor");
    own->decompose_factor = yyjson_is_int(factor) ? yyjson_get_sint(factor) : -1;
    own->decompose_both = yyjson_get_bool(yyjson_obj_get(json, "decompose_both"));
    if (!own->decompose_factor || own->decompose_factor < -1)
        return mg_fail(err, MG_FORMAT, "%s: 'decompose_factor' must be -1 or at least 1", name);
    return mg_lycoris_read_config(c, json, name, err);
}

static const mg_option options[] = {
    { .name = "decompose_factor", .type = &mg_option_int, .offset = offsetof(settings, decompose_factor), .def = "-1", .min = -1, .max = 65536,
      .group = MG_N("Adapter"), .help = MG_N("LoKr: size of the small factor, when it divides the layer's; -1: near the square root") },
    { .name = "decompose_both", .type = &mg_option_bool, .offset = offsetof(settings, decompose_both), .def = "false", .group = MG_N("Adapter"),
      .help = MG_N("LoKr: the small factor may be a product of rank lora_r, too") },
    { 0 },
};

static const char *const keys[] = { "r", "alpha", "rank_pattern", "alpha_pattern", "init_weights", "decompose_factor", "decompose_both",
                                    "rank_dropout_scale", NULL };

const mg_method mg_method_lokr = {
    .name = "lokr", .peft_type = "LOKR", .title = "LoKr", .ranked = true, .options = options, .own = sizeof(settings), .attach = attach,
    .init = init, .write_config = write_config, .read_config = read_config, .keys = keys,
};
