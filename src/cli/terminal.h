/* terminal.h -- what training looks like while it runs.
 *
 * On a terminal one line is drawn again and again and fits its width; elsewhere
 * a key=value line is printed for each logging step; with --json a JSON object
 * a line.  Everything goes to one stream (standard error, or with --json
 * standard output).  A closed stream is not an error: the run goes on.
 *
 *     mg_terminal t = mg_terminal_start(cli->global.json, cli->global.quiet);
 *     mg_terminal_line(&t, "...");             a line of text above the bar
 *     mg_terminal_progress(&t, &progress);     draws at most 10 times a second
 *     mg_terminal_end(&t);                     leaves the bar as the last line */
#ifndef MG_CLI_TERMINAL_H
#define MG_CLI_TERMINAL_H

#include "base/mem.h"

#include <stdio.h>

typedef enum mg_terminal_kind {
    MG_TERMINAL_BAR,   /* a terminal */
    MG_TERMINAL_LINES, /* a file or pipe */
    MG_TERMINAL_JSON,
    MG_TERMINAL_QUIET,
} mg_terminal_kind;

typedef struct mg_terminal {
    mg_terminal_kind kind;
    FILE            *out;
    int              columns;
    bool             drawn; /* a bar stands on the last line */
    double           last;  /* when it was drawn, seconds */
} mg_terminal;

typedef struct mg_progress {
    int64_t step, steps;
    double  epoch;
    double  loss;              /* may be NaN, and then says so */
    bool    has_eval;
    double  eval_loss;
    bool    has_gap;
    double  eval_gap;          /* validation loss less training loss: it grows when the model learns by heart */
    double  learning_rate, grad_norm, tokens_per_second;
    double  eta_s;             /* negative: not known */
    bool    log;               /* a logging step: lines and JSON are printed for these only */
} mg_progress;

mg_terminal mg_terminal_start(bool json, bool quiet);
void mg_terminal_progress(mg_terminal *t, const mg_progress *p);
/* One line: as it is on a terminal or in a file, {"message": ...} in JSON.  Not printed when quiet. */
void mg_terminal_line(mg_terminal *t, const char *text);
/* A warning: the same, but printed when quiet, too, and with its word in front. */
void mg_terminal_warn(mg_terminal *t, const char *text);
void mg_terminal_end(mg_terminal *t);

/* The line itself, for tests: at most `columns` wide. */
void mg_progress_bar(mg_buf *b, const mg_progress *p, int columns);
void mg_progress_fields(mg_buf *b, const mg_progress *p); /* key=value */
void mg_progress_json(mg_buf *b, const mg_progress *p);

/* Texts for people: "3:21", "1:02:03"; "1.5 GB"; "4,812". */
void mg_print_duration(mg_buf *b, double seconds);
void mg_print_bytes(mg_buf *b, double bytes);
void mg_print_count(mg_buf *b, int64_t n);

/* A table whose columns align, full-width characters included.  Cells are
 * borrowed until mg_table_print; `columns` is the width that the whole may take:
 * the widest column is cut with an ellipsis until it fits. */
typedef struct mg_table {
    const char **cell; /* [rows * fields] */
    size_t       n, cap;
    int          fields;
    unsigned     numbers; /* bit i: field i is aligned right */
} mg_table;
bool mg_table_row(mg_table *t, ...); /* t->fields texts; false: no memory */
bool mg_table_cells(mg_table *t, const char *const *cell); /* the same from an array */
void mg_table_print(mg_buf *b, const mg_table *t, int columns);
void mg_table_free(mg_table *t);

#endif
