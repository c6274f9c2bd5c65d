/* lycoris.h -- what LoHa and LoKr share: settings, scale alpha / r, dropout of the rows of the update. */
#ifndef MG_PEFT_LYCORIS_H
#define MG_PEFT_LYCORIS_H

#include "peft/adapter.h"

/* Rank, alpha and the patterns, as PEFT's LycorisConfig has them. */
void      mg_lycoris_write_config(const mg_adapter *a, mg_buf *out);
mg_status mg_lycoris_read_config(mg_adapter_config *c, yyjson_val *json, const char *name, mg_error *err);
/* Checks the rank of a layer and sets h->scale. */
mg_status mg_lycoris_scale(const mg_adapter *a, const mg_linear *l, mg_hook *h, mg_error *err);

#endif
