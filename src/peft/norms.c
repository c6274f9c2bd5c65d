/* norms.c -- the norms alone train (arXiv 2312.11420), their gains and biases: PEFT's LN_TUNING, in its files. */
#include "peft/weights.h"

#include <stdio.h>
#include <string.h>

/* PEFT keeps the trained module inside its wrapper: "model.norm.ln_tuning_layers.weight". */
static unsigned keep(const mg_tensor *w, char *name, size_t size) {
    const char *end = strrchr(w->name, '.');
    snprintf(name, size, "%.*s.ln_tuning_layers%s", (int)(end - w->name), w->name, end);
    return w->plus_one ? MG_PART_LESS_ONE : 0;
}

static mg_status attach(mg_adapter *a, mg_net *net, mg_error *err) { return mg_weights_attach(a, net, mg_weight_is_norm, keep, err); }

/* The modules that train, by the last part of their paths. */
static void write_config(const mg_adapter *a, mg_buf *out) {
    mg_buf list = { 0 };
    for (size_t i = 0; i < a->n_replaced; i++) {
        char module[192];
        snprintf(module, sizeof module, "%s", a->replaced[i].weight->name);
        *strrchr(module, '.') = 0;
        const char *last = strrchr(module, '.') ? strrchr(module, '.') + 1 : module;
        char        quoted[200];
        snprintf(quoted, sizeof quoted, "%s,", last);
        bool seen = false;
        for (const char *p = list.data; p && !seen && *p; p += strcspn(p, ",") + 1) seen = !strncmp(p, quoted, strlen(quoted));
        if (!seen) mg_buf_str(&list, quoted);
    }
    if (list.failed) out->failed = true;
    if (list.len && !list.failed) {
        list.data[list.len - 1] = 0;
        mg_config_write_names(list.data, "target_modules", out);
    }
    mg_buf_free(&list);
    mg_weights_write_config(a, out);
}

const mg_method mg_method_norms = {
    .name = "norms", .peft_type = "LN_TUNING", .title = "Norms only", .options = mg_weights_options, .own = sizeof(mg_weights_settings),
    .attach = attach, .write_config = write_config, .read_config = mg_weights_read_config, .keys = mg_weights_keys,
};
