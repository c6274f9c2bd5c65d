/* preview.h -- show what is trained: the tokens of a sample with their mask. */
#ifndef MG_DATA_PREVIEW_H
#define MG_DATA_PREVIEW_H

#include "data/dataset.h"

/* Append a header (tokens, how many are trained, line) and the sample's text with its special tokens; newlines as
 * ⏎. With colour what is trained is green and the rest dim; without it stands in 【】.  Control characters of the
 * data are shown as pictures, so that a record cannot write to the terminal. */
mg_status mg_data_preview(const mg_sample *s, const mg_tokenizer *t, bool color, mg_buf *out, mg_error *err);

#endif
