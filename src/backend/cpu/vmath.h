/* vmath.h -- exp, tanh and sigmoid without a branch, so that loops over them become vectors.
 *
 * exp(x) = 2^n e^r with n = round(x / ln 2), r = x - n ln 2 in two parts, and
 * e^r = 1 + r + r^2 q(r), q fitted to minimise the relative error (4e-9 before
 * rounding).  In fp32 within 2 ulp for x in [-87, 88]; below it stays at e^-87,
 * which no sum of a softmax and no sigmoid can tell from 0.  One comparison a
 * function: masks cost the compiler's vectors more than arithmetic does. */
#ifndef MG_BACKEND_CPU_VMATH_H
#define MG_BACKEND_CPU_VMATH_H

#include <math.h>
#include <stdint.h>

typedef union { float f; uint32_t u; int32_t i; } mg_bits;

/* *scale = 2^n, result e^r - 1 */
static inline float mg_exp_parts(float x, float *scale) {
    mg_bits n = { .f = x * 1.44269504f + 12582912.0f }; /* 1.5 * 2^23: the integer ends up in the low bits */
    float   k = n.f - 12582912.0f;
    float   r = (x - k * 0.693359375f) + k * 2.12194440e-4f;
    float   q = 1.3815331e-3f;
    q = q * r + 8.3687846e-3f;
    q = q * r + 4.16683778e-2f;
    q = q * r + 1.66665196e-1f;
    q = q * r + 4.9999994e-1f;
    n.u = (n.u << 23) + (127u << 23);
    *scale = n.f;
    return r + r * r * q;
}

/* x <= 88 */
static inline float mg_exp(float x) {
    float scale, e = mg_exp_parts(x < -87.0f ? -87.0f : x, &scale); /* NaN passes */
    return scale + scale * e;
}

/* 1 / (1 + e^-x), by the exponential of -|x| */
static inline float mg_sigmoid(float x) {
    float e = mg_exp(-fabsf(x));
    return (x < 0 ? e : 1.0f) / (1.0f + e);
}

/* (1 - e^-2|x|) / (1 + e^-2|x|) with x's sign; 1 - e^-2|x| = (1 - 2^n) - 2^n (e^r - 1) is exact near 0 */
static inline float mg_tanh(float x) {
    float a = fabsf(x), scale, e = mg_exp_parts(-2 * (a > 20.0f ? 20.0f : a), &scale);
    e = (1.0f - scale) - scale * e;
    return copysignf(e / (2.0f - e), x);
}

#endif
