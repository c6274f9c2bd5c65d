/* agreement.c -- alpha from the matrix of coincidences.
 *
 * A unit with m values adds 1 / (m - 1) to cell (a, b) for each ordered pair of its values; n_a are the sums of the
 * rows, n their sum.  alpha = 1 - sum o_ab d_ab / sum e_ab d_ab with e_ab = n_a (n_b - [a = b]) / (n - 1). */
#include "eval/metrics/agreement.h"

#include <math.h>
#include <stdlib.h>

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The different values, ascending, in place; how many. */
static size_t distinct(double *value, size_t n) {
    size_t k = 0;
    qsort(value, n, sizeof *value, ascending);
    for (size_t i = 0; i < n; i++)
        if (!k || value[i] != value[k - 1]) value[k++] = value[i];
    return k;
}

static size_t rank_of(const double *domain, size_t n, double value) {
    size_t low = 0, high = n;
    while (low + 1 < high) {
        size_t middle = (low + high) / 2;
        if (domain[middle] <= value) low = middle;
        else high = middle;
    }
    return low;
}

static double distance(mg_level level, const double *domain, const double *count, size_t a, size_t b) {
    if (a == b) return 0;
    if (level == MG_LEVEL_NOMINAL) return 1;
    if (level == MG_LEVEL_INTERVAL) return (domain[a] - domain[b]) * (domain[a] - domain[b]);
    double between = -(count[a] + count[b]) / 2;
    for (size_t i = a < b ? a : b; i <= (a < b ? b : a); i++) between += count[i];
    return between * between;
}

/* cell [v][v], of every unit that two raters or more have judged. */
static void coincide(const double *value, size_t raters, size_t units, const double *domain, size_t v, double *cell) {
    for (size_t u = 0; u < units; u++) {
        double given = 0;
        for (size_t r = 0; r < raters; r++) given += !isnan(value[r * units + u]);
        for (size_t r = 0; given > 1 && r < raters; r++)
            for (size_t s = 0; s < raters; s++) {
                double a = value[r * units + u], b = value[s * units + u];
                if (r != s && !isnan(a) && !isnan(b)) cell[rank_of(domain, v, a) * v + rank_of(domain, v, b)] += 1 / (given - 1);
            }
    }
}

static double alpha(const double *cell, const double *domain, double *count, size_t v, mg_level level) {
    double n = 0, observed = 0, expected = 0;
    for (size_t a = 0; a < v; a++) {
        for (size_t b = 0; b < v; b++) count[a] += cell[a * v + b];
        n += count[a];
    }
    for (size_t a = 0; a < v; a++)
        for (size_t b = 0; b < v; b++) {
            double d = distance(level, domain, count, a, b);
            observed += cell[a * v + b] * d;
            expected += count[a] * count[b] / (n - 1) * d; /* d is 0 where a = b */
        }
    return expected > 0 ? 1 - observed / expected : NAN;
}

mg_status mg_krippendorff_alpha(const double *value, size_t raters, size_t units, mg_level level, double *out, mg_error *err) {
    size_t    all, n = 0, v, cells;
    double   *domain = NULL, *cell = NULL, *count = NULL;
    mg_status st = MG_OK;
    if (!mg_size_mul(raters, units, &all) || !(domain = mg_calloc(all + 1, sizeof *domain)))
        return mg_fail(err, MG_NOMEM, "not enough memory for %zu ratings", raters);
    for (size_t i = 0; i < all; i++)
        if (!isnan(value[i])) domain[n++] = value[i];
    v = distinct(domain, n);
    count = mg_calloc(v + 1, sizeof *count);
    if (!mg_size_mul(v, v, &cells) || !(cell = mg_calloc(cells + 1, sizeof *cell)) || !count) {
        st = mg_fail(err, MG_NOMEM, "not enough memory for %zu ratings", all);
        goto done;
    }
    coincide(value, raters, units, domain, v, cell);
    *out = alpha(cell, domain, count, v, level);
done:
    free(domain);
    free(cell);
    free(count);
    return st;
}

void mg_wilson(double hits, double n, double *low, double *high) {
    const double z = 1.959963984540054;
    if (!(n > 0)) {
        *low = 0;
        *high = 1;
        return;
    }
    double p = hits / n, z2 = z * z, middle = (p + z2 / (2 * n)) / (1 + z2 / n);
    double half = z / (1 + z2 / n) * sqrt(p * (1 - p) / n + z2 / (4 * n * n));
    *low = hits > 0 ? fmax(0, middle - half) : 0;
    *high = hits < n ? fmin(1, middle + half) : 1;
}
