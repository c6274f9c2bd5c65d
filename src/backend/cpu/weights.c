/* weights.c -- blocks of a weight matrix as fp32 or bf16, whatever it is stored as. */
#include "backend/cpu/cpu.h"
#include "backend/cpu/decode.h"

static mg_decode_fn to_f32(const mg_format *f) {
#if defined(__x86_64__)
    if (mg_cpu_level_now() == MG_CPU_V4) return mg_cpu_decode_v4(f);
    if (mg_cpu_level_now() == MG_CPU_V3) return mg_cpu_decode_v3(f);
#endif
    return mg_cpu_decode_base(f);
}

static mg_decode_bf16_fn to_bf16(const mg_format *f) {
#if defined(__x86_64__)
    if (mg_cpu_level_now() == MG_CPU_V4) return mg_cpu_decode_bf16_v4(f);
    if (mg_cpu_level_now() == MG_CPU_V3) return mg_cpu_decode_bf16_v3(f);
#endif
    return mg_cpu_decode_bf16_base(f);
}

/* Weights of a mapped file may lie at any address; products read them only where they are aligned. */
static const void *in_place(mg_mat w, int64_t row, int64_t col, bool bf16) {
    const mg_format *wanted = bf16 ? &mg_format_bf16 : &mg_format_f32;
    if (w.format != wanted || (uintptr_t)w.data % wanted->block_bytes) return NULL;
    return (const char *)w.data + (size_t)(row * w.cols + col) * wanted->block_bytes;
}

const void *mg_cpu_block(mg_mat w, int64_t row, int64_t rows, int64_t col, int64_t cols, void *room, bool bf16,
                         int64_t *ld) {
    const void *direct = in_place(w, row, col, bf16);
    *ld = direct ? w.cols : cols;
    if (direct) return direct;
    bool    whole = cols == w.cols; /* rows follow each other: one run */
    int64_t runs = whole ? 1 : rows, n = whole ? rows * cols : cols;
    for (int64_t r = 0; r < runs; r++) {
        int64_t first = (row + r) * w.cols + col;
        if (bf16)
            to_bf16(w.format)((uint16_t *)room + r * n, w.data, w.side, first, n);
        else
            to_f32(w.format)((float *)room + r * n, w.data, w.side, first, n);
    }
    return room;
}
