/* cmd_sft.c -- `sft`: supervised fine-tuning with LoRA on a model as it is, packed or plain. */
#include "cli/sft_options.h"
#include "cli/sft_show.h"
#include "cli/sweep_run.h"

typedef struct {
    mg_sweep_options sweep; /* its first field is what training is told */
    bool             learning_curve;
} sft_options;

/* Without a heading: they are about this invocation and no part of a run's configuration. */
static const mg_option rows[] = {
    { .name = "learning_curve", .type = &mg_option_bool, .offset = offsetof(sft_options, learning_curve), .def = "false", .group = "",
      .help = MG_N("train on 1/8, 1/4, 1/2 and all of the data, and say whether more of it will help") },
    { .name = "repeats", .type = &mg_option_int, .offset = offsetof(sft_options, sweep.repeats), .def = "2", .min = 1, .max = 5, .group = "",
      .help = MG_N("learning_curve: seeds for each amount of data") },
    { 0 },
};

static mg_status run(mg_cli *cli, void *values, mg_error *err) {
    sft_options *o = values;
    mg_status    st = mg_sft_options_check(&o->sweep.sft, err);
    if (st || !o->learning_curve) return st ? st : mg_sft_show_train(cli, &o->sweep.sft, err);
    o->sweep.search = MG_SEARCH_LEARNING_CURVE;
    return mg_sweep_run(cli, &o->sweep, err);
}

const mg_command mg_command_sft = {
    .name = "sft", .group = "train", .usage = "-m MODEL -d DATA [CONFIG.yaml]",
    .summary = MG_N("fine-tune a model on questions and answers, conversations or text"), .rows = mg_sft_option_rows, .more_rows = rows,
    .foreign = mg_foreign_options, .values_size = sizeof(sft_options), .config_argument = true, .run = run,
};
