/* sft_samples.c -- the same prompts answered before, during and after training.
 *
 * The most likely token each time, on a CPU in fp32, with a tape, an arena and a cache of their own: no random number is
 * drawn and nothing of a training step is touched, so a run with samples has the bits of one without.  All memory
 * is made before the plan, which counts it.  A prompt goes through the chat template when the model has one. */
#include "base/file.h"
#include "infer/prompt.h"
#include "train/sft_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ANSWER_TOKENS = 96, FILE_BYTES = 1 << 20 };

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

static mg_status tokenize(mg_trainer *r, size_t *longest, mg_error *err) {
    mg_samples *s = &r->samples;
    mg_status   st = MG_OK;
    *longest = 1;
    for (size_t i = 0; !st && i < s->n; i++) {
        const char *p = s->prompt[i];
        st = r->bundle.chat_template ? mg_question_prompt(&r->bundle, NULL, p, &s->ids[i], err)
                                     : mg_raw_prompt(&r->bundle, p, strlen(p), &s->ids[i], err);
        if (!st && !s->ids[i].len) st = mg_fail(err, MG_DATA, "sample_prompts: prompt %zu is empty", i + 1);
        if (!st && (int64_t)s->ids[i].len >= r->o->max_length)
            st = mg_fail(err, MG_TRUNCATED, "sample_prompts: prompt %zu has %zu tokens, max_length is %lld; shorten it or raise --max_length",
                         i + 1, s->ids[i].len, (long long)r->o->max_length);
        if (s->ids[i].len > *longest) *longest = s->ids[i].len;
    }
    return st;
}

mg_status mg_trainer_samples_open(mg_trainer *r, mg_error *err) {
    mg_samples *s = &r->samples;
    mg_status   st = MG_OK;
    size_t      longest;
    for (size_t i = 0; !st && i < r->o->sample_prompts.n; i++) st = collect(s, r->o->sample_prompts.item[i], err);
    if (st || !s->n) return st;
    s->ids = mg_calloc(s->n, sizeof *s->ids);
    s->answer = mg_calloc(s->n, sizeof *s->answer);
    s->row = mg_calloc(s->n, sizeof *s->row);
    if (!s->ids || !s->answer || !s->row) return mg_fail(err, MG_NOMEM, "no memory for sample_prompts");
    st = tokenize(r, &longest, err);
    const mg_model   *m = r->bundle.model;
    const mg_backend *b = r->backend->device->host ? &mg_backend_cpu : r->backend; /* as `generate` does */
    int64_t           context = (int64_t)longest + ANSWER_TOKENS;
    if (context > m->rope.positions) context = m->rope.positions;
    if (!st)
        st = mg_generator_open_for(&s->generator, m, r->bundle.tokenizer, b, mg_generator_slots(m, s->n), context,
                                   (int64_t)longest, err);
    return st;
}

size_t mg_trainer_samples_bytes(const mg_trainer *r) { return r->samples.generator ? mg_generator_bytes(r->samples.generator) : 0; }

void mg_trainer_samples_close(mg_trainer *r) {
    mg_samples *s = &r->samples;
    mg_generator_close(s->generator);
    for (size_t i = 0; i < s->n; i++) {
        free(s->prompt[i]);
        if (s->ids) mg_ids_free(&s->ids[i]);
        if (s->answer) mg_generation_free(&s->answer[i]);
    }
    free(s->prompt);
    free(s->ids);
    free(s->answer);
    free(s->row);
    *s = (mg_samples){ 0 };
}

static bool cancelled(void *context) {
    const mg_trainer *r = context;
    return r->listener->stop && *r->listener->stop;
}

mg_status mg_trainer_sample(mg_trainer *r, mg_error *err) {
    mg_samples         *s = &r->samples;
    mg_generate_options g = { .sampling = mg_sampling_greedy(), .max_new_tokens = ANSWER_TOKENS, .stop = r->bundle.stop,
                              .n_stop = r->bundle.n_stop, .context = r, .cancelled = cancelled };
    mg_generator_forget(s->generator); /* the adapter has changed */
    mg_status st = mg_generate(s->generator, s->ids, s->n, &g, s->answer, err);
    for (size_t i = 0; !st && i < s->n; i++)
        s->row[i] = (mg_run_sample){ s->prompt[i], s->answer[i].text.data ? s->answer[i].text.data : "" };
    if (!st && !cancelled(r)) { /* half of the answers are none */
        mg_error why;
        if (mg_run_samples(r->run, r->info.step, s->row, s->n, &why) && r->listener->warn)
            r->listener->warn(r->listener->context, why.text);
        if (r->listener->sampled) r->listener->sampled(r->listener->context, r->info.step, s->row, s->n);
    }
    for (size_t i = 0; i < s->n; i++) mg_generation_free(&s->answer[i]);
    return st;
}

bool mg_trainer_sampled(const mg_trainer *r) {
    mg_buf path = { 0 };
    mg_buf_printf(&path, "%s/" MG_RUN_SAMPLES_NAME, mg_run_folder(r->run), (long long)r->info.step);
    bool there = !path.failed && mg_is_file(path.data);
    mg_buf_free(&path);
    return there;
}
