/* rope_table.h -- the angles of rotary positions, for every scaling that Hugging Face knows.
 *
 * default, linear (position interpolation, arXiv 2306.15595), dynamic NTK, llama3,
 * YaRN (arXiv 2309.00071), longrope (arXiv 2402.13753). */
#ifndef MG_MODEL_ROPE_TABLE_H
#define MG_MODEL_ROPE_TABLE_H

#include "autograd/ops.h"
#include "format/config.h"

/* cos and sin for positions 0 .. positions-1 of a head of width hd; max_positions is the model's own limit.
 * `beyond`: longrope's factors for sequences longer than original_positions. */
mg_status mg_rope_table_make(mg_rope_table *out, const mg_rope_config *c, int64_t hd, int64_t positions,
                             int64_t max_positions, bool beyond, mg_error *err);
void      mg_rope_table_free(mg_rope_table *t);

#endif
