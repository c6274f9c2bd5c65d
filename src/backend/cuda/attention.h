/* attention.h -- what the attention kernels share: who sees whom, and the pieces of a tile product.
 *
 * Grids depend on host values alone (rows, heads, number of sequences), so a launch can be captured and
 * replayed while the contents of q_start change.  Packed sequences are cut into tiles of consecutive rows
 * that may hold several sequences; each row then has its own range of columns, and both ends of the ranges
 * only grow from row to row.  With that, a tile's columns are those from its first row's begin to its last
 * row's end, and no mask is needed where all rows see all columns.  With keys elsewhere (a cache) a tile
 * holds rows of one sequence.
 *
 * "Rows" are what a block of threads keeps, "columns" what it walks over: queries and keys in the forward
 * pass and for dq; keys and queries for dk and dv. */
#ifndef MG_BACKEND_CUDA_ATTENTION_H
#define MG_BACKEND_CUDA_ATTENTION_H

#include "backend/cuda/cuda.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#define MG_LOG2E 1.4426950408889634f
#define MG_LN2 0.6931471805599453f

/* Which code a pass of the compiler makes: bf16 from sm_80 on; there with copies in flight. */
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
#define MG_ASYNC 1
#else
#define MG_ASYNC 0
#endif

template <typename T> struct mg_is_half { static constexpr bool yes = false; };
template <> struct mg_is_half<__half> { static constexpr bool yes = true; };
/* Whether this pass of the compiler has products of elements T. */
template <typename T> static __host__ __device__ constexpr bool mg_has(void) { return MG_ASYNC || mg_is_half<T>::yes; }

/* A launch's pick of kernels; each returns false when it cannot do these arguments. */
bool mg_cuda_attention_tiles(const mg_attention_args *a);
bool mg_cuda_attention_few(const mg_attention_args *a);
bool mg_cuda_attention_wide(const mg_attention_args *a);
bool mg_cuda_attention_back_wide(const mg_attention_back_args *a, const float *delta);
bool mg_cuda_attention_back_tiles(const mg_attention_back_args *a, const float *delta);
size_t mg_cuda_attention_few_work(const mg_attention_shape *s, int64_t q_rows);

/* Memory above 48 KB a block has to be asked for. */
template <typename F> static inline void mg_with_shared(F *kernel, size_t bytes) {
    if (bytes > 48 * 1024)
        mg_cuda_check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes),
                      "attention: shared memory");
}

/* 16-byte accesses to every row of every head. */
static inline bool mg_aligned(mg_mat m, int hd) {
    return ((uintptr_t)m.data & 15) == 0 && hd % 8 == 0 && m.cols % 8 == 0;
}

/* ---- sequences ---- */

typedef struct mg_span { int q, n_q, k, n_k; } mg_span;
typedef struct mg_range { int begin, end; } mg_range;
typedef struct mg_tile { int row0, rows, seq; } mg_tile; /* seq -1: each row has to look */

static __device__ inline mg_span mg_span_of(const mg_attention_shape &s, int i) {
    mg_span x;
    x.q = s.q_start[i];
    x.n_q = s.q_start[i + 1] - x.q;
    x.k = s.k_start ? s.k_start[i] : x.q;
    x.n_k = s.k_start ? s.k_len[i] : x.n_q;
    return x;
}

/* The last i with q_start[i] <= r: -1 before all sequences, n_seq behind them. */
static __device__ inline int mg_sequence_of(const mg_attention_shape &s, int r) {
    int low = -1, high = s.n_seq + 1;
    while (high - low > 1) {
        int middle = (low + high) >> 1;
        if (s.q_start[middle] <= r) low = middle;
        else high = middle;
    }
    return low;
}

/* The columns that row r of sequence x meets, as rows of their matrices. */
template <bool KEYS> static __device__ inline mg_range mg_seen(const mg_attention_shape &s, mg_span x, int r) {
    int      at = x.n_k - x.n_q;
    mg_range c;
    if (KEYS) {
        int i = r - x.k - at; /* the query that stands at this key */
        c.begin = s.bidirectional ? 0 : max(i, 0);
        c.end = s.window > 0 ? max(c.begin, min(x.n_q, i + s.window)) : x.n_q;
        c.begin += x.q, c.end += x.q;
    } else {
        int i = r - x.q + at;
        c.begin = x.k + (s.window > 0 ? max(0, i - s.window + 1) : 0);
        c.end = x.k + (s.bidirectional ? x.n_k : i + 1);
    }
    return c;
}

/* Tile t of `size` rows; rows <= 0: there is no such tile. */
template <bool KEYS>
static __device__ inline mg_tile mg_tile_of(const mg_attention_shape &s, int t, int size, int rows) {
    mg_tile x = { t * size, min(size, rows - t * size), -1 };
    if (!s.k_start) return x;
    for (int i = 0; i < s.n_seq; i++) {
        mg_span u = mg_span_of(s, i);
        int     n = KEYS ? u.n_k : u.n_q, tiles = (n + size - 1) / size;
        if (t < tiles) {
            x.row0 = (KEYS ? u.k : u.q) + t * size;
            x.rows = min(size, n - t * size);
            x.seq = i;
            return x;
        }
        t -= tiles;
    }
    x.rows = 0;
    return x;
}

/* How many tiles a launch needs, whatever the sequences are. */
static inline int mg_tiles(const mg_attention_shape &s, int64_t rows, int size) {
    return s.k_start ? (int)(rows / size) + s.n_seq : (int)((rows + size - 1) / size);
}

template <bool KEYS> static __device__ inline mg_range mg_row_range(const mg_attention_shape &s, mg_tile t, int i) {
    int r = t.row0 + min(i, t.rows - 1), seq = t.seq >= 0 ? t.seq : mg_sequence_of(s, r);
    mg_range c;
    if (seq >= 0 && seq < s.n_seq) c = mg_seen<KEYS>(s, mg_span_of(s, seq), r);
    else c.begin = c.end = s.q_start[seq < 0 ? 0 : s.n_seq]; /* of no sequence: sees nothing */
    if (i >= t.rows) c.begin = c.end;
    return c;
}

/* What the mask of a tile comes to: columns from first to last; all rows see full.begin .. full.end-1. */
typedef struct mg_columns_seen { int first, last; mg_range full; } mg_columns_seen;

static __device__ inline mg_columns_seen mg_columns_of(const int *begin, const int *end, int n) {
    mg_columns_seen c = { begin[0], end[n - 1], { begin[n - 1], end[0] } };
    return c;
}

/* ---- elements ---- */

template <typename T> struct mg_pair;
template <> struct mg_pair<__half> {
    static __device__ inline uint32_t of(float a, float b) {
        __half2 x = __floats2half2_rn(a, b);
        return *(uint32_t *)&x;
    }
    static __device__ inline float2 floats(uint32_t x) { return __half22float2(*(__half2 *)&x); }
};
template <> struct mg_pair<__nv_bfloat16> {
    static __device__ inline uint32_t of(float a, float b) {
        __nv_bfloat162 x = __floats2bfloat162_rn(a, b);
        return *(uint32_t *)&x;
    }
    static __device__ inline float2 floats(uint32_t x) {
        float2 f = { __uint_as_float(x << 16), __uint_as_float(x & 0xffff0000u) };
        return f;
    }
};

static __device__ inline float mg_float(float x) { return x; }
static __device__ inline float mg_float(__half x) { return __half2float(x); }
static __device__ inline float mg_float(__nv_bfloat16 x) { return __bfloat162float(x); }
static __device__ inline void mg_set(float *x, float v) { *x = v; }
static __device__ inline void mg_set(__half *x, float v) { *x = __float2half_rn(v); }
static __device__ inline void mg_set(__nv_bfloat16 *x, float v) { *x = __float2bfloat16_rn(v); }

static __device__ inline float mg_exp2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* From exp and a reciprocal: its error, 1e-7 of the cap, is far below that of tanh.approx. */
static __device__ inline float mg_tanh(float x) {
    return 1 - __fdividef(2.0f, 1 + mg_exp2(2 * MG_LOG2E * fminf(x, 30.0f)));
}

/* Scores in units of log 2, ready for exp2: f(scale x) log2(e).  The slope is f'(scale x). */
typedef struct mg_scores { float scale, cap, inside; } mg_scores; /* inside: what tanh sees is inside * x */

static inline mg_scores mg_scores_of(const mg_attention_shape &s) {
    mg_scores z = { s.scale * MG_LOG2E, 0, 0 };
    if (s.softcap > 0) z.cap = s.softcap * MG_LOG2E, z.inside = s.scale / s.softcap;
    return z;
}

static __device__ inline float mg_score(mg_scores z, float x) {
    return z.cap > 0 ? z.cap * mg_tanh(z.inside * x) : z.scale * x;
}

static __device__ inline float mg_score_slope(mg_scores z, float x, float *slope) {
    *slope = 1;
    if (!(z.cap > 0)) return z.scale * x;
    float t = mg_tanh(z.inside * x);
    *slope = 1 - t * t;
    return z.cap * t;
}

/* ---- tile products on tensor cores: A [16, k] row-major times B [k, 8] column-major, sums in fp32 ---- */

static __device__ inline uint32_t mg_shared_address(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }

static __device__ inline void mg_ldmatrix(uint32_t r[4], const void *p) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(mg_shared_address(p)) : "memory");
}

static __device__ inline void mg_ldmatrix_t(uint32_t r[4], const void *p) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(mg_shared_address(p)) : "memory");
}

template <typename T> static __device__ inline void mg_mma(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1);
template <>
__device__ inline void mg_mma<__half>(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
#if MG_ASYNC
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(b0));
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[2]), "r"(a[3]), "r"(b1));
#endif
}
template <>
__device__ inline void mg_mma<__nv_bfloat16>(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
#if MG_ASYNC
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

/* Rows in shared memory lie HD + 8 elements apart: eight rows, 16 bytes of each, then hit all 32 banks. */
#define MG_PITCH(hd) ((hd) + 8)

/* c [16 MT, 8 NT] += a [16 MT, HD] b [8 NT, HD]^T; a: the warp's rows. */
template <typename T, int HD, int MT, int NT>
static __device__ inline void mg_across(float c[MT][NT][4], const T *a, const T *b) {
    int      lane = threadIdx.x & 31;
    const T *pa = a + (lane & 15) * MG_PITCH(HD) + (lane >> 4) * 8;
    const T *pb = b + ((lane & 7) + (lane >> 4) * 8) * MG_PITCH(HD) + (lane >> 3 & 1) * 8;
#pragma unroll
    for (int k = 0; k < HD; k += 16) {
        uint32_t fa[MT][4];
#pragma unroll
        for (int m = 0; m < MT; m++) mg_ldmatrix(fa[m], pa + m * 16 * MG_PITCH(HD) + k);
#pragma unroll
        for (int n = 0; n < NT; n += 2) {
            uint32_t fb[4];
            mg_ldmatrix(fb, pb + n * 8 * MG_PITCH(HD) + k);
#pragma unroll
            for (int m = 0; m < MT; m++) {
                mg_mma<T>(c[m][n], fa[m], fb[0], fb[1]);
                mg_mma<T>(c[m][n + 1], fa[m], fb[2], fb[3]);
            }
        }
    }
}

/* c [16 MT, HD] += p [16 MT, 8 NT] b [8 NT, HD]; p lies in the registers where `across` left it. */
template <typename T, int HD, int MT, int NT>
static __device__ inline void mg_down(float c[MT][HD / 8][4], const float p[MT][NT][4], const T *b) {
    int      lane = threadIdx.x & 31;
    const T *pb = b + (lane & 15) * MG_PITCH(HD) + (lane >> 4) * 8;
#pragma unroll
    for (int k = 0; k < NT; k += 2) {
        uint32_t fa[MT][4];
#pragma unroll
        for (int m = 0; m < MT; m++) {
            fa[m][0] = mg_pair<T>::of(p[m][k][0], p[m][k][1]);
            fa[m][1] = mg_pair<T>::of(p[m][k][2], p[m][k][3]);
            fa[m][2] = mg_pair<T>::of(p[m][k + 1][0], p[m][k + 1][1]);
            fa[m][3] = mg_pair<T>::of(p[m][k + 1][2], p[m][k + 1][3]);
        }
#pragma unroll
        for (int n = 0; n < HD / 8; n += 2) {
            uint32_t fb[4];
            mg_ldmatrix_t(fb, pb + k * 8 * MG_PITCH(HD) + n * 8);
#pragma unroll
            for (int m = 0; m < MT; m++) {
                mg_mma<T>(c[m][n], fa[m], fb[0], fb[1]);
                mg_mma<T>(c[m][n + 1], fa[m], fb[2], fb[3]);
            }
        }
    }
}

/* ---- moving tiles ---- */

/* 16 bytes to shared memory, zeros unless `real`; `from` is a valid address in any case. */
static __device__ inline void mg_copy16(void *to, const void *from, bool real) {
#if MG_ASYNC
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(mg_shared_address(to)), "l"(from),
                 "r"(real ? 16 : 0) : "memory");
#else
    *(uint4 *)to = real ? *(const uint4 *)from : make_uint4(0, 0, 0, 0);
#endif
}

static __device__ inline void mg_copy4(void *to, const void *from, bool real) {
#if MG_ASYNC
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(mg_shared_address(to)), "l"(from),
                 "r"(real ? 4 : 0) : "memory");
#else
    *(uint32_t *)to = real ? *(const uint32_t *)from : 0;
#endif
}

static __device__ inline void mg_copy_commit(void) {
#if MG_ASYNC
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

/* Until at most N of the newest groups are in flight. */
template <int N> static __device__ inline void mg_copy_wait(void) {
#if MG_ASYNC
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
#endif
}

/* `rows` rows of a head to shared memory; rows from `real` on and columns from hd on become 0. */
template <typename T, int HD, int THREADS>
static __device__ inline void mg_load_rows(T *to, const T *from, int64_t ld, int rows, int real, int hd) {
    for (int i = threadIdx.x; i < rows * (HD / 8); i += THREADS) {
        int  r = i / (HD / 8), c = i % (HD / 8) * 8;
        bool ok = r < real && c < hd;
        mg_copy16(to + r * MG_PITCH(HD) + c, from + (ok ? r * ld + c : 0), ok);
    }
}

/* A warp's accumulators [16 MT, HD] to rows of a matrix, through the warp's own rows of shared memory. */
template <typename T, int HD, int MT>
static __device__ inline void mg_store_rows(T *to, int64_t ld, int real, int hd, T *through,
                                            const float c[MT][HD / 8][4], const float scale[MT][2]) {
    int lane = threadIdx.x & 31;
    __syncwarp();
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int h = 0; h < 2; h++)
#pragma unroll
            for (int n = 0; n < HD / 8; n++)
                *(uint32_t *)(through + (m * 16 + h * 8 + (lane >> 2)) * MG_PITCH(HD) + n * 8 + (lane & 3) * 2) =
                    mg_pair<T>::of(c[m][n][2 * h] * scale[m][h], c[m][n][2 * h + 1] * scale[m][h]);
    __syncwarp();
    for (int i = lane; i < MT * 16 * (HD / 8); i += 32) {
        int r = i / (HD / 8), col = i % (HD / 8) * 8;
        if (r < real && col < hd) *(uint4 *)(to + r * ld + col) = *(const uint4 *)(through + r * MG_PITCH(HD) + col);
    }
    __syncwarp();
}

#endif
