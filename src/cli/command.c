/* command.c -- from argv to a command, and its error to the terminal.
 *
 * Nothing is started before a command needs it: `migaki --help` touches no
 * device, no thread and no database.  Here, and only here, an error is printed,
 * once, and becomes the exit code. */
#include "base/json.h"
#include "base/width.h"
#include "cli/command.h"
#include "cli/locale.h"

#include <errno.h>
#include <libintl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

extern char **environ;

#define COMMAND(x) extern const mg_command mg_command_##x;
#include "cli/commands.def"
#undef COMMAND
const mg_command *const mg_commands[] = {
#define COMMAND(x) &mg_command_##x,
#include "cli/commands.def"
#undef COMMAND
    NULL,
};

#define AT(field) offsetof(mg_globals, field)
#define CONFIG_ROW                                                                                              \
    .name = "config", .type = &mg_option_string, .offset = AT(config), .group = "", .metavar = "FILE"
#define GLOBAL_ROWS                                                                                             \
    { .name = "lang", .type = &mg_option_enum, .offset = AT(lang), .def = "auto", .choices = "auto|ja|en",      \
      .group = "", .help = MG_N("language of messages") },                                                      \
    { .name = "json", .type = &mg_option_bool, .offset = AT(json), .def = "false", .group = "",                 \
      .help = MG_N("print JSON") },                                                                             \
    { .name = "quiet", .type = &mg_option_bool, .offset = AT(quiet), .def = "false", .flag = 'q', .group = "",  \
      .help = MG_N("print only results and errors") },                                                          \
    { .name = "verbose", .type = &mg_option_bool, .offset = AT(verbose), .def = "false", .flag = 'v',           \
      .group = "", .help = MG_N("print more") },                                                                \
    { .name = "print_config", .type = &mg_option_bool, .offset = AT(print_config), .def = "false", .group = "", \
      .help = MG_N("print every option with its value and where it comes from, and stop") },                    \
    { .name = "help", .type = &mg_option_bool, .offset = AT(help), .def = "false", .flag = 'h', .group = "",    \
      .help = MG_N("print this help") },                                                                        \
    { 0 }

static const mg_option config_flag[] = {
    { CONFIG_ROW, .flag = 'c', .help = MG_N("read options from this YAML file") }, GLOBAL_ROWS,
};
/* The config file may also stand without -c.  Two rows share the field; the named one is the one that loads. */
static const mg_option config_argument[] = {
    { .name = "config_file", .type = &mg_option_string, .offset = AT(config), .group = "", .metavar = "CONFIG.yaml",
      .positional = true, .help = MG_N("read options from this YAML file, like -c") },
    { 0 },
};

const mg_command *mg_command_find(const char *name) {
    for (const mg_command *const *c = mg_commands; *c; c++)
        if (!strcmp((*c)->name, name)) return *c;
    return NULL;
}

mg_status mg_command_options(mg_options **out, const mg_command *c, void *values, mg_globals *globals, mg_error *err) {
    mg_options *o = mg_options_new(c->foreign);
    if (!o) return mg_fail(err, MG_NOMEM, "no memory for the options");
    mg_status st = c->rows ? mg_options_add(o, c->rows, values, err) : MG_OK;
    if (!st && c->more_rows) st = mg_options_add(o, c->more_rows, values, err);
    if (!st) st = mg_options_add(o, config_flag, globals, err);
    if (st)
        mg_options_free(o);
    else
        *out = o;
    return st;
}

mg_status mg_print(const mg_buf *b, mg_error *err) {
    if (b->failed) return mg_fail(err, MG_NOMEM, "no memory for the output");
    if (b->len && fwrite(b->data, 1, b->len, stdout) != b->len)
        return mg_fail(err, MG_IO, "standard output cannot be written: %s", strerror(errno));
    return MG_OK;
}

void mg_help_command(mg_buf *b, const mg_command *c, const mg_options *o, int columns) {
    mg_buf_printf(b, gettext("Usage: migaki %s %s [OPTIONS]"), c->name, c->usage ? c->usage : "");
    mg_buf_str(b, "\n\n");
    mg_wrap(b, gettext(c->summary), 0, columns);
    mg_buf_char(b, '\n');
    if (c->details) {
        mg_buf_char(b, '\n');
        mg_wrap(b, gettext(c->details), 0, columns);
        mg_buf_char(b, '\n');
    }
    mg_options_help(b, o, columns);
    mg_buf_char(b, '\n');
    mg_wrap(b, gettext("Options are written --key value, --key=value or key=value; - and _ are equal. "
                       "Order: defaults < user config < CONFIG.yaml < MIGAKI_* < command line."), 0, columns);
    mg_buf_char(b, '\n');
}

static const struct {
    const char *name, *title;
} groups[] = {
    { "prepare", MG_N("Prepare") }, { "data", MG_N("Data") },       { "train", MG_N("Train") },
    { "records", MG_N("Records") }, { "try", MG_N("Try") },         { "deliver", MG_N("Deliver") },
    { "other", MG_N("Other") },
};

void mg_help_program(mg_buf *b, int columns) {
    mg_buf_str(b, gettext("Usage: migaki COMMAND [OPTIONS]"));
    mg_buf_str(b, "\n\n");
    mg_wrap(b, gettext("Fine-tune language models with one native program."), 0, columns);
    mg_buf_str(b, "\n");
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        bool first = true;
        for (const mg_command *const *c = mg_commands; *c; c++) {
            if (strcmp((*c)->group, groups[i].name)) continue;
            if (first) mg_buf_printf(b, "\n%s\n", gettext(groups[i].title));
            first = false;
            mg_buf_str(b, "  ");
            mg_pad(b, (*c)->name, 12);
            mg_wrap(b, gettext((*c)->summary), 14, columns);
            mg_buf_char(b, '\n');
        }
    }
    mg_buf_char(b, '\n');
    mg_wrap(b, gettext("migaki COMMAND -h lists a command's options, migaki help E301 explains an error code, "
                       "--lang ja|en chooses the language."), 0, columns);
    mg_buf_char(b, '\n');
}

static int terminal_columns(void) {
    struct winsize w;
    if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) || w.ws_col < 40) return 80;
    return w.ws_col > 100 ? 100 : w.ws_col;
}

static void print_error(const mg_error *err, bool json) {
    mg_buf b = { 0 };
    if (json) {
        mg_buf_printf(&b, "{\"error\": \"E%d\", \"message\": ", (int)err->status);
        mg_json_quote(&b, err->text, strlen(err->text));
        mg_buf_str(&b, "}\n");
    } else if (err->status == MG_STOPPED) {
        mg_buf_printf(&b, "%s\n", err->text);
    } else {
        mg_buf_printf(&b, gettext("error[E%d]: "), (int)err->status);
        mg_buf_printf(&b, "%s\n", err->text);
    }
    fputs(b.failed ? "migaki: no memory\n" : b.data, stderr);
    mg_buf_free(&b);
}

/* The words before the verb, and --lang and --json wherever they stand: needed before anything is printed. */
typedef struct {
    int         verb; /* index in argv, argc: none */
    const char *lang;
    bool        json, help, version;
} early;

static early look_ahead(int argc, char **argv) {
    early e = { .verb = argc };
    for (int i = 1; i < argc && strcmp(argv[i], "--"); i++) {
        const char *a = argv[i];
        if (!strncmp(a, "--lang=", 7)) e.lang = a + 7;
        if (!strncmp(a, "lang=", 5)) e.lang = a + 5;
        if (!strcmp(a, "--lang") && i + 1 < argc) {
            e.lang = argv[++i];
            continue;
        }
        if (!strcmp(a, "--json")) e.json = true;
        if (e.verb < argc) continue;
        if (!strcmp(a, "-h") || !strcmp(a, "--help")) e.help = true;
        if (!strcmp(a, "--version")) e.version = true;
        if (a[0] != '-' && !strchr(a, '=')) e.verb = i;
    }
    if (e.lang && strcmp(e.lang, "ja") && strcmp(e.lang, "en")) e.lang = NULL; /* the option table will refuse it */
    return e;
}

static mg_status unknown_command(const char *name, mg_error *err) {
    const char *best = NULL;
    int         least = 3;
    for (const mg_command *const *c = mg_commands; *c; c++) {
        int d = mg_name_distance((*c)->name, name);
        if (d < least) {
            least = d;
            best = (*c)->name;
        }
    }
    if (best) return mg_fail(err, MG_USAGE, "'%.60s' is no command; did you mean '%s'? `migaki --help` lists them", name, best);
    return mg_fail(err, MG_USAGE, "'%.60s' is no command; `migaki --help` lists them", name);
}

static void print_notes(const mg_cli *cli) {
    if (*mg_options_notes(cli->options) && !cli->global.quiet && !cli->global.json)
        fprintf(stderr, gettext("note: %s"), mg_options_notes(cli->options));
}

/* argv without program and verb, but with what stood before the verb. */
static mg_status run_command(mg_cli *cli, const mg_command *c, int argc, char **argv, mg_error *err) {
    mg_buf    text = { 0 };
    void     *values = mg_calloc(1, c->values_size);
    mg_status st = values ? mg_command_options(&cli->options, c, values, &cli->global, err)
                          : mg_fail(err, MG_NOMEM, "no memory for the options");
    cli->command = c;
    if (!st && c->config_argument) st = mg_options_add(cli->options, config_argument, &cli->global, err);
    if (!st) st = mg_options_arguments(cli->options, argc, argv, err);
    if (!st && cli->global.help) {
        mg_help_command(&text, c, cli->options, cli->columns);
        st = mg_print(&text, err);
        goto done;
    }
    if (!st) st = mg_options_load(cli->options, environ, err);
    if (st) goto done;
    if (cli->global.lang) mg_locale_start(cli->global.lang == 1 ? "ja" : "en");
    print_notes(cli);
    if (cli->global.print_config) {
        mg_options_print(&text, cli->options);
        st = mg_print(&text, err);
    } else
        st = c->run(cli, values, err);
done:
    mg_buf_free(&text);
    mg_options_free(cli->options);
    free(values);
    return st;
}

static mg_status run_program(mg_cli *cli, const early *e, int argc, char **argv, mg_error *err) {
    mg_buf    text = { 0 };
    mg_status st = MG_OK;
    if (e->verb < argc && !e->help && !e->version) {
        const mg_command *c = mg_command_find(argv[e->verb]);
        if (!c) return unknown_command(argv[e->verb], err);
        memmove(argv + e->verb, argv + e->verb + 1, (size_t)(argc - e->verb - 1) * sizeof *argv);
        return run_command(cli, c, argc - 2, argv + 1, err);
    }
    if (e->version)
        mg_buf_str(&text, "migaki " MG_VERSION "\n");
    else if (e->help)
        mg_help_program(&text, cli->columns);
    else
        st = mg_fail(err, MG_USAGE, "no command is given; `migaki --help` lists them");
    if (!st) st = mg_print(&text, err);
    mg_buf_free(&text);
    return st;
}

int mg_main(int argc, char **argv) {
    early     e = look_ahead(argc, argv);
    mg_cli    cli = { .columns = terminal_columns() };
    mg_error  err = { 0 };
    mg_locale_start(e.lang);
    mg_status st = run_program(&cli, &e, argc, argv, &err);
    if (fflush(stdout) && !st) st = mg_fail(&err, MG_IO, "standard output cannot be written: %s", strerror(errno));
    if (st) print_error(&err, e.json || cli.global.json);
    return mg_exit_code(st);
}
