/* compare.h -- what the files of `compare` share: the options, and questions with two answers each. */
#ifndef MG_CLI_COMPARE_H
#define MG_CLI_COMPARE_H

#include "cli/compare_judge.h"
#include "cli/inference.h"
#include "cli/forgetting.h"

typedef struct mg_rate_options {
    bool    blind, yes;
    int     form; /* 0 rubric, 1 ox, 2 both */
    char   *rater, *page, *ratings;
    mg_list import;
    char   *judge, *judge_model, *judge_key;
    double  judge_price_in, judge_price_out; /* per million tokens */
    int64_t judge_timeout;
} mg_rate_options;

typedef struct mg_compare_options {
    mg_inference_options model;
    mg_answer_options    answer;
    mg_rate_options      rate;
    mg_list              prompt, questions, forgetting;
    char                *file, *system, *report, *against;
    bool                 raw;
} mg_compare_options;

/* All questions with their answers; `text` holds those of a file. */
typedef struct mg_compared {
    const char   **question;
    size_t         n, cap;
    mg_buf         text;
    mg_generation *side[2];         /* [n] base (or the other run), tuned */
    mg_questions   judged;          /* the first questions; empty: none are judged */
    size_t         controls;        /* the last of them come from --forgetting */
    mg_verdict    *verdict;         /* [judged.n] */
    const char   **before, **after; /* [n] texts of the answers */
    mg_task       *other;           /* [others] texts of --forgetting */
    mg_report_text *nll;            /* [others] */
    size_t         others;
} mg_compared;

/* Read the questions, ask both models, judge.  *paths are those of the run. */
mg_status mg_compare_ask(mg_compared *w, const mg_compare_options *o, mg_inference_paths *paths, mg_error *err);
void      mg_compared_free(mg_compared *w);
/* Is anything asked? */
bool mg_compare_asks(const mg_compare_options *o);

#endif
