/* adamw.c -- Adam with decoupled weight decay (Loshchilov & Hutter, arXiv 1711.05101), as torch.optim.AdamW.
 *
 *     p -= lr decay p;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
 *     p -= lr / (1 - b1^t) m / (sqrt(v / (1 - b2^t)) + eps) */
#include "optim/optim.h"

#include <math.h>

static mg_status lay_out(mg_optim *o, mg_error *err) {
    if (mg_optim_add_state(o, "exp_avg", NULL, "F32", 1, o->p->count) && mg_optim_add_state(o, "exp_avg_sq", NULL, "F32", 1, o->p->count))
        return MG_OK;
    return mg_fail(err, MG_NOMEM, "no memory for an optimizer");
}

static void update(mg_optim *o, const mg_update *u, const mg_piece *x) {
    const mg_optimizer_settings *s = &o->s;
    const mg_backend            *b = o->p->backend;
    b->adamw((mg_adamw_args){ .p = x->p, .m = x->state[0], .v = x->state[1], .grad = x->grad, .shadow = x->shadow,
                              .shadow_format = b->element, .n = x->n, .lr = x->lr, .beta1 = s->beta1, .beta2 = s->beta2,
                              .eps = s->eps, .decay = x->decay, .grad_scale = u->grad_scale,
                              .c1 = 1 - pow((double)s->beta1, (double)u->step), .c2 = 1 - pow((double)s->beta2, (double)u->step) });
}

static void step(mg_optim *o, const mg_update *u) { mg_optim_each(o, u, 2, update); }

const mg_optimizer mg_optimizer_adamw = { .name = "adamw", .lay_out = lay_out, .step = step };
