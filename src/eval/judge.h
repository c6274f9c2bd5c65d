/* judge.h -- a language model as a rater: what it is asked, and what its reply says.
 *
 * Judges prefer the answer that stands first (Zheng et al. 2023), so every question is asked twice, the answers the
 * other way round the second time.  Where the two replies prefer different answers, that is a tie; points are the mean of
 * both.  A reply is hostile input like any other: it must hold one JSON object with what was asked for. */
#ifndef MG_EVAL_JUDGE_H
#define MG_EVAL_JUDGE_H

#include "eval/sheet.h"

typedef struct mg_judgement { /* of one reply, about the answers as they were shown */
    double score[2][MG_CRITERIA]; /* first, second; NaN: not said */
    int    preference;            /* 0 first, 1 second, -1 tie */
    char   reason[400];           /* "" when none */
} mg_judgement;

/* The body of a request to /chat/completions: item x, `turned` shows "after" first. */
void mg_judge_request(mg_buf *b, const mg_sheet_item *x, bool turned, const char *model);

/* What the server replied: choices[0].message.content, and in it the object.  MG_DATA says what is wrong with it. */
mg_status mg_judge_reply(mg_judgement *out, const char *text, size_t n, mg_error *err);

/* Both orders as one rating; x->note (heap) has the reasons.  plain: "before" first, turned: "after" first. */
mg_status mg_judge_combine(mg_rating *out, size_t row, const mg_judgement *plain, const mg_judgement *turned, mg_error *err);

#endif
