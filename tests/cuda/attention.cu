/* attention.cu -- the attention kernels on the device against the plain loops of ref32, and their speed.
 *
 *   attention check FIRST COUNT   random shapes; each prints nothing unless it is wrong
 *   attention bench               milliseconds and TFLOP/s of training shapes, GB/s of decoding shapes
 *
 * A shape draws element type, sequences (packed, with rows of padding that hold NaN, or with keys in a
 * cache whose other rows hold NaN), heads, width, window, soft-cap, direction and alignment.  Around every
 * buffer stand guard bytes; outputs and work memory hold NaN beforehand.  All inputs are rounded to the
 * element type before both sides get them, so the bounds are on the kernel's own rounding: NMSE 1e-10 in
 * fp32; in bf16 1e-5 for y and 5e-5 for gradients, whose two factors are rounded; 1/64 of that in fp16, the
 * square of its three more bits; lse is fp32 and must be within 1e-10 always. */
extern "C" {
#include "../support_random.h"
#include "backend/backend.h"
}
#include "backend/cuda/cuda.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

cudaStream_t     mg_cuda_stream;
const mg_format *mg_cuda_f32 = &mg_format_f32, *mg_cuda_bf16 = &mg_format_bf16, *mg_cuda_f16 = &mg_format_f16;
int              mg_cuda_cc, mg_cuda_sms;

void mg_cuda_check(cudaError_t e, const char *what) {
    if (e == cudaSuccess) return;
    fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(e));
    exit(2);
}

enum { GUARD = 256, BUFFERS = 32 };

static void check(cudaError_t e) { mg_cuda_check(e, "test"); }

/* ---- buffers: on the device, with a picture of what they should hold around the data ---- */

typedef struct buffer {
    uint8_t *memory, *data;
    size_t   bytes, shift;
    bool     output;
    uint8_t *before, *first;
} buffer;

typedef struct trial {
    support_random   r;
    int              number;
    const mg_format *element;
    double           bound, back_bound; /* of y; of gradients */
    int              repeats;
    size_t           shift;
    buffer           buffers[BUFFERS];
    int              n;
    float           *host[64];
    int              hosts;
    char             trouble[300];
    char             what[300];
} trial;

static double worst[3][5]; /* of y, lse, dq, dk, dv in bf16, fp16, fp32: NMSE */
static const char *const names[5] = { "y", "lse", "dq", "dk", "dv" };

#define TROUBLE(t, ...)                                                                \
    do {                                                                               \
        if (!(t)->trouble[0]) snprintf((t)->trouble, sizeof(t)->trouble, __VA_ARGS__); \
    } while (0)

static float *numbers(trial *t, int64_t n, double size) {
    float *x = (float *)malloc((size_t)(n + 1) * sizeof *x);
    t->host[t->hosts++] = x;
    for (int64_t i = 0; i < n; i++) {
        float    v = (float)(size * random_normal(&t->r));
        uint16_t h;
        if (t->element == mg_cuda_bf16) v = mg_bf16_to_f32(mg_f32_to_bf16(v));
        if (t->element == mg_cuda_f16) t->element->encode(&h, &v, 1), t->element->decode(&v, &h, NULL, 0, 1);
        x[i] = v;
    }
    return x;
}

/* `from` NULL: all bytes 0xff, NaN in every format */
static buffer *device_bytes(trial *t, const void *from, size_t bytes, size_t shift, bool output) {
    buffer *b = &t->buffers[t->n++];
    size_t  all = 2 * GUARD + bytes + shift;
    b->bytes = bytes, b->output = output, b->shift = shift;
    check(cudaMalloc((void **)&b->memory, all));
    check(cudaMemset(b->memory, 0xff, all));
    b->data = b->memory + GUARD + shift;
    if (from) check(cudaMemcpy(b->data, from, bytes, cudaMemcpyHostToDevice));
    b->before = (uint8_t *)malloc(all);
    check(cudaMemcpy(b->before, b->memory, all, cudaMemcpyDeviceToHost));
    b->first = NULL;
    return b;
}

static size_t width(const mg_format *f) { return f->block_bytes; }

static mg_mat device_mat(trial *t, const float *x, int64_t rows, int64_t cols, const mg_format *f) {
    size_t bytes = (size_t)(rows * cols) * width(f);
    void  *stored = NULL;
    if (x) {
        stored = malloc(bytes + 1);
        f->encode(stored, x, rows * cols);
    }
    mg_mat m = { device_bytes(t, stored, bytes, f == t->element ? t->shift * width(f) : 0, x == NULL)->data, rows,
                 cols, f, NULL };
    free(stored);
    return m;
}

static void restore(trial *t) {
    for (int i = 0; i < t->n; i++) {
        buffer *b = &t->buffers[i];
        if (b->output) check(cudaMemcpy(b->memory, b->before, 2 * GUARD + b->bytes + b->shift, cudaMemcpyHostToDevice));
    }
}

/* After a run: guards and inputs as they were; outputs (but work memory) as after the first run. */
static void check_buffers(trial *t, int run, const void *work) {
    for (int i = 0; i < t->n; i++) {
        buffer  *b = &t->buffers[i];
        size_t   all = 2 * GUARD + b->bytes + b->shift, at = GUARD + b->shift;
        uint8_t *now = (uint8_t *)malloc(all);
        check(cudaMemcpy(now, b->memory, all, cudaMemcpyDeviceToHost));
        if (memcmp(now, b->before, at) || memcmp(now + at + b->bytes, b->before + at + b->bytes, GUARD))
            TROUBLE(t, "buffer %d: guard bytes were written", i);
        if (!b->output && memcmp(now, b->before, all)) TROUBLE(t, "buffer %d: an input was changed", i);
        if (!b->first) b->first = now, now = NULL;
        else if (b->data != work && memcmp(now, b->first, all))
            TROUBLE(t, "buffer %d: run %d gives other bits", i, run);
        free(now);
    }
}

static float *fetch(trial *t, mg_mat m) {
    int64_t n = m.rows * m.cols;
    void   *stored = malloc((size_t)n * width(m.format) + 1);
    float  *x = (float *)malloc((size_t)(n + 1) * sizeof *x);
    check(cudaMemcpy(stored, m.data, (size_t)n * width(m.format), cudaMemcpyDeviceToHost));
    m.format->decode(x, stored, NULL, 0, n);
    free(stored);
    t->host[t->hosts++] = x;
    return x;
}

static void release(trial *t) {
    for (int i = 0; i < t->n; i++)
        cudaFree(t->buffers[i].memory), free(t->buffers[i].before), free(t->buffers[i].first);
    for (int i = 0; i < t->hosts; i++) free(t->host[i]);
    t->n = t->hosts = 0;
}

/* ---- shapes ---- */

typedef struct shape {
    mg_attention_shape s;
    int32_t            q_start[9], k_start[8], k_len[8];
    int                q_rows, k_rows; /* of the matrices; rows from q_start[n_seq] on are padding */
} shape;

static int width_of_head(trial *t) {
    static const int common[] = { 64, 80, 96, 128, 256, 128, 64, 256 };
    int              kind = random_int(&t->r, 0, 9);
    if (kind < 5) return common[random_int(&t->r, 0, 7)];
    if (kind < 8) return 8 * random_int(&t->r, 1, 32);
    return kind == 8 ? 8 * random_int(&t->r, 1, 4) : random_int(&t->r, 1, 70);
}

static void draw_shape(trial *t, shape *x, bool cached) {
    mg_attention_shape *s = &x->s;
    int                 most = t->number % 4 == 0 ? 300 : 60, key = 0;
    memset(x, 0, sizeof *x);
    s->n_seq = random_int(&t->r, 1, t->number % 3 ? 4 : 8), s->kv_heads = random_int(&t->r, 1, 3);
    s->heads = s->kv_heads * random_int(&t->r, 1, 5);
    s->hd = width_of_head(t);
    s->scale = 1 / sqrtf((float)s->hd);
    s->window = random_int(&t->r, 0, 2) ? 0 : random_size(&t->r, most);
    s->softcap = random_int(&t->r, 0, 2) ? 0 : 2;
    s->bidirectional = !s->window && random_int(&t->r, 0, 3) == 0;
    for (int i = 0; i < s->n_seq; i++) {
        int n = cached && random_int(&t->r, 0, 2) ? random_int(&t->r, 1, 3)
                : random_int(&t->r, 0, 9)         ? random_size(&t->r, most)
                                                  : 0;
        x->q_start[i + 1] = x->q_start[i] + n;
        x->k_start[i] = key += random_int(&t->r, 0, 3);
        x->k_len[i] = n + random_int(&t->r, 0, n < 4 ? 3 * most : most);
        key += x->k_len[i];
    }
    x->q_rows = x->q_start[s->n_seq] + (cached || random_int(&t->r, 0, 1) ? 0 : random_int(&t->r, 0, 150));
    if (x->q_rows == 0) x->q_rows = 1;
    x->k_rows = cached ? key + random_int(&t->r, 0, 3) : x->q_rows;
    s->q_start = x->q_start;
    if (cached) s->k_start = x->k_start, s->k_len = x->k_len;
    snprintf(t->what, sizeof t->what,
             "%s n_seq %d rows %d of %d keys %d%s heads %d/%d hd %d window %d softcap %g%s shift %d", t->element->name,
             s->n_seq, x->q_start[s->n_seq], x->q_rows, x->k_rows, cached ? " cached" : "", s->heads, s->kv_heads,
             s->hd, s->window, s->softcap, s->bidirectional ? " bidirectional" : "", (int)t->shift);
}

static mg_attention_shape on_device(trial *t, const shape *x) {
    mg_attention_shape s = x->s;
    size_t             n = (size_t)s.n_seq * sizeof(int32_t);
    s.q_start = (const int32_t *)device_bytes(t, x->q_start, n + sizeof(int32_t), 0, false)->data;
    if (!s.k_start) return s;
    s.k_start = (const int32_t *)device_bytes(t, x->k_start, n, 0, false)->data;
    s.k_len = (const int32_t *)device_bytes(t, x->k_len, n, 0, false)->data;
    return s;
}

static bool owned(const shape *x, int row, bool key) {
    if (!key || !x->s.k_start) return row < x->q_start[x->s.n_seq];
    for (int i = 0; i < x->s.n_seq; i++)
        if (row >= x->k_start[i] && row < x->k_start[i] + x->k_len[i]) return true;
    return false;
}

/* The same numbers for both; rows of no sequence are NaN on the device. */
typedef struct twin { mg_mat ref, got; } twin;

static twin input(trial *t, const shape *x, bool key, int cols, float *values) {
    int    rows = key ? x->k_rows : x->q_rows;
    twin   m = { { values, rows, cols, mg_cuda_f32, NULL }, { 0 } };
    float *poisoned = (float *)malloc((size_t)rows * cols * sizeof(float) + 4);
    memcpy(poisoned, values, (size_t)rows * cols * sizeof(float));
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols && !owned(x, r, key); c++) poisoned[(size_t)r * cols + c] = NAN;
    m.got = device_mat(t, poisoned, rows, cols, t->element);
    free(poisoned);
    return m;
}

/* Packed rows of no sequence become 0, cached ones stay as they were. */
static void compare(trial *t, const shape *x, int name, bool key, const float *ref, mg_mat got, double bound,
                    double size) {
    if (!got.data) return;
    const float *y = fetch(t, got);
    double       error = 0, norm = 0;
    int64_t      cols = got.cols, n = 0;
    for (int64_t r = 0; r < got.rows; r++) {
        bool own = owned(x, (int)r, key);
        for (int64_t c = 0; c < cols; c++) {
            float g = y[r * cols + c], f = ref[r * cols + c];
            if (own) error += ((double)g - f) * ((double)g - f), norm += (double)f * f, n++;
            else if (x->s.k_start ? !isnan(g) : g != 0)
                TROUBLE(t, "%s: row %d, of no sequence, holds %g", names[name], (int)r, g);
        }
    }
    norm = fmax(norm, size * size * (double)n);
    int kind = t->element == mg_cuda_bf16 ? 0 : t->element == mg_cuda_f16 ? 1 : 2;
    if (norm > 0) worst[kind][name] = fmax(worst[kind][name], error / norm);
    if (!(error <= bound * norm))
        TROUBLE(t, "%s: NMSE %.3g, at most %.3g is allowed", names[name], error / norm, bound);
}

static float *zeros(trial *t, int64_t n) {
    float *x = (float *)calloc((size_t)n + 1, sizeof *x);
    t->host[t->hosts++] = x;
    return x;
}

static mg_mat plain(float *x, int64_t rows, int64_t cols) { mg_mat m = { x, rows, cols, mg_cuda_f32, NULL }; return m; }

static void *ref_work(trial *t, const mg_attention_shape *s, int rows) {
    return zeros(t, (int64_t)(mg_backend_ref32.attention_work(s, rows, true) / sizeof(float)) + 2);
}

static void try_forward(trial *t, const shape *x) {
    int  q_cols = x->s.heads * x->s.hd, k_cols = x->s.kv_heads * x->s.hd;
    mg_attention_args ref = { plain(zeros(t, (int64_t)x->q_rows * q_cols), x->q_rows, q_cols) }, got = ref;
    twin q = input(t, x, false, q_cols, numbers(t, (int64_t)x->q_rows * q_cols, 1.5));
    twin k = input(t, x, true, k_cols, numbers(t, (int64_t)x->k_rows * k_cols, 1));
    twin v = input(t, x, true, k_cols, numbers(t, (int64_t)x->k_rows * k_cols, 1));
    ref.q = q.ref, ref.k = k.ref, ref.v = v.ref, got.q = q.got, got.k = k.got, got.v = v.got;
    ref.s = x->s, got.s = on_device(t, x);
    ref.lse = zeros(t, (int64_t)x->q_rows * x->s.heads);
    ref.work = ref_work(t, &x->s, x->q_rows);
    got.y = device_mat(t, NULL, x->q_rows, q_cols, t->element);
    mg_mat lse = device_mat(t, NULL, x->q_rows, x->s.heads, mg_cuda_f32);
    got.lse = lse.data;
    got.work = device_bytes(t, NULL, mg_cuda_attention_work(&got.s, x->q_rows, false), 0, true)->data;
    mg_backend_ref32.attention(ref);
    for (int run = 0; run < t->repeats; run++) {
        restore(t);
        mg_cuda_attention(got);
        check(cudaDeviceSynchronize());
        check_buffers(t, run, got.work);
    }
    compare(t, x, 0, false, (float *)ref.y.data, got.y, t->bound, 0);
    compare(t, x, 1, false, (float *)ref.lse, lse, 1e-10, 1);
}

static void round_to(trial *t, float *x, int64_t n) {
    uint16_t h;
    for (int64_t i = 0; i < n && t->element != mg_cuda_f32; i++)
        t->element->encode(&h, x + i, 1), t->element->decode(x + i, &h, NULL, 0, 1);
}

/* The size of the terms of dq and dk: what cancels is not counted as exact. */
static double term_size(const shape *x) {
    double sum = 0;
    int    rows = 0;
    for (int i = 0; i < x->s.n_seq; i++)
        for (int r = 0; r < x->q_start[i + 1] - x->q_start[i]; r++, rows++) {
            int keys = x->s.k_start ? x->k_len[i] - (x->q_start[i + 1] - x->q_start[i]) + r + 1 : r + 1;
            if (x->s.bidirectional) keys = x->s.k_start ? x->k_len[i] : x->q_start[i + 1] - x->q_start[i];
            sum += 1.0 / (x->s.window > 0 && keys > x->s.window ? x->s.window : keys);
        }
    return rows ? sqrt(sum / rows) : 0;
}

static void try_back(trial *t, const shape *x) {
    int     q_cols = x->s.heads * x->s.hd, k_cols = x->s.kv_heads * x->s.hd, without = random_int(&t->r, 0, 7);
    int64_t q_n = (int64_t)x->q_rows * q_cols, k_n = (int64_t)x->k_rows * k_cols;
    mg_attention_back_args ref, got;
    memset(&ref, 0, sizeof ref), memset(&got, 0, sizeof got);
    twin q = input(t, x, false, q_cols, numbers(t, q_n, 1.5)), k = input(t, x, true, k_cols, numbers(t, k_n, 1));
    twin v = input(t, x, true, k_cols, numbers(t, k_n, 1)), dy = input(t, x, false, q_cols, numbers(t, q_n, 1));
    float *y = zeros(t, q_n), *lse = zeros(t, (int64_t)x->q_rows * x->s.heads);
    void  *work = ref_work(t, &x->s, x->q_rows);
    mg_attention_args forward = { plain(y, x->q_rows, q_cols), q.ref, k.ref, v.ref, lse, x->s, work };
    mg_backend_ref32.attention(forward);
    round_to(t, y, q_n);
    ref.q = q.ref, ref.k = k.ref, ref.v = v.ref, ref.dy = dy.ref, ref.y = plain(y, x->q_rows, q_cols);
    ref.lse = lse, ref.s = x->s, ref.work = work;
    ref.dq = plain(zeros(t, q_n), x->q_rows, q_cols);
    ref.dk = plain(zeros(t, k_n), x->k_rows, k_cols), ref.dv = plain(zeros(t, k_n), x->k_rows, k_cols);
    got.q = q.got, got.k = k.got, got.v = v.got, got.dy = dy.got;
    got.y = input(t, x, false, q_cols, y).got;
    got.lse = device_mat(t, lse, x->q_rows, x->s.heads, mg_cuda_f32).data;
    got.s = on_device(t, x);
    if (without != 0) got.dq = device_mat(t, NULL, x->q_rows, q_cols, t->element);
    if (without != 1) got.dk = device_mat(t, NULL, x->k_rows, k_cols, t->element);
    if (without != 2) got.dv = device_mat(t, NULL, x->k_rows, k_cols, t->element);
    got.work = device_bytes(t, NULL, mg_cuda_attention_work(&got.s, x->q_rows, true), 0, true)->data;
    mg_backend_ref32.attention_back(ref);
    for (int run = 0; run < t->repeats; run++) {
        restore(t);
        mg_cuda_attention_back(got);
        check(cudaDeviceSynchronize());
        check_buffers(t, run, got.work);
    }
    double size = term_size(x), group = sqrt((double)x->s.heads / x->s.kv_heads);
    compare(t, x, 2, false, (float *)ref.dq.data, got.dq, t->back_bound, size);
    compare(t, x, 3, true, (float *)ref.dk.data, got.dk, t->back_bound, 1.5 * size * group);
    compare(t, x, 4, true, (float *)ref.dv.data, got.dv, t->back_bound, 0);
}

static int run_trial(int number, bool back) {
    static const mg_format *const elements[] = { mg_cuda_bf16, mg_cuda_f16, mg_cuda_bf16, mg_cuda_f16, mg_cuda_f32 };
    static const double           bounds[][2] = { { 1e-5, 5e-5 }, { 1.6e-7, 8e-7 }, { 1e-10, 1e-10 } };
    trial *t = (trial *)calloc(1, sizeof *t);
    shape  x;
    t->r = random_of((uint64_t)number * 2 + back), t->number = number;
    t->element = elements[number % 5];
    if (t->element == mg_cuda_bf16 && mg_cuda_cc < 80) t->element = mg_cuda_f16;
    int kind = t->element == mg_cuda_bf16 ? 0 : t->element == mg_cuda_f16 ? 1 : 2;
    t->bound = bounds[kind][0], t->back_bound = bounds[kind][1];
    t->repeats = number % 10 == 0 ? 20 : 2;
    t->shift = random_int(&t->r, 0, 7) ? 0 : (size_t)random_int(&t->r, 1, 7);
    draw_shape(t, &x, random_int(&t->r, 0, back ? 3 : 1) == 0);
    if (back) try_back(t, &x);
    else try_forward(t, &x);
    int wrong = t->trouble[0] != 0;
    if (wrong) printf("%s %d: %s: %s\n", back ? "back" : "forward", number, t->what, t->trouble);
    release(t);
    free(t);
    return wrong;
}

static int check_shapes(int first, int count) {
    int wrong = 0;
    for (int i = first; i < first + count; i++) wrong += run_trial(i, false) + run_trial(i, true);
    printf("%d of %d wrong; largest NMSE\n", wrong, 2 * count);
    for (int kind = 0; kind < 3; kind++) {
        printf("  %s:", kind == 0 ? "bf16" : kind == 1 ? "f16" : "f32");
        for (int i = 0; i < 5; i++) printf(" %s %.2g", names[i], worst[kind][i]);
        printf("\n");
    }
    return wrong != 0;
}

/* ---- speed ---- */

typedef struct bench_shape { int batch, t, heads, kv_heads, hd, window; float softcap; bool cached; } bench_shape;

static const bench_shape benches[] = {
    { 4, 1024, 32, 32, 128, 0, 0, false }, { 4, 2048, 32, 32, 128, 0, 0, false }, { 1, 8192, 32, 32, 128, 0, 0, false },
    { 2, 2048, 32, 8, 128, 0, 0, false },  { 2, 2048, 16, 8, 128, 0, 0, false },  { 1, 512, 32, 32, 128, 0, 0, false },
    { 16, 256, 32, 32, 128, 0, 0, false }, { 4, 2048, 32, 32, 64, 0, 0, false },  { 4, 2048, 9, 3, 64, 0, 0, false },
    { 4, 2048, 32, 32, 80, 0, 0, false },  { 4, 2048, 32, 32, 96, 0, 0, false },  { 4, 1024, 8, 4, 256, 0, 0, false },
    { 4, 1024, 8, 4, 256, 0, 50, false },  { 4, 2048, 4, 1, 256, 512, 0, false }, { 1, 2048, 32, 8, 128, 0, 0, true },
    { 8, 2048, 32, 8, 128, 0, 0, true },   { 32, 2048, 32, 8, 128, 0, 0, true },  { 8, 8192, 32, 32, 128, 0, 0, true },
    { 32, 4096, 8, 4, 256, 0, 0, true },   { 32, 4096, 9, 3, 64, 0, 0, true },
};

static __global__ void fill_random(uint16_t *x, int64_t n, uint32_t seed, bool bf16) {
    for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < n; i += (int64_t)gridDim.x * blockDim.x) {
        uint32_t h = (uint32_t)i * 2654435761u + seed * 40503u;
        h ^= h >> 15, h *= 2246822519u, h ^= h >> 13, h *= 3266489917u, h ^= h >> 16;
        float sum =
            (float)((h & 255) + (h >> 8 & 255) + (h >> 16 & 255) + (h >> 24)) / 128 - 3.98f; /* about normal, 1.15 */
        uint32_t u = __float_as_uint(sum);
        (void)bf16;
        x[i] = (uint16_t)(u >> 16);
    }
}

static mg_mat bench_mat(int64_t rows, int64_t cols, uint32_t seed) {
    mg_mat m = { NULL, rows, cols, mg_cuda_bf16, NULL };
    check(cudaMalloc(&m.data, (size_t)(rows * cols) * 2));
    fill_random<<<1024, 256>>>((uint16_t *)m.data, rows * cols, seed, true);
    return m;
}

static int ascending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Median of several replays of a graph of RUNS runs: without the host's part, and a proof that they can be captured. */
template <typename F> static double milliseconds(F run) {
    enum { RUNS = 10, REPLAYS = 5 };
    cudaEvent_t     at[REPLAYS + 1];
    cudaGraph_t     graph;
    cudaGraphExec_t replay;
    float           ms[REPLAYS];
    for (int i = 0; i <= REPLAYS; i++) check(cudaEventCreate(&at[i]));
    run();
    check(cudaStreamBeginCapture(mg_cuda_stream, cudaStreamCaptureModeGlobal));
    for (int i = 0; i < RUNS; i++) run();
    check(cudaStreamEndCapture(mg_cuda_stream, &graph));
    check(cudaGraphInstantiate(&replay, graph, 0));
    check(cudaGraphLaunch(replay, mg_cuda_stream));
    check(cudaEventRecord(at[0], mg_cuda_stream));
    for (int i = 0; i < REPLAYS; i++) {
        check(cudaGraphLaunch(replay, mg_cuda_stream));
        check(cudaEventRecord(at[i + 1], mg_cuda_stream));
    }
    check(cudaDeviceSynchronize());
    for (int i = 0; i < REPLAYS; i++) check(cudaEventElapsedTime(&ms[i], at[i], at[i + 1]));
    qsort(ms, REPLAYS, sizeof *ms, ascending);
    for (int i = 0; i <= REPLAYS; i++) cudaEventDestroy(at[i]);
    cudaGraphExecDestroy(replay), cudaGraphDestroy(graph);
    return ms[REPLAYS / 2] / RUNS;
}

static double pairs_of(bench_shape b) { /* query-key pairs of a sequence and head, the diagonal counted half */
    double t = b.t, w = b.window > 0 && b.window < b.t ? b.window : t;
    return w * t - w * w / 2;
}

static void bench(bench_shape b) {
    int n = b.cached ? b.batch : b.batch * b.t, keys = b.batch * b.t, q_cols = b.heads * b.hd,
        k_cols = b.kv_heads * b.hd;
    int32_t start[3][64];
    for (int i = 0; i <= b.batch; i++) start[0][i] = b.cached ? i : i * b.t, start[1][i] = i * b.t, start[2][i] = b.t;
    int32_t *device;
    check(cudaMalloc((void **)&device, sizeof start));
    check(cudaMemcpy(device, start, sizeof start, cudaMemcpyHostToDevice));
    mg_attention_shape s = { b.batch, device, b.cached ? device + 64 : NULL, b.cached ? device + 128 : NULL, b.heads,
                             b.kv_heads, b.hd, b.window, 1 / sqrtf((float)b.hd), b.softcap, false };
    mg_mat q = bench_mat(n, q_cols, 1), k = bench_mat(keys, k_cols, 2), v = bench_mat(keys, k_cols, 3);
    mg_mat y = bench_mat(n, q_cols, 4), dy = bench_mat(n, q_cols, 5), dq = bench_mat(n, q_cols, 6);
    mg_mat dk = bench_mat(keys, k_cols, 7), dv = bench_mat(keys, k_cols, 8);
    void  *lse, *work;
    size_t need = mg_cuda_attention_work(&s, n, false), back = mg_cuda_attention_work(&s, n, true);
    check(cudaMalloc(&lse, (size_t)n * b.heads * 4));
    check(cudaMalloc(&work, (need > back ? need : back) + 4));
    mg_attention_args      f = { y, q, k, v, lse, s, work };
    mg_attention_back_args g = { dq, dk, dv, dy, y, q, k, v, lse, s, work };
    double ms = milliseconds([&] { mg_cuda_attention(f); });
    printf("%2dx%-5d heads %2d/%-2d hd %-3d window %-4d softcap %-3g", b.batch, b.t, b.heads, b.kv_heads, b.hd,
           b.window, b.softcap);
    if (b.cached) {
        printf(" decode %7.4f ms %6.0f GB/s\n", ms, 2.0 * keys * k_cols * 2 / ms / 1e6);
    } else {
        double flops = 4 * pairs_of(b) * b.hd * b.heads * b.batch;
        double back_ms = milliseconds([&] { mg_cuda_attention_back(g); });
        printf(" forward %7.4f ms %4.0f TFLOP/s  backward %7.4f ms %4.0f TFLOP/s", ms, flops / ms / 1e9, back_ms,
               2.5 * flops / back_ms / 1e9);
        g.dk.data = g.dv.data = NULL;
        printf("  dq alone %7.4f ms\n", milliseconds([&] { mg_cuda_attention_back(g); }));
    }
    fflush(stdout);
    void *all[] = { device, q.data, k.data, v.data, y.data, dy.data, dq.data, dk.data, dv.data, lse, work };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) cudaFree(all[i]);
}

int main(int argc, char **argv) {
    cudaDeviceProp p;
    check(cudaGetDeviceProperties(&p, 0));
    mg_cuda_cc = p.major * 10 + p.minor, mg_cuda_sms = p.multiProcessorCount;
    check(cudaStreamCreate(&mg_cuda_stream));
    if (argc == 4 && !strcmp(argv[1], "check")) return check_shapes(atoi(argv[2]), atoi(argv[3]));
    if (argc != 2 || strcmp(argv[1], "bench"))
        return fprintf(stderr, "attention check FIRST COUNT | attention bench\n"), 1;
    for (size_t i = 0; i < sizeof benches / sizeof *benches; i++) bench(benches[i]);
    return 0;
}
