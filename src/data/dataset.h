/* dataset.h -- files of training records, as token ids with labels.
 *
 * A file (JSONL, JSON array, CSV, TSV) holds one of the known forms: messages,
 * prompt/completion, alpaca, input/output, sharegpt, text, or input_ids/labels.
 * The form is recognised from the first records and named in the summary; each
 * later record must have it.  Conversations are rendered with the model's chat
 * template; what is trained comes from the roles (spans of the rendering), never
 * from searching strings. */
#ifndef MG_DATA_DATASET_H
#define MG_DATA_DATASET_H

#include "text/template.h"
#include "text/tokenizer.h"

enum { MG_IGNORE = -100 }; /* a label that is not trained (Hugging Face's value) */

typedef struct mg_goal mg_goal; /* data/labelled.h */

typedef struct mg_sample {
    int32_t *ids;   /* [n] */
    int32_t *label; /* [n] label[i] is the token that must be predicted at position i from
                       0..i-1: ids[i] or MG_IGNORE; label[0] is never trained */
    int32_t n;
    int32_t n_labels;  /* trained positions */
    int64_t line;      /* line (JSONL, CSV) or index + 1 (JSON array) in its file */
    bool    truncated; /* was longer than max_length */
    uint16_t task;     /* its number in a mixture */
    /* Of samples for a head (goal not NULL): label is [n_labels], of the rows or columns `row`. */
    const mg_goal *goal;
    int32_t       *row;    /* [n_labels] */
    float          value;  /* a number to predict */
    int32_t        second; /* where the second segment begins, 0: there is none */
    uint32_t       item;   /* of the set that it was made of */
    int32_t       *place;  /* [2 n] first byte and end of what each token stands for; equal: nothing */
} mg_sample;

/* What becomes of a sample that does not fit, has no trained token or lost its EOS. */
typedef enum mg_on_trouble { MG_TROUBLE_REFUSE, MG_TROUBLE_DROP, MG_TROUBLE_KEEP } mg_on_trouble;

typedef struct mg_data_options {
    int32_t       max_length;          /* tokens of a sample; 0: no limit */
    bool          assistant_only_loss; /* messages: only what the assistant says */
    bool          completion_only_loss;
    bool          append_eos; /* prompt/completion and text */
    mg_on_trouble on_truncation, on_empty_mask, on_bad_line;
    int64_t       max_samples; /* 0: all */
} mg_data_options;

/* How conversations become tokens for one model. */
typedef struct mg_chat {
    const mg_tokenizer *tokenizer;
    const mg_template  *chat_template; /* NULL: the model has none (then chat forms are an error that says so) */
    const char         *bos_token, *eos_token; /* text for the template's variables, NULL: none */
} mg_chat;

typedef struct mg_dataset {
    mg_sample  *sample;
    size_t      n, cap;
    const char *form;                                             /* "messages", "prompt/completion", ... */
    const char *encoding;                                         /* "UTF-8", "UTF-8 with BOM", "cp932" */
    int64_t     read, bad_lines, truncated, dropped, empty_masks; /* counts of records */
    int64_t     tokens, labelled;                                 /* of the samples kept */
    mg_buf      notes; /* one line a named trouble ("train.jsonl:17: truncated, 700 of 512 tokens") */
} mg_dataset;

mg_status mg_dataset_load(mg_dataset *out, const char *path, const mg_data_options *o, const mg_chat *chat,
                          mg_error *err);
void      mg_dataset_free(mg_dataset *d);

/* Move samples into *valid (uninitialised): a fraction of them when part < 1, else so many.  Which ones is a pure
 * function of (number of samples, seed); both sides keep the order of the file.  MG_CONFIG: nothing would be left.
 */
mg_status mg_dataset_split(mg_dataset *d, double part, uint64_t seed, mg_dataset *valid, mg_error *err);

/* One conversation {"messages": [...]} (or any other form) to a sample; `row` is a JSON object.
 * MG_MASK or MG_TRUNCATED as the options say. */
mg_status mg_sample_from_json(mg_sample *out, yyjson_val *row, const mg_data_options *o, const mg_chat *chat,
                              mg_error *err);
void      mg_sample_free(mg_sample *s);

/* Render messages (a JSON array) as a prompt that ends where the assistant begins. */
mg_status mg_chat_prompt(const mg_chat *chat, yyjson_val *messages, mg_ids *out, mg_error *err);

#endif
