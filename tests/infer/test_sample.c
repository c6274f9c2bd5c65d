/* test_sample.c -- choosing tokens, against distributions worked out by hand.
 *
 * Logits are logarithms of 0.4, 0.3, 0.15, 0.1, 0.05, so that every filter's result is a fraction.  20,000 draws
 * must lie within 4 standard deviations of it, and what a filter removes must never appear. */
#include "../support.h"

#include "infer/sample.h"

enum { V = 5, DRAWS = 20000 };

static const double p[V] = { 0.10, 0.40, 0.05, 0.30, 0.15 };

static void open_sampler(mg_sampler *s, int64_t vocab) {
    mg_error err;
    assert_ok(mg_sampler_open(s, vocab, &err), err);
}

static void expect(const mg_sampling *o, const double *want, const char *what) {
    mg_sampler s;
    float      logit[V];
    int        count[V] = { 0 };
    open_sampler(&s, V);
    for (int i = 0; i < V; i++) logit[i] = (float)log(p[i]) + 3;
    for (int i = 0; i < DRAWS; i++) count[mg_sampler_choose(&s, logit, o, i)]++;
    for (int i = 0; i < V; i++) {
        double sigma = sqrt(want[i] * (1 - want[i]) / DRAWS), got = (double)count[i] / DRAWS;
        if (!(fabs(got - want[i]) <= 4 * sigma))
            fail_msg("%s: token %d has %.4f, wanted %.4f", what, i, got, want[i]);
    }
    mg_sampler_close(&s);
}

static mg_sampling plain(void) {
    mg_sampling o = mg_sampling_greedy();
    o.temperature = 1;
    o.seed = 7;
    return o;
}

static void distributions(void **state) {
    (void)state;
    mg_sampling o = plain();
    expect(&o, p, "plain");
    o.temperature = 0.5; /* squares: 0.01 0.16 0.0025 0.09 0.0225, sum 0.285 */
    expect(&o, (double[]){ 0.01 / 0.285, 0.16 / 0.285, 0.0025 / 0.285, 0.09 / 0.285, 0.0225 / 0.285 },
           "temperature 0.5");
    o = plain();
    o.top_k = 2;
    expect(&o, (double[]){ 0, 0.4 / 0.7, 0, 0.3 / 0.7, 0 }, "top-k 2");
    o = plain();
    o.top_p = 0.75; /* 0.4 + 0.3 are less than that, so the third stays */
    expect(&o, (double[]){ 0, 0.4 / 0.85, 0, 0.3 / 0.85, 0.15 / 0.85 }, "top-p 0.75");
    o.top_p = 0.65;
    expect(&o, (double[]){ 0, 0.4 / 0.7, 0, 0.3 / 0.7, 0 }, "top-p 0.65");
    o.top_p = 1e-9;
    expect(&o, (double[]){ 0, 1, 0, 0, 0 }, "top-p 0 keeps one");
    o = plain();
    o.min_p = 0.3; /* 0.12 and more */
    expect(&o, (double[]){ 0, 0.4 / 0.85, 0, 0.3 / 0.85, 0.15 / 0.85 }, "min-p 0.3");
    o.top_p = 0.65;
    expect(&o, (double[]){ 0, 0.4 / 0.7, 0, 0.3 / 0.7, 0 }, "min-p and top-p");
    o = plain();
    o.top_k = 3; /* 0.4 / 0.85 = 0.47, so top-p of what top-k left keeps two */
    o.top_p = 0.6;
    expect(&o, (double[]){ 0, 0.4 / 0.7, 0, 0.3 / 0.7, 0 }, "top-p after top-k");
}

static void draws_are_a_function_of_seed_and_position(void **state) {
    (void)state;
    mg_sampler  s;
    mg_sampling o = plain();
    float       logit[V];
    int32_t     first[64];
    int         differ = 0;
    open_sampler(&s, V);
    for (int i = 0; i < V; i++) logit[i] = (float)log(p[i]);
    for (int i = 0; i < 64; i++) first[i] = mg_sampler_choose(&s, logit, &o, i);
    for (int i = 63; i >= 0; i--) assert_int_equal(mg_sampler_choose(&s, logit, &o, i), first[i]);
    o.seed = 8;
    for (int i = 0; i < 64; i++) differ += mg_sampler_choose(&s, logit, &o, i) != first[i];
    assert_true(differ > 20);
    mg_sampler_close(&s);
}

static void greedy_takes_the_first_of_equals(void **state) {
    (void)state;
    mg_sampler  s;
    mg_sampling o = mg_sampling_greedy();
    float       logit[V] = { -1, 2, 2, NAN, -INFINITY }, none[V] = { NAN, NAN, NAN, NAN, NAN };
    open_sampler(&s, V);
    assert_int_equal(mg_sampler_choose(&s, logit, &o, 0), 1);
    assert_int_equal(mg_sampler_choose(&s, none, &o, 0), -1);
    o.temperature = 1;
    for (int i = 0; i < 100; i++) assert_in_range(mg_sampler_choose(&s, logit, &o, i), 0, 2);
    mg_sampler_close(&s);
}

/* As transformers' RepetitionPenaltyLogitsProcessor: each token once, positive divided, negative multiplied. */
static void repetition(void **state) {
    (void)state;
    mg_sampler s;
    float      logit[V] = { 1, -1, 4, -4, 0 };
    int32_t    prompt[] = { 0, 1, 0 }, made[] = { 3, 1 };
    open_sampler(&s, V);
    for (int again = 0; again < 2; again++) {
        mg_sampler_begin(&s);
        mg_sampler_penalize(&s, logit, 2, prompt, 3);
        mg_sampler_penalize(&s, logit, 2, made, 2);
    }
    float want[V] = { 0.25f, -4, 4, -16, 0 };
    for (int i = 0; i < V; i++) assert_true(logit[i] == want[i]);
    mg_sampler_close(&s);
}

/* The heap against sorting: with a large vocabulary, top-k 1 .. 9 reach exactly the k largest. */
static void heap_order(void **state) {
    (void)state;
    enum { MANY = 3001 };
    mg_sampler   s;
    mg_sampling  o = plain();
    static float logit[MANY];
    open_sampler(&s, MANY);
    for (int i = 0; i < MANY; i++) logit[i] = (float)((i * 7919) % MANY) * 1e-4f; /* a permutation */
    for (o.top_k = 1; o.top_k < 10; o.top_k++)
        for (int i = 0; i < 200; i++) {
            int32_t id = mg_sampler_choose(&s, logit, &o, i);
            assert_true((id * 7919) % MANY >= MANY - (int)o.top_k);
        }
    mg_sampler_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(distributions),
                                        cmocka_unit_test(draws_are_a_function_of_seed_and_position),
                                        cmocka_unit_test(greedy_takes_the_first_of_equals),
                                        cmocka_unit_test(repetition), cmocka_unit_test(heap_order) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
