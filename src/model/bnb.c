/* bnb.c -- the parts of a packed weight, each held against what its codes need before anything is read. */
#include "model/bnb.h"

#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STATE_BYTES = 1 << 16, NESTED = 256, ALIGN = 64 };

static const struct { const char *beside; const mg_format *format; } kinds[] = {
    { ".quant_state.bitsandbytes__nf4", &mg_format_nf4 },
    { ".quant_state.bitsandbytes__fp4", &mg_format_fp4 },
};
static const char *const besides[] = { ".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map", ".quant_state.bitsandbytes__nf4",
                                       ".quant_state.bitsandbytes__fp4", ".SCB", ".weight_format" };

bool mg_bnb_is_beside(const char *name) {
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof besides / sizeof *besides; i++) {
        size_t len = strlen(besides[i]);
        if (n > len && !strcmp(name + n - len, besides[i])) return true;
    }
    return false;
}

static bool beside(mg_source *s, const char *name, const char *what, mg_found *f) {
    char full[320];
    int  n = snprintf(full, sizeof full, "%s%s", name, what);
    return n > 0 && (size_t)n < sizeof full && mg_source_find(s, full, f);
}

/* "model.layers.0.mlp.up_proj.SCB" of "....weight" */
static bool scales(mg_source *s, const char *name, mg_found *f) {
    char   stem[256];
    size_t n = strlen(name), end = strlen(".weight");
    if (n < end || n >= sizeof stem || strcmp(name + n - end, ".weight") != 0) return false;
    snprintf(stem, sizeof stem, "%.*s", (int)(n - end), name);
    mg_found unused;
    beside(s, stem, ".weight_format", &unused); /* how CUDA lays the codes out; saved ones are plain rows */
    return beside(s, stem, ".SCB", f);
}

static const mg_format *four_bits(mg_source *s, const char *name, mg_found *state) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (beside(s, name, kinds[i].beside, state)) return kinds[i].format;
    return NULL;
}

bool mg_bnb_packed(mg_source *s, const char *name) {
    mg_found f;
    return !s->gguf && (four_bits(s, name, &f) || scales(s, name, &f));
}

static mg_status broken(const mg_source *s, const char *name, const char *what, mg_error *err) {
    return mg_fail(err, MG_FORMAT, "%s: '%s' is packed by bitsandbytes, but %s; is the download complete?", s->path, name, what);
}

/* ---- memory: the side table, then its arrays ---- */

typedef struct { uint8_t *base; size_t used; } room;

static void *put(room *r, const void *from, size_t bytes) {
    size_t at = r->used;
    r->used += (bytes + ALIGN - 1) / ALIGN * ALIGN;
    if (r->base && from) memcpy(r->base + at, from, bytes);
    return r->base ? r->base + at : NULL;
}

/* What is in memory, as part of two passes: sizes, then copies. */
typedef struct {
    mg_nf4_side side;
    const void *absmax, *code, *nested, *map;
    size_t      absmax_bytes, code_bytes, nested_bytes, map_bytes;
    const mg_format *absmax_format; /* fp32; bf16 where a CPU had packed them */
} parts;

static mg_status keep(parts *p, void **memory, size_t *bytes, const mg_nf4_side **side, mg_error *err) {
    room r = { 0 };
    for (int pass = 0; pass < 2; pass++) {
        r.used = 0;
        mg_nf4_side *s = put(&r, &p->side, sizeof p->side);
        void *absmax = put(&r, NULL, p->absmax_bytes), *code = put(&r, p->code, p->code_bytes);
        void *nested = put(&r, p->nested, p->nested_bytes), *map = put(&r, p->map, p->map_bytes);
        if (pass) {
            if (p->absmax) p->absmax_format->decode(absmax, p->absmax, NULL, 0, (int64_t)(p->absmax_bytes / sizeof(float)));
            s->absmax = p->absmax ? absmax : NULL;
            s->absmax_code = p->code ? code : NULL;
            s->nested_absmax = p->nested ? nested : NULL;
            s->nested_code = p->map ? map : NULL;
            *memory = r.base;
            *bytes = r.used;
            *side = s;
        } else if (!(r.base = aligned_alloc(ALIGN, r.used)))
            return mg_fail(err, MG_NOMEM, "no memory for the scales of a packed weight");
    }
    return MG_OK;
}

/* ---- 4 bits ---- */

static int64_t int_of(yyjson_val *root, const char *key) {
    yyjson_val *v = yyjson_obj_get(root, key);
    return yyjson_is_int(v) ? yyjson_get_sint(v) : -1;
}

/* The codes' values are those of our format. */
static bool same_map(const mg_found *map, const mg_format *format) {
    static const float one = 1;
    float              want[64], got;
    uint8_t            codes[32] = { 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef };
    mg_nf4_side        side = { .block = 64, .absmax = &one };
    if (map->bytes != 16 * sizeof got || map->format != &mg_format_f32) return false;
    format->decode(want, codes, &side, 0, 64);
    for (int i = 0; i < 16; i++) {
        memcpy(&got, (const uint8_t *)map->data + (size_t)i * sizeof got, sizeof got);
        if (!(fabsf(got - want[i]) <= 1e-6f)) return false;
    }
    return true;
}

static mg_status read_state(const mg_source *s, const char *name, yyjson_val *root, int64_t rows, int64_t cols, parts *p, mg_error *err) {
    yyjson_val *shape = yyjson_obj_get(root, "shape");
    int64_t     block = int_of(root, "blocksize"), nested = int_of(root, "nested_blocksize");
    if (yyjson_arr_size(shape) != 2 || yyjson_get_sint(yyjson_arr_get(shape, 0)) != rows || yyjson_get_sint(yyjson_arr_get(shape, 1)) != cols)
        return mg_fail(err, MG_FORMAT, "%s: '%s' is packed for another shape than %lld x %lld", s->path, name, (long long)rows, (long long)cols);
    if (block != 64 && block != 128)
        return mg_fail(err, MG_UNSUPPORTED, "%s: '%s' is packed in blocks of %lld; 64 and 128 are read", s->path, name, (long long)block);
    if (nested != -1 && nested != NESTED)
        return mg_fail(err, MG_UNSUPPORTED, "%s: the scales of '%s' are packed in blocks of %lld; 256 are read", s->path, name, (long long)nested);
    p->side.block = (int)block;
    p->side.offset = (float)yyjson_get_num(yyjson_obj_get(root, "nested_offset"));
    return MG_OK;
}

static bool take(mg_source *s, const char *name, const char *what, size_t bytes, const mg_format *format, const void **data, size_t *size) {
    mg_found f;
    if (!beside(s, name, what, &f) || f.bytes != bytes || f.format != format) return false;
    *data = f.data;
    *size = bytes;
    return true;
}

/* Scales of any plain type. */
static bool take_scales(mg_source *s, const char *name, size_t n, parts *p) {
    mg_found f;
    if (!beside(s, name, ".absmax", &f) || !f.format || !mg_format_is_plain(f.format) || f.bytes != n * f.format->block_bytes) return false;
    p->absmax = f.data;
    p->absmax_bytes = n * sizeof(float);
    p->absmax_format = f.format;
    return true;
}

static mg_status find_4bit(mg_source *s, const char *name, int64_t rows, int64_t cols, const mg_format *format, const mg_found *state, mg_found *f,
                           parts *p, mg_error *err) {
    mg_json  json = { 0 };
    mg_found map;
    int64_t  n = rows * cols;
    if (state->bytes > STATE_BYTES) return broken(s, name, "its description is too long", err);
    mg_status st = mg_json_parse(&json, state->data, state->bytes, name, err);
    if (!st) st = read_state(s, name, json.root, rows, cols, p, err);
    mg_json_free(&json);
    if (st) return st;
    if (n % p->side.block || f->bytes != (size_t)n / 2) return broken(s, name, "its codes are of another length", err);
    if (!beside(s, name, ".quant_map", &map) || !same_map(&map, format)) return broken(s, name, "its table of values is missing or another one", err);
    size_t blocks = (size_t)(n / p->side.block), groups = (blocks + NESTED - 1) / NESTED;
    bool   nested = beside(s, name, ".nested_absmax", &map);
    bool   whole = nested ? take(s, name, ".absmax", blocks, NULL, &p->code, &p->code_bytes) &&
                                take(s, name, ".nested_absmax", groups * sizeof(float), &mg_format_f32, &p->nested, &p->nested_bytes) &&
                                take(s, name, ".nested_quant_map", NESTED * sizeof(float), &mg_format_f32, &p->map, &p->map_bytes)
                          : take_scales(s, name, blocks, p);
    return whole ? MG_OK : broken(s, name, "its scales are missing or of another length", err);
}

/* ---- both ---- */

mg_status mg_bnb_find(mg_source *s, const char *name, int64_t rows, int64_t cols, mg_found *out, void **memory, size_t *bytes,
                      const mg_nf4_side **side, mg_error *err) {
    mg_found  f, beside_it;
    parts     p = { 0 };
    mg_status st = MG_OK;
    if (!mg_source_find(s, name, &f)) return mg_fail(err, MG_FORMAT, "%s: the weight '%s' is missing; is the download complete?", s->path, name);
    const mg_format *format = four_bits(s, name, &beside_it);
    if (format)
        st = find_4bit(s, name, rows, cols, format, &beside_it, &f, &p, err);
    else {
        format = &mg_format_int8;
        p.side.block = (int)cols;
        scales(s, name, &beside_it);
        p.absmax = beside_it.data;
        p.absmax_bytes = beside_it.bytes;
        p.absmax_format = &mg_format_f32;
        if (f.rows != rows || f.cols != cols || f.bytes != (size_t)(rows * cols) || f.format)
            st = broken(s, name, "its codes are of another shape", err);
        else if (beside_it.bytes != (size_t)rows * sizeof(float) || beside_it.format != &mg_format_f32)
            st = broken(s, name, "its scales are missing or of another length", err);
    }
    if (!st && cols % format->block)
        st = mg_fail(err, MG_UNSUPPORTED, "%s: '%s' has rows of %lld, not whole blocks of %d", s->path, name, (long long)cols, format->block);
    if (!st) st = keep(&p, memory, bytes, side, err);
    if (st) return st;
    *out = (mg_found){ f.name, format, f.data, f.bytes, rows, cols };
    return MG_OK;
}
