/* sft.c -- the loop: steps, evaluations, checkpoints, and when to stop.
 *
 *     loss of a step = - sum over its labelled tokens of log p(token) / number of them
 *
 * summed over all micro-batches of the step, so that 1 x 32, 8 x 4 and 32 x 1 are
 * one and the same step.  What goes wrong on the way is said once and named: a
 * loss that is not finite never reaches the weights, a full disk does not end
 * the run, Ctrl-C saves first. */
#include "base/file.h"
#include "base/machine.h"
#include "base/thread.h"
#include "train/sft_parts.h"

#include <libintl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool stopped(const mg_trainer *r) { return r->listener->stop && *r->listener->stop; }
bool        mg_trainer_stopped(const mg_trainer *r) { return stopped(r); }

/* ---- evaluation ---- */

/* All of it or, when the user stops it, nothing: then it is caught up with on resume.  Over several tasks loss and score
 * are means by their parts of an epoch. */
static mg_status evaluate(mg_trainer *r, mg_error *err) {
    double    sum = 0, scores = 0, parts = 0;
    mg_status st = MG_OK;
    mg_scores of_tasks;
    r->scores.n = 0;
    for (size_t i = 0; !st && i < r->n_shares; i++) {
        double loss, accuracy, part = r->share[i].plan.part;
        if (!r->share[i].eval_n) continue;
        st = mg_trainer_evaluate_share(r, i, &loss, &accuracy, err);
        if (st || stopped(r) || isnan(loss)) continue;
        sum += part * loss;
        scores += part * accuracy;
        parts += part;
    }
    if (st || stopped(r) || !(parts > 0)) return st;
    r->eval_loss = sum / parts;
    r->eval_accuracy = scores / parts;
    of_tasks = r->scores;
    r->scores.n = 0;
    mg_trainer_watch_losses(r);
    for (size_t i = 0; i < of_tasks.n; i++) mg_trainer_add_score(r, of_tasks.name[i], of_tasks.metric[i].value);
    if (r->exam.asked.n) st = mg_trainer_examine(r, err);
    if (st || stopped(r)) return st;
    mg_error ignored;
    if (mg_run_log(r->run, r->info.step, r->info.epoch, r->scores.metric, r->scores.n, &ignored)) mg_trainer_warn(r, "%s", ignored.text);
    if (isnan(r->first_eval_loss)) r->first_eval_loss = r->eval_loss;
    if (r->info.step) mg_trainer_judge(r); /* the untrained model is no candidate */
    if (r->listener->scored) r->listener->scored(r->listener->context, r->info.step, r->scores.metric, r->scores.n);
    if (r->listener->evaluated) r->listener->evaluated(r->listener->context, r->info.step, r->eval_loss, r->eval_accuracy);
    return MG_OK;
}

/* What is looked at from time to time: validation data, then the sample prompts. */
static mg_status look(mg_trainer *r, mg_error *err) {
    mg_optim_swap_average(r->optimizer);
    mg_status st = r->eval.n ? evaluate(r, err) : MG_OK;
    if (!st && r->samples.n && !stopped(r)) st = mg_trainer_sample(r, err);
    mg_optim_swap_average(r->optimizer);
    return st;
}

/* ---- one step ---- */

/* The samples of a step that went wrong, by line. */
static void name_samples(mg_trainer *r, const mg_epoch *e, size_t begin, size_t end, char *out, size_t size) {
    size_t n = 0;
    *out = 0;
    for (size_t i = begin; i < end; i++)
        for (uint32_t k = e->micro_start[i]; k < e->micro_start[i + 1] && n + 24 < size; k++)
            n += (size_t)snprintf(out + n, size - n, "%s%lld", n ? ", " : "", (long long)r->train.sample[e->order[k]].line);
}

static void count_step(const mg_trainer *r, const mg_epoch *e, size_t begin, size_t end, mg_sft_step *s) {
    for (uint32_t k = e->micro_start[begin]; k < e->micro_start[end]; k++) {
        const mg_sample *x = &r->train.sample[e->order[k]];
        s->tokens += x->n;
        s->labels += x->n_labels;
    }
}

/* What a label of micro-batch i weighs: see sft_mixture.c. */
static float weight_of(const mg_trainer *r, const mg_epoch *e, size_t begin, size_t end, size_t i) {
    uint16_t task = r->train.sample[e->order[e->micro_start[i]]].task;
    int64_t  samples = 0, labels = 0, all = (int64_t)(e->micro_start[end] - e->micro_start[begin]);
    for (uint32_t k = e->micro_start[begin]; k < e->micro_start[end]; k++) {
        const mg_sample *x = &r->train.sample[e->order[k]];
        if (x->task != task) continue;
        samples++;
        labels += x->n_labels;
    }
    if (samples == all) return 1.0f / (float)labels;
    return labels ? (float)((double)samples / (double)all / (double)labels) : 0;
}

/* MG_STOPPED, and no step made: the user wants to stop. */
static mg_status one_step(mg_trainer *r, mg_sft_step *s, mg_error *err) {
    size_t          begin, end;
    const mg_epoch *e = mg_trainer_locate(r, r->info.step, &begin, &end, &s->epoch);
    mg_status       st = MG_OK;
    double          start = now();
    s->total = r->total_steps;
    s->learning_rate = r->o->learning_rate * r->schedule->factor(&r->schedule_settings, (mg_schedule_at){ r->info.step, r->warmup, r->total_steps });
    count_step(r, e, begin, end, s);
    for (size_t i = begin; !st && i < end; i++) {
        double loss = 0;
        int    n = mg_trainer_micro(r, e, i);
        if (i > begin && stopped(r)) { /* half a step is none */
            mg_params_zero_grad(&r->params);
            return MG_STOPPED;
        }
        st = mg_pack_for(&r->packed, r->list, n, n ? mg_trainer_head(r, r->list[0]) : NULL, err);
        /* dropout: a stream of its own for every micro-batch of the run */
        r->tape.step = (uint64_t)(r->info.step * r->o->gradient_accumulation_steps) + (i - begin);
        if (!st && r->packed.batch.n_labels)
            st = mg_step_train(&r->tape, r->bundle.model, &r->packed.batch, weight_of(r, e, begin, end, i), &loss, err);
        s->loss += loss;
    }
    if (st) return st;
    s->finite = isfinite(s->loss);
    if (s->finite)
        s->finite = mg_optim_update(r->optimizer, s->learning_rate, r->info.step + 1, &s->grad_norm);
    else {
        s->grad_norm = NAN;
        mg_params_zero_grad(&r->params);
    }
    s->tokens_per_second = (double)s->tokens / (now() - start);
    if (!s->finite) {
        char lines[256];
        name_samples(r, e, begin, end, lines, sizeof lines);
        r->skipped_updates++;
        mg_trainer_warn(r, gettext("step %lld: loss or gradient is not finite; the update is left out (lines %s of the training data)"),
             (long long)r->info.step + 1, lines);
    }
    r->info.step++;
    r->info.epoch = s->epoch;
    r->info.tokens += s->tokens;
    r->info.data_position += (int64_t)(e->micro_start[end] - e->micro_start[begin]);
    s->step = r->info.step;
    return MG_OK;
}

/* A loss far above what it was is worth a line: a bad sample, or too high a learning rate. */
static void watch_for_spike(mg_trainer *r, const mg_sft_step *s, double *mean) {
    enum { QUIET_STEPS = 20 };
    if (!isfinite(s->loss)) return;
    if (s->step > QUIET_STEPS && s->loss > 3 * *mean + 1) {
        size_t          begin, end;
        double          epoch;
        char            lines[256];
        const mg_epoch *e = mg_trainer_locate(r, s->step - 1, &begin, &end, &epoch);
        name_samples(r, e, begin, end, lines, sizeof lines);
        mg_trainer_warn(r, gettext("step %lld: the loss jumped to %.3f (before: about %.3f; lines %s of the training data)"), (long long)s->step, s->loss,
             *mean, lines);
    }
    *mean = *mean > 0 ? 0.9 * *mean + 0.1 * s->loss : s->loss;
}

/* The running mean of the loss at the step that a run is gone on with. */
static double recall_mean(const mg_trainer *r) {
    size_t              n;
    double              mean = 0;
    const mg_run_point *p = mg_run_history(r->run, &n);
    for (size_t i = 0; i < n; i++)
        if (!strcmp(p[i].name, "loss") && isfinite(p[i].value)) mean = mean > 0 ? 0.9 * mean + 0.1 * p[i].value : p[i].value;
    return mean;
}

/* ---- the loop ---- */

static bool due(int64_t every, int64_t step, bool epoch_ended, int64_t total) {
    return step == total || (every > 0 ? step % every == 0 : epoch_ended);
}

static bool ends_epoch(const mg_trainer *r, int64_t step) {
    for (int64_t i = 1; i <= r->n_epochs; i++)
        if (r->epoch_first[i] == step) return true;
    return false;
}

static bool save_is_due(const mg_trainer *r, int64_t step) {
    return due(r->o->save_steps, step, ends_epoch(r, step), r->total_steps);
}

static bool ends_stage(const mg_trainer *r, int64_t step) {
    for (size_t i = 0; i < r->n_stages; i++)
        if (r->stage_end[i] == step) return true;
    return false;
}

/* The step after which the listener wants a pause; 0: none. */
static int64_t pause_step(const mg_trainer *r) {
    double part = r->listener->pause;
    return part > 0 && part < 1 ? (int64_t)ceil(part * (double)r->total_steps) : 0;
}

static bool look_is_due(const mg_trainer *r, int64_t step) {
    if (ends_stage(r, step) || step == pause_step(r)) return true;
    return r->o->eval_steps ? due(r->o->eval_steps, step, false, r->total_steps) : save_is_due(r, step);
}

static void log_step(mg_trainer *r, const mg_sft_step *s) {
    mg_metric m[] = { { "loss", s->loss }, { "learning_rate", s->learning_rate }, { "grad_norm", s->grad_norm },
                      { "tokens_per_second", s->tokens_per_second } };
    mg_error  err;
    if (mg_run_log(r->run, s->step, s->epoch, m, 4, &err)) mg_trainer_warn(r, "%s", err.text);
}

/* A checkpoint that cannot be written is said, and tried again with the next one. */
static void try_save(mg_trainer *r, bool *saved) {
    mg_error err;
    *saved = !mg_trainer_save(r, &err);
    if (!*saved) mg_trainer_warn(r, "%s", err.text);
}

/* The evaluation logged for a step; NaN: none. */
static double evaluated_at(const mg_trainer *r, int64_t step) {
    size_t              n;
    const mg_run_point *p = mg_run_history(r->run, &n);
    for (size_t i = n; i-- > 0;)
        if (p[i].step == step && !strcmp(p[i].name, "eval_loss")) return p[i].value;
    return NAN;
}

/* A stage that has ended without bettering the one before, or the untrained model: more data does not help. */
static bool stage_did_not_help(const mg_trainer *r) {
    for (size_t i = 0; i + 1 < r->n_stages; i++)
        if (r->stage_end[i] == r->info.step) {
            double before = evaluated_at(r, i ? r->stage_end[i - 1] : 0), now = evaluated_at(r, r->info.step);
            return !(before - now > r->o->stage_threshold);
        }
    return false;
}

static bool had_enough(const mg_trainer *r) {
    return stage_did_not_help(r) || (r->o->early_stopping_patience && r->info.evals_without_improvement >= r->o->early_stopping_patience);
}

/* The look before the first step; and one that was stopped before it was complete, without which a resumed run would
 * judge otherwise than one never interrupted. */
static mg_status catch_up(mg_trainer *r, mg_error *err) {
    mg_status st = MG_OK;
    bool      saved;
    if (r->info.step && !look_is_due(r, r->info.step)) return st;
    if (r->eval.n && (r->info.step ? r->info.evaluated_step < r->info.step : isnan(r->first_eval_loss))) {
        mg_optim_swap_average(r->optimizer);
        st = evaluate(r, err);
        mg_optim_swap_average(r->optimizer);
        if (!st && r->info.step && !stopped(r)) try_save(r, &saved); /* with the verdict */
    }
    if (st || !r->samples.n || stopped(r) || mg_trainer_sampled(r)) return st;
    mg_optim_swap_average(r->optimizer);
    st = mg_trainer_sample(r, err);
    mg_optim_swap_average(r->optimizer);
    return st;
}

static mg_status loop(mg_trainer *r, mg_sft_result *out, mg_error *err) {
    const mg_sft_options *o = r->o;
    double    begin = now(), mean = recall_mean(r);
    int64_t   first = r->info.step, last = pause_step(r) ? pause_step(r) : r->total_steps;
    bool      saved = true;
    mg_status st = catch_up(r, err);
    while (!st && r->info.step < last && !stopped(r) && !had_enough(r)) {
        mg_sft_step s = { .eval_loss = r->eval_loss, .eval_accuracy = r->eval_accuracy, .eval_gap = r->eval_gap };
        st = one_step(r, &s, err);
        if (st == MG_STOPPED) {
            st = MG_OK;
            break;
        }
        if (st) break;
        s.seconds_left = (now() - begin) / (double)(s.step - first) * (double)(r->total_steps - s.step);
        out->last_loss = s.loss;
        watch_for_spike(r, &s, &mean);
        log_step(r, &s);
        if (r->listener->step) r->listener->step(r->listener->context, &s);
        bool save = save_is_due(r, s.step);
        if (look_is_due(r, s.step)) {
            st = look(r, err);
            /* the best so far must be on disk to be taken at the end, and the last step to be resumed from */
            save |= had_enough(r);
            save |= o->load_best_model_at_end && r->info.has_best && r->info.best_step == s.step;
        }
        saved = false;
        if (!st && save) try_save(r, &saved);
    }
    out->stopped_early = had_enough(r);
    out->stopped_by_user = stopped(r);
    out->paused = !out->stopped_early && r->info.step < r->total_steps;
    if (!st && !saved) st = mg_trainer_save(r, err); /* the last word must be on disk */
    out->seconds = now() - begin;
    return st;
}

/* ---- the end ---- */

static mg_status take_best(mg_trainer *r, mg_error *err) {
    char name[1200];
    if (!r->o->load_best_model_at_end || !r->info.has_best || r->info.best_step == r->info.step) return MG_OK;
    snprintf(name, sizeof name, "%s/checkpoint-%lld", mg_run_folder(r->run), (long long)r->info.best_step);
    mg_error why;
    if (mg_checkpoint_verify(name, NULL, &why)) { /* the disk was full then */
        mg_trainer_warn(r, gettext("the best checkpoint cannot be taken, the adapter is that of the last step: %s"), why.text);
        return MG_OK;
    }
    return mg_adapter_load(r->adapter, name, err);
}

/* Every score of the newest evaluation in the log, also of one before the run was gone on with; how many. */
static size_t last_scores(const mg_trainer *r, mg_metric *out) {
    size_t              n, found = 0;
    const mg_run_point *p = mg_run_history(r->run, &n);
    int64_t             step = -1;
    for (size_t i = n; i-- > 0 && step < 0;)
        if (!strcmp(p[i].name, "eval_loss")) step = p[i].step;
    for (size_t i = 0; i < n && found < MG_SCORES; i++)
        if (p[i].step == step && !strncmp(p[i].name, "eval_", 5)) out[found++] = (mg_metric){ p[i].name, p[i].value };
    return found;
}

static mg_status write_records(mg_trainer *r, const mg_sft_result *out, const char *config_yaml, mg_error *err) {
    mg_run_state state = { .step = r->info.step, .max_steps = r->total_steps, .epoch = r->info.epoch,
                           .num_train_epochs = r->o->num_train_epochs, .train_batch_size = r->o->per_device_train_batch_size,
                           .tokens = r->info.tokens, .has_best = r->info.has_best, .best_metric = r->info.best_metric,
                           .best_step = r->info.best_step, .status = out->paused ? "stopped" : "finished" };
    mg_metric train[] = { { "train_loss", out->last_loss }, { "train_runtime", out->seconds }, { "train_steps", (double)r->info.step },
                          { "train_tokens", (double)r->info.tokens }, { "peak_memory_bytes", (double)out->peak_bytes } };
    mg_metric eval[MG_SCORES + 1], all[MG_SCORES + 6];
    size_t    n = last_scores(r, eval);
    eval[n++] = (mg_metric){ "eval_loss_before", r->first_eval_loss };
    mg_run_card card = { .base_model = r->o->model_name_or_path, .dataset = r->o->dataset.n ? r->o->dataset.item[0] : "", .method = r->adapter->c.method->name,
                         .title = r->adapter->c.method->title, .whole = r->adapter->c.method->whole, .lora_r = r->adapter->c.method->ranked ? r->adapter->c.r : 0,
                         .lora_alpha = (double)r->adapter->c.alpha, .train_samples = (int64_t)r->train.n, .eval_samples = (int64_t)r->eval.n,
                         .eval_loss_before = r->first_eval_loss, .eval_loss_after = r->eval_loss, .config_yaml = config_yaml };
    memcpy(all, train, sizeof train);
    memcpy(all + 5, eval, n * sizeof *eval);
    mg_status st = mg_run_write_results(r->run, "train_results.json", train, 5, err);
    if (!st && r->eval.n) st = mg_run_write_results(r->run, "eval_results.json", eval, n, err);
    if (!st) st = mg_run_write_results(r->run, "all_results.json", all, r->eval.n ? 5 + n : 5, err);
    if (!st) st = mg_run_write_figures(r->run, err);
    if (!st) st = mg_run_write_card(r->run, &card, &state, err);
    return st ? st : mg_run_write_state(r->run, &state, err);
}

/* The first or last value that the run has logged under a name; NaN: none. */
static double logged(const mg_run *run, const char *name, bool first) {
    size_t              n;
    double              value = NAN;
    const mg_run_point *p = mg_run_history(run, &n);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(p[i].name, name)) continue;
        value = p[i].value;
        if (first) break;
    }
    return value;
}

static mg_status open_run(mg_trainer *r, const char *config_yaml, int argc, char *const *argv, mg_error *err) {
    const mg_sft_options *o = r->o;
    mg_status             st;
    if (o->resume_from_checkpoint)
        st = mg_run_open(&r->run, o->output_dir, err);
    else
        st = mg_run_create(&r->run, o->output_dir, o->run_name, o->model_name_or_path, "sft", config_yaml, err);
    if (st) return st;
    snprintf(r->info.run_id, sizeof r->info.run_id, "%s", mg_run_id(r->run));
    if (!o->resume_from_checkpoint) {
        st = mg_run_write_environment(r->run, mg_threads(), argc, argv, err);
        return st ? st : mg_trainer_write_text(r, err);
    }
    mg_checkpoint_clean(mg_run_folder(r->run));
    st = mg_trainer_restore(r, o->resume_from_checkpoint, err);
    return st ? st : mg_trainer_write_text(r, err); /* it may have been killed before that */
}

/* Each task of a mixture as a folder that PEFT loads: tasks/NAME. */
static mg_status save_tasks(const mg_trainer *r, mg_error *err) {
    char      path[1200];
    mg_status st = MG_OK;
    snprintf(path, sizeof path, "%s/tasks", mg_run_folder(r->run));
    if (r->heads.n && !r->heads.alone) st = mg_make_folder(path, err);
    for (size_t i = 0; !st && !r->heads.alone && i < r->heads.n; i++) {
        snprintf(path, sizeof path, "%s/tasks/%s", mg_run_folder(r->run), r->heads.head[i].name);
        st = mg_heads_save_task(&r->heads, i, r->adapter, r->bundle.model, path, err);
    }
    return st;
}

mg_status mg_sft_train(const mg_sft_options *o, const char *config_yaml, int argc, char *const *argv, const mg_sft_listener *listener,
                       mg_sft_result *result, mg_error *err) {
    mg_trainer    r = { .o = o, .listener = listener };
    mg_sft_result out = { .first_eval_loss = NAN, .last_eval_loss = NAN, .best_eval_loss = NAN, .last_loss = NAN };
    mg_trainer_recall(&r);
    mg_status st = mg_trainer_open(&r, err);
    if (!st) st = mg_trainer_plan(&r, err);
    if (st == MG_NOFIT) mg_trainer_facts(&r);
    if (!st) st = mg_trainer_allocate(&r, err);
    if (!st) st = mg_trainer_make_identity(&r, err);
    if (!st) st = open_run(&r, config_yaml, argc, argv, err);
    if (st) goto done;
    mg_trainer_facts(&r);
    r.first_eval_loss = logged(r.run, "eval_loss", true);
    r.eval_loss = logged(r.run, "eval_loss", false);
    r.eval_accuracy = logged(r.run, "eval_accuracy", false);
    r.eval_gap = logged(r.run, "eval_gap", false);
    out.last_loss = logged(r.run, "loss", false);
    st = loop(&r, &out, err);
    if (!st) mg_optim_swap_average(r.optimizer); /* the result is the average, where there is one */
    if (!st && !out.paused) st = take_best(&r, err);
    if (!st) st = mg_trainer_write_result(&r, err);
    if (!st) st = save_tasks(&r, err);
    out.steps = r.info.step;
    out.tokens = r.info.tokens;
    out.best_step = r.info.has_best ? r.info.best_step : -1;
    out.first_eval_loss = r.first_eval_loss;
    out.last_eval_loss = r.eval_loss;
    out.best_eval_loss = r.info.has_best ? r.info.best_metric : NAN;
    out.peak_bytes = mg_process_memory_now().peak;
    out.planned_bytes = r.plan.total;
    if (!st) st = write_records(&r, &out, config_yaml, err);
    snprintf(out.folder, sizeof out.folder, "%s", mg_run_folder(r.run));
    if (!st) *result = out;
    if (!st && out.stopped_by_user)
        st = mg_fail(err, MG_STOPPED, "stopped at step %lld of %lld; go on with: migaki resume %s", (long long)out.steps,
                     (long long)r.total_steps, out.folder);
done:
    mg_trainer_close(&r);
    return st;
}

mg_status mg_sft_plan(const mg_sft_options *o, const mg_sft_listener *listener, mg_error *err) {
    mg_trainer r = { .o = o, .listener = listener };
    mg_status  st = mg_trainer_open(&r, err);
    if (!st) st = mg_trainer_plan(&r, err);
    if (!st || st == MG_NOFIT) mg_trainer_facts(&r);
    mg_trainer_close(&r);
    return st;
}
