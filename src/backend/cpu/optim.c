/* optim.c -- optimizers over the threads: Lion, Adafactor, 8-bit state; and noise.
 *
 * Adafactor needs sums over the whole matrix three times (means of squares, size of the update, size of the
 * values); each is made of parts that are added in one order, so bits repeat. */
#include "backend/cpu/cpu.h"
#include "backend/cpu/loops.h"
#include "tensor/nf4.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

enum { GRAIN = 8192, BORDERS = 255 };

static void lion_range(void *context, int64_t begin, int64_t end, int thread) {
    (void)thread;
    mg_cpu_loops_now()->lion(context, begin, end - begin);
}
void mg_cpu_lion(mg_lion_args a) { mg_parallel(a.n, GRAIN, lion_range, &a); }

/* ---- Adafactor ---- */

typedef struct {
    mg_adafactor_args a;
    int64_t           parts, part_rows;
    double           *row, *col, *update, *size; /* row [rows], col [parts, cols], update and size [parts] */
    double            mean, scale, lr;
} factoring;

static int64_t last_row(const factoring *f, int64_t part) { return mg_cpu_min(f->a.rows, (part + 1) * f->part_rows); }

static void sums(void *context, int64_t part, int64_t end, int thread) {
    factoring *f = context;
    double    *col = f->col + part * f->a.cols;
    (void)end, (void)thread;
    memset(col, 0, (size_t)f->a.cols * sizeof *col);
    mg_cpu_loops_now()->adafactor_sums(&f->a, f->row, col, part * f->part_rows, last_row(f, part));
}

static void sizes(void *context, int64_t part, int64_t end, int thread) {
    factoring *f = context;
    int64_t    first = part * f->part_rows, last = last_row(f, part);
    (void)end, (void)thread;
    f->update[part] = mg_cpu_loops_now()->adafactor_size(&f->a, f->mean, first, last);
    f->size[part] = f->a.param_eps > 0 ? mg_cpu_loops_now()->square_sum(f->a.p + first * f->a.cols, (last - first) * f->a.cols) : 0;
}

static void apply(void *context, int64_t part, int64_t end, int thread) {
    const factoring *f = context;
    (void)end, (void)thread;
    mg_cpu_loops_now()->adafactor_apply(&f->a, f->mean, f->scale, f->lr, part * f->part_rows, last_row(f, part));
}

/* The running means of rows and columns from the sums of the parts. */
static void running_means(factoring *f) {
    mg_adafactor_args *a = &f->a;
    double             keep = a->beta2, take = 1 - (double)a->beta2;
    f->mean = 0;
    for (int64_t r = 0; r < a->rows; r++) {
        a->row[r] = (float)(keep * a->row[r] + take * f->row[r] / (double)a->cols);
        f->mean += a->row[r] / (double)a->rows;
    }
    for (int64_t part = 1; part < f->parts; part++)
        for (int64_t c = 0; c < a->cols; c++) f->col[c] += f->col[part * a->cols + c];
    for (int64_t c = 0; c < a->cols; c++) a->col[c] = (float)(keep * a->col[c] + take * f->col[c] / (double)a->rows);
}

void mg_cpu_adafactor(mg_adafactor_args a) {
    factoring f = { .a = a };
    int64_t   n = a.rows * a.cols;
    double    update = 0, size = 0;
    if (!n) return;
    f.part_rows = mg_cpu_max((a.rows + MG_ADAFACTOR_PARTS - 1) / MG_ADAFACTOR_PARTS, GRAIN / mg_cpu_max(a.cols, 1) + 1);
    f.parts = (a.rows + f.part_rows - 1) / f.part_rows;
    f.update = a.work;
    f.size = f.update + MG_ADAFACTOR_PARTS;
    f.row = f.size + MG_ADAFACTOR_PARTS;
    f.col = f.row + a.rows;
    if (!a.square) {
        mg_parallel_items(f.parts, sums, &f);
        running_means(&f);
    }
    mg_parallel_items(f.parts, sizes, &f);
    for (int64_t i = 0; i < f.parts; i++) update += f.update[i], size += f.size[i];
    f.lr = a.lr;
    if (a.param_eps > 0) f.lr *= fmax((double)a.param_eps, sqrt(size / (double)n));
    f.scale = f.lr / fmax(1, sqrt(update / (double)n) / (double)a.clip);
    mg_parallel_items(f.parts, apply, &f);
}

/* ---- 8-bit state ---- */

typedef struct { float signed_border[BORDERS], unsigned_border[BORDERS]; } border_tables;
static border_tables  borders;
static pthread_once_t borders_once = PTHREAD_ONCE_INIT;

static void make_borders(void) {
    for (int k = 0; k < 2; k++) {
        const float *map = mg_dynamic_map(k == 0);
        float       *out = k == 0 ? borders.signed_border : borders.unsigned_border;
        for (int i = 0; i < BORDERS; i++) {
            double middle = ((double)map[i] + map[i + 1]) / 2;
            out[i] = (float)middle;
            if (out[i] > middle) out[i] = nextafterf(out[i], -1);
        }
    }
}

static void decode_range(void *context, int64_t begin, int64_t end, int thread) {
    const mg_dynamic8_decode_args *a = context;
    (void)thread;
    for (int64_t i = begin; i < end; i += MG_DYNAMIC8_BLOCK)
        mg_cpu_loops_now()->dynamic8_decode(a->x + i, a->code + i, a->map, a->absmax[i / MG_DYNAMIC8_BLOCK],
                                            mg_cpu_min(end - i, MG_DYNAMIC8_BLOCK));
}
void mg_cpu_dynamic8_decode(mg_dynamic8_decode_args a) { mg_parallel(a.n, GRAIN, decode_range, &a); }

static void encode_range(void *context, int64_t begin, int64_t end, int thread) {
    const mg_dynamic8_encode_args *a = context;
    const float                   *border = a->map[0] < 0 ? borders.signed_border : borders.unsigned_border;
    (void)thread;
    for (int64_t i = begin; i < end; i += MG_DYNAMIC8_BLOCK) {
        int64_t n = mg_cpu_min(end - i, MG_DYNAMIC8_BLOCK);
        float   max = 0;
        for (int64_t k = i; k < i + n; k++) max = fabsf(a->x[k]) > max ? fabsf(a->x[k]) : max;
        a->absmax[i / MG_DYNAMIC8_BLOCK] = max;
        mg_cpu_loops_now()->dynamic8_encode(a->code + i, a->x + i, border, max, n);
    }
}
void mg_cpu_dynamic8_encode(mg_dynamic8_encode_args a) {
    pthread_once(&borders_once, make_borders);
    mg_parallel(a.n, GRAIN, encode_range, &a);
}

/* ---- noise ---- */

static void noise_range(void *context, int64_t begin, int64_t end, int thread) {
    const mg_noise_args *a = context;
    float               *y = a->y.data;
    (void)thread;
    for (int64_t i = begin; i < end; i += 4) {
        uint32_t bits[4];
        if (!a->normal) mg_rng_block(a->rng, (uint64_t)i / 4, bits);
        for (int64_t k = i; k < end && k < i + 4; k++)
            y[k] += a->scale * (a->normal ? mg_rng_normal(a->rng, (uint64_t)k) : 2 * ((float)(bits[k - i] >> 8) * 0x1p-24f) - 1);
    }
}
void mg_cpu_noise(mg_noise_args a) {
    mg_parallel(a.y.rows * a.y.cols, 1024, noise_range, &a);
}
