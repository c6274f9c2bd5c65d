/* quantize.c -- throughput of the encoders on one thread, beside ggml's own on the same numbers.
 *
 *     quantize [-g libggml-base.so] [-r milliseconds a format]
 *
 * With -g (the library lies in the PyPI package llama-cpp-python) ggml_quantize_chunk runs in turns with ours, its
 * bytes are compared, and the ratio is printed.  The best of many runs counts, because other programs may share
 * the machine.  Numbers are of weights: a normal distribution whose width differs from row to row. */
#include "base/rng.h"
#include "base/thread.h"
#include "tensor/format.h"

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { ROWS = 256, COLS = 2048 };

typedef size_t (*chunk_fn)(int type, const float *src, void *dst, int64_t start, int64_t rows, int64_t cols, const float *imatrix);

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double once(const mg_format *f, chunk_fn theirs, const float *x, void *out) {
    double t = now();
    if (theirs)
        theirs(f->gguf_type, x, out, 0, ROWS, COLS, NULL);
    else
        f->encode(out, x, ROWS * COLS);
    return now() - t;
}

static void measure(const mg_format *f, chunk_fn chunk, const float *x, double seconds) {
    size_t bytes;
    if (!mg_format_bytes(f, ROWS * COLS, &bytes)) exit(1);
    char  *ours = calloc(1, bytes), *theirs = calloc(1, bytes);
    double best = INFINITY, peer = INFINITY, end = now() + seconds;
    for (int i = 0; i < 3 || now() < end; i++) {
        best = fmin(best, once(f, NULL, x, ours));
        if (chunk) peer = fmin(peer, once(f, chunk, x, theirs));
    }
    printf("%-6s %8.1f M/s", f->name, ROWS * COLS / best / 1e6);
    if (chunk)
        printf("   ggml %8.1f M/s   x%.2f   bytes %s", ROWS * COLS / peer / 1e6, peer / best,
               memcmp(ours, theirs, bytes) ? "differ" : "equal");
    putchar('\n');
    free(ours);
    free(theirs);
}

int main(int argc, char **argv) {
    double   seconds = 0.5;
    chunk_fn chunk = NULL;
    for (int c; (c = getopt(argc, argv, "g:r:")) != -1;) {
        if (c == 'r') seconds = atof(optarg) / 1000;
        if (c != 'g') continue;
        void *library = dlopen(optarg, RTLD_NOW);
        if (library) *(void **)&chunk = dlsym(library, "ggml_quantize_chunk");
        if (!chunk) {
            fprintf(stderr, "%s: %s\n", optarg, dlerror());
            return 1;
        }
    }
    mg_threads_start(1);
    float *x = malloc(ROWS * COLS * sizeof *x);
    if (!x) return 1;
    for (int64_t i = 0; i < ROWS * COLS; i++)
        x[i] = mg_rng_normal((mg_rng){ 7, 0 }, (uint64_t)i) * (0.01f + 0.001f * (float)(i / COLS % 64));
    for (const mg_format *const *f = mg_formats(); *f; f++)
        if ((*f)->encode && (*f)->gguf_type >= 0 && (*f)->block > 1) measure(*f, chunk, x, seconds);
    free(x);
    return 0;
}
