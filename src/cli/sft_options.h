/* sft_options.h -- the option table of `sft`, `plan` and `train`. */
#ifndef MG_CLI_SFT_OPTIONS_H
#define MG_CLI_SFT_OPTIONS_H

#include "train/sft_options.h"

extern const mg_option         mg_sft_option_rows[];
extern const mg_option_foreign mg_foreign_options[]; /* keys of other programs */

/* What one option alone cannot say: required ones, and pairs that exclude each other. */
mg_status mg_sft_options_check(const mg_sft_options *o, mg_error *err);

#endif
