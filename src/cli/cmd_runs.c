/* cmd_runs.c -- `runs ls | show | compare | rm | rebuild`: what was trained so far.
 *
 * One row an action.  Comparisons show only what differs: the settings of each
 * run's config.yaml that are not all equal, and the last figures. */
#include "base/file.h"
#include "base/json.h"
#include "base/width.h"
#include "cli/command.h"
#include "cli/sft_options.h"
#include "cli/terminal.h"
#include "train/checkpoint.h"
#include "train/runs.h"

#include <libintl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct {
    int     action;
    mg_list run;
} runs_options;

static const mg_option rows[] = {
    { .name = "action", .type = &mg_option_enum, .offset = offsetof(runs_options, action), .def = "ls",
      .choices = "ls,list|show|compare|rm,remove|rebuild", .positional = true, .metavar = "ls|show|compare|rm|rebuild",
      .group = "", .help = MG_N("list the runs, show one, compare several, remove some, or make runs.db again from the folders") },
    { .name = "run", .type = &mg_option_texts, .offset = offsetof(runs_options, run), .positional = true, .metavar = "RUN",
      .group = "", .help = MG_N("a run's name, its folder, or `last`") },
    { 0 },
};

typedef struct {
    mg_cli     *cli;
    mg_runs    *db;
    mg_run_rows all;
    const mg_list *run;
    mg_buf      out;
} work;

/* ---- texts ---- */

static void print_number(char out[32], double x) {
    if (isnan(x))
        snprintf(out, 32, "–");
    else
        snprintf(out, 32, "%.4f", x);
}

static void print_date(char out[32], int64_t seconds) {
    struct tm local;
    time_t    t = (time_t)seconds;
    localtime_r(&t, &local);
    strftime(out, 32, "%Y-%m-%d %H:%M", &local);
}

/* Statuses are stored in English; these literals are for the catalogue. */
static const char *status_text(const char *status) {
    static const char *const known[] = { MG_N("running"), MG_N("finished"), MG_N("stopped"), MG_N("failed"), MG_N("interrupted") };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(known[i], status)) return gettext(known[i]);
    return status;
}

static void json_text(mg_buf *b, const char *key, const char *value) {
    mg_buf_printf(b, ", \"%s\": ", key);
    mg_json_quote(b, value, strlen(value));
}

static void json_number(mg_buf *b, const char *key, double x) {
    if (isfinite(x))
        mg_buf_printf(b, ", \"%s\": %.9g", key, x);
    else
        mg_buf_printf(b, ", \"%s\": null", key);
}

static void json_row(mg_buf *b, const mg_run_row *r) {
    mg_buf_str(b, "{\"name\": ");
    mg_json_quote(b, r->name, strlen(r->name));
    json_text(b, "id", r->id);
    json_text(b, "folder", r->folder);
    json_text(b, "model", r->model);
    json_text(b, "method", r->method);
    json_text(b, "status", r->status);
    mg_buf_printf(b, ", \"created\": %lld, \"step\": %lld, \"max_steps\": %lld", (long long)r->created, (long long)r->step,
                  (long long)r->max_steps);
    json_number(b, "loss", r->loss);
    json_number(b, "eval_loss", r->eval_loss);
    mg_buf_str(b, "}\n");
}

/* ---- finding ---- */

static mg_status find_run(const mg_run_row **out, work *w, const char *name, mg_error *err) {
    char     *folder = NULL, *real;
    mg_status st = mg_runs_resolve(&folder, mg_runs_root(), name, err);
    if (st) return st;
    real = realpath(folder, NULL);
    *out = NULL;
    for (size_t i = 0; real && i < w->all.n; i++)
        if (!strcmp(w->all.row[i].folder, real)) *out = &w->all.row[i];
    free(real);
    if (!*out) st = mg_fail(err, MG_NOTFOUND, "%s: is not in runs.db; `migaki runs rebuild` enters it", folder);
    free(folder);
    return st;
}

static mg_status need_runs(const work *w, size_t least, mg_error *err) {
    if (w->run->n >= least) return MG_OK;
    return mg_fail(err, MG_USAGE, "%zu runs are named, at least %zu are wanted; `migaki runs ls` lists them", w->run->n, least);
}

/* ---- the actions ---- */

static mg_status list_runs(work *w, mg_error *err) {
    mg_table t = { .fields = 7, .numbers = 1u << 2 | 1u << 3 | 1u << 4 };
    char(*text)[4][32] = mg_calloc(w->all.n + 1, sizeof *text);
    bool ok = text != NULL;
    if (w->cli->global.json) {
        for (size_t i = 0; i < w->all.n; i++) json_row(&w->out, &w->all.row[i]);
    } else if (!w->all.n) {
        mg_buf_str(&w->out, gettext("There is no run yet; `migaki sft` makes one."));
        mg_buf_char(&w->out, '\n');
    } else {
        ok = ok && mg_table_row(&t, gettext("NAME"), gettext("STATUS"), gettext("STEP"), gettext("LOSS"), gettext("EVAL"),
                                gettext("STARTED"), gettext("MODEL"));
        for (size_t i = 0; ok && i < w->all.n; i++) {
            const mg_run_row *r = &w->all.row[i];
            snprintf(text[i][0], 32, "%lld/%lld", (long long)r->step, (long long)r->max_steps);
            print_number(text[i][1], r->loss);
            print_number(text[i][2], r->eval_loss);
            print_date(text[i][3], r->created);
            ok = mg_table_row(&t, r->name, status_text(r->status), text[i][0], text[i][1], text[i][2], text[i][3],
                              mg_path_base(r->model));
        }
        if (ok) mg_table_print(&w->out, &t, w->cli->columns);
    }
    mg_table_free(&t);
    free(text);
    return ok ? MG_OK : mg_fail(err, MG_NOMEM, "no memory for the list");
}

static void show_line(mg_buf *b, const char *name, const char *value, int columns) {
    mg_buf_str(b, "  ");
    mg_pad(b, gettext(name), 14);
    mg_wrap(b, value, 16, columns);
    mg_buf_char(b, '\n');
}

static void show_checkpoints(work *w, const mg_run_row *r) {
    int64_t *steps = NULL;
    size_t   n = 0;
    mg_buf   b = { 0 };
    if (mg_checkpoint_list(&steps, &n, r->folder, NULL)) return;
    for (size_t i = 0; i < n; i++) mg_buf_printf(&b, i ? ", %lld" : "%lld", (long long)steps[i]);
    free(steps);
    if (n && !b.failed) show_line(&w->out, MG_N("Checkpoints"), b.data, w->cli->columns);
    mg_buf_free(&b);
}

static mg_status show_run(work *w, mg_error *err) {
    for (size_t i = 0; i < (w->run->n ? w->run->n : 1); i++) {
        const mg_run_row *r = NULL;
        char              step[64], loss[32], eval[32], date[32];
        mg_status         st = find_run(&r, w, w->run->n ? w->run->item[i] : "last", err);
        if (st) return st;
        if (w->cli->global.json) {
            json_row(&w->out, r);
            continue;
        }
        snprintf(step, sizeof step, "%lld/%lld", (long long)r->step, (long long)r->max_steps);
        print_number(loss, r->loss);
        print_number(eval, r->eval_loss);
        print_date(date, r->created);
        mg_buf_printf(&w->out, "%s\n", r->name);
        show_line(&w->out, MG_N("Status"), status_text(r->status), w->cli->columns);
        show_line(&w->out, MG_N("Started"), date, w->cli->columns);
        show_line(&w->out, MG_N("Model"), r->model, w->cli->columns);
        show_line(&w->out, MG_N("Method"), r->method, w->cli->columns);
        show_line(&w->out, MG_N("Step"), step, w->cli->columns);
        show_line(&w->out, MG_N("Loss"), loss, w->cli->columns);
        show_line(&w->out, MG_N("Eval loss"), eval, w->cli->columns);
        show_checkpoints(w, r);
        show_line(&w->out, MG_N("Folder"), r->folder, w->cli->columns);
    }
    return MG_OK;
}

/* The runs' settings: one option set each. */
static mg_status load_settings(mg_options **o, mg_sft_options *values, const mg_run_row *r, mg_error *err) {
    char     *path = mg_path_join(r->folder, "config.yaml");
    mg_status st = MG_OK;
    *o = mg_options_new(mg_foreign_options);
    if (!*o || !path) st = mg_fail(err, MG_NOMEM, "no memory for the settings");
    if (!st) st = mg_options_add(*o, mg_sft_option_rows, values, err);
    if (!st && mg_is_file(path)) st = mg_options_yaml(*o, MG_ORIGIN_CONFIG, path, err);
    free(path);
    return st;
}

typedef struct {
    const mg_run_row *row;
    mg_options       *options;
    mg_sft_options    values;
} compared;

/* One line of the table: a name and a text for each run, kept in `texts` until it is printed. */
static bool compare_line(mg_table *t, const char *name, char **text, size_t n) {
    for (size_t i = 0; i <= n; i++) {
        const char *cell = i ? text[i - 1] : name;
        if (!cell || !MG_GROW(t->cell, t->cap, t->n + 1)) return false;
        t->cell[t->n++] = cell;
    }
    return true;
}

static void compare_json(mg_buf *b, const char *name, char **text, size_t n, const compared *c) {
    mg_buf_str(b, "{\"key\": ");
    mg_json_quote(b, name, strlen(name));
    for (size_t i = 0; i < n; i++) {
        mg_buf_str(b, ", ");
        mg_json_quote(b, c[i].row->name, strlen(c[i].row->name));
        mg_buf_str(b, ": ");
        mg_json_quote(b, text[i], strlen(text[i]));
    }
    mg_buf_str(b, "}\n");
}

enum { FIGURES = 4 };

/* What line `line` shows of a run: its name, figures, then the settings. */
static char *compare_text(const compared *c, size_t line) {
    mg_buf b = { 0 };
    char   number[32];
    if (line == 0)
        mg_buf_str(&b, c->row->name);
    else if (line == 1)
        mg_buf_str(&b, status_text(c->row->status));
    else if (line == 2 || line == 3) {
        print_number(number, line == 2 ? c->row->loss : c->row->eval_loss);
        mg_buf_str(&b, number);
    } else
        mg_options_value(&b, c->options, mg_options_row(c->options, line - FIGURES)->name);
    mg_buf_str(&b, "");
    if (b.failed) mg_buf_free(&b);
    return b.data;
}

static mg_status compare_all(work *w, compared *c, size_t n, mg_error *err) {
    static const char *const figure[FIGURES] = { MG_N("run"), MG_N("status"), MG_N("loss"), MG_N("eval loss") };
    size_t                   lines = FIGURES;
    mg_table                 t = { .fields = (int)n + 1 };
    bool                     ok = true;
    while (mg_options_row(c->options, lines - FIGURES)) lines++;
    char **text = mg_calloc(lines * n, sizeof *text);
    for (size_t l = 0; (ok = ok && text) && l < lines; l++) {
        char **line = text + l * n;
        bool   differs = l < FIGURES;
        for (size_t i = 0; i < n; i++) {
            line[i] = compare_text(&c[i], l);
            ok = ok && line[i];
            if (ok && i && strcmp(line[i], line[0])) differs = true;
        }
        if (!ok || !differs) continue;
        const char *name = l < FIGURES ? gettext(figure[l]) : mg_options_row(c->options, l - FIGURES)->name;
        if (w->cli->global.json)
            compare_json(&w->out, l < FIGURES ? figure[l] : name, line, n, c);
        else
            ok = compare_line(&t, name, line, n);
    }
    if (ok && !w->cli->global.json) mg_table_print(&w->out, &t, w->cli->columns);
    mg_table_free(&t);
    for (size_t i = 0; text && i < lines * n; i++) free(text[i]);
    free(text);
    return ok ? MG_OK : mg_fail(err, MG_NOMEM, "no memory for the comparison");
}

static mg_status compare_runs(work *w, mg_error *err) {
    mg_status st = need_runs(w, 2, err);
    size_t    n = w->run->n;
    if (!st && n > 8) st = mg_fail(err, MG_USAGE, "%zu runs are named; at most 8 stand side by side", n);
    if (st) return st;
    compared *c = mg_calloc(n, sizeof *c);
    if (!c) return mg_fail(err, MG_NOMEM, "no memory for the comparison");
    for (size_t i = 0; !st && i < n; i++) {
        st = find_run(&c[i].row, w, w->run->item[i], err);
        if (!st) st = load_settings(&c[i].options, &c[i].values, c[i].row, err);
    }
    if (!st) st = compare_all(w, c, n, err);
    for (size_t i = 0; i < n; i++) mg_options_free(c[i].options);
    free(c);
    return st;
}

static mg_status remove_runs(work *w, mg_error *err) {
    mg_status st = need_runs(w, 1, err);
    for (size_t i = 0; !st && i < w->run->n; i++) {
        char *folder = NULL;
        st = mg_runs_resolve(&folder, mg_runs_root(), w->run->item[i], err);
        if (!st) st = mg_runs_remove(w->db, folder, err);
        if (!st && !w->cli->global.quiet) {
            mg_buf_printf(&w->out, gettext("removed %s"), folder);
            mg_buf_char(&w->out, '\n');
        }
        free(folder);
    }
    return st;
}

static mg_status rebuild(work *w, mg_error *err) {
    mg_status st = mg_runs_rebuild(w->db, err);
    mg_run_rows_free(&w->all);
    if (!st) st = mg_runs_list(&w->all, w->db, err);
    if (!st) st = list_runs(w, err);
    return st;
}

static mg_status run(mg_cli *cli, void *values, mg_error *err) {
    enum { RM = 3 };
    static mg_status (*const actions[])(work *, mg_error *) = { list_runs, show_run, compare_runs, remove_runs, rebuild };
    const runs_options *o = values;
    work                w = { .cli = cli, .run = &o->run };
    bool                any = mg_is_folder(mg_runs_root()); /* looking makes no folder */
    mg_status           st = any ? mg_runs_open(&w.db, mg_runs_root(), err) : MG_OK;
    if (!st && any) st = mg_runs_list(&w.all, w.db, err);
    if (!st && !any && o->action >= RM) st = mg_fail(err, MG_NOTFOUND, "%s: there is no such folder, so there are no runs", mg_runs_root());
    if (!st) st = actions[o->action](&w, err);
    if (w.out.len) { /* what was removed is said even when a later one failed */
        mg_status printed = mg_print(&w.out, st ? NULL : err);
        if (!st) st = printed;
    }
    mg_buf_free(&w.out);
    mg_run_rows_free(&w.all);
    mg_runs_close(w.db);
    return st;
}

const mg_command mg_command_runs = {
    .name = "runs", .group = "records", .usage = "ls | show RUN | compare RUN RUN | rm RUN", .rows = rows,
    .summary = MG_N("list, show, compare and remove runs"), .values_size = sizeof(runs_options), .run = run,
};
