/* rule.h -- optimizers that treat each number alone.
 *
 * A rule says what it keeps of each number and how it updates a piece; whether that state lies in 32 bits, in 8
 * bits or on pages of the host is the row's business and not the rule's:
 *
 *     32 bits   arrays over all numbers, "exp_avg"
 *     8 bits    arrays of each tensor: codes "exp_avg.TENSOR" and a scale for each block of 256, "exp_avg_max.TENSOR";
 *               tensors of fewer than 4096 numbers stay in 32 bits (bitsandbytes' min_8bit_size)
 *
 * In 8 bits a piece is decoded into work memory, updated there by the same kernel and encoded again. */
#ifndef MG_OPTIM_RULE_H
#define MG_OPTIM_RULE_H

#include "optim/optim.h"

enum { MG_RULE_MOMENTS = 2 };
struct mg_rule {
    const char *moment[MG_RULE_MOMENTS]; /* names; NULL ends */
    bool        is_signed[MG_RULE_MOMENTS];
    mg_piece_fn update; /* state[k] is the moment k as floats */
};

/* State for `count` numbers of one tensor, and the update of a piece of them that begins at the tensor's beginning. */
mg_status mg_rule_add_state(mg_optim *o, const mg_rule *rule, size_t tensor, int64_t count, mg_error *err);
void      mg_rule_update(mg_optim *o, const mg_update *u, const mg_rule *rule, size_t tensor, const mg_piece *x);

/* The functions of a row whose `rule` is set. */
mg_status mg_rule_lay_out(mg_optim *o, mg_error *err);
void      mg_rule_start(mg_optim *o);
void      mg_rule_step(mg_optim *o, const mg_update *u);

extern const mg_rule mg_rule_adamw, mg_rule_lion;

#endif
