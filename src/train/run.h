/* run.h -- the folder of one run, and the records in it.
 *
 * runs/NAME/ holds everything that the run made; nothing else is needed to
 * understand, resume or show it.  The database runs.db beside it (runs.h) is an index
 * of the folders and can be thrown away.  The folder is locked while a process
 * works in it; the lock goes with the process, however that ends.
 *
 * A full disk must not end a run: mg_run_log and mg_run_samples answer MG_IO, the
 * trainer warns and goes on. */
#ifndef MG_TRAIN_RUN_H
#define MG_TRAIN_RUN_H

#include "base/mem.h"

typedef struct mg_run mg_run;

/* A figure of a step: "loss", "eval_loss", "learning_rate", "grad_norm", "tokens_per_second", ...
 * (transformers' names).  NaN and infinities are written as texts, "NaN". */
typedef struct mg_metric {
    const char *name;
    double      value;
} mg_metric;

typedef struct mg_run_point { /* one logged value, in order of logging */
    int64_t step;
    double  epoch;
    char    name[32];
    double  value;
} mg_run_point;

/* Make a new run.  `output_dir`: its folder, which must not hold a run yet; NULL: runs/NAME under the
 * runs folder (mg_runs_root).  `run_name` NULL: from model and date, made unique.  `config_yaml` is written
 * before the folder counts as a run, so that every run can be resumed; NULL: none.  MG_CONFIG: the name or
 * folder is taken.  The run is locked. */
mg_status mg_run_create(mg_run **out, const char *output_dir, const char *run_name, const char *model,
                        const char *method, const char *config_yaml, mg_error *err);
/* Open a run to go on with it: locks it (MG_MISMATCH: another process works in it) and loads its history. */
mg_status mg_run_open(mg_run **out, const char *folder, mg_error *err);
void      mg_run_close(mg_run *r); /* NULL is fine */

const char *mg_run_folder(const mg_run *r);
const char *mg_run_name(const mg_run *r);
const char *mg_run_id(const mg_run *r);
/* Everything logged so far; borrowed, until the next mg_run_log. */
const mg_run_point *mg_run_history(const mg_run *r, size_t *n);
/* One line a trouble with the database, which never fails a run; "" when there is none. */
const char *mg_run_notes(const mg_run *r);

/* A file of the run's folder, replaced as a whole: "config.yaml", "adapter_config.json". */
mg_status mg_run_write(mg_run *r, const char *name, const void *bytes, size_t n, mg_error *err);

/* Append one line to trainer_log.jsonl and the metrics to the database. */
mg_status mg_run_log(mg_run *r, int64_t step, double epoch, const mg_metric *m, size_t n, mg_error *err);
/* Forget what was logged after `step`: the run resumes from there. */
mg_status mg_run_rewind(mg_run *r, int64_t step, mg_error *err);

/* Call `each` for every value in trainer_log.jsonl, in order; *whole is the length of the complete lines
 * (a killed process leaves a part of one).  No file is no error. */
typedef bool (*mg_run_each_fn)(void *context, const mg_run_point *p);
mg_status mg_run_read_log(const char *folder, mg_run_each_fn each, void *context, size_t *whole, mg_error *err);

/* samples/step-NNNNNN.jsonl: the same prompts at different steps. */
typedef struct mg_run_sample {
    const char *prompt, *answer; /* UTF-8; invalid bytes are replaced */
} mg_run_sample;
#define MG_RUN_SAMPLES_NAME "samples/step-%06lld.jsonl"
#define MG_RUN_ANSWERS_NAME "samples/eval-%06lld.jsonl" /* the validation questions */
mg_status mg_run_samples(mg_run *r, int64_t step, const mg_run_sample *s, size_t n, mg_error *err);

/* trainer_state.json, transformers' keys with the log as log_history; and the state in the database.
 * Call at every checkpoint and at the end. */
typedef struct mg_run_state {
    int64_t     step, max_steps;
    double      epoch, num_train_epochs;
    int64_t     train_batch_size;
    int64_t     tokens;
    bool        has_best;
    double      best_metric;
    int64_t     best_step;
    const char *status; /* "running", "finished", "stopped", "failed" */
} mg_run_state;
mg_status mg_run_write_state(mg_run *r, const mg_run_state *s, mg_error *err);
void      mg_run_state_json(mg_buf *b, const mg_run *r, const mg_run_state *s); /* the same text, for checkpoints */

/* environment.json: versions, machine, threads, command line.  argv may be NULL. */
mg_status mg_run_write_environment(mg_run *r, int threads, int argc, char *const *argv, mg_error *err);

/* figures/loss.svg, lr.svg, grad_norm.svg from the history. */
mg_status mg_run_write_figures(mg_run *r, mg_error *err);

/* train_results.json, eval_results.json or all_results.json: a flat object. */
mg_status mg_run_write_results(mg_run *r, const char *name, const mg_metric *m, size_t n, mg_error *err);

/* README.md: a model card with PEFT's front matter. */
typedef struct mg_run_card {
    const char *base_model, *dataset; /* as the user named them */
    const char *method, *title;       /* "lora", "LoRA" */
    bool        whole;                /* the folder is a model, not an adapter */
    int64_t     lora_r;               /* 0: the method has no rank */
    double      lora_alpha;
    int64_t     train_samples, eval_samples;
    double      eval_loss_before, eval_loss_after; /* NaN: not measured */
    const char *config_yaml; /* the resolved config, shown folded; may be NULL */
} mg_run_card;
mg_status mg_run_write_card(mg_run *r, const mg_run_card *c, const mg_run_state *s, mg_error *err);

#endif
