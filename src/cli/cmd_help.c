/* cmd_help.c -- `help TOPIC`: a command, an error code, or an option of training. */
#include "base/width.h"
#include "cli/codes.h"
#include "cli/command.h"
#include "cli/sft_options.h"

#include <ctype.h>
#include <libintl.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    char *topic;
    bool  man;
} help_options;

static const mg_option rows[] = {
    { .name = "topic", .type = &mg_option_string, .offset = offsetof(help_options, topic), .positional = true,
      .metavar = "TOPIC", .group = "",
      .help = MG_N("a command, an error code such as E301, `codes`, or an option such as learning_rate") },
    { .name = "man", .type = &mg_option_bool, .offset = offsetof(help_options, man), .def = "false", .group = "",
      .help = MG_N("print the command's manual page in roff") },
    { 0 },
};

static void print_code(mg_buf *b, const mg_code *c, int columns) {
    mg_buf_printf(b, "E%d %s\n", (int)c->status, gettext(c->title));
    mg_buf_printf(b, gettext("exit code %d"), mg_exit_code(c->status));
    mg_buf_str(b, "\n\n");
    mg_wrap(b, gettext(c->text), 0, columns);
    mg_buf_char(b, '\n');
}

static void print_codes(mg_buf *b) {
    for (const mg_code *c = mg_codes; c->name; c++) mg_buf_printf(b, "E%d  %s\n", (int)c->status, gettext(c->title));
}

static mg_status print_command(mg_buf *b, const mg_command *c, bool man, int columns, mg_error *err) {
    mg_globals  globals;
    mg_options *o = NULL;
    void       *values = mg_calloc(1, c->values_size);
    mg_status   st = values ? mg_command_options(&o, c, values, &globals, err)
                            : mg_fail(err, MG_NOMEM, "no memory for the options");
    if (st) goto done;
    if (!man)
        mg_help_command(b, c, o, columns);
    else {
        mg_buf_printf(b, ".TH MIGAKI-%s 1 \"\" \"migaki " MG_VERSION "\"\n.SH NAME\nmigaki\\-%s \\- %s\n", c->name, c->name,
                      gettext(c->summary));
        mg_buf_printf(b, ".SH SYNOPSIS\n.B migaki %s\n%s\n.SH OPTIONS\n", c->name, c->usage ? c->usage : "");
        mg_options_man(b, o);
    }
done:
    mg_options_free(o);
    free(values);
    return st;
}

/* An option of training by any of its names. */
static mg_status print_option(mg_buf *b, const char *name, int columns, bool *found, mg_error *err) {
    mg_sft_options values;
    mg_options    *o = mg_options_new(NULL);
    if (!o) return mg_fail(err, MG_NOMEM, "no memory for the options");
    mg_status        st = mg_options_add(o, mg_sft_option_rows, &values, err);
    const mg_option *row = st ? NULL : mg_options_find(o, name);
    if (row) mg_options_explain(b, o, row, columns);
    *found = row != NULL;
    mg_options_free(o);
    return st;
}

static mg_status topic(mg_buf *b, const help_options *h, int columns, mg_error *err) {
    const mg_command *c = h->topic ? mg_command_find(h->topic) : NULL;
    const char       *digits = h->topic && (*h->topic == 'E' || *h->topic == 'e') ? h->topic + 1 : h->topic;
    bool              found = false;
    if (!h->topic) {
        mg_help_program(b, columns);
        return MG_OK;
    }
    if (c) return print_command(b, c, h->man, columns, err);
    if (!strcmp(h->topic, "codes")) {
        print_codes(b);
        return MG_OK;
    }
    if (isdigit((unsigned char)*digits)) {
        const mg_code *code = mg_code_find(atoi(digits));
        if (!code) return mg_fail(err, MG_USAGE, "%s is no error code; `migaki help codes` lists them", h->topic);
        print_code(b, code, columns);
        return MG_OK;
    }
    mg_status st = print_option(b, h->topic, columns, &found, err);
    if (!st && !found)
        st = mg_fail(err, MG_USAGE, "'%.60s' is no command, error code or option; see `migaki --help`", h->topic);
    return st;
}

static mg_status run(mg_cli *cli, void *values, mg_error *err) {
    mg_buf    b = { 0 };
    mg_status st = topic(&b, values, cli->columns, err);
    if (!st) st = mg_print(&b, err);
    mg_buf_free(&b);
    return st;
}

const mg_command mg_command_help = {
    .name = "help", .group = "other", .usage = "[TOPIC]", .summary = MG_N("explain a command, an error code or an option"),
    .rows = rows, .values_size = sizeof(help_options), .run = run,
};
