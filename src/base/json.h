/* json.h -- reading JSON that nobody vouches for, and writing JSON strings.
 *
 * yyjson parses; this adds the rules of the house: depth at most 64, duplicate
 * keys are errors, no NaN, no comments, strict UTF-8.  Values are borrowed from
 * the document and live until mg_json_free. */
#ifndef MG_BASE_JSON_H
#define MG_BASE_JSON_H

#include "base/mem.h"

#include <yyjson.h>

typedef struct mg_json {
    yyjson_doc *doc;
    yyjson_val *root;
} mg_json;

/* `name` stands in messages. */
mg_status mg_json_parse(mg_json *out, const char *text, size_t n, const char *name, mg_error *err);
mg_status mg_json_open(mg_json *out, const char *path, size_t limit, mg_error *err);
void      mg_json_free(mg_json *j);

/* Append `s` as a JSON string with quotes; invalid UTF-8 becomes U+FFFD. */
void mg_json_quote(mg_buf *b, const char *s, size_t n);

#endif
