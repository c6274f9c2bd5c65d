/* schedule.c -- learning-rate schedules, the factors of transformers' get_scheduler. */
#include "optim/optimizer.h"

#include <math.h>
#include <string.h>

static double warming(int64_t step, int64_t warmup) { return (double)step / (double)(warmup > 0 ? warmup : 1); }

/* How far the part after the warm-up has come, 0 to 1. */
static double progress(int64_t step, int64_t warmup, int64_t total) {
    int64_t rest = total - warmup > 0 ? total - warmup : 1;
    return fmin((double)(step - warmup) / (double)rest, 1);
}

static double constant(int64_t step, int64_t warmup, int64_t total) {
    (void)total;
    return step < warmup ? warming(step, warmup) : 1;
}

static double linear(int64_t step, int64_t warmup, int64_t total) {
    return step < warmup ? warming(step, warmup) : 1 - progress(step, warmup, total);
}

static double cosine(int64_t step, int64_t warmup, int64_t total) {
    return step < warmup ? warming(step, warmup) : 0.5 * (1 + cos(M_PI * progress(step, warmup, total)));
}

/* transformers' "constant" has no warm-up by definition; one that is asked for is given all the same */
static const mg_schedule schedules[] = {
    { "constant", constant }, { "constant_with_warmup", constant }, { "linear", linear }, { "cosine", cosine },
};

const mg_schedule *mg_schedule_find(const char *name) {
    for (size_t i = 0; i < sizeof schedules / sizeof *schedules; i++)
        if (!strcmp(schedules[i].name, name)) return &schedules[i];
    return NULL;
}
