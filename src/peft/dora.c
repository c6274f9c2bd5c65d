/* dora.c -- DoRA (Liu et al., arXiv 2402.09353): the update W + s B A with the length of each row trained by itself,
 *
 *     y = m / |W + s B A| (W x + s B A x) + bias
 *
 * m starts as |W|, so training begins at the base model.  As PEFT does it, the norm counts as a constant.  Dropout
 * stands before A alone, as in LoRA. */
#include "base/thread.h"
#include "peft/lora.h"

#include <math.h>
#include <stdlib.h>

enum { A, B, MAGNITUDE, SQUARE };

static mg_tensor *apply(mg_tape *t, const mg_hook *h, const mg_linear *l, mg_tensor *x, mg_tensor *y) {
    mg_tensor *inv = mg_dora_norm(t, l->w, h->p[A], h->p[B], h->p[SQUARE], h->scale);
    if (!inv) return NULL;
    y = mg_lora(t, y, x, h->p[A], h->p[B], h->scale, h->dropout, mg_lora_stream(t, h, l));
    return mg_scale_columns(t, y, h->p[MAGNITUDE], inv, l->bias, true);
}

static void merge(const mg_hook *h, const mg_linear *l, float *w, int64_t first, int64_t n) {
    const float *m = h->p[MAGNITUDE]->data;
    int64_t      cols = l->w->cols;
    mg_lora_add(h, w, first, n);
    for (int64_t r = 0; r < n; r++, w += cols) {
        double sum = 0;
        for (int64_t i = 0; i < cols; i++) sum += (double)w[i] * (double)w[i];
        float by = sum > 0 ? (float)((double)m[first + r] / sqrt(sum)) : 0;
        for (int64_t i = 0; i < cols; i++) w[i] *= by;
    }
}

static const mg_hook_kind hook_dora = { .name = "dora", .apply = apply, .merge = merge };

static mg_status attach_one(mg_adapter *a, mg_linear *l, mg_hook *h, mg_error *err) {
    h->kind = &hook_dora;
    mg_status st = mg_lora_pair(a, l, h, err);
    if (st) return st;
    h->p[MAGNITUDE] = mg_adapter_add(a, MG_PART_VECTOR, l->w->rows, 1, "%s.lora_magnitude_vector", l->name);
    h->p[SQUARE] = mg_adapter_add(a, MG_PART_FIXED | MG_PART_UNSAVED, l->w->rows, 1, "%s.row_squares", l->name);
    return MG_OK;
}

static mg_status attach(mg_adapter *a, mg_net *net, mg_error *err) { return mg_adapter_each_linear(a, net, attach_one, err); }

/* ---- lengths of the base model's rows ---- */

typedef struct { const mg_tensor *w; float *square, *room; } rows;

static void measure(void *context, int64_t begin, int64_t end, int thread) {
    const rows      *x = context;
    const mg_tensor *w = x->w;
    float           *row = x->room + thread * w->cols;
    for (int64_t r = begin; r < end; r++) {
        double sum = 0;
        w->format->decode(row, w->data, w->side, r * w->cols, w->cols);
        for (int64_t i = 0; i < w->cols; i++) sum += (double)row[i] * (double)row[i];
        x->square[r] = (float)sum;
    }
}

static mg_status measure_rows(mg_adapter *a, mg_error *err) {
    for (size_t i = 0; i < a->n_linear; i++) {
        rows x = { a->linear[i]->w, mg_adapter_values(a, a->hook[i]->p[SQUARE]),
                   mg_calloc((size_t)mg_threads(), (size_t)a->linear[i]->w->cols * sizeof(float)) };
        if (!x.room) return mg_fail(err, MG_NOMEM, "no memory to measure the weights");
        mg_parallel(x.w->rows, 16, measure, &x);
        free(x.room);
    }
    return MG_OK;
}

static mg_status init(mg_adapter *a, uint64_t seed, mg_error *err) {
    mg_status st = mg_lora_init(a, seed, err);
    if (!st) st = measure_rows(a, err);
    for (size_t i = 0; !st && i < a->n_linear; i++) {
        float *m = mg_adapter_values(a, a->hook[i]->p[MAGNITUDE]), *square = mg_adapter_values(a, a->hook[i]->p[SQUARE]);
        for (int64_t r = 0; r < a->linear[i]->w->rows; r++) m[r] = sqrtf(square[r]);
    }
    return st;
}

static void write_config(const mg_adapter *a, mg_buf *out) {
    mg_lora_write_config(a, out);
    mg_buf_str(out, "  \"use_dora\": true,\n");
}

static bool claims(yyjson_val *json) { return yyjson_get_bool(yyjson_obj_get(json, "use_dora")); }

static const char *const keys[] = { "r", "lora_alpha", "lora_dropout", "use_rslora", "bias", "init_lora_weights", "rank_pattern",
                                    "alpha_pattern", "use_dora", NULL };

const mg_method mg_method_dora = {
    .name = "dora", .peft_type = "LORA", .title = "DoRA", .ranked = true, .options = mg_lora_options, .own = sizeof(mg_lora_settings),
    .claims = claims, .attach = attach, .init = init, .after_load = measure_rows, .write_config = write_config,
    .read_config = mg_lora_read_config, .keys = keys,
};
