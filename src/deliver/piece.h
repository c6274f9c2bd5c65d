/* piece.h -- one tensor of a file that is being written: its name there, its format, and where its numbers come from.
 *
 * The architecture's table of weights names every tensor in both schemes, so one function lists
 * the pieces of any model for any target.  Pieces are made row by row when they are written: decoded, adapters
 * merged in, put into the order of the target, encoded; never is a whole weight in memory as floats. */
#ifndef MG_DELIVER_PIECE_H
#define MG_DELIVER_PIECE_H

#include "base/new_file.h"
#include "model/model.h"

typedef struct mg_piece {
    char             name[160];
    int              n_dims;     /* of the file; a vector has 1 */
    int64_t          rows, cols; /* as it is worked on; a bias whose elements move is a column */
    const mg_format *format;     /* to write; set by who writes */
    const mg_format *from;       /* what there is: */
    const void      *data, *side;
    unsigned         order;  /* MG_WEIGHT_OTHER_ROWS: rows are written in GGUF's order */
    bool             turned; /* written as [cols, rows]: what the file says of its shape is the other way round */
    const mg_config *config; /* for the order */
    float            offset; /* added: -1 for norms that Hugging Face stores as g - 1 */
    const mg_linear *linear; /* its hooks are merged in; NULL: none */
    int              layer;  /* -1: outside the blocks */
    mg_role          role;   /* 0: no product's weight */
    const mg_linear *bias_of; /* its hooks change this bias; NULL: none does */
    bool             tuned; /* an adapter's numbers, not those of the model's file */
} mg_piece;

typedef struct mg_pieces {
    mg_piece *item;
    size_t    n, cap;
} mg_pieces;

/* All weights of `m` under the names of GGUF or of Hugging Face, `format` NULL.  `m` must be open without packing to
 * nf4.  MG_UNSUPPORTED names a hook that no weight can hold. */
mg_status mg_pieces_list(mg_pieces *out, const mg_model *m, bool gguf, mg_error *err);
void      mg_pieces_free(mg_pieces *p);

/* Does it carry a hook that is switched on? */
bool    mg_piece_is_merged(const mg_piece *p);
int64_t mg_piece_row(const mg_piece *p, int64_t row); /* where the row that is written comes from */
size_t  mg_piece_bytes(const mg_piece *p);

/* Asked after every part; false stops with MG_STOPPED. */
typedef struct mg_piece_progress {
    bool (*go_on)(void *context, uint64_t done, uint64_t total);
    void    *context;
    uint64_t done, total; /* bytes written */
} mg_piece_progress;

/* Write one piece.  MG_DATA: a number is not finite, or beyond what the format can hold. */
mg_status mg_piece_write(const mg_piece *p, mg_new_file *out, mg_piece_progress *progress, mg_error *err);

#endif
