/* compare_judge.c -- counting ○ and ×, and handing everything to the report.
 *
 * What training was for and what it may have broken stand side by side: every file of questions is a category, and
 * the summary says for each what was gained and what was lost. */
#include "cli/compare_judge.h"

#include "base/file.h"
#include "base/json.h"
#include "eval/report.h"

#include <libintl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LOG_BYTES = 64 << 20, SETTINGS = 12 };

void mg_judge_all(const mg_questions *q, const char *const *before, const char *const *after, mg_verdict *out) {
    for (size_t i = 0; i < q->n; i++)
        out[i] = (mg_verdict){ mg_question_judge(&q->question[i], before[i]), mg_question_judge(&q->question[i], after[i]) };
}

const char *mg_verdict_mark(int verdict) { return verdict < 0 ? " " : verdict ? "○" : "×"; }

static bool seen_before(const mg_questions *q, size_t i) {
    for (size_t k = 0; k < i; k++)
        if (!strcmp(q->question[k].category, q->question[i].category)) return true;
    return false;
}

void mg_judge_summary(mg_buf *out, const mg_questions *q, const mg_verdict *v) {
    for (size_t i = 0; i < q->n; i++) {
        if (seen_before(q, i)) continue;
        int n = 0, before = 0, after = 0, lost = 0;
        for (size_t k = i; k < q->n; k++) {
            if (strcmp(q->question[k].category, q->question[i].category) || v[k].after < 0) continue;
            n++;
            before += v[k].before == 1;
            after += v[k].after == 1;
            lost += v[k].before == 1 && v[k].after == 0;
        }
        mg_buf_printf(out, gettext("%s: right before %d of %d, after %d of %d; lost %d\n"), q->question[i].category, before, n, after, n, lost);
    }
}

/* ---- the run's own records ---- */

typedef struct {
    double *x, *y;
    size_t  n, cap_x, cap_y;
} curve;

/* The losses that the run has logged; a run without a log has no curve. */
static void read_losses(const char *run, curve *train, curve *eval) {
    char  *path = mg_path_join(run, "trainer_log.jsonl"), *rest = NULL;
    mg_buf text = { 0 };
    if (path && !mg_read_file(&text, path, LOG_BYTES, NULL) && text.data)
        for (char *line = strtok_r(text.data, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
            mg_json j;
            if (mg_json_parse(&j, line, strlen(line), path, NULL)) continue;
            yyjson_val *step = yyjson_obj_get(j.root, "step"), *loss = yyjson_obj_get(j.root, "loss");
            curve      *c = loss ? train : eval;
            if (!loss) loss = yyjson_obj_get(j.root, "eval_loss");
            if (yyjson_is_num(step) && yyjson_is_num(loss) && MG_GROW(c->x, c->cap_x, c->n + 1) && MG_GROW(c->y, c->cap_y, c->n + 1)) {
                c->x[c->n] = yyjson_get_num(step);
                c->y[c->n++] = yyjson_get_num(loss);
            }
            mg_json_free(&j);
        }
    mg_buf_free(&text);
    free(path);
}

/* Lines "key: value" of the run's config.yaml that say how it was trained. */
static size_t read_settings(const char *run, mg_buf *text, mg_report_setting *out) {
    static const char *const shown[] = { "dataset", "lora_r", "lora_alpha", "lora_dropout", "learning_rate", "lr_scheduler_type",
                                         "num_train_epochs", "max_steps", "per_device_train_batch_size",
                                         "gradient_accumulation_steps", "dtype", "seed" };
    char  *path = mg_path_join(run, "config.yaml"), *rest = NULL;
    size_t n = 0;
    if (path && !mg_read_file(text, path, LOG_BYTES, NULL) && text->data)
        for (char *line = strtok_r(text->data, "\n", &rest); line && n < SETTINGS; line = strtok_r(NULL, "\n", &rest)) {
            char *colon = strstr(line, ": "), *comment = strstr(line, "  #");
            if (!colon) continue;
            *colon = 0;
            if (comment > colon) *comment = 0;
            for (size_t i = 0; i < sizeof shown / sizeof *shown; i++)
                if (!strcmp(shown[i], line)) out[n++] = (mg_report_setting){ line, colon + 2 };
        }
    free(path);
    return n;
}

mg_status mg_judge_report(const mg_questions *q, const char *const *before, const char *const *after, const mg_verdict *v,
                          const char *model, const char *run, const char *folder, const char *lang, mg_error *err) {
    mg_report_row    *row = mg_calloc(q->n ? q->n : 1, sizeof *row);
    mg_report_setting setting[SETTINGS];
    mg_buf            config = { 0 };
    curve             train = { 0 }, eval = { 0 };
    if (!row) return mg_fail(err, MG_NOMEM, "no memory for a report");
    for (size_t i = 0; i < q->n; i++) {
        const mg_question *x = &q->question[i];
        row[i] = (mg_report_row){ .question = x->text, .category = x->category, .expected = *x->expected ? x->expected : NULL,
                                  .before = before[i], .after = after[i], .ok_before = v[i].before, .ok_after = v[i].after };
    }
    read_losses(run, &train, &eval);
    mg_report_curve curves[] = { { "loss", train.x, train.y, train.n }, { "eval_loss", eval.x, eval.y, eval.n } };
    mg_report       report = { .title = mg_path_base(run), .model = mg_path_base(model), .run = run, .created = (int64_t)time(NULL), .row = row,
                               .rows = q->n, .setting = setting, .settings = read_settings(run, &config, setting), .curve = curves,
                               .curves = eval.n ? 2 : 1 };
    mg_status st = mg_report_write(&report, folder, lang, err);
    free(row);
    free(train.x);
    free(train.y);
    free(eval.x);
    free(eval.y);
    mg_buf_free(&config);
    return st;
}
