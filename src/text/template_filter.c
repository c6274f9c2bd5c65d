/* template_filter.c -- jinja2's filters, one row each. */
#include "text/template_parts.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define FILTER(name) static tpl_value name(tpl_eval *ev, tpl_value v, const tpl_value *arg, const tpl_args *all)
#define UNUSED (void)ev, (void)v, (void)arg, (void)all
#define GIVE(value) return (UNUSED, (value))

static bool flag(tpl_eval *ev, tpl_value v, bool otherwise) {
    return tpl_given(v) ? mg_tpl_truth(ev, v) : otherwise;
}

static int64_t integer(tpl_eval *ev, tpl_value v, int64_t otherwise) {
    if (!tpl_given(v)) return otherwise;
    if (v.kind == TPL_INT || v.kind == TPL_BOOL) return v.i;
    mg_tpl_fail(ev, "expected an integer, found a %s", mg_tpl_kind_name(v));
    return otherwise;
}

static tpl_value text_of(tpl_eval *ev, tpl_value v) { return tpl_string(mg_tpl_str(ev, v)); }

/* ---- text */

FILTER(f_trim) {
    tpl_str s = mg_tpl_str(ev, v);
    UNUSED;
    if (tpl_given(arg[0]) && arg[0].kind != TPL_NONE) {
        tpl_str chars = mg_tpl_str(ev, arg[0]);
        return tpl_string(mg_tpl_strip(s, TPL_LEFT | TPL_RIGHT, &chars));
    }
    return tpl_string(mg_tpl_strip(s, TPL_LEFT | TPL_RIGHT, NULL));
}
FILTER(f_string) { GIVE(text_of(ev, v)); }
FILTER(f_lower) { GIVE(tpl_string(mg_tpl_map_case(ev, mg_tpl_str(ev, v), utf8proc_tolower))); }
FILTER(f_upper) { GIVE(tpl_string(mg_tpl_map_case(ev, mg_tpl_str(ev, v), utf8proc_toupper))); }

static tpl_value first_upper(tpl_eval *ev, tpl_str s, int32_t (*upper)(int32_t)) {
    size_t  at = 0;
    tpl_out o = { 0 };
    if (s.n) mg_tpl_code(s, &at);
    mg_tpl_add(ev, &o, mg_tpl_map_case(ev, mg_tpl_sub(s, 0, at), upper));
    mg_tpl_add(ev, &o, mg_tpl_map_case(ev, mg_tpl_sub(s, at, s.n), utf8proc_tolower));
    return tpl_string(mg_tpl_done(ev, &o));
}
FILTER(f_capitalize) { GIVE(first_upper(ev, mg_tpl_str(ev, v), utf8proc_totitle)); }

/* jinja2 begins a word behind white space and - ( { [ <, with a capital, not a title letter. */
FILTER(f_title) {
    tpl_str s = mg_tpl_str(ev, v);
    tpl_out o = { 0 };
    UNUSED;
    for (size_t at = 0, begin = 0; begin < s.n && !ev->status; begin = at) {
        bool breaks = false;
        while (at < s.n) {
            size_t  next = at;
            int32_t c = mg_tpl_code(s, &next);
            breaks = mg_tpl_is_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
            if (breaks) break;
            at = next;
        }
        mg_tpl_add(ev, &o, first_upper(ev, mg_tpl_sub(s, begin, at), utf8proc_toupper).s);
        begin = at;
        if (breaks) mg_tpl_code(s, &at);
        mg_tpl_add(ev, &o, mg_tpl_sub(s, begin, at));
    }
    return tpl_string(mg_tpl_done(ev, &o));
}

FILTER(f_replace) {
    tpl_str s = mg_tpl_str(ev, v), old = mg_tpl_str(ev, arg[0]), new_text = mg_tpl_str(ev, arg[1]);
    UNUSED;
    bool    counted = tpl_given(arg[2]) && arg[2].kind != TPL_NONE;
    int64_t count = counted ? integer(ev, arg[2], -1) : -1;
    return mg_tpl_burn(ev, s.n) ? mg_tpl_replace(ev, s, old, new_text, count) : tpl_none();
}

static void spaces(tpl_eval *ev, tpl_out *o, int64_t n) {
    for (; n > 0 && mg_tpl_add_text(ev, o, " "); n--) continue;
}

FILTER(f_indent) {
    tpl_str s = mg_tpl_str(ev, v), pad = { 0 };
    bool    first = flag(ev, arg[1], false), blank = flag(ev, arg[2], false);
    tpl_out margin = { 0 }, o = { 0 };
    UNUSED;
    if (arg[0].kind == TPL_STRING)
        pad = arg[0].s;
    else {
        spaces(ev, &margin, integer(ev, arg[0], 4));
        pad = mg_tpl_done(ev, &margin);
    }
    for (size_t begin = 0, line = 0; begin <= s.n && mg_tpl_burn(ev, 0); line++) {
        size_t end = mg_tpl_find(s, mg_tpl_text("\n"), begin);
        if (end == SIZE_MAX) end = s.n;
        if (line ? blank || end > begin : first) mg_tpl_add(ev, &o, pad);
        mg_tpl_add(ev, &o, mg_tpl_sub(s, begin, end));
        if (end < s.n) mg_tpl_add(ev, &o, mg_tpl_sub(s, end, end + 1));
        begin = end + 1;
    }
    return tpl_string(mg_tpl_done(ev, &o));
}

FILTER(f_center) {
    tpl_str s = mg_tpl_str(ev, v);
    tpl_out o = { 0 };
    int64_t width = integer(ev, arg[0], 80), room = width - (int64_t)mg_tpl_count(s);
    UNUSED;
    if (room <= 0) return tpl_string(s);
    int64_t left = room / 2 + (room & width & 1);
    spaces(ev, &o, left);
    mg_tpl_add(ev, &o, s);
    spaces(ev, &o, room - left);
    return tpl_string(mg_tpl_done(ev, &o));
}

FILTER(f_wordcount) {
    tpl_str s = mg_tpl_str(ev, v);
    int64_t n = 0;
    bool    inside = false;
    UNUSED;
    for (size_t at = 0; at < s.n;) {
        int32_t             c = mg_tpl_code(s, &at);
        utf8proc_category_t k = utf8proc_category(c);
        bool                is_word = c == '_' || (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO) ||
                       (k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO);
        n += is_word && !inside;
        inside = is_word;
    }
    return tpl_int(n);
}

FILTER(f_safe) {
    tpl_str s = mg_tpl_str(ev, v);
    UNUSED;
    s.safe = true;
    return tpl_string(s);
}
FILTER(f_escape) {
    tpl_str s = mg_tpl_str(ev, v);
    UNUSED;
    return tpl_string(s.safe ? s : mg_tpl_escape(ev, s));
}
FILTER(f_format) {
    UNUSED;
    if (all->n_named) return mg_tpl_fail(ev, "format with names is not supported");
    return mg_tpl_percent(ev, mg_tpl_str(ev, v), all->pos, all->n);
}

FILTER(f_urlencode) {
    tpl_str s = mg_tpl_str(ev, v);
    tpl_out o = { 0 };
    UNUSED;
    for (size_t i = 0; i < s.n; i++) {
        static const char hex[] = "0123456789ABCDEF";
        unsigned char     c = (unsigned char)s.s[i];
        char              code[4] = { '%', hex[c >> 4], hex[c & 15], 0 };
        if ((c < 128 && isalnum(c)) || (c && strchr("_.-~/", c)))
            mg_tpl_add(ev, &o, mg_tpl_sub(s, i, i + 1));
        else
            mg_tpl_add_text(ev, &o, code);
    }
    return tpl_string(mg_tpl_done(ev, &o));
}

FILTER(f_tojson) {
    tpl_json_style style = { .ascii = flag(ev, arg[0], false),
                             .sort_keys = flag(ev, arg[3], false),
                             .comma = mg_tpl_text(", "),
                             .colon = mg_tpl_text(": ") };
    tpl_out        margin = { 0 }, o = { 0 };
    UNUSED;
    style.pretty = tpl_given(arg[1]) && arg[1].kind != TPL_NONE;
    if (style.pretty) {
        style.comma = mg_tpl_text(",");
        if (arg[1].kind == TPL_STRING)
            style.indent = arg[1].s;
        else {
            spaces(ev, &margin, integer(ev, arg[1], 0));
            style.indent = mg_tpl_done(ev, &margin);
        }
    }
    if (tpl_given(arg[2]) && arg[2].kind != TPL_NONE) {
        tpl_list *l = mg_tpl_iterate(ev, arg[2]);
        if (!l || l->n != 2 || l->item[0].kind != TPL_STRING || l->item[1].kind != TPL_STRING)
            return mg_tpl_fail(ev, "separators are two strings");
        style.comma = l->item[0].s;
        style.colon = l->item[1].s;
    }
    mg_tpl_json(ev, &o, v, &style, 0);
    return tpl_string(mg_tpl_done(ev, &o));
}

/* ---- numbers */

FILTER(f_abs) {
    UNUSED;
    if (!tpl_is_number(v)) return mg_tpl_fail(ev, "abs of a %s", mg_tpl_kind_name(v));
    if (v.kind == TPL_FLOAT) return tpl_float(fabs(v.f));
    return v.i == INT64_MIN ? mg_tpl_fail(ev, "an integer grows beyond 64 bits") : tpl_int(v.i < 0 ? -v.i : v.i);
}

/* A string as a number; the whole of it must be one. */
static bool read_number(tpl_str s, double *out) {
    char text[64], *end;
    s = mg_tpl_strip(s, TPL_LEFT | TPL_RIGHT, NULL);
    if (!s.n || s.n >= sizeof text) return false;
    memcpy(text, s.s, s.n);
    text[s.n] = 0;
    *out = strtod(text, &end);
    return *end == 0 && !strpbrk(text, "xX");
}

FILTER(f_int) {
    double    f = 0;
    tpl_value otherwise = tpl_given(arg[0]) ? arg[0] : tpl_int(0);
    UNUSED;
    if (v.kind == TPL_STRING) {
        char    text[32], *end;
        tpl_str s = mg_tpl_strip(v.s, TPL_LEFT | TPL_RIGHT, NULL);
        int64_t base = integer(ev, arg[1], 10);
        if (s.n && s.n < sizeof text && base >= 2 && base <= 36) {
            memcpy(text, s.s, s.n);
            text[s.n] = 0;
            long long i = strtoll(text, &end, (int)base);
            if (!*end && i != INT64_MAX && i != INT64_MIN) return tpl_int(i);
        }
        if (!read_number(v.s, &f)) return otherwise;
    } else if (v.kind == TPL_FLOAT)
        f = v.f;
    else
        return tpl_is_number(v) ? tpl_int(v.i) : otherwise;
    return fabs(f) < 9.2e18 ? tpl_int((int64_t)f) : otherwise;
}

FILTER(f_float) {
    double f = 0;
    UNUSED;
    if (v.kind == TPL_STRING ? read_number(v.s, &f) : tpl_is_number(v))
        return tpl_float(v.kind == TPL_STRING ? f : tpl_number(v));
    return tpl_given(arg[0]) ? arg[0] : tpl_float(0);
}

FILTER(f_round) {
    int64_t precision = integer(ev, arg[0], 0);
    tpl_str method = tpl_given(arg[1]) ? mg_tpl_str(ev, arg[1]) : mg_tpl_text("common");
    UNUSED;
    if (!tpl_is_number(v)) return mg_tpl_fail(ev, "round of a %s", mg_tpl_kind_name(v));
    if (precision < -300 || precision > 300) return mg_tpl_fail(ev, "round to %lld digits", (long long)precision);
    if (v.kind != TPL_FLOAT && precision >= 0) return tpl_int(v.i);
    double scale = pow(10, (double)precision), f = tpl_number(v) * scale;
    if (TPL_IS(method, "ceil")) return tpl_float(ceil(f) / scale);
    if (TPL_IS(method, "floor")) return tpl_float(floor(f) / scale);
    return tpl_float(nearbyint(f) / scale); /* halves to even, as Python */
}

/* ---- lists */

FILTER(f_length) { GIVE(mg_tpl_length(ev, v)); }
FILTER(f_list) {
    tpl_list *from = mg_tpl_iterate(ev, v), *l = mg_tpl_list_new(ev);
    UNUSED;
    if (!from || !l || !mg_tpl_burn(ev, from->n * 32)) return tpl_none();
    for (size_t i = 0; i < from->n; i++) mg_tpl_list_add(ev, l, from->item[i]);
    return tpl_listy(TPL_LIST, l);
}
FILTER(f_first) {
    tpl_list *l = mg_tpl_iterate(ev, v);
    UNUSED;
    if (!l) return tpl_none();
    return l->n ? l->item[0] : tpl_undefined(mg_tpl_text("the first of nothing"));
}
FILTER(f_last) {
    UNUSED;
    if (v.kind == TPL_ITERATOR) return mg_tpl_fail(ev, "an iterator cannot be walked backwards");
    tpl_list *l = mg_tpl_iterate(ev, v);
    if (!l) return tpl_none();
    return l->n ? l->item[l->n - 1] : tpl_undefined(mg_tpl_text("the last of nothing"));
}

FILTER(f_reverse) {
    tpl_out o = { 0 };
    UNUSED;
    if (v.kind == TPL_ITERATOR) return mg_tpl_fail(ev, "an iterator cannot be walked backwards");
    tpl_list *from = mg_tpl_iterate(ev, v), *l = mg_tpl_list_new(ev);
    if (!from || !l || !mg_tpl_burn(ev, from->n * 32)) return tpl_none();
    for (size_t i = from->n; i-- > 0;)
        if (v.kind == TPL_STRING)
            mg_tpl_add(ev, &o, from->item[i].s);
        else
            mg_tpl_list_add(ev, l, from->item[i]);
    return v.kind == TPL_STRING ? tpl_string(mg_tpl_done(ev, &o)) : tpl_listy(TPL_ITERATOR, l);
}

FILTER(f_join) {
    tpl_list *l = mg_tpl_iterate(ev, v);
    tpl_str   between = tpl_given(arg[0]) ? mg_tpl_str(ev, arg[0]) : mg_tpl_text("");
    tpl_out   o = { 0 };
    UNUSED;
    for (size_t i = 0; l && i < l->n && mg_tpl_burn(ev, 0); i++) {
        tpl_value x = tpl_given(arg[1]) ? mg_tpl_path(ev, l->item[i], arg[1]) : l->item[i];
        if (i) mg_tpl_add(ev, &o, between);
        if (!ev->status) mg_tpl_print(ev, &o, x);
    }
    return tpl_string(mg_tpl_done(ev, &o));
}

FILTER(f_items) {
    UNUSED;
    if (v.kind == TPL_UNDEFINED) return tpl_listy(TPL_ITERATOR, mg_tpl_list_new(ev));
    if (v.kind != TPL_DICT) return mg_tpl_fail(ev, "items of a %s; only a mapping has them", mg_tpl_kind_name(v));
    return mg_tpl_dict_items(ev, v.dict, TPL_ITERATOR);
}

/* What sorting and comparing looks at: the attribute, lower-cased unless case matters. */
static tpl_value sort_key(tpl_eval *ev, tpl_value v, tpl_value attribute, bool case_sensitive) {
    if (tpl_given(attribute) && attribute.kind != TPL_NONE) v = mg_tpl_path(ev, v, attribute);
    if (v.kind == TPL_STRING && !case_sensitive) v.s = mg_tpl_map_case(ev, v.s, utf8proc_tolower);
    return v;
}

/* Stable merge sort of indices by key, so that equal ones keep their order also when reversed. */
static void merge_sort(tpl_eval *ev, const tpl_value *key, uint32_t *at, uint32_t *spare, size_t n, bool reverse) {
    if (n < 2 || ev->status) return;
    size_t half = n / 2, a = 0, b = half, k = 0;
    merge_sort(ev, key, at, spare, half, reverse);
    merge_sort(ev, key, at + half, spare, n - half, reverse);
    while (a < half && b < n && mg_tpl_burn(ev, 0)) {
        int  order = mg_tpl_order(ev, key[at[a]], key[at[b]]);
        bool right = reverse ? order < 0 : order > 0;
        spare[k++] = right ? at[b++] : at[a++];
    }
    if (ev->status) return;
    while (a < half) spare[k++] = at[a++];
    memcpy(at, spare, k * sizeof *at);
}

static tpl_value sorted(tpl_eval *ev, tpl_list *from, tpl_value attribute, bool case_sensitive, bool reverse) {
    tpl_list *l = mg_tpl_list_new(ev);
    if (!from || !l || from->n > UINT32_MAX || !mg_tpl_burn(ev, from->n * 64)) return tpl_none();
    tpl_value *key = mg_tpl_alloc(&ev->arena, from->n + 1, sizeof *key);
    uint32_t  *at = mg_tpl_alloc(&ev->arena, from->n + 1, 2 * sizeof *at);
    if (!key || !at) return mg_tpl_no_memory(ev);
    for (size_t i = 0; i < from->n && !ev->status; i++) {
        key[i] = sort_key(ev, from->item[i], attribute, case_sensitive);
        at[i] = (uint32_t)i;
    }
    merge_sort(ev, key, at, at + from->n, from->n, reverse);
    for (size_t i = 0; i < from->n && !ev->status; i++) mg_tpl_list_add(ev, l, from->item[at[i]]);
    return tpl_listy(TPL_LIST, l);
}

FILTER(f_sort) {
    GIVE(sorted(ev, mg_tpl_iterate(ev, v), arg[2], flag(ev, arg[1], false), flag(ev, arg[0], false)));
}

FILTER(f_dictsort) {
    tpl_str by = tpl_given(arg[1]) ? mg_tpl_str(ev, arg[1]) : mg_tpl_text("key");
    UNUSED;
    if (v.kind != TPL_DICT) return mg_tpl_fail(ev, "dictsort of a %s", mg_tpl_kind_name(v));
    tpl_value items = mg_tpl_dict_items(ev, v.dict, TPL_LIST);
    if (ev->status) return tpl_none();
    return sorted(ev, items.list, tpl_int(TPL_IS(by, "value")), flag(ev, arg[0], false), flag(ev, arg[2], false));
}

FILTER(f_unique) {
    tpl_list *from = mg_tpl_iterate(ev, v), *l = mg_tpl_list_new(ev), *seen = mg_tpl_list_new(ev);
    bool      case_sensitive = flag(ev, arg[0], false);
    UNUSED;
    for (size_t i = 0; from && l && seen && i < from->n && mg_tpl_burn(ev, seen->n * 32); i++) {
        tpl_value key = sort_key(ev, from->item[i], arg[1], case_sensitive);
        if (ev->status || mg_tpl_contains(ev, tpl_listy(TPL_LIST, seen), key)) continue;
        mg_tpl_list_add(ev, seen, key);
        mg_tpl_list_add(ev, l, from->item[i]);
    }
    return tpl_listy(TPL_ITERATOR, l);
}

static tpl_value extreme(tpl_eval *ev, tpl_value v, const tpl_value *arg, int sign) {
    tpl_list *l = mg_tpl_iterate(ev, v);
    bool      case_sensitive = flag(ev, arg[0], false);
    tpl_value best = tpl_undefined(mg_tpl_text("an extreme of nothing")), best_key = best;
    for (size_t i = 0; l && i < l->n && mg_tpl_burn(ev, 0); i++) {
        tpl_value key = sort_key(ev, l->item[i], arg[1], case_sensitive);
        if (i && mg_tpl_order(ev, key, best_key) * sign <= 0) continue;
        best = l->item[i];
        best_key = key;
    }
    return best;
}
FILTER(f_max) { GIVE(extreme(ev, v, arg, 1)); }
FILTER(f_min) { GIVE(extreme(ev, v, arg, -1)); }

FILTER(f_sum) {
    tpl_list *l = mg_tpl_iterate(ev, v);
    tpl_value sum = tpl_given(arg[1]) ? arg[1] : tpl_int(0);
    UNUSED;
    for (size_t i = 0; l && i < l->n && mg_tpl_burn(ev, 0); i++) {
        tpl_value x =
            tpl_given(arg[0]) && arg[0].kind != TPL_NONE ? mg_tpl_path(ev, l->item[i], arg[0]) : l->item[i];
        int64_t r;
        if (!tpl_is_number(x) || !tpl_is_number(sum)) return mg_tpl_fail(ev, "sum of a %s", mg_tpl_kind_name(x));
        if (x.kind == TPL_FLOAT || sum.kind == TPL_FLOAT)
            sum = tpl_float(tpl_number(sum) + tpl_number(x));
        else if (__builtin_add_overflow(sum.i, x.i, &r))
            return mg_tpl_fail(ev, "an integer grows beyond 64 bits");
        else
            sum = tpl_int(r);
    }
    return sum;
}

FILTER(f_batch) {
    tpl_list *from = mg_tpl_iterate(ev, v), *l = mg_tpl_list_new(ev), *row = NULL;
    int64_t   size = integer(ev, arg[0], 1);
    UNUSED;
    if (size < 1) return mg_tpl_fail(ev, "batch wants at least 1");
    for (size_t i = 0; from && l && i < from->n && mg_tpl_burn(ev, 0); i++) {
        if ((int64_t)i % size == 0) {
            if (!(row = mg_tpl_list_new(ev))) return tpl_none();
            mg_tpl_list_add(ev, l, tpl_listy(TPL_LIST, row));
        }
        mg_tpl_list_add(ev, row, from->item[i]);
    }
    while (row && tpl_given(arg[1]) && arg[1].kind != TPL_NONE && (int64_t)row->n < size && mg_tpl_burn(ev, 0))
        mg_tpl_list_add(ev, row, arg[1]);
    return tpl_listy(TPL_ITERATOR, l);
}

/* ---- choosing */

FILTER(f_default) {
    tpl_value otherwise = tpl_given(arg[0]) ? arg[0] : tpl_string(mg_tpl_text(""));
    UNUSED;
    if (v.kind == TPL_UNDEFINED) return otherwise;
    return flag(ev, arg[1], false) && !mg_tpl_truth(ev, v) ? otherwise : v;
}

FILTER(f_attr) {
    UNUSED;
    tpl_str   name = mg_tpl_str(ev, arg[0]);
    tpl_value m = v.kind == TPL_DICT ? tpl_undefined(name) : mg_tpl_attr(ev, v, name);
    return m;
}

/* The arguments behind the first `skip`. */
static tpl_args rest(const tpl_args *all, size_t skip) {
    tpl_args a = *all;
    a.pos += skip;
    a.n -= skip;
    return a;
}

/* map, select and reject take whatever is empty or false (None too) for an empty list. */
static tpl_list *some(tpl_eval *ev, tpl_value v) {
    return mg_tpl_truth(ev, v) ? mg_tpl_iterate(ev, v) : mg_tpl_list_new(ev);
}

FILTER(f_map) {
    tpl_list *from = some(ev, v), *l = mg_tpl_list_new(ev);
    tpl_value attribute = tpl_missing(), otherwise = tpl_missing();
    UNUSED;
    for (size_t i = 0; i < all->n_named; i++)
        if (TPL_IS(all->name[i], "attribute"))
            attribute = all->named[i];
        else if (TPL_IS(all->name[i], "default"))
            otherwise = all->named[i];
    const tpl_row *row = NULL;
    if (!tpl_given(attribute)) {
        if (!all->n || all->pos[0].kind != TPL_STRING)
            return mg_tpl_fail(ev, "map wants a filter or an attribute");
        row = mg_tpl_filter(all->pos[0].s);
        if (!row) return mg_tpl_fail(ev, "no filter named '%.*s'", (int)all->pos[0].s.n, all->pos[0].s.s);
    }
    tpl_args further = row ? rest(all, 1) : *all;
    for (size_t i = 0; from && l && i < from->n && mg_tpl_burn(ev, 0); i++) {
        tpl_value x =
            row ? mg_tpl_call_row(ev, row, from->item[i], &further) : mg_tpl_path(ev, from->item[i], attribute);
        if (x.kind == TPL_UNDEFINED && tpl_given(otherwise)) x = otherwise;
        mg_tpl_list_add(ev, l, x);
    }
    return tpl_listy(TPL_ITERATOR, l);
}

/* select, reject, selectattr, rejectattr: keep what a test (or its truth) says. */
static tpl_value choose(tpl_eval *ev, tpl_value v, const tpl_args *all, bool by_attribute, bool keep) {
    tpl_list      *from = some(ev, v), *l = mg_tpl_list_new(ev);
    size_t         skip = by_attribute;
    const tpl_row *row = NULL;
    if (all->n < skip) return mg_tpl_fail(ev, "selectattr and rejectattr want the name of an attribute");
    if (all->n > skip) {
        if (all->pos[skip].kind == TPL_STRING) row = mg_tpl_test(all->pos[skip].s);
        if (!row) return mg_tpl_fail(ev, "select and reject want the name of a test");
    }
    tpl_args further = rest(all, row ? skip + 1 : skip);
    for (size_t i = 0; from && l && i < from->n && mg_tpl_burn(ev, 0); i++) {
        tpl_value x = by_attribute ? mg_tpl_path(ev, from->item[i], all->pos[0]) : from->item[i];
        if (row && !ev->status) x = mg_tpl_call_row(ev, row, x, &further);
        if (!ev->status && mg_tpl_truth(ev, x) == keep) mg_tpl_list_add(ev, l, from->item[i]);
    }
    return tpl_listy(TPL_ITERATOR, l);
}
FILTER(f_select) { GIVE(choose(ev, v, all, false, true)); }
FILTER(f_reject) { GIVE(choose(ev, v, all, false, false)); }
FILTER(f_selectattr) { GIVE(choose(ev, v, all, true, true)); }
FILTER(f_rejectattr) { GIVE(choose(ev, v, all, true, false)); }

const tpl_row *mg_tpl_filter(tpl_str name) {
    static const tpl_row rows[] = {
        { "abs", "", f_abs },
        { "attr", "name", f_attr },
        { "batch", "linecount,fill_with?", f_batch },
        { "capitalize", "", f_capitalize },
        { "center", "width?", f_center },
        { "count", "", f_length },
        { "d", "default_value?,boolean?", f_default },
        { "default", "default_value?,boolean?", f_default },
        { "dictsort", "case_sensitive?,by?,reverse?", f_dictsort },
        { "e", "", f_escape },
        { "escape", "", f_escape },
        { "first", "", f_first },
        { "float", "default?", f_float },
        { "format", NULL, f_format },
        { "indent", "width?,first?,blank?", f_indent },
        { "int", "default?,base?", f_int },
        { "items", "", f_items },
        { "join", "d?,attribute?", f_join },
        { "last", "", f_last },
        { "length", "", f_length },
        { "list", "", f_list },
        { "lower", "", f_lower },
        { "map", NULL, f_map },
        { "max", "case_sensitive?,attribute?", f_max },
        { "min", "case_sensitive?,attribute?", f_min },
        { "reject", NULL, f_reject },
        { "rejectattr", NULL, f_rejectattr },
        { "replace", "old,new,count?", f_replace },
        { "reverse", "", f_reverse },
        { "round", "precision?,method?", f_round },
        { "safe", "", f_safe },
        { "select", NULL, f_select },
        { "selectattr", NULL, f_selectattr },
        { "sort", "reverse?,case_sensitive?,attribute?", f_sort },
        { "string", "", f_string },
        { "sum", "attribute?,start?", f_sum },
        { "title", "", f_title },
        { "tojson", "ensure_ascii?,indent?,separators?,sort_keys?", f_tojson },
        { "trim", "chars?", f_trim },
        { "unique", "case_sensitive?,attribute?", f_unique },
        { "upper", "", f_upper },
        { "urlencode", "", f_urlencode },
        { "wordcount", "", f_wordcount },
    };
    return mg_tpl_find_row(rows, sizeof rows / sizeof *rows, name);
}
