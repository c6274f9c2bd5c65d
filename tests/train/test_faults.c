/* test_faults.c -- every system call of saving a checkpoint fails once, each in turn.
 *
 * write, fsync, open, close, rename and mkdir of this program are ours: EIO, ENOSPC and a full stop of the disk must
 * leave the older checkpoint valid and the run able to save again; EINTR and short writes must go unnoticed. */
#include "support.h"

#include "base/file.h"
#include "train/checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef enum { WRITE, FSYNC, OPEN, CLOSE, RENAME, MKDIR, CALLS } call;
static const char *const names[CALLS] = { "write", "fsync", "open", "close", "rename", "mkdir" };

static struct {
    bool on, for_good;
    call which;
    long left;  /* calls before the one that fails; afterwards negative */
    int  error; /* 0: a short write */
    long seen[CALLS], failed;
} fault;

static bool fails(call c) {
    if (!fault.on) return false;
    fault.seen[c]++;
    if (c != fault.which) return false;
    bool now = fault.left == 0 || (fault.for_good && fault.left < 0);
    fault.left--;
    fault.failed += now;
    return now;
}

ssize_t write(int fd, const void *bytes, size_t n) {
    if (fails(WRITE)) {
        if (fault.error) return errno = fault.error, -1;
        if (n > 1) n /= 2;
    }
    return syscall(SYS_write, fd, bytes, n);
}
int fsync(int fd) { return fails(FSYNC) ? (errno = fault.error, -1) : (int)syscall(SYS_fsync, fd); }
int close(int fd) {
    int bad = (int)syscall(SYS_close, fd); /* Linux closes it even when it reports an error */
    return fails(CLOSE) ? (errno = fault.error, -1) : bad;
}
int open(const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    return fails(OPEN) ? (errno = fault.error, -1) : (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}
int rename(const char *from, const char *to) {
    return fails(RENAME) ? (errno = fault.error, -1) : (int)syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
}
int mkdir(const char *path, mode_t mode) {
    return fails(MKDIR) ? (errno = fault.error, -1) : (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}

static mg_status write_weights(void *context, const char *path, mg_error *err) {
    char bytes[5000];
    memset(bytes, *(int *)context, sizeof bytes);
    return mg_replace_file(path, bytes, sizeof bytes, err);
}

static mg_status save(const char *run, int64_t step, mg_error *err) {
    mg_checkpoint_writer *w = NULL;
    mg_checkpoint_info    info = { .run_id = "r", .step = step };
    int                   fill = (int)step;
    mg_status             st = mg_checkpoint_begin(&w, run, &info, err);
    if (st) return st;
    st = mg_checkpoint_add_bytes(w, "state.json", "{\"step\": 1}\n", 12, err);
    if (!st) st = mg_checkpoint_add_file(w, "weights", write_weights, &fill, err);
    if (!st) return mg_checkpoint_commit(w, err);
    mg_checkpoint_abort(w);
    return st;
}

static int64_t newest(const char *run) {
    mg_checkpoint_info info;
    char              *folder = NULL;
    mg_error           err;
    assert_ok(mg_checkpoint_newest(&folder, &info, run, NULL, &err), err);
    free(folder);
    return info.step;
}

/* One save with call number `at` of a kind failing; false: there are not so many. */
static bool attempt(call which, long at, int error, bool for_good) {
    char    *run = make_temp_folder();
    mg_error err = { 0 };
    assert_ok(save(run, 1, &err), err);
    memset(&fault, 0, sizeof fault);
    fault.which = which;
    fault.left = at;
    fault.error = error;
    fault.for_good = for_good;
    fault.on = true;
    mg_status st = save(run, 2, &err);
    fault.on = false;
    bool hit = fault.failed > 0, harmless = !error || (error == EINTR && which == WRITE);
    if (hit && harmless && st) fail_msg("%s %ld, error %d: the save fails: %s", names[which], at, error, err.text);
    if (hit && !harmless && st && st != MG_IO) fail_msg("%s %ld, error %d: E%d %s", names[which], at, error, st, err.text);
    if (!st || !hit) assert_ok(st, err);
    /* what counts is valid: the new one when it was saved, else the old one; the last rename may have happened before an
     * error of the folder's fsync, then the new one is whole */
    int64_t found = newest(run);
    if (found != 2 && (found != 1 || !st)) fail_msg("%s %ld, error %d: the newest is %lld", names[which], at, error, (long long)found);
    mg_checkpoint_clean(run);
    assert_ok(save(run, 3, &err), err); /* the disk is well again */
    assert_int_equal(newest(run), 3);
    remove_temp_folder(run);
    return hit;
}

static void test_each_call(void **state) {
    static const int errors[] = { EIO, ENOSPC, EINTR, 0 };
    int              faults = 0;
    (void)state;
    for (int c = 0; c < CALLS; c++)
        for (size_t e = 0; e < sizeof errors / sizeof *errors; e++)
            for (int good = 0; good < 2; good++) {
                bool endless = good && (errors[e] == EINTR || !errors[e]); /* EINTR for ever is no disk */
                if (endless || (!errors[e] && c != WRITE) || (errors[e] == EINTR && c != WRITE)) continue;
                long at = 0;
                while (attempt((call)c, at, errors[e], good)) at++, faults++;
                if (!at) fail_msg("%s is never called", names[c]);
            }
    print_message("%d faults, an older or the new checkpoint valid after each\n", faults);
    assert_true(faults >= 60);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_each_call) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
