/* score.h -- how likely a model finds a text, token by token. */
#ifndef MG_INFER_SCORE_H
#define MG_INFER_SCORE_H

#include "model/model.h"

/* nll[i] = -log p(ids[i + 1] | ids[0..i]), [n - 1], natural logarithm.  MG_TRUNCATED when the model was opened for
 * fewer positions, MG_MISMATCH for an id that it does not have. */
mg_status mg_score(const mg_model *m, const mg_backend *b, const int32_t *ids, int64_t n, bool adapters_off,
                   float *nll, mg_error *err);

/* One of several texts that are scored in one pass, side by side. */
typedef struct mg_score_text {
    const int32_t *ids; /* [n] */
    int64_t        n, from; /* tokens from..n-1 are scored, 1 <= from */
    float         *nll; /* [n - from] */
    int32_t       *top; /* [n - from] the most likely token at each of these places; NULL: not wanted */
} mg_score_text;
mg_status mg_score_texts(const mg_model *m, const mg_backend *b, const mg_score_text *text, size_t n, bool adapters_off,
                         mg_error *err);

/* The logits of every position in order, soft cap applied; `logit` [vocab] is borrowed during the call. */
typedef void (*mg_logits_fn)(void *context, int64_t position, const float *logit);
mg_status mg_score_logits(const mg_model *m, const mg_backend *b, const int32_t *ids, int64_t n, bool adapters_off,
                          mg_logits_fn f, void *context, mg_error *err);

#endif
