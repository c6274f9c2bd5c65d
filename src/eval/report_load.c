/* report_load.c -- report.json read back.
 *
 * Only what mg_report holds is read; what is derived is computed again.  The file may come from anywhere: kinds are
 * checked, and the lists cannot be longer than the file. */
#include "eval/report.h"

#include "base/file.h"
#include "base/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_BYTES = 512 << 20 };

struct mg_report_file {
    mg_json            json;
    mg_report          report;
    mg_report_row     *row;
    mg_report_score   *score;
    mg_report_text    *text;
    mg_report_curve   *curve;
    double            *points;
    mg_report_settings settings[2];
    const char        *name;
};

static mg_status wrong(const mg_report_file *f, const char *what, mg_error *err) {
    return mg_fail(err, MG_FORMAT, "%s: is no report of this program: %s is missing or of another kind", f->name, what);
}

/* A text or null; a text with a zero byte would end early and is refused with it. */
static bool text_at(yyjson_val *v, const char *key, const char **out) {
    yyjson_val *x = yyjson_obj_get(v, key);
    *out = yyjson_get_str(x);
    return !x || yyjson_is_null(x) || (yyjson_is_str(x) && strlen(*out) == yyjson_get_len(x));
}

static double number_at(yyjson_val *v, const char *key) {
    yyjson_val *x = yyjson_obj_get(v, key);
    return yyjson_is_num(x) ? yyjson_get_num(x) : NAN;
}

static int verdict_at(yyjson_val *v, const char *key) {
    yyjson_val *x = yyjson_obj_get(v, key);
    return yyjson_is_bool(x) ? yyjson_get_bool(x) : -1;
}

/* A list's room, one more than it has. */
static void *room(yyjson_val *list, size_t size) { return mg_calloc(yyjson_arr_size(list) + 1, size); }

static mg_status read_rows(mg_report_file *f, yyjson_val *list, mg_error *err) {
    size_t      i, n;
    yyjson_val *v;
    if (!yyjson_is_arr(list)) return wrong(f, "'rows'", err);
    if (!(f->row = room(list, sizeof *f->row))) return mg_fail(err, MG_NOMEM, "%s: not enough memory", f->name);
    yyjson_arr_foreach(list, i, n, v) {
        mg_report_row *q = &f->row[i];
        if (!text_at(v, "question", &q->question) || !q->question || !text_at(v, "category", &q->category) || !text_at(v, "expected", &q->expected)
            || !text_at(v, "before", &q->before) || !text_at(v, "after", &q->after) || !text_at(v, "note", &q->note))
            return wrong(f, "a text of 'rows'", err);
        q->ok_before = verdict_at(v, "ok_before");
        q->ok_after = verdict_at(v, "ok_after");
        q->control = verdict_at(v, "control") == 1;
        q->cut_before = verdict_at(v, "cut_before") == 1;
        q->cut_after = verdict_at(v, "cut_after") == 1;
    }
    f->report.row = f->row;
    f->report.rows = n;
    return MG_OK;
}

static mg_status read_scores(mg_report_file *f, yyjson_val *list, mg_error *err) {
    size_t      i, n;
    yyjson_val *v;
    if (!(f->score = room(list, sizeof *f->score))) return mg_fail(err, MG_NOMEM, "%s: not enough memory", f->name);
    yyjson_arr_foreach(list, i, n, v) {
        mg_report_score *x = &f->score[i];
        if (!text_at(v, "data", &x->data) || !text_at(v, "metric", &x->metric) || !text_at(v, "signature", &x->signature))
            return wrong(f, "a text of 'scores'", err);
        x->lower_is_better = verdict_at(v, "higher_is_better") == 0;
        x->before = number_at(v, "before");
        x->after = number_at(v, "after");
        x->difference = number_at(v, "difference");
        x->low = number_at(v, "low");
        x->high = number_at(v, "high");
        x->p = number_at(v, "p");
    }
    f->report.score = f->score;
    f->report.scores = n;
    return MG_OK;
}

static mg_status read_texts(mg_report_file *f, yyjson_val *list, mg_error *err) {
    size_t      i, n;
    yyjson_val *v;
    if (!(f->text = room(list, sizeof *f->text))) return mg_fail(err, MG_NOMEM, "%s: not enough memory", f->name);
    yyjson_arr_foreach(list, i, n, v) {
        mg_report_text *x = &f->text[i];
        if (!text_at(v, "data", &x->data) || !text_at(v, "signature", &x->signature)) return wrong(f, "a text of 'forgetting'", err);
        x->texts = number_at(v, "texts");
        x->tokens = number_at(v, "tokens");
        x->before = number_at(v, "nll_before");
        x->after = number_at(v, "nll_after");
        x->difference = number_at(v, "difference");
        x->low = number_at(v, "low");
        x->high = number_at(v, "high");
        x->p = number_at(v, "p");
    }
    f->report.text = f->text;
    f->report.texts = n;
    return MG_OK;
}

static mg_status read_curves(mg_report_file *f, yyjson_val *list, mg_error *err) {
    size_t      i, k, n, m, all = 0;
    yyjson_val *v, *point;
    yyjson_arr_foreach(list, i, n, v) all += yyjson_arr_size(yyjson_obj_get(v, "points")); /* cannot pass the file's length */
    f->curve = room(list, sizeof *f->curve);
    f->points = mg_calloc(all + 1, 2 * sizeof *f->points);
    if (!f->curve || !f->points) return mg_fail(err, MG_NOMEM, "%s: not enough memory", f->name);
    double *x = f->points, *y = f->points + all + 1;
    yyjson_arr_foreach(list, i, n, v) {
        yyjson_val *points = yyjson_obj_get(v, "points");
        f->curve[i] = (mg_report_curve){ .x = x, .y = y, .n = yyjson_arr_size(points) };
        if (!text_at(v, "name", &f->curve[i].name) || !f->curve[i].name) return wrong(f, "a name of 'curves'", err);
        yyjson_arr_foreach(points, k, m, point) {
            yyjson_val *a = yyjson_arr_get(point, 0), *b = yyjson_arr_get(point, 1);
            *x++ = yyjson_is_num(a) ? yyjson_get_num(a) : NAN;
            *y++ = yyjson_is_num(b) ? yyjson_get_num(b) : NAN;
        }
    }
    f->report.curve = f->curve;
    f->report.curves = n;
    return MG_OK;
}

static mg_status read_settings(mg_report_file *f, mg_report_settings *s, yyjson_val *map, mg_error *err) {
    size_t      i, n;
    yyjson_val *key, *v;
    if (!yyjson_is_obj(map)) return map ? wrong(f, "'settings' or 'evaluation'", err) : MG_OK;
    yyjson_obj_foreach(map, i, n, key, v) {
        mg_report_setting x = { .key = yyjson_get_str(key) };
        if (!text_at(v, "value", &x.value) || !text_at(v, "origin", &x.origin)) return wrong(f, "a value of the settings", err);
        if (!MG_GROW(s->item, s->cap, s->n + 1)) return mg_fail(err, MG_NOMEM, "%s: not enough memory", f->name);
        s->item[s->n++] = x;
    }
    return MG_OK;
}

static mg_status read_all(mg_report_file *f, mg_error *err) {
    yyjson_val *root = f->json.root, *created = yyjson_obj_get(root, "created"), *seed = yyjson_obj_get(root, "seed");
    mg_report  *r = &f->report;
    if (!yyjson_equals_str(yyjson_obj_get(root, "format"), "migaki report 1")) return wrong(f, "'format': \"migaki report 1\"", err);
    if (!text_at(root, "title", &r->title) || !text_at(root, "model", &r->model) || !text_at(root, "run", &r->run)
        || !text_at(root, "before_name", &r->before_name) || !text_at(root, "after_name", &r->after_name) || !text_at(root, "sheet", &r->sheet)
        || !yyjson_is_int(created) || !yyjson_is_uint(seed))
        return wrong(f, "a part of the head", err);
    r->created = yyjson_get_sint(created);
    r->seed = yyjson_get_uint(seed);
    r->only_after = verdict_at(root, "only_after") == 1;
    mg_status st = read_rows(f, yyjson_obj_get(root, "rows"), err);
    if (!st) st = read_scores(f, yyjson_obj_get(root, "scores"), err);
    if (!st) st = read_texts(f, yyjson_obj_get(yyjson_obj_get(root, "forgetting"), "texts"), err);
    if (!st) st = read_curves(f, yyjson_obj_get(root, "curves"), err);
    if (!st) st = read_settings(f, &f->settings[0], yyjson_obj_get(root, "settings"), err);
    if (!st) st = read_settings(f, &f->settings[1], yyjson_obj_get(root, "evaluation"), err);
    r->settings = &f->settings[0];
    r->evaluation = &f->settings[1];
    return st;
}

static mg_status finish(mg_report_file **out, mg_report_file *f, const char *name, mg_status st, mg_error *err) {
    f->name = name;
    if (!st) st = read_all(f, err);
    f->name = NULL;
    if (st) mg_report_close(f);
    else *out = f;
    return st;
}

mg_status mg_report_parse(mg_report_file **out, const char *text, size_t n, const char *name, mg_error *err) {
    mg_report_file *f = mg_calloc(1, sizeof *f);
    if (!f) return mg_fail(err, MG_NOMEM, "%s: not enough memory", name);
    return finish(out, f, name, mg_json_parse(&f->json, text, n, name, err), err);
}

mg_status mg_report_open(mg_report_file **out, const char *path, mg_error *err) {
    mg_report_file *f = mg_calloc(1, sizeof *f);
    if (!f) return mg_fail(err, MG_NOMEM, "%s: not enough memory", path);
    return finish(out, f, path, mg_json_open(&f->json, path, FILE_BYTES, err), err);
}

mg_report *mg_report_of(mg_report_file *f) { return &f->report; }

void mg_report_close(mg_report_file *f) {
    if (!f) return;
    for (int i = 0; i < 2; i++) mg_report_settings_free(&f->settings[i]);
    free(f->row);
    free(f->score);
    free(f->text);
    free(f->curve);
    free(f->points);
    mg_json_free(&f->json);
    free(f);
}
