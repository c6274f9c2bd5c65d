/* encode_k.isa.c -- finding scales and minima for ggml's K formats.
 *
 *   q4_k, q5_k   each sub-block of 32 is fitted as scale * q - min: for some twenty trial scales the numbers are
 *                rounded, then scale and min are the weighted least-squares fit to the rounded ones
 *                (2 x 2 normal equations), and the trial with the smallest weighted error wins.  Weights are
 *                |x| + the root mean square of the sub-block.
 *   q6_k         sub-blocks of 16 as scale * q, weights x^2, the trial that takes away most of the energy wins.
 *
 * The scales of a block are then rounded to 6 (8) bits of one half-precision scale, and the numbers rounded again
 * with what was left of them.  Trials, weights and the order of all sums are ggml's (ggml_quantize_chunk without an
 * importance matrix), so blocks are equal byte for byte.  That order runs along a sub-block, which forbids vectors
 * there: here the sub-blocks of a block lie side by side, one in each lane, and every line below is a vector. */
#include "tensor/encode_isa.h"

enum { BLOCK = 256, MINMAX_LANES = 8, MINMAX_SIZE = 32, SCALE_LANES = 16, SCALE_SIZE = 16 };

#define EACH    for (int i = 0; i < MINMAX_SIZE; i++)
#define LANES8  for (int k = 0; k < MINMAX_LANES; k++)
#define LANES16 for (int k = 0; k < SCALE_LANES; k++)

/* mask ? a : b, lane by lane */
#define PICK8(mask, a, b)  ((v8)(((m8)(a) & (mask)) | ((m8)(b) & ~(mask))))
#define PICK16(mask, a, b) ((v16)(((m16)(a) & (mask)) | ((m16)(b) & ~(mask))))
#define MAGNITUDE8(x)      ((v8)((m8)(x) & 0x7fffffff))
#define MAGNITUDE16(x)     ((v16)((m16)(x) & 0x7fffffff))
#define NEAREST(x)         (((x) + 0x1.8p23f) - 0x1.8p23f)

static inline void put_half(uint8_t *to, float x) {
    uint16_t h = mg_f32_to_f16(x);
    memcpy(to, &h, 2);
}

/* ---- q4_k and q5_k ---- */

/* q is 0..top.  Trial i has the inverse scale (top + first + i * step) / (max - min), where min is that of the best
 * trial before it. */
typedef struct {
    int   steps;
    float top, first, step;
} minmax_search;

/* A block of 256 with sub-block k in lane k; q: the rounded numbers of the best trial. */
typedef struct {
    v8 x[MINMAX_SIZE], w[MINMAX_SIZE], q[MINMAX_SIZE], trial[MINMAX_SIZE];
    v8 scale, min, error; /* the best so far: scale * q + min */
    v8 high;              /* the largest number */
    v8 sum_w, sum_x;      /* weighted */
} minmax;

static void minmax_load(minmax *m, const float *x) {
    v8 square = { 0 }, low, high, sum_w = { 0 }, sum_x = { 0 }, zero = { 0 };
    EACH LANES8 m->x[i][k] = x[MINMAX_SIZE * k + i];
    low = high = m->x[0];
    EACH square += m->x[i] * m->x[i];
    LANES8 square[k] = sqrtf(square[k] / MINMAX_SIZE);
    EACH {
        v8 v = m->x[i], w = square + MAGNITUDE8(v);
        m->w[i] = w;
        sum_w += w;
        sum_x += w * v;
        low = PICK8(v < low, v, low);
        high = PICK8(v > high, v, high);
    }
    m->sum_w = sum_w;
    m->sum_x = sum_x;
    m->high = high;
    m->min = PICK8(low > zero, zero, low);
}

/* q = the numbers rounded with an inverse scale; what is no number becomes 0. */
static inline void minmax_round(v8 *q, const minmax *m, const v8 *inverse, float top) {
    v8 by = *inverse, from = m->min, zero = { 0 }, most = zero + top;
    EACH {
        v8 r = NEAREST(by * (m->x[i] - from));
        r = PICK8(r > zero, r, zero);
        q[i] = PICK8(r < most, r, most);
    }
}

static inline void minmax_error(v8 *error, const minmax *m, const v8 *q, const v8 *scale, const v8 *min) {
    v8 s = *scale, b = *min, sum = { 0 };
    EACH {
        v8 off = s * q[i] + b - m->x[i];
        sum += m->w[i] * (off * off);
    }
    *error = sum;
}

/* The least-squares scale and min of the trial, min kept at most 0; where there is none, no error is smaller. */
static void minmax_fit(const minmax *m, v8 *scale, v8 *min, v8 *error) {
    v8 l = { 0 }, ll = { 0 }, xl = { 0 }, zero = { 0 };
    EACH {
        v8 wq = m->w[i] * m->trial[i];
        l += wq;
        ll += wq * m->trial[i];
        xl += wq * m->x[i];
    }
    v8 d = m->sum_w * ll - l * l;
    v8 b = (ll * m->sum_x - l * xl) / d;
    *scale = PICK8(b > zero, xl / ll, (m->sum_w * xl - m->sum_x * l) / d);
    *min = PICK8(b > zero, zero, b);
    minmax_error(error, m, m->trial, scale, min);
    *error = PICK8(d > zero, *error, zero + FLT_MAX);
}

static void minmax_search_best(minmax *m, const minmax_search *s) {
    v8 inverse = s->top / (m->high - m->min), scale, min, error;
    m8 flat = m->high == m->min; /* equal numbers, none above 0: a min and nothing else */
    m->scale = 1 / inverse;
    minmax_round(m->q, m, &inverse, s->top);
    minmax_error(&m->error, m, m->q, &m->scale, &m->min);
    for (int step = 0; step <= s->steps; step++) {
        inverse = (s->first + s->step * (float)step + s->top) / (m->high - m->min);
        minmax_round(m->trial, m, &inverse, s->top);
        minmax_fit(m, &scale, &min, &error);
        m8 better = error < m->error;
        m->error = PICK8(better, error, m->error);
        m->scale = PICK8(better, scale, m->scale);
        m->min = PICK8(better, min, m->min);
        EACH m->q[i] = PICK8(better, m->trial[i], m->q[i]);
    }
    v8 zero = { 0 };
    m->scale = PICK8(flat, zero, m->scale);
    EACH m->q[i] = PICK8(flat, zero, m->q[i]);
}

/* 6-bit scales and mins as unpack_scales_k4 has them. */
static void pack_scales(uint8_t out[12], const uint8_t scale[8], const uint8_t min[8]) {
    for (int k = 0; k < 4; k++) {
        out[k] = (uint8_t)(scale[k] | scale[k + 4] >> 4 << 6);
        out[k + 4] = (uint8_t)(min[k] | min[k + 4] >> 4 << 6);
        out[k + 8] = (uint8_t)((scale[k + 4] & 15) | (min[k + 4] & 15) << 4);
    }
}

/* Scales and mins in 6 bits of one d and m each, and the numbers rounded with these: q[32 k + i]. */
static void minmax_finish(minmax *m, float top, uint8_t d[2], uint8_t dm[2], uint8_t packed[12], uint8_t q[BLOCK]) {
    float   widest = 0, deepest = 0;
    uint8_t scale[8], min[8];
    LANES8 {
        widest = m->scale[k] > widest ? m->scale[k] : widest;
        deepest = -m->min[k] > deepest ? -m->min[k] : deepest;
    }
    float inverse_scale = widest > 0 ? 63 / widest : 0, inverse_min = deepest > 0 ? 63 / deepest : 0;
    LANES8 {
        scale[k] = (uint8_t)(int)within(to_nearest(inverse_scale * m->scale[k]), 0, 63);
        min[k] = (uint8_t)(int)within(to_nearest(inverse_min * -m->min[k]), 0, 63);
    }
    pack_scales(packed, scale, min);
    put_half(d, widest / 63);
    put_half(dm, deepest / 63);
    v8 s, b, zero = { 0 }, most = zero + top;
    LANES8 {
        s[k] = half_at(d) * (float)scale[k];
        b[k] = half_at(dm) * (float)min[k];
    }
    EACH {
        v8 r = NEAREST((m->x[i] + b) / s);
        r = PICK8(r > zero, r, zero);
        r = PICK8(r < most, r, most);
        m->q[i] = PICK8(s != zero, r, m->q[i]);
    }
    LANES8 EACH q[MINMAX_SIZE * k + i] = (uint8_t)(int)m->q[i][k];
}

static void q4_k(block_q4_k *b, const float *x, int64_t blocks) {
    static const minmax_search search = { .steps = 20, .top = 15, .first = -1, .step = 0.1f };
    uint8_t                    q[BLOCK];
    minmax                     m;
    for (; blocks--; b++, x += BLOCK) {
        minmax_load(&m, x);
        minmax_search_best(&m, &search);
        minmax_finish(&m, search.top, b->d, b->m, b->scale, q);
        for (int j = 0; j < 4; j++)
            for (int i = 0; i < 32; i++) b->q[32 * j + i] = (uint8_t)(q[64 * j + i] | q[64 * j + 32 + i] << 4);
    }
}

static void q5_k(block_q5_k *b, const float *x, int64_t blocks) {
    static const minmax_search search = { .steps = 15, .top = 31, .first = -0.5f, .step = 0.1f };
    uint8_t                    q[BLOCK];
    minmax                     m;
    for (; blocks--; b++, x += BLOCK) {
        minmax_load(&m, x);
        minmax_search_best(&m, &search);
        minmax_finish(&m, search.top, b->d, b->m, b->scale, q);
        for (int j = 0; j < 4; j++)
            for (int i = 0; i < 32; i++)
                b->q[32 * j + i] = (uint8_t)((q[64 * j + i] & 15) | (q[64 * j + 32 + i] & 15) << 4);
        for (int i = 0; i < 32; i++) {
            unsigned high = 0;
            for (int k = 0; k < 8; k++) high |= (unsigned)(q[32 * k + i] >> 4) << k;
            b->high[i] = (uint8_t)high;
        }
    }
}

/* ---- q6_k ---- */

typedef struct {
    v16 x[SCALE_SIZE], q[SCALE_SIZE], trial[SCALE_SIZE];
    v16 scale;
} symmetric;

enum { Q6_HALF = 32, Q6_TRIALS = 9 };
static const float NOTHING = 1e-15f; /* ggml: below this a group is zero */

/* To -32..31 in place; by address, because how vectors are passed depends on the instruction set. */
static inline void q6_round(v16 *x) {
    v16 zero = { 0 }, low = zero - Q6_HALF, high = zero + (Q6_HALF - 1), r = NEAREST(*x);
    r = PICK16(r > low, r, low);
    *x = PICK16(r < high, r, high);
}

/* Round with the inverse scale; xl = sum x^2 x q, ll = sum x^2 q^2. */
static inline void symmetric_try(const symmetric *s, v16 *q, const v16 *inverse, v16 *xl, v16 *ll) {
    v16 by = *inverse, sum_xl = { 0 }, sum_ll = { 0 };
    for (int i = 0; i < SCALE_SIZE; i++) {
        v16 x = s->x[i], w = x * x, r = by * x;
        q6_round(&r);
        q[i] = r;
        sum_xl += w * x * r;
        sum_ll += w * r * r;
    }
    *xl = sum_xl;
    *ll = sum_ll;
}

static void symmetric_search(symmetric *s, const float *x) {
    v16 zero = { 0 }, most = zero, furthest = zero, inverse, xl, ll, best;
    for (int i = 0; i < SCALE_SIZE; i++) LANES16 s->x[i][k] = x[SCALE_SIZE * k + i];
    for (int i = 0; i < SCALE_SIZE; i++) {
        v16 a = MAGNITUDE16(s->x[i]);
        furthest = PICK16(a > most, s->x[i], furthest);
        most = PICK16(a > most, a, most);
    }
    inverse = -Q6_HALF / furthest;
    symmetric_try(s, s->q, &inverse, &xl, &ll);
    s->scale = PICK16(ll != zero, xl / ll, zero);
    best = s->scale * xl;
    for (int t = -Q6_TRIALS; t <= Q6_TRIALS; t++) {
        if (!t) continue;
        inverse = -((float)Q6_HALF + 0.1f * (float)t) / furthest;
        symmetric_try(s, s->trial, &inverse, &xl, &ll);
        m16 better = (ll > zero) & (xl * xl > best * ll);
        s->scale = PICK16(better, xl / ll, s->scale);
        best = PICK16(better, s->scale * xl, best);
        for (int i = 0; i < SCALE_SIZE; i++) s->q[i] = PICK16(better, s->trial[i], s->q[i]);
    }
    for (int i = 0; i < SCALE_SIZE; i++) s->q[i] = PICK16(most < zero + NOTHING, zero - Q6_HALF, s->q[i]);
    s->scale = PICK16(most < zero + NOTHING, zero, s->scale);
}

/* 8-bit scales of one d, and the numbers rounded with these; false: the block is zero. */
static bool symmetric_finish(symmetric *s, block_q6_k *b, uint8_t q[BLOCK]) {
    float most = 0, widest = 0;
    LANES16 {
        float a = fabsf(s->scale[k]);
        widest = a > most ? s->scale[k] : widest;
        most = a > most ? a : most;
    }
    if (!(most >= NOTHING)) return false;
    float inverse = -128 / widest;
    v16   d, zero = { 0 };
    put_half(b->d, 1 / inverse);
    LANES16 {
        b->scale[k] = (int8_t)(int)within(to_nearest(inverse * s->scale[k]), -128, 127);
        d[k] = half_at(b->d) * (float)b->scale[k];
    }
    for (int i = 0; i < SCALE_SIZE; i++) {
        v16 r = s->x[i] / d;
        q6_round(&r);
        s->q[i] = PICK16(d != zero, r, s->q[i]);
    }
    for (int k = 0; k < SCALE_LANES; k++)
        for (int i = 0; i < SCALE_SIZE; i++) q[SCALE_SIZE * k + i] = (uint8_t)((int)s->q[i][k] + Q6_HALF);
    return true;
}

static void q6_k(block_q6_k *b, const float *x, int64_t blocks) {
    uint8_t   q[BLOCK];
    symmetric s;
    for (; blocks--; b++, x += BLOCK) {
        symmetric_search(&s, x);
        if (!symmetric_finish(&s, b, q)) {
            memset(b, 0, sizeof *b);
            continue;
        }
        for (int j = 0; j < 2; j++) {
            const uint8_t *p = q + 128 * j;
            for (int i = 0; i < 64; i++) b->q[64 * j + i] = (uint8_t)((p[i] & 15) | (p[i + 64] & 15) << 4);
            for (int i = 0; i < 32; i++)
                b->high[32 * j + i] =
                    (uint8_t)(p[i] >> 4 | p[i + 32] >> 4 << 2 | p[i + 64] >> 4 << 4 | p[i + 96] >> 4 << 6);
        }
    }
}

ENCODERS(k, .q4_k = q4_k, .q5_k = q5_k, .q6_k = q6_k);
