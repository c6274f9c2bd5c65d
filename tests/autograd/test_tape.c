/* The tape under a small model of two layers: what a step keeps must not change what it computes.
 *
 * The model has every way in which memory is given away, taken over and made again: transient norms that are
 * rotated in place, adapters with dropout on a shared input, residuals that hand their gradient down, weights
 * that are frozen and weights that train.  The arena holds NaN before each step. */
#include "support.h"
#include "support_random.h"

#include "autograd/cache.h"
#include "autograd/ops.h"

enum { LAYERS = 2, D = 12, H = 4, K = 2, HD = 6, F = 20, V = 23, R = 3, POSITIONS = 16, MOST = 40, TENSORS = 64 };
enum { NORM1, WQ, WK, WV, WO, QNORM, KNORM, NORM2, GATE, UP, DOWN, AQ, BQ, ADOWN, BDOWN, OF_LAYER };

typedef struct toy {
    mg_tensor     tensor[TENSORS];
    int           n;
    mg_tensor    *layer[LAYERS][OF_LAYER], *table, *norm, *head;
    mg_rope_table angles;
    float         cos[POSITIONS * HD / 2], sin[POSITIONS * HD / 2], dropout;
    bool          segments; /* off: the blocks are called directly */
} toy;

static mg_tensor *weight(toy *m, support_random *r, const mg_format *element, int64_t rows, int64_t cols,
                         float mean) {
    size_t     n = (size_t)(rows * cols);
    mg_tensor *x = &m->tensor[m->n++];
    float     *values = malloc(n * sizeof *values);
    for (size_t i = 0; i < n; i++) values[i] = mean + 0.3f * (float)random_normal(r);
    *x = (mg_tensor){ .rows = rows, .cols = cols, .format = element, .param = true };
    x->data = malloc(n * element->block_bytes);
    x->grad = malloc(n * element->block_bytes);
    element->encode(x->data, values, (int64_t)n);
    free(values);
    return x;
}

/* `full`: everything trains; else only the adapters. */
static toy *make_toy(const mg_format *element, bool full) {
    toy           *m = calloc(1, sizeof *m);
    support_random r = random_of(7);
    for (int l = 0; l < LAYERS; l++) {
        const int shape[OF_LAYER][2] = { { 1, D },  { H * HD, D }, { K * HD, D }, { K * HD, D }, { D, H * HD },
                                         { 1, HD }, { 1, HD },     { 1, D },      { F, D },      { F, D },
                                         { D, F },  { R, D },      { H * HD, R }, { R, F },      { D, R } };
        for (int i = 0; i < OF_LAYER; i++)
            m->layer[l][i] = weight(m, &r, element, shape[i][0], shape[i][1], shape[i][0] == 1);
        for (int i = 0; i < OF_LAYER; i++) m->layer[l][i]->needs_grad = full || i >= AQ;
    }
    m->table = weight(m, &r, element, V, D, 0);
    m->norm = weight(m, &r, element, 1, D, 1);
    m->head = weight(m, &r, element, V, D, 0);
    m->table->needs_grad = m->norm->needs_grad = m->head->needs_grad = full;
    for (int i = 0; i < POSITIONS * HD / 2; i++) {
        m->cos[i] = cosf(0.3f * (float)i);
        m->sin[i] = sinf(0.3f * (float)i);
    }
    m->angles = (mg_rope_table){ m->cos, m->sin, POSITIONS, HD };
    m->dropout = 0.25f;
    m->segments = true;
    return m;
}

static void free_toy(toy *m) {
    for (int i = 0; i < m->n; i++) free(m->tensor[i].data), free(m->tensor[i].grad);
    free(m);
}

static mg_rng stream(const mg_tape *t, int layer, uint32_t site) {
    return (mg_rng){ t->seed, mg_rng_where(t->step, (uint32_t)layer, site) };
}

static mg_tensor *block(mg_tape *t, const void *self, int layer, mg_tensor *x) {
    const toy        *m = self;
    mg_tensor *const *w = m->layer[layer];
    mg_attention_kind kind = { .heads = H, .kv_heads = K, .hd = HD, .scale = 0.4f, .window = layer ? 5 : 0 };
    mg_tensor        *h = mg_rmsnorm(t, x, w[NORM1], NULL, 1e-5f);
    mg_tensor        *q = mg_matmul(t, h, w[WQ], NULL, NULL), *k = mg_matmul(t, h, w[WK], NULL, NULL);
    mg_tensor        *v = mg_matmul(t, h, w[WV], NULL, NULL);
    q = mg_lora(t, q, h, w[AQ], w[BQ], 0.7f, m->dropout, stream(t, layer, 1));
    q = mg_rope(t, mg_rmsnorm(t, q, w[QNORM], NULL, 1e-5f), &m->angles, HD);
    k = mg_rope(t, mg_rmsnorm(t, k, w[KNORM], NULL, 1e-5f), &m->angles, HD);
    x = mg_matmul(t, mg_attention(t, q, k, v, kind, layer), w[WO], NULL, x);
    h = mg_rmsnorm(t, x, w[NORM2], NULL, 1e-5f);
    mg_tensor *gate = mg_matmul(t, h, w[GATE], NULL, NULL), *up = mg_matmul(t, h, w[UP], NULL, NULL);
    h = mg_glu(t, gate, up, MG_SILU);
    x = mg_matmul(t, h, w[DOWN], NULL, x);
    return mg_lora(t, x, h, w[ADOWN], w[BDOWN], 0.7f, m->dropout, stream(t, layer, 2));
}

static mg_tensor *hidden(mg_tape *t, const toy *m) {
    mg_tensor *x = mg_embed(t, m->table, 1.5f);
    for (int l = 0; l < LAYERS; l++) x = m->segments ? mg_segment(t, block, m, l, x) : block(t, m, l, x);
    return mg_rmsnorm(t, x, m->norm, NULL, 1e-5f);
}

static mg_tensor *loss_of(mg_tape *t, const toy *m) {
    return mg_sum(t, mg_logprob(t, hidden(t, m), m->head, 3, NULL), -0.125f);
}

/* ---- batches ---- */

typedef struct packed {
    mg_batch b;
    int32_t  start[8], ids[MOST], pos[MOST], label_row[MOST], label[MOST], slot[8];
} packed;

/* Sequences of the lengths given, ended by 0; `first` skips that many, so that parts of a batch can be had alone.
 */
static packed *make_packed(const int *lengths, int first, int count) {
    packed        *p = calloc(1, sizeof *p);
    support_random r = random_of(3);
    int            rows = 0;
    p->b = (mg_batch){ .start = p->start,
                       .ids = p->ids,
                       .pos = p->pos,
                       .label_row = p->label_row,
                       .label = p->label,
                       .slot = p->slot };
    for (int s = 0; lengths[s]; s++)
        for (int i = 0; i < lengths[s]; i++) {
            int32_t id = random_int(&r, 0, V - 1), label = random_int(&r, 0, V - 1);
            bool    labelled = random_int(&r, 0, 3) > 0;
            if (s < first || s >= first + count) continue;
            if (i == 0) p->b.n_seq++;
            if (labelled) {
                p->label_row[p->b.n_labels] = rows;
                p->label[p->b.n_labels++] = label;
            }
            p->ids[rows] = id;
            p->pos[rows++] = i;
            p->start[p->b.n_seq] = rows;
        }
    return p;
}

static const int three[] = { 5, 1, 8, 0 };

/* ---- a step ---- */

typedef struct step {
    double   loss;
    uint8_t *grad; /* of all tensors, end to end, in the element type */
    size_t   bytes, peak;
} step;

static size_t bytes_of(const mg_tensor *x) { return (size_t)(x->rows * x->cols) * x->format->block_bytes; }

static double number(const void *data, const mg_format *element) {
    return element == &mg_format_f64 ? *(const double *)data : (double)*(const float *)data;
}

static void zero_gradients(toy *m) {
    for (int i = 0; i < m->n; i++) memset(m->tensor[i].grad, 0, bytes_of(&m->tensor[i]));
}

static mg_tape open_tape(const mg_backend *backend, mg_arena *a, const mg_batch *b, const mg_keep *keep) {
    mg_tape  t;
    mg_error err;
    assert_ok(mg_tape_open(&t, backend, a, 256, &err), err);
    mg_tape_batch(&t, b);
    t.keep = keep;
    t.seed = 11;
    t.step = 4;
    return t;
}

static step run(toy *m, const mg_backend *backend, const mg_batch *b, const mg_keep *keep) {
    mg_arena a;
    mg_error err;
    step     s = { 0 };
    assert_ok(mg_arena_open(&a, &mg_device_host, 1 << 24, false, &err), err);
    memset(a.base, 0xff, a.cap);
    mg_tape t = open_tape(backend, &a, b, keep);
    zero_gradients(m);
    mg_tensor *loss = loss_of(&t, m);
    mg_backward(&t, loss);
    assert_int_equal(t.error, MG_OK);
    s.loss = number(loss->data, backend->element);
    s.peak = a.peak;
    for (int i = 0; i < m->n; i++) {
        size_t n = bytes_of(&m->tensor[i]);
        s.grad = realloc(s.grad, s.bytes + n);
        memcpy(s.grad + s.bytes, m->tensor[i].grad, n);
        s.bytes += n;
    }
    mg_tape_close(&t);
    mg_arena_close(&a);
    return s;
}

static const mg_keep policies[][LAYERS] = {
    { MG_KEEP_ALL, MG_KEEP_ALL },     { MG_KEEP_LINEAR, MG_KEEP_LINEAR }, { MG_KEEP_NONE, MG_KEEP_NONE },
    { MG_KEEP_NONE, MG_KEEP_LINEAR }, { MG_KEEP_LINEAR, MG_KEEP_ALL },    { MG_KEEP_ALL, MG_KEEP_NONE },
};
enum { POLICIES = sizeof policies / sizeof *policies };

static void assert_same_bits(const step *a, const step *b, const char *what, int policy) {
    if (memcmp(&a->loss, &b->loss, sizeof a->loss))
        fail_msg("%s, policy %d: loss %.9g, wanted %.9g", what, policy, b->loss, a->loss);
    assert_int_equal(a->bytes, b->bytes);
    for (size_t i = 0; i < a->bytes; i += 4)
        if (memcmp(a->grad + i, b->grad + i, 4))
            fail_msg("%s, policy %d: gradients differ at byte %zu", what, policy, i);
}

static const char *const backends[] = { "ref32", "ref64", "cpu", "cpu_bf16" };
enum { BACKENDS = sizeof backends / sizeof *backends };

static void keep_nothing_lose_nothing(const mg_backend *backend, bool full) {
    packed *p = make_packed(three, 0, 3);
    toy    *m = make_toy(backend->element, full);
    m->segments = false;
    step plain = run(m, backend, &p->b, NULL);
    m->segments = true;
    double size = 0;
    for (size_t i = 0; i < plain.bytes; i += backend->element->block_bytes)
        size += fabs(number(plain.grad + i, backend->element));
    assert_true(isfinite(plain.loss) && isfinite(size) && size > 0);
    for (int i = 0; i < POLICIES; i++) {
        step s = run(m, backend, &p->b, policies[i]);
        assert_same_bits(&plain, &s, backend->name, i);
        free(s.grad);
    }
    free(plain.grad);
    free_toy(m);
    free(p);
}

/* cpu_bf16 is NULL where the processor lacks it. */
static void what_is_kept_changes_no_bit(void **state) {
    (void)state;
    for (int b = 0; b < BACKENDS; b++)
        for (int full = 0; mg_backend_find(backends[b]) && full < 2; full++)
            keep_nothing_lose_nothing(mg_backend_find(backends[b]), full);
}

static void less_kept_is_less_memory(void **state) {
    (void)state;
    packed *p = make_packed(three, 0, 3);
    for (int full = 0; full < 2; full++) {
        toy   *m = make_toy(&mg_format_f32, full);
        size_t peak[3];
        for (int i = 0; i < 3; i++) {
            step s = run(m, &mg_backend_ref32, &p->b, policies[i]);
            peak[i] = s.peak;
            free(s.grad);
        }
        print_message("  %s: all %zu, linear %zu, none %zu bytes\n", full ? "all weights" : "adapters", peak[0],
                      peak[1], peak[2]);
        assert_true(peak[0] > peak[1] && peak[1] > peak[2]);
        free_toy(m);
    }
    free(p);
}

static size_t planned_peak(const toy *m, const mg_backend *backend, const mg_batch *b, const mg_keep *keep) {
    mg_arena   a;
    mg_error   err;
    mg_backend null = mg_backend_null_for(backend);
    assert_ok(mg_arena_open(&a, &mg_device_host, (size_t)1 << 40, true, &err), err);
    mg_tape t = open_tape(&null, &a, b, keep);
    mg_backward(&t, loss_of(&t, m));
    assert_int_equal(t.error, MG_OK);
    size_t peak = a.peak;
    mg_tape_close(&t);
    mg_arena_close(&a);
    return peak;
}

/* The planner's run: no arithmetic, no memory, the same peak to the byte. */
static void a_dry_run_knows_the_peak(void **state) {
    (void)state;
    packed *p = make_packed(three, 0, 3);
    for (int b = 0; b < BACKENDS; b++)
        for (int full = 0; mg_backend_find(backends[b]) && full < 2; full++) {
            const mg_backend *backend = mg_backend_find(backends[b]);
            toy              *m = make_toy(backend->element, full);
            for (int i = 0; i < POLICIES; i++) {
                step s = run(m, backend, &p->b, policies[i]);
                assert_int_equal(planned_peak(m, backend, &p->b, policies[i]), s.peak);
                free(s.grad);
            }
            free_toy(m);
        }
    free(p);
}

static void run_in(size_t bytes, toy *m, const mg_backend *backend, const mg_batch *b, const mg_keep *keep,
                   const step *whole) {
    mg_arena a = { .base = aligned_alloc(64, bytes + 64), .cap = bytes, .hi = bytes, .device = &mg_device_host };
    memset(a.base + bytes, 0xa5, 64);
    mg_tape t = open_tape(backend, &a, b, keep);
    zero_gradients(m);
    mg_tensor *loss = loss_of(&t, m);
    mg_backward(&t, loss);
    assert_int_equal(t.error, bytes < whole->peak ? MG_NOMEM : MG_OK);
    if (t.error) assert_non_null(t.error_text);
    if (!t.error) assert_true(number(loss->data, backend->element) == whole->loss);
    for (size_t g = 0; g < 64; g++) assert_int_equal(a.base[bytes + g], 0xa5);
    mg_tape_reset(&t);
    assert_int_equal(t.error, MG_OK);
    mg_tape_close(&t);
    free(a.base);
}

/* Every arena too small gives the sticky error and touches nothing outside itself (the heap's guards watch).  The
 * CPU's work memory is large, so there the steps are too. */
static void small_arenas_fail_softly(void **state) {
    (void)state;
    packed *p = make_packed(three, 1, 2);
    for (int b = 0; b < BACKENDS; b++)
        for (int i = 0; mg_backend_find(backends[b]) && i < 6; i++) {
            const mg_backend *backend = mg_backend_find(backends[b]);
            const mg_keep    *keep = policies[i % 3];
            toy              *m = make_toy(backend->element, i >= 3);
            step              s = run(m, backend, &p->b, keep);
            size_t            stride = (s.peak / 1024 + 63) / 64 * 64;
            for (size_t bytes = 0; bytes + 64 <= s.peak; bytes += stride)
                run_in(bytes, m, backend, &p->b, keep, &s);
            run_in(s.peak - 64, m, backend, &p->b, keep, &s);
            run_in(s.peak, m, backend, &p->b, keep, &s);
            free(s.grad);
            free_toy(m);
        }
    free(p);
}

/* 1e-6 of the largest gradient in float; 1e-12 in double. */
static void packed_is_unpacked(void **state) {
    (void)state;
    const mg_backend *const both[] = { &mg_backend_ref32, &mg_backend_ref64 };
    const double            limits[] = { 1e-6, 1e-12 };
    for (int k = 0; k < 2; k++) {
        const mg_format *element = both[k]->element;
        size_t           width = element->block_bytes;
        toy             *m = make_toy(element, true);
        packed          *all = make_packed(three, 0, 3);
        m->dropout = 0; /* masks are drawn by row */
        step    together = run(m, both[k], &all->b, policies[1]);
        double *sum = calloc(together.bytes / width, sizeof *sum), loss = 0, largest = 0, worst = 0;
        for (int s = 0; s < 3; s++) {
            packed *one = make_packed(three, s, 1);
            step    alone = run(m, both[k], &one->b, policies[1]);
            for (size_t i = 0; i < together.bytes / width; i++) sum[i] += number(alone.grad + i * width, element);
            loss += alone.loss;
            free(alone.grad);
            free(one);
        }
        for (size_t i = 0; i < together.bytes / width; i++) {
            largest = fmax(largest, fabs(sum[i]));
            worst = fmax(worst, fabs(sum[i] - number(together.grad + i * width, element)));
        }
        assert_near(together.loss, loss, limits[k], "loss");
        if (!(worst <= limits[k] * largest))
            fail_msg("%s: gradients differ by %.3g of %.3g", both[k]->name, worst, largest);
        free(sum);
        free(together.grad);
        free(all);
        free_toy(m);
    }
}

/* A captured step is replayed with the addresses of the first one. */
static void steps_use_the_same_addresses(void **state) {
    (void)state;
    packed  *p = make_packed(three, 0, 3);
    toy     *m = make_toy(&mg_format_f32, false);
    mg_error err;
    for (int i = 0; i < POLICIES; i++) {
        mg_arena a;
        void    *data[2][512] = { { 0 } };
        int      tensors = 0;
        assert_ok(mg_arena_open(&a, &mg_device_host, 1 << 20, false, &err), err);
        mg_tape t = open_tape(&mg_backend_ref32, &a, &p->b, policies[i]);
        for (int round = 0; round < 3; round++) {
            mg_tape_reset(&t);
            t.step = (uint64_t)round;
            mg_tensor *loss = loss_of(&t, m);
            tensors = t.n_tensors;
            for (int k = 0; k < tensors; k++) data[0][k] = t.tensor[k].data;
            mg_backward(&t, loss);
            for (int k = 0; k < tensors; k++) data[0][256 + k] = t.tensor[k].grad;
            if (round == 0) memcpy(data[1], data[0], sizeof data[0]);
            assert_memory_equal(data[0], data[1], sizeof data[0]);
        }
        assert_in_range(tensors, 4, 256);
        mg_tape_close(&t);
        mg_arena_close(&a);
    }
    free_toy(m);
    free(p);
}

static double loss_at(toy *m, const mg_batch *b, uint64_t at, bool training) {
    mg_arena a;
    mg_error err;
    assert_ok(mg_arena_open(&a, &mg_device_host, 1 << 20, false, &err), err);
    mg_tape t = open_tape(&mg_backend_ref32, &a, b, NULL);
    t.step = at;
    t.training = training;
    t.off = !training;
    double loss = number(loss_of(&t, m)->data, &mg_format_f32);
    mg_tape_close(&t);
    mg_arena_close(&a);
    return loss;
}

static void dropout_follows_the_step(void **state) {
    (void)state;
    packed *p = make_packed(three, 0, 3);
    toy    *m = make_toy(&mg_format_f32, false);
    double  first = loss_at(m, &p->b, 4, true);
    assert_true(first == loss_at(m, &p->b, 4, true));
    assert_true(first != loss_at(m, &p->b, 5, true));
    double quiet = loss_at(m, &p->b, 4, false);
    assert_true(quiet != first && quiet == loss_at(m, &p->b, 5, false));
    m->dropout = 0;
    assert_true(quiet == loss_at(m, &p->b, 4, true));
    free_toy(m);
    free(p);
}

/* The whole model's gradient against central differences in double, checkpointed: 1e-7 of the tensor's largest. */
static void the_model_agrees_with_differences(void **state) {
    (void)state;
    packed        *p = make_packed(three, 0, 3);
    toy           *m = make_toy(&mg_format_f64, true);
    step           s = run(m, &mg_backend_ref64, &p->b, policies[2]);
    support_random r = random_of(9);
    size_t         at = 0;
    for (int i = 0; i < m->n; i++) {
        mg_tensor    *x = &m->tensor[i];
        const double *g = (const double *)(s.grad + at);
        int           n = (int)(x->rows * x->cols);
        double        largest = 0;
        for (int j = 0; j < n; j++) largest = fmax(largest, fabs(g[j]));
        assert_true(largest > 0);
        for (int tries = 0; tries < 3; tries++) {
            int     j = random_int(&r, 0, n - 1);
            double *value = (double *)x->data + j, old = *value, loss[2];
            for (int side = 0; side < 2; side++) {
                *value = old + (side ? 1e-5 : -1e-5);
                step shifted = run(m, &mg_backend_ref64, &p->b, policies[0]);
                loss[side] = shifted.loss;
                free(shifted.grad);
            }
            *value = old;
            double d = (loss[1] - loss[0]) / 2e-5;
            if (!(fabs(d - g[j]) <= 1e-7 * largest))
                fail_msg("tensor %d, element %d: %.9g, wanted %.9g", i, j, g[j], d);
        }
        at += bytes_of(x);
    }
    free(s.grad);
    free_toy(m);
    free(p);
}

/* Token by token through the cache gives the rows of one pass: 1e-6. */
static void the_cache_continues_sequences(void **state) {
    (void)state;
    static const int lengths[] = { 7, 9, 0 };
    packed          *all = make_packed(lengths, 0, 2);
    toy             *m = make_toy(&mg_format_f32, false);
    mg_error         err;
    mg_cache         c;
    mg_arena         a;
    float            whole[16 * D], part[16 * D];
    assert_ok(mg_arena_open(&a, &mg_device_host, 1 << 20, false, &err), err);
    assert_ok(mg_cache_open(&c, &mg_device_host, LAYERS, 3, 9, K * HD, &mg_format_f32, &err), err);
    memset(c.memory, 0xff, mg_cache_bytes(LAYERS, 3, 9, K * HD, &mg_format_f32));
    mg_tape t = open_tape(&mg_backend_ref32, &a, &all->b, NULL);
    t.off = true;
    t.training = false;
    memcpy(whole, hidden(&t, m)->data, sizeof whole);
    const int cuts[][2] = {
        { 3, 1 }, { 3, 2 }, { 1, 5 }, { 0, 1 }
    }; /* rows of each sequence in a call, in all 7 and 9 */
    int done[2] = { 0, 0 };
    for (int call = 0; call < 4; call++) {
        packed *p = calloc(1, sizeof *p);
        p->b = (mg_batch){
            .n_seq = 0, .start = p->start, .ids = p->ids, .pos = p->pos, .slot = p->slot, .cache = &c
        };
        int from[16], rows = 0;
        for (int s = 0; s < 2; s++) {
            if (!cuts[call][s]) continue;
            p->slot[p->b.n_seq++] = s ? 0 : 2;
            for (int i = 0; i < cuts[call][s]; i++, rows++) {
                from[rows] = all->start[s] + done[s]++;
                p->ids[rows] = all->ids[from[rows]];
                p->pos[rows] = all->pos[from[rows]];
            }
            p->start[p->b.n_seq] = rows;
        }
        mg_tape_reset(&t);
        mg_tape_batch(&t, &p->b);
        const float *h = hidden(&t, m)->data;
        for (int i = 0; i < rows; i++) memcpy(part + from[i] * D, h + i * D, D * sizeof *h);
        mg_cache_advance(&c, &p->b);
        free(p);
    }
    assert_close(part, whole, 16 * D, 1e-6, "hidden rows");
    mg_tape_close(&t);
    mg_cache_close(&c);
    mg_arena_close(&a);
    free_toy(m);
    free(all);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_kept_changes_no_bit),
        cmocka_unit_test(less_kept_is_less_memory),
        cmocka_unit_test(a_dry_run_knows_the_peak),
        cmocka_unit_test(small_arenas_fail_softly),
        cmocka_unit_test(packed_is_unpacked),
        cmocka_unit_test(steps_use_the_same_addresses),
        cmocka_unit_test(dropout_follows_the_step),
        cmocka_unit_test(the_model_agrees_with_differences),
        cmocka_unit_test(the_cache_continues_sequences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
