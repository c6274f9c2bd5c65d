/* template_test.c -- jinja2's tests (`x is name`), one row each. */
#include "text/template_parts.h"

#include <string.h>
#include <utf8proc.h>

#define TEST(name) static tpl_value name(tpl_eval *ev, tpl_value v, const tpl_value *arg, const tpl_args *all)
#define SAY(truth) return ((void)ev, (void)v, (void)arg, (void)all, tpl_bool(truth))

TEST(t_defined) { SAY(v.kind != TPL_UNDEFINED); }
TEST(t_undefined) { SAY(v.kind == TPL_UNDEFINED); }
TEST(t_none) { SAY(v.kind == TPL_NONE); }
TEST(t_boolean) { SAY(v.kind == TPL_BOOL); }
TEST(t_true) { SAY(v.kind == TPL_BOOL && v.i); }
TEST(t_false) { SAY(v.kind == TPL_BOOL && !v.i); }
TEST(t_integer) { SAY(v.kind == TPL_INT); }
TEST(t_float) { SAY(v.kind == TPL_FLOAT); }
TEST(t_number) { SAY(tpl_is_number(v)); }
TEST(t_string) { SAY(v.kind == TPL_STRING); }
TEST(t_mapping) { SAY(v.kind == TPL_DICT); }
TEST(t_iterable) {
    SAY(tpl_is_sequence(v) || v.kind == TPL_VIEW || v.kind == TPL_ITERATOR || v.kind == TPL_DICT ||
        v.kind == TPL_STRING || v.kind == TPL_UNDEFINED || v.kind == TPL_LOOP);
}
TEST(t_sequence) {
    SAY(tpl_is_sequence(v) || v.kind == TPL_DICT || v.kind == TPL_STRING || v.kind == TPL_UNDEFINED);
}
TEST(t_callable) { SAY(v.kind == TPL_MACRO || v.kind == TPL_FUNCTION || v.kind == TPL_UNDEFINED); }
TEST(t_eq) { SAY(mg_tpl_equal(ev, v, arg[0])); }
TEST(t_ne) { SAY(!mg_tpl_equal(ev, v, arg[0])); }
TEST(t_lt) { SAY(mg_tpl_order(ev, v, arg[0]) < 0); }
TEST(t_le) { SAY(mg_tpl_order(ev, v, arg[0]) <= 0); }
TEST(t_gt) { SAY(mg_tpl_order(ev, v, arg[0]) > 0); }
TEST(t_ge) { SAY(mg_tpl_order(ev, v, arg[0]) >= 0); }
TEST(t_in) { SAY(mg_tpl_contains(ev, arg[0], v)); }
TEST(t_sameas) { SAY(v.kind == arg[0].kind && mg_tpl_equal(ev, v, arg[0])); }

static bool divides(tpl_eval *ev, tpl_value v, tpl_value by, int64_t rest) {
    if ((v.kind != TPL_INT && v.kind != TPL_BOOL) || (by.kind != TPL_INT && by.kind != TPL_BOOL) || by.i == 0) {
        mg_tpl_fail(ev, "even, odd and divisibleby want integers, found a %s", mg_tpl_kind_name(v));
        return false;
    }
    return by.i == -1 || (v.i % by.i != 0) == (rest != 0);
}
TEST(t_even) { SAY(divides(ev, v, tpl_int(2), 0)); }
TEST(t_odd) { SAY(divides(ev, v, tpl_int(2), 1)); }
TEST(t_divisibleby) { SAY(divides(ev, v, arg[0], 0)); }

/* Python's islower and isupper: some cased letter, and none of the other case. */
static bool has_case(tpl_eval *ev, tpl_value v, utf8proc_category_t wanted, utf8proc_category_t unwanted) {
    tpl_str s = mg_tpl_str(ev, v);
    bool    some = false;
    for (size_t at = 0; at < s.n;) {
        utf8proc_category_t k = utf8proc_category(mg_tpl_code(s, &at));
        if (k == unwanted || k == UTF8PROC_CATEGORY_LT) return false;
        some |= k == wanted;
    }
    return some;
}
TEST(t_lower) { SAY(has_case(ev, v, UTF8PROC_CATEGORY_LL, UTF8PROC_CATEGORY_LU)); }
TEST(t_upper) { SAY(has_case(ev, v, UTF8PROC_CATEGORY_LU, UTF8PROC_CATEGORY_LL)); }
TEST(t_filter) { SAY(v.kind == TPL_STRING && mg_tpl_filter(v.s)); }
TEST(t_test) { SAY(v.kind == TPL_STRING && mg_tpl_test(v.s)); }

const tpl_row *mg_tpl_test(tpl_str name) {
    static const tpl_row rows[] = {
        { "boolean", "", t_boolean },
        { "callable", "", t_callable },
        { "defined", "", t_defined },
        { "divisibleby", "num", t_divisibleby },
        { "eq", "b", t_eq },
        { "equalto", "b", t_eq },
        { "==", "b", t_eq },
        { "even", "", t_even },
        { "false", "", t_false },
        { "filter", "", t_filter },
        { "float", "", t_float },
        { "ge", "b", t_ge },
        { ">=", "b", t_ge },
        { "greaterthan", "b", t_gt },
        { "gt", "b", t_gt },
        { ">", "b", t_gt },
        { "in", "seq", t_in },
        { "integer", "", t_integer },
        { "iterable", "", t_iterable },
        { "le", "b", t_le },
        { "<=", "b", t_le },
        { "lessthan", "b", t_lt },
        { "lower", "", t_lower },
        { "lt", "b", t_lt },
        { "<", "b", t_lt },
        { "mapping", "", t_mapping },
        { "ne", "b", t_ne },
        { "!=", "b", t_ne },
        { "none", "", t_none },
        { "number", "", t_number },
        { "odd", "", t_odd },
        { "sameas", "other", t_sameas },
        { "sequence", "", t_sequence },
        { "string", "", t_string },
        { "test", "", t_test },
        { "true", "", t_true },
        { "undefined", "", t_undefined },
        { "upper", "", t_upper },
    };
    return mg_tpl_find_row(rows, sizeof rows / sizeof *rows, name);
}
