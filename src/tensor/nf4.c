/* nf4.c -- 4-bit codes with block scales (nf4, fp4) and the dynamic 8-bit code.
 *
 *   weight = table[code] * absmax[block]        absmax = map[c] * nested_absmax + offset when nested
 *
 * Equal bit for bit to bitsandbytes 0.50 on the CPU in the packed codes, the absmaxes, the
 * nested absmaxes, the map, and everything that is decoded from them.  Worth knowing:
 *
 * - w is scaled by the reciprocal of absmax, and the code is the first of the smallest
 *   |scaled - table[code]| in float: what bitsandbytes does, ties included.  A block of
 *   zeros gets the code of zero.  So does a block whose absmax is subnormal, because its
 *   reciprocal can be infinite; values below 1.2e-38 are lost with that.
 * - fp4 has two zeros.  bitsandbytes' CPU code takes the one with the sign bit (8) for
 *   *positive* scaled values that round to zero, and so do we; its CUDA code has it the
 *   other way round.  Both decode to +0 here as in bitsandbytes' CPU code.
 * - The offset of nested scales is the mean of the absmaxes as torch sums it on one AVX2
 *   thread (four chains of eight lanes, cascaded).  Above 32,768 absmaxes torch splits the
 *   sum over its threads, and a GPU has an order of its own: the offset may then differ in
 *   its last bits (2e-6 of its value), which is far below a step of the 8-bit code.
 * - The dynamic 8-bit code here is the nearest value of the map, the lower one at a tie, as
 *   in the paper and in bitsandbytes' CUDA code.  Its CPU code is the odd one out: it first
 *   rounds x / absmax to a grid of 65,536 points in [-1, 1] without a zero, so that 0 becomes
 *   2.1e-5 * absmax and values within 1.6e-5 of the middle between two entries may take the
 *   farther one.  For optimizer state that would turn every zero moment into a positive one.
 *   tests/tensor/test_nf4.c rebuilds the grid and shows that nothing else differs. */
#include "tensor/nf4.h"

#include "tensor/encode.h"

#include "base/thread.h"

#include "base/mem.h"

#include <float.h>
#include <math.h>
#include <pthread.h>
#include <string.h>

enum { NF4_STEP = 64, NF4_ALIGN = 64, NESTED_BLOCK = 256 };

/* Quantiles of the normal distribution, scaled to [-1, 1] (QLoRA, appendix E). */
static const float nf4_table[16] = {
    -1.0f,         -0.696192801f, -0.525073051f, -0.394917488f, -0.284441382f, -0.18477343f, -0.0910500363f, 0.0f,
    0.0795802996f, 0.160930201f,  0.246112302f,  0.337915242f,  0.44070983f,   0.562617004f, 0.722956836f,   1.0f,
};
/* Sign, two bits of exponent, one of fraction, over 12. */
static const float fp4_table[16] = {
    0.0f, 0.0625f / 12,  8.0f / 12,  12.0f / 12,  4.0f / 12,  6.0f / 12,  2.0f / 12,  3.0f / 12,
    0.0f, -0.0625f / 12, -8.0f / 12, -12.0f / 12, -4.0f / 12, -6.0f / 12, -2.0f / 12, -3.0f / 12,
};

/* ---- the dynamic map ---- */

static float          signed_map[256], unsigned_map[256];
static float          signed_border[255], unsigned_border[255]; /* x above border[i] is code i + 1 or more */
static pthread_once_t maps_once = PTHREAD_ONCE_INIT;

static void sort_floats(float *v, int n) { /* insertion: once a process, 256 values */
    for (int i = 1; i < n; i++) {
        float x = v[i];
        int   j = i;
        for (; j > 0 && v[j - 1] > x; j--) v[j] = v[j - 1];
        v[j] = x;
    }
}

/* Point i of `points` from 0.1 to 1, rounded once, counted from the nearer end: torch.linspace. */
static float linear_point(int i, int points) {
    float step = (1.0f - 0.1f) / (float)(points - 1);
    return (float)(i < points / 2 ? 0.1f + (double)step * i : 1 - (double)step * (points - 1 - i));
}

/* Seven decades 1e-6..1, decade e cut into 2^e (signed) or 2^(e+1) equal parts whose
 * centres are the values, plus 0 and 1 (arXiv 2110.02861, section 1.3). */
static void fill_map(float *map, float *border, bool is_signed) {
    static const float decade[7] = { 1e-6f, 1e-5f, 1e-4f, 1e-3f, 1e-2f, 1e-1f, 1.0f };
    int                n = 0;
    for (int e = 0; e < 7; e++) {
        int parts = is_signed ? 1 << e : 2 << e;
        for (int i = 0; i < parts; i++) {
            float centre = (linear_point(i, parts + 1) + linear_point(i + 1, parts + 1)) / 2.0f;
            map[n++] = decade[e] * centre;
            if (is_signed) map[n++] = -(decade[e] * centre);
        }
    }
    map[n++] = 0;
    map[n++] = 1;
    MG_ASSERT(n == 256);
    sort_floats(map, n);
    for (int i = 0; i < 255; i++) {
        double middle = ((double)map[i] + map[i + 1]) / 2;
        border[i] = (float)middle;
        if (border[i] > middle) border[i] = nextafterf(border[i], -1); /* the largest float not above it */
    }
}

static void fill_maps(void) {
    fill_map(signed_map, signed_border, true);
    fill_map(unsigned_map, unsigned_border, false);
}

const float *mg_dynamic_map(bool is_signed) {
    pthread_once(&maps_once, fill_maps);
    return is_signed ? signed_map : unsigned_map;
}

/* How many borders lie below x: eight halvings without a branch.  NaN gives 0. */
static inline uint8_t nearest_code(const float *border, float x) {
    int at = 0;
    for (int half = 128; half; half >>= 1) at += x > border[at + half - 1] ? half : 0;
    return (uint8_t)at;
}

static float absolute_max(const float *x, int64_t n) {
    float max = 0;
    for (int64_t i = 0; i < n; i++) {
        float a = fabsf(x[i]);
        max = a > max ? a : max;
    }
    return max;
}

void mg_dynamic8_encode(const float *x, int64_t n, int block, bool is_signed, uint8_t *code, float *absmax) {
    mg_dynamic_map(is_signed);
    const float *border = is_signed ? signed_border : unsigned_border;
    for (int64_t begin = 0; begin < n; begin += block) {
        int64_t end = n - begin < block ? n : begin + block;
        float   max = absolute_max(x + begin, end - begin);
        float   over = max > 0 ? max : 1; /* a block of zeros divides by one */
        absmax[begin / block] = max;
        for (int64_t i = begin; i < end; i++) code[i] = nearest_code(border, x[i] / over);
    }
}

void mg_dynamic8_decode(float *x, int64_t n, int block, bool is_signed, const uint8_t *code, const float *absmax) {
    const float *map = mg_dynamic_map(is_signed);
    for (int64_t begin = 0; begin < n; begin += block) {
        int64_t end = n - begin < block ? n : begin + block;
        float   max = absmax[begin / block];
        for (int64_t i = begin; i < end; i++) x[i] = map[code[i]] * max;
    }
}

/* ---- 4 bits ---- */

static inline float block_scale(const mg_nf4_side *s, int64_t block) {
    if (s->absmax) return s->absmax[block];
    return s->nested_code[s->absmax_code[block]] * s->nested_absmax[block / NESTED_BLOCK] + s->offset;
}

static inline void decode_4bit(const float        table[16], float *restrict out, const uint8_t *restrict data,
                               const mg_nf4_side *side, int64_t first, int64_t n) {
    for (int64_t i = 0; i < n; i += NF4_STEP) {
        float          scale = block_scale(side, (first + i) / side->block);
        float          scaled[16];
        const uint8_t *q = data + (first + i) / 2;
        for (int k = 0; k < 16; k++) scaled[k] = table[k] * scale;
        for (int k = 0; k < NF4_STEP / 2; k++) {
            out[i + 2 * k] = scaled[q[k] >> 4];
            out[i + 2 * k + 1] = scaled[q[k] & 15];
        }
    }
}

static void nf4_decode(float *out, const void *data, const void *side, int64_t first, int64_t n) {
    decode_4bit(nf4_table, out, data, side, first, n);
}

static void fp4_decode(float *out, const void *data, const void *side, int64_t first, int64_t n) {
    decode_4bit(fp4_table, out, data, side, first, n);
}

static bool packed_bytes(int64_t rows, int64_t cols, const mg_packing *p, size_t *bytes) {
    return mg_nf4_bytes(rows * cols, p->block, p->nested, bytes);
}

static void pack(const mg_format *f, const float *w, int64_t rows, int64_t cols, const mg_packing *p, void *memory, const void **data,
                 const void **side) {
    const mg_nf4_side *made;
    mg_nf4_encode(f, w, rows * cols, p->block, p->nested, memory, data, &made);
    *side = made;
}

const mg_format mg_format_nf4 = {
    .name = "nf4",
    .block = NF4_STEP,
    .block_bytes = NF4_STEP / 2,
    .gguf_type = -1,
    .decode = nf4_decode,
    .packed_bytes = packed_bytes,
    .pack = pack,
};
const mg_format mg_format_fp4 = {
    .name = "fp4",
    .block = NF4_STEP,
    .block_bytes = NF4_STEP / 2,
    .gguf_type = -1,
    .decode = fp4_decode,
    .packed_bytes = packed_bytes,
    .pack = pack,
};

/* Blocks know nothing of each other, so threads share them out and every number of threads gives the same bytes. */
typedef struct {
    const float *w, *table;
    int          block;
    bool         two_zeros;
    uint8_t     *packed;
    float       *absmax;
    void (*encode)(uint8_t *packed, const float *w, int64_t steps, float inverse, const float table[16], bool two_zeros);
    float (*find_max)(const float *w, int64_t n);
} encoding;

static void encode_blocks(void *context, int64_t first, int64_t last, int thread) {
    const encoding *e = context;
    (void)thread;
    for (int64_t begin = first * e->block; begin < last * e->block; begin += e->block) {
        float max = e->find_max(e->w + begin, e->block);
        float inverse = max >= FLT_MIN ? 1 / max : 0;
        e->encode(e->packed + begin / 2, e->w + begin, e->block / NF4_STEP, inverse, e->table, e->two_zeros);
    }
}

static void encode_codes(const mg_format *format, const float *w, int64_t n, int block, uint8_t *packed) {
    bool     fp4 = format == &mg_format_fp4;
    encoding e = { .w = w, .table = fp4 ? fp4_table : nf4_table, .block = block, .two_zeros = fp4, .packed = packed,
                       .encode = mg_encode_4bit(), .find_max = mg_find_absmax() };
    mg_parallel(n / block, 256, encode_blocks, &e);
}

static void absmax_blocks(void *context, int64_t first, int64_t last, int thread) {
    const encoding *e = context;
    (void)thread;
    for (int64_t b = first; b < last; b++) e->absmax[b] = e->find_max(e->w + b * e->block, e->block);
}

static void find_absmax(float *absmax, const float *w, int64_t n, int block) {
    encoding e = { .w = w, .block = block, .absmax = absmax, .find_max = mg_find_absmax() };
    mg_parallel(n / block, 256, absmax_blocks, &e);
}

/* ---- the mean in torch's order ----
 *
 * Lanes of a vector are summed apart.  Of the vectors, number 4 i + k goes to chain k.
 * A chain is a cascade of four levels: after 2^p vectors level 0 is emptied into level
 * 1, after 2^2p level 1 into level 2, ..., which keeps the rounding error small. */
enum { LEVELS = 4, CHAINS = 4, LANES = 8 };

static float chain_sum(const float *x, int64_t n, int64_t stride) {
    float acc[LEVELS] = { 0 };
    int   power = 4;
    while (power < 14 && n > (int64_t)1 << (LEVELS * (power + 1) - 1)) power++;
    for (int64_t i = 0; i < n;) {
        acc[0] += x[i++ * stride];
        for (int level = 1; level < LEVELS && !(i & (((int64_t)1 << (power * level)) - 1)); level++) {
            acc[level] += acc[level - 1];
            acc[level - 1] = 0;
        }
    }
    return ((acc[0] + acc[1]) + acc[2]) + acc[3];
}

static float lane_sum(const float *x, int64_t n, int64_t stride) {
    float   chain[CHAINS];
    int64_t each = n / CHAINS;
    for (int k = 0; k < CHAINS; k++) chain[k] = chain_sum(x + k * stride, each, stride * CHAINS);
    for (int64_t i = each * CHAINS; i < n; i++) chain[0] += x[i * stride];
    return ((chain[0] + chain[1]) + chain[2]) + chain[3];
}

static float torch_mean(const float *x, int64_t n) {
    float sum = 0;
    if (n < LANES) return n ? lane_sum(x, n, 1) / (float)n : 0;
    for (int64_t i = n / LANES * LANES; i < n; i++) sum += x[i];
    for (int k = 0; k < LANES; k++) sum += lane_sum(x + k, n / LANES, LANES);
    return sum / (float)n;
}

/* ---- one allocation ---- */

typedef struct {
    size_t data, absmax, absmax_code, nested_absmax, nested_code, total;
} nf4_layout;

/* Append `count` elements, 64-byte aligned. */
static bool place(nf4_layout *l, size_t *at, size_t count, size_t size) {
    size_t bytes;
    *at = l->total;
    return mg_size_mul(count, size, &bytes) && mg_size_add(bytes, NF4_ALIGN - 1, &bytes) &&
           mg_size_add(l->total, bytes / NF4_ALIGN * NF4_ALIGN, &l->total);
}

static bool lay_out(nf4_layout *l, int64_t n, int block, bool nested) {
    *l = (nf4_layout){ 0 };
    if ((block != 64 && block != 128) || n < 0 || n % block) return false;
    size_t side, blocks = (size_t)(n / block);
    if (!place(l, &side, 1, sizeof(mg_nf4_side)) || !place(l, &l->data, (size_t)n / 2, 1)) return false;
    if (!nested) return place(l, &l->absmax, blocks, sizeof(float));
    return place(l, &l->absmax_code, blocks, 1) &&
           place(l, &l->nested_absmax, blocks / NESTED_BLOCK + 1, sizeof(float)) &&
           place(l, &l->nested_code, 256, sizeof(float));
}

bool mg_nf4_bytes(int64_t n, int block, bool nested, size_t *bytes) {
    nf4_layout l;
    if (!lay_out(&l, n, block, nested)) return false;
    *bytes = l.total;
    return true;
}

/* The absmaxes wait in the room of the codes (16 or 32 times as large) until they are nested. */
static void encode_nested(const nf4_layout *l, char *base, const float *w, int64_t n, int block,
                          mg_nf4_side *side) {
    float  *absmax = (float *)(void *)(base + l->data);
    int64_t blocks = n / block;
    find_absmax(absmax, w, n, block);
    side->offset = torch_mean(absmax, blocks);
    for (int64_t b = 0; b < blocks; b++) absmax[b] -= side->offset;
    mg_dynamic8_encode(absmax, blocks, NESTED_BLOCK, true, (uint8_t *)(base + l->absmax_code),
                       (float *)(void *)(base + l->nested_absmax));
    memcpy(base + l->nested_code, mg_dynamic_map(true), 256 * sizeof(float));
    side->absmax_code = (uint8_t *)(base + l->absmax_code);
    side->nested_absmax = (float *)(void *)(base + l->nested_absmax);
    side->nested_code = (float *)(void *)(base + l->nested_code);
}

static void encode_plain(const nf4_layout *l, char *base, const float *w, int64_t n, int block,
                         mg_nf4_side *side) {
    float *absmax = (float *)(void *)(base + l->absmax);
    find_absmax(absmax, w, n, block);
    side->absmax = absmax;
}

void mg_nf4_encode(const mg_format *format, const float *w, int64_t n, int block, bool nested, void *memory,
                   const void **data, const mg_nf4_side **side) {
    nf4_layout l;
    MG_ASSERT(format == &mg_format_nf4 || format == &mg_format_fp4);
    MG_ASSERT(lay_out(&l, n, block, nested));
    mg_nf4_side *s = memory;
    *s = (mg_nf4_side){ .block = block };
    (nested ? encode_nested : encode_plain)(&l, memory, w, n, block, s);
    encode_codes(format, w, n, block, (uint8_t *)memory + l.data);
    *data = (char *)memory + l.data;
    *side = s;
}
