/* plain.c -- f32, f64, f16 and bf16 as formats with blocks of one element.
 *
 * Memory order of the machine is that of the files: little endian. */
#include "tensor/format.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are read as they lie");

static void decode_f32(float *out, const void *data, const void *side, int64_t first, int64_t n) {
    (void)side;
    memcpy(out, (const char *)data + first * 4, (size_t)n * 4);
}

static void encode_f32(void *data, const float *in, int64_t n) { memcpy(data, in, (size_t)n * 4); }

/* f64 is what ref64 computes in; there its elements are read as doubles, not through decode. */
static void decode_f64(float *out, const void *data, const void *side, int64_t first, int64_t n) {
    (void)side;
    for (int64_t i = 0; i < n; i++) {
        double d;
        memcpy(&d, (const char *)data + 8 * (first + i), 8);
        out[i] = (float)d;
    }
}

static void encode_f64(void *data, const float *in, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        double d = in[i];
        memcpy((char *)data + 8 * i, &d, 8);
    }
}

/* Halves are loaded with memcpy because data in a mapped file may lie at an odd address. */
static inline uint16_t half_load(const void *data, int64_t i) {
    uint16_t h;
    memcpy(&h, (const char *)data + 2 * i, 2);
    return h;
}

static inline void half_store(void *data, int64_t i, uint16_t h) { memcpy((char *)data + 2 * i, &h, 2); }

static void decode_f16(float *restrict out, const void *restrict data, const void *side, int64_t first, int64_t n) {
    (void)side;
    for (int64_t i = 0; i < n; i++) out[i] = mg_f16_to_f32(half_load(data, first + i));
}

static void encode_f16(void *restrict data, const float *restrict in, int64_t n) {
    for (int64_t i = 0; i < n; i++) half_store(data, i, mg_f32_to_f16(in[i]));
}

static void decode_bf16(float *restrict out, const void *restrict data, const void *side, int64_t first, int64_t n) {
    (void)side;
    for (int64_t i = 0; i < n; i++) out[i] = mg_bf16_to_f32(half_load(data, first + i));
}

static void encode_bf16(void *restrict data, const float *restrict in, int64_t n) {
    for (int64_t i = 0; i < n; i++) half_store(data, i, mg_f32_to_bf16(in[i]));
}

const mg_format mg_format_f32 = {
    .name = "f32", .block = 1, .block_bytes = 4, .gguf_type = 0, .safetensors = "F32",
    .decode = decode_f32, .encode = encode_f32,
};
const mg_format mg_format_f64 = {
    .name = "f64", .block = 1, .block_bytes = 8, .gguf_type = 28, .safetensors = "F64",
    .decode = decode_f64, .encode = encode_f64,
};
const mg_format mg_format_f16 = {
    .name = "f16", .block = 1, .block_bytes = 2, .gguf_type = 1, .safetensors = "F16",
    .decode = decode_f16, .encode = encode_f16,
};
const mg_format mg_format_bf16 = {
    .name = "bf16", .block = 1, .block_bytes = 2, .gguf_type = 30, .safetensors = "BF16",
    .decode = decode_bf16, .encode = encode_bf16,
};
