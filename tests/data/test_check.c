/* test_check.c -- the findings in a data file, for people and as JSON. */
#include "fixtures.h"

#include "data/check.h"

static const char text[] =
    "{\"instruction\":\"q1\",\"output\":\"a\"}\n"
    "{\"instruction\":\"q1\",\"output\":\"a \"}\n" /* the same but for a blank */
    "{\"instruction\":\"q1\",\"output\":\"b\"}\n"  /* contradiction */
    "{\"instruction\":\"q2\",\"output\":\"\"}\n"
    "{\"instruction\":\"q3\",\"output\":\" q3\"}\n"
    "nonsense\n"
    "{\"instruction\":\"q4\",\"output\":\"one two three four five six seven eight nine ten\"}\n";

static void findings_are_counted_and_named(void **state) {
    (void)state;
    model_text      m = open_model_text("qwen3", "chatml", NULL, "<|im_end|>");
    char           *folder = make_temp_folder();
    mg_data_options o = usual_options();
    mg_data_report  r = { 0 };
    mg_buf          out = { 0 };
    mg_json         j = { 0 };
    mg_error        err;
    o.max_length = 20;
    const char *path = write_file(folder, "t.jsonl", text, sizeof text - 1);
    assert_ok(mg_data_check(&r, path, &o, &m.chat, &err), err);
    assert_int_equal(r.records, 7);
    assert_int_equal(r.usable, 6);
    assert_int_equal(r.duplicate.count, 1);
    assert_int_equal(r.duplicate.line[0], 2);
    assert_int_equal(r.contradiction.count, 1);
    assert_int_equal(r.contradiction.line[0], 3);
    assert_int_equal(r.empty_answer.line[0], 4);
    assert_int_equal(r.echo.line[0], 5);
    assert_int_equal(r.bad.line[0], 6);
    assert_int_equal(r.too_long.count, 1);
    assert_int_equal(r.too_long.line[0], 7);
    assert_true(r.shortest <= r.median && r.median <= r.p95 && r.p95 <= r.longest && r.longest > 20);
    mg_data_report_text(&r, &out);
    assert_non_null(strstr(out.data, "JSONL, UTF-8, form alpaca"));
    assert_non_null(strstr(out.data, "same question, other answer: 1 (line 3)"));
    assert_non_null(strstr(out.data, "t.jsonl:6: record: not valid JSON"));
    out.len = 0;
    mg_data_report_json(&r, &out);
    assert_ok(mg_json_parse(&j, out.data, out.len, "report", &err), err);
    assert_int_equal(yyjson_get_int(yyjson_obj_get(yyjson_obj_get(j.root, "duplicate"), "count")), 1);
    assert_int_equal(yyjson_get_int(yyjson_obj_get(yyjson_obj_get(j.root, "length"), "max")), r.longest);
    mg_json_free(&j);
    mg_data_report_free(&r);

    mg_chat bare = { 0 }; /* without a tokenizer: the words alone */
    assert_ok(mg_data_check(&r, path, &o, &bare, &err), err);
    assert_int_equal(r.contradiction.count, 1);
    assert_int_equal(r.tokens, 0);
    mg_data_report_free(&r);
    mg_buf_free(&out);
    remove_temp_folder(folder);
    close_model_text(&m);
}

static void real_data_is_clean(void **state) {
    (void)state;
    model_text      m = open_model_text("qwen3", "chatml", NULL, "<|im_end|>");
    mg_data_options o = usual_options();
    mg_data_report  r = { 0 };
    mg_error        err;
    assert_ok(mg_data_check(&r, ref_path("data/instruction_ja/sft.derived.jsonl"), &o, &m.chat, &err), err);
    assert_int_equal(r.records, 669);
    assert_int_equal(r.usable, 669);
    assert_int_equal(r.bad.count + r.empty_answer.count + r.echo.count, 0);
    mg_data_report_free(&r);
    close_model_text(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(findings_are_counted_and_named),
        cmocka_unit_test(real_data_is_clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
