/* bottleneck.c -- adapters between layers: a narrow network beside a branch, at the residual seam.
 *
 *     b a branch (attention or feed-forward), x the stream that it joins, A(z) = up(f(down(z)))
 *
 *     houlsby    b + A(b)         at both branches, f SiLU           Houlsby et al. 2019, arXiv 1902.00751
 *     pfeiffer   b + A(b + x)     at the feed-forward, f ReLU        Pfeiffer et al. 2021, arXiv 2005.00247
 *     parallel   b + s A(x)       at the feed-forward, f ReLU, s 4   He et al. 2022, arXiv 2110.04366
 *
 * These are the shapes and defaults of AdapterHub's double_seq_bn, seq_bn and par_bn.  The first two start near nothing
 * (normal, deviation 0.02), the last at nothing (up is zero).  Where a model norms a branch before it joins (Gemma 2 and 3), b is
 * the normed one.  PEFT has no such adapters: the folder's names and keys are ours. */
#include "peft/lora.h"
#include "peft/prompt.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

typedef struct { double reduction_factor, scaling; int non_linearity; } settings;

#define AT(field) offsetof(settings, field)
#define BOTTLENECK MG_N("Bottleneck adapters")
static const mg_option options[] = {
    { .name = "reduction_factor", .aliases = "adapter_reduction_factor", .type = &mg_option_float, .offset = AT(reduction_factor), .def = "0", .min = 0,
      .max = 65536, .group = BOTTLENECK, .help = MG_N("the adapter is so many times narrower than the model; 0: 16, parallel 2") },
    { .name = "non_linearity", .aliases = "adapter_act", .type = &mg_option_enum, .offset = AT(non_linearity), .def = "auto",
      .choices = "auto|silu,swish|relu|gelu|tanh", .group = BOTTLENECK, .help = MG_N("between down and up; auto: SiLU for houlsby, else ReLU") },
    { .name = "adapter_scaling", .type = &mg_option_float, .offset = AT(scaling), .def = "4", .min = 0, .max = 1e6, .group = BOTTLENECK,
      .help = MG_N("parallel: factor on what the adapter adds") },
    { 0 },
};
static const mg_activation activations[] = { MG_RELU, MG_SILU, MG_RELU, MG_GELU, MG_TANH };
static const char *const   activation_names[] = { "auto", "silu", "relu", "gelu", "tanh" };

/* up(f(down(z))), on top of `onto` or alone */
static mg_tensor *narrow(mg_tape *t, const mg_hook *h, mg_tensor *z, mg_tensor *onto) {
    mg_tensor *u = mg_glu(t, mg_matmul(t, z, h->p[0], h->p[1], NULL), NULL, (mg_activation)h->site);
    return mg_matmul(t, u, h->p[2], h->p[3], onto);
}

static mg_tensor *houlsby(mg_tape *t, const mg_hook *h, mg_tensor *b, mg_tensor *x) {
    (void)x;
    return narrow(t, h, b, b);
}
static mg_tensor *pfeiffer(mg_tape *t, const mg_hook *h, mg_tensor *b, mg_tensor *x) { return narrow(t, h, mg_add(t, x, b, 1), b); }
static mg_tensor *parallel(mg_tape *t, const mg_hook *h, mg_tensor *b, mg_tensor *x) { return mg_add(t, b, narrow(t, h, x, NULL), h->scale); }

static const mg_hook_kind hook_houlsby = { .name = "houlsby", .residual = houlsby }, hook_pfeiffer = { .name = "pfeiffer", .residual = pfeiffer },
                          hook_parallel = { .name = "parallel", .residual = parallel };

static mg_status add_one(mg_adapter *a, mg_net *net, const mg_hook_kind *kind, int layer, mg_site site, int64_t width, mg_activation f, mg_error *err) {
    const char *where = site == MG_SITE_ATTENTION ? "attention" : "ffn";
    mg_hook    *h = mg_adapter_hook(a, &net->residual_hooks[layer * MG_SITES + (int)site], kind);
    if (!h) return mg_fail(err, MG_NOMEM, "no memory for an adapter");
    h->site = (uint32_t)f;
    h->scale = (float)((const settings *)(const void *)a->c.own)->scaling;
    h->p[0] = mg_adapter_add(a, 0, width, net->dim, "layers.%d.%s.adapter_down.weight", layer, where);
    h->p[1] = mg_adapter_add(a, MG_PART_VECTOR, 1, width, "layers.%d.%s.adapter_down.bias", layer, where);
    h->p[2] = mg_adapter_add(a, 0, net->dim, width, "layers.%d.%s.adapter_up.weight", layer, where);
    h->p[3] = mg_adapter_add(a, MG_PART_VECTOR, 1, net->dim, "layers.%d.%s.adapter_up.bias", layer, where);
    return MG_OK;
}

static mg_status add_all(mg_adapter *a, mg_net *net, const mg_hook_kind *kind, double reduction, mg_activation f, mg_error *err) {
    const settings *s = (const void *)a->c.own;
    double          by = s->reduction_factor > 0 ? s->reduction_factor : reduction;
    int64_t         width = (int64_t)ceil((double)net->dim / by);
    mg_status       st = MG_OK;
    if (s->non_linearity < 0 || (size_t)s->non_linearity >= sizeof activations / sizeof *activations || !(by >= 1))
        return mg_fail(err, MG_CONFIG, "reduction_factor is %g; wanted is 1 or more", by);
    if (s->non_linearity) f = activations[s->non_linearity];
    for (int i = 0; !st && i < net->layers; i++) {
        if (!mg_adapter_takes_layer(&a->c, i)) continue;
        if (kind == &hook_houlsby) st = add_one(a, net, kind, i, MG_SITE_ATTENTION, width, f, err);
        if (!st) st = add_one(a, net, kind, i, MG_SITE_FFN, width, f, err);
    }
    if (!st && !a->n_hooks) st = mg_fail(err, MG_CONFIG, "layers_to_transform chooses no layer of this model: nothing would train");
    return st;
}

static mg_status attach_houlsby(mg_adapter *a, mg_net *net, mg_error *err) { return add_all(a, net, &hook_houlsby, 16, MG_SILU, err); }
static mg_status attach_pfeiffer(mg_adapter *a, mg_net *net, mg_error *err) { return add_all(a, net, &hook_pfeiffer, 16, MG_RELU, err); }
static mg_status attach_parallel(mg_adapter *a, mg_net *net, mg_error *err) { return add_all(a, net, &hook_parallel, 2, MG_RELU, err); }

static mg_status init(mg_adapter *a, uint64_t seed, mg_error *err) {
    (void)err;
    for (size_t i = 0; i < a->n_hooks; i++) {
        mg_tensor *const *p = a->hook[i]->p;
        float            *down = mg_adapter_values(a, p[0]), *up = mg_adapter_values(a, p[2]);
        int64_t           n = p[0]->rows * p[0]->cols;
        if (a->hook[i]->kind == &hook_parallel) {
            mg_uniform(down, n, 1 / sqrtf((float)p[0]->cols), seed, (uint32_t)i);
            continue; /* up and the biases stay zero */
        }
        mg_normal(down, n, seed, (uint32_t)(2 * i + 1));
        mg_normal(up, n, seed, (uint32_t)(2 * i + 2));
        for (int64_t k = 0; k < n; k++) {
            down[k] *= 0.02f;
            up[k] *= 0.02f;
        }
    }
    return MG_OK;
}

/* ---- adapter_config.json ---- */

static void write_config(const mg_adapter *a, mg_buf *out) {
    const settings *s = (const void *)a->c.own;
    double          width = (double)a->hook[0]->p[0]->rows;
    mg_buf_printf(out, "  \"config\": \"%s\",\n  \"reduction_factor\": %.9g,\n  \"non_linearity\": \"%s\",\n  \"scaling\": %.9g,\n", a->c.method->name,
                  s->reduction_factor > 0 ? s->reduction_factor : (double)a->net->dim / width, activation_names[s->non_linearity], s->scaling);
    if (*a->c.layers) mg_buf_printf(out, "  \"layers_to_transform\": [%s],\n", a->c.layers);
}

static mg_status read_config(mg_adapter_config *c, yyjson_val *json, const char *name, mg_error *err) {
    settings   *s = (void *)c->own;
    float       by = 0, scaling = 0;
    const char *f = yyjson_get_str(yyjson_obj_get(json, "non_linearity"));
    mg_status   st = mg_config_number(&by, json, "reduction_factor", name, err);
    if (!st) st = mg_config_number(&scaling, json, "scaling", name, err);
    if (st) return st;
    s->reduction_factor = (double)by;
    s->scaling = (double)scaling;
    for (s->non_linearity = 0; f && strcmp(activation_names[s->non_linearity], f) != 0; s->non_linearity++)
        if ((size_t)s->non_linearity + 1 == sizeof activation_names / sizeof *activation_names)
            return mg_fail(err, MG_FORMAT, "%s: the non_linearity '%s' is not known here", name, f);
    return MG_OK;
}

static bool says(yyjson_val *json, const char *name) { return yyjson_equals_str(yyjson_obj_get(json, "config"), name); }
static bool claims_houlsby(yyjson_val *json) { return says(json, "houlsby"); }
static bool claims_pfeiffer(yyjson_val *json) { return says(json, "pfeiffer"); }
static bool claims_parallel(yyjson_val *json) { return says(json, "parallel"); }

static const char *const keys[] = { "config", "reduction_factor", "non_linearity", "scaling", NULL };

#define ROW(x, words)                                                                                                                          \
    const mg_method mg_method_##x = { .name = #x, .peft_type = "BOTTLENECK", .title = words, .options = options, .own = sizeof(settings),      \
                                      .claims = claims_##x, .attach = attach_##x, .init = init, .write_config = write_config,                \
                                      .read_config = read_config, .keys = keys }
ROW(houlsby, "Houlsby adapters");
ROW(pfeiffer, "Pfeiffer adapters");
ROW(parallel, "parallel adapters");
