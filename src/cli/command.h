/* command.h -- a verb of the program, and what main gives it.
 *
 * A command is one file with one const row, named in commands.def.  main parses
 * its options, answers -h and --print-config, runs it and prints its error; a
 * command prints only its results.
 *
 *     static mg_status run(mg_cli *cli, void *values, mg_error *err) {
 *         const my_options *o = values;
 *         ...
 *     }
 *     const mg_command mg_command_mine = {
 *         .name = "mine", .group = "try", .summary = MG_N("does it"), .usage = "-m MODEL",
 *         .rows = rows, .values_size = sizeof(my_options), .run = run };
 */
#ifndef MG_CLI_COMMAND_H
#define MG_CLI_COMMAND_H

#include "base/option.h"

typedef struct mg_command mg_command;

/* Options that every command has. */
typedef struct mg_globals {
    char *config;
    int   lang; /* 0 auto, 1 ja, 2 en */
    bool  json, quiet, verbose, help, print_config;
} mg_globals;

typedef struct mg_cli {
    const mg_command *command;
    mg_globals        global;
    mg_options       *options; /* for origins, mg_options_set, mg_options_write_yaml */
    int               columns; /* width for tables and texts */
} mg_cli;

struct mg_command {
    const char *name;
    const char *summary; /* one line, MG_N */
    const char *group;   /* prepare data train records try deliver other */
    const char *usage;   /* what follows the name: "RUN [RUN...]" */
    const char *details; /* more for -h, MG_N; NULL: nothing */
    const mg_option         *rows;    /* own options; NULL: none */
    const mg_option         *more_rows; /* a second table of the same struct; NULL: none */
    const mg_option_foreign *foreign; /* keys that are not errors; NULL: none */
    size_t values_size;               /* of the struct that `rows` fill */
    bool   config_argument;           /* `verb FILE.yaml` is `verb -c FILE.yaml` */
    mg_status (*run)(mg_cli *cli, void *values, mg_error *err);
};

extern const mg_command *const mg_commands[]; /* NULL-terminated, in the order of commands.def */
const mg_command *mg_command_find(const char *name);
/* The options of a command with `values` (values_size bytes) and `globals` behind them. */
mg_status mg_command_options(mg_options **out, const mg_command *c, void *values, mg_globals *globals, mg_error *err);

/* Texts of main that `help` and `completion` print too. */
void mg_help_command(mg_buf *b, const mg_command *c, const mg_options *o, int columns);
void mg_help_program(mg_buf *b, int columns);

/* Write to standard output; MG_IO when it cannot be written. */
mg_status mg_print(const mg_buf *b, mg_error *err);

/* The program: parse, run, print, and the exit code. */
int mg_main(int argc, char **argv);

#ifndef MG_VERSION
#define MG_VERSION "0.1.0"
#endif

#endif
