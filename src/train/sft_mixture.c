/* sft_mixture.c -- the data of a run: one set of texts, or several sets that teach different things.
 *
 * Every data set of a mixture is a share: it has a name, a goal, a head where the goal needs one, and its part of each
 * epoch (mg_plan_mixture).  In a step each sample counts the same and, within a task, each label:
 *
 *     loss = sum over tasks  samples of the task / samples * (- sum of log p of its labels / its labels)
 *
 * With one task this is the mean over labels; with several, texts with hundreds of labels do not drown a class. */
#include "base/file.h"
#include "data/records.h"
#include "train/sft_parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const mg_on_trouble on_truncation[] = {
    [MG_TRUNCATION_REFUSE] = MG_TROUBLE_REFUSE, [MG_TRUNCATION_DROP] = MG_TROUBLE_DROP, [MG_TRUNCATION_CUT] = MG_TROUBLE_KEEP
};
static const mg_on_trouble on_strict[] = { [MG_STRICT_REFUSE] = MG_TROUBLE_REFUSE, [MG_STRICT_DROP] = MG_TROUBLE_DROP };
static const char *const train_stems[] = { "train", NULL }, *const valid_stems[] = { "valid", "validation", "eval", "test", NULL };

/* ---- files ---- */

/* A folder stands for the file in it that is called train.* or valid.*; others stand for themselves. */
static char *file_of(const char *path, const char *const *stems) {
    char *found = NULL;
    if (!mg_is_folder(path)) return mg_strdup(path);
    for (; *stems && !found; stems++) found = mg_records_find(path, *stems);
    return found;
}

/* Samples of `more` go behind those of `all`; the counts are added. */
static mg_status append(mg_dataset *all, mg_dataset *more, const char *path, mg_error *err) {
    if (!all->form) {
        *all = *more;
        *more = (mg_dataset){ 0 };
        return MG_OK;
    }
    if (!MG_GROW(all->sample, all->cap, all->n + more->n)) return mg_fail(err, MG_NOMEM, "%s: no memory for %zu samples", path, more->n);
    memcpy(all->sample + all->n, more->sample, more->n * sizeof *more->sample);
    all->n += more->n;
    more->n = 0; /* the samples have moved */
    all->read += more->read;
    all->bad_lines += more->bad_lines;
    all->truncated += more->truncated;
    all->dropped += more->dropped;
    all->empty_masks += more->empty_masks;
    all->tokens += more->tokens;
    all->labelled += more->labelled;
    if (more->notes.len) mg_buf_add(&all->notes, more->notes.data, more->notes.len);
    return MG_OK;
}

static mg_data_options text_options(const mg_sft_options *o) {
    return (mg_data_options){ .max_length = (int32_t)o->max_length, .assistant_only_loss = o->assistant_only_loss,
                              .completion_only_loss = o->completion_only_loss, .append_eos = o->append_eos,
                              .on_truncation = on_truncation[o->truncation], .on_empty_mask = on_strict[o->empty_mask],
                              .on_bad_line = on_strict[o->bad_lines], .max_samples = o->max_samples };
}

static mg_status no_file(const char *path, const char *const *stems, mg_error *err) {
    return mg_fail(err, MG_NOTFOUND, "%s: has no %s.jsonl, .json, .csv or .tsv", path, stems[0]);
}

static mg_status read_texts(mg_trainer *r, const mg_list *files, const char *const *stems, mg_dataset *out, mg_error *err) {
    mg_data_options d = text_options(r->o);
    mg_status       st = MG_OK;
    for (size_t i = 0; !st && i < files->n; i++) {
        mg_dataset one = { 0 };
        char      *path = file_of(files->item[i], stems);
        st = path ? mg_dataset_load(&one, path, &d, &r->bundle.chat, err) : no_file(files->item[i], stems, err);
        if (!st) st = append(out, &one, files->item[i], err);
        mg_dataset_free(&one);
        free(path);
    }
    if (!st && files->n && !out->n)
        st = mg_fail(err, MG_DATA, "%s: no sample is left to train on (%lld read, %lld dropped)", files->item[0], (long long)out->read,
                     (long long)out->dropped);
    return st;
}

/* Texts alone.  Validation data: given, split off, or beside the training file in its folder. */
static mg_status read_only_texts(mg_trainer *r, mg_error *err) {
    const mg_sft_options *o = r->o;
    mg_status             st = read_texts(r, &o->dataset, train_stems, &r->train, err);
    if (st) return st;
    if (o->eval_dataset.n) return read_texts(r, &o->eval_dataset, valid_stems, &r->eval, err);
    if (o->val_size > 0) return mg_dataset_split(&r->train, o->val_size, (uint64_t)o->seed, &r->eval, err);
    char *beside = mg_is_folder(o->dataset.item[0]) ? file_of(o->dataset.item[0], valid_stems) : NULL;
    if (!beside) return MG_OK;
    mg_list one = { .item = &beside, .n = 1 };
    st = read_texts(r, &one, valid_stems, &r->eval, err);
    free(beside);
    return st;
}

/* ---- shares ---- */

static const char *said(const mg_list *l, size_t i) { return i < l->n && *l->item[i] ? l->item[i] : NULL; }

/* What data set i teaches; *goal NULL: to go on with a text. */
static mg_status goal_of(const mg_sft_options *o, size_t i, const char *path, const mg_goal **goal, mg_error *err) {
    const char *task = said(&o->dataset_task, i);
    *goal = NULL;
    if (!task || !strcmp(task, "auto")) return mg_goal_of_file(goal, path, err);
    if (!strcmp(task, "generation") || !strcmp(task, "text-generation") || !strcmp(task, "causal_lm")) return MG_OK;
    *goal = mg_goal_find(task);
    return *goal ? MG_OK
                 : mg_fail(err, MG_CONFIG, "dataset_task: '%.60s' is not known; there are auto, generation, classification, regression, "
                                           "token_classification and question_answering", task);
}

/* "jnli/valid.jsonl" is jnli where the file says nothing by itself; letters that a name of a metric may have. */
static void name_share(const mg_trainer *r, mg_run_share *s, const mg_sft_options *o, size_t i) {
    const char *label = said(&o->dataset_label, i), *path = o->dataset.item[i], *base = mg_path_base(path);
    char        folder[512];
    size_t      n = 0;
    if (!label && (!strncmp(base, "train", 5) || !strncmp(base, "valid", 5) || !strncmp(base, "data.", 5)) && base > path + 1) {
        snprintf(folder, sizeof folder, "%.*s", (int)(base - path - 1), path);
        base = mg_path_base(folder);
    }
    for (const char *c = label ? label : base; *c && n + 1 < sizeof s->name && (label || *c != '.'); c++)
        s->name[n++] = (*c >= '0' && *c <= '9') || (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ? *c : '-';
    s->name[n] = 0;
    for (size_t k = 0; k < i; k++) /* the same name twice, or none: the number tells them apart */
        if (!strcmp(r->share[k].name, s->name) || !n) n = (size_t)snprintf(s->name, sizeof s->name, "task%u", (unsigned)(i + 1) % 65536);
    if (!n) snprintf(s->name, sizeof s->name, "task%u", (unsigned)(i + 1) % 65536);
}

static mg_windows windows_of(const mg_trainer *r) {
    return (mg_windows){ .tokenizer = r->bundle.tokenizer, .encoder = r->bundle.model->arch->encoder, .max_length = (int32_t)r->o->max_length,
                         .stride = (int32_t)r->o->doc_stride, .on_truncation = on_truncation[r->o->truncation] };
}

/* The file of share i's validation data; *path NULL: none. */
static mg_status valid_path(const mg_sft_options *o, size_t i, char **path, mg_error *err) {
    const mg_list *given = &o->eval_dataset;
    *path = NULL;
    if (given->n && given->n != o->dataset.n)
        return mg_fail(err, MG_CONFIG, "there are %zu data sets and %zu of validation data; give as many, in the same order", o->dataset.n, given->n);
    if (given->n)
        *path = file_of(given->item[i], valid_stems);
    else if (!(o->val_size > 0) && mg_is_folder(o->dataset.item[i]))
        *path = file_of(o->dataset.item[i], valid_stems);
    return given->n && !*path ? no_file(given->item[i], valid_stems, err) : MG_OK;
}

static mg_status read_text_share(mg_trainer *r, const char *path, const char *valid, mg_dataset *train, mg_dataset *eval, mg_error *err) {
    mg_data_options d = text_options(r->o);
    mg_status       st = mg_dataset_load(train, path, &d, &r->bundle.chat, err);
    if (!st && valid) st = mg_dataset_load(eval, valid, &d, &r->bundle.chat, err);
    else if (!st && r->o->val_size > 0) st = mg_dataset_split(train, r->o->val_size, (uint64_t)r->o->seed, eval, err);
    return st;
}

/* Does a question have no answer in its context? */
static bool lacks_answers(const mg_labelled_set *s) {
    for (size_t i = 0; s->goal->columns && i < s->n; i++)
        if (!s->item[i].n_answers) return true;
    return false;
}

static mg_status read_head_share(mg_trainer *r, mg_run_share *s, const char *path, const char *valid, mg_dataset *train, mg_dataset *eval,
                                 mg_error *err) {
    const mg_sft_options *o = r->o;
    mg_labelled_set       all = { 0 };
    mg_windows            w = windows_of(r);
    mg_status             st = mg_labelled_load(&all, path, s->goal, NULL, true, on_strict[o->bad_lines], o->max_samples, err);
    if (!st && valid) st = mg_labelled_load(&s->valid, valid, s->goal, &all.labels, true, on_strict[o->bad_lines], o->max_samples, err);
    else if (!st && o->val_size > 0) st = mg_labelled_split(&all, o->val_size, (uint64_t)o->seed, &s->valid, err);
    if (!st) st = mg_labelled_encode(train, &all, &w, err);
    if (!st && s->valid.n) st = mg_labelled_encode(eval, &s->valid, &w, err);
    if (!st) st = mg_heads_add(&r->heads, s->goal, s->name, &all.labels, err);
    if (!st) r->heads.no_answer |= lacks_answers(&all);
    mg_labelled_free(&all);
    return st;
}

static mg_status read_share(mg_trainer *r, size_t i, const mg_goal *goal, mg_error *err) {
    const mg_sft_options *o = r->o;
    mg_run_share         *s = &r->share[i];
    mg_dataset            train = { 0 }, eval = { 0 };
    char                 *path = file_of(o->dataset.item[i], train_stems), *valid = NULL;
    mg_status             st = path ? valid_path(o, i, &valid, err) : no_file(o->dataset.item[i], train_stems, err);
    s->goal = goal;
    name_share(r, s, o, i);
    if (!st) st = goal ? read_head_share(r, s, path, valid, &train, &eval, err) : read_text_share(r, path, valid, &train, &eval, err);
    for (size_t k = 0; k < train.n; k++) train.sample[k].task = (uint16_t)i;
    for (size_t k = 0; k < eval.n; k++) eval.sample[k].task = (uint16_t)i;
    s->plan = (mg_portion){ .first = r->train.n, .n = train.n };
    s->eval_first = r->eval.n;
    s->eval_n = eval.n;
    if (!st) st = append(&r->train, &train, path, err);
    if (!st && eval.n) st = append(&r->eval, &eval, path, err);
    mg_dataset_free(&train);
    mg_dataset_free(&eval);
    free(path);
    free(valid);
    return st;
}

/* ---- parts of an epoch ---- */

static mg_status set_parts(mg_trainer *r, mg_error *err) {
    const mg_sft_options *o = r->o;
    double                sum = 0;
    if (o->dataset_weight.n && fabs(o->sampling_temperature - 1) > 0)
        return mg_fail(err, MG_CONFIG, "dataset_weight and sampling_temperature are both set; keep one of the two");
    for (size_t i = 0; i < r->n_shares; i++) {
        const char *text = said(&o->dataset_weight, i);
        char       *end = NULL;
        double      w = o->dataset_weight.n ? (text ? strtod(text, &end) : NAN) : pow((double)r->share[i].plan.n, 1 / o->sampling_temperature);
        if (o->dataset_weight.n && (!text || *end || !(w > 0) || !isfinite(w)))
            return mg_fail(err, MG_CONFIG, "dataset_weight: '%.40s' of %s is no number above 0; every data set needs one", text ? text : "",
                           r->share[i].name);
        sum += r->share[i].plan.part = w;
    }
    for (size_t i = 0; i < r->n_shares; i++) r->share[i].plan.part /= sum;
    return MG_OK;
}

mg_status mg_trainer_read_data(mg_trainer *r, mg_error *err) {
    const mg_sft_options *o = r->o;
    size_t                n = o->dataset.n;
    bool                  mixture = o->dataset_weight.n > 0 || o->dataset_label.n > 0;
    const mg_goal       **goal = mg_calloc(n + 1, sizeof *goal);
    r->share = mg_calloc(n + 1, sizeof *r->share);
    mg_status st = goal && r->share ? MG_OK : mg_fail(err, MG_NOMEM, "no memory for %zu data sets", n);
    if (!st && n > UINT16_MAX) st = mg_fail(err, MG_CONFIG, "%zu data sets", n);
    for (size_t i = 0; !st && i < n; i++) {
        char *path = file_of(o->dataset.item[i], train_stems);
        st = path ? goal_of(o, i, path, &goal[i], err) : no_file(o->dataset.item[i], train_stems, err);
        mixture |= goal[i] != NULL;
        free(path);
    }
    if (!st && !mixture) {
        r->n_shares = 1;
        snprintf(r->share[0].name, sizeof r->share[0].name, "text");
        st = read_only_texts(r, err);
        r->share[0].plan = (mg_portion){ 0, r->train.n, 1 };
        r->share[0].eval_n = r->eval.n;
    }
    for (size_t i = 0; !st && mixture && i < n; i++) {
        st = read_share(r, i, goal[i], err);
        r->n_shares = i + 1;
        if (!st && !goal[i]) st = mg_model_require_text(r->bundle.model, err);
    }
    if (!st && !mixture) st = mg_model_require_text(r->bundle.model, err);
    if (!st) st = set_parts(r, err);
    if (!st && r->n_shares > 1) r->train.form = "mixture";
    r->heads.alone = r->n_shares == 1;
    r->heads.seed = (uint64_t)o->seed;
    free(goal);
    return st;
}

const mg_head *mg_trainer_head(const mg_trainer *r, const mg_sample *s) {
    return s->goal ? mg_heads_find(&r->heads, r->share[s->task].name) : NULL;
}

void mg_trainer_shares_free(mg_trainer *r) {
    for (size_t i = 0; r->share && i < r->n_shares; i++) mg_labelled_free(&r->share[i].valid);
    free(r->share);
    mg_heads_free(&r->heads);
}

/* ---- evaluation, task by task ---- */

static mg_status evaluate_texts(mg_trainer *r, int n, double *nll, int64_t *right, mg_error *err) {
    mg_status st = mg_pack(&r->packed, r->list, n, err);
    return st ? st : mg_step_evaluate(&r->tape, r->bundle.model, &r->packed.batch, r->top, nll, right, err);
}

static mg_status evaluate_head(mg_trainer *r, const mg_head *h, mg_predictions *p, int n, double *nll, mg_error *err) {
    mg_status st = mg_pack_for(&r->packed, r->list, n, h, err);
    int64_t   rows = st ? 0 : mg_batch_rows(&r->packed.batch);
    if (!st && !MG_GROW(r->logit, r->cap_logits, (size_t)(rows * h->columns))) st = mg_fail(err, MG_NOMEM, "no memory for an evaluation");
    if (!st) st = mg_step_head(&r->tape, r->bundle.model, &r->packed.batch, r->logit, nll, err);
    for (int i = 0; !st && i < n; i++) mg_predictions_take(p, r->list[i], r->logit + (r->packed.batch.start[i] + r->packed.virtual_rows) * h->columns);
    return st;
}

static void add_share_score(mg_trainer *r, const mg_run_share *s, const char *name, double value) {
    char full[32];
    snprintf(full, sizeof full, "eval_%s_%s", s->name, name);
    mg_trainer_add_score(r, full, value);
}

/* *main: the score to look at; a text's is the accuracy of its tokens. */
static mg_status score_share(mg_trainer *r, const mg_run_share *s, const mg_predictions *p, double loss, double *main, mg_error *err) {
    mg_head_score score[MG_HEAD_SCORES];
    bool          named = r->n_shares > 1 || s->goal;
    int           n = s->goal ? mg_predictions_score(p, score, err) : 0;
    if (n < 0) return MG_NOMEM;
    if (named) add_share_score(r, s, "loss", loss);
    for (int i = 0; i < n; i++) add_share_score(r, s, score[i].name, score[i].value);
    if (named && !s->goal) add_share_score(r, s, "accuracy", *main);
    if (n) *main = score[0].value;
    return MG_OK;
}

mg_status mg_trainer_evaluate_share(mg_trainer *r, size_t i, double *loss, double *accuracy, mg_error *err) {
    mg_run_share  *s = &r->share[i];
    mg_predictions p = { 0 };
    const mg_head *h = s->goal ? mg_heads_find(&r->heads, s->name) : NULL;
    int64_t        right = 0, labels = 0, size = r->o->per_device_train_batch_size;
    double         nll = 0;
    mg_status      st = h ? mg_predictions_open(&p, &s->valid, h, r->heads.no_answer, err) : MG_OK;
    for (size_t first = 0; !st && first < s->eval_n && !mg_trainer_stopped(r); first += (size_t)size) {
        double  part = 0;
        int64_t hits = 0;
        int     n = 0;
        for (size_t k = first; k < first + (size_t)size && k < s->eval_n; k++) r->list[n++] = &r->eval.sample[s->eval_first + k];
        st = h ? evaluate_head(r, h, &p, n, &part, err) : evaluate_texts(r, n, &part, &hits, err);
        nll += part;
        right += hits;
        labels += st ? 0 : r->packed.batch.n_labels;
    }
    *loss = labels ? nll / (double)labels : NAN;
    *accuracy = labels ? (double)right / (double)labels : NAN;
    if (!st && labels && !mg_trainer_stopped(r)) st = score_share(r, s, &p, *loss, accuracy, err);
    mg_predictions_free(&p);
    return st;
}
