/* logprob.c -- log-probabilities of the labelled rows, with the head in tiles.
 *
 * Threads share the vocabulary.  Each decodes a tile of the head, multiplies the
 * gathered rows with it, 128 rows at a time so that logits stay in L2, and keeps
 * for each row a running maximum m, the sum of exp(z - m), and, when the gradient
 * is wanted, sum exp(z - m) f'(z) w_v by a second product with the same tile:
 * the head is read and decoded once.  At the end the threads' parts are added in
 * their order, scaled to the common maximum:
 *
 *     lse = m + log sum       dh = f'(z_t) w_t - (sum exp(z - m) f'(z) w_v) / sum
 *
 * Many rows go in chunks, so that work memory stays near 32 MB. */
#include "backend/cpu/cpu.h"
#include "backend/cpu/loops.h"

#include <math.h>
#include <string.h>

enum { ROWS = 128, TILE_MOST = 1024, CHUNK_LEAST = 512, WORK_BYTES = 32 << 20 };

/* Running state of a chunk's rows, for one thread. */
typedef struct {
    float   *most, *sum; /* [rows] */
    int32_t *top;        /* [rows] */
    float   *acc;        /* [rows, D] */
    bool     started;    /* acc holds numbers */
} part;

typedef struct job job;
typedef struct tile tile;
typedef void (*use_fn)(job *j, part *p, const tile *t, int64_t first, int64_t rows, int thread);

struct job {
    const mg_logprob_args      *fwd;
    const mg_logprob_back_args *back;
    mg_mat         h, w;
    const int32_t *row, *target; /* of the chunk */
    int64_t        rows;
    float          cap;
    bool           bf16, want_acc;
    float         *z_target; /* [rows] */
    float         *h32;      /* [rows, D] gathered */
    uint16_t      *h16;
    use_fn         use; /* of a tile's logits, which stand in z; it leaves what is collected */
    part           part[MG_CPU_THREADS_MAX];
};

/* ---- memory ---- */

static size_t row_bytes(int64_t d, int threads) {
    return (size_t)(d * 6 + 16 + (d * 4 + 12) * threads); /* gathered twice, z_target, parts */
}

static int64_t chunk_rows(int64_t n, int64_t d) {
    int64_t fit = (int64_t)(WORK_BYTES / row_bytes(d, mg_threads())) / ROWS * ROWS;
    return mg_cpu_min(n, mg_cpu_max(CHUNK_LEAST, fit));
}

size_t mg_cpu_logprob_work(int64_t n, int64_t d, int64_t v, bool with_dh) {
    (void)v, (void)with_dh; /* the backward pass of a trained head asks without, and sums dh */
    int threads = mg_threads();
    return (size_t)chunk_rows(n, d) * row_bytes(d, threads) + (size_t)(3 + 4 * threads) * 64;
}

static void *take(char **work, int64_t n, size_t size) {
    void *p = *work;
    *work += mg_cpu_pad((size_t)n * size);
    return p;
}

static void lay_out(job *j, void *work, int64_t rows) {
    char   *at = work;
    int64_t d = j->w.cols;
    j->h32 = take(&at, rows * d, sizeof(float));
    j->h16 = take(&at, rows * d, sizeof(uint16_t));
    j->z_target = take(&at, rows, sizeof(float));
    for (int t = 0; t < mg_threads(); t++) {
        part *p = &j->part[t];
        p->most = take(&at, rows, sizeof(float));
        p->sum = take(&at, rows, sizeof(float));
        p->top = take(&at, rows, sizeof(int32_t));
        p->acc = take(&at, rows * d, sizeof(float));
    }
}

static void gather_range(void *context, int64_t begin, int64_t end, int thread) {
    const job *j = context;
    int64_t    d = j->w.cols;
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        memcpy(j->h32 + i * d, mg_cpu_at(j->h, j->row[i]), (size_t)d * sizeof(float));
        if (j->bf16) mg_cpu_loops_now()->to_bf16(j->h16 + i * d, j->h32 + i * d, d);
    }
}

static void begin_chunk(job *j) {
    mg_parallel(j->rows, 64, gather_range, j);
    for (int t = 0; t < mg_threads(); t++) {
        part *p = &j->part[t];
        p->started = false;
        for (int64_t i = 0; i < j->rows; i++) p->most[i] = -INFINITY, p->sum[i] = 0, p->top[i] = 0;
    }
}

/* ---- a tile: rows v.. of the head ---- */

struct tile {
    int64_t     v, n, ld; /* its rows, their distance */
    const void *w;
    float      *z;   /* [ROWS, n] */
    uint16_t   *z16; /* the same in bf16 */
};

static int64_t tile_rows(const job *j) {
    int64_t rows = MG_CPU_BLOCK_BYTES / (j->w.cols * (j->bf16 ? 2 : 4)) / 32 * 32; /* whole vectors of bf16 */
    return mg_cpu_max(32, mg_cpu_min(TILE_MOST, rows));
}

static tile tile_at(const job *j, int64_t v, int64_t n, char *room) {
    tile   t = { .v = v, .n = n };
    size_t most = (size_t)(ROWS * tile_rows(j));
    t.z = take(&room, (int64_t)most, sizeof(float));
    t.z16 = take(&room, (int64_t)most, sizeof(uint16_t));
    t.w = mg_cpu_block(j->w, (mg_cpu_part){ v, n, 0, j->w.cols }, room, j->bf16, true, &t.ld);
    return t;
}

/* z = capped logits of rows first..first+rows-1 */
static void logits(int thread, const job *j, const tile *t, int64_t first, int64_t rows) {
    int64_t       d = j->w.cols;
    mg_gemm_shape s = { .m = rows, .n = t->n, .k = d, .tb = true, .lda = d, .ldb = t->ld, .ldc = t->n };
    if (j->bf16)
        mg_gemm_bf16(thread, s, j->h16 + first * d, t->w, false, t->z);
    else
        mg_gemm_f32(thread, s, 1, j->h32 + first * d, t->w, 0, t->z);
    if (j->cap > 0) mg_cpu_loops_now()->softcap(t->z, rows * t->n, j->cap);
}

/* acc = (started ? acc : 0) + m tile, m [rows, n] in z or z16 */
static void collect(int thread, const job *j, const tile *t, float *acc, int64_t rows, bool started) {
    int64_t       d = j->w.cols;
    mg_gemm_shape s = { .m = rows, .n = d, .k = t->n, .lda = t->n, .ldb = t->ld, .ldc = d };
    if (j->bf16)
        mg_gemm_bf16(thread, s, t->z16, t->w, started, acc);
    else
        mg_gemm_f32(thread, s, 1, t->z, t->w, started ? 1.0f : 0.0f, acc);
}

/* All rows meet all tiles of the thread's part of the vocabulary: their logits, what `use` makes of them, its
 * product with the tile. */
static void walk(void *context, int64_t begin, int64_t end, int thread) {
    job    *j = context;
    part   *p = &j->part[thread];
    int64_t step = tile_rows(j);
    for (int64_t v = begin; v < end; v += step) {
        tile t = tile_at(j, v, mg_cpu_min(step, end - v), mg_cpu_scratch(thread));
        for (int64_t first = 0; first < j->rows; first += ROWS) {
            int64_t rows = mg_cpu_min(ROWS, j->rows - first);
            logits(thread, j, &t, first, rows);
            j->use(j, p, &t, first, rows, thread);
            if (j->want_acc) collect(thread, j, &t, p->acc + first * j->w.cols, rows, p->started);
        }
        p->started = true;
    }
}

/* `finish` ends a chunk: its items are rows, or with `by_columns` columns of h. */
static void walk_chunks(job *j, const int32_t *row, const int32_t *target, int64_t n, void *work, mg_range_fn finish,
                        bool by_columns) {
    int64_t chunk = chunk_rows(n, j->w.cols);
    if (n) lay_out(j, work, chunk);
    for (int64_t first = 0; first < n; first += chunk) {
        j->rows = mg_cpu_min(chunk, n - first);
        j->row = row + first;
        j->target = target + first;
        begin_chunk(j);
        mg_parallel(j->w.rows, 64, walk, j);
        if (finish) mg_parallel(by_columns ? j->w.cols : j->rows, by_columns ? 64 : 8, finish, j);
    }
}

static float slope_of(float z, float cap) { return cap > 0 ? 1 - z / cap * (z / cap) : 1; }

/* ---- forward ---- */

static int32_t index_of(const float *z, float value) {
    int32_t i = 0;
    while (z[i] != value) i++;
    return i;
}

/* One row meets a tile: the running maximum and sum; z becomes what is collected. */
static void meet(const job *j, part *p, const tile *t, int64_t i, float *z, uint16_t *z16) {
    const mg_cpu_loops *l = mg_cpu_loops_now();
    int64_t target = j->target[i] - t->v;
    float   most = l->max(z, t->n);
    if (target >= 0 && target < t->n) j->z_target[i] = z[target];
    if (most > p->most[i]) {
        float shrink = expf(p->most[i] - most);
        p->sum[i] *= shrink;
        if (j->want_acc && p->started) l->scale(p->acc + i * j->w.cols, shrink, j->w.cols);
        p->most[i] = most;
        p->top[i] = (int32_t)t->v + index_of(z, most);
    }
    p->sum[i] += l->exp_sum(z, j->want_acc && j->bf16 ? z16 : NULL, z, t->n, p->most[i], j->want_acc ? j->cap : 0);
}

static void meet_rows(job *j, part *p, const tile *t, int64_t first, int64_t rows, int thread) {
    (void)thread;
    for (int64_t i = 0; i < rows; i++) meet(j, p, t, first + i, t->z + i * t->n, t->z16 + i * t->n);
}

/* dh of row i: the target's row of the head less the mean over the vocabulary */
static void finish_dh(const job *j, int64_t i, float *dh, float most, float sum, void *room) {
    const mg_cpu_loops *l = mg_cpu_loops_now();
    int64_t     d = j->w.cols, ld;
    const void *w = mg_cpu_block(j->w, (mg_cpu_part){ j->target[i], 1, 0, d }, room, j->bf16, false, &ld);
    if (j->bf16) { /* as the products saw it, else p = 1 would not cancel */
        float *wide = (float *)room + d;
        l->from_bf16(wide, w, d);
        w = wide;
    }
    l->add(dh, w, slope_of(j->z_target[i], j->cap), false, d);
    for (int t = 0; t < mg_threads(); t++)
        if (j->part[t].started) l->add(dh, j->part[t].acc + i * d, -expf(j->part[t].most[i] - most) / sum, true, d);
}

static void finish_range(void *context, int64_t begin, int64_t end, int thread) {
    const job *j = context;
    int64_t    done = j->row - j->fwd->row; /* rows of earlier chunks */
    for (int64_t i = begin; i < end; i++) {
        float   most = -INFINITY, sum = 0;
        int32_t top = 0;
        for (int t = 0; t < mg_threads(); t++)
            if (j->part[t].most[i] > most) most = j->part[t].most[i], top = j->part[t].top[i];
        for (int t = 0; t < mg_threads(); t++)
            if (j->part[t].started) sum += j->part[t].sum[i] * expf(j->part[t].most[i] - most);
        float lse = most + logf(sum);
        ((float *)j->fwd->lse)[done + i] = lse;
        ((float *)j->fwd->logp)[done + i] = j->z_target[i] - lse;
        if (j->fwd->top_id) j->fwd->top_id[done + i] = top;
        if (j->want_acc) finish_dh(j, i, mg_cpu_at(j->fwd->dh, done + i), most, sum, mg_cpu_scratch(thread));
    }
}

void mg_cpu_logprob(mg_logprob_args a, bool bf16) {
    MG_ASSERT_EQ(a.h.cols, a.w.cols);
    job j = { .fwd = &a, .h = a.h, .w = a.w, .cap = a.softcap, .bf16 = bf16, .want_acc = a.dh.data != NULL,
              .use = meet_rows };
    walk_chunks(&j, a.row, a.target, a.n, a.work, finish_range, false);
}

/* ---- backward, when the head trains: tiles are made again ---- */

static void add_dw(int thread, const job *j, const tile *t, int64_t first, int64_t rows) {
    int64_t       d = j->w.cols;
    float        *dw = mg_cpu_at(j->back->dw, t->v);
    mg_gemm_shape s = { .m = t->n, .n = d, .k = rows, .ta = true, .lda = t->n, .ldb = d, .ldc = d };
    if (j->bf16)
        mg_gemm_bf16(thread, s, t->z16, j->h16 + first * d, true, dw);
    else
        mg_gemm_f32(thread, s, 1, t->z, j->h32 + first * d, 1, dw);
}

/* z becomes g = dlogp (1[v = target] - p) f'; dw += g^T h */
static void slopes(job *j, part *p, const tile *t, int64_t first, int64_t rows, int thread) {
    const mg_cpu_loops *l = mg_cpu_loops_now();
    int64_t done = j->row - j->back->row;
    (void)p;
    for (int64_t i = 0; i < rows; i++) {
        float  *z = t->z + i * t->n, dlogp = ((const float *)j->back->dlogp)[done + first + i];
        int64_t target = j->target[first + i] - t->v;
        bool    here = target >= 0 && target < t->n;
        float   own = here ? dlogp * slope_of(z[target], j->cap) : 0;
        l->logit_slopes(z, z, t->n, ((const float *)j->back->lse)[done + first + i], dlogp, j->cap);
        if (here) z[target] += own;
    }
    if (j->bf16) l->to_bf16(t->z16, t->z, rows * t->n);
    if (j->back->dw.data) add_dw(thread, j, t, first, rows);
}

/* Split by columns: a row that occurs twice adds in its order. */
static void scatter_range(void *context, int64_t begin, int64_t end, int thread) {
    const job *j = context;
    (void)thread;
    for (int64_t i = 0; i < j->rows; i++)
        for (int t = 0; t < mg_threads(); t++)
            if (j->part[t].started)
                mg_cpu_loops_now()->add(mg_cpu_at(j->back->dh, j->row[i]) + begin, j->part[t].acc + i * j->w.cols + begin,
                                        1, true, end - begin);
}

static void made_range(void *context, int64_t begin, int64_t end, int thread) {
    const mg_logprob_back_args *a = context;
    (void)thread;
    for (int64_t i = 0; i < a->n; i++)
        mg_cpu_loops_now()->add(mg_cpu_at(a->dh, a->row[i]) + begin, mg_cpu_at(a->h, i) + begin,
                                ((const float *)a->dlogp)[i], true, end - begin);
}

void mg_cpu_logprob_back(mg_logprob_back_args a, bool bf16) {
    if (!a.w.data) { /* row i of h is d logp[i] / d h already */
        if (a.dh.data) mg_parallel(a.h.cols, 64, made_range, &a);
        return;
    }
    job j = { .back = &a, .h = a.h, .w = a.w, .cap = a.softcap, .bf16 = bf16, .want_acc = a.dh.data != NULL,
              .use = slopes };
    walk_chunks(&j, a.row, a.target, a.n, a.work, j.want_acc ? scatter_range : NULL, true);
}
