/* diversity.h -- do the answers say different things, or one thing again and again?
 *
 * An over-fitted model repeats itself, within an answer and from answer to answer. */
#ifndef MG_EVAL_METRICS_DIVERSITY_H
#define MG_EVAL_METRICS_DIVERSITY_H

#include "eval/metrics/words.h"

enum { MG_DISTINCT_ORDERS = 3 };

/* distinct-1..3 (Li et al. 2016): different n-grams of all texts by all n-grams, 0..1; 0 without any. */
mg_status mg_distinct(const mg_splitter *s, const char *const *text, size_t n, double out[MG_DISTINCT_ORDERS],
                      mg_error *err);
/* The same, and what it would be without each text: without [n][MG_DISTINCT_ORDERS] (or NULL).  A resampled corpus says its
 * texts twice and so looks poorer than it is; leaving one out does not, so intervals stand on the jackknife (resample.h). */
mg_status mg_distinct_without(const mg_splitter *s, const char *const *text, size_t n, double out[MG_DISTINCT_ORDERS],
                              double (*without)[MG_DISTINCT_ORDERS], mg_error *err);

/* A phrase that stands at least `times` times in direct succession ("はい。はい。はい。"), of 1 to 30 characters that are
 * not all white space: where it begins and how long one is.  False: there is none. */
bool mg_repeated_phrase(const char *text, size_t n, int times, mg_place *out);

/* The first phrase on which an answer got stuck: said three times or more in direct succession, twelve characters
 * or more in all, and holding a letter or digit (a dashed line is no trouble).  *times may be NULL. */
bool mg_stuck_phrase(const char *text, size_t n, mg_place *out, size_t *times);

#endif
