/* template_global.c -- functions that templates call by name: jinja2's own that matter, and transformers' two.
 *
 * strftime_now makes a rendering depend on the day.  A run that must give the same tokens tomorrow sets
 * SOURCE_DATE_EPOCH (seconds since 1970, the convention of reproducible builds); the time is then that, in UTC.
 * Names of months are English, whatever the program's locale. */
#include "text/template_parts.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define GLOBAL(name) static tpl_value name(tpl_eval *ev, tpl_value v, const tpl_value *arg, const tpl_args *all)
#define UNUSED (void)ev, (void)v, (void)arg, (void)all
#define GIVE(value) return (UNUSED, (value))

GLOBAL(g_raise_exception) {
    UNUSED;
    tpl_str s = mg_tpl_str(ev, arg[0]);
    return mg_tpl_fail(ev, "the template refuses this conversation: %.*s", (int)(s.n < 600 ? s.n : 600), s.s);
}

GLOBAL(g_range) {
    int64_t   bound[3] = { 0, 0, 1 };
    tpl_list *l = mg_tpl_list_new(ev);
    UNUSED;
    if (!l || all->n < 1 || all->n > 3 || all->n_named)
        return mg_tpl_fail(ev, "range wants one to three integers");
    for (size_t i = 0; i < all->n; i++) {
        if (all->pos[i].kind != TPL_INT && all->pos[i].kind != TPL_BOOL)
            return mg_tpl_fail(ev, "range wants integers, found a %s", mg_tpl_kind_name(all->pos[i]));
        bound[all->n == 1 ? 1 : i] = all->pos[i].i;
    }
    if (bound[2] == 0) return mg_tpl_fail(ev, "the step of a range is zero");
    for (int64_t i = bound[0]; bound[2] > 0 ? i < bound[1] : i > bound[1];) {
        if (l->n == TPL_MAX_RANGE) return mg_tpl_fail(ev, "a range of more than %d", TPL_MAX_RANGE);
        if (!mg_tpl_list_add(ev, l, tpl_int(i)) || __builtin_add_overflow(i, bound[2], &i)) break;
    }
    return tpl_listy(TPL_RANGE, l);
}

/* dict(mapping or pairs, name=value ...) */
static tpl_value make_dict(tpl_eval *ev, const tpl_args *all, tpl_kind kind) {
    tpl_dict *d = mg_tpl_dict_new(ev);
    if (!d || all->n > 1) return mg_tpl_fail(ev, "dict and namespace take one mapping at most");
    if (all->n == 1) {
        tpl_value from = all->pos[0];
        if (from.kind == TPL_DICT) from = mg_tpl_dict_items(ev, from.dict, TPL_LIST);
        tpl_list *l = mg_tpl_iterate(ev, from);
        for (size_t i = 0; l && i < l->n && !ev->status; i++) {
            tpl_list *pair = mg_tpl_iterate(ev, l->item[i]);
            if (!pair || pair->n != 2) return mg_tpl_fail(ev, "dict wants pairs of key and value");
            mg_tpl_dict_put(ev, d, pair->item[0], pair->item[1]);
        }
    }
    for (size_t i = 0; i < all->n_named && !ev->status; i++)
        mg_tpl_dict_put(ev, d, tpl_string(all->name[i]), all->named[i]);
    return (tpl_value){ .kind = kind, .dict = d };
}
GLOBAL(g_dict) { GIVE(make_dict(ev, all, TPL_DICT)); }
GLOBAL(g_namespace) { GIVE(make_dict(ev, all, TPL_NAMESPACE)); }

GLOBAL(g_strftime_now) {
    char        format[200], text[1000];
    const char *fixed = getenv("SOURCE_DATE_EPOCH");
    time_t      now = fixed ? (time_t)strtoll(fixed, NULL, 10) : time(NULL);
    struct tm   tm;
    UNUSED;
    if (arg[0].kind != TPL_STRING || arg[0].s.n >= sizeof format || memchr(arg[0].s.s, 0, arg[0].s.n))
        return mg_tpl_fail(ev, "strftime_now wants a short format");
    memcpy(format, arg[0].s.s, arg[0].s.n);
    format[arg[0].s.n] = 0;
    if (!(fixed ? gmtime_r(&now, &tm) : localtime_r(&now, &tm))) return mg_tpl_fail(ev, "the time cannot be told");
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!c) return mg_tpl_no_memory(ev);
    size_t n = strftime_l(text, sizeof text, format, &tm, c);
    freelocale(c);
    char *copy = mg_tpl_alloc(&ev->arena, n + 1, 1);
    if (!copy) return mg_tpl_no_memory(ev);
    memcpy(copy, text, n);
    return tpl_string((tpl_str){ .s = copy, .n = n });
}

const tpl_row *mg_tpl_global(tpl_str name) {
    static const tpl_row rows[] = {
        { "dict", NULL, g_dict },
        { "namespace", NULL, g_namespace },
        { "raise_exception", "message", g_raise_exception },
        { "range", NULL, g_range },
        { "strftime_now", "format", g_strftime_now },
    };
    return mg_tpl_find_row(rows, sizeof rows / sizeof *rows, name);
}
