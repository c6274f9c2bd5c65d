/* rows.h -- kernels that work on whole rows: which threads have which numbers.
 *
 * A row belongs to `threads` threads, a power of two: part of a warp, a warp, or a whole block.  Each keeps its
 * K times W numbers in registers, so that a row is read once; K = 0 is for rows that are too wide for that, or
 * that do not lie on 16 bytes, and reads them a second time. */
#ifndef MG_BACKEND_CUDA_ROWS_H
#define MG_BACKEND_CUDA_ROWS_H

#include "backend/cuda/reduce.h"
#include "backend/cuda/vec.h"

enum { ROW_BLOCK = 256, ROW_MOST = 1024, ROW_PARTS = 512 };

/* How a row is cut: threads of a row, rows of a block, threads of a block. */
typedef struct row_plan {
    int threads, rows, block;
} row_plan;

static inline row_plan mg_plan_rows(int64_t cols, int width, int kept) {
    row_plan p = { 8, 0, 0 };
    while (p.threads < (kept ? ROW_BLOCK : ROW_MOST) && (int64_t)p.threads * width * (kept ? kept : 4) < cols) p.threads *= 2;
    p.block = p.threads > 32 ? p.threads : ROW_BLOCK;
    p.rows = p.block / p.threads;
    return p;
}

/* launch(width_of<K>) with the K that rows of `cols` columns take. */
template <class F> static void mg_with_kept(int64_t cols, int width, F launch) {
    if (width == 1) launch(width_of<0>{});
    else if (cols <= 8 * 32) launch(width_of<1>{});
    else if (cols <= 8 * 4 * ROW_BLOCK) launch(width_of<4>{});
    else launch(width_of<0>{});
}

/* The numbers of a thread: j counts its pieces of W. */
template <class V, int W, int K> struct piece {
    V                            view;
    typename V::template held<W> kept[K ? K : 1];
    __device__ __forceinline__ void read(int64_t j, int64_t at) { view.template fetch<W>(at, kept[K ? j : 0]); }
    __device__ __forceinline__ void again(int64_t j, int64_t at, float (&x)[W]) {
        if (K) kept[K ? j : 0].widen(x);
        else view.get(at, x);
    }
};

/* Piece j of the thread: columns c .. c+W-1 of its row, as long as there are some.  Needs W, K, lane, threads, steps
 * and cols. */
#define PIECES(j, c)                                                                                         \
    _Pragma("unroll") for (int64_t j = 0, c = lane * W; j < (K ? K : steps); j++, c += (int64_t)threads * W) \
        if (c < cols)
#define ROW_STEPS ((int)((cols + (int64_t)threads * W - 1) / ((int64_t)threads * W)))

/* Sums over rows that a block makes, one for each column: out[c], from the threads' sums of the columns they have.
 * `of_rows` is shared memory, [rows of the block][cols], where a block has several rows. */
template <int W, int K>
static __device__ void mg_put_column_sums(float *out, float (&sum)[K ? K : 1][W], float *of_rows, int64_t cols, int threads) {
    int lane = threadIdx.x % threads, rows = blockDim.x / threads, row = threadIdx.x / threads, steps = 0;
    PIECES(j, c)
#pragma unroll
    for (int k = 0; k < W; k++) (rows == 1 ? out : of_rows + row * cols)[c + k] = sum[j][k];
    if (rows == 1) return;
    __syncthreads();
    for (int64_t c = threadIdx.x; c < cols; c += blockDim.x) {
        float all = 0;
        for (int i = 0; i < rows; i++) all += of_rows[i * cols + c];
        out[c] = all;
    }
}

/* Blocks of a kernel that walks over rows.  `parts`: it leaves column sums in work memory of ROW_PARTS
 * rows of floats: one row a block, or with K = 0, where the sums are not kept in registers, one row for each row
 * that the block works on. */
static inline unsigned mg_walking_blocks(int64_t rows, row_plan p, int kept, bool parts) {
    int64_t want = mg_blocks(rows, p.rows), most = kept ? ROW_PARTS : ROW_PARTS / p.rows;
    if (!parts) return (unsigned)want;
    if (most > 4 * mg_cuda_sms) most = 4 * mg_cuda_sms;
    return (unsigned)(want < most ? want : most);
}

#endif
