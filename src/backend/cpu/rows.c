/* rows.c -- the kernels that split rows or elements over threads and do no products.
 *
 * Grains are chosen so that a piece takes some microseconds at least: waking a
 * thread costs about one.  Sums over rows are split by columns, or into parts
 * that are added in the order of the threads, so bits repeat. */
#include "backend/cpu/cpu.h"
#include "backend/cpu/loops.h"

#include <math.h>
#include <string.h>

enum { GRAIN = 8192 }; /* elements of a cheap loop */

static int64_t count(mg_mat m) { return m.rows * m.cols; }

/* Rows of `cols` numbers that make a piece. */
static int64_t row_grain(int64_t cols) { return mg_cpu_max(1, GRAIN / mg_cpu_max(cols, 1)); }

/* A function over a range for each kernel: the arguments are the context. */
#define RANGE(name, type)                                                                     \
    static void name##_range(void *context, int64_t begin, int64_t end, int thread) {         \
        const type *a = context;                                                              \
        (void)thread;

#define F(m) ((float *)(m).data)

RANGE(fill, mg_fill_args)
    mg_cpu_loops_now()->fill(F(a->y) + begin, a->value, end - begin);
}
void mg_cpu_fill(mg_fill_args a) { mg_parallel(count(a.y), GRAIN, fill_range, &a); }

RANGE(add, mg_add_args)
    mg_cpu_loops_now()->add(F(a->y) + begin, F(a->x) + begin, a->scale, a->accumulate, end - begin);
}
void mg_cpu_add(mg_add_args a) {
    MG_ASSERT_EQ(count(a.y), count(a.x));
    mg_parallel(count(a.y), GRAIN, add_range, &a);
}

RANGE(glu, mg_glu_args)
    mg_cpu_loops_now()->glu(F(a->y) + begin, F(a->gate) + begin, a->up.data ? F(a->up) + begin : NULL, a->kind,
                            end - begin);
}
void mg_cpu_glu(mg_glu_args a) { mg_parallel(count(a.y), GRAIN / 4, glu_range, &a); }

RANGE(glu_back, mg_glu_back_args)
    mg_cpu_loops_now()->glu_back(a->dgate.data ? F(a->dgate) + begin : NULL, a->dup.data ? F(a->dup) + begin : NULL,
                                 F(a->dy) + begin, F(a->gate) + begin, a->up.data ? F(a->up) + begin : NULL, a->kind,
                                 end - begin);
}
void mg_cpu_glu_back(mg_glu_back_args a) { mg_parallel(count(a.dy), GRAIN / 4, glu_back_range, &a); }

RANGE(dropout, mg_dropout_args)
    mg_cpu_loops_now()->dropout(a, begin, end - begin);
}
void mg_cpu_dropout(mg_dropout_args a) { mg_parallel(count(a.x), GRAIN / 4, dropout_range, &a); }

static void find_outliers(void *context, int64_t begin, int64_t end, int thread) {
    const mg_int8_round_args *a = context;
    uint8_t                  *kept = a->work;
    (void)thread;
    memset(kept + begin, 0, (size_t)(end - begin));
    mg_cpu_loops_now()->find_outliers(kept + begin, F(a->x) + begin, a->x.rows, end - begin, a->x.cols, a->threshold);
}
RANGE(int8_round, mg_int8_round_args)
    mg_cpu_loops_now()->int8_round(a, a->alone || !(a->threshold > 0) ? NULL : a->work, begin, end);
}
void mg_cpu_int8_round(mg_int8_round_args a) {
    if (!a.alone && a.threshold > 0) mg_parallel(a.x.cols, 64, find_outliers, &a);
    mg_parallel(a.x.rows, row_grain(a.x.cols), int8_round_range, &a);
}

RANGE(adamw, mg_adamw_args)
    mg_cpu_loops_now()->adamw(a, begin, end - begin);
}
void mg_cpu_adamw(mg_adamw_args a) { mg_parallel(a.n, GRAIN, adamw_range, &a); }

RANGE(rope, mg_rope_args)
    mg_cpu_loops_now()->rope(a, begin, end);
}
void mg_cpu_rope(mg_rope_args a) { mg_parallel(a.x.rows, row_grain(a.x.cols), rope_range, &a); }

RANGE(rmsnorm, mg_rmsnorm_args)
    mg_cpu_loops_now()->rmsnorm(a, begin, end);
}
void mg_cpu_rmsnorm(mg_rmsnorm_args a) {
    mg_parallel(count(a.x) / a.g.cols, row_grain(a.g.cols), rmsnorm_range, &a);
}

RANGE(layernorm, mg_layernorm_args)
    mg_cpu_loops_now()->layernorm(a, begin, end);
}
void mg_cpu_layernorm(mg_layernorm_args a) { mg_parallel(a.x.rows, row_grain(a.x.cols), layernorm_range, &a); }

RANGE(columns, mg_columns_args)
    mg_cpu_loops_now()->columns(a, begin, end);
}
void mg_cpu_columns(mg_columns_args a) { mg_parallel(a.y.rows, row_grain(a.y.cols), columns_range, &a); }

/* ---- gradients of shared rows: a part for each thread, added in their order ---- */

static void rmsnorm_back_range(void *context, int64_t begin, int64_t end, int thread) {
    const mg_rmsnorm_back_args *a = context;
    float *dg = a->dg.data ? (float *)a->work + thread * a->g.cols : NULL;
    mg_cpu_loops_now()->rmsnorm_back(a, dg, begin, end);
}

void mg_cpu_rmsnorm_back(mg_rmsnorm_back_args a) {
    int64_t n = a.g.cols, parts = mg_threads();
    if (a.dg.data) memset(a.work, 0, (size_t)(n * parts) * sizeof(float));
    mg_parallel(count(a.x) / n, row_grain(n), rmsnorm_back_range, &a);
    if (a.dg.data) mg_cpu_loops_now()->column_sum(F(a.dg), a.work, parts, n, n);
}

static void layernorm_back_range(void *context, int64_t begin, int64_t end, int thread) {
    const mg_layernorm_back_args *a = context;
    float *dg = a->dg.data ? (float *)a->work + thread * a->g.cols : NULL;
    mg_cpu_loops_now()->layernorm_back(a, dg, begin, end);
}

void mg_cpu_layernorm_back(mg_layernorm_back_args a) {
    int64_t n = a.g.cols, parts = mg_threads();
    if (a.dg.data) memset(a.work, 0, (size_t)(n * parts) * sizeof(float));
    mg_parallel(a.x.rows, row_grain(n), layernorm_back_range, &a);
    if (a.dg.data) mg_cpu_loops_now()->column_sum(F(a.dg), a.work, parts, n, n);
}

RANGE(column_sum, mg_column_sum_args)
    mg_cpu_loops_now()->column_sum(F(a->y) + begin, F(a->x) + begin, a->x.rows, end - begin, a->x.cols);
}
void mg_cpu_column_sum(mg_column_sum_args a) {
    MG_ASSERT_EQ(a.y.cols, a.x.cols);
    mg_parallel(a.x.cols, mg_cpu_up(row_grain(a.x.rows), 64), column_sum_range, &a);
}

/* ---- products of elements ---- */

RANGE(multiply, mg_multiply_args)
    mg_cpu_loops_now()->multiply(a, begin, end);
}
void mg_cpu_multiply(mg_multiply_args a) { mg_parallel(a.x.rows, row_grain(a.x.cols), multiply_range, &a); }

RANGE(dora_norm, mg_dora_norm_args)
    int64_t      rank = a->b.cols, s = a->wa.cols;
    const float *wa = F(a->wa);
    double       scale = (double)a->scale;
    for (int64_t o = begin; o < end; o++) {
        const float *b = mg_cpu_at(a->b, o);
        double       along = 0, own = 0;
        for (int64_t k = 0; k < rank; k++) {
            const float *aa = mg_cpu_at(a->aa, k);
            double       sum = 0;
            for (int64_t l = 0; l < rank; l++) sum += (double)b[l] * (double)aa[l];
            along += (double)b[k] * (double)wa[k * s + o];
            own += (double)b[k] * sum;
        }
        double square = (double)F(a->square)[o] + 2 * scale * along + scale * scale * own;
        F(a->inv)[o] = (float)(square > 0 ? 1 / sqrt(square) : 0);
    }
}
void mg_cpu_dora_norm(mg_dora_norm_args a) { mg_parallel(a.b.rows, row_grain(a.b.cols * a.b.cols), dora_norm_range, &a); }

RANGE(kron, mg_kron_args)
    for (int64_t r = begin; r < end; r++) {
        const float *of_a = mg_cpu_at(a->a, r / a->b.rows), *of_b = mg_cpu_at(a->b, r % a->b.rows);
        for (int64_t j = 0; j < a->a.cols; j++)
            mg_cpu_loops_now()->add(mg_cpu_at(a->y, r) + j * a->b.cols, of_b, a->scale * of_a[j], false, a->b.cols);
    }
}
void mg_cpu_kron(mg_kron_args a) { mg_parallel(a.y.rows, row_grain(a.y.cols), kron_range, &a); }

/* Rows of the first factor, each with its own rows of dy. */
RANGE(kron_back_a, mg_kron_back_args)
    for (int64_t i = begin; i < end; i++)
        for (int64_t j = 0; j < a->a.cols; j++) {
            double sum = 0;
            for (int64_t k = 0; k < a->b.rows; k++) {
                const float *dy = mg_cpu_at(a->dy, i * a->b.rows + k) + j * a->b.cols, *b = mg_cpu_at(a->b, k);
                for (int64_t l = 0; l < a->b.cols; l++) sum += (double)dy[l] * (double)b[l];
            }
            mg_cpu_at(a->da, i)[j] += (float)((double)a->scale * sum);
        }
}
RANGE(kron_back_b, mg_kron_back_args)
    for (int64_t k = begin; k < end; k++)
        for (int64_t i = 0; i < a->a.rows; i++)
            for (int64_t j = 0; j < a->a.cols; j++)
                mg_cpu_loops_now()->add(mg_cpu_at(a->db, k), mg_cpu_at(a->dy, i * a->b.rows + k) + j * a->b.cols,
                                        a->scale * mg_cpu_at(a->a, i)[j], true, a->b.cols);
}
void mg_cpu_kron_back(mg_kron_back_args a) {
    if (a.da.data) mg_parallel(a.a.rows, row_grain(a.b.rows * a.dy.cols), kron_back_a_range, &a);
    if (a.db.data) mg_parallel(a.b.rows, row_grain(a.a.rows * a.dy.cols), kron_back_b_range, &a);
}

/* ---- the table of embeddings ---- */

static void embed_range(void *context, int64_t begin, int64_t end, int thread) {
    const mg_embed_args *a = context;
    float   *room = mg_cpu_scratch(thread);
    int64_t  ld;
    for (int64_t r = begin; r < end; r++) {
        const float *row = mg_cpu_block(a->w, (mg_cpu_part){ a->ids[r], 1, 0, a->w.cols }, room, false, false, &ld);
        mg_cpu_loops_now()->add(mg_cpu_at(a->y, r), row, a->scale, false, a->w.cols);
    }
}

void mg_cpu_embed(mg_embed_args a) {
    MG_ASSERT_EQ(a.y.cols, a.w.cols);
    mg_parallel(a.y.rows, row_grain(a.y.cols), embed_range, &a);
}

/* The rows of a prompt are few: one thread. */
void mg_cpu_put_rows(mg_put_rows_args a) { mg_backend_ref32.put_rows(a); }
void mg_cpu_put_rows_back(mg_put_rows_back_args a) { mg_backend_ref32.put_rows_back(a); }

/* Split by columns: equal ids add row after row. */
RANGE(embed_dw, mg_embed_dw_args)
    for (int64_t r = 0; r < a->dy.rows; r++)
        mg_cpu_loops_now()->add(mg_cpu_at(a->dw, a->ids[r]) + begin, mg_cpu_at(a->dy, r) + begin, a->scale, true,
                                end - begin);
}
void mg_cpu_embed_dw(mg_embed_dw_args a) {
    MG_ASSERT_EQ(a.dw.cols, a.dy.cols);
    mg_parallel(a.dy.cols, mg_cpu_up(row_grain(a.dy.rows), 64), embed_dw_range, &a);
}

/* ---- sums to one number ---- */

void mg_cpu_weighted_sum(mg_weighted_sum_args a) {
    *(float *)a.out = (float)(a.scale * mg_cpu_loops_now()->sum(a.x.data, count(a.x))); /* small: a loss's terms */
}

typedef struct { const float *x; double part[MG_CPU_THREADS_MAX]; } square_job;

static void square_range(void *context, int64_t begin, int64_t end, int thread) {
    square_job *job = context;
    job->part[thread] = mg_cpu_loops_now()->square_sum(job->x + begin, end - begin);
}

void mg_cpu_square_sum(mg_square_sum_args a) {
    square_job job = { .x = a.x };
    mg_parallel(a.n, GRAIN, square_range, &job);
    for (int t = 0; t < mg_threads(); t++) *a.out += job.part[t];
}
