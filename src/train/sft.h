/* sft.h -- supervised fine-tuning: from options to a finished run folder.
 *
 * The order of things: open model and tokenizer, read the data, attach the
 * adapter, plan the memory (nothing is trained that does not fit), then steps,
 * evaluations and checkpoints, and the final adapter.  Data order, dropout and
 * learning rate are pure functions of (seed, epoch, step), so a resumed run is
 * bit-equal to one that never stopped.
 *
 * The trainer prints nothing: it tells a listener. */
#ifndef MG_TRAIN_SFT_H
#define MG_TRAIN_SFT_H

#include "infer/bundle.h"
#include "train/judge.h"
#include "train/plan.h"
#include "train/run.h"
#include "train/sft_options.h"

#include <signal.h>

typedef struct mg_sft_facts { /* known before step 0 */
    const mg_bundle      *bundle;
    const mg_adapter     *adapter;
    const mg_backend     *backend;
    const mg_memory_plan *plan;
    const mg_dataset     *train, *eval; /* eval NULL: none */
    int64_t               total_steps, steps_per_epoch, start_step, tokens_per_epoch;
    size_t                checkpoint_bytes, n_stages;
    int                   threads;
    const char           *run_folder; /* NULL when only planning */
} mg_sft_facts;

typedef struct mg_sft_step {
    int64_t step, total; /* step counts from 1: the update that was just made */
    double  epoch, loss, grad_norm, learning_rate, tokens_per_second;
    int64_t tokens, labels; /* of this step */
    bool    finite;         /* false: the update was left out */
    double  eval_loss, eval_accuracy, eval_gap; /* of the newest evaluation; NaN before the first; gap: to the training loss */
    double  seconds_left;
} mg_sft_step;

/* Any function may be NULL. */
typedef struct mg_sft_listener {
    void *context;
    void (*facts)(void *context, const mg_sft_facts *f);
    void (*step)(void *context, const mg_sft_step *s);
    void (*evaluated)(void *context, int64_t step, double loss, double accuracy);
    void (*scored)(void *context, int64_t step, const mg_metric *m, size_t n); /* before evaluated: every score, as it is logged */
    void (*sampled)(void *context, int64_t step, const mg_run_sample *s, size_t n); /* answers to sample_prompts */
    void (*warn)(void *context, const char *text);
    const mg_judge *judge; /* of generated answers */
    const volatile sig_atomic_t *stop; /* not 0: save and stop */
    double pause; /* stop, evaluated and saved, after this part of all steps: a run that is gone on with; 0: none */
} mg_sft_listener;

typedef struct mg_sft_result {
    char    folder[1024];
    int64_t steps, tokens, best_step;
    double  seconds, first_eval_loss, last_eval_loss, best_eval_loss, last_loss; /* NaN: not measured */
    size_t  peak_bytes, planned_bytes;
    bool    stopped_early, stopped_by_user, paused;
} mg_sft_result;

/* `config_yaml`: the resolved options, written into the run folder.  argv may be NULL.
 * MG_STOPPED: the user stopped it, a checkpoint is saved. */
mg_status mg_sft_train(const mg_sft_options *o, const char *config_yaml, int argc, char *const *argv, const mg_sft_listener *listener,
                       mg_sft_result *result, mg_error *err);

/* Everything up to step 0, and nothing written.  MG_NOFIT after the facts when it does not fit. */
mg_status mg_sft_plan(const mg_sft_options *o, const mg_sft_listener *listener, mg_error *err);

#endif
