/* embed_noise.c -- NEFTune (Jain et al. 2023, arXiv 2310.05914): uniform noise on the embeddings, in training alone.
 *
 *     y[r] += alpha / sqrt(L D) u,   u uniform in [-1, 1), L the tokens of r's sequence
 *
 * The noise is drawn from (seed, step, sequence), so a resumed run draws the same; it is a constant, so gradients pass
 * as they are and nothing is recorded. */
#include "autograd/ops.h"

#include <math.h>

enum { LAYER = 0xffe }; /* of the random streams: no block has it */

void mg_embed_noise(mg_tape *t, mg_tensor *y) {
    const mg_batch *b = t->batch;
    if (!y || !t->training || !(t->neftune_alpha > 0)) return;
    size_t row = (size_t)y->cols * y->format->block_bytes;
    for (int s = 0; s < b->n_seq; s++) {
        int64_t rows = b->start[s + 1] - b->start[s];
        mg_mat  part = { (uint8_t *)y->data + (size_t)b->start[s] * row, rows, y->cols, y->format, NULL };
        float   scale = (float)(t->neftune_alpha / sqrt((double)(rows * y->cols)));
        if (rows)
            t->backend->noise((mg_noise_args){ .y = part, .scale = scale, .rng = { t->seed, mg_rng_where(t->step, LAYER, (uint32_t)s) } });
    }
}
