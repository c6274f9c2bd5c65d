/* safetensors.c -- a JSON header and the bytes of tensors, read by mapping, written by streaming.
 *
 *   u64 length | {"__metadata__": {...}, "name": {"dtype", "shape", "data_offsets"}, ...} | data
 *
 * Reading checks everything before the first pointer is given out: the data areas, sorted by
 * offset, must cover the data without hole or overlap, and each must be exactly as long as
 * its shape and dtype say.  Writing builds the header, reads it back with the same checks
 * (which catches a name twice, a wrong size, text that is no UTF-8), and then streams the
 * data to a temporary file that takes the place of the old one only when it is safe on disk.
 * Format: github.com/huggingface/safetensors. */
#include "format/safetensors.h"

#include "base/file.h"
#include "base/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define METADATA "__metadata__"

enum {
    HEADER_LIMIT = 100000000,
    NAME_LIMIT = 512,
    TENSOR_LIMIT = 1000000,
    DATA_ALIGN = 8,
};

struct mg_st_private {
    mg_mapping   map; /* empty when the bytes belong to the caller */
    char        *path;
    mg_json      header; /* names and metadata are borrowed from it */
    mg_st_entry *entries;
    mg_map      *index;
};

static const struct {
    const char *name;
    size_t      size;
} dtypes[] = {
    { "F64", 8 },     { "I64", 8 },     { "U64", 8 },  { "C64", 8 }, { "F32", 4 },  { "I32", 4 },
    { "U32", 4 },     { "F16", 2 },     { "BF16", 2 }, { "I16", 2 }, { "U16", 2 },  { "F8_E4M3", 1 },
    { "F8_E5M2", 1 }, { "F8_E8M0", 1 }, { "I8", 1 },   { "U8", 1 },  { "BOOL", 1 },
};

/* The table's row, so that callers get a string that lives for ever. */
static int dtype_row(const char *dtype) {
    for (int i = 0; i < (int)(sizeof dtypes / sizeof *dtypes); i++)
        if (!strcmp(dtypes[i].name, dtype)) return i;
    return -1;
}

size_t mg_st_dtype_size(const char *dtype) {
    int row = dtype_row(dtype);
    return row < 0 ? 0 : dtypes[row].size;
}

/* ---- reading ---- */

static bool has_nul(yyjson_val *string) { return strlen(yyjson_get_str(string)) != yyjson_get_len(string); }

static mg_status check_metadata(yyjson_val *metadata, const char *path, mg_error *err) {
    yyjson_obj_iter it = yyjson_obj_iter_with(metadata);
    if (!yyjson_is_obj(metadata)) return mg_fail(err, MG_FORMAT, "%s: __metadata__ is no object", path);
    for (yyjson_val *k; (k = yyjson_obj_iter_next(&it));) {
        yyjson_val *v = yyjson_obj_iter_get_val(k);
        if (!yyjson_is_str(v) || has_nul(v) || has_nul(k))
            return mg_fail(err, MG_FORMAT, "%s: __metadata__ '%.80s' is no plain string", path, yyjson_get_str(k));
    }
    return MG_OK;
}

static mg_status read_shape(mg_st_entry *e, yyjson_val *shape, size_t *bytes, const char *path, mg_error *err) {
    yyjson_arr_iter it = yyjson_arr_iter_with(shape);
    if (!yyjson_is_arr(shape) || yyjson_arr_size(shape) > MG_SAFETENSORS_RANK)
        return mg_fail(err, MG_FORMAT, "%s: the shape of '%s' is no list of at most %d numbers", path, e->name,
                       MG_SAFETENSORS_RANK);
    size_t total = mg_st_dtype_size(e->dtype);
    bool   is_empty = false;
    for (yyjson_val *d; (d = yyjson_arr_iter_next(&it));) {
        uint64_t dim = yyjson_get_uint(d);
        if (!yyjson_is_uint(d) || dim > INT64_MAX || (dim && !mg_size_mul(total, (size_t)dim, &total)))
            return mg_fail(err, MG_FORMAT,
                           "%s: the shape of '%s' holds something that is no integer from 0 on, or its "
                           "product does not fit into 64 bits",
                           path, e->name);
        e->dims[e->n_dims++] = (int64_t)dim;
        is_empty |= !dim; /* the other dimensions must fit all the same: someone will multiply them */
    }
    *bytes = is_empty ? 0 : total;
    return MG_OK;
}

/* Fill *e from one member of the header.  `data` has `size` bytes; NULL while a header is
 * checked that is yet to be written. */
static mg_status read_entry(mg_st_entry *e, yyjson_val *key, const uint8_t *data, size_t size, const char *path,
                            mg_error *err) {
    yyjson_val *v = yyjson_obj_iter_get_val(key);
    size_t      wanted = 0;
    e->name = yyjson_get_str(key);
    if (!yyjson_get_len(key) || yyjson_get_len(key) > NAME_LIMIT || has_nul(key))
        return mg_fail(err, MG_FORMAT, "%s: a tensor name is empty, longer than %d bytes or holds NUL: '%.80s'",
                       path, NAME_LIMIT, e->name);
    yyjson_val *dtype = yyjson_obj_get(v, "dtype"), *offsets = yyjson_obj_get(v, "data_offsets");
    if (yyjson_obj_size(v) != 3 || !yyjson_is_str(dtype) || yyjson_arr_size(offsets) != 2)
        return mg_fail(err, MG_FORMAT, "%s: '%s' must have dtype, shape and two data_offsets, and nothing else",
                       path, e->name);
    int row = dtype_row(yyjson_get_str(dtype));
    if (row < 0)
        return mg_fail(err, MG_UNSUPPORTED, "%s: '%s' has the dtype '%.20s', which this program does not know",
                       path, e->name, yyjson_get_str(dtype));
    e->dtype = dtypes[row].name;
    mg_status st = read_shape(e, yyjson_obj_get(v, "shape"), &wanted, path, err);
    if (st) return st;
    yyjson_val *begin = yyjson_arr_get(offsets, 0), *end = yyjson_arr_get(offsets, 1);
    uint64_t    from = yyjson_get_uint(begin), to = yyjson_get_uint(end);
    if (!yyjson_is_uint(begin) || !yyjson_is_uint(end) || from > to || to > size)
        return mg_fail(err, MG_FORMAT,
                       "%s: data_offsets of '%s' are not within the %zu bytes of data; is the download "
                       "complete?",
                       path, e->name, size);
    if (to - from != wanted)
        return mg_fail(err, MG_FORMAT, "%s: '%s' has %" PRIu64 " bytes, but its shape and dtype make %zu", path,
                       e->name, to - from, wanted);
    e->bytes = wanted;
    e->data = data ? data + from : (const uint8_t *)(uintptr_t)from; /* an offset sorts like an address */
    return MG_OK;
}

/* By place; an empty tensor before the one that starts where it lies. */
static int by_place(const void *a, const void *b) {
    const mg_st_entry *x = a, *y = b;
    if (x->data != y->data) return (uintptr_t)x->data < (uintptr_t)y->data ? -1 : 1;
    return (x->bytes > 0) - (y->bytes > 0);
}

static mg_status check_cover(const mg_safetensors *f, const uint8_t *data, size_t size, mg_error *err) {
    uintptr_t at = (uintptr_t)data, end = at + size;
    for (size_t i = 0; i < f->n; i++) {
        const mg_st_entry *e = &f->entries[i];
        if ((uintptr_t)e->data != at)
            return mg_fail(
                err, MG_FORMAT, "%s: '%s' starts at byte %zu of the data, but the tensor before it ends at %zu",
                f->path, e->name, (size_t)((uintptr_t)e->data - (uintptr_t)data), (size_t)(at - (uintptr_t)data));
        at += e->bytes;
    }
    if (at == end) return MG_OK;
    return mg_fail(err, MG_FORMAT, "%s: the tensors take %zu bytes, the file has %zu", f->path,
                   (size_t)(at - (uintptr_t)data), size);
}

/* Names were unique as keys already: JSON with a key twice is refused by mg_json_parse. */
static mg_status index_names(mg_safetensors *f, mg_error *err) {
    f->own->index = mg_map_new(f->n);
    bool ok = f->own->index;
    for (size_t i = 0; ok && i < f->n; i++)
        ok = mg_map_put(f->own->index, f->entries[i].name, strlen(f->entries[i].name), (int64_t)i) > 0;
    return ok ? MG_OK : mg_fail(err, MG_NOMEM, "%s: no memory for the names of %zu tensors", f->path, f->n);
}

/* Everything but the length in front: `header` describes `size` bytes of data. */
static mg_status read_header(mg_safetensors *f, const char *header, size_t header_bytes, const uint8_t *data,
                             size_t size, mg_error *err) {
    struct mg_st_private *own = f->own;
    if (!header_bytes || header[0] != '{')
        return mg_fail(err, MG_FORMAT, "%s: is no safetensors file: the header does not start with '{'", f->path);
    mg_status st = mg_json_parse(&own->header, header, header_bytes, f->path, err);
    if (st) return st;
    if (!yyjson_is_obj(own->header.root))
        return mg_fail(err, MG_FORMAT, "%s: the header is no JSON object", f->path);
    size_t members = yyjson_obj_size(own->header.root);
    if (members > TENSOR_LIMIT)
        return mg_fail(err, MG_FORMAT, "%s: %zu tensors; at most %d are allowed", f->path, members, TENSOR_LIMIT);
    f->entries = own->entries = mg_calloc(members, sizeof *own->entries);
    if (!own->entries) return mg_fail(err, MG_NOMEM, "%s: no memory for %zu tensors", f->path, members);
    yyjson_obj_iter it = yyjson_obj_iter_with(own->header.root);
    for (yyjson_val *k; !st && (k = yyjson_obj_iter_next(&it));)
        if (yyjson_equals_str(k, METADATA))
            st = check_metadata(yyjson_obj_iter_get_val(k), f->path, err);
        else
            st = read_entry(&own->entries[f->n++], k, data, size, f->path, err);
    if (st) return st;
    if (f->n) qsort(own->entries, f->n, sizeof *own->entries, by_place);
    st = check_cover(f, data, size, err);
    return st ? st : index_names(f, err);
}

static mg_safetensors *new_reader(const char *name) {
    mg_safetensors *f = mg_calloc(1, sizeof *f);
    if (f) f->own = mg_calloc(1, sizeof *f->own);
    if (f && f->own) f->path = f->own->path = mg_strdup(name);
    if (f && f->path) return f;
    mg_safetensors_close(f);
    return NULL;
}

mg_status mg_safetensors_parse(mg_safetensors **out, const void *bytes, size_t n, const char *name,
                               mg_error *err) {
    mg_status       st = MG_OK;
    uint64_t        header_bytes;
    mg_safetensors *f = new_reader(name);
    if (!f) {
        st = mg_fail(err, MG_NOMEM, "%s: no memory to open it", name);
        goto done;
    }
    if (n < sizeof header_bytes) {
        st = mg_fail(err, MG_FORMAT, "%s: %zu bytes are too few for a safetensors file", name, n);
        goto done;
    }
    memcpy(&header_bytes, bytes, sizeof header_bytes);
    if (header_bytes > HEADER_LIMIT || header_bytes > n - sizeof header_bytes) {
        st = mg_fail(err, MG_FORMAT,
                     "%s: claims a header of %" PRIu64 " bytes; the file has %zu and at most %d are "
                     "allowed; is it a complete safetensors file?",
                     name, header_bytes, n, HEADER_LIMIT);
        goto done;
    }
    const char *header = (const char *)bytes + sizeof header_bytes;
    st = read_header(f, header, (size_t)header_bytes, (const uint8_t *)header + header_bytes,
                     n - sizeof header_bytes - (size_t)header_bytes, err);
done:
    if (st)
        mg_safetensors_close(f);
    else
        *out = f;
    return st;
}

mg_status mg_safetensors_open(mg_safetensors **out, const char *path, mg_error *err) {
    mg_mapping      map = { 0 };
    mg_safetensors *f = NULL;
    mg_status       st = mg_map_file(&map, path, err);
    if (st) goto done;
    st = mg_safetensors_parse(&f, map.data, map.size, path, err);
    if (st) goto done;
    f->own->map = map;
    map = (mg_mapping){ 0 };
    *out = f;
done:
    mg_unmap_file(&map);
    return st;
}

void mg_safetensors_close(mg_safetensors *f) {
    if (!f) return;
    if (f->own) {
        free(f->own->entries);
        mg_map_free(f->own->index);
        mg_json_free(&f->own->header);
        mg_unmap_file(&f->own->map);
        free(f->own->path);
    }
    free(f->own);
    free(f);
}

const mg_st_entry *mg_safetensors_find(const mg_safetensors *f, const char *name) {
    int64_t i;
    return mg_map_get(f->own->index, name, strlen(name), &i) ? &f->entries[i] : NULL;
}

const char *mg_safetensors_meta(const mg_safetensors *f, const char *key) {
    return yyjson_get_str(yyjson_obj_get(yyjson_obj_get(f->own->header.root, METADATA), key));
}

/* ---- writing ---- */

/* Wide elements first: with a header of a multiple of 8 bytes every tensor is then aligned to
 * its element.  Then by name, so that a file is a function of its contents. */
static int by_size_and_name(const void *a, const void *b) {
    const mg_st_entry *x = a, *y = b;
    size_t             p = mg_st_dtype_size(x->dtype), q = mg_st_dtype_size(y->dtype);
    return p != q ? (p > q ? -1 : 1) : strcmp(x->name, y->name);
}

static void quote(mg_buf *b, const char *s) { mg_json_quote(b, s, strlen(s)); }

static void write_header(mg_buf *b, const mg_st_entry *sorted, size_t n, const char *const *metadata) {
    const char *comma = "";
    size_t      at = 0;
    mg_buf_char(b, '{');
    if (metadata && metadata[0]) {
        mg_buf_str(b, "\"" METADATA "\":{");
        for (const char *const *m = metadata; m[0]; m += 2) {
            mg_buf_str(b, m == metadata ? "" : ",");
            quote(b, m[0]);
            mg_buf_char(b, ':');
            quote(b, m[1]);
        }
        mg_buf_char(b, '}');
        comma = ",";
    }
    for (size_t i = 0; i < n; i++, comma = ",") {
        const mg_st_entry *e = &sorted[i];
        mg_buf_str(b, comma);
        quote(b, e->name);
        mg_buf_printf(b, ":{\"dtype\":\"%s\",\"shape\":[", e->dtype);
        for (int d = 0; d < e->n_dims; d++) mg_buf_printf(b, d ? ",%" PRId64 : "%" PRId64, e->dims[d]);
        mg_buf_printf(b, "],\"data_offsets\":[%zu,%zu]}", at, at + e->bytes);
        at += e->bytes; /* sizes of what lies in memory: the sum cannot wrap */
    }
    mg_buf_char(b, '}');
    while (b->len % DATA_ALIGN && !b->failed) mg_buf_char(b, ' ');
}

/* The header must read back as what was to be written. */
static mg_status check_written(const char *path, const mg_buf *header, const mg_st_entry *sorted, size_t n,
                               mg_error *err) {
    size_t total = 0;
    for (size_t i = 0; i < n; i++) total += sorted[i].bytes;
    mg_safetensors *f = new_reader(path);
    mg_status       st = f ? read_header(f, header->data, header->len, NULL, total, err)
                           : mg_fail(err, MG_NOMEM, "%s: no memory", path);
    for (size_t i = 0; !st && i < n; i++) {
        const mg_st_entry *e = mg_safetensors_find(f, sorted[i].name);
        if (!e || e->bytes != sorted[i].bytes || e->n_dims != sorted[i].n_dims)
            st = mg_fail(err, MG_FORMAT, "%s: '%.80s' cannot be a tensor's name: it is no UTF-8", path,
                         sorted[i].name);
    }
    mg_safetensors_close(f);
    return st;
}

static mg_status write_file(mg_new_file *f, const mg_buf *header, const mg_st_entry *sorted, size_t n, mg_st_source source,
                            void *context, mg_error *err) {
    uint64_t  length = header->len;
    mg_status st = mg_new_file_write(f, &length, sizeof length, err);
    if (!st) st = mg_new_file_write(f, header->data, header->len, err);
    for (size_t i = 0; !st && i < n; i++) {
        uint64_t begin = f->bytes;
        if (!sorted[i].bytes) continue;
        st = sorted[i].data ? mg_new_file_write(f, sorted[i].data, sorted[i].bytes, err) : source(context, &sorted[i], f, err);
        MG_ASSERT(st || f->bytes - begin == sorted[i].bytes);
    }
    return st;
}

mg_status mg_safetensors_stream(const char *path, const mg_st_entry *entries, size_t n, const char *const *metadata,
                                mg_st_source source, void *context, mg_error *err) {
    mg_status    st = MG_OK;
    mg_buf       header = { 0 };
    mg_new_file  f = { .fd = -1 };
    mg_st_entry *sorted = mg_calloc(n, sizeof *sorted);
    if (!sorted) return mg_fail(err, MG_NOMEM, "%s: no memory for %zu tensors", path, n);
    for (size_t i = 0; i < n; i++) {
        sorted[i] = entries[i];
        MG_ASSERT(entries[i].n_dims >= 0 && entries[i].n_dims <= MG_SAFETENSORS_RANK);
        MG_ASSERT(mg_st_dtype_size(entries[i].dtype));
        MG_ASSERT(entries[i].data || source || !entries[i].bytes);
    }
    if (n) qsort(sorted, n, sizeof *sorted, by_size_and_name);
    write_header(&header, sorted, n, metadata);
    if (header.failed)
        st = mg_fail(err, MG_NOMEM, "%s: no memory for the header", path);
    else
        st = check_written(path, &header, sorted, n, err);
    if (!st) st = mg_new_file_begin(&f, path, err);
    if (!st) st = write_file(&f, &header, sorted, n, source, context, err);
    if (!st) st = mg_new_file_commit(&f, err);
    mg_new_file_end(&f);
    mg_buf_free(&header);
    free(sorted);
    return st;
}

mg_status mg_safetensors_save(const char *path, const mg_st_entry *entries, size_t n, const char *const *metadata,
                              mg_error *err) {
    return mg_safetensors_stream(path, entries, n, metadata, NULL, NULL, err);
}
