/* trial.h -- one random call of a kernel on the device beside the plain loops of ref32 on the host.
 *
 * Every buffer exists three times: as floats for the plain loops, as a mirror of the device's bytes, and on
 * the device.  Around each stand guard bytes, outputs and work memory hold NaN beforehand, and after the call
 * all bytes outside of outputs and work memory must be what they were.  Matrices start at odd multiples of
 * their element in half of the trials, so that kernels run with and without 16-byte accesses.
 *
 * With `apart` every buffer is an allocation of its own and outputs that are not read are not written before:
 * for compute-sanitizer, which then sees each byte that is touched outside, and each that nobody wrote. */
#ifndef MG_TESTS_CUDA_TRIAL_H
#define MG_TESTS_CUDA_TRIAL_H

#include "backend/cuda/cuda.h"
extern "C" {
#include "support_random.h"
#include "tensor/nf4.h"
}

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vector>

enum buffer_use { INPUT, OUTPUT, WORK }; /* what the kernel may do with it */

struct buffer {
    size_t     at, bytes; /* in the mirror, without guards */
    buffer_use use;
    bool       poisoned;
    char      *device, *allocation; /* the latter with `apart` */
};

struct twin {
    mg_mat             ref, got; /* host floats; device elements */
    int                buffer;
    std::vector<float> start; /* what it held, when the kernel adds to it */
};

struct trial {
    enum { ARENA = 96 << 20, GUARD = 64 };
    support_random       r = {};
    int                  shape = 0;
    bool                 mixture = false, aligned = true, apart = false;
    const mg_format     *element = nullptr;
    std::vector<uint8_t> mirror, after, first;
    std::vector<buffer>  buffers;
    std::vector<float *> host;
    char                *arena = nullptr;
    size_t               used = 0;
    double               worst = 0; /* of the bound, 1: just allowed */
    char                 trouble[400] = { 0 };
};

#define TROUBLE(t, ...)                                                                \
    do {                                                                               \
        if (!(t)->trouble[0]) snprintf((t)->trouble, sizeof(t)->trouble, __VA_ARGS__); \
    } while (0)

static void trial_begin(trial *t, uint64_t seed, int shape) {
    static const mg_format *const elements[] = { &mg_format_f32, &mg_format_bf16, &mg_format_f16 };
    t->r = random_of(seed * 100003 + (uint64_t)shape);
    t->shape = shape;
    t->element = elements[shape % 3];
    t->mixture = random_int(&t->r, 0, 7) == 0;
    t->aligned = random_int(&t->r, 0, 1);
    t->used = trial::GUARD;
    t->mirror.assign(t->mirror.size(), 0xff);
    if (!t->arena && !t->apart) mg_cuda_check(cudaMalloc((void **)&t->arena, trial::ARENA), "arena");
    t->mirror.resize(trial::GUARD, 0xff);
}

static void trial_end(trial *t) {
    for (float *p : t->host) free(p);
    for (buffer &b : t->buffers)
        if (t->apart) mg_cuda_check(cudaFree(b.allocation), "free");
    t->host.clear();
    t->buffers.clear();
    t->mirror.clear();
}

/* A buffer whose start lies `shift` bytes behind a multiple of 256; its mirror holds NaN. */
static int take(trial *t, size_t bytes, size_t shift, buffer_use use) {
    buffer b = {};
    b.at = (t->used + trial::GUARD + 255) / 256 * 256 + shift;
    b.bytes = bytes;
    b.use = use;
    b.poisoned = use != INPUT;
    t->used = b.at + bytes + trial::GUARD;
    if (t->used > trial::ARENA) mg_cuda_check(cudaErrorMemoryAllocation, "the trial is too large");
    t->mirror.resize(t->used, 0xff);
    if (t->apart) {
        mg_cuda_check(cudaMalloc((void **)&b.allocation, shift + bytes), "buffer");
        b.device = b.allocation + shift;
    } else {
        b.device = t->arena + b.at;
    }
    t->buffers.push_back(b);
    return (int)t->buffers.size() - 1;
}

static uint8_t *mirror_of(trial *t, int i) { return t->mirror.data() + t->buffers[(size_t)i].at; }
static char    *device_of(trial *t, int i) { return t->buffers[(size_t)i].device; }

static const mg_format *format_of(trial *t) {
    static const mg_format *const elements[] = { &mg_format_f32, &mg_format_bf16, &mg_format_f16 };
    return t->mixture ? elements[random_int(&t->r, 0, 2)] : t->element;
}

static void put_element(const mg_format *f, void *data, int64_t i, float x) {
    if (f == &mg_format_f32) memcpy((char *)data + 4 * i, &x, 4);
    else {
        uint16_t h = f == &mg_format_bf16 ? mg_f32_to_bf16(x) : mg_f32_to_f16(x);
        memcpy((char *)data + 2 * i, &h, 2);
    }
}

static float element_at(const mg_format *f, const void *data, int64_t i) {
    float x;
    f->decode(&x, data, nullptr, i, 1);
    return x;
}

static float *host_floats(trial *t, int64_t n) {
    float *p = (float *)malloc((size_t)(n ? n : 1) * sizeof *p);
    t->host.push_back(p);
    return p;
}

/* Random numbers of this size in both; size 0: NaN. */
static twin matrix(trial *t, int64_t rows, int64_t cols, const mg_format *f, buffer_use use, double size) {
    twin    m = {};
    int64_t n = rows * cols;
    size_t  shift = t->aligned ? 0 : f->block_bytes * (size_t)random_int(&t->r, 0, 7);
    m.buffer = take(t, (size_t)n * f->block_bytes, shift, use);
    m.ref = mg_mat{ host_floats(t, n), rows, cols, &mg_format_f32, nullptr };
    m.got = mg_mat{ device_of(t, m.buffer), rows, cols, f, nullptr };
    t->buffers[(size_t)m.buffer].poisoned = size <= 0;
    for (int64_t i = 0; i < n; i++) {
        float x = size > 0 ? (float)(size * random_normal(&t->r)) : NAN;
        if (size > 0) put_element(f, mirror_of(t, m.buffer), i, x);
        ((float *)m.ref.data)[i] = size > 0 ? element_at(f, mirror_of(t, m.buffer), i) : NAN;
    }
    return m;
}

/* Numbers that the caller has, rounded to the format in both. */
static twin matrix_of(trial *t, int64_t rows, int64_t cols, const mg_format *f, const float *x) {
    twin m = matrix(t, rows, cols, f, INPUT, 1);
    for (int64_t i = 0; i < rows * cols; i++) {
        put_element(f, mirror_of(t, m.buffer), i, x[i]);
        ((float *)m.ref.data)[i] = element_at(f, mirror_of(t, m.buffer), i);
    }
    return m;
}

static twin input(trial *t, int64_t rows, int64_t cols, double size = 1) {
    return matrix(t, rows, cols, format_of(t), INPUT, size);
}

/* Holds small numbers when the kernel is to add to it, else NaN. */
static twin output(trial *t, int64_t rows, int64_t cols, bool added_to, const mg_format *f, double size = 0.1) {
    twin m = matrix(t, rows, cols, f, OUTPUT, added_to ? size : 0);
    if (added_to) m.start.assign((float *)m.ref.data, (float *)m.ref.data + rows * cols);
    return m;
}
static twin output(trial *t, int64_t rows, int64_t cols, bool added_to) { return output(t, rows, cols, added_to, format_of(t)); }

static twin nothing(void) { return twin{}; }

struct index_list {
    int32_t *ref, *got;
};
static index_list indices(trial *t, int64_t n, int below) {
    int        b = take(t, (size_t)n * 4, 0, INPUT);
    index_list x = { (int32_t *)host_floats(t, n), (int32_t *)device_of(t, b) };
    for (int64_t i = 0; i < n; i++) x.ref[i] = random_int(&t->r, 0, below - 1);
    memcpy(mirror_of(t, b), x.ref, (size_t)n * 4);
    return x;
}

static void *device_work(trial *t, size_t bytes) { return device_of(t, take(t, bytes, 0, WORK)); }
static void *host_work(trial *t, size_t bytes) { return host_floats(t, (int64_t)(bytes / 4 + 16)); }

static void upload(trial *t) {
    if (!t->apart) mg_cuda_check(cudaMemcpy(t->arena, t->mirror.data(), t->used, cudaMemcpyHostToDevice), "upload");
    for (size_t i = 0; t->apart && i < t->buffers.size(); i++)
        if (!t->buffers[i].poisoned)
            mg_cuda_check(cudaMemcpy(t->buffers[i].device, mirror_of(t, (int)i), t->buffers[i].bytes, cudaMemcpyHostToDevice), "upload");
    mg_cuda_check(cudaDeviceSynchronize(), "upload"); /* the kernels' stream does not wait for copies */
}

static void download(trial *t) {
    mg_cuda_check(cudaDeviceSynchronize(), "kernel");
    t->after = t->mirror;
    if (!t->apart) mg_cuda_check(cudaMemcpy(t->after.data(), t->arena, t->used, cudaMemcpyDeviceToHost), "download");
    for (buffer &b : t->buffers)
        if (t->apart && b.use != WORK)
            mg_cuda_check(cudaMemcpy(t->after.data() + b.at, b.device, b.bytes, cudaMemcpyDeviceToHost), "download");
}

/* Bytes outside of what may be written; and, from the second run on, other bits than in the first. */
static void check_bytes(trial *t, int run) {
    size_t at = 0;
    for (buffer &b : t->buffers) {
        for (; at < b.at; at++)
            if (t->after[at] != t->mirror[at]) TROUBLE(t, "written %lld bytes before a buffer", (long long)(b.at - at));
        if (b.use == INPUT && memcmp(&t->after[at], &t->mirror[at], b.bytes)) TROUBLE(t, "an input was changed");
        if (b.use == OUTPUT && run && memcmp(&t->after[at], &t->first[at], b.bytes)) TROUBLE(t, "run %d gives other bits", run);
        at += b.bytes;
    }
    for (; at < t->used; at++)
        if (t->after[at] != t->mirror[at]) TROUBLE(t, "written behind the last buffer");
    if (!run) t->first = t->after;
}

template <class F> static void run_on_device(trial *t, int repeats, F launch) {
    for (int run = 0; run < repeats; run++) {
        upload(t);
        launch();
        download(t);
        check_bytes(t, run);
    }
}

static double bound_of(const mg_format *f, double wide) {
    return f == &mg_format_f32 ? wide : f == &mg_format_bf16 ? 1e-5 : 1e-6;
}

/* NMSE against the plain loops; the reference counts as at least `size` an element.  What a kernel adds to is
 * taken away first, unless the element's rounding belongs to the sum. */
static void compare(trial *t, const char *what, const twin &y, double size, double wide = 1e-10) {
    int64_t      n = y.ref.rows * y.ref.cols;
    const float *ref = (const float *)y.ref.data;
    bool         whole = y.got.format != &mg_format_f32;
    double       rounding = y.got.format == &mg_format_bf16 ? 0x1p-8 : y.got.format == &mg_format_f16 ? 0x1p-11 : 0x1p-24;
    bool         rounded = true; /* each is the reference, rounded: right, however few large ones there are */
    double       error = 0, norm = 0, bound = y.got.data ? fmax(wide, bound_of(y.got.format, wide)) : 0;
    if (!y.got.data) return;
    for (int64_t i = 0; i < n; i++) {
        float got = element_at(y.got.format, &t->first[t->buffers[(size_t)y.buffer].at], i);
        if (!isfinite(ref[i])) TROUBLE(t, "%s: the reference is not finite at %lld of %lld", what, (long long)i, (long long)n);
        if (!isfinite(got)) TROUBLE(t, "%s: not finite at %lld of %lld", what, (long long)i, (long long)n);
        error += ((double)got - ref[i]) * ((double)got - ref[i]);
        if (!(fabs((double)got - ref[i]) <= 1.001 * rounding * fabs(ref[i]))) rounded = false;
        double r = y.start.empty() || whole ? ref[i] : (double)ref[i] - y.start[(size_t)i];
        norm += r * r;
    }
    norm = fmax(norm, (double)n * size * size);
    if (rounded) return;
    if (norm > 0) t->worst = fmax(t->worst, error / norm / bound);
    if (!(error <= bound * norm))
        TROUBLE(t, "%s [%lld,%lld] %s: NMSE %.3g, at most %.3g is allowed", what, (long long)y.ref.rows, (long long)y.ref.cols,
                y.got.format->name, error / norm, bound);
}

/* ---- weights in storage formats ---- */

static void random_blocks(trial *t, const mg_format *f, uint8_t *data, int64_t blocks, bool sane) {
    float value[256];
    for (int64_t b = 0; b < blocks; b++)
        for (bool good = false; !good;) {
            uint8_t *p = data + (size_t)b * f->block_bytes;
            for (size_t i = 0; i < f->block_bytes; i++) p[i] = (uint8_t)random_bits(&t->r);
            f->decode(value, p, nullptr, 0, f->block);
            double largest = 0;
            for (int i = 0; i < f->block; i++) largest = isfinite(value[i]) ? fmax(largest, fabs(value[i])) : INFINITY;
            good = !sane || (largest > 1 && largest < 3);
        }
}

static bool has_side(const mg_format *f) { return f == &mg_format_nf4 || f == &mg_format_fp4; }

/* A pointer into the mirror as one into the device's copy. */
template <class T> static T *moved(trial *t, T *p, int b) {
    return p ? (T *)(device_of(t, b) + ((const uint8_t *)p - mirror_of(t, b))) : nullptr;
}

/* ref: the decoded rows as floats; got: the blocks on the device. */
static twin weight(trial *t, const mg_format *f, int64_t rows, int64_t cols, bool sane = true) {
    twin    w = {};
    int64_t n = rows * cols;
    float  *x = host_floats(t, n);
    size_t  bytes = (size_t)(n / f->block) * f->block_bytes;
    w.ref = mg_mat{ x, rows, cols, &mg_format_f32, nullptr };
    w.got = mg_mat{ nullptr, rows, cols, f, nullptr };
    if (has_side(f)) {
        int                block = cols % 128 || random_int(&t->r, 0, 1) ? 64 : 128;
        bool               nested = random_int(&t->r, 0, 1);
        const void        *data;
        const mg_nf4_side *side;
        for (int64_t i = 0; i < n; i++) x[i] = (float)random_normal(&t->r);
        mg_nf4_bytes(n, block, nested, &bytes);
        w.buffer = take(t, bytes, 0, INPUT);
        memset(mirror_of(t, w.buffer), 0, bytes);
        mg_nf4_encode(f, x, n, block, nested, mirror_of(t, w.buffer), &data, &side);
        f->decode(x, data, side, 0, n);
        mg_nf4_side *s = (mg_nf4_side *)(uintptr_t)side;
        w.got.data = moved(t, (char *)(uintptr_t)data, w.buffer);
        w.got.side = moved(t, s, w.buffer);
        s->absmax = moved(t, s->absmax, w.buffer);
        s->absmax_code = moved(t, s->absmax_code, w.buffer);
        s->nested_absmax = moved(t, s->nested_absmax, w.buffer);
        s->nested_code = moved(t, s->nested_code, w.buffer);
        return w;
    }
    size_t shift = f->block == 1 && !t->aligned ? f->block_bytes * (size_t)random_int(&t->r, 0, 7) : 0;
    w.buffer = take(t, bytes, shift, INPUT);
    w.got.data = device_of(t, w.buffer);
    if (f->block == 1) {
        for (int64_t i = 0; i < n; i++) x[i] = (float)random_normal(&t->r);
        f->encode(mirror_of(t, w.buffer), x, n);
    } else {
        random_blocks(t, f, mirror_of(t, w.buffer), n / f->block, sane);
    }
    f->decode(x, mirror_of(t, w.buffer), nullptr, 0, n);
    return w;
}

/* Columns that the format can have. */
static int weight_cols(trial *t, const mg_format *f, int most) {
    int block = has_side(f) ? 64 : f->block;
    return block == 1 ? random_size(&t->r, most) : block * random_int(&t->r, 1, most < 3 * block ? 3 : most / block);
}

#endif
