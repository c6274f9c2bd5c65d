/* step.c -- the time and memory of one LoRA step, beside shared/peers/cpu_peer.py.
 *
 *     step MODEL [--dtype fp32|bf16] [--T 512] [--B 1] [--steps 8] [--labels 1.0] [--rank 16] [--keep all|linear|none]
 *          [--nf4] [--optim NAME] [--dropout P] [--ids FILE] [--losses FILE] [--profile yes] [--device cuda] [--adapter DIR]
 *          [--save-adapter DIR]
 *
 * The same work as the peer's: random ids (or int32 rows from a file), the last `labels` part of each row trained, LoRA on
 * all linear layers with alpha = 2 r, AdamW at 1e-4, clipping at 1.  Prints the median of the steps after the first two. */
#include "base/file.h"
#include "base/machine.h"
#include "base/thread.h"
#include "optim/optimizer.h"
#include "peft/adapter.h"
#include "train/plan.h"
#include "train/step.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A backend around a backend: each kernel is timed. */
static const mg_backend *timed;
enum {
#define KERNEL(x) KERNEL_##x,
#include "backend/kernels.def"
#undef KERNEL
    KERNELS
};
static struct { const char *name; double seconds; long calls; } spent[KERNELS] = {
#define KERNEL(x) { #x, 0, 0 },
#include "backend/kernels.def"
#undef KERNEL
};
#define KERNEL(x)                                                                                          \
    static void timed_##x(mg_##x##_args a) {                                                               \
        double t = now();                                                                                  \
        timed->x(a);                                                                                       \
        if (!timed->device->host) timed->device->status(NULL); /* waits for it */                          \
        spent[KERNEL_##x].seconds += now() - t;                                                            \
        spent[KERNEL_##x].calls++;                                                                         \
    }
#include "backend/kernels.def"
#undef KERNEL

static const mg_backend *with_timers(const mg_backend *real) {
    static mg_backend b;
    timed = real;
    b = *real;
#define KERNEL(x) b.x = timed_##x;
#include "backend/kernels.def"
#undef KERNEL
    return &b;
}

static void print_profile(int steps, double step_seconds) {
    for (int i = 0; i < KERNELS; i++)
        if (spent[i].calls)
            printf("  %-16s %8.2f ms a step  %5.1f%%  %5ld calls\n", spent[i].name, 1e3 * spent[i].seconds / steps,
                   100 * spent[i].seconds / steps / step_seconds, spent[i].calls / steps);
}

static int by_size(const void *a, const void *b) { return *(const double *)a < *(const double *)b ? -1 : 1; }

static const char *option(int argc, char **argv, const char *name, const char *otherwise) {
    for (int i = 2; i < argc; i++)
        if (!strcmp(argv[i], name)) return i + 1 < argc ? argv[i + 1] : "";
    return otherwise;
}

static bool one_batch(void *context, int64_t i, mg_batch *b, bool *evaluation) {
    *b = *(const mg_batch *)context;
    *evaluation = false;
    return i == 0;
}

static mg_sample random_row(int32_t T, double labels, int64_t vocab, uint64_t row, const int32_t *from_file) {
    mg_sample s = { .ids = calloc((size_t)T, 4), .label = calloc((size_t)T, 4), .n = T };
    for (int32_t i = 0; i < T; i++) {
        s.ids[i] = from_file ? from_file[i] : 10 + (int32_t)(mg_rng_u32((mg_rng){ 1, row }, (uint64_t)i) % (uint64_t)(vocab - 20));
        bool trained = i > 0 && i >= (int32_t)(T * (1 - labels));
        s.label[i] = trained ? s.ids[i] : MG_IGNORE;
        s.n_labels += trained;
    }
    return s;
}

int main(int argc, char **argv) {
    if (argc < 2) return fprintf(stderr, "usage: step MODEL [--dtype fp32|bf16] [--T 512] [--B 1] [--steps 8] ...\n"), 2;
    int32_t     T = atoi(option(argc, argv, "--T", "512"));
    int         B = atoi(option(argc, argv, "--B", "1")), steps = atoi(option(argc, argv, "--steps", "8"));
    int         rank = atoi(option(argc, argv, "--rank", "16"));
    double      labels = atof(option(argc, argv, "--labels", "1"));
    const char *dtype = option(argc, argv, "--dtype", "fp32"), *keep = option(argc, argv, "--keep", "linear");
    const char *ids_file = option(argc, argv, "--ids", NULL), *losses = option(argc, argv, "--losses", NULL);
    const char *number = !strcmp(dtype, "bf16") ? "bfloat16" : !strcmp(dtype, "fp16") ? "float16" : "float32";
    const mg_backend *backend;
    mg_error          err;
#define OK(call) do { if (call) { fprintf(stderr, "%s\n", err.text); return 1; } } while (0)
    OK(mg_backend_open(&backend, option(argc, argv, "--device", "cpu"), number, &err));
    mg_threads_start(atoi(option(argc, argv, "--threads", "0")));
    const mg_device *device = backend->device;
    size_t           at_first = device->available();
    bool profile = option(argc, argv, "--profile", NULL);
    if (profile) backend = with_timers(backend);
    mg_buf file = { 0 };
    if (ids_file) OK(mg_read_file(&file, ids_file, 1u << 30, &err));

    double           t0 = now();
    mg_model        *m;
    mg_model_options mo = { .positions = T };
    if (option(argc, argv, "--nf4", NULL)) mo.quant = &mg_format_nf4, mo.quant_block = 64, mo.quant_nested = true;
    OK(mg_model_open(&m, argv[1], &mo, &err));
    double            opened = now() - t0;
    mg_params         params = { 0 };
    mg_adapter       *adapter;
    mg_adapter_config c = { .method = mg_method_find("lora"), .r = rank, .alpha = (float)(2 * rank), .targets = "all-linear",
                            .dropout = (float)atof(option(argc, argv, "--dropout", "0")) };
    OK(mg_adapter_attach(&adapter, &c, &m->net, &params, &err));
    OK(mg_params_seal(&params, backend, &err));
    mg_optimizer_settings settings = { .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .max_grad_norm = 1 };
    mg_optim             *optimizer;
    OK(mg_optim_open(&optimizer, mg_optimizer_find(option(argc, argv, "--optim", "adamw")), &settings, &params, &err));
    OK(mg_optim_allocate(optimizer, &err));
    OK(mg_adapter_init(adapter, 0, &err));
    const char *start = option(argc, argv, "--adapter", NULL);
    if (start) OK(mg_adapter_load(adapter, start, &err));
    const char *save = option(argc, argv, "--save-adapter", NULL);
    if (save) OK(mg_adapter_save(adapter, save, &err));
    OK(mg_model_place(m, backend, &err));

    mg_packed        packed = { 0 };
    const mg_sample *list[64];
    mg_sample        rows[64];
    double           seconds[1024], loss[1024], norm;
    mg_keep          policy[MG_CONFIG_LAYERS];
    for (int i = 0; i < MG_CONFIG_LAYERS; i++)
        policy[i] = !strcmp(keep, "all") ? MG_KEEP_ALL : !strcmp(keep, "none") ? MG_KEEP_NONE : MG_KEEP_LINEAR;
    mg_arena mem;
    mg_tape  tape;
    size_t   arena = 0;
    for (int s = 0; s < steps; s++) {
        for (int b = 0; b < B; b++) {
            size_t at = (size_t)(s * B + b) * (size_t)T;
            bool   have = file.data && (at + (size_t)T) * 4 <= file.len;
            rows[b] = random_row(T, labels, m->c.vocab, (uint64_t)(s * B + b), have ? (int32_t *)(void *)file.data + at : NULL);
            list[b] = &rows[b];
        }
        OK(mg_pack(&packed, list, B, &err));
        if (!s) {
            int nodes;
            arena = mg_plan_arena(m, backend, policy, one_batch, &packed.batch, &nodes);
            OK(mg_arena_open(&mem, device, arena, false, &err));
            OK(mg_tape_open(&tape, backend, &mem, nodes, &err));
            tape.keep = policy;
            tape.no_repeats = profile;
        }
        if (s == 2)
            for (int i = 0; i < KERNELS; i++) spent[i].seconds = 0, spent[i].calls = 0;
        double t = now();
        OK(mg_step_train(&tape, m, &packed.batch, 1.0f / (float)packed.batch.n_labels, &loss[s], &err));
        if (!mg_optim_update(optimizer, 1e-4, s + 1, &norm))
            return fprintf(stderr, "not finite\n"), 1;
        seconds[s] = now() - t;
        for (int b = 0; b < B; b++) free(rows[b].ids), free(rows[b].label);
    }
    if (losses) {
        FILE *f = fopen(losses, "w");
        for (int s = 0; f && s < steps; s++) fprintf(f, "%s%.9g", s ? ", " : "[", loss[s]);
        if (f) fprintf(f, "]\n"), fclose(f);
    }
    int first = steps > 2 ? 2 : 0;
    qsort(seconds + first, (size_t)(steps - first), sizeof *seconds, by_size);
    double median = seconds[first + (steps - first) / 2];
    printf("migaki %s %s T=%d B=%d labels=%g keep=%s nf4=%d threads=%d isa=%s: %.1f tok/s, %.3f s/step, peak %.2f GB (arena %.2f), "
           "open %.0f ms, loss %.4f -> %.4f\n",
           mg_path_base(argv[1]), backend->compute, T, B, labels, keep, mo.quant != NULL, mg_threads(), mg_cpu_isa(), B * T / median, median,
           (double)(device->host ? mg_process_memory_now().peak : at_first - device->available()) / 1e9, (double)arena / 1e9, opened * 1e3, loss[0], loss[steps - 1]);
    if (profile) print_profile(steps - first, median);
    return 0;
}
