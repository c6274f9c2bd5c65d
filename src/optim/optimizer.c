/* optimizer.c -- AdamW (Loshchilov & Hutter, arXiv 1711.05101) and global-norm clipping as torch computes them. */
#include "optim/optimizer.h"

#include <math.h>
#include <string.h>

static void adamw(mg_params *p, const mg_backend *b, const mg_optimizer_settings *s, float lr, float grad_scale, int64_t step) {
    b->adamw((mg_adamw_args){ .p = p->value, .m = p->m, .v = p->v, .grad = p->grad, .shadow = p->shadow,
                              .shadow_format = b->element, .n = p->count, .lr = lr, .beta1 = s->beta1,
                              .beta2 = s->beta2, .eps = s->eps, .decay = s->weight_decay, .grad_scale = grad_scale,
                              .c1 = 1 - pow((double)s->beta1, (double)step), .c2 = 1 - pow((double)s->beta2, (double)step) });
}

static const mg_optimizer optimizers[] = { { "adamw", adamw } };

const mg_optimizer *mg_optimizer_find(const char *name) {
    for (size_t i = 0; i < sizeof optimizers / sizeof *optimizers; i++)
        if (!strcmp(optimizers[i].name, name)) return &optimizers[i];
    return NULL;
}

bool mg_optimizer_update(const mg_optimizer *o, mg_params *p, const mg_backend *b, const mg_optimizer_settings *s, float lr,
                         int64_t step, double *norm) {
    double squares;
    b->device->zero(p->squares, sizeof squares);
    b->square_sum((mg_square_sum_args){ p->grad, p->count, p->squares });
    b->device->get(&squares, p->squares, sizeof squares);
    *norm = sqrt(squares);
    bool finite = isfinite(*norm);
    if (finite) {
        /* torch adds 1e-6 to the norm and never scales up */
        double scale = s->max_grad_norm > 0 ? (double)s->max_grad_norm / (*norm + 1e-6) : 1;
        o->step(p, b, s, lr, (float)fmin(scale, 1), step);
    }
    mg_params_zero_grad(p);
    return finite;
}
