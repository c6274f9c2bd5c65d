/* option.h -- one table of rows, and everything that reads or prints options.
 *
 * A command describes its options in a const table; the same rows serve the
 * command line, YAML files, the environment, `-h`, `--print-config`, shell
 * completion, the man page, the JSON schema and the resolved config.yaml, so
 * they cannot disagree.  Values are kept typed in the command's own struct and
 * each remembers where it came from.
 *
 * Precedence, lowest first: default < user config < CONFIG.yaml < MIGAKI_* <
 * command line.  `-` and `_` are equal in names.  On the command line:
 * --key value, --key=value, key=value, --flag, --no-flag, and the row's short
 * flag.  In one file a key (under any of its names) may stand once; on the
 * command line the last one wins, and lists add up.
 *
 * Lifetimes: rows are static; the struct is the caller's, its strings and lists
 * belong to mg_options and live until mg_options_free. */
#ifndef MG_BASE_OPTION_H
#define MG_BASE_OPTION_H

#include "base/mem.h"

typedef struct mg_option mg_option;

/* A list of texts.  In a struct: never NULL items, n may be 0. */
typedef struct mg_list {
    char **item;
    size_t n, cap;
} mg_list;

/* A kind of value: how it is read, printed and released.  The field's C type
 * stands behind each. */
typedef struct mg_option_type {
    const char *name;       /* "int", in the schema and in help */
    const char *schema;     /* JSON schema type */
    const char *metavar;    /* when the row has none */
    size_t      size;       /* of the field */
    bool        is_list;    /* read appends one item; otherwise exactly one text is passed */
    bool        split;      /* a list: one text holds several items, with commas between */
    bool        flag;       /* `--name` alone means true when "true" is a value */
    /* Read into *field; on failure fill `why` with what is wanted and return false. */
    bool (*read)(void *field, const mg_option *row, const char *text, mg_buf *why);
    void (*print)(mg_buf *b, const void *field, const mg_option *row); /* as a YAML value */
    void (*clear)(void *field);                                      /* release, NULL: nothing to do */
} mg_option_type;

extern const mg_option_type mg_option_int;    /* int64_t; 1e3 is 1000 */
extern const mg_option_type mg_option_float;  /* double, finite */
extern const mg_option_type mg_option_bool;   /* bool; true yes on 1 / false no off 0 */
extern const mg_option_type mg_option_string; /* char *, NULL when not set */
extern const mg_option_type mg_option_enum;   /* int, index into `choices` */
extern const mg_option_type mg_option_size;   /* uint64_t bytes; 512M 1.5GiB 8GB */
extern const mg_option_type mg_option_list;   /* mg_list; "a,b", "[a, b]", repeated */
extern const mg_option_type mg_option_texts;  /* mg_list of whole texts, commas kept; repeated */

struct mg_option {
    const char *name;    /* canonical, with `_`; NULL ends the table */
    const char *aliases; /* comma list of other names, each optionally with a rule for its values:
                            train_on_inputs{true>false|false>true}   the inverse
                            quantization_bit{4>true|none>false}      any other value is refused
                            fp16{false>}                             accepted without effect
                            adapter{lora>|*}                         `*`: other values as they are
                            (the last form, with the row's own name, filters the row itself).
                            An alias on several rows sets them all. */
    const mg_option_type *type;
    size_t      offset;  /* of the field in the command's struct */
    const char *def;     /* default as text; NULL: zero, not set */
    double      min, max; /* numbers, inclusive; both 0: any */
    const char *choices; /* enum, list: "auto|float32,fp32|bfloat16,bf16": `|` between values,
                            `,` between spellings, the first is canonical */
    const char *help;    /* English literal, translated when printed */
    const char *group;   /* heading in help, English literal */
    const char *metavar; /* "FILE" */
    char        flag;    /* short flag, 0: none */
    bool        positional; /* takes arguments without a name, in row order; a list takes the rest */
    /* Not an option but more of them (`name` is ""): table number i, whose fields lie at `offset` + *offset of the
     * struct; NULL: there is no such table. */
    const mg_option *(*tables)(size_t i, size_t *offset);
};

/* Keys that other programs need.  `neutral`: values that change nothing here
 * ("false|none"); another value is an error.  NULL: any value, a note says why.
 * `key` may end in `*` for a family. */
typedef struct mg_option_foreign {
    const char *key, *neutral, *why;
} mg_option_foreign;

typedef enum mg_origin {
    MG_ORIGIN_DEFAULT,
    MG_ORIGIN_USER,   /* ~/.config/migaki/config.yaml */
    MG_ORIGIN_CONFIG, /* the file of -c */
    MG_ORIGIN_ENV,
    MG_ORIGIN_COMMAND_LINE,
    MG_ORIGIN_PROGRAM, /* mg_options_set: the planner chose it */
} mg_origin;

typedef struct mg_options mg_options;

/* An empty set; mg_options_add puts a table and its struct behind each other
 * (the command's own rows first) and fills the struct with defaults.  Rows are
 * checked (MG_ASSERT): names unique, defaults valid, flags among mdocanqvhp.
 * NULL / MG_NOMEM when memory is short. */
mg_options *mg_options_new(const mg_option_foreign *foreign);
mg_status   mg_options_add(mg_options *o, const mg_option *rows, void *values, mg_error *err);
void        mg_options_free(mg_options *o);

/* The four sources.  Call them in any order: a value only replaces one of the
 * same or a lower origin.  MG_CONFIG or MG_USAGE name the place, the value, what is
 * wanted, and for an unknown key the nearest one.  After a failure the set can
 * still be printed and freed, nothing else. */
mg_status mg_options_yaml(mg_options *o, mg_origin origin, const char *path, mg_error *err);
mg_status mg_options_yaml_text(mg_options *o, mg_origin origin, const char *text, size_t n, const char *name,
                               mg_error *err);
mg_status mg_options_environment(mg_options *o, char *const *environment, mg_error *err);
mg_status mg_options_arguments(mg_options *o, int argc, char *const *argv, mg_error *err);

/* The sources beneath the command line: the environment, the file that row "config"
 * names (when there is such a row and it is set by now), and the user config when
 * there is one: $XDG_CONFIG_HOME or ~/.config, migaki/config.yaml.  Call after
 * mg_options_arguments. */
mg_status mg_options_load(mg_options *o, char *const *environment, mg_error *err);

/* Set one option from inside the program; `why` is its origin in prints. */
mg_status mg_options_set(mg_options *o, const char *name, const char *text, const char *why, mg_error *err);

/* Row number i of all tables, in order; NULL: there are no more. */
const mg_option *mg_options_row(const mg_options *o, size_t i);
/* The row of a canonical name or alias, NULL: none.  `_` and `-` equal. */
const mg_option *mg_options_find(const mg_options *o, const char *name);
/* The value as config.yaml has it, appended; canonical name. */
void             mg_options_value(mg_buf *b, const mg_options *o, const char *name);
mg_origin        mg_options_origin(const mg_options *o, const char *name); /* canonical name */
/* Notes collected while reading, one line each, translated; "" when there are none. */
const char *mg_options_notes(const mg_options *o);
/* The known name nearest to `name`, NULL when none is near. */
const char *mg_options_nearest(const mg_options *o, const char *name);
/* Typing slips between two names: letters added, left out, changed or swapped. */
int mg_name_distance(const char *a, const char *b);

/* Printing, appended to `b`.  Texts are translated here. */
void mg_options_print(mg_buf *b, const mg_options *o);            /* --print-config */
void mg_options_write_yaml(mg_buf *b, const mg_options *o);       /* config.yaml: origins as comments */
void mg_options_help(mg_buf *b, const mg_options *o, int columns); /* the part of -h with the options */
void mg_options_explain(mg_buf *b, const mg_options *o, const mg_option *row, int columns);
void mg_options_schema(mg_buf *b, const mg_options *o);           /* JSON schema */
void mg_options_words(mg_buf *b, const mg_options *o);            /* "--name" a line, for completion */
void mg_options_man(mg_buf *b, const mg_options *o);              /* the OPTIONS section in roff */

/* Mark a literal for translation that is printed later. */
#define MG_N(text) text

#endif
