/* compare_ask.c -- the questions of `compare`, and the answers of two models.
 *
 * The model is opened once; the base model is the tuned one with its adapter switched off.  For two runs it is opened
 * twice, one after the other, because two adapters may want different bases. */
#include "cli/compare.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

enum { PROMPTS_BYTES = 16 << 20, WINDOW = 512 };

static mg_status no_memory(mg_error *err) { return mg_fail(err, MG_NOMEM, "no memory for the questions"); }

bool mg_compare_asks(const mg_compare_options *o) { return o->questions.n || o->prompt.n || o->file; }

static mg_status add_question(mg_compared *w, const char *text, mg_error *err) {
    if (!MG_GROW(w->question, w->cap, w->n + 1)) return no_memory(err);
    w->question[w->n++] = text;
    return MG_OK;
}

/* Question files are control questions, texts are measured. */
static mg_status collect_forgetting(mg_compared *w, const mg_compare_options *o, mg_error *err) {
    mg_status st = MG_OK;
    w->other = mg_calloc(o->forgetting.n + 1, sizeof *w->other);
    w->nll = mg_calloc(o->forgetting.n + 1, sizeof *w->nll);
    if (!w->other || !w->nll) return no_memory(err);
    for (size_t i = 0; !st && i < o->forgetting.n; i++) {
        const char *path = o->forgetting.item[i];
        mg_task    *t = &w->other[w->others];
        size_t      before = w->judged.n;
        st = mg_task_load(t, path, 0, err);
        if (st) break;
        if (t->kind == MG_TASK_TEXT) {
            w->others++;
            continue;
        }
        if (t->kind != MG_TASK_JUDGED)
            st = mg_fail(err, MG_DATA, "%s: has the form %s; `compare` takes texts and questions with rules here, `eval --forgetting` the rest", path, t->form);
        mg_task_free(t);
        if (!st) st = mg_questions_load(&w->judged, path, err);
        w->controls += w->judged.n - before;
    }
    return st;
}

static mg_status collect(mg_compared *w, const mg_compare_options *o, mg_error *err) {
    mg_status st = MG_OK;
    for (size_t i = 0; !st && i < o->questions.n; i++) st = mg_questions_load(&w->judged, o->questions.item[i], err);
    if (!st) st = collect_forgetting(w, o, err);
    for (size_t i = 0; !st && i < w->judged.n; i++) st = add_question(w, w->judged.question[i].text, err);
    for (size_t i = 0; !st && i < o->prompt.n; i++) st = add_question(w, o->prompt.item[i], err);
    if (!st && o->file) st = mg_read_file(&w->text, o->file, PROMPTS_BYTES, err);
    char *rest = NULL;
    for (char *line = st || !w->text.data ? NULL : strtok_r(w->text.data, "\r\n", &rest); !st && line; line = strtok_r(NULL, "\r\n", &rest))
        st = add_question(w, line, err);
    if (!st && !w->n) st = mg_fail(err, MG_USAGE, "no question is given; ask with -p TEXT, --prompts FILE or -d QUESTIONS.jsonl");
    if (st) return st;
    for (int k = 0; k < 2; k++)
        if (!(w->side[k] = mg_calloc(w->n, sizeof **w->side))) return no_memory(err);
    w->verdict = mg_calloc(w->judged.n + 1, sizeof *w->verdict);
    w->before = mg_calloc(w->n, sizeof *w->before);
    w->after = mg_calloc(w->n, sizeof *w->after);
    return w->verdict && w->before && w->after ? MG_OK : no_memory(err);
}

void mg_compared_free(mg_compared *w) {
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; w->side[k] && i < w->n; i++) mg_generation_free(&w->side[k][i]);
        free(w->side[k]);
    }
    for (size_t i = 0; i < w->others; i++) mg_task_free(&w->other[i]);
    free(w->other);
    free(w->nll);
    free(w->question);
    free(w->verdict);
    free(w->before);
    free(w->after);
    mg_questions_free(&w->judged);
    mg_buf_free(&w->text);
}

static mg_status tokenize(const mg_compared *w, const mg_compare_options *o, const mg_bundle *b, mg_ids *ids, int64_t *longest, mg_error *err) {
    mg_status st = MG_OK;
    *longest = 0;
    for (size_t i = 0; !st && i < w->n; i++) {
        const char *q = w->question[i];
        bool        raw = i < w->judged.n ? w->judged.question[i].raw : o->raw;
        st = raw ? mg_raw_prompt(b, q, strlen(q), &ids[i], err) : mg_question_prompt(b, o->system, q, &ids[i], err);
        if ((int64_t)ids[i].len > *longest) *longest = (int64_t)ids[i].len;
    }
    return st;
}

static mg_status answer(mg_compared *w, const mg_compare_options *o, const mg_bundle *b, const mg_backend *backend, const mg_ids *ids, bool both,
                        int side, mg_error *err) {
    mg_generate_options g = mg_answer_settings(&o->answer, b);
    g.cancelled = mg_cancelled;
    mg_status st = mg_generate_all(b->model, b->tokenizer, backend, ids, w->n, &g, w->side[side], err);
    g.adapters_off = true;
    if (!st && both) st = mg_generate_all(b->model, b->tokenizer, backend, ids, w->n, &g, w->side[0], err);
    return !st && mg_interrupted() ? mg_fail(err, MG_STOPPED, "stopped") : st;
}

static mg_status measure(mg_compared *w, const mg_compare_options *o, const mg_bundle *b, const mg_backend *backend, mg_error *err) {
    const mg_list    none = { 0 };
    int64_t          context = mg_inference_context(b, &o->model);
    mg_eval_settings s = { .bundle = b, .backend = backend, .metrics = &none, .before = true, .seed = (uint64_t)o->answer.seed,
                           .max_length = context < WINDOW ? context : WINDOW, .stride = (context < WINDOW ? context : WINDOW) / 2 };
    mg_status        st = MG_OK;
    for (size_t i = 0; !st && i < w->others; i++) st = mg_forgetting_measure(&w->other[i], &s, &w->nll[i], err);
    return st;
}

/* One model's answers: opened, asked, closed.  `both` also asks it without its adapter, for side 0. */
static mg_status ask_model(mg_compared *w, const mg_compare_options *o, const mg_inference_paths *paths, bool both, int side, mg_error *err) {
    mg_bundle         b = { 0 };
    const mg_backend *backend;
    int64_t           longest, need;
    mg_ids           *ids = mg_calloc(w->n, sizeof *ids);
    mg_status         st = ids ? mg_inference_open(&b, paths, !o->raw, err) : no_memory(err);
    if (!st) st = tokenize(w, o, &b, ids, &longest, err);
    for (size_t i = 0; !st && both && i < w->others; i++) st = mg_forgetting_prepare(&w->other[i], w->other[i].name, &b, err);
    if (st) goto done;
    need = longest + o->answer.max_new_tokens;
    if (!o->answer.max_new_tokens || need > o->model.max_length) need = o->model.max_length;
    if (both && w->others && need < WINDOW) need = WINDOW;
    st = mg_inference_load(&b, paths, &o->model, need, &backend, err);
    mg_interrupts_begin();
    if (!st) st = answer(w, o, &b, backend, ids, both, side, err);
    if (!st && both) st = measure(w, o, &b, backend, err);
    mg_interrupts_end();
done:
    for (size_t i = 0; ids && i < w->n; i++) mg_ids_free(&ids[i]);
    free(ids);
    mg_bundle_close(&b);
    return st;
}

static const char *text_of(const mg_generation *g) { return g->text.data ? g->text.data : ""; }

mg_status mg_compare_ask(mg_compared *w, const mg_compare_options *o, mg_inference_paths *paths, mg_error *err) {
    mg_inference_options other = o->model;
    mg_inference_paths   against = { 0 };
    mg_status            st = o->model.adapter ? MG_OK : mg_fail(err, MG_USAGE, "no run is given: migaki compare RUN -p QUESTION");
    if (!st) st = collect(w, o, err);
    if (!st && o->against && w->others)
        st = mg_fail(err, MG_USAGE, "--forgetting texts are measured against the base model; leave out --against");
    if (!st) st = mg_inference_find(paths, &o->model, err);
    other.adapter = o->against;
    other.model = NULL;
    if (!st && o->against) st = mg_inference_find(&against, &other, err);
    if (!st && o->against) st = ask_model(w, o, &against, false, 0, err);
    if (!st) st = ask_model(w, o, paths, !o->against, 1, err);
    for (size_t i = 0; !st && i < w->n; i++) {
        w->before[i] = text_of(&w->side[0][i]);
        w->after[i] = text_of(&w->side[1][i]);
    }
    if (!st) mg_judge_all(&w->judged, w->before, w->after, w->verdict);
    mg_inference_paths_free(&against);
    return st;
}
