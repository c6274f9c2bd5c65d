/* intern.h -- words and n-grams of one comparison as small numbers.
 *
 * Equal words get one number, and so do equal n-grams: an n-gram is the pair of the number of its first n - 1 words
 * and the number of its last word.  Nothing is hashed to a value and hoped for; numbers are equal if and only if the
 * n-grams are.  A number names a tally, three counters that the scores use as they need. */
#ifndef MG_EVAL_METRICS_INTERN_H
#define MG_EVAL_METRICS_INTERN_H

#include "base/mem.h"

typedef struct mg_tally {
    uint32_t a, b;  /* counts, e.g. of the hypothesis and the reference */
    uint32_t owner; /* whose counts they are, e.g. which reference b belongs to */
} mg_tally;

typedef struct mg_intern {
    struct mg_intern_word {
        size_t   at, len; /* in `text` */
        uint64_t hash;
        uint32_t id, mark;
    } *word;
    struct mg_intern_pair {
        uint64_t key;
        uint32_t id, mark;
    } *pair;
    size_t    words, word_cap, pairs, pair_cap;
    mg_buf    text; /* the words, copied */
    uint32_t  mark; /* slots with another mark are empty */
    mg_tally *tally; /* [n], zeroed when a number is given out */
    size_t    n, cap;
    bool      failed; /* sticky: memory is short */
} mg_intern;

void     mg_intern_clear(mg_intern *t);
void     mg_intern_free(mg_intern *t);
uint32_t mg_intern_word(mg_intern *t, const char *text, size_t len);
uint32_t mg_intern_pair(mg_intern *t, uint32_t first, uint32_t last);
/* A character is a word of one. */
uint32_t mg_intern_char(mg_intern *t, uint32_t c);

#endif
