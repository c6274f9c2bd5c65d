/* fuzz_sweep_axis.c -- any text as an axis of a sweep; what is accepted makes a grid and draws. */
#include "train/sweep.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    mg_error      err = { 0 };
    mg_sweep_axis a = { 0 };
    mg_sweep_plan p = { 0 };
    char         *text = mg_calloc(size + 1, 1);
    if (!text) return 0;
    if (size) memcpy(text, data, size);
    if (!mg_sweep_axis_parse(&a, text, &err)) {
        if (mg_sweep_grid(&p, &a, 1, &err) || p.n != a.n) abort();
        mg_sweep_plan_free(&p);
        if (mg_sweep_draw(&p, &a, 1, 8, 1, &err) || p.n < 1 || p.n > 8) abort();
        mg_sweep_plan_free(&p);
    }
    mg_sweep_axis_free(&a);
    free(text);
    return 0;
}
