/* cmd_completion.c -- a completion script for bash, made from the tables.
 *
 *     eval "$(migaki completion)"
 *
 * The words are written into the script, so completing starts no program.  zsh
 * reads the same script after `autoload bashcompinit && bashcompinit`. */
#include "cli/command.h"

#include <stdlib.h>

static void add_words(mg_buf *b, const mg_buf *lines) {
    for (size_t i = 0; i < lines->len; i++) mg_buf_char(b, lines->data[i] == '\n' ? ' ' : lines->data[i]);
}

static mg_status one_command(mg_buf *b, const mg_command *c, mg_error *err) {
    mg_globals  globals;
    mg_options *o = NULL;
    mg_buf      words = { 0 };
    void       *values = mg_calloc(1, c->values_size);
    mg_status   st = values ? mg_command_options(&o, c, values, &globals, err)
                            : mg_fail(err, MG_NOMEM, "no memory for the options");
    if (!st) {
        mg_options_words(&words, o);
        mg_buf_printf(b, "    %s) words=\"", c->name);
        add_words(b, &words);
        mg_buf_str(b, "\" ;;\n");
        if (words.failed) b->failed = true;
    }
    mg_buf_free(&words);
    mg_options_free(o);
    free(values);
    return st;
}

static mg_status run(mg_cli *cli, void *values, mg_error *err) {
    mg_buf    b = { 0 };
    mg_status st = MG_OK;
    (void)cli;
    (void)values;
    mg_buf_str(&b, "_migaki() {\n  local words= word=\"${COMP_WORDS[COMP_CWORD]}\"\n"
                   "  if [ \"$COMP_CWORD\" -eq 1 ]; then words=\"");
    for (const mg_command *const *c = mg_commands; *c; c++) mg_buf_printf(&b, "%s ", (*c)->name);
    mg_buf_str(&b, "\"\n  else case \"${COMP_WORDS[1]}\" in\n");
    for (const mg_command *const *c = mg_commands; !st && *c; c++) st = one_command(&b, *c, err);
    mg_buf_str(&b, "  esac; fi\n  COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n}\n"
                   "complete -o default -F _migaki migaki\n");
    if (!st) st = mg_print(&b, err);
    mg_buf_free(&b);
    return st;
}

const mg_command mg_command_completion = {
    .name = "completion", .group = "other", .summary = MG_N("print a completion script for bash"), .run = run,
};
