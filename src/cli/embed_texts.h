/* embed_texts.h -- what `embed` makes vectors of: texts from the command line and from files. */
#ifndef MG_CLI_EMBED_TEXTS_H
#define MG_CLI_EMBED_TEXTS_H

#include "base/option.h"

typedef struct mg_embed_item {
    char *text, *label; /* label: how pictures and tables call it */
    int   group;
} mg_embed_item;

typedef struct mg_embed_items {
    mg_embed_item *item;
    size_t         n, cap;
    char         **group; /* [groups] names; one, "", when nothing has a group */
    size_t         groups, group_cap;
} mg_embed_items;

typedef struct mg_embed_fields { /* names of a record's fields; NULL: the usual ones */
    const char *text, *label, *group;
    size_t      limit; /* items of a file; 0: all */
} mg_embed_fields;

mg_status mg_embed_items_add(mg_embed_items *s, const char *text, const char *label, const char *group, mg_error *err);
/* A .txt file has a text a line; JSONL, JSON, CSV and TSV have records with a text (text, sentence, question, prompt, word
 * or content), and maybe a category or group.  A record of JCommonsenseQA gives its question and its five choices.
 * MG_DATA names the line. */
mg_status mg_embed_items_load(mg_embed_items *s, const char *path, const mg_embed_fields *f, mg_error *err);
void      mg_embed_items_free(mg_embed_items *s);

#endif
