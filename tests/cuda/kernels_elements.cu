/* kernels_elements.cu -- the CUDA kernels that move memory, against the plain loops of ref32 on the host.
 *
 *   kernels_elements [--shapes N] [--apart] [--only NAME] [FILE.safetensors]
 *
 * Bounds are on the normalised mean square error: 1e-10 where the output is fp32, 1e-6 in fp16 and 1e-5 in bf16
 * (the rounding of an element: 2e-8 and 1.3e-6).  Decoded weights and dropout masks must be equal bit for bit.
 * trial.h says what else each call must leave in order.  FILE: blocks that ggml made (input/TYPE/bytes). */
#include "stand_in.h"
#include "trial.h"

#include "backend/cuda/few.h"
#include "backend/cuda/gemm.h"
#include "backend/cuda/logits.h"
#include "backend/cuda/loss_scale.h"
#include "backend/cuda/step_scalars.h"
extern "C" {
#include "format/safetensors.h"
}

#include <ctype.h>

enum { REPEATS = 20 };

static int repeats_of(const trial *t) { return t->shape % 10 == 0 ? REPEATS : 2; }
#define RUN(t, ...) run_on_device(t, repeats_of(t), [&] { __VA_ARGS__; })

static int rows_of(trial *t) { return random_size(&t->r, t->shape % 6 == 0 ? 300 : 40); }
static int cols_of(trial *t) {
    int n = random_size(&t->r, t->shape % 6 == 1 ? 3000 : t->shape % 60 == 2 ? 20000 : 300);
    return t->aligned ? (n + 7) / 8 * 8 : n;
}
static bool coin(trial *t) { return random_int(&t->r, 0, 1); }

/* ---- elements ---- */

static void try_fill(trial *t) {
    twin y = output(t, rows_of(t), cols_of(t), false);
    RUN(t, mg_cuda_fill(mg_fill_args{ y.got, 0.3f }));
    mg_backend_ref32.fill(mg_fill_args{ y.ref, 0.3f });
    compare(t, "y", y, 0);
}

static void try_add(trial *t) {
    int   rows = rows_of(t), cols = cols_of(t), kind = random_int(&t->r, 0, 2);
    twin  y = output(t, rows, cols, kind > 0);
    float scale = (float)random_normal(&t->r);
    if (kind == 2) { /* y is x */
        y.start.clear();
        RUN(t, mg_cuda_add(mg_add_args{ y.got, y.got, scale, false }));
        mg_backend_ref32.add(mg_add_args{ y.ref, y.ref, scale, false });
        compare(t, "y", y, 0.1 * fabs(scale));
        return;
    }
    twin x = input(t, rows, cols);
    RUN(t, mg_cuda_add(mg_add_args{ y.got, x.got, scale, kind == 1 }));
    mg_backend_ref32.add(mg_add_args{ y.ref, x.ref, scale, kind == 1 });
    compare(t, "y", y, 0.1 * fabs(scale));
}

static mg_activation activation(trial *t) { return (mg_activation)random_int(&t->r, 0, MG_SIGMOID); }

static void try_glu(trial *t) {
    int         n = rows_of(t), f = cols_of(t);
    twin        y = output(t, n, f, false), gate = input(t, n, f, random_int(&t->r, 0, 4) ? 1 : 30);
    twin        up = coin(t) ? input(t, n, f) : nothing();
    mg_glu_args ref = { y.ref, gate.ref, up.ref, activation(t) }, got = { y.got, gate.got, up.got, ref.kind };
    RUN(t, mg_cuda_glu(got));
    mg_backend_ref32.glu(ref);
    compare(t, "y", y, 0.1);
}

/* 0: all apart; 1: dy in dup's memory; 2: in dgate's; 3, 4: one of them is not wanted; 5: no up */
static void try_glu_back(trial *t) {
    t->mixture = false;
    int              n = rows_of(t), f = cols_of(t), kind = random_int(&t->r, 0, 5);
    twin             dgate = kind == 3 ? nothing() : output(t, n, f, kind == 2, format_of(t), 1);
    twin             dup = kind >= 4 ? nothing() : output(t, n, f, kind == 1, format_of(t), 1);
    twin             dy = kind == 1 ? dup : kind == 2 ? dgate : input(t, n, f), gate = input(t, n, f, 2);
    twin             up = kind == 5 ? nothing() : input(t, n, f);
    mg_glu_back_args ref = { dgate.ref, dup.ref, dy.ref, gate.ref, up.ref, activation(t) };
    mg_glu_back_args got = { dgate.got, dup.got, dy.got, gate.got, up.got, ref.kind };
    dgate.start.clear(), dup.start.clear();
    RUN(t, mg_cuda_glu_back(got));
    mg_backend_ref32.glu_back(ref);
    compare(t, "dgate", dgate, 0.1);
    compare(t, "dup", dup, 0.1);
}

static void try_dropout(trial *t) {
    int    n = rows_of(t), c = cols_of(t);
    bool   add = coin(t);
    twin   y = output(t, n, c, add), x = input(t, n, c);
    float  p = (float)random_int(&t->r, 0, 9) / 10;
    mg_rng rng = { random_bits(&t->r), (uint64_t)random_bits(&t->r) << 20 };
    RUN(t, mg_cuda_dropout(mg_dropout_args{ y.got, x.got, p, rng, add }));
    mg_backend_ref32.dropout(mg_dropout_args{ y.ref, x.ref, p, rng, add });
    compare(t, "y", y, 0.1);
    for (int64_t i = 0; !add && i < (int64_t)n * c; i++) {
        float got = element_at(y.got.format, &t->first[t->buffers[(size_t)y.buffer].at], i);
        if (((float *)x.ref.data)[i] != 0 && (got == 0) != (((float *)y.ref.data)[i] == 0))
            TROUBLE(t, "the mask differs at %lld", (long long)i);
    }
}

static void try_columns(trial *t) {
    int             rows = rows_of(t), groups = random_int(&t->r, 1, 4), unit = coin(t) ? 8 : 1;
    int             n = unit * random_int(&t->r, 1, 20), first = unit * random_int(&t->r, 0, 20);
    int             group = first + n + unit * random_int(&t->r, 0, 5);
    bool            back = coin(t), add = coin(t);
    twin            x = back ? output(t, rows, groups * group, true) : input(t, rows, groups * group);
    twin            y = back ? input(t, rows, groups * n) : output(t, rows, groups * n, false);
    mg_columns_args ref = { y.ref, x.ref, group, first, back, add }, got = { y.got, x.got, group, first, back, add };
    RUN(t, mg_cuda_columns(got));
    mg_backend_ref32.columns(ref);
    x.start.clear();
    compare(t, "columns", back ? x : y, 0.1);
}

/* n different rows, ascending */
static index_list places(trial *t, int n, int rows) {
    int        b = take(t, (size_t)(n + 1) * 4, 0, INPUT);
    index_list x = { (int32_t *)host_floats(t, n + 1), (int32_t *)device_of(t, b) };
    x.ref[n] = 0;
    for (int i = 0, at = 0; i < n; at++)
        if (random_int(&t->r, 1, rows - at) <= n - i) x.ref[i++] = at;
    memcpy(mirror_of(t, b), x.ref, (size_t)(n + 1) * 4);
    return x;
}

/* n different rows of y are rows of x; backward the rows of x gather theirs, which become zero. */
static void try_put_rows(trial *t) {
    int                  rows = rows_of(t), cols = cols_of(t), from = random_size(&t->r, 9), n = random_int(&t->r, 0, rows);
    bool                 back = coin(t);
    twin                 y = output(t, rows, cols, true), x = back ? output(t, from, cols, true, &mg_format_f32) : input(t, from, cols);
    index_list           id = indices(t, n + 1, from), row = places(t, n, rows);
    if (back) {
        RUN(t, mg_cuda_put_rows_back(mg_put_rows_back_args{ x.got, y.got, row.got, id.got, n }));
        mg_backend_ref32.put_rows_back(mg_put_rows_back_args{ x.ref, y.ref, row.ref, id.ref, n });
        compare(t, "dx", x, 1);
    } else {
        RUN(t, mg_cuda_put_rows(mg_put_rows_args{ y.got, x.got, row.got, id.got, n }));
        mg_backend_ref32.put_rows(mg_put_rows_args{ y.ref, x.ref, row.ref, id.ref, n });
    }
    compare(t, "y", y, 1);
}

static void try_rope(trial *t) {
    int  n = rows_of(t), hd = t->aligned ? 16 * random_int(&t->r, 1, 16) : 2 * random_size(&t->r, 40), positions = 50;
    int  heads = random_int(&t->r, 1, 9), rot = random_int(&t->r, 0, 2) ? hd : 2 * random_int(&t->r, 1, hd / 2);
    twin x = output(t, n, heads * hd, true, format_of(t), 1);
    twin c = matrix(t, positions, rot / 2, &mg_format_f32, INPUT, 1), s = matrix(t, positions, rot / 2, &mg_format_f32, INPUT, 1);
    index_list pos = indices(t, n, positions);
    bool       back = coin(t);
    RUN(t, mg_cuda_rope(mg_rope_args{ x.got, pos.got, (float *)c.got.data, (float *)s.got.data, hd, rot, back }));
    mg_backend_ref32.rope(mg_rope_args{ x.ref, pos.ref, (float *)c.ref.data, (float *)s.ref.data, hd, rot, back });
    x.start.clear();
    compare(t, "x", x, 0.1);
}

/* ---- sums ---- */

static void try_column_sum(trial *t) {
    int  rows = t->shape % 20 == 0 ? 5000 : rows_of(t), cols = t->shape % 20 == 0 ? random_size(&t->r, 100) : cols_of(t);
    twin y = output(t, 1, cols, true, coin(t) ? &mg_format_f32 : format_of(t)), x = input(t, rows, cols);
    RUN(t, mg_cuda_column_sum(mg_column_sum_args{ y.got, x.got }));
    mg_backend_ref32.column_sum(mg_column_sum_args{ y.ref, x.ref });
    compare(t, "y", y, sqrt(rows));
}

static void try_weighted_sum(trial *t) {
    int  rows = rows_of(t), cols = t->shape % 20 == 0 ? 30000 : cols_of(t);
    twin x = input(t, rows, cols), y = output(t, 1, 1, false, &mg_format_f32);
    RUN(t, mg_cuda_weighted_sum(mg_weighted_sum_args{ x.got, 0.37f, y.got.data }));
    mg_backend_ref32.weighted_sum(mg_weighted_sum_args{ x.ref, 0.37f, y.ref.data });
    compare(t, "out", y, 0.37 * sqrt((double)rows * cols));
}

static void try_square_sum(trial *t) {
    int     n = t->shape % 10 == 0 ? 1000000 : cols_of(t) * rows_of(t);
    double  scale = t->shape % 7 == 0 ? 1e22 : 1; /* squares that float cannot hold */
    twin    x = matrix(t, 1, n, &mg_format_f32, INPUT, scale);
    int     out = take(t, sizeof(double), 0, OUTPUT);
    double  start = 2.5, ref = 2.5, got;
    memcpy(mirror_of(t, out), &start, sizeof start);
    t->buffers[(size_t)out].poisoned = false;
    RUN(t, mg_cuda_square_sum(mg_square_sum_args{ (float *)x.got.data, n, (double *)device_of(t, out) }));
    mg_backend_ref32.square_sum(mg_square_sum_args{ (float *)x.ref.data, n, &ref });
    memcpy(&got, &t->first[t->buffers[(size_t)out].at], sizeof got);
    if (!(fabs(got - ref) <= 1e-6 * ref)) TROUBLE(t, "%.17g instead of %.17g", got, ref);
}

static void try_nonfinite(trial *t) {
    int     n = rows_of(t), c = cols_of(t), kind = random_int(&t->r, 0, 3);
    twin    x = input(t, n, c);
    int     flag = take(t, 4, 0, OUTPUT);
    int32_t zero = 0, got;
    memcpy(mirror_of(t, flag), &zero, 4);
    t->buffers[(size_t)flag].poisoned = false;
    if (kind) put_element(x.got.format, mirror_of(t, x.buffer), random_int(&t->r, 0, n * c - 1), kind == 1 ? NAN : kind == 2 ? INFINITY : -INFINITY);
    RUN(t, mg_cuda_find_nonfinite(x.got, (int32_t *)device_of(t, flag)));
    memcpy(&got, &t->first[t->buffers[(size_t)flag].at], 4);
    if (got != (kind > 0)) TROUBLE(t, "flag %d for kind %d", got, kind);
}

static void try_scale_by(trial *t) {
    int  n = rows_of(t), c = cols_of(t);
    twin x = output(t, n, c, true, format_of(t), 1), f = matrix(t, 1, 1, &mg_format_f32, INPUT, 1);
    bool inverse = coin(t);
    RUN(t, mg_cuda_scale_by(x.got, (float *)f.got.data, inverse));
    float by = *(float *)f.ref.data, size = inverse ? 1 / by : by;
    for (int64_t i = 0; i < (int64_t)n * c; i++) ((float *)x.ref.data)[i] *= size;
    x.start.clear();
    if (t->element != &mg_format_f16 && !t->mixture) compare(t, "x", x, 0);
}

/* ---- norms ---- */

static void try_rmsnorm(trial *t) {
    int  n = rows_of(t), c = cols_of(t), groups = random_int(&t->r, 1, 3);
    twin x = input(t, n, c * groups), g = input(t, 1, c), residual = coin(t) ? input(t, n, c * groups) : nothing();
    twin y = output(t, n, c * groups, false), inv = output(t, n, groups, false, &mg_format_f32);
    RUN(t, mg_cuda_rmsnorm(mg_rmsnorm_args{ y.got, x.got, g.got, residual.got, inv.got.data, 1e-5f }));
    mg_backend_ref32.rmsnorm(mg_rmsnorm_args{ y.ref, x.ref, g.ref, residual.ref, inv.ref.data, 1e-5f });
    compare(t, "y", y, 0.1);
    compare(t, "inv", inv, 0);
}

static void try_rmsnorm_back(trial *t) {
    int  n = t->shape % 6 == 3 ? 1500 : rows_of(t), c = t->shape % 6 == 3 ? random_size(&t->r, 200) : cols_of(t);
    int  groups = random_int(&t->r, 1, 3), which = random_int(&t->r, 0, 2);
    bool add = coin(t);
    twin dy = input(t, n, c * groups), x = input(t, n, c * groups), g = input(t, 1, c);
    twin dx = which == 1 ? nothing() : output(t, n, c * groups, add), dg = which == 2 ? nothing() : output(t, 1, c, true, &mg_format_f32);
    std::vector<float> r((size_t)n * groups);
    double             size = 0;
    for (int k = 0; k < n * groups; k++) {
        const float *row = (const float *)x.ref.data + (int64_t)k * c;
        double       square = 0;
        for (int i = 0; i < c; i++) square += (double)row[i] * row[i];
        r[(size_t)k] = (float)(1 / sqrt(square / c + 1e-5));
        for (int i = 0; i < c; i++)
            size += pow(r[(size_t)k] * ((float *)g.ref.data)[i] * ((float *)dy.ref.data)[(int64_t)k * c + i], 2);
    }
    twin  inv = matrix_of(t, n, groups, &mg_format_f32, r.data());
    void *work = device_work(t, (size_t)c * 256 * sizeof(double)), *ref_work = host_work(t, (size_t)c * 256 * sizeof(double));
    RUN(t, mg_cuda_rmsnorm_back(mg_rmsnorm_back_args{ dx.got, dg.got, dy.got, x.got, g.got, inv.got.data, add, work }));
    mg_backend_ref32.rmsnorm_back(mg_rmsnorm_back_args{ dx.ref, dg.ref, dy.ref, x.ref, g.ref, inv.ref.data, add, ref_work });
    compare(t, "dx", dx, sqrt(size / ((double)n * groups * c)));
    compare(t, "dg", dg, sqrt(n * groups));
}

static void try_layernorm(trial *t) {
    int  n = rows_of(t), c = cols_of(t);
    twin x = input(t, n, c), g = input(t, 1, c), b = coin(t) ? input(t, 1, c) : nothing();
    twin y = output(t, n, c, false), stats = output(t, n, 2, false, &mg_format_f32);
    RUN(t, mg_cuda_layernorm(mg_layernorm_args{ y.got, x.got, g.got, b.got, stats.got.data, 1e-5f }));
    mg_backend_ref32.layernorm(mg_layernorm_args{ y.ref, x.ref, g.ref, b.ref, stats.ref.data, 1e-5f });
    compare(t, "y", y, 0.1);
    compare(t, "stats", stats, 0.1);
}

static void try_layernorm_back(trial *t) {
    int  n = t->shape % 6 == 3 ? 1500 : rows_of(t), c = t->shape % 6 == 3 ? random_size(&t->r, 200) : cols_of(t);
    int  which = random_int(&t->r, 0, 2);
    bool add = coin(t);
    twin dy = input(t, n, c), x = input(t, n, c), g = input(t, 1, c);
    twin dx = which == 1 ? nothing() : output(t, n, c, add), dg = which == 2 ? nothing() : output(t, 1, c, true, &mg_format_f32);
    std::vector<float> s((size_t)n * 2);
    double             size = 0;
    for (int k = 0; k < n; k++) {
        const float *row = (const float *)x.ref.data + (int64_t)k * c;
        double       mean = 0, square = 0;
        for (int i = 0; i < c; i++) mean += (double)row[i] / c;
        for (int i = 0; i < c; i++) square += (row[i] - mean) * (row[i] - mean);
        s[(size_t)k * 2] = (float)mean;
        s[(size_t)k * 2 + 1] = (float)(1 / sqrt(square / c + 1e-2));
        for (int i = 0; i < c; i++)
            size += pow(s[(size_t)k * 2 + 1] * ((float *)g.ref.data)[i] * ((float *)dy.ref.data)[(int64_t)k * c + i], 2);
    }
    twin  stats = matrix_of(t, n, 2, &mg_format_f32, s.data());
    void *work = device_work(t, (size_t)c * 256 * sizeof(double)), *ref_work = host_work(t, (size_t)c * 256 * sizeof(double));
    RUN(t, mg_cuda_layernorm_back(mg_layernorm_back_args{ dx.got, dg.got, dy.got, x.got, g.got, stats.got.data, add, work }));
    mg_backend_ref32.layernorm_back(mg_layernorm_back_args{ dx.ref, dg.ref, dy.ref, x.ref, g.ref, stats.ref.data, add, ref_work });
    compare(t, "dx", dx, sqrt(size / ((double)n * c)));
    compare(t, "dg", dg, sqrt(n));
}

/* ---- weights ---- */

static const mg_format *weight_format(const trial *t) {
    int n = 0;
    while (mg_formats()[n]) n++;
    return mg_formats()[t->shape % n];
}

/* Equal bits, or NaN in both. */
static void check_decoded(trial *t, const mg_format *from, const twin &y, const float *want) {
    for (int64_t i = 0; i < y.got.rows * y.got.cols; i++) {
        float    got = element_at(y.got.format, &t->first[t->buffers[(size_t)y.buffer].at], i), rounded;
        uint32_t a, b, room = 0;
        put_element(y.got.format, &room, 0, want[i]);
        rounded = element_at(y.got.format, &room, 0);
        memcpy(&a, &got, 4), memcpy(&b, &rounded, 4);
        if (a != b && !(isnan(got) && isnan(rounded))) {
            TROUBLE(t, "%s to %s: %.9g instead of %.9g at %lld", from->name, y.got.format->name, got, rounded, (long long)i);
            return;
        }
    }
}

static void try_decode(trial *t) {
    const mg_format *f = weight_format(t);
    int              rows = random_int(&t->r, 1, 30), cols = weight_cols(t, f, t->shape % 6 == 1 ? 3000 : 300);
    int              row0 = random_int(&t->r, 0, rows - 1), n = random_int(&t->r, 1, rows - row0);
    if (has_side(f)) cols *= 2;
    if (!mg_format_is_plain(f)) t->aligned = true;
    twin w = weight(t, f, rows, cols, coin(t)), y = output(t, n, cols, false);
    RUN(t, mg_cuda_decode(w.got, row0, n, y.got.data, y.got.format));
    check_decoded(t, f, y, (float *)w.ref.data + (int64_t)row0 * cols);
}

static void try_embed(trial *t) {
    const mg_format *f = weight_format(t);
    int              n = rows_of(t), v = random_size(&t->r, 30), d = weight_cols(t, f, t->shape % 6 == 1 ? 3000 : 300);
    if (has_side(f)) d *= 2;
    if (!mg_format_is_plain(f)) t->aligned = true;
    twin       y = output(t, n, d, false), w = weight(t, f, v, d);
    index_list ids = indices(t, n, v);
    RUN(t, mg_cuda_embed(mg_embed_args{ y.got, w.got, ids.got, 1.7f }));
    mg_backend_ref32.embed(mg_embed_args{ y.ref, w.ref, ids.ref, 1.7f });
    check_decoded(t, f, y, (float *)y.ref.data);
}

static void try_embed_dw(trial *t) {
    int        n = t->shape % 6 == 3 ? 3000 : rows_of(t), v = random_size(&t->r, 30), d = t->shape % 6 == 3 ? 24 : cols_of(t);
    twin       dw = output(t, v, d, true, &mg_format_f32), dy = input(t, n, d);
    index_list ids = indices(t, n, v);
    RUN(t, mg_cuda_embed_dw(mg_embed_dw_args{ dw.got, dy.got, ids.got, 1.7f }));
    mg_backend_ref32.embed_dw(mg_embed_dw_args{ dw.ref, dy.ref, ids.ref, 1.7f });
    compare(t, "dw", dw, 1);
}

/* Each row alone must have the bits that it has among others.  Weights that a packer rounds to x's element (its
 * formats with tables and unlike plain ones) are given that rounding. */
static void try_linear_few(trial *t) {
    const mg_format *f = weight_format(t), *e = format_of(t);
    int              n = random_int(&t->r, 1, MG_CUDA_FEW_ROWS), o = random_size(&t->r, 100);
    int              unit = f->block > 32 ? f->block : 32, i = unit * random_int(&t->r, 1, t->shape % 6 == 1 ? 5000 / unit : 1 + 1000 / unit);
    bool             add = coin(t), biased = coin(t);
    t->aligned = true;
    twin w = weight(t, f, o, i), x = matrix(t, n, i, e, INPUT, 1), y = output(t, n, o, add), bias = biased ? input(t, 1, o) : nothing();
    twin alone = output(t, 1, o, add, y.got.format);
    int  row = random_int(&t->r, 0, n - 1);
    if (add) memcpy(mirror_of(t, alone.buffer), mirror_of(t, y.buffer) + (size_t)(row * o) * y.got.format->block_bytes, t->buffers[(size_t)alone.buffer].bytes);
    twin onto = add && coin(t) ? input(t, n, o) : nothing(); /* else it adds to y */
    mg_linear_args got = { y.got, x.got, w.got, bias.got, onto.got, add, nullptr }, one = got;
    mg_linear_args ref = { y.ref, x.ref, w.ref, bias.ref, onto.ref, add, nullptr };
    if (onto.got.data) one.onto.rows = 1, one.onto.data = (char *)onto.got.data + (size_t)(row * o) * onto.got.format->block_bytes, y.start.clear();
    one.y = alone.got, one.x.rows = 1, one.x.data = (char *)x.got.data + (size_t)(row * i) * e->block_bytes;
    bool steady = (uintptr_t)one.x.data % 16 == 0, done = false;
    RUN(t, done = mg_cuda_linear_few(got); if (steady) mg_cuda_linear_few(one));
    if (!done) TROUBLE(t, "refused: %s, %d columns", f->name, i);
    if (!steady) t->buffers[(size_t)alone.buffer].use = WORK;
    double *work = (double *)host_work(t, (size_t)i * 16);
    ref.work = work;
    mg_backend_ref32.linear(ref);
    double square = 0, half = e == &mg_format_bf16 ? 1e-5 : 1e-7;
    for (int64_t k = 0; k < (int64_t)o * i; k++) square += pow(((float *)w.ref.data)[k], 2);
    bool   exact = e == &mg_format_f32 || (f->block > 1 && !has_side(f)) || f == e;
    size_t bytes = (size_t)o * y.got.format->block_bytes;
    compare(t, f->name, y, sqrt(square / o), exact ? 1e-9 : half);
    if (steady && memcmp(&t->first[t->buffers[(size_t)alone.buffer].at], &t->first[t->buffers[(size_t)y.buffer].at] + row * bytes, bytes))
        TROUBLE(t, "%s: row %d alone has other bits", f->name, row);
}

/* ---- logits ---- */

typedef struct logit_case {
    int                n, v;
    float              cap;
    twin               z, logp, lse, factor;
    index_list         target;
    std::vector<float> slopes;
    std::vector<int>   top;
} logit_case;

/* The formulas of the plain loops, from logits instead of from h and w. */
static logit_case logit_case_of(trial *t) {
    logit_case c;
    c.n = random_size(&t->r, 20);
    c.v = t->shape % 6 == 1 ? random_size(&t->r, 40000) : random_size(&t->r, 600);
    if (t->aligned) c.v = (c.v + 7) / 8 * 8;
    c.cap = coin(t) ? 0 : 5.0f + (float)random_int(&t->r, 0, 30);
    c.z = input(t, c.n, c.v, 4);
    c.target = indices(t, c.n, c.v);
    c.factor = matrix(t, 1, c.n, &mg_format_f32, INPUT, 1);
    c.logp = output(t, 1, c.n, false, &mg_format_f32);
    c.lse = output(t, 1, c.n, false, &mg_format_f32);
    c.slopes.resize((size_t)c.n * c.v);
    c.top.resize((size_t)c.n);
    for (int i = 0; i < c.n; i++) {
        const float        *z = (float *)c.z.ref.data + (int64_t)i * c.v;
        std::vector<double> f((size_t)c.v), slope((size_t)c.v, 1.0);
        double              most = -INFINITY, sum = 0;
        for (int v = 0; v < c.v; v++) {
            double th = c.cap > 0 ? tanh(z[v] / (double)c.cap) : 0;
            f[(size_t)v] = c.cap > 0 ? c.cap * th : z[v];
            if (c.cap > 0) slope[(size_t)v] = 1 - th * th;
            if (z[v] > z[c.top[(size_t)i]]) c.top[(size_t)i] = v;
            most = fmax(most, f[(size_t)v]);
        }
        for (int v = 0; v < c.v; v++) sum += exp(f[(size_t)v] - most);
        double lse = most + log(sum);
        ((float *)c.lse.ref.data)[i] = (float)lse;
        ((float *)c.logp.ref.data)[i] = (float)(f[(size_t)c.target.ref[i]] - lse);
        for (int v = 0; v < c.v; v++)
            c.slopes[(size_t)i * c.v + v] = (float)(((v == c.target.ref[i]) - exp(f[(size_t)v] - lse)) * slope[(size_t)v]);
    }
    return c;
}

static void check_top(trial *t, const logit_case &c, int buffer) {
    for (int i = 0; i < c.n; i++) {
        int32_t got;
        memcpy(&got, &t->first[t->buffers[(size_t)buffer].at] + 4 * i, 4);
        if (got != c.top[(size_t)i]) TROUBLE(t, "top id %d instead of %d", got, c.top[(size_t)i]);
    }
}

static void weigh_slopes(const logit_case &c, const twin &to, bool weighted) {
    for (int64_t k = 0; k < (int64_t)c.n * c.v; k++)
        ((float *)to.ref.data)[k] = c.slopes[(size_t)k] * (weighted ? ((float *)c.factor.ref.data)[k / c.v] : 1.0f);
}

static void try_logit_whole(trial *t) {
    logit_case     c = logit_case_of(t);
    int            top = take(t, (size_t)c.n * 4, 0, OUTPUT);
    bool           weighted = coin(t), in_place = coin(t);
    twin           to = output(t, c.n, c.v, false, in_place ? c.z.got.format : format_of(t));
    mg_cuda_logits l = { c.z.got, 0, c.target.got, c.cap };
    if (in_place) { /* z is written over */
        memcpy(mirror_of(t, to.buffer), mirror_of(t, c.z.buffer), t->buffers[(size_t)to.buffer].bytes);
        t->buffers[(size_t)to.buffer].poisoned = false;
        l.z = to.got;
    }
    RUN(t, mg_cuda_logit_whole(l, to.got, (float *)c.logp.got.data, (float *)c.lse.got.data, (int32_t *)device_of(t, top),
                               weighted ? (float *)c.factor.got.data : nullptr));
    compare(t, "logp", c.logp, 1);
    compare(t, "lse", c.lse, 1);
    check_top(t, c, top);
    weigh_slopes(c, to, weighted);
    compare(t, "slopes", to, 1 / sqrt(c.v)); /* one term of each row is 1 */
}

static void try_logit_tiles(trial *t) {
    t->aligned = false; /* tiles are cut out of the rows here, on the host */
    logit_case         c = logit_case_of(t);
    int                tiles = random_int(&t->r, 1, 4), top = take(t, (size_t)c.n * 4, 0, OUTPUT);
    int64_t            per = (c.v + tiles - 1) / tiles;
    std::vector<twin>  z, to;
    std::vector<float> part;
    twin most = output(t, 1, c.n, false, &mg_format_f32), sum = output(t, 1, c.n, false, &mg_format_f32);
    mg_cuda_logit_state s = { (float *)most.got.data, (float *)sum.got.data, (float *)c.logp.got.data, (int32_t *)device_of(t, top) };
    for (int64_t from = 0; from < c.v; from += per) {
        int64_t width = from + per < c.v ? per : c.v - from;
        part.resize((size_t)(c.n * width));
        for (int64_t i = 0; i < c.n * width; i++)
            part[(size_t)i] = ((float *)c.z.ref.data)[i / width * c.v + from + i % width];
        z.push_back(matrix_of(t, c.n, width, c.z.got.format, part.data()));
        to.push_back(output(t, c.n, width, false));
    }
    run_on_device(t, repeats_of(t), [&] {
        for (size_t k = 0; k < z.size(); k++)
            mg_cuda_logit_stats(mg_cuda_logits{ z[k].got, (int64_t)k * per, c.target.got, c.cap }, s, k == 0);
        mg_cuda_logit_finish(s, c.n, (float *)c.logp.got.data, (float *)c.lse.got.data);
        for (size_t k = 0; k < z.size(); k++)
            mg_cuda_logit_slopes(mg_cuda_logits{ z[k].got, (int64_t)k * per, c.target.got, c.cap }, to[k].got,
                                 (float *)c.lse.got.data, (float *)c.factor.got.data);
    });
    compare(t, "logp", c.logp, 1);
    compare(t, "lse", c.lse, 1);
    check_top(t, c, top);
    for (size_t k = 0; k < z.size(); k++) {
        int64_t width = z[k].got.cols;
        for (int64_t i = 0; i < c.n * width; i++)
            ((float *)to[k].ref.data)[i] =
                c.slopes[(size_t)(i / width * c.v + (int64_t)k * per + i % width)] * ((float *)c.factor.ref.data)[i / width];
        compare(t, "slopes", to[k], 1 / sqrt(c.v));
    }
}

static void try_rows(trial *t) {
    int        n = rows_of(t), all = n + random_int(&t->r, 0, 40), cols = cols_of(t);
    index_list row = indices(t, n, all);
    for (int i = 0; i < n; i++) row.ref[i] = i + (all - n) * (i > n / 2); /* each at most once */
    memcpy(mirror_of(t, (int)t->buffers.size() - 1), row.ref, (size_t)n * 4);
    bool gather = coin(t);
    twin from = input(t, gather ? all : n, cols), to = output(t, gather ? n : all, cols, !gather);
    twin f = matrix(t, 1, n, &mg_format_f32, INPUT, 1);
    if (gather) RUN(t, mg_cuda_gather_rows(to.got, from.got, row.got));
    else RUN(t, mg_cuda_scatter_rows(to.got, from.got, row.got, (float *)f.got.data));
    for (int i = 0; i < n; i++)
        for (int k = 0; k < cols; k++) {
            float *a = (float *)to.ref.data, *b = (float *)from.ref.data;
            if (gather) a[(int64_t)i * cols + k] = b[(int64_t)row.ref[i] * cols + k];
            else a[(int64_t)row.ref[i] * cols + k] += ((float *)f.ref.data)[i] * b[(int64_t)i * cols + k];
        }
    compare(t, "rows", to, 0.1);
}

/* ---- the optimizer ---- */

static void try_adamw(trial *t) {
    int           n = t->shape % 10 == 0 ? 300000 : random_size(&t->r, 5000), step = random_int(&t->r, 1, 1000);
    bool          scaled = coin(t), zero = coin(t), overflow = scaled && random_int(&t->r, 0, 3) == 0;
    twin          p = output(t, 1, n, true, &mg_format_f32, 1), m = output(t, 1, n, true, &mg_format_f32, 1e-2);
    twin          v = output(t, 1, n, true, &mg_format_f32, 1e-2), g = matrix(t, 1, n, &mg_format_f32, OUTPUT, 1);
    twin          shadow = coin(t) ? output(t, 1, n, false, format_of(t)) : nothing();
    mg_adamw_args a = { (float *)p.ref.data, (float *)m.ref.data, (float *)v.ref.data, (float *)g.ref.data };
    for (int i = 0; i < n; i++) {
        float x = fabsf(((float *)v.ref.data)[i]);
        ((float *)v.ref.data)[i] = v.start[(size_t)i] = x;
        put_element(&mg_format_f32, mirror_of(t, v.buffer), i, x);
    }
    a.n = n, a.lr = 1e-2f, a.beta1 = 0.9f, a.beta2 = 0.999f, a.eps = 1e-8f, a.decay = 0.1f, a.grad_scale = 0.7f;
    a.c1 = 1 - pow((double)a.beta1, step), a.c2 = 1 - pow((double)a.beta2, step);
    mg_adamw_args got = a;
    got.p = (float *)p.got.data, got.m = (float *)m.got.data, got.v = (float *)v.got.data, got.grad = (float *)g.got.data;
    int                   where = take(t, sizeof(mg_cuda_step_scalars), 0, OUTPUT);
    mg_cuda_step_scalars *on_device = (mg_cuda_step_scalars *)device_of(t, where), s = {};
    s.lr = a.lr, s.beta1 = a.beta1, s.beta2 = a.beta2, s.max_norm = 1, s.grow_after = coin(t) ? 5 : 0;
    s.loss_scale = 128, s.updates = step - 1, s.good = random_int(&t->r, 0, 4), s.square_sum = 0;
    memcpy(mirror_of(t, where), &s, sizeof s);
    t->buffers[(size_t)where].poisoned = false;
    if (overflow) put_element(&mg_format_f32, mirror_of(t, g.buffer), n / 2, INFINITY);
    if (scaled) got.lr = NAN, got.c1 = NAN, got.c2 = NAN, got.grad_scale = NAN;
    run_on_device(t, repeats_of(t), [&] {
        if (scaled) {
            mg_cuda_square_sum(mg_square_sum_args{ got.grad, n, &on_device->square_sum });
            mg_cuda_step_prepare(on_device);
        }
        mg_cuda_adamw_step(got, shadow.got, zero, scaled ? on_device : nullptr);
    });
    double squares = 0;
    for (int i = 0; i < n; i++) squares += (double)a.grad[i] * a.grad[i];
    double norm = sqrt(squares) / 128;
    if (scaled) a.grad_scale = (float)(fmin(1 / (norm + 1e-6), 1) / 128);
    if (!overflow) mg_backend_ref32.adamw(a);
    if (overflow) p.start.clear(), m.start.clear(), v.start.clear();
    compare(t, "p", p, 1e-2); /* an update is of the size of lr */
    compare(t, "m", m, 1e-2);
    compare(t, "v", v, 1e-3);
    for (int i = 0; shadow.got.data && i < n; i++) ((float *)shadow.ref.data)[i] = a.p[i];
    if (!overflow) compare(t, "shadow", shadow, 0);
    for (int i = 0; zero && i < n; i++)
        if (element_at(&mg_format_f32, &t->first[t->buffers[(size_t)g.buffer].at], i) != 0) TROUBLE(t, "grad[%d] is not cleared", i);
    memcpy(&s, &t->first[t->buffers[(size_t)where].at], sizeof s);
    if (!scaled) return;
    if (s.finite != !overflow || s.updates != step - overflow) TROUBLE(t, "finite %d, updates %lld", s.finite, (long long)s.updates);
    if (!overflow && !(fabs(s.norm - norm) <= 1e-6 * norm)) TROUBLE(t, "norm %g instead of %g", s.norm, norm);
    bool  grown = s.grow_after && !overflow && s.good == 0;
    float want = !s.grow_after ? 128 : overflow ? 64 : grown ? 256 : 128;
    if (s.loss_scale != want) TROUBLE(t, "loss scale %g instead of %g", s.loss_scale, want);
}

/* ---- products ---- */

/* The adapters', with a kernel of their own where it takes them, else the library's (with whole pieces of 16 bytes). */
static void try_rank(trial *t) {
    static const int ranks[] = { 1, 4, 8, 16, 24, 32, 48, 64, 72 };
    int              k = ranks[random_int(&t->r, 0, 8)], rows = rows_of(t), cols = cols_of(t);
    bool             ta = coin(t), tb = coin(t), own = k <= 64 && t->element != &mg_format_f32;
    t->mixture = false;
    t->aligned = true;
    cols = (cols + (own ? 64 : 0) + 7) / 8 * 8;
    if (!own) rows = (rows + 7) / 8 * 8, k = (k + 7) / 8 * 8;
    float        beta = coin(t) ? 1.0f : 0.0f;
    twin         c = output(t, rows, cols, beta != 0, t->element, 1), onto = coin(t) ? input(t, rows, cols) : nothing();
    twin         a = input(t, ta ? k : rows, ta ? rows : k), b = input(t, tb ? cols : k, tb ? k : cols, 0.3);
    mg_gemm_args ref = { c.ref, a.ref, b.ref, ta, tb, 0.7f, beta, onto.ref }, got = { c.got, a.got, b.got, ta, tb, 0.7f, beta, onto.got };
    RUN(t, mg_cuda_gemm(got));
    mg_backend_ref32.gemm(ref);
    compare(t, "c", c, 0.1);
}

/* ---- blocks that ggml made ---- */

static void real_blocks(trial *t, const char *path) {
    static const char *const from[] = { "gauss", "heavy", "large", "one_spike", "tiny", "zeros_and_ties" };
    mg_safetensors          *file;
    mg_error                 err;
    if (mg_safetensors_open(&file, path, &err) != MG_OK) {
        TROUBLE(t, "%s", err.text);
        return;
    }
    int checked = 0;
    for (const char *input : from)
        for (const mg_format *const *f = mg_formats(); *f; f++) {
            char key[100], type[16] = { 0 };
            for (size_t i = 0; (*f)->name[i]; i++) type[i] = (char)toupper((unsigned char)(*f)->name[i]);
            snprintf(key, sizeof key, "%s/%s/bytes", input, type);
            const mg_st_entry *bytes = mg_safetensors_find(file, key);
            snprintf(key, sizeof key, "%s/%s/dequant", input, type);
            const mg_st_entry *want = mg_safetensors_find(file, key);
            if (!bytes || !want) continue;
            for (int shape = 0; shape < 3; shape++) {
                int64_t n = (int64_t)(want->bytes / sizeof(float)) / 256;
                trial_begin(t, 77, shape);
                t->mixture = false, t->aligned = true;
                int    b = take(t, bytes->bytes, 0, INPUT);
                mg_mat w = { device_of(t, b), n, 256, *f, nullptr };
                memcpy(mirror_of(t, b), bytes->data, bytes->bytes);
                twin y = output(t, n, 256, false);
                run_on_device(t, 2, [&] { mg_cuda_decode(w, 0, n, y.got.data, y.got.format); });
                std::vector<float> values((size_t)n * 256);
                memcpy(values.data(), want->data, want->bytes);
                check_decoded(t, *f, y, values.data());
                trial_end(t);
                checked++;
            }
        }
    printf("%-16s %4d tensors\n", "real blocks", checked);
    if (checked < 200) TROUBLE(t, "only %d tensors found", checked);
    mg_safetensors_close(file);
}

/* ---- */

static const struct {
    const char *name;
    void (*run)(trial *t);
} kernels[] = {
    { "fill", try_fill }, { "add", try_add }, { "glu", try_glu }, { "glu_back", try_glu_back }, { "dropout", try_dropout },
    { "columns", try_columns }, { "put_rows", try_put_rows }, { "rope", try_rope }, { "column_sum", try_column_sum }, { "weighted_sum", try_weighted_sum },
    { "square_sum", try_square_sum }, { "nonfinite", try_nonfinite }, { "scale_by", try_scale_by }, { "rmsnorm", try_rmsnorm },
    { "rmsnorm_back", try_rmsnorm_back }, { "layernorm", try_layernorm }, { "layernorm_back", try_layernorm_back },
    { "decode", try_decode }, { "embed", try_embed }, { "embed_dw", try_embed_dw }, { "linear_few", try_linear_few }, { "logit_whole", try_logit_whole },
    { "logit_tiles", try_logit_tiles }, { "rows", try_rows }, { "adamw", try_adamw },
    { "rank", try_rank },
};

int main(int argc, char **argv) {
    int         shapes = 210, failed = 0;
    bool        apart = false;
    const char *only = nullptr, *file = nullptr;
    setvbuf(stdout, nullptr, _IOLBF, 0);
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--shapes") && i + 1 < argc) shapes = atoi(argv[++i]);
        else if (!strcmp(argv[i], "--only") && i + 1 < argc) only = argv[++i];
        else if (!strcmp(argv[i], "--apart")) apart = true;
        else file = argv[i];
    }
    open_device();
    if (!mg_cuda_gemm_open()) return printf("cuBLASLt cannot be started\n"), 1;
    trial t;
    t.apart = apart;
    for (size_t k = 0; k < sizeof kernels / sizeof *kernels; k++) {
        int bad = 0;
        if (only && strcmp(only, kernels[k].name)) continue;
        t.worst = 0;
        for (int shape = 0; shape < shapes; shape++) {
            t.trouble[0] = 0;
            trial_begin(&t, k + 1, shape);
            kernels[k].run(&t);
            if (t.trouble[0] && bad++ < 5) printf("%s, shape %d: %s\n", kernels[k].name, shape, t.trouble);
            trial_end(&t);
        }
        printf("%-16s %4d shapes, %d bad, worst %.3g of its bound\n", kernels[k].name, shapes, bad, t.worst);
        failed += bad;
    }
    t.trouble[0] = 0;
    if (file) real_blocks(&t, file);
    if (t.trouble[0]) printf("real blocks: %s\n", t.trouble), failed++;
    printf(failed ? "%d FAILED\n" : "all passed\n", failed);
    return failed != 0;
}
