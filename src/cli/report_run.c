/* report_run.c -- trainer_log.jsonl as curves, config.yaml as settings. */
#include "cli/report_run.h"

#include "base/file.h"
#include "train/run_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CONFIG_BYTES = 1 << 20 };

static mg_status no_memory(mg_error *err) { return mg_fail(err, MG_NOMEM, "no memory for a report"); }

/* ---- curves ---- */

typedef struct points {
    char    name[32];
    double *x, *y;
    size_t  n, cap_x, cap_y;
} points;

typedef struct log_reader {
    points *list;
    size_t  n, cap;
} log_reader;

/* Speeds and times say nothing about the model. */
static bool is_shown(const char *name) {
    static const char *const shown[] = { "loss", "eval_loss", "learning_rate", "grad_norm" };
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++)
        if (!strcmp(shown[i], name)) return true;
    return !strncmp(name, "eval_", 5) && !strstr(name, "runtime") && !strstr(name, "per_second");
}

static bool keep_point(void *context, const mg_run_point *p) {
    log_reader *r = context;
    size_t      i = 0;
    if (!is_shown(p->name)) return true;
    while (i < r->n && strcmp(r->list[i].name, p->name) != 0) i++;
    if (i == r->n) {
        if (!MG_GROW(r->list, r->cap, r->n + 1)) return false;
        r->list[r->n] = (points){ 0 };
        snprintf(r->list[r->n++].name, sizeof r->list->name, "%s", p->name);
    }
    points *s = &r->list[i];
    if (!MG_GROW(s->x, s->cap_x, s->n + 1) || !MG_GROW(s->y, s->cap_y, s->n + 1)) return false;
    s->x[s->n] = (double)p->step;
    s->y[s->n++] = p->value;
    return true;
}

static const points *points_of(const log_reader *r, const char *name) {
    for (size_t i = 0; i < r->n; i++)
        if (!strcmp(r->list[i].name, name)) return &r->list[i];
    return NULL;
}

/* Evaluation loss less the mean training loss since the evaluation before: what the model knows only of its own data. */
static mg_status add_gap(log_reader *r, mg_error *err) {
    const points *train = points_of(r, "loss"), *eval = points_of(r, "eval_loss");
    points        gap = { .name = "overfitting_gap" };
    mg_status     st = MG_OK;
    for (size_t i = 0, k = 0; !st && train && eval && i < eval->n; i++) {
        double sum = 0, n = 0;
        for (; k < train->n && train->x[k] <= eval->x[i]; k++)
            if (isfinite(train->y[k])) sum += train->y[k], n++;
        if (!(n > 0)) continue; /* before the first step */
        if (!MG_GROW(gap.x, gap.cap_x, gap.n + 1) || !MG_GROW(gap.y, gap.cap_y, gap.n + 1)) st = no_memory(err);
        else gap.x[gap.n] = eval->x[i], gap.y[gap.n++] = eval->y[i] - sum / n;
    }
    if (!st && gap.n && !MG_GROW(r->list, r->cap, r->n + 1)) st = no_memory(err);
    if (!st && gap.n) {
        r->list[r->n++] = gap;
        return MG_OK;
    }
    free(gap.x);
    free(gap.y);
    return st;
}

/* In the order of the page: losses, gap, rate, norm, the rest. */
static mg_status take_curves(mg_run_records *out, log_reader *r, mg_error *err) {
    static const char *const order[] = { "loss", "eval_loss", "overfitting_gap", "learning_rate", "grad_norm", NULL };
    for (size_t pass = 0; pass < sizeof order / sizeof *order; pass++)
        for (size_t i = 0; i < r->n; i++) {
            points *s = &r->list[i];
            if (!s->x || (order[pass] && strcmp(order[pass], s->name) != 0)) continue;
            char *name = mg_strdup(s->name);
            if (!name || !MG_GROW(out->curve, out->cap, out->curves + 1)) {
                free(name);
                return no_memory(err);
            }
            out->curve[out->curves++] = (mg_report_curve){ name, s->x, s->y, s->n };
            s->x = s->y = NULL;
        }
    return MG_OK;
}

static mg_status read_curves(mg_run_records *out, const char *run, mg_error *err) {
    log_reader r = { 0 };
    size_t     whole;
    mg_status  st = mg_run_read_log(run, keep_point, &r, &whole, err);
    if (!st && !points_of(&r, "overfitting_gap")) st = add_gap(&r, err);
    if (!st) st = take_curves(out, &r, err);
    for (size_t i = 0; i < r.n; i++) {
        free(r.list[i].x);
        free(r.list[i].y);
    }
    free(r.list);
    return st;
}

/* ---- settings ---- */

static mg_status read_settings(mg_run_records *out, const char *run, mg_error *err) {
    char     *path = mg_path_join(run, "config.yaml");
    mg_buf    text = { 0 };
    mg_status st = path ? MG_OK : no_memory(err);
    if (!st && mg_is_file(path)) st = mg_read_file(&text, path, CONFIG_BYTES, err); /* an adapter from elsewhere has none */
    if (!st && text.data && !mg_report_settings_read(&out->settings, text.data, text.len)) st = no_memory(err);
    mg_buf_free(&text);
    free(path);
    return st;
}

void mg_run_records_free(mg_run_records *r) {
    for (size_t i = 0; i < r->curves; i++) {
        free((char *)r->curve[i].name);
        free((double *)r->curve[i].x);
        free((double *)r->curve[i].y);
    }
    free(r->curve);
    mg_report_settings_free(&r->settings);
    mg_report_settings_free(&r->evaluation);
    *r = (mg_run_records){ 0 };
}

mg_status mg_run_records_read(mg_run_records *out, const char *run, const mg_options *o, mg_error *err) {
    mg_run_records r = { 0 };
    mg_buf         text = { 0 };
    mg_status      st = run ? read_curves(&r, run, err) : MG_OK;
    if (!st && run) st = read_settings(&r, run, err);
    if (!st) mg_options_write_yaml(&text, o);
    if (!st && (text.failed || !mg_report_settings_read(&r.evaluation, text.data ? text.data : "", text.len))) st = no_memory(err);
    mg_buf_free(&text);
    if (st) mg_run_records_free(&r);
    else *out = r;
    return st;
}

void mg_run_records_show(mg_report *report, const mg_run_records *r) {
    report->settings = &r->settings;
    report->evaluation = &r->evaluation;
    report->curve = r->curve;
    report->curves = r->curves;
}
