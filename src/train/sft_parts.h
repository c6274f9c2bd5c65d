/* sft_parts.h -- what the files of the trainer share; for them alone. */
#ifndef MG_TRAIN_SFT_PARTS_H
#define MG_TRAIN_SFT_PARTS_H

#include "data/batch.h"
#include "infer/generate.h"
#include "infer/predict.h"
#include "optim/optimizer.h"
#include "train/checkpoint.h"
#include "train/sft.h"
#include "train/step.h"

typedef struct mg_asked { /* prompts and what was answered; sft_samples.c */
    mg_ids        *ids;    /* [n] */
    mg_generation *answer; /* [n] */
    const char   **text;   /* [n] of the answers, while they are there */
    size_t         n;
} mg_asked;

typedef struct mg_samples { /* sample_prompts */
    char         **prompt;
    size_t         n, cap;
    mg_run_sample *row; /* [n] */
    mg_asked       asked;
} mg_samples;

typedef struct mg_exam { /* the first samples of the validation data, as questions */
    mg_asked asked;
    char   **reference; /* [asked.n] */
} mg_exam;

enum { MG_SCORES = 32 };
typedef struct mg_scores { /* of the newest evaluation; sft_watch.c */
    mg_metric metric[MG_SCORES];
    char      name[MG_SCORES][32];
    size_t    n;
} mg_scores;

typedef struct mg_run_share { /* a data set of a mixture, or all texts; sft_mixture.c */
    char            name[16];
    const mg_goal  *goal; /* NULL: generation */
    mg_portion        plan; /* which samples of the training data, and how much of an epoch */
    size_t          eval_first, eval_n;
    mg_labelled_set valid; /* what its validation samples were made of */
} mg_run_share;

typedef struct mg_trainer {
    const mg_sft_options  *o;
    const mg_sft_listener *listener;
    mg_bundle         bundle;
    const mg_backend *backend;
    int               threads_then; /* of the run that is gone on with; 0: a new one */
    mg_params         params;
    mg_adapter_config adapter_config; /* what is attached */
    mg_adapter       *adapter;
    mg_dataset        train, eval;
    mg_run_share     *share; /* [n_shares]; samples know theirs (mg_sample.task) */
    size_t            n_shares;
    mg_heads          heads;
    float            *logit; /* of a head, in evaluations */
    size_t            cap_logits;

    /* the schedule of the whole run: every micro-batch of every epoch, made before step 0 */
    mg_epoch *epoch;
    int64_t  *epoch_first; /* [n_epochs + 1] first step of each epoch */
    int64_t   n_epochs, total_steps, warmup;
    int64_t  *stage_end; /* [n_stages] last step of each stage; without stages there is one */
    size_t    n_stages;
    int64_t   tokens_per_epoch;
    const mg_schedule    *schedule;
    mg_schedule_settings  schedule_settings;
    mg_optim             *optimizer;

    mg_memory_plan plan;
    mg_arena       mem;
    mg_tape        tape;
    mg_packed      packed;
    const mg_sample **list; /* samples of the micro-batch at hand */
    int32_t        *top;    /* most likely tokens, for accuracy in evaluations */

    mg_samples      samples;
    mg_exam         exam;
    mg_generator   *generator; /* for both; NULL: nothing is asked */
    mg_scores       scores;
    char            best_name[32];     /* the score that decides: "eval_loss" */
    bool            best_generated, greater_is_better;

    mg_run            *run;
    mg_checkpoint_info info; /* position, best, patience: what MANIFEST keeps */
    char               weights_sum[65]; /* of the model as it was opened */
    mg_buf             identity; /* JSON object of everything that must agree on resume */
    double             eval_loss, eval_accuracy, first_eval_loss, eval_gap;
    int64_t            skipped_updates;
} mg_trainer;

/* sft_setup.c */
mg_status mg_trainer_open(mg_trainer *r, mg_error *err); /* model, data, adapter, schedule */
mg_status mg_trainer_plan(mg_trainer *r, mg_error *err); /* memory; tells the facts also when it does not fit */
mg_status mg_trainer_allocate(mg_trainer *r, mg_error *err);
void      mg_trainer_facts(const mg_trainer *r);
void      mg_trainer_close(mg_trainer *r);

/* Samples of micro-batch i of an epoch into r->list; the number of them. */
int mg_trainer_micro(mg_trainer *r, const mg_epoch *e, size_t i);
/* Samples of evaluation batch i; 0: there is no such batch. */
int mg_trainer_eval_batch(mg_trainer *r, int64_t i);
/* The epoch of a step and the micro-batches [*begin, *end) that make it up. */
const mg_epoch *mg_trainer_locate(const mg_trainer *r, int64_t step, size_t *begin, size_t *end, double *epoch);

/* sft_mixture.c */
mg_status      mg_trainer_read_data(mg_trainer *r, mg_error *err);
const mg_head *mg_trainer_head(const mg_trainer *r, const mg_sample *s); /* that reads this sample; NULL: a text */
void           mg_trainer_shares_free(mg_trainer *r);
/* Loss and main score of a share's validation data, its scores added; half of it when the user stops. */
mg_status mg_trainer_evaluate_share(mg_trainer *r, size_t i, double *loss, double *accuracy, mg_error *err);

/* sft.c */
bool mg_trainer_stopped(const mg_trainer *r); /* the user wants to stop */

/* sft_samples.c */
mg_status mg_trainer_samples_open(mg_trainer *r, mg_error *err);  /* nothing without sample_prompts and predict_with_generate */
void      mg_trainer_samples_close(mg_trainer *r);
size_t    mg_trainer_samples_bytes(const mg_trainer *r);
mg_status mg_trainer_sample(mg_trainer *r, mg_error *err); /* answer and write; nothing is written when the user stops it */
bool      mg_trainer_sampled(const mg_trainer *r);         /* the answers of this step are in the run's folder */

mg_status mg_trainer_examine(mg_trainer *r, mg_error *err); /* answer the validation questions; scores are added, but not when the user stops it */

/* sft_watch.c */
mg_status mg_trainer_scores_open(mg_trainer *r, mg_error *err); /* which score decides */
void      mg_trainer_add_score(mg_trainer *r, const char *name, double value);
bool      mg_trainer_wants_answers(const mg_trainer *r);        /* of the validation questions */
void      mg_trainer_watch_losses(mg_trainer *r);               /* the newest losses into the scores; warns */
void      mg_trainer_watch_samples(mg_trainer *r, const char *const *answer, size_t n); /* logs and warns of repetition */
mg_status mg_trainer_score_answers(mg_trainer *r, const char *const *answer, const char *const *reference, size_t n, mg_error *err);
void      mg_trainer_judge(mg_trainer *r);                      /* is the newest evaluation the best? */
void      mg_trainer_warn(const mg_trainer *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* sft_result.c */
mg_status mg_trainer_write_result(mg_trainer *r, mg_error *err); /* adapter, or the whole model */

/* sft_state.c */
mg_status mg_trainer_save(mg_trainer *r, mg_error *err);    /* a checkpoint of r->info.step, then rotation */
mg_status mg_trainer_restore(mg_trainer *r, const char *which, mg_error *err); /* "last" or a checkpoint folder */
mg_status mg_trainer_write_text(mg_trainer *r, mg_error *err); /* tokenizer and template into the run folder */
void      mg_trainer_digest_weights(mg_trainer *r); /* while the weights are on the host */
mg_status mg_trainer_make_identity(mg_trainer *r, mg_error *err);
void      mg_trainer_recall(mg_trainer *r); /* day and threads of the run to go on with, before data is read */
size_t    mg_trainer_checkpoint_bytes(const mg_trainer *r);

#endif
