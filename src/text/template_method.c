/* template_method.c -- the methods of Python's strings, mappings, lists and of jinja2's loop that templates call.
 *
 * Only methods that leave their object as it is; the ones that change it (append, update, pop) are refused by
 * transformers' sandbox too. */
#include "text/template_parts.h"

#include <string.h>
#include <utf8proc.h>

#define METHOD(name) static tpl_value name(tpl_eval *ev, tpl_value v, const tpl_value *arg, const tpl_args *all)
#define UNUSED (void)ev, (void)v, (void)arg, (void)all
#define GIVE(value) return (UNUSED, (value))

static bool given(tpl_value v) { return tpl_given(v) && v.kind != TPL_NONE; }

static tpl_str string_arg(tpl_eval *ev, tpl_value v) {
    if (v.kind == TPL_STRING) return v.s;
    mg_tpl_fail(ev, "expected a string, found a %s", mg_tpl_kind_name(v));
    return (tpl_str){ .s = "" };
}

static int64_t int_arg(tpl_eval *ev, tpl_value v, int64_t otherwise) {
    if (!given(v)) return otherwise;
    if (v.kind == TPL_INT || v.kind == TPL_BOOL) return v.i;
    mg_tpl_fail(ev, "expected an integer, found a %s", mg_tpl_kind_name(v));
    return otherwise;
}

/* A filter that does the same. */
static tpl_value as_filter(tpl_eval *ev, tpl_value v, const char *name, const tpl_args *all) {
    return mg_tpl_call_row(ev, mg_tpl_filter(mg_tpl_text(name)), v, all);
}

/* ---- strings */

static tpl_value strip(tpl_eval *ev, tpl_value v, tpl_value chars, unsigned sides) {
    tpl_str set = given(chars) ? string_arg(ev, chars) : (tpl_str){ .s = "" };
    return mg_tpl_burn(ev, v.s.n) ? tpl_string(mg_tpl_strip(v.s, sides, given(chars) ? &set : NULL)) : tpl_none();
}
METHOD(s_strip) { GIVE(strip(ev, v, arg[0], TPL_LEFT | TPL_RIGHT)); }
METHOD(s_lstrip) { GIVE(strip(ev, v, arg[0], TPL_LEFT)); }
METHOD(s_rstrip) { GIVE(strip(ev, v, arg[0], TPL_RIGHT)); }
METHOD(s_lower) { GIVE(as_filter(ev, v, "lower", all)); }
METHOD(s_upper) { GIVE(as_filter(ev, v, "upper", all)); }
METHOD(s_capitalize) { GIVE(as_filter(ev, v, "capitalize", all)); }

/* str.title begins a word behind everything that is no letter. */
METHOD(s_title) {
    tpl_out o = { 0 };
    bool    inside = false;
    UNUSED;
    for (size_t at = 0; at < v.s.n && !ev->status;) {
        uint8_t mark = v.s.mark ? v.s.mark[at] : v.s.all;
        int32_t c = mg_tpl_code(v.s, &at);
        mg_tpl_add_code(ev, &o, inside ? utf8proc_tolower(c) : utf8proc_totitle(c), mark);
        utf8proc_category_t k = utf8proc_category(c);
        inside = k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LT;
    }
    return tpl_string(mg_tpl_done(ev, &o));
}

/* startswith and endswith take a string or a tuple of strings. */
static tpl_value at_border(tpl_eval *ev, tpl_value v, tpl_value what, bool end) {
    tpl_list one = { .item = &what, .n = 1 }, *l = what.kind == TPL_TUPLE ? what.list : &one;
    for (size_t i = 0; i < l->n && !ev->status; i++) {
        tpl_str w = string_arg(ev, l->item[i]);
        if (w.n <= v.s.n && !memcmp(v.s.s + (end ? v.s.n - w.n : 0), w.s, w.n)) return tpl_bool(true);
    }
    return tpl_bool(false);
}
METHOD(s_startswith) { GIVE(at_border(ev, v, arg[0], false)); }
METHOD(s_endswith) { GIVE(at_border(ev, v, arg[0], true)); }

METHOD(s_removeprefix) {
    UNUSED;
    tpl_str w = string_arg(ev, arg[0]);
    return at_border(ev, v, arg[0], false).i ? tpl_string(mg_tpl_sub(v.s, w.n, v.s.n)) : v;
}
METHOD(s_removesuffix) {
    UNUSED;
    tpl_str w = string_arg(ev, arg[0]);
    return at_border(ev, v, arg[0], true).i ? tpl_string(mg_tpl_sub(v.s, 0, v.s.n - w.n)) : v;
}

METHOD(s_replace) {
    UNUSED;
    tpl_str old = string_arg(ev, arg[0]), new_text = string_arg(ev, arg[1]);
    return mg_tpl_burn(ev, v.s.n) ? mg_tpl_replace(ev, v.s, old, new_text, int_arg(ev, arg[2], -1)) : tpl_none();
}

/* The last place of `what` in s. */
static size_t find_last(tpl_eval *ev, tpl_str s, tpl_str what) {
    size_t last = SIZE_MAX;
    if (!what.n) return s.n;
    for (size_t at = 0; (at = mg_tpl_find(s, what, at)) != SIZE_MAX && mg_tpl_burn(ev, 0); at++) last = at;
    return last;
}

static tpl_value place(tpl_str s, size_t at) {
    return tpl_int(at == SIZE_MAX ? -1 : (int64_t)mg_tpl_count(mg_tpl_sub(s, 0, at)));
}
METHOD(s_find) { GIVE(place(v.s, mg_tpl_find(v.s, string_arg(ev, arg[0]), 0))); }
METHOD(s_rfind) { GIVE(place(v.s, find_last(ev, v.s, string_arg(ev, arg[0])))); }
METHOD(s_index) {
    UNUSED;
    tpl_value at = place(v.s, mg_tpl_find(v.s, string_arg(ev, arg[0]), 0));
    return at.i < 0 ? mg_tpl_fail(ev, "index: the text is not there") : at;
}
METHOD(s_count) {
    UNUSED;
    tpl_str w = string_arg(ev, arg[0]);
    int64_t n = 0;
    if (!w.n) return tpl_int((int64_t)mg_tpl_count(v.s) + 1);
    for (size_t at = 0; mg_tpl_burn(ev, 0) && (at = mg_tpl_find(v.s, w, at)) != SIZE_MAX; at += w.n) n++;
    return tpl_int(n);
}

static tpl_value three(tpl_eval *ev, tpl_str a, tpl_str b, tpl_str c) {
    tpl_list *l = mg_tpl_list_new(ev);
    if (l && mg_tpl_list_add(ev, l, tpl_string(a)) && mg_tpl_list_add(ev, l, tpl_string(b)))
        mg_tpl_list_add(ev, l, tpl_string(c));
    return tpl_listy(TPL_TUPLE, l);
}
static tpl_value partition(tpl_eval *ev, tpl_str s, tpl_str by, bool last) {
    tpl_str nothing = { .s = "" };
    if (!by.n) return mg_tpl_fail(ev, "an empty separator");
    size_t at = last ? find_last(ev, s, by) : mg_tpl_find(s, by, 0);
    if (at == SIZE_MAX) return last ? three(ev, nothing, nothing, s) : three(ev, s, nothing, nothing);
    return three(ev, mg_tpl_sub(s, 0, at), mg_tpl_sub(s, at, at + by.n), mg_tpl_sub(s, at + by.n, s.n));
}
METHOD(s_partition) { GIVE(partition(ev, v.s, string_arg(ev, arg[0]), false)); }
METHOD(s_rpartition) { GIVE(partition(ev, v.s, string_arg(ev, arg[0]), true)); }

/* Split at white space: runs count once, none at the ends. */
static void split_space(tpl_eval *ev, tpl_list *l, tpl_str s, int64_t most) {
    s = mg_tpl_strip(s, TPL_LEFT, NULL);
    while (s.n && mg_tpl_burn(ev, 0)) {
        size_t end = 0, next = 0;
        while (end < s.n && !mg_tpl_is_space(mg_tpl_code(s, &next))) end = next;
        if (most-- == 0) end = s.n;
        mg_tpl_list_add(ev, l, tpl_string(mg_tpl_sub(s, 0, end)));
        s = mg_tpl_strip(mg_tpl_sub(s, end, s.n), TPL_LEFT, NULL);
    }
}

METHOD(s_split) {
    tpl_list *l = mg_tpl_list_new(ev);
    int64_t   most = int_arg(ev, arg[1], -1);
    size_t    begin = 0, hit;
    UNUSED;
    if (!l || !mg_tpl_burn(ev, v.s.n)) return tpl_none();
    if (!given(arg[0])) {
        split_space(ev, l, v.s, most);
        return tpl_listy(TPL_LIST, l);
    }
    tpl_str by = string_arg(ev, arg[0]);
    if (!by.n) return mg_tpl_fail(ev, "an empty separator");
    for (; most && mg_tpl_burn(ev, 0) && (hit = mg_tpl_find(v.s, by, begin)) != SIZE_MAX; most--) {
        mg_tpl_list_add(ev, l, tpl_string(mg_tpl_sub(v.s, begin, hit)));
        begin = hit + by.n;
    }
    mg_tpl_list_add(ev, l, tpl_string(mg_tpl_sub(v.s, begin, v.s.n)));
    return tpl_listy(TPL_LIST, l);
}

/* From the right, built backwards and turned round. */
METHOD(s_rsplit) {
    tpl_list *l = mg_tpl_list_new(ev);
    int64_t   most = int_arg(ev, arg[1], -1);
    UNUSED;
    if (!l || most < 0) return s_split(ev, v, arg, all);
    if (!given(arg[0])) return mg_tpl_fail(ev, "rsplit at white space with a limit is not supported");
    tpl_str by = string_arg(ev, arg[0]), left = v.s;
    if (!by.n) return mg_tpl_fail(ev, "an empty separator");
    for (size_t hit; most && mg_tpl_burn(ev, left.n) && (hit = find_last(ev, left, by)) != SIZE_MAX; most--) {
        mg_tpl_list_add(ev, l, tpl_string(mg_tpl_sub(left, hit + by.n, left.n)));
        left = mg_tpl_sub(left, 0, hit);
    }
    mg_tpl_list_add(ev, l, tpl_string(left));
    for (size_t i = 0, k = l->n; i + 1 < k && !ev->status; i++) {
        tpl_value t = l->item[i];
        l->item[i] = l->item[--k];
        l->item[k] = t;
    }
    return tpl_listy(TPL_LIST, l);
}

METHOD(s_splitlines) {
    tpl_list *l = mg_tpl_list_new(ev);
    bool      keep = tpl_given(arg[0]) && mg_tpl_truth(ev, arg[0]);
    size_t    begin = 0;
    UNUSED;
    if (!l) return tpl_none();
    for (size_t at = 0, end = 0; at < v.s.n && mg_tpl_burn(ev, 0); end = at) {
        int32_t c = mg_tpl_code(v.s, &at);
        bool breaks = (c >= 10 && c <= 13) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029;
        if (!breaks) continue;
        if (c == '\r' && at < v.s.n && v.s.s[at] == '\n') at++;
        mg_tpl_list_add(ev, l, tpl_string(mg_tpl_sub(v.s, begin, keep ? at : end)));
        begin = at;
    }
    if (begin < v.s.n) mg_tpl_list_add(ev, l, tpl_string(mg_tpl_sub(v.s, begin, v.s.n)));
    return tpl_listy(TPL_LIST, l);
}

METHOD(s_join) {
    tpl_list *l = mg_tpl_iterate(ev, arg[0]);
    tpl_out   o = { 0 };
    UNUSED;
    for (size_t i = 0; l && i < l->n && mg_tpl_burn(ev, 0); i++) {
        if (i) mg_tpl_add(ev, &o, v.s);
        mg_tpl_add(ev, &o, string_arg(ev, l->item[i]));
    }
    return tpl_string(mg_tpl_done(ev, &o));
}

/* {} and {0} and {name}, without format specifications or attributes. */
METHOD(s_format) {
    tpl_out o = { 0 };
    size_t  next = 0;
    UNUSED;
    for (size_t i = 0; i < v.s.n && !ev->status; i++) {
        char c = v.s.s[i];
        if ((c == '{' || c == '}') && i + 1 < v.s.n && v.s.s[i + 1] == c)
            i++;
        else if (c == '{') {
            size_t end = mg_tpl_find(v.s, mg_tpl_text("}"), i);
            if (end == SIZE_MAX) return mg_tpl_fail(ev, "format: '{' without '}'");
            tpl_str          name = mg_tpl_sub(v.s, i + 1, end);
            const tpl_value *x = NULL;
            bool             is_number = name.n == 1 && name.s[0] >= '0' && name.s[0] <= '9';
            size_t           k = is_number ? (size_t)(name.s[0] - '0') : name.n ? SIZE_MAX : next++;
            if (k < all->n) x = &all->pos[k];
            for (size_t m = 0; m < all->n_named; m++)
                if (tpl_same(all->name[m], name.s, name.n)) x = &all->named[m];
            if (!x) return mg_tpl_fail(ev, "format: no argument for {%.*s}", (int)name.n, name.s);
            mg_tpl_print(ev, &o, *x);
            i = end;
            continue;
        } else if (c == '}')
            return mg_tpl_fail(ev, "format: '}' without '{'");
        mg_tpl_add(ev, &o, mg_tpl_sub(v.s, i, i + 1));
    }
    return tpl_string(mg_tpl_done(ev, &o));
}

/* isalpha, isdigit, isalnum, isspace: true when there is something and all of it is such. */
static tpl_value all_are(tpl_value v, bool letters, bool numbers, bool space) {
    for (size_t at = 0; at < v.s.n;) {
        int32_t             c = mg_tpl_code(v.s, &at);
        utf8proc_category_t k = utf8proc_category(c);
        bool                ok = (letters && k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO) ||
                  (numbers && k == UTF8PROC_CATEGORY_ND) || (space && mg_tpl_is_space(c));
        if (!ok) return tpl_bool(false);
    }
    return tpl_bool(v.s.n > 0);
}
METHOD(s_isalpha) { GIVE(all_are(v, true, false, false)); }
METHOD(s_isdigit) { GIVE(all_are(v, false, true, false)); }
METHOD(s_isalnum) { GIVE(all_are(v, true, true, false)); }
METHOD(s_isspace) { GIVE(all_are(v, false, false, true)); }
METHOD(s_islower) { GIVE(mg_tpl_call_row(ev, mg_tpl_test(mg_tpl_text("lower")), v, all)); }
METHOD(s_isupper) { GIVE(mg_tpl_call_row(ev, mg_tpl_test(mg_tpl_text("upper")), v, all)); }

static tpl_value pad(tpl_eval *ev, tpl_value v, tpl_value width, tpl_value with, bool left, const char *usual) {
    tpl_out o = { 0 };
    tpl_str fill = given(with) ? string_arg(ev, with) : mg_tpl_text(usual);
    int64_t room = int_arg(ev, width, 0) - (int64_t)mg_tpl_count(v.s);
    if (!left) mg_tpl_add(ev, &o, v.s);
    for (; room > 0 && fill.n && mg_tpl_add(ev, &o, fill); room--) continue;
    if (left) mg_tpl_add(ev, &o, v.s);
    return tpl_string(mg_tpl_done(ev, &o));
}
METHOD(s_center) { GIVE(as_filter(ev, v, "center", all)); }
METHOD(s_ljust) { GIVE(pad(ev, v, arg[0], arg[1], false, " ")); }
METHOD(s_rjust) { GIVE(pad(ev, v, arg[0], arg[1], true, " ")); }
METHOD(s_zfill) { GIVE(pad(ev, v, arg[0], tpl_missing(), true, "0")); }

/* ---- mappings */

METHOD(d_get) {
    UNUSED;
    const tpl_value *m = mg_tpl_dict_get(ev, v.dict, arg[0]);
    return m ? *m : tpl_given(arg[1]) ? arg[1] : tpl_none();
}
METHOD(d_items) { GIVE(mg_tpl_dict_items(ev, v.dict, TPL_VIEW)); }
METHOD(d_keys) { GIVE(mg_tpl_dict_column(ev, v.dict, true, TPL_VIEW)); }
METHOD(d_values) { GIVE(mg_tpl_dict_column(ev, v.dict, false, TPL_VIEW)); }
METHOD(d_copy) {
    tpl_dict *d = mg_tpl_dict_new(ev);
    UNUSED;
    if (!d || !mg_tpl_dict_ready(ev, v.dict)) return tpl_none();
    for (size_t i = 0; i < v.dict->n && !ev->status; i++) mg_tpl_dict_put(ev, d, v.dict->key[i], v.dict->value[i]);
    return (tpl_value){ .kind = TPL_DICT, .dict = d };
}

/* ---- lists */

static int64_t index_of(tpl_eval *ev, tpl_list *l, tpl_value x, int64_t *count) {
    int64_t first = -1;
    *count = 0;
    if (!mg_tpl_list_ready(ev, l) || !mg_tpl_burn(ev, l->n * 32)) return -1;
    for (size_t i = 0; i < l->n && !ev->status; i++)
        if (mg_tpl_equal(ev, l->item[i], x)) {
            if (first < 0) first = (int64_t)i;
            ++*count;
        }
    return first;
}
METHOD(l_index) {
    int64_t count, at = index_of(ev, v.list, arg[0], &count);
    UNUSED;
    return at < 0 ? mg_tpl_fail(ev, "index: the value is not in the list") : tpl_int(at);
}
METHOD(l_count) {
    int64_t count;
    UNUSED;
    index_of(ev, v.list, arg[0], &count);
    return tpl_int(count);
}
METHOD(l_copy) { GIVE(as_filter(ev, v, "list", all)); }

/* ---- the loop */

METHOD(loop_cycle) { GIVE(all->n ? all->pos[v.loop->index % all->n] : mg_tpl_fail(ev, "cycle of nothing")); }
METHOD(loop_changed) {
    UNUSED;
    bool same = v.loop->has_changed && mg_tpl_equal(ev, v.loop->last_changed, arg[0]);
    v.loop->has_changed = true;
    v.loop->last_changed = arg[0];
    return tpl_bool(!same);
}

const tpl_row *mg_tpl_method(tpl_kind kind, tpl_str name) {
    static const tpl_row strings[] = {
        { "capitalize", "", s_capitalize },
        { "center", NULL, s_center },
        { "count", "sub", s_count },
        { "endswith", "suffix", s_endswith },
        { "find", "sub", s_find },
        { "format", NULL, s_format },
        { "index", "sub", s_index },
        { "isalnum", "", s_isalnum },
        { "isalpha", "", s_isalpha },
        { "isdigit", "", s_isdigit },
        { "islower", "", s_islower },
        { "isspace", "", s_isspace },
        { "isupper", "", s_isupper },
        { "join", "iterable", s_join },
        { "ljust", "width,fillchar?", s_ljust },
        { "lower", "", s_lower },
        { "lstrip", "chars?", s_lstrip },
        { "partition", "sep", s_partition },
        { "removeprefix", "prefix", s_removeprefix },
        { "removesuffix", "suffix", s_removesuffix },
        { "replace", "old,new,count?", s_replace },
        { "rfind", "sub", s_rfind },
        { "rjust", "width,fillchar?", s_rjust },
        { "rpartition", "sep", s_rpartition },
        { "rsplit", "sep?,maxsplit?", s_rsplit },
        { "rstrip", "chars?", s_rstrip },
        { "split", "sep?,maxsplit?", s_split },
        { "splitlines", "keepends?", s_splitlines },
        { "startswith", "prefix", s_startswith },
        { "strip", "chars?", s_strip },
        { "title", "", s_title },
        { "upper", "", s_upper },
        { "zfill", "width", s_zfill },
    };
    static const tpl_row mappings[] = { { "copy", "", d_copy },
                                        { "get", "key,default?", d_get },
                                        { "items", "", d_items },
                                        { "keys", "", d_keys },
                                        { "values", "", d_values } };
    static const tpl_row lists[] = { { "copy", "", l_copy },
                                     { "count", "value", l_count },
                                     { "index", "value", l_index } };
    static const tpl_row loops[] = { { "changed", "value", loop_changed }, { "cycle", NULL, loop_cycle } };
    static const struct {
        const tpl_row *rows;
        size_t         n;
    } of[TPL_N_KINDS] = {
        [TPL_STRING] = { strings, sizeof strings / sizeof *strings },
        [TPL_DICT] = { mappings, sizeof mappings / sizeof *mappings },
        [TPL_LIST] = { lists, sizeof lists / sizeof *lists },
        [TPL_TUPLE] = { lists + 1, 2 },
        [TPL_LOOP] = { loops, sizeof loops / sizeof *loops },
    };
    return mg_tpl_find_row(of[kind].rows, of[kind].n, name);
}
