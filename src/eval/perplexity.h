/* perplexity.h -- perplexity of a text of any length, with max_length and stride as in Hugging Face's recipe
 * ("Perplexity of fixed-length models").
 *
 * Windows of max_length tokens begin every `stride` tokens; of each only the tokens that no window before has scored
 * count, the others are context.  The recipe multiplies each window's mean by one token less than it scored (an
 * internal shift that only the first window has); `perplexity` does so too, to be comparable, and `exact` is over
 * every scored token.  Pitfalls: numbers with different tokenizers, max_length or stride cannot be compared; a stride
 * of max_length gives tokens at the beginning of windows no context and makes every model look worse. */
#ifndef MG_EVAL_PERPLEXITY_H
#define MG_EVAL_PERPLEXITY_H

#include "model/model.h"

typedef struct mg_perplexity {
    double  perplexity, mean_nll; /* the recipe's */
    double  exact;                /* exp(sum of nll / tokens) */
    double  nll;                  /* sum over all scored tokens, natural logarithm */
    int64_t tokens, correct;      /* scored; those that were the most likely one */
    int64_t windows;
} mg_perplexity;

/* How many windows a text of n tokens has. */
int64_t mg_perplexity_windows(int64_t n, int64_t max_length, int64_t stride);

/* ids [n], n >= 2; 1 <= stride <= max_length, 2 <= max_length <= the positions of the model. */
mg_status mg_perplexity_of(const mg_model *m, const mg_backend *b, const int32_t *ids, int64_t n, int64_t max_length,
                           int64_t stride, bool adapters_off, mg_perplexity *out, mg_error *err);

/* The same with what each window adds, window [mg_perplexity_windows, 4]: the recipe's weighted sum of nll and its weight
 * (perplexity is exp of the one by the other), tokens, correct ones.  For intervals: windows are the segments of a text. */
mg_status mg_perplexity_by_window(const mg_model *m, const mg_backend *b, const int32_t *ids, int64_t n, int64_t max_length,
                                  int64_t stride, bool adapters_off, double *window, mg_perplexity *out, mg_error *err);

#endif
