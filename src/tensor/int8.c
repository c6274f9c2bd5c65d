/* int8.c -- one byte a weight, one scale a row: the weights of LLM.int8 (Dettmers et al. 2022, arXiv 2208.07339).
 *
 *     weight = code * (absmax[row] / 127)        code = round(fp16(weight) * 127 / absmax), ties to even
 *
 * Codes and scales are bitsandbytes' int8_vectorwise_quant bit for bit: it rounds the weights to fp16 first.  The side
 * table is that of the 4-bit formats with a block as long as a row. */
#include "tensor/nf4.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/thread.h"

#include <math.h>
#include <string.h>

enum { STEP = 32, ALIGN = 64 };

static void decode(float *restrict out, const void *data, const void *side, int64_t first, int64_t n) {
    const mg_nf4_side *s = side;
    const int8_t      *q = (const int8_t *)data + first;
    for (int64_t i = 0; i < n;) {
        int64_t row = (first + i) / s->block, end = (row + 1) * s->block - first;
        float   scale = s->absmax[row] * (1.0f / 127);
        for (end = end < n ? end : n; i < end; i++) out[i] = (float)q[i] * scale;
    }
}

static size_t padded(size_t n) { return (n + ALIGN - 1) / ALIGN * ALIGN; }

static bool packed_bytes(int64_t rows, int64_t cols, const mg_packing *p, size_t *bytes) {
    size_t codes, scales;
    (void)p;
    if (cols > INT32_MAX || !mg_size_mul((size_t)rows, (size_t)cols, &codes) || !mg_size_mul((size_t)rows, sizeof(float), &scales)) return false;
    return mg_size_add(codes, scales, bytes) && mg_size_add(*bytes, (size_t)3 * ALIGN + sizeof(mg_nf4_side), bytes);
}

typedef struct { const float *w; int64_t cols; int8_t *code; float *absmax; } packing;

static void pack_rows(void *context, int64_t begin, int64_t end, int thread) {
    const packing *p = context;
    (void)thread;
    for (int64_t r = begin; r < end; r++) {
        const float *w = p->w + r * p->cols;
        int8_t      *q = p->code + r * p->cols;
        float        max = 0;
        for (int64_t c = 0; c < p->cols; c++) max = fmaxf(max, fabsf(mg_f16_to_f32(mg_f32_to_f16(w[c]))));
        p->absmax[r] = max;
        float by = max > 0 ? 127 / max : 0;
        for (int64_t c = 0; c < p->cols; c++) q[c] = (int8_t)rintf(mg_f16_to_f32(mg_f32_to_f16(w[c])) * by);
    }
}

static void pack(const mg_format *f, const float *w, int64_t rows, int64_t cols, const mg_packing *how, void *memory, const void **data,
                 const void **side) {
    mg_nf4_side *s = memory;
    float       *absmax = (float *)(void *)((char *)memory + padded(sizeof *s));
    int8_t      *code = (int8_t *)absmax + padded((size_t)rows * sizeof *absmax);
    packing      p = { w, cols, code, absmax };
    (void)f, (void)how;
    mg_parallel(rows, 1 + (1 << 14) / cols, pack_rows, &p);
    *s = (mg_nf4_side){ .block = (int)cols, .absmax = absmax };
    *data = code;
    *side = s;
}

const mg_format mg_format_int8 = {
    .name = "int8",
    .block = STEP,
    .block_bytes = STEP,
    .gguf_type = -1,
    .decode = decode,
    .packed_bytes = packed_bytes,
    .pack = pack,
};
