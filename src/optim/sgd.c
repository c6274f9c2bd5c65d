/* sgd.c -- stochastic gradient descent with momentum (Sutskever et al. 2013), as torch.optim.SGD:
 *
 *     g += decay p;  b = momentum b + (1 - dampening) g (b = g at first);  p -= lr (nesterov ? g + momentum b : b)
 *
 * Made of sums of arrays; the gradient's memory is used up, since it is cleared after the step. */
#include "optim/optim.h"

static mg_status lay_out(mg_optim *o, mg_error *err) {
    if (o->s.sgd.nesterov && !(o->s.sgd.momentum > 0 && o->s.sgd.dampening == 0))
        return mg_fail(err, MG_CONFIG, "sgd_nesterov needs a sgd_momentum above 0 and no sgd_dampening");
    if (!(o->s.sgd.momentum > 0) || mg_optim_add_state(o, "momentum_buffer", NULL, "F32", 1, o->p->count)) return MG_OK;
    return mg_fail(err, MG_NOMEM, "no memory for an optimizer");
}

static void update(mg_optim *o, const mg_update *u, const mg_piece *x) {
    float    momentum = o->s.sgd.momentum, fresh = u->step == 1 ? 1 : 1 - o->s.sgd.dampening, *step = x->grad;
    mg_optim_sum(o, x->grad, x->grad, u->grad_scale, false, x->n);
    if (x->decay > 0) mg_optim_sum(o, x->grad, x->p, x->decay, true, x->n);
    if (momentum > 0) {
        float *buffer = x->state[0];
        mg_optim_sum(o, buffer, buffer, momentum, false, x->n);
        mg_optim_sum(o, buffer, x->grad, fresh, true, x->n);
        if (o->s.sgd.nesterov)
            mg_optim_sum(o, x->grad, buffer, momentum, true, x->n);
        else
            step = buffer;
    }
    mg_optim_sum(o, x->p, step, -x->lr, true, x->n);
    mg_optim_shadow(o, x);
}

static void step(mg_optim *o, const mg_update *u) { mg_optim_each(o, u, o->s.sgd.momentum > 0, update); }

const mg_optimizer mg_optimizer_sgd = { .name = "sgd", .lay_out = lay_out, .step = step };
