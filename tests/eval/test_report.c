/* test_report.c -- the report says the numbers, and what a model wrote stays text. */
#include "support.h"

#include "base/file.h"
#include "base/json.h"
#include "eval/report.h"

static const double steps[] = { 1, 2, 3, 4 }, loss[] = { 2, NAN, 1.25, 1 }, eval_loss[] = { 2, 1.8, 1.5, 1.4 };
static const mg_report_row rows[] = {
    { "磨きとは？", "target", "研磨", "分かりません", "研磨のことです。", 0, 1, NULL },
    { "capital of France?", "control", "Paris", "Paris", "Lyon", 1, 0, "a loss" },
    { "<script>alert(1)</script>", "target", NULL, "</article><img src=x onerror=alert(1)>", "\" ' & \xff\x01", 0, 0,
      "<b>note</b>" },
    { "open", "held\"out", NULL, "", NULL, -1, -1, NULL },
};
static const mg_report_setting settings[] = { { "lora_r", "8" }, { "evil", "</dd><script>1</script>" } };
static const mg_report_curve   curve[] = { { "loss", steps, loss, 4 }, { "eval_loss", steps, eval_loss, 4 } };
static const mg_report         report = { .title = "Before & after", .model = "gemma", .run = "r-1", .created = 1700000000,
                                          .row = rows, .rows = 4, .setting = settings, .settings = 2, .curve = curve,
                                          .curves = 2 };

static size_t occurrences(const char *text, const char *part) {
    size_t n = 0;
    for (const char *p = text; (p = strstr(p, part)); p += strlen(part)) n++;
    return n;
}

static void test_json(void **state) {
    (void)state;
    mg_buf   b = { 0 };
    mg_json  j = { 0 };
    mg_error err;
    mg_report_json(&b, &report);
    assert_ok(mg_json_parse(&j, b.data, b.len, "report.json", &err), err);
    yyjson_val *list = yyjson_obj_get(j.root, "rows");
    assert_int_equal(yyjson_arr_size(list), 4);
    assert_true(yyjson_is_true(yyjson_obj_get(yyjson_arr_get(list, 0), "ok_after")));
    assert_true(yyjson_is_null(yyjson_obj_get(yyjson_arr_get(list, 3), "ok_after")));
    assert_string_equal(yyjson_get_str(yyjson_obj_get(yyjson_arr_get(list, 2), "before")), rows[2].before);
    yyjson_val *points = yyjson_obj_get(yyjson_arr_get(yyjson_obj_get(j.root, "curves"), 0), "points");
    assert_true(yyjson_is_null(yyjson_arr_get(yyjson_arr_get(points, 1), 1)));
    mg_json_free(&j);
    mg_buf_free(&b);
}

static void test_html(void **state) {
    (void)state;
    for (int ja = 0; ja < 2; ja++) {
        mg_buf b = { 0 };
        mg_report_html(&b, &report, ja ? "ja" : "en");
        assert_false(b.failed);
        assert_int_equal(occurrences(b.data, "<script"), 1); /* the page's own */
        assert_int_equal(occurrences(b.data, "<img"), 0);
        assert_int_equal(occurrences(b.data, "<b>note"), 0);
        assert_int_equal(occurrences(b.data, "<article"), 4);
        assert_int_equal(occurrences(b.data, "</article>"), 4);
        assert_int_equal(occurrences(b.data, "https://"), 0);
        assert_int_equal(occurrences(b.data, "http://"), 2 - 1); /* the SVG name space of the one chart */
        assert_int_equal(occurrences(b.data, "<svg"), 1);        /* loss and eval_loss together */
        assert_int_equal(occurrences(b.data, "style=\""), 0);
        assert_non_null(strstr(b.data, "default-src 'none'"));
        assert_non_null(strstr(b.data, "data-category=\"held&quot;out\""));
        assert_non_null(strstr(b.data, "&lt;script&gt;alert(1)&lt;/script&gt;"));
        assert_non_null(strstr(b.data, "\xef\xbf\xbd\xef\xbf\xbd</div>")); /* the bad byte and the control character */
        assert_non_null(strstr(b.data, ja ? "学習前" : "Before"));
        assert_non_null(strstr(b.data, ja ? "<html lang=\"ja\">" : "<html lang=\"en\">"));
        assert_non_null(strstr(b.data, "1/3 (33%)"));
        mg_buf_free(&b);
    }
}

static void test_files(void **state) {
    (void)state;
    char    *folder = make_temp_folder(), path[4200];
    mg_error err;
    assert_ok(mg_report_write(&report, folder, "ja", &err), err);
    snprintf(path, sizeof path, "%s/report.html", folder);
    assert_true(mg_is_file(path));
    snprintf(path, sizeof path, "%s/report.json", folder);
    assert_true(mg_is_file(path));
    mg_report empty = { .title = "t", .model = "m", .run = "r" };
    assert_ok(mg_report_write(&empty, folder, "en", &err), err);
    remove_temp_folder(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_json), cmocka_unit_test(test_html), cmocka_unit_test(test_files) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
