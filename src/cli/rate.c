/* rate.c -- a report's sheet, its database, and what came of the ratings. */
#include "cli/rate.h"

#include "base/file.h"
#include "cli/locale.h"
#include "train/runs.h"

#include <libintl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { IMPORT_BYTES = 64 << 20 };

bool mg_rate_wanted(const mg_rate_options *o) { return o->blind || o->page || o->import.n || o->judge; }

/* Beside runs.db, unless named. */
static char *database_path(const char *named) { return named ? mg_strdup(named) : mg_path_join(mg_runs_root(), "ratings.db"); }

mg_status mg_rate_join(mg_report *r, mg_ratings *store, char id[33], const char *database, mg_error *err) {
    char          *path = database_path(database);
    mg_ratings_db *db = NULL;
    mg_status      st = path ? MG_OK : mg_fail(err, MG_NOMEM, "no memory for the ratings");
    mg_sheet_id(id, r);
    r->sheet = *id ? id : NULL;
    if (!st && *id && !access(path, F_OK)) {
        st = mg_ratings_open(&db, path, false, err);
        if (!st) st = mg_ratings_load(db, id, r->rows, store, err);
        mg_ratings_close(db);
        if (!st && store->n) r->ratings = store;
    }
    free(path);
    return st;
}

/* ---- the summary ---- */

static void show_alpha(mg_buf *b, double alpha) {
    if (isfinite(alpha)) mg_buf_printf(b, gettext(", agreement α %.3f"), alpha);
    mg_buf_char(b, '\n');
}

static void show_group(mg_buf *b, const char *title, const mg_rating_summary *s, const mg_report *r) {
    if (!s->ratings) return;
    mg_buf_printf(b, gettext("%s: %zu raters, %zu questions, %zu ratings\n"), title, s->raters, s->items, s->ratings);
    if (s->wins + s->ties + s->losses) {
        mg_buf_printf(b, gettext("  better: %s %zu, tie %zu, %s %zu; win rate %.1f%% [%.1f, %.1f]"), r->after_name ? r->after_name : gettext("after"), s->wins,
                      s->ties, r->before_name ? r->before_name : gettext("before"), s->losses, 100 * s->win_rate, 100 * s->low, 100 * s->high);
        show_alpha(b, s->alpha);
    }
    for (int c = 0; c < MG_CRITERIA; c++) {
        const mg_rating_line *x = &s->line[c];
        if (!x->n) continue;
        mg_buf_printf(b, gettext("  %s: %.2f → %.2f (%+.2f [%+.2f, %+.2f])"), !strcmp(mg_locale_lang(), "ja") ? mg_criteria[c].ja : mg_criteria[c].en,
                      x->before, x->after, x->difference, x->low, x->high);
        show_alpha(b, x->alpha);
    }
}

static mg_status show_summary(const mg_cli *cli, const mg_report *r, mg_error *err) {
    mg_rating_summary people, machines;
    mg_buf            b = { 0 };
    mg_status         st = mg_ratings_summarise(r->ratings, MG_RATERS_PEOPLE, r->seed, &people, err);
    if (!st) st = mg_ratings_summarise(r->ratings, MG_RATERS_MACHINES, r->seed, &machines, err);
    if (!st && cli->global.json) {
        mg_buf_printf(&b, "{\"sheet\": \"%s\", ", r->sheet);
        mg_report_summary_json(&b, "people", &people);
        mg_buf_str(&b, ", ");
        mg_report_summary_json(&b, "machines", &machines);
        mg_buf_str(&b, "}\n");
    } else if (!st) {
        show_group(&b, gettext("People"), &people, r);
        show_group(&b, gettext("Judges"), &machines, r);
    }
    if (!st) {
        mg_buf_add(&b, "", 0);
        st = b.failed ? mg_fail(err, MG_NOMEM, "no memory for the output") : mg_print(&b, err);
    }
    mg_buf_free(&b);
    return st;
}

/* ---- pages ---- */

static mg_status write_page(const mg_sheet *s, const mg_rate_options *o, mg_error *err) {
    mg_buf    b = { 0 };
    size_t    asked = 0;
    mg_status st;
    for (size_t i = 0; i < s->n; i++) asked += mg_sheet_asks(&s->item[i], (mg_sheet_form)o->form);
    if (!asked) return mg_fail(err, MG_DATA, "there is nothing to rate in this form: the answers are equal, or rules have judged them");
    mg_sheet_page(&b, s, (mg_sheet_form)o->form, mg_locale_lang());
    st = b.failed ? mg_fail(err, MG_NOMEM, "no memory for the page") : mg_replace_file(o->page, b.data, b.len, err);
    mg_buf_free(&b);
    return st;
}

static mg_status import_file(mg_ratings_db *db, const mg_sheet *s, const char *path, mg_error *err) {
    mg_buf           text = { 0 };
    mg_sheet_ratings r = { 0 };
    mg_status        st = mg_read_file(&text, path, IMPORT_BYTES, err);
    if (!st) st = mg_sheet_import(&r, s, text.data ? text.data : "", text.len, path, err);
    for (size_t i = 0; !st && i < r.n; i++) st = mg_ratings_put(db, s->id, r.rater, false, &r.rating[i], err);
    mg_sheet_ratings_free(&r);
    mg_buf_free(&text);
    return st;
}

/* ---- all ---- */

static const char *rater_name(const mg_rate_options *o) {
    const char *user = getenv("USER");
    return o->rater ? o->rater : user && *user ? user : "rater";
}

static mg_status collect(const mg_rate_options *o, mg_ratings_db *db, mg_sheet *s, bool *tell, mg_error *err) {
    *tell = o->import.n || o->judge;
    mg_status st = mg_ratings_enter(db, s, err);
    for (size_t i = 0; !st && i < o->import.n; i++) st = import_file(db, s, o->import.item[i], err);
    if (!st && o->page) st = write_page(s, o, err);
    if (!st && o->judge) st = mg_rate_judge(db, s, o, err);
    if (!st && o->blind && !o->page) st = mg_rate_terminal(db, s, (mg_sheet_form)o->form, rater_name(o), tell, err);
    return st;
}

static mg_status publish(const mg_cli *cli, mg_report *r, const mg_sheet *s, mg_ratings_db *db, const char *folder, bool tell, mg_error *err) {
    mg_ratings ratings = { 0 };
    mg_status  st = mg_ratings_load(db, s->id, r->rows, &ratings, err);
    if (!st && ratings.n) {
        r->ratings = &ratings;
        r->sheet = s->id;
        st = mg_report_write(r, folder, mg_locale_lang(), err);
        if (!st && tell) st = show_summary(cli, r, err);
        r->ratings = NULL;
    }
    mg_ratings_free(&ratings);
    return st;
}

mg_status mg_rate(const mg_cli *cli, const mg_rate_options *o, const char *folder, uint64_t seed, mg_error *err) {
    char           *path = mg_path_join(folder, "report.json"), *database = database_path(o->ratings);
    mg_report_file *file = NULL;
    mg_ratings_db  *db = NULL;
    mg_sheet        s = { 0 };
    mg_status       st = path && database ? MG_OK : mg_fail(err, MG_NOMEM, "no memory for the ratings");
    if (!st && !mg_rater_name_ok(rater_name(o))) st = mg_fail(err, MG_USAGE, "a rater's name has 1 to 80 bytes and no control characters");
    if (!st && !mg_is_file(path))
        st = mg_fail(err, MG_NOTFOUND, "%s: there is no report to rate; make one with migaki compare RUN -d QUESTIONS.jsonl", path);
    if (!st) st = mg_report_open(&file, path, err);
    if (!st) st = mg_sheet_of(&s, mg_report_of(file), seed, err);
    if (!st && !o->ratings) st = mg_make_folder(mg_runs_root(), err);
    if (!st) st = mg_ratings_open(&db, database, true, err);
    if (!st) {
        bool      tell;
        mg_status stopped = collect(o, db, &s, &tell, err); /* what was said before it stopped is kept, and in the report */
        st = publish(cli, mg_report_of(file), &s, db, folder, tell, stopped ? NULL : err);
        if (stopped) st = stopped;
    }
    mg_ratings_close(db);
    mg_sheet_free(&s);
    mg_report_close(file);
    free(database);
    free(path);
    return st;
}
