/* rank.cu -- c = alpha op(a) op(b) + beta c + onto where little is summed over: the products of an adapter's rank.
 *
 * Moving c is all that takes time, and the library's kernels, made for long sums, do it at half of the memory's rate where
 * c is wide.  Here a block takes ROWS x COLS of c; both factors of it are in shared memory, the sum in the
 * registers of mma.sync.  The columns of the second factor are dealt to the instruction in an order (`column_of`) that
 * leaves each thread eight neighbours of a row: c and onto move in pieces of 16 bytes, and all that a block reads is
 * asked for before anything is waited for. */
#include "backend/cuda/rank.h"
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

/* A factor: op(x) [n,k], whose rows run along the sum, or with `across` k rows of n. */
template <typename T> struct factor {
    const T *x;
    int64_t  n;
    int      k;
    bool     across, eights; /* pieces of eight never cross a border and lie on 16 bytes */
};

/* COUNT rows of a factor on their way to shared memory, row after row, DEPTH + PAD apart; zeros beyond its borders. */
template <typename T, int COUNT, int DEPTH> struct stage {
    static constexpr int PIECES = (COUNT * DEPTH / 8 + THREADS - 1) / THREADS;
    uint4 piece[PIECES];

    static __device__ __forceinline__ bool place(const factor<T> &f, int p, int *row, int *at) {
        int i = threadIdx.x + p * THREADS;
        *row = f.across ? i % (COUNT / 8) * 8 : i / (DEPTH / 8);
        *at = f.across ? i / (COUNT / 8) : i % (DEPTH / 8) * 8;
        return i < COUNT * DEPTH / 8;
    }

    __device__ __forceinline__ void fetch(const factor<T> &f, int64_t first) {
        int row, at;
#pragma unroll
        for (int p = 0; p < PIECES; p++) {
            bool    mine = place(f, p, &row, &at);
            int64_t r = first + row;
            piece[p] = make_uint4(0, 0, 0, 0);
            if (!mine || r >= f.n || at >= f.k) continue;
            const T *from = f.x + (f.across ? at * f.n + r : r * f.k + at);
            if (f.eights) {
                piece[p] = *reinterpret_cast<const uint4 *>(from);
                continue;
            }
            T e[8];
            for (int j = 0; j < 8; j++) {
                bool there = f.across ? r + j < f.n : at + j < f.k;
                mg_narrow(&e[j], 0.0f);
                if (there) e[j] = from[j];
            }
            memcpy(&piece[p], e, sizeof e);
        }
    }

    __device__ __forceinline__ void put(const factor<T> &f, T *to) const {
        int row, at;
#pragma unroll
        for (int p = 0; p < PIECES; p++) {
            if (!place(f, p, &row, &at)) continue;
            uint32_t word[4] = { piece[p].x, piece[p].y, piece[p].z, piece[p].w };
            if (f.across) {
                T e[8];
                memcpy(e, word, sizeof e);
#pragma unroll
                for (int j = 0; j < 8; j++) to[(row + j) * (DEPTH + PAD) + at] = e[j];
            } else
#pragma unroll
                for (int j = 0; j < 4; j++) *reinterpret_cast<uint32_t *>(to + row * (DEPTH + PAD) + at + 2 * j) = word[j];
        }
    }
};

/* What column of a group of 32 the instruction's column g of tile j is. */
static __device__ __forceinline__ int column_of(int j, int g) { return (g >> 1) * 8 + 2 * j + (g & 1); }

/* One of a thread's pieces of c; false: beyond its borders. */
struct spot {
    int64_t rows, cols, row0, col0;
    __device__ __forceinline__ bool at(int q, int h, int64_t *i) const {
        int     warp = threadIdx.x / 32, lane = threadIdx.x % 32;
        int64_t row = row0 + warp / 2 * 16 + lane / 4 + 8 * h, col = col0 + warp % 2 * (COLS / 2) + 32 * q + lane % 4 * 8;
        *i = row * cols + col;
        return row < rows && col < cols;
    }
};

template <typename T> struct rank_args {
    T           *c;
    const T     *onto;
    factor<T>    a, b;
    float        alpha, beta;
};

template <typename T, int DEPTH, bool READS, bool ONTO>
static __global__ void __launch_bounds__(THREADS, 2) rank_product(rank_args<T> x) {
    __shared__ T as[ROWS * (DEPTH + PAD)], bs[COLS * (DEPTH + PAD)];
    spot         s = { x.a.n, x.b.n, (int64_t)blockIdx.y * ROWS, (int64_t)blockIdx.x * COLS };
    int          warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    int          r = warp / 2 * 16 + g, half = warp % 2 * (COLS / 2);
    uint4        old[READS ? GROUPS : 1][2], more[ONTO ? GROUPS : 1][2];
    int64_t      i;

    stage<T, ROWS, DEPTH> sa;
    stage<T, COLS, DEPTH> sb;
    sa.fetch(x.a, s.row0);
    sb.fetch(x.b, s.col0);
#pragma unroll
    for (int q = 0; q < GROUPS; q++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            bool there = s.at(q, h, &i);
            if (READS && there) old[READS ? q : 0][h] = *reinterpret_cast<const uint4 *>(x.c + i);
            if (ONTO && there) more[ONTO ? q : 0][h] = *reinterpret_cast<const uint4 *>(x.onto + i);
        }
    sa.put(x.a, as);
    sb.put(x.b, bs);
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
            fa[e] = *reinterpret_cast<const uint32_t *>(as + (r + e % 2 * 8) * (DEPTH + PAD) + l + 2 * t + e / 2 * 8);
#pragma unroll
        for (int q = 0; q < GROUPS; q++)
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const T *at = bs + (half + 32 * q + column_of(j, g)) * (DEPTH + PAD) + l + 2 * t;
                fb[0] = *reinterpret_cast<const uint32_t *>(at);
                fb[1] = *reinterpret_cast<const uint32_t *>(at + 8);
                products<T>::add(sum[q][j], fa, fb);
            }
    }
#pragma unroll
    for (int q = 0; q < GROUPS; q++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float y[8], z[8];
            if (!s.at(q, h, &i)) continue;
#pragma unroll
            for (int j = 0; j < 4; j++)
#pragma unroll
                for (int e = 0; e < 2; e++) y[2 * j + e] = x.alpha * sum[q][j][2 * h + e];
            if (READS) {
                mg_widen8(z, packed8<T>{ old[READS ? q : 0][h] });
#pragma unroll
                for (int j = 0; j < 8; j++) y[j] += x.beta * z[j];
            }
            if (ONTO) {
                mg_widen8(z, packed8<T>{ more[ONTO ? q : 0][h] });
#pragma unroll
                for (int j = 0; j < 8; j++) y[j] += z[j];
            }
            mg_store8(x.c + i, y);
        }
}

template <typename T, int DEPTH> static void launch(const rank_args<T> &x) {
    dim3 grid(mg_blocks(x.b.n, COLS), mg_blocks(x.a.n, ROWS));
    if (x.beta == 0 && !x.onto) rank_product<T, DEPTH, false, false><<<grid, THREADS, 0, mg_cuda_stream>>>(x);
    else if (x.beta == 0) rank_product<T, DEPTH, false, true><<<grid, THREADS, 0, mg_cuda_stream>>>(x);
    else if (!x.onto) rank_product<T, DEPTH, true, false><<<grid, THREADS, 0, mg_cuda_stream>>>(x);
    else rank_product<T, DEPTH, true, true><<<grid, THREADS, 0, mg_cuda_stream>>>(x);
    MG_CUDA_LAUNCHED("rank_product");
}

template <typename T> static factor<T> factor_of(mg_mat m, bool across) {
    int64_t n = across ? m.cols : m.rows, k = across ? m.rows : m.cols;
    return factor<T>{ (const T *)m.data, n, (int)k, across, mg_on16(m.data) && m.cols % 8 == 0 };
}

template <typename T> static void launch_depth(const mg_gemm_args &a) {
    rank_args<T> x = { (T *)a.c.data, (const T *)a.onto.data, factor_of<T>(a.a, a.ta), factor_of<T>(a.b, !a.tb), a.alpha, a.beta };
    if (x.a.k <= 16) launch<T, 16>(x);
    else if (x.a.k <= 32) launch<T, 32>(x);
    else if (x.a.k <= 48) launch<T, 48>(x);
    else launch<T, MOST>(x);
}

bool mg_cuda_rank_product(mg_gemm_args a) {
    int64_t k = a.ta ? a.a.rows : a.a.cols;
    bool    same = a.a.format == a.c.format && a.b.format == a.c.format && a.c.format != mg_cuda_f32;
    if (mg_cuda_cc < 80 || !same || k < 1 || k > MOST || a.c.cols % 8 || a.c.cols < COLS / 4 || a.c.rows > 65535 * (int64_t)ROWS ||
        !mg_on16(a.c.data) || !mg_on16(a.onto.data))
        return false;
    if (!a.c.rows) return true;
    if (a.c.format == mg_cuda_bf16) launch_depth<__nv_bfloat16>(a);
    else launch_depth<__half>(a);
    return true;
}
