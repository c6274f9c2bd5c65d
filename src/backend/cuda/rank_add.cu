/* rank_add.cu -- c += alpha op(a) op(b) where little is summed over: the products of an adapter's rank.
 *
 * Reading and writing c is all that takes time, and the library's kernels, made for long sums, do it at half of the
 * memory's rate where c is wide.  Here a block takes BLOCK_ROWS x BLOCK_COLS of c; both factors of it are in shared
 * memory, the sum in the registers of mma.sync.  The columns of the second factor are dealt to the instruction in an
 * order (`column_of`) that leaves each thread eight neighbours of a row: c moves in pieces of 16 bytes, which
 * are asked for before anything is computed. */
#include "backend/cuda/rank_add.h"
#include "backend/cuda/vec.h"

enum { ROWS = 64, COLS = 256, WARPS = 8, THREADS = 32 * WARPS, STEP = 16, PAD = 2 };
enum { MOST = 64 }; /* with more to sum over the library is as fast, and shared memory would be short */
/* A warp has 16 rows and half the columns: GROUPS times 32, four tiles of 8 each. */
enum { GROUPS = COLS / 2 / 32 };

template <typename T> struct products;
template <> struct products<__nv_bfloat16> {
    static __device__ __forceinline__ void add(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if __CUDA_ARCH__ >= 800
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
    }
};
template <> struct products<__half> {
    static __device__ __forceinline__ void add(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if __CUDA_ARCH__ >= 800
        asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
    }
};

/* COUNT rows from `first` on of op(x) [n,K] to shared memory, row after row, K padded with zeros to DEPTH;
 * `stored` is op(x)^T: K rows of n. */
template <typename T, int COUNT, int DEPTH>
static __device__ __forceinline__ void stage(T *to, const T *x, bool stored, int64_t first, int64_t n, int k) {
    T zero;
    mg_narrow(&zero, 0.0f);
#pragma unroll 4
    for (int i = threadIdx.x; i < COUNT * DEPTH; i += THREADS) {
        int     r = stored ? i % COUNT : i / DEPTH, l = stored ? i / COUNT : i % DEPTH;
        int64_t row = first + r;
        bool    there = row < n && l < k;
        to[r * (DEPTH + PAD) + l] = there ? x[stored ? l * n + row : row * k + l] : zero;
    }
}

/* What column of a group of 32 the instruction's column g of tile j is. */
static __device__ __forceinline__ int column_of(int j, int g) { return (g >> 1) * 8 + 2 * j + (g & 1); }

template <typename T, int DEPTH>
static __global__ void __launch_bounds__(THREADS)
    rank_add(T *c, const T *a, const T *b, int64_t rows, int64_t cols, int k, bool ta, bool b_stored, float alpha) {
    __shared__ T as[ROWS * (DEPTH + PAD)], bs[COLS * (DEPTH + PAD)];
    const int    pitch = DEPTH + PAD;
    int64_t row0 = (int64_t)blockIdx.y * ROWS, col0 = (int64_t)blockIdx.x * COLS;
    int     warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    int     r = warp / 2 * 16 + g, half = warp % 2 * (COLS / 2);
    uint4   old[GROUPS][2];
#pragma unroll
    for (int q = 0; q < GROUPS; q++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int64_t row = row0 + r + 8 * h, col = col0 + half + 32 * q + 8 * t;
            old[q][h] = make_uint4(0, 0, 0, 0);
            if (row < rows && col < cols) old[q][h] = *reinterpret_cast<const uint4 *>(c + row * cols + col);
        }
    stage<T, ROWS, DEPTH>(as, a, ta, row0, rows, k);
    stage<T, COLS, DEPTH>(bs, b, b_stored, col0, cols, k);
    __syncthreads();
    float sum[GROUPS][4][4];
#pragma unroll
    for (int q = 0; q < GROUPS; q++)
#pragma unroll
        for (int j = 0; j < 4; j++)
#pragma unroll
            for (int e = 0; e < 4; e++) sum[q][j][e] = 0;
#pragma unroll
    for (int l = 0; l < DEPTH; l += STEP) {
        uint32_t fa[4], fb[2];
#pragma unroll
        for (int e = 0; e < 4; e++)
            fa[e] = *reinterpret_cast<const uint32_t *>(as + (r + e % 2 * 8) * pitch + l + 2 * t + e / 2 * 8);
#pragma unroll
        for (int q = 0; q < GROUPS; q++)
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const T *at = bs + (half + 32 * q + column_of(j, g)) * pitch + l + 2 * t;
                fb[0] = *reinterpret_cast<const uint32_t *>(at);
                fb[1] = *reinterpret_cast<const uint32_t *>(at + 8);
                products<T>::add(sum[q][j], fa, fb);
            }
    }
#pragma unroll
    for (int q = 0; q < GROUPS; q++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int64_t row = row0 + r + 8 * h, col = col0 + half + 32 * q + 8 * t;
            if (row >= rows || col >= cols) continue;
            packed8<T> held = { old[q][h] };
            float      x[8];
            mg_widen8(x, held);
#pragma unroll
            for (int j = 0; j < 4; j++)
#pragma unroll
                for (int e = 0; e < 2; e++) x[2 * j + e] += alpha * sum[q][j][2 * h + e];
            mg_store8(c + row * cols + col, x);
        }
}

template <typename T, int DEPTH> static void launch(mg_mat c, mg_mat a, bool ta, mg_mat b, bool tb, float alpha) {
    dim3 grid(mg_blocks(c.cols, COLS), mg_blocks(c.rows, ROWS));
    rank_add<T, DEPTH><<<grid, THREADS, 0, mg_cuda_stream>>>((T *)c.data, (const T *)a.data, (const T *)b.data, c.rows, c.cols,
                                                             (int)(ta ? a.rows : a.cols), ta, !tb, alpha);
    MG_CUDA_LAUNCHED("rank_add");
}

template <typename T> static void launch_depth(mg_mat c, mg_mat a, bool ta, mg_mat b, bool tb, float alpha) {
    int64_t k = ta ? a.rows : a.cols;
    if (k <= 16) launch<T, 16>(c, a, ta, b, tb, alpha);
    else if (k <= 32) launch<T, 32>(c, a, ta, b, tb, alpha);
    else if (k <= 48) launch<T, 48>(c, a, ta, b, tb, alpha);
    else launch<T, MOST>(c, a, ta, b, tb, alpha);
}

bool mg_cuda_rank_add(mg_mat c, mg_mat a, bool ta, mg_mat b, bool tb, float alpha) {
    int64_t k = ta ? a.rows : a.cols;
    bool    plain = a.format == c.format && b.format == c.format && c.format != mg_cuda_f32;
    if (mg_cuda_cc < 80 || !plain || k < 1 || k > MOST || c.cols % 8 || !mg_on16(c.data) || (c.rows + ROWS - 1) / ROWS > 65535) return false;
    if (c.format == mg_cuda_bf16) launch_depth<__nv_bfloat16>(c, a, ta, b, tb, alpha);
    else launch_depth<__half>(c, a, ta, b, tb, alpha);
    return true;
}
