/* eval_run.c -- answers and likelihoods first, both models; then every score with interval and paired test. */
#include "cli/eval_run.h"

#include "eval/metrics/classify.h"
#include "eval/metrics/diversity.h"
#include "eval/perplexity.h"
#include "infer/score.h"
#include "text/unicode.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDES = 2, WAYS = 3 };

static mg_status no_memory(mg_error *err) { return mg_fail(err, MG_NOMEM, "no memory for the evaluation"); }

static int sides(const mg_eval_settings *s) { return s->before ? 2 : 1; }

/* ---- asking ---- */

static const char *right_text(const mg_item *x, mg_task_kind kind) {
    return kind == MG_TASK_CHOICE ? x->choice[x->gold] : x->n ? x->choice[0] : "";
}

/* Examples, then the item. */
static mg_status question_text(const mg_item *x, const mg_eval_settings *s, mg_buf *out, mg_error *err) {
    for (size_t i = 0; s->examples && i < s->examples->n && i < (size_t)s->shots; i++)
        mg_buf_printf(out, "%s%s\n\n", s->examples->item[i].prompt, right_text(&s->examples->item[i], s->examples->kind));
    mg_buf_str(out, x->prompt);
    return out->failed ? no_memory(err) : MG_OK;
}

static bool is_raw(const mg_item *x, const mg_eval_settings *s) { return s->raw || x->raw || !s->bundle->chat_template; }

static mg_status ask(const mg_item *x, const mg_eval_settings *s, mg_ids *ids, mg_error *err) {
    mg_buf    text = { 0 };
    mg_status st = question_text(x, s, &text, err);
    if (!st) st = is_raw(x, s) ? mg_raw_prompt(s->bundle, text.data, text.len, ids, err)
                               : mg_question_prompt(s->bundle, s->system, text.data, ids, err);
    mg_buf_free(&text);
    return st;
}

/* Ids of the question with an answer behind it; *from is where the answer begins.  Raw text is tokenized as a whole,
 * so that the answer's first token may begin before it, as evaluation harnesses do. */
static mg_status ask_with(const mg_item *x, const char *answer, const mg_eval_settings *s, const mg_ids *question,
                          mg_ids *ids, int64_t *from, mg_error *err) {
    mg_buf    text = { 0 };
    mg_status st = MG_OK;
    *from = (int64_t)question->len;
    if (is_raw(x, s)) {
        st = question_text(x, s, &text, err);
        mg_buf_str(&text, answer);
        if (!st) st = text.failed ? no_memory(err) : mg_raw_prompt(s->bundle, text.data, text.len, ids, err);
        if (!st && *from >= (int64_t)ids->len) *from = (int64_t)ids->len - 1;
    } else {
        for (size_t i = 0; !st && i < question->len; i++)
            if (!mg_ids_push(ids, question->data[i])) st = no_memory(err);
        if (!st) st = mg_tokenize(s->bundle->tokenizer, answer, strlen(answer), 0, ids, err);
    }
    if (!st && (*from < 1 || *from >= (int64_t)ids->len))
        st = mg_fail(err, MG_DATA, "the answer '%.80s' has no token to score", answer);
    mg_buf_free(&text);
    return st;
}

/* ---- choosing by likelihood ---- */

static void best_of(const double *score, size_t n, double *out) {
    *out = 0;
    for (size_t i = 1; i < n; i++)
        if (score[i] > score[(size_t)*out]) *out = (double)i;
}

typedef struct choice_work {
    mg_ids        *ids;
    float        **nll;
    mg_score_text *text;
    double        *way[WAYS];
} choice_work;

static void free_choice(choice_work *w, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (w->ids) mg_ids_free(&w->ids[i]);
        if (w->nll) free(w->nll[i]);
    }
    for (size_t k = 0; k < WAYS; k++) free(w->way[k]);
    free(w->ids);
    free(w->nll);
    free(w->text);
}

static mg_status prepare_choice(choice_work *w, const mg_item *x, const mg_eval_settings *s, mg_error *err) {
    mg_ids    question = { 0 };
    mg_status st = ask(x, s, &question, err);
    w->ids = mg_calloc(x->n, sizeof *w->ids);
    w->nll = mg_calloc(x->n, sizeof *w->nll);
    w->text = mg_calloc(x->n, sizeof *w->text);
    for (size_t k = 0; k < WAYS; k++)
        if (!(w->way[k] = mg_calloc(x->n, sizeof **w->way)) && !st) st = no_memory(err);
    if (!st && (!w->ids || !w->nll || !w->text)) st = no_memory(err);
    for (size_t i = 0; !st && i < x->n; i++) {
        int64_t from;
        st = ask_with(x, x->choice[i], s, &question, &w->ids[i], &from, err);
        if (!st && !(w->nll[i] = mg_calloc(w->ids[i].len, sizeof **w->nll))) st = no_memory(err);
        if (!st) w->text[i] = (mg_score_text){ w->ids[i].data, (int64_t)w->ids[i].len, from, w->nll[i], NULL };
    }
    mg_ids_free(&question);
    return st;
}

static mg_status choose(const mg_item *x, const mg_eval_settings *s, mg_eval_side *side, size_t at, mg_error *err) {
    choice_work w = { 0 };
    mg_status   st = prepare_choice(&w, x, s, err);
    for (int k = 0; !st && k < sides(s); k++) {
        st = mg_score_texts(s->bundle->model, s->backend, w.text, x->n, k == 1, err);
        if (st) break;
        for (size_t i = 0; i < x->n; i++) {
            double sum = 0, tokens = (double)(w.text[i].n - w.text[i].from), bytes = (double)strlen(x->choice[i]);
            for (int64_t t = 0; t < w.text[i].n - w.text[i].from; t++) sum -= (double)w.nll[i][t];
            w.way[0][i] = sum;
            w.way[1][i] = sum / tokens;
            w.way[2][i] = sum / (bytes > 0 ? bytes : 1);
        }
        for (size_t c = 0; c < WAYS; c++) best_of(w.way[c], x->n, &side[k].choice[at * WAYS + c]);
        side[k].answer[at] = mg_strdup(x->choice[(size_t)side[k].choice[at * WAYS]]);
        side[k].ok[at] = (int)side[k].choice[at * WAYS] == x->gold;
        if (!side[k].answer[at]) st = no_memory(err);
    }
    free_choice(&w, x->n);
    return st;
}

/* ---- generating ---- */

static mg_status normal(const char *text, mg_buf *out) {
    mg_buf clean = { 0 };
    mg_utf8_lossy(&clean, text, strlen(text));
    out->len = 0;
    bool ok = mg_normalize(MG_NFKC, clean.data ? clean.data : "", clean.len, out);
    mg_buf_add(out, "", 0);
    mg_buf_free(&clean);
    return ok && !out->failed ? MG_OK : MG_NOMEM;
}

/* The choice that the answer names first; of two that begin at one place the longer one; -1: none. */
static int named_choice(const mg_item *x, const char *answer) {
    mg_buf text = { 0 }, choice = { 0 };
    size_t first = SIZE_MAX, length = 0;
    int    best = -1;
    bool   ok = !normal(answer, &text);
    for (size_t i = 0; ok && i < x->n; i++) {
        if (normal(x->choice[i], &choice) || !choice.len) continue;
        const char *hit = strstr(text.data, choice.data);
        size_t      at = hit ? (size_t)(hit - text.data) : SIZE_MAX;
        if (!hit || at > first || (at == first && choice.len <= length)) continue;
        first = at;
        length = choice.len;
        best = (int)i;
    }
    mg_buf_free(&text);
    mg_buf_free(&choice);
    return best;
}

static void judge_answer(const mg_task *t, size_t i, mg_eval_side *side) {
    if (t->kind == MG_TASK_JUDGED) side->ok[i] = mg_question_judge(&t->questions.question[i], side->answer[i]);
    if (t->kind != MG_TASK_CHOICE) return;
    int named = named_choice(&t->item[i], side->answer[i]);
    for (size_t c = 0; c < WAYS; c++) side->choice[i * WAYS + c] = named;
    side->ok[i] = named == t->item[i].gold;
}

static mg_status generate(const mg_task *t, const mg_eval_settings *s, mg_eval_side *side, mg_error *err) {
    mg_ids        *ids = mg_calloc(t->n, sizeof *ids);
    mg_generation *got = mg_calloc(t->n, sizeof *got);
    mg_status      st = ids && got ? MG_OK : no_memory(err);
    for (size_t i = 0; !st && i < t->n; i++) st = ask(&t->item[i], s, &ids[i], err);
    for (int k = 0; !st && k < sides(s); k++) {
        mg_generate_options g = s->generate;
        g.adapters_off = k == 1;
        st = mg_generate_all(s->bundle->model, s->bundle->tokenizer, s->backend, ids, t->n, &g, got, err);
        for (size_t i = 0; !st && i < t->n; i++) {
            side[k].answer[i] = mg_strdup(got[i].text.data ? got[i].text.data : "");
            if (!side[k].answer[i]) st = no_memory(err);
            else judge_answer(t, i, &side[k]);
            side[k].cut[i] = got[i].finish == MG_FINISH_LENGTH || got[i].finish == MG_FINISH_CONTEXT;
        }
        for (size_t i = 0; i < t->n; i++) mg_generation_free(&got[i]);
        if (!st && mg_interrupted()) st = mg_fail(err, MG_STOPPED, "stopped");
    }
    for (size_t i = 0; ids && i < t->n; i++) mg_ids_free(&ids[i]);
    free(ids);
    free(got);
    return st;
}

/* ---- likelihood of texts ---- */

static mg_status measure_text(mg_eval_result *r, size_t i, const mg_eval_settings *s, mg_error *err) {
    mg_ids      ids = { 0 };
    const char *text = r->task->item[i].prompt;
    mg_status   st = mg_tokenize(s->bundle->tokenizer, text, strlen(text), MG_TOKENIZE_SPECIAL, &ids, err);
    r->windows = (size_t)mg_perplexity_windows((int64_t)ids.len, s->max_length, s->stride);
    for (int k = 0; !st && k < sides(s); k++) {
        mg_eval_side *side = &r->side[k];
        mg_perplexity p;
        if (r->task->n == 1 && !(side->window = mg_calloc(r->windows, 4 * sizeof *side->window))) st = no_memory(err);
        if (!st)
            st = mg_perplexity_by_window(s->bundle->model, s->backend, ids.data, (int64_t)ids.len, s->max_length, s->stride, k == 1, side->window,
                                         &p, err);
        if (st) break;
        side->text[3 * i] = p.nll;
        side->text[3 * i + 1] = (double)p.tokens;
        side->text[3 * i + 2] = (double)p.correct;
    }
    mg_ids_free(&ids);
    return st;
}

/* ---- scores ---- */

static mg_status keep_score(mg_eval_result *r, mg_eval_score x, const char *name, const char *signature, mg_error *err) {
    x.name = mg_strdup(name);
    x.signature = mg_strdup(signature);
    if (!x.name || !x.signature || !MG_GROW(r->score, r->cap, r->n + 1)) {
        free(x.name);
        free(x.signature);
        return no_memory(err);
    }
    r->score[r->n++] = x;
    return MG_OK;
}

static mg_status add_score(mg_eval_result *r, const mg_eval_settings *s, const char *name, const char *signature,
                           bool lower, mg_resample sample, const double *before, mg_error *err) {
    mg_eval_score x = { .lower_is_better = lower, .has_interval = true };
    mg_status     st = mg_bootstrap(&sample, s->seed, MG_RESAMPLES, &x.after, err);
    if (!st && s->before) {
        mg_resample first = sample;
        first.stats = before;
        st = mg_bootstrap(&first, s->seed, MG_RESAMPLES, &x.before, err);
        if (!st) st = mg_paired_test(&first, sample.stats, s->seed, MG_RESAMPLES, 2000, &x.difference, err);
    }
    return st ? st : keep_score(r, x, name, signature, err);
}

static double percent(const void *context, const double *sum) {
    (void)context;
    return sum[1] > 0 ? 100 * sum[0] / sum[1] : 0;
}
static double perplexity(const void *context, const double *sum) {
    (void)context;
    return exp(sum[0] / sum[1]);
}
static double token_accuracy(const void *context, const double *sum) {
    (void)context;
    return 100 * sum[2] / sum[1];
}

static double window_accuracy(const void *context, const double *sum) {
    (void)context;
    return 100 * sum[3] / sum[2];
}

/* Of a single text the windows are the segments, of several the texts. */
static mg_status score_texts(mg_eval_result *r, const mg_eval_settings *s, mg_error *err) {
    char        sign[200];
    bool        one = r->task->n == 1;
    mg_resample x = { .stats = one ? r->side[0].window : r->side[0].text, .n = one ? r->windows : r->task->n, .width = one ? 4 : 3,
                      .score = perplexity };
    double     *before = one ? r->side[1].window : r->side[1].text;
    snprintf(sign, sizeof sign, "max_length:%lld|stride:%lld|%s", (long long)s->max_length, (long long)s->stride,
             one ? "one text, windows as in Hugging Face's recipe" : "each record by itself, mean over tokens");
    mg_status st = add_score(r, s, "perplexity", sign, true, x, before, err);
    x.score = one ? window_accuracy : token_accuracy;
    if (!st) st = add_score(r, s, "token_accuracy", sign, false, x, before, err);
    for (size_t i = 0; !st && one && r->windows < 2 && i < r->n; i++) r->score[i].has_interval = false;
    return st;
}

/* Right or wrong, item by item, into stats [n * 2]. */
static void hits(const mg_task *t, const mg_eval_side *side, int way, double *stats) {
    for (size_t i = 0; i < t->n; i++) {
        stats[2 * i] = way < 0 ? side->ok[i] > 0 : (int)side->choice[i * WAYS + (size_t)way] == t->item[i].gold;
        stats[2 * i + 1] = way >= 0 || side->ok[i] >= 0;
    }
}

static mg_status room_for(mg_eval_result *r, size_t width, mg_error *err) {
    for (int k = 0; k < SIDES; k++) {
        free(r->side[k].stats);
        r->side[k].stats = mg_calloc(r->task->n * width, sizeof(double));
        if (!r->side[k].stats) return no_memory(err);
    }
    return MG_OK;
}

static mg_status score_accuracy(mg_eval_result *r, const mg_eval_settings *s, int way, const char *name, const char *sign,
                                mg_error *err) {
    mg_status st = room_for(r, 2, err);
    for (int k = 0; !st && k < sides(s); k++) hits(r->task, &r->side[k], way, r->side[k].stats);
    mg_resample x = { .stats = r->side[0].stats, .n = r->task->n, .width = 2, .score = percent };
    return st ? st : add_score(r, s, name, sign, false, x, r->side[1].stats, err);
}

static mg_status score_classes(mg_eval_result *r, const mg_eval_settings *s, mg_error *err) {
    int       classes = (int)r->task->item[0].n, width = mg_confusion_width(classes);
    mg_status st = room_for(r, (size_t)width, err);
    for (int k = 0; !st && k < sides(s); k++) {
        r->confusion[k] = mg_calloc((size_t)width, sizeof(double));
        if (!r->confusion[k]) st = no_memory(err);
        for (size_t i = 0; !st && i < r->task->n; i++) {
            double *one = r->side[k].stats + i * (size_t)width;
            mg_confusion_item(one, classes, r->task->item[i].gold, (int)r->side[k].choice[i * WAYS]);
            for (int c = 0; c < width; c++) r->confusion[k][c] += one[c];
        }
    }
    mg_resample x = { .stats = r->side[0].stats, .n = r->task->n, .width = width, .score = mg_classify_macro_f1, .context = &classes };
    if (!st) st = add_score(r, s, "macro_f1", "by class, plain log-likelihood or generation", false, x, r->side[1].stats, err);
    x.score = mg_classify_weighted_f1;
    return st ? st : add_score(r, s, "weighted_f1", "by class, plain log-likelihood or generation", false, x, r->side[1].stats, err);
}

static mg_status score_choices(mg_eval_result *r, const mg_eval_settings *s, mg_error *err) {
    if (s->choose_by_generation) {
        mg_status st = score_accuracy(r, s, 0, "accuracy", "by generation: the choice named first", err);
        return st || !r->task->same_choices || r->task->item[0].n > 30 ? st : score_classes(r, s, err);
    }
    mg_status st = score_accuracy(r, s, 0, "accuracy", "log-likelihood of the choice", err);
    if (!st) st = score_accuracy(r, s, 1, "accuracy_tokens", "log-likelihood by token of the choice", err);
    if (!st) st = score_accuracy(r, s, 2, "accuracy_bytes", "log-likelihood by byte of the choice", err);
    return st || !r->task->same_choices || r->task->item[0].n > 30 ? st : score_classes(r, s, err);
}

/* ---- generated texts ---- */

static double metric_score(const void *context, const double *sum) { return mg_scorer_score(context, sum); }

static const mg_splitter *splitter_for(const mg_eval_result *r, const mg_eval_settings *s, const char *otherwise) {
    if (s->counting->tokenize) return mg_splitter_find(s->counting->tokenize);
    for (size_t i = 0; i < r->task->n; i++) {
        const mg_splitter *found = mg_splitter_for((const char *const *)r->task->item[i].choice, r->task->item[i].n, "");
        const char        *said[] = { r->side[0].answer[i] };
        if (!found) found = mg_splitter_for(said, 1, "");
        if (found) return found;
    }
    return mg_splitter_find(otherwise);
}

static mg_status score_metric(mg_eval_result *r, const mg_eval_settings *s, const mg_metric *m, mg_error *err) {
    mg_metric_settings settings = mg_metric_options_settings(s->counting, splitter_for(r, s, "13a")->asian);
    mg_scorer          scorer = { 0 };
    mg_buf             sign = { 0 };
    mg_scored        *segment = mg_calloc(r->task->n, sizeof *segment);
    static const char *const empty[] = { "" };
    bool rouge = m->splitter && !strcmp(m->splitter, "rouge");
    settings.splitter = !m->splitter ? NULL : rouge && s->counting->rouge_tokenize ? mg_splitter_find(s->counting->rouge_tokenize)
                                                                                  : splitter_for(r, s, m->splitter);
    mg_status st = segment ? mg_scorer_open(&scorer, m, &settings, err) : no_memory(err);
    if (!st) st = room_for(r, (size_t)mg_scorer_width(&scorer), err);
    for (int k = 0; !st && k < sides(s); k++) {
        for (size_t i = 0; i < r->task->n; i++) {
            const mg_item *x = &r->task->item[i];
            segment[i] = (mg_scored){ r->side[k].answer[i], x->n ? (const char *const *)x->choice : empty, x->n ? x->n : 1 };
        }
        st = mg_score_segments(&scorer, segment, r->task->n, r->side[k].stats, err);
    }
    if (!st) {
        mg_resample x = { .stats = r->side[0].stats, .n = r->task->n, .width = mg_scorer_width(&scorer), .score = metric_score,
                        .context = &scorer };
        mg_scorer_sign(&scorer, &sign);
        st = sign.failed ? no_memory(err) : add_score(r, s, m->name, sign.data, m->lower_is_better, x, r->side[1].stats, err);
    }
    mg_buf_free(&sign);
    mg_scorer_close(&scorer);
    free(segment);
    return st;
}

/* No function of sums over answers, so its intervals are the jackknife's. */
static mg_status add_distinct(mg_eval_result *r, const mg_eval_settings *s, const char *splitter, int order, double (*d)[MG_DISTINCT_ORDERS],
                              double (*without)[MG_DISTINCT_ORDERS], mg_error *err) {
    size_t        n = r->task->n;
    mg_eval_score x = { .has_interval = n > 1 };
    double       *first = without[0] + order, *second = without[n] + order, p = NAN;
    char          name[32], sign[80];
    x.after = mg_jackknife(d[0][order], first, n, MG_DISTINCT_ORDERS, NULL);
    if (s->before) {
        x.before = mg_jackknife(d[1][order], second, n, MG_DISTINCT_ORDERS, NULL);
        for (size_t i = 0; i < n; i++) second[i * MG_DISTINCT_ORDERS] = first[i * MG_DISTINCT_ORDERS] - second[i * MG_DISTINCT_ORDERS];
        x.difference.d = mg_jackknife(x.after.score - x.before.score, second, n, MG_DISTINCT_ORDERS, &p);
        x.difference.p_bootstrap = x.difference.p_shuffle = p;
    }
    snprintf(name, sizeof name, "distinct-%d", order + 1);
    snprintf(sign, sizeof sign, "%s|jackknife", splitter);
    return keep_score(r, x, name, sign, err);
}

static mg_status score_distinct(mg_eval_result *r, const mg_eval_settings *s, mg_error *err) {
    const mg_splitter *splitter = splitter_for(r, s, "13a");
    double             d[SIDES][MG_DISTINCT_ORDERS] = { { 0 } };
    size_t             n = r->task->n;
    double(*without)[MG_DISTINCT_ORDERS] = mg_calloc(SIDES * n, sizeof *without);
    mg_status st = without ? MG_OK : no_memory(err);
    for (int k = 0; !st && k < sides(s); k++)
        st = mg_distinct_without(splitter, (const char *const *)r->side[k].answer, n, d[k], without + (size_t)k * n, err);
    for (int k = 0; !st && k < SIDES; k++)
        for (int o = 0; o < MG_DISTINCT_ORDERS; o++) {
            d[k][o] *= 100;
            for (size_t i = 0; i < n; i++) without[(size_t)k * n + i][o] *= 100;
        }
    for (int o = 0; !st && o < MG_DISTINCT_ORDERS; o++) st = add_distinct(r, s, splitter->name, o, d, without, err);
    free(without);
    return st;
}

static mg_status score_answers(mg_eval_result *r, const mg_eval_settings *s, mg_error *err) {
    static const char *const usual[] = { "exact_match", "char_f1", "bleu", "chrf", "rougeL", "repetition" };
    bool      ruled = false; /* with no rule in the file there is no accuracy until people have judged */
    for (size_t i = 0; i < r->task->n; i++) ruled |= r->task->kind == MG_TASK_JUDGED && r->side[0].ok[i] >= 0;
    mg_status st = ruled ? score_accuracy(r, s, -1, "accuracy", "rules of the question file, NFKC", err) : MG_OK;
    if (r->task->kind == MG_TASK_JUDGED && !s->metrics->n && !st) st = score_metric(r, s, mg_metric_find("repetition"), err);
    size_t n = s->metrics->n ? s->metrics->n : r->task->kind == MG_TASK_JUDGED ? 0 : sizeof usual / sizeof *usual;
    for (size_t i = 0; !st && i < n; i++) {
        const mg_metric *m = mg_metric_find(s->metrics->n ? s->metrics->item[i] : usual[i]);
        if (m) st = score_metric(r, s, m, err);
    }
    return st ? st : score_distinct(r, s, err);
}

/* ---- all ---- */

static mg_status make_room(mg_eval_result *r, mg_error *err) {
    for (int k = 0; k < SIDES; k++) {
        mg_eval_side *x = &r->side[k];
        x->answer = mg_calloc(r->task->n, sizeof *x->answer);
        x->ok = mg_calloc(r->task->n, sizeof *x->ok);
        x->cut = mg_calloc(r->task->n, sizeof *x->cut);
        x->choice = mg_calloc(r->task->n * WAYS, sizeof *x->choice);
        x->text = mg_calloc(r->task->n * 3, sizeof *x->text);
        if (!x->answer || !x->ok || !x->cut || !x->choice || !x->text) return no_memory(err);
        for (size_t i = 0; i < r->task->n; i++) x->ok[i] = -1;
    }
    return MG_OK;
}

void mg_eval_free(mg_eval_result *r) {
    for (int k = 0; k < SIDES; k++) {
        mg_eval_side *x = &r->side[k];
        for (size_t i = 0; x->answer && i < r->task->n; i++) free(x->answer[i]);
        free(x->answer);
        free(x->ok);
        free(x->cut);
        free(x->choice);
        free(x->text);
        free(x->window);
        free(x->stats);
        free(r->confusion[k]);
    }
    for (size_t i = 0; i < r->n; i++) {
        free(r->score[i].name);
        free(r->score[i].signature);
    }
    free(r->score);
    *r = (mg_eval_result){ 0 };
}

mg_status mg_eval_run(const mg_task *t, const mg_eval_settings *s, mg_eval_result *out, mg_error *err) {
    mg_eval_result r = { .task = t };
    mg_status      st = make_room(&r, err);
    bool           item_by_item = t->kind == MG_TASK_TEXT || (t->kind == MG_TASK_CHOICE && !s->choose_by_generation);
    for (size_t i = 0; !st && item_by_item && i < t->n; i++) {
        st = t->kind == MG_TASK_TEXT ? measure_text(&r, i, s, err) : choose(&t->item[i], s, r.side, i, err);
        if (!st && mg_interrupted()) st = mg_fail(err, MG_STOPPED, "stopped");
    }
    if (!st && !item_by_item) st = generate(t, s, r.side, err);
    if (!st) st = t->kind == MG_TASK_TEXT ? score_texts(&r, s, err) : t->kind == MG_TASK_CHOICE ? score_choices(&r, s, err) : score_answers(&r, s, err);
    if (st) mg_eval_free(&r);
    else *out = r;
    return st;
}
