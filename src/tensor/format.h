/* format.h -- storage formats: how a row of weights lies in memory.
 *
 * A format is one row of a table (formats.def), in a file of its own.  Plain
 * types (f32, f16, bf16) are formats with blocks of one element, so the engine
 * knows only one kind of weight.  The names and block layouts of the GGUF types
 * are those of ggml; nf4, fp4, int8 and the 8-bit dynamic code are those of
 * bitsandbytes (QLoRA, arXiv 2305.14314; LLM.int8, 2208.07339; 2110.02861).
 *
 * decode() is the definition of a format, in plain C; faster ones live in
 * backend/ and are tested against it. */
#ifndef MG_TENSOR_FORMAT_H
#define MG_TENSOR_FORMAT_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How weights are to be packed into a format with a side table. */
typedef struct mg_packing {
    int  block;  /* nf4, fp4: 64 or 128 weights that share a scale */
    bool nested; /* their scales in 8 bits */
} mg_packing;

typedef struct mg_format mg_format;
struct mg_format {
    const char *name;        /* lower case: "q4_k" */
    int         block;       /* elements in a block; a row is a whole number of blocks */
    size_t      block_bytes; /* bytes of a block in `data` (side tables not counted) */
    int         gguf_type;   /* ggml's type number, -1: none */
    const char *safetensors; /* dtype name there ("F32"), NULL: none */
    /* out[0..n) = elements first .. first+n-1 of the tensor; both are multiples
     * of the block.  `side` is the tensor's side table (nf4, fp4 and int8: mg_nf4_side),
     * NULL for formats without one. */
    void (*decode)(float *out, const void *data, const void *side, int64_t first, int64_t n);
    /* The reverse for formats without a side table, NULL when not offered. */
    void (*encode)(void *data, const float *in, int64_t n);
    /* For formats with a side table, else NULL: bytes of one allocation (64-byte aligned) that holds a whole matrix with
     * its side table, false on overflow; and the packing into it, *data and *side point there. */
    bool (*packed_bytes)(int64_t rows, int64_t cols, const mg_packing *p, size_t *bytes);
    void (*pack)(const mg_format *f, const float *w, int64_t rows, int64_t cols, const mg_packing *p, void *memory, const void **data,
                 const void **side);
};

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
