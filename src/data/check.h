/* check.h -- look over training data before anything is trained on it. */
#ifndef MG_DATA_CHECK_H
#define MG_DATA_CHECK_H

#include "data/dataset.h"

enum { MG_CHECK_EXAMPLES = 5 };
/* Records with one peculiarity: how many, and the lines of the first few. */
typedef struct mg_finding {
    int64_t count;
    int64_t line[MG_CHECK_EXAMPLES];
} mg_finding;

typedef struct mg_data_report {
    const char *form, *encoding, *format;
    int64_t     records, usable;                /* read; make a sample with something to train */
    int64_t     tokens, labelled;               /* of the usable ones */
    int32_t     shortest, median, p95, longest; /* tokens of a sample */
    mg_finding  bad;                            /* cannot be read, or are of another form */
    mg_finding  too_long;                       /* longer than max_length */
    mg_finding  no_label;                       /* nothing to train */
    mg_finding  duplicate;                      /* question and answer stood before */
    mg_finding  contradiction;                  /* the question stood before with another answer */
    mg_finding  empty_answer;
    mg_finding  echo;  /* the answer is the question */
    mg_buf      notes; /* why records are bad: one line each, the first few */
} mg_data_report;

/* Reads everything whatever the options' on_... say; chat->tokenizer may be NULL, then nothing is counted in
 * tokens. */
mg_status mg_data_check(mg_data_report *out, const char *path, const mg_data_options *o, const mg_chat *chat,
                        mg_error *err);
void      mg_data_report_free(mg_data_report *r);

/* Lines for people, and one JSON object. */
void mg_data_report_text(const mg_data_report *r, mg_buf *out);
void mg_data_report_json(const mg_data_report *r, mg_buf *out);

#endif
