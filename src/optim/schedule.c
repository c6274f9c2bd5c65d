/* schedule.c -- learning-rate schedules, the factors of transformers' get_scheduler, and one that it lacks. */
#include "optim/schedule.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

typedef const mg_schedule_settings settings;
typedef mg_schedule_at             place;

static bool   warming(place at) { return at.step < at.warmup; }
static double warmed(place at) { return (double)at.step / (double)(at.warmup > 0 ? at.warmup : 1); }

/* How far the part after the warm-up has come, 0 to 1. */
static double progress(place at) {
    int64_t rest = at.total - at.warmup > 0 ? at.total - at.warmup : 1;
    return fmin((double)(at.step - at.warmup) / (double)rest, 1);
}

/* `cycles` whole waves from 1 on, between 1 and `low` */
static double wave(double cycles, double done, double low) {
    return fmax(0, 0.5 * (1 + cos(M_PI * cycles * 2 * done)) * (1 - low) + low);
}

static double cycles(settings *s) { return s->num_cycles > 0 ? s->num_cycles : 0.5; }
static double lowest(settings *s) { return s->min_lr > 0 ? s->min_lr / s->learning_rate : s->min_lr_rate; }

/* transformers' "constant" has no warm-up by definition; one that is asked for is given all the same */
static double constant(settings *s, place at) {
    (void)s;
    return warming(at) ? warmed(at) : 1;
}

static double linear(settings *s, place at) {
    (void)s;
    return warming(at) ? warmed(at) : fmax(0, (double)(at.total - at.step) / fmax(1, (double)(at.total - at.warmup)));
}

static double cosine(settings *s, place at) { return warming(at) ? warmed(at) : wave(cycles(s), progress(at), 0); }

static double cosine_with_restarts(settings *s, place at) {
    if (warming(at)) return warmed(at);
    double done = progress(at), n = s->num_cycles > 0 ? s->num_cycles : 1;
    return done >= 1 ? 0 : fmax(0, 0.5 * (1 + cos(M_PI * fmod(n * done, 1))));
}

static double cosine_with_min_lr(settings *s, place at) {
    return warming(at) ? warmed(at) : wave(cycles(s), progress(at), lowest(s));
}

/* Its warm-up begins above zero, and its cosine one step further. */
static double cosine_warmup_with_min_lr(settings *s, place at) {
    double step = (double)at.step, warmup = (double)at.warmup;
    if (warming(at) && s->warmup_lr_rate > 0) return s->warmup_lr_rate + (1 - s->warmup_lr_rate) * step / fmax(1, warmup - 1);
    if (warming(at)) return (step + 1) / fmax(1, warmup);
    return wave(cycles(s), (step - warmup + 1) / fmax(1, (double)at.total - warmup), lowest(s));
}

static double polynomial(settings *s, place at) {
    if (warming(at)) return warmed(at);
    double end = s->lr_end / s->learning_rate;
    return at.step > at.total ? end : (1 - end) * pow(1 - progress(at), s->power) + end;
}

static double inverse_sqrt(settings *s, place at) {
    if (warming(at)) return warmed(at);
    double scale = s->timescale > 0 ? s->timescale : at.warmup > 0 ? (double)at.warmup : 10000;
    return 1 / sqrt(((double)at.step + scale - (double)at.warmup) / scale);
}

/* A curve from 1 down to 0. */
static double falling(int curve, double done, double n) {
    if (curve == MG_CURVE_COSINE) return 0.5 * (1 + cos(M_PI * n * 2 * done));
    return curve == MG_CURVE_LINEAR ? 1 - done : 1 - sqrt(done);
}

static double rising(int curve, double done) {
    if (curve == MG_CURVE_COSINE) return 0.5 * (1 - cos(M_PI * done));
    return curve == MG_CURVE_LINEAR ? done : 1 - sqrt(1 - done);
}

static double steps_of(double steps, int64_t total) { return steps < 1 ? ceil(steps * (double)total) : steps; }

static double warmup_stable_decay(settings *s, place at) {
    double low = lowest(s), decay = steps_of(s->num_decay_steps, at.total), stable = steps_of(s->num_stable_steps, at.total);
    double step = (double)at.step, warmup = (double)at.warmup;
    if (stable <= 0) stable = (double)at.total - warmup - decay;
    if (warming(at)) return fmax(0, rising(s->warmup_type, warmed(at)) * (1 - low) + low);
    if (step < warmup + stable) return 1;
    if (step >= warmup + stable + decay) return low;
    double done = (step - warmup - stable) / fmax(1, decay);
    return fmax(0, falling(s->decay_type, done, cycles(s)) * (1 - low) + low);
}

/* From the learning rate to lr_end in equal ratios, also upwards: torch's ExponentialLR, with the ratio that gets there. */
static double exponential(settings *s, place at) {
    if (warming(at)) return warmed(at);
    double last = fmax(1, (double)(at.total - at.warmup - 1));
    return pow(s->lr_end / s->learning_rate, fmin((double)(at.step - at.warmup) / last, 1));
}

#define constant_with_warmup constant
static const mg_schedule schedules[] = {
#define SCHEDULE(x, also) { #x, x },
#include "optim/schedule.def"
#undef SCHEDULE
};

const mg_schedule *mg_schedule_number(size_t i) { return i < sizeof schedules / sizeof *schedules ? &schedules[i] : NULL; }

const mg_schedule *mg_schedule_find(const char *name) {
    for (size_t i = 0; mg_schedule_number(i); i++)
        if (!strcmp(schedules[i].name, name)) return &schedules[i];
    return NULL;
}

mg_status mg_schedule_check(const mg_schedule *schedule, const mg_schedule_settings *s, mg_error *err) {
    bool has_low = schedule->factor == cosine_with_min_lr || schedule->factor == cosine_warmup_with_min_lr;
    if (s->min_lr > 0 && s->min_lr_rate > 0)
        return mg_fail(err, MG_CONFIG, "lr_scheduler_min_lr and lr_scheduler_min_lr_rate say the same in two ways: give one of them");
    if (has_low && !(s->min_lr > 0) && !(s->min_lr_rate > 0))
        return mg_fail(err, MG_CONFIG, "%s needs lr_scheduler_min_lr or lr_scheduler_min_lr_rate", schedule->name);
    if (lowest(s) > 1)
        return mg_fail(err, MG_CONFIG, "lr_scheduler_min_lr is %g, which is above the learning_rate of %g", s->min_lr, s->learning_rate);
    if (schedule->factor == polynomial && !(s->lr_end < s->learning_rate))
        return mg_fail(err, MG_CONFIG, "lr_scheduler_lr_end is %g; it must be below the learning_rate of %g", s->lr_end, s->learning_rate);
    if (schedule->factor == exponential && !(s->lr_end > 0 && s->learning_rate > 0))
        return mg_fail(err, MG_CONFIG, "exponential goes from learning_rate to lr_scheduler_lr_end; both are above 0");
    return MG_OK;
}
