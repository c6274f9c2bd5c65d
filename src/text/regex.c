/* regex.c -- compile and match with PCRE2.
 *
 * The JIT makes the patterns of real tokenizers some ten times as fast as
 * interpretation; where the machine forbids executable memory pcre2_match
 * falls back to the interpreter by itself. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/regex.h"

#include <pcre2.h>
#include <stdlib.h>

enum { PATTERN_MAX = 16384, MATCH_LIMIT = 2000000, JIT_STACK_MIN = 32 * 1024, JIT_STACK_MAX = 4 * 1024 * 1024 };

struct mg_regex {
    pcre2_code *code;
};

struct mg_regex_work {
    pcre2_match_data    *match;
    pcre2_match_context *context;
    pcre2_jit_stack     *stack;
};

mg_status mg_regex_compile(mg_regex **out, const char *pattern, size_t n, const char *name, mg_error *err) {
    mg_buf                 text = { 0 };
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    mg_regex              *r = mg_calloc(1, sizeof *r);
    mg_status              st = n <= PATTERN_MAX
                                    ? mg_regex_rewrite(&text, pattern, n, name, err)
                                    : mg_fail(err, MG_FORMAT, "%s: a regular expression of %zu bytes, at most %d are allowed",
                                              name, n, PATTERN_MAX);
    int                    code = 0;
    PCRE2_SIZE             at = 0;
    if (st) goto done;
    if (!context || !r) {
        st = mg_fail(err, MG_NOMEM, "%s: no memory for a regular expression", name);
        goto done;
    }
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    r->code =
        pcre2_compile((PCRE2_SPTR)text.data, text.len,
                      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &code, &at, context);
    if (!r->code) {
        PCRE2_UCHAR why[120];
        pcre2_get_error_message(code, why, sizeof why);
        st = mg_fail(err, MG_FORMAT, "%s: the regular expression '%.200s' is not understood: %s", name, pattern,
                     (const char *)why);
        goto done;
    }
    pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE);
done:
    pcre2_compile_context_free(context);
    mg_buf_free(&text);
    if (st)
        mg_regex_free(r);
    else
        *out = r;
    return st;
}

void mg_regex_free(mg_regex *r) {
    if (!r) return;
    pcre2_code_free(r->code);
    free(r);
}

mg_regex_work *mg_regex_work_new(void) {
    mg_regex_work *w = mg_calloc(1, sizeof *w);
    if (!w) return NULL;
    w->match = pcre2_match_data_create(1, NULL);
    w->context = pcre2_match_context_create(NULL);
    w->stack = pcre2_jit_stack_create(JIT_STACK_MIN, JIT_STACK_MAX, NULL);
    if (!w->match || !w->context) {
        mg_regex_work_free(w);
        return NULL;
    }
    pcre2_set_match_limit(w->context, MATCH_LIMIT);
    if (w->stack) pcre2_jit_stack_assign(w->context, NULL, w->stack); /* NULL: a PCRE2 without JIT */
    return w;
}

void mg_regex_work_free(mg_regex_work *w) {
    if (!w) return;
    pcre2_jit_stack_free(w->stack);
    pcre2_match_context_free(w->context);
    pcre2_match_data_free(w->match);
    free(w);
}

mg_found mg_regex_find(const mg_regex *r, mg_regex_work *w, const char *text, size_t n, size_t from, size_t *begin,
                       size_t *end) {
    int rc = pcre2_match(r->code, (PCRE2_SPTR)text, n, from, PCRE2_NO_UTF_CHECK, w->match, w->context);
    if (rc == PCRE2_ERROR_NOMATCH) return MG_FOUND_NONE;
    if (rc < 0) return MG_FOUND_LIMIT;
    const PCRE2_SIZE *span = pcre2_get_ovector_pointer(w->match);
    *begin = span[0];
    *end = span[1] < span[0] ? span[0] : span[1]; /* \K can put the begin behind the end */
    return MG_FOUND;
}
