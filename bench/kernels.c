/* kernels.c -- what the CPU kernels reach of this machine, on the shapes of real models.
 *
 *     kernels [-t threads] [-m model] [-r milliseconds a kernel] [kernel]
 *
 * Products are shown in GFLOP/s against the best that one in-cache product of the
 * same library reaches on all threads, everything else in GB/s against a copy of
 * memory that does not fit the caches (kernels whose data fits L3 go beyond it).
 * The best of many runs counts, because other programs may share the machine. */
#include "backend/backend.h"
#include "backend/cpu/gemm.h"
#include "base/thread.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct {
    const char *name, *format[2]; /* weight format of attention and up, of down */
    int         d, f, heads, kv_heads, hd, v;
    float       softcap;
} model;

static const model models[] = {
    { "smollm2-135m", { "q4_1", "q4_1" }, 576, 1536, 9, 3, 64, 49152, 0 },
    { "gemma3-270m", { "q5_0", "q4_k" }, 640, 2048, 4, 1, 256, 262144, 0 },
    { "qwen2.5-1.5b", { "q4_k", "q6_k" }, 1536, 8960, 12, 2, 128, 151936, 0 },
};

static double      peak_flops[2], peak_bytes, least_seconds = 0.05;
static const char *filter, *only;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *memory(size_t bytes) {
    void *p = aligned_alloc(64, (bytes + 127) / 64 * 64);
    if (!p) exit(1);
    memset(p, 0, bytes);
    return p;
}

static mg_mat matrix(int64_t rows, int64_t cols) {
    float *p = memory((size_t)(rows * cols) * sizeof *p);
    for (int64_t i = 0; i < rows * cols; i++) p[i] = (float)((i * 2654435761u >> 8) % 2001) * 1e-3f - 1;
    return (mg_mat){ p, rows, cols, &mg_format_f32, NULL };
}

/* Bytes that are small numbers in every block format. */
static mg_mat weight(const char *format, int64_t rows, int64_t cols) {
    const mg_format *f = mg_format_find(format);
    size_t           bytes;
    if (f == &mg_format_f32 || cols % f->block) return matrix(rows, cols);
    if (!mg_format_bytes(f, rows * cols, &bytes)) exit(1);
    void *p = memory(bytes);
    memset(p, 0x1c, bytes);
    return (mg_mat){ p, rows, cols, f, NULL };
}

static void drop(mg_mat m) { free(m.data); }

/* ---- measuring ---- */

typedef void (*action)(void *context);

static double best_of(action run, void *context) {
    double best = INFINITY, begin = now();
    for (int i = 0; i < 3 || now() - begin < least_seconds; i++) {
        double t = now();
        run(context);
        t = now() - t;
        if (t < best) best = t;
    }
    return best;
}

static void show(const char *what, const char *detail, double seconds, double flops, double bytes, const mg_backend *b) {
    int    half = b == &mg_backend_cpu_bf16;
    double rate = flops > 0 ? flops / seconds : bytes / seconds, limit = flops > 0 ? peak_flops[half] : peak_bytes;
    printf("%-16s %-34s %-9s %9.3f ms %8.1f %s %5.0f%%\n", what, detail, b->name, 1e3 * seconds, rate * 1e-9,
           flops > 0 ? "GFLOP/s" : "GB/s   ", 100 * rate / limit);
    fflush(stdout);
}

/* KERNEL(name): time b->name on args */
#define MEASURE(kernel, detail, flops, bytes, ...)                                                     \
    do {                                                                                               \
        mg_##kernel##_args args_ = __VA_ARGS__;                                                        \
        if (filter && !strstr(#kernel, filter)) break;                                                 \
        double best_ = INFINITY, begin_ = now();                                                       \
        for (int i_ = 0; i_ < 3 || now() - begin_ < least_seconds; i_++) {                             \
            double t_ = now();                                                                         \
            b->kernel(args_);                                                                          \
            best_ = fmin(best_, now() - t_);                                                           \
        }                                                                                              \
        show(#kernel, detail, best_, flops, bytes, b);                                                 \
    } while (0)

/* ---- the limits ---- */

enum { SIDE = 384 };
typedef struct { float *f; uint16_t *h, *copy; size_t bytes; } limits;

static void product_f32(void *context, int64_t begin, int64_t end, int thread) {
    limits *l = context;
    float  *f = l->f + (size_t)thread * 3 * SIDE * SIDE;
    (void)begin, (void)end;
    mg_gemm_f32(thread, (mg_gemm_shape){ SIDE, SIDE, SIDE, false, false, SIDE, SIDE, SIDE }, 1, f, f + SIDE * SIDE, 0,
                f + 2 * SIDE * SIDE);
}
static void product_bf16(void *context, int64_t begin, int64_t end, int thread) {
    limits *l = context;
    float  *f = l->f + (size_t)thread * 3 * SIDE * SIDE;
    (void)begin, (void)end;
    mg_gemm_bf16(thread, (mg_gemm_shape){ SIDE, SIDE, SIDE, false, false, SIDE, SIDE, SIDE }, l->h,
                 l->h + SIDE * SIDE, false, f + 2 * SIDE * SIDE);
}
static void copy(void *context, int64_t begin, int64_t end, int thread) {
    limits *l = context;
    (void)thread;
    memcpy((char *)l->copy + begin, (char *)l->copy + l->bytes + begin, (size_t)(end - begin));
}
static void run_f32(void *c) { mg_parallel(mg_threads(), 1, product_f32, c); }
static void run_bf16(void *c) { mg_parallel(mg_threads(), 1, product_bf16, c); }
static void run_copy(void *c) { mg_parallel((int64_t)((limits *)c)->bytes, 1 << 20, copy, c); }

static void find_limits(void) {
    limits l = { .bytes = 128 << 20 };
    l.f = memory((size_t)mg_threads() * 3 * SIDE * SIDE * sizeof(float));
    l.h = memory(2 * SIDE * SIDE * sizeof(uint16_t));
    l.copy = memory(2 * l.bytes);
    double flops = 2.0 * SIDE * SIDE * SIDE * mg_threads();
    peak_flops[0] = flops / best_of(run_f32, &l);
    peak_flops[1] = flops / best_of(run_bf16, &l);
    peak_bytes = 2.0 * (double)l.bytes / best_of(run_copy, &l);
    printf("isa %s, %s, %d threads: %.0f GFLOP/s fp32, %.0f bf16, copy %.1f GB/s\n\n", mg_cpu_isa(), mg_gemm_library(),
           mg_threads(), peak_flops[0] * 1e-9, peak_flops[1] * 1e-9, peak_bytes * 1e-9);
    free(l.f), free(l.h), free(l.copy);
}

/* ---- the kernels ---- */

static void linears(const mg_backend *b, const char *format, int64_t n, int64_t i, int64_t o) {
    mg_mat x = matrix(n, i), y = matrix(n, o), w = weight(format, o, i);
    void  *work = memory(b->linear_work(n, (mg_mat){ .rows = o, .cols = i }));
    char   text[64];
    snprintf(text, sizeof text, "N %d I %d O %d %s", (int)n, (int)i, (int)o, w.format->name);
    double flops = 2.0 * (double)(n * i * o);
    if (n == 1) { /* generation: weights a second, shown as GB/s of a byte each */
        MEASURE(linear, text, 0, (double)(i * o), { .y = y, .x = x, .w = w, .work = work });
    } else {
        MEASURE(linear, text, flops, 0, { .y = y, .x = x, .w = w, .work = work });
        MEASURE(linear_dx, text, flops, 0, { x, y, w, false, work });
    }
    free(work), drop(x), drop(y), drop(w);
}

static void adapters(const mg_backend *b, int64_t n, int64_t i, int64_t o) {
    enum { R = 16 };
    mg_mat x = matrix(n, i), y = matrix(n, o), a = matrix(R, i), m = matrix(o, R), u = matrix(n, R);
    char   text[64];
    snprintf(text, sizeof text, "N %d I %d O %d R %d", (int)n, (int)i, (int)o, R);
    double down = 2.0 * (double)(n * i * R), up = 2.0 * (double)(n * o * R);
    MEASURE(gemm, strcat(text, " u"), down, 0, { .c = u, .a = x, .b = a, .tb = true, .alpha = 1 });
    text[strlen(text) - 2] = 0;
    MEASURE(gemm, strcat(text, " y"), up, 0, { .c = y, .a = u, .b = m, .tb = true, .alpha = 1, .beta = 1 });
    text[strlen(text) - 2] = 0;
    MEASURE(gemm, strcat(text, " db"), up, 0, { .c = m, .a = y, .b = u, .ta = true, .alpha = 1, .beta = 1 });
    text[strlen(text) - 3] = 0;
    MEASURE(gemm, strcat(text, " du"), up, 0, { .c = u, .a = y, .b = m, .alpha = 1 });
    text[strlen(text) - 3] = 0;
    MEASURE(gemm, strcat(text, " da"), down, 0, { .c = a, .a = u, .b = x, .ta = true, .alpha = 1, .beta = 1 });
    text[strlen(text) - 3] = 0;
    MEASURE(gemm, strcat(text, " dx"), down, 0, { .c = x, .a = u, .b = a, .alpha = 1, .beta = 1 });
    drop(x), drop(y), drop(a), drop(m), drop(u);
}

static void full_gradient(const mg_backend *b, int64_t n, int64_t i, int64_t o) {
    mg_mat x = matrix(n, i), dy = matrix(n, o), dw = matrix(o, i);
    char   text[64];
    snprintf(text, sizeof text, "dW N %d I %d O %d", (int)n, (int)i, (int)o);
    MEASURE(gemm, text, 2.0 * (double)(n * i * o), 0, { .c = dw, .a = dy, .b = x, .ta = true, .alpha = 1, .beta = 1 });
    drop(x), drop(dy), drop(dw);
}

static void attentions(const mg_backend *b, const model *m, int n_seq, int each, int window) {
    int32_t *start = memory((size_t)(n_seq + 1) * sizeof *start);
    int64_t  n = (int64_t)n_seq * each, wide = m->heads * m->hd, narrow = m->kv_heads * m->hd;
    for (int s = 0; s <= n_seq; s++) start[s] = s * each;
    mg_attention_shape s = { .n_seq = n_seq, .q_start = start, .heads = m->heads, .kv_heads = m->kv_heads, .hd = m->hd,
                             .window = window, .scale = 0.1f, .softcap = m->softcap };
    mg_mat q = matrix(n, wide), k = matrix(n, narrow), v = matrix(n, narrow), y = matrix(n, wide), dy = matrix(n, wide);
    mg_mat dq = matrix(n, wide), dk = matrix(n, narrow), dv = matrix(n, narrow);
    void  *lse = memory((size_t)(n * m->heads) * sizeof(float)), *work = memory(b->attention_work(&s, n, true));
    char   text[64];
    snprintf(text, sizeof text, "%d x %d, %d/%d heads of %d", n_seq, each, m->heads, m->kv_heads, m->hd);
    double flops = 2.0 * each * each * (double)(n_seq * wide); /* causal: half of two products */
    MEASURE(attention, text, flops, 0, { y, q, k, v, lse, s, work });
    MEASURE(attention_back, text, 2.5 * flops, 0, { dq, dk, dv, dy, y, q, k, v, lse, s, work });
    free(start), free(lse), free(work);
    drop(q), drop(k), drop(v), drop(y), drop(dy), drop(dq), drop(dk), drop(dv);
}

/* One new token each for n_seq sequences with `keys` behind them. */
static void generation(const mg_backend *b, const model *m, int n_seq, int keys) {
    int32_t start[65], at[64], len[64];
    int64_t wide = m->heads * m->hd, narrow = m->kv_heads * m->hd;
    for (int s = 0; s <= n_seq; s++) start[s] = s;
    for (int s = 0; s < n_seq; s++) at[s] = s * keys, len[s] = keys;
    mg_attention_shape s = { .n_seq = n_seq, .q_start = start, .k_start = at, .k_len = len, .heads = m->heads,
                             .kv_heads = m->kv_heads, .hd = m->hd, .scale = 0.1f };
    mg_mat q = matrix(n_seq, wide), k = matrix((int64_t)n_seq * keys, narrow), v = matrix((int64_t)n_seq * keys, narrow);
    mg_mat y = matrix(n_seq, wide);
    void  *lse = memory((size_t)(n_seq * m->heads) * sizeof(float)), *work = memory(b->attention_work(&s, n_seq, false));
    char   text[64];
    snprintf(text, sizeof text, "generate: %d x 1 of %d keys", n_seq, keys);
    MEASURE(attention, text, 0, 8.0 * (double)(n_seq * keys * narrow), { y, q, k, v, lse, s, work });
    free(lse), free(work), drop(q), drop(k), drop(v), drop(y);
}

static void heads(const mg_backend *b, const model *m, int64_t n) {
    mg_mat   h = matrix(n, m->d), w = weight("q8_0", m->v, m->d), dh = matrix(n, m->d), none = { 0 };
    int32_t *row = memory((size_t)n * 4), *target = memory((size_t)n * 4);
    void    *work = memory(b->logprob_work(n, (mg_mat){ .rows = m->v, .cols = m->d }, true)), *logp = memory((size_t)n * 4), *lse = memory((size_t)n * 4);
    char     text[64];
    for (int64_t i = 0; i < n; i++) row[i] = (int32_t)i, target[i] = (int32_t)(i * 37 % m->v);
    double flops = 2.0 * (double)(n * m->d * m->v);
    snprintf(text, sizeof text, "n %d D %d V %d %s", (int)n, m->d, m->v, w.format->name);
    MEASURE(logprob, text, flops, 0, { h, w, none, row, target, n, logp, lse, NULL, m->softcap, work });
    MEASURE(logprob, strcat(text, " dh"), 2 * flops, 0, { h, w, dh, row, target, n, logp, lse, NULL, m->softcap, work });
    free(row), free(target), free(work), free(logp), free(lse), drop(h), drop(w), drop(dh);
}

/* Everything without a product: bytes read and written. */
static void cheap(const mg_backend *b, const model *m, int64_t n) {
    mg_mat   x = matrix(n, m->d), y = matrix(n, m->d), z = matrix(n, m->d), g = matrix(1, m->d), none = { 0 };
    mg_mat   gate = matrix(n, m->f), up = matrix(n, m->f), out = matrix(n, m->f), dy = matrix(n, m->f), y2 = matrix(n, m->f), q = matrix(n, m->heads * m->hd);
    mg_mat   table = weight("q8_0", m->v, m->d), norm = matrix(1, m->hd), angles = matrix(2 * n, m->hd / 2);
    void    *inv = memory((size_t)(n * m->heads + n) * 4), *work = memory((size_t)m->d * 2048);
    int32_t *ids = memory((size_t)n * 4);
    double   d = (double)(n * m->d) * 4, f = (double)(n * m->f) * 4, qb = (double)(n * m->heads * m->hd) * 4;
    char     text[64];
    const float *cosine = angles.data, *sine = cosine + n * m->hd / 2;
    snprintf(text, sizeof text, "N %d D %d", (int)n, m->d);
    for (int64_t i = 0; i < n; i++) ids[i] = (int32_t)i;
    MEASURE(fill, text, 0, d, { y, 0 });
    MEASURE(add, text, 0, 3 * d, { y, x, 1, true });
    MEASURE(embed, text, 0, d, { y, table, ids, 1 });
    MEASURE(rmsnorm, text, 0, 2 * d, { y, x, g, none, inv, 1e-6f });
    MEASURE(rmsnorm_back, text, 0, 4 * d, { .dx = z, .dy = y, .x = x, .g = g, .inv = inv, .accumulate = true, .work = work });
    MEASURE(rmsnorm_back, strcat(text, " dg"), 0, 4 * d,
            { .dx = z, .dg = g, .dy = y, .x = x, .g = g, .inv = inv, .accumulate = true, .work = work });
    MEASURE(dropout, text, 0, 2 * d, { .y = y, .x = x, .p = 0.1f, .rng = { 1, 1 } });
    MEASURE(column_sum, text, 0, d, { g, x });
    snprintf(text, sizeof text, "N %d F %d", (int)n, m->f);
    MEASURE(glu, text, 0, 3 * f, { out, gate, up, MG_SILU });
    MEASURE(glu_back, text, 0, 5 * f, { out, y2, dy, gate, up, MG_SILU });
    MEASURE(glu, strcat(text, " gelu"), 0, 3 * f, { out, gate, up, MG_GELU_TANH });
    MEASURE(glu_back, text, 0, 5 * f, { out, y2, dy, gate, up, MG_GELU_TANH });
    snprintf(text, sizeof text, "N %d, %d heads of %d", (int)n, m->heads, m->hd);
    MEASURE(rope, text, 0, 2 * qb, { q, ids, cosine, sine, m->hd, m->hd, false });
    MEASURE(rmsnorm, text, 0, 2 * qb, { q, q, norm, none, inv, 1e-6f });
    drop(x), drop(y), drop(z), drop(g), drop(gate), drop(up), drop(out), drop(dy), drop(y2), drop(q), drop(table), drop(norm), drop(angles);
    free(inv), free(work), free(ids);
}

static void optimizer(const mg_backend *b, int64_t n) {
    mg_mat p = matrix(1, n), m = matrix(1, n), v = matrix(1, n), g = matrix(1, n);
    double sum = 0;
    char   text[64];
    for (int64_t i = 0; i < n; i++) ((float *)v.data)[i] = 1;
    snprintf(text, sizeof text, "%.1f M numbers", 1e-6 * (double)n);
    MEASURE(adamw, text, 0, 28.0 * (double)n,
            { .p = p.data, .m = m.data, .v = v.data, .grad = g.data, .n = n, .lr = 1e-4f, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f,
              .decay = 0.01f, .grad_scale = 1, .c1 = 0.5, .c2 = 0.5 });
    MEASURE(square_sum, text, 0, 4.0 * (double)n, { g.data, n, &sum });
    drop(p), drop(m), drop(v), drop(g);
}

static void all(const mg_backend *b, const model *m) {
    static const int rows[] = { 512, 160, 64 };
    int64_t          wide = m->heads * m->hd, narrow = m->kv_heads * m->hd;
    printf("--- %s, %s\n", m->name, b->name);
    for (int i = 0; i < 3; i++) {
        linears(b, m->format[0], rows[i], m->d, wide);
        linears(b, m->format[0], rows[i], m->d, narrow);
        linears(b, m->format[0], rows[i], m->d, m->f);
        linears(b, m->format[1], rows[i], m->f, m->d);
        linears(b, "f32", rows[i], m->d, m->f);
    }
    adapters(b, 512, m->d, m->f);
    adapters(b, 512, m->f, m->d);
    full_gradient(b, 512, m->d, m->f);
    attentions(b, m, 1, 512, 0);
    attentions(b, m, 12, 42, 0);
    attentions(b, m, 1, 2048, 0);
    heads(b, m, 512);
    heads(b, m, 150);
    if (b != &mg_backend_cpu) return; /* the rest is the same for both */
    linears(b, m->format[0], 1, m->d, m->f);
    linears(b, m->format[1], 1, m->f, m->d);
    linears(b, "q8_0", 1, m->d, m->f);
    linears(b, m->format[0], 8, m->d, m->f);
    linears(b, m->format[0], 32, m->d, m->f);
    generation(b, m, 1, 1000);
    generation(b, m, 16, 200);
    cheap(b, m, 512);
}

int main(int argc, char **argv) {
    int threads = 0, option;
    while ((option = getopt(argc, argv, "t:r:m:")) != -1) {
        if (option == 't') threads = atoi(optarg);
        if (option == 'm') only = optarg;
        if (option == 'r') least_seconds = 1e-3 * atoi(optarg);
        if (option == '?') return 2;
    }
    filter = argv[optind];
    mg_threads_start(threads);
    find_limits();
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        if (only && !strstr(models[i].name, only)) continue;
        all(&mg_backend_cpu, &models[i]);
        if (mg_cpu_has_bf16()) all(&mg_backend_cpu_bf16, &models[i]);
    }
    optimizer(&mg_backend_cpu, 4900000);
    mg_threads_stop();
    return 0;
}
