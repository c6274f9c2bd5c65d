/* predict_run.c -- choosing the head, running it, showing its scores. */
#include "cli/predict_run.h"

#include "base/file.h"
#include "base/json.h"
#include "base/width.h"

#include <libintl.h>
#include <math.h>
#include <string.h>

static bool same_goal(const mg_goal *a, const mg_goal *file) {
    /* numbers may look like classes, and records without a label like either */
    return a == file || (a && file && !a->columns && !file->columns && a->encode == file->encode);
}

static mg_status choose(const mg_heads *h, const mg_head_job *job, const mg_head **out, mg_error *err) {
    const mg_goal *goal = NULL;
    size_t         fits = 0;
    if (job->task) {
        *out = mg_heads_find(h, job->task);
        return *out ? MG_OK : mg_fail(err, MG_MISMATCH, "this run has no head called '%.60s'; heads.json names them", job->task);
    }
    *out = h->head;
    if (h->n == 1) return MG_OK;
    mg_status st = mg_goal_of_file(&goal, job->path, err);
    if (st) return st;
    for (size_t i = 0; i < h->n; i++)
        if (same_goal(h->head[i].kind->goal, goal) && !fits++) *out = &h->head[i];
    return fits == 1 ? MG_OK : mg_fail(err, MG_MISMATCH, "%s: %zu heads of this run fit these records; name one with --task", job->path, fits);
}

static mg_status predictions(mg_head_result *r, mg_predictions *p, const mg_head_job *job, const mg_dataset *d, bool off, mg_head_score *score,
                             mg_error *err) {
    mg_status st = mg_predictions_open(p, &r->set, r->head, job->bundle->heads.no_answer, err);
    if (!st) st = mg_predict(p, job->bundle->model, job->backend, d, off, NULL, err);
    if (!st && job->targets && (r->n = mg_predictions_score(p, score, err)) < 0) st = MG_NOMEM;
    return st;
}

mg_status mg_head_run(const mg_head_job *job, mg_head_result *r, mg_error *err) {
    mg_bundle *b = job->bundle;
    mg_dataset d = { 0 };
    mg_windows w = { .tokenizer = b->tokenizer, .encoder = b->model->arch->encoder, .max_length = (int32_t)job->max_length,
                     .stride = (int32_t)job->stride, .on_truncation = MG_TROUBLE_KEEP };
    *r = (mg_head_result){ 0 };
    mg_status st = choose(&b->heads, job, &r->head, err);
    if (w.max_length > b->model->positions) w.max_length = (int32_t)b->model->positions;
    if (!st)
        st = mg_labelled_load(&r->set, job->path, r->head->kind->goal, r->head->kind->goal->named ? &r->head->labels : NULL, job->targets,
                              MG_TROUBLE_REFUSE, job->limit, err);
    if (!st) st = mg_labelled_encode(&d, &r->set, &w, err);
    if (!st) st = predictions(r, &r->after, job, &d, false, r->score[0], err);
    if (!st && job->before) {
        mg_heads_init(&b->heads, b->adapter, true); /* back to where training began */
        st = predictions(r, &r->before, job, &d, true, r->score[1], err);
    }
    mg_dataset_free(&d);
    return st;
}

void mg_head_result_free(mg_head_result *r) {
    mg_predictions_free(&r->after);
    mg_predictions_free(&r->before);
    mg_labelled_free(&r->set);
}

static void number(mg_buf *b, double x) { mg_buf_printf(b, isfinite(x) ? "%.10g" : "null", x); }

void mg_head_show(const mg_head_result *r, const char *path, bool json, mg_buf *b) {
    bool before = r->before.x != NULL;
    if (json) {
        mg_buf_str(b, "{\"data\": ");
        mg_json_quote(b, path, strlen(path));
        mg_buf_printf(b, ", \"form\": \"%s\", \"items\": %zu, \"scores\": {", r->head->kind->goal->name, r->set.n);
        for (int i = 0; i < r->n; i++) {
            mg_buf_printf(b, "%s\"%s\": ", i ? ", " : "", r->score[0][i].name);
            number(b, r->score[0][i].value);
            if (before) mg_buf_printf(b, ", \"%s_before\": ", r->score[0][i].name), number(b, r->score[1][i].value);
        }
        mg_buf_str(b, "}}\n");
        return;
    }
    mg_buf_printf(b, gettext("%s: %s, %zu items\n"), mg_path_base(path), r->head->kind->goal->name, r->set.n);
    mg_pad(b, "", 12);
    if (before) mg_pad_left(b, gettext("before"), 12);
    mg_pad_left(b, before ? gettext("after") : gettext("score"), 12);
    mg_buf_char(b, '\n');
    for (int i = 0; i < r->n; i++) {
        char cell[32];
        mg_pad(b, r->score[0][i].name, 12);
        for (int side = before; side >= 0; side--) {
            snprintf(cell, sizeof cell, "%.4f", r->score[side][i].value);
            mg_pad_left(b, cell, 12);
        }
        mg_buf_char(b, '\n');
    }
}
