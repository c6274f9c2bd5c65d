/* lion.c -- Lion (Chen et al. 2023, arXiv 2302.06675): the sign of a mean of gradients, one moment. */
#include "optim/rule.h"

static void update(mg_optim *o, const mg_update *u, const mg_piece *x) {
    const mg_backend *b = o->p->backend;
    b->lion((mg_lion_args){ .p = x->p, .m = x->state[0], .grad = x->grad, .shadow = x->shadow, .shadow_format = b->element, .n = x->n,
                            .lr = x->lr, .beta1 = o->s.beta1, .beta2 = o->s.beta2, .decay = x->decay, .grad_scale = u->grad_scale });
}

const mg_rule mg_rule_lion = { .moment = { "exp_avg" }, .is_signed = { true }, .update = update };

#define ROW .rule = &mg_rule_lion, .lay_out = mg_rule_lay_out, .start = mg_rule_start, .step = mg_rule_step
const mg_optimizer mg_optimizer_lion_32bit = { .name = "lion_32bit", ROW };
const mg_optimizer mg_optimizer_lion_8bit = { .name = "lion_8bit", .eight = true, ROW };
const mg_optimizer mg_optimizer_paged_lion_32bit = { .name = "paged_lion_32bit", .paged = true, ROW };
const mg_optimizer mg_optimizer_paged_lion_8bit = { .name = "paged_lion_8bit", .eight = true, .paged = true, ROW };
