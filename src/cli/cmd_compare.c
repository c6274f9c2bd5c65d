/* cmd_compare.c -- `compare`: the same questions to the base model and to the tuned one, side by side.
 *
 * The model is opened once; the base model is the tuned one with its adapter switched off. */
#include "cli/compare_judge.h"
#include "cli/inference.h"
#include "cli/locale.h"

#include "base/file.h"
#include "base/json.h"
#include "base/width.h"

#include <libintl.h>
#include <stdlib.h>
#include <string.h>

enum { PROMPTS_BYTES = 16 << 20, COLUMNS = 3 };

typedef struct {
    mg_inference_options model;
    mg_answer_options    answer;
    mg_list              prompt, questions;
    char                *file, *system, *report;
    bool                 raw;
} compare_options;

#define AT(field) offsetof(compare_options, field)

static const mg_option rows[] = {
    { .name = "run", .type = &mg_option_string, .offset = AT(model.adapter), .positional = true, .metavar = "RUN", .group = "",
      .help = MG_N("a run's name, the folder of a run or adapter, or `last`") },
    { .name = "prompt", .type = &mg_option_texts, .offset = AT(prompt), .flag = 'p', .metavar = "TEXT", .group = "",
      .help = MG_N("a question; may be given several times") },
    { .name = "prompts", .type = &mg_option_string, .offset = AT(file), .metavar = "FILE", .group = "",
      .help = MG_N("a file with a question a line") },
    { .name = "questions", .aliases = "dataset", .type = &mg_option_texts, .offset = AT(questions), .flag = 'd', .metavar = "FILE", .group = "",
      .help = MG_N("questions with what is expected, one JSON object a line; answers are judged, and a report is written") },
    { .name = "report", .aliases = "output_dir", .type = &mg_option_string, .offset = AT(report), .flag = 'o', .metavar = "DIR", .group = "",
      .help = MG_N("folder for report.html and report.json; otherwise the run's own") },
    { .name = "system", .aliases = "system_prompt", .type = &mg_option_string, .offset = AT(system), .metavar = "TEXT", .group = "",
      .help = MG_N("a system message before each question") },
    { .name = "raw", .type = &mg_option_bool, .offset = AT(raw), .def = "false", .group = "",
      .help = MG_N("go on from the prompt as it is, without the chat template") },
    { .name = "model_name_or_path", .aliases = "model,base_model,model_id", .type = &mg_option_string, .offset = AT(model.model),
      .flag = 'm', .metavar = "MODEL", .group = MG_N("Model"), .help = MG_N("the base model, when the run's own is not to be used") },
    MG_TEMPLATE_ROW(compare_options, model), MG_ANSWER_ROWS(compare_options, answer, "0", "128"),
    MG_CONTEXT_ROW(compare_options, model), MG_MACHINE_ROWS(compare_options, model), { 0 },
};

/* All questions; `text` holds those of the file. */
typedef struct {
    const char   **question;
    size_t         n, cap;
    mg_buf         text;
    mg_ids        *ids;          /* [n] */
    mg_generation *base, *tuned; /* [n] */
    mg_questions   judged;       /* the first questions; empty: none are judged */
    mg_verdict    *verdict;      /* [judged.n] */
    const char   **before, **after; /* [n] texts of the answers */
} work;

static mg_status add_question(work *w, const char *text, mg_error *err) {
    if (!MG_GROW(w->question, w->cap, w->n + 1)) return mg_fail(err, MG_NOMEM, "no memory for the questions");
    w->question[w->n++] = text;
    return MG_OK;
}

static mg_status collect(work *w, const compare_options *o, mg_error *err) {
    mg_status st = MG_OK;
    for (size_t i = 0; !st && i < o->questions.n; i++) st = mg_questions_load(&w->judged, o->questions.item[i], err);
    for (size_t i = 0; !st && i < w->judged.n; i++) st = add_question(w, w->judged.question[i].text, err);
    for (size_t i = 0; !st && i < o->prompt.n; i++) st = add_question(w, o->prompt.item[i], err);
    if (!st && o->file) st = mg_read_file(&w->text, o->file, PROMPTS_BYTES, err);
    char *rest = NULL;
    for (char *line = st || !w->text.data ? NULL : strtok_r(w->text.data, "\r\n", &rest); !st && line; line = strtok_r(NULL, "\r\n", &rest))
        st = add_question(w, line, err);
    if (!st && !w->n) st = mg_fail(err, MG_USAGE, "no question is given; ask with -p TEXT, --prompts FILE or -d QUESTIONS.jsonl");
    if (st) return st;
    w->ids = mg_calloc(w->n, sizeof *w->ids);
    w->base = mg_calloc(w->n, sizeof *w->base);
    w->tuned = mg_calloc(w->n, sizeof *w->tuned);
    w->verdict = mg_calloc(w->judged.n + 1, sizeof *w->verdict);
    w->before = mg_calloc(w->n, sizeof *w->before);
    w->after = mg_calloc(w->n, sizeof *w->after);
    return w->ids && w->base && w->tuned && w->verdict && w->before && w->after ? MG_OK : mg_fail(err, MG_NOMEM, "no memory for the questions");
}

static void free_work(work *w) {
    for (size_t i = 0; i < w->n; i++) {
        if (w->ids) mg_ids_free(&w->ids[i]);
        if (w->base) mg_generation_free(&w->base[i]);
        if (w->tuned) mg_generation_free(&w->tuned[i]);
    }
    free(w->ids);
    free(w->base);
    free(w->tuned);
    free(w->question);
    free(w->verdict);
    free(w->before);
    free(w->after);
    mg_questions_free(&w->judged);
    mg_buf_free(&w->text);
}

static bool interrupted(void *context) {
    (void)context;
    return mg_interrupted();
}

static mg_status tokenize(work *w, const compare_options *o, const mg_bundle *b, int64_t *longest, mg_error *err) {
    mg_status st = MG_OK;
    *longest = 0;
    for (size_t i = 0; !st && i < w->n; i++) {
        const char *q = w->question[i];
        bool        raw = i < w->judged.n ? w->judged.question[i].raw : o->raw;
        st = raw ? mg_raw_prompt(b, q, strlen(q), &w->ids[i], err) : mg_question_prompt(b, o->system, q, &w->ids[i], err);
        if ((int64_t)w->ids[i].len > *longest) *longest = (int64_t)w->ids[i].len;
    }
    return st;
}

static mg_status answer(work *w, const compare_options *o, const mg_bundle *b, const mg_backend *backend, mg_error *err) {
    mg_generate_options g = mg_answer_settings(&o->answer, b);
    g.cancelled = interrupted;
    mg_interrupts_begin();
    mg_status st = mg_generate_all(b->model, b->tokenizer, backend, w->ids, w->n, &g, w->tuned, err);
    g.adapters_off = true;
    if (!st) st = mg_generate_all(b->model, b->tokenizer, backend, w->ids, w->n, &g, w->base, err);
    if (!st && mg_interrupted()) st = mg_fail(err, MG_STOPPED, "stopped");
    mg_interrupts_end();
    return st;
}

static const char *text_of(const mg_generation *g) { return g->text.data ? g->text.data : ""; }

static void judge(work *w) {
    for (size_t i = 0; i < w->n; i++) {
        w->before[i] = text_of(&w->base[i]);
        w->after[i] = text_of(&w->tuned[i]);
    }
    mg_judge_all(&w->judged, w->before, w->after, w->verdict);
}

static void json_verdict(mg_buf *out, const char *key, int verdict) {
    mg_buf_printf(out, ",\"%s\":%s", key, verdict < 0 ? "null" : verdict ? "true" : "false");
}

static void print_json(mg_buf *out, const work *w) {
    mg_buf_char(out, '[');
    for (size_t i = 0; i < w->n; i++) {
        mg_buf_str(out, i ? ",\n {\"prompt\":" : "{\"prompt\":");
        mg_json_quote(out, w->question[i], strlen(w->question[i]));
        mg_buf_str(out, ",\"base\":");
        mg_json_quote(out, text_of(&w->base[i]), w->base[i].text.len);
        mg_buf_str(out, ",\"tuned\":");
        mg_json_quote(out, text_of(&w->tuned[i]), w->tuned[i].text.len);
        if (i < w->judged.n) {
            mg_buf_str(out, ",\"category\":");
            mg_json_quote(out, w->judged.question[i].category, strlen(w->judged.question[i].category));
            json_verdict(out, "ok_base", w->verdict[i].before);
            json_verdict(out, "ok_tuned", w->verdict[i].after);
        }
        mg_buf_char(out, '}');
    }
    mg_buf_str(out, "]\n");
}

/* ---- the table ---- */

/* Newlines of an answer as ⏎, then broken into lines of the column's width. */
static void wrap_cell(mg_buf *lines, const char *text, int width) {
    mg_buf flat = { 0 };
    for (; *text; text++)
        if (*text == '\n')
            mg_buf_str(&flat, text[1] ? " ⏎ " : "");
        else
            mg_buf_char(&flat, *text);
    mg_buf_str(&flat, "");
    if (!flat.failed) mg_wrap(lines, flat.data, 0, width);
    mg_buf_str(lines, "");
    mg_buf_free(&flat);
}

static void print_row(mg_buf *out, const char *const cell[COLUMNS], int width) {
    mg_buf lines[COLUMNS] = { 0 };
    char  *next[COLUMNS];
    bool   more = true;
    for (int c = 0; c < COLUMNS; c++) {
        wrap_cell(&lines[c], cell[c], width);
        next[c] = lines[c].data;
        if (lines[c].failed) out->failed = true;
    }
    while (more && !out->failed) {
        more = false;
        for (int c = 0; c < COLUMNS; c++) {
            char *line = next[c] ? strsep(&next[c], "\n") : NULL;
            more |= next[c] != NULL;
            mg_buf_str(out, c ? "  " : "");
            if (c < COLUMNS - 1)
                mg_pad(out, line ? line : "", width);
            else
                mg_buf_str(out, line ? line : "");
        }
        while (out->len && out->data[out->len - 1] == ' ') out->data[--out->len] = 0;
        mg_buf_char(out, '\n');
    }
    for (int c = 0; c < COLUMNS; c++) mg_buf_free(&lines[c]);
}

static void print_line(mg_buf *out, int columns) {
    for (int i = 0; i < columns; i++) mg_buf_str(out, "─");
    mg_buf_char(out, '\n');
}

static void print_table(mg_buf *out, const work *w, int columns) {
    int width = (columns - 2 * (COLUMNS - 1)) / COLUMNS;
    print_row(out, (const char *[]){ gettext("Question"), gettext("Base model"), gettext("Tuned") }, width);
    for (size_t i = 0; i < w->n; i++) {
        print_line(out, columns);
        if (i >= w->judged.n) {
            print_row(out, (const char *[]){ w->question[i], w->before[i], w->after[i] }, width);
            continue;
        }
        mg_buf before = { 0 }, after = { 0 };
        mg_buf_printf(&before, "%s %s", mg_verdict_mark(w->verdict[i].before), w->before[i]);
        mg_buf_printf(&after, "%s %s", mg_verdict_mark(w->verdict[i].after), w->after[i]);
        if (before.failed || after.failed)
            out->failed = true;
        else
            print_row(out, (const char *[]){ w->question[i], before.data, after.data }, width);
        mg_buf_free(&before);
        mg_buf_free(&after);
    }
    if (!w->judged.n) return;
    print_line(out, columns);
    mg_judge_summary(out, &w->judged, w->verdict);
}

/* The report goes beside the adapter unless another folder is named. */
static mg_status write_report(work *w, const compare_options *o, const mg_inference_paths *paths, mg_error *err) {
    const char *folder = o->report ? o->report : paths->adapter;
    mg_status   st = mg_make_folder(folder, err);
    return st ? st : mg_judge_report(&w->judged, w->before, w->after, w->verdict, paths->model, paths->adapter, folder, mg_locale_lang(), err);
}

static mg_status run(mg_cli *cli, void *values, mg_error *err) {
    const compare_options *o = values;
    mg_inference_paths     paths = { 0 };
    mg_bundle              b = { 0 };
    const mg_backend      *backend;
    mg_buf                 out = { 0 };
    work                   w = { 0 };
    int64_t                longest, need;
    mg_status              st = o->model.adapter ? MG_OK : mg_fail(err, MG_USAGE, "no run is given: migaki compare RUN -p QUESTION");
    if (!st) st = collect(&w, o, err);
    if (!st) st = mg_inference_find(&paths, &o->model, err);
    if (!st) st = mg_inference_open(&b, &paths, !o->raw, err);
    if (!st) st = tokenize(&w, o, &b, &longest, err);
    if (st) goto done;
    need = longest + o->answer.max_new_tokens;
    if (!o->answer.max_new_tokens || need > o->model.max_length) need = o->model.max_length;
    st = mg_inference_load(&b, &paths, &o->model, need, &backend, err);
    if (!st) st = answer(&w, o, &b, backend, err);
    if (st) goto done;
    judge(&w);
    if (w.judged.n) st = write_report(&w, o, &paths, err);
    if (st) goto done;
    if (cli->global.json)
        print_json(&out, &w);
    else
        print_table(&out, &w, cli->columns);
    if (out.failed)
        st = mg_fail(err, MG_NOMEM, "no memory for the output");
    else if (!mg_show_text(out.data, out.len))
        st = mg_fail(err, MG_IO, "standard output cannot be written");
done:
    free_work(&w);
    mg_buf_free(&out);
    mg_bundle_close(&b);
    mg_inference_paths_free(&paths);
    return st;
}

const mg_command mg_command_compare = {
    .name = "compare", .group = "try", .usage = "RUN -p QUESTION [-p QUESTION...] | RUN -d QUESTIONS.jsonl",
    .summary = MG_N("ask the base model and the tuned one the same questions"),
    .details = MG_N("With --json prints [{\"prompt\":...,\"base\":...,\"tuned\":...}, ...]; judged questions have category, ok_base and "
                    "ok_tuned as well."),
    .rows = rows, .values_size = sizeof(compare_options), .run = run,
};
