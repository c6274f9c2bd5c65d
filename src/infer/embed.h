/* embed.h -- one vector a text: what search and clustering compare.
 *
 * The model runs once over all texts, packed; a pooling makes one row of each
 * text's hidden states, of the last layer or any other.  For words there is the input
 * table itself: the mean of the rows of a word's tokens, nothing computed.  Sentence-transformers' models want "mean" (most), "cls" or
 * "last"; "pooler" is BERT's own tanh layer. */
#ifndef MG_INFER_EMBED_H
#define MG_INFER_EMBED_H

#include "model/model.h"

typedef struct mg_pooling {
    const char *name;
    mg_tensor *(*pool)(mg_tape *t, const mg_model *m, mg_tensor *hidden); /* [n_seq, D] of the batch's sequences; recorded */
} mg_pooling;

const mg_pooling *mg_pooling_find(const char *name); /* NULL: unknown */
const char       *mg_pooling_name(size_t i);         /* the i-th; NULL behind the last */

typedef enum mg_embed_from {
    MG_EMBED_LAST,  /* the last layer, after the final norm */
    MG_EMBED_LAYER, /* `layer` */
    MG_EMBED_TABLE, /* the input table's rows as they stand in the file: no scale, position or norm */
} mg_embed_from;

typedef struct mg_embed_options {
    mg_embed_from from;
    int           layer; /* 0..c.layers, as transformers' hidden_states */
    const mg_pooling *pooling;      /* NULL: mean */
    bool              normalise;    /* to length 1, as cosine similarity wants */
    bool              adapters_off;
    int64_t           batch_tokens; /* texts of about so many tokens run at once; 0: 4096 */
} mg_embed_options;

/* out [n, D] = a vector for each of n texts of ids; special tokens stand in `ids`.  MG_DATA for an empty text,
 * MG_TRUNCATED when the model was opened for fewer positions, MG_MISMATCH for an id that it does not have;
 * MG_UNSUPPORTED for "pooler" on a model without one, MG_CONFIG for a layer that there is not, or "pooler" elsewhere
 * than on the last. */
typedef struct mg_embed_text { const int32_t *ids; int64_t n; } mg_embed_text;
mg_status mg_embed_texts(const mg_model *m, const mg_backend *b, const mg_embed_text *text, size_t n, const mg_embed_options *o,
                         float *out, mg_error *err);

#endif
