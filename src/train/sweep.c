/* sweep.c -- axes, grids, draws and halving. */
#include "train/sweep.h"

#include "base/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SITE_SWEEP = 0x5ee, POINTS = 5, VALUES = 1000 };

static char *copy_of(const char *s, size_t n) {
    char *out = mg_calloc(n + 1, 1);
    if (out) memcpy(out, s, n);
    return out;
}

void mg_sweep_axis_free(mg_sweep_axis *a) {
    for (size_t i = 0; i < a->n; i++) free(a->value[i]);
    free(a->value);
    free(a->name);
    *a = (mg_sweep_axis){ 0 };
}

void mg_sweep_plan_free(mg_sweep_plan *p) {
    for (size_t i = 0; p->value && i < p->n * p->axes; i++) free(p->value[i]);
    free(p->value);
    *p = (mg_sweep_plan){ 0 };
}

/* The value at u of 0 to 1, as text: whole numbers as such, others with three digits, so that they can be read. */
static char *point(const mg_sweep_axis *a, double u) {
    char   text[64];
    double v = a->logarithmic ? exp(log(a->low) + u * (log(a->high) - log(a->low))) : a->low + u * (a->high - a->low);
    if (a->whole)
        snprintf(text, sizeof text, "%.0f", fmin(fmax(round(v), a->low), a->high));
    else
        snprintf(text, sizeof text, "%.3g", v);
    return mg_strdup(text);
}

static bool add_value(mg_sweep_axis *a, char *value) {
    if (!value) return false;
    for (size_t i = 0; i < a->n; i++)
        if (!strcmp(a->value[i], value)) {
            free(value);
            return true;
        }
    a->value[a->n++] = value;
    return true;
}

/* A number that ends at `stop`; `whole` becomes false unless it is written with digits alone. */
static bool read_end(const char *text, const char *stop, double *out, bool *whole) {
    char   copy[64], *end;
    size_t n = (size_t)(stop - text);
    if (!n || n >= sizeof copy) return false;
    memcpy(copy, text, n);
    copy[n] = 0;
    *out = strtod(copy, &end);
    *whole &= strspn(copy, "0123456789") == n && n < 16;
    return !*end && isfinite(*out);
}

/* low..high or low..high/points; false: it is no range. */
static bool read_range(mg_sweep_axis *a, const char *text, int64_t *points) {
    const char *dots = strstr(text, ".."), *high = dots ? dots + 2 : NULL;
    char       *end = NULL;
    if (!dots) return false;
    const char *slash = strchr(high, '/');
    a->whole = true;
    if (!read_end(text, dots, &a->low, &a->whole) || !read_end(high, slash ? slash : high + strlen(high), &a->high, &a->whole)) return false;
    *points = slash ? strtoll(slash + 1, &end, 10) : POINTS;
    a->logarithmic = a->low > 0 && a->high >= 10 * a->low;
    return !slash || (end > slash + 1 && !*end);
}

mg_status mg_sweep_axis_parse(mg_sweep_axis *out, const char *text, mg_error *err) {
    mg_sweep_axis a = { 0 };
    const char   *equals = strchr(text, '='), *values = equals ? equals + 1 : NULL;
    int64_t       points = 0;
    mg_status     st = MG_OK;
    if (!equals || equals == text || !*values)
        return mg_fail(err, MG_CONFIG, "vary: '%.80s' must read NAME=VALUE,VALUE or NAME=LOW..HIGH", text);
    a.name = copy_of(text, (size_t)(equals - text));
    a.range = read_range(&a, values, &points);
    bool counted = a.range && strchr(values, '/');
    size_t most = 1;
    for (const char *c = values; *c; c++) most += *c == ',';
    if (a.range && (points < 2 || points > VALUES || !(a.high > a.low)))
        st = mg_fail(err, MG_CONFIG, "vary: '%.80s': a range goes upwards and has 2 to %d points", text, (int)VALUES);
    else if (!a.range && (most > VALUES || strstr(values, "..")))
        st = mg_fail(err, MG_CONFIG, "vary: '%.80s' is neither a list of at most %d values nor a range LOW..HIGH", text, (int)VALUES);
    if (!st) a.value = mg_calloc(a.range ? (size_t)points : most, sizeof *a.value);
    if (!st && (!a.name || !a.value)) st = mg_fail(err, MG_NOMEM, "no memory for the values of '%.80s'", text);
    for (int64_t i = 0; !st && a.range && i < points; i++)
        if (!add_value(&a, point(&a, (double)i / (double)(points - 1)))) st = mg_fail(err, MG_NOMEM, "no memory for the values of '%.80s'", text);
    for (const char *c = values; !st && !a.range; c++) {
        size_t n = strcspn(c, ",");
        if (!n)
            st = mg_fail(err, MG_CONFIG, "vary: '%.80s' has an empty value", text);
        else if (!add_value(&a, copy_of(c, n)))
            st = mg_fail(err, MG_NOMEM, "no memory for the values of '%.80s'", text);
        c += n;
        if (!*c) break;
    }
    a.range &= !counted;
    if (st)
        mg_sweep_axis_free(&a);
    else
        *out = a;
    return st;
}

mg_status mg_sweep_grid(mg_sweep_plan *out, const mg_sweep_axis *a, size_t axes, mg_error *err) {
    mg_sweep_plan p = { .axes = axes };
    size_t        n = 1;
    for (size_t i = 0; i < axes; i++) {
        n *= a[i].n;
        if (n > MG_SWEEP_TRIALS) return mg_fail(err, MG_CONFIG, "the grid has more than %d combinations; name fewer values", (int)MG_SWEEP_TRIALS);
    }
    p.value = mg_calloc(n * axes + 1, sizeof *p.value);
    if (!p.value) return mg_fail(err, MG_NOMEM, "no memory for %zu trials", n);
    p.n = n;
    bool short_of_memory = false;
    for (size_t t = 0; t < n; t++)
        for (size_t i = axes, rest = t; i-- > 0; rest /= a[i].n)
            short_of_memory |= !(p.value[t * axes + i] = mg_strdup(a[i].value[rest % a[i].n]));
    if (short_of_memory) {
        mg_sweep_plan_free(&p);
        return mg_fail(err, MG_NOMEM, "no memory for %zu trials", n);
    }
    *out = p;
    return MG_OK;
}

static bool same(char *const *x, char *const *y, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(x[i], y[i])) return false;
    return true;
}

mg_status mg_sweep_draw(mg_sweep_plan *out, const mg_sweep_axis *a, size_t axes, size_t n, uint64_t seed, mg_error *err) {
    mg_sweep_plan p = { .axes = axes, .value = mg_calloc(n * axes + 1, sizeof *p.value) };
    size_t        tries = n * 50;
    if (!p.value) return mg_fail(err, MG_NOMEM, "no memory for %zu trials", n);
    for (uint64_t draw = 0; p.n < n && draw < tries; draw++) {
        char **v = p.value + p.n * axes;
        bool   fresh = true, short_of_memory = false;
        for (size_t i = 0; i < axes; i++) {
            double u = (double)mg_rng_uniform((mg_rng){ seed, mg_rng_where(draw, (uint32_t)i, SITE_SWEEP) }, 0);
            v[i] = a[i].range ? point(&a[i], u) : mg_strdup(a[i].value[(size_t)(u * (double)a[i].n)]);
            short_of_memory |= !v[i];
        }
        for (size_t t = 0; !short_of_memory && fresh && t < p.n; t++) fresh = !same(p.value + t * axes, v, axes);
        if (fresh && !short_of_memory) {
            p.n++;
            continue;
        }
        for (size_t i = 0; i < axes; i++) {
            free(v[i]);
            v[i] = NULL;
        }
        if (short_of_memory) {
            mg_sweep_plan_free(&p);
            return mg_fail(err, MG_NOMEM, "no memory for %zu trials", n);
        }
    }
    *out = p;
    return MG_OK;
}

int mg_sweep_halving(mg_sweep_round out[MG_SWEEP_ROUNDS], size_t n, int factor) {
    int rounds = 1;
    for (size_t left = n; rounds < MG_SWEEP_ROUNDS && left >= (size_t)factor; left /= (size_t)factor) rounds++;
    double part = 1;
    for (int k = rounds - 1; k >= 0; k--, part /= factor) out[k].part = part;
    for (int k = 0; k < rounds; k++, n = n / (size_t)factor > 1 ? n / (size_t)factor : 1) out[k].keep = n;
    return rounds;
}

void mg_sweep_rank(const double *result, size_t n, bool greater_is_better, size_t *order) {
    double sign = greater_is_better ? -1 : 1;
    for (size_t i = 0; i < n; i++) { /* insertion: stable, and n is small */
        size_t at = i;
        double x = isfinite(result[i]) ? sign * result[i] : INFINITY;
        for (; at > 0; at--) {
            double y = isfinite(result[order[at - 1]]) ? sign * result[order[at - 1]] : INFINITY;
            if (!(y > x)) break;
            order[at] = order[at - 1];
        }
        order[at] = i;
    }
}
