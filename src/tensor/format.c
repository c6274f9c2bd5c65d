/* format.c -- the table of storage formats and conversions of half precision.
 *
 * The table is expanded from formats.def; look-ups are linear, because they
 * happen once a tensor and the table is short. */
#include "tensor/format.h"

#include <string.h>

static const mg_format *const table[] = {
#define FORMAT(x) &mg_format_##x,
#include "tensor/formats.def"
#undef FORMAT
    NULL,
};

const mg_format *const *mg_formats(void) { return table; }

const mg_format *mg_format_find(const char *name) {
    for (const mg_format *const *f = table; *f; f++)
        if (!strcmp((*f)->name, name)) return *f;
    return NULL;
}

const mg_format *mg_format_of_gguf(int type) {
    if (type < 0) return NULL; /* -1 in a row means: not in GGUF */
    for (const mg_format *const *f = table; *f; f++)
        if ((*f)->gguf_type == type) return *f;
    return NULL;
}

const mg_format *mg_format_of_safetensors(const char *dtype) {
    for (const mg_format *const *f = table; *f; f++)
        if ((*f)->safetensors && !strcmp((*f)->safetensors, dtype)) return *f;
    return NULL;
}

bool mg_format_bytes(const mg_format *f, int64_t n, size_t *bytes) {
    if (n < 0 || n % f->block) return false;
    return __builtin_mul_overflow((uint64_t)(n / f->block), f->block_bytes, bytes) ? false : true;
}

/* Exponents are re-biased by integer addition.  A subnormal half m * 2^-24 is first made
 * 2^-14 * (1 + m / 1024), from which 2^-14 is taken away: no step meets a subnormal float,
 * so the result does not depend on the processor's flush-to-zero mode. */
float mg_f16_to_f32(uint16_t h) {
    union {
        uint32_t u;
        float    f;
    } v, small;
    uint32_t body = (uint32_t)(h & 0x7fff) << 13;
    uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    v.u = body + (112u << 23);
    small.u = body + (113u << 23);
    small.f -= 0x1p-14f;
    if (body < 1u << 23) v = small;
    if (body >= 31u << 23) v.u += 112u << 23; /* infinity and NaN keep the top exponent */
    if (body > 31u << 23) v.u |= 1u << 22;    /* NaNs become quiet, as in hardware */
    v.u |= sign;
    return v.f;
}

uint16_t mg_f32_to_f16(float f) {
    union {
        float    f;
        uint32_t u;
    } v = { f };
    uint32_t sign = v.u >> 16 & 0x8000;
    uint32_t body = v.u & 0x7fffffff;
    if (body > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (body >> 13 & 0x3ff));
    if (body >= 0x477ff000) return (uint16_t)(sign | 0x7c00); /* from 65520 on: infinity */
    if (body < 0x38800000) { /* subnormal half: adding 0.5 leaves the rounded m in the low bits */
        v.u = body;
        v.f += 0.5f;
        return (uint16_t)(sign | (v.u - 0x3f000000));
    }
    return (uint16_t)(sign | (body + 0xfff + (body >> 13 & 1) - 0x38000000) >> 13);
}
