/* sweep_run.h -- the trials of a sweep as runs of the trainer, one after the other.
 *
 * DIR/trial-001, trial-002, ... are ordinary run folders; DIR/trials.jsonl is the
 * journal, a line for each round of each trial; DIR/sweep.yaml holds every
 * setting.  The same command again goes on where the journal ends, and within a
 * trial at its last checkpoint. */
#ifndef MG_CLI_SWEEP_RUN_H
#define MG_CLI_SWEEP_RUN_H

#include "cli/command.h"
#include "train/sft_options.h"
#include "train/sweep.h"

typedef enum mg_search { MG_SEARCH_GRID, MG_SEARCH_RANDOM, MG_SEARCH_HALVING, MG_SEARCH_LR_RANGE, MG_SEARCH_LEARNING_CURVE } mg_search;

typedef struct mg_sweep_options {
    mg_sft_options sft; /* what all trials share */
    mg_list        vary;
    int            search; /* mg_search */
    int64_t        trials, factor, repeats, range_steps;
    double         trial_epochs;
} mg_sweep_options;

typedef struct mg_trial {
    size_t  round; /* rounds that are behind it */
    int64_t step;
    double  at[MG_SWEEP_ROUNDS];             /* the metric at the end of each of them */
    double  result, before, seconds, tokens; /* result: that of the last; NaN: none, it failed */
    size_t  peak;
    char    error[256]; /* "": none */
} mg_trial;

enum { MG_SWEEP_AXES = 8 };
typedef struct mg_sweep {
    const mg_sweep_options *o;
    const char             *folder, *metric;
    bool                    greater_is_better;
    mg_sweep_axis           axis[MG_SWEEP_AXES];
    size_t                  axes;
    mg_sweep_plan           plan;
    mg_trial               *trial; /* [plan.n] */
    size_t                 *order; /* [plan.n] the best first */
    mg_sweep_round          round[MG_SWEEP_ROUNDS];
    int                     rounds;
} mg_sweep;

/* All trials, then the results: table, sweep.json, sweep.html, best.yaml.  MG_STOPPED: the user stopped it. */
mg_status mg_sweep_run(mg_cli *cli, const mg_sweep_options *o, mg_error *err);

/* sweep_show.c: what came out, to the terminal and into the folder. */
mg_status mg_sweep_show(const mg_cli *cli, const mg_sweep *s, mg_error *err);
/* The options of training that have been set, as YAML lines, but those that are left out. */
mg_status mg_sweep_settings(mg_buf *out, const mg_options *o, bool (*left_out)(const void *context, const mg_option *row), const void *context,
                            mg_error *err);
/* DIR/trial-001 as a heap string. */
char *mg_sweep_trial_folder(const mg_sweep *s, size_t trial);

#endif
