/* report_run.h -- what a report says beside its questions: the run's curves and settings. */
#ifndef MG_CLI_REPORT_RUN_H
#define MG_CLI_REPORT_RUN_H

#include "base/option.h"
#include "eval/report.h"

typedef struct mg_run_records {
    mg_report_settings settings, evaluation;
    mg_report_curve   *curve;
    size_t             curves, cap;
} mg_run_records;

/* From the run's folder (NULL: there is none; what it does not hold is left out) and from the command's own options. */
mg_status mg_run_records_read(mg_run_records *out, const char *run, const mg_options *o, mg_error *err);
void      mg_run_records_free(mg_run_records *r);
void      mg_run_records_show(mg_report *report, const mg_run_records *r); /* borrowed */

#endif
