/* metric.h -- scores of generated texts against references.
 *
 * Every metric is one row, and every row keeps to one form: a segment (an answer and its references) becomes a few
 * numbers, numbers of segments are added, and the score is a function of the sums.  So one pass over the texts serves
 * the score itself, intervals by resampling and paired tests (resample.h).
 *
 * BLEU, chrF and TER equal sacreBLEU 2.6.0 (Post 2018) to 1e-9 and sign like it; ROUGE equals rouge_score, and over
 * Japanese words ROUGE-1.5.5 (Lin 2004). */
#ifndef MG_EVAL_METRICS_METRIC_H
#define MG_EVAL_METRICS_METRIC_H

#include "eval/metrics/intern.h"
#include "eval/metrics/words.h"

enum { MG_NGRAM_MAX = 8, MG_METRIC_WIDTH = 64 };

typedef struct mg_smoothing mg_smoothing; /* none, floor, add-k, exp: bleu.h */

typedef struct mg_metric_settings {
    const mg_splitter  *splitter;  /* words of BLEU and ROUGE; NULL: by the metric, 13a or rouge */
    bool                lowercase; /* BLEU, chrF */
    const mg_smoothing *smoothing; /* BLEU; NULL: exp */
    double              smooth_value; /* of floor and add-k; NaN: the method's own */
    bool                effective_order; /* BLEU of single sentences */
    int                 max_order; /* BLEU, 1..8 */
    int                 beta;      /* chrF: recall counts beta times as much */
    bool                whitespace, eps; /* chrF: count spaces; smooth as the first implementation did */
    bool ter_normalized, ter_no_punct, ter_asian, ter_case; /* TER, as sacreBLEU names them */
    int  rouge_part; /* ROUGE's score: 0 F1, 1 precision, 2 recall */
} mg_metric_settings;

/* sacreBLEU's defaults. */
mg_metric_settings mg_metric_defaults(void);

typedef struct mg_metric mg_metric;

/* An open metric: the row, its settings and work memory.  One thread at a time. */
typedef struct mg_scorer {
    const mg_metric   *metric;
    mg_metric_settings settings;
    mg_word_work       work;
    mg_words           hypothesis, reference;
    mg_buf             text;     /* a text made ready */
    mg_buf             clean[2]; /* invalid UTF-8 repaired: the hypothesis, a reference */
    mg_intern          intern;
    uint32_t          *ids[2];   /* numbers of words or characters: hypothesis, reference */
    size_t             cap[2];
    void              *extra;    /* of the metric, with free() */
    size_t             extra_bytes;
    size_t             refs_min, refs_max; /* references of the segments seen, for the signature */
} mg_scorer;

struct mg_metric {
    const char *name;      /* "bleu" */
    const char *label;     /* "BLEU" */
    const char *splitter;  /* default tokenizer when it counts words, NULL: it does not */
    double      scale;     /* what a perfect answer scores: 100 or 1 (TER: 0 is perfect, 100 the scale) */
    bool        lower_is_better;
    int         order;     /* of n-grams, where rows of one kind differ by it */
    /* How many numbers a segment has, at most MG_METRIC_WIDTH. */
    int (*width)(const mg_metric *m, const mg_metric_settings *s);
    mg_status (*segment)(mg_scorer *s, const char *hypothesis, size_t n, const char *const *reference, size_t references,
                         double *stats, mg_error *err);
    double (*score)(const mg_metric *m, const mg_metric_settings *s, const double *sum);
    void (*sign)(const mg_scorer *s, mg_buf *out);                     /* behind "nrefs:N|" */
    void (*detail)(const mg_scorer *s, const double *sum, mg_buf *out); /* JSON members, ",\"x\":1"; NULL: none */
};

extern const mg_metric *const mg_metrics[]; /* NULL-terminated, in the order of metrics.def */
const mg_metric *mg_metric_find(const char *name);

/* MG_LIBRARY: ja-mecab without a dictionary; MG_CONFIG: a setting is out of range. */
mg_status mg_scorer_open(mg_scorer *out, const mg_metric *m, const mg_metric_settings *s, mg_error *err);
void      mg_scorer_close(mg_scorer *s);

/* The numbers of one segment, `stats` [width].  At least one reference; invalid UTF-8 is repaired. */
mg_status mg_score_segment(mg_scorer *s, const char *hypothesis, const char *const *reference, size_t references,
                           double *stats, mg_error *err);
int    mg_scorer_width(const mg_scorer *s);
double mg_scorer_score(const mg_scorer *s, const double *sum);
/* "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0+migaki" */
void mg_scorer_sign(const mg_scorer *s, mg_buf *out);

/* One segment's texts. */
typedef struct mg_scored {
    const char        *hypothesis;
    const char *const *reference; /* [references], at least one */
    size_t             references;
} mg_scored;

/* The numbers of n segments into stats [n][mg_scorer_width], on all threads; `s` is open and counts the references for
 * the signature.  The result does not depend on the number of threads. */
mg_status mg_score_segments(mg_scorer *s, const mg_scored *segment, size_t n, double *stats, mg_error *err);

/* ---- for the metrics' own files ---- */

/* Split with the settings' tokenizer (lower case first where asked) and number the words: ids[side], *n. */
mg_status mg_scorer_words(mg_scorer *s, int side, const char *text, size_t len, size_t *n, mg_error *err);
/* Room for n numbers. */
bool mg_scorer_room(mg_scorer *s, int side, size_t n);
/* Number what is in w. */
bool mg_scorer_number(mg_scorer *s, int side, const mg_words *w);
/* A block of work memory that grows, contents undefined; NULL: no memory. */
void *mg_scorer_extra(mg_scorer *s, size_t bytes);

#endif
