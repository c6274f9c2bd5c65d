/* labelled.h -- records that a head learns from: a text or a pair with a label or a number, words with tags, a question
 * with an answer that stands in a context.
 *
 * What is wanted of a record is its goal, a row in a file of its own (goals.def).  The goal knows the forms that such
 * records have (docs/TASKS.md), reads a record to an item, whose targets are independent of any model, and makes samples of it:
 * one, or for an answer in a long context one a window. */
#ifndef MG_DATA_LABELLED_H
#define MG_DATA_LABELLED_H

#include "data/dataset.h"

/* One record.  Byte ranges are of `text`, for answers of `pair`. */
typedef struct mg_labelled {
    char    *text, *pair; /* pair NULL: none; a question and its context */
    char    *id;          /* the record's, NULL: none */
    int64_t  line;
    int32_t  label; /* number of its class, -1: it has none */
    double   value; /* NaN: none */
    mg_span *word;  /* [n_words] */
    int32_t *tag;   /* [n_words] -1: none */
    size_t   n_words;
    mg_span *place; /* [n_answers] */
    char   **answer;
    size_t   n_answers; /* 0 with has_target: the context does not say it */
    bool     has_target;
} mg_labelled;

/* The names of classes or tags, in the order of a head's rows. */
typedef struct mg_labels {
    char **name;
    size_t n, cap;
} mg_labels;
int32_t   mg_labels_find(const mg_labels *l, const char *name); /* -1: none */
mg_status mg_labels_copy(mg_labels *to, const mg_labels *from, mg_error *err);
void      mg_labels_free(mg_labels *l);

typedef struct mg_labelled_set {
    const mg_goal *goal;
    mg_labelled   *item;
    size_t         n, cap;
    mg_labels      labels;
    int64_t        read, bad; /* records; those left out */
    const char    *encoding;
    mg_buf         notes;
} mg_labelled_set;

/* How items become samples for one model. */
typedef struct mg_windows {
    const mg_tokenizer *tokenizer;
    bool    encoder;    /* pools the first token, knows two segments */
    int32_t max_length; /* tokens of a sample */
    int32_t stride;     /* tokens that two windows of a context share */
    mg_on_trouble on_truncation;
} mg_windows;

struct mg_goal {
    const char *name;        /* "classification" */
    const char *other_names; /* comma list: what other programs call it */
    const char *target;      /* what a record lacks without one: "'label'" */
    bool        named;       /* targets are among `labels` */
    bool        columns;     /* a sample has a label a column of the head, a place in its sequence */
    /* Does a record have one of its forms? */
    bool (*fits)(yyjson_val *row);
    /* Append the items of a record to the set.  `known` labels, or NULL to collect them; MG_DATA. */
    mg_status (*read)(mg_labelled_set *set, yyjson_val *row, int64_t line, bool collect, mg_error *err);
    /* Append the samples of item i to d. */
    mg_status (*encode)(const mg_labelled_set *set, size_t i, const mg_windows *w, mg_dataset *d, mg_error *err);
};

const mg_goal *mg_goal_find(const char *name); /* by either name; NULL: none */
const mg_goal *mg_goal_of(yyjson_val *row);    /* by form; NULL: a text to go on with */
/* The goal of a file: by its first record, and all labels for the difference between classes and numbers.  *out NULL:
 * generation. */
mg_status mg_goal_of_file(const mg_goal **out, const char *path, mg_error *err);

/* All records of a file.  `known`: the labels that there are (another one is MG_DATA); NULL: those of the file, sorted.
 * `limit` 0: all.  With `targets` a record without one is bad. */
mg_status mg_labelled_load(mg_labelled_set *out, const char *path, const mg_goal *goal, const mg_labels *known, bool targets,
                           mg_on_trouble on_bad, int64_t limit, mg_error *err);
void      mg_labelled_free(mg_labelled_set *s);
/* Put items aside as mg_dataset_split does. */
mg_status mg_labelled_split(mg_labelled_set *s, double part, uint64_t seed, mg_labelled_set *valid, mg_error *err);
/* Samples of all items; *out is uninitialised. */
mg_status mg_labelled_encode(mg_dataset *out, const mg_labelled_set *s, const mg_windows *w, mg_error *err);

/* ---- for goals ---- */
mg_labelled *mg_labelled_add(mg_labelled_set *s, int64_t line); /* with nothing known; NULL: no memory */
/* The class of a name: found, or added when collecting; MG_DATA for an unknown or empty one. */
mg_status mg_labelled_class(mg_labelled_set *s, const char *name, bool collect, int32_t *out, mg_error *err);
/* A text under the first of `keys` (comma list) that the record has, copied; *out NULL: under none. */
mg_status mg_labelled_text(char **out, yyjson_val *row, const char *keys, mg_error *err);
yyjson_val *mg_labelled_key(yyjson_val *row, const char *keys);
/* Bytes of the first n characters; SIZE_MAX: there are not so many. */
size_t mg_labelled_bytes(const char *text, int64_t n);

/* Ids with the bytes that each stands for, begin and end; special ones stand for none (begin == end). */
typedef struct mg_placed_ids {
    mg_ids   ids;
    mg_span *at; /* [ids.len] */
} mg_placed_ids;
/* MG_MASK: the tokens spell something else, which no folding of case, width or accents explains. */
mg_status mg_place_ids(mg_placed_ids *out, const mg_tokenizer *t, const char *text, unsigned flags, mg_error *err);
void      mg_placed_ids_free(mg_placed_ids *p);

/* What the tokenizer puts around a text: the ids of "" with special tokens, cut where the text goes. */
typedef struct mg_frame {
    mg_ids before, after;
} mg_frame;
mg_status mg_frame_of(mg_frame *out, const mg_tokenizer *t, mg_error *err);
void      mg_frame_free(mg_frame *f);

/* A sample under construction. */
typedef struct mg_sample_draft {
    mg_ids   ids, row, label;
    mg_span *at;   /* of the text that places count in; {0,0}: none */
    size_t   cap;
    int32_t  second;
    double   value;
} mg_sample_draft;
bool mg_draft_add(mg_sample_draft *d, const mg_placed_ids *p, size_t first, size_t n, bool placed); /* false: no memory */
bool mg_draft_ids(mg_sample_draft *d, const mg_ids *ids);
bool mg_draft_label(mg_sample_draft *d, int32_t row, int32_t label);
/* Into d; the draft is used up whatever comes of it. */
mg_status mg_draft_end(mg_sample_draft *s, const mg_labelled_set *set, size_t item, mg_dataset *d, mg_error *err);
void      mg_draft_free(mg_sample_draft *d);

#endif
