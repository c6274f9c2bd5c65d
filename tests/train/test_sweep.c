/* test_sweep.c -- lists of trials, halving, and the two fits held against curves whose answer is known. */
#include "support.h"

#include "base/rng.h"
#include "train/sweep.h"

#include <math.h>

static void axes_are_lists_or_ranges(void **state) {
    (void)state;
    mg_sweep_axis a = { 0 };
    mg_error      err;
    assert_ok(mg_sweep_axis_parse(&a, "learning_rate=1e-4,2e-4,1e-4", &err), err);
    assert_string_equal(a.name, "learning_rate");
    assert_int_equal(a.n, 2); /* one stood twice */
    assert_false(a.range);
    mg_sweep_axis_free(&a);
    assert_ok(mg_sweep_axis_parse(&a, "learning_rate=1e-5..1e-3/3", &err), err);
    assert_true(!a.range && a.logarithmic && !a.whole); /* the points were counted: a list */
    assert_int_equal(a.n, 3);
    assert_string_equal(a.value[1], "0.0001");
    mg_sweep_axis_free(&a);
    assert_ok(mg_sweep_axis_parse(&a, "lora_r=4..8", &err), err);
    assert_true(a.whole && !a.logarithmic);
    assert_int_equal(a.n, 5);
    assert_string_equal(a.value[4], "8");
    mg_sweep_axis_free(&a);
    assert_ok(mg_sweep_axis_parse(&a, "lora_dropout=0.0..1", &err), err);
    assert_false(a.whole);
    assert_string_equal(a.value[1], "0.25");
    mg_sweep_axis_free(&a);
    assert_ok(mg_sweep_axis_parse(&a, "lora_target_modules=q+v,all-linear", &err), err);
    assert_string_equal(a.value[0], "q+v");
    mg_sweep_axis_free(&a);
    static const char *const wrong[] = { "", "x", "=1", "x=", "x=1,,2", "x=,1", "x=1,", "x=2..1", "x=1..2/1", "x=1..2/1x", "x=a..b", "x=1..2,3" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_fails(mg_sweep_axis_parse(&a, wrong[i], &err), err, MG_CONFIG, "vary");
}

static void grids_and_draws(void **state) {
    (void)state;
    mg_sweep_axis a[2] = { 0 };
    mg_sweep_plan p = { 0 }, q = { 0 };
    mg_error      err;
    assert_ok(mg_sweep_axis_parse(&a[0], "learning_rate=1e-5..1e-2", &err), err);
    assert_ok(mg_sweep_axis_parse(&a[1], "lora_r=4,8,16", &err), err);
    assert_ok(mg_sweep_grid(&p, a, 2, &err), err);
    assert_int_equal(p.n, 15);
    assert_string_equal(p.value[0], "1e-05");
    assert_string_equal(p.value[1], "4");
    assert_string_equal(p.value[3], "8"); /* the last axis moves fastest */
    mg_sweep_plan_free(&p);
    assert_ok(mg_sweep_draw(&p, a, 2, 200, 7, &err), err);
    assert_ok(mg_sweep_draw(&q, a, 2, 200, 7, &err), err);
    assert_int_equal(p.n, 200);
    int low = 0;
    for (size_t i = 0; i < 200; i++) {
        double rate = strtod(p.value[2 * i], NULL);
        assert_true(rate >= 0.99e-5 && rate <= 1.01e-2);
        low += rate < 3.16e-4; /* half of the logarithm */
        assert_string_equal(p.value[2 * i], q.value[2 * i]);
    }
    assert_true(low > 75 && low < 125); /* 3.5 standard deviations */
    mg_sweep_plan_free(&p);
    mg_sweep_plan_free(&q);
    assert_ok(mg_sweep_draw(&p, a + 1, 1, 50, 7, &err), err);
    assert_int_equal(p.n, 3); /* there are no more */
    mg_sweep_plan_free(&p);
    mg_sweep_axis_free(&a[0]);
    assert_ok(mg_sweep_axis_parse(&a[0], "learning_rate=0.1..0.2/500", &err), err);
    mg_sweep_axis many[3] = { a[0], a[0], a[1] };
    assert_fails(mg_sweep_grid(&p, many, 3, &err), err, MG_CONFIG, "combinations");
    mg_sweep_axis_free(&a[0]);
    mg_sweep_axis_free(&a[1]);
}

static void halving_and_ranking(void **state) {
    (void)state;
    mg_sweep_round r[MG_SWEEP_ROUNDS];
    assert_int_equal(mg_sweep_halving(r, 27, 3), 4);
    assert_int_equal(r[0].keep, 27);
    assert_int_equal(r[1].keep, 9);
    assert_int_equal(r[3].keep, 1);
    assert_float_equal(r[0].part, 1.0 / 27, 1e-12);
    assert_float_equal(r[3].part, 1, 0);
    assert_int_equal(mg_sweep_halving(r, 1, 3), 1);
    assert_float_equal(r[0].part, 1, 0);
    assert_int_equal(mg_sweep_halving(r, 5, 2), 3);
    assert_int_equal(r[2].keep, 1);
    double result[] = { 2, NAN, 1, INFINITY, 1 };
    size_t order[5];
    mg_sweep_rank(result, 5, false, order);
    static const size_t wanted[] = { 2, 4, 0, 1, 3 };
    assert_memory_equal(order, wanted, sizeof order);
    mg_sweep_rank(result, 5, true, order);
    assert_int_equal(order[0], 0);
    assert_int_equal(order[1], 2);
}

static void a_power_law_is_found_again(void **state) {
    (void)state;
    static const double n[] = { 0.125, 0.25, 0.5, 1, 0.125, 0.25, 0.5, 1 };
    double              loss[8];
    mg_power_law        f;
    for (int i = 0; i < 8; i++) loss[i] = 1.2 + 0.4 * pow(n[i], -0.5);
    assert_true(mg_power_law_fit(&f, n, loss, 4));
    assert_float_equal(f.a, 1.2, 1e-9); /* 0.5 stands on the grid of exponents */
    assert_float_equal(f.b, 0.4, 1e-9);
    assert_float_equal(f.c, 0.5, 1e-12);
    assert_float_equal(mg_power_law_at(&f, 2), 1.2 + 0.4 / sqrt(2), 1e-9);
    assert_false(mg_power_law_fit(&f, n, loss, 2));

    /* noise of 0.01: the interval covers the truth, in about nine of ten worlds */
    int covered = 0;
    for (int world = 0; world < 40; world++) {
        double noisy[8];
        for (int i = 0; i < 8; i++) noisy[i] = loss[i] + 0.01 * (double)mg_rng_normal((mg_rng){ 3, (uint64_t)world }, (uint64_t)i);
        assert_true(mg_power_law_fit(&f, n, noisy, 8));
        mg_forecast more = mg_power_law_forecast(&f, n, 8, 2, 11);
        assert_true(more.low <= more.loss && more.loss <= more.high);
        double truth = 1.2 + 0.4 / sqrt(2);
        covered += more.low <= truth && truth <= more.high;
    }
    assert_true(covered >= 30); /* 36 expected, standard deviation 1.9 */

    double flat[] = { 1, 1.001, 0.999, 1 }; /* more data does nothing */
    assert_true(mg_power_law_fit(&f, n, flat, 4));
    assert_float_equal(mg_power_law_at(&f, 2), 1, 0.002);
    mg_forecast three = mg_power_law_forecast(&f, n, 3, 2, 11);
    assert_true(isinf(three.low) && isinf(three.high));
    double broken[] = { 1, NAN, 1, 1 };
    assert_false(mg_power_law_fit(&f, n, broken, 4));
}

/* A loss that falls fastest at 1e-3, is lowest at 1e-2 and then flies away. */
static void a_rate_is_proposed(void **state) {
    (void)state;
    enum { N = 100 };
    double        rate[N], loss[N], smooth[N];
    mg_rate_range r = { .smooth = smooth };
    for (int i = 0; i < N; i++) {
        rate[i] = 1e-6 * pow(1e6, i / (N - 1.0));
        double x = log10(rate[i]);
        loss[i] = 3 - 2 / (1 + exp(-4 * (x + 3))) + (x > -2 ? 40 * (x + 2) * (x + 2) : 0);
    }
    assert_true(mg_rate_range_read(&r, rate, loss, N));
    assert_true(r.steepest > 5e-4 && r.steepest < 4e-3); /* the mean lags behind by some points */
    assert_true(r.least > 5e-3 && r.least < 5e-2);
    assert_true(r.steepest < r.proposed && r.proposed < r.least);
    assert_true(r.end < N);
    assert_true(mg_rate_range_diverged(loss, N));
    assert_false(mg_rate_range_diverged(loss, 50));
    loss[60] = NAN;
    assert_true(mg_rate_range_diverged(loss, 61));
    for (int i = 0; i < N; i++) loss[i] = 1 + i;
    assert_false(mg_rate_range_read(&r, rate, loss, N));
    assert_false(mg_rate_range_read(&r, rate, loss, 5));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(axes_are_lists_or_ranges), cmocka_unit_test(grids_and_draws),    cmocka_unit_test(halving_and_ranking),
        cmocka_unit_test(a_power_law_is_found_again), cmocka_unit_test(a_rate_is_proposed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
