/* elements.isa.c -- loops that do the same to every element.
 *
 * Written as plain loops for the compiler's vectoriser; MG_VECTOR tells it that
 * equal pointers (in-place use) carry nothing from one iteration to another. */
#include "backend/cpu/loops.h"
#include "backend/cpu/vmath.h"

void MG_LOOP(fill)(float *y, float value, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = value;
}

void MG_LOOP(add)(float *y, const float *x, float scale, bool accumulate, int64_t n) {
    if (accumulate) {
        MG_VECTOR
        for (int64_t i = 0; i < n; i++) y[i] += scale * x[i];
    } else {
        MG_VECTOR
        for (int64_t i = 0; i < n; i++) y[i] = scale * x[i];
    }
}

void MG_LOOP(add_row)(float *y, const float *b, int64_t rows, int64_t cols, int64_t ld) {
    for (int64_t r = 0; r < rows; r++, y += ld) {
        MG_VECTOR
        for (int64_t c = 0; c < cols; c++) y[c] += b[c];
    }
}

void MG_LOOP(scale)(float *y, float scale, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] *= scale;
}

/* To nearest even.  A NaN stays one: its top bits are kept and the quiet bit is set. */
void MG_LOOP(to_bf16)(uint16_t *restrict y, const float *restrict x, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        mg_bits  v = { .f = x[i] };
        uint32_t rounded = (v.u + 0x7fffu + (v.u >> 16 & 1)) >> 16, nan = v.u >> 16 | 0x40;
        y[i] = (uint16_t)((v.u & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
    }
}

void MG_LOOP(from_bf16)(float *restrict y, const uint16_t *restrict x, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = (mg_bits){ .u = (uint32_t)x[i] << 16 }.f;
}

/* ---- activations, gated or not: f(z) = z s with s = sigmoid(z) for SiLU and sigmoid(2u) for the tanh form
 * of GELU, because (1 + tanh u) / 2 = sigmoid(2u) ---- */

static inline float silu(float z, float *slope) {
    float s = mg_sigmoid(z);
    *slope = s * (1 + z * (1 - s));
    return z * s;
}

static inline float gelu_tanh(float z, float *slope) {
    const float root = 1.5957691216057308f; /* 2 sqrt(2/pi) */
    float       zz = z * z, s = mg_sigmoid(root * z * (1 + 0.044715f * zz));
    *slope = s + z * s * (1 - s) * root * (1 + 3 * 0.044715f * zz);
    return z * s;
}

/* z P(z), P the normal distribution.  P(-a) = e^(-a^2/2) t q(t) with t = 1 / (1 + 0.3 a), q fitted to minimise the
 * relative error for a in [0, 12] (8e-8 before rounding). */
static inline float gelu(float z, float *slope) {
    float a = fabsf(z), t = 1 / (1 + 0.3f * a), e = mg_exp(-0.5f * z * z);
    float q = 0.0367415229f;
    q = q * t - 0.161679216f;
    q = q * t + 0.214132904f;
    q = q * t - 0.0609200636f;
    q = q * t + 0.132440269f;
    q = q * t + 0.0987191958f;
    q = q * t + 0.120949075f;
    q = q * t + 0.119616273f;
    float tail = e * t * q, p = z < 0 ? tail : 1 - tail;
    *slope = p + z * e * 0.3989422804f;
    return z * p;
}

static inline float plain_tanh(float z, float *slope) {
    float t = mg_tanh(z);
    *slope = 1 - t * t;
    return t;
}

static inline float relu(float z, float *slope) {
    *slope = z > 0 ? 1 : 0;
    return z > 0 ? z : 0;
}

static inline float logistic(float z, float *slope) {
    float s = mg_sigmoid(z);
    *slope = s * (1 - s);
    return s;
}

#define EACH_KIND(LOOP_OF)           \
    if (kind == MG_SILU) {           \
        LOOP_OF(silu)                \
    } else if (kind == MG_GELU_TANH) { \
        LOOP_OF(gelu_tanh)           \
    } else if (kind == MG_GELU) {    \
        LOOP_OF(gelu)                \
    } else if (kind == MG_TANH) {    \
        LOOP_OF(plain_tanh)          \
    } else if (kind == MG_RELU) {    \
        LOOP_OF(relu)                \
    } else {                         \
        LOOP_OF(logistic)            \
    }

#define GLU(f)                                                   \
    MG_VECTOR                                                    \
    for (int64_t i = 0; i < n; i++) {                            \
        float slope;                                             \
        y[i] = f(gate[i], &slope) * up[i];                       \
    }
#define PLAIN(f)                                                 \
    MG_VECTOR                                                    \
    for (int64_t i = 0; i < n; i++) {                            \
        float slope;                                             \
        y[i] = f(gate[i], &slope);                               \
    }

void MG_LOOP(glu)(float *y, const float *gate, const float *up, mg_activation kind, int64_t n) {
    if (up) {
        EACH_KIND(GLU)
    } else {
        EACH_KIND(PLAIN)
    }
}

/* Both results of an element are formed before either is stored. */
#define GLU_BACK(f)                                              \
    MG_VECTOR                                                    \
    for (int64_t i = 0; i < n; i++) {                            \
        float slope, g = dy[i], v = f(gate[i], &slope) * g;      \
        dgate[i] = g * up[i] * slope;                            \
        dup[i] = v;                                              \
    }
#define GLU_BACK_ONE(out, f, value)                              \
    MG_VECTOR                                                    \
    for (int64_t i = 0; i < n; i++) {                            \
        float slope, v = f(gate[i], &slope);                     \
        (void)v;                                                 \
        out[i] = dy[i] * (value);                                \
    }
#define GATE_BACK(f)  GLU_BACK_ONE(dgate, f, up[i] * slope)
#define UP_BACK(f)    GLU_BACK_ONE(dup, f, v)
#define PLAIN_BACK(f) GLU_BACK_ONE(dgate, f, slope)

void MG_LOOP(glu_back)(float *dgate, float *dup, const float *dy, const float *gate, const float *up,
                       mg_activation kind, int64_t n) {
    if (dgate && dup) {
        EACH_KIND(GLU_BACK)
    } else if (dgate && up) {
        EACH_KIND(GATE_BACK)
    } else if (dgate) {
        EACH_KIND(PLAIN_BACK)
    } else if (dup) {
        EACH_KIND(UP_BACK)
    }
}

/* ---- dropout: many blocks of the generator of base/rng.c side by side ---- */

enum { LANES = 32 };

static inline void random_blocks(mg_rng r, uint64_t first, uint32_t out[4][LANES]) {
    uint32_t c0[LANES], c1[LANES], c2[LANES], c3[LANES], k0 = (uint32_t)r.seed, k1 = (uint32_t)(r.seed >> 32);
    for (int i = 0; i < LANES; i++) {
        c0[i] = (uint32_t)(first + (uint64_t)i);
        c1[i] = (uint32_t)((first + (uint64_t)i) >> 32);
        c2[i] = (uint32_t)r.where;
        c3[i] = (uint32_t)(r.where >> 32);
    }
    for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
        MG_VECTOR
        for (int i = 0; i < LANES; i++) {
            uint64_t a = (uint64_t)0xD2511F53u * c0[i], b = (uint64_t)0xCD9E8D57u * c2[i];
            c0[i] = (uint32_t)(b >> 32) ^ c1[i] ^ k0;
            c1[i] = (uint32_t)b;
            c2[i] = (uint32_t)(a >> 32) ^ c3[i] ^ k1;
            c3[i] = (uint32_t)a;
        }
    }
    for (int i = 0; i < LANES; i++) out[0][i] = c0[i], out[1][i] = c1[i], out[2][i] = c2[i], out[3][i] = c3[i];
}

void MG_LOOP(dropout)(const mg_dropout_args *a, int64_t first, int64_t n) {
    const float *x = (const float *)a->x.data + first;
    float       *y = (float *)a->y.data + first, keep = (float)(1 / (1.0 - a->p)), p = a->p;
    for (int64_t i = 0; i < n; i += 4 * LANES) {
        uint32_t word[4][LANES];
        float    factor[4 * LANES];
        int64_t  left = n - i < 4 * LANES ? n - i : 4 * LANES;
        random_blocks(a->rng, (uint64_t)(first + i) / 4, word);
        for (int j = 0; j < LANES; j++)
            for (int l = 0; l < 4; l++)
                factor[4 * j + l] = (float)(int32_t)(word[l][j] >> 8) * 0x1p-24f >= p ? keep : 0;
        if (a->accumulate) {
            MG_VECTOR
            for (int64_t j = 0; j < left; j++) y[i + j] += factor[j] != 0 ? x[i + j] * factor[j] : 0;
        } else {
            MG_VECTOR
            for (int64_t j = 0; j < left; j++) y[i + j] = factor[j] != 0 ? x[i + j] * factor[j] : 0;
        }
    }
}

void MG_LOOP(adamw)(const mg_adamw_args *a, int64_t first, int64_t n) {
    float       *restrict p = a->p + first, *restrict m = a->m + first, *restrict v = a->v + first;
    const float *restrict grad = a->grad + first;
    float        b1 = a->beta1, b2 = a->beta2, n1 = (float)(1 - (double)b1), n2 = (float)(1 - (double)b2);
    float        step = (float)(a->lr / a->c1), root = (float)(1 / sqrt(a->c2)), eps = a->eps;
    float        shrink = (float)((double)a->lr * a->decay), scale = a->grad_scale;
    for (int64_t i = 0; i < n; i++) {
        float g = grad[i] * scale;
        m[i] = b1 * m[i] + n1 * g;
        v[i] = b2 * v[i] + n2 * (g * g);
        float w = p[i] - shrink * p[i];
        p[i] = w - step * m[i] / (sqrtf(v[i]) * root + eps);
    }
}

void MG_LOOP(lion)(const mg_lion_args *a, int64_t first, int64_t n) {
    float       *restrict p = a->p + first, *restrict m = a->m + first;
    const float *restrict grad = a->grad + first;
    float        b1 = a->beta1, b2 = a->beta2, n1 = (float)(1 - (double)b1), n2 = (float)(1 - (double)b2), lr = a->lr;
    float        shrink = (float)((double)a->lr * a->decay), scale = a->grad_scale;
    for (int64_t i = 0; i < n; i++) {
        float g = grad[i] * scale, d = b1 * m[i] + n1 * g;
        float w = p[i] - shrink * p[i];
        p[i] = d > 0 ? w - lr : d < 0 ? w + lr : w;
        m[i] = b2 * m[i] + n2 * g;
    }
}
