/* speed_elements.cu -- how near to the memory's speed the kernels come that move memory.
 *
 *   speed_elements [NAME]
 *
 * Bytes are counted as the call must move them: each input read once, each output written once.  Calls are
 * captured into a CUDA graph (20 calls, which go round over copies of their data that together exceed the L2
 * cache) and the median of 7 replays is taken.  The share is that of a copy kernel measured in the same way. */
#include "stand_in.h"

#include "backend/cuda/few.h"
#include "backend/cuda/logits.h"
#include "backend/cuda/step_scalars.h"
extern "C" {
#include "tensor/nf4.h"
}

#include <string.h>

#include <algorithm>
#include <string>

enum { CALLS = 20, REPLAYS = 7 };
static const size_t POOL = (size_t)6 << 30, APART = (size_t)512 << 20;

static char       *pool;
static double      copy_speed;
static const char *only;

static __global__ void fill_pool(uint32_t *p, size_t words) {
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < words; i += (size_t)gridDim.x * blockDim.x) {
        uint32_t x = (uint32_t)i * 2654435761u;
        x ^= x >> 15;
        p[i] = (x * 2246822519u & 0x80ff80ffu) | 0x3f003f00u; /* 0.5 to 2 in bf16 and fp32 */
    }
}

/* Hands out the pieces of one set. */
struct room {
    char  *next;
    bool   prepare; /* not yet in the graph: small arrays may be set */
    mg_mat mat(int64_t rows, int64_t cols, const mg_format *f) {
        mg_mat m = { next, rows, cols, f, nullptr };
        next += ((size_t)(rows * cols) * f->block_bytes / f->block + 255) / 256 * 256;
        return m;
    }
    template <class T> T *list(int64_t n) {
        T *p = (T *)next;
        next += (n * sizeof(T) + 255) / 256 * 256;
        return p;
    }
};

/* launch(room) once a set, to prepare it, and then in the graph */
template <class F> static void measure(const std::string &name, double bytes, F launch) {
    if (only && name.find(only) == std::string::npos) return;
    size_t set = (size_t)bytes + (64 << 20), sets = std::min<size_t>(CALLS, std::max<size_t>(2, APART / (size_t)bytes + 1));
    sets = std::min(sets, POOL / set);
    if (bytes < (32 << 20)) set = (size_t)bytes * 2 + (8 << 20);
    cudaGraph_t     graph;
    cudaGraphExec_t run;
    cudaEvent_t     begin, end;
    float           ms[REPLAYS];
    for (size_t i = 0; i < sets; i++) launch(room{ pool + i * (set / 256 * 256), true });
    mg_cuda_check(cudaStreamSynchronize(mg_cuda_stream), name.c_str());
    mg_cuda_check(cudaStreamBeginCapture(mg_cuda_stream, cudaStreamCaptureModeGlobal), "capture");
    for (int i = 0; i < CALLS; i++) launch(room{ pool + i % sets * (set / 256 * 256), false });
    mg_cuda_check(cudaStreamEndCapture(mg_cuda_stream, &graph), "capture");
    mg_cuda_check(cudaGraphInstantiate(&run, graph, 0), "graph");
    cudaEventCreate(&begin), cudaEventCreate(&end);
    mg_cuda_check(cudaGraphLaunch(run, mg_cuda_stream), "replay");
    for (int i = 0; i < REPLAYS; i++) {
        cudaEventRecord(begin, mg_cuda_stream);
        mg_cuda_check(cudaGraphLaunch(run, mg_cuda_stream), "replay");
        cudaEventRecord(end, mg_cuda_stream);
        mg_cuda_check(cudaEventSynchronize(end), name.c_str());
        cudaEventElapsedTime(&ms[i], begin, end);
    }
    std::sort(ms, ms + REPLAYS);
    double seconds = ms[REPLAYS / 2] * 1e-3 / CALLS, speed = bytes / seconds;
    if (!copy_speed) copy_speed = speed;
    printf("%-44s %9.2f us %8.1f MB %7.0f GB/s %5.1f%%  (%.1f%% apart)\n", name.c_str(), seconds * 1e6, bytes * 1e-6, speed * 1e-9,
           100 * speed / copy_speed, 100.0 * (ms[REPLAYS - 1] - ms[0]) / ms[REPLAYS / 2]);
    cudaGraphExecDestroy(run), cudaGraphDestroy(graph), cudaEventDestroy(begin), cudaEventDestroy(end);
}

static __global__ void __launch_bounds__(256) copy(uint4 *to, const uint4 *from, size_t n) {
    size_t i = (size_t)blockIdx.x * 1024 + threadIdx.x;
    uint4  v[4];
    for (int k = 0; k < 4; k++)
        if (i + k * 256 < n) v[k] = from[i + k * 256];
    for (int k = 0; k < 4; k++)
        if (i + k * 256 < n) to[i + k * 256] = v[k];
}

struct shape {
    const char *name;
    int64_t     tokens, d, f, heads, hd, v;
};
static const shape shapes[] = { { "llama-2-7b", 4096, 4096, 11008, 32, 128, 32000 }, { "smollm2-135m", 4096, 576, 1536, 9, 64, 49152 } };

static void measure_elements(const shape &s, const mg_format *e) {
    std::string of = std::string(" ") + e->name + " " + s.name;
    double      b = (double)e->block_bytes, nd = (double)s.tokens * s.d, nf = (double)s.tokens * s.f;
    int64_t     n = s.tokens, d = s.d, f = s.f;
    measure("fill" + of, b * nd, [&](room r) { mg_cuda_fill(mg_fill_args{ r.mat(n, d, e), 0.5f }); });
    measure("add" + of, 3 * b * nd, [&](room r) {
        mg_mat y = r.mat(n, d, e);
        mg_cuda_add(mg_add_args{ y, r.mat(n, d, e), 0.5f, true });
    });
    measure("glu silu" + of, 3 * b * nf, [&](room r) {
        mg_mat y = r.mat(n, f, e), g = r.mat(n, f, e);
        mg_cuda_glu(mg_glu_args{ y, g, r.mat(n, f, e), MG_SILU });
    });
    measure("glu gelu_tanh" + of, 3 * b * nf, [&](room r) {
        mg_mat y = r.mat(n, f, e), g = r.mat(n, f, e);
        mg_cuda_glu(mg_glu_args{ y, g, r.mat(n, f, e), MG_GELU_TANH });
    });
    measure("glu_back silu" + of, 5 * b * nf, [&](room r) {
        mg_mat dg = r.mat(n, f, e), du = r.mat(n, f, e), g = r.mat(n, f, e), u = r.mat(n, f, e);
        mg_cuda_glu_back(mg_glu_back_args{ dg, du, r.mat(n, f, e), g, u, MG_SILU });
    });
    measure("dropout" + of, 2 * b * nd, [&](room r) {
        mg_mat y = r.mat(n, d, e);
        mg_cuda_dropout(mg_dropout_args{ y, r.mat(n, d, e), 0.1f, { 1, 2 }, false });
    });
    measure("rmsnorm" + of, 2 * b * nd, [&](room r) {
        mg_mat y = r.mat(n, d, e), g = r.mat(1, d, e);
        mg_cuda_rmsnorm(mg_rmsnorm_args{ y, r.mat(n, d, e), g, mg_mat{}, r.list<float>(n), 1e-5f });
    });
    measure("rmsnorm residual" + of, 3 * b * nd, [&](room r) {
        mg_mat y = r.mat(n, d, e), g = r.mat(1, d, e), x = r.mat(n, d, e);
        mg_cuda_rmsnorm(mg_rmsnorm_args{ y, x, g, r.mat(n, d, e), r.list<float>(n), 1e-5f });
    });
    measure("rmsnorm of heads" + of, 2 * b * n * s.heads * s.hd, [&](room r) {
        mg_mat y = r.mat(n, s.heads * s.hd, e), g = r.mat(1, s.hd, e);
        mg_cuda_rmsnorm(mg_rmsnorm_args{ y, r.mat(n, s.heads * s.hd, e), g, mg_mat{}, r.list<float>(n * s.heads), 1e-5f });
    });
    measure("rmsnorm_back dx" + of, 3 * b * nd, [&](room r) {
        mg_mat dx = r.mat(n, d, e), dy = r.mat(n, d, e), x = r.mat(n, d, e), g = r.mat(1, d, e);
        float *inv = r.list<float>(n);
        mg_cuda_rmsnorm_back(mg_rmsnorm_back_args{ dx, mg_mat{}, dy, x, g, inv, false, r.list<double>(256 * d) });
    });
    measure("rmsnorm_back dx += , dg" + of, 4 * b * nd, [&](room r) {
        mg_mat dx = r.mat(n, d, e), dy = r.mat(n, d, e), x = r.mat(n, d, e), g = r.mat(1, d, e), dg = r.mat(1, d, mg_cuda_f32);
        float *inv = r.list<float>(n);
        mg_cuda_rmsnorm_back(mg_rmsnorm_back_args{ dx, dg, dy, x, g, inv, true, r.list<double>(256 * d) });
    });
    measure("layernorm" + of, 2 * b * nd, [&](room r) {
        mg_mat y = r.mat(n, d, e), g = r.mat(1, d, e);
        mg_cuda_layernorm(mg_layernorm_args{ y, r.mat(n, d, e), g, g, r.list<float>(2 * n), 1e-5f });
    });
    measure("rope" + of, 2 * b * n * s.heads * s.hd, [&](room r) {
        mg_mat   x = r.mat(n, s.heads * s.hd, e);
        float   *c = r.list<float>(4096 * s.hd / 2), *sine = r.list<float>(4096 * s.hd / 2);
        int32_t *pos = r.list<int32_t>(n);
        if (r.prepare) cudaMemsetAsync(pos, 0, (size_t)n * 4, mg_cuda_stream);
        mg_cuda_rope(mg_rope_args{ x, pos, c, sine, (int)s.hd, (int)s.hd, false });
    });
    measure("column_sum" + of, b * nd, [&](room r) {
        mg_mat y = r.mat(1, d, mg_cuda_f32);
        mg_cuda_column_sum(mg_column_sum_args{ y, r.mat(n, d, e) });
    });
}

static void measure_logits(const shape &s, const mg_format *e) {
    std::string of = std::string(" ") + e->name + " " + s.name;
    int64_t     n = 1024, v = s.v;
    double      b = (double)e->block_bytes * n * v;
    auto        logits = [&](room &r, float cap) {
        mg_cuda_logits l = { r.mat(n, v, e), 0, nullptr, cap };
        int32_t       *target = r.list<int32_t>(n);
        if (r.prepare) cudaMemsetAsync(target, 0, (size_t)n * 4, mg_cuda_stream);
        l.target = target;
        return l;
    };
    for (float cap : { 0.0f, 30.0f }) {
        std::string name = (cap > 0 ? " capped" : "") + of;
        measure("logit_stats" + name, b, [&](room r) {
            mg_cuda_logits      l = logits(r, cap);
            mg_cuda_logit_state st = { r.list<float>(n), r.list<float>(n), r.list<float>(n), nullptr };
            mg_cuda_logit_stats(l, st, true);
        });
        measure("logit_slopes" + name, 2 * b, [&](room r) {
            mg_cuda_logits l = logits(r, cap);
            mg_cuda_logit_slopes(l, l.z, r.list<float>(n), nullptr);
        });
        measure("logit_whole" + name, 2 * b, [&](room r) {
            mg_cuda_logits l = logits(r, cap);
            mg_cuda_logit_whole(l, l.z, r.list<float>(n), nullptr, nullptr, nullptr);
        });
    }
}

static void measure_optimizer(double count, const mg_format *shadow) {
    int64_t       n = (int64_t)count;
    mg_adamw_args a = {};
    a.n = n, a.lr = 1e-4f, a.beta1 = 0.9f, a.beta2 = 0.999f, a.eps = 1e-8f, a.c1 = a.c2 = 1, a.grad_scale = 1;
    std::string of = " " + std::to_string((int)(count * 1e-6)) + "M";
    auto        arrays = [&](room &r) {
        a.p = r.list<float>(n), a.m = r.list<float>(n), a.v = r.list<float>(n), a.grad = r.list<float>(n);
    };
    measure("adamw" + of, 28.0 * count, [&](room r) {
        arrays(r);
        mg_cuda_adamw(a);
    });
    measure("adamw, shadow, zero grad" + of, 34.0 * count, [&](room r) {
        arrays(r);
        mg_cuda_adamw_step(a, r.mat(1, n, shadow), true, nullptr);
    });
    measure("square_sum" + of, 4.0 * count, [&](room r) {
        arrays(r);
        mg_cuda_square_sum(mg_square_sum_args{ a.grad, n, r.list<double>(1) });
    });
}

/* A 4-bit matrix of the pool's bytes with its side table, double quantised. */
static mg_mat four_bit(room &r, int64_t rows, int64_t cols, const mg_format *f) {
    mg_mat              w = r.mat(rows, cols, f);
    int64_t             blocks = rows * cols / 64;
    uint8_t            *codes = r.list<uint8_t>(blocks);
    float              *nested = r.list<float>(blocks / 256 + 1), *map = r.list<float>(256);
    mg_nf4_side         s = { 64, nullptr, codes, nested, map, 0.1f };
    mg_nf4_side        *device = r.list<mg_nf4_side>(1);
    if (r.prepare) cudaMemcpyAsync(device, &s, sizeof s, cudaMemcpyHostToDevice, mg_cuda_stream);
    w.side = device;
    return w;
}

static void measure_decode(int64_t rows, int64_t cols) {
    double n = (double)rows * cols;
    for (const mg_format *const *f = mg_formats(); *f; f++) {
        if (*f == &mg_format_f64 || cols % (*f)->block) continue;
        bool        four = *f == &mg_format_nf4 || *f == &mg_format_fp4;
        std::string name = std::string("decode ") + (*f)->name + " to bf16 " + std::to_string(rows) + "x" + std::to_string(cols);
        measure(name, n * ((double)(*f)->block_bytes / (*f)->block + 2) + (four ? n / 64 : 0), [&](room r) {
            mg_mat to = r.mat(rows, cols, mg_cuda_bf16);
            mg_cuda_decode(four ? four_bit(r, rows, cols, *f) : r.mat(rows, cols, *f), 0, rows, to.data, mg_cuda_bf16);
        });
    }
}

/* Linear layers of single tokens; bytes are those of the weights. */
static void measure_few(int64_t rows, int64_t cols, int64_t n) {
    static const char *const formats[] = { "bf16", "f32", "q4_0", "q4_1", "q5_0", "q8_0", "q4_k", "q5_k", "q6_k", "nf4", "q2_k", "q3_k" };
    for (const char *name : formats) {
        const mg_format *f = mg_format_find(name);
        bool             four = f == &mg_format_nf4;
        if (cols % f->block) continue;
        double bytes = (double)rows * cols * f->block_bytes / f->block + (four ? rows * cols / 64.0 : 0);
        measure(std::string("linear_few ") + name + " " + std::to_string(rows) + "x" + std::to_string(cols) + ", " + std::to_string(n) + " rows",
                bytes, [&](room r) {
                    mg_mat w = four ? four_bit(r, rows, cols, f) : r.mat(rows, cols, f), x = r.mat(n, cols, mg_cuda_bf16);
                    mg_cuda_linear_few(mg_linear_args{ r.mat(n, rows, mg_cuda_bf16), x, w, mg_mat{}, mg_mat{}, false, nullptr });
                });
    }
}

int main(int argc, char **argv) {
    only = nullptr;
    setvbuf(stdout, nullptr, _IOLBF, 0);
    open_device();
    mg_cuda_check(cudaMalloc((void **)&pool, POOL), "pool");
    fill_pool<<<4096, 256, 0, mg_cuda_stream>>>((uint32_t *)pool, POOL / 4);
    measure("copy", 2.0 * (256 << 20), [&](room r) {
        copy<<<(256 << 20) / 16 / 1024, 256, 0, mg_cuda_stream>>>(r.list<uint4>(16 << 20), r.list<uint4>(16 << 20), 16 << 20);
        MG_CUDA_LAUNCHED("copy");
    });
    if (argc > 1) only = argv[1];
    measure_elements(shapes[0], mg_cuda_bf16);
    measure_elements(shapes[0], mg_cuda_f32);
    measure_elements(shapes[1], mg_cuda_bf16);
    measure_logits(shapes[0], mg_cuda_bf16);
    measure_logits(shapes[1], mg_cuda_bf16);
    measure_logits(shapes[0], mg_cuda_f32);
    measure_optimizer(40e6, mg_cuda_bf16);
    measure_optimizer(4.8e6, mg_cuda_bf16);
    measure_decode(11008, 4096);
    measure_decode(4096, 4096);
    measure_decode(1536, 768);
    measure_few(4096, 4096, 1);
    measure_few(11008, 4096, 1);
    measure_few(4096, 11008, 1);
    measure_few(11008, 4096, 8);
    measure_few(32000, 4096, 1);
    measure_few(576, 576, 1);
    measure_few(1536, 576, 1);
    measure_few(49152, 576, 1);
    return 0;
}
