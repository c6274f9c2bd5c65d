/* cmd_plan.c -- `plan`: everything that `sft` would do before step 0, and what it would cost. */
#include "cli/sft_options.h"
#include "cli/sft_show.h"

static mg_status run(mg_cli *cli, void *values, mg_error *err) {
    mg_status st = mg_sft_options_check(values, err);
    return st ? st : mg_sft_show_plan(cli, values, err);
}

const mg_command mg_command_plan = {
    .name = "plan", .group = "train", .usage = "-m MODEL -d DATA [CONFIG.yaml]",
    .summary = MG_N("say what training would cost in memory, and whether it fits"), .rows = mg_sft_option_rows,
    .foreign = mg_foreign_options, .values_size = sizeof(mg_sft_options), .config_argument = true, .run = run,
};
