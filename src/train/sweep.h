/* sweep.h -- which settings are tried, how long, and what the results say.
 *
 * A sweep varies some options (axes) of a training run.  Its trials are a pure
 * function of the axes, the search and the seed, so a sweep that was interrupted
 * makes the same list again and goes on where its journal ends.  Nothing here
 * trains: cli/sweep_run.c turns a trial into a run.
 *
 * Successive halving: Jamieson & Talwalkar, "Non-stochastic best arm
 * identification and hyperparameter optimization", AISTATS 2016. */
#ifndef MG_TRAIN_SWEEP_H
#define MG_TRAIN_SWEEP_H

#include "base/mem.h"

/* One option and its values. */
typedef struct mg_sweep_axis {
    char   *name;
    char  **value; /* [n] as they are written in a configuration */
    size_t  n;
    bool    range;       /* low..high: values are drawn; a grid takes `value`, some points of it */
    bool    logarithmic; /* drawn evenly in the logarithm: low > 0 and high >= 10 low */
    bool    whole;       /* both ends are integers: so are the values */
    double  low, high;
} mg_sweep_axis;

/* "learning_rate=1e-5,1e-4"   a list; `+` stands for the comma of an option that is a list itself: "q+v,all-linear"
 * "lora_r=4..64"              a range, five points of it in a grid
 * "lora_r=4..64/3"            a list: three points from end to end
 * MG_CONFIG: neither; MG_NOMEM. */
mg_status mg_sweep_axis_parse(mg_sweep_axis *out, const char *text, mg_error *err);
void      mg_sweep_axis_free(mg_sweep_axis *a);

enum { MG_SWEEP_TRIALS = 10000 };
typedef struct mg_sweep_plan {
    char **value; /* [n * axes] */
    size_t n, axes;
} mg_sweep_plan;
/* All combinations, the last axis fastest.  MG_CONFIG: more than MG_SWEEP_TRIALS. */
mg_status mg_sweep_grid(mg_sweep_plan *out, const mg_sweep_axis *a, size_t axes, mg_error *err);
/* `n` different draws (fewer when the axes have no more), a function of the seed. */
mg_status mg_sweep_draw(mg_sweep_plan *out, const mg_sweep_axis *a, size_t axes, size_t n, uint64_t seed, mg_error *err);
void      mg_sweep_plan_free(mg_sweep_plan *p);

/* Successive halving of n trials by `factor`: round k runs `keep` of them up to `part` of their steps. */
enum { MG_SWEEP_ROUNDS = 16 };
typedef struct mg_sweep_round {
    size_t keep;
    double part; /* the last is 1 */
} mg_sweep_round;
int mg_sweep_halving(mg_sweep_round out[MG_SWEEP_ROUNDS], size_t n, int factor);

/* Indices of n results, the best first; those that are not finite stand last, equal ones in their order. */
void mg_sweep_rank(const double *result, size_t n, bool greater_is_better, size_t *order);

/* ---- learning curve ---- */

/* loss(n) = a + b n^-c, a and b not negative, 0 < c <= 2: least squares over relative sizes. */
typedef struct mg_power_law { double a, b, c, rms; } mg_power_law;
double mg_power_law_at(const mg_power_law *f, double n);
/* At least three different sizes; false: fewer, or a value that is not finite. */
bool mg_power_law_fit(mg_power_law *out, const double *n, const double *loss, size_t points);

/* What the fit says of more data: the loss at `more`, with the central 90% of refits to values with the noise of the
 * residuals (parametric bootstrap, a function of the seed).  With three points nothing is left to tell noise from: the
 * interval is [-inf, inf]. */
typedef struct mg_forecast { double loss, low, high; } mg_forecast;
mg_forecast mg_power_law_forecast(const mg_power_law *f, const double *n, size_t points, double more, uint64_t seed);

/* ---- learning-rate range test: Smith, "Cyclical learning rates for training neural networks", WACV 2017 ---- */

typedef struct mg_rate_range {
    double *smooth;         /* [n] caller's: exponential mean of the losses, corrected for its start */
    double  steepest, least; /* learning rates: fastest fall of the smoothed loss, its minimum */
    double  proposed;       /* half-way between the two, in the logarithm */
    size_t  end;            /* points before the loss left four times its best */
} mg_rate_range;
/* Learning rates rise geometrically.  false: fewer than ten points, or no fall at all. */
bool mg_rate_range_read(mg_rate_range *out, const double *rate, const double *loss, size_t n);
/* Is the smoothed loss so far above its best that going on says nothing more? */
bool mg_rate_range_diverged(const double *loss, size_t n);

#endif
