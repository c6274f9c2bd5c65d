/* file.h -- read, map and replace files.
 *
 * Files that may be mapped by someone are never truncated: a new version is
 * written beside the old one, synced and renamed over it. */
#ifndef MG_BASE_FILE_H
#define MG_BASE_FILE_H

#include "base/mem.h"

/* A read-only mapping of a whole file.  `data` is NULL for an empty file. */
typedef struct mg_mapping {
    const uint8_t *data;
    size_t         size;
} mg_mapping;

mg_status mg_map_file(mg_mapping *out, const char *path, mg_error *err);
void      mg_unmap_file(mg_mapping *m);

/* The whole file in memory with a NUL behind it; refuses more than `limit` bytes. */
mg_status mg_read_file(mg_buf *out, const char *path, size_t limit, mg_error *err);

/* Write `n` bytes to `path` so that a reader sees the old file or the new one,
 * never a part: temporary file, write, fsync, rename, fsync of the folder. */
mg_status mg_replace_file(const char *path, const void *bytes, size_t n, mg_error *err);

mg_status mg_make_folder(const char *path, mg_error *err); /* and its parents; existing is fine */
bool      mg_is_folder(const char *path);
bool      mg_is_file(const char *path);
mg_status mg_sync_folder(const char *path, mg_error *err);
/* Give the folder `made` the name `path`.  A folder that stands there changes names with it in one step and is then
 * deleted: a reader sees the old one or the new one, never none.  A file system that cannot exchange gets two steps, the
 * first of which is taken back when the second fails.  Of the old one what cannot be deleted stays under the name `made`
 * (or PATH.old-PID).  MG_IO: both are as they were. */
mg_status mg_replace_folder(const char *path, const char *made, mg_error *err);
/* Delete a folder with all that is in it, following no links.  MG_IO: something stayed. */
mg_status mg_remove_folder(const char *path, mg_error *err);

/* "folder/name" into a heap string, NULL when memory is short. */
char *mg_path_join(const char *folder, const char *name);
/* The part behind the last slash. */
const char *mg_path_base(const char *path);

#endif
