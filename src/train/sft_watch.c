/* sft_watch.c -- what an evaluation says: its scores, which is the best one, and whether the model learns by heart.
 *
 * Over-fitting shows in three places: the validation loss rises while the training loss falls, the gap between the two
 * grows, and answers begin to say one phrase again and again.  All of it is computed from the run's log, so a run that
 * is gone on with sees what one that never stopped sees. */
#include "train/sft_parts.h"

#include <libintl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const double RISE = 1e-3; /* of the loss itself: less is noise */

void mg_trainer_warn(const mg_trainer *r, const char *format, ...) {
    char    text[1200];
    va_list args;
    if (!r->listener->warn) return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    r->listener->warn(r->listener->context, text);
}

/* ---- scores of an evaluation ---- */

static void add(mg_scores *s, const char *name, double value) {
    if (s->n == MG_SCORES) return;
    snprintf(s->name[s->n], sizeof s->name[0], "%s", name);
    s->metric[s->n] = (mg_metric){ s->name[s->n], value };
    s->n++;
}

void mg_trainer_add_score(mg_trainer *r, const char *name, double value) { add(&r->scores, name, value); }

/* The value that the run logged under `name` at the newest step before `before`; *step receives it.  NaN: none. */
static double logged_before(const mg_trainer *r, const char *name, int64_t before, int64_t *step) {
    size_t              n;
    const mg_run_point *p = mg_run_history(r->run, &n);
    for (size_t i = n; i-- > 0;)
        if (p[i].step < before && !strcmp(p[i].name, name)) {
            if (step) *step = p[i].step;
            return p[i].value;
        }
    return NAN;
}

/* Mean training loss of the steps behind `after`; NaN: none. */
static double training_loss_since(const mg_trainer *r, int64_t after) {
    size_t              n, count = 0;
    double              sum = 0;
    const mg_run_point *p = mg_run_history(r->run, &n);
    for (size_t i = 0; i < n; i++)
        if (p[i].step > after && !strcmp(p[i].name, "loss") && isfinite(p[i].value)) {
            sum += p[i].value;
            count++;
        }
    return count ? sum / (double)count : NAN;
}

void mg_trainer_watch_losses(mg_trainer *r) {
    mg_scores *s = &r->scores;
    int64_t    last = 0, older = 0;
    double     before = logged_before(r, "eval_loss", r->info.step, &last), train = training_loss_since(r, last);
    add(s, "eval_loss", r->eval_loss);
    add(s, "eval_accuracy", r->eval_accuracy);
    add(s, "eval_perplexity", exp(r->eval_loss));
    r->eval_gap = r->eval_loss - train;
    if (!r->info.step || !isfinite(r->eval_gap)) return;
    add(s, "eval_gap", r->eval_gap);
    double gap = last ? logged_before(r, "eval_gap", r->info.step, NULL) : NAN, train_before = before - gap;
    if (!(r->eval_loss > before * (1 + RISE) && train < train_before)) return;
    /* said when it begins, not as long as it lasts */
    double first = logged_before(r, "eval_loss", last, &older), first_gap = older ? logged_before(r, "eval_gap", last, NULL) : NAN;
    if (before > first * (1 + RISE) && train_before < first - first_gap) return;
    mg_trainer_warn(r, gettext("step %lld: over-fitting? The validation loss rises (%.3f → %.3f) while the training loss falls (%.3f → %.3f)"),
                    (long long)r->info.step, before, r->eval_loss, train_before, train);
}

/* ---- generated answers ---- */

/* A phrase on one line, without blanks around it. */
static void quote(char *out, size_t size, const char *phrase, size_t len) {
    size_t n = 0;
    for (size_t i = 0; i < len && n + 1 < size; i++) {
        bool blank = (unsigned char)phrase[i] <= ' ' || phrase[i] == 0x7f;
        if (!blank || n) out[n++] = blank ? ' ' : phrase[i];
    }
    while (n && out[n - 1] == ' ') n--;
    out[n] = 0;
}

/* Log how much the answers repeat themselves, and warn when it begins; not of the untrained model.  `of`: "sample" or "eval". */
static void watch_repetition(mg_trainer *r, const char *of, const char *const *answer, size_t n, double *share, double *looping) {
    const mg_judge *j = r->listener->judge;
    char            name[32], phrase[121] = "";
    size_t          at, len, loops = 0;
    mg_error        ignored;
    *share = 0;
    for (size_t i = 0; i < n; i++)
        if (j->repeats(answer[i], &at, &len)) {
            if (!loops++) quote(phrase, sizeof phrase, answer[i] + at, len);
        }
    if (j->score("repetition", answer, answer, n, share, &ignored)) *share = NAN;
    *looping = 100.0 * (double)loops / (double)n;
    snprintf(name, sizeof name, "%s_looping", of);
    double before = logged_before(r, name, r->info.step, NULL);
    if (r->info.step && loops && *looping > (isfinite(before) ? before : 0))
        mg_trainer_warn(r, gettext("step %lld: %zu of %zu answers repeat a phrase again and again (“%s”); the model may be over-fitting"),
                        (long long)r->info.step, loops, n, phrase);
}

void mg_trainer_watch_samples(mg_trainer *r, const char *const *answer, size_t n) {
    double   share, looping;
    mg_error why;
    if (!r->listener->judge || !n) return;
    watch_repetition(r, "sample", answer, n, &share, &looping);
    mg_metric m[] = { { "sample_repetition", share }, { "sample_looping", looping } };
    if (mg_run_log(r->run, r->info.step, r->info.epoch, m, 2, &why)) mg_trainer_warn(r, "%s", why.text);
}

static mg_status add_score(mg_trainer *r, const char *name, const char *const *answer, const char *const *reference, size_t n, mg_error *err) {
    char      full[32];
    double    value;
    mg_status st = r->listener->judge->score(name, answer, reference, n, &value, err);
    snprintf(full, sizeof full, "eval_%s", name);
    if (!st) add(&r->scores, full, value);
    return st;
}

mg_status mg_trainer_score_answers(mg_trainer *r, const char *const *answer, const char *const *reference, size_t n, mg_error *err) {
    const mg_list *wanted = &r->o->generation_metrics;
    double         share, looping;
    mg_status      st = MG_OK;
    bool           judged = false;
    for (size_t i = 0; !st && i < wanted->n; i++) {
        if (!strcmp(wanted->item[i], "repetition")) continue; /* always there, below */
        judged |= !strcmp(wanted->item[i], r->best_name + strlen("eval_"));
        st = add_score(r, wanted->item[i], answer, reference, n, err);
    }
    if (!st && r->best_generated && !judged && strcmp(r->best_name, "eval_repetition") != 0)
        st = add_score(r, r->best_name + strlen("eval_"), answer, reference, n, err);
    if (st) return st;
    watch_repetition(r, "eval", answer, n, &share, &looping);
    add(&r->scores, "eval_repetition", share);
    add(&r->scores, "eval_looping", looping);
    return MG_OK;
}

/* ---- which is the best ---- */

static const struct { const char *name; bool lower; } measured[] = {
    { "eval_loss", true }, { "eval_accuracy", false }, { "eval_perplexity", true }, { "eval_gap", true },
};

bool mg_trainer_wants_answers(const mg_trainer *r) { return r->o->predict_with_generate || r->best_generated; }

mg_status mg_trainer_scores_open(mg_trainer *r, mg_error *err) {
    const mg_sft_options *o = r->o;
    const mg_judge       *j = r->listener->judge;
    const char           *name = o->metric_for_best_model, *bare = strncmp(name, "eval_", 5) ? name : name + 5;
    bool                  lower = false, found = false;
    for (size_t i = 0; i < sizeof measured / sizeof *measured; i++)
        if (!strcmp(bare, measured[i].name + 5)) {
            found = true;
            lower = measured[i].lower;
        }
    /* answers first: char_f1 is theirs and no task called "char" */
    r->best_generated = !found && j && j->knows(bare, &lower);
    const char *end = strrchr(bare, '_');
    if (!found && !r->best_generated) found = end && mg_head_score_is(end + 1, &lower); /* of a task: eval_jnli_f1 */
    if (!found && !r->best_generated)
        return mg_fail(err, MG_CONFIG, "metric_for_best_model: '%.80s' is not known; there are eval_loss, eval_accuracy, eval_perplexity, eval_gap, "
                       "eval_TASK_SCORE of a data set, and of generated answers %s", name, j ? j->names : "");
    for (size_t i = 0; j && i < o->generation_metrics.n; i++)
        if (!j->knows(o->generation_metrics.item[i], NULL))
            return mg_fail(err, MG_CONFIG, "generation_metrics: '%.80s' is not known; there are %s", o->generation_metrics.item[i], j->names);
    if (o->predict_with_generate && !j) return mg_fail(err, MG_UNSUPPORTED, "predict_with_generate: nobody is there to score the answers");
    snprintf(r->best_name, sizeof r->best_name, "eval_%s", bare);
    r->greater_is_better = o->greater_is_better == MG_AUTO ? !lower : o->greater_is_better == MG_YES;
    return MG_OK;
}

void mg_trainer_judge(mg_trainer *r) {
    double value = NAN, sign = r->greater_is_better ? -1 : 1;
    r->info.evaluated_step = r->info.step;
    for (size_t i = 0; i < r->scores.n; i++)
        if (!strcmp(r->scores.name[i], r->best_name)) value = sign * r->scores.metric[i].value;
    double best = sign * r->info.best_metric;
    if (!isfinite(value)) {
        r->info.evals_without_improvement++;
        return;
    }
    if (!r->info.has_best || value < best) {
        bool enough = !r->info.has_best || best - value > r->o->early_stopping_threshold;
        r->info.has_best = true;
        r->info.best_metric = sign * value;
        r->info.best_step = r->info.step;
        r->info.evals_without_improvement = enough ? 0 : r->info.evals_without_improvement + 1;
    } else
        r->info.evals_without_improvement++;
}
