/* checkpoint.h -- checkpoints as folders that are either whole or not there.
 *
 * A checkpoint is written into `checkpoint-N.tmp-PID`, every file is synced and
 * entered with size and SHA-256 into MANIFEST, and the folder is renamed to
 * `checkpoint-N` as the very last thing.  A folder without a valid MANIFEST does
 * not exist for anyone.  What is inside is the trainer's business:
 *
 *     mg_checkpoint_begin(&w, run_folder, &info, err)
 *     mg_checkpoint_add_bytes(w, "trainer_state.json", text, n, err)
 *     mg_checkpoint_add_file(w, "adapter_model.safetensors", write_adapter, context, err)
 *     mg_checkpoint_commit(w, err)          (frees w, also on failure)
 *     mg_checkpoint_rotate(run_folder, keep, best_step, err)
 *
 * Any failure (MG_IO: disk full and the like) leaves the older checkpoints as they
 * are; the run can go on and try again at the next step.  After a failed add only
 * mg_checkpoint_abort may follow. */
#ifndef MG_TRAIN_CHECKPOINT_H
#define MG_TRAIN_CHECKPOINT_H

#include "base/mem.h"

/* What MANIFEST says about the run at that step. */
typedef struct mg_checkpoint_info {
    char    run_id[64];
    int64_t step;
    double  epoch;
    char    config_hash[65];  /* SHA-256 of what must agree on resume, hex; see mg_sha256_hex */
    int64_t data_position;    /* samples drawn since the run began */
    int64_t tokens;           /* trained so far */
    bool    has_best;         /* early stopping: */
    double  best_metric;
    int64_t best_step;
    int64_t evals_without_improvement;
    int64_t evaluated_step;   /* of the newest evaluation that the above counts; 0: none */
} mg_checkpoint_info;

typedef struct mg_checkpoint_writer mg_checkpoint_writer;

mg_status mg_checkpoint_begin(mg_checkpoint_writer **out, const char *run_folder, const mg_checkpoint_info *info,
                              mg_error *err);
/* `name` is a plain file name. */
mg_status mg_checkpoint_add_bytes(mg_checkpoint_writer *w, const char *name, const void *bytes, size_t n, mg_error *err);
/* `write` creates the file at `path`; it is then read back, summed and synced. */
typedef mg_status (*mg_checkpoint_write_fn)(void *context, const char *path, mg_error *err);
mg_status mg_checkpoint_add_file(mg_checkpoint_writer *w, const char *name, mg_checkpoint_write_fn write, void *context,
                                 mg_error *err);
mg_status mg_checkpoint_commit(mg_checkpoint_writer *w, mg_error *err);
void      mg_checkpoint_abort(mg_checkpoint_writer *w); /* NULL is fine */

/* Read MANIFEST and hold every file against it.  MG_FORMAT names what is wrong. `out` may be NULL. */
mg_status mg_checkpoint_verify(const char *folder, mg_checkpoint_info *out, mg_error *err);

/* The newest valid checkpoint of a run, by number.  *folder is a heap string.  Invalid ones on the
 * way are named in `notes` (may be NULL), one line each.  MG_NOTFOUND: there is none. */
mg_status mg_checkpoint_newest(char **folder, mg_checkpoint_info *info, const char *run_folder, mg_buf *notes,
                               mg_error *err);

/* Numbers of the checkpoints that are there, ascending (not verified).  free() *steps. */
mg_status mg_checkpoint_list(int64_t **steps, size_t *n, const char *run_folder, mg_error *err);

/* Keep the newest `keep` checkpoints (0: all) and that of `best_step` (-1: none), delete the others.
 * The newest is read back first; when it is not valid nothing is deleted and its error returned. */
mg_status mg_checkpoint_rotate(const char *run_folder, int64_t keep, int64_t best_step, mg_error *err);

/* Remove what a killed save left behind.  Only for the holder of the run's lock. */
void mg_checkpoint_clean(const char *run_folder);

/* SHA-256 of bytes as 64 hex digits and a NUL. */
void mg_sha256_hex(char out[65], const void *bytes, size_t n);

#endif
