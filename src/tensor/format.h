/* format.h -- storage formats: how a row of weights lies in memory.
 *
 * A format is one row of a table (formats.def), in a file of its own.  Plain
 * types (f32, f16, bf16) are formats with blocks of one element, so the engine
 * knows only one kind of weight.  The names and block layouts of the GGUF types
 * are those of ggml; nf4, fp4 and the 8-bit dynamic code are those of
 * bitsandbytes (QLoRA, arXiv 2305.14314; arXiv 2110.02861).
 *
 * decode() is the definition of a format, in plain C; faster ones live in
 * backend/ and are tested against it. */
#ifndef MG_TENSOR_FORMAT_H
#define MG_TENSOR_FORMAT_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mg_format {
    const char *name;        /* lower case: "q4_k" */
    int         block;       /* elements in a block; a row is a whole number of blocks */
    size_t      block_bytes; /* bytes of a block in `data` (side tables not counted) */
    int         gguf_type;   /* ggml's type number, -1: none */
    const char *safetensors; /* dtype name there ("F32"), NULL: none */
    /* out[0..n) = elements first .. first+n-1 of the tensor; both are multiples
     * of the block.  `side` is the tensor's side table (nf4 and fp4: mg_nf4_side),
     * NULL for formats without one. */
    void (*decode)(float *out, const void *data, const void *side, int64_t first, int64_t n);
    /* The reverse for formats without a side table, NULL when not offered. */
    void (*encode)(void *data, const float *in, int64_t n);
} mg_format;

#define FORMAT(x) extern const mg_format mg_format_##x;
#include "tensor/formats.def"
#undef FORMAT

const mg_format *mg_format_find(const char *name); /* NULL: unknown */
const mg_format *mg_format_of_gguf(int type);
const mg_format *mg_format_of_safetensors(const char *dtype);
/* All formats, NULL at the end. */
const mg_format *const *mg_formats(void);

/* Bytes of `n` elements; n must be a multiple of the block.  False on overflow. */
bool mg_format_bytes(const mg_format *f, int64_t n, size_t *bytes);

/* f->encode over all threads of the pool; bits do not depend on how many. */
void mg_format_encode(const mg_format *f, void *data, const float *in, int64_t n);

static inline bool mg_format_is_plain(const mg_format *f) { return f->block == 1; }

/* Conversions of single numbers; rounding to nearest even. */
float    mg_f16_to_f32(uint16_t h);
uint16_t mg_f32_to_f16(float f);
static inline float mg_bf16_to_f32(uint16_t h) {
    union { uint32_t u; float f; } v = { (uint32_t)h << 16 };
    return v.f;
}
static inline uint16_t mg_f32_to_bf16(float f) {
    union { float f; uint32_t u; } v = { f };
    if ((v.u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(v.u >> 16 | 0x40); /* stays a NaN */
    return (uint16_t)((v.u + 0x7fffu + (v.u >> 16 & 1)) >> 16);
}

#endif
