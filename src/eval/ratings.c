/* ratings.c -- means, win rate and agreement.
 *
 * Ratings of one question are not independent of each other, so intervals resample questions, not ratings. */
#include "eval/ratings.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SHUFFLES = 2000 };

const mg_criterion mg_criteria[MG_CRITERIA] = {
    { "terms", "Technical terms", "専門用語", 1, 5, MG_LEVEL_ORDINAL },
    { "context", "Context", "文脈", 1, 5, MG_LEVEL_ORDINAL },
    { "consistency", "Consistency", "一貫性", 1, 5, MG_LEVEL_ORDINAL },
    { "culture", "Company culture", "企業カルチャー", 1, 5, MG_LEVEL_ORDINAL },
    { "ok", "Right or wrong", "○×", 0, 1, MG_LEVEL_NOMINAL },
};

void mg_ratings_free(mg_ratings *r) {
    for (size_t i = 0; i < r->n; i++) free(r->rating[i].note);
    for (size_t i = 0; i < r->raters; i++) free(r->rater[i].name);
    free(r->rating);
    free(r->rater);
    *r = (mg_ratings){ 0 };
}

size_t mg_ratings_rater(mg_ratings *r, const char *name, bool machine) {
    for (size_t i = 0; i < r->raters; i++)
        if (r->rater[i].machine == machine && !strcmp(r->rater[i].name, name)) return i;
    char *copy = mg_strdup(name);
    if (!copy || !MG_GROW(r->rater, r->rater_cap, r->raters + 1)) {
        free(copy);
        return SIZE_MAX;
    }
    r->rater[r->raters] = (mg_rater){ copy, machine };
    return r->raters++;
}

mg_rating mg_rating_empty(size_t item, size_t rater) {
    mg_rating x = { .item = item, .rater = rater, .preference = MG_PREFER_OPEN };
    for (int side = 0; side < 2; side++)
        for (int c = 0; c < MG_CRITERIA; c++) x.score[side][c] = NAN;
    return x;
}

static bool counts(const mg_ratings *r, const mg_rating *x, mg_raters who) {
    return who == MG_RATERS_ALL || r->rater[x->rater].machine == (who == MG_RATERS_MACHINES);
}

/* ---- one criterion, or the preference ---- */

/* A value of a rating as alpha wants it: criterion c of a side, or with c < 0 the preference (side 0). */
static double value_of(const mg_rating *x, int c, int side) {
    if (c >= 0) return x->score[side][c];
    return x->preference == MG_PREFER_OPEN || side ? NAN : x->preference;
}

static mg_status agreement(const mg_ratings *r, mg_raters who, int c, double *out, mg_error *err) {
    size_t  units = r->items * 2, cells;
    double *value = mg_size_mul(units, r->raters, &cells) ? mg_calloc(cells + 1, sizeof *value) : NULL;
    if (!value) return mg_fail(err, MG_NOMEM, "not enough memory for %zu ratings", r->n);
    for (size_t i = 0; i < cells; i++) value[i] = NAN;
    for (size_t i = 0; i < r->n; i++) {
        const mg_rating *x = &r->rating[i];
        for (int side = 0; side < 2 && counts(r, x, who); side++) value[x->rater * units + 2 * x->item + (size_t)side] = value_of(x, c, side);
    }
    mg_status st = mg_krippendorff_alpha(value, r->raters, units, c < 0 ? MG_LEVEL_NOMINAL : mg_criteria[c].level, out, err);
    free(value);
    return st;
}

static double mean(const void *context, const double *sum) {
    (void)context;
    return sum[1] > 0 ? sum[0] / sum[1] : NAN;
}

/* Only questions that were judged, so that no resample is empty: stats [n * 2] of sum and count, both sides. */
static size_t gather(const mg_ratings *r, mg_raters who, int c, double *stats[2]) {
    for (size_t i = 0; i < r->n; i++) {
        const mg_rating *x = &r->rating[i];
        if (!counts(r, x, who)) continue;
        double a = c < 0 ? x->preference == MG_PREFER_OPEN ? NAN : 0 : x->score[0][c], b = c < 0 ? (x->preference + 1) / 2.0 : x->score[1][c];
        if (isnan(a) || isnan(b)) continue;
        stats[0][2 * x->item] += a;
        stats[1][2 * x->item] += b;
        stats[0][2 * x->item + 1]++;
        stats[1][2 * x->item + 1]++;
    }
    size_t n = 0;
    for (size_t i = 0; i < r->items; i++) {
        if (!(stats[0][2 * i + 1] > 0)) continue;
        for (int side = 0; side < 2; side++) memmove(&stats[side][2 * n], &stats[side][2 * i], 2 * sizeof(double));
        n++;
    }
    return n;
}

static mg_status measure(const mg_ratings *r, mg_raters who, int c, uint64_t seed, mg_rating_line *out, mg_error *err) {
    double   *stats[2] = { mg_calloc(r->items + 1, 2 * sizeof(double)), mg_calloc(r->items + 1, 2 * sizeof(double)) };
    mg_status st = stats[0] && stats[1] ? MG_OK : mg_fail(err, MG_NOMEM, "not enough memory for %zu ratings", r->n);
    *out = (mg_rating_line){ .before = NAN, .after = NAN, .difference = NAN, .low = NAN, .high = NAN, .p = NAN, .alpha = NAN };
    size_t n = st ? 0 : gather(r, who, c, stats);
    if (n) {
        mg_resample   s = { .stats = stats[0], .n = n, .width = 2, .score = mean }, after = { .stats = stats[1], .n = n, .width = 2, .score = mean };
        mg_difference d;
        st = mg_paired_test(&s, stats[1], seed, MG_RESAMPLES, SHUFFLES, &d, err);
        for (size_t i = 0; i < n; i++) out->n += (size_t)stats[0][2 * i + 1];
        out->before = mg_sample_score(&s);
        out->after = mg_sample_score(&after);
        if (!st) out->difference = d.d.score, out->low = d.d.low, out->high = d.d.high, out->p = d.p_shuffle;
    }
    if (!st) st = agreement(r, who, c, &out->alpha, err);
    free(stats[0]);
    free(stats[1]);
    return st;
}

/* ---- all ---- */

static void count(const mg_ratings *r, mg_raters who, mg_rating_summary *s, bool *rater, bool *item) {
    for (size_t i = 0; i < r->n; i++) {
        const mg_rating *x = &r->rating[i];
        if (!counts(r, x, who)) continue;
        s->ratings++;
        s->wins += x->preference == MG_PREFER_AFTER;
        s->ties += x->preference == MG_PREFER_NONE;
        s->losses += x->preference == MG_PREFER_BEFORE;
        s->raters += !rater[x->rater];
        s->items += !item[x->item];
        rater[x->rater] = item[x->item] = true;
    }
}

mg_status mg_ratings_summarise(const mg_ratings *r, mg_raters who, uint64_t seed, mg_rating_summary *out, mg_error *err) {
    mg_rating_summary s = { 0 };
    mg_rating_line    preference;
    bool             *rater = mg_calloc(r->raters + 1, sizeof *rater), *item = mg_calloc(r->items + 1, sizeof *item);
    mg_status         st = rater && item ? MG_OK : mg_fail(err, MG_NOMEM, "not enough memory for %zu ratings", r->n);
    if (!st) count(r, who, &s, rater, item);
    for (int c = 0; !st && c < MG_CRITERIA; c++) st = measure(r, who, c, seed, &s.line[c], err);
    if (!st) st = measure(r, who, -1, seed, &preference, err);
    if (!st) {
        double decided = (double)(s.wins + s.losses);
        s.win_rate = preference.after; /* "before" is 0 throughout, so the difference is the rate */
        s.low = preference.low;
        s.high = preference.high;
        s.alpha = preference.alpha;
        s.decided = decided > 0 ? (double)s.wins / decided : NAN;
        mg_wilson((double)s.wins, decided, &s.wilson_low, &s.wilson_high);
        *out = s;
    }
    free(rater);
    free(item);
    return st;
}
