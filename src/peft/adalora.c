/* adalora.c -- AdaLoRA (Zhang et al., arXiv 2303.10512): y + s B diag(E) A x, where the budget of ranks goes to the
 * layers that need it.
 *
 * Each triplet (a row of A, a number of E, a column of B) is scored by the running means of |value gradient| and of its
 * deviation; between tinit and total - tfinal steps a cubic schedule lowers the number of triplets from init_r to target_r
 * a layer, and E of the others becomes zero.  A penalty keeps A and B near orthonormal; it is added to their gradients, not
 * to the loss that is shown.  s = alpha / (init_r + 1e-5), as PEFT has it. */
#include "peft/lora.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef struct settings {
    int64_t init_r, target_r, tinit, tfinal, deltaT;
    double  beta1, beta2, orth_reg_weight;
} settings;

enum { A, E, B, TENSORS };
enum { MEAN = TENSORS, SPREAD = 2 * TENSORS, ALIVE = 3 * TENSORS, PARTS }; /* behind the three: their averages; 1: not cut */

static const settings *own_of(const mg_adapter *a) { return (const void *)a->c.own; }

static mg_tensor *apply(mg_tape *t, const mg_hook *h, const mg_linear *l, mg_tensor *x, mg_tensor *y) {
    if (h->dropout > 0 && t->training) x = mg_dropout(t, x, h->dropout, mg_lora_stream(t, h, l));
    mg_tensor *u = mg_scale_columns(t, mg_matmul(t, x, h->p[A], NULL, NULL), h->p[E], NULL, NULL, true);
    return mg_add(t, y, mg_matmul(t, u, h->p[B], NULL, NULL), h->scale);
}

static void merge(const mg_hook *h, const mg_linear *l, float *w, int64_t first, int64_t n) {
    const mg_tensor *a = h->p[A], *b = h->p[B];
    const float     *e = h->p[E]->data;
    for (int64_t r = first; r < first + n; r++, w += l->w->cols)
        for (int64_t k = 0; k < a->rows; k++) {
            const float *from = (const float *)a->data + k * a->cols;
            float        by = h->scale * ((const float *)b->data)[r * b->cols + k] * e[k];
            for (int64_t i = 0; i < a->cols; i++) w[i] += by * from[i];
        }
}

static const mg_hook_kind hook_adalora = { .name = "adalora", .additive = true, .apply = apply, .merge = merge };

static mg_status attach_one(mg_adapter *a, mg_linear *l, mg_hook *h, mg_error *err) {
    static const char *const names[TENSORS] = { "lora_A", "lora_E", "lora_B" };
    int64_t                  r = own_of(a)->init_r, size[TENSORS][2] = { { r, l->w->cols }, { r, 1 }, { l->w->rows, r } };
    if (r > l->w->cols) return mg_fail(err, MG_CONFIG, "init_r is %lld; allowed for %s are 1 to %lld", (long long)r, l->name, (long long)l->w->cols);
    h->kind = &hook_adalora;
    h->dropout = a->c.dropout;
    h->scale = (a->c.alpha > 0 ? a->c.alpha : (float)r) / ((float)r + 1e-5f);
    for (int k = 0; k < TENSORS; k++) h->p[k] = mg_adapter_add(a, 0, size[k][0], size[k][1], "%s.%s", l->name, names[k]);
    for (int k = 0; !a->c.frozen && k < 2 * TENSORS; k++)
        mg_adapter_add(a, MG_PART_FIXED | MG_PART_PRIVATE, size[k % TENSORS][0], size[k % TENSORS][1], "%s.%s.%s", l->name,
                       names[k % TENSORS], k < TENSORS ? "mean" : "spread");
    if (!a->c.frozen) mg_adapter_add(a, MG_PART_FIXED | MG_PART_PRIVATE, r, 1, "%s.alive", l->name);
    return MG_OK;
}

static mg_status attach(mg_adapter *a, mg_net *net, mg_error *err) {
    const settings *own = own_of(a);
    if (own->target_r > own->init_r)
        return mg_fail(err, MG_CONFIG, "target_r is %lld, above init_r (%lld)", (long long)own->target_r, (long long)own->init_r);
    a->c.r = (int)own->init_r;
    return mg_adapter_each_linear(a, net, attach_one, err);
}

static mg_status init(mg_adapter *a, uint64_t seed, mg_error *err) {
    (void)err;
    for (size_t i = 0; i < a->n_linear; i++) {
        for (int k = A; k <= B; k += B) {
            const mg_tensor *x = a->hook[i]->p[k];
            mg_rng           stream = { seed, mg_rng_where(0, (uint32_t)k, (uint32_t)i) };
            for (int64_t j = 0; j < x->rows * x->cols; j++) mg_adapter_values(a, x)[j] = 0.02f * mg_rng_normal(stream, (uint64_t)j);
        }
        const mg_tensor *alive = a->part[i * PARTS + ALIVE].x;
        for (int64_t k = 0; k < alive->rows; k++) mg_adapter_values(a, alive)[k] = 1;
    }
    return MG_OK;
}

/* ---- gradients of the penalty ---- */

/* Gradients of one tensor for the program: where they lie on the host, else a copy that is to be put back. */
static float *gradients(const mg_adapter *a, const mg_tensor *x) {
    const mg_device *d = a->params->backend->device;
    size_t           bytes = (size_t)(x->rows * x->cols) * sizeof(float);
    if (d->host) return x->grad;
    float *copy = malloc(bytes);
    if (copy) d->get(copy, x->grad, bytes);
    return copy;
}

static void put_gradients(const mg_adapter *a, const mg_tensor *x, float *g, bool changed) {
    const mg_device *d = a->params->backend->device;
    if (d->host) return;
    if (g && changed) d->put(x->grad, g, (size_t)(x->rows * x->cols) * sizeof(float));
    free(g);
}

/* Number [k,i] of the matrix whose rows should be orthonormal: A, or B turned. */
static int64_t place(const mg_tensor *x, bool turned, int64_t k, int64_t i) { return turned ? i * x->cols + k : k * x->cols + i; }

/* g += weight d|P P^T - 1| / dP = weight 2 (P P^T - 1) P / |P P^T - 1|; the norm is added to *sum. */
static void add_penalty(const float *p, float *g, const mg_tensor *x, bool turned, double weight, double *m, double *sum) {
    int64_t r = turned ? x->cols : x->rows, n = turned ? x->rows : x->cols;
    double  square = 0;
    for (int64_t k = 0; k < r; k++)
        for (int64_t l = 0; l < r; l++) {
            double product = 0;
            for (int64_t i = 0; i < n; i++) product += (double)p[place(x, turned, k, i)] * (double)p[place(x, turned, l, i)];
            m[k * r + l] = product - (k == l);
            square += m[k * r + l] * m[k * r + l];
        }
    double norm = sqrt(square), by = norm > 0 ? 2 * weight / norm : 0;
    *sum += weight * norm;
    for (int64_t k = 0; k < r; k++)
        for (int64_t i = 0; i < n; i++) {
            double along = 0;
            for (int64_t l = 0; l < r; l++) along += m[k * r + l] * (double)p[place(x, turned, l, i)];
            g[place(x, turned, k, i)] += (float)(by * along);
        }
}

static double before_update(mg_adapter *a) {
    double  sum = 0, weight = own_of(a)->orth_reg_weight / (2 * (double)a->n_linear);
    int64_t r = own_of(a)->init_r;
    double *m = malloc((size_t)(r * r) * sizeof *m);
    mg_params_pull(a->params);
    for (size_t i = 0; m && weight > 0 && i < a->n_linear; i++)
        for (int k = A; k <= B; k += B) {
            const mg_tensor *x = a->hook[i]->p[k];
            float           *g = gradients(a, x);
            if (g) add_penalty(mg_adapter_values(a, x), g, x, k == B, weight, m, &sum);
            put_gradients(a, x, g, true);
        }
    free(m);
    return sum;
}

/* ---- the budget ---- */

static void follow(mg_adapter *a, const mg_part *part, int k, float scale) {
    const settings  *own = own_of(a);
    const mg_tensor *x = part[k].x;
    const float     *value = mg_adapter_values(a, x);
    float           *g = gradients(a, x), *mean = mg_adapter_values(a, part[MEAN + k].x), *spread = mg_adapter_values(a, part[SPREAD + k].x);
    float            b1 = (float)own->beta1, b2 = (float)own->beta2;
    for (int64_t i = 0; g && i < x->rows * x->cols; i++) {
        float score = fabsf(value[i] * g[i] * scale);
        mean[i] = b1 * mean[i] + (1 - b1) * score;
        spread[i] = b2 * spread[i] + (1 - b2) * fabsf(score - mean[i]);
    }
    put_gradients(a, x, g, false);
}

/* The score of triplet k of a layer: that of its E, and the means of those of its row and column. */
static float score(mg_adapter *a, const mg_part *part, int64_t k) {
    const float *mean[TENSORS], *spread[TENSORS];
    int64_t      in = part[A].x->cols, out = part[B].x->rows, r = part[A].x->rows;
    double       row = 0, column = 0;
    for (int i = 0; i < TENSORS; i++) mean[i] = mg_adapter_values(a, part[MEAN + i].x), spread[i] = mg_adapter_values(a, part[SPREAD + i].x);
    for (int64_t i = 0; i < in; i++) row += (double)(mean[A][k * in + i] * spread[A][k * in + i]);
    for (int64_t o = 0; o < out; o++) column += (double)(mean[B][o * r + k] * spread[B][o * r + k]);
    return mean[E][k] * spread[E][k] + (float)(row / (double)in) + (float)(column / (double)out);
}

static int ascending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Cut all but the best `budget` triplets. */
static void allocate(mg_adapter *a, int64_t budget) {
    int64_t r = own_of(a)->init_r, all = r * (int64_t)a->n_linear, cut = all - budget;
    float  *scores = malloc((size_t)all * sizeof *scores), *sorted = malloc((size_t)all * sizeof *sorted);
    for (int64_t i = 0; scores && sorted && i < all; i++) scores[i] = score(a, &a->part[i / r * PARTS], i % r);
    if (scores && sorted && cut > 0) {
        memcpy(sorted, scores, (size_t)all * sizeof *sorted);
        qsort(sorted, (size_t)all, sizeof *sorted, ascending);
        for (int64_t i = 0; i < all; i++) mg_adapter_values(a, a->part[i / r * PARTS + ALIVE].x)[i % r] = scores[i] > sorted[cut - 1];
    }
    free(scores);
    free(sorted);
}

static void cut_dead(mg_adapter *a) {
    for (size_t i = 0; i < a->n_linear; i++) {
        const mg_part *part = &a->part[i * PARTS];
        for (int64_t k = 0; k < part[E].x->rows; k++)
            if (mg_adapter_values(a, part[ALIVE].x)[k] == 0) mg_adapter_values(a, part[E].x)[k] = 0;
    }
    mg_params_push(a->params);
}

static void updated(mg_adapter *a, float grad_scale, int64_t step) {
    const settings *own = own_of(a);
    int64_t         total = a->total_steps ? *a->total_steps : 0, last = total - own->tfinal, r = own->init_r * (int64_t)a->n_linear;
    int64_t         target = own->target_r * (int64_t)a->n_linear, budget = target;
    mg_params_pull(a->params);
    for (size_t i = 0; step < last && i < a->n_linear; i++)
        for (int k = 0; k < TENSORS; k++) follow(a, &a->part[i * PARTS], k, grad_scale);
    if (step <= own->tinit && step < last) return;
    if (step < last) {
        if (step % own->deltaT) return;
        double left = 1 - (double)(step - own->tinit) / (double)(last - own->tinit);
        budget = (int64_t)((double)(r - target) * left * left * left + (double)target);
    }
    if (step <= last) allocate(a, budget);
    cut_dead(a);
}

/* ---- settings ---- */

static void write_config(const mg_adapter *a, mg_buf *out) {
    const settings *own = own_of(a);
    mg_buf_printf(out, "  \"r\": %lld,\n  \"init_r\": %lld,\n  \"target_r\": %lld,\n  \"tinit\": %lld,\n  \"tfinal\": %lld,\n  \"deltaT\": %lld,\n",
                  (long long)own->init_r, (long long)own->init_r, (long long)own->target_r, (long long)own->tinit, (long long)own->tfinal,
                  (long long)own->deltaT);
    mg_buf_printf(out, "  \"beta1\": %g,\n  \"beta2\": %g,\n  \"orth_reg_weight\": %g,\n  \"total_step\": %lld,\n", own->beta1, own->beta2,
                  own->orth_reg_weight, (long long)(a->total_steps ? *a->total_steps : own->tinit + own->tfinal + 1));
    mg_buf_printf(out, "  \"lora_alpha\": %g,\n  \"lora_dropout\": %g,\n  \"fan_in_fan_out\": false,\n  \"bias\": \"none\",\n",
                  (double)a->c.alpha, (double)a->c.dropout);
}

static mg_status read_config(mg_adapter_config *c, yyjson_val *json, const char *name, mg_error *err) {
    settings *own = (void *)c->own;
    int       init_r = 0;
    if (!yyjson_is_null(yyjson_obj_get(json, "rank_pattern")) && yyjson_obj_size(yyjson_obj_get(json, "rank_pattern")))
        return mg_fail(err, MG_UNSUPPORTED, "%s: its ranks were cut (rank_pattern); save it before the budget is final, or as LoRA", name);
    mg_status st = mg_config_int(&init_r, json, "init_r", name, err);
    if (!st) st = mg_config_number(&c->alpha, json, "lora_alpha", name, err);
    own->init_r = init_r;
    if (c->frozen || !own->target_r || own->target_r > init_r) own->target_r = init_r;
    if (!own->deltaT) own->deltaT = 1;
    c->dropout = (float)yyjson_get_num(yyjson_obj_get(json, "lora_dropout"));
    return st;
}

#define INT(key, low, standard, text)                                                                                      \
    { .name = #key, .type = &mg_option_int, .offset = offsetof(settings, key), .def = standard, .min = low, .max = INFINITY, \
      .group = MG_N("Adapter"), .help = text }
#define FLOAT(key, high, standard, text)                                                                                   \
    { .name = "adalora_" #key, .type = &mg_option_float, .offset = offsetof(settings, key), .def = standard, .min = 0, .max = high, \
      .group = MG_N("Adapter"), .help = text }
static const mg_option options[] = {
    INT(init_r, 1, "12", MG_N("AdaLoRA: rank of each layer at the start")),
    INT(target_r, 1, "8", MG_N("AdaLoRA: rank of a layer at the end, on average")),
    INT(tinit, 0, "0", MG_N("AdaLoRA: steps before ranks are cut")),
    INT(tfinal, 0, "0", MG_N("AdaLoRA: steps at the end with the ranks as they are")),
    INT(deltaT, 1, "1", MG_N("AdaLoRA: steps between two cuts")),
    FLOAT(beta1, 0.99999, "0.85", MG_N("AdaLoRA: how slowly the scores follow")),
    FLOAT(beta2, 0.99999, "0.85", MG_N("AdaLoRA: how slowly their deviations follow")),
    { .name = "orth_reg_weight", .type = &mg_option_float, .offset = offsetof(settings, orth_reg_weight), .def = "0.5", .min = 0, .max = 1e6,
      .group = MG_N("Adapter"), .help = MG_N("AdaLoRA: weight of the penalty that keeps A and B orthonormal") },
    { 0 },
};

static const char *const keys[] = { "r", "init_r", "target_r", "tinit", "tfinal", "deltaT", "beta1", "beta2", "orth_reg_weight", "total_step",
                                    "lora_alpha", "lora_dropout", "bias", "init_lora_weights", "rank_pattern", NULL };

const mg_method mg_method_adalora = {
    .name = "adalora", .peft_type = "ADALORA", .title = "AdaLoRA", .ranked = true, .options = options, .own = sizeof(settings),
    .attach = attach, .init = init, .before_update = before_update, .updated = updated, .write_config = write_config,
    .read_config = read_config, .keys = keys,
};
