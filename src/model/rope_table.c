/* rope_table.c -- inverse frequencies by kind of scaling, then cos and sin of pos * frequency.
 *
 * Frequencies and angles are rounded to float as Hugging Face does, so that long
 * positions turn by the same amount; cos and sin themselves are exact. */
#include "model/rope_table.h"

#include <math.h>
#include <stdlib.h>

typedef struct {
    const mg_rope_config *c;
    int64_t               rot, positions, max_positions;
    bool                  beyond;
    double                attention; /* factor on cos and sin */
} rope_job;

static double plain(const rope_job *j, int64_t i) { return pow(j->c->theta, -2.0 * (double)i / (double)j->rot); }

static void by_default(rope_job *j, double *f) {
    for (int64_t i = 0; i < j->rot / 2; i++) f[i] = plain(j, i);
}

static void by_linear(rope_job *j, double *f) {
    for (int64_t i = 0; i < j->rot / 2; i++) f[i] = plain(j, i) / j->c->factor;
}

/* The base grows with the length beyond what the model was trained on. */
static void by_dynamic(rope_job *j, double *f) {
    double n = (double)(j->positions > j->max_positions ? j->positions : j->max_positions), d = (double)j->rot;
    double base = j->c->theta * pow(j->c->factor * n / (double)j->max_positions - (j->c->factor - 1), d / (d - 2));
    for (int64_t i = 0; i < j->rot / 2; i++) f[i] = pow(base, -2.0 * (double)i / d);
}

static void by_llama3(rope_job *j, double *f) {
    const mg_rope_config *c = j->c;
    double                original = (double)c->original_positions;
    for (int64_t i = 0; i < j->rot / 2; i++) {
        double own = plain(j, i), wave = 2 * M_PI / own;
        double blend = (original / wave - c->low_freq_factor) / (c->high_freq_factor - c->low_freq_factor);
        if (wave > original / c->low_freq_factor)
            f[i] = own / c->factor;
        else if (wave < original / c->high_freq_factor)
            f[i] = own;
        else
            f[i] = (1 - blend) * own / c->factor + blend * own;
    }
}

static double yarn_attention(double scale, double mscale) { return scale <= 1 ? 1 : 0.1 * mscale * log(scale) + 1; }

static void by_yarn(rope_job *j, double *f) {
    const mg_rope_config *c = j->c;
    double d = (double)j->rot, fast = c->beta_fast > 0 ? c->beta_fast : 32, slow = c->beta_slow > 0 ? c->beta_slow : 1;
    double low = d * log((double)c->original_positions / (fast * 2 * M_PI)) / (2 * log(c->theta));
    double high = d * log((double)c->original_positions / (slow * 2 * M_PI)) / (2 * log(c->theta));
    if (!c->no_truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, d - 1);
    if (low == high) high += 0.001;
    for (int64_t i = 0; i < j->rot / 2; i++) {
        double own = plain(j, i), ramp = fmin(fmax(((double)i - low) / (high - low), 0), 1);
        f[i] = own / c->factor * ramp + own * (1 - ramp);
    }
    if (c->attention_factor > 0)
        j->attention = c->attention_factor;
    else if (c->mscale > 0 && c->mscale_all_dim > 0)
        j->attention = yarn_attention(c->factor, c->mscale) / yarn_attention(c->factor, c->mscale_all_dim);
    else
        j->attention = yarn_attention(c->factor, 1);
}

static void by_longrope(rope_job *j, double *f) {
    const mg_rope_config *c = j->c;
    double original = (double)c->original_positions;
    double scale = c->factor > 0 ? c->factor : (double)j->max_positions / original;
    const float *stretch = j->beyond ? c->long_factor : c->short_factor;
    for (int64_t i = 0; i < j->rot / 2; i++) f[i] = plain(j, i) / (stretch ? (double)stretch[i] : 1);
    if (c->attention_factor > 0)
        j->attention = c->attention_factor;
    else
        j->attention = scale <= 1 ? 1 : sqrt(1 + log(scale) / log(original));
}

static void (*const by_kind[])(rope_job *j, double *f) = {
    [MG_ROPE_DEFAULT] = by_default, [MG_ROPE_LINEAR] = by_linear, [MG_ROPE_DYNAMIC] = by_dynamic,
    [MG_ROPE_LLAMA3] = by_llama3,   [MG_ROPE_YARN] = by_yarn,     [MG_ROPE_LONGROPE] = by_longrope,
};

mg_status mg_rope_table_make(mg_rope_table *out, const mg_rope_config *c, int64_t hd, int64_t positions,
                             int64_t max_positions, bool beyond, mg_error *err) {
    rope_job j = { c, (int64_t)((double)hd * c->partial) / 2 * 2, positions, max_positions, beyond, 1 };
    int64_t  half = j.rot / 2;
    double  *f = mg_calloc((size_t)half, sizeof *f);
    float   *angles = mg_calloc((size_t)positions * 2, (size_t)half * sizeof *angles);
    if (!f || !angles) {
        free(f);
        free(angles);
        return mg_fail(err, MG_NOMEM, "no memory for the angles of %lld positions", (long long)positions);
    }
    by_kind[c->kind](&j, f);
    mg_rope_table t = { angles, angles + positions * half, positions, (int)j.rot };
    for (int64_t i = 0; i < half; i++) {
        float frequency = (float)f[i];
        if (c->frequency_divisor) frequency /= c->frequency_divisor[i];
        for (int64_t p = 0; p < positions; p++) {
            float angle = (float)p * frequency;
            t.cos[p * half + i] = (float)(cos((double)angle) * j.attention);
            t.sin[p * half + i] = (float)(sin((double)angle) * j.attention);
        }
    }
    free(f);
    *out = t;
    return MG_OK;
}

void mg_rope_table_free(mg_rope_table *t) {
    free(t->cos);
    *t = (mg_rope_table){ 0 };
}
