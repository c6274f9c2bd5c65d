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

double MG_LOOP(adafactor_update)(const mg_adafactor_args *a, double mean, int64_t first, int64_t last) {
    double sum = 0;
    for (int64_t r = first; r < last; r++) {
        float *restrict g = a->grad + r * a->cols, *restrict square = a->square ? a->square + r * a->cols : NULL;
        float  keep = a->beta2, rest = (float)(1 - (double)a->beta2), eps = a->eps;
        float  of_row = square ? a->grad_scale : (float)(a->grad_scale / sqrt((double)a->row[r] / mean));
        for (int64_t c = 0; square && c < a->cols; c++) {
            float x = g[c] * of_row;
            square[c] = keep * square[c] + rest * (x * x + eps);
            g[c] = x / sqrtf(square[c]);
        }
        for (int64_t c = 0; !square && c < a->cols; c++) g[c] = g[c] * of_row / sqrtf(a->col[c]);
        for (int64_t c = 0; c < a->cols; c++) sum += (double)g[c] * g[c];
    }
    return sum;
}

void MG_LOOP(adafactor_apply)(const mg_adafactor_args *a, double scale, double lr, int64_t first, int64_t n) {
    float *restrict p = a->p + first, *restrict mean = a->mean ? a->mean + first : NULL;
    const float *restrict g = a->grad + first;
    float by = (float)scale, shrink = (float)(lr * a->decay), keep = a->beta1, rest = (float)(1 - (double)a->beta1);
    if (!mean)
        for (int64_t i = 0; i < n; i++) p[i] = p[i] - shrink * p[i] - by * g[i];
    else
        for (int64_t i = 0; i < n; i++) {
            mean[i] = keep * mean[i] + rest * (by * g[i]);
            p[i] = p[i] - shrink * p[i] - mean[i];
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
