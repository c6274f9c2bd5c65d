/* template.c -- a chat template from its source to a tree that can be rendered many times. */
#include "text/template_parts.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* Byte offset of the first thing that is not UTF-8; n when there is none. */
static size_t first_bad(const char *text, size_t n) {
    utf8proc_int32_t code;
    for (size_t i = 0; i < n;) {
        utf8proc_ssize_t k =
            utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(n - i), &code);
        if (k < 1) return i;
        i += (size_t)k;
    }
    return n;
}

mg_status mg_template_parse(mg_template **out, const char *text, size_t n, const char *name, mg_error *err) {
    tpl_token *token = NULL;
    if (n > TPL_MAX_SOURCE)
        return mg_fail(err, MG_TEMPLATE, "%s: %zu bytes, a template has at most %d", name, n, TPL_MAX_SOURCE);
    size_t bad = first_bad(text, n);
    if (bad < n) return mg_fail(err, MG_TEMPLATE, "%s: byte %zu is not UTF-8", name, bad);
    mg_template *t = mg_calloc(1, sizeof *t);
    if (!t || !(t->name = mg_strdup(name))) {
        free(t);
        return mg_fail(err, MG_NOMEM, "%s: no memory", name);
    }
    t->arena.limit = TPL_MAX_ARENA;
    mg_status st = mg_tpl_lex(&t->arena, text, n, name, &token, err);
    if (!st) st = mg_tpl_parse(t, token, err);
    free(token);
    if (st)
        mg_template_free(t);
    else
        *out = t;
    return st;
}

void mg_template_free(mg_template *t) {
    if (!t) return;
    mg_tpl_arena_free(&t->arena);
    free(t->name);
    free(t);
}

void mg_rendered_free(mg_rendered *r) {
    mg_buf_free(&r->text);
    free(r->span);
    free(r->mark);
    *r = (mg_rendered){ 0 };
}
