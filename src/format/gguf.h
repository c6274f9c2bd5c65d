/* gguf.h -- read GGUF v2 and v3 files (ggml's container), mapped, never copied.
 *
 * Everything in the file is hostile until checked: mg_gguf_open verifies every
 * count, string, key, offset and size against the bytes that are there, so that
 * later accessors need no checks.  All pointers are borrowed from the mapping
 * and live until mg_gguf_close.  Format: github.com/ggml-org/ggml docs/gguf.md. */
#ifndef MG_FORMAT_GGUF_H
#define MG_FORMAT_GGUF_H

#include "base/mem.h"
#include "tensor/format.h"

typedef enum mg_gguf_kind {
    MG_GGUF_U8, MG_GGUF_I8, MG_GGUF_U16, MG_GGUF_I16, MG_GGUF_U32, MG_GGUF_I32, MG_GGUF_F32,
    MG_GGUF_BOOL, MG_GGUF_STRING, MG_GGUF_ARRAY, MG_GGUF_U64, MG_GGUF_I64, MG_GGUF_F64,
} mg_gguf_kind;

typedef struct mg_gguf_string {
    const char *data; /* not NUL-terminated */
    size_t      len;
} mg_gguf_string;

typedef struct mg_gguf_value {
    mg_gguf_string key;
    mg_gguf_kind   kind;
    mg_gguf_kind   item;  /* of an array */
    uint64_t       count; /* of an array, else 1 */
    const uint8_t *bytes; /* first value, little endian, unaligned */
} mg_gguf_value;

typedef struct mg_gguf_tensor {
    const char      *name; /* NUL-terminated, owned by the reader */
    int              n_dims;
    int64_t          dims[4]; /* ggml order: dims[0] is the row length; 1 beyond n_dims */
    const mg_format *format;
    const void      *data;
    size_t           bytes;
} mg_gguf_tensor;

typedef struct mg_gguf {
    const char           *path;
    const mg_gguf_value  *values;
    size_t                n_values;
    const mg_gguf_tensor *tensors;
    size_t                n_tensors;
    size_t                file_bytes;
    struct mg_gguf_private *own;
} mg_gguf;

mg_status mg_gguf_open(mg_gguf **out, const char *path, mg_error *err);
/* The same over bytes in memory, for tests and fuzzing; they must outlive the reader. */
mg_status mg_gguf_parse(mg_gguf **out, const void *bytes, size_t n, const char *name, mg_error *err);
void      mg_gguf_close(mg_gguf *g);

const mg_gguf_value  *mg_gguf_find(const mg_gguf *g, const char *key);          /* NULL: absent */
const mg_gguf_tensor *mg_gguf_find_tensor(const mg_gguf *g, const char *name); /* NULL: absent */
/* Any integer kind, or bool; false when absent, of another kind or out of range. */
bool mg_gguf_int(const mg_gguf *g, const char *key, int64_t *out);
bool mg_gguf_float(const mg_gguf *g, const char *key, double *out); /* F32 or F64 or an integer */
bool mg_gguf_str(const mg_gguf *g, const char *key, mg_gguf_string *out);
/* Element i of an array value; the kinds as above. */
int64_t        mg_gguf_item_int(const mg_gguf_value *v, uint64_t i);
double         mg_gguf_item_float(const mg_gguf_value *v, uint64_t i);
/* How many bytes v->bytes has. */
size_t         mg_gguf_value_bytes(const mg_gguf_value *v);
/* All strings of an array at once (they have no fixed width): out has v->count entries. */
void           mg_gguf_strings(const mg_gguf_value *v, mg_gguf_string *out);

#endif
