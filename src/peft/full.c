/* full.c -- the whole model trains, or (freeze, as LLaMA-Factory has it) its last blocks.
 *
 * The result of such a run is a model.  A checkpoint is an adapter of whole weights, in fp32 and named as in the model, so
 * that each number is there once and a resumed run has the bits of one never stopped. */
#include "peft/weights.h"

static unsigned keep_whole(const mg_tensor *w, char *name, size_t size) {
    (void)w, (void)name, (void)size;
    return MG_PART_BARE;
}

static mg_status attach_full(mg_adapter *a, mg_net *net, mg_error *err) { return mg_weights_attach(a, net, NULL, keep_whole, err); }

static mg_status attach_freeze(mg_adapter *a, mg_net *net, mg_error *err) {
    mg_weights_settings *s = (void *)a->c.own;
    if (!s->freeze_trainable_layers && !*a->c.layers) s->freeze_trainable_layers = 2;
    return mg_weights_attach(a, net, NULL, keep_whole, err);
}

const mg_method mg_method_full = {
    .name = "full", .peft_type = "FULL", .title = "Full fine-tuning", .whole = true, .options = mg_weights_options, .own = sizeof(mg_weights_settings),
    .attach = attach_full, .write_config = mg_weights_write_config, .read_config = mg_weights_read_config, .keys = mg_weights_keys,
};

const mg_method mg_method_freeze = {
    .name = "freeze", .peft_type = "FREEZE", .title = "Fine-tuning of some blocks", .whole = true, .options = mg_weights_options,
    .own = sizeof(mg_weights_settings), .attach = attach_freeze, .write_config = mg_weights_write_config, .read_config = mg_weights_read_config,
    .keys = mg_weights_keys,
};
