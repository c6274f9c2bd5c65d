/* elements.cu -- kernels that treat each number alone: fill, add, gated activations, dropout, scaling.
 *
 * One thread for eight neighbours; what is left over at the end goes one by one.  All inputs of a place are
 * read before anything is written there, so outputs may share an input's memory. */
#include "backend/cuda/loss_scale.h"
#include "backend/cuda/philox.h"
#include "backend/cuda/vec.h"

enum { THREADS = 256 };

template <int W, class Op> static __global__ void __launch_bounds__(THREADS) each(Op op, int64_t n) {
    int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * W;
    if (i + W <= n) op.template run<W>(i);
    else
        for (; i < n; i++) op.template run<1>(i);
}

template <int W, class Op> static void launch_each(Op op, int64_t n, const char *what) {
    if (!n) return;
    each<W, Op><<<mg_blocks(n, (int64_t)THREADS * W), THREADS, 0, mg_cuda_stream>>>(op, n);
    MG_CUDA_LAUNCHED(what);
}

static int64_t count(mg_mat m) { return m.rows * m.cols; }

/* ---- fill, add ---- */

template <class V> struct fill_op {
    V     y;
    float value;
    template <int W> __device__ void run(int64_t i) const {
        float x[W];
#pragma unroll
        for (int k = 0; k < W; k++) x[k] = value;
        y.put(i, x);
    }
};

void mg_cuda_fill(mg_fill_args a) {
    mg_with_views({ a.y }, true, [&](auto v, auto w) {
        using V = decltype(v);
        launch_each<decltype(w)::value>(fill_op<V>{ V::of(a.y), a.value }, count(a.y), "fill");
    });
}

template <class V> struct add_op {
    V     y, x;
    float scale;
    bool  accumulate;
    template <int W> __device__ void run(int64_t i) const {
        float p[W], q[W];
        x.get(i, p);
        if (accumulate) y.get(i, q);
#pragma unroll
        for (int k = 0; k < W; k++) p[k] = (accumulate ? q[k] : 0.0f) + scale * p[k];
        y.put(i, p);
    }
};

void mg_cuda_add(mg_add_args a) {
    MG_ASSERT_EQ(count(a.y), count(a.x));
    mg_with_views({ a.y, a.x }, true, [&](auto v, auto w) {
        using V = decltype(v);
        launch_each<decltype(w)::value>(add_op<V>{ V::of(a.y), V::of(a.x), a.scale, a.accumulate }, count(a.y), "add");
    });
}

/* ---- gated activations ---- */

/* f(z) and f'(z).  1 / (1 + e) is divided fast: two units in the last place, and 0 where e is huge. */
static __device__ __forceinline__ float sigmoid(float z) { return __fdividef(1.0f, 1.0f + expf(-z)); }

struct silu {
    static __device__ __forceinline__ float at(float z, float *slope) {
        float s = sigmoid(z);
        *slope = s * (1.0f + z * (1.0f - s));
        return z * s;
    }
};

/* (1 + tanh u) / 2 is sigma(2u), without the cancellation at large negative u */
struct gelu_tanh {
    static __device__ __forceinline__ float at(float z, float *slope) {
        const float root = 0.79788456080286535588f;
        float       s = sigmoid(2.0f * root * (z + 0.044715f * z * z * z));
        *slope = s + z * (2.0f * s * (1.0f - s)) * root * (1.0f + 3.0f * 0.044715f * z * z);
        return z * s;
    }
};

/* z P(z), P the normal distribution */
struct gelu {
    static __device__ __forceinline__ float at(float z, float *slope) {
        float p = 0.5f * erfcf(-z * 0.70710678118654752440f);
        *slope = p + z * 0.39894228040143267794f * expf(-0.5f * z * z);
        return z * p;
    }
};

/* tanh' = 4 sigma(2z) sigma(-2z), exact where 1 - tanh^2 cancels */
struct plain_tanh {
    static __device__ __forceinline__ float at(float z, float *slope) {
        *slope = 4.0f * sigmoid(2.0f * z) * sigmoid(-2.0f * z);
        return tanhf(z);
    }
};

struct relu {
    static __device__ __forceinline__ float at(float z, float *slope) {
        *slope = z > 0.0f ? 1.0f : 0.0f;
        return z > 0.0f ? z : 0.0f;
    }
};

struct logistic {
    static __device__ __forceinline__ float at(float z, float *slope) {
        float s = sigmoid(z);
        *slope = s * sigmoid(-z);
        return s;
    }
};

template <class V, class F> struct glu_op {
    V y, gate, up;
    template <int W> __device__ void run(int64_t i) const {
        float g[W], u[W], slope;
        gate.get(i, g);
        if (up) up.get(i, u);
#pragma unroll
        for (int k = 0; k < W; k++) g[k] = F::at(g[k], &slope) * (up ? u[k] : 1.0f);
        y.put(i, g);
    }
};

template <class F> static void glu(mg_glu_args a) {
    mg_with_views({ a.y, a.gate, a.up }, true, [&](auto v, auto w) {
        using V = decltype(v);
        launch_each<decltype(w)::value>(glu_op<V, F>{ V::of(a.y), V::of(a.gate), V::of(a.up) }, count(a.y), "glu");
    });
}

template <class V, class F> struct glu_back_op {
    V dgate, dup, dy, gate, up;
    template <int W> __device__ void run(int64_t i) const {
        float g[W], u[W], d[W], slope;
        gate.get(i, g);
        if (up) up.get(i, u);
        dy.get(i, d);
#pragma unroll
        for (int k = 0; k < W; k++) {
            float f = F::at(g[k], &slope);
            g[k] = d[k] * (up ? u[k] : 1.0f) * slope;
            u[k] = d[k] * f;
        }
        if (dgate) dgate.put(i, g);
        if (dup) dup.put(i, u);
    }
};

template <class F> static void glu_back(mg_glu_back_args a) {
    mg_with_views({ a.dgate, a.dup, a.dy, a.gate, a.up }, true, [&](auto v, auto w) {
        using V = decltype(v);
        glu_back_op<V, F> op = { V::of(a.dgate), V::of(a.dup), V::of(a.dy), V::of(a.gate), V::of(a.up) };
        launch_each<decltype(w)::value>(op, count(a.dy), "glu_back");
    });
}

/* One row an activation, in the order of mg_activation. */
static const struct {
    void (*forward)(mg_glu_args a);
    void (*back)(mg_glu_back_args a);
} activations[] = { { glu<silu>, glu_back<silu> },
                    { glu<gelu_tanh>, glu_back<gelu_tanh> },
                    { glu<gelu>, glu_back<gelu> },
                    { glu<plain_tanh>, glu_back<plain_tanh> },
                    { glu<relu>, glu_back<relu> },
                    { glu<logistic>, glu_back<logistic> } };
static_assert(MG_SILU == 0 && MG_GELU_TANH == 1 && MG_GELU == 2 && MG_TANH == 3 && MG_RELU == 4 && MG_SIGMOID == 5,
              "rows of the table");

void mg_cuda_glu(mg_glu_args a) { activations[a.kind].forward(a); }
void mg_cuda_glu_back(mg_glu_back_args a) { activations[a.kind].back(a); }

/* ---- dropout ---- */

template <class V> struct dropout_op {
    V      y, x;
    float  p, keep; /* keep: 1 / (1 - p) */
    mg_rng rng;
    bool   accumulate;
    template <int W> __device__ void run(int64_t i) const {
        float    v[W], old[W];
        uint32_t u[4];
        x.get(i, v);
        if (accumulate) y.get(i, old);
#pragma unroll
        for (int k = 0; k < W; k++) {
            if (k % 4 == 0) mg_cuda_philox(rng, (uint64_t)(i + k) / 4, u);
            uint32_t bits = W > 1 ? u[k % 4] : (i & 2) ? ((i & 1) ? u[3] : u[2]) : ((i & 1) ? u[1] : u[0]);
            bool     kept = (float)(bits >> 8) * 0x1p-24f >= p;
            v[k] = (accumulate ? old[k] : 0.0f) + (kept ? v[k] * keep : 0.0f);
        }
        y.put(i, v);
    }
};

void mg_cuda_dropout(mg_dropout_args a) {
    mg_cuda_cannot_repeat(); /* the stream of random numbers is the step's */
    MG_ASSERT_EQ(count(a.y), count(a.x));
    float keep = (float)(1.0 / (1.0 - (double)a.p));
    mg_with_views({ a.y, a.x }, true, [&](auto v, auto w) {
        using V = decltype(v);
        dropout_op<V> op = { V::of(a.y), V::of(a.x), a.p, keep, a.rng, a.accumulate };
        launch_each<decltype(w)::value>(op, count(a.y), "dropout");
    });
}

/* ---- columns of a fused product ---- */

/* Places are counted over y: its row, its group and the column in that. */
template <class V> struct columns_op {
    V       y, x;
    int64_t group, first;
    int     n, row; /* columns of a group of y, of a row of y */
    bool    back, accumulate;
    template <int W> __device__ void run(int64_t i) const {
        int64_t r = i / row, from;
        int     c = (int)(i - r * row), g = c / n;
        float   v[W], old[W];
        from = (r * (row / n) + g) * group + first + (c - g * n);
        if (back) y.get(i, v);
        else x.get(from, v);
        if (accumulate) {
            x.get(from, old);
#pragma unroll
            for (int k = 0; k < W; k++) v[k] += old[k];
        }
        if (back) x.put(from, v);
        else y.put(i, v);
    }
};

void mg_cuda_columns(mg_columns_args a) {
    int64_t groups = a.x.cols / a.group, n = a.y.cols / groups;
    MG_ASSERT(a.x.cols % a.group == 0 && a.y.cols % groups == 0 && a.first + n <= a.group && a.y.rows == a.x.rows);
    mg_with_views({ a.y, a.x }, n % 8 == 0 && a.group % 8 == 0 && a.first % 8 == 0, [&](auto v, auto w) {
        using V = decltype(v);
        columns_op<V> op = { V::of(a.y), V::of(a.x), a.group, a.first, (int)n, (int)a.y.cols, a.back, a.back && a.accumulate };
        launch_each<decltype(w)::value>(op, count(a.y), "columns");
    });
}

/* ---- a factor that only the device knows ---- */

template <class V> struct scale_op {
    V            x;
    const float *factor;
    bool         inverse;
    template <int W> __device__ void run(int64_t i) const {
        float v[W], f = inverse ? 1.0f / *factor : *factor;
        x.get(i, v);
#pragma unroll
        for (int k = 0; k < W; k++) v[k] *= f;
        x.put(i, v);
    }
};

void mg_cuda_scale_by(mg_mat x, const float *factor, bool inverse) {
    mg_with_views({ x }, true, [&](auto v, auto w) {
        using V = decltype(v);
        launch_each<decltype(w)::value>(scale_op<V>{ V::of(x), factor, inverse }, count(x), "scale_by");
    });
}
