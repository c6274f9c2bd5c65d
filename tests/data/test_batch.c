/* test_batch.c -- the plan of an epoch: every sample once, the same again, within budget. */
#include "support.h"

#include "data/batch.h"

enum { N = 1000 };

static mg_dataset lengths(mg_sample *s, size_t n) {
    mg_dataset d = { .sample = s, .n = n };
    for (size_t i = 0; i < n; i++) {
        s[i] = (mg_sample){ .n = (int32_t)(1 + i * 7919 % 128), .n_labels = (int32_t)(i % 5) };
        d.tokens += s[i].n;
    }
    return d;
}

static void each_sample_once(const mg_epoch *e, size_t n) {
    bool *seen = mg_calloc(n, sizeof *seen);
    assert_int_equal(e->n, n);
    for (size_t i = 0; i < n; i++) {
        assert_true(e->order[i] < n && !seen[e->order[i]]);
        seen[e->order[i]] = true;
    }
    assert_int_equal(e->micro_start[0], 0);
    assert_int_equal(e->micro_start[e->n_micro], n);
    for (size_t b = 0; b < e->n_micro; b++) assert_true(e->micro_start[b] < e->micro_start[b + 1]);
    free(seen);
}

static void plain_batches(void **state) {
    (void)state;
    static mg_sample s[N];
    mg_dataset       d = lengths(s, N);
    mg_batch_options o = { .seed = 7, .batch_size = 3, .gradient_accumulation_steps = 4 };
    mg_epoch         e = { 0 };
    mg_error         err;
    size_t           first, n, total = 0;
    assert_ok(mg_plan_epoch(&e, &d, &o, 0, &err), err);
    each_sample_once(&e, N);
    assert_int_equal(e.n_micro, 334);
    assert_int_equal(e.n_steps, 84);
    for (size_t i = 0; i < N; i++) assert_int_equal(e.order[i], i); /* no shuffle: the file's order */
    for (size_t k = 0; k < e.n_steps; k++) {
        mg_epoch_step(&e, k, &first, &n);
        assert_int_equal(first, total);
        total += n;
    }
    assert_int_equal(total, e.n_micro);
    assert_int_equal(mg_epoch_labels(&e, &d, 0), 0 + 1 + 2 + 3 + 4 + 0 + 1 + 2 + 3 + 4 + 0 + 1);
    mg_epoch_free(&e);
}

static void shuffling_is_a_function_of_seed_and_epoch(void **state) {
    (void)state;
    static mg_sample s[N];
    mg_dataset       d = lengths(s, N);
    mg_epoch         e[4] = { 0 };
    mg_error         err;
    for (int i = 0; i < 4; i++) {
        mg_batch_options o = { .seed = i == 3 ? 8 : 7, .shuffle = true, .batch_size = 4 };
        assert_ok(mg_plan_epoch(&e[i], &d, &o, i == 2 ? 1 : 0, &err), err);
        each_sample_once(&e[i], N);
    }
    assert_memory_equal(e[0].order, e[1].order, sizeof *e->order * N);
    assert_true(memcmp(e[0].order, e[2].order, sizeof *e->order * N) != 0);
    assert_true(memcmp(e[0].order, e[3].order, sizeof *e->order * N) != 0);
    for (int i = 0; i < 4; i++) mg_epoch_free(&e[i]);
}

/* Packed micro-batches keep the budget and are nearly full: lengths of 64.5 on average into 256. */
static void packing_keeps_the_budget(void **state) {
    (void)state;
    static mg_sample s[N];
    mg_dataset       d = lengths(s, N);
    mg_batch_options o = { .seed = 7, .shuffle = true, .packing = true, .batch_size = 2, .max_length = 128 };
    mg_epoch         e = { 0 };
    mg_error         err;
    assert_ok(mg_plan_epoch(&e, &d, &o, 0, &err), err);
    each_sample_once(&e, N);
    for (size_t b = 0; b < e.n_micro; b++) {
        int64_t tokens = 0;
        for (size_t i = e.micro_start[b]; i < e.micro_start[b + 1]; i++) tokens += s[e.order[i]].n;
        assert_true(tokens <= 256);
    }
    double filled = (double)d.tokens / ((double)e.n_micro * 256);
    print_message("           %.1f%% of the budget is filled\n", 100 * filled);
    assert_true(filled > 0.97);
    mg_epoch_free(&e);
}

/* A sample beyond the budget stands alone; one sample, no sample. */
static void borders(void **state) {
    (void)state;
    mg_sample        s[3] = { { .n = 500 }, { .n = 10 }, { .n = 20 } };
    mg_dataset       d = { .sample = s, .n = 3 };
    mg_batch_options o = { .packing = true, .batch_size = 1, .max_length = 100 };
    mg_epoch         e = { 0 };
    mg_error         err;
    assert_ok(mg_plan_epoch(&e, &d, &o, 0, &err), err);
    each_sample_once(&e, 3);
    assert_int_equal(e.n_micro, 2);
    assert_int_equal(e.micro_start[1], 1);
    mg_epoch_free(&e);
    d.n = 0;
    assert_ok(mg_plan_epoch(&e, &d, &o, 0, &err), err);
    assert_int_equal(e.n_micro, 0);
    assert_int_equal(e.n_steps, 0);
    mg_epoch_free(&e);
    o.max_length = 0;
    assert_fails(mg_plan_epoch(&e, &d, &o, 0, &err), err, MG_CONFIG, "max_length");
    o.batch_size = 0;
    assert_fails(mg_plan_epoch(&e, &d, &o, 0, &err), err, MG_CONFIG, "at least 1");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_batches),
        cmocka_unit_test(shuffling_is_a_function_of_seed_and_epoch),
        cmocka_unit_test(packing_keeps_the_budget),
        cmocka_unit_test(borders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
