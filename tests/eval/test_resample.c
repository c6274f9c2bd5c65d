/* test_resample.c -- intervals and tests where theory says what they must be. */
#include "support.h"

#include "base/rng.h"
#include "eval/metrics/resample.h"

enum { N = 400 };

static double mean(const void *context, const double *sum) {
    (void)context;
    return sum[0] / sum[1];
}

/* n pairs (value, 1): normal with the given mean, deviation 1. */
static void draw(double *stats, double shift, uint32_t site) {
    for (size_t i = 0; i < N; i++) {
        stats[2 * i] = shift + (double)mg_rng_normal((mg_rng){ .seed = 5, .where = mg_rng_where(0, 0, site) }, i);
        stats[2 * i + 1] = 1;
    }
}

static void an_interval_is_that_of_theory(void **state) {
    (void)state;
    double      stats[2 * N], square = 0;
    mg_resample   s = { .stats = stats, .n = N, .width = 2, .score = mean };
    mg_interval a, b, c;
    mg_error    err = { 0 };
    draw(stats, 3, 1);
    assert_ok(mg_bootstrap(&s, 42, MG_RESAMPLES, &a, &err), err);
    assert_ok(mg_bootstrap(&s, 42, MG_RESAMPLES, &b, &err), err);
    assert_ok(mg_bootstrap(&s, 43, MG_RESAMPLES, &c, &err), err);
    assert_memory_equal(&a, &b, sizeof a); /* one seed, one interval */
    assert_true(a.low != c.low);
    assert_near(a.score, mg_sample_score(&s), 0, "score");
    for (size_t i = 0; i < N; i++) square += pow(stats[2 * i] - a.score, 2) / N;
    double half = 1.96 * sqrt(square / N); /* 10% for 1,000 resamples */
    assert_near((a.high - a.low) / 2 / half, 1, 0.1, "width of the interval");
    assert_near(a.mean, a.score, 0.01, "mean of the resamples");
    assert_true(a.low < a.score && a.score < a.high);
}

static void a_difference_is_found_and_none_is_not(void **state) {
    (void)state;
    double        before[2 * N], after[2 * N];
    mg_resample     s = { .stats = before, .n = N, .width = 2, .score = mean };
    mg_difference d;
    mg_error      err = { 0 };
    draw(before, 0, 1);
    assert_ok(mg_paired_test(&s, before, 1, 200, 500, &d, &err), err);
    assert_near(d.d.score, 0, 0, "the same");
    assert_near(d.p_shuffle, 1, 0, "the same: every shuffle is as far apart");
    draw(after, 0.3, 2); /* deviation of the difference sqrt(2/400) = 0.07: 4.2 of them */
    assert_ok(mg_paired_test(&s, after, 1, 1000, 2000, &d, &err), err);
    assert_true(d.p_shuffle < 0.005 && d.p_bootstrap < 0.005 && d.d.low > 0);
    draw(after, 0, 3);
    assert_ok(mg_paired_test(&s, after, 1, 1000, 2000, &d, &err), err);
    assert_true(d.d.low < d.d.score && d.d.score < d.d.high);
    /* the shuffle's p is that of the t-test on the pairs, for so many pairs the normal's */
    double m = 0, square = 0;
    for (size_t i = 0; i < N; i++) m += (after[2 * i] - before[2 * i]) / N;
    for (size_t i = 0; i < N; i++) square += pow(after[2 * i] - before[2 * i] - m, 2);
    double z = fabs(m) / sqrt(square / N / (N - 1));
    assert_near(d.p_shuffle, erfc(z / sqrt(2)), 0.04, "p of the shuffle");
}

static void a_few_pairs_are_counted_exactly(void **state) {
    (void)state;
    /* four pairs, each better by 1: of 16 ways to swap 2 are as far apart */
    double        before[8] = { 0, 1, 0, 1, 0, 1, 0, 1 }, after[8] = { 1, 1, 1, 1, 1, 1, 1, 1 };
    mg_resample     s = { .stats = before, .n = 4, .width = 2, .score = mean };
    mg_difference d;
    mg_error      err = { 0 };
    assert_ok(mg_paired_test(&s, after, 9, 100, 20000, &d, &err), err);
    assert_near(d.p_shuffle, 2. / 16, 0.008, "2 of 16");
    assert_near(d.d.score, 1, 0, "difference");
    assert_near(d.d.low, 1, 0, "low");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_interval_is_that_of_theory),
        cmocka_unit_test(a_difference_is_found_and_none_is_not),
        cmocka_unit_test(a_few_pairs_are_counted_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
