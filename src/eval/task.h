/* task.h -- test sets as they lie in files: what is asked, what can be answered, what is right.
 *
 * The form of a file is recognised by the keys of its first record; each form is a row:
 *
 *     jcommonsenseqa  {"question", "choice0".."choice4", "label": 2}
 *     jnli            {"sentence1", "sentence2", "label": "entailment"}
 *     jsquad          {"data": [{"paragraphs": [{"context", "qas": [{"question", "answers": [{"text"}]}]}]}]}
 *     jmmlu           {"question", "A", "B", "C", "D", "answer": "B"}, also CSV with a line of names
 *     choices         {"question", "choices": ["...", ...], "answer": 0 or a choice}
 *     judged          {"question" or "prompt", "expect", "reject", "regex", "answer" with "judge"}: ○× (questions.h)
 *     answers         {"question" or "prompt" or "instruction", "answer(s)" or "reference(s)" or "output" or "completion"}
 *     text            {"text"}: perplexity, also a plain .txt file */
#ifndef MG_EVAL_TASK_H
#define MG_EVAL_TASK_H

#include "base/json.h"
#include "eval/questions.h"

typedef enum mg_task_kind { /* how an answer is got and scored */
    MG_TASK_CHOICE,  /* one of several */
    MG_TASK_ANSWER,  /* generated, held against references */
    MG_TASK_JUDGED,  /* generated, right or wrong */
    MG_TASK_TEXT,    /* likelihood only */
} mg_task_kind;

typedef struct mg_item {
    char  *prompt;     /* what the model is asked */
    char **choice;     /* [n] for MG_TASK_CHOICE: the texts to choose from; for MG_TASK_ANSWER: the references */
    size_t n;
    int    gold;       /* index of the right choice */
    char  *category;   /* the record's "category" or "subject", else the file's name */
    bool   raw;        /* go on from the prompt, no chat template */
} mg_item;

typedef struct mg_task {
    const char  *form;
    mg_task_kind kind;
    bool         same_choices; /* labels mean the same in every item: precision, recall and F1 by class make sense */
    mg_item     *item;
    size_t       n, cap;
    mg_questions questions; /* MG_TASK_JUDGED: question i belongs to item i */
    char        *name;      /* the file's name without folder and ending */
} mg_task;

/* MG_DATA names the record that does not fit.  `limit` items at most, 0: all. */
mg_status mg_task_load(mg_task *out, const char *path, size_t limit, mg_error *err);
void      mg_task_free(mg_task *t);

#endif
