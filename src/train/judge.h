/* judge.h -- scores of generated answers, as the trainer is given them from above.
 *
 * The trainer decides by them when to stop and which checkpoint is the best; how they are computed is not its business
 * (and metrics stand beside it, not below).  cli/sft_judge.c has the one that the program uses. */
#ifndef MG_TRAIN_JUDGE_H
#define MG_TRAIN_JUDGE_H

#include "base/mem.h"

typedef struct mg_judge {
    /* Is there a score of this name ("bleu")?  *lower_is_better may be NULL. */
    bool (*knows)(const char *name, bool *lower_is_better);
    /* The score of n answers, n > 0, each against its reference. */
    mg_status (*score)(const char *name, const char *const *answer, const char *const *reference, size_t n, double *out, mg_error *err);
    /* A phrase that the answer says several times in direct succession: where one of them stands. */
    bool (*repeats)(const char *answer, size_t *at, size_t *len);
    const char *names; /* all of them, for messages */
} mg_judge;

#endif
