/* file.c -- files, read whole, mapped or replaced as one. */
#include "base/file.h"

#include "base/new_file.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static mg_status open_for_read(int *out, size_t *size, const char *path, mg_error *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? mg_fail(err, MG_NOTFOUND, "%s: no such file", path)
                               : mg_fail(err, MG_IO, "%s: cannot be opened: %s", path, strerror(errno));
    struct stat st;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
        close(fd);
        return mg_fail(err, MG_NOTFOUND, "%s: is not a regular file", path);
    }
    *out = fd;
    *size = (size_t)st.st_size;
    return MG_OK;
}

mg_status mg_map_file(mg_mapping *out, const char *path, mg_error *err) {
    int       fd;
    size_t    size;
    mg_status st = open_for_read(&fd, &size, path, err);
    if (st) return st;
    void *p = size ? mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0) : NULL;
    if (p == MAP_FAILED) st = mg_fail(err, MG_IO, "%s: cannot be mapped: %s", path, strerror(errno));
    close(fd);
    if (st) return st;
    *out = (mg_mapping){ p, size };
    return MG_OK;
}

void mg_unmap_file(mg_mapping *m) {
    if (m->data) munmap((void *)m->data, m->size);
    *m = (mg_mapping){ 0 };
}

mg_status mg_read_file(mg_buf *out, const char *path, size_t limit, mg_error *err) {
    int       fd;
    size_t    size;
    mg_buf    b = { 0 };
    char      chunk[65536];
    mg_status st = open_for_read(&fd, &size, path, err);
    if (st) return st;
    if (size > limit) {
        st = mg_fail(err, MG_FORMAT, "%s: %zu bytes, at most %zu are allowed here", path, size, limit);
        goto done;
    }
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            st = mg_fail(err, MG_IO, "%s: read failed: %s", path, strerror(errno));
            goto done;
        }
        if (n == 0) break;
        mg_buf_add(&b, chunk, (size_t)n);
        if (b.len > limit) {
            st = mg_fail(err, MG_FORMAT, "%s: more than %zu bytes", path, limit);
            goto done;
        }
    }
    mg_buf_add(&b, "", 0);
    if (b.failed) st = mg_fail(err, MG_NOMEM, "%s: no memory for %zu bytes", path, size);
done:
    close(fd);
    if (st)
        mg_buf_free(&b);
    else
        *out = b;
    return st;
}

mg_status mg_sync_folder(const char *path, mg_error *err) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return mg_fail(err, MG_IO, "%s: cannot be opened: %s", path, strerror(errno));
    int bad = fsync(fd) && errno != EINVAL; /* EINVAL: a file system without folder sync */
    int why = errno;
    close(fd);
    return bad ? mg_fail(err, MG_IO, "%s: fsync failed: %s", path, strerror(why)) : MG_OK;
}

mg_status mg_replace_file(const char *path, const void *bytes, size_t n, mg_error *err) {
    mg_new_file f;
    mg_status   st = mg_new_file_begin(&f, path, err);
    if (st) return st;
    st = mg_new_file_write(&f, bytes, n, err);
    if (!st) st = mg_new_file_commit(&f, err);
    mg_new_file_end(&f);
    return st;
}

mg_status mg_make_folder(const char *path, mg_error *err) {
    char *copy = mg_strdup(path);
    if (!copy) return mg_fail(err, MG_NOMEM, "%s: no memory", path);
    mg_status st = MG_OK;
    for (char *p = copy + 1;; p++) {
        if (*p && *p != '/') continue;
        char end = *p;
        *p = 0;
        if (mkdir(copy, 0777) && errno != EEXIST)
            st = mg_fail(err, MG_IO, "%s: folder cannot be made: %s", copy, strerror(errno));
        *p = end;
        if (!end || st) break;
    }
    if (!st && !mg_is_folder(copy)) st = mg_fail(err, MG_IO, "%s: exists and is no folder", path);
    free(copy);
    return st;
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *at) {
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

mg_status mg_remove_folder(const char *path, mg_error *err) {
    if (!nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT)) return MG_OK;
    return mg_fail(err, MG_IO, "%s: cannot be removed: %s", path, strerror(errno));
}

bool mg_is_folder(const char *path) {
    struct stat st;
    return !stat(path, &st) && S_ISDIR(st.st_mode);
}

bool mg_is_file(const char *path) {
    struct stat st;
    return !stat(path, &st) && S_ISREG(st.st_mode);
}

char *mg_path_join(const char *folder, const char *name) {
    mg_buf b = { 0 };
    mg_buf_printf(&b, "%s/%s", folder, name);
    if (b.failed) mg_buf_free(&b);
    return b.data;
}

const char *mg_path_base(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static mg_status not_in_place(const char *path, int why, mg_error *err) {
    return mg_fail(err, MG_IO, "%s: cannot be put in place: %s", path, strerror(why));
}

static mg_status replace_in_two_steps(const char *path, const char *made, mg_error *err) {
    mg_buf old = { 0 };
    mg_buf_printf(&old, "%s.old-%ld", path, (long)getpid());
    mg_status st = old.failed ? mg_fail(err, MG_NOMEM, "%s: no memory", path) : MG_OK;
    if (!st && rename(path, old.data)) st = not_in_place(path, errno, err);
    if (!st && rename(made, path)) {
        st = not_in_place(path, errno, err);
        rename(old.data, path);
    } else if (!st)
        mg_remove_folder(old.data, NULL);
    mg_buf_free(&old);
    return st;
}

mg_status mg_replace_folder(const char *path, const char *made, mg_error *err) {
    if (!rename(made, path)) return MG_OK;
    if (errno != ENOTEMPTY && errno != EEXIST) return not_in_place(path, errno, err);
    if (renameat2(AT_FDCWD, made, AT_FDCWD, path, RENAME_EXCHANGE)) return replace_in_two_steps(path, made, err);
    mg_remove_folder(made, NULL);
    return MG_OK;
}
