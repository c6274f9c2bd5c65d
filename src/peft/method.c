/* method.c -- the list of methods, and reading their settings from adapter_config.json. */
#include "peft/adapter.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define METHOD(x) extern const mg_method mg_method_##x;
#include "peft/peft.def"
#undef METHOD

static const mg_method *const methods[] = {
#define METHOD(x) &mg_method_##x,
#include "peft/peft.def"
#undef METHOD
    NULL,
};
_Static_assert(sizeof methods / sizeof *methods <= MG_METHODS_MOST, "more room for the methods' settings");

const mg_method *mg_method_find(const char *name) {
    for (int i = 0; methods[i]; i++)
        if (!strcmp(methods[i]->name, name)) return methods[i];
    for (int i = 0; methods[i]; i++)
        if (!strcmp(methods[i]->peft_type, name) && !methods[i]->claims) return methods[i];
    return NULL;
}

const mg_method *mg_method_at(size_t i) { return i < sizeof methods / sizeof *methods ? methods[i] : NULL; }

size_t mg_method_index(const mg_method *m) {
    size_t i = 0;
    while (methods[i] && methods[i] != m) i++;
    return i;
}

/* The first method with this table keeps the settings of all that share it. */
static size_t owner(const mg_option *table) {
    size_t i = 0;
    while (methods[i]->options != table) i++;
    return i;
}

const mg_option *mg_method_tables(size_t i, size_t *offset) {
    for (size_t k = 0; methods[k]; k++) {
        if (!methods[k]->options || owner(methods[k]->options) != k || i--) continue;
        MG_ASSERT(methods[k]->own <= MG_METHOD_OWN);
        *offset = k * MG_METHOD_OWN;
        return methods[k]->options;
    }
    return NULL;
}

void mg_method_own(mg_adapter_config *c, char (*own)[MG_METHOD_OWN]) {
    if (c->method->options) memcpy(c->own, own[owner(c->method->options)], MG_METHOD_OWN);
}

/* ---- keys ---- */

mg_status mg_config_int(int *out, yyjson_val *json, const char *key, const char *file, mg_error *err) {
    yyjson_val *v = yyjson_obj_get(json, key);
    if (!yyjson_is_int(v) || yyjson_get_sint(v) < 1 || yyjson_get_sint(v) > 65536)
        return mg_fail(err, MG_FORMAT, "%s: '%s' must be an integer of at least 1", file, key);
    *out = (int)yyjson_get_sint(v);
    return MG_OK;
}

mg_status mg_config_number(float *out, yyjson_val *json, const char *key, const char *file, mg_error *err) {
    yyjson_val *v = yyjson_obj_get(json, key);
    if (!yyjson_is_num(v) || !isfinite(yyjson_get_num(v))) return mg_fail(err, MG_FORMAT, "%s: '%s' must be a number", file, key);
    *out = (float)yyjson_get_num(v);
    return MG_OK;
}

static mg_status put(char *out, size_t size, const mg_buf *b, const char *key, const char *file, mg_error *err) {
    if (b->failed) return mg_fail(err, MG_NOMEM, "%s: no memory", file);
    if (b->len >= size) return mg_fail(err, MG_UNSUPPORTED, "%s: '%s' is longer than %zu bytes", file, key, size - 1);
    memcpy(out, b->len ? b->data : "", b->len + 1);
    return MG_OK;
}

/* A name of a module or layer: no comma, space or "=", which would mean something else in a list. */
static bool is_name(const char *s) { return s && *s && !strpbrk(s, ",= \n\t"); }

mg_status mg_config_names(char *out, size_t size, yyjson_val *v, const char *key, const char *file, mg_error *err) {
    mg_buf      list = { 0 };
    size_t      i, n;
    yyjson_val *item;
    bool        ok = !v || yyjson_is_null(v) || yyjson_is_str(v) || yyjson_is_arr(v);
    if (yyjson_is_str(v)) {
        ok = is_name(yyjson_get_str(v));
        mg_buf_str(&list, yyjson_get_str(v));
    }
    yyjson_arr_foreach(v, i, n, item) {
        if (yyjson_is_int(item))
            mg_buf_printf(&list, "%s%lld", i ? "," : "", (long long)yyjson_get_sint(item));
        else if (is_name(yyjson_get_str(item)))
            mg_buf_printf(&list, "%s%s", i ? "," : "", yyjson_get_str(item));
        else
            ok = false;
    }
    mg_status st = ok ? put(out, size, &list, key, file, err) : mg_fail(err, MG_FORMAT, "%s: '%s' must be a list of names", file, key);
    mg_buf_free(&list);
    return st;
}

mg_status mg_config_pattern(char *out, size_t size, yyjson_val *v, const char *key, const char *file, mg_error *err) {
    mg_buf          list = { 0 };
    mg_status       st = MG_OK;
    yyjson_obj_iter it = yyjson_obj_iter_with(v);
    for (yyjson_val *k; !st && (k = yyjson_obj_iter_next(&it));) {
        yyjson_val *x = yyjson_obj_iter_get_val(k);
        if (!yyjson_is_num(x) || !(yyjson_get_num(x) > 0) || !is_name(yyjson_get_str(k)))
            st = mg_fail(err, MG_UNSUPPORTED, "%s: '%s' must map names of modules to numbers", file, key);
        else
            mg_buf_printf(&list, "%s%s=%.9g", list.len ? "," : "", yyjson_get_str(k), yyjson_get_num(x));
    }
    if (!st) st = put(out, size, &list, key, file, err);
    mg_buf_free(&list);
    return st;
}

void mg_config_write_pattern(const char *pattern, const char *key, mg_buf *out) {
    if (!*pattern) return;
    mg_buf_printf(out, "  \"%s\": {", key);
    const char *between = "";
    for (const char *p = pattern; *p; p += strspn(p, ", ")) {
        size_t len = strcspn(p, ", "), name = strcspn(p, "=");
        if (name < len) mg_buf_printf(out, "%s\"%.*s\": %.*s", between, (int)name, p, (int)(len - name - 1), p + name + 1);
        between = ", ";
        p += len;
    }
    mg_buf_str(out, "},\n");
}
