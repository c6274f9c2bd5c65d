/* json.c -- yyjson with the limits of the house on top.
 *
 * yyjson builds a flat array of values, so the check for depth and duplicate
 * keys is a second walk over it; objects with many keys (a vocabulary has
 * 262,144) go through a hash set, small ones through a plain double loop. */
#include "base/json.h"

#include "base/file.h"

#include <string.h>

enum { JSON_MAX_DEPTH = 64, JSON_FEW_KEYS = 12 };

/* *twice is a key that stands twice, NULL: none.  False: no memory to find out. */
static bool find_twice(yyjson_val *object, const char **twice) {
    size_t          n = yyjson_obj_size(object);
    yyjson_obj_iter a = yyjson_obj_iter_with(object);
    *twice = NULL;
    if (n > JSON_FEW_KEYS) {
        mg_map *seen = mg_map_new(n);
        int     put = seen ? 1 : -1;
        for (yyjson_val *k; put > 0 && (k = yyjson_obj_iter_next(&a));) {
            put = mg_map_put(seen, yyjson_get_str(k), yyjson_get_len(k), 0);
            if (!put) *twice = yyjson_get_str(k);
        }
        mg_map_free(seen);
        return put >= 0;
    }
    for (yyjson_val *k; !*twice && (k = yyjson_obj_iter_next(&a));) {
        yyjson_obj_iter b = a;
        for (yyjson_val *other; (other = yyjson_obj_iter_next(&b));)
            if (yyjson_equals_strn(other, yyjson_get_str(k), yyjson_get_len(k))) *twice = yyjson_get_str(k);
    }
    return true;
}

static mg_status check(yyjson_val *v, int depth, const char *name, mg_error *err) {
    if (depth > JSON_MAX_DEPTH)
        return mg_fail(err, MG_FORMAT, "%s: JSON nested deeper than %d", name, JSON_MAX_DEPTH);
    mg_status st = MG_OK;
    if (yyjson_is_obj(v)) {
        const char *twice;
        if (!find_twice(v, &twice)) return mg_fail(err, MG_NOMEM, "%s: no memory for %zu keys", name, yyjson_obj_size(v));
        if (twice) return mg_fail(err, MG_FORMAT, "%s: the key '%.80s' stands twice in one object", name, twice);
        yyjson_obj_iter it = yyjson_obj_iter_with(v);
        for (yyjson_val *k; !st && (k = yyjson_obj_iter_next(&it));) {
            yyjson_val *child = yyjson_obj_iter_get_val(k);
            if (yyjson_is_ctn(child)) st = check(child, depth + 1, name, err);
        }
    } else if (yyjson_is_arr(v)) {
        yyjson_arr_iter it = yyjson_arr_iter_with(v);
        for (yyjson_val *child; !st && (child = yyjson_arr_iter_next(&it));)
            if (yyjson_is_ctn(child)) st = check(child, depth + 1, name, err);
    }
    return st;
}

mg_status mg_json_parse(mg_json *out, const char *text, size_t n, const char *name, mg_error *err) {
    yyjson_read_err why;
    yyjson_doc     *doc = yyjson_read_opts((char *)text, n, YYJSON_READ_NOFLAG, NULL, &why);
    if (!doc && why.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION) return mg_fail(err, MG_NOMEM, "%s: no memory for JSON", name);
    if (!doc) return mg_fail(err, MG_FORMAT, "%s: not valid JSON: %s at byte %zu", name, why.msg, why.pos);
    mg_status st = check(yyjson_doc_get_root(doc), 0, name, err);
    if (st) {
        yyjson_doc_free(doc);
        return st;
    }
    *out = (mg_json){ doc, yyjson_doc_get_root(doc) };
    return MG_OK;
}

mg_status mg_json_open(mg_json *out, const char *path, size_t limit, mg_error *err) {
    mg_buf    text = { 0 };
    mg_status st = mg_read_file(&text, path, limit, err);
    if (!st) st = mg_json_parse(out, text.data, text.len, path, err);
    mg_buf_free(&text);
    return st;
}

void mg_json_free(mg_json *j) {
    yyjson_doc_free(j->doc);
    *j = (mg_json){ 0 };
}

/* The length of the valid UTF-8 sequence at s, 0 when there is none. */
static size_t utf8_length(const unsigned char *s, size_t n) {
    if (s[0] < 0x80) return 1;
    size_t   len = s[0] >= 0xf0 && s[0] <= 0xf4 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    uint32_t c = s[0] & (0xffu >> (len + 1));
    if (s[0] < 0xc2 || s[0] > 0xf4 || len > n) return 0;
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80) return 0;
        c = c << 6 | (s[i] & 0x3f);
    }
    static const uint32_t least[5] = { 0, 0, 0x80, 0x800, 0x10000 };
    return c < least[len] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : len;
}

void mg_json_quote(mg_buf *b, const char *s, size_t n) {
    mg_buf_char(b, '"');
    for (size_t i = 0; i < n;) {
        unsigned char c = (unsigned char)s[i];
        size_t        len = utf8_length((const unsigned char *)s + i, n - i);
        if (c == '"' || c == '\\') {
            mg_buf_char(b, '\\');
            mg_buf_char(b, (char)c);
        } else if (c == '\n')
            mg_buf_str(b, "\\n");
        else if (c == '\t')
            mg_buf_str(b, "\\t");
        else if (c == '\r')
            mg_buf_str(b, "\\r");
        else if (c < 0x20 || c == 0x7f)
            mg_buf_printf(b, "\\u%04x", c);
        else if (!len)
            mg_buf_str(b, "\xef\xbf\xbd");
        else
            mg_buf_add(b, s + i, len);
        i += len ? len : 1;
    }
    mg_buf_char(b, '"');
}
