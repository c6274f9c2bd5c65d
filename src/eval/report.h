/* report.h -- before and after: what training changed, question by question.
 *
 * report.json is for programs, report.html for people: one file that needs no
 * network and no other file, readable on a phone and on paper, in Japanese and English.  Whatever a model
 * wrote is text: it is escaped, and a content security policy forbids everything
 * but the page's own style and script (by their hashes).  What is derived from the rows (shares, intervals, tests,
 * warnings) is computed in report_facts.c, once for both. */
#ifndef MG_EVAL_REPORT_H
#define MG_EVAL_REPORT_H

#include "eval/ratings.h"

typedef struct mg_report_row {
    const char *question, *category; /* "target", "heldout", "neighbour", "control", ... */
    const char *expected;            /* NULL: none */
    const char *before, *after;
    int         ok_before, ok_after; /* 1 yes, 0 no, -1 not judged */
    bool        control;             /* asks for what must not be forgotten */
    bool        cut_before, cut_after; /* the answer ended because it was as long as it may be */
    const char *note;                /* NULL: none */
} mg_report_row;

typedef struct mg_report_setting {
    const char *key, *value;
    const char *origin; /* "default", "-d", "demo/gemma3.yaml:3"; NULL: unknown */
} mg_report_setting;

typedef struct mg_report_settings {
    mg_report_setting *item;
    size_t             n, cap;
    mg_buf             text; /* where keys and values lie */
} mg_report_settings;

typedef struct mg_report_curve {
    const char   *name; /* as in trainer_log.jsonl: "loss", "eval_loss", "learning_rate", "grad_norm"; "overfitting_gap" */
    const double *x, *y; /* [n], steps and values; values that are not finite are left out */
    size_t        n;
} mg_report_curve;

typedef struct mg_report_score { /* a line of the table of scores; numbers that are not finite are shown as a dash */
    const char *data, *metric, *signature;
    bool        lower_is_better;
    double      before, after, difference, low, high, p; /* [low, high]: 95% interval of the difference */
} mg_report_score;

typedef struct mg_report_text { /* likelihood of texts that training was not about: nats a token */
    const char *data, *signature;
    double      texts, tokens;
    double      before, after, difference, low, high, p;
} mg_report_text;

typedef struct mg_report {
    const char               *title, *model, *run;
    const char               *before_name, *after_name; /* two runs instead of before and after; NULL: not */
    const char               *sheet;                    /* what blind ratings are filed under; NULL: none */
    int64_t                   created; /* seconds since 1970, UTC */
    uint64_t                  seed;    /* of intervals and tests */
    const mg_report_row      *row;
    size_t                    rows;
    const mg_report_settings *settings, *evaluation; /* of the run, and of what made the report; NULL: none */
    const mg_report_curve    *curve;
    size_t                    curves;
    const mg_report_score    *score;
    size_t                    scores;
    const mg_report_text     *text;
    size_t                    texts;
    const mg_ratings         *ratings; /* item i is row i; NULL: none */
    bool                      only_after; /* there is one model and no "before" */
} mg_report;

/* Write report.json and report.html into `folder`.  lang: "ja" or "en", what the page shows first. */
mg_status mg_report_write(const mg_report *r, const char *folder, const char *lang, mg_error *err);
mg_status mg_report_json(mg_buf *b, const mg_report *r, mg_error *err);
mg_status mg_report_html(mg_buf *b, const mg_report *r, const char *lang, mg_error *err);

/* `"key": {...}`, as report.json has it. */
void mg_report_summary_json(mg_buf *b, const char *key, const mg_rating_summary *s);

/* Is a category of this name one of control questions? */
bool mg_report_is_control(const char *category);

/* Read "key: value  # origin" lines (config.yaml, mg_options_write_yaml) in place of what was there.  False: no memory. */
bool mg_report_settings_read(mg_report_settings *s, const char *yaml, size_t n);
void mg_report_settings_free(mg_report_settings *s);

/* report.json read back, to show it again together with ratings.  Ratings themselves are not read: they live in the
 * database.  MG_FORMAT names what is missing or of another kind. */
typedef struct mg_report_file mg_report_file;
mg_status        mg_report_open(mg_report_file **out, const char *path, mg_error *err);
mg_status        mg_report_parse(mg_report_file **out, const char *text, size_t n, const char *name, mg_error *err);
mg_report       *mg_report_of(mg_report_file *f); /* borrowed; pointers in it may be replaced */
void             mg_report_close(mg_report_file *f);

#endif
