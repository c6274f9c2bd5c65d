/* safetensors.h -- read and write safetensors files (Hugging Face's format).
 *
 * Reading maps the file and checks the whole header first: see the rules in
 * docs/DESIGN.md.  Names and data are borrowed until mg_safetensors_close. */
#ifndef MG_FORMAT_SAFETENSORS_H
#define MG_FORMAT_SAFETENSORS_H

#include "base/mem.h"
#include "base/new_file.h"

enum { MG_SAFETENSORS_RANK = 8 };

typedef struct mg_st_entry {
    const char *name;  /* NUL-terminated UTF-8 */
    const char *dtype; /* "F32", "BF16", "I64", ... */
    int         n_dims;
    int64_t     dims[MG_SAFETENSORS_RANK];
    const void *data; /* aligned to what the file gives: read with memcpy if in doubt */
    size_t      bytes;
} mg_st_entry;

typedef struct mg_safetensors {
    const char        *path;
    const mg_st_entry *entries; /* in file order */
    size_t             n;
    struct mg_st_private *own;
} mg_safetensors;

mg_status mg_safetensors_open(mg_safetensors **out, const char *path, mg_error *err);
mg_status mg_safetensors_parse(mg_safetensors **out, const void *bytes, size_t n, const char *name, mg_error *err);
void      mg_safetensors_close(mg_safetensors *f);
const mg_st_entry *mg_safetensors_find(const mg_safetensors *f, const char *name); /* NULL: absent */
/* A string of __metadata__, NULL when absent. */
const char *mg_safetensors_meta(const mg_safetensors *f, const char *key);

/* Write entries (any order; written sorted by dtype size and name, data aligned
 * to 8) with metadata pairs {key, value, ..., NULL}, atomically. */
mg_status mg_safetensors_save(const char *path, const mg_st_entry *entries, size_t n,
                              const char *const *metadata, mg_error *err);

/* The same for entries whose data is not in memory (NULL): `source` writes e->bytes bytes of such an entry to `out`, tensor
 * after tensor. */
typedef mg_status (*mg_st_source)(void *context, const mg_st_entry *e, mg_new_file *out, mg_error *err);
mg_status mg_safetensors_stream(const char *path, const mg_st_entry *entries, size_t n, const char *const *metadata,
                                mg_st_source source, void *context, mg_error *err);

/* How many bytes an element of `dtype` takes; 0: unknown dtype. */
size_t mg_st_dtype_size(const char *dtype);

#endif
