/* adamw.cu -- AdamW over the whole array of parameters in one launch: 28 bytes a number and the shadow's 2. */
#include "backend/cuda/step_scalars.h"
#include "backend/cuda/vec.h"

enum { THREADS = 256 };

static __global__ void step_prepare(mg_cuda_step_scalars *s) {
    double norm = sqrt(s->square_sum) / s->loss_scale;
    bool   finite = isfinite(norm);
    /* torch adds 1e-6 to the norm and never scales up */
    double clip = s->max_norm > 0 ? fmin(s->max_norm / (norm + 1e-6), 1.0) : 1.0;
    s->norm = norm;
    s->finite = finite;
    s->grad_scale = (float)(clip / s->loss_scale);
    s->updates += finite;
    s->c1 = 1 - pow((double)s->beta1, (double)s->updates);
    s->c2 = 1 - pow((double)s->beta2, (double)s->updates);
    s->good = finite ? s->good + 1 : 0;
    if (!s->grow_after) return;
    if (!finite) s->loss_scale *= 0.5f;
    if (s->good >= s->grow_after) {
        s->loss_scale *= 2.0f;
        s->good = 0;
    }
}

void mg_cuda_step_prepare(mg_cuda_step_scalars *s) {
    step_prepare<<<1, 1, 0, mg_cuda_stream>>>(s);
    MG_CUDA_LAUNCHED("step_prepare");
}

/* The factors of one update, as float. */
struct adamw_factors {
    float beta1, rest1, beta2, rest2, keep, step, root, eps, grad_scale;
};

static __host__ __device__ adamw_factors factors_of(float lr, float beta1, float beta2, float eps, float decay, float grad_scale,
                                                    double c1, double c2) {
    adamw_factors f;
    f.beta1 = beta1, f.rest1 = (float)(1 - (double)beta1);
    f.beta2 = beta2, f.rest2 = (float)(1 - (double)beta2);
    f.keep = (float)((double)lr * decay);
    f.step = (float)(lr / c1);
    f.root = (float)(1 / sqrt(c2));
    f.eps = eps, f.grad_scale = grad_scale;
    return f;
}

struct adamw_arrays {
    typed<float> p, m, v, grad;
    mixed        shadow;
    int64_t      n;
    bool         zero_grad;
};

template <int W> static __device__ __forceinline__ void update(const adamw_arrays &a, const adamw_factors &f, int64_t i) {
    float p[W], m[W], v[W], g[W];
    a.p.get(i, p);
    a.m.get(i, m);
    a.v.get(i, v);
    a.grad.get(i, g);
#pragma unroll
    for (int k = 0; k < W; k++) {
        float x = g[k] * f.grad_scale;
        m[k] = f.beta1 * m[k] + f.rest1 * x;
        v[k] = f.beta2 * v[k] + f.rest2 * x * x;
        p[k] -= f.keep * p[k] + f.step * m[k] / (sqrtf(v[k]) * f.root + f.eps);
        g[k] = 0;
    }
    a.p.put(i, p);
    a.m.put(i, m);
    a.v.put(i, v);
    if (a.zero_grad) a.grad.put(i, g);
    if (a.shadow) a.shadow.put(i, p);
}

template <int W>
static __global__ void __launch_bounds__(THREADS)
    adamw(adamw_arrays a, adamw_factors f, float decay, const mg_cuda_step_scalars *s) {
    __shared__ adamw_factors of_step;
    bool                     skip = s && !s->finite;
    if (s) {
        if (threadIdx.x == 0) of_step = factors_of(s->lr, s->beta1, s->beta2, f.eps, decay, s->grad_scale, s->c1, s->c2);
        __syncthreads();
        f = of_step;
    }
    int64_t step = (int64_t)gridDim.x * THREADS * W, i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * W;
    for (; i < a.n; i += step) {
        float zero[1] = { 0 };
        if (skip) {
            for (int64_t k = i; a.zero_grad && k < i + W && k < a.n; k++) a.grad.put(k, zero);
        } else if (i + W <= a.n) {
            update<W>(a, f, i);
        } else
            for (int64_t k = i; k < a.n; k++) update<1>(a, f, k);
    }
}

void mg_cuda_adamw_step(mg_adamw_args a, mg_mat shadow, bool zero_grad, const mg_cuda_step_scalars *s) {
    if (!a.n) return;
    float       *grad = const_cast<float *>(a.grad);
    adamw_arrays x = { { a.p }, { a.m }, { a.v }, { grad }, mixed::of(shadow), a.n, zero_grad };
    adamw_factors f = factors_of(a.lr, a.beta1, a.beta2, a.eps, a.decay, a.grad_scale, a.c1, a.c2);
    bool eights = mg_on16(a.p) && mg_on16(a.m) && mg_on16(a.v) && mg_on16(a.grad) && mg_on16(shadow.data);
    /* the factors cost a block some hundred cycles, so blocks stay for several numbers */
    int64_t  width = eights ? 8 : 1, most = 16 * (int64_t)mg_cuda_sms;
    unsigned want = mg_blocks(a.n, THREADS * width), blocks = want < most ? want : (unsigned)most;
    if (eights) adamw<8><<<blocks, THREADS, 0, mg_cuda_stream>>>(x, f, a.decay, s);
    else adamw<1><<<blocks, THREADS, 0, mg_cuda_stream>>>(x, f, a.decay, s);
    MG_CUDA_LAUNCHED("adamw");
}

void mg_cuda_adamw(mg_adamw_args a) {
    mg_mat shadow = { a.shadow, 1, a.n, a.shadow_format, nullptr };
    mg_cuda_adamw_step(a, shadow, false, nullptr);
}
