/* sweep_fit.c -- curves through results: a power law over data sizes, and the loss over rising learning rates.
 *
 * For a fixed exponent the power law is linear in a and b, so the exponent is searched on a fine grid and the rest is
 * solved exactly: no starting values, no local minima. */
#include "train/sweep.h"

#include "base/rng.h"

#include <math.h>
#include <stdlib.h>

enum { EXPONENTS = 400, REFITS = 1000, SITE_REFIT = 0x5ef };

double mg_power_law_at(const mg_power_law *f, double n) { return f->a + f->b * pow(n, -f->c); }

/* a, b >= 0 with least squares for one exponent; the sum of squares. */
static double solve(const double *n, const double *loss, size_t points, mg_power_law *f) {
    double x1 = 0, x2 = 0, y1 = 0, xy = 0, m = (double)points, squares = 0;
    for (size_t i = 0; i < points; i++) {
        double x = pow(n[i], -f->c);
        x1 += x;
        x2 += x * x;
        y1 += loss[i];
        xy += x * loss[i];
    }
    double det = m * x2 - x1 * x1;
    f->b = det > 0 ? (m * xy - x1 * y1) / det : 0;
    f->a = (y1 - f->b * x1) / m;
    if (f->b < 0) {
        f->b = 0;
        f->a = y1 / m;
    }
    if (f->a < 0) {
        f->a = 0;
        f->b = xy / x2;
    }
    for (size_t i = 0; i < points; i++) {
        double d = loss[i] - mg_power_law_at(f, n[i]);
        squares += d * d;
    }
    return squares;
}

static void search(mg_power_law *out, const double *n, const double *loss, size_t points) {
    double best = INFINITY;
    for (int i = 1; i <= EXPONENTS; i++) {
        mg_power_law f = { .c = 2.0 * i / EXPONENTS };
        double       squares = solve(n, loss, points, &f);
        if (squares >= best) continue;
        best = squares;
        f.rms = sqrt(squares / (double)points);
        *out = f;
    }
}

bool mg_power_law_fit(mg_power_law *out, const double *n, const double *loss, size_t points) {
    size_t different = 0;
    for (size_t i = 0; i < points; i++) {
        bool seen = false;
        if (!isfinite(loss[i]) || !(n[i] > 0) || !isfinite(n[i])) return false;
        for (size_t k = 0; k < i; k++) seen |= n[k] == n[i];
        different += !seen;
    }
    if (different < 3) return false;
    search(out, n, loss, points);
    return true;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

mg_forecast mg_power_law_forecast(const mg_power_law *f, const double *n, size_t points, double more, uint64_t seed) {
    mg_forecast out = { mg_power_law_at(f, more), -INFINITY, INFINITY };
    double     *drawn = points > 3 ? mg_calloc(REFITS, sizeof *drawn) : NULL, *noisy = points > 3 ? mg_calloc(points, sizeof *noisy) : NULL;
    if (drawn && noisy) {
        double sigma = f->rms * sqrt((double)points / (double)(points - 3)); /* three numbers were fitted */
        for (int k = 0; k < REFITS; k++) {
            mg_rng       stream = { seed, mg_rng_where((uint64_t)k, 0, SITE_REFIT) };
            mg_power_law g;
            for (size_t i = 0; i < points; i++) noisy[i] = mg_power_law_at(f, n[i]) + sigma * (double)mg_rng_normal(stream, i);
            search(&g, n, noisy, points);
            drawn[k] = mg_power_law_at(&g, more);
        }
        qsort(drawn, REFITS, sizeof *drawn, ascending);
        out.low = drawn[REFITS / 20];
        out.high = drawn[REFITS - 1 - REFITS / 20];
    }
    free(drawn);
    free(noisy);
    return out;
}

/* ---- learning rates ---- */

static const double MEMORY = 0.9, FAR = 4;
enum { SKIPPED = 5, FEWEST = 10 };

/* Exponential mean of everything up to a point, as if it had not begun at zero. */
static double smooth(double *sum, double loss, size_t i) {
    *sum = MEMORY * *sum + (1 - MEMORY) * loss;
    return *sum / (1 - pow(MEMORY, (double)i + 1));
}

bool mg_rate_range_diverged(const double *loss, size_t n) {
    double sum = 0, best = INFINITY, now = INFINITY;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(loss[i])) return true;
        now = smooth(&sum, loss[i], i);
        best = fmin(best, now);
    }
    return n >= FEWEST && now > FAR * best;
}

bool mg_rate_range_read(mg_rate_range *out, const double *rate, const double *loss, size_t n) {
    mg_rate_range r = { .smooth = out->smooth };
    double        sum = 0, best = INFINITY, slope = 0;
    for (r.end = 0; r.end < n && isfinite(loss[r.end]); r.end++) {
        r.smooth[r.end] = smooth(&sum, loss[r.end], r.end);
        if (r.end >= FEWEST && r.smooth[r.end] > FAR * best) break;
        if (r.end >= SKIPPED && r.smooth[r.end] < best) {
            best = r.smooth[r.end];
            r.least = rate[r.end];
        }
    }
    if (r.end < FEWEST) return false;
    for (size_t i = SKIPPED; i + 1 < r.end; i++) {
        double d = (r.smooth[i + 1] - r.smooth[i - 1]) / (log(rate[i + 1]) - log(rate[i - 1]));
        if (d >= slope || rate[i] > r.least) continue;
        slope = d;
        r.steepest = rate[i];
    }
    if (!(slope < 0)) return false;
    r.proposed = sqrt(r.steepest * r.least);
    *out = r;
    return true;
}
