/* schedule.h -- the learning rate as a function of the step.
 *
 * A schedule is a row: a factor on the learning rate, equal to that of transformers' get_scheduler at every step
 * (exponential: of torch's ExponentialLR).
 * Nothing has a state, so a resumed run needs the step alone. */
#ifndef MG_OPTIM_SCHEDULE_H
#define MG_OPTIM_SCHEDULE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum mg_schedule_curve { MG_CURVE_LINEAR, MG_CURVE_COSINE, MG_CURVE_1_SQRT } mg_schedule_curve;

/* What transformers takes as lr_scheduler_kwargs; each schedule reads its own. */
typedef struct mg_schedule_settings {
    double  learning_rate;    /* the highest: lr_end and min_lr are parts of it */
    double  num_cycles;       /* 0: half a wave, or one restart */
    double  lr_end, power;    /* polynomial, exponential */
    double  min_lr, min_lr_rate; /* learning rate that the cosine ends with; either, the other 0 */
    double  warmup_lr_rate;   /* cosine_warmup_with_min_lr begins there; 0: at 1 / warmup */
    double  timescale;        /* inverse_sqrt; 0: the warm-up, or 10,000 */
    double  num_stable_steps, num_decay_steps; /* warmup_stable_decay; below 1: a part of all steps; stable 0: the rest */
    int     warmup_type, decay_type; /* mg_schedule_curve */
} mg_schedule_settings;

/* Where a run stands: update `step` (from 0) of `total`, the first `warmup` of them warming up. */
typedef struct mg_schedule_at { int64_t step, warmup, total; } mg_schedule_at;

typedef struct mg_schedule {
    const char *name;
    double (*factor)(const mg_schedule_settings *s, mg_schedule_at at);
} mg_schedule;
const mg_schedule *mg_schedule_find(const char *name); /* NULL: unknown */
/* Number i of the table, in the order of schedule.def; NULL behind the last. */
const mg_schedule *mg_schedule_number(size_t i);

/* MG_CONFIG: settings that the schedule cannot follow. */
mg_status mg_schedule_check(const mg_schedule *schedule, const mg_schedule_settings *s, mg_error *err);

#endif
