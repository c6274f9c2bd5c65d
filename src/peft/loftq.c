/* loftq.c -- LoftQ (Li et al., arXiv 2310.08659): a LoRA that begins as what packing the weight has lost,
 *
 *     W - Q ~ U S V^T,   B = U sqrt(S / s),  A = sqrt(S / s) V^T
 *
 * Q is the packed weight as load_in_4bit or load_in_8bit makes it and stays so: the adapter is an ordinary LoRA for the base
 * model packed that way.  The paper's further rounds pack W - s B A anew, which no other program could make again from the
 * base model's files; they are left out, as in PEFT's replace_lora_weights_loftq. */
#include "peft/lora.h"
#include "nn/lowrank.h"
#include "peft/residual.h"

#include <math.h>
#include <stdlib.h>

static mg_status start(const mg_linear *l, const mg_hook *h, uint64_t seed, float *a, float *b, mg_error *err) {
    int64_t r = h->p[0]->rows, in = l->w->cols, out = l->w->rows;
    if (!l->w->packed_of)
        return mg_fail(err, MG_CONFIG, "loftq mends what packing loses, and %s is not packed here; set load_in_4bit, with a model in f32, f16 or bf16",
                       l->name);
    if (r > out) return mg_fail(err, MG_CONFIG, "lora_r is %lld; allowed for %s are 1 to %lld", (long long)r, l->name, (long long)out);
    float    *u = mg_calloc((size_t)r, (size_t)(out + 1) * sizeof *u), *sigma = u ? u + r * out : NULL;
    mg_status st = u ? mg_lowrank_difference(l->w->packed_of, l->w, (int)r, seed, u, a, sigma, err)
                     : mg_fail(err, MG_NOMEM, "no memory to decompose %s", l->name);
    for (int64_t k = 0; !st && k < r; k++) {
        float by = h->scale > 0 ? sqrtf(sigma[k] / h->scale) : 0;
        for (int64_t i = 0; i < in; i++) a[k * in + i] *= by;
        for (int64_t o = 0; o < out; o++) b[o * r + k] = by * u[k * out + o];
    }
    free(u);
    return st;
}

static mg_status init(mg_adapter *a, uint64_t seed, mg_error *err) {
    mg_status st = MG_OK;
    for (size_t i = 0; !st && i < a->n_linear; i++) {
        const mg_hook *h = a->hook[i];
        st = start(a->linear[i], h, seed + i, mg_adapter_values(a, h->p[0]), mg_adapter_values(a, h->p[1]), err);
    }
    return st;
}

const mg_method mg_method_loftq = {
    .name = "loftq", .peft_type = "LORA", .title = "LoftQ", .ranked = true, .options = mg_lora_options, .own = sizeof(mg_lora_settings),
    .claims = mg_residual_never, .attach = mg_lora_attach, .init = init, .write_config = mg_lora_write_config,
    .read_config = mg_lora_read_config, .keys = mg_lora_keys,
};
