/* sweep_run.c -- from settings to trials: options of each, journal, rounds.
 *
 * A trial is made of the sweep's own options, as YAML, with the varied ones set on
 * top, so it passes through the same checks as any run, and all of them do before
 * the first one trains.  Successive halving pauses a run and goes on with it
 * later: its learning-rate schedule is that of the whole trial from the start. */
#include "cli/sweep_run.h"

#include "base/file.h"
#include "base/json.h"
#include "cli/sft_options.h"
#include "cli/sft_show.h"
#include "cli/terminal.h"
#include "train/run.h"
#include "train/runs.h"

#include <errno.h>
#include <fcntl.h>
#include <libintl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct {
    mg_sweep    s;
    mg_cli     *cli;
    mg_terminal terminal;
    mg_buf      shared; /* YAML of the options that all trials have */
    char       *folder;
    const volatile sig_atomic_t *stop;
    const char *headline; /* of the trial at hand */
    volatile sig_atomic_t enough; /* the range test has diverged */
    double     *loss; /* of the range test, [steps] */
    size_t      losses, cap;
} sweep;

char *mg_sweep_trial_folder(const mg_sweep *s, size_t trial) {
    char name[32];
    snprintf(name, sizeof name, "trial-%03zu", trial + 1);
    return mg_path_join(s->folder, name);
}

/* ---- the options of a trial ---- */

/* What a sweep decides itself. */
static const char *const own[] = { "output_dir", "run_name", "resume_from_checkpoint", "save_total_limit", "sample_prompts", "load_best_model_at_end", NULL };

static bool is_own(const char *name) {
    for (int i = 0; own[i]; i++)
        if (!strcmp(own[i], name)) return true;
    return false;
}

static bool decides_itself(const void *context, const mg_option *row) {
    (void)context;
    return is_own(row->name);
}

mg_status mg_sweep_settings(mg_buf *out, const mg_options *o, bool (*left_out)(const void *context, const mg_option *row), const void *context,
                            mg_error *err) {
    mg_sft_options   unused;
    mg_options      *training = mg_options_new(mg_foreign_options); /* says which rows are about training */
    mg_status        st = training ? mg_options_add(training, mg_sft_option_rows, &unused, err) : mg_fail(err, MG_NOMEM, "no memory for the options");
    const mg_option *row;
    for (size_t i = 0; !st && (row = mg_options_row(training, i)); i++) {
        if (left_out(context, row) || mg_options_origin(o, row->name) == MG_ORIGIN_DEFAULT) continue;
        mg_buf_printf(out, "%s: ", row->name);
        mg_options_value(out, o, row->name);
        mg_buf_char(out, '\n');
    }
    mg_options_free(training);
    return !st && out->failed ? mg_fail(err, MG_NOMEM, "no memory for the options") : st;
}

/* A value of an axis; `+` stands for the comma of lists. */
static mg_status set_value(mg_options *o, const char *name, const char *value, mg_error *err) {
    const mg_option *row = mg_options_find(o, name);
    const char      *near = row ? NULL : mg_options_nearest(o, name);
    if (!row) return mg_fail(err, MG_CONFIG, "vary: '%.60s' is no option of training%s%s", name, near ? "; did you mean " : "", near ? near : "");
    if (is_own(row->name)) return mg_fail(err, MG_CONFIG, "vary: %s cannot be varied, the sweep sets it itself", row->name);
    char *text = mg_strdup(value);
    if (!text) return mg_fail(err, MG_NOMEM, "no memory for the options");
    for (char *c = text; row->type->is_list && *c; c++)
        if (*c == '+') *c = ',';
    mg_status st = mg_options_set(o, row->name, text, "sweep", err);
    free(text);
    return st;
}

static mg_status set_number(mg_options *o, const char *name, double value, mg_error *err) {
    char text[40];
    snprintf(text, sizeof text, "%.9g", value);
    return mg_options_set(o, name, text, "sweep", err);
}

/* The settings that a kind of search fixes for its trials. */
static mg_status set_search(const sweep *w, mg_options *o, mg_error *err) {
    const mg_sweep_options *s = w->s.o;
    mg_status               st = MG_OK;
    if (s->search == MG_SEARCH_LR_RANGE) {
        const mg_sweep_axis *a = &w->s.axis[0];
        st = set_number(o, "max_steps", (double)s->range_steps, err);
        if (!st) st = mg_options_set(o, "lr_scheduler_type", "exponential", "sweep", err);
        if (!st) st = set_number(o, "learning_rate", a->low, err);
        if (!st) st = set_number(o, "lr_scheduler_lr_end", a->high, err);
        if (!st) st = set_number(o, "warmup_steps", 0, err);
    } else if (s->search != MG_SEARCH_LEARNING_CURVE && s->trial_epochs > 0)
        st = set_number(o, "num_train_epochs", s->trial_epochs, err);
    return st ? st : mg_options_set(o, "save_total_limit", "1", "sweep", err);
}

static mg_status trial_options(const sweep *w, size_t trial, mg_sft_options *values, mg_options **out, mg_error *err) {
    char       *folder = mg_sweep_trial_folder(&w->s, trial), name[200];
    mg_options *o = mg_options_new(mg_foreign_options);
    mg_status   st = o && folder ? MG_OK : mg_fail(err, MG_NOMEM, "no memory for the options");
    memset(values, 0, sizeof *values);
    snprintf(name, sizeof name, "%s-%03zu", mg_path_base(w->s.folder), trial + 1);
    if (!st) st = mg_options_add(o, mg_sft_option_rows, values, err);
    if (!st && w->shared.len) st = mg_options_yaml_text(o, MG_ORIGIN_CONFIG, w->shared.data, w->shared.len, "sweep", err);
    if (!st) st = mg_options_set(o, "output_dir", folder, "sweep", err);
    if (!st) st = mg_options_set(o, "run_name", name, "sweep", err);
    if (!st) st = set_search(w, o, err);
    for (size_t i = 0; !st && i < w->s.axes; i++)
        if (w->s.o->search != MG_SEARCH_LR_RANGE) st = set_value(o, w->s.axis[i].name, w->s.plan.value[trial * w->s.axes + i], err);
    if (!st) st = mg_sft_options_check(values, err);
    free(folder);
    if (st)
        mg_options_free(o);
    else
        *out = o;
    return st;
}

static mg_status check_trials(const sweep *w, mg_error *err) {
    mg_status st = MG_OK;
    for (size_t i = 0; !st && i < w->s.plan.n; i++) {
        mg_sft_options values;
        mg_options    *o = NULL;
        st = trial_options(w, i, &values, &o, err);
        if (!st && w->s.o->search != MG_SEARCH_LR_RANGE && !values.eval_dataset.n && values.val_size == 0)
            st = mg_fail(err, MG_CONFIG, "a sweep compares trials on validation data; set val_size or eval_dataset");
        mg_options_free(o);
    }
    return st;
}

/* ---- the journal ---- */

static char *in_folder(const sweep *w, const char *name) { return mg_path_join(w->s.folder, name); }

static mg_status journal_write(const sweep *w, size_t trial, mg_error *err) {
    const mg_trial *t = &w->s.trial[trial];
    mg_buf          b = { 0 };
    char           *path = in_folder(w, "trials.jsonl");
    mg_buf_printf(&b, "{\"trial\": %zu, \"round\": %zu, \"step\": %lld", trial + 1, t->round, (long long)t->step);
    mg_buf_printf(&b, isfinite(t->result) ? ", \"result\": %.17g" : ", \"result\": null", t->result);
    mg_buf_printf(&b, isfinite(t->before) ? ", \"before\": %.17g" : ", \"before\": null", t->before);
    mg_buf_printf(&b, ", \"seconds\": %.3f, \"tokens\": %.0f, \"peak_memory\": %zu, \"error\": ", t->seconds, t->tokens, t->peak);
    mg_json_quote(&b, t->error, strlen(t->error));
    mg_buf_str(&b, "}\n");
    int  fd = path && !b.failed ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : -1;
    bool good = fd >= 0 && write(fd, b.data, b.len) == (ssize_t)b.len && !fsync(fd);
    mg_status st = good ? MG_OK : mg_fail(err, MG_IO, "%s/trials.jsonl cannot be written: %s", w->s.folder, strerror(errno));
    if (fd >= 0) close(fd);
    mg_buf_free(&b);
    free(path);
    return st;
}

static double number_of(yyjson_val *o, const char *key) {
    yyjson_val *v = yyjson_obj_get(o, key);
    return yyjson_is_num(v) ? yyjson_get_num(v) : NAN;
}

static void journal_line(sweep *w, const char *line, size_t n) {
    mg_json     j = { 0 };
    mg_error    ignored;
    if (mg_json_parse(&j, line, n, "trials.jsonl", &ignored)) return; /* a killed process left a part of a line */
    double      trial = number_of(j.root, "trial"), round = number_of(j.root, "round"), step = number_of(j.root, "step");
    const char *error = yyjson_get_str(yyjson_obj_get(j.root, "error"));
    if (trial >= 1 && trial <= (double)w->s.plan.n && round >= 1 && round <= w->s.rounds && step >= 0 && step < 1e15) {
        mg_trial *t = &w->s.trial[(size_t)trial - 1];
        t->round = (size_t)round;
        t->step = (int64_t)step;
        t->at[t->round - 1] = t->result = number_of(j.root, "result");
        t->before = number_of(j.root, "before");
        t->seconds = fmax(number_of(j.root, "seconds"), 0);
        t->tokens = fmax(number_of(j.root, "tokens"), 0);
        t->peak = (size_t)fmin(fmax(number_of(j.root, "peak_memory"), 0), 1e15);
        snprintf(t->error, sizeof t->error, "%s", error ? error : "");
    }
    mg_json_free(&j);
}

static mg_status journal_read(sweep *w, mg_error *err) {
    enum { LIMIT = 64 << 20 };
    char     *path = in_folder(w, "trials.jsonl");
    mg_buf    text = { 0 };
    mg_status st = path ? MG_OK : mg_fail(err, MG_NOMEM, "no memory for the sweep");
    if (!st && mg_is_file(path)) st = mg_read_file(&text, path, LIMIT, err);
    for (char *line = text.data, *end; !st && line && (end = strchr(line, '\n')); line = end + 1) journal_line(w, line, (size_t)(end - line));
    if (!st && text.data && text.len && text.data[text.len - 1] != '\n') { /* what follows must not join the part of a line */
        char *last = strrchr(text.data, '\n');
        st = mg_replace_file(path, text.data, last ? (size_t)(last + 1 - text.data) : 0, err);
    }
    mg_buf_free(&text);
    free(path);
    return st;
}

/* sweep.yaml: the settings of this folder; another sweep must not go on in it. */
static mg_status settle_settings(const sweep *w, mg_error *err) {
    mg_buf    now = { 0 }, then = { 0 };
    char     *path = in_folder(w, "sweep.yaml");
    mg_status st = path ? mg_make_folder(w->s.folder, err) : mg_fail(err, MG_NOMEM, "no memory for the sweep");
    mg_buf_add(&now, w->shared.data, w->shared.len);
    for (size_t i = 0; i < w->s.o->vary.n; i++) mg_buf_printf(&now, "%s  - \"%s\"\n", i ? "" : "vary:\n", w->s.o->vary.item[i]);
    static const char *const searches[] = { "grid", "random", "halving", "lr_range", "learning_curve" };
    static const char *const names[] = { "trials", "halving_factor", "trial_epochs", "repeats", "range_steps" };
    mg_buf_printf(&now, "search: %s\n", searches[w->s.o->search]);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!mg_options_find(w->cli->options, names[i])) continue; /* `sft --learning_curve` has few of them */
        mg_buf_printf(&now, "%s: ", names[i]);
        mg_options_value(&now, w->cli->options, names[i]);
        mg_buf_char(&now, '\n');
    }
    mg_buf_printf(&now, "output_dir: \"%s\"\n", w->s.folder);
    if (!st && now.failed) st = mg_fail(err, MG_NOMEM, "no memory for the sweep");
    if (!st && mg_is_file(path)) {
        st = mg_read_file(&then, path, 1 << 20, err);
        if (!st && (then.len != now.len || memcmp(then.data, now.data, now.len)))
            st = mg_fail(err, MG_CONFIG, "%s holds a sweep with other settings (see its sweep.yaml); name another folder with -o", w->s.folder);
    } else if (!st)
        st = mg_replace_file(path, now.data, now.len, err);
    mg_buf_free(&now);
    mg_buf_free(&then);
    free(path);
    return st;
}

/* ---- one trial ---- */

static void on_step(void *context, const mg_sft_step *x) {
    sweep *w = context;
    if (w->s.o->search == MG_SEARCH_LR_RANGE && MG_GROW(w->loss, w->cap, w->losses + 1)) {
        w->loss[w->losses++] = x->loss;
        if (mg_rate_range_diverged(w->loss, w->losses)) w->enough = 1;
    }
    if (w->stop && *w->stop) w->enough = 1;
    if (w->terminal.kind != MG_TERMINAL_BAR) return;
    mg_progress p = { .step = x->step, .steps = x->total, .epoch = x->epoch, .loss = x->loss, .has_eval = isfinite(x->eval_loss),
                      .eval_loss = x->eval_loss, .learning_rate = x->learning_rate, .grad_norm = x->grad_norm,
                      .tokens_per_second = x->tokens_per_second, .eta_s = x->seconds_left };
    mg_terminal_progress(&w->terminal, &p);
}

static void on_warn(void *context, const char *text) {
    sweep *w = context;
    mg_buf b = { 0 };
    if (w->s.o->search == MG_SEARCH_LR_RANGE) return; /* it goes on until the loss jumps */
    mg_buf_printf(&b, "%s: %s", w->headline, text);
    if (!b.failed) mg_terminal_warn(&w->terminal, b.data);
    mg_buf_free(&b);
}

typedef struct { const char *name; double first, last; } wanted;
static bool keep_value(void *context, const mg_run_point *p) {
    wanted *x = context;
    if (strcmp(p->name, x->name)) return true;
    if (isnan(x->first)) x->first = p->value;
    x->last = p->value;
    return true;
}

static bool has_checkpoint(const char *folder) {
    char     *config = mg_path_join(folder, "trainer_state.json");
    bool      found = config && mg_is_file(config);
    free(config);
    return found;
}

/* Run a trial up to the end of a round.  What goes wrong in it is its own result; only the user's stop ends the sweep. */
static mg_status run_trial(sweep *w, size_t trial, size_t round, mg_error *err) {
    mg_trial      *t = &w->s.trial[trial];
    mg_sft_options values;
    mg_options    *o = NULL;
    mg_sft_result  result = { 0 };
    mg_error       why;
    mg_buf         yaml = { 0 };
    double         part = w->s.round[round].part;
    wanted         x = { w->s.metric, NAN, NAN };
    mg_status      st = trial_options(w, trial, &values, &o, err);
    if (st) return st;
    if (has_checkpoint(values.output_dir))
        st = mg_options_set(o, "resume_from_checkpoint", "last", "sweep", err);
    else if (mg_is_folder(values.output_dir)) /* killed before its first checkpoint */
        st = mg_remove_folder(values.output_dir, err);
    mg_options_write_yaml(&yaml, o);
    if (!st && yaml.failed) st = mg_fail(err, MG_NOMEM, "no memory for the options");
    if (st) goto done;
    mg_sft_listener listener = { .context = w, .step = on_step, .warn = on_warn, .stop = &w->enough, .pause = part < 1 ? part : 0 };
    w->enough = *w->stop;
    w->losses = 0;
    mg_status ran = mg_sft_train(&values, yaml.data, 0, NULL, &listener, &result, &why);
    size_t    whole;
    if (*w->stop) {
        st = mg_fail(err, MG_STOPPED, "stopped in trial %zu; go on with: migaki sweep %s/sweep.yaml", trial + 1, w->s.folder);
        goto done;
    }
    st = mg_run_read_log(values.output_dir, keep_value, &x, &whole, err);
    if (st) goto done;
    bool good = ran == MG_OK || (ran == MG_STOPPED && w->enough); /* a range test ends where the loss flies away */
    t->round = round + 1;
    t->at[round] = t->result = good ? x.last : NAN;
    t->before = x.first;
    t->seconds += result.seconds;
    t->tokens = (double)result.tokens;
    t->peak = result.peak_bytes;
    t->step = ran == MG_STOPPED ? (int64_t)w->losses : result.steps;
    if (!good) snprintf(t->error, sizeof t->error, "%.250s", why.text);
    st = journal_write(w, trial, err);
done:
    mg_options_free(o);
    mg_buf_free(&yaml);
    return st;
}

static void headline(const sweep *w, size_t trial, mg_buf *b) {
    mg_buf_printf(b, gettext("Trial %zu of %zu"), trial + 1, w->s.plan.n);
    for (size_t i = 0; i < w->s.axes; i++) mg_buf_printf(b, " · %s=%s", w->s.axis[i].name, w->s.plan.value[trial * w->s.axes + i]);
}

static void say_trial(sweep *w, size_t trial) {
    const mg_trial *t = &w->s.trial[trial];
    mg_buf          b = { 0 };
    if (w->terminal.kind == MG_TERMINAL_JSON) {
        mg_buf_printf(&b, "{\"event\": \"trial\", \"trial\": %zu, \"round\": %zu, \"step\": %lld, \"%s\": ", trial + 1, t->round, (long long)t->step, w->s.metric);
        mg_buf_printf(&b, isfinite(t->result) ? "%.9g" : "null", t->result);
        for (size_t i = 0; i < w->s.axes; i++) {
            mg_buf_printf(&b, ", \"%s\": ", w->s.axis[i].name);
            mg_json_quote(&b, w->s.plan.value[trial * w->s.axes + i], strlen(w->s.plan.value[trial * w->s.axes + i]));
        }
        mg_buf_str(&b, ", \"error\": ");
        mg_json_quote(&b, t->error, strlen(t->error));
        mg_buf_str(&b, "}\n");
        if (!b.failed) fputs(b.data, stdout), fflush(stdout);
    } else {
        headline(w, trial, &b);
        if (*t->error)
            mg_buf_printf(&b, gettext(" · failed: %s"), t->error);
        else
            mg_buf_printf(&b, gettext(" · step %lld · %s %.4f · %.0f s"), (long long)t->step, w->s.metric, t->result, t->seconds);
        if (!b.failed) mg_terminal_line(&w->terminal, b.data);
    }
    mg_buf_free(&b);
}

/* ---- the whole ---- */

static const char DEFAULT_RANGE[] = "learning_rate=1e-7..1e-1";

static mg_status make_axes(sweep *w, mg_error *err) {
    mg_sweep               *s = &w->s;
    const mg_sweep_options *o = s->o;
    mg_status               st = MG_OK;
    if (o->vary.n > MG_SWEEP_AXES) return mg_fail(err, MG_CONFIG, "vary: at most %d options can be varied at once", (int)MG_SWEEP_AXES);
    for (; !st && s->axes < o->vary.n; s->axes += !st) st = mg_sweep_axis_parse(&s->axis[s->axes], o->vary.item[s->axes], err);
    for (size_t i = 0; !st && i < s->axes; i++)
        for (size_t k = 0; k < i; k++)
            if (!strcmp(s->axis[i].name, s->axis[k].name)) return mg_fail(err, MG_CONFIG, "vary: %s is named twice", s->axis[i].name);
    if (st) return st;
    if (o->search == MG_SEARCH_LEARNING_CURVE) {
        char repeats[64] = "seed=";
        if (s->axes) return mg_fail(err, MG_CONFIG, "a learning curve varies the amount of data alone; leave vary out");
        for (int64_t i = 0; i < o->repeats; i++)
            snprintf(repeats + strlen(repeats), sizeof repeats - strlen(repeats), "%s%lld", i ? "," : "", (long long)(o->sft.seed + i));
        st = mg_sweep_axis_parse(&s->axis[0], "train_fraction=0.125,0.25,0.5,1", err);
        if (!st) s->axes = 1, st = mg_sweep_axis_parse(&s->axis[1], repeats, err);
        if (!st) s->axes = 2;
    } else if (o->search == MG_SEARCH_LR_RANGE) {
        if (!s->axes) st = mg_sweep_axis_parse(&s->axis[0], DEFAULT_RANGE, err), s->axes = !st;
        if (!st && (s->axes != 1 || strcmp(s->axis[0].name, "learning_rate") || !s->axis[0].logarithmic))
            st = mg_fail(err, MG_CONFIG, "a range test varies the learning rate alone, as in: --vary learning_rate=1e-7..1e-1");
    } else if (!s->axes)
        st = mg_fail(err, MG_USAGE, "nothing is varied; name options and values, as in: --vary learning_rate=1e-4,3e-4 --vary lora_r=8,16");
    return st;
}

static mg_status make_plan(sweep *w, mg_error *err) {
    mg_sweep               *s = &w->s;
    const mg_sweep_options *o = s->o;
    bool any_range = false;
    for (size_t i = 0; i < s->axes; i++) any_range |= s->axis[i].range;
    bool draws = o->search == MG_SEARCH_RANDOM || (o->search == MG_SEARCH_HALVING && any_range);
    mg_status st;
    if (o->search == MG_SEARCH_LR_RANGE) {
        mg_sweep_axis once = { .value = (char *[]){ strchr(o->vary.n ? o->vary.item[0] : DEFAULT_RANGE, '=') + 1 }, .n = 1 };
        st = mg_sweep_grid(&s->plan, &once, 1, err); /* one run goes through the whole range */
    } else
        st = draws ? mg_sweep_draw(&s->plan, s->axis, s->axes, (size_t)o->trials, (uint64_t)o->sft.seed, err)
                   : mg_sweep_grid(&s->plan, s->axis, s->axes, err);
    if (st) return st;
    s->round[0] = (mg_sweep_round){ s->plan.n, 1 };
    s->rounds = o->search == MG_SEARCH_HALVING ? mg_sweep_halving(s->round, s->plan.n, (int)o->factor) : 1;
    s->trial = mg_calloc(s->plan.n, sizeof *s->trial);
    s->order = mg_calloc(s->plan.n, sizeof *s->order);
    if (!s->trial || !s->order) return mg_fail(err, MG_NOMEM, "no memory for %zu trials", s->plan.n);
    for (size_t i = 0; i < s->plan.n; i++) {
        s->trial[i].result = s->trial[i].before = NAN;
        s->order[i] = i;
    }
    return MG_OK;
}

/* Order the first n by what they reached in a round, the best first.  By that round alone: on going on, the journal
 * knows later ones already. */
static mg_status rank(sweep *w, size_t n, size_t round, mg_error *err) {
    double *result = mg_calloc(n, sizeof *result);
    size_t *place = mg_calloc(n, sizeof *place), *before = mg_calloc(n, sizeof *before);
    bool    good = result && place && before;
    if (good) {
        memcpy(before, w->s.order, n * sizeof *before);
        for (size_t i = 0; i < n; i++) {
            const mg_trial *t = &w->s.trial[before[i]];
            result[i] = t->round > round ? t->at[round] : NAN;
        }
        mg_sweep_rank(result, n, w->s.greater_is_better, place);
        for (size_t i = 0; i < n; i++) w->s.order[i] = before[place[i]];
    }
    free(result);
    free(place);
    free(before);
    return good ? MG_OK : mg_fail(err, MG_NOMEM, "no memory for %zu trials", n);
}

static mg_status all_rounds(sweep *w, mg_error *err) {
    mg_status st = MG_OK;
    for (size_t k = 0; !st && k < (size_t)w->s.rounds; k++) {
        size_t n = w->s.round[k].keep;
        if (w->s.rounds > 1 && w->terminal.kind != MG_TERMINAL_JSON) {
            mg_buf b = { 0 };
            mg_buf_printf(&b, gettext("Round %zu of %d: %zu trials up to %.0f%% of their steps"), k + 1, w->s.rounds, n, 100 * w->s.round[k].part);
            if (!b.failed) mg_terminal_line(&w->terminal, b.data);
            mg_buf_free(&b);
        }
        for (size_t i = 0; !st && i < n; i++) {
            size_t trial = w->s.order[i];
            mg_buf line = { 0 };
            if (w->s.trial[trial].round > k || *w->s.trial[trial].error) continue; /* the journal knows it */
            headline(w, trial, &line);
            w->headline = line.failed ? "" : line.data;
            st = run_trial(w, trial, k, err);
            if (!st) say_trial(w, trial);
            mg_buf_free(&line);
        }
        if (!st) st = rank(w, n, k, err);
    }
    return st;
}

static char *folder_of(const mg_sweep_options *o) {
    char      name[80];
    struct tm day;
    time_t    now = time(NULL);
    if (o->sft.output_dir) return mg_strdup(o->sft.output_dir);
    localtime_r(&now, &day);
    strftime(name, sizeof name, "sweep-%Y%m%d-%H%M%S", &day);
    return mg_path_join(mg_runs_root(), name);
}

mg_status mg_sweep_run(mg_cli *cli, const mg_sweep_options *o, mg_error *err) {
    sweep     w = { .cli = cli, .s = { .o = o, .metric = o->sft.metric_for_best_model } };
    mg_status st = MG_OK;
    w.folder = folder_of(o);
    w.s.folder = w.folder;
    size_t n = strlen(w.s.metric);
    w.s.greater_is_better = !(n >= 4 && !strcmp(w.s.metric + n - 4, "loss"));
    st = mg_sweep_settings(&w.shared, cli->options, decides_itself, NULL, err);
    if (!w.folder) st = mg_fail(err, MG_NOMEM, "no memory for the sweep");
    if (!st) st = make_axes(&w, err);
    if (!st) st = make_plan(&w, err);
    if (!st) st = check_trials(&w, err);
    if (!st) st = settle_settings(&w, err);
    if (!st) st = journal_read(&w, err);
    if (st) goto done;
    w.stop = mg_sft_catch_signals();
    w.terminal = mg_terminal_start(cli->global.json, cli->global.quiet);
    mg_buf b = { 0 };
    mg_buf_printf(&b, gettext("migaki sweep  %zu trials · %s"), w.s.plan.n, w.s.folder);
    if (!b.failed) mg_terminal_line(&w.terminal, b.data);
    mg_buf_free(&b);
    st = all_rounds(&w, err);
    mg_terminal_end(&w.terminal);
    if (!st) st = mg_sweep_show(cli, &w.s, err);
done:
    for (size_t i = 0; i < w.s.axes; i++) mg_sweep_axis_free(&w.s.axis[i]);
    mg_sweep_plan_free(&w.s.plan);
    free(w.s.trial);
    free(w.s.order);
    free(w.loss);
    free(w.folder);
    mg_buf_free(&w.shared);
    return st;
}
