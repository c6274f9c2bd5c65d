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

static bool crowded(int64_t ld, size_t size) { return (size_t)ld * size % 2048 == 0; }

const void *mg_cpu_block(mg_mat w, mg_cpu_part p, void *room, bool bf16, bool spread, int64_t *ld) {
    size_t      size = bf16 ? sizeof(uint16_t) : sizeof(float);
    const void *direct = in_place(w, p.row, p.col, bf16);
    *ld = w.cols;
    if (direct && !(spread && crowded(w.cols, size))) return direct;
    *ld = p.cols + (spread && crowded(p.cols, size) ? (int64_t)(64 / size) : 0);
    bool    whole = *ld == w.cols; /* rows follow each other in both: one run */
    int64_t runs = whole ? 1 : p.rows, n = whole ? p.rows * p.cols : p.cols;
    for (int64_t r = 0; r < runs; r++) {
        int64_t first = (p.row + r) * w.cols + p.col;
        if (bf16)
            to_bf16(w.format)((uint16_t *)room + r * *ld, w.data, w.side, first, n);
        else
            to_f32(w.format)((float *)room + r * *ld, w.data, w.side, first, n);
    }
    return room;
}
