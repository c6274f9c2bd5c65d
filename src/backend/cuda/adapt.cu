/* adapt.cu -- what adapters need beside products: element by element, DoRA's norms, Kronecker products.
 *
 * The weights of a layer are small beside its activations, so the norms take a thread a row and the gradients of a
 * Kronecker product a block a number, summed in a fixed order. */
#include "backend/cuda/vec.h"

enum { THREADS = 256 };

/* ---- multiply ---- */

template <class V, int W>
static __global__ void __launch_bounds__(THREADS) multiply(V y, V x, mixed g, mixed h, mixed shift, bool one_row, bool accumulate, bool put_back,
                                                           int64_t n, int64_t cols) {
    int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * W;
    if (i >= n) return;
    int64_t c = i % cols;
    float   vx[W], vg[W], vh[W], vs[W], old[W];
    x.get(i, vx);
    g.get(one_row ? c : i, vg);
    if (h) h.get(c, vh);
    if (shift) shift.get(c, vs);
    if (accumulate) y.get(i, old);
#pragma unroll
    for (int k = 0; k < W; k++) {
        float s = shift ? vs[k] : 0.0f;
        vx[k] = (vx[k] - s) * vg[k] * (h ? vh[k] : 1.0f) + (put_back ? s : 0.0f) + (accumulate ? old[k] : 0.0f);
    }
    y.put(i, vx);
}

void mg_cuda_multiply(mg_multiply_args a) {
    int64_t n = a.x.rows * a.x.cols;
    bool    eights = a.x.cols % 8 == 0 && mg_on16(a.g.data) && mg_on16(a.h.data) && mg_on16(a.shift.data);
    if (!n) return;
    mg_with_views({ a.y, a.x }, eights, [&](auto v, auto w) {
        using V = decltype(v);
        constexpr int W = decltype(w)::value;
        multiply<V, W><<<mg_blocks(n, (int64_t)THREADS * W), THREADS, 0, mg_cuda_stream>>>(
            V::of(a.y), V::of(a.x), mixed::of(a.g), mixed::of(a.h), mixed::of(a.shift), a.g.rows == 1, a.accumulate, a.put_back, n, a.x.cols);
        MG_CUDA_LAUNCHED("multiply");
    });
}

/* ---- DoRA ---- */

static __global__ void __launch_bounds__(THREADS)
    dora_norm(mixed inv, mixed square, mixed b, mixed wa, mixed aa, float scale, int64_t rows, int64_t rank) {
    int64_t o = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    float   along = 0, own = 0, bk[1], bl[1], v[1], sum[1];
    if (o >= rows) return;
    for (int64_t k = 0; k < rank; k++) {
        b.get(o * rank + k, bk);
        wa.get(k * rows + o, v);
        along += bk[0] * v[0];
        float inner = 0;
        for (int64_t l = 0; l < rank; l++) {
            b.get(o * rank + l, bl);
            aa.get(k * rank + l, v);
            inner += bl[0] * v[0];
        }
        own += bk[0] * inner;
    }
    square.get(o, sum);
    sum[0] += 2.0f * scale * along + scale * scale * own;
    sum[0] = sum[0] > 0.0f ? 1.0f / sqrtf(sum[0]) : 0.0f;
    inv.put(o, sum);
}

void mg_cuda_dora_norm(mg_dora_norm_args a) {
    dora_norm<<<mg_blocks(a.b.rows, THREADS), THREADS, 0, mg_cuda_stream>>>(mixed::of(a.inv), mixed::of(a.square), mixed::of(a.b),
                                                                            mixed::of(a.wa), mixed::of(a.aa), a.scale, a.b.rows, a.b.cols);
    MG_CUDA_LAUNCHED("dora_norm");
}

/* ---- Kronecker products: y[i c + k, j d + l] = scale a[i,j] b[k,l] ---- */

struct sizes { int64_t a_rows, a_cols, b_rows, b_cols; };

static __global__ void __launch_bounds__(THREADS) kron(mixed y, mixed a, mixed b, float scale, sizes s) {
    int64_t at = (int64_t)blockIdx.x * THREADS + threadIdx.x, cols = s.a_cols * s.b_cols;
    if (at >= s.a_rows * s.b_rows * cols) return;
    int64_t r = at / cols, c = at % cols;
    float   va[1], vb[1];
    a.get(r / s.b_rows * s.a_cols + c / s.b_cols, va);
    b.get(r % s.b_rows * s.b_cols + c % s.b_cols, vb);
    va[0] *= scale * vb[0];
    y.put(at, va);
}

void mg_cuda_kron(mg_kron_args a) {
    sizes s = { a.a.rows, a.a.cols, a.b.rows, a.b.cols };
    kron<<<mg_blocks(a.y.rows * a.y.cols, THREADS), THREADS, 0, mg_cuda_stream>>>(mixed::of(a.y), mixed::of(a.a), mixed::of(a.b), a.scale, s);
    MG_CUDA_LAUNCHED("kron");
}

/* A block has one number of the factor `out` and sums over the other, whose rows and columns are strides apart. */
static __global__ void __launch_bounds__(THREADS) kron_back(mixed out, mixed dy, mixed other, float scale, sizes s, bool first) {
    __shared__ float part[THREADS];
    int64_t          mine = blockIdx.x, cols = s.a_cols * s.b_cols, n = first ? s.b_rows * s.b_cols : s.a_rows * s.a_cols;
    float            v[1], w[1], sum = 0;
    for (int64_t e = threadIdx.x; e < n; e += THREADS) {
        int64_t at_a = first ? mine : e, at_b = first ? e : mine;
        int64_t r = at_a / s.a_cols * s.b_rows + at_b / s.b_cols, c = at_a % s.a_cols * s.b_cols + at_b % s.b_cols;
        dy.get(r * cols + c, v);
        other.get(e, w);
        sum += v[0] * w[0];
    }
    part[threadIdx.x] = sum;
    __syncthreads();
    for (int half = THREADS / 2; half; half /= 2) {
        if ((int)threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x) return;
    out.get(mine, v);
    v[0] += scale * part[0];
    out.put(mine, v);
}

void mg_cuda_kron_back(mg_kron_back_args a) {
    sizes s = { a.a.rows, a.a.cols, a.b.rows, a.b.cols };
    if (a.da.data)
        kron_back<<<(unsigned)(s.a_rows * s.a_cols), THREADS, 0, mg_cuda_stream>>>(mixed::of(a.da), mixed::of(a.dy), mixed::of(a.b), a.scale, s, true);
    if (a.db.data)
        kron_back<<<(unsigned)(s.b_rows * s.b_cols), THREADS, 0, mg_cuda_stream>>>(mixed::of(a.db), mixed::of(a.dy), mixed::of(a.a), a.scale, s, false);
    MG_CUDA_LAUNCHED("kron_back");
}
