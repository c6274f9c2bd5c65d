/* test_agreement.c -- alpha equals the package krippendorff 0.9.0, Wilson's interval scipy 1.17.1 (agreement_cases.json). */
#include "support.h"

#include "base/json.h"
#include "eval/metrics/agreement.h"

static mg_json cases;

static int setup(void **state) {
    mg_error err;
    (void)state;
    assert_ok(mg_json_open(&cases, source_path("tests/eval/agreement_cases.json"), 4 << 20, &err), err);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    mg_json_free(&cases);
    return 0;
}

static void alpha_equals_the_package(void **state) {
    static const char *const level[] = { "nominal", "ordinal", "interval" };
    size_t      i, n, k, m, defined = 0;
    yyjson_val *c, *v;
    mg_error    err;
    (void)state;
    yyjson_arr_foreach(yyjson_obj_get(cases.root, "alpha"), i, n, c) {
        size_t  raters = (size_t)yyjson_get_uint(yyjson_obj_get(c, "raters")), units = (size_t)yyjson_get_uint(yyjson_obj_get(c, "units"));
        double *value = calloc(raters * units, sizeof *value);
        assert_non_null(value);
        assert_int_equal(yyjson_arr_size(yyjson_obj_get(c, "value")), raters * units);
        yyjson_arr_foreach(yyjson_obj_get(c, "value"), k, m, v) value[k] = yyjson_is_null(v) ? NAN : yyjson_get_num(v);
        for (int l = 0; l < 3; l++) {
            yyjson_val *want = yyjson_obj_get(c, level[l]);
            double      got = 7;
            assert_ok(mg_krippendorff_alpha(value, raters, units, (mg_level)l, &got, &err), err);
            if (yyjson_is_null(want)) assert_true(isnan(got));
            else assert_near(got, yyjson_get_num(want), 1e-9, yyjson_get_str(yyjson_obj_get(c, "name")));
            defined += !yyjson_is_null(want);
        }
        free(value);
    }
    assert_int_equal(n, 44);
    assert_true(defined > 120);
}

static void alpha_knows_its_ends(void **state) {
    const double same[] = { 1, 2, 3, 1, 2, 3 }, one[] = { 4, 4, 4, 4 }, apart[] = { 1, NAN, NAN, 2 }, cross[] = { 0, 1, 1, 0 };
    double       got;
    mg_error     err;
    (void)state;
    assert_ok(mg_krippendorff_alpha(same, 2, 3, MG_LEVEL_ORDINAL, &got, &err), err);
    assert_near(got, 1, 0, "full agreement");
    assert_ok(mg_krippendorff_alpha(one, 2, 2, MG_LEVEL_NOMINAL, &got, &err), err);
    assert_true(isnan(got)); /* one value only */
    assert_ok(mg_krippendorff_alpha(apart, 2, 2, MG_LEVEL_ORDINAL, &got, &err), err);
    assert_true(isnan(got)); /* no unit was judged twice */
    assert_ok(mg_krippendorff_alpha(cross, 2, 2, MG_LEVEL_NOMINAL, &got, &err), err);
    assert_near(got, 1 - 3.0 / 2, 1e-12, "worse than chance");
    assert_ok(mg_krippendorff_alpha(NULL, 0, 0, MG_LEVEL_NOMINAL, &got, &err), err);
    assert_true(isnan(got));
}

static void wilson_equals_scipy(void **state) {
    size_t      i, n;
    yyjson_val *c;
    double      low, high;
    (void)state;
    yyjson_arr_foreach(yyjson_obj_get(cases.root, "wilson"), i, n, c) {
        mg_wilson(yyjson_get_num(yyjson_arr_get(c, 0)), yyjson_get_num(yyjson_arr_get(c, 1)), &low, &high);
        assert_near(low, yyjson_get_num(yyjson_arr_get(c, 2)), 1e-9, "low");
        assert_near(high, yyjson_get_num(yyjson_arr_get(c, 3)), 1e-9, "high");
    }
    assert_int_equal(n, 8);
    mg_wilson(0, 0, &low, &high);
    assert_true(low == 0 && high == 1);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(alpha_equals_the_package), cmocka_unit_test(alpha_knows_its_ends),
                                        cmocka_unit_test(wilson_equals_scipy) };
    return cmocka_run_group_tests(tests, setup, teardown);
}
