/* run_impl.h -- what run.c and runs.c both know about a run's folder. */
#ifndef MG_TRAIN_RUN_IMPL_H
#define MG_TRAIN_RUN_IMPL_H

#include "base/json.h"
#include "train/run.h"
#include "train/runs.h"

/* Take RUN/.lock: a descriptor that holds it until it is closed, in *fd.  MG_MISMATCH: someone else has it. */
mg_status mg_run_lock(int *fd, const char *folder, mg_error *err);
bool      mg_run_is_locked(const char *folder); /* looks, without taking it */

/* Id, name, model, method and creation time from environment.json, status and steps from
 * trainer_state.json when it is there.  MG_FORMAT: the folder holds no run. */
mg_status mg_run_identify(mg_run_row *out, const char *folder, mg_error *err);
void      mg_run_row_free(mg_run_row *r);

#endif
