/* put_rows.cu -- rows that lie elsewhere: the virtual tokens of a prompt.
 *
 * Forward a block has one row.  Backward a thread has one column of one row of x and walks over all rows of y in
 * their order, so the sums are the same every time; prompts have tens of rows, so nobody waits. */
#include "backend/cuda/vec.h"

enum { THREADS = 128 };

static __global__ void __launch_bounds__(THREADS) put(mixed y, mixed x, const int32_t *row, const int32_t *id, int64_t cols) {
    int64_t to = row[blockIdx.x] * cols, from = id[blockIdx.x] * cols;
    float   v[1];
    for (int64_t c = threadIdx.x; c < cols; c += THREADS) {
        x.get(from + c, v);
        y.put(to + c, v);
    }
}

void mg_cuda_put_rows(mg_put_rows_args a) {
    MG_ASSERT_EQ(a.y.cols, a.x.cols);
    if (!a.n) return;
    put<<<(unsigned)a.n, THREADS, 0, mg_cuda_stream>>>(mixed::of(a.y), mixed::of(a.x), a.row, a.id, a.y.cols);
    MG_CUDA_LAUNCHED("put_rows");
}

static __global__ void __launch_bounds__(THREADS)
    gather(mixed dx, mixed dy, const int32_t *row, const int32_t *id, int64_t n, int64_t cols) {
    int64_t c = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    int32_t mine = (int32_t)blockIdx.y;
    float   sum[1], v[1];
    if (c >= cols) return;
    dx.get(mine * cols + c, sum);
    for (int64_t i = 0; i < n; i++) {
        if (id[i] != mine) continue;
        dy.get(row[i] * cols + c, v);
        sum[0] += v[0];
    }
    dx.put(mine * cols + c, sum);
}

static __global__ void __launch_bounds__(THREADS) clear(mixed dy, const int32_t *row, int64_t cols) {
    const float zero[1] = { 0.0f };
    for (int64_t c = threadIdx.x; c < cols; c += THREADS) dy.put(row[blockIdx.x] * cols + c, zero);
}

void mg_cuda_put_rows_back(mg_put_rows_back_args a) {
    if (!a.n) return;
    if (a.dx.data) {
        MG_ASSERT_EQ(a.dy.cols, a.dx.cols);
        gather<<<dim3(mg_blocks(a.dx.cols, THREADS), (unsigned)a.dx.rows), THREADS, 0, mg_cuda_stream>>>(
            mixed::of(a.dx), mixed::of(a.dy), a.row, a.id, a.n, a.dx.cols);
    }
    clear<<<(unsigned)a.n, THREADS, 0, mg_cuda_stream>>>(mixed::of(a.dy), a.row, a.dy.cols);
    MG_CUDA_LAUNCHED("put_rows_back");
}
