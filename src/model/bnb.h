/* bnb.h -- weights that bitsandbytes has packed, in the folders that transformers saves.
 *
 * 4 bits: NAME.weight holds the codes, beside it lie NAME.weight.absmax, .quant_map, .nested_absmax, .nested_quant_map
 * and a JSON text, .quant_state.bitsandbytes__nf4 (or fp4).  8 bits: NAME.weight with NAME.SCB, a scale a row.  They are
 * read as they are: the codes stay mapped, the scales are copied. */
#ifndef MG_MODEL_BNB_H
#define MG_MODEL_BNB_H

#include "model/source.h"
#include "tensor/nf4.h"

/* A weight's name ends in ".weight". */
bool mg_bnb_packed(mg_source *s, const char *name);

/* The packed weight as one of our formats, rows x cols; *room is an allocation with the side table in it, the caller's.
 * MG_FORMAT, MG_UNSUPPORTED name what does not fit. */
mg_status mg_bnb_find(mg_source *s, const char *name, int64_t rows, int64_t cols, mg_found *out, void **room, size_t *room_bytes,
                      const mg_nf4_side **side, mg_error *err);

/* What stands beside a packed weight and is no weight itself. */
bool mg_bnb_is_beside(const char *name);

#endif
