/* optim.isa.c -- the loops of the optimizers that are more than one formula a number. */
#include "backend/cpu/loops.h"

#include <math.h>

void MG_LOOP(adafactor_sums)(const mg_adafactor_args *a, double *row, double *restrict col, int64_t first, int64_t last) {
    float scale = a->grad_scale, eps = a->eps;
    for (int64_t r = first; r < last; r++) {
        const float *restrict g = a->grad + r * a->cols;
        double sum = 0;
        for (int64_t c = 0; c < a->cols; c++) {
            float  x = g[c] * scale;
            double u = (double)(x * x + eps);
            sum += u;
            col[c] += u;
        }
        row[r] = sum;
    }
}

/* What stands before g / sqrt(column) in a row, or before g / sqrt(square). */
static float of_row(const mg_adafactor_args *a, double mean, int64_t r) {
    return a->square ? a->grad_scale : (float)(a->grad_scale / sqrt((double)a->row[r] / mean));
}

double MG_LOOP(adafactor_size)(const mg_adafactor_args *a, double mean, int64_t first, int64_t last) {
    float  keep = a->beta2, rest = (float)(1 - (double)a->beta2), eps = a->eps;
    double sum = 0;
    for (int64_t r = first; r < last; r++) {
        const float *restrict g = a->grad + r * a->cols;
        float *restrict square = a->square ? a->square + r * a->cols : a->col, by = of_row(a, mean, r);
        for (int64_t c = 0; a->square && c < a->cols; c++) square[c] = keep * square[c] + rest * (by * g[c] * (by * g[c]) + eps);
        for (int64_t c = 0; c < a->cols; c++) sum += (double)(by * g[c] * (by * g[c]) / square[c]);
    }
    return sum;
}

void MG_LOOP(adafactor_apply)(const mg_adafactor_args *a, double mean, double scale, double lr, int64_t first, int64_t last) {
    float shrink = (float)(lr * a->decay), keep = a->beta1, rest = (float)(1 - (double)a->beta1);
    for (int64_t r = first; r < last; r++) {
        const float *restrict g = a->grad + r * a->cols, *restrict square = a->square ? a->square + r * a->cols : a->col;
        float *restrict p = a->p + r * a->cols, *restrict m = a->mean ? a->mean + r * a->cols : NULL;
        float  by = (float)(of_row(a, mean, r) * scale);
        for (int64_t c = 0; !m && c < a->cols; c++) p[c] = p[c] - shrink * p[c] - by * g[c] / sqrtf(square[c]);
        for (int64_t c = 0; m && c < a->cols; c++) {
            m[c] = keep * m[c] + rest * (by * g[c] / sqrtf(square[c]));
            p[c] = p[c] - shrink * p[c] - m[c];
        }
    }
}

void MG_LOOP(dynamic8_decode)(float *restrict x, const uint8_t *restrict code, const float *restrict map, float absmax, int64_t n) {
    for (int64_t i = 0; i < n; i++) x[i] = map[code[i]] * absmax;
}

/* How many borders lie below x: eight halvings, of sixteen numbers at a time. */
void MG_LOOP(dynamic8_encode)(uint8_t *restrict code, const float *restrict x, const float *restrict border, float absmax, int64_t n) {
    enum { WIDTH = 16 };
    for (int64_t i = 0; i < n; i += WIDTH) {
        int32_t at[WIDTH] = { 0 };
        float   v[WIDTH] = { 0 };
        int64_t left = n - i < WIDTH ? n - i : WIDTH;
        for (int64_t k = 0; k < left; k++) v[k] = absmax > 0 ? x[i + k] / absmax : 0;
        for (int half = 128; half; half >>= 1)
            for (int k = 0; k < WIDTH; k++) at[k] += v[k] > border[at[k] + half - 1] ? half : 0;
        for (int64_t k = 0; k < left; k++) code[i + k] = (uint8_t)at[k];
    }
}
