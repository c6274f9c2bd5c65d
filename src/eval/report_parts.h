/* report_parts.h -- what the files of the report share. */
#ifndef MG_EVAL_REPORT_PARTS_H
#define MG_EVAL_REPORT_PARTS_H

#include "eval/page.h"
#include "eval/report_facts.h"

enum { MG_REPORT_CATEGORIES = 100 }; /* more are names, not groups: shown together only */

extern const char *const mg_report_flaw_names[MG_ANSWER_FLAWS];
extern const char *const mg_report_warning_names[MG_WARNINGS];

void mg_report_json_with(mg_buf *b, const mg_report *r, const mg_report_facts *f);
void mg_report_html_with(mg_buf *b, const mg_report *r, const mg_report_facts *f, const char *lang);

/* ---- the page ---- */

typedef struct mg_report_page {
    mg_page                page;
    const mg_report       *r;
    const mg_report_facts *f;
} mg_report_page;

void mg_report_questions(const mg_report_page *p); /* the table of questions with its filters */
void mg_report_rated(const mg_report_page *p);     /* what people and judges said */
/* The category in both languages where it is one of the known ones. */
void mg_report_category_text(const mg_report_page *p, const char *category, bool as_attributes);
/* Cells of a table; numbers that are not finite are a dash. */
void mg_report_heading(const mg_report_page *p, const char *en, const char *ja);
void mg_report_column(const mg_report_page *p, bool number, const char *en, const char *ja);
void mg_report_number(const mg_report_page *p, double x, const char *format);
void mg_report_difference(const mg_report_page *p, double d, double low, double high, double pvalue, bool lower_is_better, double scale,
                          int decimals);

#endif
