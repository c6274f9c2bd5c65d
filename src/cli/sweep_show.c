/* sweep_show.c -- the results of a sweep: a table in the terminal, sweep.json, a page with pictures, best.yaml.
 *
 * best.yaml is the configuration to train with: the sweep's own options with the best values, without what made the
 * trials short. */
#include "cli/sweep_run.h"

#include "base/file.h"
#include "base/json.h"
#include "base/plot.h"
#include "cli/sft_options.h"
#include "cli/terminal.h"
#include "train/run.h"

#include <libintl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_CURVES = 3 };

typedef struct { double *x, *y; size_t n, cap_x, cap_y; } curve;
typedef struct { const char *name; curve *out; bool failed; } picked;

static void curve_add(curve *c, double x, double y, bool *failed) {
    if (!MG_GROW(c->x, c->cap_x, c->n + 1) || !MG_GROW(c->y, c->cap_y, c->n + 1)) {
        *failed = true;
        return;
    }
    c->x[c->n] = x;
    c->y[c->n++] = y;
}

static void curve_free(curve *c) {
    free(c->x);
    free(c->y);
    *c = (curve){ 0 };
}

static bool pick(void *context, const mg_run_point *p) {
    picked *x = context;
    if (!strcmp(p->name, x->name)) curve_add(x->out, (double)p->step, p->value, &x->failed);
    return !x->failed;
}

/* One metric of a trial over its steps. */
static mg_status read_curve(const mg_sweep *s, size_t trial, const char *metric, curve *out, mg_error *err) {
    char     *folder = mg_sweep_trial_folder(s, trial);
    picked    x = { metric, out, false };
    size_t    whole;
    mg_status st = folder ? mg_run_read_log(folder, pick, &x, &whole, err) : mg_fail(err, MG_NOMEM, "no memory for the results");
    if (!st && x.failed) st = mg_fail(err, MG_NOMEM, "no memory for the results");
    free(folder);
    return st;
}

static const char *value_of(const mg_sweep *s, size_t trial, size_t axis) { return s->plan.value[trial * s->axes + axis]; }

/* ---- what the two special searches say ---- */

typedef struct {
    curve         rate, loss; /* lr_range: over steps */
    double       *smooth;
    mg_rate_range range;
    bool          has_range;
    double       *part, *result; /* learning_curve: [points] */
    size_t        points;
    mg_power_law  law;
    mg_forecast   twice;
    bool          has_law;
} reading;

static mg_status read_range(const mg_sweep *s, reading *r, mg_error *err) {
    mg_status st = read_curve(s, 0, "learning_rate", &r->rate, err);
    if (!st) st = read_curve(s, 0, "loss", &r->loss, err);
    size_t n = r->rate.n < r->loss.n ? r->rate.n : r->loss.n;
    if (!st && !(r->smooth = mg_calloc(n + 1, sizeof *r->smooth))) st = mg_fail(err, MG_NOMEM, "no memory for the results");
    r->range.smooth = r->smooth;
    r->has_range = !st && mg_rate_range_read(&r->range, r->rate.y, r->loss.y, n);
    return st;
}

static mg_status read_law(const mg_sweep *s, reading *r, mg_error *err) {
    r->part = mg_calloc(s->plan.n, sizeof *r->part);
    r->result = mg_calloc(s->plan.n, sizeof *r->result);
    if (!r->part || !r->result) return mg_fail(err, MG_NOMEM, "no memory for the results");
    for (size_t i = 0; i < s->plan.n; i++) {
        if (!isfinite(s->trial[i].result)) continue;
        r->part[r->points] = strtod(value_of(s, i, 0), NULL);
        r->result[r->points++] = s->trial[i].result;
    }
    r->has_law = !s->greater_is_better && mg_power_law_fit(&r->law, r->part, r->result, r->points);
    if (r->has_law) r->twice = mg_power_law_forecast(&r->law, r->part, r->points, 2, (uint64_t)s->o->sft.seed);
    return MG_OK;
}

static void reading_free(reading *r) {
    curve_free(&r->rate);
    curve_free(&r->loss);
    free(r->smooth);
    free(r->part);
    free(r->result);
}

/* Lines below the table. */
static void verdict(mg_buf *b, const mg_sweep *s, const reading *r) {
    if (s->o->search == MG_SEARCH_LR_RANGE && r->has_range)
        mg_buf_printf(b, gettext("The loss falls fastest at a learning rate of %.2g and is lowest at %.2g. Proposed: --learning_rate %.2g\n"), r->range.steepest,
                      r->range.least, r->range.proposed);
    else if (s->o->search == MG_SEARCH_LR_RANGE)
        mg_buf_str(b, gettext("The loss fell nowhere in this range; try other ends, or more steps with --range_steps.\n"));
    if (s->o->search != MG_SEARCH_LEARNING_CURVE) return;
    if (!r->has_law) {
        mg_buf_str(b, gettext("Too few trials succeeded for a learning curve.\n"));
        return;
    }
    double now = mg_power_law_at(&r->law, 1), gain = now - r->twice.loss;
    mg_buf_printf(b, gettext("%s ≈ %.4f + %.4f · (amount of data)^−%.2f; now %.4f, with twice the data %.4f (90%% interval %.4f to %.4f)\n"), s->metric, r->law.a,
                  r->law.b, r->law.c, now, r->twice.loss, r->twice.low, r->twice.high);
    mg_buf_str(b, !isfinite(r->twice.low)       ? gettext("Too few trials to tell chance from gain; repeat with --repeats 2 or more.\n")
                  : r->twice.high < now && gain > 0.01 * now ? gettext("More data of this kind will help.\n")
                  : r->twice.high < now          ? gettext("More data of this kind helps little: less than a hundredth of the loss.\n")
                                                 : gettext("It is open whether more data helps: the interval holds the present loss.\n"));
}

/* ---- table ---- */

typedef struct { char trial[24], result[40], before[40], steps[24], time[24], memory[24]; } row_text;

static void copy_text(char out[24], mg_buf *b) {
    snprintf(out, 24, "%.23s", b->data ? b->data : "");
    mg_buf_free(b);
}

static void print_row(row_text *out, const mg_sweep *s, size_t trial) {
    const mg_trial *x = &s->trial[trial];
    mg_buf          time = { 0 }, memory = { 0 };
    snprintf(out->trial, sizeof out->trial, "%zu", trial + 1);
    snprintf(out->result, sizeof out->result, *x->error ? gettext("failed") : isfinite(x->result) ? "%.4f" : "", x->result);
    snprintf(out->before, sizeof out->before, isfinite(x->before) ? "%.4f" : "", x->before);
    snprintf(out->steps, sizeof out->steps, "%lld", (long long)x->step);
    mg_print_duration(&time, x->seconds);
    mg_print_bytes(&memory, (double)x->peak);
    copy_text(out->time, &time);
    copy_text(out->memory, &memory);
}

/* One row a trial, the best first.  The table borrows from `text` [plan.n]. */
static mg_status fill_table(mg_table *t, row_text *text, const mg_sweep *s, mg_error *err) {
    enum { FIXED = 6 };
    const char *cell[MG_SWEEP_AXES + FIXED];
    t->fields = (int)s->axes + FIXED;
    t->numbers = ~0u;
    cell[0] = gettext("trial");
    for (size_t a = 0; a < s->axes; a++) cell[1 + a] = s->axis[a].name;
    const char **rest = cell + 1 + s->axes;
    rest[0] = s->metric;
    rest[1] = gettext("before");
    rest[2] = gettext("steps");
    rest[3] = gettext("time");
    rest[4] = gettext("memory");
    bool good = mg_table_cells(t, cell);
    for (size_t k = 0; k < s->plan.n; k++) {
        row_text *x = &text[k];
        print_row(x, s, s->order[k]);
        cell[0] = x->trial;
        for (size_t a = 0; a < s->axes; a++) cell[1 + a] = value_of(s, s->order[k], a);
        rest[0] = x->result;
        rest[1] = x->before;
        rest[2] = x->steps;
        rest[3] = x->time;
        rest[4] = x->memory;
        good &= mg_table_cells(t, cell);
    }
    return good ? MG_OK : mg_fail(err, MG_NOMEM, "no memory for the results");
}

/* ---- pictures ---- */

/* A metric over the numbers of one axis; trials that differ elsewhere are dots of one cloud. */
static void plot_axis(mg_buf *b, const mg_sweep *s, size_t axis, bool *failed) {
    const mg_sweep_axis *a = &s->axis[axis];
    curve                c = { 0 }, best = { 0 };
    char                 label[160], *end;
    double               least = INFINITY, most = -INFINITY;
    for (size_t i = 0; i < s->plan.n; i++) {
        double x = strtod(value_of(s, i, axis), &end);
        if (*end) return; /* not a number */
        least = fmin(least, x);
        most = fmax(most, x);
    }
    bool logarithmic = least > 0 && most >= 10 * least;
    for (size_t i = 0; i < s->plan.n; i++) {
        double x = strtod(value_of(s, i, axis), NULL);
        curve *to = i == s->order[0] ? &best : &c;
        curve_add(to, logarithmic ? log10(x) : x, s->trial[i].result, failed);
    }
    snprintf(label, sizeof label, logarithmic ? "log10 %s" : "%s", a->name);
    mg_plot_series series[] = { { gettext("trials"), c.x, c.y, c.n }, { gettext("best"), best.x, best.y, best.n } };
    mg_plot        p = { .title = s->metric, .x_label = label, .series = series, .n = 2, .dots = 3 };
    if (most > least && !*failed) mg_plot_svg(b, &p);
    curve_free(&c);
    curve_free(&best);
}

/* The validation of the best trials over their steps. */
static mg_status plot_best(mg_buf *b, const mg_sweep *s, mg_error *err) {
    curve          c[MOST_CURVES] = { { 0 } };
    char           name[MOST_CURVES][40];
    mg_plot_series series[MOST_CURVES];
    size_t         n = s->plan.n < MOST_CURVES ? s->plan.n : MOST_CURVES;
    mg_status      st = MG_OK;
    for (size_t i = 0; !st && i < n; i++) {
        st = read_curve(s, s->order[i], s->metric, &c[i], err);
        snprintf(name[i], sizeof name[i], gettext("trial %zu"), s->order[i] + 1);
        series[i] = (mg_plot_series){ name[i], c[i].x, c[i].y, c[i].n };
    }
    mg_plot p = { .title = s->metric, .x_label = gettext("step"), .series = series, .n = n };
    if (!st && n) mg_plot_svg(b, &p);
    for (size_t i = 0; i < n; i++) curve_free(&c[i]);
    return st;
}

static void plot_range(mg_buf *b, const reading *r, bool *failed) {
    curve x = { 0 };
    for (size_t i = 0; i < r->range.end; i++) curve_add(&x, log10(r->rate.y[i]), r->loss.y[i], failed);
    double         mark[2] = { log10(r->range.proposed), log10(r->range.proposed) }, ends[2] = { INFINITY, -INFINITY };
    for (size_t i = 0; i < r->range.end; i++) {
        ends[0] = fmin(ends[0], r->range.smooth[i]);
        ends[1] = fmax(ends[1], r->range.smooth[i]);
    }
    mg_plot_series series[] = { { gettext("loss"), x.x, x.y, x.n }, { gettext("smoothed"), x.x, r->range.smooth, x.n }, { gettext("proposed"), mark, ends, 2 } };
    mg_plot        p = { .title = gettext("loss"), .x_label = "log10 learning_rate", .series = series, .n = 3 };
    if (!*failed) mg_plot_svg(b, &p);
    curve_free(&x);
}

static void plot_law(mg_buf *b, const mg_sweep *s, const reading *r, bool *failed) {
    curve line = { 0 };
    for (int i = 0; i <= 60; i++) {
        double x = 0.1 + (2 - 0.1) * i / 60;
        curve_add(&line, x, mg_power_law_at(&r->law, x), failed);
    }
    double         at[2] = { 2, 2 }, interval[2] = { r->twice.low, r->twice.high };
    mg_plot_series series[] = { { gettext("fitted"), line.x, line.y, line.n }, { gettext("interval"), at, interval, isfinite(r->twice.low) ? 2 : 0 },
                                { gettext("trials"), r->part, r->result, r->points } };
    mg_plot        p = { .title = s->metric, .x_label = gettext("amount of data (1: all)"), .series = series, .n = 3, .dots = 4 };
    if (!*failed) mg_plot_svg(b, &p);
    curve_free(&line);
}

/* ---- files ---- */

static mg_status write_file(const mg_sweep *s, const char *name, const mg_buf *b, mg_error *err) {
    char     *path = mg_path_join(s->folder, name);
    mg_status st = path && !b->failed ? mg_replace_file(path, b->data, b->len, err) : mg_fail(err, MG_NOMEM, "no memory for the results");
    free(path);
    return st;
}

static void json_number(mg_buf *b, const char *key, double x) { mg_buf_printf(b, isfinite(x) ? ", \"%s\": %.10g" : ", \"%s\": null", key, x); }

static mg_status write_json(const mg_sweep *s, const reading *r, mg_error *err) {
    mg_buf b = { 0 };
    mg_buf_str(&b, "{\"metric\": ");
    mg_json_quote(&b, s->metric, strlen(s->metric));
    mg_buf_printf(&b, ", \"greater_is_better\": %s", s->greater_is_better ? "true" : "false");
    if (r->has_range) {
        json_number(&b, "proposed_learning_rate", r->range.proposed);
        json_number(&b, "steepest", r->range.steepest);
        json_number(&b, "lowest", r->range.least);
    }
    if (r->has_law) {
        mg_buf_printf(&b, ", \"curve\": {\"a\": %.10g, \"b\": %.10g, \"c\": %.10g}", r->law.a, r->law.b, r->law.c);
        json_number(&b, "with_twice_the_data", r->twice.loss);
        json_number(&b, "interval_low", r->twice.low);
        json_number(&b, "interval_high", r->twice.high);
    }
    mg_buf_str(&b, ", \"trials\": [");
    for (size_t k = 0; k < s->plan.n; k++) {
        size_t          i = s->order[k];
        const mg_trial *t = &s->trial[i];
        mg_buf_printf(&b, "%s\n  {\"trial\": %zu, \"values\": {", k ? "," : "", i + 1);
        for (size_t a = 0; a < s->axes; a++) {
            if (a) mg_buf_str(&b, ", ");
            mg_json_quote(&b, s->axis[a].name, strlen(s->axis[a].name));
            mg_buf_str(&b, ": ");
            mg_json_quote(&b, value_of(s, i, a), strlen(value_of(s, i, a)));
        }
        mg_buf_printf(&b, "}, \"rounds\": %zu, \"steps\": %lld", t->round, (long long)t->step);
        json_number(&b, "result", t->result);
        json_number(&b, "before", t->before);
        json_number(&b, "seconds", t->seconds);
        json_number(&b, "tokens", t->tokens);
        mg_buf_printf(&b, ", \"peak_memory\": %zu, \"error\": ", t->peak);
        mg_json_quote(&b, t->error, strlen(t->error));
        mg_buf_char(&b, '}');
    }
    mg_buf_str(&b, "\n]}\n");
    mg_status st = write_file(s, "sweep.json", &b, err);
    mg_buf_free(&b);
    return st;
}

static const char style[] =
    ":root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;margin:1.5rem auto;max-width:62rem;padding:0 1rem}"
    "h1{font-size:1.3rem}table{border-collapse:collapse;font-variant-numeric:tabular-nums}.wide{overflow-x:auto}"
    "td,th{padding:.25rem .7rem;border-bottom:1px solid #8884;text-align:right;white-space:nowrap}tr:nth-child(2){font-weight:bold}"
    ".plots{display:flex;flex-wrap:wrap;gap:1rem;margin:1rem 0}svg{width:30rem;max-width:100%;height:auto}p{white-space:pre-line}";

static mg_status write_page(const mg_sweep *s, const reading *r, const mg_table *t, const char *lines, mg_error *err) {
    mg_buf b = { 0 };
    bool   failed = false;
    mg_buf_printf(&b, "<!DOCTYPE html>\n<html lang=\"%s\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\n<title>",
                  gettext("en"));
    mg_xml_escape(&b, mg_path_base(s->folder));
    mg_buf_printf(&b, "</title><style>%s</style></head><body>\n<h1>", style);
    mg_xml_escape(&b, mg_path_base(s->folder));
    mg_buf_str(&b, "</h1>\n<p>");
    mg_xml_escape(&b, lines);
    mg_buf_str(&b, "</p>\n<div class=\"plots\">\n");
    if (r->has_range) plot_range(&b, r, &failed);
    if (r->has_law) plot_law(&b, s, r, &failed);
    mg_status st = s->o->search == MG_SEARCH_LR_RANGE ? MG_OK : plot_best(&b, s, err);
    for (size_t i = 0; !st && s->o->search != MG_SEARCH_LR_RANGE && s->o->search != MG_SEARCH_LEARNING_CURVE && i < s->axes; i++)
        plot_axis(&b, s, i, &failed);
    mg_buf_str(&b, "</div>\n<div class=\"wide\"><table>\n");
    for (size_t c = 0; c < t->n; c++) {
        const char *tag = c < (size_t)t->fields ? "th" : "td";
        mg_buf_printf(&b, "%s<%s>", c % (size_t)t->fields ? "" : "<tr>", tag);
        mg_xml_escape(&b, t->cell[c]);
        mg_buf_printf(&b, "</%s>%s", tag, (c + 1) % (size_t)t->fields ? "" : "</tr>\n");
    }
    mg_buf_str(&b, "</table></div>\n</body></html>\n");
    if (!st && failed) st = mg_fail(err, MG_NOMEM, "no memory for the results");
    if (!st) st = write_file(s, "sweep.html", &b, err);
    mg_buf_free(&b);
    return st;
}

typedef struct { const mg_sweep *s; const mg_options *o; } best_of;

static bool is_replaced(const void *context, const mg_option *row) {
    const best_of *x = context;
    for (size_t a = 0; a < x->s->axes; a++)
        if (mg_options_find(x->o, x->s->axis[a].name) == row) return true;
    return !strcmp(row->name, "output_dir") || !strcmp(row->name, "run_name");
}

/* What to train with: everything that was set for the sweep, and the best values. */
static mg_status write_best(const mg_cli *cli, const mg_sweep *s, const reading *r, mg_error *err) {
    mg_buf  b = { 0 };
    bool    range = s->o->search == MG_SEARCH_LR_RANGE;
    best_of x = { s, cli->options };
    if ((range && !r->has_range) || (!range && !isfinite(s->trial[s->order[0]].result))) return MG_OK;
    mg_status st = mg_sweep_settings(&b, cli->options, is_replaced, &x, err);
    if (range) mg_buf_printf(&b, "learning_rate: %.2g\n", r->range.proposed);
    for (size_t a = 0; !range && a < s->axes; a++) {
        const mg_option *row = mg_options_find(cli->options, s->axis[a].name);
        mg_buf_printf(&b, "%s: %s", row->name, row->type->is_list ? "[" : "");
        for (const char *c = value_of(s, s->order[0], a); *c; c++) mg_buf_char(&b, row->type->is_list && *c == '+' ? ',' : *c);
        mg_buf_str(&b, row->type->is_list ? "]\n" : "\n");
    }
    if (!st) st = write_file(s, "best.yaml", &b, err);
    mg_buf_free(&b);
    return st;
}

mg_status mg_sweep_show(const mg_cli *cli, const mg_sweep *s, mg_error *err) {
    reading   r = { 0 };
    mg_table  t = { 0 };
    mg_buf    lines = { 0 }, out = { 0 };
    row_text *text = mg_calloc(s->plan.n, sizeof *text);
    mg_status st = text ? MG_OK : mg_fail(err, MG_NOMEM, "no memory for the results");
    if (!st && s->o->search == MG_SEARCH_LR_RANGE) st = read_range(s, &r, err);
    if (!st && s->o->search == MG_SEARCH_LEARNING_CURVE) st = read_law(s, &r, err);
    if (!st) st = fill_table(&t, text, s, err);
    if (!st) verdict(&lines, s, &r);
    if (!st) st = write_json(s, &r, err);
    if (!st) st = write_page(s, &r, &t, lines.data ? lines.data : "", err);
    bool best = s->o->search != MG_SEARCH_LEARNING_CURVE;
    if (!st && best) st = write_best(cli, s, &r, err);
    if (!st && !cli->global.json) {
        mg_table_print(&out, &t, cli->columns);
        mg_buf_add(&out, lines.data, lines.len);
        mg_buf_printf(&out, gettext("Page     %s/sweep.html\n"), s->folder);
        if (best) mg_buf_printf(&out, gettext("Next     migaki sft %s/best.yaml\n"), s->folder);
        st = mg_print(&out, err);
    }
    reading_free(&r);
    mg_table_free(&t);
    free(text);
    mg_buf_free(&lines);
    mg_buf_free(&out);
    return st;
}
