/* cmd_config.c -- `config explain KEY` and `config schema`: the option table, printed. */
#include "base/width.h"
#include "cli/command.h"
#include "cli/sft_options.h"

#include <string.h>

enum { EXPLAIN, SCHEMA };

typedef struct {
    int     action;
    mg_list key;
} config_options;

static const mg_option rows[] = {
    { .name = "action", .type = &mg_option_enum, .offset = offsetof(config_options, action), .def = "explain",
      .choices = "explain|schema", .positional = true, .metavar = "explain|schema", .group = "",
      .help = MG_N("describe keys of training, or print a JSON schema for editors") },
    { .name = "key", .type = &mg_option_texts, .offset = offsetof(config_options, key), .positional = true,
      .metavar = "KEY", .group = "", .help = MG_N("keys, under any of their names; none: all") },
    { 0 },
};

static mg_status explain(mg_buf *b, const mg_options *sft, const mg_list *keys, int columns, mg_error *err) {
    for (size_t i = 0; i < keys->n; i++) {
        const mg_option *row = mg_options_find(sft, keys->item[i]);
        const char      *near = row ? NULL : mg_options_nearest(sft, keys->item[i]);
        if (i) mg_buf_char(b, '\n');
        if (near) return mg_fail(err, MG_USAGE, "'%.60s' is no option; did you mean '%s'?", keys->item[i], near);
        if (!row) return mg_fail(err, MG_USAGE, "'%.60s' is no option of training", keys->item[i]);
        mg_options_explain(b, sft, row, columns);
    }
    if (!keys->n)
        for (size_t i = 0; mg_options_row(sft, i); i++) {
            if (i) mg_buf_char(b, '\n');
            mg_options_explain(b, sft, mg_options_row(sft, i), columns);
        }
    return MG_OK;
}

static mg_status run(mg_cli *cli, void *values, mg_error *err) {
    const config_options *o = values;
    mg_sft_options        unused;
    mg_buf                b = { 0 };
    mg_options           *sft = mg_options_new(mg_foreign_options);
    if (!sft) return mg_fail(err, MG_NOMEM, "no memory for the options");
    mg_status st = mg_options_add(sft, mg_sft_option_rows, &unused, err);
    if (!st && o->action == SCHEMA)
        mg_options_schema(&b, sft);
    else if (!st)
        st = explain(&b, sft, &o->key, cli->columns, err);
    if (!st) st = mg_print(&b, err);
    mg_buf_free(&b);
    mg_options_free(sft);
    return st;
}

const mg_command mg_command_config = {
    .name = "config", .group = "other", .usage = "explain [KEY...] | schema",
    .summary = MG_N("describe the keys of a configuration file"), .rows = rows, .values_size = sizeof(config_options),
    .run = run,
};
