/* mix.h -- which format each tensor of a GGUF file gets, as llama.cpp's quantiser chooses. */
#ifndef MG_DELIVER_MIX_H
#define MG_DELIVER_MIX_H

#include "deliver/piece.h"

typedef struct mg_mix {
    const char      *name;      /* "q4_k_m" */
    int              file_type; /* general.file_type */
    const mg_format *usual, *finer; /* finer: of tensors that matter more; NULL: none */
    double           max_kl;    /* what a file of this type may lose: mean KL divergence, nats a token */
} mg_mix;

const mg_mix *mg_mix_find(const char *name); /* NULL: unknown; letters of either case */
/* The names, "f32, f16, ...", appended. */
void mg_mix_names(mg_buf *b);

/* The format of a piece that is named as in GGUF.  Vectors are f32; rows that are not whole blocks get a format with smaller
 * ones.  `m` says how many layers there are and whether the head is the embedding. */
const mg_format *mg_mix_format(const mg_mix *mix, const mg_piece *p, const mg_model *m);

#endif
