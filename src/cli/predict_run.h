/* predict_run.h -- a file of records through a head of a run, tuned and as it was before; for `predict` and `eval`. */
#ifndef MG_CLI_PREDICT_RUN_H
#define MG_CLI_PREDICT_RUN_H

#include "infer/bundle.h"
#include "infer/predict.h"

typedef struct mg_head_job {
    mg_bundle        *bundle; /* with heads; `before` changes them */
    const mg_backend *backend;
    const char       *path, *task; /* task NULL: by the form of the records */
    int64_t           limit, stride, max_length;
    bool              targets; /* every record must have one */
    bool              before;
} mg_head_job;

typedef struct mg_head_result {
    mg_labelled_set set;
    const mg_head  *head;
    mg_predictions  after, before; /* before: empty when not asked for */
    mg_head_score   score[2][MG_HEAD_SCORES];
    int             n; /* scores; 0 without targets */
} mg_head_result;

/* Into *out, which must not move afterwards and is to be freed also after a failure.  MG_DATA names the record that does
 * not fit; MG_MISMATCH: no head, or several, for these records. */
mg_status mg_head_run(const mg_head_job *job, mg_head_result *out, mg_error *err);
void      mg_head_result_free(mg_head_result *r);
/* A table for people, or one JSON object. */
void mg_head_show(const mg_head_result *r, const char *path, bool json, mg_buf *out);

#endif
