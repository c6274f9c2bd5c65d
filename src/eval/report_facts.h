/* report_facts.h -- what can be said of a report's rows: shares by category, answers that look broken, forgetting. */
#ifndef MG_EVAL_REPORT_FACTS_H
#define MG_EVAL_REPORT_FACTS_H

#include "eval/metrics/diversity.h"
#include "eval/report.h"

enum { /* what is wrong with an answer, one bit each */
    MG_ANSWER_EMPTY = 1,
    MG_ANSWER_CUT = 2,
    MG_ANSWER_REPEATS = 4, /* says one phrase again and again */
    MG_ANSWER_LONG = 8,    /* longer than most: above the third quartile by three times the quartiles' distance */
    MG_ANSWER_FLAWS = 4,   /* how many bits */
};

typedef struct mg_share { /* right of judged, 0..1, with Wilson's and the bootstrap's 95% interval */
    size_t right, judged;
    double share, low, high, boot_low, boot_high;
} mg_share;

typedef struct mg_category { /* only rows judged on both sides enter `difference` and what follows */
    const char *name; /* NULL: all */
    bool        control;
    size_t      n, gained, lost; /* wrong before and right after; right before and wrong after */
    mg_share    before, after;
    double      difference, low, high, p; /* paired; NaN: nothing to compare */
} mg_category;

typedef struct mg_side_facts { /* of all answers of a side */
    size_t n, flaw[MG_ANSWER_FLAWS], same; /* answers that were given word for word to another question, too */
    const char *words; /* the tokenizer of distinct-n */
    double mean_chars, median_chars, distinct[MG_DISTINCT_ORDERS];
} mg_side_facts;

typedef enum mg_report_warning { /* about the answers as a whole */
    MG_WARN_CUT, MG_WARN_REPEATS, MG_WARN_EMPTY, MG_WARN_SAME, MG_WARN_SHORTER, MG_WARN_LONGER, MG_WARN_POORER,
    MG_WARN_FORGOT, MG_WARN_NLL, MG_WARNINGS,
} mg_report_warning;

typedef struct mg_report_facts {
    mg_category  *category; /* [categories + 1], the last is all */
    size_t        categories;
    uint32_t     *of_row;       /* [rows] the row's category */
    int          *ok[2];        /* [rows] verdicts: of the rule; where there is none, of the majority of people */
    uint8_t      *flaws[2];     /* [rows] */
    mg_place     *phrase[2];    /* [rows] what is repeated, where MG_ANSWER_REPEATS */
    mg_side_facts side[2];
    mg_share      forgotten;    /* lost control questions of those right before */
    bool          warning[MG_WARNINGS];
    mg_rating_summary people, machines;
    double        alpha_all;    /* of the preference, people and machines together */
} mg_report_facts;

mg_status mg_report_facts_of(mg_report_facts *out, const mg_report *r, mg_error *err);
void      mg_report_facts_free(mg_report_facts *f);

#endif
