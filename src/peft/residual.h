/* residual.h -- LoRA whose start is taken out of the weight (PiSSA, OLoRA): W x + s (B A - B0 A0) x.
 *
 * The weight itself stays as it is, packed or not, and so does the model at the start.  The adapter is saved as the
 * LoRA of twice the rank that it is, [A; A0] and [B, -B0], which every program loads on the untouched base model. */
#ifndef MG_PEFT_RESIDUAL_H
#define MG_PEFT_RESIDUAL_H

#include "peft/lora.h"

mg_status mg_residual_attach(mg_adapter *a, mg_net *net, mg_error *err);
/* Fill a [r,I] and b [O,r] for a layer; s is the scale that stands before their product. */
typedef mg_status (*mg_residual_fn)(const mg_linear *l, int r, float s, uint64_t seed, float *a, float *b, mg_error *err);
mg_status mg_residual_init(mg_adapter *a, uint64_t seed, mg_residual_fn start, mg_error *err);
mg_status mg_residual_before_save(mg_adapter *a, mg_error *err);
void      mg_residual_write_config(const mg_adapter *a, mg_buf *out);
mg_status mg_residual_read_config(mg_adapter_config *c, yyjson_val *json, const char *name, mg_error *err);

#define MG_RESIDUAL_METHOD(id, shown, start)                                                                             \
    const mg_method mg_method_##id = {                                                                                   \
        .name = #id, .peft_type = "LORA", .title = shown, .ranked = true, .options = mg_lora_options,                    \
        .own = sizeof(mg_lora_settings), .claims = mg_residual_never, .attach = mg_residual_attach, .init = start,       \
        .before_save = mg_residual_before_save, .write_config = mg_residual_write_config,                                \
        .read_config = mg_residual_read_config, .keys = mg_lora_keys,                                                    \
    }
bool mg_residual_never(yyjson_val *json); /* what they write reads as LoRA */

#endif
