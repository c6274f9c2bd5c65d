/* checkpoint.c -- write beside, sum, sync, rename; verify before use.
 *
 * MANIFEST is JSON whose last key, "manifest_sha256", sums the text before it, so
 * a bit flip in the manifest itself is found like one in a file.  A checkpoint
 * that already stands under the same number (a resumed run saves step N again) is
 * exchanged with the new one in one rename, so there is no moment without it.
 * Deleting renames first: a folder that is half deleted has a name that nobody
 * reads. */
#include "train/checkpoint.h"

#include "base/file.h"
#include "base/json.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FORMAT_VERSION = 1, MANIFEST_LIMIT = 1 << 20, CHUNK = 1 << 16 };

#define SUM_KEY ",\n  \"manifest_sha256\": \""

typedef struct {
    char    *name;
    uint64_t size;
    char     sha256[65];
} entry;

struct mg_checkpoint_writer {
    char              *run_folder, *temp; /* temp: RUN/checkpoint-N.tmp-PID */
    mg_checkpoint_info info;
    entry             *file;
    size_t             n, cap;
};

/* ---- sums ---- */

static void hex(char out[65], const uint8_t digest[SHA256_DIGEST_LENGTH]) {
    for (int i = 0; i < SHA256_DIGEST_LENGTH; i++) snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

void mg_sha256_hex(char out[65], const void *bytes, size_t n) {
    uint8_t  digest[SHA256_DIGEST_LENGTH];
    SHA2_CTX c;
    SHA256Init(&c);
    SHA256Update(&c, bytes, n);
    SHA256Final(digest, &c);
    hex(out, digest);
}

/* Size and sum of a file; `sync` also brings it to the disk. */
static mg_status sum_file(const char *path, bool sync, uint64_t *size, char sum[65], mg_error *err) {
    uint8_t   digest[SHA256_DIGEST_LENGTH], chunk[CHUNK];
    SHA2_CTX  c;
    mg_status st = MG_OK;
    int       fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return mg_fail(err, errno == ENOENT ? MG_NOTFOUND : MG_IO, "%s: cannot be opened: %s", path, strerror(errno));
    SHA256Init(&c);
    *size = 0;
    for (ssize_t n; (n = read(fd, chunk, sizeof chunk)) != 0;) {
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            st = mg_fail(err, MG_IO, "%s: read failed: %s", path, strerror(errno));
            break;
        }
        SHA256Update(&c, chunk, (size_t)n);
        *size += (uint64_t)n;
    }
    if (!st && sync && fsync(fd)) st = mg_fail(err, MG_IO, "%s: fsync failed: %s", path, strerror(errno));
    if (close(fd) && !st) st = mg_fail(err, MG_IO, "%s: close failed: %s", path, strerror(errno));
    SHA256Final(digest, &c);
    hex(sum, digest);
    return st;
}

/* ---- names ---- */

static bool plain_name(const char *name) {
    return *name && *name != '.' && strlen(name) <= 200 && !strchr(name, '/') && strcmp(name, "MANIFEST") != 0;
}

/* The number of "checkpoint-123", -1 for any other name. */
static int64_t number_of(const char *name) {
    static const char prefix[] = "checkpoint-";
    size_t            skip = sizeof prefix - 1, digits = 0;
    if (strncmp(name, prefix, skip)) return -1;
    digits = strspn(name + skip, "0123456789");
    if (!digits || digits > 15 || name[skip + digits]) return -1;
    return strtoll(name + skip, NULL, 10);
}

static char *checkpoint_path(const char *run_folder, int64_t step, const char *suffix) {
    mg_buf b = { 0 };
    mg_buf_printf(&b, "%s/checkpoint-%lld%s", run_folder, (long long)step, suffix);
    if (suffix[0]) mg_buf_printf(&b, "%ld", (long)getpid());
    if (b.failed) mg_buf_free(&b);
    return b.data;
}

/* ---- writing ---- */

mg_status mg_checkpoint_begin(mg_checkpoint_writer **out, const char *run_folder, const mg_checkpoint_info *info,
                              mg_error *err) {
    mg_checkpoint_writer *w = mg_calloc(1, sizeof *w);
    MG_ASSERT(info->step >= 0);
    if (w) {
        w->info = *info;
        w->run_folder = mg_strdup(run_folder);
        w->temp = checkpoint_path(run_folder, info->step, ".tmp-");
    }
    mg_status st = w && w->run_folder && w->temp ? MG_OK : mg_fail(err, MG_NOMEM, "%s: no memory for a checkpoint", run_folder);
    if (!st && mg_is_folder(w->temp)) st = mg_remove_folder(w->temp, err); /* of a process that had our number */
    if (!st && mkdir(w->temp, 0777)) st = mg_fail(err, MG_IO, "%s: cannot be made: %s", w->temp, strerror(errno));
    if (!st)
        *out = w;
    else if (w) {
        free(w->run_folder);
        free(w->temp);
        free(w);
    }
    return st;
}

static void writer_free(mg_checkpoint_writer *w) {
    for (size_t i = 0; i < w->n; i++) free(w->file[i].name);
    free(w->file);
    free(w->run_folder);
    free(w->temp);
    free(w);
}

void mg_checkpoint_abort(mg_checkpoint_writer *w) {
    if (!w) return;
    mg_remove_folder(w->temp, NULL);
    writer_free(w);
}

static mg_status enter(mg_checkpoint_writer *w, const char *name, entry **out, mg_error *err) {
    MG_ASSERT(plain_name(name));
    for (size_t i = 0; i < w->n; i++) MG_ASSERT(strcmp(w->file[i].name, name) != 0);
    if (!MG_GROW(w->file, w->cap, w->n + 1)) return mg_fail(err, MG_NOMEM, "%s: no memory", w->temp);
    entry *e = &w->file[w->n];
    *e = (entry){ .name = mg_strdup(name) };
    if (!e->name) return mg_fail(err, MG_NOMEM, "%s: no memory", w->temp);
    w->n++;
    *out = e;
    return MG_OK;
}

static mg_status write_new(const char *path, const void *bytes, size_t n, mg_error *err) {
    const char *at = bytes;
    int         fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666), why = 0;
    if (fd < 0) return mg_fail(err, MG_IO, "%s: cannot be created: %s", path, strerror(errno));
    while (n && !why) {
        ssize_t k = write(fd, at, n);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) {
            why = errno;
            break;
        }
        at += k;
        n -= (size_t)k;
    }
    if (!why && fsync(fd)) why = errno;
    if (close(fd) && !why) why = errno;
    return why ? mg_fail(err, MG_IO, "%s: cannot be written: %s", path, strerror(why)) : MG_OK;
}

mg_status mg_checkpoint_add_bytes(mg_checkpoint_writer *w, const char *name, const void *bytes, size_t n, mg_error *err) {
    entry    *e = NULL;
    mg_status st = enter(w, name, &e, err);
    if (st) return st;
    char *path = mg_path_join(w->temp, name);
    if (!path) return mg_fail(err, MG_NOMEM, "%s: no memory", w->temp);
    e->size = n;
    mg_sha256_hex(e->sha256, bytes, n);
    st = write_new(path, bytes, n, err);
    free(path);
    return st;
}

mg_status mg_checkpoint_add_file(mg_checkpoint_writer *w, const char *name, mg_checkpoint_write_fn write, void *context,
                                 mg_error *err) {
    entry    *e = NULL;
    mg_status st = enter(w, name, &e, err);
    if (st) return st;
    char *path = mg_path_join(w->temp, name);
    if (!path) return mg_fail(err, MG_NOMEM, "%s: no memory", w->temp);
    st = write(context, path, err);
    if (!st) st = sum_file(path, true, &e->size, e->sha256, err);
    free(path);
    return st;
}

static void add_number(mg_buf *b, const char *key, double x) {
    mg_buf_printf(b, ",\n  \"%s\": ", key);
    if (isfinite(x))
        mg_buf_printf(b, "%.17g", x);
    else
        mg_buf_str(b, "null");
}

static void print_manifest(mg_buf *b, const mg_checkpoint_writer *w) {
    const mg_checkpoint_info *i = &w->info;
    char                      sum[65];
    mg_buf_printf(b, "{\n  \"format\": \"migaki-checkpoint\",\n  \"version\": %d,\n  \"run\": ", FORMAT_VERSION);
    mg_json_quote(b, i->run_id, strlen(i->run_id));
    mg_buf_printf(b, ",\n  \"step\": %lld", (long long)i->step);
    add_number(b, "epoch", i->epoch);
    mg_buf_str(b, ",\n  \"config_sha256\": ");
    mg_json_quote(b, i->config_hash, strlen(i->config_hash));
    mg_buf_printf(b, ",\n  \"data_position\": %lld,\n  \"tokens\": %lld", (long long)i->data_position, (long long)i->tokens);
    if (i->has_best) {
        add_number(b, "best_metric", i->best_metric);
        mg_buf_printf(b, ",\n  \"best_step\": %lld", (long long)i->best_step);
    }
    mg_buf_printf(b, ",\n  \"evals_without_improvement\": %lld,\n  \"evaluated_step\": %lld,\n  \"files\": [",
                  (long long)i->evals_without_improvement, (long long)i->evaluated_step);
    for (size_t k = 0; k < w->n; k++) {
        mg_buf_str(b, k ? ",\n    {\"name\": " : "\n    {\"name\": ");
        mg_json_quote(b, w->file[k].name, strlen(w->file[k].name));
        mg_buf_printf(b, ", \"size\": %llu, \"sha256\": \"%s\"}", (unsigned long long)w->file[k].size, w->file[k].sha256);
    }
    mg_buf_str(b, "\n  ]");
    if (b->failed) return;
    mg_sha256_hex(sum, b->data, b->len);
    mg_buf_printf(b, SUM_KEY "%s\"\n}\n", sum);
}

mg_status mg_checkpoint_commit(mg_checkpoint_writer *w, mg_error *err) {
    mg_buf    manifest = { 0 };
    char     *path = mg_path_join(w->temp, "MANIFEST"), *final = checkpoint_path(w->run_folder, w->info.step, "");
    mg_status st = MG_OK;
    print_manifest(&manifest, w);
    if (!path || !final || manifest.failed) st = mg_fail(err, MG_NOMEM, "%s: no memory", w->temp);
    if (!st) st = mg_sync_folder(w->temp, err); /* the files before the manifest that vouches for them */
    if (!st) st = write_new(path, manifest.data, manifest.len, err);
    if (!st) st = mg_sync_folder(w->temp, err);
    if (!st) st = mg_replace_folder(final, w->temp, err);
    if (!st) st = mg_sync_folder(w->run_folder, err);
    mg_buf_free(&manifest);
    free(path);
    free(final);
    if (st)
        mg_checkpoint_abort(w);
    else
        writer_free(w);
    return st;
}

/* ---- reading ---- */

static bool copy_text(char *out, size_t size, yyjson_val *v) {
    if (!yyjson_is_str(v) || yyjson_get_len(v) >= size || strlen(yyjson_get_str(v)) != yyjson_get_len(v)) return false;
    memcpy(out, yyjson_get_str(v), yyjson_get_len(v) + 1);
    return true;
}

static bool copy_count(int64_t *out, yyjson_val *v) {
    if (!yyjson_is_int(v) || (yyjson_is_uint(v) && yyjson_get_uint(v) > INT64_MAX) || yyjson_get_sint(v) < 0) return false;
    *out = yyjson_get_sint(v);
    return true;
}

static bool read_info(mg_checkpoint_info *i, yyjson_val *root) {
    yyjson_val *best = yyjson_obj_get(root, "best_step"), *epoch = yyjson_obj_get(root, "epoch");
    *i = (mg_checkpoint_info){ .best_step = -1 };
    if (!copy_text(i->run_id, sizeof i->run_id, yyjson_obj_get(root, "run"))
        || !copy_text(i->config_hash, sizeof i->config_hash, yyjson_obj_get(root, "config_sha256"))
        || !copy_count(&i->step, yyjson_obj_get(root, "step")) || !copy_count(&i->tokens, yyjson_obj_get(root, "tokens"))
        || !copy_count(&i->data_position, yyjson_obj_get(root, "data_position"))
        || !copy_count(&i->evals_without_improvement, yyjson_obj_get(root, "evals_without_improvement"))
        || !copy_count(&i->evaluated_step, yyjson_obj_get(root, "evaluated_step")))
        return false;
    i->epoch = yyjson_get_num(epoch);
    if (!best) return true;
    i->has_best = true;
    i->best_metric = yyjson_is_num(yyjson_obj_get(root, "best_metric")) ? yyjson_get_num(yyjson_obj_get(root, "best_metric")) : NAN;
    return copy_count(&i->best_step, best);
}

/* The text with its own sum right: everything before the last key. */
static bool manifest_sum_right(const char *text, size_t n) {
    static const char tail[] = "\"\n}\n";
    size_t            behind = 64 + sizeof tail - 1, key = sizeof SUM_KEY - 1;
    char              sum[65];
    if (n < behind + key || memcmp(text + n - sizeof tail + 1, tail, sizeof tail - 1)) return false;
    size_t body = n - behind - key;
    if (memcmp(text + body, SUM_KEY, key)) return false;
    mg_sha256_hex(sum, text, body);
    return !memcmp(sum, text + n - behind, 64);
}

static mg_status verify_file(const char *folder, yyjson_val *f, mg_error *err) {
    char     name[256], sum[65], found[65];
    int64_t  size;
    uint64_t there;
    if (!copy_text(name, sizeof name, yyjson_obj_get(f, "name")) || !plain_name(name)
        || !copy_count(&size, yyjson_obj_get(f, "size")) || !copy_text(sum, sizeof sum, yyjson_obj_get(f, "sha256")))
        return mg_fail(err, MG_FORMAT, "%s: MANIFEST has an entry without name, size or sum", folder);
    char *path = mg_path_join(folder, name);
    if (!path) return mg_fail(err, MG_NOMEM, "%s: no memory", folder);
    mg_status st = sum_file(path, false, &there, found, err);
    if (st == MG_NOTFOUND) st = mg_fail(err, MG_FORMAT, "%s: the file is missing", path);
    if (!st && there != (uint64_t)size)
        st = mg_fail(err, MG_FORMAT, "%s: %llu bytes, MANIFEST says %lld", path, (unsigned long long)there, (long long)size);
    if (!st && strcmp(sum, found)) st = mg_fail(err, MG_FORMAT, "%s: its SHA-256 is not the one in MANIFEST; the file is damaged", path);
    free(path);
    return st;
}

static mg_status verify_parsed(const char *folder, yyjson_val *root, mg_checkpoint_info *info, mg_error *err) {
    yyjson_val     *files = yyjson_obj_get(root, "files"), *version = yyjson_obj_get(root, "version");
    int64_t         number = number_of(mg_path_base(folder));
    mg_status       st = MG_OK;
    yyjson_arr_iter it;
    if (!yyjson_equals_str(yyjson_obj_get(root, "format"), "migaki-checkpoint"))
        return mg_fail(err, MG_FORMAT, "%s: MANIFEST is not of a checkpoint", folder);
    if (!yyjson_is_int(version) || yyjson_get_int(version) != FORMAT_VERSION)
        return mg_fail(err, MG_FORMAT, "%s: MANIFEST has version %lld, this program reads %d", folder,
                       (long long)yyjson_get_sint(version), FORMAT_VERSION);
    if (!read_info(info, root) || !yyjson_is_arr(files))
        return mg_fail(err, MG_FORMAT, "%s: MANIFEST lacks a key or has one of the wrong type", folder);
    if (number >= 0 && number != info->step)
        return mg_fail(err, MG_FORMAT, "%s: MANIFEST is of step %lld", folder, (long long)info->step);
    yyjson_arr_iter_init(files, &it);
    for (yyjson_val *f; !st && (f = yyjson_arr_iter_next(&it));) st = verify_file(folder, f, err);
    return st;
}

mg_status mg_checkpoint_verify(const char *folder, mg_checkpoint_info *out, mg_error *err) {
    mg_checkpoint_info info;
    mg_buf             text = { 0 };
    mg_json            json = { 0 };
    char              *path = mg_path_join(folder, "MANIFEST");
    if (!path) return mg_fail(err, MG_NOMEM, "%s: no memory", folder);
    mg_status st = mg_read_file(&text, path, MANIFEST_LIMIT, err);
    if (st == MG_NOTFOUND) st = mg_fail(err, MG_FORMAT, "%s: has no MANIFEST, so it was never finished", folder);
    if (!st && !manifest_sum_right(text.data ? text.data : "", text.len))
        st = mg_fail(err, MG_FORMAT, "%s: is cut off or damaged", path);
    if (!st) st = mg_json_parse(&json, text.data, text.len, path, err);
    if (!st) st = verify_parsed(folder, json.root, &info, err);
    if (!st && out) *out = info;
    mg_json_free(&json);
    mg_buf_free(&text);
    free(path);
    return st;
}

static int ascending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

mg_status mg_checkpoint_list(int64_t **steps, size_t *n, const char *run_folder, mg_error *err) {
    int64_t  *list = NULL;
    size_t    count = 0, cap = 0;
    mg_status st = MG_OK;
    DIR      *d = opendir(run_folder);
    if (!d)
        return mg_fail(err, errno == ENOENT ? MG_NOTFOUND : MG_IO, "%s: cannot be read: %s", run_folder, strerror(errno));
    for (struct dirent *e; !st && (e = readdir(d));) {
        int64_t k = number_of(e->d_name);
        if (k < 0) continue;
        if (!MG_GROW(list, cap, count + 1))
            st = mg_fail(err, MG_NOMEM, "%s: no memory", run_folder);
        else
            list[count++] = k;
    }
    closedir(d);
    if (st) {
        free(list);
        return st;
    }
    if (count) qsort(list, count, sizeof *list, ascending);
    *steps = list;
    *n = count;
    return MG_OK;
}

mg_status mg_checkpoint_newest(char **folder, mg_checkpoint_info *info, const char *run_folder, mg_buf *notes,
                               mg_error *err) {
    int64_t  *steps = NULL;
    size_t    n = 0;
    mg_error  why = { 0 };
    mg_status st = mg_checkpoint_list(&steps, &n, run_folder, err);
    if (st) return st;
    st = mg_fail(err, MG_NOTFOUND, "%s: has no checkpoint", run_folder);
    for (size_t i = n; st && i-- > 0;) {
        char *path = checkpoint_path(run_folder, steps[i], "");
        if (!path) {
            st = mg_fail(err, MG_NOMEM, "%s: no memory", run_folder);
            break;
        }
        mg_status bad = mg_checkpoint_verify(path, info, &why);
        if (!bad) {
            *folder = path;
            st = MG_OK;
            break;
        }
        if (bad == MG_NOMEM) { /* it may be whole: an older one must not take its place */
            st = mg_fail(err, bad, "%s", why.text);
            free(path);
            break;
        }
        if (notes) mg_buf_printf(notes, "%s\n", why.text);
        st = mg_fail(err, MG_NOTFOUND, "%s: has no valid checkpoint; the last trouble was: %.500s", run_folder, why.text);
        free(path);
    }
    free(steps);
    return st;
}

/* ---- keeping and deleting ---- */

static mg_status delete_checkpoint(const char *run_folder, int64_t step, mg_error *err) {
    char     *from = checkpoint_path(run_folder, step, ""), *to = checkpoint_path(run_folder, step, ".old-");
    mg_status st = from && to ? MG_OK : mg_fail(err, MG_NOMEM, "%s: no memory", run_folder);
    if (!st && rename(from, to)) st = mg_fail(err, MG_IO, "%s: cannot be renamed: %s", from, strerror(errno));
    if (!st) st = mg_remove_folder(to, err);
    free(from);
    free(to);
    return st;
}

mg_status mg_checkpoint_rotate(const char *run_folder, int64_t keep, int64_t best_step, mg_error *err) {
    int64_t  *steps = NULL;
    size_t    n = 0;
    mg_status st = mg_checkpoint_list(&steps, &n, run_folder, err);
    if (st || keep <= 0 || n <= (size_t)keep) goto done;
    char *newest = checkpoint_path(run_folder, steps[n - 1], "");
    st = newest ? mg_checkpoint_verify(newest, NULL, err) : mg_fail(err, MG_NOMEM, "%s: no memory", run_folder);
    free(newest);
    for (size_t i = 0; !st && i < n - (size_t)keep; i++)
        if (steps[i] != best_step) st = delete_checkpoint(run_folder, steps[i], err);
done:
    free(steps);
    return st;
}

void mg_checkpoint_clean(const char *run_folder) {
    DIR *d = opendir(run_folder);
    if (!d) return;
    for (struct dirent *e; (e = readdir(d));) {
        const char *suffix = strchr(e->d_name, '.');
        if (strncmp(e->d_name, "checkpoint-", 11) || !suffix || (strncmp(suffix, ".tmp-", 5) && strncmp(suffix, ".old-", 5)))
            continue;
        char *path = mg_path_join(run_folder, e->d_name);
        if (path) mg_remove_folder(path, NULL);
        free(path);
    }
    closedir(d);
}
