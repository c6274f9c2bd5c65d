/* options.c -- the table of optimizers' and schedules' own options.
 *
 * transformers takes them as optim_args and lr_scheduler_kwargs; the nested keys are aliases, flat names lead with the
 * optimizer that reads them. */
#include "optim/options.h"

#include <math.h>
#include <stddef.h>

#define AT(field) offsetof(mg_optim_options, field)
#define OPTIMISE  MG_N("Optimisation")
#define NUMBER(field, default_value, least, most) \
    .name = #field, .type = &mg_option_float, .offset = AT(field), .def = default_value, .min = least, .max = most, .group = OPTIMISE
#define FLAG(field, default_value) .name = #field, .type = &mg_option_bool, .offset = AT(field), .def = default_value, .group = OPTIMISE

const mg_option mg_optim_rows[] = {
    { NUMBER(ema_decay, "0", 0, 0.99999999), .help = MG_N("evaluate and save an average of the weights that forgets 1 less this with every step; 0: none") },
    { NUMBER(gradient_noise_eta, "0", 0, 1e6),
      .help = MG_N("Gaussian noise on the gradients, of variance eta / step^gamma; 0.01, 0.3 and 1 are usual, 0: none") },
    { NUMBER(gradient_noise_gamma, "0.55", 0, 10), .help = MG_N("how fast that noise goes down") },
    { NUMBER(sgd_momentum, "0", 0, 0.99999999), .aliases = "optim_args.momentum", .help = MG_N("sgd: part of the last step in the next one") },
    { NUMBER(sgd_dampening, "0", 0, 1), .aliases = "optim_args.dampening", .help = MG_N("sgd: the gradient's part in the momentum is 1 less this") },
    { FLAG(sgd_nesterov, "false"), .aliases = "optim_args.nesterov", .help = MG_N("sgd: Nesterov's momentum") },
    { FLAG(adafactor_scale_parameter, "false"), .aliases = "optim_args.scale_parameter",
      .help = MG_N("adafactor: multiply the learning rate by the size of each tensor") },
    { FLAG(adafactor_relative_step, "false"), .aliases = "optim_args.relative_step",
      .help = MG_N("adafactor: its own learning rate, 1 / sqrt(step), instead of the schedule's") },
    { FLAG(adafactor_warmup_init, "false"), .aliases = "optim_args.warmup_init", .help = MG_N("adafactor: warm up with relative_step") },
    { NUMBER(adafactor_clip_threshold, "1", 1e-6, 1e9), .aliases = "optim_args.clip_threshold",
      .help = MG_N("adafactor: largest root mean square of an update before the learning rate") },
    { NUMBER(adafactor_decay_rate, "-0.8", -10, 10), .aliases = "optim_args.decay_rate",
      .help = MG_N("adafactor: the mean of squared gradients forgets 1 - step^this") },
    { NUMBER(adafactor_beta1, "0", 0, 0.99999999), .help = MG_N("adafactor: keep a mean of the updates; 0: none, which saves its memory") },
    { NUMBER(muon_momentum, "0.95", 0, 0.99999999), .help = MG_N("muon: momentum") },
    { FLAG(muon_nesterov, "true"), .help = MG_N("muon: Nesterov's momentum") },
    { .name = "muon_ns_steps", .aliases = "ns_steps,optim_args.ns_steps", .type = &mg_option_int, .offset = AT(muon_ns_steps), .def = "5",
      .min = 1, .max = 99, .group = OPTIMISE, .help = MG_N("muon: Newton-Schulz iterations") },
    { .name = "muon_adjust_lr_fn", .aliases = "adjust_lr_fn,optim_args.adjust_lr_fn", .type = &mg_option_enum, .offset = AT(muon_adjust_lr_fn),
      .def = "original", .choices = "original|match_rms_adamw", .group = OPTIMISE,
      .help = MG_N("muon: how large a step is; match_rms_adamw suits learning rates that are right for AdamW") },
    { .name = "galore_rank", .aliases = "optim_args.rank", .type = &mg_option_int, .offset = AT(galore_rank), .def = "128", .min = 1, .max = 65536,
      .group = OPTIMISE, .help = MG_N("galore_adamw: rank of the space in which a matrix's state lies") },
    { .name = "galore_update_proj_gap", .aliases = "galore_update_interval,optim_args.update_proj_gap", .type = &mg_option_int,
      .offset = AT(galore_update_proj_gap), .def = "200", .min = 1, .max = INFINITY, .group = OPTIMISE,
      .help = MG_N("galore_adamw: steps until that space is found anew") },
    { NUMBER(galore_scale, "0.25", 0, 1000), .aliases = "optim_args.scale", .help = MG_N("galore_adamw: factor on its updates") },
    { .name = "galore_proj_type", .aliases = "optim_args.proj_type", .type = &mg_option_enum, .offset = AT(galore_proj_type), .def = "std",
      .choices = "std|reverse_std|left|right", .group = OPTIMISE, .help = MG_N("galore_adamw: the side of a matrix that is projected") },
    { NUMBER(lr_scheduler_num_cycles, "0", 0, 1e6), .aliases = "lr_scheduler_kwargs.num_cycles",
      .help = MG_N("cosine: waves; cosine_with_restarts: restarts; 0: half a wave, one restart") },
    { NUMBER(lr_scheduler_min_lr, "0", 0, 10), .aliases = "lr_scheduler_kwargs.min_lr", .help = MG_N("cosine_with_min_lr: the lowest learning rate") },
    { NUMBER(lr_scheduler_min_lr_rate, "0", 0, 1), .aliases = "lr_scheduler_kwargs.min_lr_rate,lr_scheduler_kwargs.min_lr_ratio,cosine_min_lr_ratio",
      .help = MG_N("the same as a part of learning_rate; warmup_stable_decay ends there, too") },
    { NUMBER(lr_scheduler_lr_end, "1e-7", 0, 10), .aliases = "lr_scheduler_kwargs.lr_end", .help = MG_N("polynomial, exponential: the last learning rate") },
    { NUMBER(lr_scheduler_power, "1", 0, 100), .aliases = "lr_scheduler_kwargs.power", .help = MG_N("polynomial: its power") },
    { NUMBER(lr_scheduler_timescale, "0", 0, 1e12), .aliases = "lr_scheduler_kwargs.timescale",
      .help = MG_N("inverse_sqrt: steps until the learning rate has fallen to 0.7; 0: those of the warm-up, or 10000") },
    { NUMBER(lr_scheduler_warmup_lr_rate, "0", 0, 1), .aliases = "lr_scheduler_kwargs.warmup_lr_rate",
      .help = MG_N("cosine_warmup_with_min_lr: the first learning rate as a part of learning_rate; 0: 1 / warmup_steps") },
    { NUMBER(lr_scheduler_num_stable_steps, "0", 0, 1e12), .aliases = "lr_scheduler_kwargs.num_stable_steps",
      .help = MG_N("warmup_stable_decay: steps at the full learning rate; a fraction of all steps when below 1; 0: what is left") },
    { NUMBER(lr_scheduler_num_decay_steps, "0.1", 0, 1e12), .aliases = "lr_scheduler_kwargs.num_decay_steps",
      .help = MG_N("warmup_stable_decay: steps of the decay; a fraction of all steps when below 1") },
    { .name = "lr_scheduler_warmup_type", .aliases = "lr_scheduler_kwargs.warmup_type", .type = &mg_option_enum, .offset = AT(lr_scheduler_warmup_type),
      .def = "linear", .choices = "linear|cosine|1-sqrt", .group = OPTIMISE, .help = MG_N("warmup_stable_decay: curve of the warm-up") },
    { .name = "lr_scheduler_decay_type", .aliases = "lr_scheduler_kwargs.decay_type", .type = &mg_option_enum, .offset = AT(lr_scheduler_decay_type),
      .def = "cosine", .choices = "linear|cosine|1-sqrt", .group = OPTIMISE, .help = MG_N("warmup_stable_decay: curve of the decay") },
    { 0 },
};

const mg_option *mg_optim_tables(size_t i, size_t *offset) {
    *offset = 0;
    return i ? NULL : mg_optim_rows;
}

void mg_optim_apply(const mg_optim_options *o, mg_optimizer_settings *s) {
    s->ema_decay = (float)o->ema_decay;
    s->noise.eta = (float)o->gradient_noise_eta;
    s->noise.gamma = (float)o->gradient_noise_gamma;
    s->sgd.momentum = (float)o->sgd_momentum;
    s->sgd.dampening = (float)o->sgd_dampening;
    s->sgd.nesterov = o->sgd_nesterov;
    s->adafactor.scale_parameter = o->adafactor_scale_parameter;
    s->adafactor.relative_step = o->adafactor_relative_step;
    s->adafactor.warmup_init = o->adafactor_warmup_init;
    s->adafactor.clip_threshold = (float)o->adafactor_clip_threshold;
    s->adafactor.decay_rate = (float)o->adafactor_decay_rate;
    s->adafactor.beta1 = (float)o->adafactor_beta1;
    s->muon.momentum = (float)o->muon_momentum;
    s->muon.nesterov = o->muon_nesterov;
    s->muon.ns_steps = (int)o->muon_ns_steps;
    s->galore.rank = o->galore_rank;
    s->galore.gap = o->galore_update_proj_gap;
    s->galore.scale = (float)o->galore_scale;
    s->galore.side = o->galore_proj_type;
    s->muon.match_rms_adamw = o->muon_adjust_lr_fn == 1;
}

void mg_optim_apply_schedule(const mg_optim_options *o, mg_schedule_settings *s) {
    s->num_cycles = o->lr_scheduler_num_cycles;
    s->min_lr = o->lr_scheduler_min_lr;
    s->min_lr_rate = o->lr_scheduler_min_lr_rate;
    s->lr_end = o->lr_scheduler_lr_end;
    s->power = o->lr_scheduler_power;
    s->timescale = o->lr_scheduler_timescale;
    s->warmup_lr_rate = o->lr_scheduler_warmup_lr_rate;
    s->num_stable_steps = o->lr_scheduler_num_stable_steps;
    s->num_decay_steps = o->lr_scheduler_num_decay_steps;
    s->warmup_type = o->lr_scheduler_warmup_type;
    s->decay_type = o->lr_scheduler_decay_type;
}
