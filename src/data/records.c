/* records.c -- walk over the records of a file.
 *
 * Four formats are rows of a table with one function each.  A CSV record becomes JSON text and goes through the
 * same parser as a JSONL line, so that whatever reads records sees one kind of thing. */
#include "data/records.h"

#include "base/file.h"
#include "data/csv.h"
#include "data/encoding.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *name, *suffix;
    char        separator;
    mg_record_state (*next)(mg_records *r, yyjson_val **row, int64_t *line, mg_error *err);
} format_row;

struct mg_records {
    char             *path;
    mg_mapping        file;
    mg_buf            converted;
    const char       *text, *encoding;
    size_t            n, at;
    int64_t           line; /* of `at` */
    const format_row *format;
    char              separator;
    mg_json           json; /* the record, or the whole array */
    yyjson_arr_iter   items;
    mg_csv_row        header, cells;
    mg_buf            row_text;
};

static mg_record_state bad(mg_error *err, const char *why) {
    mg_fail(err, MG_DATA, "%s", why);
    return MG_RECORD_BAD;
}

/* Parse one record's JSON.  Its errors are the record's, except for memory. */
static mg_record_state parse(mg_records *r, const char *text, size_t n, yyjson_val **row, mg_error *err) {
    mg_error why;
    mg_json_free(&r->json);
    mg_status st = mg_json_parse(&r->json, text, n, "record", &why);
    if (st) {
        mg_fail(err, st == MG_NOMEM ? MG_NOMEM : MG_DATA, "%s", why.text);
        return MG_RECORD_BAD;
    }
    *row = r->json.root;
    return yyjson_is_obj(*row) ? MG_RECORD_OK : bad(err, "not a JSON object");
}

static bool is_blank(const char *s, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (s[i] != ' ' && s[i] != '\t' && s[i] != '\r') return false;
    return true;
}

/* The line at r->at, without its end; moves on. */
static size_t take_line(mg_records *r, const char **text) {
    const char *begin = r->text + r->at, *end = memchr(begin, '\n', r->n - r->at);
    size_t      len = end ? (size_t)(end - begin) : r->n - r->at;
    r->at += len + (end != NULL);
    r->line++;
    *text = begin;
    return len && begin[len - 1] == '\r' ? len - 1 : len;
}

static mg_record_state next_jsonl(mg_records *r, yyjson_val **row, int64_t *line, mg_error *err) {
    while (r->at < r->n) {
        const char *text;
        *line = r->line;
        size_t n = take_line(r, &text);
        if (is_blank(text, n)) continue;
        if (n > MG_RECORD_MAX) return bad(err, "a line of more than 16 MiB");
        return parse(r, text, n, row, err);
    }
    return MG_RECORD_END;
}

static mg_record_state next_json(mg_records *r, yyjson_val **row, int64_t *line, mg_error *err) {
    *row = yyjson_arr_iter_next(&r->items);
    if (!*row) return MG_RECORD_END;
    *line = r->line++;
    return yyjson_is_obj(*row) ? MG_RECORD_OK : bad(err, "not a JSON object");
}

static const char *cell(const mg_csv_row *row, size_t i, size_t *n) {
    size_t begin = i ? row->end[i - 1] : 0;
    *n = row->end[i] - begin;
    return row->text.data ? row->text.data + begin : "";
}

/* Columns whose cells are JSON themselves. */
static bool holds_json(const char *name, size_t n) {
    static const char *const names[] = { "messages", "conversations", "utterances", "tools",
                                         "history",  "input_ids",     "labels" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strlen(names[i]) == n && !memcmp(names[i], name, n)) return true;
    return false;
}

static mg_record_state cells_to_json(mg_records *r, yyjson_val **row, mg_error *err) {
    mg_buf *b = &r->row_text;
    b->len = 0;
    if (r->cells.n != r->header.n) {
        mg_fail(err, MG_DATA, "%zu cells, but the header has %zu", r->cells.n, r->header.n);
        return MG_RECORD_BAD;
    }
    mg_buf_char(b, '{');
    for (size_t i = 0; i < r->cells.n; i++) {
        size_t      n, name_n;
        const char *s = cell(&r->cells, i, &n), *name = cell(&r->header, i, &name_n);
        if (!mg_encoding_is_utf8(s, n)) return bad(err, "a cell is not UTF-8");
        if (i) mg_buf_char(b, ',');
        mg_json_quote(b, name, name_n);
        mg_buf_char(b, ':');
        if (holds_json(name, name_n) && !is_blank(s, n))
            mg_buf_add(b, s, n);
        else
            mg_json_quote(b, s, n);
    }
    mg_buf_char(b, '}');
    if (!b->failed) return parse(r, b->data, b->len, row, err);
    mg_fail(err, MG_NOMEM, "no memory for a record");
    return MG_RECORD_BAD;
}

static int64_t count_lines(const char *s, size_t n) {
    int64_t lines = 0;
    for (const char *p = s; n && (p = memchr(p, '\n', n - (size_t)(p - s))); p++) lines++;
    return lines;
}

static mg_record_state next_csv(mg_records *r, yyjson_val **row, int64_t *line, mg_error *err) {
    while (r->at < r->n) {
        const char *why = "", *text;
        size_t      begin = r->at;
        *line = r->line;
        size_t n = take_line(r, &text); /* where to go on if the record is malformed */
        if (is_blank(text, n)) continue;
        size_t end = mg_csv_read(&r->cells, r->text, r->n, begin, r->separator, MG_RECORD_MAX, &why);
        if (end == SIZE_MAX) return bad(err, why);
        mg_record_state state = cells_to_json(r, row, err);
        if (state == MG_RECORD_OK || r->cells.n == r->header.n) {
            if (end > r->at) r->line += count_lines(r->text + r->at, end - r->at);
            r->at = end;
        }
        return state;
    }
    return MG_RECORD_END;
}

static const format_row formats[] = {
    { "JSONL", ".jsonl", 0, next_jsonl },
    { "JSON", ".json", 0, next_json },
    { "CSV", ".csv", ',', next_csv },
    { "TSV", ".tsv", '\t', next_csv },
};
enum { N_FORMATS = sizeof formats / sizeof *formats };

static bool ends_with(const char *s, const char *suffix) {
    size_t n = strlen(s), k = strlen(suffix);
    return n >= k && !strcasecmp(s + n - k, suffix);
}

/* What the content says where the name does not: '[' begins an array, everything else are lines. */
static const format_row *choose_format(const mg_records *r) {
    for (size_t i = 2; i < N_FORMATS; i++)
        if (ends_with(r->path, formats[i].suffix)) return &formats[i];
    size_t at = 0;
    while (at < r->n && strchr(" \t\r\n", r->text[at]) && r->text[at]) at++;
    return at < r->n && r->text[at] == '[' ? &formats[1] : &formats[0];
}

static mg_status open_json(mg_records *r, mg_error *err) {
    mg_error  why;
    mg_status st = mg_json_parse(&r->json, r->text, r->n, r->path, &why);
    if (st) return mg_fail(err, st == MG_FORMAT ? MG_DATA : st, "%s", why.text);
    if (!yyjson_is_arr(r->json.root)) return mg_fail(err, MG_DATA, "%s: not a JSON array of records", r->path);
    r->items = yyjson_arr_iter_with(r->json.root);
    return MG_OK;
}

/* Spreadsheets of some countries write ';' into a .csv; a header without ',' says so. */
static char choose_separator(const mg_records *r) {
    const char *end = memchr(r->text, '\n', r->n);
    size_t      n = end ? (size_t)(end - r->text) : r->n;
    if (r->format->separator != ',' || memchr(r->text, ',', n)) return r->format->separator;
    return memchr(r->text, '\t', n) ? '\t' : memchr(r->text, ';', n) ? ';' : ',';
}

static mg_status open_csv(mg_records *r, mg_error *err) {
    const char *why = "the file is empty";
    r->separator = r->n ? choose_separator(r) : ',';
    size_t end = r->n ? mg_csv_read(&r->header, r->text, r->n, 0, r->separator, MG_RECORD_MAX, &why) : SIZE_MAX;
    if (end == SIZE_MAX) return mg_fail(err, MG_DATA, "%s: no header line: %s", r->path, why);
    for (size_t i = 0, n; i < r->header.n; i++) {
        const char *name = cell(&r->header, i, &n);
        if (!mg_encoding_is_utf8(name, n)) return mg_fail(err, MG_DATA, "%s: the header is not UTF-8", r->path);
    }
    r->line += count_lines(r->text, end);
    r->at = end;
    return MG_OK;
}

char *mg_records_find(const char *folder, const char *part) {
    for (size_t i = 0; i < N_FORMATS; i++) {
        mg_buf b = { 0 };
        mg_buf_printf(&b, "%s/%s%s", folder, part, formats[i].suffix);
        if (!b.failed && mg_is_file(b.data)) return b.data;
        mg_buf_free(&b);
    }
    return NULL;
}

mg_status mg_records_open(mg_records **out, const char *path, mg_error *err) {
    mg_records *r = mg_calloc(1, sizeof *r);
    mg_status   st = MG_OK;
    if (!r) return mg_fail(err, MG_NOMEM, "%s: no memory", path);
    bool is_folder = mg_is_folder(path);
    r->line = 1;
    r->path = is_folder ? mg_records_find(path, "train") : mg_strdup(path);
    if (!r->path)
        st = is_folder ? mg_fail(err, MG_NOTFOUND, "%s: the folder has no train.jsonl, .json, .csv or .tsv", path)
                       : mg_fail(err, MG_NOMEM, "%s: no memory", path);
    if (!st) st = mg_map_file(&r->file, r->path, err);
    if (!st)
        st = mg_encoding_read(&r->text, &r->n, &r->encoding, &r->converted,
                              r->file.data ? (const char *)r->file.data : "", r->file.size, r->path, err);
    if (!st) {
        r->format = choose_format(r);
        if (r->format->separator)
            st = open_csv(r, err);
        else if (r->format->next == next_json)
            st = open_json(r, err);
    }
    if (st)
        mg_records_close(r);
    else
        *out = r;
    return st;
}

void mg_records_close(mg_records *r) {
    if (!r) return;
    mg_json_free(&r->json);
    mg_csv_row_free(&r->header);
    mg_csv_row_free(&r->cells);
    mg_buf_free(&r->row_text);
    mg_buf_free(&r->converted);
    mg_unmap_file(&r->file);
    free(r->path);
    free(r);
}

mg_record_state mg_records_next(mg_records *r, yyjson_val **row, int64_t *line, mg_error *err) {
    return r->format->next(r, row, line, err);
}

const char *mg_records_path(const mg_records *r) { return r->path; }
const char *mg_records_encoding(const mg_records *r) { return r->encoding; }
const char *mg_records_format(const mg_records *r) { return r->format->name; }
