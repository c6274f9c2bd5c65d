/* weights.h -- what the methods share that train weights of the model itself: full, freeze, bitfit, norms.
 *
 * A copy of each chosen weight trains in its place (the parameters seam).  While it trains nothing reads the original,
 * which then takes no memory of the device; served beside others, the original is the model with the adapter off. */
#ifndef MG_PEFT_WEIGHTS_H
#define MG_PEFT_WEIGHTS_H

#include "peft/adapter.h"

typedef struct mg_weights_settings {
    char   *freeze_trainable_modules, *freeze_extra_modules; /* of the options; NULL: those below */
    int64_t freeze_trainable_layers; /* above 0: the last so many blocks, below: the first; 0: all */
    bool    dequantize;
    char    modules[104], extra[104]; /* of a file */
} mg_weights_settings;

/* One method's part: is it a weight of its kind? */
typedef bool (*mg_weight_pick)(const mg_net *net, const mg_tensor *w);

/* How its parts are kept, and under which name (NULL: that of the weight) in `name`. */
typedef unsigned (*mg_weight_keep)(const mg_tensor *w, char *name, size_t size);

/* Everything that `pick` takes (NULL: all) in the blocks and modules of the settings.  MG_CONFIG: nothing is chosen, or
 * a chosen weight is packed, which `dequantize` allows. */
mg_status mg_weights_attach(mg_adapter *a, mg_net *net, mg_weight_pick pick, mg_weight_keep keep, mg_error *err);
bool      mg_weight_is_norm(const mg_net *net, const mg_tensor *w);

void      mg_weights_write_config(const mg_adapter *a, mg_buf *out);
mg_status mg_weights_read_config(mg_adapter_config *c, yyjson_val *json, const char *name, mg_error *err);

extern const mg_option   mg_weights_options[];
extern const char *const mg_weights_keys[];

#endif
