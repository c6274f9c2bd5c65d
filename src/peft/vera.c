/* vera.c -- VeRA (Kopiczko et al., arXiv 2310.11454): y + b * (B (d * (A x))), A and B random, frozen and shared by all
 * layers; only the vectors d [r] and b [O] train.  b starts as zero, d as d_initial.
 *
 * The projections are PEFT's own: the largest layer's size, uniform from a Mersenne twister seeded with
 * projection_prng_key, so a file without them (save_projection false) means the same here and there.  Each layer reads
 * the first columns of A and rows of B; there is one copy for each width that occurs. */
#include "peft/lora.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef struct settings {
    int64_t projection_prng_key;
    bool    save_projection;
    double  d_initial;
} settings;

enum { A, B, D, SCALE }; /* of a hook */

typedef struct state { mg_tensor *a, *b; /* whole */ } state;

static mg_tensor *apply(mg_tape *t, const mg_hook *h, const mg_linear *l, mg_tensor *x, mg_tensor *y) {
    if (h->dropout > 0 && t->training) x = mg_dropout(t, x, h->dropout, mg_lora_stream(t, h, l));
    mg_tensor *u = mg_scale_columns(t, mg_matmul(t, x, h->p[A], NULL, NULL), h->p[D], NULL, NULL, true);
    mg_tensor *v = mg_matmul(t, u, h->p[B], NULL, NULL);
    return mg_add(t, y, mg_scale_columns(t, v, h->p[SCALE], NULL, NULL, true), 1);
}

static void merge(const mg_hook *h, const mg_linear *l, float *w, int64_t first, int64_t n) {
    const mg_tensor *a = h->p[A], *b = h->p[B];
    const float     *d = h->p[D]->data, *scale = h->p[SCALE]->data;
    for (int64_t r = first; r < first + n; r++, w += l->w->cols)
        for (int64_t k = 0; k < a->rows; k++) {
            const float *from = (const float *)a->data + k * a->cols;
            float        by = scale[r] * ((const float *)b->data)[r * b->cols + k] * d[k];
            for (int64_t i = 0; i < a->cols; i++) w[i] += by * from[i];
        }
}

static const mg_hook_kind hook_vera = { .name = "vera", .additive = true, .apply = apply, .merge = merge };

/* The projection of this size, made when it is the first to ask. */
static mg_tensor *cut_of(mg_adapter *a, const char *name, int64_t rows, int64_t cols) {
    for (size_t i = 0; i < a->n_parts; i++) {
        mg_tensor *x = a->part[i].x;
        if (a->part[i].how & MG_PART_UNSAVED && x->rows == rows && x->cols == cols && !strcmp(x->name, name)) return x;
    }
    return mg_adapter_add(a, MG_PART_FIXED | MG_PART_UNSAVED, rows, cols, "%s", name);
}

static mg_status attach_one(mg_adapter *a, mg_linear *l, mg_hook *h, mg_error *err) {
    (void)err;
    *h = (mg_hook){ .kind = &hook_vera, .owner = a, .site = h->site, .dropout = a->c.dropout };
    h->p[A] = cut_of(a, "projection_A", a->c.r, l->w->cols);
    h->p[B] = cut_of(a, "projection_B", l->w->rows, a->c.r);
    h->p[D] = mg_adapter_add(a, MG_PART_VECTOR, 1, a->c.r, "%s.vera_lambda_d", l->name);
    h->p[SCALE] = mg_adapter_add(a, MG_PART_VECTOR, 1, l->w->rows, "%s.vera_lambda_b", l->name);
    return MG_OK;
}

static mg_status attach(mg_adapter *a, mg_net *net, mg_error *err) {
    const settings *own = (const void *)a->c.own;
    int64_t         in = 0, out = 0;
    state          *s = a->state = mg_calloc(1, sizeof *s);
    if (!s) return mg_fail(err, MG_NOMEM, "no memory for an adapter");
    mg_status st = mg_adapter_each_linear(a, net, attach_one, err);
    for (size_t i = 0; !st && i < a->n_linear; i++) {
        in = a->linear[i]->w->cols > in ? a->linear[i]->w->cols : in;
        out = a->linear[i]->w->rows > out ? a->linear[i]->w->rows : out;
    }
    if (st) return st;
    unsigned how = MG_PART_FIXED | MG_PART_BARE | (own->save_projection ? 0 : MG_PART_UNSAVED);
    s->a = mg_adapter_add(a, how, a->c.r, in, "base_model.vera_A");
    s->b = mg_adapter_add(a, how, out, a->c.r, "base_model.vera_B");
    return MG_OK;
}

/* ---- the projections ---- */

enum { N = 624, M = 397 };
typedef struct { uint32_t x[N]; int at; } twister; /* Matsumoto & Nishimura 1998 */

static void seed_twister(twister *t, uint32_t seed) {
    t->x[0] = seed;
    for (uint32_t i = 1; i < N; i++) t->x[i] = 1812433253u * (t->x[i - 1] ^ (t->x[i - 1] >> 30)) + i;
    t->at = N;
}

static uint32_t draw(twister *t) {
    if (t->at == N) {
        for (int i = 0; i < N; i++) {
            uint32_t y = (t->x[i] & 0x80000000u) | (t->x[(i + 1) % N] & 0x7fffffffu);
            t->x[i] = t->x[(i + M) % N] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
        }
        t->at = 0;
    }
    uint32_t y = t->x[t->at++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

/* Uniform in +-sqrt(6 / cols), the 24 low bits of a draw each. */
static void fill_uniform(twister *t, float *x, const mg_tensor *of) {
    float bound = (float)(sqrt(3.0) * sqrt(2.0) / sqrt((double)of->cols));
    for (int64_t i = 0; i < of->rows * of->cols; i++) x[i] = (float)(draw(t) & 0xffffffu) * 0x1p-24f * (bound - -bound) + -bound;
}

static mg_status hand_out(mg_adapter *a, mg_error *err) {
    const state    *s = a->state;
    const settings *own = (const void *)a->c.own;
    (void)err;
    if (!own->save_projection) {
        twister t;
        seed_twister(&t, (uint32_t)own->projection_prng_key);
        fill_uniform(&t, mg_adapter_values(a, s->a), s->a);
        fill_uniform(&t, mg_adapter_values(a, s->b), s->b);
    }
    for (size_t i = 0; i < a->n_parts; i++) {
        const mg_tensor *x = a->part[i].x, *from = !strcmp(x->name, "projection_A") ? s->a : s->b;
        if (strncmp(x->name, "projection_", 11) != 0) continue;
        for (int64_t r = 0; r < x->rows; r++)
            memcpy(mg_adapter_values(a, x) + r * x->cols, mg_adapter_values(a, from) + r * from->cols, (size_t)x->cols * sizeof(float));
    }
    return MG_OK;
}

static mg_status init(mg_adapter *a, uint64_t seed, mg_error *err) {
    const settings *own = (const void *)a->c.own;
    const state    *s = a->state;
    twister         t;
    (void)seed;
    seed_twister(&t, (uint32_t)own->projection_prng_key);
    fill_uniform(&t, mg_adapter_values(a, s->a), s->a);
    fill_uniform(&t, mg_adapter_values(a, s->b), s->b);
    for (size_t i = 0; i < a->n_linear; i++)
        for (int64_t k = 0; k < a->c.r; k++) mg_adapter_values(a, a->hook[i]->p[D])[k] = (float)own->d_initial;
    return hand_out(a, err);
}

static void free_state(void *s) { free(s); }

/* ---- settings ---- */

static void write_config(const mg_adapter *a, mg_buf *out) {
    const settings *own = (const void *)a->c.own;
    mg_buf_printf(out, "  \"r\": %d,\n  \"projection_prng_key\": %lld,\n  \"save_projection\": %s,\n  \"vera_dropout\": %g,\n  \"d_initial\": %g,\n"
                  "  \"fan_in_fan_out\": false,\n  \"bias\": \"none\",\n",
                  a->c.r, (long long)own->projection_prng_key, own->save_projection ? "true" : "false", (double)a->c.dropout, own->d_initial);
}

static mg_status read_config(mg_adapter_config *c, yyjson_val *json, const char *name, mg_error *err) {
    settings   *own = (void *)c->own;
    yyjson_val *bias = yyjson_obj_get(json, "bias"), *key = yyjson_obj_get(json, "projection_prng_key");
    if (bias && !yyjson_equals_str(bias, "none"))
        return mg_fail(err, MG_UNSUPPORTED, "%s: bias '%s' is not supported, only \"none\"", name, yyjson_get_str(bias));
    own->projection_prng_key = yyjson_is_int(key) ? yyjson_get_sint(key) : 0;
    own->save_projection = !yyjson_is_false(yyjson_obj_get(json, "save_projection"));
    own->d_initial = yyjson_is_num(yyjson_obj_get(json, "d_initial")) ? yyjson_get_num(yyjson_obj_get(json, "d_initial")) : 0.1;
    c->dropout = (float)yyjson_get_num(yyjson_obj_get(json, "vera_dropout"));
    return mg_config_int(&c->r, json, "r", name, err);
}

static const mg_option options[] = {
    { .name = "projection_prng_key", .type = &mg_option_int, .offset = offsetof(settings, projection_prng_key), .def = "0", .min = 0,
      .max = 4294967295.0, .group = MG_N("Adapter"), .help = MG_N("VeRA: seed of the frozen projections") },
    { .name = "save_projection", .type = &mg_option_bool, .offset = offsetof(settings, save_projection), .def = "true", .group = MG_N("Adapter"),
      .help = MG_N("VeRA: keep the projections in the adapter's file; otherwise they are made from the seed again") },
    { .name = "d_initial", .type = &mg_option_float, .offset = offsetof(settings, d_initial), .def = "0.1", .min = 0, .max = 1000,
      .group = MG_N("Adapter"), .help = MG_N("VeRA: first value of the inner vector") },
    { 0 },
};

static const char *const keys[] = { "r", "projection_prng_key", "save_projection", "vera_dropout", "d_initial", "bias", "init_weights", NULL };

const mg_method mg_method_vera = {
    .name = "vera", .peft_type = "VERA", .title = "VeRA", .ranked = true, .options = options, .own = sizeof(settings), .attach = attach,
    .init = init, .after_load = hand_out, .write_config = write_config, .read_config = read_config, .keys = keys, .free_state = free_state,
};
