/* speed_products.cu -- what cuBLASLt offers for the products of a step: every algorithm that its heuristic lists, timed.
 *
 *   speed_products [TOKENS]
 *
 * One line a product: the first algorithm's time, the best one's, where it stands in the list, and what tells the two apart
 * (tile, stages, cluster, split of the sum).  What gemm.cu prefers comes from these lines.  Random numbers; each time is the
 * median of nine runs of four calls. */
#include "stand_in.h"

#include "backend/cuda/gemm.h"

#include <cublasLt.h>
#include <cuda_bf16.h>

#include <algorithm>
#include <vector>

enum { OFFERS = 24, RUNS = 9, CALLS = 4, WORK = 64 << 20 };

static cublasLtHandle_t lt;
static void            *work, *memory[4];

struct product {
    const char *name;
    int64_t     rows, cols, sum; /* of c = op(a) op(b) */
    bool        ta, tb, wide, adds, apart; /* c is fp32; beta is 1; what is added lies elsewhere */
};

static int config(const cublasLtMatmulAlgo_t *a, cublasLtMatmulAlgoConfigAttributes_t what) {
    uint32_t x = 0; /* the cluster's shape is 16 bits */
    size_t   n;
    cublasLtMatmulAlgoConfigGetAttribute(a, what, &x, what == CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID ? 2 : 4, &n);
    return (int)x;
}

static void describe(const cublasLtMatmulAlgo_t *a, char *out, size_t n) {
    snprintf(out, n, "id %d tile %d stages %d cluster %d split %d/%d custom %d", config(a, CUBLASLT_ALGO_CONFIG_ID), config(a, CUBLASLT_ALGO_CONFIG_TILE_ID),
             config(a, CUBLASLT_ALGO_CONFIG_STAGES_ID), config(a, CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID), config(a, CUBLASLT_ALGO_CONFIG_SPLITK_NUM),
             config(a, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME), config(a, CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION));
}

static __global__ void fill_random(__nv_bfloat16 *x, int64_t n) {
    for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < n; i += (int64_t)gridDim.x * blockDim.x) {
        uint32_t h = (uint32_t)i * 2654435761u;
        h = (h ^ h >> 15) * 2246822519u;
        x[i] = __float2bfloat16((float)(h >> 8) * 0x1p-23f - 1);
    }
}

static float time_of(const product &p, cublasLtMatmulDesc_t op, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                     const cublasLtMatmulAlgo_t *algo) {
    std::vector<float> ms(RUNS);
    cudaEvent_t        begin, end;
    float              one = 1, beta = p.adds;
    cudaEventCreate(&begin), cudaEventCreate(&end);
    for (int r = -1; r < RUNS; r++) {
        cudaEventRecord(begin, mg_cuda_stream);
        for (int i = 0; i < CALLS; i++)
            if (cublasLtMatmul(lt, op, &one, memory[1], a, memory[0], b, &beta, p.apart ? memory[3] : memory[2], c, memory[2], c, algo, work, WORK,
                               mg_cuda_stream) != CUBLAS_STATUS_SUCCESS)
                return 1e9f;
        cudaEventRecord(end, mg_cuda_stream);
        cudaEventSynchronize(end);
        if (r >= 0) cudaEventElapsedTime(&ms[(size_t)r], begin, end);
    }
    std::sort(ms.begin(), ms.end());
    cudaEventDestroy(begin), cudaEventDestroy(end);
    return ms[RUNS / 2] * 1000 / CALLS;
}

static void measure(const product &p) {
    cublasLtMatmulDesc_t            op;
    cublasLtMatrixLayout_t          a, b, c;
    cublasLtMatmulPreference_t      want;
    cublasLtMatmulHeuristicResult_t offer[OFFERS];
    cublasOperation_t               ta = p.tb ? CUBLAS_OP_T : CUBLAS_OP_N, tb = p.ta ? CUBLAS_OP_T : CUBLAS_OP_N;
    size_t                          most = WORK;
    int                             found = 0, best = 0;
    float                           us[OFFERS];
    char                            first[120], other[120];
    cublasLtMatmulDescCreate(&op, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    cublasLtMatmulDescSetAttribute(op, CUBLASLT_MATMUL_DESC_TRANSA, &ta, sizeof ta);
    cublasLtMatmulDescSetAttribute(op, CUBLASLT_MATMUL_DESC_TRANSB, &tb, sizeof tb);
    int64_t m = p.cols, n = p.rows, k = p.sum; /* columns first, operands exchanged: see gemm.cu */
    cublasLtMatrixLayoutCreate(&a, CUDA_R_16BF, (uint64_t)(p.tb ? k : m), (uint64_t)(p.tb ? m : k), p.tb ? k : m);
    cublasLtMatrixLayoutCreate(&b, CUDA_R_16BF, (uint64_t)(p.ta ? n : k), (uint64_t)(p.ta ? k : n), p.ta ? n : k);
    cublasLtMatrixLayoutCreate(&c, p.wide ? CUDA_R_32F : CUDA_R_16BF, (uint64_t)m, (uint64_t)n, m);
    cublasLtMatmulPreferenceCreate(&want);
    cublasLtMatmulPreferenceSetAttribute(want, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &most, sizeof most);
    cublasLtMatmulAlgoGetHeuristic(lt, op, a, b, c, c, want, OFFERS, offer, &found);
    for (int i = 0; i < found; i++) {
        us[i] = time_of(p, op, a, b, c, &offer[i].algo);
        if (us[i] < us[best]) best = i;
    }
    if (!found) return;
    describe(&offer[0].algo, first, sizeof first);
    describe(&offer[best].algo, other, sizeof other);
    printf("%-22s %6lld x %6lld, %6lld  %7.1f us (%s)  best %7.1f, number %d of %d (%s) %5.0f TFLOP/s\n", p.name, (long long)p.rows, (long long)p.cols,
           (long long)p.sum, us[0], first, us[best], best, found, other, 2e-6 * (double)m * (double)n * (double)k / us[best]);
}

static void of_layer(int64_t tokens, int64_t out, int64_t in) {
    const product all[] = {
        { "y", tokens, out, in, false, true, false, false, false },   { "y + residual", tokens, out, in, false, true, false, true, true },
        { "dx", tokens, in, out, false, false, false, false, false }, { "dx +=", tokens, in, out, false, false, false, true, false },
    };
    for (const product &p : all) measure(p);
}

static void of_adapter(int64_t tokens, int64_t width, int64_t rank) {
    const product all[] = {
        { "u = x a^T", tokens, rank, width, false, true, false, false, false }, { "u^T = a x^T", rank, tokens, width, false, true, false, false, false },
        { "du = dy b", tokens, rank, width, false, false, false, false, false }, { "du^T = b^T dy^T", rank, tokens, width, true, true, false, false, false },
        { "db += dy^T u", width, rank, tokens, true, false, true, true, false }, { "db += dy^T u^TT", width, rank, tokens, true, true, true, true, false },
        { "da += du^T x", rank, width, tokens, true, false, true, true, false }, { "da += du^TT x", rank, width, tokens, false, false, true, true, false },
    };
    for (const product &p : all) measure(p);
}

/* Ours (rank.cu): written; added to; added to, with a residual. */
static void of_rank(int64_t tokens, int64_t width, int64_t rank) {
    static const char *const names[] = { "c = u^TT b^T", "c += u^TT b^T", "c += .. + onto", "c = du^TT a", "c += du^TT a" };
    for (int kind = 0; kind < 5; kind++) {
        mg_gemm_args a = { { memory[2], tokens, width, mg_cuda_bf16, NULL }, { memory[0], rank, tokens, mg_cuda_bf16, NULL },
                           { memory[1], kind < 3 ? width : rank, kind < 3 ? rank : width, mg_cuda_bf16, NULL }, true, kind < 3, 0.5f,
                           kind == 0 || kind == 3 ? 0.0f : 1.0f, {} };
        if (kind == 2) a.onto = mg_mat{ memory[3], tokens, width, mg_cuda_bf16, NULL };
        std::vector<float> ms(RUNS);
        cudaEvent_t        begin, end;
        cudaEventCreate(&begin), cudaEventCreate(&end);
        for (int r = -1; r < RUNS; r++) {
            cudaEventRecord(begin, mg_cuda_stream);
            for (int i = 0; i < 4 * CALLS; i++) {
                mg_mat other = a.c;
                other.data = (char *)a.c.data + (size_t)i * (size_t)(tokens * width) * 2 % ((size_t)1 << 29); /* past the cache */
                mg_gemm_args now = a;
                now.c = other;
                mg_cuda_gemm(now);
            }
            cudaEventRecord(end, mg_cuda_stream);
            cudaEventSynchronize(end);
            if (r >= 0) cudaEventElapsedTime(&ms[(size_t)r], begin, end);
        }
        std::sort(ms.begin(), ms.end());
        double us = ms[RUNS / 2] * 1000 / (4 * CALLS), passes = kind == 0 || kind == 3 ? 1 : kind == 2 ? 3 : 2;
        printf("%-22s %6lld x %6lld, %6lld  %7.1f us, %5.0f GB/s\n", names[kind], (long long)tokens, (long long)width, (long long)rank, us,
               passes * (double)(tokens * width) * 2e-3 / us);
    }
}

int main(int argc, char **argv) {
    int64_t tokens = argc > 1 ? atoi(argv[1]) : 4096, most = tokens * 16384;
    open_device();
    cublasLtCreate(&lt);
    if (!mg_cuda_gemm_open()) return 1;
    cudaMalloc(&work, WORK);
    for (void *&m : memory) {
        int64_t n = most > (int64_t)16384 * 16384 ? most : (int64_t)16384 * 16384;
        mg_cuda_check(cudaMalloc(&m, (size_t)n * 4), "memory");
        fill_random<<<1024, 256, 0, mg_cuda_stream>>>((__nv_bfloat16 *)m, 2 * n);
    }
    static const int64_t layers[][2] = { { 4096, 4096 }, { 11008, 4096 }, { 4096, 11008 }, { 12288, 4096 }, { 4096, 12288 }, { 1024, 4096 },
                                         { 2048, 1024 }, { 1024, 1024 },  { 3072, 1024 },  { 1024, 3072 },  { 1024, 2048 }, { 9216, 2304 },
                                         { 2304, 9216 } };
    for (const int64_t *l : layers) of_layer(tokens, l[0], l[1]);
    for (int64_t rank : { 16, 48 }) of_rank(tokens, 4096, rank);
    for (int64_t rank : { 16, 32 }) of_rank(tokens, 11008, rank);
    for (int64_t rank : { 16, 32, 48 }) of_adapter(tokens, 4096, rank);
    of_adapter(tokens, 11008, 16);
    return 0;
}
