/* place.c -- weights on a device with memory of its own: one allocation, filled tensor by tensor.
 *
 * Packed types keep their bytes, so a 4-bit model is as small there as in its file.  Plain matrices and the biases
 * of linears become the backend's elements, which is what its products read; norms stay fp32.  The first pass adds
 * up sizes, the second copies: nothing is allocated between, and a model that does not fit is left untouched. */
#include "model/place.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGN = 256, CHUNK = 1 << 22, ROPES = 3 };

typedef struct {
    const mg_model   *m;
    const mg_backend *b;
    uint8_t          *base;
    size_t            used;
    float            *plain; /* [CHUNK] of conversions, and the same as elements */
    void             *element;
} placer;

static uint8_t *take(placer *p, size_t bytes) {
    size_t at = p->used;
    p->used += (bytes + ALIGN - 1) / ALIGN * ALIGN;
    return p->base + at;
}

/* The bias of a linear, not of a norm. */
static bool is_bias(const mg_model *m, const mg_tensor *w) {
    bool                 bias = false;
    const mg_weight_row *row = mg_model_weight_row(m, w, &bias);
    return row && row->role && bias;
}

static const mg_format *format_there(const placer *p, const mg_tensor *w) {
    if (!mg_format_is_plain(w->format)) return w->format;
    return w->rows > 1 || is_bias(p->m, w) ? p->b->element : &mg_format_f32;
}

static void convert(placer *p, uint8_t *to, const mg_format *f, const mg_tensor *w) {
    int64_t n = w->rows * w->cols;
    for (int64_t at = 0; at < n; at += CHUNK) {
        int64_t now = n - at < CHUNK ? n - at : CHUNK;
        w->format->decode(p->plain, w->data, w->side, at, now);
        f->encode(p->element, p->plain, now);
        p->b->device->put(to + (size_t)at * f->block_bytes, p->element, (size_t)now * f->block_bytes);
    }
}

/* The side table of a 4-bit weight is a struct with pointers of its own. */
static const void *place_side(placer *p, const mg_tensor *w) {
    if (!w->side) return NULL;
    mg_nf4_side s = *(const mg_nf4_side *)w->side;
    size_t      blocks = (size_t)(w->rows * w->cols / s.block);
    struct { const void **field; size_t bytes; } part[] = {
        { (const void **)&s.absmax, blocks * sizeof *s.absmax },
        { (const void **)&s.absmax_code, blocks },
        { (const void **)&s.nested_absmax, (blocks + 255) / 256 * sizeof *s.nested_absmax },
        { (const void **)&s.nested_code, 256 * sizeof *s.nested_code },
    };
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        if (!*part[i].field) continue;
        uint8_t *to = take(p, part[i].bytes);
        if (p->base) p->b->device->put(to, *part[i].field, part[i].bytes);
        *part[i].field = to;
    }
    uint8_t *to = take(p, sizeof s);
    if (p->base) p->b->device->put(to, &s, sizeof s);
    return to;
}

static bool place_weight(mg_tensor *w, void *context) {
    placer *p = context;
    if (w->grad || w->idle) return true; /* trains: its values are the parameter set's */
    const mg_format *f = format_there(p, w);
    size_t           bytes;
    bool             ok = mg_format_bytes(f, w->rows * w->cols, &bytes);
    MG_ASSERT(ok);
    uint8_t    *to = take(p, bytes);
    const void *side = place_side(p, w);
    if (!p->base) return true;
    if (f == w->format)
        p->b->device->put(to, w->data, bytes);
    else
        convert(p, to, f, w);
    w->data = to;
    w->format = f;
    w->side = side;
    return true;
}

static float *place_angles(placer *p, const mg_rope_table *t) {
    size_t   bytes = (size_t)t->positions * (size_t)t->rot * sizeof *t->cos; /* cos, and sin behind it */
    uint8_t *to = take(p, bytes);
    if (p->base && bytes) p->b->device->put(to, t->cos, bytes);
    return (float *)(void *)to;
}

static void place_all(placer *p, mg_rope_table rope[ROPES]) {
    const mg_rope_table *from[ROPES] = { &p->m->rope, &p->m->rope_local, &p->m->rope_long };
    mg_model_each_weight((mg_model *)p->m, place_weight, p);
    if (p->m->unit) place_weight(p->m->unit, p);
    for (int i = 0; i < ROPES; i++) {
        rope[i] = *from[i];
        if (!rope[i].positions) continue; /* this model has no such table */
        rope[i].cos = place_angles(p, from[i]);
        rope[i].sin = rope[i].cos + rope[i].positions * (rope[i].rot / 2);
    }
}

static bool add_idle(mg_tensor *w, void *context) {
    size_t bytes = 0;
    if (w->idle && mg_format_bytes(w->format, w->rows * w->cols, &bytes)) *(size_t *)context += bytes;
    return true;
}

size_t mg_model_placed_bytes(const mg_model *m, const mg_backend *b) {
    placer        p = { .m = m, .b = b };
    mg_rope_table rope[ROPES];
    size_t        idle = 0;
    if (b->device->host || !m->device->host) {
        mg_model_each_weight((mg_model *)m, add_idle, &idle);
        return m->weight_bytes > idle ? m->weight_bytes - idle : 0;
    }
    place_all(&p, rope);
    return p.used;
}

mg_status mg_model_place(mg_model *m, const mg_backend *b, mg_error *err) {
    mg_rope_table rope[ROPES];
    if (b->device->host) return MG_OK;
    MG_ASSERT(m->device->host);
    size_t bytes = mg_model_placed_bytes(m, b);
    placer p = { .m = m, .b = b, .plain = mg_calloc(CHUNK, sizeof *p.plain), .element = mg_calloc(CHUNK, sizeof *p.plain) };
    mg_status st = p.plain && p.element ? MG_OK : mg_fail(err, MG_NOMEM, "no memory to convert weights for %s", b->device->name);
    if (!st && !(p.base = b->device->alloc(bytes)))
        st = mg_fail(err, MG_NOMEM, "%s: the weights need %.2f GB, %.2f GB are free", b->device->name, (double)bytes / 1e9,
                     (double)b->device->available() / 1e9);
    if (!st) {
        place_all(&p, rope);
        mg_model_placed(m, b->device, p.base);
        m->rope = rope[0];
        m->rope_local = rope[1];
        m->rope_long = rope[2];
        m->weight_bytes = bytes;
        st = b->device->status(err);
    }
    free(p.plain);
    free(p.element);
    return st;
}
