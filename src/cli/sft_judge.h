/* sft_judge.h -- the metrics of `eval` for answers that are generated while a run trains. */
#ifndef MG_CLI_SFT_JUDGE_H
#define MG_CLI_SFT_JUDGE_H

#include "train/judge.h"

extern const mg_judge mg_sft_judge;

#endif
