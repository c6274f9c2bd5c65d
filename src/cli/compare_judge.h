/* compare_judge.h -- `compare` with question files: right or wrong before and after, and the table's summary. */
#ifndef MG_CLI_COMPARE_JUDGE_H
#define MG_CLI_COMPARE_JUDGE_H

#include "base/option.h"
#include "eval/questions.h"

typedef struct mg_verdict {
    int before, after; /* 1 right, 0 wrong, -1 not judged */
} mg_verdict;

/* Verdicts of n answers each; `out` has n entries. */
void mg_judge_all(const mg_questions *q, const char *const *before, const char *const *after, mg_verdict *out);

/* "○", "×" or " ". */
const char *mg_verdict_mark(int verdict);

/* One line a category: how many were right before and after, and how many that were right before are wrong now. */
void mg_judge_summary(mg_buf *out, const mg_questions *q, const mg_verdict *v);

#endif
