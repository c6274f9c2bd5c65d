/* Every kernel of the CPU backends against the plain loops of ref32, over random shapes and every weight format.
 *
 * Bounds are on the normalised mean square error, sum (got - ref)^2 / sum ref^2: 1e-10 for elementwise kernels and
 * 1e-8 for products and attention in fp32, 1e-5 and 1e-4 in bf16.  Where terms cancel, the reference's size is
 * taken to be at least that of the terms.  Around every buffer stand guard bytes, outputs and work memory hold NaN
 * beforehand, inputs must be unchanged afterwards, and buffers start at odd multiples of their element.
 *
 * The program runs itself once for each instruction set, which is chosen at start. */
#include "support.h"
#include "support_random.h"

#include <sys/wait.h>

#include "backend/backend.h"
#include "base/thread.h"
#include "tensor/nf4.h"

/* The sanitizers are 15 times slower and look for something else. */
#if defined(__SANITIZE_ADDRESS__)
enum { SHAPES = 51 };
#else
enum { SHAPES = 210 };
#endif
enum { REPEATS = 20, BUFFERS = 40, GUARD = 64 };

/* ---- buffers ---- */

typedef enum buffer_use { INPUT, OUTPUT, WORK, EXPECTED } buffer_use; /* EXPECTED: an output of the plain loops */

typedef struct buffer {
    uint8_t   *memory, *data; /* guard, data, guard */
    size_t     bytes;
    uint8_t   *before, *first; /* what it held before the kernel, and after its first run */
    buffer_use use;
} buffer;

typedef struct trial {
    const mg_backend *b;
    support_random    r;
    double            elementwise, product; /* bounds */
    double            worst;                /* of the bound, 1: just allowed */
    int               repeats, shape;
    bool              large;
    buffer            buffers[BUFFERS];
    int               n;
    char              trouble[300]; /* empty: all is well */
} trial;

/* A matrix for the plain loops and one for the kernel under test, equal beforehand.  When kernels are to add to
 * it, `start` is what it held, and what was added is compared. */
typedef struct twin {
    mg_mat       ref, got;
    const float *start;
} twin;

#define TROUBLE(t, ...)                                                                \
    do {                                                                               \
        if (!(t)->trouble[0]) snprintf((t)->trouble, sizeof(t)->trouble, __VA_ARGS__); \
    } while (0)

/* `data` starts `shift` bytes behind a multiple of 64 and holds NaN. */
static void *take(trial *t, size_t bytes, size_t shift, buffer_use use) {
    MG_ASSERT(t->n < BUFFERS && shift <= GUARD);
    buffer *b = &t->buffers[t->n++];
    size_t  all = (GUARD + shift + bytes + GUARD + 63) / 64 * 64;
    b->memory = aligned_alloc(64, all);
    memset(b->memory, 0xff, all);
    *b = (buffer){ .memory = b->memory, .data = b->memory + GUARD + shift, .bytes = bytes, .use = use };
    return b->data;
}

static void keep_contents(trial *t) {
    for (int i = 0; i < t->n; i++) {
        buffer *b = &t->buffers[i];
        b->before = malloc(b->bytes + 1);
        b->first = malloc(b->bytes + 1);
        memcpy(b->before, b->data, b->bytes);
    }
}

static void restore_outputs(trial *t) {
    for (int i = 0; i < t->n; i++)
        if (t->buffers[i].use == OUTPUT || t->buffers[i].use == WORK)
            memcpy(t->buffers[i].data, t->buffers[i].before, t->buffers[i].bytes);
}

static void check_bits(trial *t, int run) {
    for (int i = 0; i < t->n; i++) {
        buffer *b = &t->buffers[i];
        if (run == 0) memcpy(b->first, b->data, b->bytes);
        if (b->use == OUTPUT && memcmp(b->first, b->data, b->bytes)) TROUBLE(t, "run %d gives other bits", run);
    }
}

static void check_guards(trial *t) {
    for (int i = 0; i < t->n; i++) {
        buffer *b = &t->buffers[i];
        for (uint8_t *p = b->memory; p < b->data; p++)
            if (*p != 0xff) TROUBLE(t, "buffer %d: written %d bytes before its start", i, (int)(b->data - p));
        for (uint8_t *p = b->data + b->bytes; p < b->data + b->bytes + GUARD; p++)
            if (*p != 0xff)
                TROUBLE(t, "buffer %d: written %d bytes behind its end", i, (int)(p - b->data - b->bytes));
        if (b->use == INPUT && memcmp(b->before, b->data, b->bytes))
            TROUBLE(t, "buffer %d: an input was changed", i);
    }
}

static void release(trial *t) {
    for (int i = 0; i < t->n; i++)
        free(t->buffers[i].memory), free(t->buffers[i].before), free(t->buffers[i].first);
    t->n = 0;
}

/* The plain loops once, the kernel as often as asked. */
#define RUN(t, kernel, for_ref, for_got)                  \
    do {                                                  \
        keep_contents(t);                                 \
        mg_backend_ref32.kernel(for_ref);                 \
        for (int run_ = 0; run_ < (t)->repeats; run_++) { \
            if (run_) restore_outputs(t);                 \
            (t)->b->kernel(for_got);                      \
            check_bits(t, run_);                          \
        }                                                 \
        check_guards(t);                                  \
    } while (0)

/* ---- random matrices ---- */

static size_t odd_shift(trial *t, size_t width) { return width * (size_t)random_int(&t->r, 0, 7); }

static mg_mat plain(trial *t, int64_t rows, int64_t cols, buffer_use use, double size) {
    float *x = take(t, (size_t)(rows * cols) * sizeof *x, odd_shift(t, sizeof *x), use);
    for (int64_t i = 0; size > 0 && i < rows * cols; i++) x[i] = (float)(size * random_normal(&t->r));
    return (mg_mat){ x, rows, cols, &mg_format_f32, NULL };
}

static mg_mat input(trial *t, int64_t rows, int64_t cols) { return plain(t, rows, cols, INPUT, 1); }

/* The same input for both, overwritten by each. */
static twin in_place(trial *t, int64_t rows, int64_t cols, double size) {
    twin y = { plain(t, rows, cols, EXPECTED, size), plain(t, rows, cols, OUTPUT, 0), NULL };
    memcpy(y.got.data, y.ref.data, (size_t)(rows * cols) * sizeof(float));
    return y;
}

/* Small random numbers when the kernel is to add to it, else NaN. */
static twin output(trial *t, int64_t rows, int64_t cols, bool added_to) {
    twin y = in_place(t, rows, cols, added_to ? 0.1 : 0);
    if (!added_to) return y;
    mg_mat start = plain(t, rows, cols, EXPECTED, 0);
    memcpy(start.data, y.ref.data, (size_t)(rows * cols) * sizeof(float));
    y.start = start.data;
    return y;
}

static twin nothing(void) { return (twin){ { 0 }, { 0 }, NULL }; }

static void *work_of(trial *t, size_t bytes) { return take(t, bytes, 0, WORK); }

static int32_t *indices(trial *t, int64_t n, int below) {
    int32_t *x = take(t, (size_t)n * sizeof *x, 0, INPUT);
    for (int64_t i = 0; i < n; i++) x[i] = random_int(&t->r, 0, below - 1);
    return x;
}

/* Blocks of formats without an encoder are random bytes, drawn until the values are of one size: a few rows that
 * are much larger than others would make logits of which bf16 knows too little. */
static void random_blocks(trial *t, const mg_format *f, uint8_t *data, int64_t blocks) {
    float value[256];
    for (int64_t b = 0; b < blocks; b++)
        for (double largest = 0; !(largest > 1 && largest < 3);) {
            uint8_t *p = data + (size_t)b * f->block_bytes;
            for (size_t i = 0; i < f->block_bytes; i++) p[i] = (uint8_t)random_bits(&t->r);
            f->decode(value, p, NULL, 0, f->block);
            largest = 0;
            for (int i = 0; i < f->block; i++)
                largest = isfinite(value[i]) ? fmax(largest, fabsf(value[i])) : INFINITY;
        }
}

static bool has_side(const mg_format *f) { return f->pack != NULL; }

static const mg_format *weight_format(const trial *t) {
    int n = 0;
    while (mg_formats()[n]) n++;
    return mg_formats()[t->shape % n];
}

/* Columns that the format can have. */
static int weight_cols(trial *t, const mg_format *f, int most) {
    int block = has_side(f) ? 128 : f->block;
    return block == 1 ? random_size(&t->r, most)
                      : block * random_int(&t->r, 1, most < 3 * block ? 3 : most / block);
}

static mg_mat weight(trial *t, const mg_format *f, int64_t rows, int64_t cols, double *rms) {
    int64_t n = rows * cols, blocks = n / f->block;
    mg_mat  w = { NULL, rows, cols, f, NULL };
    size_t  bytes = (size_t)blocks * f->block_bytes;
    /* plain numbers of four and more bytes at multiples of their size, all others at any byte */
    size_t width = f->block == 1 && f->block_bytes > 2 ? f->block_bytes : 1;
    float *x = malloc((size_t)n * sizeof *x);
    double square = 0;
    for (int64_t i = 0; i < n; i++) x[i] = (float)random_normal(&t->r);
    if (has_side(f)) {
        mg_packing  how = { .block = 128, .nested = random_int(&t->r, 0, 1) };
        const void *data;
        assert_true(f->packed_bytes(rows, cols, &how, &bytes));
        void *memory = take(t, bytes, 0, INPUT);
        memset(memory, 0, bytes);
        f->pack(f, x, rows, cols, &how, memory, &data, &w.side);
        w.data = (void *)(uintptr_t)data;
    } else {
        w.data = take(t, bytes, odd_shift(t, width), INPUT);
        if (f->encode)
            f->encode(w.data, x, n);
        else
            random_blocks(t, f, w.data, blocks);
    }
    f->decode(x, w.data, w.side, 0, n);
    for (int64_t i = 0; i < n; i++) square += (double)x[i] * x[i];
    *rms = sqrt(square / (double)n);
    free(x);
    return w;
}

static int rows_of(trial *t) { return random_size(&t->r, t->large || t->shape % 6 == 0 ? 200 : 40); }
static int cols_of(trial *t) { return random_size(&t->r, t->large || t->shape % 6 == 1 ? 400 : 60); }

/* NMSE of `y` against the plain loops; the reference counts as at least `size` an element. */
static void compare(trial *t, const char *what, twin y, double bound, double size) {
    int64_t      n = y.ref.rows * y.ref.cols;
    const float *ref = y.ref.data, *got = y.got.data;
    double       error = 0, norm = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(ref[i]))
            TROUBLE(t, "%s: the reference is not finite at %lld of %lld", what, (long long)i, (long long)n);
        if (!isfinite(got[i])) TROUBLE(t, "%s: not finite at %lld of %lld", what, (long long)i, (long long)n);
        error += ((double)got[i] - ref[i]) * ((double)got[i] - ref[i]);
        double r = y.start ? (double)ref[i] - y.start[i] : ref[i];
        norm += r * r;
    }
    norm = fmax(norm, (double)n * size * size);
    if (norm > 0 && bound > 0) t->worst = fmax(t->worst, error / norm / bound);
    if (!(error <= bound * norm))
        TROUBLE(t, "%s [%lld,%lld]: NMSE %.3g, at most %.3g is allowed", what, (long long)y.ref.rows,
                (long long)y.ref.cols, error / norm, bound);
}

/* ---- the kernels ---- */

static void try_fill(trial *t) {
    twin y = output(t, rows_of(t), cols_of(t), false);
    RUN(t, fill, ((mg_fill_args){ y.ref, 0.3f }), ((mg_fill_args){ y.got, 0.3f }));
    compare(t, "y", y, 0, 1);
}

static void try_add(trial *t) {
    int    rows = rows_of(t), cols = cols_of(t), kind = random_int(&t->r, 0, 2);
    twin   y = kind == 2 ? in_place(t, rows, cols, 1) : output(t, rows, cols, kind == 1);
    float  scale = (float)random_normal(&t->r);
    mg_mat x = input(t, rows, cols);
    if (kind == 2) { /* y is x */
        RUN(t, add, ((mg_add_args){ y.ref, y.ref, scale, false }), ((mg_add_args){ y.got, y.got, scale, false }));
    } else {
        RUN(t, add, ((mg_add_args){ y.ref, x, scale, kind }), ((mg_add_args){ y.got, x, scale, kind }));
    }
    compare(t, "y", y, t->elementwise, 0.1 * fabs(scale));
}

static void try_gemm(trial *t) {
    int          m = rows_of(t), n = cols_of(t), k = cols_of(t);
    bool         ta = random_int(&t->r, 0, 1), tb = random_int(&t->r, 0, 1);
    float        alpha = random_int(&t->r, 0, 1) ? 1 : 0.7f, beta = (float)random_int(&t->r, 0, 2) / 2;
    twin         c = output(t, m, n, beta > 0);
    mg_gemm_args a = { .a = ta ? input(t, k, m) : input(t, m, k),
                       .b = tb ? input(t, n, k) : input(t, k, n),
                       .ta = ta,
                       .tb = tb,
                       .alpha = alpha,
                       .beta = beta };
    mg_gemm_args ref = a, got = a;
    ref.c = c.ref;
    got.c = c.got;
    RUN(t, gemm, ref, got);
    compare(t, "c", c, t->product, alpha * sqrt(k));
}

static void try_linear(trial *t) {
    const mg_format *f = weight_format(t);
    int              n = rows_of(t), i = weight_cols(t, f, cols_of(t)), o = cols_of(t);
    double           rms;
    bool             accumulate = random_int(&t->r, 0, 1);
    mg_linear_args   a = { .x = input(t, n, i), .w = weight(t, f, o, i, &rms), .accumulate = accumulate };
    twin             y = output(t, n, o, accumulate);
    if (random_int(&t->r, 0, 1)) a.bias = input(t, 1, o);
    mg_linear_args ref = a, got = a;
    ref.y = y.ref;
    got.y = y.got;
    ref.work = work_of(t, mg_backend_ref32.linear_work(n, (mg_mat){ .rows = o, .cols = i }));
    got.work = work_of(t, t->b->linear_work(n, (mg_mat){ .rows = o, .cols = i }));
    RUN(t, linear, ref, got);
    compare(t, f->name, y, t->product, sqrt(i) * rms);
}

static void try_linear_dx(trial *t) {
    const mg_format  *f = weight_format(t);
    int               n = rows_of(t), i = weight_cols(t, f, cols_of(t)), o = cols_of(t);
    double            rms;
    bool              accumulate = random_int(&t->r, 0, 1);
    mg_linear_dx_args a = { .dy = input(t, n, o), .w = weight(t, f, o, i, &rms), .accumulate = accumulate },
                      ref = a, got = a;
    twin dx = output(t, n, i, accumulate);
    ref.dx = dx.ref;
    got.dx = dx.got;
    ref.work = work_of(t, mg_backend_ref32.linear_work(n, (mg_mat){ .rows = o, .cols = i }));
    got.work = work_of(t, t->b->linear_work(n, (mg_mat){ .rows = o, .cols = i }));
    RUN(t, linear_dx, ref, got);
    compare(t, f->name, dx, t->product, sqrt(o) * rms);
}

static void try_column_sum(trial *t) {
    int    rows = rows_of(t), cols = cols_of(t);
    twin   y = output(t, 1, cols, true);
    mg_mat x = input(t, rows, cols);
    RUN(t, column_sum, ((mg_column_sum_args){ y.ref, x }), ((mg_column_sum_args){ y.got, x }));
    compare(t, "y", y, t->elementwise, sqrt(rows));
}

static void try_multiply(trial *t) {
    int    rows = rows_of(t), cols = cols_of(t);
    bool   add = random_int(&t->r, 0, 1);
    twin   y = output(t, rows, cols, add);
    mg_mat none = { 0 }, x = input(t, rows, cols), g = input(t, random_int(&t->r, 0, 1) ? 1 : rows, cols);
    mg_multiply_args a = { .x = x, .g = g, .h = random_int(&t->r, 0, 1) ? input(t, 1, cols) : none,
                           .shift = random_int(&t->r, 0, 1) ? input(t, 1, cols) : none, .accumulate = add,
                           .put_back = random_int(&t->r, 0, 1) };
    mg_multiply_args ref = a, got = a;
    ref.y = y.ref, got.y = y.got;
    RUN(t, multiply, ref, got);
    compare(t, "y", y, t->elementwise, 3);
}

static void try_dora_norm(trial *t) {
    int    rows = rows_of(t), rank = random_int(&t->r, 1, 9);
    twin   inv = output(t, 1, rows, false);
    mg_mat square = input(t, 1, rows), b = input(t, rows, rank), wa = input(t, rank, rows), a = input(t, rank, 5), aa = input(t, rank, rank);
    for (int i = 0; i < rows; i++) ((float *)square.data)[i] = 200 + fabsf(((float *)square.data)[i]); /* no norm is near zero */
    for (int i = 0; i < rank; i++)
        for (int k = 0; k < rank; k++) {
            double sum = 0;
            for (int c = 0; c < 5; c++) sum += (double)((float *)a.data)[i * 5 + c] * (double)((float *)a.data)[k * 5 + c];
            ((float *)aa.data)[i * rank + k] = (float)sum;
        }
    mg_dora_norm_args ref = { inv.ref, square, b, wa, aa, 0.5f }, got = { inv.got, square, b, wa, aa, 0.5f };
    RUN(t, dora_norm, ref, got);
    compare(t, "inv", inv, t->elementwise, 0.1);
}

static void try_kron(trial *t) {
    int    ar = random_int(&t->r, 1, 5), ac = random_int(&t->r, 1, 5), br = random_int(&t->r, 1, 7), bc = random_int(&t->r, 1, 9);
    twin   y = output(t, ar * br, ac * bc, false);
    mg_mat a = input(t, ar, ac), b = input(t, br, bc);
    RUN(t, kron, ((mg_kron_args){ y.ref, a, b, 0.3f }), ((mg_kron_args){ y.got, a, b, 0.3f }));
    compare(t, "y", y, t->elementwise, 0.3);
}

static void try_kron_back(trial *t) {
    int    ar = random_int(&t->r, 1, 5), ac = random_int(&t->r, 1, 5), br = random_int(&t->r, 1, 7), bc = random_int(&t->r, 1, 9);
    int    kind = random_int(&t->r, 0, 2); /* 1: no da; 2: no db */
    twin   da = kind == 1 ? nothing() : output(t, ar, ac, true), db = kind == 2 ? nothing() : output(t, br, bc, true);
    mg_mat a = input(t, ar, ac), b = input(t, br, bc), dy = input(t, ar * br, ac * bc);
    RUN(t, kron_back, ((mg_kron_back_args){ da.ref, db.ref, dy, a, b, 0.3f }), ((mg_kron_back_args){ da.got, db.got, dy, a, b, 0.3f }));
    compare(t, "da", da, t->elementwise, sqrt(br * bc));
    compare(t, "db", db, t->elementwise, sqrt(ar * ac));
}

static void try_embed(trial *t) {
    const mg_format *f = weight_format(t);
    int              n = rows_of(t), v = random_size(&t->r, 30), d = weight_cols(t, f, cols_of(t));
    double           rms;
    twin             y = output(t, n, d, false);
    mg_mat           w = weight(t, f, v, d, &rms);
    const int32_t   *ids = indices(t, n, v);
    RUN(t, embed, ((mg_embed_args){ y.ref, w, ids, 1.7f }), ((mg_embed_args){ y.got, w, ids, 1.7f }));
    compare(t, f->name, y, t->elementwise, 0);
}

static void try_embed_dw(trial *t) {
    int            n = rows_of(t), v = random_size(&t->r, 30), d = cols_of(t);
    twin           dw = output(t, v, d, true);
    mg_mat         dy = input(t, n, d);
    const int32_t *ids = indices(t, n, v);
    RUN(t, embed_dw, ((mg_embed_dw_args){ dw.ref, dy, ids, 1.7f }), ((mg_embed_dw_args){ dw.got, dy, ids, 1.7f }));
    compare(t, "dw", dw, t->elementwise, 1);
}

static void try_rmsnorm(trial *t) {
    int             n = rows_of(t), c = cols_of(t), groups = random_int(&t->r, 1, 3);
    mg_rmsnorm_args a = { .x = input(t, n, c * groups), .g = input(t, 1, c), .eps = 1e-5f };
    twin            y = output(t, n, c * groups, false), inv = output(t, n, groups, false);
    if (random_int(&t->r, 0, 1)) a.residual = input(t, n, c * groups);
    mg_rmsnorm_args ref = a, got = a;
    ref.y = y.ref, ref.inv = inv.ref.data;
    got.y = y.got, got.inv = inv.got.data;
    RUN(t, rmsnorm, ref, got);
    compare(t, "y", y, t->elementwise, 0.1);
    compare(t, "inv", inv, t->elementwise, 0);
}

static void try_rmsnorm_back(trial *t) {
    int    n = rows_of(t), c = cols_of(t), groups = random_int(&t->r, 1, 3), which = random_int(&t->r, 0, 2);
    bool   accumulate = random_int(&t->r, 0, 1);
    mg_mat inv = plain(t, n, groups, INPUT, 0);
    mg_rmsnorm_back_args a = { .dy = input(t, n, c * groups),
                               .x = input(t, n, c * groups),
                               .g = input(t, 1, c),
                               .inv = inv.data,
                               .accumulate = accumulate };
    twin                 dx = which == 1 ? nothing() : output(t, n, c * groups, accumulate),
         dg = which == 2 ? nothing() : output(t, 1, c, true);
    double size = 0;
    for (int k = 0; k < n * groups; k++) { /* as the forward pass leaves it */
        const float *x = (const float *)a.x.data + k * c;
        double       square = 0;
        for (int i = 0; i < c; i++) square += (double)x[i] * x[i];
        double r = 1 / sqrt(square / c + 1e-5);
        ((float *)inv.data)[k] = (float)r;
        for (int i = 0; i < c; i++)
            size += pow(r * ((const float *)a.g.data)[i] * ((const float *)a.dy.data)[k * c + i], 2);
    }
    mg_rmsnorm_back_args ref = a, got = a;
    ref.dx = dx.ref, ref.dg = dg.ref;
    got.dx = dx.got, got.dg = dg.got;
    ref.work = work_of(t, (size_t)c * 256 * sizeof(double));
    got.work = work_of(t, (size_t)c * 256 * sizeof(double));
    RUN(t, rmsnorm_back, ref, got);
    compare(t, "dx", dx, t->elementwise, sqrt(size / (n * groups * c)));
    compare(t, "dg", dg, t->elementwise, sqrt(n * groups));
}

static void try_layernorm(trial *t) {
    int               n = rows_of(t), d = cols_of(t);
    mg_layernorm_args a = { .x = input(t, n, d), .g = input(t, 1, d), .eps = 1e-5f }, ref, got;
    twin              y = output(t, n, d, false), stats = output(t, n, 2, false);
    if (random_int(&t->r, 0, 1)) a.b = input(t, 1, d);
    ref = got = a;
    ref.y = y.ref, ref.stats = stats.ref.data;
    got.y = y.got, got.stats = stats.got.data;
    RUN(t, layernorm, ref, got);
    compare(t, "y", y, t->elementwise, 0.1);
    compare(t, "stats", stats, t->elementwise, 0.1);
}

static void try_layernorm_back(trial *t) {
    int    n = rows_of(t), d = cols_of(t), which = random_int(&t->r, 0, 2);
    bool   accumulate = random_int(&t->r, 0, 1);
    mg_mat stats = plain(t, n, 2, INPUT, 0), y = plain(t, n, d, EXPECTED, 0);
    mg_layernorm_back_args a = { .dy = input(t, n, d),
                                 .x = input(t, n, d),
                                 .g = input(t, 1, d),
                                 .stats = stats.data,
                                 .accumulate = accumulate };
    twin   dx = which == 1 ? nothing() : output(t, n, d, accumulate), dg = which == 2 ? nothing() : output(t, 1, d, true);
    double size = 0;
    mg_backend_ref32.layernorm((mg_layernorm_args){ .y = y, .x = a.x, .g = a.g, .stats = stats.data, .eps = 1e-5f });
    for (int r = 0; r < n; r++)
        for (int c = 0; c < d; c++) {
            float inv = ((const float *)stats.data)[2 * r + 1];
            size += pow(inv * ((const float *)a.g.data)[c] * ((const float *)a.dy.data)[r * d + c], 2);
        }
    mg_layernorm_back_args ref = a, got = a;
    ref.dx = dx.ref, ref.dg = dg.ref;
    got.dx = dx.got, got.dg = dg.got;
    ref.work = work_of(t, (size_t)d * 256 * sizeof(double));
    got.work = work_of(t, (size_t)d * 256 * sizeof(double));
    RUN(t, layernorm_back, ref, got);
    compare(t, "dx", dx, t->elementwise, sqrt(size / (n * d)));
    compare(t, "dg", dg, t->elementwise, sqrt(n));
}

/* 0: take a part; 1: put it back; 2: add it back */
static void try_columns(trial *t) {
    int             kind = random_int(&t->r, 0, 2), rows = rows_of(t), groups = random_int(&t->r, 1, 4), n = random_size(&t->r, 70);
    int             before = random_int(&t->r, 0, 2) * n, group = before + n + random_int(&t->r, 0, 40);
    mg_columns_args ref = { .group = group, .first = before, .back = kind > 0, .accumulate = kind == 2 }, got = ref;
    twin            x = { 0 }, y = { 0 };
    if (kind) {
        x = in_place(t, rows, groups * group, 1);
        ref.y = got.y = input(t, rows, groups * n);
        ref.x = x.ref, got.x = x.got;
    } else {
        y = output(t, rows, groups * n, false);
        ref.x = got.x = input(t, rows, groups * group);
        ref.y = y.ref, got.y = y.got;
    }
    RUN(t, columns, ref, got);
    compare(t, kind ? "x" : "y", kind ? x : y, 0, 1);
}

/* n of the rows of y, ascending */
static int32_t *places(trial *t, int n, int rows) {
    int32_t *row = take(t, (size_t)(n + 1) * sizeof *row, 0, INPUT);
    for (int i = 0, at = 0; i < n; at++)
        if (random_int(&t->r, 1, rows - at) <= n - i) row[i++] = at;
    return row;
}

static void try_put_rows(trial *t) {
    int      rows = rows_of(t), cols = cols_of(t), from = random_size(&t->r, 9), n = random_int(&t->r, 0, rows);
    int32_t *row = places(t, n, rows), *id = indices(t, n + 1, from);
    twin     y = in_place(t, rows, cols, 1);
    mg_mat   x = input(t, from, cols);
    RUN(t, put_rows, ((mg_put_rows_args){ y.ref, x, row, id, n }), ((mg_put_rows_args){ y.got, x, row, id, n }));
    compare(t, "y", y, 0, 1);
}

static void try_put_rows_back(trial *t) {
    int      rows = rows_of(t), cols = cols_of(t), from = random_size(&t->r, 9), n = random_int(&t->r, 0, rows);
    int32_t *row = places(t, n, rows), *id = indices(t, n + 1, from);
    twin     dy = in_place(t, rows, cols, 1), dx = random_int(&t->r, 0, 2) ? in_place(t, from, cols, 1) : nothing();
    RUN(t, put_rows_back, ((mg_put_rows_back_args){ dx.ref, dy.ref, row, id, n }), ((mg_put_rows_back_args){ dx.got, dy.got, row, id, n }));
    compare(t, "dx", dx, t->elementwise, sqrt(n));
    compare(t, "dy", dy, 0, 1);
}

static void try_rope(trial *t) {
    int          n = rows_of(t), hd = 2 * random_size(&t->r, 40), heads = random_int(&t->r, 1, 4), positions = 50;
    int          rot = random_int(&t->r, 0, 2) ? hd : 2 * random_int(&t->r, 1, hd / 2);
    twin         x = in_place(t, n, heads * hd, 1);
    mg_mat       c = input(t, positions, rot / 2), s = input(t, positions, rot / 2);
    mg_rope_args a = { .pos = indices(t, n, positions),
                       .cos = c.data,
                       .sin = s.data,
                       .hd = hd,
                       .rot = rot,
                       .back = random_int(&t->r, 0, 1) },
                 ref = a, got = a;
    ref.x = x.ref;
    got.x = x.got;
    RUN(t, rope, ref, got);
    compare(t, "x", x, t->elementwise, 0.1);
}

static mg_activation activation(trial *t) { return (mg_activation)random_int(&t->r, MG_SILU, MG_SIGMOID); }

static void try_glu(trial *t) {
    int           n = rows_of(t), f = cols_of(t);
    twin          y = output(t, n, f, false);
    mg_mat        gate = plain(t, n, f, INPUT, random_int(&t->r, 0, 4) ? 1 : 30), up = input(t, n, f);
    mg_activation kind = activation(t);
    if (random_int(&t->r, 0, 3) == 0) up = (mg_mat){ 0 };
    RUN(t, glu, ((mg_glu_args){ y.ref, gate, up, kind }), ((mg_glu_args){ y.got, gate, up, kind }));
    compare(t, "y", y, t->elementwise, 0.1);
}

/* 0: all apart; 1: dy in dup's memory; 2: in dgate's; 3, 4: one of them is not wanted; 5: there is no up */
static void try_glu_back(trial *t) {
    int  n = rows_of(t), f = cols_of(t), kind = random_int(&t->r, 0, 5);
    twin dgate = kind == 3 ? nothing() : in_place(t, n, f, kind == 2),
         dup = kind >= 4 ? nothing() : in_place(t, n, f, kind == 1);
    mg_glu_back_args a = { .dy = input(t, n, f),
                           .gate = plain(t, n, f, INPUT, 2),
                           .up = input(t, n, f),
                           .kind = activation(t) },
                     ref = a, got = a;
    ref.dgate = dgate.ref, ref.dup = dup.ref;
    got.dgate = dgate.got, got.dup = dup.got;
    if (kind == 1) ref.dy = dup.ref, got.dy = dup.got;
    if (kind == 2) ref.dy = dgate.ref, got.dy = dgate.got;
    if (kind == 5) ref.up = got.up = (mg_mat){ 0 };
    RUN(t, glu_back, ref, got);
    compare(t, "dgate", dgate, t->elementwise, 0.1);
    compare(t, "dup", dup, t->elementwise, 0.1);
}

/* ---- attention ---- */

/* Sequences of queries; with `cached` the keys lie elsewhere, with rows between them that no sequence has. */
static mg_attention_shape attention_shape(trial *t, bool cached, int64_t *q_rows, int64_t *k_rows) {
    mg_attention_shape s = { .n_seq = random_int(&t->r, 1, 4), .kv_heads = random_int(&t->r, 1, 3) };
    int32_t *start = take(t, 5 * sizeof *start, 0, INPUT), *k_start = take(t, 5 * sizeof *start, 0, INPUT),
            *k_len = take(t, 5 * sizeof *start, 0, INPUT);
    int most = t->large || t->shape % 6 == 0 ? 150 : 30, key = 0;
    s.heads = s.kv_heads * random_int(&t->r, 1, 4);
    s.hd = random_int(&t->r, 0, 2) ? 8 * random_int(&t->r, 1, 16) : random_size(&t->r, 20);
    s.scale = 1 / sqrtf((float)s.hd);
    s.window = random_int(&t->r, 0, 1) ? random_size(&t->r, most) : 0;
    s.bidirectional = !s.window && random_int(&t->r, 0, 2) == 0;
    s.softcap = random_int(&t->r, 0, 2) ? 0 : 2;
    start[0] = 0;
    for (int i = 0; i < s.n_seq; i++) {
        int n = cached && random_int(&t->r, 0, 2) ? 1 : random_size(&t->r, most);
        start[i + 1] = start[i] + n;
        k_start[i] = key += random_int(&t->r, 0, 3);
        k_len[i] = n + random_int(&t->r, 0, most);
        key += k_len[i];
    }
    s.q_start = start;
    *q_rows = *k_rows = start[s.n_seq];
    if (!cached) return s;
    s.k_start = k_start;
    s.k_len = k_len;
    *k_rows = key + random_int(&t->r, 0, 3);
    return s;
}

/* Keys and values; rows that no sequence has hold NaN. */
static mg_mat keys(trial *t, const mg_attention_shape *s, int64_t rows) {
    mg_mat k = input(t, rows, s->kv_heads * s->hd);
    for (int64_t r = 0; s->k_start && r < rows; r++) {
        bool owned = false;
        for (int i = 0; i < s->n_seq; i++) owned |= r >= s->k_start[i] && r < s->k_start[i] + s->k_len[i];
        if (!owned) memset((float *)k.data + r * k.cols, 0xff, (size_t)k.cols * sizeof(float));
    }
    return k;
}

/* Scores of size 2, or 1 in bf16: as with the head's logits, a softmax passes on their absolute error. */
static double query_size(const trial *t) { return t->product > 1e-6 ? 1 : 2; }

/* The size of the terms of y and dq: v and scale dy v k are about 1, and m keys that a query sees weigh about 1/m each. */
static double term_size(const mg_attention_shape *s) {
    double sum = 0;
    for (int i = 0; i < s->n_seq; i++)
        for (int n = s->k_len ? s->k_len[i] : s->q_start[i + 1] - s->q_start[i], m = 1; m <= s->q_start[i + 1] - s->q_start[i]; m++)
            sum += 1.0 / (s->bidirectional ? n : s->window > 0 && m > s->window ? s->window : m);
    return sqrt(sum / s->q_start[s->n_seq]);
}

static void try_attention(trial *t) {
    int64_t            q_rows, k_rows;
    mg_attention_shape s = attention_shape(t, random_int(&t->r, 0, 1), &q_rows, &k_rows);
    mg_attention_args  a = { .q = plain(t, q_rows, s.heads * s.hd, INPUT, query_size(t)),
                             .k = keys(t, &s, k_rows),
                             .v = keys(t, &s, k_rows),
                             .s = s },
                      ref = a, got = a;
    twin y = output(t, q_rows, s.heads * s.hd, false), lse = output(t, q_rows, s.heads, false);
    ref.y = y.ref, ref.lse = lse.ref.data,
    ref.work = work_of(t, mg_backend_ref32.attention_work(&s, q_rows, false));
    got.y = y.got, got.lse = lse.got.data, got.work = work_of(t, t->b->attention_work(&s, q_rows, false));
    RUN(t, attention, ref, got);
    compare(t, "y", y, t->product, s.bidirectional ? term_size(&s) : 0); /* all rows may have one mean, near 0 */
    compare(t, "lse", lse, t->product, 1);
}

static void try_attention_back(trial *t) {
    int64_t            n, unused;
    mg_attention_shape s = attention_shape(t, false, &n, &unused);
    int                q_cols = s.heads * s.hd, k_cols = s.kv_heads * s.hd, without = random_int(&t->r, 0, 5);
    mg_mat q = plain(t, n, q_cols, INPUT, query_size(t)), k = input(t, n, k_cols), v = input(t, n, k_cols);
    mg_mat y = plain(t, n, q_cols, INPUT, 0), lse = plain(t, n, s.heads, INPUT, 0);
    mg_backend_ref32.attention(
        (mg_attention_args){ y, q, k, v, lse.data, s, work_of(t, mg_backend_ref32.attention_work(&s, n, false)) });
    mg_attention_back_args
        a = { .dy = input(t, n, q_cols), .y = y, .q = q, .k = k, .v = v, .lse = lse.data, .s = s },
        ref = a, got = a;
    twin dq = without == 0 ? nothing() : output(t, n, q_cols, false),
         dk = without == 1 ? nothing() : output(t, n, k_cols, false);
    twin dv = without == 2 ? nothing() : output(t, n, k_cols, false);
    ref.dq = dq.ref, ref.dk = dk.ref, ref.dv = dv.ref,
    ref.work = work_of(t, mg_backend_ref32.attention_work(&s, n, true));
    got.dq = dq.got, got.dk = dk.got, got.dv = dv.got, got.work = work_of(t, t->b->attention_work(&s, n, true));
    RUN(t, attention_back, ref, got);
    compare(t, "dq", dq, t->product, term_size(&s));
    compare(t, "dk", dk, t->product, term_size(&s) * query_size(t) * sqrt((double)s.heads / s.kv_heads));
    compare(t, "dv", dv, t->product, s.bidirectional ? term_size(&s) : 0);
}

/* ---- the head ---- */

/* The size of h that makes logits of size 4, or 0.5 in bf16: a softmax passes on the absolute error of its logits.
 */
static double hidden_size(const trial *t, int64_t d, double rms) {
    return (t->product > 1e-6 ? 0.5 : 4) / (sqrt((double)d) * rms);
}

/* n labelled rows of `rows`, ascending. */
static int32_t *some_rows(trial *t, int rows, int64_t *n) {
    int32_t *row = take(t, (size_t)rows * sizeof *row, 0, INPUT);
    *n = 0;
    for (int i = 0; i < rows; i++)
        if (random_int(&t->r, 0, 3)) row[(*n)++] = i;
    return row;
}

/* The row's largest logit may be another one when it is as large but for rounding. */
static void check_top(trial *t, const mg_logprob_args *a, const int32_t *ref, const int32_t *got) {
    float *w = malloc((size_t)a->w.cols * sizeof *w);
    for (int64_t i = 0; i < a->n; i++) {
        double z[2] = { 0, 0 };
        if (got[i] < 0 || got[i] >= a->w.rows) {
            TROUBLE(t, "top_id %d of %d", got[i], (int)a->w.rows);
            break;
        }
        for (int k = 0; k < 2; k++) {
            a->w.format->decode(w, a->w.data, a->w.side, (k ? got : ref)[i] * a->w.cols, a->w.cols);
            for (int64_t c = 0; c < a->w.cols; c++)
                z[k] += (double)w[c] * ((const float *)a->h.data)[a->row[i] * a->h.cols + c];
        }
        for (int k = 0; a->softcap > 0 && k < 2; k++) z[k] = a->softcap * tanh(z[k] / a->softcap);
        if (!(z[0] - z[1] <= 10 * sqrt(t->product)))
            TROUBLE(t, "top_id: logit %.6g, but %.6g is larger", z[1], z[0]);
    }
    free(w);
}

static void try_logprob(trial *t) {
    const mg_format *f = weight_format(t);
    int rows = random_size(&t->r, 40), v = random_size(&t->r, t->large || t->shape % 6 == 0 ? 900 : 90),
        d = weight_cols(t, f, cols_of(t));
    double          rms;
    bool            with_dh = random_int(&t->r, 0, 1);
    mg_logprob_args a = { .w = weight(t, f, v, d, &rms), .softcap = random_int(&t->r, 0, 1) ? 3 : 0 };
    a.h = plain(t, rows, d, INPUT, hidden_size(t, d, rms));
    a.row = some_rows(t, rows, &a.n);
    a.target = indices(t, a.n, v);
    mg_logprob_args ref = a, got = a;
    twin logp = output(t, a.n, 1, false), lse = output(t, a.n, 1, false), top = output(t, a.n, 1, false);
    twin dh = with_dh ? output(t, a.n, d, false) : nothing();
    ref.dh = dh.ref, ref.logp = logp.ref.data, ref.lse = lse.ref.data, ref.top_id = top.ref.data;
    got.dh = dh.got, got.logp = logp.got.data, got.lse = lse.got.data, got.top_id = top.got.data;
    ref.work = work_of(t, mg_backend_ref32.logprob_work(a.n, (mg_mat){ .rows = v, .cols = d }, with_dh));
    got.work = work_of(t, t->b->logprob_work(a.n, (mg_mat){ .rows = v, .cols = d }, with_dh));
    RUN(t, logprob, ref, got);
    compare(t, "logp", logp, t->product, 1);
    compare(t, "lse", lse, t->product, 1);
    compare(t, "dh", dh, t->product, rms);
    check_top(t, &a, ref.top_id, got.top_id);
}

/* which: 0 both gradients, 1 only dh, 2 only dw, 3 dh was made by the forward pass */
static void try_logprob_back(trial *t) {
    int which = t->shape % 4, rows = random_size(&t->r, 40),
        v = random_size(&t->r, t->large || t->shape % 6 == 0 ? 900 : 90);
    const mg_format     *f = which == 1 ? weight_format(t) : &mg_format_f32; /* a head that trains is fp32 */
    int                  d = weight_cols(t, f, cols_of(t));
    double               rms;
    mg_logprob_back_args a = { .w = weight(t, f, v, d, &rms), .softcap = random_int(&t->r, 0, 1) ? 3 : 0 };
    a.h = plain(t, rows, d, INPUT, hidden_size(t, d, rms));
    a.row = some_rows(t, rows, &a.n);
    a.target = indices(t, a.n, v);
    a.dlogp = input(t, a.n, 1).data;
    mg_mat lse = plain(t, a.n, 1, INPUT, 0), logp = plain(t, a.n, 1, WORK, 0), made = plain(t, a.n, d, INPUT, 0);
    mg_backend_ref32.logprob(
        (mg_logprob_args){ .h = a.h,
                           .w = a.w,
                           .dh = made,
                           .row = a.row,
                           .target = a.target,
                           .n = a.n,
                           .logp = logp.data,
                           .lse = lse.data,
                           .softcap = a.softcap,
                           .work = work_of(t, mg_backend_ref32.logprob_work(a.n, (mg_mat){ .rows = v, .cols = d }, true)) });
    a.lse = lse.data;
    if (which == 3) a.h = made, a.w = (mg_mat){ 0 };
    mg_logprob_back_args ref = a, got = a;
    twin                 dh = which == 2 ? nothing() : output(t, rows, d, true),
         dw = which == 0 || which == 2 ? output(t, v, d, true) : nothing();
    ref.dh = dh.ref, ref.dw = dw.ref, ref.work = work_of(t, mg_backend_ref32.logprob_work(a.n, (mg_mat){ .rows = v, .cols = d }, false));
    got.dh = dh.got, got.dw = dw.got, got.work = work_of(t, t->b->logprob_work(a.n, (mg_mat){ .rows = v, .cols = d }, false));
    RUN(t, logprob_back, ref, got);
    compare(t, "dh", dh, t->product, rms);
    compare(t, "dw", dw, t->product, hidden_size(t, d, rms) * sqrt((double)a.n / v));
}

/* ---- the rest ---- */

static void try_dropout(trial *t) {
    int             n = rows_of(t), d = cols_of(t), kind = random_int(&t->r, 0, 2);
    mg_dropout_args a = { .x = input(t, n, d),
                          .p = (float)random_int(&t->r, 0, 9) / 10,
                          .rng = { random_bits(&t->r), random_bits(&t->r) },
                          .accumulate = kind == 1 },
                    ref = a, got = a;
    twin y = kind == 2 ? in_place(t, n, d, 1) : output(t, n, d, kind == 1);
    ref.y = y.ref;
    got.y = y.got;
    if (kind == 2) ref.x = y.ref, got.x = y.got;
    RUN(t, dropout, ref, got);
    compare(t, "y", y, t->elementwise, 0.1);
}

static void try_weighted_sum(trial *t) {
    int    n = rows_of(t), d = cols_of(t);
    twin   y = output(t, 1, 1, false);
    mg_mat x = input(t, n, d);
    RUN(t, weighted_sum, ((mg_weighted_sum_args){ x, 0.7f, y.ref.data }),
        ((mg_weighted_sum_args){ x, 0.7f, y.got.data }));
    compare(t, "y", y, t->elementwise, 0.7 * sqrt(n * d));
}

static void try_adamw(trial *t) {
    int           n = rows_of(t) * cols_of(t), at = random_int(&t->r, 1, 50);
    twin          p = in_place(t, 1, n, 1), m = in_place(t, 1, n, 1), v = in_place(t, 1, n, 1);
    mg_adamw_args a = { .grad = input(t, 1, n).data,
                        .n = n,
                        .lr = 0.2f,
                        .beta1 = 0.9f,
                        .beta2 = 0.99f,
                        .eps = 1e-3f,
                        .decay = 0.1f,
                        .grad_scale = 0.5f,
                        .c1 = 1 - pow(0.9, at),
                        .c2 = 1 - pow(0.99, at) },
                  ref = a, got = a;
    for (int i = 0; i < n; i++)
        ((float *)v.got.data)[i] = ((float *)v.ref.data)[i] = fabsf(((float *)v.ref.data)[i]);
    ref.p = p.ref.data, ref.m = m.ref.data, ref.v = v.ref.data;
    got.p = p.got.data, got.m = m.got.data, got.v = v.got.data;
    RUN(t, adamw, ref, got);
    compare(t, "p", p, t->elementwise, 0.1);
    compare(t, "m", m, t->elementwise, 0.1);
    compare(t, "v", v, t->elementwise, 0.1);
}

static void try_lion(trial *t) {
    int          n = rows_of(t) * cols_of(t);
    twin         p = in_place(t, 1, n, 1), m = in_place(t, 1, n, 1);
    mg_lion_args a = { .grad = input(t, 1, n).data, .n = n, .lr = 0.2f, .beta1 = 0.9f, .beta2 = 0.99f, .decay = 0.1f, .grad_scale = 0.5f },
                 ref = a, got = a;
    ref.p = p.ref.data, ref.m = m.ref.data;
    got.p = p.got.data, got.m = m.got.data;
    RUN(t, lion, ref, got);
    compare(t, "p", p, t->elementwise, 0.1);
    compare(t, "m", m, t->elementwise, 0.1);
}

static void make_positive(twin x) {
    for (int64_t i = 0; i < x.ref.rows * x.ref.cols; i++)
        ((float *)x.got.data)[i] = ((float *)x.ref.data)[i] = fabsf(((float *)x.ref.data)[i]);
}

static void try_adafactor(trial *t) {
    int               rows = rows_of(t), cols = cols_of(t), kind = random_int(&t->r, 0, 3);
    twin              p = in_place(t, rows, cols, 1);
    twin              row = in_place(t, 1, rows, 1), col = in_place(t, 1, cols, 1), square = in_place(t, rows, cols, 1), mean = in_place(t, rows, cols, 1);
    mg_adafactor_args a = { .rows = rows, .cols = cols, .lr = 0.2f, .beta1 = 0.9f, .beta2 = 0.8f, .eps = 1e-3f, .clip = kind & 1 ? 0.5f : 10,
                            .param_eps = kind & 2 ? 1e-3f : 0, .decay = 0.1f, .grad_scale = 0.5f,
                            .grad = input(t, rows, cols).data },
                      ref = a, got = a;
    make_positive(row), make_positive(col), make_positive(square);
    ref.p = p.ref.data, got.p = p.got.data;
    if (kind == 1)
        ref.square = square.ref.data, got.square = square.got.data;
    else
        ref.row = row.ref.data, ref.col = col.ref.data, got.row = row.got.data, got.col = col.got.data;
    if (kind == 2) ref.mean = mean.ref.data, got.mean = mean.got.data;
    ref.work = work_of(t, mg_adafactor_work(rows, cols) * sizeof(double));
    got.work = work_of(t, mg_adafactor_work(rows, cols) * sizeof(double));
    RUN(t, adafactor, ref, got);
    compare(t, "p", p, t->elementwise, 0.1);
    compare(t, "row", row, t->elementwise, 0.1);
    compare(t, "col", col, t->elementwise, 0.1);
    compare(t, "square", square, t->elementwise, 0.1);
    compare(t, "mean", mean, t->elementwise, 0.1);
}

/* Codes, scales and what they stand for are equal to the last bit. */
static void try_dynamic8_encode(trial *t) {
    int          n = rows_of(t) * cols_of(t), blocks = (n + 255) / 256;
    bool         is_signed = random_int(&t->r, 0, 1);
    const float *map = mg_dynamic_map(is_signed);
    twin         scale = in_place(t, 1, blocks, 0);
    uint8_t     *ref = take(t, (size_t)n, 0, EXPECTED), *got = take(t, (size_t)n, 3, OUTPUT);
    mg_mat       x = input(t, 1, n);
    for (int i = 0; i < n; i++) {
        float *v = (float *)x.data + i;
        *v *= (float)pow(10, -random_int(&t->r, 0, 6));
        if (!is_signed) *v = fabsf(*v);
        if (t->shape % 5 == 0) *v = 0;
    }
    RUN(t, dynamic8_encode, ((mg_dynamic8_encode_args){ x.data, n, ref, scale.ref.data, map }),
        ((mg_dynamic8_encode_args){ x.data, n, got, scale.got.data, map }));
    if (memcmp(ref, got, (size_t)n)) TROUBLE(t, "codes differ");
    compare(t, "absmax", scale, 0, 0);
}

static void try_dynamic8_decode(trial *t) {
    int          n = rows_of(t) * cols_of(t);
    const float *map = mg_dynamic_map(random_int(&t->r, 0, 1));
    twin         x = in_place(t, 1, n, 0);
    uint8_t     *code = take(t, (size_t)n, 1, INPUT);
    mg_mat       scale = input(t, 1, (n + 255) / 256);
    for (int i = 0; i < n; i++) code[i] = (uint8_t)random_bits(&t->r);
    RUN(t, dynamic8_decode, ((mg_dynamic8_decode_args){ x.ref.data, n, code, scale.data, map }),
        ((mg_dynamic8_decode_args){ x.got.data, n, code, scale.data, map }));
    compare(t, "x", x, 0, 0);
}

static void try_int8_round(trial *t) {
    int                rows = rows_of(t), cols = cols_of(t), kind = random_int(&t->r, 0, 2);
    mg_int8_round_args a = { .x = input(t, rows, cols), .threshold = kind == 0 ? 0 : 2.5f, .alone = kind == 2 }, ref = a, got = a;
    twin               y = output(t, rows, cols, false);
    ref.y = y.ref, got.y = y.got;
    ref.work = work_of(t, mg_int8_round_work(cols));
    got.work = work_of(t, mg_int8_round_work(cols));
    RUN(t, int8_round, ref, got);
    compare(t, "y", y, t->elementwise, 0.1);
}

static void try_noise(trial *t) {
    int           n = rows_of(t), d = cols_of(t);
    mg_noise_args a = { .scale = 0.3f, .rng = { random_bits(&t->r), random_bits(&t->r) },
                        .normal = random_int(&t->r, 0, 1) }, ref = a, got = a;
    twin          y = output(t, n, d, true);
    ref.y = y.ref, got.y = y.got;
    RUN(t, noise, ref, got);
    compare(t, "y", y, t->elementwise, 0.1);
}

static void try_square_sum(trial *t) {
    int     n = rows_of(t) * cols_of(t);
    mg_mat  x = input(t, 1, n);
    double *ref = take(t, sizeof *ref, 0, EXPECTED), *got = take(t, sizeof *got, 0, OUTPUT);
    *ref = *got = 3;
    RUN(t, square_sum, ((mg_square_sum_args){ x.data, n, ref }), ((mg_square_sum_args){ x.data, n, got }));
    if (!(fabs(*got - *ref) <= 1e-10 * *ref)) TROUBLE(t, "sum %.15g, wanted %.15g", *got, *ref);
}

static const struct try_row {
    const char *name;
    void (*fn)(trial *t);
} tries[] = {
#define KERNEL(x) { #x, try_##x },
#include "backend/kernels.def"
#undef KERNEL
};
enum { TRIES = sizeof tries / sizeof *tries };

/* ---- the tests ---- */

static trial trial_of(const mg_backend *b, int shape) {
    bool bf16 = !strcmp(b->compute, "bfloat16");
    return (trial){ .b = b,
                    .r = random_of((uint64_t)shape),
                    .elementwise = bf16 ? 1e-5 : 1e-10,
                    .product = bf16 ? 1e-4 : 1e-8,
                    .repeats = 1,
                    .shape = shape };
}

static void run_trial(trial *t, const struct try_row *row) {
    row->fn(t);
    release(t);
}

static void check_kernels(const mg_backend *b) {
    if (!b) return;
    for (int k = 0; k < TRIES; k++) {
        double worst = 0;
        for (int shape = 0; shape < SHAPES; shape++) {
            if (shape % (SHAPES / 3) == 0) mg_threads_start(1 + shape / (SHAPES / 3)); /* 1, 2 and 3 threads */
            trial t = trial_of(b, shape);
            run_trial(&t, &tries[k]);
            if (t.trouble[0]) fail_msg("%s, %s, shape %d: %s", b->name, tries[k].name, shape, t.trouble);
            worst = fmax(worst, t.worst);
        }
        print_message("  %-15s at most %.1g of the bound\n", tries[k].name, worst);
    }
}

static void check_repeats(const mg_backend *b) {
    if (!b) return;
    mg_threads_start(2);
    for (int k = 0; k < TRIES; k++)
        for (int shape = 0; shape < 4; shape++) {
            trial t = trial_of(b, 1000 + shape);
            t.large = true;
            t.repeats = REPEATS;
            run_trial(&t, &tries[k]);
            if (t.trouble[0]) fail_msg("%s, %s, shape %d: %s", b->name, tries[k].name, shape, t.trouble);
        }
}

static void fp32_agrees_with_the_plain_loops(void **state) {
    (void)state;
    check_kernels(&mg_backend_cpu);
}

static void bf16_agrees_with_the_plain_loops(void **state) {
    (void)state;
    check_kernels(mg_backend_find("cpu_bf16")); /* NULL where the processor lacks it */
}

static void runs_give_the_same_bits(void **state) {
    (void)state;
    check_repeats(&mg_backend_cpu);
    check_repeats(mg_backend_find("cpu_bf16"));
}

/* ---- a row's bits do not depend on its company ---- */

static void expect_same(trial *t, const char *what, mg_mat together, int64_t row, const void *alone,
                        int64_t rows) {
    size_t width = (size_t)together.cols * sizeof(float);
    if (memcmp((const char *)together.data + (size_t)row * width, alone, (size_t)rows * width))
        TROUBLE(t, "%s: row %lld of %lld has other bits alone", what, (long long)row, (long long)together.rows);
}

static void linear_rows_alone(trial *t, int n) {
    const mg_format *f = weight_format(t);
    int              i = weight_cols(t, f, 400), o = random_size(&t->r, 400);
    double           rms;
    mg_mat           x = input(t, n, i), w = weight(t, f, o, i, &rms), bias = input(t, 1, o);
    mg_mat           y = plain(t, n, o, OUTPUT, 0), one = plain(t, 1, o, OUTPUT, 0);
    void            *work = work_of(t, t->b->linear_work(n, (mg_mat){ .rows = o, .cols = i })), *less = work_of(t, t->b->linear_work(1, (mg_mat){ .rows = o, .cols = i }));
    t->b->linear((mg_linear_args){ .y = y, .x = x, .w = w, .bias = bias, .work = work });
    for (int r = 0; r < n; r++) {
        mg_mat row = { (float *)x.data + (int64_t)r * i, 1, i, x.format, NULL };
        t->b->linear((mg_linear_args){ .y = one, .x = row, .w = w, .bias = bias, .work = less });
        expect_same(t, f->name, y, r, one.data, 1);
    }
}

static void attention_rows_alone(trial *t, int n) {
    int64_t            q_rows, k_rows;
    mg_attention_shape s = attention_shape(t, true, &q_rows, &k_rows);
    int                cols = s.heads * s.hd;
    if (q_rows > n) return;
    mg_mat q = input(t, q_rows, cols), k = keys(t, &s, k_rows), v = keys(t, &s, k_rows),
           y = plain(t, q_rows, cols, OUTPUT, 0);
    mg_mat one = plain(t, q_rows, cols, OUTPUT, 0), lse = plain(t, q_rows, s.heads, OUTPUT, 0);
    void  *work = work_of(t, t->b->attention_work(&s, q_rows, false));
    t->b->attention((mg_attention_args){ y, q, k, v, lse.data, s, work });
    for (int i = 0; i < s.n_seq; i++) {
        int32_t            first = s.q_start[i], rows = s.q_start[i + 1] - first, start[2] = { 0, rows };
        mg_attention_shape a = s;
        a.n_seq = 1, a.q_start = start, a.k_start = s.k_start + i, a.k_len = s.k_len + i;
        mg_mat mine = { (float *)q.data + (int64_t)first * cols, rows, cols, q.format, NULL };
        one.rows = rows;
        work = work_of(t, t->b->attention_work(&a, rows, false));
        t->b->attention((mg_attention_args){ one, mine, k, v, lse.data, a, work });
        expect_same(t, "attention", y, first, one.data, rows);
    }
}

static void check_company(const mg_backend *b) {
    if (!b) return;
    for (int threads = 1; threads <= 3; threads++) {
        mg_threads_start(threads);
        for (int shape = 0; shape < SHAPES / 2; shape++) {
            trial t = trial_of(b, 5000 + shape);
            int   n = b->steady_rows < 40 ? random_int(&t.r, 1, (int)b->steady_rows) : 40;
            linear_rows_alone(&t, n);
            release(&t);
            attention_rows_alone(&t, n);
            release(&t);
            if (t.trouble[0]) fail_msg("%s, shape %d, %d threads: %s", b->name, shape, threads, t.trouble);
        }
    }
}

static void a_row_has_its_bits_in_any_company(void **state) {
    (void)state;
    check_company(&mg_backend_cpu);
    check_company(mg_backend_find("cpu_bf16"));
}

/* ---- the test tests: faults that it must see ---- */

static float *numbers(mg_mat m) { return m.data; }

static void add_beyond(mg_add_args a) { mg_backend_ref32.add(a), numbers(a.y)[a.y.rows * a.y.cols] = 0; }
static void add_before(mg_add_args a) { mg_backend_ref32.add(a), numbers(a.y)[-1] = 0; }
static void add_less(mg_add_args a) {
    float *last = numbers(a.y) + a.y.rows * a.y.cols - 1, old = *last;
    mg_backend_ref32.add(a);
    if (!a.accumulate) *last = old;
}
static void add_wrong(mg_add_args a) {
    mg_backend_ref32.add(a);
    for (int64_t i = 0; i < a.y.rows * a.y.cols; i++) numbers(a.y)[i] *= 1.0001f;
}
static void add_to_input(mg_add_args a) { mg_backend_ref32.add(a), numbers(a.x)[0] += 1; }
static void add_by_chance(mg_add_args a) {
    static int calls;
    mg_backend_ref32.add(a);
    numbers(a.y)[0] = nextafterf(numbers(a.y)[0], calls++ % 20 == 7 ? 9 : numbers(a.y)[0]);
}

static void faults_are_seen(void **state) {
    (void)state;
    void (*const faults[])(mg_add_args a) = { mg_backend_ref32.add, add_beyond,   add_before, add_less, add_wrong,
                                              add_to_input,         add_by_chance };
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        mg_backend bad = mg_backend_ref32;
        int        seen = 0;
        bad.add = faults[i];
        for (int shape = 0; shape < 20; shape++) {
            trial t = trial_of(&bad, shape);
            t.repeats = REPEATS;
            run_trial(&t, &(struct try_row){ "add", try_add });
            seen += t.trouble[0] != 0;
        }
        if ((seen > 0) != (i > 0)) fail_msg("fault %zu: seen in %d shapes; 0 is none", i, seen);
    }
}

/* The instruction set is read once, so each gets a process of its own. */
static int run_each_isa(char **argv) {
    static const char *const isas[] = { "base", "v3", "v4" };
    int                      failed = 0;
    for (int i = 0; i < 3; i++) {
        int status = 1;
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
            setenv("MIGAKI_CPU_ISA", isas[i], 1);
            execv("/proc/self/exe", argv);
            _exit(127);
        }
        if (child < 0 || waitpid(child, &status, 0) != child || status) {
            printf("instruction set %s: failed\n", isas[i]);
            failed = 1;
        }
    }
    return failed;
}

int main(int argc, char **argv) {
    (void)argc;
    if (!getenv("MIGAKI_CPU_ISA")) return run_each_isa(argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(faults_are_seen),
        cmocka_unit_test(fp32_agrees_with_the_plain_loops),
        cmocka_unit_test(bf16_agrees_with_the_plain_loops),
        cmocka_unit_test(runs_give_the_same_bits),
        cmocka_unit_test(a_row_has_its_bits_in_any_company),
    };
    printf("instruction set %s, bf16 %s\n", mg_cpu_isa(), mg_cpu_has_bf16() ? "yes" : "no");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
