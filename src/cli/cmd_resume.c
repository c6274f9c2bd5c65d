/* cmd_resume.c -- `resume RUN`: go on where a run was stopped, bit for bit.
 *
 * The run's own config.yaml is the configuration; the newest valid checkpoint is
 * where it goes on.  Settings that the numbers depend on cannot be changed, so
 * there is nothing else to say. */
#include "base/file.h"
#include "cli/sft_options.h"
#include "cli/sft_show.h"
#include "train/runs.h"

#include <stdlib.h>
#include <string.h>

typedef struct { char *run; } resume_options;

static const mg_option rows[] = {
    { .name = "run", .type = &mg_option_string, .offset = offsetof(resume_options, run), .def = "last", .positional = true,
      .metavar = "RUN", .group = "", .help = MG_N("a run's name, its folder, or `last`") },
    { 0 },
};

static mg_status load(mg_options *o, const char *folder, mg_error *err) {
    char     *config = mg_path_join(folder, "config.yaml");
    mg_status st = config ? MG_OK : mg_fail(err, MG_NOMEM, "%s: no memory", folder);
    if (!st && !mg_is_file(config))
        st = mg_fail(err, MG_NOTFOUND, "%s: is no run of this program (it has no config.yaml)", folder);
    if (!st) st = mg_options_yaml(o, MG_ORIGIN_CONFIG, config, err);
    if (!st) st = mg_options_set(o, "output_dir", folder, "resume", err);
    if (!st) st = mg_options_set(o, "resume_from_checkpoint", "last", "resume", err);
    free(config);
    return st;
}

static mg_status run(mg_cli *cli, void *values, mg_error *err) {
    const resume_options *r = values;
    mg_sft_options        o = { 0 };
    mg_options           *outer = cli->options, *sft = mg_options_new(mg_foreign_options);
    char                 *folder = NULL;
    if (!sft) return mg_fail(err, MG_NOMEM, "no memory for the options");
    mg_status st = mg_options_add(sft, mg_sft_option_rows, &o, err);
    if (!st) st = mg_runs_resolve(&folder, mg_runs_root(), r->run, err);
    if (!st) st = load(sft, folder, err);
    if (!st) st = mg_sft_options_check(&o, err);
    cli->options = sft;
    if (!st) st = mg_sft_show_train(cli, &o, err);
    cli->options = outer;
    mg_options_free(sft);
    free(folder);
    return st;
}

const mg_command mg_command_resume = {
    .name = "resume", .group = "train", .usage = "[RUN]", .summary = MG_N("go on with a run that was stopped"), .rows = rows,
    .values_size = sizeof(resume_options), .run = run,
};
