/* gemm.c -- the one file that knows which library multiplies.
 *
 * oneDNN (2.x and 3.x differ in their C interface), else OpenBLAS, else a plain
 * loop.  Each call is made by one thread of our pool and must stay there: the
 * number of OpenMP threads is a variable of each thread, set to one at its first
 * call, so the library's own pool never starts.
 *
 * oneDNN's bf16 product is a "primitive" made for one shape (0.03-0.2 ms in 2.6,
 * more where it compiles); each thread keeps its own in a table of recent ones. */
#include "backend/cpu/gemm.h"

#include "backend/cpu/cpu.h"
#include "backend/cpu/loops.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(MG_WITH_DNNL)
#include <dlfcn.h>
#include <dnnl.h>
#include <pthread.h>
#elif defined(MG_WITH_OPENBLAS)
#include <cblas.h>
#endif

/* ---- bf16 where the machine has no such products: widen blocks to fp32 ---- */

enum { WIDE_M = 64, WIDE_N = 128, WIDE_K = 256 };

static void widen(float *out, const uint16_t *in, int64_t rows, int64_t cols, int64_t ld) {
    for (int64_t r = 0; r < rows; r++) mg_cpu_loops_now()->from_bf16(out + r * cols, in + r * ld, cols);
}

static void bf16_by_f32(int thread, mg_gemm_shape s, const uint16_t *a, const uint16_t *b, bool accumulate, float *c) {
    static _Thread_local float wide_a[WIDE_M * WIDE_K], wide_b[WIDE_K * WIDE_N];
    for (int64_t j = 0; j < s.n; j += WIDE_N)
        for (int64_t l = 0; l < s.k; l += WIDE_K) {
            int64_t n = mg_cpu_min(WIDE_N, s.n - j), k = mg_cpu_min(WIDE_K, s.k - l);
            if (s.tb)
                widen(wide_b, b + j * s.ldb + l, n, k, s.ldb);
            else
                widen(wide_b, b + l * s.ldb + j, k, n, s.ldb);
            for (int64_t i = 0; i < s.m; i += WIDE_M) {
                int64_t m = mg_cpu_min(WIDE_M, s.m - i);
                if (s.ta)
                    widen(wide_a, a + l * s.lda + i, k, m, s.lda);
                else
                    widen(wide_a, a + i * s.lda + l, m, k, s.lda);
                mg_gemm_shape piece = { m, n, k, s.ta, s.tb, s.ta ? m : k, s.tb ? k : n, s.ldc };
                mg_gemm_f32(thread, piece, 1, wide_a, wide_b, accumulate || l ? 1.0f : 0.0f, c + i * s.ldc + j);
            }
        }
}

#if defined(MG_WITH_DNNL)

static pthread_once_t once = PTHREAD_ONCE_INIT;
static dnnl_engine_t  engine;
static void (*omp_set_threads)(int);

/* The library must obey MIGAKI_CPU_ISA as our own loops do. */
static void start(void) {
    static const dnnl_cpu_isa_t most[] = { [MG_CPU_BASE] = dnnl_cpu_isa_sse41, [MG_CPU_V3] = dnnl_cpu_isa_avx2 };
    if (mg_cpu_level_now() < MG_CPU_V4) (void)dnnl_set_max_cpu_isa(most[mg_cpu_level_now()]);
    /* looked up, because the library may be built with another runtime than OpenMP */
    void *symbol = dlsym(RTLD_DEFAULT, "omp_set_num_threads");
    memcpy(&omp_set_threads, &symbol, sizeof symbol);
    if (dnnl_engine_create(&engine, dnnl_cpu, 0) != dnnl_success) engine = NULL;
}

static void enter(void) {
    static _Thread_local bool entered;
    if (entered) return;
    pthread_once(&once, start);
    if (omp_set_threads) omp_set_threads(1);
    entered = true;
}

void mg_gemm_f32(int thread, mg_gemm_shape s, float alpha, const float *a, const float *b, float beta, float *c) {
    (void)thread;
    enter();
    dnnl_status_t st = dnnl_sgemm(s.ta ? 'T' : 'N', s.tb ? 'T' : 'N', s.m, s.n, s.k, alpha, a, s.lda, b, s.ldb, beta, c,
                                  s.ldc);
    MG_ASSERT_EQ(st, dnnl_success);
}

/* The two interfaces: descriptors are structs in 2.x and handles in 3.x. */
#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t memory_desc;
#define DESC(d) (d)
static bool desc_make(memory_desc *d, dnnl_dims_t dims, dnnl_data_type_t type, dnnl_dims_t strides) {
    return dnnl_memory_desc_create_with_strides(d, 2, dims, type, strides) == dnnl_success;
}
static void desc_free(memory_desc *d) { (void)dnnl_memory_desc_destroy(*d); }
static bool primitive_desc(dnnl_primitive_desc_t *out, memory_desc *a, memory_desc *b, memory_desc *c,
                           dnnl_primitive_attr_t attr) {
    return dnnl_matmul_primitive_desc_create(out, engine, *a, *b, NULL, *c, attr) == dnnl_success;
}
static bool append_sum(dnnl_post_ops_t ops) {
    return dnnl_post_ops_append_sum(ops, 1, 0, dnnl_data_type_undef) == dnnl_success;
}
typedef const_dnnl_memory_desc_t memory_desc_view;
#else
typedef dnnl_memory_desc_t memory_desc;
#define DESC(d) (&(d))
static bool desc_make(memory_desc *d, dnnl_dims_t dims, dnnl_data_type_t type, dnnl_dims_t strides) {
    return dnnl_memory_desc_init_by_strides(d, 2, dims, type, strides) == dnnl_success;
}
static void desc_free(memory_desc *d) { (void)d; }
static bool primitive_desc(dnnl_primitive_desc_t *out, memory_desc *a, memory_desc *b, memory_desc *c,
                           dnnl_primitive_attr_t attr) {
    dnnl_matmul_desc_t d;
    return dnnl_matmul_desc_init(&d, a, b, NULL, c) == dnnl_success &&
           dnnl_primitive_desc_create(out, &d, attr, engine, NULL) == dnnl_success;
}
static bool append_sum(dnnl_post_ops_t ops) { return dnnl_post_ops_append_sum(ops, 1) == dnnl_success; }
typedef const dnnl_memory_desc_t *memory_desc_view;
#endif

typedef struct {
    mg_gemm_shape    shape;
    bool             accumulate;
    uint64_t         used; /* when last, for replacement */
    dnnl_primitive_t primitive;
    dnnl_memory_t    a, b, c, work;
} entry;

enum { ENTRIES = 1024, PROBES = 8 };
typedef struct {
    entry         table[ENTRIES];
    dnnl_stream_t stream;
    uint64_t      clock;
    void         *work; /* one scratchpad for all entries */
    size_t        work_bytes;
} cache;
static cache *caches[MG_CPU_THREADS_MAX];

static cache *cache_of(int thread) {
    MG_ASSERT(thread >= 0 && thread < MG_CPU_THREADS_MAX);
    if (!caches[thread]) {
        caches[thread] = mg_calloc(1, sizeof(cache));
        MG_ASSERT(caches[thread] && engine);
        MG_ASSERT_EQ(dnnl_stream_create(&caches[thread]->stream, engine, dnnl_stream_default_flags), dnnl_success);
    }
    return caches[thread];
}

static void entry_free(entry *e) {
    if (e->primitive) (void)dnnl_primitive_destroy(e->primitive);
    dnnl_memory_t all[] = { e->a, e->b, e->c, e->work };
    for (int i = 0; i < 4; i++)
        if (all[i]) (void)dnnl_memory_destroy(all[i]);
    *e = (entry){ 0 };
}

static bool work_grow(cache *k, size_t bytes) {
    if (bytes <= k->work_bytes) return true;
    void *p = aligned_alloc(64, mg_cpu_pad(bytes));
    if (!p) return false;
    free(k->work);
    k->work = p;
    k->work_bytes = bytes;
    return true;
}

static bool attributes(dnnl_primitive_attr_t *attr, bool accumulate) {
    dnnl_post_ops_t ops = NULL;
    bool            ok = dnnl_primitive_attr_create(attr) == dnnl_success &&
              dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user) == dnnl_success;
    if (ok && accumulate)
        ok = dnnl_post_ops_create(&ops) == dnnl_success && append_sum(ops) &&
             dnnl_primitive_attr_set_post_ops(*attr, ops) == dnnl_success;
    if (ops) (void)dnnl_post_ops_destroy(ops);
    return ok;
}

/* False: the library has no such product here. */
static bool entry_make(cache *k, entry *e, mg_gemm_shape s, bool accumulate) {
    dnnl_dims_t a = { s.m, s.k }, b = { s.k, s.n }, c = { s.m, s.n };
    dnnl_dims_t along_a = { s.ta ? 1 : s.lda, s.ta ? s.lda : 1 }, along_b = { s.tb ? 1 : s.ldb, s.tb ? s.ldb : 1 };
    dnnl_dims_t along_c = { s.ldc, 1 };
    memory_desc da, db, dc;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    if (!desc_make(&da, a, dnnl_bf16, along_a) || !desc_make(&db, b, dnnl_bf16, along_b) ||
        !desc_make(&dc, c, dnnl_f32, along_c))
        return false;
    bool ok = attributes(&attr, accumulate) && primitive_desc(&pd, &da, &db, &dc, attr) &&
              dnnl_primitive_create(&e->primitive, pd) == dnnl_success;
    if (ok) {
        memory_desc_view work = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
        ok = work_grow(k, work ? dnnl_memory_desc_get_size(work) : 0) &&
             (!work || dnnl_memory_create(&e->work, work, engine, DNNL_MEMORY_NONE) == dnnl_success);
        ok = ok && dnnl_memory_create(&e->a, DESC(da), engine, DNNL_MEMORY_NONE) == dnnl_success &&
             dnnl_memory_create(&e->b, DESC(db), engine, DNNL_MEMORY_NONE) == dnnl_success &&
             dnnl_memory_create(&e->c, DESC(dc), engine, DNNL_MEMORY_NONE) == dnnl_success;
    }
    if (pd) (void)dnnl_primitive_desc_destroy(pd);
    if (attr) (void)dnnl_primitive_attr_destroy(attr);
    desc_free(&da), desc_free(&db), desc_free(&dc);
    e->shape = s;
    e->accumulate = accumulate;
    if (!ok) entry_free(e);
    return ok;
}

static bool same(const entry *e, mg_gemm_shape s, bool accumulate) {
    return e->primitive && e->shape.m == s.m && e->shape.n == s.n && e->shape.k == s.k && e->shape.ta == s.ta &&
           e->shape.tb == s.tb && e->shape.lda == s.lda && e->shape.ldb == s.ldb && e->shape.ldc == s.ldc &&
           e->accumulate == accumulate;
}

static uint64_t hash_of(mg_gemm_shape s, bool accumulate) {
    const int64_t part[] = { s.m, s.n, s.k, s.lda, s.ldb, s.ldc, s.ta + 2 * s.tb + 4 * accumulate };
    uint64_t      h = 0;
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) h = (h ^ (uint64_t)part[i]) * 0x9E3779B97F4A7C15u, h ^= h >> 29;
    return h;
}

/* Found, or made in the place of the one not used for longest. */
static entry *entry_of(cache *k, mg_gemm_shape s, bool accumulate) {
    uint64_t h = hash_of(s, accumulate);
    entry   *oldest = NULL;
    k->clock++;
    for (int i = 0; i < PROBES; i++) {
        entry *e = &k->table[(h + (uint64_t)i) % ENTRIES];
        if (same(e, s, accumulate)) {
            e->used = k->clock;
            return e;
        }
        if (!oldest || e->used < oldest->used) oldest = e;
    }
    entry_free(oldest);
    if (!entry_make(k, oldest, s, accumulate)) return NULL;
    oldest->used = k->clock;
    return oldest;
}

static void piece_bf16(int thread, mg_gemm_shape s, const uint16_t *a, const uint16_t *b, bool accumulate, float *c) {
    cache *k = cache_of(thread);
    entry *e = entry_of(k, s, accumulate);
    if (!e) {
        bf16_by_f32(thread, s, a, b, accumulate, c);
        return;
    }
    union { const uint16_t *in; void *out; } pa = { a }, pb = { b }; /* the interface knows no const */
    dnnl_memory_set_data_handle(e->a, pa.out);
    dnnl_memory_set_data_handle(e->b, pb.out);
    dnnl_memory_set_data_handle(e->c, c);
    if (e->work) dnnl_memory_set_data_handle(e->work, k->work);
    dnnl_exec_arg_t args[] = { { DNNL_ARG_SRC, e->a }, { DNNL_ARG_WEIGHTS, e->b }, { DNNL_ARG_DST, e->c },
                               { DNNL_ARG_SCRATCHPAD, e->work } };
    MG_ASSERT_EQ(dnnl_primitive_execute(e->primitive, k->stream, e->work ? 4 : 3, args), dnnl_success);
    MG_ASSERT_EQ(dnnl_stream_wait(k->stream), dnnl_success);
}

/* 3.x compiles a kernel for every number of rows, and token rows come in any number: cut them into powers of
 * two.  2.x has one for all when c is a part of a larger matrix, and is faster uncut. */
static int64_t piece_rows(int64_t m) {
    int64_t rows = 512;
    if (DNNL_VERSION_MAJOR < 3) return m;
    while (rows > m && rows > 16) rows /= 2;
    return mg_cpu_min(rows, m);
}

void mg_gemm_bf16(int thread, mg_gemm_shape s, const uint16_t *a, const uint16_t *b, bool accumulate, float *c) {
    enter();
    if (!mg_cpu_has_bf16()) {
        bf16_by_f32(thread, s, a, b, accumulate, c);
        return;
    }
    for (int64_t m = s.m; m > 0; m -= s.m) {
        s.m = piece_rows(m);
        piece_bf16(thread, s, a, b, accumulate, c);
        a += s.ta ? s.m : s.m * s.lda;
        c += s.m * s.ldc;
    }
}

const char *mg_gemm_library(void) {
    static char text[60];
    const dnnl_version_t *v = dnnl_version();
    snprintf(text, sizeof text, "oneDNN %d.%d.%d (isa %#x)", v->major, v->minor, v->patch, (unsigned)dnnl_get_effective_cpu_isa());
    return text;
}

#else

#if defined(MG_WITH_OPENBLAS)

void mg_gemm_f32(int thread, mg_gemm_shape s, float alpha, const float *a, const float *b, float beta, float *c) {
    static _Thread_local bool entered;
    (void)thread;
    if (!entered) openblas_set_num_threads(1);
    entered = true;
    cblas_sgemm(CblasRowMajor, s.ta ? CblasTrans : CblasNoTrans, s.tb ? CblasTrans : CblasNoTrans, (blasint)s.m,
                (blasint)s.n, (blasint)s.k, alpha, a, (blasint)s.lda, b, (blasint)s.ldb, beta, c, (blasint)s.ldc);
}

const char *mg_gemm_library(void) {
    static char text[60];
    snprintf(text, sizeof text, "OpenBLAS (%s)", openblas_get_corename());
    return text;
}

#else

void mg_gemm_f32(int thread, mg_gemm_shape s, float alpha, const float *a, const float *b, float beta, float *c) {
    (void)thread;
    mg_cpu_loops_now()->gemm(s, alpha, a, b, beta, c);
}

const char *mg_gemm_library(void) { return "plain loops"; }

#endif

void mg_gemm_bf16(int thread, mg_gemm_shape s, const uint16_t *a, const uint16_t *b, bool accumulate, float *c) {
    bf16_by_f32(thread, s, a, b, accumulate, c);
}

#endif
