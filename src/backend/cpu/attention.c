/* attention.c -- causal grouped-query attention over packed sequences.
 *
 * An item is a block of queries of one sequence and head: its scores against all
 * keys that the block sees, softmax row by row, the product with the values.
 * Scores of a block stay in the thread's scratch memory.  Blocks, and so bits,
 * depend on their own sequence alone.
 *
 * Backward makes p again from the log-sum-exp and needs five products a block.
 * Blocks of one head add to the same dk and dv, so an item is a whole head of a
 * sequence.  Query heads that share a key head either run in one item, or, when
 * there are too few items for the threads, sum into buffers of their own that are
 * added in the order of the heads at the end.
 *
 * A sequence with few queries (generation) goes row by row through loops of our
 * own: a library's products of one row cost more to start than to do. */
#include "backend/cpu/cpu.h"
#include "backend/cpu/loops.h"

#include <string.h>

enum { FEW_QUERIES = 4, BLOCK_MOST = 128, BLOCK_LEAST = 32, SCORE_BYTES = 512 << 10 };

/* A block of queries: rows q..q+n_q-1, of a sequence whose keys are rows k..k+n_k-1; query i of the block
 * stands at key `at + i`. */
typedef struct { int64_t q, n_q, k, n_k, at; } unit;

static unit sequence(const mg_attention_shape *s, int i) {
    unit u = { .q = s->q_start[i], .n_q = s->q_start[i + 1] - s->q_start[i] };
    u.k = s->k_start ? s->k_start[i] : u.q;
    u.n_k = s->k_len ? s->k_len[i] : u.n_q;
    u.at = u.n_k - u.n_q;
    MG_ASSERT(u.at >= 0);
    return u;
}

static int64_t block_of(int64_t n_k, bool back) {
    int64_t rows = SCORE_BYTES / (back ? 2 : 1) / (mg_cpu_max(n_k, 1) * (int64_t)sizeof(float)) / 16 * 16;
    return mg_cpu_max(BLOCK_LEAST, mg_cpu_min(BLOCK_MOST, rows));
}

static int64_t first_key(unit u, int64_t i, int window) {
    return window > 0 ? mg_cpu_max(0, u.at + i - window + 1) : 0;
}

static unit block_at(unit u, int64_t begin, int64_t rows) {
    unit b = u;
    b.q = u.q + begin;
    b.n_q = mg_cpu_min(rows, u.n_q - begin);
    b.at = u.at + begin;
    return b;
}

/* ---- memory: a list of units, the scores of each thread, and in the backward pass dk and dv of each head ---- */

static int64_t most_keys(const mg_attention_shape *s, int64_t q_rows) {
    int64_t most = s->k_len ? 0 : q_rows; /* of any batch with so many rows: the plan holds for all */
    for (int i = 0; s->k_len && i < s->n_seq; i++) most = mg_cpu_max(most, s->k_len[i]);
    return most;
}

static int64_t key_rows(const mg_attention_shape *s, int64_t q_rows) {
    int64_t most = s->k_len ? 0 : q_rows;
    for (int i = 0; s->k_len && i < s->n_seq; i++) most = mg_cpu_max(most, sequence(s, i).k + s->k_len[i]);
    return most;
}

static size_t score_bytes(int64_t keys, bool back) {
    return mg_cpu_pad((size_t)(block_of(keys, back) * mg_cpu_up(keys, 16)) * sizeof(float)) * (back ? 2 : 1);
}

/* The largest of any sequence up to `keys` long: shorter ones have more rows in a block. */
static size_t thread_bytes(int64_t keys, bool back) {
    return mg_cpu_max((int64_t)score_bytes(keys, back), SCORE_BYTES + (BLOCK_MOST * 16 * 2 + 16) * (int64_t)sizeof(float));
}

static size_t list_bytes(int64_t q_rows) { return mg_cpu_pad((size_t)q_rows * sizeof(unit)); }

static size_t own_bytes(const mg_attention_shape *s, int64_t q_rows) {
    if (s->heads == s->kv_heads) return 0;
    return mg_cpu_pad((size_t)(key_rows(s, q_rows) * s->heads * s->hd) * sizeof(float));
}

size_t mg_cpu_attention_work(const mg_attention_shape *s, int64_t q_rows, bool back) {
    size_t each = thread_bytes(most_keys(s, q_rows), back);
    size_t scores = each > MG_CPU_SCRATCH_BYTES ? each * (size_t)mg_threads() : 0;
    return list_bytes(q_rows) + scores + (back ? 2 * own_bytes(s, q_rows) : 0);
}

typedef struct {
    const mg_attention_args      *fwd;
    const mg_attention_back_args *back;
    mg_attention_shape s;
    unit   *list;
    int64_t units;
    char   *scores; /* of all threads, NULL: in their scratch */
    size_t  each;
    float  *dk, *dv;      /* where items add, `ld` numbers a row, head `per` .. */
    int64_t ld;
    int     heads_of_item; /* query heads that an item does one after the other */
} job;

static float *scores_of(const job *j, int thread) {
    return j->scores ? (float *)(void *)(j->scores + (size_t)thread * j->each) : mg_cpu_scratch(thread);
}

/* Long work first, so that no thread is left with a late large item: later blocks of a sequence see more keys. */
static void list_blocks(job *j, bool whole) {
    for (int i = j->s.n_seq - 1; i >= 0; i--) {
        unit    u = sequence(&j->s, i);
        int64_t rows = whole || u.n_q <= FEW_QUERIES ? mg_cpu_max(u.n_q, 1) : block_of(u.n_k, false);
        for (int64_t b = (u.n_q + rows - 1) / rows - 1; b >= 0; b--) j->list[j->units++] = block_at(u, b * rows, rows);
    }
}

static job job_of(const mg_attention_shape *s, int64_t q_rows, void *work, bool back) {
    job j = { .s = *s, .list = work, .each = thread_bytes(most_keys(s, q_rows), back) };
    if (j.each > MG_CPU_SCRATCH_BYTES) j.scores = (char *)work + list_bytes(q_rows);
    list_blocks(&j, back);
    return j;
}

/* ---- forward ---- */

static void few_queries(const mg_attention_args *a, unit u, int head, float *z) {
    const mg_cpu_loops *l = mg_cpu_loops_now();
    int64_t hd = a->s.hd, kv = head / (a->s.heads / a->s.kv_heads) * hd;
    for (int64_t i = 0; i < u.n_q; i++) {
        int64_t first = first_key(u, i, a->s.window), n = u.at + i + 1 - first;
        float  *y = mg_cpu_at(a->y, u.q + i) + head * hd;
        l->few_rows(z, n, mg_cpu_at(a->q, u.q + i) + head * hd, hd, 1, mg_cpu_at(a->k, u.k + first) + kv, a->k.cols, n,
                    hd, a->s.scale, false);
        float part = l->softmax(z, n, 0, n, a->s.softcap, (float *)a->lse + (u.q + i) * a->s.heads + head);
        l->mix(y, z, mg_cpu_at(a->v, u.k + first) + kv, n, a->v.cols, hd);
        l->scale(y, part, hd);
    }
}

static void block_forward(const mg_attention_args *a, unit u, int head, float *z, int thread) {
    const mg_cpu_loops *l = mg_cpu_loops_now();
    int64_t hd = a->s.hd, kv = head / (a->s.heads / a->s.kv_heads) * hd;
    int64_t first = first_key(u, 0, a->s.window), n = u.at + u.n_q - first, ld = mg_cpu_up(n, 16);
    float  *y = mg_cpu_at(a->y, u.q) + head * hd, part[BLOCK_MOST];
    mg_gemm_shape qk = { .m = u.n_q, .n = n, .k = hd, .tb = true, .lda = a->q.cols, .ldb = a->k.cols, .ldc = ld };
    mg_gemm_shape pv = { .m = u.n_q, .n = hd, .k = n, .lda = ld, .ldb = a->v.cols, .ldc = a->y.cols };
    mg_gemm_f32(thread, qk, a->s.scale, mg_cpu_at(a->q, u.q) + head * hd, mg_cpu_at(a->k, u.k + first) + kv, 0, z);
    for (int64_t i = 0; i < u.n_q; i++)
        part[i] = l->softmax(z + i * ld, n, first_key(u, i, a->s.window) - first, u.at + i + 1 - first, a->s.softcap,
                             (float *)a->lse + (u.q + i) * a->s.heads + head);
    mg_gemm_f32(thread, pv, 1, z, mg_cpu_at(a->v, u.k + first) + kv, 0, y);
    for (int64_t i = 0; i < u.n_q; i++) l->scale(y + i * a->y.cols, part[i], hd);
}

static void forward_item(void *context, int64_t begin, int64_t end, int thread) {
    const job *j = context;
    (void)end;
    unit   u = j->list[begin / j->s.heads];
    int    head = (int)(begin % j->s.heads);
    float *z = scores_of(j, thread);
    if (u.n_q <= FEW_QUERIES && u.at + u.n_q == u.n_k)
        few_queries(j->fwd, u, head, z);
    else
        block_forward(j->fwd, u, head, z, thread);
}

void mg_cpu_attention(mg_attention_args a) {
    job j = job_of(&a.s, a.q.rows, a.work, false);
    j.fwd = &a;
    mg_parallel_items(j.units * a.s.heads, forward_item, &j);
}

/* ---- backward ---- */

/* Columns `col`.. of the key rows that block u sees, in dk or dv, += m^T x with m [n_q, n] */
static void add_keys(int thread, const job *j, float *out, const float *m, const float *x, unit u, int64_t n, int64_t ld,
                     int64_t ldx, float scale) {
    mg_gemm_shape s = { .m = n, .n = j->s.hd, .k = u.n_q, .ta = true, .lda = ld, .ldb = ldx, .ldc = j->ld };
    mg_gemm_f32(thread, s, scale, m, x, 1, out);
}

static void block_back(const job *j, unit u, int head, float *z, int thread) {
    const mg_attention_back_args *a = j->back;
    const mg_cpu_loops *l = mg_cpu_loops_now();
    int64_t hd = j->s.hd, col = head * hd, kv = head / (j->s.heads / j->s.kv_heads) * hd;
    int64_t first = first_key(u, 0, j->s.window), n = u.at + u.n_q - first, ld = mg_cpu_up(n, 16);
    int64_t own = j->heads_of_item > 1 || j->s.heads == j->s.kv_heads ? kv : col; /* where dk and dv of this head are */
    float  *dp = z + mg_cpu_up(u.n_q * ld, 16);
    const float *q = mg_cpu_at(a->q, u.q) + col, *dy = mg_cpu_at(a->dy, u.q) + col, *y = mg_cpu_at(a->y, u.q) + col;
    const float *k = mg_cpu_at(a->k, u.k + first) + kv, *v = mg_cpu_at(a->v, u.k + first) + kv;
    mg_gemm_shape qk = { .m = u.n_q, .n = n, .k = hd, .tb = true, .lda = a->q.cols, .ldb = a->k.cols, .ldc = ld };
    mg_gemm_shape sk = { .m = u.n_q, .n = hd, .k = n, .lda = ld, .ldb = a->k.cols, .ldc = a->q.cols };
    mg_gemm_f32(thread, qk, j->s.scale, q, k, 0, z);
    mg_gemm_f32(thread, qk, 1, dy, v, 0, dp);
    for (int64_t i = 0; i < u.n_q; i++)
        l->softmax_back(z + i * ld, dp + i * ld, n, first_key(u, i, j->s.window) - first, u.at + i + 1 - first,
                        j->s.softcap, ((const float *)a->lse)[(u.q + i) * j->s.heads + head],
                        l->dot(dy + i * a->dy.cols, y + i * a->y.cols, hd));
    int64_t row = (u.k + first) * j->ld + own;
    if (j->dv) add_keys(thread, j, j->dv + row, z, dy, u, n, ld, a->dy.cols, 1);
    if (j->dk) add_keys(thread, j, j->dk + row, dp, q, u, n, ld, a->q.cols, j->s.scale);
    if (a->dq.data) mg_gemm_f32(thread, sk, j->s.scale, dp, k, 0, mg_cpu_at(a->dq, u.q) + col);
}

static void clear_columns(float *m, int64_t row, int64_t rows, int64_t ld, int64_t col, int64_t cols) {
    for (int64_t r = row; m && r < row + rows; r++) memset(m + r * ld + col, 0, (size_t)cols * sizeof(float));
}

/* One sequence and one group of query heads (or one head that has buffers of its own). */
static void back_item(void *context, int64_t begin, int64_t end, int thread) {
    const job *j = context;
    (void)end;
    int64_t groups = j->s.heads / j->heads_of_item, group = begin % groups;
    unit    u = j->list[begin / groups];
    int64_t rows = block_of(u.n_k, true);
    clear_columns(j->dk, u.k, u.n_k, j->ld, group * j->s.hd, j->s.hd);
    clear_columns(j->dv, u.k, u.n_k, j->ld, group * j->s.hd, j->s.hd);
    for (int h = 0; h < j->heads_of_item; h++)
        for (int64_t b = 0; b < u.n_q; b += rows)
            block_back(j, block_at(u, b, rows), (int)group * j->heads_of_item + h, scores_of(j, thread), thread);
}

/* dk and dv of a key head = sums over its query heads, in their order */
typedef struct { const job *j; float *out; const float *in; int64_t cols; } fold;

static void fold_sequence(const fold *f, unit u, int64_t begin, int64_t end) {
    int64_t hd = f->j->s.hd, each = f->j->s.heads / f->j->s.kv_heads;
    for (int64_t r = mg_cpu_max(begin, u.k); r < mg_cpu_min(end, u.k + u.n_k); r++)
        for (int64_t c = 0; c < f->j->s.heads; c++)
            mg_cpu_loops_now()->add(f->out + r * f->cols + c / each * hd, f->in + r * f->j->ld + c * hd, 1, c % each != 0,
                                    hd);
}

static void fold_range(void *context, int64_t begin, int64_t end, int thread) {
    const fold *f = context;
    (void)thread;
    for (int64_t i = 0; i < f->j->units; i++) fold_sequence(f, f->j->list[i], begin, end);
}

static void fold_heads(const job *j, mg_mat out, const float *in, int64_t rows) {
    fold f = { j, out.data, in, out.cols };
    if (out.data) mg_parallel(rows, 16, fold_range, &f);
}

void mg_cpu_attention_back(mg_attention_back_args a) {
    int     each = a.s.heads / a.s.kv_heads;
    size_t  own = own_bytes(&a.s, a.q.rows);
    job     j = job_of(&a.s, a.q.rows, a.work, true);
    bool    apart = each > 1 && a.s.n_seq * a.s.kv_heads < 4 * mg_threads();
    float  *buffers = (float *)(void *)((char *)a.work + mg_cpu_attention_work(&a.s, a.q.rows, true) - 2 * own);
    j.back = &a;
    j.heads_of_item = apart ? 1 : each;
    j.ld = apart ? a.s.heads * a.s.hd : a.k.cols;
    j.dk = a.dk.data ? apart ? buffers : a.dk.data : NULL;
    j.dv = a.dv.data ? apart ? buffers + own / sizeof(float) : a.dv.data : NULL;
    mg_parallel_items(j.units * (a.s.heads / j.heads_of_item), back_item, &j);
    if (!apart) return;
    fold_heads(&j, a.dk, j.dk, key_rows(&a.s, a.q.rows));
    fold_heads(&j, a.dv, j.dv, key_rows(&a.s, a.q.rows));
}
