/* ratings.h -- what people (and language models) thought of two answers to each question.
 *
 * Raters see the answers in random order without knowing which is which; here they are sides again: 0 before (or A),
 * 1 after (or B).  Points are 1..5 on four criteria, right or wrong is 1 or 0; whatever a rater left out is NaN. */
#ifndef MG_EVAL_RATINGS_H
#define MG_EVAL_RATINGS_H

#include "eval/metrics/agreement.h"
#include "eval/metrics/resample.h"

typedef struct mg_criterion {
    const char *key, *en, *ja;
    int         least, most;
    mg_level    level; /* of the agreement */
} mg_criterion;

enum { MG_CRITERIA = 5, MG_CRITERION_OK = 4 /* right or wrong */ };
extern const mg_criterion mg_criteria[MG_CRITERIA];

enum { MG_PREFER_BEFORE = -1, MG_PREFER_NONE = 0, MG_PREFER_AFTER = 1, MG_PREFER_OPEN = 2 /* not said */ };

typedef struct mg_rating { /* one rater's about one question */
    size_t item, rater;
    int    preference;
    double score[2][MG_CRITERIA]; /* by side */
    char  *note;                  /* NULL: none */
} mg_rating;

typedef struct mg_rater {
    char *name;
    bool  machine; /* a language model */
} mg_rater;

typedef struct mg_ratings {
    mg_rating *rating;
    size_t     n, cap;
    mg_rater  *rater;
    size_t     raters, rater_cap, items;
} mg_ratings;

void mg_ratings_free(mg_ratings *r);
/* The rater's index, a new one where there was none; SIZE_MAX: no memory. */
size_t mg_ratings_rater(mg_ratings *r, const char *name, bool machine);
/* A rating without anything said. */
mg_rating mg_rating_empty(size_t item, size_t rater);

typedef enum mg_raters { MG_RATERS_PEOPLE, MG_RATERS_MACHINES, MG_RATERS_ALL } mg_raters;

typedef struct mg_rating_line { /* one criterion; NaN where nothing is known */
    size_t n;                   /* pairs judged */
    double before, after;       /* means */
    double difference, low, high, p; /* 95% interval by resampling questions; paired shuffle test */
    double alpha;
} mg_rating_line;

typedef struct mg_rating_summary {
    size_t         raters, items, ratings; /* that there are, of this kind */
    size_t         wins, ties, losses;     /* preferences for after, none, before */
    double         win_rate, low, high;    /* a tie is half a win; interval by resampling questions */
    double         decided, wilson_low, wilson_high; /* wins of wins and losses, with Wilson's interval */
    double         alpha;                            /* of the preference, nominal */
    mg_rating_line line[MG_CRITERIA];
} mg_rating_summary;

mg_status mg_ratings_summarise(const mg_ratings *r, mg_raters who, uint64_t seed, mg_rating_summary *out, mg_error *err);

#endif
