/* forgetting.h -- is a model still as good at texts that training was not about? */
#ifndef MG_CLI_FORGETTING_H
#define MG_CLI_FORGETTING_H

#include "cli/eval_run.h"
#include "eval/report.h"

/* Texts for the forgetting column, a .txt file line by line.  Lines without two tokens have no likelihood and are left
 * out.  MG_DATA when nothing is left. */
mg_status mg_forgetting_prepare(mg_task *t, const char *path, const mg_bundle *b, mg_error *err);
/* Nats a token before and after, with interval and paired test over the texts.  Borrows names from t. */
mg_status mg_forgetting_measure(const mg_task *t, const mg_eval_settings *s, mg_report_text *out, mg_error *err);
/* A line for each. */
void mg_forgetting_show(mg_buf *b, const mg_report_text *t, size_t n);

#endif
