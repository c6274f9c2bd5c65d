/* sample_parts.h -- what the files that make samples share; nothing outside src/data includes it. */
#ifndef MG_DATA_SAMPLE_PARTS_H
#define MG_DATA_SAMPLE_PARTS_H

#include "data/dataset.h"

/* ---- align.c: which bytes of a text each token stands for */

/* A text with the ids that mg_tokenize_marked made of it. */
typedef struct mg_aligned {
    const mg_tokenizer *tokenizer;
    const char         *text;
    const uint8_t      *plain; /* as for mg_tokenize_marked, or NULL */
    size_t              n;
    unsigned            flags;
    mg_ids              ids;
    size_t             *end;   /* [ids.len] where the token's bytes end */
    bool                exact; /* `end` counts bytes of the text; else of what the tokens spell, because the
                                  tokenizer's normalizer changes this text */
} mg_aligned;

/* Fills ids, end and exact from the members before them. */
mg_status mg_align(mg_aligned *a, mg_error *err);
void      mg_align_free(mg_aligned *a);
/* Where the normalizer changes the text, match characters without case, width and accents; `exact` tells whether they
 * did. */
mg_status mg_align_folded(mg_aligned *a, mg_error *err);
/* Where byte `at` of the text lies on the scale of `end`.  MG_MASK when the normalizer joins what is on both
 * sides. */
mg_status mg_align_place(const mg_aligned *a, size_t at, size_t *place, mg_error *err);

/* ---- mask.c: labels */

/* Set trained[i] for the tokens of the spans: a token belongs where its last byte does.  With `turns` the
 * end-of-turn token behind a span joins it and a newline behind that one does not. */
mg_status mg_mask_spans(const mg_aligned *a, const mg_span *span, size_t n_spans, bool turns, uint8_t *trained,
                        mg_error *err);
/* ids and trained flags to a sample; the first token is never trained. */
mg_status mg_sample_make(mg_sample *out, const int32_t *ids, const uint8_t *trained, size_t n, mg_error *err);

/* ---- chat.c: conversations */

/* A conversation being put together in the shape of "messages". */
typedef struct mg_turns {
    yyjson_mut_doc *doc;
    yyjson_mut_val *messages;
    yyjson_val     *tools;         /* or NULL */
    yyjson_val     *variables;     /* further variables of the template (chat_template_kwargs), or NULL */
    size_t          first_trained; /* messages before this one are never trained */
    bool            assistant_only;
} mg_turns;
mg_status mg_turns_begin(mg_turns *t, mg_error *err);
void      mg_turns_free(mg_turns *t);
bool      mg_turns_add(mg_turns *t, const char *role, const char *text, size_t n); /* copies; false: no memory */
mg_status mg_turns_sample(mg_sample *out, const mg_turns *t, const mg_chat *chat, mg_error *err);

/* ---- forms.c: the shapes of records */

typedef struct mg_form {
    const char *name;
    bool        is_chat; /* rendered with the chat template when there is one */
    bool (*matches)(yyjson_val *row);
    mg_status (*sample)(mg_sample *out, yyjson_val *row, const mg_data_options *o, const mg_chat *chat,
                        mg_error *err);
    /* What is asked and what is answered, for the checks; the answer may stay empty. */
    bool (*words)(yyjson_val *row, mg_buf *question, mg_buf *answer);
} mg_form;
const mg_form *mg_form_find(yyjson_val *row); /* NULL: none */
/* "…has the keys a, b; known are …" for a record of no known form. */
mg_status mg_form_unknown(yyjson_val *row, mg_error *err);
/* Length and mask as the options want them: MG_TRUNCATED or MG_MASK, else the sample may have been cut. */
mg_status mg_sample_judge(mg_sample *s, const mg_data_options *o, mg_error *err);
/* A sample of a known form, judged. */
mg_status mg_form_sample(const mg_form *f, mg_sample *out, yyjson_val *row, const mg_data_options *o,
                         const mg_chat *chat, mg_error *err);

/* ---- notes: named troubles, the first twenty in full */

enum { MG_NOTES_MAX = 20 };
void mg_note(mg_dataset *d, int64_t *count, const char *path, int64_t line, const char *what);
void mg_notes_end(mg_dataset *d, int64_t count);

#endif
