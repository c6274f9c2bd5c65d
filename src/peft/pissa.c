/* pissa.c -- PiSSA (Meng et al., arXiv 2404.02948): train the weight's first singular triplets.
 *
 *     W ~ U S V^T      s B A = U S V^T,  B = U sqrt(S / s),  A = sqrt(S / s) V^T */
#include "nn/lowrank.h"
#include "peft/residual.h"

#include <math.h>
#include <stdlib.h>

static mg_status start(const mg_linear *l, int r, float s, uint64_t seed, float *a, float *b, mg_error *err) {
    int64_t   in = l->w->cols, out = l->w->rows;
    float    *u = mg_calloc((size_t)r, (size_t)(out + 1) * sizeof *u), *sigma = u ? u + r * out : NULL;
    mg_status st = u ? mg_lowrank_svd(l->w, r, seed, u, a, sigma, err) : mg_fail(err, MG_NOMEM, "no memory to decompose %s", l->name);
    for (int k = 0; !st && k < r; k++) {
        float by = s > 0 ? sqrtf(sigma[k] / s) : 0;
        for (int64_t i = 0; i < in; i++) a[k * in + i] *= by;
        for (int64_t o = 0; o < out; o++) b[o * r + k] = by * u[k * out + o];
    }
    free(u);
    return st;
}

static mg_status init(mg_adapter *a, uint64_t seed, mg_error *err) { return mg_residual_init(a, seed, start, err); }

MG_RESIDUAL_METHOD(pissa, "PiSSA", init);
