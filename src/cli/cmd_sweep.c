/* cmd_sweep.c -- `sweep`: find settings by trying them, or read them off a curve. */
#include "cli/sft_options.h"
#include "cli/sweep_run.h"

#define AT(field) offsetof(mg_sweep_options, field)
#define SWEEP MG_N("Sweep")

static const mg_option rows[] = {
    { .name = "vary", .type = &mg_option_texts, .offset = AT(vary), .metavar = "NAME=VALUES", .group = SWEEP,
      .help = MG_N("an option and its values: learning_rate=1e-4,3e-4, or a range: lora_r=4..64; repeat for more options; "
                   "+ joins the items of a list: lora_target_modules=q+v,all-linear") },
    { .name = "search", .aliases = "strategy,method_of_search", .type = &mg_option_enum, .offset = AT(search), .def = "grid",
      .choices = "grid|random|halving|lr_range|learning_curve", .group = SWEEP,
      .help = MG_N("grid: every combination; random: draws; halving: the better ones go on; lr_range: one run with a rising learning rate; "
                   "learning_curve: 1/8, 1/4, 1/2 and all of the data") },
    { .name = "trials", .aliases = "num_trials,n_trials", .type = &mg_option_int, .offset = AT(trials), .def = "8", .min = 1,
      .max = MG_SWEEP_TRIALS, .group = SWEEP, .help = MG_N("draws of search=random, and of halving over a range") },
    { .name = "halving_factor", .aliases = "eta,reduction_factor", .type = &mg_option_int, .offset = AT(factor), .def = "3", .min = 2, .max = 64,
      .group = SWEEP, .help = MG_N("search=halving: one of so many goes on, so many times as far") },
    { .name = "trial_epochs", .type = &mg_option_float, .offset = AT(trial_epochs), .def = "1", .min = 0, .max = 1e6, .group = SWEEP,
      .help = MG_N("length of a trial; 0: num_train_epochs.  max_steps stands above both") },
    { .name = "repeats", .type = &mg_option_int, .offset = AT(repeats), .def = "2", .min = 1, .max = 5, .group = SWEEP,
      .help = MG_N("learning_curve: seeds for each amount of data") },
    { .name = "range_steps", .type = &mg_option_int, .offset = AT(range_steps), .def = "100", .min = 20, .max = 100000, .group = SWEEP,
      .help = MG_N("lr_range: steps from the lowest to the highest learning rate") },
    { 0 },
};

static mg_status run(mg_cli *cli, void *values, mg_error *err) {
    const mg_sweep_options *o = values;
    mg_status               st = mg_sft_options_check(&o->sft, err);
    return st ? st : mg_sweep_run(cli, o, err);
}

const mg_command mg_command_sweep = {
    .name = "sweep", .group = "train", .usage = "-m MODEL -d DATA --vary NAME=VALUES [CONFIG.yaml]",
    .summary = MG_N("try settings in short runs and say which were best"), .rows = mg_sft_option_rows, .more_rows = rows,
    .foreign = mg_foreign_options, .values_size = sizeof(mg_sweep_options), .config_argument = true, .run = run,
};
