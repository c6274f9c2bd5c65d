/* template_value.c -- values: made from JSON, compared, measured, indexed, as Python does it.
 *
 * A conversation may be 16 MiB of JSON of which a template looks at a corner, so lists and objects stay JSON until
 * something looks inside, and then only that level becomes values. */
#include "text/template_parts.h"

#include <ctype.h>
#include <string.h>

const char *mg_tpl_kind_name(tpl_value v) {
    static const char *const name[TPL_N_KINDS] = {
        "undefined value",   "None",  "boolean", "integer",   "float", "string", "list",     "tuple", "iterator",
        "view of a mapping", "range", "mapping", "namespace", "loop",  "macro",  "function",
    };
    return name[v.kind];
}

/* ---- from JSON */

/* A role is chosen from few words by the program that wrote the file; templates build control tokens from it
 * ('<|' + role + '|>'), so a word counts as the template's own text. */
static bool is_plain_word(yyjson_val *v) {
    size_t      n = yyjson_get_len(v);
    const char *s = yyjson_get_str(v);
    if (!s || n == 0 || n > 32) return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)s[i]) && s[i] != '_' && s[i] != '-') return false;
    return true;
}

tpl_value mg_tpl_from_json(tpl_eval *ev, yyjson_val *v, uint8_t mark) {
    if (yyjson_is_str(v))
        return tpl_string((tpl_str){ .s = yyjson_get_str(v), .n = yyjson_get_len(v), .all = mark });
    if (yyjson_is_bool(v)) return tpl_bool(yyjson_get_bool(v));
    if (yyjson_is_real(v)) return tpl_float(yyjson_get_real(v));
    if (yyjson_is_uint(v) && yyjson_get_uint(v) > INT64_MAX)
        return mg_tpl_fail(ev, "the integer %llu does not fit into 63 bits",
                           (unsigned long long)yyjson_get_uint(v));
    if (yyjson_is_int(v)) return tpl_int(yyjson_get_sint(v));
    if (yyjson_is_arr(v)) {
        tpl_list *l = mg_tpl_list_new(ev);
        if (!l) return tpl_none();
        l->json = v;
        l->mark = mark;
        l->n = yyjson_arr_size(v);
        return tpl_listy(TPL_LIST, l);
    }
    if (yyjson_is_obj(v)) {
        tpl_dict *d = mg_tpl_dict_new(ev);
        if (!d) return tpl_none();
        d->json = v;
        d->mark = mark;
        d->n = yyjson_obj_size(v);
        return (tpl_value){ .kind = TPL_DICT, .dict = d };
    }
    return tpl_none();
}

tpl_list *mg_tpl_list_new(tpl_eval *ev) {
    tpl_list *l = mg_tpl_alloc(&ev->arena, 1, sizeof *l);
    if (!l) mg_tpl_no_memory(ev);
    return l;
}

tpl_dict *mg_tpl_dict_new(tpl_eval *ev) {
    tpl_dict *d = mg_tpl_alloc(&ev->arena, 1, sizeof *d);
    if (!d) mg_tpl_no_memory(ev);
    return d;
}

/* Room for one more in an array of the arena; the old one stays behind as garbage. */
static bool grow(tpl_eval *ev, tpl_value **array, size_t *cap, size_t n) {
    if (n < *cap) return true;
    size_t     more = *cap ? *cap * 2 : 8;
    tpl_value *a = mg_tpl_alloc(&ev->arena, more, sizeof *a);
    if (!a) return mg_tpl_no_memory(ev), false;
    if (n) memcpy(a, *array, n * sizeof *a);
    *array = a;
    *cap = more;
    return true;
}

bool mg_tpl_list_add(tpl_eval *ev, tpl_list *l, tpl_value v) {
    if (ev->status || !grow(ev, &l->item, &l->cap, l->n)) return false;
    l->item[l->n++] = v;
    return true;
}

bool mg_tpl_list_ready(tpl_eval *ev, tpl_list *l) {
    yyjson_val *json = l->json;
    if (!json) return !ev->status;
    if (!mg_tpl_burn(ev, l->n * 64)) return false;
    l->json = NULL;
    l->cap = l->n;
    l->item = mg_tpl_alloc(&ev->arena, l->n ? l->n : 1, sizeof *l->item);
    if (!l->item) return mg_tpl_no_memory(ev), false;
    yyjson_arr_iter it = yyjson_arr_iter_with(json);
    yyjson_val     *v;
    for (size_t i = 0; i < l->n && (v = yyjson_arr_iter_next(&it)); i++)
        l->item[i] = mg_tpl_from_json(ev, v, l->mark);
    return !ev->status;
}

bool mg_tpl_dict_ready(tpl_eval *ev, tpl_dict *d) {
    yyjson_val *json = d->json, *k;
    if (!json) return !ev->status;
    if (!mg_tpl_burn(ev, d->n * 64)) return false;
    d->json = NULL;
    d->cap = d->cap_value = d->n;
    d->key = mg_tpl_alloc(&ev->arena, d->n ? d->n : 1, sizeof *d->key);
    d->value = mg_tpl_alloc(&ev->arena, d->n ? d->n : 1, sizeof *d->value);
    if (!d->key || !d->value) return mg_tpl_no_memory(ev), false;
    if (d->mark && yyjson_equals_str(yyjson_obj_get(json, "role"), "assistant")) d->mark |= TPL_ASSISTANT;
    yyjson_obj_iter it = yyjson_obj_iter_with(json);
    for (size_t i = 0; i < d->n && (k = yyjson_obj_iter_next(&it)); i++) {
        yyjson_val *v = yyjson_obj_iter_get_val(k);
        bool        is_role = yyjson_equals_str(k, "role") && is_plain_word(v);
        d->key[i] = mg_tpl_from_json(ev, k, d->mark);
        d->value[i] = mg_tpl_from_json(ev, v, is_role ? 0 : d->mark);
    }
    return !ev->status;
}

const tpl_value *mg_tpl_dict_get(tpl_eval *ev, tpl_dict *d, tpl_value key) {
    if (!mg_tpl_dict_ready(ev, d) || !mg_tpl_burn(ev, d->n * 32)) return NULL;
    for (size_t i = 0; i < d->n; i++)
        if (mg_tpl_equal(ev, d->key[i], key)) return ev->status ? NULL : &d->value[i];
    return NULL;
}

bool mg_tpl_dict_put(tpl_eval *ev, tpl_dict *d, tpl_value key, tpl_value v) {
    tpl_value *there = (tpl_value *)mg_tpl_dict_get(ev, d, key);
    if (ev->status) return false;
    if (there) {
        *there = v;
        return true;
    }
    if (!grow(ev, &d->key, &d->cap, d->n) || !grow(ev, &d->value, &d->cap_value, d->n)) return false;
    d->key[d->n] = key;
    d->value[d->n++] = v;
    return true;
}

tpl_value mg_tpl_dict_items(tpl_eval *ev, tpl_dict *d, tpl_kind kind) {
    tpl_list *l = mg_tpl_list_new(ev);
    if (!l || !mg_tpl_dict_ready(ev, d)) return tpl_none();
    for (size_t i = 0; i < d->n && mg_tpl_burn(ev, 0); i++) {
        tpl_list *pair = mg_tpl_list_new(ev);
        if (!pair || !mg_tpl_list_add(ev, pair, d->key[i]) || !mg_tpl_list_add(ev, pair, d->value[i])) break;
        mg_tpl_list_add(ev, l, tpl_listy(TPL_TUPLE, pair));
    }
    return tpl_listy(kind, l);
}

tpl_value mg_tpl_dict_column(tpl_eval *ev, tpl_dict *d, bool keys, tpl_kind kind) {
    tpl_list *l = mg_tpl_list_new(ev);
    if (!l || !mg_tpl_dict_ready(ev, d) || !mg_tpl_burn(ev, d->n * 32)) return tpl_none();
    for (size_t i = 0; i < d->n; i++) mg_tpl_list_add(ev, l, keys ? d->key[i] : d->value[i]);
    return tpl_listy(kind, l);
}

/* ---- truth, equality, order */

bool mg_tpl_truth(tpl_eval *ev, tpl_value v) {
    (void)ev;
    if (v.kind == TPL_UNDEFINED || v.kind == TPL_NONE) return false;
    if (v.kind == TPL_FLOAT) return v.f != 0;
    if (v.kind == TPL_BOOL || v.kind == TPL_INT) return v.i != 0;
    if (v.kind == TPL_STRING) return v.s.n > 0;
    if (tpl_is_sequence(v) || v.kind == TPL_VIEW) return v.list->n > 0;
    if (v.kind == TPL_DICT) return v.dict->n > 0;
    return true;
}

static bool equal(tpl_eval *ev, tpl_value a, tpl_value b, int depth);

static bool equal_lists(tpl_eval *ev, tpl_list *a, tpl_list *b, int depth) {
    if (a == b) return true;
    if (a->n != b->n || !mg_tpl_list_ready(ev, a) || !mg_tpl_list_ready(ev, b)) return false;
    for (size_t i = 0; i < a->n; i++)
        if (!equal(ev, a->item[i], b->item[i], depth + 1)) return false;
    return true;
}

static bool equal_dicts(tpl_eval *ev, tpl_dict *a, tpl_dict *b, int depth) {
    if (a == b) return true;
    if (a->n != b->n || !mg_tpl_dict_ready(ev, a)) return false;
    for (size_t i = 0; i < a->n && !ev->status; i++) {
        const tpl_value *other = mg_tpl_dict_get(ev, b, a->key[i]);
        if (!other || !equal(ev, a->value[i], *other, depth + 1)) return false;
    }
    return true;
}

static bool equal(tpl_eval *ev, tpl_value a, tpl_value b, int depth) {
    if (depth > TPL_MAX_NESTING)
        return mg_tpl_fail(ev, "a value is nested deeper than %d", TPL_MAX_NESTING), false;
    if (depth && !mg_tpl_burn(ev, 0)) return false;
    if (tpl_is_number(a) && tpl_is_number(b)) {
        if (a.kind != TPL_FLOAT && b.kind != TPL_FLOAT) return a.i == b.i;
        return tpl_number(a) == tpl_number(b);
    }
    if (a.kind != b.kind) return false;
    if (a.kind == TPL_STRING) return tpl_same(a.s, b.s.s, b.s.n);
    if (tpl_is_sequence(a)) return equal_lists(ev, a.list, b.list, depth);
    if (a.kind == TPL_DICT) return equal_dicts(ev, a.dict, b.dict, depth);
    if (a.kind == TPL_NONE || a.kind == TPL_UNDEFINED) return true;
    return a.list == b.list; /* the rest: the same object */
}

bool mg_tpl_equal(tpl_eval *ev, tpl_value a, tpl_value b) { return equal(ev, a, b, 0); }

static int order(tpl_eval *ev, tpl_value a, tpl_value b, int depth) {
    if (depth > TPL_MAX_NESTING) mg_tpl_fail(ev, "a value is nested deeper than %d", TPL_MAX_NESTING);
    if (ev->status || (depth && !mg_tpl_burn(ev, 0))) return 0;
    if (tpl_is_number(a) && tpl_is_number(b)) {
        if (a.kind != TPL_FLOAT && b.kind != TPL_FLOAT) return (a.i > b.i) - (a.i < b.i);
        double x = tpl_number(a), y = tpl_number(b);
        return (x > y) - (x < y);
    }
    if (a.kind == TPL_STRING && b.kind == TPL_STRING) { /* UTF-8 sorts as its code points do */
        size_t n = a.s.n < b.s.n ? a.s.n : b.s.n;
        int    r = n ? memcmp(a.s.s, b.s.s, n) : 0;
        return r ? r : (a.s.n > b.s.n) - (a.s.n < b.s.n);
    }
    if (a.kind == b.kind && (a.kind == TPL_LIST || a.kind == TPL_TUPLE)) {
        if (!mg_tpl_list_ready(ev, a.list) || !mg_tpl_list_ready(ev, b.list)) return 0;
        for (size_t i = 0; i < a.list->n && i < b.list->n && !ev->status; i++)
            if (!equal(ev, a.list->item[i], b.list->item[i], depth + 1))
                return order(ev, a.list->item[i], b.list->item[i], depth + 1);
        return (a.list->n > b.list->n) - (a.list->n < b.list->n);
    }
    mg_tpl_fail(ev, "a %s and a %s have no order", mg_tpl_kind_name(a), mg_tpl_kind_name(b));
    return 0;
}

int mg_tpl_order(tpl_eval *ev, tpl_value a, tpl_value b) { return order(ev, a, b, 0); }

bool mg_tpl_contains(tpl_eval *ev, tpl_value box, tpl_value v) {
    if (box.kind == TPL_STRING) {
        if (v.kind != TPL_STRING) {
            mg_tpl_fail(ev, "'in' a string wants a string, found a %s", mg_tpl_kind_name(v));
            return false;
        }
        return mg_tpl_burn(ev, box.s.n) && mg_tpl_find(box.s, v.s, 0) != SIZE_MAX;
    }
    if (box.kind == TPL_DICT) return mg_tpl_dict_get(ev, box.dict, v) != NULL;
    tpl_list *l = mg_tpl_iterate(ev, box);
    if (!l || !mg_tpl_burn(ev, l->n * 32)) return false;
    for (size_t i = 0; i < l->n && !ev->status; i++)
        if (mg_tpl_equal(ev, l->item[i], v)) return true;
    return false;
}

/* ---- size and members */

tpl_value mg_tpl_length(tpl_eval *ev, tpl_value v) {
    if (v.kind == TPL_UNDEFINED) return tpl_int(0);
    if (v.kind == TPL_STRING) return mg_tpl_burn(ev, v.s.n) ? tpl_int((int64_t)mg_tpl_count(v.s)) : tpl_none();
    if (tpl_is_sequence(v) || v.kind == TPL_VIEW) return tpl_int((int64_t)v.list->n);
    if (v.kind == TPL_DICT) return tpl_int((int64_t)v.dict->n);
    return mg_tpl_fail(ev, "a %s has no length", mg_tpl_kind_name(v));
}

tpl_list *mg_tpl_iterate(tpl_eval *ev, tpl_value v) {
    tpl_list *l;
    if (ev->status) return NULL;
    if (tpl_is_sequence(v) || v.kind == TPL_VIEW) return mg_tpl_list_ready(ev, v.list) ? v.list : NULL;
    if (v.kind == TPL_ITERATOR) {
        bool spent = v.list->spent;
        v.list->spent = true;
        return spent ? mg_tpl_list_new(ev) : v.list;
    }
    if (v.kind == TPL_DICT) {
        tpl_value keys = mg_tpl_dict_column(ev, v.dict, true, TPL_LIST);
        return ev->status ? NULL : keys.list;
    }
    if (v.kind != TPL_STRING && v.kind != TPL_UNDEFINED) {
        mg_tpl_fail(ev, "a %s cannot be walked over", mg_tpl_kind_name(v));
        return NULL;
    }
    if (!(l = mg_tpl_list_new(ev)) || v.kind == TPL_UNDEFINED) return l;
    for (size_t at = 0, begin = 0; at < v.s.n && !ev->status; begin = at) {
        mg_tpl_code(v.s, &at);
        mg_tpl_burn(ev, 16);
        mg_tpl_list_add(ev, l, tpl_string(mg_tpl_sub(v.s, begin, at)));
    }
    return ev->status ? NULL : l;
}

static tpl_value loop_attr(tpl_eval *ev, tpl_loop *l, tpl_str name) {
    int64_t i = (int64_t)l->index, n = (int64_t)l->n;
    const struct {
        const char *name;
        tpl_value   value;
    } rows[] = {
        { "index", tpl_int(i + 1) },
        { "index0", tpl_int(i) },
        { "first", tpl_bool(i == 0) },
        { "last", tpl_bool(i + 1 == n) },
        { "length", tpl_int(n) },
        { "revindex", tpl_int(n - i) },
        { "revindex0", tpl_int(n - i - 1) },
        { "depth", tpl_int(l->depth) },
        { "depth0", tpl_int(l->depth - 1) },
        { "previtem", i ? l->item[i - 1] : tpl_undefined(name) },
        { "nextitem", i + 1 < n ? l->item[i + 1] : tpl_undefined(name) },
    };
    (void)ev;
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++)
        if (tpl_same(name, rows[k].name, strlen(rows[k].name))) return rows[k].value;
    return tpl_missing();
}

static tpl_value undefined_use(tpl_eval *ev, tpl_value v) {
    return mg_tpl_fail(ev, "'%.*s' is undefined", (int)(v.s.n < 80 ? v.s.n : 80), v.s.s ? v.s.s : "");
}

/* What Python's getattr reaches: members of namespaces and loops, and methods. */
static tpl_value own_attr(tpl_eval *ev, tpl_value v, tpl_str name) {
    if (v.kind == TPL_NAMESPACE) {
        const tpl_value *m = mg_tpl_dict_get(ev, v.dict, tpl_string(name));
        return m ? *m : tpl_missing();
    }
    if (v.kind == TPL_LOOP) {
        tpl_value m = loop_attr(ev, v.loop, name);
        if (tpl_given(m)) return m;
    }
    const tpl_row *row = mg_tpl_method(v.kind, name);
    if (!row) return tpl_missing();
    tpl_bound *b = mg_tpl_alloc(&ev->arena, 1, sizeof *b);
    if (!b) return mg_tpl_no_memory(ev);
    *b = (tpl_bound){ row, v };
    return (tpl_value){ .kind = TPL_FUNCTION, .bound = b };
}

tpl_value mg_tpl_attr(tpl_eval *ev, tpl_value v, tpl_str name) {
    if (ev->status) return tpl_none();
    if (v.kind == TPL_UNDEFINED) return undefined_use(ev, v);
    tpl_value own = own_attr(ev, v, name);
    if (tpl_given(own)) return own;
    const tpl_value *m = v.kind == TPL_DICT ? mg_tpl_dict_get(ev, v.dict, tpl_string(name)) : NULL;
    return m ? *m : tpl_undefined(name);
}

/* Python's index: from the end when negative.  False: out of range. */
static bool index_in(int64_t i, size_t n, size_t *out) {
    if (i < 0) i += (int64_t)n;
    if (i < 0 || (uint64_t)i >= n) return false;
    *out = (size_t)i;
    return true;
}

tpl_value mg_tpl_item(tpl_eval *ev, tpl_value v, tpl_value key) {
    size_t i;
    if (ev->status) return tpl_none();
    if (v.kind == TPL_UNDEFINED) return undefined_use(ev, v);
    if (v.kind == TPL_DICT) {
        const tpl_value *m = mg_tpl_dict_get(ev, v.dict, key);
        if (m) return *m;
    }
    bool is_index = key.kind == TPL_INT || key.kind == TPL_BOOL;
    if (tpl_is_sequence(v) && is_index && mg_tpl_list_ready(ev, v.list) && index_in(key.i, v.list->n, &i))
        return v.list->item[i];
    if (v.kind == TPL_STRING && is_index && mg_tpl_burn(ev, v.s.n) && index_in(key.i, mg_tpl_count(v.s), &i)) {
        size_t begin = mg_tpl_offset(v.s, i), end = begin;
        mg_tpl_code(v.s, &end);
        return tpl_string(mg_tpl_sub(v.s, begin, end));
    }
    if (key.kind == TPL_STRING) {
        tpl_value own = own_attr(ev, v, key.s);
        if (tpl_given(own)) return own;
        return tpl_undefined(key.s);
    }
    return tpl_undefined(mg_tpl_text("that element"));
}

tpl_value mg_tpl_path(tpl_eval *ev, tpl_value v, tpl_value path) {
    if (path.kind != TPL_STRING) return mg_tpl_item(ev, v, path);
    for (size_t begin = 0; begin <= path.s.n && !ev->status;) {
        size_t end = mg_tpl_find(path.s, mg_tpl_text("."), begin);
        if (end == SIZE_MAX) end = path.s.n;
        tpl_str   part = mg_tpl_sub(path.s, begin, end);
        tpl_value key = tpl_string(part);
        int64_t   number = 0;
        bool      is_number = part.n > 0 && part.n < 10;
        for (size_t i = 0; i < part.n && is_number; i++) {
            is_number = isdigit((unsigned char)part.s[i]);
            number = number * 10 + (part.s[i] - '0');
        }
        v = mg_tpl_item(ev, v, is_number ? tpl_int(number) : key);
        begin = end + 1;
    }
    return v;
}

/* ---- slices */

static bool bound_of(tpl_eval *ev, tpl_value v, int64_t *out) {
    if (!tpl_given(v) || v.kind == TPL_NONE) return false;
    if (v.kind != TPL_INT && v.kind != TPL_BOOL) {
        mg_tpl_fail(ev, "a slice wants integers, found a %s", mg_tpl_kind_name(v));
        return false;
    }
    *out = v.i;
    return true;
}

static int64_t clamp(int64_t i, int64_t n, int64_t low, int64_t high) {
    if (i < 0) i = i < -n ? -1 : i + n;
    return i < low ? low : i > high ? high : i;
}

/* The code points of a string as a list would be eight times its size, so a slice with step 1 stays bytes. */
static tpl_value slice_string(tpl_eval *ev, tpl_str s, int64_t begin, int64_t end, int64_t step) {
    tpl_out o = { 0 };
    if (step == 1) {
        size_t  b = mg_tpl_offset(s, (size_t)begin);
        tpl_str rest = mg_tpl_sub(s, b, s.n);
        return tpl_string(mg_tpl_sub(rest, 0, end > begin ? mg_tpl_offset(rest, (size_t)(end - begin)) : 0));
    }
    tpl_list *l = mg_tpl_iterate(ev, tpl_string(s));
    for (int64_t i = begin; l && !ev->status && (step > 0 ? i < end : i > end); i += step)
        mg_tpl_add(ev, &o, l->item[i].s);
    return tpl_string(mg_tpl_done(ev, &o));
}

tpl_value mg_tpl_slice(tpl_eval *ev, tpl_value v, const tpl_value bound[3]) {
    int64_t begin, end, step = 1, n;
    if (v.kind == TPL_UNDEFINED) return undefined_use(ev, v);
    if (v.kind != TPL_STRING && !tpl_is_sequence(v))
        return mg_tpl_fail(ev, "a %s cannot be sliced", mg_tpl_kind_name(v));
    n = mg_tpl_length(ev, v).i;
    bound_of(ev, bound[2], &step);
    if (step == 0) return mg_tpl_fail(ev, "the step of a slice is zero");
    if (step > n + 1) step = n + 1; /* steps beyond the end are all alike, and i += step cannot wrap */
    if (step < -n - 1) step = -n - 1;
    begin = bound_of(ev, bound[0], &begin) ? clamp(begin, n, step > 0 ? 0 : -1, step > 0 ? n : n - 1)
                                           : (step > 0 ? 0 : n - 1);
    end = bound_of(ev, bound[1], &end) ? clamp(end, n, step > 0 ? 0 : -1, step > 0 ? n : n - 1)
                                       : (step > 0 ? n : -1);
    if (ev->status || !mg_tpl_burn(ev, v.kind == TPL_STRING ? v.s.n : 0)) return tpl_none();
    if (v.kind == TPL_STRING) return slice_string(ev, v.s, begin, end, step);
    tpl_list *out = mg_tpl_list_new(ev);
    if (!out || !mg_tpl_list_ready(ev, v.list) || !mg_tpl_burn(ev, v.list->n * 32)) return tpl_none();
    for (int64_t i = begin; step > 0 ? i < end : i > end; i += step)
        if (!mg_tpl_list_add(ev, out, v.list->item[i])) break;
    return tpl_listy(v.kind, out);
}
