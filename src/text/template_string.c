/* template_string.c -- strings with marks, and Python's three ways to write a value: str, repr, JSON.
 *
 * Every function that copies bytes copies their marks with them (template_parts.h says what for).  Positions seen
 * by templates count code points, as in Python; positions in here count bytes unless a name says otherwise. */
#include "text/template_parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

tpl_str mg_tpl_text(const char *literal) { return (tpl_str){ .s = literal, .n = strlen(literal) }; }

tpl_str mg_tpl_sub(tpl_str s, size_t begin, size_t end) {
    s.s += begin;
    s.n = end - begin;
    if (s.mark) s.mark += begin;
    return s;
}

/* ---- building */

static bool reserve(tpl_eval *ev, tpl_out *o, size_t more) {
    size_t need;
    if (ev->status) return false;
    if (!mg_size_add(o->n, more, &need) || need > TPL_MAX_TEXT) {
        mg_tpl_fail(ev, "a text grows beyond %d MiB", TPL_MAX_TEXT >> 20);
        return false;
    }
    if (need <= o->cap) return true;
    size_t cap = o->cap ? o->cap : 32;
    while (cap < need) cap *= 2;
    char    *s = mg_tpl_alloc(&ev->arena, cap, 2); /* the marks lie behind the bytes */
    uint8_t *mark = (uint8_t *)s + cap;
    if (!s) {
        mg_tpl_no_memory(ev);
        return false;
    }
    if (o->n) {
        memcpy(s, o->s, o->n);
        memcpy(mark, o->mark, o->n);
    }
    *o = (tpl_out){ s, mark, o->n, cap };
    return true;
}

bool mg_tpl_add(tpl_eval *ev, tpl_out *o, tpl_str s) {
    if (!reserve(ev, o, s.n)) return false;
    if (!s.n) return true;
    memcpy(o->s + o->n, s.s, s.n);
    if (s.mark)
        memcpy(o->mark + o->n, s.mark, s.n);
    else
        memset(o->mark + o->n, s.all, s.n);
    o->n += s.n;
    return true;
}

bool mg_tpl_add_text(tpl_eval *ev, tpl_out *o, const char *literal) {
    return mg_tpl_add(ev, o, mg_tpl_text(literal));
}

bool mg_tpl_add_code(tpl_eval *ev, tpl_out *o, int32_t code, uint8_t mark) {
    uint8_t utf8[4];
    size_t  n = (size_t)utf8proc_encode_char(code, utf8);
    return mg_tpl_add(ev, o, (tpl_str){ .s = (char *)utf8, .n = n, .all = mark });
}

tpl_str mg_tpl_done(tpl_eval *ev, tpl_out *o) {
    if (ev->status || !o->n) return (tpl_str){ .s = "" };
    return (tpl_str){ .s = o->s, .n = o->n, .mark = o->mark };
}

/* Room for exactly n bytes: what is joined once needs no slack. */
static bool exactly(tpl_eval *ev, tpl_out *o, size_t a, size_t b) {
    size_t n;
    if (!mg_size_add(a, b, &n) || n > TPL_MAX_TEXT) return reserve(ev, o, SIZE_MAX);
    char *s = mg_tpl_alloc(&ev->arena, n ? n : 1, 2);
    if (!s) {
        mg_tpl_no_memory(ev);
        return false;
    }
    *o = (tpl_out){ s, (uint8_t *)s + (n ? n : 1), 0, n };
    return true;
}

tpl_value mg_tpl_join2(tpl_eval *ev, tpl_str a, tpl_str b) {
    tpl_out o = { 0 };
    if (a.safe && !b.safe) b = mg_tpl_escape(ev, b);
    if (b.safe && !a.safe) a = mg_tpl_escape(ev, a);
    if (!mg_tpl_burn(ev, a.n + b.n) || !exactly(ev, &o, a.n, b.n)) return tpl_none();
    mg_tpl_add(ev, &o, a);
    mg_tpl_add(ev, &o, b);
    tpl_str s = mg_tpl_done(ev, &o);
    s.safe = a.safe || b.safe;
    return tpl_string(s);
}

tpl_str mg_tpl_escape(tpl_eval *ev, tpl_str s) {
    static const char from[] = "&<>'\"", *const to[] = { "&amp;", "&lt;", "&gt;", "&#39;", "&#34;" };
    tpl_out o = { 0 };
    size_t  begin = 0;
    for (size_t i = 0; i < s.n; i++) {
        const char *p = s.s[i] ? strchr(from, s.s[i]) : NULL;
        if (!p) continue;
        tpl_str as = mg_tpl_text(to[p - from]);
        as.all = s.mark ? s.mark[i] : s.all;
        mg_tpl_add(ev, &o, mg_tpl_sub(s, begin, i));
        mg_tpl_add(ev, &o, as);
        begin = i + 1;
    }
    if (begin) {
        mg_tpl_add(ev, &o, mg_tpl_sub(s, begin, s.n));
        s = mg_tpl_done(ev, &o);
    }
    s.safe = true;
    return s;
}

/* ---- code points */

int32_t mg_tpl_code(tpl_str s, size_t *at) {
    utf8proc_int32_t code;
    utf8proc_ssize_t n =
        utf8proc_iterate((const utf8proc_uint8_t *)s.s + *at, (utf8proc_ssize_t)(s.n - *at), &code);
    if (n < 1) { /* never in checked text; one byte then, so that every walk ends */
        code = 0xfffd;
        n = 1;
    }
    *at += (size_t)n;
    return code;
}

static bool is_continuation(char c) { return (c & 0xc0) == 0x80; }

size_t mg_tpl_count(tpl_str s) {
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) n += !is_continuation(s.s[i]);
    return n;
}

size_t mg_tpl_offset(tpl_str s, size_t code_points) {
    size_t i = 0;
    while (i < s.n && (code_points || is_continuation(s.s[i]))) code_points -= !is_continuation(s.s[i++]);
    return i;
}

bool mg_tpl_is_space(int32_t c) {
    return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

static bool strips(int32_t code, const tpl_str *chars) {
    if (!chars) return mg_tpl_is_space(code);
    for (size_t at = 0; at < chars->n;)
        if (mg_tpl_code(*chars, &at) == code) return true;
    return false;
}

tpl_str mg_tpl_strip(tpl_str s, unsigned sides, const tpl_str *chars) {
    size_t begin = 0, end = s.n;
    while ((sides & TPL_LEFT) && begin < end) {
        size_t next = begin;
        if (!strips(mg_tpl_code(s, &next), chars)) break;
        begin = next;
    }
    while ((sides & TPL_RIGHT) && end > begin) {
        size_t last = end - 1;
        while (last > begin && is_continuation(s.s[last])) last--;
        size_t next = last;
        if (!strips(mg_tpl_code(s, &next), chars)) break;
        end = last;
    }
    return mg_tpl_sub(s, begin, end);
}

size_t mg_tpl_find(tpl_str s, tpl_str what, size_t from) {
    if (from > s.n) return SIZE_MAX;
    if (!what.n) return from;
    const char *p = memmem(s.s + from, s.n - from, what.s, what.n);
    return p ? (size_t)(p - s.s) : SIZE_MAX;
}

tpl_str mg_tpl_map_case(tpl_eval *ev, tpl_str s, int32_t (*map)(int32_t)) {
    tpl_out o = { 0 };
    for (size_t at = 0; at < s.n && !ev->status;) {
        uint8_t mark = s.mark ? s.mark[at] : s.all;
        int32_t c = mg_tpl_code(s, &at);
        if (c == 0xdf && map == utf8proc_toupper) { /* the one letter in use whose capital is two */
            mg_tpl_add_code(ev, &o, 'S', mark);
            mg_tpl_add_code(ev, &o, 'S', mark);
        } else
            mg_tpl_add_code(ev, &o, map(c), mark);
    }
    return mg_tpl_done(ev, &o);
}

/* Python: an empty `old` stands before every character and at the end. */
tpl_value mg_tpl_replace(tpl_eval *ev, tpl_str s, tpl_str old, tpl_str new_text, int64_t count) {
    tpl_out o = { 0 };
    size_t  begin = 0;
    if (s.safe && !new_text.safe) new_text = mg_tpl_escape(ev, new_text);
    for (size_t at = 0; count && mg_tpl_burn(ev, old.n ? 0 : 1); count--) {
        size_t hit = mg_tpl_find(s, old, at);
        if (hit == SIZE_MAX) break;
        mg_tpl_add(ev, &o, mg_tpl_sub(s, begin, hit));
        if (!mg_tpl_add(ev, &o, new_text)) break;
        begin = hit + old.n;
        at = begin;
        if (!old.n) {
            if (hit == s.n) break;
            mg_tpl_code(s, &at);
        }
    }
    mg_tpl_add(ev, &o, mg_tpl_sub(s, begin, s.n));
    tpl_str r = mg_tpl_done(ev, &o);
    r.safe = s.safe;
    return tpl_string(r);
}

/* ---- numbers */

/* The shortest digits that read back as the same double, laid out as Python does. */
static void print_float(double f, char out[40]) {
    char digits[32];
    int  precision = 1;
    if (!isfinite(f)) {
        strcpy(out, isnan(f) ? "nan" : f > 0 ? "inf" : "-inf");
        return;
    }
    do snprintf(digits, sizeof digits, "%.*e", precision - 1, f);
    while (strtod(digits, NULL) != f && precision++ < 17);
    int exponent = atoi(strchr(digits, 'e') + 1);
    if (exponent >= -4 && exponent < 16) {
        int decimals = precision - 1 - exponent;
        snprintf(out, 40, "%.*f", decimals > 0 ? decimals : 1, f);
    } else {
        char *e = strchr(digits, 'e');
        snprintf(out, 40, "%.*se%+03d", (int)(e - digits), digits, exponent);
    }
}

static bool add_number(tpl_eval *ev, tpl_out *o, tpl_value v) {
    char text[40];
    if (v.kind == TPL_FLOAT)
        print_float(v.f, text);
    else
        snprintf(text, sizeof text, "%lld", (long long)v.i);
    return mg_tpl_add_text(ev, o, text);
}

/* ---- str and repr */

static bool is_printable(int32_t c) {
    utf8proc_category_t k = utf8proc_category(c);
    return c == ' ' || (k != UTF8PROC_CATEGORY_CN && k < UTF8PROC_CATEGORY_ZS && k != UTF8PROC_CATEGORY_CC);
}

/* How a character is written between quotes; false: as it is. */
typedef bool (*escape)(int32_t c, int how, char text[16]);

/* The string between quotes; an escape keeps the mark of its character. */
static bool quote_string(tpl_eval *ev, tpl_out *o, tpl_str s, const char *quotes, escape write, int how) {
    char text[16];
    mg_tpl_add_text(ev, o, quotes);
    for (size_t at = 0; at < s.n && !ev->status;) {
        size_t  begin = at;
        uint8_t mark = s.mark ? s.mark[at] : s.all;
        if (write(mg_tpl_code(s, &at), how, text)) {
            tpl_str t = mg_tpl_text(text);
            t.all = mark;
            mg_tpl_add(ev, o, t);
        } else
            mg_tpl_add(ev, o, mg_tpl_sub(s, begin, at));
    }
    return mg_tpl_add_text(ev, o, quotes);
}

static bool repr_escape(int32_t c, int quote, char text[16]) {
    const char *simple = c == '\n' ? "\\n" : c == '\r' ? "\\r" : c == '\t' ? "\\t" : c == '\\' ? "\\\\" : NULL;
    if (c == quote)
        snprintf(text, 16, "\\%c", quote);
    else if (simple)
        strcpy(text, simple);
    else if (!is_printable(c))
        snprintf(text, 16, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)c);
    else
        return false;
    return true;
}

static bool repr_string(tpl_eval *ev, tpl_out *o, tpl_str s) {
    bool twice = memchr(s.s, '\'', s.n) && !memchr(s.s, '"', s.n);
    return quote_string(ev, o, s, twice ? "\"" : "'", repr_escape, twice ? '"' : '\'');
}

static bool repr_list(tpl_eval *ev, tpl_out *o, tpl_value v, int depth) {
    bool is_tuple = v.kind == TPL_TUPLE;
    if (!mg_tpl_list_ready(ev, v.list)) return false;
    mg_tpl_add_text(ev, o, is_tuple ? "(" : "[");
    for (size_t i = 0; i < v.list->n && !ev->status; i++) {
        if (i) mg_tpl_add_text(ev, o, ", ");
        mg_tpl_repr(ev, o, v.list->item[i], depth + 1);
    }
    return mg_tpl_add_text(ev, o, is_tuple ? (v.list->n == 1 ? ",)" : ")") : "]");
}

static bool repr_dict(tpl_eval *ev, tpl_out *o, tpl_dict *d, int depth) {
    if (!mg_tpl_dict_ready(ev, d)) return false;
    mg_tpl_add_text(ev, o, "{");
    for (size_t i = 0; i < d->n && !ev->status; i++) {
        if (i) mg_tpl_add_text(ev, o, ", ");
        mg_tpl_repr(ev, o, d->key[i], depth + 1);
        mg_tpl_add_text(ev, o, ": ");
        mg_tpl_repr(ev, o, d->value[i], depth + 1);
    }
    return mg_tpl_add_text(ev, o, "}");
}

static bool repr_undefined(tpl_eval *ev, tpl_out *o, tpl_value v, int depth) {
    (void)v, (void)depth;
    return mg_tpl_add_text(ev, o, "Undefined");
}
static bool repr_none(tpl_eval *ev, tpl_out *o, tpl_value v, int depth) {
    (void)v, (void)depth;
    return mg_tpl_add_text(ev, o, "None");
}
static bool repr_bool(tpl_eval *ev, tpl_out *o, tpl_value v, int depth) {
    (void)depth;
    return mg_tpl_add_text(ev, o, v.i ? "True" : "False");
}
static bool repr_number(tpl_eval *ev, tpl_out *o, tpl_value v, int depth) {
    (void)depth;
    return add_number(ev, o, v);
}
static bool repr_str(tpl_eval *ev, tpl_out *o, tpl_value v, int depth) {
    (void)depth;
    return repr_string(ev, o, v.s);
}
static bool repr_map(tpl_eval *ev, tpl_out *o, tpl_value v, int depth) { return repr_dict(ev, o, v.dict, depth); }
/* A view, an iterator or a function prints as an address or a type in Python: never what a template means. */
static bool repr_never(tpl_eval *ev, tpl_out *o, tpl_value v, int depth) {
    (void)o, (void)depth;
    mg_tpl_fail(ev, "a %s cannot be printed; turn it into text or a list first", mg_tpl_kind_name(v));
    return false;
}

bool mg_tpl_repr(tpl_eval *ev, tpl_out *o, tpl_value v, int depth) {
    static bool (*const repr[TPL_N_KINDS])(tpl_eval *, tpl_out *, tpl_value, int) = {
        [TPL_UNDEFINED] = repr_undefined, [TPL_NONE] = repr_none,    [TPL_BOOL] = repr_bool,
        [TPL_INT] = repr_number,          [TPL_FLOAT] = repr_number, [TPL_STRING] = repr_str,
        [TPL_LIST] = repr_list,           [TPL_TUPLE] = repr_list,   [TPL_DICT] = repr_map,
        [TPL_ITERATOR] = repr_never,      [TPL_VIEW] = repr_never,   [TPL_RANGE] = repr_never,
        [TPL_NAMESPACE] = repr_never,     [TPL_LOOP] = repr_never,   [TPL_MACRO] = repr_never,
        [TPL_FUNCTION] = repr_never,
    };
    if (depth > TPL_MAX_NESTING) mg_tpl_fail(ev, "a value is nested deeper than %d", TPL_MAX_NESTING);
    return mg_tpl_burn(ev, 0) && repr[v.kind](ev, o, v, depth);
}

bool mg_tpl_print(tpl_eval *ev, tpl_out *o, tpl_value v) {
    if (v.kind == TPL_UNDEFINED) return !ev->status;
    return v.kind == TPL_STRING ? mg_tpl_add(ev, o, v.s) : mg_tpl_repr(ev, o, v, 0);
}

tpl_str mg_tpl_str(tpl_eval *ev, tpl_value v) {
    tpl_out o = { 0 };
    if (v.kind == TPL_STRING) return v.s;
    mg_tpl_print(ev, &o, v);
    return mg_tpl_done(ev, &o);
}

/* ---- JSON, as json.dumps writes it */

static bool json_escape(int32_t c, int ascii, char text[16]) {
    static const char from[] = "\"\\\n\r\t\f\b", to[] = "\"\\nrtfb";
    const char       *simple = c && c < 128 ? strchr(from, c) : NULL;
    if (simple)
        snprintf(text, 16, "\\%c", to[simple - from]);
    else if (c < 0x20 || (ascii && c > 0x7e && c < 0x10000 && c != 0x7f))
        snprintf(text, 16, "\\u%04x", (unsigned)c);
    else if (ascii && c >= 0x10000)
        snprintf(text, 16, "\\u%04x\\u%04x", 0xd7c0 + ((unsigned)c >> 10), 0xdc00 + ((unsigned)c & 0x3ff));
    else
        return false;
    return true;
}

static bool json_string(tpl_eval *ev, tpl_out *o, tpl_str s, bool ascii) { return quote_string(ev, o, s, "\"", json_escape, ascii); }

static bool json_newline(tpl_eval *ev, tpl_out *o, const tpl_json_style *style, int depth) {
    if (!style->pretty) return !ev->status;
    mg_tpl_add_text(ev, o, "\n");
    for (int i = 0; i < depth; i++) mg_tpl_add(ev, o, style->indent);
    return !ev->status;
}

static bool json_list(tpl_eval *ev, tpl_out *o, tpl_list *l, const tpl_json_style *style, int depth) {
    if (!mg_tpl_list_ready(ev, l)) return false;
    if (!l->n) return mg_tpl_add_text(ev, o, "[]");
    mg_tpl_add_text(ev, o, "[");
    for (size_t i = 0; i < l->n && !ev->status; i++) {
        if (i) mg_tpl_add(ev, o, style->comma);
        json_newline(ev, o, style, depth + 1);
        mg_tpl_json(ev, o, l->item[i], style, depth + 1);
    }
    json_newline(ev, o, style, depth);
    return mg_tpl_add_text(ev, o, "]");
}

static tpl_str json_key(tpl_eval *ev, tpl_value key) {
    tpl_out o = { 0 };
    if (key.kind == TPL_STRING) return key.s;
    if (key.kind == TPL_BOOL) return mg_tpl_text(key.i ? "true" : "false");
    if (key.kind == TPL_NONE) return mg_tpl_text("null");
    if (tpl_is_number(key))
        add_number(ev, &o, key);
    else
        mg_tpl_fail(ev, "a %s cannot be a key in JSON", mg_tpl_kind_name(key));
    return mg_tpl_done(ev, &o);
}

static bool json_dict(tpl_eval *ev, tpl_out *o, tpl_dict *d, const tpl_json_style *style, int depth) {
    if (!mg_tpl_dict_ready(ev, d)) return false;
    if (!d->n) return mg_tpl_add_text(ev, o, "{}");
    size_t *order = mg_tpl_alloc(&ev->arena, d->n, sizeof *order);
    if (!order) return mg_tpl_no_memory(ev), false;
    for (size_t i = 0; i < d->n && !ev->status; i++) {
        size_t k = i; /* insertion: tools have a handful of keys */
        while (style->sort_keys && k && mg_tpl_burn(ev, 0) &&
               mg_tpl_order(ev, d->key[order[k - 1]], d->key[i]) > 0) {
            order[k] = order[k - 1];
            k--;
        }
        order[k] = i;
    }
    mg_tpl_add_text(ev, o, "{");
    for (size_t i = 0; i < d->n && !ev->status; i++) {
        if (i) mg_tpl_add(ev, o, style->comma);
        json_newline(ev, o, style, depth + 1);
        json_string(ev, o, json_key(ev, d->key[order[i]]), style->ascii);
        mg_tpl_add(ev, o, style->colon);
        mg_tpl_json(ev, o, d->value[order[i]], style, depth + 1);
    }
    json_newline(ev, o, style, depth);
    return mg_tpl_add_text(ev, o, "}");
}

bool mg_tpl_json(tpl_eval *ev, tpl_out *o, tpl_value v, const tpl_json_style *style, int depth) {
    if (depth > TPL_MAX_NESTING) mg_tpl_fail(ev, "a value is nested deeper than %d", TPL_MAX_NESTING);
    if (!mg_tpl_burn(ev, 0)) return false;
    if (v.kind == TPL_STRING) return json_string(ev, o, v.s, style->ascii);
    if (v.kind == TPL_LIST || v.kind == TPL_TUPLE) return json_list(ev, o, v.list, style, depth);
    if (v.kind == TPL_DICT) return json_dict(ev, o, v.dict, style, depth);
    if (v.kind == TPL_NONE) return mg_tpl_add_text(ev, o, "null");
    if (v.kind == TPL_BOOL) return mg_tpl_add_text(ev, o, v.i ? "true" : "false");
    if (v.kind == TPL_FLOAT && !isfinite(v.f))
        return mg_tpl_add_text(ev, o, isnan(v.f) ? "NaN" : v.f > 0 ? "Infinity" : "-Infinity");
    if (tpl_is_number(v)) return add_number(ev, o, v);
    mg_tpl_fail(ev, "a %s cannot be written as JSON", mg_tpl_kind_name(v));
    return false;
}

/* ---- "%" */

static bool percent_one(tpl_eval *ev, tpl_out *o, char how, int precision, tpl_value v) {
    char text[400];
    if (how == 's') return mg_tpl_print(ev, o, v);
    if (how == 'r') return mg_tpl_repr(ev, o, v, 0);
    if (!tpl_is_number(v)) {
        mg_tpl_fail(ev, "%%%c wants a number, found a %s", how, mg_tpl_kind_name(v));
        return false;
    }
    if (how == 'f') {
        snprintf(text, sizeof text, "%.*f", precision < 0 ? 6 : precision, tpl_number(v));
        return mg_tpl_add_text(ev, o, text);
    }
    return add_number(ev, o, v.kind == TPL_FLOAT && fabs(v.f) < 9e18 ? tpl_int((int64_t)v.f) : v);
}

tpl_value mg_tpl_percent(tpl_eval *ev, tpl_str format, const tpl_value *arg, size_t n) {
    tpl_out o = { 0 };
    size_t  used = 0, begin = 0;
    for (size_t i = 0; i < format.n && !ev->status; i++) {
        if (format.s[i] != '%') continue;
        mg_tpl_add(ev, &o, mg_tpl_sub(format, begin, i));
        int precision = -1;
        i++;
        if (i + 2 < format.n && format.s[i] == '.' && format.s[i + 1] >= '0' && format.s[i + 1] <= '9') {
            precision = format.s[i + 1] - '0';
            i += 2;
        }
        char how = i < format.n ? format.s[i] : 0;
        if (how == '%')
            mg_tpl_add_text(ev, &o, "%");
        else if (!how || !strchr("sdifr", how))
            return mg_tpl_fail(ev, "this %% format is not supported");
        else if (used == n)
            return mg_tpl_fail(ev, "not enough arguments for the %% format");
        else
            percent_one(ev, &o, how == 'i' ? 'd' : how, precision, arg[used++]);
        begin = i + 1;
    }
    if (used < n) return mg_tpl_fail(ev, "too many arguments for the %% format");
    if (begin < format.n) mg_tpl_add(ev, &o, mg_tpl_sub(format, begin, format.n));
    return tpl_string(mg_tpl_done(ev, &o));
}
