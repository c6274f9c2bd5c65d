/* test_report.c -- the report says the numbers in both languages, what a model wrote stays text, what was written is
 * read back, warnings come where they must and not elsewhere, and ten thousand rows stay small and quick. */
#include "support.h"

#include "base/file.h"
#include "base/json.h"
#include "eval/report_facts.h"

#include <time.h>

static const double steps[] = { 1, 2, 3, 4 }, loss[] = { 2, NAN, 1.25, 1 }, eval_loss[] = { 2, 1.8, 1.5, 1.4 };
static const mg_report_row rows[] = {
    { .question = "磨きとは？", .category = "target", .expected = "研磨", .before = "分かりません", .after = "研磨のことです。", .ok_before = 0, .ok_after = 1 },
    { .question = "capital of France?", .category = "control", .expected = "Paris", .before = "Paris", .after = "Lyon", .ok_before = 1, .ok_after = 0,
      .control = true, .note = "a loss" },
    { .question = "<script>alert(1)</script>", .category = "target", .before = "</article><img src=x onerror=alert(1)>", .after = "\" ' & \xff\x01",
      .ok_before = 0, .ok_after = 0, .note = "<b>note</b>" },
    { .question = "open", .category = "held\"out", .before = "", .ok_before = -1, .ok_after = -1, .after = "はい。はい。はい。はい。はい。", .cut_after = true },
};
static mg_report_setting        setting_items[] = { { "lora_r", "8", "my.yaml:3" }, { "seed", "0", "default" }, { "evil", "</dd><script>1</script>", NULL } };
static const mg_report_settings settings = { .item = setting_items, .n = 3 };
static const mg_report_curve    curve[] = { { "loss", steps, loss, 4 }, { "eval_loss", steps, eval_loss, 4 }, { "overfitting_gap", steps, eval_loss, 4 } };
static const mg_report_score    scores[] = { { .data = "set", .metric = "bleu", .signature = "nrefs:1|tok:ja-mecab", .before = 10, .after = 20,
                                               .difference = 10, .low = 5, .high = 15, .p = 0.001 } };
static const mg_report_text     texts[] = { { .data = "news", .signature = "nats", .texts = 20, .tokens = 500, .before = 3.25, .after = 3.5,
                                              .difference = 0.25, .low = 0.125, .high = 0.375, .p = 0.0005 } };
static const mg_report          report = { .title = "Before & after", .model = "gemma", .run = "r-1", .created = 1700000000, .seed = 42, .row = rows,
                                           .rows = 4, .settings = &settings, .curve = curve, .curves = 3, .score = scores, .scores = 1, .text = texts,
                                           .texts = 1 };

static size_t occurrences(const char *text, const char *part) {
    size_t n = 0;
    for (const char *p = text; (p = strstr(p, part)); p += strlen(part)) n++;
    return n;
}

static void test_facts(void **state) {
    (void)state;
    mg_report_facts f;
    mg_error        err;
    assert_ok(mg_report_facts_of(&f, &report, &err), err);
    assert_int_equal(f.categories, 3);
    const mg_category *all = &f.category[3], *target = &f.category[0];
    assert_null(all->name);
    assert_int_equal(all->n, 4);
    assert_int_equal(all->before.right, 1);
    assert_int_equal(all->before.judged, 3);
    assert_int_equal(all->after.right, 1);
    assert_int_equal(all->gained, 1);
    assert_int_equal(all->lost, 1);
    assert_near(all->difference, 0, 1e-12, "difference");
    assert_near(target->difference, 0.5, 1e-12, "difference of a category");
    assert_near(target->after.low, 0.0945312057342307, 1e-9, "Wilson of 1 in 2"); /* scipy's binomtest */
    assert_near(target->after.boot_low, 0, 0, "bootstrap of 1 in 2");
    assert_int_equal(f.forgotten.right, 1);
    assert_int_equal(f.forgotten.judged, 1);
    assert_int_equal(f.flaws[0][3], MG_ANSWER_EMPTY);
    assert_int_equal(f.flaws[1][3], MG_ANSWER_CUT | MG_ANSWER_REPEATS);
    assert_int_equal(f.phrase[1][3].len, strlen("はい。"));
    assert_int_equal(f.flaws[1][0], 0);
    assert_true(f.warning[MG_WARN_FORGOT] && f.warning[MG_WARN_NLL] && f.warning[MG_WARN_CUT] && f.warning[MG_WARN_REPEATS]);
    assert_false(f.warning[MG_WARN_EMPTY] || f.warning[MG_WARN_SAME] || f.warning[MG_WARN_SHORTER]);
    mg_report_facts_free(&f);
}

/* A phrase is stuck from three times and twelve characters on; numbers, rules and laughter are not. */
static void test_stuck(void **state) {
    (void)state;
    static const struct { const char *text; bool stuck; size_t times; } row[] = {
        { "ありがとう。ありがとう。ありがとう。", true, 3 }, { "はい。はい。はい。", false, 0 }, { "1,000,000円", false, 0 },
        { "----------------", false, 0 }, { "| --- | --- | --- | --- |", false, 0 }, { "a a a a a a a", true, 6 }, { "wwwww そうですか", false, 0 },
        { "000 それはそうです。それはそうです。それはそうです。", true, 3 }, { "", false, 0 }, { "東京、大阪、京都", false, 0 },
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        mg_place at;
        size_t   times = 0;
        bool     stuck = mg_stuck_phrase(row[i].text, strlen(row[i].text), &at, &times);
        if (stuck != row[i].stuck || (stuck && times != row[i].times)) fail_msg("'%s': %d, %zu times", row[i].text, stuck, times);
    }
}

static void test_json(void **state) {
    (void)state;
    mg_buf   b = { 0 };
    mg_json  j = { 0 };
    mg_error err;
    assert_ok(mg_report_json(&b, &report, &err), err);
    assert_ok(mg_json_parse(&j, b.data, b.len, "report.json", &err), err);
    yyjson_val *list = yyjson_obj_get(j.root, "rows");
    assert_int_equal(yyjson_arr_size(list), 4);
    assert_true(yyjson_is_true(yyjson_obj_get(yyjson_arr_get(list, 0), "ok_after")));
    assert_true(yyjson_is_null(yyjson_obj_get(yyjson_arr_get(list, 3), "ok_after")));
    assert_string_equal(yyjson_get_str(yyjson_obj_get(yyjson_arr_get(list, 2), "before")), rows[2].before);
    yyjson_val *points = yyjson_obj_get(yyjson_arr_get(yyjson_obj_get(j.root, "curves"), 0), "points");
    assert_true(yyjson_is_null(yyjson_arr_get(yyjson_arr_get(points, 1), 1)));
    yyjson_val *categories = yyjson_obj_get(j.root, "categories");
    assert_int_equal(yyjson_arr_size(categories), 4);
    assert_true(yyjson_is_true(yyjson_obj_get(yyjson_arr_get(categories, 1), "control")));
    yyjson_val *lost = yyjson_obj_get(yyjson_obj_get(j.root, "forgetting"), "controls");
    assert_int_equal(yyjson_get_int(yyjson_obj_get(lost, "lost")), 1);
    assert_string_equal(yyjson_get_str(yyjson_arr_get(yyjson_obj_get(yyjson_arr_get(list, 3), "warnings_after"), 1)), "repeats");
    mg_json_free(&j);
    mg_buf_free(&b);
}

static void test_html(void **state) {
    (void)state;
    for (int ja = 0; ja < 2; ja++) {
        mg_buf   b = { 0 };
        mg_error err;
        assert_ok(mg_report_html(&b, &report, ja ? "ja" : "en", &err), err);
        assert_int_equal(occurrences(b.data, "<script"), 2); /* the page's own */
        assert_int_equal(occurrences(b.data, "<img"), 0);
        assert_int_equal(occurrences(b.data, "<b>note"), 0);
        assert_int_equal(occurrences(b.data, "<article"), 4);
        assert_int_equal(occurrences(b.data, "</article>"), 4);
        assert_int_equal(occurrences(b.data, "https://"), 0);
        assert_int_equal(occurrences(b.data, "<svg"), 2); /* loss and eval_loss together; the gap */
        assert_int_equal(occurrences(b.data, "http://"), 2); /* their name space */
        assert_int_equal(occurrences(b.data, "style=\""), 0);
        assert_int_equal(occurrences(b.data, " src="), 1); /* the model's, as text */
        assert_int_equal(occurrences(b.data, "@import"), 0);
        assert_int_equal(occurrences(b.data, "url("), 0);
        assert_non_null(strstr(b.data, "default-src 'none'"));
        assert_non_null(strstr(b.data, ">held&quot;out</option>"));
        assert_non_null(strstr(b.data, "&lt;script&gt;alert(1)&lt;/script&gt;"));
        assert_non_null(strstr(b.data, "\xef\xbf\xbd\xef\xbf\xbd</div>")); /* the bad byte and the control character */
        assert_non_null(strstr(b.data, "<span lang=\"en\">What was forgotten</span><span lang=\"ja\">忘れたもの</span>"));
        assert_non_null(strstr(b.data, ja ? "<html lang=\"ja\">" : "<html lang=\"en\">"));
        assert_non_null(strstr(b.data, "1/3 (33%)"));
        assert_non_null(strstr(b.data, "<td class=\"n down\">+0.2500<small>[+0.1250, +0.3750]</small></td>"));
        assert_non_null(strstr(b.data, "“はい。”"));
        assert_non_null(strstr(b.data, "nrefs:1|tok:ja-mecab"));
        assert_non_null(strstr(b.data, "class=\"q wrong changed lost control\""));
        assert_non_null(strstr(b.data, "@media print"));
        mg_buf_free(&b);
    }
}

/* What is in the file is what was written: the same file comes out again. */
static void test_back(void **state) {
    (void)state;
    char           *folder = make_temp_folder(), path[4200];
    mg_error        err;
    mg_buf          first = { 0 }, second = { 0 };
    mg_report_file *file;
    assert_ok(mg_report_write(&report, folder, "ja", &err), err);
    snprintf(path, sizeof path, "%s/report.html", folder);
    assert_true(mg_is_file(path));
    snprintf(path, sizeof path, "%s/report.json", folder);
    assert_ok(mg_read_file(&first, path, 1 << 20, &err), err);
    assert_ok(mg_report_open(&file, path, &err), err);
    assert_ok(mg_report_json(&second, mg_report_of(file), &err), err);
    assert_int_equal(first.len, second.len);
    assert_memory_equal(first.data, second.data, first.len);
    mg_report_close(file);
    mg_buf_free(&first);
    mg_buf_free(&second);
    mg_report empty = { .title = "t", .model = "m", .run = "r" };
    assert_ok(mg_report_write(&empty, folder, "en", &err), err);
    assert_ok(mg_report_open(&file, path, &err), err);
    assert_int_equal(mg_report_of(file)->rows, 0);
    mg_report_close(file);
    remove_temp_folder(folder);
}

static void test_refuses(void **state) {
    (void)state;
    static const struct { const char *text, *part; mg_status status; } bad[] = {
        { "{", "x.json", MG_FORMAT },
        { "{}", "format", MG_FORMAT },
        { "{\"format\": \"migaki report 1\"}", "head", MG_FORMAT },
        { "{\"format\": \"migaki report 1\", \"created\": 1, \"seed\": 1}", "rows", MG_FORMAT },
        { "{\"format\": \"migaki report 1\", \"created\": 1, \"seed\": -1, \"rows\": []}", "head", MG_FORMAT },
        { "{\"format\": \"migaki report 1\", \"created\": 1, \"seed\": 1, \"title\": 7, \"rows\": []}", "head", MG_FORMAT },
        { "{\"format\": \"migaki report 1\", \"created\": 1, \"seed\": 1, \"rows\": [7]}", "rows", MG_FORMAT },
        { "{\"format\": \"migaki report 1\", \"created\": 1, \"seed\": 1, \"rows\": [{\"question\": \"a\\u0000b\"}]}", "rows", MG_FORMAT },
        { "{\"format\": \"migaki report 1\", \"created\": 1, \"seed\": 1, \"rows\": [], \"curves\": [{}]}", "curves", MG_FORMAT },
        { "{\"format\": \"migaki report 1\", \"created\": 1, \"seed\": 1, \"rows\": [], \"settings\": {\"a\": {\"value\": 1}}}", "settings", MG_FORMAT },
        { "{\"format\": \"migaki report 1\", \"created\": 1, \"seed\": 1, \"rows\": [], \"settings\": 7}", "settings", MG_FORMAT },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        mg_report_file *file = NULL;
        mg_error        err;
        assert_fails(mg_report_parse(&file, bad[i].text, strlen(bad[i].text), "x.json", &err), err, bad[i].status, bad[i].part);
        assert_null(file);
    }
}

static void test_settings(void **state) {
    (void)state;
    static const char  yaml[] = "# written by migaki\nlora_r: 16  # -r\nname: a: b  # x  # default\nlist: [a, b]\n  nested: no\n";
    mg_report_settings s = { 0 };
    assert_true(mg_report_settings_read(&s, yaml, strlen(yaml)));
    assert_int_equal(s.n, 3);
    assert_string_equal(s.item[0].value, "16");
    assert_string_equal(s.item[0].origin, "-r");
    assert_string_equal(s.item[1].value, "a: b  # x");
    assert_string_equal(s.item[1].origin, "default");
    assert_null(s.item[2].origin);
    mg_report_settings_free(&s);
}

/* 10,000 rows in 300 categories: below 8 MB and 20 s (0.6 s in a release build here, 5 s under sanitizers); the page's speed is a browser's. */
static void test_many(void **state) {
    (void)state;
    enum { MANY = 10000 };
    mg_report_row *row = calloc(MANY, sizeof *row);
    char(*text)[3][200] = calloc(MANY, sizeof *text);
    mg_buf         b = { 0 };
    mg_error       err;
    assert_non_null(row);
    assert_non_null(text);
    for (int i = 0; i < MANY; i++) {
        snprintf(text[i][0], sizeof text[i][0], "質問 %d: 立命館大学のキャンパスのうち、滋賀県にあるものはどれですか？", i);
        snprintf(text[i][1], sizeof text[i][1], "それは %d 番のキャンパスです。詳しいことは分かりません。", i * 7919 % 1000);
        snprintf(text[i][2], sizeof text[i][2], "c%d", i % 300);
        row[i] = (mg_report_row){ .question = text[i][0], .before = "分かりません", .after = text[i][1], .category = text[i][2], .ok_before = i % 3 == 0,
                                  .ok_after = i % 2 };
    }
    mg_report big = { .title = "many", .row = row, .rows = MANY, .seed = 1 };
    clock_t   start = clock();
    assert_ok(mg_report_html(&b, &big, "ja", &err), err);
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    if (b.len > 8 << 20 || seconds > 20) fail_msg("%zu bytes in %.1f s", b.len, seconds);
    assert_int_equal(occurrences(b.data, "<article"), MANY);
    mg_buf_free(&b);
    free(row);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_facts), cmocka_unit_test(test_stuck), cmocka_unit_test(test_json),
                                        cmocka_unit_test(test_html), cmocka_unit_test(test_back), cmocka_unit_test(test_refuses),
                                        cmocka_unit_test(test_settings), cmocka_unit_test(test_many) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
