/* gemm.cu -- dense products through cuBLASLt.
 *
 * cuBLASLt speaks of columns first; a row-major matrix is its transpose there, so C = op(A) op(B) is asked for as
 * C^T = op(B)^T op(A)^T with the operands exchanged and nothing moved.  What a product needs prepared (layouts, the
 * algorithm that the library's heuristic picks) depends on shapes, types and alignment only and is kept in a table:
 * a step asks for the same few hundred products again and again, and the same algorithm gives the same bits.
 *
 * A packed weight is decoded whole into work memory and multiplied from there: at training's row counts the product
 * takes many times longer than the decoding, and a fused one would be slower than both. */
#include "backend/cuda/few.h"
#include "backend/cuda/gemm.h"
#include "backend/cuda/rank.h"

#include <cublasLt.h>
#include <string.h>

enum { WORK_BYTES = 64 << 20, SLOTS = 4096, OFFERS = 8 };

static cublasLtHandle_t lt;
static void            *workspace;

typedef struct {
    int64_t m, n, k, lda, ldb, ldc;
    int     ta, tb, type, type_c, bias, adds;
    int     align_a, align_b, align_c;
} product_key;

typedef struct {
    product_key            key;
    bool                   used, works;
    cublasLtMatmulDesc_t   op;
    cublasLtMatrixLayout_t a, b, c;
    cublasLtMatmulAlgo_t   algo;
} product;

static product table[SLOTS];

bool mg_cuda_gemm_open(void) {
    return cublasLtCreate(&lt) == CUBLAS_STATUS_SUCCESS && cudaMalloc(&workspace, WORK_BYTES) == cudaSuccess;
}

static cudaDataType_t type_of(const mg_format *f) {
    return f == mg_cuda_f32 ? CUDA_R_32F : f == mg_cuda_bf16 ? CUDA_R_16BF : CUDA_R_16F;
}

static int alignment(const void *p) {
    uintptr_t u = (uintptr_t)p | 256;
    return (int)(u & (~u + 1));
}

static uint64_t hash(const product_key *k) {
    const unsigned char *p = (const unsigned char *)k;
    uint64_t             h = 1469598103934665603ull;
    for (size_t i = 0; i < sizeof *k; i++) h = (h ^ p[i]) * 1099511628211ull;
    return h;
}

static void set_alignments(cublasLtMatmulPreference_t want, const product_key *k) {
    uint32_t a = (uint32_t)k->align_a, b = (uint32_t)k->align_b, c = (uint32_t)k->align_c;
    cublasLtMatmulPreferenceSetAttribute(want, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &a, sizeof a);
    cublasLtMatmulPreferenceSetAttribute(want, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &b, sizeof b);
    cublasLtMatmulPreferenceSetAttribute(want, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &c, sizeof c);
    cublasLtMatmulPreferenceSetAttribute(want, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &c, sizeof c);
}

static int config(const cublasLtMatmulAlgo_t *a, cublasLtMatmulAlgoConfigAttributes_t what) {
    uint32_t x = 0;
    size_t   n;
    return cublasLtMatmulAlgoConfigGetAttribute(a, what, &x, sizeof x, &n) == CUBLAS_STATUS_SUCCESS ? (int)x : -1;
}

/* Which of the heuristic's offers: a fixed order of preference, so that a shape has one algorithm and one result.
 * Measured (tests/cuda/speed_products.cu, H200): where c is wide, the 256 x 128 tile is 2 to 3% faster than the first offer,
 * and when c is added to, tiles of 128 x 128 and 128 x 160 by 10 to 15%. */
static int preferred(const product_key *k, const cublasLtMatmulHeuristicResult_t *offer, int found) {
    enum { WIDE = 8192 };
    if (mg_cuda_cc != 90 || k->m < WIDE || k->n < WIDE / 4) return 0;
    for (int i = 0; i < found; i++) {
        int  tile = config(&offer[i].algo, CUBLASLT_ALGO_CONFIG_TILE_ID);
        bool small = tile == CUBLASLT_MATMUL_TILE_128x128 || tile == CUBLASLT_MATMUL_TILE_128x160;
        if (config(&offer[i].algo, CUBLASLT_ALGO_CONFIG_SPLITK_NUM) != 1) continue;
        if (k->adds ? small : tile == CUBLASLT_MATMUL_TILE_256x128) return i;
    }
    return 0;
}

static void prepare(product *p) {
    const product_key    *k = &p->key;
    cudaDataType_t        type = (cudaDataType_t)k->type;
    cublasOperation_t     ta = k->ta ? CUBLAS_OP_T : CUBLAS_OP_N, tb = k->tb ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasLtEpilogue_t    epilogue = k->bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
    size_t                most = WORK_BYTES;
    int                   found = 0;
    cublasLtMatmulPreference_t      want;
    cublasLtMatmulHeuristicResult_t offer[OFFERS];
    cublasLtMatmulDescCreate(&p->op, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    cublasLtMatmulDescSetAttribute(p->op, CUBLASLT_MATMUL_DESC_TRANSA, &ta, sizeof ta);
    cublasLtMatmulDescSetAttribute(p->op, CUBLASLT_MATMUL_DESC_TRANSB, &tb, sizeof tb);
    cublasLtMatmulDescSetAttribute(p->op, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue);
    cublasLtMatrixLayoutCreate(&p->a, type, (uint64_t)(k->ta ? k->k : k->m), (uint64_t)(k->ta ? k->m : k->k), k->lda);
    cublasLtMatrixLayoutCreate(&p->b, type, (uint64_t)(k->tb ? k->n : k->k), (uint64_t)(k->tb ? k->k : k->n), k->ldb);
    cublasLtMatrixLayoutCreate(&p->c, (cudaDataType_t)k->type_c, (uint64_t)k->m, (uint64_t)k->n, k->ldc);
    cublasLtMatmulPreferenceCreate(&want);
    cublasLtMatmulPreferenceSetAttribute(want, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &most, sizeof most);
    set_alignments(want, k);
    cublasLtMatmulAlgoGetHeuristic(lt, p->op, p->a, p->b, p->c, p->c, want, OFFERS, offer, &found);
    cublasLtMatmulPreferenceDestroy(want);
    p->works = found > 0;
    if (found > 0) p->algo = offer[preferred(k, offer, found)].algo;
    p->used = true;
}

/* The table never empties; a step's products are far fewer than it has room for. */
/* A run whose batches differ in length meets new shapes without end: where the few places of a key are taken, the first gives way. */
static product *look_up(const product_key *k) {
    enum { PLACES = 16 };
    size_t   i = hash(k) % SLOTS;
    product *first = &table[i];
    for (size_t tries = 0; tries < PLACES; tries++, i = (i + 1) % SLOTS) {
        if (table[i].used && memcmp(&table[i].key, k, sizeof *k) != 0) continue;
        if (!table[i].used) {
            table[i].key = *k;
            prepare(&table[i]);
        }
        return &table[i];
    }
    cublasLtMatmulDescDestroy(first->op);
    cublasLtMatrixLayoutDestroy(first->a);
    cublasLtMatrixLayoutDestroy(first->b);
    cublasLtMatrixLayoutDestroy(first->c);
    memset(first, 0, sizeof *first);
    first->key = *k;
    prepare(first);
    return first;
}

void mg_cuda_product(mg_mat c, mg_mat a, bool ta, mg_mat b, bool tb, float alpha, float beta, mg_mat bias, mg_mat onto) {
    product_key k;
    if (!c.rows || !c.cols) return;
    if (!onto.data || beta == 0) onto = c;
    memset(&k, 0, sizeof k); /* compared as bytes */
    k.m = c.cols, k.n = c.rows, k.k = ta ? a.rows : a.cols;
    k.lda = b.cols, k.ldb = a.cols, k.ldc = c.cols;
    k.ta = tb, k.tb = ta, k.bias = bias.data != NULL, k.adds = beta != 0;
    k.type = (int)type_of(a.format), k.type_c = (int)type_of(c.format);
    k.align_a = alignment(b.data), k.align_b = alignment(a.data), k.align_c = alignment((void *)((uintptr_t)c.data | (uintptr_t)onto.data));
    product *p = look_up(&k);
    if (!p->works || a.format != b.format) {
        mg_cuda_check(cudaErrorNotSupported, "gemm: cuBLASLt has no product for these types and shapes");
        return;
    }
    if (k.bias) cublasLtMatmulDescSetAttribute(p->op, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias.data, sizeof bias.data);
    cublasStatus_t st = cublasLtMatmul(lt, p->op, &alpha, b.data, p->a, a.data, p->b, &beta, onto.data, p->c, c.data, p->c, &p->algo,
                                       workspace, WORK_BYTES, mg_cuda_stream);
    if (st != CUBLAS_STATUS_SUCCESS) mg_cuda_check(cudaErrorUnknown, cublasLtGetStatusString(st));
}

void mg_cuda_gemm(mg_gemm_args a) {
    mg_mat none = {};
    if (mg_cuda_rank_product(a)) return;
    mg_cuda_product(a.c, a.a, a.ta, a.b, a.tb, a.alpha, a.beta, none, none);
    if (!a.onto.data) return;
    mg_add_args more = { a.c, a.onto, 1, true };
    mg_cuda_add(more);
}

mg_mat mg_cuda_plain(mg_mat w, const mg_format *f, void *room) {
    if (w.format == f) return w;
    mg_mat plain = { room, w.rows, w.cols, f, NULL };
    mg_cuda_decode(w, 0, w.rows, room, f);
    return plain;
}

size_t mg_cuda_linear_work(int64_t n, mg_mat w, const mg_format *element) {
    (void)n;
    return w.format == element ? 0 : (size_t)(w.rows * w.cols) * element->block_bytes;
}

/* Few rows are read straight from packed weights; plain ones are cuBLASLt's in any number. */
void mg_cuda_linear(mg_linear_args a) {
    if (!mg_format_is_plain(a.w.format) && mg_cuda_linear_few(a)) return;
    mg_mat w = mg_cuda_plain(a.w, a.x.format, a.work);
    mg_cuda_product(a.y, a.x, false, w, true, 1, a.accumulate ? 1.0f : 0.0f, a.bias, a.onto);
}

void mg_cuda_linear_dx(mg_linear_dx_args a) {
    mg_mat none = {}, w = mg_cuda_plain(a.w, a.dy.format, a.work);
    mg_cuda_product(a.dx, a.dy, false, w, false, 1, a.accumulate ? 1.0f : 0.0f, none, none);
}
