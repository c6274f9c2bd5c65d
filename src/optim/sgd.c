/* sgd.c -- stochastic gradient descent with momentum (Sutskever et al. 2013), as torch.optim.SGD:
 *
 *     g += decay p;  b = momentum b + (1 - dampening) g (b = g at first);  p -= lr (nesterov ? g + momentum b : b)
 *
 * Made of sums of arrays. */
#include "optim/optim.h"

static mg_status lay_out(mg_optim *o, mg_error *err) {
    if (o->s.sgd.nesterov && !(o->s.sgd.momentum > 0 && o->s.sgd.dampening == 0))
        return mg_fail(err, MG_CONFIG, "sgd_nesterov needs a sgd_momentum above 0 and no sgd_dampening");
    if (!(o->s.sgd.momentum > 0) || mg_optim_add_state(o, "momentum_buffer", NULL, "F32", 1, o->p->count)) return MG_OK;
    return mg_fail(err, MG_NOMEM, "no memory for an optimizer");
}

static void update(mg_optim *o, const mg_update *u, const mg_piece *x) {
    float momentum = o->s.sgd.momentum, fresh = u->step == 1 ? 1 : 1 - o->s.sgd.dampening, lr = x->lr, *buffer = x->state[0];
    bool  bare = !(momentum > 0) || o->s.sgd.nesterov; /* the gradient itself is part of the step */
    if (momentum > 0) {
        mg_optim_sum(o, buffer, buffer, momentum, false, x->n);
        mg_optim_sum(o, buffer, x->grad, fresh * u->grad_scale, true, x->n);
        if (x->decay > 0) mg_optim_sum(o, buffer, x->p, fresh * x->decay, true, x->n);
    }
    if (bare && x->decay > 0) mg_optim_sum(o, x->p, x->p, (float)(1 - (double)lr * (double)x->decay), false, x->n);
    if (bare) mg_optim_sum(o, x->p, x->grad, -lr * u->grad_scale, true, x->n);
    if (momentum > 0) mg_optim_sum(o, x->p, buffer, bare ? -lr * momentum : -lr, true, x->n);
    mg_optim_shadow(o, x);
}

static void step(mg_optim *o, const mg_update *u) { mg_optim_each(o, u, o->s.sgd.momentum > 0, update); }

const mg_optimizer mg_optimizer_sgd = { .name = "sgd", .lay_out = lay_out, .step = step };
