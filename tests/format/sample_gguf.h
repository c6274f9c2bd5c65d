/* sample_gguf.h -- build small GGUF files in memory, right or wrong in a chosen place. */
#ifndef MG_TESTS_FORMAT_SAMPLE_GGUF_H
#define MG_TESTS_FORMAT_SAMPLE_GGUF_H

#include "format/gguf.h"

#include <string.h>

static inline void put_u32(mg_buf *b, uint32_t v) { mg_buf_add(b, &v, 4); }
static inline void put_u64(mg_buf *b, uint64_t v) { mg_buf_add(b, &v, 8); }
static inline void put_text(mg_buf *b, const char *s) {
    put_u64(b, strlen(s));
    mg_buf_str(b, s);
}
static inline void put_header(mg_buf *b, uint32_t version, uint64_t tensors, uint64_t values) {
    mg_buf_str(b, "GGUF");
    put_u32(b, version);
    put_u64(b, tensors);
    put_u64(b, values);
}
static inline void put_key(mg_buf *b, const char *key, mg_gguf_kind kind) {
    put_text(b, key);
    put_u32(b, kind);
}
static inline void put_array(mg_buf *b, const char *key, mg_gguf_kind item, uint64_t count) {
    put_key(b, key, MG_GGUF_ARRAY);
    put_u32(b, item);
    put_u64(b, count);
}
static inline void put_int(mg_buf *b, const char *key, uint32_t value) {
    put_key(b, key, MG_GGUF_U32);
    put_u32(b, value);
}
static inline void put_string(mg_buf *b, const char *key, const char *value) {
    put_key(b, key, MG_GGUF_STRING);
    put_text(b, value);
}
static inline void put_tensor(mg_buf *b, const char *name, int rank, const uint64_t *dims, uint32_t type,
                              uint64_t offset) {
    put_text(b, name);
    put_u32(b, (uint32_t)rank);
    for (int i = 0; i < rank; i++) put_u64(b, dims[i]);
    put_u32(b, type);
    put_u64(b, offset);
}
static inline void put_zeros(mg_buf *b, size_t n) {
    while (n--) mg_buf_char(b, 0);
}
static inline void pad_to(mg_buf *b, size_t alignment) {
    while (b->len % alignment) mg_buf_char(b, 0);
}

/* One value of each kind, a vocabulary, three tensors, alignment 16; all that is read of a file. */
static inline void sample_gguf(mg_buf *b, uint32_t version) {
    float  f = 1.5f;
    double d = -2.25;
    put_header(b, version, 3, 19);
    put_string(b, "general.architecture", "llama");
    put_int(b, "general.alignment", 16);
    put_int(b, "llama.attention.head_count", 6);
    put_int(b, "llama.attention.head_count_kv", 3);
    put_array(b, "tokenizer.ggml.tokens", MG_GGUF_STRING, 3);
    put_text(b, "a");
    put_text(b, "");
    put_text(b, "\xe7\xa3\xa8\xe3\x81\x8d");
    put_array(b, "tokenizer.ggml.scores", MG_GGUF_F32, 3);
    for (int i = 0; i < 3; i++) mg_buf_add(b, &f, 4);
    put_array(b, "tokenizer.ggml.token_type", MG_GGUF_I32, 3);
    for (uint32_t i = 0; i < 3; i++) put_u32(b, i - 1);
    put_key(b, "u8", MG_GGUF_U8);
    mg_buf_add(b, "\xff", 1);
    put_key(b, "i8", MG_GGUF_I8);
    mg_buf_add(b, "\xff", 1);
    put_key(b, "u16", MG_GGUF_U16);
    mg_buf_add(b, "\xff\xff", 2);
    put_key(b, "i16", MG_GGUF_I16);
    mg_buf_add(b, "\xff\xff", 2);
    put_key(b, "i32", MG_GGUF_I32);
    put_u32(b, UINT32_MAX);
    put_key(b, "f32", MG_GGUF_F32);
    mg_buf_add(b, &f, 4);
    put_key(b, "bool", MG_GGUF_BOOL);
    mg_buf_add(b, "\1", 1);
    put_key(b, "u64", MG_GGUF_U64);
    put_u64(b, UINT64_MAX);
    put_key(b, "i64", MG_GGUF_I64);
    put_u64(b, UINT64_MAX);
    put_key(b, "f64", MG_GGUF_F64);
    mg_buf_add(b, &d, 8);
    put_array(b, "none", MG_GGUF_U16, 0);
    put_array(b, "flags", MG_GGUF_BOOL, 2);
    mg_buf_add(b, "\1\0", 2);
    put_tensor(b, "token_embd.weight", 2, (uint64_t[]){ 3, 2 }, 0, 0);     /* 24 bytes, padded to 32 */
    put_tensor(b, "blk.0.attn_q.weight", 2, (uint64_t[]){ 32, 1 }, 8, 32); /* 34 bytes, padded to 48 */
    put_tensor(b, "output_norm.weight", 4, (uint64_t[]){ 4, 1, 1, 1 }, 1, 80);
    pad_to(b, 16);
    for (int i = 0; i < 6; i++) {
        f = (float)i;
        mg_buf_add(b, &f, 4);
    }
    put_zeros(b, 8);
    mg_buf_add(b, "\0\x3c", 2); /* d = 1 */
    for (int i = 0; i < 32; i++) mg_buf_char(b, (char)(i - 16));
    put_zeros(b, 14);
    mg_buf_add(b, "\0\x3c\0\xbc\0\x40\0\0", 8);
}

#endif
