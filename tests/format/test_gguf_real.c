/* test_gguf_real.c -- three real models, read as the Python package gguf reads them.
 *
 * Names, types, shapes and vocabulary are compared through a hash, decoded values through
 * the sum of their bits times their position: equal means equal in every bit.  The numbers
 * were printed by gguf_reference.py.  gemma3.gguf with its 262,144 tokens must open in
 * less than 60 ms. */
#include "support.h"

#include "format/gguf.h"

#include <time.h>

enum { LIMIT = 100000000, CHUNK = 1 << 16 };

typedef struct {
    const char *name;
    int         tensors;
    int64_t     elements; /* decoded: all, or up to the tensor that reaches LIMIT */
    uint64_t    sum;
} type_row;

typedef struct {
    const char *file;
    size_t      values, tensors;
    uint64_t    listing;
    size_t      n_tokens;
    uint64_t    tokens;
    type_row    types[6]; /* NULL name at the end */
} model_row;

static const model_row models[] = {
    { "smollm2.gguf",
      33,
      272,
      0xc92d016fb5a6ff4c,
      49152,
      0x96c103f485153e62,
      { { "q8_0", 1, 28311552, 0x779fe7cb39c5bf80 },
        { "f32", 61, 35136, 0x900dcda59f90000 },
        { "q4_1", 210, 100859904, 0xa51bd287b2463e00 } } },
    { "gemma3.gguf",
      33,
      236,
      0x28eaa464c93e08c3,
      262144,
      0x37de14b0c9263bba,
      { { "f32", 109, 55936, 0x17d0c11dd4ea6b00 },
        { "q8_0", 10, 167772160, 0x4347bd0ec4cb3fc0 },
        { "q5_0", 81, 63406080, 0x18fc620d19c6f000 },
        { "q4_k", 27, 23592960, 0xb723ba433c0ed580 },
        { "q6_k", 9, 11796480, 0xd6f96d72df3f8bd2 } } },
    { "qwen.gguf",
      26,
      339,
      0xd53b646883897050,
      151936,
      0x4a1a3f69d8409933,
      { { "q6_k", 29, 233373696, 0x6085b7ba2b4fd5c0 },
        { "q4_k", 169, 233373696, 0x75890213307a2e50 },
        { "f32", 141, 144896, 0xd94d1e5ba4c66000 } } },
};

static uint64_t fnv(uint64_t h, const char *bytes, size_t n) {
    for (size_t i = 0; i < n; i++) h = (h ^ (uint8_t)bytes[i]) * 0x100000001b3u;
    return h;
}

static uint64_t hash_listing(const mg_gguf *g) {
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < g->n_tensors; i++) {
        const mg_gguf_tensor *t = &g->tensors[i];
        char                  line[800];
        int                   n = snprintf(line, sizeof line, "%s %s", t->name, t->format->name);
        for (int d = 0; d < t->n_dims; d++)
            n += snprintf(line + n, sizeof line - (size_t)n, " %ld", (long)t->dims[d]);
        h = fnv(fnv(h, line, (size_t)n), "\n", 1);
    }
    return h;
}

static uint64_t hash_tokens(const mg_gguf_value *v) {
    uint64_t        h = 0xcbf29ce484222325u;
    mg_gguf_string *tokens = malloc(v->count * sizeof *tokens);
    mg_gguf_strings(v, tokens);
    for (uint64_t i = 0; i < v->count; i++) h = fnv(fnv(h, tokens[i].data, tokens[i].len), "\n", 1);
    free(tokens);
    return h;
}

/* Adds bits * position to *sum, chunk by chunk; *position counts on. */
static void sum_tensor(const mg_gguf_tensor *t, uint64_t *sum, int64_t *position) {
    static union {
        float    f[CHUNK];
        uint32_t u[CHUNK];
    } chunk;
    int64_t n = t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3];
    for (int64_t i = 0; i < n; i += CHUNK) {
        int64_t step = n - i < CHUNK ? n - i : CHUNK;
        t->format->decode(chunk.f, t->data, NULL, i, step);
        for (int64_t k = 0; k < step; k++) *sum += chunk.u[k] * (uint64_t)(*position + k + 1);
        *position += step;
    }
}

static void check_type(const mg_gguf *g, const model_row *m, const type_row *row) {
    uint64_t sum = 0;
    int64_t  elements = 0;
    int      n = 0;
    for (size_t i = 0; i < g->n_tensors; i++) {
        const mg_gguf_tensor *t = &g->tensors[i];
        if (strcmp(t->format->name, row->name)) continue;
        n++;
        if (elements < LIMIT) sum_tensor(t, &sum, &elements);
    }
    if (n != row->tensors || elements != row->elements || sum != row->sum)
        fail_msg("%s: %s: %d tensors, %ld elements, %#lx; wanted %d, %ld, %#lx", m->file, row->name, n,
                 (long)elements, (unsigned long)sum, row->tensors, (long)row->elements, (unsigned long)row->sum);
}

static void reads_the_model(void **state) {
    const model_row     *m = *state;
    mg_error             err;
    mg_gguf             *g = NULL;
    const mg_gguf_value *tokens;
    assert_ok(mg_gguf_open(&g, model_path(m->file), &err), err);
    assert_int_equal(g->n_values, m->values);
    assert_int_equal(g->n_tensors, m->tensors);
    assert_true(hash_listing(g) == m->listing);
    tokens = mg_gguf_find(g, "tokenizer.ggml.tokens");
    assert_true(tokens && tokens->count == m->n_tokens);
    assert_true(hash_tokens(tokens) == m->tokens);
    int known = 0;
    for (const type_row *row = m->types; row->name; row++) {
        check_type(g, m, row);
        known += row->tensors;
    }
    assert_int_equal(known, m->tensors);
    mg_gguf_close(g);
}

static void opens_quickly(void **state) {
    (void)state;
    const char     *path = model_path("gemma3.gguf");
    double          best = INFINITY;
    struct timespec start, end;
    for (int i = 0; i < 3; i++) {
        mg_error err;
        mg_gguf *g = NULL;
        clock_gettime(CLOCK_MONOTONIC, &start);
        assert_ok(mg_gguf_open(&g, path, &err), err);
        clock_gettime(CLOCK_MONOTONIC, &end);
        double ms = (double)(end.tv_sec - start.tv_sec) * 1e3 + (double)(end.tv_nsec - start.tv_nsec) * 1e-6;
        if (ms < best) best = ms;
        mg_gguf_close(g);
    }
    print_message("gemma3.gguf opens in %.1f ms\n", best);
    if (best > 60) fail_msg("gemma3.gguf opens in %.1f ms, at most 60 are allowed", best);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(reads_the_model, (void *)&models[0]),
        cmocka_unit_test_prestate(reads_the_model, (void *)&models[1]),
        cmocka_unit_test_prestate(reads_the_model, (void *)&models[2]),
        cmocka_unit_test(opens_quickly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
