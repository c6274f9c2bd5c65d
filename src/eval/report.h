/* report.h -- before and after: what training changed, question by question.
 *
 * report.json is for programs, report.html for people: one file that needs no
 * network and no other file, readable on a phone and on paper.  Whatever a model
 * wrote is text: it is escaped, and a content security policy forbids everything
 * but the page's own style and script (by their hashes). */
#ifndef MG_EVAL_REPORT_H
#define MG_EVAL_REPORT_H

#include "base/mem.h"

typedef struct mg_report_row {
    const char *question, *category; /* "target", "heldout", "neighbour", "control", ... */
    const char *expected;            /* NULL: none */
    const char *before, *after;
    int         ok_before, ok_after; /* 1 yes, 0 no, -1 not judged */
    const char *note;                /* NULL: none */
} mg_report_row;

typedef struct mg_report_setting {
    const char *key, *value;
} mg_report_setting;

typedef struct mg_report_curve {
    const char   *name; /* "loss", "eval_loss" */
    const double *x, *y; /* [n], steps and values; values that are not finite are left out */
    size_t        n;
} mg_report_curve;

typedef struct mg_report_score { /* a line of the table of scores; numbers that are not finite are shown as a dash */
    const char *data, *metric, *signature;
    bool        lower_is_better;
    double      before, after, difference, low, high, p; /* [low, high]: 95% interval of the difference */
} mg_report_score;

typedef struct mg_report {
    const char              *title, *model, *run;
    int64_t                  created; /* seconds since 1970, UTC */
    const mg_report_row     *row;
    size_t                   rows;
    const mg_report_setting *setting;
    size_t                   settings;
    const mg_report_curve   *curve;
    size_t                   curves;
    const mg_report_score   *score;
    size_t                   scores;
    bool                     only_after; /* there is one model and no "before" */
} mg_report;

/* Write report.json and report.html into `folder`.  lang: "ja" or "en". */
mg_status mg_report_write(const mg_report *r, const char *folder, const char *lang, mg_error *err);
void      mg_report_json(mg_buf *b, const mg_report *r);
void      mg_report_html(mg_buf *b, const mg_report *r, const char *lang);

#endif
