/* predict.h -- what a head says of records, and how often it is right.
 *
 *   classification        accuracy, f1 (macro, as scikit-learn)
 *   regression            mse, pearson, spearman
 *   token_classification  accuracy of words; precision, recall, f1 of entities, as seqeval counts them
 *   question_answering    em, f1 of characters after NFKC (JSQuAD's scores), the best of several references
 *
 * All but mse are parts of one. */
#ifndef MG_INFER_PREDICT_H
#define MG_INFER_PREDICT_H

#include "data/labelled.h"
#include "model/head.h"

typedef struct mg_prediction {
    int32_t  label;       /* class; -1: none */
    float   *probability; /* [columns] of classes */
    double   value;       /* a number */
    int32_t *tag;         /* [n_words] -1: none */
    mg_span  place;       /* of an answer in the context; empty: none */
    double   score, none; /* logits of the best answer, and of there being none */
    bool     seen;
} mg_prediction;

typedef struct mg_predictions {
    const mg_labelled_set *set;
    const mg_head         *head;
    bool                   no_answer; /* there may be none */
    mg_prediction         *x;         /* [set->n] */
} mg_predictions;

mg_status mg_predictions_open(mg_predictions *p, const mg_labelled_set *set, const mg_head *head, bool no_answer, mg_error *err);
void      mg_predictions_free(mg_predictions *p);
/* Take in a sample, z [sample->n, columns]: the head's logits of its rows. */
void      mg_predictions_take(mg_predictions *p, const mg_sample *sample, const float *z);
/* One line of JSON about item i. */
void      mg_predictions_write(const mg_predictions *p, size_t i, mg_buf *out);

enum { MG_HEAD_SCORES = 4 };
typedef struct mg_head_score {
    const char *name; /* "f1" */
    double      value; /* NaN: not defined */
} mg_head_score;
/* Scores over the items with a target; the first is the one to look at. */
int mg_predictions_score(const mg_predictions *p, mg_head_score score[MG_HEAD_SCORES], mg_error *err);
/* Is this the name of such a score?  *lower: less is better. */
bool mg_head_score_is(const char *name, bool *lower);

/* All samples of d, made of p->set, through the model on a tape of its own.  MG_STOPPED when `cancelled` says so. */
struct mg_backend;
mg_status mg_predict(mg_predictions *p, const mg_model *m, const mg_backend *b, const mg_dataset *d, bool adapters_off, bool (*cancelled)(void),
                     mg_error *err);

#endif
