/* tokenizer_stage.c -- a component of tokenizer.json as a chain of stages.
 *
 * "Sequence" only nests, so a component is flattened while it is read.  The
 * text of its JSON is kept for mg_tokenizer_write_json. */
#include "text/tokenizer_impl.h"

#include <stdlib.h>
#include <string.h>

static mg_status parse_into(tok_chain *c, const tok_stage_row *const *rows, const char *list_key,
                            yyjson_val *config, const char *what, const char *name, mg_error *err) {
    const char *type = yyjson_get_str(yyjson_obj_get(config, "type"));
    if (!type) return mg_fail(err, MG_FORMAT, "%s: the %s has no \"type\"", name, what);
    if (!strcmp(type, "Sequence")) {
        yyjson_val *list = yyjson_obj_get(config, list_key), *item;
        size_t      i, n;
        if (!yyjson_is_arr(list))
            return mg_fail(err, MG_FORMAT, "%s: the %s is a Sequence without a list", name, what);
        yyjson_arr_foreach(list, i, n, item) {
            mg_status st = parse_into(c, rows, list_key, item, what, name, err);
            if (st) return st;
        }
        return MG_OK;
    }
    for (; *rows; rows++)
        if (!strcmp((*rows)->type, type)) break;
    if (!*rows)
        return mg_fail(err, MG_UNSUPPORTED,
                       "%s: the %s '%.60s' is not known here; save the tokenizer in a newer form", name, what,
                       type);
    if (c->n == TOK_MAX_STAGES)
        return mg_fail(err, MG_FORMAT, "%s: more than %d steps in the %s", name, TOK_MAX_STAGES, what);
    tok_stage *s = &c->stage[c->n++];
    s->row = *rows;
    return s->row->parse ? s->row->parse(s, config, name, err) : MG_OK;
}

mg_status tok_chain_parse(tok_chain *c, const tok_stage_row *const *rows, const char *list_key, yyjson_val *config,
                          const char *what, const char *name, mg_error *err) {
    if (!config || yyjson_is_null(config)) return MG_OK;
    mg_status st = parse_into(c, rows, list_key, config, what, name, err);
    if (st) return st;
    c->json = yyjson_val_write(config, YYJSON_WRITE_NOFLAG, NULL);
    return c->json ? MG_OK : mg_fail(err, MG_NOMEM, "%s: no memory", name);
}

void tok_chain_free(tok_chain *c) {
    for (int i = 0; i < c->n; i++) {
        tok_stage *s = &c->stage[i];
        mg_regex_free(s->regex);
        free(s->pattern);
        free(s->content);
        free(s->charsmap);
    }
    free(c->json);
    *c = (tok_chain){ 0 };
}

bool tok_parse_bool(yyjson_val *config, const char *key, bool fallback) {
    yyjson_val *v = yyjson_obj_get(config, key);
    return yyjson_is_bool(v) ? yyjson_get_bool(v) : fallback;
}

mg_status tok_parse_string(char **out, size_t *n, yyjson_val *config, const char *key, const char *name,
                           mg_error *err) {
    yyjson_val *v = yyjson_obj_get(config, key);
    if (!yyjson_is_str(v)) return mg_fail(err, MG_FORMAT, "%s: \"%s\" is missing, a string is wanted", name, key);
    *n = yyjson_get_len(v);
    *out = mg_strndup(yyjson_get_str(v), *n);
    return *out ? MG_OK : mg_fail(err, MG_NOMEM, "%s: no memory", name);
}

/* {"String": "x"}, {"Regex": "x"} or plain "x"; a regular expression without a special character is a string. */
mg_status tok_parse_pattern(tok_stage *s, yyjson_val *config, const char *name, mg_error *err) {
    yyjson_val *pattern = yyjson_obj_get(config, "pattern");
    yyjson_val *regex = yyjson_obj_get(pattern, "Regex");
    if (yyjson_is_str(regex) && yyjson_get_len(regex) &&
        strcspn(yyjson_get_str(regex), "\\^$.|?*+()[]{}") == yyjson_get_len(regex))
        return tok_parse_string(&s->pattern, &s->pattern_len, pattern, "Regex", name, err);
    if (yyjson_is_str(regex))
        return mg_regex_compile(&s->regex, yyjson_get_str(regex), yyjson_get_len(regex), name, err);
    if (yyjson_is_obj(pattern))
        return tok_parse_string(&s->pattern, &s->pattern_len, pattern, "String", name, err);
    return tok_parse_string(&s->pattern, &s->pattern_len, config, "pattern", name, err);
}

static bool replace_literal(const tok_stage *s, const char *text, size_t n, mg_buf *out) {
    const char *p = text, *end = text + n;
    size_t      most = out->len + tok_growth_limit(n);
    while (s->pattern_len) {
        if (out->len > most) return false;
        const char *hit = memmem(p, (size_t)(end - p), s->pattern, s->pattern_len);
        if (!hit) break;
        mg_buf_add(out, p, (size_t)(hit - p));
        mg_buf_add(out, s->content, s->content_len);
        p = hit + s->pattern_len;
    }
    mg_buf_add(out, p, (size_t)(end - p));
    return !out->failed;
}

bool tok_replace(const tok_stage *s, mg_regex_work *w, const char *text, size_t n, mg_buf *out) {
    if (!s->regex) return replace_literal(s, text, n, out);
    size_t copied = 0, from = 0, last_end = SIZE_MAX, begin, end, most = out->len + tok_growth_limit(n);
    while (from <= n) {
        if (out->len > most) return false;
        mg_found f = mg_regex_find(s->regex, w, text, n, from, &begin, &end);
        if (f == MG_FOUND_LIMIT) return false;
        if (f == MG_FOUND_NONE) break;
        if (begin == end && end == last_end) { /* nothing, right behind a match: look one character on */
            from = end < n ? end + mg_utf8_width(text[end]) : n + 1;
            continue;
        }
        mg_buf_add(out, text + copied, begin - copied);
        mg_buf_add(out, s->content, s->content_len);
        copied = from = last_end = end;
    }
    mg_buf_add(out, text + copied, n - copied);
    return !out->failed;
}
