/* int8.isa.c -- the inputs of LLM.int8: outlier columns, and rows rounded to 127 steps. */
#include "backend/cpu/loops.h"

#include <math.h>

void MG_LOOP(find_outliers)(uint8_t *restrict kept, const float *restrict x, int64_t rows, int64_t cols, int64_t ld, float threshold) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++) kept[c] |= fabsf(mg_to_11_bits(x[r * ld + c])) >= threshold;
}

void MG_LOOP(int8_round)(const mg_int8_round_args *a, const uint8_t *restrict kept, int64_t first, int64_t last) {
    int64_t n = a->x.cols;
    float   limit = a->threshold > 0 ? a->threshold : INFINITY;
    for (int64_t r = first; r < last; r++) {
        const float *restrict x = (const float *)a->x.data + r * n;
        float *restrict y = (float *)a->y.data + r * n, lane[16] = { 0 }, max = 0;
        int64_t whole = n / 16 * 16;
        for (int64_t c = 0; c < whole; c += 16)
            for (int k = 0; k < 16; k++) {
                float v = fabsf(mg_to_11_bits(x[c + k])), w = v < limit ? v : 0;
                lane[k] = w > lane[k] ? w : lane[k];
            }
        for (int64_t c = whole; c < n; c++) {
            float v = fabsf(mg_to_11_bits(x[c])), w = v < limit ? v : 0;
            max = w > max ? w : max;
        }
        for (int k = 0; k < 16; k++) max = lane[k] > max ? lane[k] : max;
        float by = max > 0 ? 127 / max : 0, back = max * (1.0f / 127);
        for (int64_t c = 0; c < n; c++) {
            float v = mg_to_11_bits(x[c]), q = rintf(v * by) * back;
            y[c] = fabsf(v) >= limit ? x[c] : q;
        }
        for (int64_t c = 0; kept && c < n; c++) y[c] = kept[c] ? x[c] : y[c];
    }
}
