/* eval_run.h -- one test set through a model, once tuned and once as it was before. */
#ifndef MG_CLI_EVAL_RUN_H
#define MG_CLI_EVAL_RUN_H

#include "cli/eval_options.h"
#include "cli/inference.h"
#include "eval/metrics/metric.h"
#include "eval/metrics/resample.h"
#include "eval/task.h"

typedef struct mg_eval_settings {
    const mg_bundle    *bundle;
    const mg_backend   *backend;
    mg_generate_options generate;
    const mg_list      *metrics;   /* names of generation metrics; empty: those that suit */
    const mg_metric_options *counting; /* how BLEU and the others count; words NULL: by the texts */
    const char         *system;
    int64_t             max_length, stride; /* perplexity */
    int64_t             shots;
    const mg_task      *examples; /* for few-shot; NULL: none */
    bool                before;   /* also without the adapter */
    bool                raw;      /* no chat template */
    bool                choose_by_generation;
    uint64_t            seed;
} mg_eval_settings;

typedef struct mg_eval_score {
    char         *name, *signature;
    bool          lower_is_better, has_interval;
    mg_interval   after, before;
    mg_difference difference; /* with before and an interval */
} mg_eval_score;

typedef struct mg_eval_side { /* what the model said, [n] */
    char  **answer;
    int    *ok;     /* 1, 0, -1 not judged */
    bool   *cut;    /* the answer was as long as it may be */
    double *stats;  /* [n * width] of the score at work */
    double *choice; /* [n * 3] what was chosen: plain, by tokens, by bytes; -1 none */
    double *text;   /* [n * 3] nll, tokens, hits */
    double *window; /* [windows * 4] of a single text: perplexity.h */
} mg_eval_side;

typedef struct mg_eval_result {
    const mg_task *task; /* borrowed */
    mg_eval_side   side[2]; /* after, before */
    mg_eval_score *score;
    size_t         n, cap;
    size_t         windows;
    double        *confusion[2]; /* [classes][classes + 1] where labels mean the same in every item; NULL: not */
} mg_eval_result;

mg_status mg_eval_run(const mg_task *t, const mg_eval_settings *s, mg_eval_result *out, mg_error *err);
void      mg_eval_free(mg_eval_result *r);

#endif
