/* extras.c -- what goes with every optimizer: an average of the values, noise on the gradients.
 *
 * Polyak's average over the last updates (arXiv 1801.06146 among many): a = d a + (1 - d) p with d = min(decay,
 * (1 + t) / (10 + t)), as TensorFlow and diffusers warm it up.  It is one more array of state, so it is planned, saved
 * and resumed with the others.
 *
 * Annealed Gaussian noise (Neelakantan et al. 2015, arXiv 1511.06807): g += N(0, eta / (1 + t)^gamma), t from 0, before
 * clipping; drawn from (seed, step, tensor). */
#include "optim/optim.h"

#include <math.h>
#include <string.h>

enum { LAYER = 0xffd, PART = 1 << 12 };

mg_status mg_average_lay_out(mg_optim *o, mg_error *err) {
    if (!(o->s.ema_decay > 0)) return MG_OK;
    mg_state *s = mg_optim_add_state(o, "average", NULL, "F32", 1, o->p->count);
    if (!s) return mg_fail(err, MG_NOMEM, "no memory for an optimizer");
    s->paged = false;
    o->average = o->n_states;
    return MG_OK;
}

static float *average(const mg_optim *o) { return (float *)(void *)o->state[o->average - 1].data; }

void mg_average_update(mg_optim *o, int64_t step) {
    if (!o->average) return;
    double d = fmin((double)o->s.ema_decay, (double)step / (double)(9 + step)); /* step counts from 1 */
    mg_optim_sum(o, average(o), average(o), (float)d, false, o->p->count);
    mg_optim_sum(o, average(o), o->p->value, (float)(1 - d), true, o->p->count);
}

void mg_optim_begin_average(mg_optim *o) {
    if (o->average) o->p->backend->device->move(average(o), o->p->value, (size_t)o->p->count * sizeof(float));
}

void mg_optim_swap_average(mg_optim *o) {
    const mg_params *p = o->p;
    const mg_device *d = p->backend->device;
    float            part[PART], *a;
    if (!o->average) return;
    a = average(o);
    for (int64_t at = 0; at < p->count; at += PART) {
        size_t bytes = (size_t)(p->count - at < PART ? p->count - at : PART) * sizeof(float);
        float *value = (float *)p->value + at;
        d->get(part, a + at, bytes);
        d->move(a + at, value, bytes);
        d->put(value, part, bytes);
    }
    mg_params_pull(p);
    mg_optim_shadow(o, &(mg_piece){ .p = p->value, .shadow = p->shadow, .n = p->count });
}

void mg_gradient_noise(mg_optim *o, int64_t step) {
    const mg_backend *b = o->p->backend;
    double            variance = (double)o->s.noise.eta / pow((double)step, (double)o->s.noise.gamma);
    if (!(o->s.noise.eta > 0)) return;
    for (size_t i = 0; i < o->p->n; i++) {
        const mg_tensor *x = o->p->item[i];
        mg_rng           rng = { o->s.noise.seed, mg_rng_where((uint64_t)step, LAYER, 0) ^ (uint64_t)i << 48 };
        b->noise((mg_noise_args){ .y = { x->grad, x->rows, x->cols, b->scalar, NULL }, .scale = (float)sqrt(variance), .rng = rng, .normal = true });
    }
}
