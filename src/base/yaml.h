/* yaml.h -- a configuration file as a flat list of keys and texts.
 *
 * The part of YAML that configuration files use, read with libyaml's events:
 * nested maps become dotted keys (`lora_parameters.rank`), maps inside a list
 * become `datasets[].path` with one text for each element, empty where it lacks the key.  Types are not
 * guessed here: the option table knows them, so `1e-4` is a number and
 * `norway: no` a string when the option is one.  Anchors, aliases, tags and
 * several documents are refused, and so are duplicate keys.
 *
 * Limits: 1 MiB, depth 16, 10,000 texts. */
#ifndef MG_BASE_YAML_H
#define MG_BASE_YAML_H

#include "base/mem.h"

typedef struct mg_yaml_entry {
    char  *key;     /* dotted path, as written */
    char **item;    /* [n] texts; an element is NULL for null, ~ or nothing */
    size_t n, cap;
    bool   is_list; /* written as a list, so texts are not split any more */
    bool   is_map;  /* an empty map `{}`: n is 0 */
    bool   seen;    /* while reading: an element before this one had it, or lacked it */
    size_t line;    /* from 1 */
} mg_yaml_entry;

typedef struct mg_yaml {
    mg_yaml_entry *entry;
    size_t         n, cap;
} mg_yaml;

/* `name` stands in messages.  MG_CONFIG with the line on any trouble. */
mg_status mg_yaml_parse(mg_yaml *out, const char *text, size_t n, const char *name, mg_error *err);
mg_status mg_yaml_open(mg_yaml *out, const char *path, mg_error *err);
void      mg_yaml_free(mg_yaml *y);

/* Append `s` as a YAML scalar: plain where that is read back as the same text, else in double quotes. */
void mg_yaml_quote(mg_buf *b, const char *s);

#endif
