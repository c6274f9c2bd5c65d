/* csv.c -- RFC 4180: cells in quotes hold separators, newlines and doubled quotes.
 *
 * A quote that is never closed would swallow the rest of the file as one cell, so a record that cannot be read is
 * reported as such and the caller goes on at the next line; the limit keeps that from being quadratic. */
#include "data/csv.h"

#include <stdlib.h>
#include <string.h>

void mg_csv_row_free(mg_csv_row *row) {
    mg_buf_free(&row->text);
    free(row->end);
    *row = (mg_csv_row){ 0 };
}

static bool end_cell(mg_csv_row *row) {
    if (!MG_GROW(row->end, row->cap, row->n + 1)) return false;
    row->end[row->n++] = row->text.len;
    return true;
}

/* A quoted cell whose opening quote is at `at`; the place behind the closing one. */
static size_t quoted(mg_csv_row *row, const char *text, size_t n, size_t at, const char **why) {
    for (at++; at < n;) {
        const char *quote = memchr(text + at, '"', n - at);
        if (!quote) break;
        size_t end = (size_t)(quote - text);
        mg_buf_add(&row->text, text + at, end - at);
        if (end + 1 == n || text[end + 1] != '"') return end + 1;
        mg_buf_char(&row->text, '"');
        at = end + 2;
    }
    *why = "a quote is not closed";
    return SIZE_MAX;
}

static size_t plain(mg_csv_row *row, const char *text, size_t n, size_t at, char separator) {
    size_t end = at;
    while (end < n && text[end] != separator && text[end] != '\n' && text[end] != '\r') end++;
    mg_buf_add(&row->text, text + at, end - at);
    return end;
}

size_t mg_csv_read(mg_csv_row *row, const char *text, size_t n, size_t at, char separator, size_t limit,
                   const char **why) {
    row->n = row->text.len = 0;
    if (n - at > limit) n = at + limit;
    for (;;) {
        if (at < n && text[at] == '"') {
            at = quoted(row, text, n, at, why);
            if (at == SIZE_MAX) return at;
            if (at < n && text[at] != separator && text[at] != '\n' && text[at] != '\r') {
                *why = "text behind a closing quote";
                return SIZE_MAX;
            }
        } else
            at = plain(row, text, n, at, separator);
        if (!end_cell(row) || row->text.failed) {
            *why = "no memory";
            return SIZE_MAX;
        }
        if (at == n || text[at] != separator) break;
        at++;
    }
    if (at < n && text[at] == '\r') at++;
    if (at < n && text[at] == '\n') at++;
    return at;
}
