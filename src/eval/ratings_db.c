/* ratings_db.c -- five tables: sheets, their items, ratings, points, replies of judges. */
#include "eval/ratings_db.h"

#include <math.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SCHEMA_VERSION = 1 };

struct mg_ratings_db {
    sqlite3 *sql;
    char    *path;
};

static const char schema[] =
    "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
    "CREATE TABLE IF NOT EXISTS sheets(id TEXT PRIMARY KEY, title TEXT, seed INTEGER, created INTEGER);"
    "CREATE TABLE IF NOT EXISTS items(sheet TEXT, item INTEGER, question TEXT, category TEXT, expected TEXT, before TEXT, after TEXT,"
    " swapped INTEGER, PRIMARY KEY(sheet, item)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS ratings(sheet TEXT, item INTEGER, rater TEXT, machine INTEGER, preference INTEGER, note TEXT,"
    " rated INTEGER, PRIMARY KEY(sheet, item, rater, machine)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS points(sheet TEXT, item INTEGER, rater TEXT, machine INTEGER, side INTEGER, criterion TEXT, value REAL,"
    " PRIMARY KEY(sheet, item, rater, machine, side, criterion)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS replies(key TEXT PRIMARY KEY, text BLOB, received INTEGER);"
    "PRAGMA user_version=1;";

static mg_status fail(const mg_ratings_db *db, mg_error *err) {
    return mg_fail(err, MG_IO, "%s: %s", db->path, db->sql ? sqlite3_errmsg(db->sql) : "no memory");
}

/* Values by letter: t text (may be NULL), i int64_t, d double. */
static mg_status prepare(mg_ratings_db *db, sqlite3_stmt **s, mg_error *err, const char *text, const char *types, va_list args) {
    if (sqlite3_prepare_v2(db->sql, text, -1, s, NULL)) return fail(db, err);
    for (int i = 0; types[i]; i++) {
        if (types[i] == 't') sqlite3_bind_text(*s, i + 1, va_arg(args, const char *), -1, SQLITE_STATIC);
        else if (types[i] == 'i') sqlite3_bind_int64(*s, i + 1, va_arg(args, int64_t));
        else sqlite3_bind_double(*s, i + 1, va_arg(args, double));
    }
    return MG_OK;
}

static mg_status run_sql(mg_ratings_db *db, mg_error *err, const char *text, const char *types, ...) {
    sqlite3_stmt *s = NULL;
    va_list       args;
    va_start(args, types);
    mg_status st = prepare(db, &s, err, text, types, args);
    va_end(args);
    if (!st && sqlite3_step(s) != SQLITE_DONE) st = fail(db, err);
    sqlite3_finalize(s);
    return st;
}

static mg_status query(mg_ratings_db *db, sqlite3_stmt **s, mg_error *err, const char *text, const char *types, ...) {
    va_list args;
    va_start(args, types);
    mg_status st = prepare(db, s, err, text, types, args);
    va_end(args);
    return st;
}

static mg_status begin(mg_ratings_db *db, mg_error *err) { return run_sql(db, err, "BEGIN IMMEDIATE", ""); }

/* COMMIT, or ROLLBACK when something failed. */
static mg_status end(mg_ratings_db *db, mg_status st, mg_error *err) {
    if (!st) st = run_sql(db, err, "COMMIT", "");
    if (st) sqlite3_exec(db->sql, "ROLLBACK", NULL, NULL, NULL);
    return st;
}

void mg_ratings_close(mg_ratings_db *db) {
    if (!db) return;
    sqlite3_close(db->sql);
    free(db->path);
    free(db);
}

static mg_status check_version(mg_ratings_db *db, mg_error *err) {
    sqlite3_stmt *s = NULL;
    int64_t       version = 0;
    mg_status     st = query(db, &s, err, "PRAGMA user_version", "");
    if (!st && sqlite3_step(s) == SQLITE_ROW) version = sqlite3_column_int64(s, 0);
    else if (!st) st = fail(db, err);
    sqlite3_finalize(s);
    if (!st && version > SCHEMA_VERSION)
        st = mg_fail(err, MG_UNSUPPORTED, "%s: was written by a newer version of this program (format %lld, this one knows %d)", db->path,
                     (long long)version, (int)SCHEMA_VERSION);
    return st;
}

mg_status mg_ratings_open(mg_ratings_db **out, const char *path, bool make, mg_error *err) {
    if (!make && access(path, F_OK)) return mg_fail(err, MG_NOTFOUND, "%s: there are no ratings yet", path);
    mg_ratings_db *db = mg_calloc(1, sizeof *db);
    if (!db || !(db->path = mg_strdup(path))) {
        free(db);
        return mg_fail(err, MG_NOMEM, "%s: no memory", path);
    }
    mg_status st = MG_OK;
    if (sqlite3_open_v2(path, &db->sql, SQLITE_OPEN_READWRITE | (make ? SQLITE_OPEN_CREATE : 0) | SQLITE_OPEN_NOMUTEX, NULL)) st = fail(db, err);
    else sqlite3_busy_timeout(db->sql, 10000); /* raters may share the file */
    if (!st) st = check_version(db, err);
    if (!st && sqlite3_exec(db->sql, schema, NULL, NULL, NULL)) st = fail(db, err);
    if (st) {
        mg_fail_in(err, "ratings"); /* they are the work of people: the file stays as it is */
        mg_ratings_close(db);
        return st;
    }
    *out = db;
    return MG_OK;
}

/* ---- sheets ---- */

static mg_status enter_items(mg_ratings_db *db, const mg_sheet *s, mg_error *err) {
    mg_status st = run_sql(db, err, "INSERT INTO sheets VALUES(?,?,?,?)", "ttii", s->id, s->title, (int64_t)s->seed, (int64_t)time(NULL));
    for (size_t i = 0; !st && i < s->n; i++) {
        const mg_sheet_item *x = &s->item[i];
        st = run_sql(db, err, "INSERT INTO items VALUES(?,?,?,?,?,?,?,?)", "tittttti", s->id, (int64_t)x->row, x->question, x->category, x->expected,
                     x->answer[0], x->answer[1], (int64_t)x->swapped);
    }
    return st;
}

/* The stored order; what is stored must be what the sheet has. */
static mg_status take_order(mg_ratings_db *db, mg_sheet *s, mg_error *err) {
    sqlite3_stmt *q = NULL;
    size_t        n = 0;
    int           code = SQLITE_DONE;
    mg_status     st = query(db, &q, err, "SELECT i.item, i.swapped, s.seed FROM items i JOIN sheets s ON s.id = i.sheet WHERE i.sheet=? ORDER BY i.item", "t", s->id);
    while (!st && (code = sqlite3_step(q)) == SQLITE_ROW) {
        if (n >= s->n || sqlite3_column_int64(q, 0) != (int64_t)s->item[n].row) break;
        s->item[n++].swapped = sqlite3_column_int64(q, 1) != 0;
        s->seed = (uint64_t)sqlite3_column_int64(q, 2);
    }
    if (!st && code != SQLITE_DONE && code != SQLITE_ROW) st = fail(db, err);
    else if (!st && (code != SQLITE_DONE || n != s->n))
        st = mg_fail(err, MG_MISMATCH, "%s: sheet %s has other questions than the report; the file is damaged", db->path, s->id);
    sqlite3_finalize(q);
    return st;
}

mg_status mg_ratings_enter(mg_ratings_db *db, mg_sheet *s, mg_error *err) {
    sqlite3_stmt *q = NULL;
    bool          there = false;
    mg_status     st = begin(db, err);
    if (st) return st;
    st = query(db, &q, err, "SELECT 1 FROM sheets WHERE id=?", "t", s->id);
    if (!st) there = sqlite3_step(q) == SQLITE_ROW;
    sqlite3_finalize(q);
    if (!st) st = there ? take_order(db, s, err) : enter_items(db, s, err);
    return end(db, st, err);
}

/* ---- ratings ---- */

mg_status mg_ratings_put(mg_ratings_db *db, const char *sheet, const char *rater, bool machine, const mg_rating *x, mg_error *err) {
    int64_t   item = (int64_t)x->item, is_machine = machine;
    mg_status st = begin(db, err);
    if (st) return st;
    st = x->preference == MG_PREFER_OPEN
             ? run_sql(db, err, "INSERT OR REPLACE INTO ratings VALUES(?,?,?,?,NULL,?,?)", "tititi", sheet, item, rater, is_machine, x->note, (int64_t)time(NULL))
             : run_sql(db, err, "INSERT OR REPLACE INTO ratings VALUES(?,?,?,?,?,?,?)", "titiiti", sheet, item, rater, is_machine, (int64_t)x->preference,
                       x->note, (int64_t)time(NULL));
    if (!st) st = run_sql(db, err, "DELETE FROM points WHERE sheet=? AND item=? AND rater=? AND machine=?", "titi", sheet, item, rater, is_machine);
    for (int side = 0; side < 2; side++)
        for (int c = 0; !st && c < MG_CRITERIA; c++)
            if (!isnan(x->score[side][c]))
                st = run_sql(db, err, "INSERT INTO points VALUES(?,?,?,?,?,?,?)", "titiitd", sheet, item, rater, is_machine, (int64_t)side,
                             mg_criteria[c].key, x->score[side][c]);
    return end(db, st, err);
}

static const char *text_at(sqlite3_stmt *s, int i) { return (const char *)sqlite3_column_text(s, i); }

static mg_status add_rating(mg_ratings *r, sqlite3_stmt *q, mg_error *err) {
    const char *name = text_at(q, 1), *note = text_at(q, 4);
    int64_t     item = sqlite3_column_int64(q, 0), preference = sqlite3_column_int64(q, 3);
    if (item < 0 || item >= (int64_t)r->items || !name) return MG_OK; /* of a file that someone else wrote into */
    size_t    rater = mg_ratings_rater(r, name, sqlite3_column_int64(q, 2) != 0);
    mg_rating x = mg_rating_empty((size_t)item, rater);
    if (sqlite3_column_type(q, 3) != SQLITE_NULL && preference >= -1 && preference <= 1) x.preference = (int)preference;
    x.note = note && *note ? mg_strdup(note) : NULL;
    if (rater == SIZE_MAX || (note && *note && !x.note) || !MG_GROW(r->rating, r->cap, r->n + 1)) {
        free(x.note);
        return mg_fail(err, MG_NOMEM, "not enough memory for the ratings");
    }
    r->rating[r->n++] = x;
    return MG_OK;
}

/* Both queries come in one order, so one walk joins them. */
static mg_status add_points(mg_ratings_db *db, const char *sheet, mg_ratings *r, mg_error *err) {
    sqlite3_stmt *q = NULL;
    size_t        at = 0;
    int           code = SQLITE_DONE;
    mg_status     st = query(db, &q, err, "SELECT item, rater, machine, side, criterion, value FROM points WHERE sheet=? ORDER BY item, rater, machine", "t", sheet);
    while (!st && (code = sqlite3_step(q)) == SQLITE_ROW) {
        const char *name = text_at(q, 1), *criterion = text_at(q, 4);
        int64_t     side = sqlite3_column_int64(q, 3);
        for (int pass = 0; pass < 2; pass++) { /* from where we are, and once from the beginning */
            for (; at < r->n; at++) {
                const mg_rater *who = &r->rater[r->rating[at].rater];
                if ((int64_t)r->rating[at].item == sqlite3_column_int64(q, 0) && who->machine == (sqlite3_column_int64(q, 2) != 0) && name
                    && !strcmp(who->name, name))
                    break;
            }
            if (at < r->n) break;
            at = 0;
        }
        for (int c = 0; at < r->n && criterion && side >= 0 && side < 2 && c < MG_CRITERIA; c++)
            if (!strcmp(mg_criteria[c].key, criterion) && sqlite3_column_double(q, 5) >= mg_criteria[c].least
                && sqlite3_column_double(q, 5) <= mg_criteria[c].most)
                r->rating[at].score[side][c] = sqlite3_column_double(q, 5);
    }
    if (!st && code != SQLITE_DONE) st = fail(db, err);
    sqlite3_finalize(q);
    return st;
}

mg_status mg_ratings_load(mg_ratings_db *db, const char *sheet, size_t rows, mg_ratings *out, mg_error *err) {
    mg_ratings    r = { .items = rows };
    sqlite3_stmt *q = NULL;
    int           code = SQLITE_DONE;
    mg_status     st = query(db, &q, err, "SELECT item, rater, machine, preference, note FROM ratings WHERE sheet=? ORDER BY item, rater, machine", "t", sheet);
    while (!st && (code = sqlite3_step(q)) == SQLITE_ROW) st = add_rating(&r, q, err);
    if (!st && code != SQLITE_DONE) st = fail(db, err);
    sqlite3_finalize(q);
    if (!st) st = add_points(db, sheet, &r, err);
    if (st) mg_ratings_free(&r);
    else *out = r;
    return st;
}

/* ---- replies of judges ---- */

mg_status mg_ratings_reply(mg_ratings_db *db, const char *key, mg_buf *out, bool *found, mg_error *err) {
    sqlite3_stmt *q = NULL;
    mg_status     st = query(db, &q, err, "SELECT text FROM replies WHERE key=?", "t", key);
    int           code = st ? SQLITE_DONE : sqlite3_step(q);
    *found = code == SQLITE_ROW;
    if (*found) mg_buf_add(out, sqlite3_column_blob(q, 0), (size_t)sqlite3_column_bytes(q, 0));
    else if (!st && code != SQLITE_DONE) st = fail(db, err);
    sqlite3_finalize(q);
    return !st && out->failed ? mg_fail(err, MG_NOMEM, "no memory for a reply") : st;
}

mg_status mg_ratings_keep_reply(mg_ratings_db *db, const char *key, const char *text, size_t n, mg_error *err) {
    sqlite3_stmt *q = NULL;
    mg_status     st = query(db, &q, err, "INSERT OR REPLACE INTO replies VALUES(?,?,?)", "t", key);
    if (!st) {
        sqlite3_bind_blob64(q, 2, text, n, SQLITE_STATIC);
        sqlite3_bind_int64(q, 3, (int64_t)time(NULL));
        if (sqlite3_step(q) != SQLITE_DONE) st = fail(db, err);
    }
    sqlite3_finalize(q);
    return st;
}
