/* vec.h -- how kernels see the numbers of a matrix: eight at a time (16 bytes and more) or one by one.
 *
 * A kernel is written once over `views`.  typed<T> knows the element at compile time and is what runs when
 * all matrices of a call have the same one; `mixed` looks at run time (uniform branches), for mixtures such as
 * an fp32 residual stream beside fp16 activations, and for matrices that do not lie on 16 bytes. */
#ifndef MG_BACKEND_CUDA_VEC_H
#define MG_BACKEND_CUDA_VEC_H

#include "backend/cuda/cuda.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <initializer_list>

/* ---- conversions: everything is computed in float ---- */

static __device__ __forceinline__ float mg_widen(float x) { return x; }
static __device__ __forceinline__ float mg_widen(__half x) { return __half2float(x); }
static __device__ __forceinline__ float mg_widen(__nv_bfloat16 x) { return __bfloat162float(x); }

static __device__ __forceinline__ void mg_narrow(float *to, float x) { *to = x; }
static __device__ __forceinline__ void mg_narrow(__half *to, float x) { *to = __float2half_rn(x); }
static __device__ __forceinline__ void mg_narrow(__nv_bfloat16 *to, float x) { *to = __float2bfloat16_rn(x); }

/* Eight numbers as they lie in memory: what waits in registers for its use. */
template <typename T> struct packed8 {
    uint4 w;
};
template <> struct packed8<float> {
    float4 a, b;
};

/* p lies on 16 bytes */
template <typename T> static __device__ __forceinline__ void mg_fetch8(packed8<T> &x, const T *p) {
    x.w = *reinterpret_cast<const uint4 *>(p);
}
static __device__ __forceinline__ void mg_fetch8(packed8<float> &x, const float *p) {
    x.a = reinterpret_cast<const float4 *>(p)[0];
    x.b = reinterpret_cast<const float4 *>(p)[1];
}

static __device__ __forceinline__ void mg_widen8(float (&x)[8], const packed8<float> &q) {
    x[0] = q.a.x, x[1] = q.a.y, x[2] = q.a.z, x[3] = q.a.w, x[4] = q.b.x, x[5] = q.b.y, x[6] = q.b.z, x[7] = q.b.w;
}

static __device__ __forceinline__ void mg_widen8(float (&x)[8], const packed8<__nv_bfloat16> &q) {
    uint32_t w[4] = { q.w.x, q.w.y, q.w.z, q.w.w };
#pragma unroll
    for (int k = 0; k < 4; k++) {
        x[2 * k] = __uint_as_float(w[k] << 16);
        x[2 * k + 1] = __uint_as_float(w[k] & 0xffff0000u);
    }
}

static __device__ __forceinline__ void mg_widen8(float (&x)[8], const packed8<__half> &q) {
    uint32_t w[4] = { q.w.x, q.w.y, q.w.z, q.w.w };
#pragma unroll
    for (int k = 0; k < 4; k++) {
        float2 f = __half22float2(*reinterpret_cast<__half2 *>(&w[k]));
        x[2 * k] = f.x;
        x[2 * k + 1] = f.y;
    }
}

template <typename T> static __device__ __forceinline__ void mg_load8(const T *p, float (&x)[8]) {
    packed8<T> q;
    mg_fetch8(q, p);
    mg_widen8(x, q);
}

static __device__ __forceinline__ void mg_store8(float *p, const float (&x)[8]) {
    reinterpret_cast<float4 *>(p)[0] = make_float4(x[0], x[1], x[2], x[3]);
    reinterpret_cast<float4 *>(p)[1] = make_float4(x[4], x[5], x[6], x[7]);
}

static __device__ __forceinline__ void mg_store8(__nv_bfloat16 *p, const float (&x)[8]) {
    uint32_t w[4];
#pragma unroll
    for (int k = 0; k < 4; k++) {
        __nv_bfloat162 h = __floats2bfloat162_rn(x[2 * k], x[2 * k + 1]);
        w[k] = *reinterpret_cast<uint32_t *>(&h);
    }
    *reinterpret_cast<uint4 *>(p) = make_uint4(w[0], w[1], w[2], w[3]);
}

static __device__ __forceinline__ void mg_store8(__half *p, const float (&x)[8]) {
    uint32_t w[4];
#pragma unroll
    for (int k = 0; k < 4; k++) {
        __half2 h = __floats2half2_rn(x[2 * k], x[2 * k + 1]);
        w[k] = *reinterpret_cast<uint32_t *>(&h);
    }
    *reinterpret_cast<uint4 *>(p) = make_uint4(w[0], w[1], w[2], w[3]);
}

/* ---- views ---- */

/* held<W> is W numbers in registers: packed where the element is known. */
template <typename T, int W> struct held_numbers {
    packed8<T> q;
    __device__ __forceinline__ void fetch(const T *p) { mg_fetch8(q, p); }
    __device__ __forceinline__ void widen(float (&x)[W]) const { mg_widen8(x, q); }
};
template <typename T> struct held_numbers<T, 1> {
    T q;
    __device__ __forceinline__ void fetch(const T *p) { q = *p; }
    __device__ __forceinline__ void widen(float (&x)[1]) const { x[0] = mg_widen(q); }
};

template <typename T> struct typed {
    T *p; /* of a const T only get() is used */
    template <int W> using held = held_numbers<T, W>;
    template <int W> __device__ __forceinline__ void fetch(int64_t i, held<W> &h) const { h.fetch(p + i); }
    static typed of(mg_mat m) { return typed{ static_cast<T *>(m.data) }; }
    __device__ __forceinline__ void get(int64_t i, float (&x)[8]) const { mg_load8(p + i, x); }
    __device__ __forceinline__ void get(int64_t i, float (&x)[1]) const { x[0] = mg_widen(p[i]); }
    __device__ __forceinline__ void put(int64_t i, const float (&x)[8]) const { mg_store8(p + i, x); }
    __device__ __forceinline__ void put(int64_t i, const float (&x)[1]) const { mg_narrow(p + i, x[0]); }
    __device__ __forceinline__ operator bool() const { return p; }
};

template <int W> struct held_floats {
    float v[W];
    __device__ __forceinline__ void widen(float (&x)[W]) const {
#pragma unroll
        for (int k = 0; k < W; k++) x[k] = v[k];
    }
};

struct mixed {
    void *p;
    template <int W> using held = held_floats<W>;
    template <int W> __device__ __forceinline__ void fetch(int64_t i, held<W> &h) const { get(i, h.v); }
    bool  wide, brain; /* fp32; bf16; neither: fp16 */
    static mixed of(mg_mat m) { return mixed{ m.data, m.format == mg_cuda_f32, m.format == mg_cuda_bf16 }; }
    template <int W> __device__ __forceinline__ void get(int64_t i, float (&x)[W]) const {
        if (wide) typed<float>{ static_cast<float *>(p) }.get(i, x);
        else if (brain) typed<__nv_bfloat16>{ static_cast<__nv_bfloat16 *>(p) }.get(i, x);
        else typed<__half>{ static_cast<__half *>(p) }.get(i, x);
    }
    template <int W> __device__ __forceinline__ void put(int64_t i, const float (&x)[W]) const {
        if (wide) typed<float>{ static_cast<float *>(p) }.put(i, x);
        else if (brain) typed<__nv_bfloat16>{ static_cast<__nv_bfloat16 *>(p) }.put(i, x);
        else typed<__half>{ static_cast<__half *>(p) }.put(i, x);
    }
    __device__ __forceinline__ operator bool() const { return p; }
};

/* ---- which of them a call takes ---- */

static inline bool mg_on16(const void *p) { return (uintptr_t)p % 16 == 0; }

template <int W> struct width_of { static constexpr int value = W; };

/* Calls launch(view type's value, width_of<8 or 1>) for the matrices that have data; `eights`: all rows
 * start on a multiple of eight elements. */
template <class F> static void mg_with_views(std::initializer_list<mg_mat> mats, bool eights, F launch) {
    const mg_format *one = nullptr;
    bool             same = true;
    for (const mg_mat &m : mats) {
        if (!m.data) continue;
        same = same && (!one || one == m.format);
        one = m.format;
        eights = eights && mg_on16(m.data);
    }
    if (!eights) launch(mixed{}, width_of<1>{});
    else if (!same) launch(mixed{}, width_of<8>{});
    else if (one == mg_cuda_bf16) launch(typed<__nv_bfloat16>{}, width_of<8>{});
    else if (one == mg_cuda_f16) launch(typed<__half>{}, width_of<8>{});
    else launch(typed<float>{}, width_of<8>{});
}

/* launch(width_of<0 or 1>) */
template <class F> static void mg_with_flag(bool flag, F launch) {
    if (flag) launch(width_of<1>{});
    else launch(width_of<0>{});
}

static inline unsigned mg_blocks(int64_t n, int64_t per_block) { return (unsigned)((n + per_block - 1) / per_block); }

#endif
