/* adamw.c -- Adam with decoupled weight decay (Loshchilov & Hutter, arXiv 1711.05101), as torch.optim.AdamW; in 8
 * bits as bitsandbytes' (Dettmers et al., arXiv 2110.02861), whose moments are nearest codes here as on CUDA.
 *
 *     p -= lr decay p;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
 *     p -= lr / (1 - b1^t) m / (sqrt(v / (1 - b2^t)) + eps) */
#include "optim/rule.h"

#include <math.h>

static void update(mg_optim *o, const mg_update *u, const mg_piece *x) {
    const mg_optimizer_settings *s = &o->s;
    const mg_backend            *b = o->p->backend;
    b->adamw((mg_adamw_args){ .p = x->p, .m = x->state[0], .v = x->state[1], .grad = x->grad, .shadow = x->shadow,
                              .shadow_format = b->element, .n = x->n, .lr = x->lr, .beta1 = s->beta1, .beta2 = s->beta2,
                              .eps = s->eps, .decay = x->decay, .grad_scale = u->grad_scale,
                              .c1 = 1 - pow((double)s->beta1, (double)u->step), .c2 = 1 - pow((double)s->beta2, (double)u->step) });
}

const mg_rule mg_rule_adamw = { .moment = { "exp_avg", "exp_avg_sq" }, .is_signed = { true, false }, .update = update };

#define ROW .rule = &mg_rule_adamw, .lay_out = mg_rule_lay_out, .start = mg_rule_start, .step = mg_rule_step
const mg_optimizer mg_optimizer_adamw = { .name = "adamw", ROW };
const mg_optimizer mg_optimizer_adamw_8bit = { .name = "adamw_8bit", .eight = true, ROW };
const mg_optimizer mg_optimizer_paged_adamw_32bit = { .name = "paged_adamw_32bit", .paged = true, ROW };
const mg_optimizer mg_optimizer_paged_adamw_8bit = { .name = "paged_adamw_8bit", .eight = true, .paged = true, ROW };
