/* vmath.h -- exp, tanh and sigmoid without a branch, so that loops over them become vectors.
 *
 * exp(x) = 2^n e^r with n = round(x / ln 2), r = x - n ln 2 in two parts, and
 * e^r = 1 + r + r^2 q(r), q fitted to minimise the relative error (4e-9 before
 * rounding).  In fp32 within 2 ulp for x in [-87, 87]; it stays at e^-87 and e^87
 * outside, which no sum of a softmax and no sigmoid can tell from 0 and infinity. */
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

static inline float mg_exp(float x) {
    float c = x < -87.0f ? -87.0f : x; /* NaN passes */
    c = c > 87.0f ? 87.0f : c;
    float scale, e = mg_exp_parts(c, &scale);
    return scale + scale * e;
}

static inline float mg_sigmoid(float x) { return 1.0f / (1.0f + mg_exp(-x)); }

/* (e^2x - 1) / (e^2x + 1); e^2x - 1 = 2^n (e^r - 1) + (2^n - 1) is exact near 0 */
static inline float mg_tanh(float x) {
    float c = x > 10.0f ? 10.0f : x;
    c = c < -10.0f ? -10.0f : c;
    float scale, e = mg_exp_parts(2 * c, &scale);
    e = scale * e + (scale - 1.0f);
    return e / (e + 2.0f);
}

#endif
