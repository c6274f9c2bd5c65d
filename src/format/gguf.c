/* gguf.c -- check a GGUF file once, from front to back, then hand out pointers into it.
 *
 *   "GGUF" version n_tensors n_values | values | tensor infos | padding | data
 *
 * A cursor moves over the bytes and is the only thing that reads them while they are not
 * yet trusted; each step compares with the bytes that remain.  Numbers in the file are
 * little endian and unaligned.  Layout rules that other readers leave open are closed
 * here: keys and names are unique, and tensor offsets are exactly the padded running sum,
 * so that tensors neither overlap nor leave holes.  What a kind of value is, is a row of
 * a table. */
#include "format/gguf.h"

#include "base/file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    STRING_LIMIT = 16 << 20,              /* bytes of one string */
    KEY_LIMIT = 65535,                    /* the specification's */
    NAME_LIMIT = 512,                     /* of a tensor; ggml itself stops at 63 */
    VALUE_LEAST = 8 + 1 + 4 + 1,          /* bytes of the smallest value: key, kind, one byte */
    TENSOR_LEAST = 8 + 1 + 4 + 8 + 4 + 8, /* name, rank, one dimension, type, offset */
    ALIGNMENT = 32,                       /* unless general.alignment says otherwise */
    ALIGNMENT_LIMIT = 1 << 20,
};

struct mg_gguf_private {
    mg_mapping      map; /* empty when the bytes belong to the caller */
    char           *path;
    mg_gguf_value  *values;
    mg_gguf_tensor *tensors;
    mg_map         *value_index, *tensor_index;
};

/* ---- kinds of values ---- */

typedef struct {
    const char *name;
    size_t      size;                               /* of one, 0: not fixed */
    bool (*to_int)(const uint8_t *p, int64_t *out); /* NULL: not an integer */
    double (*to_float)(const uint8_t *p);           /* NULL: not a number */
} kind_row;

#define NUMBER(type, suffix)                             \
    static inline type load_##suffix(const uint8_t *p) { \
        type v;                                          \
        memcpy(&v, p, sizeof v);                         \
        return v;                                        \
    }                                                    \
    static double float_##suffix(const uint8_t *p) { return (double)load_##suffix(p); }
#define INTEGER(type, suffix)                                  \
    NUMBER(type, suffix)                                       \
    static bool int_##suffix(const uint8_t *p, int64_t *out) { \
        *out = (int64_t)load_##suffix(p);                      \
        return true;                                           \
    }
INTEGER(uint8_t, u8)
INTEGER(int8_t, i8)
INTEGER(uint16_t, u16)
INTEGER(int16_t, i16)
INTEGER(uint32_t, u32)
INTEGER(int32_t, i32)
INTEGER(int64_t, i64)
NUMBER(uint64_t, u64)
NUMBER(float, f32)
NUMBER(double, f64)

static bool int_u64(const uint8_t *p, int64_t *out) {
    uint64_t v = load_u64(p);
    if (v > INT64_MAX) return false;
    *out = (int64_t)v;
    return true;
}

static const kind_row kinds[] = {
    [MG_GGUF_U8] = { "u8", 1, int_u8, float_u8 },     [MG_GGUF_I8] = { "i8", 1, int_i8, float_i8 },
    [MG_GGUF_U16] = { "u16", 2, int_u16, float_u16 }, [MG_GGUF_I16] = { "i16", 2, int_i16, float_i16 },
    [MG_GGUF_U32] = { "u32", 4, int_u32, float_u32 }, [MG_GGUF_I32] = { "i32", 4, int_i32, float_i32 },
    [MG_GGUF_U64] = { "u64", 8, int_u64, float_u64 }, [MG_GGUF_I64] = { "i64", 8, int_i64, float_i64 },
    [MG_GGUF_F32] = { "f32", 4, NULL, float_f32 },    [MG_GGUF_F64] = { "f64", 8, NULL, float_f64 },
    [MG_GGUF_BOOL] = { "bool", 1, int_u8, float_u8 }, [MG_GGUF_STRING] = { "string", 0, NULL, NULL },
    [MG_GGUF_ARRAY] = { "array", 0, NULL, NULL },
};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

/* ---- the cursor ---- */

typedef struct {
    const uint8_t *bytes;
    size_t         n, at;
    const char    *name; /* for messages */
    mg_error      *err;
} cursor;

static size_t remaining(const cursor *c) { return c->n - c->at; }

/* The next `n` bytes, or NULL with the error filled. */
static const uint8_t *take(cursor *c, size_t n, const char *what) {
    if (n > remaining(c)) {
        mg_fail(c->err, MG_FORMAT,
                "%s: ends at byte %zu inside %s, which needs %zu bytes from byte %zu on; "
                "is the download complete?",
                c->name, c->n, what, n, c->at);
        return NULL;
    }
    const uint8_t *p = c->bytes + c->at;
    c->at += n;
    return p;
}

static bool take_u32(cursor *c, uint32_t *out, const char *what) {
    const uint8_t *p = take(c, 4, what);
    if (p) *out = load_u32(p);
    return p;
}

static bool take_u64(cursor *c, uint64_t *out, const char *what) {
    const uint8_t *p = take(c, 8, what);
    if (p) *out = load_u64(p);
    return p;
}

static bool take_string(cursor *c, mg_gguf_string *out, size_t limit, const char *what) {
    uint64_t len;
    size_t   start = c->at;
    if (!take_u64(c, &len, what)) return false;
    if (len > limit || len > remaining(c)) {
        mg_fail(c->err, MG_FORMAT,
                "%s: at byte %zu: length %" PRIu64 " of %s; %zu are allowed and %zu bytes remain", c->name, start,
                len, what, limit, remaining(c));
        return false;
    }
    *out = (mg_gguf_string){ (const char *)c->bytes + c->at, (size_t)len };
    c->at += (size_t)len;
    return true;
}

/* Keys and tensor names: not empty, no NUL, so that they can be C strings. */
static bool take_name(cursor *c, mg_gguf_string *out, size_t limit, const char *what) {
    size_t start = c->at;
    if (!take_string(c, out, limit, what)) return false;
    if (out->len && !memchr(out->data, 0, out->len)) return true;
    mg_fail(c->err, MG_FORMAT, "%s: at byte %zu: %s is empty or holds a NUL byte", c->name, start, what);
    return false;
}

static bool take_kind(cursor *c, mg_gguf_kind *out) {
    uint32_t kind;
    size_t   start = c->at;
    if (!take_u32(c, &kind, "the kind of a value")) return false;
    if (kind >= N_KINDS) {
        mg_fail(c->err, MG_FORMAT, "%s: at byte %zu: kind %u of a value; 0 to %d are known", c->name, start,
                (unsigned)kind, N_KINDS - 1);
        return false;
    }
    *out = (mg_gguf_kind)kind;
    return true;
}

/* ---- values ---- */

/* Step over `count` values of one kind that is not an array, checking strings and bools. */
static bool skip_values(cursor *c, mg_gguf_kind kind, uint64_t count) {
    const kind_row *row = &kinds[kind];
    size_t          least = row->size ? row->size : 8, bytes, start = c->at;
    if (count > remaining(c) / least || !mg_size_mul((size_t)count, least, &bytes)) {
        mg_fail(c->err, MG_FORMAT, "%s: at byte %zu: %" PRIu64 " values of kind %s, but only %zu bytes remain",
                c->name, start, count, row->name, remaining(c));
        return false;
    }
    if (!row->size) {
        mg_gguf_string s;
        for (uint64_t i = 0; i < count; i++)
            if (!take_string(c, &s, STRING_LIMIT, "a string")) return false;
        return true;
    }
    const uint8_t *p = take(c, bytes, "a value");
    for (size_t i = 0; p && kind == MG_GGUF_BOOL && i < bytes; i++)
        if (p[i] > 1) {
            mg_fail(c->err, MG_FORMAT, "%s: at byte %zu: a bool is %d; it must be 0 or 1", c->name, start + i,
                    p[i]);
            return false;
        }
    return p;
}

static bool take_value(cursor *c, mg_gguf_value *v) {
    v->count = 1;
    if (!take_name(c, &v->key, KEY_LIMIT, "a key") || !take_kind(c, &v->kind)) return false;
    v->item = v->kind;
    if (v->kind == MG_GGUF_ARRAY) {
        size_t start = c->at;
        if (!take_kind(c, &v->item) || !take_u64(c, &v->count, "the length of an array")) return false;
        if (v->item == MG_GGUF_ARRAY) {
            mg_fail(c->err, MG_FORMAT, "%s: at byte %zu: '%.*s' is an array of arrays, which is not allowed",
                    c->name, start, (int)(v->key.len < 80 ? v->key.len : 80), v->key.data);
            return false;
        }
    }
    v->bytes = c->bytes + c->at;
    return skip_values(c, v->item, v->count);
}

/* Enter a key or name into its index; it must be new. */
static bool enter(cursor *c, mg_map *index, const char *key, size_t len, size_t i, const char *what) {
    int added = mg_map_put(index, key, len, (int64_t)i);
    if (added < 0) mg_fail(c->err, MG_NOMEM, "%s: no memory for its index", c->name);
    if (!added)
        mg_fail(c->err, MG_FORMAT, "%s: before byte %zu: %s '%.*s' stands twice", c->name, c->at, what,
                (int)(len < 80 ? len : 80), key);
    return added > 0;
}

/* A count is believed only if that many of the smallest entries fit into the bytes left. */
static bool plausible(cursor *c, uint64_t count, size_t least, const char *what) {
    if (count <= remaining(c) / least) return true;
    mg_fail(c->err, MG_FORMAT, "%s: claims %" PRIu64 " %s; %zu bytes can hold at most %zu", c->name, count, what,
            remaining(c), remaining(c) / least);
    return false;
}

static bool take_values(cursor *c, mg_gguf *g, uint64_t count) {
    struct mg_gguf_private *own = g->own;
    if (!plausible(c, count, VALUE_LEAST, "values")) return false;
    own->values = mg_calloc((size_t)count, sizeof *own->values);
    own->value_index = mg_map_new((size_t)count);
    if (!own->values || !own->value_index) {
        mg_fail(c->err, MG_NOMEM, "%s: no memory for %" PRIu64 " values", c->name, count);
        return false;
    }
    g->values = own->values;
    for (size_t i = 0; i < count; i++) {
        mg_gguf_value *v = &own->values[i];
        if (!take_value(c, v) || !enter(c, own->value_index, v->key.data, v->key.len, i, "the key")) return false;
        g->n_values = i + 1;
    }
    return true;
}

/* ---- tensors ---- */

/* The number of elements, from dimensions that are each at least 1 and whose product stays
 * an int64; checked one by one, whatever the others are. */
static bool take_dims(cursor *c, mg_gguf_tensor *t, int64_t *elements) {
    uint32_t rank;
    size_t   start = c->at, product = 1;
    if (!take_u32(c, &rank, "the rank of a tensor")) return false;
    if (rank < 1 || rank > 4) {
        mg_fail(c->err, MG_FORMAT, "%s: at byte %zu: '%s' has %u dimensions; 1 to 4 are allowed", c->name, start,
                t->name, (unsigned)rank);
        return false;
    }
    t->n_dims = (int)rank;
    for (uint32_t i = 0; i < 4; i++) {
        uint64_t dim = 1;
        if (i < rank && !take_u64(c, &dim, "a dimension")) return false;
        if (!dim || dim > INT64_MAX || !mg_size_mul(product, (size_t)dim, &product) || product > INT64_MAX) {
            mg_fail(c->err, MG_FORMAT,
                    "%s: at byte %zu: dimension %u of '%s' is %" PRIu64
                    "; it must be at least 1 and the product must fit 63 bits",
                    c->name, start, (unsigned)i, t->name, dim);
            return false;
        }
        t->dims[i] = (int64_t)dim;
    }
    *elements = (int64_t)product;
    return true;
}

static bool take_format(cursor *c, mg_gguf_tensor *t, int64_t elements) {
    uint32_t type;
    if (!take_u32(c, &type, "the type of a tensor")) return false;
    t->format = type <= INT32_MAX ? mg_format_of_gguf((int)type) : NULL;
    if (!t->format)
        mg_fail(c->err, MG_UNSUPPORTED,
                "%s: '%s' has ggml type %u, which this program does not read; "
                "convert the model to q8_0, q4_k or another common type",
                c->name, t->name, (unsigned)type);
    else if (t->dims[0] % t->format->block)
        mg_fail(c->err, MG_FORMAT, "%s: rows of '%s' have %" PRId64 " elements; %s needs a multiple of %d",
                c->name, t->name, t->dims[0], t->format->name, t->format->block);
    else if (!mg_format_bytes(t->format, elements, &t->bytes))
        mg_fail(c->err, MG_FORMAT, "%s: the size of '%s' does not fit into 64 bits", c->name, t->name);
    else
        return true;
    return false;
}

/* One tensor info; *end is the padded running sum of sizes, where its data must start. */
static bool take_tensor(cursor *c, mg_gguf_tensor *t, size_t alignment, size_t *end) {
    mg_gguf_string name;
    int64_t        elements;
    uint64_t       offset;
    if (!take_name(c, &name, NAME_LIMIT, "the name of a tensor")) return false;
    t->name = mg_strndup(name.data, name.len);
    if (!t->name) {
        mg_fail(c->err, MG_NOMEM, "%s: no memory for its names", c->name);
        return false;
    }
    if (!take_dims(c, t, &elements) || !take_format(c, t, elements) || !take_u64(c, &offset, "an offset"))
        return false;
    if (offset != *end) {
        mg_fail(c->err, MG_FORMAT,
                "%s: data of '%s' is said to start at %" PRIu64 ", but the tensors before it end at %zu", c->name,
                t->name, offset, *end);
        return false;
    }
    t->data = NULL;
    if (mg_size_add(*end, t->bytes, end) && mg_size_add(*end, alignment - 1, end)) {
        *end -= *end % alignment;
        return true;
    }
    mg_fail(c->err, MG_FORMAT, "%s: the sum of the sizes up to '%s' does not fit into 64 bits", c->name, t->name);
    return false;
}

static bool take_tensors(cursor *c, mg_gguf *g, uint64_t count, size_t alignment) {
    struct mg_gguf_private *own = g->own;
    size_t                  end = 0;
    if (!plausible(c, count, TENSOR_LEAST, "tensors")) return false;
    own->tensors = mg_calloc((size_t)count, sizeof *own->tensors);
    own->tensor_index = mg_map_new((size_t)count);
    if (!own->tensors || !own->tensor_index) {
        mg_fail(c->err, MG_NOMEM, "%s: no memory for %" PRIu64 " tensors", c->name, count);
        return false;
    }
    g->tensors = own->tensors;
    for (size_t i = 0; i < count; i++) {
        mg_gguf_tensor *t = &own->tensors[i];
        g->n_tensors = i + 1; /* counted first, so that closing frees a name of a half-read one */
        if (!take_tensor(c, t, alignment, &end) ||
            !enter(c, own->tensor_index, t->name, strlen(t->name), i, "the tensor"))
            return false;
    }
    return true;
}

/* Point the tensors at their data, which starts at the next multiple of the alignment.  The
 * cursor is inside an object in memory, so that going on by one alignment cannot wrap. */
static bool place_tensors(cursor *c, mg_gguf *g, size_t alignment) {
    size_t at = (c->at + alignment - 1) / alignment * alignment;
    for (size_t i = 0; i < g->n_tensors; i++) {
        mg_gguf_tensor *t = &g->own->tensors[i];
        if (at > c->n || t->bytes > c->n - at) {
            mg_fail(c->err, MG_FORMAT,
                    "%s: data of '%s' needs %zu bytes from byte %zu on, but the file ends at %zu; "
                    "is the download complete?",
                    c->name, t->name, t->bytes, at, c->n);
            return false;
        }
        t->data = c->bytes + at;
        at += (t->bytes + alignment - 1) / alignment * alignment; /* sums were checked by take_tensor */
    }
    return true;
}

/* ---- rules between values ---- */

static bool check_alignment(cursor *c, const mg_gguf *g, size_t *alignment) {
    int64_t value = ALIGNMENT;
    if (mg_gguf_find(g, "general.alignment") && (!mg_gguf_int(g, "general.alignment", &value) || value < 1 ||
                                                 value > ALIGNMENT_LIMIT || (value & (value - 1)))) {
        mg_fail(c->err, MG_FORMAT, "%s: general.alignment is no power of two from 1 to %d", c->name,
                ALIGNMENT_LIMIT);
        return false;
    }
    *alignment = (size_t)value;
    return true;
}

/* Scores and types belong to the tokens one by one. */
static bool check_vocabulary(cursor *c, const mg_gguf *g) {
    static const struct {
        const char *key;
        bool        strings;
    } lists[] = {
        { "tokenizer.ggml.tokens", true },
        { "tokenizer.ggml.scores", false },
        { "tokenizer.ggml.token_type", false },
    };
    const mg_gguf_value *first = mg_gguf_find(g, lists[0].key);
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        const mg_gguf_value *v = mg_gguf_find(g, lists[i].key);
        if (!v) continue;
        if (v->kind != MG_GGUF_ARRAY || (v->item == MG_GGUF_STRING) != lists[i].strings) {
            mg_fail(c->err, MG_FORMAT, "%s: %s is no array of %s", c->name, lists[i].key,
                    lists[i].strings ? "strings" : "numbers");
            return false;
        }
        if (first && v->count != first->count) {
            mg_fail(c->err, MG_FORMAT, "%s: %s has %" PRIu64 " entries, but there are %" PRIu64 " tokens", c->name,
                    lists[i].key, v->count, first->count);
            return false;
        }
    }
    return true;
}

/* Query heads share key heads evenly.  Files with a count for each layer are left to the model. */
static bool check_heads(cursor *c, const mg_gguf *g) {
    mg_gguf_string arch;
    char           key[128];
    int64_t        heads, kv_heads;
    if (!mg_gguf_str(g, "general.architecture", &arch) || arch.len > 64 || memchr(arch.data, 0, arch.len))
        return true;
    snprintf(key, sizeof key, "%.*s.attention.head_count", (int)arch.len, arch.data);
    if (!mg_gguf_int(g, key, &heads)) return true;
    snprintf(key, sizeof key, "%.*s.attention.head_count_kv", (int)arch.len, arch.data);
    if (!mg_gguf_int(g, key, &kv_heads)) return true;
    if (heads > 0 && kv_heads > 0 && heads % kv_heads == 0) return true;
    mg_fail(c->err, MG_FORMAT, "%s: %" PRId64 " attention heads cannot share %" PRId64 " key heads evenly",
            c->name, heads, kv_heads);
    return false;
}

/* ---- opening and closing ---- */

static bool take_header(cursor *c, uint64_t *n_tensors, uint64_t *n_values) {
    const uint8_t *magic = take(c, 4, "the magic");
    uint32_t       version;
    if (!magic) return false;
    if (memcmp(magic, "GGUF", 4)) {
        mg_fail(c->err, MG_FORMAT, "%s: is no GGUF file: it starts with %02x %02x %02x %02x", c->name, magic[0],
                magic[1], magic[2], magic[3]);
        return false;
    }
    if (!take_u32(c, &version, "the version")) return false;
    if (version != 2 && version != 3) {
        mg_fail(c->err, MG_UNSUPPORTED,
                "%s: GGUF version %u; 2 and 3, little endian, are read: convert it again with "
                "a current tool",
                c->name, (unsigned)version);
        return false;
    }
    return take_u64(c, n_tensors, "the header") && take_u64(c, n_values, "the header");
}

static bool parse(cursor *c, mg_gguf *g) {
    uint64_t n_tensors, n_values;
    size_t   alignment;
    return take_header(c, &n_tensors, &n_values) && take_values(c, g, n_values) &&
           check_alignment(c, g, &alignment) && check_vocabulary(c, g) && check_heads(c, g) &&
           take_tensors(c, g, n_tensors, alignment) && place_tensors(c, g, alignment);
}

mg_status mg_gguf_parse(mg_gguf **out, const void *bytes, size_t n, const char *name, mg_error *err) {
    mg_error  why = { .status = MG_NOMEM };
    mg_status st = MG_OK;
    mg_gguf  *g = mg_calloc(1, sizeof *g);
    if (g) g->own = mg_calloc(1, sizeof *g->own);
    if (g && g->own) g->path = g->own->path = mg_strdup(name);
    if (!g || !g->own || !g->path) {
        st = mg_fail(err, MG_NOMEM, "%s: no memory to open it", name);
        goto done;
    }
    g->file_bytes = n;
    cursor c = { .bytes = bytes, .n = n, .name = name, .err = &why };
    if (!parse(&c, g)) {
        st = why.status;
        if (err) *err = why;
    }
done:
    if (st)
        mg_gguf_close(g);
    else
        *out = g;
    return st;
}

mg_status mg_gguf_open(mg_gguf **out, const char *path, mg_error *err) {
    mg_mapping map = { 0 };
    mg_gguf   *g = NULL;
    mg_status  st = mg_map_file(&map, path, err);
    if (st) goto done;
    st = mg_gguf_parse(&g, map.data, map.size, path, err);
    if (st) goto done;
    g->own->map = map;
    map = (mg_mapping){ 0 };
    *out = g;
done:
    mg_unmap_file(&map);
    return st;
}

void mg_gguf_close(mg_gguf *g) {
    if (!g) return;
    struct mg_gguf_private *own = g->own;
    if (own) {
        for (size_t i = 0; i < g->n_tensors; i++) free((char *)own->tensors[i].name);
        free(own->tensors);
        free(own->values);
        mg_map_free(own->tensor_index);
        mg_map_free(own->value_index);
        mg_unmap_file(&own->map);
        free(own->path);
    }
    free(own);
    free(g);
}

/* ---- looking things up ---- */

const mg_gguf_value *mg_gguf_find(const mg_gguf *g, const char *key) {
    int64_t i;
    return mg_map_get(g->own->value_index, key, strlen(key), &i) ? &g->values[i] : NULL;
}

const mg_gguf_tensor *mg_gguf_find_tensor(const mg_gguf *g, const char *name) {
    int64_t i;
    return mg_map_get(g->own->tensor_index, name, strlen(name), &i) ? &g->tensors[i] : NULL;
}

bool mg_gguf_int(const mg_gguf *g, const char *key, int64_t *out) {
    const mg_gguf_value *v = mg_gguf_find(g, key);
    return v && kinds[v->kind].to_int && kinds[v->kind].to_int(v->bytes, out);
}

bool mg_gguf_float(const mg_gguf *g, const char *key, double *out) {
    const mg_gguf_value *v = mg_gguf_find(g, key);
    if (!v || !kinds[v->kind].to_float) return false;
    *out = kinds[v->kind].to_float(v->bytes);
    return true;
}

/* Lengths were checked when the file was opened. */
static const uint8_t *string_at(const uint8_t *p, mg_gguf_string *out) {
    *out = (mg_gguf_string){ (const char *)p + 8, (size_t)load_u64(p) };
    return p + 8 + out->len;
}

bool mg_gguf_str(const mg_gguf *g, const char *key, mg_gguf_string *out) {
    const mg_gguf_value *v = mg_gguf_find(g, key);
    if (!v || v->kind != MG_GGUF_STRING) return false;
    string_at(v->bytes, out);
    return true;
}

int64_t mg_gguf_item_int(const mg_gguf_value *v, uint64_t i) {
    const kind_row *row = &kinds[v->item];
    int64_t         out = 0;
    MG_ASSERT(i < v->count);
    if (row->to_int) row->to_int(v->bytes + i * row->size, &out);
    return out;
}

double mg_gguf_item_float(const mg_gguf_value *v, uint64_t i) {
    const kind_row *row = &kinds[v->item];
    MG_ASSERT(i < v->count);
    return row->to_float ? row->to_float(v->bytes + i * row->size) : 0;
}

size_t mg_gguf_value_bytes(const mg_gguf_value *v) {
    const uint8_t *p = v->bytes;
    mg_gguf_string s;
    if (v->item != MG_GGUF_STRING) return (size_t)v->count * kinds[v->item].size;
    for (uint64_t i = 0; i < v->count; i++) p = string_at(p, &s);
    return (size_t)(p - v->bytes);
}

void mg_gguf_strings(const mg_gguf_value *v, mg_gguf_string *out) {
    const uint8_t *p = v->bytes;
    MG_ASSERT(v->item == MG_GGUF_STRING);
    for (uint64_t i = 0; i < v->count; i++) p = string_at(p, &out[i]);
}
