/* cmd_generate.c -- `generate`: one prompt, one answer. */
#include "cli/inference.h"

#include "base/json.h"

#include <libintl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

typedef struct {
    mg_inference_options model;
    mg_answer_options    answer;
    char                *prompt, *system;
    bool                 raw;
} generate_options;

#define AT(field) offsetof(generate_options, field)

static const mg_option rows[] = {
    { .name = "prompt", .type = &mg_option_string, .offset = AT(prompt), .flag = 'p', .metavar = "TEXT", .group = "",
      .help = MG_N("the prompt; without it standard input is read") },
    { .name = "system", .aliases = "system_prompt", .type = &mg_option_string, .offset = AT(system), .metavar = "TEXT", .group = "",
      .help = MG_N("a system message before the prompt") },
    { .name = "raw", .type = &mg_option_bool, .offset = AT(raw), .def = "false", .group = "",
      .help = MG_N("go on from the prompt as it is, without the chat template") },
    MG_TEXT_ROWS(generate_options, model), MG_TEMPLATE_ROW(generate_options, model),
    MG_ANSWER_ROWS(generate_options, answer, "0.7", "256"), MG_CONTEXT_ROW(generate_options, model),
    MG_MACHINE_ROWS(generate_options, model), { 0 },
};

static mg_status get_prompt(const generate_options *o, const mg_bundle *b, mg_ids *ids, mg_error *err) {
    mg_buf      input = { 0 };
    mg_status   st = o->prompt ? MG_OK : mg_read_input(&input, err);
    const char *text = o->prompt ? o->prompt : input.data;
    if (!st && !o->prompt && input.len && input.data[input.len - 1] == '\n') input.data[--input.len] = 0;
    if (!st) st = o->raw ? mg_raw_prompt(b, text, strlen(text), ids, err) : mg_question_prompt(b, o->system, text, ids, err);
    mg_buf_free(&input);
    return st;
}

static bool show(void *context, size_t prompt, const char *text, size_t n) {
    (void)context, (void)prompt;
    return mg_show_text(text, n);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static mg_status print_answer(const mg_cli *cli, const mg_generation *g, double seconds, mg_error *err) {
    mg_buf    out = { 0 };
    if (cli->global.json) {
        mg_buf_str(&out, "{\"ids\":");
        mg_json_ids(&out, g->ids.data, g->ids.len);
        mg_buf_str(&out, ",\"text\":");
        mg_json_quote(&out, g->text.data ? g->text.data : "", g->text.len);
        mg_buf_str(&out, "}\n");
    } else
        mg_buf_char(&out, '\n'); /* the text was shown while it came */
    mg_status st = mg_print(&out, err);
    mg_buf_free(&out);
    if (cli->global.verbose)
        fprintf(stderr, gettext("%zu tokens in %.2f s (%.1f tok/s, the prompt included)\n"), g->ids.len, seconds,
                (double)g->ids.len / seconds);
    return st;
}

/* As large as this prompt needs, at most max_length. */
static int64_t context_for(const generate_options *o, const mg_ids *prompt) {
    int64_t most = o->model.max_length, need = (int64_t)prompt->len + o->answer.max_new_tokens;
    return o->answer.max_new_tokens && need < most ? need : most;
}

static mg_status run(mg_cli *cli, void *values, mg_error *err) {
    const generate_options *o = values;
    mg_inference_paths      paths = { 0 };
    mg_bundle               b = { 0 };
    const mg_backend       *backend;
    mg_ids                  prompt = { 0 };
    mg_generation           out = { 0 };
    mg_status               st = mg_inference_find(&paths, &o->model, err);
    if (!st) st = mg_inference_open(&b, &paths, !o->raw, err);
    if (!st) st = get_prompt(o, &b, &prompt, err);
    if (!st) st = mg_inference_load(&b, &paths, &o->model, context_for(o, &prompt), &backend, err);
    if (!st) {
        mg_generate_options g = mg_answer_settings(&o->answer, &b);
        double              begin = now();
        if (!cli->global.json) g.on_text = show;
        g.cancelled = mg_cancelled;
        mg_interrupts_begin();
        st = mg_generate_all(b.model, b.tokenizer, backend, &prompt, 1, &g, &out, err);
        bool stopped = mg_interrupted();
        mg_interrupts_end();
        if (!st) st = print_answer(cli, &out, now() - begin, err);
        if (!st && stopped) st = mg_fail(err, MG_STOPPED, "stopped");
    }
    mg_generation_free(&out);
    mg_ids_free(&prompt);
    mg_bundle_close(&b);
    mg_inference_paths_free(&paths);
    return st;
}

const mg_command mg_command_generate = {
    .name = "generate", .group = "try", .usage = "-m MODEL [-a ADAPTER] -p PROMPT",
    .summary = MG_N("answer one prompt"),
    .details = MG_N("The prompt goes through the model's chat template unless --raw is given. The answer is shown as it comes; with "
                    "--json {\"ids\":[...],\"text\":...} is printed at the end, and ids hold the stop token when one ended the answer."),
    .rows = rows, .values_size = sizeof(generate_options), .run = run,
};
