/* options.h -- what users can say about single optimizers and schedules: one table, read by whoever trains.
 * What all of them share (learning rate, weight decay, AdamW's numbers) stands with the trainer's own options. */
#ifndef MG_OPTIM_OPTIONS_H
#define MG_OPTIM_OPTIONS_H

#include "base/option.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"

typedef struct mg_optim_options {
    double  ema_decay, gradient_noise_eta, gradient_noise_gamma;
    double  sgd_momentum, sgd_dampening;
    bool    sgd_nesterov;
    bool    adafactor_scale_parameter, adafactor_relative_step, adafactor_warmup_init;
    double  adafactor_clip_threshold, adafactor_decay_rate, adafactor_beta1;
    double  muon_momentum;
    bool    muon_nesterov;
    int64_t muon_ns_steps;
    int64_t galore_rank, galore_update_proj_gap;
    double  galore_scale;
    int     galore_proj_type; /* mg_galore_side */
    int     muon_adjust_lr_fn; /* 0: original, 1: match_rms_adamw */
    double  lr_scheduler_num_cycles, lr_scheduler_min_lr, lr_scheduler_min_lr_rate, lr_scheduler_lr_end, lr_scheduler_power;
    double  lr_scheduler_timescale, lr_scheduler_warmup_lr_rate, lr_scheduler_num_stable_steps, lr_scheduler_num_decay_steps;
    int     lr_scheduler_warmup_type, lr_scheduler_decay_type; /* mg_schedule_curve */
} mg_optim_options;

extern const mg_option mg_optim_rows[];
/* The same for mg_option.tables: fields of a struct mg_optim_options. */
const mg_option *mg_optim_tables(size_t i, size_t *offset);

/* What the table says goes into settings; the rest stays as it is. */
void mg_optim_apply(const mg_optim_options *o, mg_optimizer_settings *s);
void mg_optim_apply_schedule(const mg_optim_options *o, mg_schedule_settings *s);

#endif
