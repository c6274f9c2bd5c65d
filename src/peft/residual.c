/* residual.c -- the parts of PiSSA and OLoRA: a trained pair, its constant start, and the LoRA of twice the rank. */
#include "peft/residual.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { A, B, A0, B0 };             /* tensors of a hook */
enum { SAVED_A = 4, SAVED_B, PARTS }; /* parts of a layer: those four, then what is written */

static mg_tensor *apply(mg_tape *t, const mg_hook *h, const mg_linear *l, mg_tensor *x, mg_tensor *y) {
    y = mg_lora(t, y, x, h->p[A], h->p[B], h->scale, h->dropout, mg_lora_stream(t, h, l));
    return mg_lora(t, y, x, h->p[A0], h->p[B0], -h->scale, 0, mg_lora_stream(t, h, l));
}

/* W + s (B A - B0 A0) */
static void merge(const mg_hook *h, const mg_linear *l, float *w, int64_t first, int64_t n) {
    mg_hook start = { .p = { h->p[A0], h->p[B0] }, .scale = -h->scale };
    (void)l;
    mg_lora_add(h, w, first, n);
    mg_lora_add(&start, w, first, n);
}

static const mg_hook_kind hook_residual = { .name = "residual", .additive = true, .apply = apply, .merge = merge };

static mg_status attach_one(mg_adapter *a, mg_linear *l, mg_hook *h, mg_error *err) {
    const mg_lora_settings *own = (const void *)a->c.own;
    int64_t                 r = mg_adapter_rank(&a->c, l), most = l->w->cols < l->w->rows ? l->w->cols : l->w->rows;
    float                   alpha = mg_adapter_alpha(&a->c, l);
    if (r < 1 || r > most) return mg_fail(err, MG_CONFIG, "lora_r is %lld; allowed for %s are 1 to %lld", (long long)r, l->name, (long long)most);
    h->kind = &hook_residual;
    h->dropout = a->c.dropout;
    h->scale = a->c.rslora ? alpha / sqrtf((float)r) : alpha / (float)r;
    h->p[A] = mg_adapter_add(a, MG_PART_PRIVATE, r, l->w->cols, "%s.trained_A", l->name);
    h->p[B] = mg_adapter_add(a, MG_PART_PRIVATE, l->w->rows, r, "%s.trained_B", l->name);
    h->p[A0] = mg_adapter_add(a, MG_PART_PRIVATE | MG_PART_FIXED, r, l->w->cols, "%s.start_A", l->name);
    h->p[B0] = mg_adapter_add(a, MG_PART_PRIVATE | MG_PART_FIXED, l->w->rows, r, "%s.start_B", l->name);
    mg_adapter_add(a, MG_PART_FIXED, 2 * r, l->w->cols, "%s.lora_A.weight", l->name);
    mg_adapter_add(a, MG_PART_FIXED, l->w->rows, 2 * r, "%s.lora_B.weight", l->name);
    if (!a->failed && own->loraplus_lr_ratio > 0) mg_params_set_rule(a->params, h->p[B], (mg_param_rule){ (float)own->loraplus_lr_ratio, 1 });
    return MG_OK;
}

mg_status mg_residual_attach(mg_adapter *a, mg_net *net, mg_error *err) { return mg_adapter_each_linear(a, net, attach_one, err); }

mg_status mg_residual_init(mg_adapter *a, uint64_t seed, mg_residual_fn start, mg_error *err) {
    mg_status st = MG_OK;
    for (size_t i = 0; !st && i < a->n_linear; i++) {
        const mg_hook *h = a->hook[i];
        float         *value[] = { mg_adapter_values(a, h->p[A]), mg_adapter_values(a, h->p[B]) };
        st = start(a->linear[i], (int)h->p[A]->rows, h->scale, seed + i, value[0], value[1], err);
        for (int k = 0; !st && k < 2; k++)
            memcpy(mg_adapter_values(a, h->p[A0 + k]), value[k], (size_t)(h->p[k]->rows * h->p[k]->cols) * sizeof(float));
    }
    return st;
}

mg_status mg_residual_before_save(mg_adapter *a, mg_error *err) {
    (void)err;
    for (size_t i = 0; i < a->n_linear; i++) {
        const mg_part *part = &a->part[i * PARTS];
        const float   *value[4];
        int64_t        r = part[A].x->rows, in = part[A].x->cols, out = part[B].x->rows;
        float         *down = mg_adapter_values(a, part[SAVED_A].x), *up = mg_adapter_values(a, part[SAVED_B].x);
        for (int k = 0; k < 4; k++) value[k] = mg_adapter_values(a, part[k].x);
        memcpy(down, value[A], (size_t)(r * in) * sizeof *down);
        memcpy(down + r * in, value[A0], (size_t)(r * in) * sizeof *down);
        for (int64_t o = 0; o < out; o++)
            for (int64_t k = 0; k < r; k++) {
                up[o * 2 * r + k] = value[B][o * r + k];
                up[o * 2 * r + r + k] = -value[B0][o * r + k];
            }
    }
    return MG_OK;
}

/* "q_proj=8" with all numbers times `by` */
static void scale_pattern(char *pattern, size_t size, double by) {
    mg_buf b = { 0 };
    for (const char *p = pattern; *p; p += strspn(p, ", ")) {
        size_t len = strcspn(p, ", "), name = strcspn(p, "=");
        if (name < len) mg_buf_printf(&b, "%s%.*s=%.9g", b.len ? "," : "", (int)name, p, by * strtod(p + name + 1, NULL));
        p += len;
    }
    if (b.data) snprintf(pattern, size, "%s", b.data);
    mg_buf_free(&b);
}

/* Twice the rank at the same scale: alpha / r, or alpha / sqrt(r). */
void mg_residual_write_config(const mg_adapter *a, mg_buf *out) {
    mg_adapter twice = *a;
    double     by = a->c.rslora ? sqrt(2.0) : 2;
    twice.c.r *= 2;
    twice.c.alpha = (float)(by * (double)twice.c.alpha);
    scale_pattern(twice.c.rank_pattern, sizeof twice.c.rank_pattern, 2);
    scale_pattern(twice.c.alpha_pattern, sizeof twice.c.alpha_pattern, by);
    mg_lora_write_config(&twice, out);
}

mg_status mg_residual_read_config(mg_adapter_config *c, yyjson_val *json, const char *name, mg_error *err) {
    return mg_lora_read_config(c, json, name, err);
}

bool mg_residual_never(yyjson_val *json) {
    (void)json;
    return false;
}
