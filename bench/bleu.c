/* bleu.c -- the time of BLEU over two files of lines, beside sacreBLEU on the same files (bench/bleu.py).
 *
 *     bleu METRIC TOKENIZER HYPOTHESES REFERENCES THREADS */
#include "base/file.h"
#include "base/thread.h"
#include "eval/metrics/metric.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static size_t split_lines(char *text, const char ***out) {
    size_t n = 0, cap = 0;
    for (char *line = text, *end; line && *line; line = end) {
        if ((end = strchr(line, '\n'))) *end++ = 0;
        if (!MG_GROW(*out, cap, n + 1)) abort();
        (*out)[n++] = line;
    }
    return n;
}

int main(int argc, char **argv) {
    mg_buf       file[2] = { 0 };
    const char **line[2] = { 0 };
    size_t       n[2] = { 0 };
    mg_error     err = { 0 };
    mg_scorer    s = { 0 };
    double       sum[MG_METRIC_WIDTH] = { 0 };
    if (argc != 6 || !mg_metric_find(argv[1])) return fprintf(stderr, "bleu METRIC TOKENIZER HYPOTHESES REFERENCES THREADS\n"), 2;
    for (size_t i = 0; i < 2; i++) {
        if (mg_read_file(&file[i], argv[3 + i], 1u << 30, &err)) return fprintf(stderr, "%s\n", err.text), 1;
        n[i] = split_lines(file[i].data, &line[i]);
    }
    if (n[0] != n[1]) return fprintf(stderr, "%zu hypotheses, %zu references\n", n[0], n[1]), 1;
    mg_metric_settings settings = mg_metric_defaults();
    settings.splitter = mg_splitter_find(argv[2]);
    mg_threads_start(atoi(argv[5]));
    double start = now();
    if (mg_scorer_open(&s, mg_metric_find(argv[1]), &settings, &err)) return fprintf(stderr, "%s\n", err.text), 1;
    size_t      width = (size_t)mg_scorer_width(&s);
    mg_scored *segment = mg_calloc(n[0], sizeof *segment);
    double     *stats = mg_calloc(n[0] * width, sizeof *stats);
    if (!segment || !stats) abort();
    for (size_t i = 0; i < n[0]; i++) segment[i] = (mg_scored){ line[0][i], &line[1][i], 1 };
    if (mg_score_segments(&s, segment, n[0], stats, &err)) return fprintf(stderr, "%s\n", err.text), 1;
    for (size_t i = 0; i < n[0] * width; i++) sum[i % width] += stats[i];
    printf("%s %s: %.10f, %zu pairs, %d threads, %.3f s\n", argv[1], argv[2], mg_scorer_score(&s, sum), n[0], mg_threads(), now() - start);
    mg_scorer_close(&s);
    mg_threads_stop();
    free(segment);
    free(stats);
    for (size_t i = 0; i < 2; i++) {
        mg_buf_free(&file[i]);
        free(line[i]);
    }
    return 0;
}
