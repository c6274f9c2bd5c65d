/* yaml.c -- libyaml's events folded into dotted keys.
 *
 * A recursive walk over the events, one function a node kind.  Recursion is
 * bounded by MAX_DEPTH, work by MAX_ITEMS and the file size.  A dotted path
 * must be new, except below a list, where the elements repeat it. */
#include "base/yaml.h"

#include "base/file.h"
#include "base/json.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <yaml.h>

enum { MAX_BYTES = 1 << 20, MAX_DEPTH = 16, MAX_ITEMS = 10000, MAX_KEY = 512 };

typedef struct {
    yaml_parser_t parser;
    yaml_event_t  event;   /* the current one, owned */
    bool          has_event;
    const char   *name;
    mg_yaml      *out;
    size_t        items;
    mg_error     *err;
} reader;

static size_t line_of(const reader *r) { return r->event.start_mark.line + 1; }

/* Refuse an event that this subset does not have. */
static mg_status check_event(reader *r) {
    const yaml_event_t *e = &r->event;
    const char         *what = NULL;
    if (e->type == YAML_ALIAS_EVENT) what = "*alias";
    if (e->type == YAML_SCALAR_EVENT) what = e->data.scalar.anchor ? "&anchor" : e->data.scalar.tag ? "!tag" : NULL;
    if (e->type == YAML_SEQUENCE_START_EVENT)
        what = e->data.sequence_start.anchor ? "&anchor" : e->data.sequence_start.tag ? "!tag" : NULL;
    if (e->type == YAML_MAPPING_START_EVENT)
        what = e->data.mapping_start.anchor ? "&anchor" : e->data.mapping_start.tag ? "!tag" : NULL;
    if (!what) return MG_OK;
    return mg_fail(r->err, MG_CONFIG, "%s:%zu: YAML's %s is not read here; write the value out", r->name, line_of(r), what);
}

static mg_status next(reader *r) {
    if (r->has_event) yaml_event_delete(&r->event);
    r->has_event = false;
    if (!yaml_parser_parse(&r->parser, &r->event))
        return mg_fail(r->err, r->parser.error == YAML_MEMORY_ERROR ? MG_NOMEM : MG_CONFIG, "%s:%zu: not valid YAML: %s",
                       r->name, r->parser.problem_mark.line + 1, r->parser.problem ? r->parser.problem : "?");
    r->has_event = true;
    return check_event(r);
}

static mg_yaml_entry *find(mg_yaml *y, const char *key) {
    for (size_t i = 0; i < y->n; i++)
        if (!strcmp(y->entry[i].key, key)) return &y->entry[i];
    return NULL;
}

static mg_status new_entry(reader *r, const char *key, mg_yaml_entry **out) {
    if (++r->items > MAX_ITEMS)
        return mg_fail(r->err, MG_CONFIG, "%s:%zu: more than %d values", r->name, line_of(r), MAX_ITEMS);
    if (!MG_GROW(r->out->entry, r->out->cap, r->out->n + 1)) return mg_fail(r->err, MG_NOMEM, "%s: no memory", r->name);
    mg_yaml_entry *e = &r->out->entry[r->out->n];
    *e = (mg_yaml_entry){ .key = mg_strdup(key), .line = line_of(r) };
    if (!e->key) return mg_fail(r->err, MG_NOMEM, "%s: no memory", r->name);
    r->out->n++;
    *out = e;
    return MG_OK;
}

static bool is_null(const yaml_event_t *e) {
    const char *s = (const char *)e->data.scalar.value;
    return e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && (!*s || !strcmp(s, "~") || !strcasecmp(s, "null"));
}

static mg_status add_item(reader *r, mg_yaml_entry *e) {
    const char *s = (const char *)r->event.data.scalar.value;
    if (strlen(s) != r->event.data.scalar.length)
        return mg_fail(r->err, MG_CONFIG, "%s:%zu: a text with a NUL byte", r->name, line_of(r));
    if (++r->items > MAX_ITEMS)
        return mg_fail(r->err, MG_CONFIG, "%s:%zu: more than %d values", r->name, line_of(r), MAX_ITEMS);
    if (!MG_GROW(e->item, e->cap, e->n + 1)) return mg_fail(r->err, MG_NOMEM, "%s: no memory", r->name);
    char *copy = is_null(&r->event) ? NULL : mg_strdup(s);
    if (!copy && !is_null(&r->event)) return mg_fail(r->err, MG_NOMEM, "%s: no memory", r->name);
    e->item[e->n++] = copy;
    return MG_OK;
}

static mg_status read_map(reader *r, const char *prefix, bool below_list, int depth);

/* An empty text in front of, or behind, an entry's items. */
static bool pad(mg_yaml_entry *e, bool front) {
    char *empty = MG_GROW(e->item, e->cap, e->n + 1) ? mg_strdup("") : NULL;
    if (!empty) return false;
    if (front) memmove(e->item + 1, e->item, e->n * sizeof *e->item);
    e->item[front ? 0 : e->n] = empty;
    e->n++;
    return true;
}

/* Element number `i` of a list of maps is read: what it lacks gets an empty text, so that text number i of each key is
 * that of element i.  Keys whose values are lists themselves have no such order. */
static bool fill_gaps(mg_yaml *y, const char *element, size_t i) {
    size_t n = strlen(element);
    for (size_t k = 0; k < y->n; k++) {
        mg_yaml_entry *e = &y->entry[k];
        if (strncmp(e->key, element, n) != 0 || e->key[n] != '.') continue;
        while (i > 0 && e->n == 1 && !e->seen && e->n < i + 1)
            for (size_t j = 0; j < i; j++)
                if (!pad(e, true)) return false;
        e->seen = true;
        if (e->n == i && !pad(e, false)) return false;
    }
    return true;
}

/* A scalar, list or map that belongs to `key`; its first event is current. */
static mg_status read_list(reader *r, const char *key, bool below_list, int depth) {
    char   element[MAX_KEY + 3];
    size_t n = strlen(key);
    memcpy(element, key, n);
    memcpy(element + n, "[]", 3);
    mg_yaml_entry *e = find(r->out, key);
    mg_status      st = MG_OK;
    if (e && !below_list) return mg_fail(r->err, MG_CONFIG, "%s:%zu: the key '%s' stands twice", r->name, line_of(r), key);
    size_t index = r->out->n;
    bool   scalars = false;
    size_t maps = 0;
    if (!e) st = new_entry(r, key, &e);
    else
        index = (size_t)(e - r->out->entry);
    if (st) return st;
    e->is_list = true;
    while (!(st = next(r)) && r->event.type != YAML_SEQUENCE_END_EVENT) {
        e = &r->out->entry[index]; /* the array may have moved */
        if (r->event.type == YAML_SCALAR_EVENT) {
            scalars = true;
            st = add_item(r, e);
        } else if (r->event.type == YAML_MAPPING_START_EVENT) {
            st = read_map(r, element, true, depth + 1);
            if (!st && !fill_gaps(r->out, element, maps++)) st = mg_fail(r->err, MG_NOMEM, "%s: no memory", r->name);
        } else
            st = mg_fail(r->err, MG_CONFIG, "%s:%zu: '%s' is a list of lists", r->name, line_of(r), key);
        if (st) return st;
    }
    /* A list of maps holds its values under key[].*; the list itself is then nothing. */
    e = &r->out->entry[index];
    if (!st && !scalars && !e->n && r->out->n > index + 1) {
        free(e->item);
        free(e->key);
        memmove(e, e + 1, (r->out->n - index - 1) * sizeof *e);
        r->out->n--;
    }
    return st;
}

static mg_status read_value(reader *r, const char *key, bool below_list, int depth) {
    mg_yaml_entry *e = NULL;
    mg_status      st;
    if (depth > MAX_DEPTH)
        return mg_fail(r->err, MG_CONFIG, "%s:%zu: nested deeper than %d", r->name, line_of(r), MAX_DEPTH);
    if (r->event.type == YAML_SEQUENCE_START_EVENT) return read_list(r, key, below_list, depth);
    if (r->event.type == YAML_MAPPING_START_EVENT) return read_map(r, key, below_list, depth);
    if (r->event.type != YAML_SCALAR_EVENT) return mg_fail(r->err, MG_CONFIG, "%s:%zu: a value is missing", r->name, line_of(r));
    e = find(r->out, key);
    if (e && !below_list) return mg_fail(r->err, MG_CONFIG, "%s:%zu: the key '%s' stands twice", r->name, line_of(r), key);
    if (!e && (st = new_entry(r, key, &e))) return st;
    if (below_list) e->is_list = true;
    return add_item(r, e);
}

static mg_status read_map(reader *r, const char *prefix, bool below_list, int depth) {
    char           key[MAX_KEY];
    size_t         before = r->out->n;
    size_t         line = line_of(r);
    mg_status      st;
    mg_yaml_entry *e;
    while (!(st = next(r)) && r->event.type != YAML_MAPPING_END_EVENT) {
        if (r->event.type != YAML_SCALAR_EVENT)
            return mg_fail(r->err, MG_CONFIG, "%s:%zu: a key must be a word", r->name, line_of(r));
        const char *word = (const char *)r->event.data.scalar.value;
        size_t      n = r->event.data.scalar.length, at = strlen(prefix);
        if (!n || strlen(word) != n || at + n + 2 > sizeof key)
            return mg_fail(r->err, MG_CONFIG, "%s:%zu: the key is empty, too long or has a NUL byte", r->name, line_of(r));
        memcpy(key, prefix, at);
        if (at) key[at++] = '.';
        memcpy(key + at, word, n + 1);
        if ((st = next(r)) || (st = read_value(r, key, below_list, depth))) return st;
    }
    if (!st && *prefix && !below_list && r->out->n == before) {
        if (find(r->out, prefix)) return mg_fail(r->err, MG_CONFIG, "%s:%zu: the key '%s' stands twice", r->name, line, prefix);
        if ((st = new_entry(r, prefix, &e))) return st;
        e->is_map = true;
        e->line = line;
    }
    return st;
}

static mg_status read_stream(reader *r) {
    mg_status st = next(r); /* stream start */
    if (st || (st = next(r))) return st;
    if (r->event.type == YAML_STREAM_END_EVENT) return MG_OK; /* an empty file */
    if ((st = next(r))) return st;
    if (r->event.type == YAML_MAPPING_START_EVENT)
        st = read_map(r, "", false, 0);
    else if (r->event.type != YAML_SCALAR_EVENT || !is_null(&r->event))
        st = mg_fail(r->err, MG_CONFIG, "%s:%zu: expected lines of `key: value`", r->name, line_of(r));
    if (st || (st = next(r)) || (st = next(r))) return st; /* document end, stream end */
    if (r->event.type != YAML_STREAM_END_EVENT)
        st = mg_fail(r->err, MG_CONFIG, "%s:%zu: a second document begins; only one is read", r->name, line_of(r));
    return st;
}

mg_status mg_yaml_parse(mg_yaml *out, const char *text, size_t n, const char *name, mg_error *err) {
    mg_yaml made = { 0 };
    reader  r = { .name = name, .out = &made, .err = err };
    if (n > MAX_BYTES) return mg_fail(err, MG_CONFIG, "%s: %zu bytes; a configuration has at most %d", name, n, MAX_BYTES);
    if (!yaml_parser_initialize(&r.parser)) return mg_fail(err, MG_NOMEM, "%s: no memory", name);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)(text ? text : ""), n);
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    mg_status st = read_stream(&r);
    if (r.has_event) yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    if (st)
        mg_yaml_free(&made);
    else
        *out = made;
    return st;
}

mg_status mg_yaml_open(mg_yaml *out, const char *path, mg_error *err) {
    mg_buf    text = { 0 };
    mg_status st = mg_read_file(&text, path, MAX_BYTES, err);
    if (!st) st = mg_yaml_parse(out, text.data, text.len, path, err);
    mg_buf_free(&text);
    return st;
}

void mg_yaml_free(mg_yaml *y) {
    for (size_t i = 0; i < y->n; i++) {
        for (size_t k = 0; k < y->entry[i].n; k++) free(y->entry[i].item[k]);
        free(y->entry[i].item);
        free(y->entry[i].key);
    }
    free(y->entry);
    *y = (mg_yaml){ 0 };
}

void mg_yaml_quote(mg_buf *b, const char *s) {
    static const char *const words[] = { "null", "true", "false", "yes", "no", "on", "off" };
    bool                     plain = *s && strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./+-")
                                         == strlen(s) && *s != '-';
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcasecmp(s, words[i])) plain = false;
    if (plain)
        mg_buf_str(b, s);
    else
        mg_json_quote(b, s, strlen(s));
}
