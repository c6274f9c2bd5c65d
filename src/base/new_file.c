/* new_file.c -- temporary file, write, fsync, rename, fsync of the folder.
 *
 * If fsync fails nothing is tried again on that descriptor: the kernel may have dropped the
 * pages and say success the second time. */
#include "base/new_file.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WRITE_STEP = 1 << 30 }; /* Linux writes at most 2 GiB - 4 KiB at once */

static mg_status cannot(const mg_new_file *f, int why, mg_error *err) {
    return mg_fail(err, MG_IO, "%s: cannot be written: %s", f->path, strerror(why));
}

mg_status mg_new_file_begin(mg_new_file *f, const char *path, mg_error *err) {
    mg_buf      temp = { 0 };
    struct stat old;
    *f = (mg_new_file){ .fd = -1 };
    if (!stat(path, &old) && !S_ISREG(old.st_mode)) /* the last step would put a file in the place of a device or pipe */
        return mg_fail(err, MG_IO, "%s: is no regular file, and would be replaced by one; choose another output", path);
    mg_buf_printf(&temp, "%s.tmp-%ld", path, (long)getpid());
    *f = (mg_new_file){ .path = mg_strdup(path), .temp = temp.data, .fd = -1 };
    if (temp.failed || !f->path) {
        mg_new_file_end(f);
        return mg_fail(err, MG_NOMEM, "%s: no memory", path);
    }
    f->fd = open(f->temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (f->fd >= 0) return MG_OK;
    mg_status st = mg_fail(err, MG_IO, "%s: cannot be created: %s", f->temp, strerror(errno));
    f->committed = true; /* nothing to delete */
    mg_new_file_end(f);
    return st;
}

mg_status mg_new_file_write(mg_new_file *f, const void *bytes, size_t n, mg_error *err) {
    const char *p = bytes;
    f->bytes += n;
    while (n) {
        ssize_t k = write(f->fd, p, n < WRITE_STEP ? n : WRITE_STEP);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return cannot(f, k ? errno : EIO, err);
        p += k;
        n -= (size_t)k;
    }
    return MG_OK;
}

mg_status mg_new_file_zeros(mg_new_file *f, size_t n, mg_error *err) {
    static const char zeros[256];
    mg_status         st = MG_OK;
    for (; n && !st; n -= n < sizeof zeros ? n : sizeof zeros)
        st = mg_new_file_write(f, zeros, n < sizeof zeros ? n : sizeof zeros, err);
    return st;
}

mg_status mg_new_file_settle(mg_new_file *f, mg_error *err) {
    if (f->settled) return MG_OK;
    int why = fsync(f->fd) ? errno : 0;
    if (close(f->fd) && !why) why = errno; /* a failed close can be the only news of a full disk */
    f->fd = -1;
    if (why) return cannot(f, why, err);
    f->settled = true;
    return MG_OK;
}

mg_status mg_new_file_commit(mg_new_file *f, mg_error *err) {
    mg_status st = mg_new_file_settle(f, err);
    if (st) return st;
    if (rename(f->temp, f->path)) return cannot(f, errno, err);
    f->committed = true;
    char *slash = strrchr(f->temp, '/');
    if (slash) slash[slash == f->temp] = 0; /* keep the slash of "/file" */
    return mg_sync_folder(slash ? f->temp : ".", err);
}

void mg_new_file_end(mg_new_file *f) {
    if (f->fd >= 0) close(f->fd);
    if (f->temp && !f->committed) unlink(f->temp);
    free(f->path);
    free(f->temp);
    *f = (mg_new_file){ .fd = -1 };
}
