/* option_impl.h -- what option.c, option_type.c and option_print.c share. */
#ifndef MG_BASE_OPTION_IMPL_H
#define MG_BASE_OPTION_IMPL_H

#include "base/option.h"

typedef struct mg_option_slot {
    const mg_option *row;
    void            *field;
    mg_origin        origin;
    int              source;     /* which reading set it; one file is one source */
    char             where[160]; /* "my.yaml:12", "--lr", "MIGAKI_LR" */
} mg_option_slot;

struct mg_options {
    mg_option_slot          *slot;
    size_t                   n, cap;
    const mg_option_foreign *foreign;
    mg_buf                   notes;
    int                      source;
};

/* A name of a row with its rule: one element of `aliases`. */
typedef struct mg_option_alias {
    const char *name;
    size_t      len;
    const char *rule; /* NULL: none */
    size_t      rule_len;
} mg_option_alias;

/* Step through "a,b{x>y|z>},c"; *at starts as row->aliases. */
bool mg_option_alias_next(const char **at, mg_option_alias *out);

/* The spelling `i` of a choices text; and the index that `text` spells, -1: none. */
bool mg_option_choice(const char *choices, int i, const char **name, size_t *len);
int  mg_option_choice_find(const char *choices, const char *text);
void mg_option_choices_print(mg_buf *b, const char *choices); /* "a, b, c", canonical spellings */

bool mg_option_bool_word(const char *text, bool *value);
bool mg_option_name_equal(const char *a, size_t na, const char *b, size_t nb); /* `-` is `_` */
/* The text of a range, "1..1024", "at least 0", or "". */
void mg_option_range_print(mg_buf *b, const mg_option *row);
void mg_option_number_print(mg_buf *b, double x);

#endif
