/* cmd_compare.c -- `compare`: the same questions to the base model and to the tuned one, side by side; and which is better. */
#include "cli/compare.h"
#include "cli/locale.h"
#include "cli/rate.h"
#include "cli/report_run.h"

#include "base/file.h"
#include "base/json.h"
#include "base/width.h"
#include "train/runs.h"

#include <libintl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { COLUMNS = 3 };

#define AT(field) offsetof(mg_compare_options, field)

static const mg_option rows[] = {
    { .name = "run", .type = &mg_option_string, .offset = AT(model.adapter), .positional = true, .metavar = "RUN", .group = "",
      .help = MG_N("a run's name, the folder of a run or adapter, or `last`") },
    { .name = "prompt", .type = &mg_option_texts, .offset = AT(prompt), .flag = 'p', .metavar = "TEXT", .group = "",
      .help = MG_N("a question; may be given several times") },
    { .name = "prompts", .type = &mg_option_string, .offset = AT(file), .metavar = "FILE", .group = "",
      .help = MG_N("a file with a question a line") },
    { .name = "questions", .aliases = "dataset", .type = &mg_option_texts, .offset = AT(questions), .flag = 'd', .metavar = "FILE", .group = "",
      .help = MG_N("questions with what is expected (JSONL or CSV); answers are judged, and a report is written") },
    { .name = "forgetting", .type = &mg_option_texts, .offset = AT(forgetting), .metavar = "FILE", .group = "",
      .help = MG_N("what must not be forgotten: texts (.txt, {text}) whose likelihood before and after is compared, or control questions") },
    { .name = "against", .type = &mg_option_string, .offset = AT(against), .metavar = "RUN", .group = "",
      .help = MG_N("another run in the place of the base model") },
    { .name = "report", .aliases = "output_dir", .type = &mg_option_string, .offset = AT(report), .flag = 'o', .metavar = "DIR", .group = "",
      .help = MG_N("folder for report.html and report.json; otherwise the run's own") },
    { .name = "system", .aliases = "system_prompt", .type = &mg_option_string, .offset = AT(system), .metavar = "TEXT", .group = "",
      .help = MG_N("a system message before each question") },
    { .name = "raw", .type = &mg_option_bool, .offset = AT(raw), .def = "false", .group = "",
      .help = MG_N("go on from the prompt as it is, without the chat template") },
    MG_RATE_ROWS(mg_compare_options, rate),
    { .name = "model_name_or_path", .aliases = "model,base_model,model_id", .type = &mg_option_string, .offset = AT(model.model),
      .flag = 'm', .metavar = "MODEL", .group = MG_N("Model"), .help = MG_N("the base model, when the run's own is not to be used") },
    MG_TEMPLATE_ROW(mg_compare_options, model), MG_ANSWER_ROWS(mg_compare_options, answer, "0", "128"),
    MG_CONTEXT_ROW(mg_compare_options, model), MG_MACHINE_ROWS(mg_compare_options, model), { 0 },
};

static void json_verdict(mg_buf *out, const char *key, int verdict) {
    mg_buf_printf(out, ",\"%s\":%s", key, verdict < 0 ? "null" : verdict ? "true" : "false");
}

static void print_json(mg_buf *out, const mg_compared *w) {
    mg_buf_char(out, '[');
    for (size_t i = 0; i < w->n; i++) {
        mg_buf_str(out, i ? ",\n {\"prompt\":" : "{\"prompt\":");
        mg_json_quote(out, w->question[i], strlen(w->question[i]));
        mg_buf_str(out, ",\"base\":");
        mg_json_quote(out, w->before[i], strlen(w->before[i]));
        mg_buf_str(out, ",\"tuned\":");
        mg_json_quote(out, w->after[i], strlen(w->after[i]));
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

static void print_table(mg_buf *out, const mg_compared *w, int columns) {
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
    if (!w->judged.n && !w->others) return;
    print_line(out, columns);
    mg_judge_summary(out, &w->judged, w->verdict);
    mg_forgetting_show(out, w->nll, w->others);
}

/* ---- the report ---- */

static bool is_cut(const mg_generation *g) { return g->finish == MG_FINISH_LENGTH || g->finish == MG_FINISH_CONTEXT; }

static void fill_rows(const mg_compared *w, const mg_compare_options *o, mg_report_row *row) {
    for (size_t i = 0; i < w->n; i++) {
        const mg_question *q = i < w->judged.n ? &w->judged.question[i] : NULL;
        row[i] = (mg_report_row){ .question = w->question[i], .category = q ? q->category : "", .expected = q && *q->expected ? q->expected : NULL,
                                  .before = w->before[i], .after = w->after[i], .ok_before = q ? w->verdict[i].before : -1,
                                  .ok_after = q ? w->verdict[i].after : -1, .cut_before = is_cut(&w->side[0][i]), .cut_after = is_cut(&w->side[1][i]) };
        row[i].control = !o->against && q && (mg_report_is_control(q->category) || i + w->controls >= w->judged.n);
    }
}

/* The report goes beside the adapter unless another folder is named. */
static mg_status write_report(const mg_cli *cli, const mg_compared *w, const mg_compare_options *o, const mg_inference_paths *paths, const char *folder,
                              mg_error *err) {
    mg_report_row *row = mg_calloc(w->n + 1, sizeof *row);
    mg_run_records records = { 0 };
    mg_ratings     ratings = { 0 };
    char           sheet[33];
    mg_status      st = row ? mg_run_records_read(&records, paths->adapter, cli->options, err) : mg_fail(err, MG_NOMEM, "no memory for a report");
    if (!st) {
        fill_rows(w, o, row);
        mg_report r = { .title = mg_path_base(paths->adapter), .model = mg_path_base(paths->model), .run = paths->adapter,
                        .before_name = o->against, .after_name = o->against ? mg_path_base(paths->adapter) : NULL, .created = (int64_t)time(NULL),
                        .seed = (uint64_t)o->answer.seed, .row = row, .rows = w->n, .text = w->nll, .texts = w->others };
        mg_run_records_show(&r, &records);
        st = mg_rate_join(&r, &ratings, sheet, o->rate.ratings, err);
        if (!st) st = mg_report_write(&r, folder, mg_locale_lang(), err);
    }
    mg_ratings_free(&ratings);
    mg_run_records_free(&records);
    free(row);
    return st;
}

static mg_status ask(mg_cli *cli, const mg_compare_options *o, mg_error *err) {
    mg_inference_paths paths = { 0 };
    mg_compared        w = { 0 };
    mg_buf             out = { 0 };
    mg_status          st = mg_compare_ask(&w, o, &paths, err);
    if (!st && (w.judged.n || o->report || mg_rate_wanted(&o->rate)))
        st = write_report(cli, &w, o, &paths, o->report ? o->report : paths.adapter, err);
    if (!st && !(cli->global.json && mg_rate_wanted(&o->rate)) && !o->rate.blind) {
        if (cli->global.json) print_json(&out, &w);
        else print_table(&out, &w, cli->columns);
        if (out.failed) st = mg_fail(err, MG_NOMEM, "no memory for the output");
        else if (!mg_show_text(out.data, out.len)) st = mg_fail(err, MG_IO, "standard output cannot be written");
    }
    mg_compared_free(&w);
    mg_buf_free(&out);
    mg_inference_paths_free(&paths);
    return st;
}

static mg_status run(mg_cli *cli, void *values, mg_error *err) {
    const mg_compare_options *o = values;
    char                     *folder = NULL;
    bool                      rate = mg_rate_wanted(&o->rate);
    mg_status                 st = MG_OK;
    if (mg_compare_asks(o) || o->forgetting.n || !rate) st = ask(cli, o, err);
    if (st || !rate) return st;
    if (o->report) folder = mg_strdup(o->report);
    else if (o->model.adapter) st = mg_runs_resolve(&folder, mg_runs_root(), o->model.adapter, err);
    else st = mg_fail(err, MG_USAGE, "no run is given: migaki compare RUN --blind");
    if (!st && !folder) st = mg_fail(err, MG_NOMEM, "no memory");
    if (!st) st = mg_rate(cli, &o->rate, folder, (uint64_t)o->answer.seed, err);
    free(folder);
    return st;
}

const mg_command mg_command_compare = {
    .name = "compare", .group = "try", .usage = "RUN -p QUESTION [-p QUESTION...] | RUN -d QUESTIONS.jsonl | RUN --blind",
    .summary = MG_N("ask the base model and the tuned one the same questions"),
    .details = MG_N("With --json prints [{\"prompt\":...,\"base\":...,\"tuned\":...}, ...]; judged questions have category, ok_base and "
                    "ok_tuned as well.  --blind, --page, --import and --judge rate the answers of the report (docs/EVAL.md)."),
    .rows = rows, .values_size = sizeof(mg_compare_options), .run = run,
};
