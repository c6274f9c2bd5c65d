/* questions.h -- question files and the rule that says right or wrong (○×).
 *
 * One JSON object a line, or a table (CSV, TSV) whose first line has the names:
 *
 *     {"question": "BKCとは？", "expect": ["びわこ・くさつ"], "reject": ["大阪"]}
 *     {"prompt": "The Earth revolves around the", "expect": [["Sun", "sun"]]}
 *     {"question": "びわこ・くさつキャンパスの所在地は？", "answer": "滋賀県草津市", "judge": "human"}
 *     {"question": "1+1は？", "answer": ["2", "二"], "judge": "equal"}
 *     {"question": "郵便番号は？", "regex": "525-?8577"}
 *
 * `question` is a turn of a conversation, rendered with the model's chat template;
 * `prompt` is a text that the model goes on with, for what a base model knows
 * without any template.  An answer is right when every entry of `expect` occurs in
 * it (of an entry that is a list, any one), every `regex` matches somewhere in it and no entry of `reject` occurs.
 * `answer` is what is expected, shown to who judges; `judge` says how it is used: "human" (by hand; the default
 * where no rule is given), "contains" (one of them occurs) or "equal" (the whole answer is one of them, white space and
 * full stops at its ends aside).  Both sides
 * are brought into NFKC first, so ＢＫＣ equals BKC and half-width kana equal full-width
 * ones; case and white space count. */
#ifndef MG_EVAL_QUESTIONS_H
#define MG_EVAL_QUESTIONS_H

#include "text/regex.h"

typedef struct mg_phrases { /* any one of them will do */
    char **phrase;          /* [n], UTF-8 in NFKC */
    size_t n;
} mg_phrases;

typedef struct mg_question {
    char       *text;
    char       *category;  /* "category" of the record, else the file's name without .jsonl */
    char       *expected;  /* as it stands in the file, to show: "A / B, C"; "" when nothing is expected */
    bool        raw;       /* a prompt to go on with, not a question */
    mg_phrases *expect;    /* [n_expect], all must occur */
    size_t      n_expect;
    mg_phrases  reject;    /* none may occur */
    mg_phrases  answer;    /* with `equal`: the whole answer is one of them */
    bool        equal;
    mg_regex  **regex;     /* [n_regex], all must match */
    size_t      n_regex;
} mg_question;

typedef struct mg_questions {
    mg_question *question;
    size_t       n, cap;
} mg_questions;

/* Append the questions of `path` (data/records.h reads it).  MG_DATA names the line and what is wrong with it:
 * no or two texts, an unknown key, a part that is empty or no string.  On failure *q is as it was. */
mg_status mg_questions_load(mg_questions *q, const char *path, mg_error *err);
void      mg_questions_free(mg_questions *q);

/* 1 right, 0 wrong, -1 not judged (no rule is given, or memory is short). */
int mg_question_judge(const mg_question *q, const char *answer);

#endif
