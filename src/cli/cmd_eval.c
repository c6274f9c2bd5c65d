/* cmd_eval.c -- `eval`: test sets through a run or model, before and after, every score with its interval. */
#include "cli/forgetting.h"
#include "cli/locale.h"
#include "cli/rate.h"
#include "cli/report_run.h"

#include "base/file.h"
#include "base/json.h"
#include "base/width.h"
#include "eval/metrics/classify.h"

#include <libintl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct {
    mg_inference_options model;
    mg_answer_options    answer;
    mg_list              data, metrics, forgetting;
    char                *shots_file, *system, *out;
    mg_metric_options    counting;
    int64_t              shots, limit, stride, window;
    int                  choice_by;
    bool                 before, raw;
} eval_options;

#define AT(field) offsetof(eval_options, field)

static const mg_option rows[] = {
    { .name = "run", .type = &mg_option_string, .offset = AT(model.adapter), .positional = true, .metavar = "RUN", .group = "",
      .help = MG_N("a run's name, the folder of a run or adapter, or `last`") },
    { .name = "data", .aliases = "dataset,tasks", .type = &mg_option_texts, .offset = AT(data), .flag = 'd', .metavar = "FILE", .group = "",
      .help = MG_N("a test set; its form is recognised; may be given several times") },
    { .name = "metrics", .type = &mg_option_list, .offset = AT(metrics), .group = "", .metavar = "NAME,...",
      .help = MG_N("scores of generated answers: bleu, chrf, chrf++, ter, rouge1, rouge2, rougeL, rougeLsum, exact_match, char_f1, repetition") },
    { .name = "before", .type = &mg_option_bool, .offset = AT(before), .def = "false", .group = "",
      .help = MG_N("also the model without its adapter, with a paired test of every difference") },
    { .name = "forgetting", .type = &mg_option_texts, .offset = AT(forgetting), .metavar = "FILE", .group = "",
      .help = MG_N("what must not be forgotten: texts (.txt, {text}) whose likelihood before and after is compared, or control questions") },
    { .name = "choice_by", .type = &mg_option_enum, .offset = AT(choice_by), .def = "loglikelihood", .choices = "loglikelihood|generation", .group = "",
      .help = MG_N("how a choice is made: the likeliest text, or the one that the answer names") },
    { .name = "num_fewshot", .aliases = "num_shots", .type = &mg_option_int, .offset = AT(shots), .def = "0", .max = 64, .group = "",
      .help = MG_N("solved examples before each question") },
    { .name = "fewshot_file", .type = &mg_option_string, .offset = AT(shots_file), .metavar = "FILE", .group = "",
      .help = MG_N("where the examples come from, in the form of the test set") },
    { .name = "limit", .type = &mg_option_int, .offset = AT(limit), .def = "0", .max = 1 << 30, .group = "",
      .help = MG_N("at most so many items of each test set; 0: all") },
    { .name = "window", .type = &mg_option_int, .offset = AT(window), .def = "1024", .min = 2, .max = 1 << 20, .group = "",
      .help = MG_N("perplexity: tokens that the model sees at once (max_length of the recipe)") },
    { .name = "stride", .type = &mg_option_int, .offset = AT(stride), .def = "512", .min = 1, .max = 1 << 20, .group = "",
      .help = MG_N("perplexity: tokens from one window to the next") },
    { .name = "output_dir", .aliases = "report", .type = &mg_option_string, .offset = AT(out), .flag = 'o', .metavar = "DIR", .group = "",
      .help = MG_N("folder for report.html, report.json and scores.json") },
    { .name = "system", .aliases = "system_prompt", .type = &mg_option_string, .offset = AT(system), .metavar = "TEXT", .group = "",
      .help = MG_N("a system message before each question") },
    { .name = "raw", .type = &mg_option_bool, .offset = AT(raw), .def = "false", .group = "",
      .help = MG_N("go on from the prompt as it is, without the chat template") },
    { .name = "model_name_or_path", .aliases = "model,base_model,model_id", .type = &mg_option_string, .offset = AT(model.model),
      .flag = 'm', .metavar = "MODEL", .group = MG_N("Model"), .help = MG_N("a model without a run, or another base for the run") },
    MG_TEMPLATE_ROW(eval_options, model), MG_ANSWER_ROWS(eval_options, answer, "0", "128"),
    MG_METRIC_ROWS(eval_options, counting),
    MG_CONTEXT_ROW(eval_options, model), MG_MACHINE_ROWS(eval_options, model), { 0 },
};

static mg_status check(const eval_options *o, mg_error *err) {
    if (!o->data.n) return mg_fail(err, MG_USAGE, "no test set is given; name one with -d FILE");
    if (o->stride > o->window)
        return mg_fail(err, MG_CONFIG, "stride %lld is larger than window %lld; some tokens would never be scored",
                       (long long)o->stride, (long long)o->window);
    for (size_t i = 0; i < o->metrics.n; i++)
        if (!mg_metric_find(o->metrics.item[i]))
            return mg_fail(err, MG_CONFIG, "metrics: '%s' is not known; `migaki eval -h` lists them", o->metrics.item[i]);
    if (o->forgetting.n && !o->before) return mg_fail(err, MG_USAGE, "--forgetting compares before and after; add --before");
    if (o->shots && !o->shots_file) return mg_fail(err, MG_CONFIG, "num_fewshot needs examples: name a file with --fewshot_file");
    return mg_metric_options_check(&o->counting, err);
}

/* ---- showing ---- */

static void number(mg_buf *b, double x) { mg_buf_printf(b, isfinite(x) ? "%.10g" : "null", x); }

static void json_interval(mg_buf *b, const char *key, const mg_interval *x, bool has) {
    mg_buf_printf(b, ", \"%s\": ", key);
    number(b, x->score);
    if (!has) return;
    mg_buf_printf(b, ", \"%s_interval\": [", key);
    number(b, x->low);
    mg_buf_str(b, ", ");
    number(b, x->high);
    mg_buf_char(b, ']');
}

static void json_score(mg_buf *b, const mg_eval_score *x, bool before) {
    mg_buf_str(b, "{\"metric\": ");
    mg_json_quote(b, x->name, strlen(x->name));
    if (before) json_interval(b, "before", &x->before, x->has_interval);
    json_interval(b, before ? "after" : "score", &x->after, x->has_interval);
    if (before) json_interval(b, "difference", &x->difference.d, x->has_interval);
    if (before && x->has_interval) {
        mg_buf_str(b, ", \"p\": ");
        number(b, x->difference.p_shuffle);
        mg_buf_str(b, ", \"p_bootstrap\": ");
        number(b, x->difference.p_bootstrap);
    }
    mg_buf_printf(b, ", \"higher_is_better\": %s, \"signature\": ", x->lower_is_better ? "false" : "true");
    mg_json_quote(b, x->signature, strlen(x->signature));
    mg_buf_char(b, '}');
}

static void json_classes(mg_buf *b, const char *key, const mg_item *x, const double *sum) {
    mg_classification c;
    int               n = (int)x->n;
    if (!sum) return;
    mg_classify(sum, n, &c);
    mg_buf_printf(b, ",\n   \"%s\": {\"classes\": [", key);
    for (int i = 0; i < n; i++) {
        mg_buf_str(b, i ? ", {\"class\": " : "{\"class\": ");
        mg_json_quote(b, x->choice[i], strlen(x->choice[i]));
        mg_buf_printf(b, ", \"precision\": %.6f, \"recall\": %.6f, \"f1\": %.6f, \"support\": %.0f, \"predicted_as\": [",
                      c.of[i].precision, c.of[i].recall, c.of[i].f1, c.of[i].support);
        for (int k = 0; k <= n; k++) mg_buf_printf(b, k ? ", %.0f" : "%.0f", sum[i * (n + 1) + k]);
        mg_buf_str(b, "]}");
    }
    mg_buf_str(b, "]}");
}

static void json_result(mg_buf *b, const mg_eval_result *r, bool before) {
    mg_buf_str(b, "  {\"data\": ");
    mg_json_quote(b, r->task->name, strlen(r->task->name));
    mg_buf_printf(b, ", \"form\": \"%s\", \"items\": %zu, \"scores\": [", r->task->form, r->task->n);
    for (size_t i = 0; i < r->n; i++) {
        mg_buf_str(b, i ? ",\n    " : "\n    ");
        json_score(b, &r->score[i], before);
    }
    mg_buf_str(b, "]");
    json_classes(b, before ? "classes_after" : "classes", &r->task->item[0], r->confusion[0]);
    json_classes(b, "classes_before", &r->task->item[0], r->confusion[1]);
    mg_buf_char(b, '}');
}

static void json_all(mg_buf *b, const mg_eval_result *r, size_t n, bool before) {
    mg_buf_str(b, "[\n");
    for (size_t i = 0; i < n; i++) {
        json_result(b, &r[i], before);
        mg_buf_str(b, i + 1 < n ? ",\n" : "\n");
    }
    mg_buf_str(b, "]\n");
}

static void cell(mg_buf *b, double x, const mg_interval *i, bool has) {
    char text[80];
    if (has) snprintf(text, sizeof text, "%.2f [%.2f, %.2f]", x, i->low, i->high);
    else snprintf(text, sizeof text, "%.2f", x);
    mg_pad_left(b, text, 26);
}

static void show(mg_buf *b, const mg_eval_result *r, bool before) {
    mg_buf_printf(b, gettext("%s: %s, %zu items\n"), r->task->name, r->task->form, r->task->n);
    mg_pad(b, "", 18);
    if (before) mg_pad_left(b, gettext("before"), 26);
    mg_pad_left(b, before ? gettext("after") : gettext("score"), 26);
    if (before) mg_pad_left(b, gettext("difference"), 26), mg_pad_left(b, "p", 8);
    mg_buf_char(b, '\n');
    for (size_t i = 0; i < r->n; i++) {
        const mg_eval_score *x = &r->score[i];
        mg_pad(b, x->name, 18);
        if (before) cell(b, x->before.score, &x->before, x->has_interval);
        cell(b, x->after.score, &x->after, x->has_interval);
        if (before) cell(b, x->difference.d.score, &x->difference.d, x->has_interval);
        if (before && x->has_interval) {
            char p[16];
            snprintf(p, sizeof p, "%.4f", x->difference.p_shuffle);
            mg_pad_left(b, p, 8);
        }
        mg_buf_char(b, '\n');
    }
}

/* ---- the report ---- */

/* Everything that is asked and measured: the test sets, behind them control questions; and texts. */
typedef struct evaluation {
    mg_task        *task;   /* [n] */
    mg_eval_result *result; /* [n] */
    size_t          n, controls; /* the last `controls` of them come from --forgetting */
    mg_task        *other;       /* [others] */
    mg_report_text *text;        /* [others] */
    size_t          others;
} evaluation;

static size_t fill_rows(const evaluation *e, mg_report_row *row) {
    size_t k = 0;
    for (size_t i = 0; i < e->n; i++) {
        const mg_eval_result *r = &e->result[i];
        for (size_t q = 0; r->task->kind != MG_TASK_TEXT && q < r->task->n; q++) {
            const mg_item *x = &r->task->item[q];
            const char    *right = r->task->kind == MG_TASK_CHOICE ? x->choice[x->gold] : x->n ? x->choice[0] : NULL;
            row[k++] = (mg_report_row){ .question = x->prompt, .category = x->category, .expected = right && *right ? right : NULL,
                                        .before = r->side[1].answer[q], .after = r->side[0].answer[q],
                                        .ok_before = r->side[1].ok[q], .ok_after = r->side[0].ok[q],
                                        .control = i + e->controls >= e->n || mg_report_is_control(x->category),
                                        .cut_before = r->side[1].cut[q], .cut_after = r->side[0].cut[q] };
        }
    }
    return k;
}

static size_t fill_scores(const evaluation *e, mg_report_score *score) {
    size_t k = 0;
    for (size_t i = 0; i < e->n; i++)
        for (size_t q = 0; q < e->result[i].n; q++) {
            const mg_eval_score *x = &e->result[i].score[q];
            score[k++] = (mg_report_score){
                .data = e->result[i].task->name, .metric = x->name, .signature = x->signature, .lower_is_better = x->lower_is_better,
                .before = x->before.score, .after = x->after.score, .difference = x->difference.d.score,
                .low = x->has_interval ? x->difference.d.low : NAN, .high = x->has_interval ? x->difference.d.high : NAN,
                .p = x->has_interval ? x->difference.p_shuffle : NAN };
        }
    return k;
}

static mg_status write_report(const mg_cli *cli, const eval_options *o, const mg_inference_paths *paths, const evaluation *e,
                              const mg_buf *scores, mg_error *err) {
    size_t items = 1, lines = 1;
    for (size_t i = 0; i < e->n; i++) items += e->task[i].n, lines += e->result[i].n;
    mg_report_row   *row = mg_calloc(items, sizeof *row);
    mg_report_score *score = mg_calloc(lines, sizeof *score);
    mg_run_records   records = { 0 };
    mg_ratings       ratings = { 0 };
    char             sheet[33];
    char            *path = mg_path_join(o->out, "scores.json");
    mg_status        st = row && score && path ? mg_make_folder(o->out, err) : mg_fail(err, MG_NOMEM, "no memory for a report");
    if (!st) st = mg_replace_file(path, scores->data, scores->len, err);
    if (!st) st = mg_run_records_read(&records, paths->adapter, cli->options, err);
    if (!st) {
        const char *run = paths->adapter ? paths->adapter : "";
        mg_report   report = { .title = mg_path_base(*run ? run : paths->model), .model = mg_path_base(paths->model), .run = run,
                               .created = (int64_t)time(NULL), .seed = (uint64_t)o->answer.seed, .row = row, .score = score,
                               .text = e->text, .texts = o->before ? e->others : 0, .only_after = !o->before };
        report.rows = fill_rows(e, row);
        report.scores = fill_scores(e, score);
        mg_run_records_show(&report, &records);
        st = mg_rate_join(&report, &ratings, sheet, NULL, err);
        if (!st) st = mg_report_write(&report, o->out, mg_locale_lang(), err);
    }
    mg_ratings_free(&ratings);
    mg_run_records_free(&records);
    free(row);
    free(score);
    free(path);
    return st;
}

/* ---- the command ---- */

static mg_status evaluate(const eval_options *o, const mg_bundle *b, const mg_backend *backend, const mg_task *examples,
                          evaluation *e, mg_error *err) {
    mg_eval_settings s = {
        .bundle = b, .backend = backend, .generate = mg_answer_settings(&o->answer, b), .metrics = &o->metrics,
        .counting = &o->counting, .system = o->system, .max_length = o->window, .stride = o->stride,
        .shots = o->shots, .examples = o->shots ? examples : NULL, .before = o->before, .raw = o->raw,
        .choose_by_generation = o->choice_by == 1, .seed = (uint64_t)o->answer.seed,
    };
    int64_t   context = mg_inference_context(b, &o->model);
    mg_status st = MG_OK;
    if (s.max_length > context) s.max_length = context;
    if (s.stride > s.max_length) s.stride = s.max_length;
    s.generate.cancelled = mg_cancelled;
    mg_interrupts_begin();
    for (size_t i = 0; !st && i < e->n; i++) st = mg_eval_run(&e->task[i], &s, &e->result[i], err);
    for (size_t i = 0; !st && i < e->others; i++) st = mg_forgetting_measure(&e->other[i], &s, &e->text[i], err);
    mg_interrupts_end();
    return st;
}

static mg_status print_all(const mg_cli *cli, const eval_options *o, const mg_inference_paths *paths, const evaluation *e, mg_error *err) {
    mg_buf json = { 0 }, out = { 0 };
    json_all(&json, e->result, e->n, o->before);
    for (size_t i = 0; i < e->n && !cli->global.json; i++) {
        if (i) mg_buf_char(&out, '\n');
        show(&out, &e->result[i], o->before);
    }
    if (!cli->global.json) mg_forgetting_show(&out, e->text, e->others);
    mg_status st = json.failed || out.failed ? mg_fail(err, MG_NOMEM, "no memory for a report") : MG_OK;
    if (!st && o->out) st = write_report(cli, o, paths, e, &json, err);
    if (!st) st = mg_print(cli->global.json ? &json : &out, err);
    mg_buf_free(&json);
    mg_buf_free(&out);
    return st;
}

/* Test sets in order; files of --forgetting are texts or, behind the test sets, control questions. */
static mg_status load(const eval_options *o, evaluation *e, mg_error *err) {
    size_t    most = o->data.n + o->forgetting.n + 1;
    mg_status st = MG_OK;
    e->task = mg_calloc(most, sizeof *e->task);
    e->result = mg_calloc(most, sizeof *e->result);
    e->other = mg_calloc(most, sizeof *e->other);
    e->text = mg_calloc(most, sizeof *e->text);
    if (!e->task || !e->result || !e->other || !e->text) return mg_fail(err, MG_NOMEM, "no memory for the evaluation");
    for (size_t i = 0; !st && i < o->data.n; i++) {
        st = mg_task_load(&e->task[e->n], o->data.item[i], (size_t)o->limit, err);
        if (!st) e->n++;
    }
    for (size_t i = 0; !st && i < o->forgetting.n; i++) {
        mg_task t = { 0 };
        st = mg_task_load(&t, o->forgetting.item[i], (size_t)o->limit, err);
        if (st) break;
        if (t.kind == MG_TASK_TEXT) e->other[e->others++] = t;
        else e->task[e->n++] = t, e->controls++;
    }
    return st;
}

static void unload(evaluation *e) {
    for (size_t i = 0; e->result && i < e->n; i++) mg_eval_free(&e->result[i]);
    for (size_t i = 0; e->task && i < e->n; i++) mg_task_free(&e->task[i]);
    for (size_t i = 0; e->other && i < e->others; i++) mg_task_free(&e->other[i]);
    free(e->task);
    free(e->result);
    free(e->other);
    free(e->text);
}

static mg_status run(mg_cli *cli, void *values, mg_error *err) {
    const eval_options *o = values;
    mg_inference_paths  paths = { 0 };
    mg_bundle           b = { 0 };
    const mg_backend   *backend;
    mg_task             examples = { 0 };
    evaluation          e = { 0 };
    int64_t             positions = o->model.max_length > o->window ? o->model.max_length : o->window;
    mg_status           st = check(o, err);
    if (!st) st = load(o, &e, err);
    if (!st && o->shots) st = mg_task_load(&examples, o->shots_file, (size_t)o->shots, err);
    if (!st) st = mg_inference_find(&paths, &o->model, err);
    if (!st && o->before && !paths.adapter) st = mg_fail(err, MG_USAGE, "--before compares a run with its base model; no run is given");
    if (!st) st = mg_inference_open(&b, &paths, !o->raw, err);
    for (size_t i = 0; !st && i < e.others; i++) st = mg_forgetting_prepare(&e.other[i], e.other[i].name, &b, err);
    if (!st) st = mg_inference_load(&b, &paths, &o->model, positions, &backend, err);
    if (!st) st = evaluate(o, &b, backend, &examples, &e, err);
    if (!st) st = print_all(cli, o, &paths, &e, err);
    unload(&e);
    mg_task_free(&examples);
    mg_bundle_close(&b);
    mg_inference_paths_free(&paths);
    return st;
}

const mg_command mg_command_eval = {
    .name = "eval", .group = "try", .usage = "RUN|-m MODEL -d FILE [--before]",
    .summary = MG_N("score a run or model on test sets, before and after"),
    .details = MG_N("Forms that are recognised: JCommonsenseQA, JNLI, JSQuAD, JMMLU, {question, choices, answer}, {question, expect, reject}, "
                    "{question, answer}, {instruction, output}, {text} and .txt. Every score has an interval (95 percent), every difference a "
                    "paired test (p). Perplexities compare only with the same tokenizer, window and stride."),
    .rows = rows, .values_size = sizeof(eval_options), .run = run,
};
