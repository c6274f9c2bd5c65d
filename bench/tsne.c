/* tsne.c -- time, divergence and trustworthiness of t-SNE on a matrix of numbers (bench/tsne.py prints scikit-learn's).
 *
 *     bench-tsne FILE ROWS COLUMNS [PERPLEXITY [MAX_ITER [THREADS]]]     FILE: float32, row by row */
#include "base/file.h"
#include "base/thread.h"
#include "eval/map/neighbours.h"
#include "eval/map/tsne.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(int argc, char **argv) {
    mg_error        err;
    mg_mapping      file = { 0 };
    mg_tsne_options o = mg_tsne_defaults();
    mg_tsne_result  r;
    double          trust = 0;
    int64_t         n = argc > 2 ? atoll(argv[2]) : 0, d = argc > 3 ? atoll(argv[3]) : 0;
    double         *y = n > 0 ? mg_calloc((size_t)n, 2 * sizeof *y) : NULL;
    if (argc > 4) o.perplexity = strtod(argv[4], NULL);
    if (argc > 5) o.max_iter = atoll(argv[5]);
    mg_threads_start(argc > 6 ? atoi(argv[6]) : 0);
    if (!y || d < 1 || mg_map_file(&file, argv[1], &err) || file.size != (size_t)(n * d) * sizeof(float)) {
        fprintf(stderr, "usage: %s FILE ROWS COLUMNS [PERPLEXITY [MAX_ITER [THREADS]]]\n", argv[0]);
        return 2;
    }
    double    begin = now();
    mg_status st = mg_tsne((const float *)(const void *)file.data, n, d, &o, y, &r, &err);
    double    seconds = now() - begin;
    if (!st) st = mg_trustworthiness((const float *)(const void *)file.data, n, d, y, 5, &trust, &err);
    if (st) fprintf(stderr, "%s\n", err.text);
    else printf("%lld x %lld, %d threads: KL %.5f, trustworthiness %.5f, %lld rounds, %.2f s\n", (long long)n, (long long)d, mg_threads(),
                r.kl, trust, (long long)r.rounds, seconds);
    mg_unmap_file(&file);
    free(y);
    return st ? 1 : 0;
}
