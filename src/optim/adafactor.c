/* adafactor.c -- Adafactor (Shazeer & Stern 2018, arXiv 1804.04235), as transformers.Adafactor: a matrix keeps the means
 * of its rows and columns only.
 *
 *     decay of the means at step t: 1 - t^decay_rate
 *     learning rate: lr, or with relative_step min(1e-2, 1 / sqrt(t)) (1e-6 t instead of 1e-2 with warmup_init),
 *     times max(eps2, rms(p)) with scale_parameter */
#include "optim/optim.h"

#include <math.h>

static bool factored(const mg_tensor *x) { return x->rows > 1; }

static mg_status lay_out(mg_optim *o, mg_error *err) {
    size_t work = 0;
    bool   ok = true;
    if (o->s.adafactor.warmup_init && !o->s.adafactor.relative_step)
        return mg_fail(err, MG_CONFIG, "adafactor_warmup_init needs adafactor_relative_step");
    if (!(o->s.adafactor.decay_rate < 0))
        return mg_fail(err, MG_CONFIG, "adafactor_decay_rate is %g; it must be below 0, -0.8 is usual", (double)o->s.adafactor.decay_rate);
    for (size_t i = 0; i < o->p->n; i++) {
        const mg_tensor *x = o->p->item[i];
        size_t           need = mg_adafactor_work(x->rows, x->cols) * sizeof(double);
        o->first[i] = o->n_states;
        if (factored(x))
            ok = ok && mg_optim_add_state(o, "exp_avg_sq_row", x, "F32", 1, x->rows) &&
                 mg_optim_add_state(o, "exp_avg_sq_col", x, "F32", 1, x->cols);
        else
            ok = ok && mg_optim_add_state(o, "exp_avg_sq", x, "F32", 1, x->cols);
        if (o->s.adafactor.beta1 > 0) ok = ok && mg_optim_add_state(o, "exp_avg", x, "F32", 1, x->rows * x->cols);
        if (need > work) work = need;
    }
    o->work_bytes = work;
    return ok ? MG_OK : mg_fail(err, MG_NOMEM, "no memory for an optimizer");
}

static void step(mg_optim *o, const mg_update *u) {
    const mg_optimizer_settings *s = &o->s;
    const mg_backend            *b = o->p->backend;
    double                       t = (double)u->step, relative = fmin(s->adafactor.warmup_init ? 1e-6 * t : 1e-2, 1 / sqrt(t));
    for (size_t i = 0; i < o->p->n; i++) {
        const mg_tensor *x = o->p->item[i];
        mg_piece         piece = mg_optim_piece(o, u, i);
        const mg_state  *state = o->state + o->first[i];
        bool             both = factored(x);
        mg_adafactor_args a = { .p = piece.p, .grad = piece.grad, .shadow = piece.shadow, .shadow_format = b->element, .rows = x->rows,
                                .cols = x->cols, .beta1 = s->adafactor.beta1, .eps = s->adafactor.eps1, .clip = s->adafactor.clip_threshold,
                                .beta2 = (float)(1 - pow(t, (double)s->adafactor.decay_rate)), .decay = piece.decay,
                                .param_eps = s->adafactor.scale_parameter ? s->adafactor.eps2 : 0, .grad_scale = u->grad_scale,
                                .lr = s->adafactor.relative_step ? (float)(relative * (double)o->p->rule[i].lr) : piece.lr, .work = o->work };
        if (both)
            a.row = (float *)(void *)state[0].data, a.col = (float *)(void *)state[1].data;
        else
            a.square = (float *)(void *)state[0].data;
        if (s->adafactor.beta1 > 0) a.mean = (float *)(void *)state[both ? 2 : 1].data;
        b->adafactor(a);
    }
}

const mg_optimizer mg_optimizer_adafactor = { .name = "adafactor", .lay_out = lay_out, .step = step };
