/* gguf_write.c -- header, values, tensor list, and the data at multiples of 32 bytes.
 *
 * Memory order of the machine is that of the file: little endian (plain.c holds us to it). */
#include "format/gguf_write.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 32, VERSION = 3 };

static void put_u32(mg_buf *b, uint32_t v) { mg_buf_add(b, &v, sizeof v); }
static void put_u64(mg_buf *b, uint64_t v) { mg_buf_add(b, &v, sizeof v); }

static void put_text(mg_buf *b, const char *s, size_t n) {
    put_u64(b, n);
    mg_buf_add(b, s, n);
}

/* ---- values ---- */

static mg_buf *begin_value(mg_gguf_writer *w, const char *key, size_t len, mg_gguf_kind kind) {
    put_text(&w->values, key, len);
    put_u32(&w->values, (uint32_t)kind);
    w->n_values++;
    return &w->values;
}

static mg_buf *begin_array(mg_gguf_writer *w, const char *key, mg_gguf_kind item, uint64_t n) {
    mg_buf *b = begin_value(w, key, strlen(key), MG_GGUF_ARRAY);
    put_u32(b, (uint32_t)item);
    put_u64(b, n);
    return b;
}

void mg_gguf_put_u32(mg_gguf_writer *w, const char *key, uint32_t v) { put_u32(begin_value(w, key, strlen(key), MG_GGUF_U32), v); }

void mg_gguf_put_f32(mg_gguf_writer *w, const char *key, float v) {
    mg_buf_add(begin_value(w, key, strlen(key), MG_GGUF_F32), &v, sizeof v);
}

void mg_gguf_put_bool(mg_gguf_writer *w, const char *key, bool v) {
    mg_buf_char(begin_value(w, key, strlen(key), MG_GGUF_BOOL), v ? 1 : 0);
}

void mg_gguf_put_str(mg_gguf_writer *w, const char *key, const char *s, size_t n) {
    put_text(begin_value(w, key, strlen(key), MG_GGUF_STRING), s, n);
}

void mg_gguf_put_strs(mg_gguf_writer *w, const char *key, const char *const *s, const size_t *len, size_t n) {
    mg_buf *b = begin_array(w, key, MG_GGUF_STRING, n);
    for (size_t i = 0; i < n; i++) put_text(b, s[i], len[i]);
}

void mg_gguf_put_i32s(mg_gguf_writer *w, const char *key, const int32_t *v, size_t n) {
    mg_buf_add(begin_array(w, key, MG_GGUF_I32, n), v, n * sizeof *v);
}

void mg_gguf_put_f32s(mg_gguf_writer *w, const char *key, const float *v, size_t n) {
    mg_buf_add(begin_array(w, key, MG_GGUF_F32, n), v, n * sizeof *v);
}

void mg_gguf_put_u8s(mg_gguf_writer *w, const char *key, const void *v, size_t n) {
    mg_buf_add(begin_array(w, key, MG_GGUF_U8, n), v, n);
}

void mg_gguf_put_value(mg_gguf_writer *w, const mg_gguf_value *v) {
    mg_buf *b = begin_value(w, v->key.data, v->key.len, v->kind);
    if (v->kind == MG_GGUF_ARRAY) {
        put_u32(b, (uint32_t)v->item);
        put_u64(b, v->count);
    }
    mg_buf_add(b, v->bytes, mg_gguf_value_bytes(v));
}

/* ---- tensors ---- */

void mg_gguf_put_tensor(mg_gguf_writer *w, const char *name, int n_dims, const int64_t *dims, const mg_format *f) {
    int64_t n = 1;
    size_t  bytes = 0;
    MG_ASSERT(f->gguf_type >= 0 && n_dims >= 1 && n_dims <= 4 && dims[0] % f->block == 0);
    put_text(&w->infos, name, strlen(name));
    put_u32(&w->infos, (uint32_t)n_dims);
    for (int i = 0; i < n_dims; i++) {
        put_u64(&w->infos, (uint64_t)dims[i]);
        if (__builtin_mul_overflow(n, dims[i], &n)) w->failed = true;
    }
    put_u32(&w->infos, (uint32_t)f->gguf_type);
    put_u64(&w->infos, w->end);
    if (!mg_format_bytes(f, n, &bytes) || !mg_size_add(w->end, bytes, &w->end) || !mg_size_add(w->end, ALIGNMENT - 1, &w->end) ||
        !MG_GROW(w->bytes, w->cap, w->n_tensors + 1)) {
        w->failed = true;
        return;
    }
    w->end -= w->end % ALIGNMENT;
    w->bytes[w->n_tensors++] = bytes;
}

static size_t head_bytes(const mg_gguf_writer *w) {
    size_t n = 4 + 4 + 8 + 8 + w->values.len + w->infos.len;
    return (n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

size_t mg_gguf_writer_bytes(const mg_gguf_writer *w) { return head_bytes(w) + w->end; }

mg_status mg_gguf_write(const mg_gguf_writer *w, mg_new_file *out, mg_gguf_source source, void *context, mg_error *err) {
    mg_buf head = { 0 };
    mg_buf_str(&head, "GGUF");
    put_u32(&head, VERSION);
    put_u64(&head, w->n_tensors);
    put_u64(&head, w->n_values);
    if (head.failed || w->failed || w->values.failed || w->infos.failed) {
        mg_buf_free(&head);
        return mg_fail(err, MG_NOMEM, "%s: no memory for its header", out->path);
    }
    mg_status st = mg_new_file_write(out, head.data, head.len, err);
    mg_buf_free(&head);
    if (!st && w->values.len) st = mg_new_file_write(out, w->values.data, w->values.len, err);
    if (!st && w->infos.len) st = mg_new_file_write(out, w->infos.data, w->infos.len, err);
    if (!st) st = mg_new_file_zeros(out, head_bytes(w) - (size_t)out->bytes, err);
    for (size_t i = 0; !st && i < w->n_tensors; i++) {
        uint64_t begin = out->bytes;
        st = source(context, i, out, err);
        MG_ASSERT(st || out->bytes - begin == w->bytes[i]);
        if (!st) st = mg_new_file_zeros(out, (ALIGNMENT - w->bytes[i] % ALIGNMENT) % ALIGNMENT, err);
    }
    return st;
}

void mg_gguf_writer_free(mg_gguf_writer *w) {
    mg_buf_free(&w->values);
    mg_buf_free(&w->infos);
    free(w->bytes);
    *w = (mg_gguf_writer){ 0 };
}
