/* run.c -- the folder of one run.
 *
 * Small files are replaced as a whole; trainer_log.jsonl only grows, one write a
 * line, and a line that did not fit on the disk is taken back.  The database gets
 * the same facts, but its troubles are only noted: the folder is what counts. */
#include "train/run.h"

#include "base/file.h"
#include "base/plot.h"
#include "train/run_impl.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

enum { LOG_LIMIT = 1 << 30, SMALL_LIMIT = 64 << 20 };

struct mg_run {
    char         *folder, *name, *model, *method;
    char          id[40];
    int64_t       created, step, max_steps; /* steps as they were when the run was opened */
    int           lock, log; /* descriptors, -1: none */
    mg_run_point *point;
    size_t        n, cap;
    mg_runs      *db; /* NULL: not available */
    mg_buf        notes;
};

/* ---- small helpers ---- */

static void add_quoted(mg_buf *b, const char *s) { mg_json_quote(b, s ? s : "", s ? strlen(s) : 0); }

static void add_value(mg_buf *b, double x) {
    if (isfinite(x))
        mg_buf_printf(b, "%.9g", x);
    else
        mg_buf_str(b, isnan(x) ? "\"NaN\"" : x > 0 ? "\"Infinity\"" : "\"-Infinity\"");
}

static double read_value(yyjson_val *v) {
    if (yyjson_is_num(v)) return yyjson_get_num(v);
    if (yyjson_equals_str(v, "Infinity")) return INFINITY;
    if (yyjson_equals_str(v, "-Infinity")) return -INFINITY;
    return NAN;
}

static mg_status write_json(const mg_run *r, const char *name, mg_buf *b, mg_error *err) {
    char     *path = mg_path_join(r->folder, name);
    mg_status st = path && !b->failed ? mg_replace_file(path, b->data, b->len, err)
                                      : mg_fail(err, MG_NOMEM, "%s: no memory for %s", r->folder, name);
    free(path);
    mg_buf_free(b);
    return st;
}

static void note(mg_run *r, const mg_error *why) {
    if (r->notes.len < 2000) mg_buf_printf(&r->notes, "runs.db: %s\n", why->text);
}

/* ---- the lock ---- */

mg_status mg_run_lock(int *fd, const char *folder, mg_error *err) {
    char *path = mg_path_join(folder, ".lock");
    if (!path) return mg_fail(err, MG_NOMEM, "%s: no memory", folder);
    int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    free(path);
    if (lock < 0) return mg_fail(err, MG_IO, "%s: cannot be locked: %s", folder, strerror(errno));
    int taken = -1; /* `runs ls` holds it for an instant when it looks whether a run is alive */
    for (int i = 0; i < 4 && (taken = flock(lock, LOCK_EX | LOCK_NB)) && errno == EWOULDBLOCK; i++)
        nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
    if (taken) {
        char    pid[32] = "";
        int     why = errno;
        ssize_t n = pread(lock, pid, sizeof pid - 1, 0);
        if (n > 0) pid[strspn(pid, "0123456789")] = 0;
        close(lock);
        if (why != EWOULDBLOCK) return mg_fail(err, MG_IO, "%s: cannot be locked: %s", folder, strerror(why));
        return mg_fail(err, MG_MISMATCH, "%s: another process (%s) works in this run; wait for it or stop it", folder, pid);
    }
    if (ftruncate(lock, 0) || dprintf(lock, "%ld\n", (long)getpid()) < 0) {
        /* the number is only for the message above; a full disk must not refuse the lock */
    }
    *fd = lock;
    return MG_OK;
}

bool mg_run_is_locked(const char *folder) {
    char *path = mg_path_join(folder, ".lock");
    int   fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    bool  locked = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB);
    if (fd >= 0) close(fd);
    free(path);
    return locked;
}

/* ---- reading a folder ---- */

static char *text_of(yyjson_val *object, const char *key) {
    yyjson_val *v = yyjson_obj_get(object, key);
    return mg_strdup(yyjson_is_str(v) ? yyjson_get_str(v) : "");
}

void mg_run_row_free(mg_run_row *r) {
    free(r->id);
    free(r->name);
    free(r->folder);
    free(r->model);
    free(r->method);
    free(r->status);
    *r = (mg_run_row){ 0 };
}

static mg_status open_json(mg_json *out, const char *folder, const char *name, mg_error *err) {
    char *path = mg_path_join(folder, name);
    if (!path) return mg_fail(err, MG_NOMEM, "%s: no memory", folder);
    mg_status st = mg_json_open(out, path, SMALL_LIMIT, err);
    free(path);
    return st;
}

mg_status mg_run_identify(mg_run_row *out, const char *folder, mg_error *err) {
    mg_json    environment = { 0 }, state = { 0 };
    mg_run_row r = { .loss = NAN, .eval_loss = NAN };
    mg_status  st = open_json(&environment, folder, "environment.json", err);
    if (st == MG_NOTFOUND) st = mg_fail(err, MG_FORMAT, "%s: holds no run (environment.json is missing)", folder);
    if (st) return st;
    yyjson_val *run = yyjson_obj_get(environment.root, "run");
    if (!yyjson_is_str(yyjson_obj_get(run, "id"))) {
        st = mg_fail(err, MG_FORMAT, "%s: environment.json does not name its run", folder);
        goto done;
    }
    r.id = text_of(run, "id");
    r.name = text_of(run, "name");
    r.model = text_of(run, "model");
    r.method = text_of(run, "method");
    r.folder = realpath(folder, NULL);
    r.created = yyjson_get_sint(yyjson_obj_get(run, "created"));
    if (!open_json(&state, folder, "trainer_state.json", NULL)) {
        r.status = text_of(state.root, "status");
        r.step = yyjson_get_sint(yyjson_obj_get(state.root, "global_step"));
        r.max_steps = yyjson_get_sint(yyjson_obj_get(state.root, "max_steps"));
    } else
        r.status = mg_strdup("running");
    if (!r.id || !r.name || !r.model || !r.method || !r.folder || !r.status)
        st = mg_fail(err, MG_NOMEM, "%s: no memory", folder);
done:
    mg_json_free(&environment);
    mg_json_free(&state);
    if (st)
        mg_run_row_free(&r);
    else
        *out = r;
    return st;
}

static bool read_log_line(yyjson_val *line, mg_run_each_fn each, void *context) {
    mg_run_point    p = { .step = yyjson_get_sint(yyjson_obj_get(line, "step")),
                          .epoch = yyjson_get_num(yyjson_obj_get(line, "epoch")) };
    yyjson_obj_iter it;
    yyjson_obj_iter_init(line, &it);
    for (yyjson_val *k; (k = yyjson_obj_iter_next(&it));) {
        const char *name = yyjson_get_str(k);
        if (!strcmp(name, "step") || !strcmp(name, "epoch") || yyjson_get_len(k) >= sizeof p.name) continue;
        snprintf(p.name, sizeof p.name, "%s", name);
        p.value = read_value(yyjson_obj_iter_get_val(k));
        if (!each(context, &p)) return false;
    }
    return true;
}

mg_status mg_run_read_log(const char *folder, mg_run_each_fn each, void *context, size_t *whole, mg_error *err) {
    mg_buf    text = { 0 };
    char     *path = mg_path_join(folder, "trainer_log.jsonl");
    mg_status st = path ? mg_read_file(&text, path, LOG_LIMIT, err) : mg_fail(err, MG_NOMEM, "%s: no memory", folder);
    *whole = 0;
    if (st == MG_NOTFOUND) st = MG_OK;
    for (size_t at = 0; !st && at < text.len;) {
        const char *end = memchr(text.data + at, '\n', text.len - at);
        mg_json     line = { 0 };
        if (!end || mg_json_parse(&line, text.data + at, (size_t)(end - text.data) - at, path, NULL)) break;
        if (!read_log_line(line.root, each, context)) st = mg_fail(err, MG_NOMEM, "%s: no memory", path);
        mg_json_free(&line);
        at = (size_t)(end - text.data) + 1;
        *whole = at;
    }
    mg_buf_free(&text);
    free(path);
    return st;
}

/* ---- making and opening ---- */

static mg_status open_log(mg_run *r, size_t keep, mg_error *err) {
    char *path = mg_path_join(r->folder, "trainer_log.jsonl");
    if (!path) return mg_fail(err, MG_NOMEM, "%s: no memory", r->folder);
    mg_status st = MG_OK;
    if (r->log >= 0) close(r->log);
    r->log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (r->log < 0 || ftruncate(r->log, (off_t)keep))
        st = mg_fail(err, MG_IO, "%s: cannot be opened for writing: %s", path, strerror(errno));
    free(path);
    return st;
}

static void open_database(mg_run *r) {
    mg_error   why = { 0 };
    mg_run_row row = { .id = r->id, .name = r->name, .folder = r->folder, .model = r->model, .method = r->method,
                       .status = (char *)"running", .created = r->created, .step = r->step,
                       .max_steps = r->max_steps, .loss = NAN, .eval_loss = NAN };
    if (mg_runs_open(&r->db, mg_runs_root(), &why) || mg_runs_put(r->db, &row, &why)) note(r, &why);
}

static void make_id(mg_run *r) {
    struct tm utc;
    uint32_t  random = (uint32_t)getpid();
    time_t    now = time(NULL);
    gmtime_r(&now, &utc);
    if (getrandom(&random, sizeof random, 0) != sizeof random) random ^= (uint32_t)clock();
    r->created = now;
    strftime(r->id, sizeof r->id, "%Y%m%d-%H%M%S-", &utc);
    snprintf(r->id + strlen(r->id), sizeof r->id - strlen(r->id), "%08x", random);
}

/* "…/Gemma-3 270m.gguf" becomes "gemma-3-270m-20250131-0905". */
static char *automatic_name(const char *model, int64_t created) {
    mg_buf    b = { 0 };
    char      date[32];
    struct tm local;
    time_t    when = (time_t)created;
    char     *copy = mg_strdup(model && *model ? model : "model");
    if (!copy) return NULL;
    for (size_t n = strlen(copy); n > 1 && copy[n - 1] == '/'; n--) copy[n - 1] = 0;
    const char *base = mg_path_base(copy), *dot = strrchr(base, '.');
    size_t      n = dot && dot > base && !strcmp(dot, ".gguf") ? (size_t)(dot - base) : strlen(base);
    for (size_t i = 0; i < n && b.len < 60; i++) {
        unsigned char c = (unsigned char)base[i];
        bool          good = isalnum(c) || c == '.' || c == '_';
        if (good)
            mg_buf_char(&b, (char)tolower(c));
        else if (b.len && b.data[b.len - 1] != '-')
            mg_buf_char(&b, '-');
    }
    if (!b.len || b.data[0] == '.') mg_buf_str(&b, "model");
    localtime_r(&when, &local);
    strftime(date, sizeof date, "%Y%m%d-%H%M", &local);
    mg_buf_printf(&b, "-%s", date);
    free(copy);
    if (b.failed) mg_buf_free(&b);
    return b.data;
}

/* A fresh folder ROOT/NAME; when `may_number` a taken name gets -2, -3, ... */
static mg_status make_named(mg_run *r, const char *root, const char *name, bool may_number, mg_error *err) {
    if (!*name || *name == '.' || strchr(name, '/') || strlen(name) > 200)
        return mg_fail(err, MG_CONFIG, "run_name '%.80s': a plain name is wanted, without slashes", name);
    mg_status st = mg_make_folder(root, err);
    for (int i = 1; !st && i < 1000; i++) {
        mg_buf path = { 0 };
        mg_buf_printf(&path, i > 1 ? "%s/%s-%d" : "%s/%s", root, name, i);
        if (path.failed) return mg_fail(err, MG_NOMEM, "%s: no memory", root);
        if (!mkdir(path.data, 0777)) {
            r->folder = path.data;
            r->name = mg_strdup(mg_path_base(path.data));
            return r->name ? MG_OK : mg_fail(err, MG_NOMEM, "%s: no memory", root);
        }
        if (errno != EEXIST)
            st = mg_fail(err, MG_IO, "%s: cannot be made: %s", path.data, strerror(errno));
        else if (!may_number)
            st = mg_fail(err, MG_CONFIG, "%s: there is a run of this name; choose another run_name, or resume it", path.data);
        mg_buf_free(&path);
    }
    return st ? st : mg_fail(err, MG_IO, "%s: no free name for '%s'", root, name);
}

static mg_status make_given(mg_run *r, const char *folder, const char *name, mg_error *err) {
    mg_status st = mg_make_folder(folder, err);
    if (st) return st;
    char *marker = mg_path_join(folder, "environment.json");
    if (marker && mg_is_file(marker))
        st = mg_fail(err, MG_CONFIG, "%s: holds a run already; resume it, or choose another output_dir", folder);
    free(marker);
    if (st) return st;
    r->folder = realpath(folder, NULL);
    r->name = r->folder ? mg_strdup(name ? name : mg_path_base(r->folder)) : NULL;
    return r->name ? MG_OK : mg_fail(err, MG_NOMEM, "%s: no memory", folder);
}

static mg_run *new_run(void) {
    mg_run *r = mg_calloc(1, sizeof *r);
    if (r) r->lock = r->log = -1;
    return r;
}

mg_status mg_run_create(mg_run **out, const char *output_dir, const char *run_name, const char *model,
                        const char *method, const char *config_yaml, mg_error *err) {
    mg_run   *r = new_run();
    char     *automatic = NULL;
    mg_status st = MG_OK;
    if (!r) return mg_fail(err, MG_NOMEM, "no memory for a run");
    make_id(r);
    r->model = mg_strdup(model ? model : "");
    r->method = mg_strdup(method);
    automatic = automatic_name(model, r->created);
    if (!r->model || !r->method || !automatic) {
        st = mg_fail(err, MG_NOMEM, "no memory for a run");
        goto done;
    }
    st = output_dir ? make_given(r, output_dir, run_name, err)
                    : make_named(r, mg_runs_root(), run_name ? run_name : automatic, !run_name, err);
    if (!st) st = mg_run_lock(&r->lock, r->folder, err);
    if (!st) st = open_log(r, 0, err);
    if (!st && config_yaml) st = mg_run_write(r, "config.yaml", config_yaml, strlen(config_yaml), err);
    if (!st) st = mg_run_write_environment(r, 0, 0, NULL, err); /* from now on the folder is a run */
    if (!st) open_database(r);
done:
    free(automatic);
    if (st)
        mg_run_close(r);
    else
        *out = r;
    return st;
}

static bool keep_point(void *context, const mg_run_point *p) {
    mg_run *r = context;
    if (!MG_GROW(r->point, r->cap, r->n + 1)) return false;
    r->point[r->n++] = *p;
    return true;
}

mg_status mg_run_open(mg_run **out, const char *folder, mg_error *err) {
    mg_run    *r = new_run();
    mg_run_row row = { 0 };
    size_t     whole = 0;
    if (!r) return mg_fail(err, MG_NOMEM, "no memory for a run");
    mg_status st = mg_run_identify(&row, folder, err);
    if (st) goto done;
    r->folder = row.folder;
    r->name = row.name;
    r->model = row.model;
    r->method = row.method;
    r->created = row.created;
    r->step = row.step;
    r->max_steps = row.max_steps;
    row.folder = row.name = row.model = row.method = NULL;
    snprintf(r->id, sizeof r->id, "%s", row.id);
    st = mg_run_lock(&r->lock, r->folder, err);
    if (!st) st = mg_run_read_log(r->folder, keep_point, r, &whole, err);
    if (!st) st = open_log(r, whole, err);
    if (!st) open_database(r);
done:
    mg_run_row_free(&row);
    if (st)
        mg_run_close(r);
    else
        *out = r;
    return st;
}

void mg_run_close(mg_run *r) {
    if (!r) return;
    mg_runs_close(r->db);
    if (r->log >= 0) close(r->log);
    if (r->lock >= 0) close(r->lock);
    free(r->folder);
    free(r->name);
    free(r->model);
    free(r->method);
    free(r->point);
    mg_buf_free(&r->notes);
    free(r);
}

const char *mg_run_folder(const mg_run *r) { return r->folder; }
const char *mg_run_name(const mg_run *r) { return r->name; }
const char *mg_run_id(const mg_run *r) { return r->id; }
const char *mg_run_notes(const mg_run *r) { return r->notes.data ? r->notes.data : ""; }
const mg_run_point *mg_run_history(const mg_run *r, size_t *n) {
    *n = r->n;
    return r->point;
}

mg_status mg_run_write(mg_run *r, const char *name, const void *bytes, size_t n, mg_error *err) {
    char *path = mg_path_join(r->folder, name);
    if (!path) return mg_fail(err, MG_NOMEM, "%s: no memory for %s", r->folder, name);
    mg_status st = mg_replace_file(path, bytes, n, err);
    free(path);
    return st;
}

/* ---- the log ---- */

/* Append all of it or nothing. */
static mg_status append_line(mg_run *r, const mg_buf *b, mg_error *err) {
    off_t  before = lseek(r->log, 0, SEEK_END);
    size_t at = 0;
    while (at < b->len) {
        ssize_t n = write(r->log, b->data + at, b->len - at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            int why = errno;
            if (at && ftruncate(r->log, before)) { /* the reader stops at the broken line; nothing more can be done */
            }
            return mg_fail(err, MG_IO, "%s/trainer_log.jsonl: cannot be written: %s", r->folder, strerror(why));
        }
        at += (size_t)n;
    }
    return MG_OK;
}

mg_status mg_run_log(mg_run *r, int64_t step, double epoch, const mg_metric *m, size_t n, mg_error *err) {
    mg_buf   b = { 0 };
    mg_error why = { 0 };
    mg_buf_printf(&b, "{\"step\": %lld, \"epoch\": ", (long long)step);
    add_value(&b, epoch);
    for (size_t i = 0; i < n; i++) {
        mg_run_point p = { .step = step, .epoch = epoch, .value = m[i].value };
        MG_ASSERT(strlen(m[i].name) < sizeof p.name);
        snprintf(p.name, sizeof p.name, "%s", m[i].name);
        mg_buf_str(&b, ", ");
        add_quoted(&b, m[i].name);
        mg_buf_str(&b, ": ");
        add_value(&b, m[i].value);
        if (!keep_point(r, &p)) b.failed = true;
    }
    mg_buf_str(&b, "}\n");
    mg_status st = b.failed ? mg_fail(err, MG_NOMEM, "%s: no memory for the log", r->folder) : append_line(r, &b, err);
    mg_buf_free(&b);
    if (r->db) {
        mg_status bad = mg_runs_begin(r->db, &why);
        for (size_t i = 0; !bad && i < n; i++) bad = mg_runs_metric(r->db, r->id, step, m[i].name, m[i].value, &why);
        mg_status end = mg_runs_commit(r->db, bad ? NULL : &why);
        if (bad || end) note(r, &why);
    }
    return st;
}

/* Answers of steps that will be made again. */
static void forget_samples(const mg_run *r, int64_t step) {
    char *folder = mg_path_join(r->folder, "samples");
    DIR  *d = folder ? opendir(folder) : NULL;
    for (struct dirent *e; d && (e = readdir(d));) {
        long long n;
        if ((sscanf(e->d_name, "step-%lld.jsonl", &n) == 1 || sscanf(e->d_name, "eval-%lld.jsonl", &n) == 1) && n > step) unlinkat(dirfd(d), e->d_name, 0);
    }
    if (d) closedir(d);
    free(folder);
}

mg_status mg_run_rewind(mg_run *r, int64_t step, mg_error *err) {
    mg_buf    b = { 0 };
    mg_error  why = { 0 };
    size_t    kept = 0;
    mg_status st;
    for (size_t i = 0; i < r->n; i++)
        if (r->point[i].step <= step) r->point[kept++] = r->point[i];
    r->n = kept;
    for (size_t i = 0; i < r->n;) { /* the points of a step are one line again */
        size_t k = i;
        mg_buf_printf(&b, "{\"step\": %lld, \"epoch\": ", (long long)r->point[i].step);
        add_value(&b, r->point[i].epoch);
        do {
            mg_buf_str(&b, ", ");
            add_quoted(&b, r->point[k].name);
            mg_buf_str(&b, ": ");
            add_value(&b, r->point[k].value);
            k++;
        } while (k < r->n && r->point[k].step == r->point[i].step && strcmp(r->point[k].name, r->point[i].name));
        mg_buf_str(&b, "}\n");
        i = k;
    }
    st = b.failed ? mg_fail(err, MG_NOMEM, "%s: no memory for the log", r->folder)
                  : mg_run_write(r, "trainer_log.jsonl", b.data ? b.data : "", b.len, err);
    if (!st) st = open_log(r, b.len, err); /* the file is a new one */
    mg_buf_free(&b);
    if (!st) forget_samples(r, step);
    if (!st && r->db && mg_runs_rewind(r->db, r->id, step, &why)) note(r, &why);
    return st;
}

mg_status mg_run_samples(mg_run *r, int64_t step, const mg_run_sample *s, size_t n, mg_error *err) {
    mg_buf    b = { 0 };
    mg_error  why = { 0 };
    char      name[64];
    char     *folder = mg_path_join(r->folder, "samples");
    mg_status st = folder ? mg_make_folder(folder, err) : mg_fail(err, MG_NOMEM, "%s: no memory", r->folder);
    free(folder);
    for (size_t i = 0; i < n; i++) {
        mg_buf_printf(&b, "{\"step\": %lld, \"index\": %zu, \"prompt\": ", (long long)step, i);
        add_quoted(&b, s[i].prompt);
        mg_buf_str(&b, ", \"answer\": ");
        add_quoted(&b, s[i].answer);
        mg_buf_str(&b, "}\n");
    }
    mg_buf_str(&b, "");
    snprintf(name, sizeof name, MG_RUN_SAMPLES_NAME, (long long)step);
    if (!st && b.failed) st = mg_fail(err, MG_NOMEM, "%s: no memory for samples", r->folder);
    if (!st) st = mg_run_write(r, name, b.data, b.len, err);
    mg_buf_free(&b);
    if (r->db) {
        mg_status bad = mg_runs_begin(r->db, &why);
        for (size_t i = 0; !bad && i < n; i++)
            bad = mg_runs_sample(r->db, r->id, step, (int)i, s[i].prompt, s[i].answer, &why);
        mg_status end = mg_runs_commit(r->db, bad ? NULL : &why);
        if (bad || end) note(r, &why);
    }
    return st;
}

/* ---- state, environment, results ---- */

void mg_run_state_json(mg_buf *b, const mg_run *r, const mg_run_state *s) {
    bool first = true;
    mg_buf_str(b, "{\n  \"status\": ");
    add_quoted(b, s->status);
    mg_buf_printf(b, ",\n  \"global_step\": %lld,\n  \"max_steps\": %lld,\n  \"epoch\": ", (long long)s->step,
                  (long long)s->max_steps);
    add_value(b, s->epoch);
    mg_buf_str(b, ",\n  \"num_train_epochs\": ");
    add_value(b, s->num_train_epochs);
    mg_buf_printf(b, ",\n  \"train_batch_size\": %lld,\n  \"num_input_tokens_seen\": %lld", (long long)s->train_batch_size,
                  (long long)s->tokens);
    if (s->has_best) {
        mg_buf_str(b, ",\n  \"best_metric\": ");
        add_value(b, s->best_metric);
        mg_buf_printf(b, ",\n  \"best_global_step\": %lld,\n  \"best_model_checkpoint\": \"checkpoint-%lld\"",
                      (long long)s->best_step, (long long)s->best_step);
    } else
        mg_buf_str(b, ",\n  \"best_metric\": null,\n  \"best_model_checkpoint\": null");
    mg_buf_str(b, ",\n  \"log_history\": [");
    for (size_t i = 0; i < r->n; i++) {
        const mg_run_point *p = &r->point[i];
        if (p->step > s->step) continue;
        mg_buf_str(b, first ? "\n    {" : ",\n    {");
        first = false;
        add_quoted(b, p->name);
        mg_buf_str(b, ": ");
        add_value(b, p->value);
        mg_buf_printf(b, ", \"epoch\": %.9g, \"step\": %lld}", p->epoch, (long long)p->step);
    }
    mg_buf_str(b, "\n  ]\n}\n");
}

mg_status mg_run_write_state(mg_run *r, const mg_run_state *s, mg_error *err) {
    mg_buf   b = { 0 };
    mg_error why = { 0 };
    mg_run_state_json(&b, r, s);
    if (r->db && mg_runs_state(r->db, r->id, s->status, s->step, s->max_steps, &why)) note(r, &why);
    return write_json(r, "trainer_state.json", &b, err);
}

static void cpu_name(char *out, size_t size) {
    char  line[512];
    FILE *f = fopen("/proc/cpuinfo", "re");
    snprintf(out, size, "unknown");
    while (f && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) || !colon) continue;
        snprintf(out, size, "%s", colon + 2);
        out[strcspn(out, "\n")] = 0;
        break;
    }
    if (f) fclose(f);
}

#ifndef MG_VERSION
#define MG_VERSION "0.1.0"
#endif

mg_status mg_run_write_environment(mg_run *r, int threads, int argc, char *const *argv, mg_error *err) {
    mg_buf         b = { 0 };
    struct utsname system;
    struct tm      utc;
    char           date[40], cpu[300];
    time_t         created = (time_t)r->created;
    gmtime_r(&created, &utc);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &utc);
    cpu_name(cpu, sizeof cpu);
    mg_buf_str(&b, "{\n  \"run\": {\"id\": ");
    add_quoted(&b, r->id);
    mg_buf_str(&b, ", \"name\": ");
    add_quoted(&b, r->name);
    mg_buf_str(&b, ", \"model\": ");
    add_quoted(&b, r->model);
    mg_buf_str(&b, ", \"method\": ");
    add_quoted(&b, r->method);
    mg_buf_printf(&b, ", \"created\": %lld, \"date\": \"%s\"},\n  \"migaki\": \"" MG_VERSION "\",\n  \"compiler\": ",
                  (long long)r->created, date);
    add_quoted(&b, __VERSION__);
    mg_buf_str(&b, ",\n  \"cpu\": ");
    add_quoted(&b, cpu);
    mg_buf_printf(&b, ",\n  \"cores\": %ld,\n  \"threads\": %d", sysconf(_SC_NPROCESSORS_ONLN), threads);
    mg_buf_printf(&b, ",\n  \"memory_bytes\": %lld", (long long)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE));
    if (!uname(&system)) {
        mg_buf_str(&b, ",\n  \"system\": ");
        mg_buf_printf(&b, "\"%s %s %s\"", system.sysname, system.release, system.machine);
    }
    if (argv) {
        mg_buf_str(&b, ",\n  \"command\": [");
        for (int i = 0; i < argc; i++) {
            if (i) mg_buf_str(&b, ", ");
            add_quoted(&b, argv[i]);
        }
        mg_buf_char(&b, ']');
    }
    mg_buf_str(&b, "\n}\n");
    return write_json(r, "environment.json", &b, err);
}

mg_status mg_run_write_results(mg_run *r, const char *name, const mg_metric *m, size_t n, mg_error *err) {
    mg_buf b = { 0 };
    for (size_t i = 0; i < n; i++) {
        mg_buf_str(&b, i ? ",\n  " : "{\n  ");
        add_quoted(&b, m[i].name);
        mg_buf_str(&b, ": ");
        add_value(&b, m[i].value);
    }
    mg_buf_str(&b, n ? "\n}\n" : "{}\n");
    return write_json(r, name, &b, err);
}

/* ---- figures ---- */

static mg_status figure(mg_run *r, const char *file, const char *title, const char *const names[2], mg_error *err) {
    mg_plot_series series[2] = { 0 };
    mg_plot        plot = { .title = title, .x_label = "step", .series = series };
    mg_buf         b = { 0 };
    double        *value = mg_calloc(r->n * 2, 2 * sizeof *value); /* x and y of both series */
    size_t         at = 0;
    if (!value) return mg_fail(err, MG_NOMEM, "%s: no memory for %s", r->folder, file);
    for (int k = 0; k < 2 && names[k]; k++) {
        double *x = value + at, *y = x + r->n;
        size_t  n = 0;
        for (size_t i = 0; i < r->n; i++)
            if (!strcmp(r->point[i].name, names[k])) {
                x[n] = (double)r->point[i].step;
                y[n++] = r->point[i].value;
            }
        at += 2 * r->n;
        if (n) series[plot.n++] = (mg_plot_series){ names[k], x, y, n };
    }
    mg_plot_svg(&b, &plot);
    free(value);
    return write_json(r, file, &b, err);
}

mg_status mg_run_write_figures(mg_run *r, mg_error *err) {
    static const struct {
        const char *file, *title, *names[2];
    } figures[] = {
        { "figures/loss.svg", "Loss", { "loss", "eval_loss" } },
        { "figures/lr.svg", "Learning rate", { "learning_rate", NULL } },
        { "figures/grad_norm.svg", "Gradient norm", { "grad_norm", NULL } },
    };
    char     *folder = mg_path_join(r->folder, "figures");
    mg_status st = folder ? mg_make_folder(folder, err) : mg_fail(err, MG_NOMEM, "%s: no memory", r->folder);
    free(folder);
    for (size_t i = 0; !st && i < sizeof figures / sizeof *figures; i++)
        st = figure(r, figures[i].file, figures[i].title, figures[i].names, err);
    return st;
}

/* ---- the model card ---- */

static double last_value(const mg_run *r, const char *name) {
    for (size_t i = r->n; i-- > 0;)
        if (!strcmp(r->point[i].name, name)) return r->point[i].value;
    return NAN;
}

mg_status mg_run_write_card(mg_run *r, const mg_run_card *c, const mg_run_state *s, mg_error *err) {
    mg_buf b = { 0 };
    mg_buf_str(&b, "---\nbase_model: ");
    add_quoted(&b, c->base_model);
    mg_buf_printf(&b, "\nlibrary_name: %s", c->whole ? "transformers" : "peft");
    mg_buf_str(&b, "\npipeline_tag: text-generation\ntags:\n- ");
    mg_buf_str(&b, c->method);
    mg_buf_str(&b, "\n- ");
    mg_buf_str(&b, r->method);
    mg_buf_printf(&b, "\n- migaki\n---\n\n# %s\n\n", r->name);
    char rank[64] = "";
    if (c->lora_r) snprintf(rank, sizeof rank, " (rank %lld, alpha %g)", (long long)c->lora_r, c->lora_alpha);
    mg_buf_printf(&b, "%s%s for `%s`, trained with migaki " MG_VERSION " (%s).\n\n", c->title, rank, mg_path_base(c->base_model), r->method);
    mg_buf_printf(&b, "| | |\n|---|---|\n| Training data | `%s`, %lld samples |\n", c->dataset, (long long)c->train_samples);
    mg_buf_printf(&b, "| Steps | %lld of %lld (%.2f epochs, %lld tokens) |\n", (long long)s->step, (long long)s->max_steps,
                  s->epoch, (long long)s->tokens);
    if (isfinite(last_value(r, "loss"))) mg_buf_printf(&b, "| Last training loss | %.4f |\n", last_value(r, "loss"));
    if (c->eval_samples) mg_buf_printf(&b, "| Validation samples | %lld |\n", (long long)c->eval_samples);
    if (isfinite(c->eval_loss_before) && isfinite(c->eval_loss_after))
        mg_buf_printf(&b, "| Validation loss | %.4f → %.4f |\n", c->eval_loss_before, c->eval_loss_after);
    if (s->has_best) mg_buf_printf(&b, "| Best checkpoint | %lld (%.4f) |\n", (long long)s->best_step, s->best_metric);
    mg_buf_str(&b, "\n![loss](figures/loss.svg)\n\n## Use\n\n```\nmigaki chat ");
    mg_buf_str(&b, r->name);
    mg_buf_printf(&b, "\n```\n\n%s", c->whole ? "The folder is a whole model: `AutoModelForCausalLM.from_pretrained(\""
                                               : "The folder is a PEFT adapter: `PeftModel.from_pretrained(base, \"");
    mg_buf_str(&b, r->name);
    mg_buf_str(&b, "\")` and vLLM load it as it is.\n");
    if (c->config_yaml) mg_buf_printf(&b, "\n<details><summary>config.yaml</summary>\n\n```yaml\n%s```\n\n</details>\n", c->config_yaml);
    return write_json(r, "README.md", &b, err);
}
