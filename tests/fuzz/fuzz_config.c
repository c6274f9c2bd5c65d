/* fuzz_config.c -- any bytes are refused or are a config.json whose numbers a model can be built from: sizes are
 * positive and bounded, and the tables of its rotary positions can be made. */
#include "model/rope_table.h"

#include <math.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void use_rope(const mg_rope_config *r, const mg_config *c) {
    mg_error      err;
    mg_rope_table t = { 0 };
    if (c->hd > 4096) return;
    for (int beyond = 0; beyond < 2; beyond++)
        if (!mg_rope_table_make(&t, r, c->hd, 8, c->max_positions, beyond, &err)) mg_rope_table_free(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    mg_error  err;
    mg_json   j = { 0 };
    mg_config c = { 0 };
    if (mg_json_parse(&j, (const char *)bytes, n, "fuzz", &err)) return 0;
    if (!mg_config_from_json(&c, &j, "fuzz", &err)) {
        if (c.vocab <= 0 || c.dim <= 0 || c.layers <= 0 || c.layers > MG_CONFIG_LAYERS || c.heads <= 0 || c.kv_heads <= 0 || c.hd <= 0 ||
            c.heads % c.kv_heads || c.n_eos < 0 || c.n_eos > MG_CONFIG_EOS || !isfinite(c.eps))
            abort();
        use_rope(&c.rope, &c);
        if (c.has_local) use_rope(&c.rope_local, &c);
        mg_config_free(&c);
    }
    mg_json_free(&j);
    return 0;
}
