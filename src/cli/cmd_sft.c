/* cmd_sft.c -- `sft`: supervised fine-tuning with LoRA on a model as it is, packed or plain. */
#include "cli/sft_options.h"
#include "cli/sft_show.h"

static mg_status run(mg_cli *cli, void *values, mg_error *err) {
    mg_status st = mg_sft_options_check(values, err);
    return st ? st : mg_sft_show_train(cli, values, err);
}

const mg_command mg_command_sft = {
    .name = "sft", .group = "train", .usage = "-m MODEL -d DATA [CONFIG.yaml]",
    .summary = MG_N("fine-tune a model on questions and answers, conversations or text"), .rows = mg_sft_option_rows,
    .foreign = mg_foreign_options, .values_size = sizeof(mg_sft_options), .config_argument = true, .run = run,
};
