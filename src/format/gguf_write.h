/* gguf_write.h -- write GGUF version 3 (ggml's container), tensor after tensor.
 *
 * Values and the list of tensors are gathered first, then everything streams into a file:
 *
 *     mg_gguf_writer w = { 0 };
 *     mg_gguf_put_str(&w, "general.architecture", "llama", 5);
 *     mg_gguf_put_tensor(&w, "token_embd.weight", 2, dims, &mg_format_q8_0);
 *     mg_gguf_write(&w, &file, source, context, err);
 *     mg_gguf_writer_free(&w);
 *
 * Format: github.com/ggml-org/ggml docs/gguf.md. */
#ifndef MG_FORMAT_GGUF_WRITE_H
#define MG_FORMAT_GGUF_WRITE_H

#include "base/new_file.h"
#include "format/gguf.h"

typedef struct mg_gguf_writer {
    mg_buf   values, infos; /* as they stand in the file */
    uint64_t n_values, n_tensors;
    size_t  *bytes; /* [n_tensors] of each tensor */
    size_t   cap, end; /* end: offset behind the last tensor, padded */
    bool     failed; /* no memory, or a size beyond 64 bits; mg_gguf_write says so */
} mg_gguf_writer;

void mg_gguf_put_u32(mg_gguf_writer *w, const char *key, uint32_t v);
void mg_gguf_put_f32(mg_gguf_writer *w, const char *key, float v);
void mg_gguf_put_bool(mg_gguf_writer *w, const char *key, bool v);
void mg_gguf_put_str(mg_gguf_writer *w, const char *key, const char *s, size_t n);
void mg_gguf_put_strs(mg_gguf_writer *w, const char *key, const char *const *s, const size_t *len, size_t n);
void mg_gguf_put_i32s(mg_gguf_writer *w, const char *key, const int32_t *v, size_t n);
void mg_gguf_put_f32s(mg_gguf_writer *w, const char *key, const float *v, size_t n);
void mg_gguf_put_u8s(mg_gguf_writer *w, const char *key, const void *v, size_t n);
/* As another file has it. */
void mg_gguf_put_value(mg_gguf_writer *w, const mg_gguf_value *v);

/* The next tensor; dims in ggml's order, dims[0] the row length, a multiple of the format's block. */
void mg_gguf_put_tensor(mg_gguf_writer *w, const char *name, int n_dims, const int64_t *dims, const mg_format *f);

/* Bytes of the whole file. */
size_t mg_gguf_writer_bytes(const mg_gguf_writer *w);

/* Everything into `out`; `source` writes exactly the bytes of tensor i.  Settling and committing is left to the caller. */
typedef mg_status (*mg_gguf_source)(void *context, size_t i, mg_new_file *out, mg_error *err);
mg_status mg_gguf_write(const mg_gguf_writer *w, mg_new_file *out, mg_gguf_source source, void *context, mg_error *err);
void      mg_gguf_writer_free(mg_gguf_writer *w);

#endif
