/* runs.c -- SQLite as an index of run folders.
 *
 * WAL and synchronous=NORMAL: a row costs about 0.1 ms, a crash can lose the
 * last rows but never damage the file, and readers never wait for the writer.
 * Whatever was lost comes back with mg_runs_rebuild, because the folders know it
 * all.  A file that SQLite refuses is renamed, not deleted. */
#include "train/runs.h"

#include "base/file.h"
#include "base/option.h"
#include "train/run_impl.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SCHEMA_VERSION = 1, SAMPLES_LIMIT = 64 << 20 };

struct mg_runs {
    sqlite3 *sql;
    char    *root, *path;
};

static const char schema[] =
    "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
    "CREATE TABLE IF NOT EXISTS runs(id TEXT PRIMARY KEY, name TEXT, folder TEXT, model TEXT, method TEXT, status TEXT,"
    " created INTEGER, step INTEGER, max_steps INTEGER);"
    "CREATE TABLE IF NOT EXISTS metrics(run TEXT, step INTEGER, name TEXT, value REAL, PRIMARY KEY(run, name, step))"
    " WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS samples(run TEXT, step INTEGER, number INTEGER, prompt TEXT, answer TEXT,"
    " PRIMARY KEY(run, step, number)) WITHOUT ROWID;"
    "PRAGMA user_version=1;";

const char *mg_runs_root(void) {
    const char *root = getenv("MIGAKI_RUNS");
    return root && *root ? root : "runs";
}

static mg_status fail(const mg_runs *db, mg_error *err) {
    return mg_fail(err, MG_IO, "%s: %s", db->path, sqlite3_errmsg(db->sql));
}

/* Run one statement; `types` has a letter for each value: t text, i int64_t, d double. */
static mg_status run_sql(mg_runs *db, mg_error *err, const char *text, const char *types, ...) {
    sqlite3_stmt *s = NULL;
    va_list       args;
    mg_status     st = MG_OK;
    if (sqlite3_prepare_v2(db->sql, text, -1, &s, NULL)) return fail(db, err);
    va_start(args, types);
    for (int i = 0; types[i]; i++) {
        if (types[i] == 't')
            sqlite3_bind_text(s, i + 1, va_arg(args, const char *), -1, SQLITE_STATIC);
        else if (types[i] == 'i')
            sqlite3_bind_int64(s, i + 1, va_arg(args, int64_t));
        else
            sqlite3_bind_double(s, i + 1, va_arg(args, double)); /* NaN becomes NULL */
    }
    va_end(args);
    if (sqlite3_step(s) != SQLITE_DONE) st = fail(db, err);
    sqlite3_finalize(s);
    return st;
}

mg_status mg_runs_begin(mg_runs *db, mg_error *err) { return run_sql(db, err, "BEGIN IMMEDIATE", ""); }
mg_status mg_runs_commit(mg_runs *db, mg_error *err) {
    return sqlite3_get_autocommit(db->sql) ? MG_OK : run_sql(db, err, "COMMIT", "");
}

mg_status mg_runs_put(mg_runs *db, const mg_run_row *r, mg_error *err) {
    return run_sql(db, err, "INSERT OR REPLACE INTO runs VALUES(?,?,?,?,?,?,?,?,?)", "ttttttiii", r->id, r->name, r->folder,
                   r->model, r->method, r->status, r->created, r->step, r->max_steps);
}

mg_status mg_runs_state(mg_runs *db, const char *id, const char *status, int64_t step, int64_t max_steps, mg_error *err) {
    return run_sql(db, err, "UPDATE runs SET status=?, step=?, max_steps=? WHERE id=?", "tiit", status, step, max_steps, id);
}

mg_status mg_runs_metric(mg_runs *db, const char *id, int64_t step, const char *name, double value, mg_error *err) {
    return run_sql(db, err, "INSERT OR REPLACE INTO metrics VALUES(?,?,?,?)", "titd", id, step, name, value);
}

mg_status mg_runs_sample(mg_runs *db, const char *id, int64_t step, int index, const char *prompt, const char *answer,
                         mg_error *err) {
    return run_sql(db, err, "INSERT OR REPLACE INTO samples VALUES(?,?,?,?,?)", "tiitt", id, step, (int64_t)index, prompt,
                   answer);
}

mg_status mg_runs_rewind(mg_runs *db, const char *id, int64_t step, mg_error *err) {
    mg_status st = run_sql(db, err, "DELETE FROM metrics WHERE run=? AND step>?", "ti", id, step);
    return st ? st : run_sql(db, err, "DELETE FROM samples WHERE run=? AND step>?", "ti", id, step);
}

/* ---- opening ---- */

static int64_t version_of(mg_runs *db, bool *bad) {
    sqlite3_stmt *s = NULL;
    int64_t       version = 0;
    *bad = sqlite3_prepare_v2(db->sql, "PRAGMA user_version", -1, &s, NULL) || sqlite3_step(s) != SQLITE_ROW;
    if (!*bad) version = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    return version;
}

/* Is the file one of ours?  When it can be read but is damaged, this finds out too. */
static mg_status connect(mg_runs *db, bool *made, bool *damaged, mg_error *err) {
    bool bad = false;
    int  code = sqlite3_open_v2(db->path, &db->sql, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
    if (code) {
        mg_status st = mg_fail(err, MG_IO, "%s: %s", db->path, db->sql ? sqlite3_errmsg(db->sql) : "no memory");
        sqlite3_close(db->sql);
        db->sql = NULL;
        return st;
    }
    sqlite3_busy_timeout(db->sql, 3000);
    int64_t version = version_of(db, &bad);
    int     why = sqlite3_errcode(db->sql);
    *damaged = (bad && (why == SQLITE_NOTADB || why == SQLITE_CORRUPT)) || (!bad && version > SCHEMA_VERSION);
    *made = !bad && version == 0;
    if (bad && !*damaged) return fail(db, err);
    if (*damaged) return MG_OK;
    if (sqlite3_exec(db->sql, schema, NULL, NULL, NULL)) {
        why = sqlite3_errcode(db->sql);
        *damaged = why == SQLITE_NOTADB || why == SQLITE_CORRUPT;
        if (!*damaged) return fail(db, err);
    }
    return MG_OK;
}

static mg_status set_aside(mg_runs *db, mg_error *err) {
    static const char *const parts[] = { "", "-wal", "-shm" };
    mg_buf                   to = { 0 }, from = { 0 };
    mg_status                st = MG_OK;
    sqlite3_close(db->sql);
    db->sql = NULL;
    for (size_t i = 0; i < 3 && !st; i++) {
        mg_buf_free(&to);
        mg_buf_free(&from);
        mg_buf_printf(&from, "%s%s", db->path, parts[i]);
        mg_buf_printf(&to, "%s.damaged-%ld%s", db->path, (long)getpid(), parts[i]);
        if (from.failed || to.failed)
            st = mg_fail(err, MG_NOMEM, "%s: no memory", db->path);
        else if (rename(from.data, to.data) && errno != ENOENT)
            st = mg_fail(err, MG_IO, "%s: cannot be renamed: %s", from.data, strerror(errno));
    }
    mg_buf_free(&to);
    mg_buf_free(&from);
    return st;
}

mg_status mg_runs_open(mg_runs **out, const char *root, mg_error *err) {
    mg_runs  *db = mg_calloc(1, sizeof *db);
    bool      made = false, damaged = false;
    mg_status st = mg_make_folder(root, err);
    if (!st && db) {
        db->root = mg_strdup(root);
        db->path = mg_path_join(root, "runs.db");
    }
    if (!st && (!db || !db->root || !db->path)) st = mg_fail(err, MG_NOMEM, "%s: no memory", root);
    if (!st) st = connect(db, &made, &damaged, err);
    if (!st && damaged) {
        st = set_aside(db, err);
        if (!st) st = connect(db, &made, &damaged, err);
    }
    if (!st && made) st = mg_runs_rebuild(db, err);
    if (st)
        mg_runs_close(db);
    else
        *out = db;
    return st;
}

void mg_runs_close(mg_runs *db) {
    if (!db) return;
    sqlite3_close(db->sql);
    free(db->root);
    free(db->path);
    free(db);
}

/* ---- from the folders ---- */

typedef struct {
    mg_runs    *db;
    const char *id;
    mg_status   st;
    mg_error   *err;
} importer;

static bool import_point(void *context, const mg_run_point *p) {
    importer *i = context;
    i->st = mg_runs_metric(i->db, i->id, p->step, p->name, p->value, i->err);
    return !i->st;
}

static mg_status import_samples(mg_runs *db, const char *id, const char *path, mg_error *err) {
    mg_buf    text = { 0 };
    mg_status st = mg_read_file(&text, path, SAMPLES_LIMIT, err);
    for (size_t at = 0; !st && at < text.len;) {
        const char *end = memchr(text.data + at, '\n', text.len - at);
        size_t      n = (end ? (size_t)(end - text.data) : text.len) - at;
        mg_json     j = { 0 };
        if (!mg_json_parse(&j, text.data + at, n, path, NULL)) {
            yyjson_val *prompt = yyjson_obj_get(j.root, "prompt"), *answer = yyjson_obj_get(j.root, "answer");
            if (yyjson_is_str(prompt) && yyjson_is_str(answer))
                st = mg_runs_sample(db, id, yyjson_get_sint(yyjson_obj_get(j.root, "step")),
                                    yyjson_get_int(yyjson_obj_get(j.root, "index")), yyjson_get_str(prompt),
                                    yyjson_get_str(answer), err);
        }
        mg_json_free(&j);
        at += n + 1;
    }
    mg_buf_free(&text);
    return st;
}

/* Each entry of a folder whose name does not begin with a dot. */
static mg_status each_entry(const char *folder, mg_status (*each)(void *, const char *path, mg_error *), void *context,
                            mg_error *err) {
    mg_status st = MG_OK;
    DIR      *d = opendir(folder);
    for (struct dirent *e; d && !st && (e = readdir(d));) {
        char *path = e->d_name[0] != '.' ? mg_path_join(folder, e->d_name) : NULL;
        if (path) st = each(context, path, err);
        free(path);
    }
    if (d) closedir(d);
    return st;
}

static mg_status import_sample_entry(void *context, const char *path, mg_error *err) {
    importer *i = context;
    return mg_is_file(path) ? import_samples(i->db, i->id, path, err) : MG_OK;
}

/* Folders that hold no run are passed over. */
static mg_status import_run(void *context, const char *folder, mg_error *err) {
    mg_runs   *db = context;
    mg_run_row row = { 0 };
    size_t     whole;
    char      *samples = NULL;
    if (!mg_is_folder(folder) || mg_run_identify(&row, folder, NULL)) return MG_OK;
    importer  i = { db, row.id, MG_OK, err };
    mg_status st = mg_runs_put(db, &row, err);
    if (!st) st = mg_run_read_log(folder, import_point, &i, &whole, err);
    samples = mg_path_join(folder, "samples");
    if (!st && samples) st = each_entry(samples, import_sample_entry, &i, err);
    free(samples);
    mg_run_row_free(&row);
    return st;
}

mg_status mg_runs_rebuild(mg_runs *db, mg_error *err) {
    mg_run_rows known = { 0 };
    mg_status   st = mg_runs_list(&known, db, err);
    if (st) return st;
    st = mg_runs_begin(db, err);
    if (!st) st = run_sql(db, err, "DELETE FROM runs", "");
    if (!st) st = run_sql(db, err, "DELETE FROM metrics", "");
    if (!st) st = run_sql(db, err, "DELETE FROM samples", "");
    for (size_t i = 0; !st && i < known.n; i++) st = import_run(db, known.row[i].folder, err);
    if (!st) st = each_entry(db->root, import_run, db, err);
    if (st)
        sqlite3_exec(db->sql, "ROLLBACK", NULL, NULL, NULL);
    else
        st = mg_runs_commit(db, err);
    mg_run_rows_free(&known);
    return st;
}

/* ---- lists ---- */

void mg_run_rows_free(mg_run_rows *r) {
    for (size_t i = 0; i < r->n; i++) mg_run_row_free(&r->row[i]);
    free(r->row);
    *r = (mg_run_rows){ 0 };
}

static char *column_text(sqlite3_stmt *s, int i) {
    const char *text = (const char *)sqlite3_column_text(s, i);
    return mg_strdup(text ? text : "");
}

static double column_number(sqlite3_stmt *s, int i) {
    return sqlite3_column_type(s, i) == SQLITE_NULL ? NAN : sqlite3_column_double(s, i);
}

static bool read_row(mg_run_row *r, sqlite3_stmt *s) {
    *r = (mg_run_row){ .id = column_text(s, 0), .name = column_text(s, 1), .folder = column_text(s, 2),
                       .model = column_text(s, 3), .method = column_text(s, 4), .status = column_text(s, 5),
                       .created = sqlite3_column_int64(s, 6), .step = sqlite3_column_int64(s, 7),
                       .max_steps = sqlite3_column_int64(s, 8), .loss = column_number(s, 9),
                       .eval_loss = column_number(s, 10) };
    if (r->id && r->name && r->folder && r->model && r->method && r->status) return true;
    mg_run_row_free(r);
    return false;
}

/* A run that says it is running, but whose lock is free, was killed. */
static void correct_status(mg_run_row *r) {
    if (strcmp(r->status, "running") || mg_run_is_locked(r->folder)) return;
    char *word = mg_strdup("interrupted");
    if (!word) return;
    free(r->status);
    r->status = word;
}

mg_status mg_runs_list(mg_run_rows *out, mg_runs *db, mg_error *err) {
    static const char text[] =
        "SELECT id, name, folder, model, method, status, created, step, max_steps,"
        " (SELECT value FROM metrics WHERE run=id AND metrics.name='loss' ORDER BY metrics.step DESC LIMIT 1),"
        " (SELECT value FROM metrics WHERE run=id AND metrics.name='eval_loss' ORDER BY metrics.step DESC LIMIT 1)"
        " FROM runs ORDER BY created DESC, id DESC";
    mg_run_rows   rows = { 0 };
    sqlite3_stmt *s = NULL;
    mg_status     st = MG_OK;
    int           code;
    if (sqlite3_prepare_v2(db->sql, text, -1, &s, NULL)) return fail(db, err);
    while ((code = sqlite3_step(s)) == SQLITE_ROW) {
        mg_run_row r;
        if (!MG_GROW(rows.row, rows.cap, rows.n + 1) || !read_row(&r, s)) {
            st = mg_fail(err, MG_NOMEM, "%s: no memory", db->path);
            break;
        }
        if (mg_is_folder(r.folder)) {
            correct_status(&r);
            rows.row[rows.n++] = r;
        } else
            mg_run_row_free(&r); /* someone deleted the folder; the next rebuild forgets the row */
    }
    if (!st && code != SQLITE_DONE) st = fail(db, err);
    sqlite3_finalize(s);
    if (st)
        mg_run_rows_free(&rows);
    else
        *out = rows;
    return st;
}

/* ---- names ---- */

static mg_status collect(void *context, const char *folder, mg_error *err) {
    mg_run_rows *rows = context;
    mg_run_row   r;
    if (!mg_is_folder(folder) || mg_run_identify(&r, folder, NULL)) return MG_OK;
    if (MG_GROW(rows->row, rows->cap, rows->n + 1)) {
        rows->row[rows->n++] = r;
        return MG_OK;
    }
    mg_run_row_free(&r);
    return mg_fail(err, MG_NOMEM, "%s: no memory", folder);
}

/* The runs under ROOT, and those elsewhere that an existing database knows. */
static mg_status collect_all(mg_run_rows *rows, const char *root, mg_error *err) {
    char       *path = mg_path_join(root, "runs.db");
    mg_runs    *db = NULL;
    mg_run_rows known = { 0 };
    mg_status   st = each_entry(root, collect, rows, err);
    if (!st && path && mg_is_file(path) && !mg_runs_open(&db, root, NULL) && !mg_runs_list(&known, db, NULL))
        for (size_t i = 0; !st && i < known.n; i++) {
            bool seen = false;
            for (size_t k = 0; k < rows->n && !seen; k++) seen = !strcmp(rows->row[k].id, known.row[i].id);
            if (!seen) st = collect(rows, known.row[i].folder, err);
        }
    mg_run_rows_free(&known);
    mg_runs_close(db);
    free(path);
    return st;
}

static mg_status not_found(const mg_run_rows *rows, const char *root, const char *run, mg_error *err) {
    const char *near = NULL;
    int         least = 4;
    if (!strcmp(run, "last"))
        return mg_fail(err, MG_NOTFOUND, "%s: there is no run yet; `migaki sft` makes one", root);
    for (size_t i = 0; i < rows->n; i++) {
        int d = mg_name_distance(rows->row[i].name, run);
        if (d >= least) continue;
        least = d;
        near = rows->row[i].name;
    }
    if (near) return mg_fail(err, MG_NOTFOUND, "'%.200s' is no run and no folder; did you mean '%s'?", run, near);
    return mg_fail(err, MG_NOTFOUND, "'%.200s' is no run and no folder; `migaki runs ls` lists the runs", run);
}

mg_status mg_runs_resolve(char **folder, const char *root, const char *run, mg_error *err) {
    mg_run_rows       rows = { 0 };
    const mg_run_row *best = NULL;
    bool              last = !strcmp(run, "last");
    mg_status         st = MG_OK;
    if (!last && strchr(run, '/') && mg_is_folder(run)) {
        *folder = mg_strdup(run);
        return *folder ? MG_OK : mg_fail(err, MG_NOMEM, "no memory");
    }
    st = collect_all(&rows, root, err);
    for (size_t i = 0; !st && i < rows.n; i++) {
        const mg_run_row *r = &rows.row[i];
        if (!last && strcmp(r->name, run)) continue;
        if (!best || r->created > best->created || (r->created == best->created && strcmp(r->id, best->id) > 0)) best = r;
    }
    if (!st) {
        const char *found = best ? best->folder : !last && mg_is_folder(run) ? run : NULL;
        char       *copy = found ? mg_strdup(found) : NULL;
        if (!found)
            st = not_found(&rows, root, run, err);
        else if (!copy)
            st = mg_fail(err, MG_NOMEM, "no memory");
        else
            *folder = copy;
    }
    mg_run_rows_free(&rows);
    return st;
}

/* Never the folder that one works in, nor one around it, nor the home folder: an output_dir can be anything. */
static mg_status check_removable(const char *folder, mg_error *err) {
    char       *here = realpath(".", NULL), *real = realpath(folder, NULL);
    const char *home = getenv("HOME");
    mg_status   st = here && real ? MG_OK : mg_fail(err, MG_IO, "%s: cannot be read: %s", folder, strerror(errno));
    size_t      n = real ? strlen(real) : 0;
    if (!st && (n == 1 || (!strncmp(here, real, n) && (here[n] == '/' || !here[n])) || (home && !strcmp(home, real))))
        st = mg_fail(err, MG_USAGE, "%s: is the folder you work in, or one around it; it is not removed", folder);
    free(here);
    free(real);
    return st;
}

mg_status mg_runs_remove(mg_runs *db, const char *folder, mg_error *err) {
    mg_run_row r = { 0 };
    int        lock;
    mg_status  st = mg_run_identify(&r, folder, err);
    if (st) return st;
    st = check_removable(folder, err);
    if (!st) st = mg_run_lock(&lock, folder, err);
    if (!st) {
        st = mg_remove_folder(folder, err);
        close(lock);
    }
    if (!st) st = run_sql(db, err, "DELETE FROM runs WHERE id=?", "t", r.id);
    if (!st) st = run_sql(db, err, "DELETE FROM metrics WHERE run=?", "t", r.id);
    if (!st) st = run_sql(db, err, "DELETE FROM samples WHERE run=?", "t", r.id);
    mg_run_row_free(&r);
    return st;
}
