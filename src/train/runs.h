/* runs.h -- all runs: finding one by name, and the database of them.
 *
 * The folders are the truth.  runs.db (SQLite, write-ahead log) holds runs, metrics
 * and samples so that lists and comparisons need not read every folder; it is
 * made again from the folders when it is missing or damaged. */
#ifndef MG_TRAIN_RUNS_H
#define MG_TRAIN_RUNS_H

#include "base/mem.h"

typedef struct mg_runs mg_runs;

typedef struct mg_run_row {
    char   *id, *name, *folder, *model, *method, *status;
    int64_t created; /* seconds since 1970, UTC */
    int64_t step, max_steps;
    double  loss, eval_loss; /* the last ones; NaN: none */
} mg_run_row;

typedef struct mg_run_rows {
    mg_run_row *row;
    size_t      n, cap;
} mg_run_rows;
void mg_run_rows_free(mg_run_rows *r);

/* The folder that runs are made in: MIGAKI_RUNS, else "runs". */
const char *mg_runs_root(void);

/* Open ROOT/runs.db, making it (and ROOT) when it is not there; a damaged one is set aside and made
 * again from the folders. */
mg_status mg_runs_open(mg_runs **out, const char *root, mg_error *err);
void      mg_runs_close(mg_runs *db);

/* RUN as users write it: `last`, a name, or a folder.  *folder is a heap string.  MG_NOTFOUND names
 * the nearest.  Works without a database. */
mg_status mg_runs_resolve(char **folder, const char *root, const char *run, mg_error *err);

mg_status mg_runs_list(mg_run_rows *out, mg_runs *db, mg_error *err); /* newest first */
/* Make everything again from the folders under ROOT, and from those elsewhere that the database knows. */
mg_status mg_runs_rebuild(mg_runs *db, mg_error *err);

mg_status mg_runs_put(mg_runs *db, const mg_run_row *row, mg_error *err);
mg_status mg_runs_state(mg_runs *db, const char *id, const char *status, int64_t step, int64_t max_steps, mg_error *err);
mg_status mg_runs_metric(mg_runs *db, const char *id, int64_t step, const char *name, double value, mg_error *err);
mg_status mg_runs_sample(mg_runs *db, const char *id, int64_t step, int index, const char *prompt, const char *answer,
                         mg_error *err);
mg_status mg_runs_rewind(mg_runs *db, const char *id, int64_t step, mg_error *err);
mg_status mg_runs_begin(mg_runs *db, mg_error *err); /* several writes as one */
mg_status mg_runs_commit(mg_runs *db, mg_error *err);

/* The folder and its rows.  MG_MISMATCH when a process works in it; MG_FORMAT when it holds no run. */
mg_status mg_runs_remove(mg_runs *db, const char *folder, mg_error *err);

#endif
