/* decode.cu -- weights in any storage format, as rows of plain numbers: whole pieces and single rows (embed). */
#include "backend/cuda/codec.h"

enum { THREADS = 256, UNITS = 4, PER_BLOCK = THREADS * UNITS * 8 };

/* Some of UNITS pieces of THREADS * 8 weights.  WHOLE: all are there, so that nothing stands between their reads. */
template <class C, class T, bool WHOLE>
static __device__ __forceinline__ void decode_units(const weight_source &s, typed<T> y, int left) {
    int   i = threadIdx.x * 8;
    float v[UNITS][8];
#pragma unroll
    for (int u = 0; u < UNITS; u++)
        if (WHOLE || i + u * THREADS * 8 < left) C::get(s, i + u * THREADS * 8, v[u]);
#pragma unroll
    for (int u = 0; u < UNITS; u++)
        if (WHOLE || i + u * THREADS * 8 < left) y.put(i + u * THREADS * 8, v[u]);
}

template <class C, class T>
static __global__ void __launch_bounds__(THREADS) decode(T *to, const void *data, const void *side, int64_t first, int64_t n) {
    int64_t       begin = (int64_t)blockIdx.x * PER_BLOCK;
    weight_source s = mg_open_source<C>(data, side, first + begin);
    typed<T>      y = { to + begin };
    if (n - begin >= PER_BLOCK) decode_units<C, T, true>(s, y, PER_BLOCK);
    else decode_units<C, T, false>(s, y, (int)(n - begin));
}

/* Plain numbers where a row does not start on 16 bytes. */
template <class C, class T>
static __global__ void __launch_bounds__(THREADS) decode_single(T *to, const void *data, int64_t first, int64_t n) {
    weight_source s = mg_open_source<C>(data, nullptr);
    int64_t       i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    float         v[1];
    if constexpr (C::plain) {
        if (i >= n) return;
        C::get(s, first + i, v);
        typed<T>{ to }.put(i, v);
    }
}

template <class C, class T> static void decode_to(mg_mat w, int64_t first, int64_t n, void *to) {
    T *y = static_cast<T *>(to);
    if (C::plain && (n % 8 || first % 8 || !mg_on16(w.data) || !mg_on16(to)))
        decode_single<C, T><<<mg_blocks(n, THREADS), THREADS, 0, mg_cuda_stream>>>(y, w.data, first, n);
    else
        decode<C, T><<<mg_blocks(n, PER_BLOCK), THREADS, 0, mg_cuda_stream>>>(y, w.data, w.side, first, n);
    MG_CUDA_LAUNCHED("decode");
}

template <class C> static void decode_any(mg_mat w, int64_t first, int64_t n, void *to, const mg_format *f) {
    if (f == mg_cuda_bf16) decode_to<C, __nv_bfloat16>(w, first, n, to);
    else if (f == mg_cuda_f16) decode_to<C, __half>(w, first, n, to);
    else decode_to<C, float>(w, first, n, to);
}

/* ---- embed: a block a row ---- */

template <class C, int W>
static __global__ void __launch_bounds__(THREADS)
    embed(mixed y, const void *data, const void *side, const int32_t *ids, float scale, int64_t cols) {
    weight_source s = mg_open_source<C>(data, side);
    int64_t       from = (int64_t)ids[blockIdx.x] * cols, to = (int64_t)blockIdx.x * cols;
    float         v[W];
    for (int64_t c = (int64_t)threadIdx.x * W; c < cols; c += THREADS * W) {
        if constexpr (C::plain || W == 8) C::get(s, from + c, v);
#pragma unroll
        for (int k = 0; k < W; k++) v[k] = __fmul_rn(v[k], scale);
        y.put(to + c, v);
    }
}

template <class C> static void embed_any(mg_embed_args a) {
    unsigned rows = (unsigned)a.y.rows;
    if (C::plain && (a.w.cols % 8 || !mg_on16(a.w.data) || !mg_on16(a.y.data)))
        embed<C, 1><<<rows, THREADS, 0, mg_cuda_stream>>>(mixed::of(a.y), a.w.data, a.w.side, a.ids, a.scale, a.w.cols);
    else
        embed<C, 8><<<rows, THREADS, 0, mg_cuda_stream>>>(mixed::of(a.y), a.w.data, a.w.side, a.ids, a.scale, a.w.cols);
    MG_CUDA_LAUNCHED("embed");
}

/* ---- the table ---- */

typedef struct decode_row {
    const char      *name;
    const mg_format *format;
    void (*decode)(mg_mat w, int64_t first, int64_t n, void *to, const mg_format *f);
    void (*embed)(mg_embed_args a);
} decode_row;

#define ROW(name, ...) { #name, nullptr, decode_any<__VA_ARGS__>, embed_any<__VA_ARGS__> }
#define BLOCKED(name) ROW(name, blocked<codec_##name>)

static decode_row rows[] = {
    ROW(f32, unquantised<float>), ROW(f64, unquantised<double>), ROW(f16, unquantised<__half>),
    ROW(bf16, unquantised<__nv_bfloat16>), BLOCKED(q4_0), BLOCKED(q4_1), BLOCKED(q5_0), BLOCKED(q5_1),
    BLOCKED(q8_0), BLOCKED(q2_k), BLOCKED(q3_k), BLOCKED(q4_k), BLOCKED(q5_k), BLOCKED(q6_k),
    ROW(nf4, four_bits<true>), ROW(fp4, four_bits<false>), ROW(int8, eight_bits),
};

void mg_cuda_decode(mg_mat w, int64_t row0, int64_t count, void *to, const mg_format *to_format) {
    decode_row *r = mg_row_of(rows, w.format);
    MG_ASSERT(r);
    MG_ASSERT(mg_format_is_plain(w.format) || (mg_on16(w.data) && mg_on16(to)));
    if (count && w.cols) r->decode(w, row0 * w.cols, count * w.cols, to, to_format);
}

void mg_cuda_embed(mg_embed_args a) {
    decode_row *r = mg_row_of(rows, a.w.format);
    MG_ASSERT(r);
    MG_ASSERT_EQ(a.y.cols, a.w.cols);
    MG_ASSERT(mg_format_is_plain(a.w.format) || (mg_on16(a.w.data) && mg_on16(a.y.data)));
    if (a.y.rows) r->embed(a);
}

/* ---- the gradient of an embedding ----
 *
 * The first row that has an id adds up all rows of that id, in their order; the others leave.  Ids are looked
 * through in pieces; a piece's rows of this id are listed in shared memory before any gradient is read. */

enum { PIECE = 1024 };

/* True in all threads when an id before row r is ids[r]. */
static __device__ bool seen_before(const int32_t *ids, int64_t r) {
    int32_t id = ids[r];
    for (int64_t from = 0; from < r; from += PIECE) {
        bool found = false;
        for (int64_t i = from + threadIdx.x; i < from + PIECE && i < r; i += THREADS) found = found || ids[i] == id;
        if (__syncthreads_or(found)) return true;
    }
    return false;
}

/* list[0..n) = rows from .. from+PIECE-1 with this id, ascending; n is returned. */
static __device__ int list_rows(int *list, const int32_t *ids, int64_t from, int64_t rows, int32_t id) {
    __shared__ int before[THREADS / 32 + 1];
    int            n = 0, warp = threadIdx.x / 32;
    for (int64_t at = from; at < from + PIECE && at < rows; at += THREADS) {
        bool     match = at + threadIdx.x < rows && ids[at + threadIdx.x] == id;
        unsigned votes = __ballot_sync(0xffffffffu, match);
        __syncthreads();
        if (threadIdx.x % 32 == 0) before[warp] = __popc(votes);
        __syncthreads();
        int place = n;
        for (int k = 0; k < THREADS / 32; k++) {
            if (k < warp) place += before[k];
            n += before[k];
        }
        if (match) list[place + __popc(votes & ((1u << threadIdx.x % 32) - 1))] = (int)(at + threadIdx.x - from);
    }
    __syncthreads();
    return n;
}

template <int W>
static __global__ void __launch_bounds__(THREADS)
    embed_dw(mixed dw, mixed dy, const int32_t *ids, float scale, int64_t rows, int64_t cols) {
    __shared__ int list[PIECE];
    int64_t        r = blockIdx.x;
    int32_t        id = ids[r];
    float          sum[W], v[W];
    if (seen_before(ids, r)) return;
    for (int64_t from = r / PIECE * PIECE; from < rows; from += PIECE) {
        int n = list_rows(list, ids, from, rows, id);
        for (int64_t c = (int64_t)threadIdx.x * W; n && c < cols; c += THREADS * W) {
            dw.get((int64_t)id * cols + c, sum);
            for (int i = 0; i < n; i++) {
                dy.get((from + list[i]) * cols + c, v);
#pragma unroll
                for (int k = 0; k < W; k++) sum[k] += scale * v[k];
            }
            dw.put((int64_t)id * cols + c, sum);
        }
        __syncthreads();
    }
}

void mg_cuda_embed_dw(mg_embed_dw_args a) {
    MG_ASSERT_EQ(a.dw.cols, a.dy.cols);
    if (!a.dy.rows) return;
    if (a.dy.cols % 8 == 0 && mg_on16(a.dy.data) && mg_on16(a.dw.data))
        embed_dw<8><<<(unsigned)a.dy.rows, THREADS, 0, mg_cuda_stream>>>(mixed::of(a.dw), mixed::of(a.dy), a.ids, a.scale,
                                                                         a.dy.rows, a.dy.cols);
    else
        embed_dw<1><<<(unsigned)a.dy.rows, THREADS, 0, mg_cuda_stream>>>(mixed::of(a.dw), mixed::of(a.dy), a.ids, a.scale,
                                                                         a.dy.rows, a.dy.cols);
    MG_CUDA_LAUNCHED("embed_dw");
}
