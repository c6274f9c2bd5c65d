/* tsne.c -- similarities of the points once, then rounds of attraction and repulsion.
 *
 *     p(j|i) = exp(-b_i |x_i - x_j|^2) / sum, b_i such that the entropy is log(perplexity); p_ij = (p(j|i) + p(i|j)) / 2n
 *     q_ij = w_ij / Z, w_ij = 1 / (1 + |y_i - y_j|^2)
 *     dKL/dy_i = 4 sum_j (p_ij - q_ij) w_ij (y_i - y_j)
 *
 * Only the 3 x perplexity nearest points have a p.  Each thread works on points of its own and sums over all points run
 * in one thread, so the number of threads changes nothing. */
#include "eval/map/tsne.h"

#include "base/rng.h"
#include "base/thread.h"
#include "eval/map/neighbours.h"
#include "eval/map/pca.h"
#include "eval/map/quadtree.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* scikit-learn's constants. */
enum { EXPLORATION = 250, PATIENCE = 300, CHECK_EVERY = 50 };
static const double START_WIDTH = 1e-4, LEAST_GAIN = 0.01, LEAST_GRADIENT = 1e-7;

mg_tsne_options mg_tsne_defaults(void) {
    return (mg_tsne_options){ .perplexity = 30, .early_exaggeration = 12, .angle = 0.5, .max_iter = 1000 };
}

typedef struct work {
    int64_t  n, k;
    int32_t *near;      /* [n, k] */
    double  *distance2; /* [n, k], then p(j|i) */
    double   perplexity;
    /* p_ij in rows */
    int64_t *row;       /* [n + 1] */
    int32_t *column;
    double  *p;
    /* a round */
    double      *y;       /* [n, 2], the caller's */
    double      *pull;    /* [n, 2] attraction */
    double      *push;    /* [n, 2] repulsion times Z */
    double      *z;       /* [n] of Z */
    double      *kl;      /* [n] */
    double      *update, *gain; /* [n, 2] */
    mg_quadtree  tree;
    double       angle2, sum_z;
} work;

/* ---- similarities ---- */

/* b_i by bisection, as in the first implementation. */
static void similarities(void *context, int64_t begin, int64_t end, int thread) {
    work  *w = context;
    double wanted = log(w->perplexity);
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        double *d = w->distance2 + i * w->k, beta = 1, low = -INFINITY, high = INFINITY, least = d[0];
        double  sum = 0;
        for (int round = 0; round < 200; round++) {
            double weighted = 0;
            sum = 0;
            for (int64_t j = 0; j < w->k; j++) { /* the nearest distance is taken off: the result is the same, and never 0 / 0 */
                double e = exp(-(d[j] - least) * beta);
                sum += e;
                weighted += (d[j] - least) * e;
            }
            double over = log(sum) + beta * weighted / sum - wanted;
            if (fabs(over) <= 1e-7) break;
            if (over > 0) {
                low = beta;
                beta = isinf(high) ? beta * 2 : (beta + high) / 2;
            } else {
                high = beta;
                beta = isinf(low) ? beta / 2 : (beta + low) / 2;
            }
        }
        for (int64_t j = 0; j < w->k; j++) d[j] = exp(-(d[j] - least) * beta) / sum;
    }
}

static double directed(const work *w, int64_t from, int32_t to) {
    for (int64_t j = 0; j < w->k; j++)
        if (w->near[from * w->k + j] == to) return w->distance2[from * w->k + j];
    return 0;
}

/* Does `from` have `to` among its neighbours? */
static bool knows(const work *w, int64_t from, int32_t to) {
    for (int64_t j = 0; j < w->k; j++)
        if (w->near[from * w->k + j] == to) return true;
    return false;
}

/* p_ij in rows: a row has whom the point knows, and who knows the point. */
static mg_status symmetric(work *w, mg_error *err) {
    int64_t *at = NULL, edges;
    double   sum = 0;
    if (!(w->row = mg_calloc((size_t)w->n + 1, sizeof *w->row))) goto no_memory;
    for (int64_t i = 0; i < w->n; i++)
        for (int64_t j = 0; j < w->k; j++) {
            int32_t to = w->near[i * w->k + j];
            w->row[i + 1]++;
            if (!knows(w, to, (int32_t)i)) w->row[to + 1]++;
        }
    for (int64_t i = 0; i < w->n; i++) w->row[i + 1] += w->row[i];
    edges = w->row[w->n];
    w->column = mg_calloc((size_t)edges, sizeof *w->column);
    w->p = mg_calloc((size_t)edges, sizeof *w->p);
    if (!w->column || !w->p || !(at = mg_calloc((size_t)w->n, sizeof *at))) goto no_memory;
    memcpy(at, w->row, (size_t)w->n * sizeof *at);
    for (int64_t i = 0; i < w->n; i++)
        for (int64_t j = 0; j < w->k; j++) {
            int32_t to = w->near[i * w->k + j];
            double  there = w->distance2[i * w->k + j], back = directed(w, to, (int32_t)i);
            w->column[at[i]] = to;
            w->p[at[i]++] = there + back;
            if (knows(w, to, (int32_t)i)) continue;
            w->column[at[to]] = (int32_t)i;
            w->p[at[to]++] = there;
        }
    for (int64_t e = 0; e < edges; e++) sum += w->p[e];
    for (int64_t e = 0; e < edges; e++) w->p[e] /= sum > DBL_EPSILON ? sum : DBL_EPSILON;
    free(at);
    return MG_OK;
no_memory:
    free(at);
    return mg_fail(err, MG_NOMEM, "no memory for t-SNE of %lld points", (long long)w->n);
}

/* ---- a round ---- */

/* Repulsion of points order[begin..end), which are near each other and so walk the same cells. */
static void repulsion(void *context, int64_t begin, int64_t end, int thread) {
    work          *w = context;
    const mg_cell *cell = w->tree.cell;
    size_t         cells = w->tree.n;
    (void)thread;
    for (int64_t o = begin; o < end; o++) {
        int32_t i = w->tree.order[o];
        double  x = w->y[2 * i], y = w->y[2 * i + 1], fx = 0, fy = 0, z = 0;
        for (size_t c = 0; c < cells;) {
            double dx = x - cell[c].x, dy = y - cell[c].y, d2 = dx * dx + dy * dy;
            if (cell[c].leaf < 0 && cell[c].width2 >= w->angle2 * d2) {
                c++;
                continue;
            }
            bool   own = cell[c].leaf >= 0 && o >= cell[c].leaf && (double)o < (double)cell[c].leaf + cell[c].count;
            double q = 1 / (1 + d2), many = (cell[c].count - own) * q;
            z += many;
            fx += many * q * dx;
            fy += many * q * dy;
            c = (size_t)cell[c].next;
        }
        w->z[i] = z;
        w->push[2 * i] = fx;
        w->push[2 * i + 1] = fy;
    }
}

static void attraction(void *context, int64_t begin, int64_t end, int thread) {
    work *w = context;
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        double x = w->y[2 * i], y = w->y[2 * i + 1], fx = 0, fy = 0;
        for (int64_t e = w->row[i]; e < w->row[i + 1]; e++) {
            const double *to = w->y + 2 * w->column[e];
            double        dx = x - to[0], dy = y - to[1], pull = w->p[e] / (1 + dx * dx + dy * dy);
            fx += pull * dx;
            fy += pull * dy;
        }
        w->pull[2 * i] = fx;
        w->pull[2 * i + 1] = fy;
    }
}

static void divergence(void *context, int64_t begin, int64_t end, int thread) {
    work *w = context;
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        double sum = 0;
        for (int64_t e = w->row[i]; e < w->row[i + 1]; e++) {
            const double *to = w->y + 2 * w->column[e];
            double        dx = w->y[2 * i] - to[0], dy = w->y[2 * i + 1] - to[1], q = 1 / (1 + dx * dx + dy * dy) / w->sum_z;
            sum += w->p[e] * log(fmax(w->p[e], (double)FLT_MIN) / fmax(q, (double)FLT_MIN));
        }
        w->kl[i] = sum;
    }
}

static bool forces(work *w) {
    if (!mg_quadtree_build(&w->tree, w->y, w->n)) return false;
    mg_parallel(w->n, 16, repulsion, w);
    mg_parallel(w->n, 16, attraction, w);
    w->sum_z = 0;
    for (int64_t i = 0; i < w->n; i++) w->sum_z += w->z[i];
    w->sum_z = fmax(w->sum_z, DBL_EPSILON);
    return true;
}

static double total_divergence(work *w) {
    double sum = 0;
    mg_parallel(w->n, 16, divergence, w);
    for (int64_t i = 0; i < w->n; i++) sum += w->kl[i];
    return sum;
}

/* One step of gradient descent with momentum and gains; the norm of the gradient. */
static double move(work *w, double exaggeration, double momentum, double learning_rate) {
    double norm2 = 0;
    for (int64_t i = 0; i < 2 * w->n; i++) {
        double gradient = 4 * (exaggeration * w->pull[i] - w->push[i] / w->sum_z);
        w->gain[i] = w->update[i] * gradient < 0 ? w->gain[i] + 0.2 : w->gain[i] * 0.8;
        w->gain[i] = fmax(w->gain[i], LEAST_GAIN);
        gradient *= w->gain[i];
        norm2 += gradient * gradient;
        w->update[i] = momentum * w->update[i] - learning_rate * gradient;
        w->y[i] += w->update[i];
    }
    return sqrt(norm2);
}

/* Rounds *done .. until, or until nothing gets better. */
static mg_status descend(work *w, const mg_tsne_options *o, int64_t until, int64_t patience, double exaggeration, double momentum,
                         double learning_rate, int64_t *done, mg_error *err) {
    double  best = INFINITY;
    int64_t best_round = *done;
    for (int64_t i = 0; i < 2 * w->n; i++) {
        w->gain[i] = 1;
        w->update[i] = 0;
    }
    for (; *done < until; (*done)++) {
        bool check = (*done + 1) % CHECK_EVERY == 0;
        if (o->cancelled && o->cancelled(o->context)) return mg_fail(err, MG_STOPPED, "stopped");
        if (!forces(w)) return mg_fail(err, MG_NOMEM, "no memory for t-SNE of %lld points", (long long)w->n);
        double kl = check ? total_divergence(w) : 0, norm = move(w, exaggeration, momentum, learning_rate);
        if (!isfinite(norm)) return mg_fail(err, MG_CONFIG, "t-SNE ran away at round %lld; take a smaller learning rate", (long long)*done + 1);
        if (!check) continue;
        if (kl < best) {
            best = kl;
            best_round = *done;
        } else if (*done - best_round > patience)
            break;
        if (norm <= LEAST_GRADIENT) break;
    }
    return MG_OK;
}

/* ---- all ---- */

static mg_status start(work *w, const float *x, int64_t d, const mg_tsne_options *o, mg_error *err) {
    if (o->random_start) {
        for (int64_t i = 0; i < 2 * w->n; i++) w->y[i] = START_WIDTH * (double)mg_rng_normal((mg_rng){ .seed = o->seed }, (uint64_t)i);
        return MG_OK;
    }
    double    sum2 = 0;
    mg_status st = mg_pca(x, w->n, d, 2, w->y, NULL, err);
    for (int64_t i = 0; !st && i < w->n; i++) sum2 += w->y[2 * i] * w->y[2 * i];
    double scale = sum2 > 0 ? START_WIDTH / sqrt(sum2 / (double)w->n) : 0;
    for (int64_t i = 0; !st && i < 2 * w->n; i++) w->y[i] *= scale;
    return st;
}

static mg_status make_room(work *w, mg_error *err) {
    size_t n = (size_t)w->n, pairs;
    bool   fits = mg_size_mul(n, (size_t)w->k, &pairs) && mg_quadtree_open(&w->tree, w->n);
    w->near = fits ? mg_calloc(pairs, sizeof *w->near) : NULL;
    w->distance2 = fits ? mg_calloc(pairs, sizeof *w->distance2) : NULL;
    w->pull = mg_calloc(2 * n, sizeof *w->pull);
    w->push = mg_calloc(2 * n, sizeof *w->push);
    w->update = mg_calloc(2 * n, sizeof *w->update);
    w->gain = mg_calloc(2 * n, sizeof *w->gain);
    w->z = mg_calloc(n, sizeof *w->z);
    w->kl = mg_calloc(n, sizeof *w->kl);
    return w->near && w->distance2 && w->pull && w->push && w->update && w->gain && w->z && w->kl
               ? MG_OK : mg_fail(err, MG_NOMEM, "no memory for t-SNE of %lld points", (long long)w->n);
}

static mg_status check(const mg_tsne_options *o, int64_t n, mg_error *err) {
    if (n < 3 || n > INT32_MAX) return mg_fail(err, MG_CONFIG, "t-SNE needs at least 3 points, there are %lld", (long long)n);
    if (!(o->perplexity > 0) || o->perplexity >= (double)(n - 1))
        return mg_fail(err, MG_CONFIG, "perplexity %g: with %lld points it must be above 0 and below %lld", o->perplexity, (long long)n, (long long)n - 1);
    if (!(o->early_exaggeration >= 1) || !(o->learning_rate >= 0) || !(o->angle >= 0) || !(o->angle <= 1) || o->max_iter < EXPLORATION)
        return mg_fail(err, MG_CONFIG, "t-SNE wants early_exaggeration >= 1, learning_rate > 0, 0 <= angle <= 1 and max_iter >= %d", EXPLORATION);
    return MG_OK;
}

mg_status mg_tsne(const float *x, int64_t n, int64_t d, const mg_tsne_options *o, double *y, mg_tsne_result *out, mg_error *err) {
    work      w = { .n = n, .y = mg_calloc((size_t)n, 2 * sizeof *y), .perplexity = o->perplexity, .angle2 = o->angle * o->angle };
    int64_t   nearest = (int64_t)(3 * o->perplexity + 1), done = 0;
    double    rate = o->learning_rate > 0 ? o->learning_rate : fmax((double)n / o->early_exaggeration / 4, 50);
    mg_status st = w.y ? check(o, n, err) : mg_fail(err, MG_NOMEM, "no memory for t-SNE of %lld points", (long long)n);
    w.k = nearest < n - 1 ? nearest : n - 1;
    if (!st) st = make_room(&w, err);
    if (!st) st = start(&w, x, d, o, err); /* checks for numbers that are not finite, too */
    if (!st) st = mg_neighbours(x, n, d, w.k, w.near, w.distance2, err);
    if (!st) {
        mg_parallel(n, 16, similarities, &w);
        st = symmetric(&w, err);
    }
    if (!st) st = descend(&w, o, EXPLORATION, EXPLORATION, o->early_exaggeration, 0.5, rate, &done, err);
    if (!st) st = descend(&w, o, o->max_iter, PATIENCE, 1, 0.8, rate, &done, err);
    if (!st && !forces(&w)) st = mg_fail(err, MG_NOMEM, "no memory for t-SNE of %lld points", (long long)n);
    if (!st) {
        if (out) *out = (mg_tsne_result){ .kl = total_divergence(&w), .learning_rate = rate, .rounds = done };
        memcpy(y, w.y, (size_t)n * 2 * sizeof *y);
    }
    free(w.y);
    free(w.near);
    free(w.distance2);
    free(w.row);
    free(w.column);
    free(w.p);
    free(w.pull);
    free(w.push);
    free(w.z);
    free(w.kl);
    free(w.update);
    free(w.gain);
    mg_quadtree_free(&w.tree);
    return st;
}
