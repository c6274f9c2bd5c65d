/* new_file.h -- a file that appears under its name only when it is whole.
 *
 * It is written as NAME.tmp-PID beside its place.  Settling it makes sure that the bytes are on
 * the disk; then it can be opened and checked as f.temp; then it is renamed.  Whatever goes
 * wrong before that, nothing stands at the name that was not there before.  What is no regular file (a device, a pipe, a
 * folder) is not replaced: MG_IO.
 *
 *     mg_new_file_begin(&f, path, err)
 *     mg_new_file_write(&f, bytes, n, err)   (many times)
 *     mg_new_file_settle(&f, err)            (optional)
 *     mg_new_file_commit(&f, err)
 *     mg_new_file_end(&f)                    (always; deletes what was not committed) */
#ifndef MG_BASE_NEW_FILE_H
#define MG_BASE_NEW_FILE_H

#include "base/mem.h"

typedef struct mg_new_file {
    char    *path, *temp;
    int      fd; /* -1: closed */
    bool     settled, committed;
    uint64_t bytes; /* written so far */
} mg_new_file;

mg_status mg_new_file_begin(mg_new_file *f, const char *path, mg_error *err);
/* MG_IO when the disk is full or broken; then only mg_new_file_end may follow. */
mg_status mg_new_file_write(mg_new_file *f, const void *bytes, size_t n, mg_error *err);
mg_status mg_new_file_zeros(mg_new_file *f, size_t n, mg_error *err);
/* All bytes are on the disk, the file is closed. */
mg_status mg_new_file_settle(mg_new_file *f, mg_error *err);
mg_status mg_new_file_commit(mg_new_file *f, mg_error *err);
void      mg_new_file_end(mg_new_file *f); /* zeroed with fd -1, or after a failed begin: fine */

#endif
