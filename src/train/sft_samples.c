/* sft_samples.c -- answers before, during and after training: to the sample prompts, and to the validation data.
 *
 * The most likely token each time, on a CPU in fp32, with a tape, an arena and a cache of their own: no random number is
 * drawn and nothing of a training step is touched, so a run with answers has the bits of one without.  All memory
 * is made before the plan, which counts it.  A sample prompt goes through the chat template when the model has one; a
 * validation question is everything before the last thing that is learned of its sample, which is the reference. */
#include "base/file.h"
#include "base/json.h"
#include "infer/prompt.h"
#include "nn/virtual.h"
#include "train/sft_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ANSWER_TOKENS = 96, FILE_BYTES = 1 << 20 };

/* ---- what is asked ---- */

static mg_status make_asked(mg_asked *a, size_t n, mg_error *err) {
    a->n = n;
    a->ids = mg_calloc(n, sizeof *a->ids);
    a->answer = mg_calloc(n, sizeof *a->answer);
    a->text = mg_calloc(n, sizeof *a->text);
    return a->ids && a->answer && a->text ? MG_OK : mg_fail(err, MG_NOMEM, "no memory for %zu answers", n);
}

static void free_asked(mg_asked *a) {
    for (size_t i = 0; i < a->n; i++) {
        if (a->ids) mg_ids_free(&a->ids[i]);
        if (a->answer) mg_generation_free(&a->answer[i]);
    }
    free(a->ids);
    free(a->answer);
    free(a->text);
    *a = (mg_asked){ 0 };
}

static size_t longest_of(const mg_asked *a) {
    size_t most = 1;
    for (size_t i = 0; i < a->n; i++) most = a->ids[i].len > most ? a->ids[i].len : most;
    return most;
}

/* ---- sample prompts ---- */

static mg_status add_prompt(mg_samples *s, const char *text, mg_error *err) {
    char *copy = MG_GROW(s->prompt, s->cap, s->n + 1) ? mg_strdup(text) : NULL;
    if (!copy) return mg_fail(err, MG_NOMEM, "no memory for sample_prompts");
    s->prompt[s->n++] = copy;
    return MG_OK;
}

/* A file stands for its lines, anything else for itself. */
static mg_status collect(mg_samples *s, const char *item, mg_error *err) {
    mg_buf text = { 0 };
    char  *rest = NULL;
    if (!mg_is_file(item)) return add_prompt(s, item, err);
    mg_status st = mg_read_file(&text, item, FILE_BYTES, err);
    char     *line = st || !text.data ? NULL : strtok_r(text.data, "\r\n", &rest);
    if (!st && !line) st = mg_fail(err, MG_DATA, "sample_prompts: %s holds no prompt", item);
    for (; !st && line; line = strtok_r(NULL, "\r\n", &rest)) st = add_prompt(s, line, err);
    mg_buf_free(&text);
    return st;
}

static mg_status open_prompts(mg_trainer *r, mg_error *err) {
    mg_samples *s = &r->samples;
    mg_status   st = MG_OK;
    for (size_t i = 0; !st && i < r->o->sample_prompts.n; i++) st = collect(s, r->o->sample_prompts.item[i], err);
    if (st || !s->n) return st;
    s->row = mg_calloc(s->n, sizeof *s->row);
    st = s->row ? make_asked(&s->asked, s->n, err) : mg_fail(err, MG_NOMEM, "no memory for sample_prompts");
    for (size_t i = 0; !st && i < s->n; i++) {
        const char *p = s->prompt[i];
        mg_ids     *ids = &s->asked.ids[i];
        st = r->bundle.chat_template ? mg_question_prompt(&r->bundle, NULL, p, ids, err)
                                     : mg_raw_prompt(&r->bundle, p, strlen(p), ids, err);
        if (!st && !ids->len) st = mg_fail(err, MG_DATA, "sample_prompts: prompt %zu is empty", i + 1);
        if (!st && (int64_t)ids->len >= r->o->max_length)
            st = mg_fail(err, MG_TRUNCATED, "sample_prompts: prompt %zu has %zu tokens, max_length is %lld; shorten it or raise --max_length",
                         i + 1, ids->len, (long long)r->o->max_length);
    }
    return st;
}

/* ---- validation questions ---- */

/* The last run of learned tokens: [*begin, *end).  False: nothing stands before it that could be asked. */
static bool find_answer(const mg_sample *x, int32_t *begin, int32_t *end) {
    int32_t e = x->n;
    while (e > 0 && x->label[e - 1] == MG_IGNORE) e--;
    int32_t b = e;
    while (b > 0 && x->label[b - 1] != MG_IGNORE) b--;
    *begin = b;
    *end = e;
    return b > 1 || (b == 1 && e > 1 && x->n_labels < x->n - 1); /* a text is learned from its second token on */
}

static char *text_of(const mg_trainer *r, const int32_t *ids, int32_t n) {
    mg_buf   b = { 0 };
    mg_error ignored;
    mg_buf_str(&b, "");
    if (mg_detokenize(r->bundle.tokenizer, ids, (size_t)n, true, &b, &ignored) || b.failed) {
        mg_buf_free(&b);
        return NULL;
    }
    while (b.len && strchr(" \t\r\n", b.data[b.len - 1])) b.data[--b.len] = 0;
    return b.data;
}

static mg_status open_exam(mg_trainer *r, mg_error *err) {
    mg_exam *x = &r->exam;
    if (!mg_trainer_wants_answers(r)) return MG_OK;
    if (!r->eval.n)
        return mg_fail(err, MG_CONFIG, "predict_with_generate needs validation data; set val_size or eval_dataset");
    size_t    most = (size_t)r->o->max_predict_samples, n = most && most < r->eval.n ? most : r->eval.n;
    mg_status st = make_asked(&x->asked, n, err);
    if (!st && !(x->reference = mg_calloc(n, sizeof *x->reference))) st = mg_fail(err, MG_NOMEM, "no memory for %zu answers", n);
    for (size_t i = 0; !st && i < n; i++) {
        const mg_sample *s = &r->eval.sample[i];
        int32_t          begin, end;
        if (!find_answer(s, &begin, &end))
            return mg_fail(err, MG_DATA, "predict_with_generate: line %lld of the validation data (%s) has no question before what is learned; "
                           "give conversations or prompts with completions, and assistant_only_loss", (long long)s->line, r->eval.form);
        for (int32_t k = 0; !st && k < begin; k++)
            if (!mg_ids_push(&x->asked.ids[i], s->ids[k])) st = mg_fail(err, MG_NOMEM, "no memory for %zu answers", n);
        x->reference[i] = text_of(r, s->ids + begin, end - begin);
        if (!x->reference[i] && !st) st = mg_fail(err, MG_NOMEM, "no memory for %zu answers", n);
    }
    return st;
}

/* ---- both ---- */

mg_status mg_trainer_samples_open(mg_trainer *r, mg_error *err) {
    mg_status st = open_prompts(r, err);
    if (!st) st = open_exam(r, err);
    const mg_asked *s = &r->samples.asked, *x = &r->exam.asked;
    if (st || !(s->n + x->n)) return st;
    const mg_model   *m = r->bundle.model;
    const mg_backend *b = r->backend->device->host ? &mg_backend_cpu : r->backend; /* as `generate` does */
    int64_t           prompts = (int64_t)longest_of(s), questions = (int64_t)longest_of(x), longest = prompts > questions ? prompts : questions;
    int64_t           context = prompts + ANSWER_TOKENS, other = x->n ? questions + r->o->generation_max_new_tokens : 0;
    if (other > context) context = other;
    if (context > m->positions - mg_net_virtual(&m->net, true)) context = m->positions - mg_net_virtual(&m->net, true);
    return mg_generator_open_for(&r->generator, m, r->bundle.tokenizer, b, mg_generator_slots(m, s->n > x->n ? s->n : x->n), context, longest, err);
}

size_t mg_trainer_samples_bytes(const mg_trainer *r) { return r->generator ? mg_generator_bytes(r->generator) : 0; }

void mg_trainer_samples_close(mg_trainer *r) {
    mg_samples *s = &r->samples;
    mg_exam    *x = &r->exam;
    mg_generator_close(r->generator);
    for (size_t i = 0; i < s->n; i++) free(s->prompt[i]);
    for (size_t i = 0; x->reference && i < x->asked.n; i++) free(x->reference[i]);
    free(s->prompt);
    free(s->row);
    free(x->reference);
    free_asked(&s->asked);
    free_asked(&x->asked);
    *s = (mg_samples){ 0 };
    *x = (mg_exam){ 0 };
    r->generator = NULL;
}

static bool cancelled(void *context) {
    const mg_trainer *r = context;
    return r->listener->stop && *r->listener->stop;
}

/* Answers with the adapter as it is; a->text points into them until forget_answers. */
static mg_status answer(mg_trainer *r, mg_asked *a, int64_t most, mg_error *err) {
    mg_generate_options g = { .sampling = mg_sampling_greedy(), .max_new_tokens = most, .stop = r->bundle.stop,
                              .n_stop = r->bundle.n_stop, .context = r, .cancelled = cancelled };
    mg_generator_forget(r->generator); /* the adapter has changed */
    mg_status st = mg_generate(r->generator, a->ids, a->n, &g, a->answer, err);
    for (size_t i = 0; !st && i < a->n; i++) a->text[i] = a->answer[i].text.data ? a->answer[i].text.data : "";
    return st;
}

static void forget_answers(mg_asked *a) {
    for (size_t i = 0; i < a->n; i++) mg_generation_free(&a->answer[i]);
}

mg_status mg_trainer_sample(mg_trainer *r, mg_error *err) {
    mg_samples *s = &r->samples;
    mg_status   st = answer(r, &s->asked, ANSWER_TOKENS, err);
    for (size_t i = 0; !st && i < s->n; i++) s->row[i] = (mg_run_sample){ s->prompt[i], s->asked.text[i] };
    if (!st && !cancelled(r)) { /* half of the answers are none */
        mg_error why;
        mg_trainer_watch_samples(r, s->asked.text, s->n);
        if (mg_run_samples(r->run, r->info.step, s->row, s->n, &why) && r->listener->warn)
            r->listener->warn(r->listener->context, why.text);
        if (r->listener->sampled) r->listener->sampled(r->listener->context, r->info.step, s->row, s->n);
    }
    forget_answers(&s->asked);
    return st;
}

bool mg_trainer_sampled(const mg_trainer *r) {
    mg_buf path = { 0 };
    mg_buf_printf(&path, "%s/" MG_RUN_SAMPLES_NAME, mg_run_folder(r->run), (long long)r->info.step);
    bool there = !path.failed && mg_is_file(path.data);
    mg_buf_free(&path);
    return there;
}

/* Every question with reference and answer, for a person to look at. */
static mg_status write_answers(const mg_trainer *r, mg_error *err) {
    const mg_exam *x = &r->exam;
    mg_buf         b = { 0 };
    char           name[64];
    char          *folder = mg_path_join(mg_run_folder(r->run), "samples");
    mg_status      st = folder ? mg_make_folder(folder, err) : mg_fail(err, MG_NOMEM, "no memory for the answers");
    free(folder);
    for (size_t i = 0; i < x->asked.n; i++) {
        mg_buf_printf(&b, "{\"step\": %lld, \"line\": %lld, \"reference\": ", (long long)r->info.step, (long long)r->eval.sample[i].line);
        mg_json_quote(&b, x->reference[i], strlen(x->reference[i]));
        mg_buf_str(&b, ", \"answer\": ");
        mg_json_quote(&b, x->asked.text[i], strlen(x->asked.text[i]));
        mg_buf_str(&b, "}\n");
    }
    snprintf(name, sizeof name, MG_RUN_ANSWERS_NAME, (long long)r->info.step);
    if (!st) st = b.failed ? mg_fail(err, MG_NOMEM, "no memory for the answers") : mg_run_write(r->run, name, b.data, b.len, err);
    mg_buf_free(&b);
    return st;
}

mg_status mg_trainer_examine(mg_trainer *r, mg_error *err) {
    mg_exam  *x = &r->exam;
    mg_error  why;
    mg_status st = answer(r, &x->asked, r->o->generation_max_new_tokens, err);
    if (!st && !cancelled(r)) {
        st = mg_trainer_score_answers(r, x->asked.text, (const char *const *)x->reference, x->asked.n, err);
        if (!st && write_answers(r, &why) && r->listener->warn) r->listener->warn(r->listener->context, why.text);
    }
    forget_answers(&x->asked);
    return st;
}
