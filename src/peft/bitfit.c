/* bitfit.c -- BitFit (Ben Zaken et al., arXiv 2106.10199): the biases alone train, those of norms, too. */
#include "peft/weights.h"

#include <string.h>

static bool is_bias(const mg_net *net, const mg_tensor *w) {
    size_t n = strlen(w->name);
    (void)net;
    return n > 5 && !strcmp(w->name + n - 5, ".bias");
}

static unsigned keep(const mg_tensor *w, char *name, size_t size) {
    (void)w, (void)name, (void)size;
    return 0;
}

static bool look(mg_tensor *w, void *found) {
    *(bool *)found |= is_bias(NULL, w);
    return !*(bool *)found;
}

static mg_status attach(mg_adapter *a, mg_net *net, mg_error *err) {
    bool any = false;
    net->each_weight(net, look, &any);
    if (!any)
        return mg_fail(err, MG_CONFIG, "bitfit: this model has no biases (Llama, Mistral, Gemma, Qwen3 and Phi-3 are made without; Qwen2, GPT-2 and "
                       "GPT-NeoX have some); train its norms with --method norms, or an adapter with --method lora");
    return mg_weights_attach(a, net, is_bias, keep, err);
}

const mg_method mg_method_bitfit = {
    .name = "bitfit", .peft_type = "BITFIT", .title = "BitFit", .options = mg_weights_options, .own = sizeof(mg_weights_settings),
    .attach = attach, .write_config = mg_weights_write_config, .read_config = mg_weights_read_config, .keys = mg_weights_keys,
};
