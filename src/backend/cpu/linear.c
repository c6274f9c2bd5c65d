/* linear.c -- products with weights in any storage format, and with plain matrices.
 *
 *   y = x w^T     threads share the rows of w: each decodes a block that fits its L2 and multiplies it at once
 *   dx = dy w     threads share the columns of w, so that none writes where another does and no row is decoded
 *                 twice; where the blocks of the format are too wide for that, token rows are split as well
 *
 * Few rows (generation) take loops of our own, memory-bound and with sums that
 * do not depend on the other rows of the batch. */
#include "backend/cpu/cpu.h"
#include "backend/cpu/loops.h"

/* ---- x or dy rounded to bf16, once for all threads ---- */

typedef struct { uint16_t *out; const float *in; } rounding;

static void round_range(void *context, int64_t begin, int64_t end, int thread) {
    const rounding *r = context;
    (void)thread;
    mg_cpu_loops_now()->to_bf16(r->out + begin, r->in + begin, end - begin);
}

static const uint16_t *rounded(mg_mat x, void *room) {
    rounding r = { room, x.data };
    mg_parallel(x.rows * x.cols, 4096, round_range, &r);
    return room;
}

static bool few(int64_t rows) { return rows <= MG_CPU_FEW_ROWS; }

size_t mg_cpu_linear_work(int64_t n, int64_t i, int64_t o, bool bf16) {
    return bf16 ? mg_cpu_pad((size_t)(n * mg_cpu_max(i, o)) * sizeof(uint16_t)) : 0;
}

/* Rows of a block of `cols` numbers: about `bytes`, equal blocks over `rows`, whole multiples of `unit`. */
static int64_t block_rows(int64_t rows, int64_t cols, size_t element, size_t bytes, int64_t unit) {
    int64_t most = mg_cpu_max(unit, (int64_t)(bytes / ((size_t)cols * element)) / unit * unit);
    int64_t blocks = (rows + most - 1) / most;
    return mg_cpu_min(most, mg_cpu_up((rows + blocks - 1) / blocks, unit));
}

/* Columns of w that can be decoded alone: whole blocks, and lines of the cache. */
static int64_t column_unit(mg_mat w) {
    int64_t unit = mg_cpu_max(16, w.format->block);
    return w.cols % unit ? w.cols : unit;
}

/* ---- y = x w^T ---- */

typedef struct {
    mg_linear_args  a;
    const uint16_t *x16;
    int64_t         rows, cols; /* of a block of w */
} linear_job;

/* Columns of a block: long rows would leave too few of them for a product that keeps its speed. */
static int64_t block_cols(mg_mat w, bool bf16) {
    int64_t most = bf16 ? 2048 : 768, unit = column_unit(w), units = w.cols / unit;
    int64_t parts = (w.cols + most - 1) / most;
    return (units + parts - 1) / parts * unit;
}

/* A block of rows of w.  Blocks are of one size, a multiple of the threads in number, and taken one by one: a thread
 * that the system interrupts keeps the others waiting for a block and not for its half. */
static void linear_item(void *context, int64_t begin, int64_t end, int thread) {
    const linear_job *job = context;
    const mg_linear_args *a = &job->a;
    (void)end;
    bool    bf16 = job->x16 != NULL;
    int64_t n = a->x.rows, i = a->w.cols, o = a->w.rows, ld, row = begin * job->rows, rows = mg_cpu_min(job->rows, o - row);
    void   *room = mg_cpu_scratch(thread);
    float  *y = mg_cpu_at(a->y, 0) + row;
    for (int64_t col = 0; col < i; col += job->cols) {
        int64_t       cols = mg_cpu_min(job->cols, i - col);
        const void   *block = mg_cpu_block(a->w, (mg_cpu_part){ row, rows, col, cols }, room, bf16, true, &ld);
        bool          add = a->accumulate || col;
        mg_gemm_shape s = { .m = n, .n = rows, .k = cols, .tb = true, .lda = i, .ldb = ld, .ldc = o };
        if (bf16)
            mg_gemm_bf16(thread, s, job->x16 + col, block, add, y);
        else
            mg_gemm_f32(thread, s, 1, mg_cpu_at(a->x, 0) + col, block, add ? 1.0f : 0.0f, y);
    }
    if (a->bias.data) mg_cpu_loops_now()->add_row(y, mg_cpu_at(a->bias, 0) + row, n, rows, o);
}

/* Blocks small enough for L1: each weight is used once or a few times. */
static void few_range(void *context, int64_t begin, int64_t end, int thread) {
    const linear_job *job = context;
    const mg_linear_args *a = &job->a;
    int64_t n = a->x.rows, i = a->w.cols, o = a->w.rows, ld;
    int64_t step = block_rows(end - begin, i, 4, 24 << 10, 8);
    void   *room = mg_cpu_scratch(thread);
    for (int64_t row = begin; row < end; row += step) {
        int64_t     rows = mg_cpu_min(step, end - row);
        const void *block = mg_cpu_block(a->w, (mg_cpu_part){ row, rows, 0, i }, room, false, false, &ld);
        float      *y = mg_cpu_at(a->y, 0) + row;
        mg_cpu_loops_now()->few_rows(y, o, a->x.data, i, n, block, ld, rows, i, 1, a->accumulate);
        if (a->bias.data) mg_cpu_loops_now()->add_row(y, mg_cpu_at(a->bias, 0) + row, n, rows, o);
    }
}

void mg_cpu_linear(mg_linear_args a, bool bf16) {
    MG_ASSERT(a.x.cols == a.w.cols && a.y.cols == a.w.rows && a.y.rows == a.x.rows);
    linear_job job = { .a = a };
    if (few(a.x.rows)) {
        mg_parallel(a.w.rows, 16, few_range, &job);
        return;
    }
    if (bf16) job.x16 = rounded(a.x, a.work);
    int64_t share = mg_cpu_up((a.w.rows + mg_threads() - 1) / mg_threads(), 16);
    job.cols = block_cols(a.w, bf16);
    job.rows = block_rows(share, job.cols, bf16 ? 2 : 4, MG_CPU_BLOCK_BYTES, 16);
    mg_parallel_items((a.w.rows + job.rows - 1) / job.rows, linear_item, &job);
}

/* ---- dx = dy w ---- */

enum { DX_COLS = 640 }; /* of a part, about: leaves a block enough rows, over which the product sums */

typedef struct {
    mg_linear_dx_args a;
    const uint16_t   *dy16;
    int64_t           col_step, col_parts, row_step; /* a part is col_step columns of w and row_step tokens */
} dx_job;

static void dx_part(void *context, int64_t begin, int64_t end, int thread) {
    const dx_job *job = context;
    const mg_linear_dx_args *a = &job->a;
    (void)end;
    bool    bf16 = job->dy16 != NULL;
    int64_t i = a->w.cols, o = a->w.rows, ld;
    int64_t col = begin % job->col_parts * job->col_step, cols = mg_cpu_min(job->col_step, i - col);
    int64_t token = begin / job->col_parts * job->row_step, tokens = mg_cpu_min(job->row_step, a->dy.rows - token);
    int64_t step = block_rows(o, cols, bf16 ? 2 : 4, MG_CPU_BLOCK_BYTES, 16);
    float  *dx = mg_cpu_at(a->dx, token) + col;
    void   *room = mg_cpu_scratch(thread);
    for (int64_t row = 0; row < o; row += step) {
        int64_t       rows = mg_cpu_min(step, o - row);
        const void   *block = mg_cpu_block(a->w, (mg_cpu_part){ row, rows, col, cols }, room, bf16, false, &ld);
        bool          add = a->accumulate || row;
        mg_gemm_shape s = { .m = tokens, .n = cols, .k = rows, .lda = o, .ldb = ld, .ldc = i };
        if (bf16)
            mg_gemm_bf16(thread, s, job->dy16 + token * o + row, block, add, dx);
        else
            mg_gemm_f32(thread, s, 1, mg_cpu_at(a->dy, token) + row, block, add ? 1.0f : 0.0f, dx);
    }
}

void mg_cpu_linear_dx(mg_linear_dx_args a, bool bf16) {
    MG_ASSERT(a.dx.cols == a.w.cols && a.dy.cols == a.w.rows && a.dy.rows == a.dx.rows);
    dx_job  job = { .a = a };
    int64_t unit = column_unit(a.w), units = a.w.cols / unit, threads = mg_threads(), n = a.dy.rows;
    int64_t rounds = (a.w.cols + DX_COLS * threads - 1) / (DX_COLS * threads); /* parts for each thread */
    job.col_parts = mg_cpu_min(units, rounds * threads);
    job.col_step = (units + job.col_parts - 1) / job.col_parts * unit;
    job.col_parts = (a.w.cols + job.col_step - 1) / job.col_step;
    int64_t row_parts = mg_cpu_max(1, mg_cpu_min(threads / job.col_parts, n / 16)); /* too few columns for all */
    job.row_step = mg_cpu_max(1, (n + row_parts - 1) / row_parts);
    row_parts = (n + job.row_step - 1) / job.row_step;
    if (bf16) job.dy16 = rounded(a.dy, a.work);
    mg_parallel_items(job.col_parts * row_parts, dx_part, &job);
}

/* ---- plain matrices: the products of adapters, and weight gradients ---- */

typedef struct { mg_gemm_args a; int64_t k; bool by_rows; } gemm_job;

static void gemm_range(void *context, int64_t begin, int64_t end, int thread) {
    const gemm_job     *job = context;
    const mg_gemm_args *g = &job->a;
    mg_gemm_shape       s = { .m = g->c.rows, .n = g->c.cols, .k = job->k, .ta = g->ta, .tb = g->tb,
                              .lda = g->a.cols, .ldb = g->b.cols, .ldc = g->c.cols };
    const float *a = g->a.data, *b = g->b.data;
    float       *c = g->c.data;
    if (job->by_rows) {
        s.m = end - begin;
        a += s.ta ? begin : begin * s.lda;
        c += begin * s.ldc;
    } else {
        s.n = end - begin;
        b += s.tb ? begin * s.ldb : begin;
        c += begin;
    }
    if (!s.ta && s.tb && few(g->c.rows) && (g->beta == 0 || g->beta == 1))
        mg_cpu_loops_now()->few_rows(c, s.ldc, a, s.lda, s.m, b, s.ldb, s.n, s.k, g->alpha, g->beta == 1);
    else
        mg_gemm_f32(thread, s, g->alpha, a, b, g->beta, c);
}

/* ---- large ones in bf16: weight gradients of full fine-tuning ---- */

enum { PANEL_M = 512, PANEL_N = 1024, PANEL_K = 512 };

/* Rows and columns of op(x) from (i, j), rounded, as they lie in x: *ld is their distance. */
static void round_panel(void *room, mg_mat x, bool transposed, int64_t i, int64_t rows, int64_t j, int64_t cols,
                        int64_t *ld) {
    const float *from = mg_cpu_at(x, transposed ? j : i) + (transposed ? i : j);
    *ld = transposed ? rows : cols;
    mg_cpu_loops_now()->pack(room, from, transposed ? cols : rows, transposed ? cols : rows, *ld, x.cols);
}

/* Rows begin..end-1 or columns begin..end-1 of c.  Each thread rounds all of the other matrix: a hundredth of
 * what it multiplies. */
static void rounded_range(void *context, int64_t begin, int64_t end, int thread) {
    const gemm_job     *job = context;
    const mg_gemm_args *g = &job->a;
    int64_t   m0 = job->by_rows ? begin : 0, m1 = job->by_rows ? end : g->c.rows, lda, ldb;
    int64_t   n0 = job->by_rows ? 0 : begin, n1 = job->by_rows ? g->c.cols : end;
    uint16_t *a = mg_cpu_scratch(thread), *b = a + PANEL_M * PANEL_K;
    for (int64_t j = n0; j < n1; j += PANEL_N)
        for (int64_t l = 0; l < job->k; l += PANEL_K) {
            int64_t n = mg_cpu_min(PANEL_N, n1 - j), k = mg_cpu_min(PANEL_K, job->k - l);
            round_panel(b, g->b, g->tb, l, k, j, n, &ldb);
            for (int64_t i = m0; i < m1; i += PANEL_M) {
                int64_t m = mg_cpu_min(PANEL_M, m1 - i);
                round_panel(a, g->a, g->ta, i, m, l, k, &lda);
                mg_gemm_shape s = { .m = m, .n = n, .k = k, .ta = g->ta, .tb = g->tb, .lda = lda, .ldb = ldb,
                                    .ldc = g->c.cols };
                mg_gemm_bf16(thread, s, a, b, g->beta == 1 || l, mg_cpu_at(g->c, i) + j);
            }
        }
}

/* Skinny products of adapters gain nothing: reading the large matrix is what they cost. */
static bool worth_rounding(const gemm_job *job) {
    const mg_gemm_args *g = &job->a;
    return g->alpha == 1 && (g->beta == 0 || g->beta == 1) && job->k >= 64 && g->c.rows >= 64 && g->c.cols >= 64;
}

void mg_cpu_gemm(mg_gemm_args a, bool bf16) {
    gemm_job job = { .a = a, .k = a.ta ? a.a.rows : a.a.cols, .by_rows = a.c.rows >= a.c.cols };
    MG_ASSERT_EQ(job.k, a.tb ? a.b.cols : a.b.rows);
    MG_ASSERT_EQ(a.c.rows, a.ta ? a.a.cols : a.a.rows);
    MG_ASSERT_EQ(a.c.cols, a.tb ? a.b.rows : a.b.cols);
    int64_t n = job.by_rows ? a.c.rows : a.c.cols, cost = a.c.rows * a.c.cols * job.k / mg_cpu_max(n, 1);
    int64_t grain = mg_cpu_up(mg_cpu_max(1, 1000000 / mg_cpu_max(cost, 1)), 16); /* a piece is worth a thread */
    mg_parallel(n, grain, bf16 && worth_rounding(&job) ? rounded_range : gemm_range, &job);
    if (a.onto.data) mg_cpu_add((mg_add_args){ .y = a.c, .x = a.onto, .scale = 1, .accumulate = true });
}
