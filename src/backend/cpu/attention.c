/* attention.c -- causal or bidirectional grouped-query attention over packed sequences.
 *
 * The unit of arithmetic is a block of 64 queries of one sequence and head: their
 * scores against all keys that the block sees, softmax row by row, the product
 * with the values.  What enters the products is copied into the thread's scratch
 * memory first, rounded to bf16 there if wanted, with rows of zeros up to a
 * multiple of 16: so the library sees few different shapes, whatever the lengths
 * of the sequences are.  Blocks, and so bits, depend on their own sequence alone.
 *
 * An item, what one thread does at a time, is one or two blocks of all the query
 * heads that share a key head, so that keys and values are copied once for them.
 *
 * Backward makes p again from the log-sum-exp and needs five products a block;
 * y itself is not read, for dy . y is the sum of p (dy . v).
 * An item is a whole sequence, for the blocks add to the same dk and dv: in
 * scratch memory, written out at its end.  Query heads that share a key head run
 * in one item; or, when those are too few for the threads, each has an item and
 * buffers of its own, which are added in the order of the heads afterwards.
 *
 * Few queries (generation) go row by row through loops of our own: a library's
 * product of one row costs more to start than to do, and its bits would depend on
 * how many queries come at once. */
#include "backend/cpu/cpu.h"
#include "backend/cpu/loops.h"

#include <string.h>

enum { FEW_QUERIES = 4, BLOCK = 64, ITEM_BLOCKS = 2, UNIT = 16 };

/* Queries: rows q..q+n_q-1, of a sequence whose keys are rows k..k+n_k-1; query i stands at key `at + i`. */
typedef struct { int64_t q, n_q, k, n_k, at; } span;

static span sequence(const mg_attention_shape *s, int i) {
    span u = { .q = s->q_start[i], .n_q = s->q_start[i + 1] - s->q_start[i] };
    u.k = s->k_start ? s->k_start[i] : u.q;
    u.n_k = s->k_len ? s->k_len[i] : u.n_q;
    u.at = u.n_k - u.n_q;
    MG_ASSERT(u.at >= 0 && !(s->bidirectional && s->window));
    return u;
}

static span part_of(span u, int64_t begin, int64_t rows) {
    span b = u;
    b.q = u.q + begin;
    b.n_q = mg_cpu_min(rows, u.n_q - begin);
    b.at = u.at + begin;
    return b;
}

/* `bidirectional` has no window, so the first key is 0 in any case. */
static int64_t first_key(span u, int64_t i, int window) {
    return window > 0 ? mg_cpu_max(0, u.at + i - window + 1) : 0;
}

static int64_t end_key(span u, int64_t i, const mg_attention_shape *s) { return s->bidirectional ? u.n_k : u.at + i + 1; }

/* ---- memory: a list of spans, the buffers of each thread, and in the backward pass dk and dv of each head ---- */

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

static size_t list_bytes(int64_t q_rows) { return mg_cpu_pad((size_t)q_rows * sizeof(span)); }

/* What a thread works in; `q`, `k`, `v`, `dy`, `p`, `ds` enter products as fp32 or bf16. */
typedef struct {
    void  *q, *dy;    /* [BLOCK, hd] */
    void  *k, *v;     /* [keys, hd] */
    float *z, *dp;    /* [BLOCK, keys] scores; gradient of p */
    void  *p, *ds;    /* the same, rounded; in fp32 z and dp themselves */
    float *y;         /* [BLOCK, hd] */
    float *dk, *dv;   /* [keys, hd] */
} room;

static void *take(char **at, int64_t n, size_t size) {
    char *p = *at;
    *at += mg_cpu_pad((size_t)n * size);
    return p;
}

/* Cuts memory at `base`; returns how much. */
static size_t room_at(room *r, char *base, int64_t keys, int64_t hd, bool back, bool bf16) {
    char   *at = base;
    size_t  size = bf16 ? sizeof(uint16_t) : sizeof(float);
    int64_t rows = mg_cpu_up(keys, UNIT);
    r->q = take(&at, BLOCK * hd, size);
    r->k = take(&at, rows * hd, size);
    r->v = take(&at, rows * hd, size);
    r->y = take(&at, BLOCK * hd, sizeof(float));
    r->z = take(&at, BLOCK * rows, sizeof(float));
    r->p = bf16 ? take(&at, BLOCK * rows, size) : r->z;
    if (back) {
        r->dy = take(&at, BLOCK * hd, size);
        r->dp = take(&at, BLOCK * rows, sizeof(float));
        r->ds = bf16 ? take(&at, BLOCK * rows, size) : r->dp;
        r->dk = take(&at, rows * hd, sizeof(float));
        r->dv = take(&at, rows * hd, sizeof(float));
    }
    return (size_t)(at - base);
}

static size_t room_bytes(const mg_attention_shape *s, int64_t q_rows, bool back) {
    room   r;
    char   none[1];
    size_t exact = room_at(&r, none, most_keys(s, q_rows), s->hd, back, false);
    size_t rounded = room_at(&r, none, most_keys(s, q_rows), s->hd, back, true);
    return exact > rounded ? exact : rounded;
}

static size_t own_bytes(const mg_attention_shape *s, int64_t q_rows) {
    if (s->heads == s->kv_heads) return 0;
    return mg_cpu_pad((size_t)(key_rows(s, q_rows) * s->heads * s->hd) * sizeof(float));
}

size_t mg_cpu_attention_work(const mg_attention_shape *s, int64_t q_rows, bool back) {
    size_t each = room_bytes(s, q_rows, back);
    size_t rooms = each > MG_CPU_SCRATCH_BYTES ? each * (size_t)mg_threads() : 0;
    return list_bytes(q_rows) + rooms + (back ? 2 * own_bytes(s, q_rows) : 0);
}

typedef struct {
    mg_attention_shape s;
    mg_mat  q, k, v, y, dy, dq;
    float  *lse;
    bool    bf16, back, few;
    span   *list;
    int64_t spans;
    int     heads_of_item; /* query heads that an item does one after the other */
    char   *rooms;         /* of all threads, NULL: in their scratch */
    size_t  each;
    float  *dk, *dv; /* where items write, `ld` numbers a row, and how many heads there are */
    int64_t ld;
} job;

static room room_of(const job *j, int thread, int64_t keys) {
    room  r;
    char *base = j->rooms ? j->rooms + (size_t)thread * j->each : mg_cpu_scratch(thread);
    room_at(&r, base, keys, j->s.hd, j->back, j->bf16);
    return r;
}

/* Long work first, so that no thread is left with a late large item: later queries see more keys. */
static void list_spans(job *j, void *work) {
    j->list = work;
    for (int i = j->s.n_seq - 1; i >= 0; i--) {
        span    u = sequence(&j->s, i);
        int64_t rows = j->back || j->few || u.n_q <= FEW_QUERIES ? mg_cpu_max(u.n_q, 1) : ITEM_BLOCKS * BLOCK;
        for (int64_t b = (u.n_q + rows - 1) / rows - 1; b >= 0; b--) j->list[j->spans++] = part_of(u, b * rows, rows);
    }
}

static void share_out(job *j, int64_t q_rows, void *work) {
    int group = j->s.heads / j->s.kv_heads;
    j->each = room_bytes(&j->s, q_rows, j->back);
    if (j->each > MG_CPU_SCRATCH_BYTES) j->rooms = (char *)work + list_bytes(q_rows);
    list_spans(j, work);
    j->heads_of_item = j->few || j->spans * j->s.kv_heads < 3 * mg_threads() ? 1 : group;
    if (mg_threads() == 1) j->heads_of_item = group;
}

/* ---- products of a block ---- */

typedef struct { int thread; bool bf16; } hand;

static void multiply(hand h, mg_gemm_shape s, const void *a, const void *b, bool accumulate, float *c) {
    if (h.bf16)
        mg_gemm_bf16(h.thread, s, a, b, accumulate, c);
    else
        mg_gemm_f32(h.thread, s, 1, a, b, accumulate ? 1.0f : 0.0f, c);
}

static void *row_of(const job *j, void *m, int64_t row, int64_t cols) {
    return (char *)m + (size_t)(row * cols) * (j->bf16 ? sizeof(uint16_t) : sizeof(float));
}

/* c [m,n] = a [m,hd] b [n,hd]^T */
static void across(hand h, int64_t m, int64_t n, int64_t hd, const void *a, const void *b, float *c) {
    multiply(h, (mg_gemm_shape){ .m = m, .n = n, .k = hd, .tb = true, .lda = hd, .ldb = hd, .ldc = n }, a, b, false, c);
}

/* c [m,hd] = p [m,n] b [n,hd] */
static void down(hand h, int64_t m, int64_t n, int64_t hd, const void *p, const void *b, float *c) {
    multiply(h, (mg_gemm_shape){ .m = m, .n = hd, .k = n, .lda = n, .ldb = hd, .ldc = hd }, p, b, false, c);
}

/* c [n,hd] += p [m,n]^T b [m,hd] */
static void gather(hand h, int64_t m, int64_t n, int64_t hd, const void *p, const void *b, float *c) {
    multiply(h, (mg_gemm_shape){ .m = n, .n = hd, .k = m, .ta = true, .lda = n, .ldb = hd, .ldc = hd }, p, b, true, c);
}

/* Which keys block u sees: from `first`, `n` rounded up; its own number of rows rounded up. */
typedef struct { int64_t first, n, m; } view;

static view view_of(const job *j, span u) {
    view v = { .first = first_key(u, 0, j->s.window) / UNIT * UNIT, .m = mg_cpu_up(u.n_q, UNIT) };
    v.n = mg_cpu_up(end_key(u, u.n_q - 1, &j->s) - v.first, UNIT);
    return v;
}

/* Copy keys first..end-1 of a key head to row 0 of r->k and r->v. */
static void load_keys(const job *j, const room *r, span u, int64_t first, int64_t end, int64_t kv) {
    const mg_cpu_loops *l = mg_cpu_loops_now();
    int64_t hd = j->s.hd, rows = end - first, up = mg_cpu_up(rows, UNIT);
    l->pack(r->k, mg_cpu_at(j->k, u.k + first) + kv * hd, rows, up, hd, j->k.cols, j->bf16);
    l->pack(r->v, mg_cpu_at(j->v, u.k + first) + kv * hd, rows, up, hd, j->v.cols, j->bf16);
}

/* ---- forward ---- */

static void few_queries(const job *j, span u, int head, float *z) {
    const mg_cpu_loops *l = mg_cpu_loops_now();
    int64_t hd = j->s.hd, kv = head / (j->s.heads / j->s.kv_heads) * hd;
    for (int64_t i = 0; i < u.n_q; i++) {
        int64_t first = first_key(u, i, j->s.window), n = end_key(u, i, &j->s) - first;
        float  *y = mg_cpu_at(j->y, u.q + i) + head * hd;
        l->few_rows(z, n, mg_cpu_at(j->q, u.q + i) + head * hd, hd, 1, mg_cpu_at(j->k, u.k + first) + kv, j->k.cols, n,
                    hd, 1, false);
        float part = l->softmax(z, NULL, mg_cpu_up(n, UNIT), 0, n, j->s.scale, j->s.softcap, j->lse + (u.q + i) * j->s.heads + head);
        l->mix(y, z, mg_cpu_at(j->v, u.k + first) + kv, n, j->v.cols, hd);
        l->scale(y, part, hd);
    }
}

/* `base`: the key at row 0 of r->k and r->v */
static void block_forward(const job *j, const room *r, span u, int64_t base, int head, int thread) {
    const mg_cpu_loops *l = mg_cpu_loops_now();
    int64_t hd = j->s.hd;
    view    w = view_of(j, u);
    hand    h = { thread, j->bf16 };
    float   part[BLOCK];
    l->pack(r->q, mg_cpu_at(j->q, u.q) + head * hd, u.n_q, w.m, hd, j->q.cols, j->bf16);
    across(h, w.m, w.n, hd, r->q, row_of(j, r->k, w.first - base, hd), r->z);
    for (int64_t i = 0; i < w.m; i++) {
        uint16_t *p16 = j->bf16 ? (uint16_t *)r->p + i * w.n : NULL;
        if (i >= u.n_q) continue; /* rows of zeros: what they give is not read */
        part[i] = l->softmax(r->z + i * w.n, p16, w.n, first_key(u, i, j->s.window) - w.first, end_key(u, i, &j->s) - w.first,
                             j->s.scale, j->s.softcap, j->lse + (u.q + i) * j->s.heads + head);
    }
    down(h, w.m, w.n, hd, r->p, row_of(j, r->v, w.first - base, hd), r->y);
    for (int64_t i = 0; i < u.n_q; i++)
        l->add(mg_cpu_at(j->y, u.q + i) + head * hd, r->y + i * hd, part[i], false, hd);
}

static void forward_item(void *context, int64_t begin, int64_t end, int thread) {
    const job *j = context;
    (void)end;
    int64_t groups = j->s.heads / j->heads_of_item, head = begin % groups * j->heads_of_item;
    span    u = j->list[begin / groups];
    bool    few = j->few || u.n_q <= FEW_QUERIES;
    room    r = room_of(j, thread, u.n_k);
    int64_t base = first_key(u, 0, j->s.window) / UNIT * UNIT;
    if (!few) load_keys(j, &r, u, base, end_key(u, u.n_q - 1, &j->s), head / (j->s.heads / j->s.kv_heads));
    for (int i = 0; i < j->heads_of_item; i++) {
        if (few) few_queries(j, u, (int)head + i, r.z);
        for (int64_t b = 0; !few && b < u.n_q; b += BLOCK)
            block_forward(j, &r, part_of(u, b, BLOCK), base, (int)head + i, thread);
    }
}

void mg_cpu_attention(mg_attention_args a, bool bf16) {
    job j = { .s = a.s, .q = a.q, .k = a.k, .v = a.v, .y = a.y, .lse = a.lse, .bf16 = bf16,
              .few = a.q.rows <= MG_CPU_FEW_ROWS };
    share_out(&j, a.q.rows, a.work);
    mg_parallel_items(j.spans * (a.s.heads / j.heads_of_item), forward_item, &j);
}

/* ---- backward ---- */

/* Rows of p and ds below the block's own enter the products over its rows, as zeros. */
static void clear_below(const job *j, const room *r, span u, view w) {
    size_t bytes = (size_t)((w.m - u.n_q) * w.n) * (j->bf16 ? sizeof(uint16_t) : sizeof(float));
    memset(row_of(j, r->p, u.n_q, w.n), 0, bytes);
    memset(row_of(j, r->ds, u.n_q, w.n), 0, bytes);
}

static void block_back(const job *j, const room *r, span u, int head, int thread) {
    const mg_cpu_loops *l = mg_cpu_loops_now();
    int64_t hd = j->s.hd, col = head * hd;
    view    w = view_of(j, u);
    hand    h = { thread, j->bf16 };
    l->pack(r->q, mg_cpu_at(j->q, u.q) + col, u.n_q, w.m, hd, j->q.cols, j->bf16);
    l->pack(r->dy, mg_cpu_at(j->dy, u.q) + col, u.n_q, w.m, hd, j->dy.cols, j->bf16);
    across(h, w.m, w.n, hd, r->q, row_of(j, r->k, w.first, hd), r->z);
    across(h, w.m, w.n, hd, r->dy, row_of(j, r->v, w.first, hd), r->dp);
    for (int64_t i = 0; i < u.n_q; i++)
        l->softmax_back(r->z + i * w.n, r->dp + i * w.n, j->bf16 ? (uint16_t *)r->p + i * w.n : NULL,
                        j->bf16 ? (uint16_t *)r->ds + i * w.n : NULL, w.n, first_key(u, i, j->s.window) - w.first,
                        end_key(u, i, &j->s) - w.first, j->s.scale, j->s.softcap, j->lse[(u.q + i) * j->s.heads + head]);
    clear_below(j, r, u, w);
    if (j->dv) gather(h, w.m, w.n, hd, r->p, r->dy, r->dv + w.first * hd);
    if (j->dk) gather(h, w.m, w.n, hd, r->ds, r->q, r->dk + w.first * hd);
    if (!j->dq.data) return;
    down(h, w.m, w.n, hd, r->ds, row_of(j, r->k, w.first, hd), r->y);
    for (int64_t i = 0; i < u.n_q; i++) memcpy(mg_cpu_at(j->dq, u.q + i) + col, r->y + i * hd, (size_t)hd * sizeof(float));
}

static void write_keys(const job *j, float *out, const float *in, span u, int64_t col) {
    for (int64_t i = 0; out && i < u.n_k; i++)
        memcpy(out + (u.k + i) * j->ld + col, in + i * j->s.hd, (size_t)j->s.hd * sizeof(float));
}

static void back_item(void *context, int64_t begin, int64_t end, int thread) {
    const job *j = context;
    (void)end;
    int64_t groups = j->s.heads / j->heads_of_item, group = begin % groups, head = group * j->heads_of_item;
    span    u = j->list[begin / groups];
    room    r = room_of(j, thread, u.n_k);
    size_t  bytes = (size_t)(mg_cpu_up(u.n_k, UNIT) * j->s.hd) * sizeof(float);
    load_keys(j, &r, u, 0, u.n_k, head / (j->s.heads / j->s.kv_heads));
    memset(r.dk, 0, bytes);
    memset(r.dv, 0, bytes);
    for (int i = 0; i < j->heads_of_item; i++)
        for (int64_t b = 0; b < u.n_q; b += BLOCK) block_back(j, &r, part_of(u, b, BLOCK), (int)head + i, thread);
    write_keys(j, j->dk, r.dk, u, group * j->s.hd);
    write_keys(j, j->dv, r.dv, u, group * j->s.hd);
}

/* dk and dv of a key head = sums over its query heads, in their order */
typedef struct { const job *j; float *out; const float *in; int64_t cols; } fold;

static void fold_span(const fold *f, span u, int64_t begin, int64_t end) {
    int64_t hd = f->j->s.hd, each = f->j->s.heads / f->j->s.kv_heads;
    for (int64_t r = mg_cpu_max(begin, u.k); r < mg_cpu_min(end, u.k + u.n_k); r++)
        for (int64_t c = 0; c < f->j->s.heads; c++)
            mg_cpu_loops_now()->add(f->out + r * f->cols + c / each * hd, f->in + r * f->j->ld + c * hd, 1, c % each != 0,
                                    hd);
}

static void fold_range(void *context, int64_t begin, int64_t end, int thread) {
    const fold *f = context;
    (void)thread;
    for (int64_t i = 0; i < f->j->spans; i++) fold_span(f, f->j->list[i], begin, end);
}

static void fold_heads(const job *j, mg_mat out, const float *in, int64_t rows) {
    fold f = { j, out.data, in, out.cols };
    if (out.data) mg_parallel(rows, 16, fold_range, &f);
}

void mg_cpu_attention_back(mg_attention_back_args a, bool bf16) {
    union { const void *in; float *out; } lse = { a.lse }; /* only read here */
    size_t own = own_bytes(&a.s, a.q.rows);
    float *buffers = (float *)(void *)((char *)a.work + mg_cpu_attention_work(&a.s, a.q.rows, true) - 2 * own);
    job    j = { .s = a.s, .q = a.q, .k = a.k, .v = a.v, .dy = a.dy, .dq = a.dq, .lse = lse.out, .bf16 = bf16,
                 .back = true };
    share_out(&j, a.q.rows, a.work);
    bool apart = j.heads_of_item == 1 && a.s.heads > a.s.kv_heads;
    j.ld = apart ? a.s.heads * a.s.hd : a.k.cols;
    j.dk = a.dk.data ? apart ? buffers : a.dk.data : NULL;
    j.dv = a.dv.data ? apart ? buffers + own / sizeof(float) : a.dv.data : NULL;
    mg_parallel_items(j.spans * (a.s.heads / j.heads_of_item), back_item, &j);
    if (!apart) return;
    fold_heads(&j, a.dk, j.dk, key_rows(&a.s, a.q.rows));
    fold_heads(&j, a.dv, j.dv, key_rows(&a.s, a.q.rows));
}
