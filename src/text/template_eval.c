/* template_eval.c -- walk the tree and write the text.
 *
 * Scopes are as in jinja2: a loop's body, a macro, a caught block and `with` have their own, an `if` has none; an
 * assignment lands in the innermost.  A macro sees the scope where it was defined.  Everything is counted: fuel
 * for each node and each KiB looked at, depth for each recursion, and the arena has a limit, so a hostile template
 * ends in an error and never in a crash or a hang. */
#include "text/template_parts.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- errors, fuel, memory */

struct tpl_chunk {
    tpl_chunk  *older;
    size_t      n, cap;
    max_align_t data[];
};

void *mg_tpl_alloc(tpl_arena *a, size_t count, size_t size) {
    enum { CHUNK = 32768 };
    size_t bytes, total;
    if (!mg_size_mul(count, size, &bytes) || !mg_size_add(bytes, sizeof(max_align_t) - 1, &bytes)) return NULL;
    bytes -= bytes % sizeof(max_align_t);
    if (!a->chunk || a->chunk->cap - a->chunk->n < bytes) {
        size_t cap = bytes > CHUNK ? bytes : CHUNK;
        if (!mg_size_add(a->used, cap, &total) || total > a->limit) return NULL;
        tpl_chunk *c = mg_calloc(1, sizeof *c + cap);
        if (!c) return NULL;
        a->used = total;
        c->cap = cap;
        c->older = a->chunk;
        a->chunk = c;
    }
    void *p = (char *)a->chunk->data + a->chunk->n;
    a->chunk->n += bytes;
    return p;
}

void mg_tpl_arena_free(tpl_arena *a) {
    for (tpl_chunk *c = a->chunk, *older; c; c = older) {
        older = c->older;
        free(c);
    }
    *a = (tpl_arena){ 0 };
}

tpl_value mg_tpl_fail(tpl_eval *ev, const char *format, ...) {
    char    text[700];
    va_list args;
    if (ev->status) return tpl_none();
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    ev->status = mg_fail(ev->err, MG_TEMPLATE, "%s: line %d: %s", ev->tpl->name, ev->line, text);
    return tpl_none();
}

tpl_value mg_tpl_no_memory(tpl_eval *ev) {
    if (!ev->status)
        ev->status = mg_fail(ev->err, MG_NOMEM, "%s: line %d: no memory, or the template wants more than %zu MiB",
                             ev->tpl->name, ev->line, ev->arena.limit >> 20);
    return tpl_none();
}

bool mg_tpl_burn(tpl_eval *ev, size_t bytes) {
    int64_t cost = 1 + (int64_t)(bytes >> 10);
    if (ev->status) return false;
    if (ev->fuel < cost) {
        mg_tpl_fail(ev, "the template runs on and on (more than %d steps)", TPL_FUEL);
        return false;
    }
    ev->fuel -= cost;
    return true;
}

static bool enter(tpl_eval *ev) {
    if (++ev->depth > TPL_MAX_DEPTH) mg_tpl_fail(ev, "nested deeper than %d", TPL_MAX_DEPTH);
    return mg_tpl_burn(ev, 0);
}

/* ---- scopes */

static tpl_scope *push_scope(tpl_eval *ev, tpl_scope *parent) {
    tpl_scope *s = mg_tpl_alloc(&ev->arena, 1, sizeof *s);
    if (!s)
        mg_tpl_no_memory(ev);
    else
        s->parent = parent;
    return s;
}

static bool assign(tpl_eval *ev, tpl_str name, tpl_value v) {
    tpl_scope *s = ev->scope;
    if (ev->status || !mg_tpl_burn(ev, s->n * 16)) return false;
    size_t i = 0;
    while (i < s->n && !tpl_same(s->name[i], name.s, name.n)) i++;
    if (i == s->n) {
        if (s->n == s->cap) {
            size_t     cap = s->cap ? s->cap * 2 : 8;
            tpl_str   *names = mg_tpl_alloc(&ev->arena, cap, sizeof *names);
            tpl_value *values = mg_tpl_alloc(&ev->arena, cap, sizeof *values);
            if (!names || !values) return mg_tpl_no_memory(ev), false;
            if (s->n) {
                memcpy(names, s->name, s->n * sizeof *names);
                memcpy(values, s->value, s->n * sizeof *values);
            }
            s->name = names;
            s->value = values;
            s->cap = cap;
        }
        s->name[s->n++] = name;
    }
    s->value[i] = v;
    return true;
}

static tpl_value lookup(tpl_eval *ev, tpl_str name) {
    for (const tpl_scope *s = ev->scope; s; s = s->parent) {
        if (!mg_tpl_burn(ev, s->n * 16)) return tpl_none();
        for (size_t i = 0; i < s->n; i++)
            if (tpl_same(s->name[i], name.s, name.n)) return s->value[i];
    }
    const tpl_row *row = mg_tpl_global(name);
    if (!row) return tpl_undefined(name);
    tpl_bound *b = mg_tpl_alloc(&ev->arena, 1, sizeof *b);
    if (!b) return mg_tpl_no_memory(ev);
    *b = (tpl_bound){ row, tpl_none() };
    return (tpl_value){ .kind = TPL_FUNCTION, .bound = b };
}

/* ---- calls */

const tpl_row *mg_tpl_find_row(const tpl_row *rows, size_t n, tpl_str name) {
    for (size_t i = 0; i < n; i++)
        if (tpl_same(name, rows[i].name, strlen(rows[i].name))) return &rows[i];
    return NULL;
}

/* Put the arguments at their parameters' places. */
static bool bind(tpl_eval *ev, const tpl_row *row, const tpl_args *args, tpl_value out[TPL_MAX_PARAMS]) {
    size_t n = 0, used = 0;
    for (const char *p = row->params; *p; n++) {
        size_t len = strcspn(p, ",");
        bool   optional = p[len - 1] == '?';
        out[n] = n < args->n ? args->pos[n] : tpl_missing();
        for (size_t i = 0; i < args->n_named; i++)
            if (tpl_same(args->name[i], p, len - optional)) {
                out[n] = args->named[i];
                used++;
            }
        if (!optional && !tpl_given(out[n])) {
            mg_tpl_fail(ev, "%s() lacks its argument '%.*s'", row->name, (int)len, p);
            return false;
        }
        p += len + (p[len] == ',');
    }
    for (; n < TPL_MAX_PARAMS; n++) out[n] = tpl_missing();
    size_t known = 0;
    for (const char *p = row->params; *p; known++) p += strcspn(p, ",") + (p[strcspn(p, ",")] == ',');
    if (args->n <= known && used == args->n_named) return true;
    mg_tpl_fail(ev, "%s() was given more or other arguments than it has (%s)", row->name, row->params);
    return false;
}

tpl_value mg_tpl_call_row(tpl_eval *ev, const tpl_row *row, tpl_value self, const tpl_args *args) {
    tpl_value arg[TPL_MAX_PARAMS];
    if (!mg_tpl_burn(ev, 0) || (row->params && !bind(ev, row, args, arg))) return tpl_none();
    tpl_value v = row->fn(ev, self, arg, args);
    return ev->status ? tpl_none() : v;
}

static tpl_value eval(tpl_eval *ev, const tpl_node *n);

/* Evaluate the arguments of a call, filter or test. */
static bool arguments(tpl_eval *ev, const tpl_node *n, tpl_args *out) {
    size_t n_pos = 0, n_named = 0;
    for (const tpl_node *k = n->kids; k; k = k->next) n_pos++;
    for (const tpl_node *k = n->named; k; k = k->next) n_named++;
    *out = (tpl_args){ 0 };
    if (!n_pos && !n_named) return true;
    tpl_value *v = mg_tpl_alloc(&ev->arena, n_pos + n_named, sizeof *v);
    tpl_str   *names = mg_tpl_alloc(&ev->arena, n_named ? n_named : 1, sizeof *names);
    if (!v || !names) return mg_tpl_no_memory(ev), false;
    size_t i = 0;
    for (const tpl_node *k = n->kids; k && !ev->status; k = k->next) v[i++] = eval(ev, k);
    for (const tpl_node *k = n->named; k && !ev->status; k = k->next) {
        names[i - n_pos] = k->text;
        v[i++] = eval(ev, k->a);
    }
    *out = (tpl_args){ .pos = v, .n = n_pos, .name = names, .named = v + n_pos, .n_named = n_named };
    return !ev->status;
}

typedef enum { FLOW_NEXT, FLOW_BREAK, FLOW_CONTINUE } flow;
static flow run(tpl_eval *ev, const tpl_node *first);

/* Run statements with their text caught. */
static tpl_str capture(tpl_eval *ev, const tpl_node *body) {
    tpl_out  o = { 0 };
    tpl_out *outer = ev->out;
    ev->out = &o;
    ev->capture_depth++;
    run(ev, body);
    ev->capture_depth--;
    ev->out = outer;
    return mg_tpl_done(ev, &o);
}

static const tpl_value *named_argument(const tpl_args *args, tpl_str name) {
    for (size_t i = 0; i < args->n_named; i++)
        if (tpl_same(args->name[i], name.s, name.n)) return &args->named[i];
    return NULL;
}

static tpl_value call_macro(tpl_eval *ev, const tpl_macro *m, const tpl_args *args) {
    tpl_scope *outer = ev->scope, *inner = push_scope(ev, m->scope);
    size_t     i = 0, used = 0;
    tpl_str    text = { .s = "" };
    if (!inner) return tpl_none();
    if (++ev->macro_depth > TPL_MAX_MACRO_DEPTH)
        mg_tpl_fail(ev, "macros call each other deeper than %d", TPL_MAX_MACRO_DEPTH);
    ev->scope = inner;
    for (const tpl_node *p = m->node->named; p && !ev->status; p = p->next, i++) {
        const tpl_value *named = named_argument(args, p->text);
        used += named != NULL;
        assign(ev, p->text,
               i < args->n ? args->pos[i]
               : named     ? *named
               : p->a      ? eval(ev, p->a)
                           : tpl_undefined(p->text));
    }
    if (args->n > i || used < args->n_named)
        mg_tpl_fail(ev, "the macro %.*s was given more or other arguments than it has", (int)m->node->text.n,
                    m->node->text.s);
    if (!ev->status) text = capture(ev, m->node->kids);
    ev->scope = outer;
    ev->macro_depth--;
    return tpl_string(text);
}

tpl_value mg_tpl_call_value(tpl_eval *ev, tpl_value f, const tpl_args *args) {
    if (f.kind == TPL_MACRO) return call_macro(ev, f.macro, args);
    if (f.kind == TPL_FUNCTION) return mg_tpl_call_row(ev, f.bound->row, f.bound->self, args);
    if (f.kind == TPL_UNDEFINED)
        return mg_tpl_fail(ev, "'%.*s' is undefined and cannot be called", (int)(f.s.n < 80 ? f.s.n : 80),
                           f.s.s ? f.s.s : "");
    return mg_tpl_fail(ev, "a %s cannot be called", mg_tpl_kind_name(f));
}

/* ---- expressions */

static tpl_value eval_constant(tpl_eval *ev, const tpl_node *n) {
    (void)ev;
    return n->value;
}
static tpl_value eval_name(tpl_eval *ev, const tpl_node *n) { return lookup(ev, n->text); }

static tpl_value eval_list(tpl_eval *ev, const tpl_node *n) {
    tpl_list *l = mg_tpl_list_new(ev);
    for (const tpl_node *k = n->kids; l && k && !ev->status; k = k->next) mg_tpl_list_add(ev, l, eval(ev, k));
    return tpl_listy(n->kind == N_tuple ? TPL_TUPLE : TPL_LIST, l);
}
#define eval_tuple eval_list

static tpl_value eval_dict(tpl_eval *ev, const tpl_node *n) {
    tpl_dict *d = mg_tpl_dict_new(ev);
    for (const tpl_node *k = n->kids; d && k && k->next && !ev->status; k = k->next->next) {
        tpl_value key = eval(ev, k);
        mg_tpl_dict_put(ev, d, key, eval(ev, k->next));
    }
    return (tpl_value){ .kind = TPL_DICT, .dict = d };
}

static tpl_value eval_attr(tpl_eval *ev, const tpl_node *n) { return mg_tpl_attr(ev, eval(ev, n->a), n->text); }

static tpl_value eval_item(tpl_eval *ev, const tpl_node *n) {
    tpl_value of = eval(ev, n->a);
    return mg_tpl_item(ev, of, eval(ev, n->b));
}

static tpl_value eval_slice(tpl_eval *ev, const tpl_node *n) {
    tpl_value       of = eval(ev, n->a), bound[3];
    const tpl_node *k = n->kids;
    for (int i = 0; i < 3; i++, k = k->next) bound[i] = eval(ev, k);
    return ev->status ? tpl_none() : mg_tpl_slice(ev, of, bound);
}

static tpl_value eval_call(tpl_eval *ev, const tpl_node *n) {
    tpl_args  args;
    tpl_value f = eval(ev, n->a);
    return arguments(ev, n, &args) && !ev->status ? mg_tpl_call_value(ev, f, &args) : tpl_none();
}

static tpl_value apply_filter(tpl_eval *ev, const tpl_node *n, tpl_value v) {
    tpl_args       args;
    const tpl_row *row = mg_tpl_filter(n->text);
    if (!row) return mg_tpl_fail(ev, "no filter named '%.*s'", (int)n->text.n, n->text.s);
    return arguments(ev, n, &args) ? mg_tpl_call_row(ev, row, v, &args) : tpl_none();
}

static tpl_value eval_filter(tpl_eval *ev, const tpl_node *n) {
    tpl_value v = eval(ev, n->a);
    return ev->status ? v : apply_filter(ev, n, v);
}

static tpl_value eval_test(tpl_eval *ev, const tpl_node *n) {
    tpl_args       args;
    tpl_value      v = eval(ev, n->a);
    const tpl_row *row = mg_tpl_test(n->text);
    if (ev->status) return v;
    if (!row) return mg_tpl_fail(ev, "no test named '%.*s'", (int)n->text.n, n->text.s);
    return arguments(ev, n, &args) ? mg_tpl_call_row(ev, row, v, &args) : tpl_none();
}

static tpl_value eval_argument(tpl_eval *ev, const tpl_node *n) { return eval(ev, n->a); }

static tpl_value numeric(tpl_eval *ev, tpl_value a, tpl_value b, const char *op) {
    if (ev->status) return tpl_none();
    const tpl_value *v = a.kind == TPL_UNDEFINED ? &a : &b;
    if (v->kind == TPL_UNDEFINED)
        return mg_tpl_fail(ev, "'%.*s' is undefined", (int)(v->s.n < 80 ? v->s.n : 80), v->s.s ? v->s.s : "");
    return mg_tpl_fail(ev, "%s between a %s and a %s", op, mg_tpl_kind_name(a), mg_tpl_kind_name(b));
}

static bool both_int(tpl_value a, tpl_value b) {
    return tpl_is_number(a) && tpl_is_number(b) && a.kind != TPL_FLOAT && b.kind != TPL_FLOAT;
}
static bool      both_number(tpl_value a, tpl_value b) { return tpl_is_number(a) && tpl_is_number(b); }
static tpl_value overflow(tpl_eval *ev) { return mg_tpl_fail(ev, "an integer grows beyond 64 bits"); }

static tpl_value eval_neg(tpl_eval *ev, const tpl_node *n) {
    tpl_value v = eval(ev, n->a);
    if (!tpl_is_number(v)) return numeric(ev, v, tpl_int(0), "-");
    if (v.kind == TPL_FLOAT) return tpl_float(-v.f);
    return v.i == INT64_MIN ? overflow(ev) : tpl_int(-v.i);
}

static tpl_value eval_pos(tpl_eval *ev, const tpl_node *n) {
    tpl_value v = eval(ev, n->a);
    if (!tpl_is_number(v)) return numeric(ev, v, tpl_int(0), "+");
    return v.kind == TPL_FLOAT ? v : tpl_int(v.i);
}

static tpl_value eval_not(tpl_eval *ev, const tpl_node *n) { return tpl_bool(!mg_tpl_truth(ev, eval(ev, n->a))); }

static tpl_value eval_and(tpl_eval *ev, const tpl_node *n) {
    tpl_value a = eval(ev, n->a);
    return ev->status || !mg_tpl_truth(ev, a) ? a : eval(ev, n->b);
}

static tpl_value eval_or(tpl_eval *ev, const tpl_node *n) {
    tpl_value a = eval(ev, n->a);
    return ev->status || mg_tpl_truth(ev, a) ? a : eval(ev, n->b);
}

static tpl_value append_lists(tpl_eval *ev, tpl_value a, tpl_value b) {
    tpl_list *l = mg_tpl_list_new(ev);
    if (!l || !mg_tpl_list_ready(ev, a.list) || !mg_tpl_list_ready(ev, b.list)) return tpl_none();
    if (!mg_tpl_burn(ev, (a.list->n + b.list->n) * 32)) return tpl_none();
    for (size_t i = 0; i < a.list->n; i++) mg_tpl_list_add(ev, l, a.list->item[i]);
    for (size_t i = 0; i < b.list->n; i++) mg_tpl_list_add(ev, l, b.list->item[i]);
    return tpl_listy(a.kind, l);
}

static tpl_value eval_add(tpl_eval *ev, const tpl_node *n) {
    tpl_value a = eval(ev, n->a), b = ev->status ? tpl_none() : eval(ev, n->b);
    int64_t   r;
    if (ev->status) return tpl_none();
    if (a.kind == TPL_STRING && b.kind == TPL_STRING) return mg_tpl_join2(ev, a.s, b.s);
    if (both_int(a, b)) return __builtin_add_overflow(a.i, b.i, &r) ? overflow(ev) : tpl_int(r);
    if (both_number(a, b)) return tpl_float(tpl_number(a) + tpl_number(b));
    if (a.kind == b.kind && (a.kind == TPL_LIST || a.kind == TPL_TUPLE)) return append_lists(ev, a, b);
    return numeric(ev, a, b, "+");
}

static tpl_value eval_sub(tpl_eval *ev, const tpl_node *n) {
    tpl_value a = eval(ev, n->a), b = eval(ev, n->b);
    int64_t   r;
    if (both_int(a, b)) return __builtin_sub_overflow(a.i, b.i, &r) ? overflow(ev) : tpl_int(r);
    return both_number(a, b) ? tpl_float(tpl_number(a) - tpl_number(b)) : numeric(ev, a, b, "-");
}

static tpl_value repeat(tpl_eval *ev, tpl_value v, int64_t times) {
    tpl_out   o = { 0 };
    tpl_list *l = mg_tpl_list_new(ev);
    if (v.kind == TPL_STRING) {
        for (int64_t i = 0; v.s.n && i < times && mg_tpl_burn(ev, v.s.n); i++) mg_tpl_add(ev, &o, v.s);
        return tpl_string(mg_tpl_done(ev, &o));
    }
    if (!l || !mg_tpl_list_ready(ev, v.list)) return tpl_none();
    for (int64_t i = 0; v.list->n && i < times && mg_tpl_burn(ev, v.list->n * 32); i++)
        for (size_t k = 0; k < v.list->n; k++) mg_tpl_list_add(ev, l, v.list->item[k]);
    return tpl_listy(v.kind, l);
}

static bool repeats(tpl_value v) { return v.kind == TPL_STRING || v.kind == TPL_LIST || v.kind == TPL_TUPLE; }
static bool counts(tpl_value v) { return v.kind == TPL_INT || v.kind == TPL_BOOL; }

static tpl_value eval_mul(tpl_eval *ev, const tpl_node *n) {
    tpl_value a = eval(ev, n->a), b = eval(ev, n->b);
    int64_t   r;
    if (ev->status) return tpl_none();
    if (both_int(a, b)) return __builtin_mul_overflow(a.i, b.i, &r) ? overflow(ev) : tpl_int(r);
    if (both_number(a, b)) return tpl_float(tpl_number(a) * tpl_number(b));
    if (repeats(a) && counts(b)) return repeat(ev, a, b.i);
    if (repeats(b) && counts(a)) return repeat(ev, b, a.i);
    return numeric(ev, a, b, "*");
}

static tpl_value eval_div(tpl_eval *ev, const tpl_node *n) {
    tpl_value a = eval(ev, n->a), b = eval(ev, n->b);
    if (!both_number(a, b)) return numeric(ev, a, b, "/");
    if (tpl_number(b) == 0) return mg_tpl_fail(ev, "division by zero");
    return tpl_float(tpl_number(a) / tpl_number(b));
}

/* Python rounds towards minus infinity; the remainder has the divisor's sign. */
static tpl_value divide(tpl_eval *ev, tpl_value a, tpl_value b, bool remainder) {
    if (tpl_number(b) == 0) return mg_tpl_fail(ev, "division by zero");
    if (both_int(a, b)) {
        if (b.i == -1) return remainder ? tpl_int(0) : a.i == INT64_MIN ? overflow(ev) : tpl_int(-a.i);
        int64_t q = a.i / b.i, r = a.i % b.i;
        bool    down = r && (r < 0) != (b.i < 0);
        return tpl_int(remainder ? r + (down ? b.i : 0) : q - down);
    }
    double q = floor(tpl_number(a) / tpl_number(b)), r = fmod(tpl_number(a), tpl_number(b));
    if (r != 0 && (r < 0) != (tpl_number(b) < 0)) r += tpl_number(b);
    return tpl_float(remainder ? r : q);
}

static tpl_value eval_floordiv(tpl_eval *ev, const tpl_node *n) {
    tpl_value a = eval(ev, n->a), b = eval(ev, n->b);
    return both_number(a, b) ? divide(ev, a, b, false) : numeric(ev, a, b, "//");
}

static tpl_value eval_mod(tpl_eval *ev, const tpl_node *n) {
    tpl_value a = eval(ev, n->a), b = eval(ev, n->b);
    if (ev->status) return tpl_none();
    if (a.kind == TPL_STRING)
        return b.kind == TPL_TUPLE ? mg_tpl_percent(ev, a.s, b.list->item, b.list->n)
                                   : mg_tpl_percent(ev, a.s, &b, 1);
    return both_number(a, b) ? divide(ev, a, b, true) : numeric(ev, a, b, "%");
}

static tpl_value eval_pow(tpl_eval *ev, const tpl_node *n) {
    tpl_value a = eval(ev, n->a), b = eval(ev, n->b);
    int64_t   r = 1;
    if (!both_number(a, b)) return numeric(ev, a, b, "**");
    if (!both_int(a, b) || b.i < 0) return tpl_float(pow(tpl_number(a), tpl_number(b)));
    if (b.i > 64 && a.i != 0 && a.i != 1 && a.i != -1) return overflow(ev);
    int64_t times = b.i > 64 ? 64 + (b.i & 1) : b.i;
    for (int64_t i = 0; i < times; i++)
        if (__builtin_mul_overflow(r, a.i, &r)) return overflow(ev);
    return tpl_int(r);
}

static tpl_value eval_concat(tpl_eval *ev, const tpl_node *n) {
    tpl_out o = { 0 };
    for (const tpl_node *k = n->kids; k && !ev->status; k = k->next) {
        tpl_value v = eval(ev, k);
        if (!ev->status) mg_tpl_print(ev, &o, v);
    }
    mg_tpl_burn(ev, o.n);
    return tpl_string(mg_tpl_done(ev, &o));
}

static bool compares(tpl_eval *ev, tpl_str op, tpl_value a, tpl_value b) {
    if (TPL_IS(op, "==")) return mg_tpl_equal(ev, a, b);
    if (TPL_IS(op, "!=")) return !mg_tpl_equal(ev, a, b);
    if (TPL_IS(op, "in")) return mg_tpl_contains(ev, b, a);
    if (TPL_IS(op, "not in")) return !mg_tpl_contains(ev, b, a);
    if (tpl_is_number(a) && tpl_is_number(b) && (isnan(tpl_number(a)) || isnan(tpl_number(b)))) return false;
    int order = mg_tpl_order(ev, a, b);
    if (TPL_IS(op, "<")) return order < 0;
    if (TPL_IS(op, "<=")) return order <= 0;
    return TPL_IS(op, ">") ? order > 0 : order >= 0;
}

static tpl_value eval_compare(tpl_eval *ev, const tpl_node *n) {
    tpl_value a = eval(ev, n->a);
    bool      yes = true;
    for (const tpl_node *k = n->kids; k && yes && !ev->status; k = k->next) {
        tpl_value b = eval(ev, k->a);
        if (ev->status) break;
        yes = compares(ev, k->text, a, b);
        a = b;
    }
    return tpl_bool(yes);
}

static tpl_value eval_choice(tpl_eval *ev, const tpl_node *n) {
    bool yes = mg_tpl_truth(ev, eval(ev, n->b));
    if (ev->status) return tpl_none();
    return yes ? eval(ev, n->a) : n->c ? eval(ev, n->c) : tpl_undefined(mg_tpl_text("the other choice"));
}

static tpl_value eval(tpl_eval *ev, const tpl_node *n) {
    static tpl_value (*const table[N_COUNT])(tpl_eval *, const tpl_node *) = {
#define EXPR(name) [N_##name] = eval_##name,
#define STMT(name)
#include "text/template_nodes.def"
#undef EXPR
#undef STMT
    };
    tpl_value v = tpl_none();
    if (ev->status) return v;
    ev->line = n->line;
    if (enter(ev)) v = table[n->kind](ev, n);
    ev->depth--;
    return ev->status ? tpl_none() : v;
}

/* ---- statements */

static flow run_data(tpl_eval *ev, const tpl_node *n) {
    mg_tpl_add(ev, ev->out, n->text);
    return FLOW_NEXT;
}

static flow run_print(tpl_eval *ev, const tpl_node *n) {
    tpl_value v = eval(ev, n->a);
    if (!ev->status) mg_tpl_print(ev, ev->out, v);
    return FLOW_NEXT;
}

static flow run_if(tpl_eval *ev, const tpl_node *n) {
    while (n && n->kind == N_if && !ev->status) {
        bool yes = mg_tpl_truth(ev, eval(ev, n->a));
        if (ev->status) return FLOW_NEXT;
        if (yes) return run(ev, n->kids);
        n = n->b;
    }
    return n && !ev->status ? run(ev, n->kids) : FLOW_NEXT;
}

static flow run_block(tpl_eval *ev, const tpl_node *n) { return run(ev, n->kids); }

/* Assign to a name, a namespace's member or a tuple of names. */
static void store(tpl_eval *ev, const tpl_node *to, tpl_value v) {
    if (ev->status) return;
    if (to->kind == N_name) {
        assign(ev, to->text, v);
    } else if (to->kind == N_attr) {
        tpl_value ns = eval(ev, to->a);
        if (ev->status) return;
        if (ns.kind != TPL_NAMESPACE)
            mg_tpl_fail(ev, "only a namespace's members can be assigned to, found a %s", mg_tpl_kind_name(ns));
        else if (to->text.n && to->text.s[0] == '_')
            mg_tpl_fail(ev, "a namespace's members cannot begin with '_'");
        else
            mg_tpl_dict_put(ev, ns.dict, tpl_string(to->text), v);
    } else {
        size_t    n = 0;
        tpl_list *l = mg_tpl_iterate(ev, v);
        if (!l) return;
        for (const tpl_node *k = to->kids; k; k = k->next) n++;
        if (n != l->n) {
            mg_tpl_fail(ev, "%zu values cannot be unpacked into %zu names", l->n, n);
            return;
        }
        n = 0;
        for (const tpl_node *k = to->kids; k; k = k->next) store(ev, k, l->item[n++]);
    }
}

/* The members that the loop's condition lets through. */
static tpl_list *chosen(tpl_eval *ev, const tpl_node *n, tpl_list *all) {
    tpl_list  *l = mg_tpl_list_new(ev);
    tpl_scope *outer = ev->scope;
    for (size_t i = 0; l && i < all->n && !ev->status; i++) {
        if (!(ev->scope = push_scope(ev, outer))) break;
        store(ev, n->a, all->item[i]);
        bool yes = mg_tpl_truth(ev, eval(ev, n->c));
        if (yes && !ev->status) mg_tpl_list_add(ev, l, all->item[i]);
    }
    ev->scope = outer;
    return ev->status ? NULL : l;
}

static flow run_for(tpl_eval *ev, const tpl_node *n) {
    tpl_scope *outer = ev->scope;
    tpl_value  over = eval(ev, n->b);
    tpl_list  *l = ev->status ? NULL : mg_tpl_iterate(ev, over);
    if (l && n->c) l = chosen(ev, n, l);
    tpl_loop *loop = l ? mg_tpl_alloc(&ev->arena, 1, sizeof *loop) : NULL;
    if (!loop) {
        if (l) mg_tpl_no_memory(ev);
        return FLOW_NEXT;
    }
    *loop = (tpl_loop){ .item = l->item, .n = l->n, .depth = 1 };
    if (!loop->n) return run(ev, n->named);
    for (flow f = FLOW_NEXT; loop->index < loop->n && f != FLOW_BREAK && !ev->status; loop->index++) {
        if (!(ev->scope = push_scope(ev, outer))) break;
        store(ev, n->a, loop->item[loop->index]);
        assign(ev, mg_tpl_text("loop"), (tpl_value){ .kind = TPL_LOOP, .loop = loop });
        f = run(ev, n->kids);
    }
    ev->scope = outer;
    return FLOW_NEXT;
}

static flow run_set(tpl_eval *ev, const tpl_node *n) {
    store(ev, n->a, eval(ev, n->b));
    return FLOW_NEXT;
}

static tpl_value apply_filters(tpl_eval *ev, const tpl_node *f, tpl_value v) {
    if (!f || ev->status) return v;
    if (!enter(ev)) return tpl_none();
    v = apply_filters(ev, f->a, v);
    ev->depth--;
    return ev->status ? v : apply_filter(ev, f, v);
}

/* A block with a scope of its own, its text caught and filtered. */
static tpl_value filtered(tpl_eval *ev, const tpl_node *n) {
    tpl_scope *outer = ev->scope;
    if (!(ev->scope = push_scope(ev, outer))) {
        ev->scope = outer;
        return tpl_none();
    }
    tpl_str text = capture(ev, n->kids);
    ev->scope = outer;
    return apply_filters(ev, n->b, tpl_string(text));
}

static flow run_set_block(tpl_eval *ev, const tpl_node *n) {
    store(ev, n->a, filtered(ev, n));
    return FLOW_NEXT;
}

static flow run_filter_block(tpl_eval *ev, const tpl_node *n) {
    tpl_value v = filtered(ev, n);
    if (!ev->status) mg_tpl_print(ev, ev->out, v);
    return FLOW_NEXT;
}

static flow run_macro(tpl_eval *ev, const tpl_node *n) {
    tpl_macro *m = mg_tpl_alloc(&ev->arena, 1, sizeof *m);
    if (!m)
        mg_tpl_no_memory(ev);
    else {
        *m = (tpl_macro){ n, ev->scope };
        assign(ev, n->text, (tpl_value){ .kind = TPL_MACRO, .macro = m });
    }
    return FLOW_NEXT;
}

/* Written straight to the output: a span.  Written into something that is caught (a macro), the place is not yet
 * known: the bytes are marked and found in the finished text. */
static flow run_generation(tpl_eval *ev, const tpl_node *n) {
    tpl_scope *outer = ev->scope;
    size_t     begin = ev->out->n;
    if (!(ev->scope = push_scope(ev, outer))) {
        ev->scope = outer;
        return FLOW_NEXT;
    }
    run(ev, n->kids);
    ev->scope = outer;
    if (ev->status) return FLOW_NEXT;
    if (ev->capture_depth) {
        for (size_t i = begin; i < ev->out->n; i++) ev->out->mark[i] |= TPL_GENERATED;
        return FLOW_NEXT;
    }
    mg_rendered *r = ev->rendered;
    if (!MG_GROW(r->span, r->cap_spans, r->n_spans + 1))
        mg_tpl_no_memory(ev);
    else
        r->span[r->n_spans++] = (mg_span){ begin, ev->out->n };
    return FLOW_NEXT;
}

static flow run_with(tpl_eval *ev, const tpl_node *n) {
    tpl_scope *outer = ev->scope, *inner = push_scope(ev, outer);
    if (!inner) return FLOW_NEXT;
    for (const tpl_node *k = n->named; k && !ev->status; k = k->next) {
        ev->scope = outer; /* values do not see each other */
        tpl_value v = eval(ev, k->b);
        ev->scope = inner;
        store(ev, k->a, v);
    }
    ev->scope = inner;
    flow f = run(ev, n->kids);
    ev->scope = outer;
    return f;
}

static flow run_break(tpl_eval *ev, const tpl_node *n) {
    (void)ev, (void)n;
    return FLOW_BREAK;
}
static flow run_continue(tpl_eval *ev, const tpl_node *n) {
    (void)ev, (void)n;
    return FLOW_CONTINUE;
}

static flow run(tpl_eval *ev, const tpl_node *first) {
    static flow (*const table[N_COUNT])(tpl_eval *, const tpl_node *) = {
#define EXPR(name)
#define STMT(name) [N_##name] = run_##name,
#include "text/template_nodes.def"
#undef EXPR
#undef STMT
    };
    flow f = FLOW_NEXT;
    ev->depth++;
    for (const tpl_node *n = first; n && f == FLOW_NEXT && !ev->status; n = n->next) {
        ev->line = n->line;
        if (ev->depth > TPL_MAX_DEPTH) mg_tpl_fail(ev, "nested deeper than %d", TPL_MAX_DEPTH);
        if (mg_tpl_burn(ev, 0)) f = table[n->kind](ev, n);
    }
    ev->depth--;
    return f;
}

/* ---- rendering */

/* The context's members.  Containers hold what users wrote; single strings (bos_token, a date) are the program's.
 */
static void fill_context(tpl_eval *ev) {
    yyjson_obj_iter it = yyjson_obj_iter_with(ev->context);
    for (yyjson_val *k; (k = yyjson_obj_iter_next(&it)) && !ev->status;) {
        yyjson_val *v = yyjson_obj_iter_get_val(k);
        assign(ev, (tpl_str){ .s = yyjson_get_str(k), .n = yyjson_get_len(k) },
               mg_tpl_from_json(ev, v, yyjson_is_ctn(v) ? TPL_USER : 0));
    }
}

/* Runs of bytes that were generated inside something caught become spans too. */
static void spans_from_marks(tpl_eval *ev, const tpl_out *o) {
    mg_rendered *r = ev->rendered;
    for (size_t i = 0; i < o->n;) {
        size_t begin = i;
        bool   inside = o->mark[i] & TPL_GENERATED;
        while (i < o->n && inside == (bool)(o->mark[i] & TPL_GENERATED)) i++;
        if (!inside) continue;
        if (!MG_GROW(r->span, r->cap_spans, r->n_spans + 1)) {
            mg_tpl_no_memory(ev);
            return;
        }
        size_t at = r->n_spans++;
        for (; at && r->span[at - 1].begin > begin; at--) r->span[at] = r->span[at - 1];
        r->span[at] = (mg_span){ begin, i };
    }
}

static mg_status finish(tpl_eval *ev, const tpl_out *o, mg_rendered *out) {
    spans_from_marks(ev, o);
    mg_buf_add(&out->text, o->s ? o->s : "", o->n);
    out->mark = mg_calloc(o->n + 1, 1);
    if (out->text.failed || !out->mark) mg_tpl_no_memory(ev);
    for (size_t i = 0; i < o->n && out->mark; i++) out->mark[i] = o->mark[i] & (TPL_USER | TPL_ASSISTANT);
    return ev->status;
}

mg_status mg_template_render(const mg_template *t, yyjson_val *context, mg_rendered *out, mg_error *err) {
    mg_rendered r = { .has_generation_tags = t->has_generation_tags };
    tpl_out     o = { 0 };
    tpl_eval    ev = { .arena = { .limit = TPL_MAX_ARENA },
                       .tpl = t,
                       .context = context,
                       .out = &o,
                       .rendered = &r,
                       .err = err,
                       .fuel = TPL_FUEL,
                       .line = 1 };
    if (!yyjson_is_obj(context))
        return mg_fail(err, MG_TEMPLATE, "%s: the variables of a template are a JSON object", t->name);
    ev.scope = push_scope(&ev, NULL);
    if (ev.scope) fill_context(&ev);
    if (!ev.status) run(&ev, t->body);
    mg_status st = ev.status ? ev.status : finish(&ev, &o, &r);
    mg_tpl_arena_free(&ev.arena);
    if (st)
        mg_rendered_free(&r);
    else
        *out = r;
    return st;
}
