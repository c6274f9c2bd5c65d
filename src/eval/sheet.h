/* sheet.h -- the questions of a report as raters see them: two answers each, in random order, without names.
 *
 * A sheet's id is a hash of its questions and answers, so the same answers are the same sheet wherever they were
 * generated, and other answers are another one: a rating can never be shown beside a text that its rater did not see.
 * The order is drawn from a seed, half of the questions each way round, and stored with the ratings (ratings_db.h). */
#ifndef MG_EVAL_SHEET_H
#define MG_EVAL_SHEET_H

#include "eval/report.h"

typedef struct mg_sheet_item {
    size_t      row; /* of the report; ratings name items by it */
    const char *question, *category, *expected;
    const char *answer[2]; /* before, after */
    bool        swapped;   /* "after" is shown first */
    bool        same;      /* the answers are equal */
    bool        ruled;     /* a rule has judged both */
} mg_sheet_item;

typedef struct mg_sheet {
    char           id[33];
    const char    *title;
    uint64_t       seed;
    mg_sheet_item *item; /* [n] rows that have both answers */
    size_t         n, rows;
} mg_sheet;

/* Of a report's rows; texts are borrowed.  MG_DATA: no row has two answers. */
mg_status mg_sheet_of(mg_sheet *out, const mg_report *r, uint64_t seed, mg_error *err);
void      mg_sheet_free(mg_sheet *s);
/* The id alone, "" when no row has two answers. */
void mg_sheet_id(char out[33], const mg_report *r);

/* The forms in which raters are asked. */
typedef enum mg_sheet_form { MG_FORM_RUBRIC, MG_FORM_OX, MG_FORM_BOTH } mg_sheet_form;
/* Is the item asked in this form?  Equal answers have no better one; a ruled item needs no ○×. */
bool mg_sheet_asks(const mg_sheet_item *x, mg_sheet_form form);

/* A page of one file for raters: they fill it in anywhere and send back the JSON that it saves. */
void mg_sheet_page(mg_buf *b, const mg_sheet *s, mg_sheet_form form, const char *lang);

/* That JSON:
 *
 *     {"format": "migaki ratings 1", "sheet": ID, "rater": NAME, "ratings": [
 *       {"item": 0, "first": {"terms": 4, "ok": 1}, "second": {...}, "preference": "first", "note": "..."}]}
 *
 * "first" is the answer shown first.  Everything in a rating but "item" may be missing.  MG_DATA names what is not
 * as it must be: another sheet, an item twice or not of the sheet, points out of range. */
typedef struct mg_sheet_ratings {
    char      *rater;
    mg_rating *rating; /* [n] */
    size_t     n;
} mg_sheet_ratings;
mg_status mg_sheet_import(mg_sheet_ratings *out, const mg_sheet *s, const char *text, size_t n, const char *name, mg_error *err);
void      mg_sheet_ratings_free(mg_sheet_ratings *r);

/* A rater's name: 1 to 80 bytes of UTF-8 without control characters. */
bool mg_rater_name_ok(const char *name);

#endif
