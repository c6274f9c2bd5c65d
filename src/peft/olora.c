/* olora.c -- OLoRA (Büyükakyüz, arXiv 2406.01775): train the first columns of Q and rows of R of W = Q R. */
#include "nn/lowrank.h"
#include "peft/residual.h"

#include <stdlib.h>

static mg_status start(const mg_linear *l, int r, float s, uint64_t seed, float *a, float *b, mg_error *err) {
    int64_t   out = l->w->rows;
    float    *q = mg_calloc((size_t)r, (size_t)out * sizeof *q);
    mg_status st = q ? mg_lowrank_qr(l->w, r, q, a, err) : mg_fail(err, MG_NOMEM, "no memory to decompose %s", l->name);
    (void)s, (void)seed;
    for (int k = 0; !st && k < r; k++)
        for (int64_t o = 0; o < out; o++) b[o * r + k] = q[k * out + o];
    free(q);
    return st;
}

static mg_status init(mg_adapter *a, uint64_t seed, mg_error *err) { return mg_residual_init(a, seed, start, err); }

MG_RESIDUAL_METHOD(olora, "OLoRA", init);
