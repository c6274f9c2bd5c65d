/* sft_show.h -- what `sft`, `resume` and `plan` show of training: header, plan, steps, result. */
#ifndef MG_CLI_SFT_SHOW_H
#define MG_CLI_SFT_SHOW_H

#include "cli/command.h"
#include "train/sft.h"

/* From now on Ctrl-C and SIGTERM ask training to save and end; a second signal kills.  What is pointed to becomes 1. */
const volatile sig_atomic_t *mg_sft_catch_signals(void);

/* Run training with this program's terminal, signals and JSON around it. */
mg_status mg_sft_show_train(mg_cli *cli, const mg_sft_options *o, mg_error *err);
mg_status mg_sft_show_plan(mg_cli *cli, const mg_sft_options *o, mg_error *err);

#endif
