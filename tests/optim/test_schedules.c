/* Every schedule against transformers' get_scheduler at every step, within 1e-12, relative above 1 (schedules.json; make_schedules.py). */
#include "support.h"

#include "base/json.h"
#include "optim/schedule.h"

static mg_error err;

static int curve(const char *name, int otherwise) {
    return !name ? otherwise : !strcmp(name, "linear") ? MG_CURVE_LINEAR : !strcmp(name, "cosine") ? MG_CURVE_COSINE : MG_CURVE_1_SQRT;
}

static mg_schedule_settings settings_of(yyjson_val *v) {
    mg_schedule_settings s = { .learning_rate = 2e-4, .lr_end = 1e-7, .power = 1 };
    struct { const char *key; double *to; } numbers[] = {
        { "num_cycles", &s.num_cycles }, { "lr_end", &s.lr_end }, { "power", &s.power }, { "min_lr", &s.min_lr },
        { "min_lr_rate", &s.min_lr_rate }, { "min_lr_ratio", &s.min_lr_rate }, { "warmup_lr_rate", &s.warmup_lr_rate },
        { "timescale", &s.timescale }, { "num_stable_steps", &s.num_stable_steps }, { "num_decay_steps", &s.num_decay_steps },
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (yyjson_obj_get(v, numbers[i].key)) *numbers[i].to = yyjson_get_num(yyjson_obj_get(v, numbers[i].key));
    s.warmup_type = curve(yyjson_get_str(yyjson_obj_get(v, "warmup_type")), MG_CURVE_LINEAR);
    s.decay_type = curve(yyjson_get_str(yyjson_obj_get(v, "decay_type")), MG_CURVE_COSINE);
    return s;
}

static void as_transformers(void **state) {
    (void)state;
    mg_json     j;
    size_t      i, n, step, count;
    yyjson_val *c, *want;
    bool        seen[32] = { false };
    assert_ok(mg_json_open(&j, source_path("tests/optim/schedules.json"), 1 << 20, &err), err);
    yyjson_arr_foreach(j.root, i, n, c) {
        const char          *name = yyjson_get_str(yyjson_obj_get(c, "schedule"));
        const mg_schedule   *schedule = mg_schedule_find(name);
        mg_schedule_settings s = settings_of(yyjson_obj_get(c, "settings"));
        mg_schedule_at       at = { 0, yyjson_get_sint(yyjson_obj_get(c, "warmup")), yyjson_get_sint(yyjson_obj_get(c, "total")) };
        assert_non_null(schedule);
        assert_ok(mg_schedule_check(schedule, &s, &err), err);
        for (size_t k = 0; mg_schedule_number(k); k++) seen[k] |= mg_schedule_number(k) == schedule;
        yyjson_arr_foreach(yyjson_obj_get(c, "factors"), step, count, want) {
            at.step = (int64_t)step;
            double got = schedule->factor(&s, at);
            if (!(fabs(got - yyjson_get_num(want)) <= 1e-12 * fmax(1, fabs(got))))
                fail_msg("%s (case %zu), step %zu of %lld: %.17g, wanted %.17g", name, i, step, (long long)at.total, got, yyjson_get_num(want));
        }
        assert_int_equal(count, at.total + 1);
    }
    for (size_t k = 0; mg_schedule_number(k); k++)
        if (!seen[k]) fail_msg("%s: no case", mg_schedule_number(k)->name);
    mg_json_free(&j);
}

static void refused(void **state) {
    (void)state;
    mg_schedule_settings s = { .learning_rate = 1e-4, .power = 1 };
    assert_fails(mg_schedule_check(mg_schedule_find("cosine_with_min_lr"), &s, &err), err, MG_CONFIG, "lr_scheduler_min_lr");
    s.min_lr = 1e-3;
    assert_fails(mg_schedule_check(mg_schedule_find("cosine_with_min_lr"), &s, &err), err, MG_CONFIG, "above");
    s.min_lr_rate = 0.5;
    assert_fails(mg_schedule_check(mg_schedule_find("cosine_with_min_lr"), &s, &err), err, MG_CONFIG, "one of them");
    s = (mg_schedule_settings){ .learning_rate = 1e-4, .lr_end = 1e-3, .power = 1 };
    assert_fails(mg_schedule_check(mg_schedule_find("polynomial"), &s, &err), err, MG_CONFIG, "lr_end");
    assert_null(mg_schedule_find("none"));
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(as_transformers), cmocka_unit_test(refused) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
