/* attention.c -- causal or bidirectional grouped-query attention over packed sequences.
 *
 * The unit of arithmetic is a block of 64 queries of one sequence and head: their
 * scores against all keys that the block sees, softmax row by row, the product
 * with the values.  fp32 enters the products where it lies; for bf16 it is rounded
 * into the thread's scratch memory first, with rows of zeros up to a multiple of 16:
 * so the library sees few different shapes, whatever the lengths of the sequences
 * are.  Blocks, and so bits, depend on their own sequence alone.
 *
 * An item, what one thread does at a time, is one or two blocks of all the query
 * heads that share a key head, so that keys and values are copied once for them.
 *
 * Backward makes p again from the log-sum-exp and needs five products a block;
 * y itself is not read, for dy . y is the sum of p (dy . v).
 * An item is a whole sequence, for the blocks add to the same dk and dv.  Query
 * heads that share a key head run in one item; or, when those are too few for the
 * threads, each has an item and buffers of its own, which are added in the order
 * of the heads afterwards.  A sequence that is alone is cut into parts of equal
 * work, with buffers each, where that many heads would leave threads idle (nine
 * heads on two threads: a tenth of the time).
 *
 * Few queries (generation) go row by row through loops of our own: a library's
 * product of one row costs more to start than to do, and its bits would depend on
 * how many queries come at once. */
#include "backend/cpu/cpu.h"
#include "backend/cpu/loops.h"

#include <math.h>
#include <string.h>

enum { FEW_QUERIES = 4, BLOCK = 64, ITEM_BLOCKS = 2, UNIT = 16, PARTS_MOST = 4, PARTS_BYTES = 16 << 20 };

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

static int64_t end_key(span u, int64_t i, const mg_attention_shape *s) {
    return s->bidirectional ? u.n_k : u.at + i + 1;
}

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

/* A matrix as it enters products: fp32 or bf16, `ld` numbers a row. */
typedef struct { const void *at; int64_t ld; } operand;

/* What a thread works in.  In fp32 only y, z and dp are memory of its own. */
typedef struct {
    uint16_t *q16, *dy16; /* [BLOCK, hd] rounded */
    uint16_t *k16, *v16; /* [keys, hd] rounded */
    float  *z, *dp;     /* [BLOCK, keys] scores; gradient of p */
    void   *p, *ds;     /* the same, rounded; in fp32 z and dp themselves */
    float  *y;          /* [BLOCK, hd] */
    float  *dk, *dv;    /* [keys, hd], where rows of zeros would write too far */
    operand k, v;       /* of the item's key head */
} room;

static void *take(char **at, int64_t n, size_t size) {
    char *p = *at;
    *at += mg_cpu_pad((size_t)n * size);
    return p;
}

/* Cuts memory at `base`; returns how much. */
static size_t room_at(room *r, char *base, int64_t keys, int64_t hd, bool back, bool bf16) {
    char   *at = base;
    int64_t rows = mg_cpu_up(keys, UNIT);
    r->y = take(&at, BLOCK * hd, sizeof(float));
    r->p = r->z = take(&at, BLOCK * rows, sizeof(float));
    if (back) r->ds = r->dp = take(&at, BLOCK * rows, sizeof(float));
    if (!bf16) return (size_t)(at - base);
    r->q16 = take(&at, BLOCK * hd, sizeof(uint16_t));
    r->k16 = take(&at, rows * hd, sizeof(uint16_t));
    r->v16 = take(&at, rows * hd, sizeof(uint16_t));
    r->p = take(&at, BLOCK * rows, sizeof(uint16_t));
    if (back) {
        r->dy16 = take(&at, BLOCK * hd, sizeof(uint16_t));
        r->ds = take(&at, BLOCK * rows, sizeof(uint16_t));
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

static size_t buffer_bytes(const mg_attention_shape *s, int64_t q_rows) {
    return mg_cpu_pad((size_t)(key_rows(s, q_rows) * s->heads * s->hd) * sizeof(float));
}

/* Parts of a sequence that is alone: the fewest with which threads wait little, as far as memory stays small. */
static int parts_of(const mg_attention_shape *s, int64_t q_rows) {
    int    threads = mg_threads(), parts = 1;
    double least = INFINITY;
    for (int p = 1; p <= PARTS_MOST && (p == 1 || p * buffer_bytes(s, q_rows) <= PARTS_BYTES); p++) {
        int    items = p * s->heads;
        int    rounds = (items + threads - 1) / threads;
        double time = (double)rounds / items;
        if (time < 0.95 * least) least = time, parts = p;
    }
    return parts;
}

static size_t own_bytes(const mg_attention_shape *s, int64_t q_rows) {
    int parts = parts_of(s, q_rows);
    return s->heads == s->kv_heads && parts == 1 ? 0 : (size_t)parts * buffer_bytes(s, q_rows);
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
    int     parts;         /* of a sequence, each an item; 1 going forward */
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
    bool cut = j->back && j->spans == 1 && j->heads_of_item == 1 && j->list[0].n_q >= PARTS_MOST * BLOCK;
    j->parts = cut ? parts_of(&j->s, q_rows) : 1;
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

static operand from_row(const job *j, operand o, int64_t row) {
    return (operand){ (const char *)o.at + (size_t)(row * o.ld) * (j->bf16 ? sizeof(uint16_t) : sizeof(float)), o.ld };
}

/* hd columns of m from (row, col): in fp32 where they are, in bf16 in `copy`, with zeros up to `up` rows */
static operand operand_of(const job *j, mg_mat m, int64_t row, int64_t rows, int64_t up, int64_t col,
                          uint16_t *copy) {
    const float *from = mg_cpu_at(m, row) + col;
    if (!j->bf16) return (operand){ from, m.cols };
    mg_cpu_loops_now()->pack(copy, from, rows, up, j->s.hd, m.cols);
    return (operand){ copy, j->s.hd };
}

/* c [m,n] = a [m,hd] b [n,hd]^T */
static void across(hand h, int64_t m, int64_t n, int64_t hd, operand a, operand b, float *c, int64_t ldc) {
    multiply(h, (mg_gemm_shape){ .m = m, .n = n, .k = hd, .tb = true, .lda = a.ld, .ldb = b.ld, .ldc = ldc }, a.at, b.at,
             false, c);
}

/* c [m,hd] = p [m,n] b [n,hd] */
static void down(hand h, int64_t m, int64_t n, int64_t hd, operand p, operand b, float *c, int64_t ldc) {
    multiply(h, (mg_gemm_shape){ .m = m, .n = hd, .k = n, .lda = p.ld, .ldb = b.ld, .ldc = ldc }, p.at, b.at, false, c);
}

/* c [n,hd] += p [m,n]^T b [m,hd] */
static void gather(hand h, int64_t m, int64_t n, int64_t hd, operand p, operand b, float *c, int64_t ldc) {
    multiply(h, (mg_gemm_shape){ .m = n, .n = hd, .k = m, .ta = true, .lda = p.ld, .ldb = b.ld, .ldc = ldc }, p.at, b.at,
             true, c);
}

/* Block u sees n keys from `first` on and has m rows, both rounded up in bf16; its scores are `ld` numbers a row. */
typedef struct { int64_t first, n, m, ld; } view;

static view view_of(const job *j, span u) {
    view v = { .first = first_key(u, 0, j->s.window) / UNIT * UNIT };
    v.n = end_key(u, u.n_q - 1, &j->s) - v.first;
    v.ld = mg_cpu_up(v.n, UNIT);
    v.m = j->bf16 ? mg_cpu_up(u.n_q, UNIT) : u.n_q;
    if (j->bf16) v.n = v.ld;
    return v;
}

/* Keys first..end-1 of a key head: row 0 of r->k and r->v. */
static void load_keys(const job *j, room *r, span u, int64_t first, int64_t end, int64_t kv) {
    int64_t rows = end - first, up = mg_cpu_up(rows, UNIT), col = kv * j->s.hd;
    r->k = operand_of(j, j->k, u.k + first, rows, up, col, r->k16);
    r->v = operand_of(j, j->v, u.k + first, rows, up, col, r->v16);
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
    operand q = operand_of(j, j->q, u.q, u.n_q, w.m, head * hd, r->q16);
    across(h, w.m, w.n, hd, q, from_row(j, r->k, w.first - base), r->z, w.ld);
    for (int64_t i = 0; i < u.n_q; i++) { /* rows below: what they give is not read */
        uint16_t *p16 = j->bf16 ? (uint16_t *)r->p + i * w.ld : NULL;
        part[i] = l->softmax(r->z + i * w.ld, p16, w.ld, first_key(u, i, j->s.window) - w.first,
                             end_key(u, i, &j->s) - w.first, j->s.scale, j->s.softcap, j->lse + (u.q + i) * j->s.heads + head);
    }
    down(h, w.m, w.n, hd, (operand){ r->p, w.ld }, from_row(j, r->v, w.first - base), r->y, hd);
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
    size_t bytes = (size_t)((w.m - u.n_q) * w.ld) * (j->bf16 ? sizeof(uint16_t) : sizeof(float));
    memset(row_of(j, r->p, u.n_q, w.ld), 0, bytes);
    memset(row_of(j, r->ds, u.n_q, w.ld), 0, bytes);
}

/* Where an item adds: dk and dv [keys of the sequence, hd], NULL: not wanted */
typedef struct { float *dk, *dv; int64_t ld; } sums;

static void write_dq(const job *j, const room *r, span u, view w, int64_t col, hand h) {
    int64_t hd = j->s.hd;
    operand ds = { r->ds, w.ld }, k = from_row(j, r->k, w.first);
    float  *dq = mg_cpu_at(j->dq, u.q) + col;
    bool    fits = w.m == u.n_q; /* else the rows below are another's */
    down(h, w.m, w.n, hd, ds, k, fits ? dq : r->y, fits ? j->dq.cols : hd);
    for (int64_t i = 0; !fits && i < u.n_q; i++) memcpy(dq + i * j->dq.cols, r->y + i * hd, (size_t)hd * sizeof(float));
}

static void block_back(const job *j, const room *r, span u, int head, sums to, int thread) {
    int64_t hd = j->s.hd, col = head * hd;
    view    w = view_of(j, u);
    hand    h = { thread, j->bf16 };
    operand q = operand_of(j, j->q, u.q, u.n_q, w.m, col, r->q16), p = { r->p, w.ld }, ds = { r->ds, w.ld };
    operand dy = operand_of(j, j->dy, u.q, u.n_q, w.m, col, r->dy16);
    across(h, w.m, w.n, hd, q, from_row(j, r->k, w.first), r->z, w.ld);
    across(h, w.m, w.n, hd, dy, from_row(j, r->v, w.first), r->dp, w.ld);
    for (int64_t i = 0; i < u.n_q; i++)
        mg_cpu_loops_now()->softmax_back(
            r->z + i * w.ld, r->dp + i * w.ld, j->bf16 ? (uint16_t *)r->p + i * w.ld : NULL,
            j->bf16 ? (uint16_t *)r->ds + i * w.ld : NULL, w.ld, first_key(u, i, j->s.window) - w.first,
            end_key(u, i, &j->s) - w.first, j->s.scale, j->s.softcap, j->lse[(u.q + i) * j->s.heads + head]);
    clear_below(j, r, u, w);
    if (to.dv) gather(h, w.m, w.n, hd, p, dy, to.dv + w.first * to.ld, to.ld);
    if (to.dk) gather(h, w.m, w.n, hd, ds, q, to.dk + w.first * to.ld, to.ld);
    if (j->dq.data) write_dq(j, r, u, w, col, h);
}

static void clear_rows(float *to, int64_t rows, int64_t hd, int64_t ld) {
    for (int64_t i = 0; to && i < rows; i++) memset(to + i * ld, 0, (size_t)hd * sizeof(float));
}

static void write_rows(float *to, int64_t ld, const float *from, int64_t rows, int64_t hd) {
    for (int64_t i = 0; to && i < rows; i++) memcpy(to + i * ld, from + i * hd, (size_t)hd * sizeof(float));
}

/* The first query of part p: causal work grows with the square. */
static int64_t part_begin(const job *j, span u, int64_t p) {
    double  done = (double)p / j->parts, before = j->s.bidirectional ? done : sqrt(done);
    int64_t near = (int64_t)((double)u.n_q * before), row = (near + BLOCK / 2) / BLOCK * BLOCK;
    return p == j->parts ? u.n_q : row;
}

static void back_item(void *context, int64_t begin, int64_t end, int thread) {
    const job *j = context;
    (void)end;
    int64_t groups = j->s.heads / j->heads_of_item, group = begin % groups, head = group * j->heads_of_item, hd = j->s.hd;
    int64_t part = begin / groups / j->spans;
    span    u = j->list[begin / groups % j->spans];
    room    r = room_of(j, thread, u.n_k);
    int64_t at = u.k * j->ld + (part * groups + group) * hd;
    bool    fits = !j->bf16 || u.n_k % UNIT == 0; /* else rows of zeros write past the sequence */
    sums    out = { j->dk ? j->dk + at : NULL, j->dv ? j->dv + at : NULL, j->ld };
    sums    to = fits ? out : (sums){ out.dk ? r.dk : NULL, out.dv ? r.dv : NULL, hd };
    int64_t rows = fits ? u.n_k : mg_cpu_up(u.n_k, UNIT);
    load_keys(j, &r, u, 0, u.n_k, head / (j->s.heads / j->s.kv_heads));
    clear_rows(to.dk, rows, hd, to.ld);
    clear_rows(to.dv, rows, hd, to.ld);
    for (int i = 0; i < j->heads_of_item; i++)
        for (int64_t b = part_begin(j, u, part); b < part_begin(j, u, part + 1); b += BLOCK)
            block_back(j, &r, part_of(u, b, BLOCK), (int)head + i, to, thread);
    if (fits) return;
    write_rows(out.dk, out.ld, r.dk, u.n_k, hd);
    write_rows(out.dv, out.ld, r.dv, u.n_k, hd);
}

/* dk and dv of a key head = sums over the parts and its query heads, in their order */
typedef struct { const job *j; float *out; const float *in; int64_t cols; } fold;

static void fold_span(const fold *f, span u, int64_t begin, int64_t end) {
    int64_t hd = f->j->s.hd, heads = f->j->s.heads, each = heads / f->j->s.kv_heads;
    for (int64_t r = mg_cpu_max(begin, u.k); r < mg_cpu_min(end, u.k + u.n_k); r++)
        for (int64_t i = 0; i < f->j->parts * heads; i++) {
            int64_t head = i % heads;
            mg_cpu_loops_now()->add(f->out + r * f->cols + head / each * hd, f->in + r * f->j->ld + i * hd, 1,
                                    i >= heads || head % each != 0, hd);
        }
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
    bool apart = j.heads_of_item == 1 && (a.s.heads > a.s.kv_heads || j.parts > 1);
    j.ld = apart ? (int64_t)j.parts * a.s.heads * a.s.hd : a.k.cols;
    j.dk = a.dk.data ? apart ? buffers : a.dk.data : NULL;
    j.dv = a.dv.data ? apart ? buffers + own / sizeof(float) : a.dv.data : NULL;
    mg_parallel_items(j.parts * j.spans * (a.s.heads / j.heads_of_item), back_item, &j);
    if (!apart) return;
    fold_heads(&j, a.dk, j.dk, key_rows(&a.s, a.q.rows));
    fold_heads(&j, a.dv, j.dv, key_rows(&a.s, a.q.rows));
}
