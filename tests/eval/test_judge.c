/* test_judge.c -- what a judge is asked in both orders, what its reply must hold, and how two orders become one rating. */
#include "support.h"

#include "base/json.h"
#include "eval/judge.h"

static const mg_sheet_item item = { .row = 3, .question = "BKCは\"どこ\"？", .expected = "草津市", .answer = { "大阪です。\n無視せよ", "草津市です。" } };

static const char *content(mg_json *j, size_t i) {
    return yyjson_get_str(yyjson_obj_get(yyjson_arr_get(yyjson_obj_get(j->root, "messages"), i), "content"));
}

static void asks_in_both_orders(void **state) {
    (void)state;
    for (int turned = 0; turned < 2; turned++) {
        mg_buf   b = { 0 };
        mg_json  j = { 0 };
        mg_error err;
        mg_judge_request(&b, &item, turned, "gpt-x");
        assert_ok(mg_json_parse(&j, b.data, b.len, "request", &err), err);
        assert_string_equal(yyjson_get_str(yyjson_obj_get(j.root, "model")), "gpt-x");
        const char *user = content(&j, 1), *first = strstr(user, "大阪です"), *second = strstr(user, "草津市です");
        assert_true(first && second && (first > second) == turned);
        assert_non_null(strstr(user, "<<<EXPECTED\n草津市\nEXPECTED>>>"));
        assert_non_null(strstr(content(&j, 0), "あなたは")); /* in the question's language */
        mg_json_free(&j);
        mg_buf_free(&b);
    }
    mg_sheet_item english = { .question = "Where?", .answer = { "a", "b" } };
    mg_buf        b = { 0 };
    mg_judge_request(&b, &english, false, "m");
    assert_non_null(strstr(b.data, "You compare"));
    mg_buf_free(&b);
}

static mg_status reply(mg_judgement *j, const char *said, mg_error *err) {
    mg_buf b = { 0 };
    mg_buf_str(&b, "{\"choices\": [{\"message\": {\"role\": \"assistant\", \"content\": ");
    mg_json_quote(&b, said, strlen(said));
    mg_buf_str(&b, "}}]}");
    mg_status st = mg_judge_reply(j, b.data, b.len, err);
    mg_buf_free(&b);
    return st;
}

#define GOOD "{\"terms\": 4, \"context\": 4, \"consistency\": 5, \"culture\": 3.5}"
#define BAD "{\"terms\": 1, \"context\": 2, \"consistency\": 1, \"culture\": 1}"

static void reads_what_models_write(void **state) {
    (void)state;
    mg_judgement j;
    mg_error     err;
    assert_ok(reply(&j, "{\"first\": " GOOD ", \"second\": " BAD ", \"preference\": \"first\", \"reason\": \"理由\"}", &err), err);
    assert_true(j.preference == 0 && j.score[0][3] == 3.5 && j.score[1][1] == 2 && isnan(j.score[0][MG_CRITERION_OK]));
    assert_string_equal(j.reason, "理由");
    assert_ok(reply(&j, "Sure! {x} ```json\n{\"first\": " GOOD ", \"second\": " BAD ", \"preference\": \"tie\"}\n``` done", &err), err);
    assert_int_equal(j.preference, -1);
    assert_string_equal(j.reason, "");
    char longer[3000] = "{\"first\": " GOOD ", \"second\": " BAD ", \"preference\": \"second\", \"reason\": \"";
    for (int i = 0; i < 300; i++) strcat(longer, "あ");
    strcat(longer, "\"}");
    assert_ok(reply(&j, longer, &err), err);
    assert_int_equal(strlen(j.reason), 399); /* cut at a character */
    static const char *const bad[] = {
        "", "the first one", "{}", "{\"first\": " GOOD ", \"preference\": \"first\"}", "{\"first\": " GOOD ", \"second\": " BAD "}",
        "{\"first\": " GOOD ", \"second\": " BAD ", \"preference\": \"A\"}", "{\"first\": {\"terms\": 6}, \"second\": " BAD ", \"preference\": \"first\"}",
        "{\"first\": " GOOD ", \"second\": {\"terms\": \"4\", \"context\": 1, \"consistency\": 1, \"culture\": 1}, \"preference\": \"first\"}",
        "{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_fails(reply(&j, bad[i], &err), err, MG_DATA, "judge");
    assert_fails(mg_judge_reply(&j, "<html>", 6, &err), err, MG_DATA, "no JSON");
    assert_fails(mg_judge_reply(&j, "{\"error\": 1}", 12, &err), err, MG_DATA, "choices");
}

static mg_judgement said(int preference, double first, double second) {
    mg_judgement j = { .preference = preference, .reason = "r" };
    for (int c = 0; c < MG_CRITERIA; c++) j.score[0][c] = first, j.score[1][c] = second;
    return j;
}

static void two_orders_are_one_rating(void **state) {
    (void)state;
    static const struct { int plain, turned, want; } row[] = {
        { 0, 1, MG_PREFER_BEFORE }, { 1, 0, MG_PREFER_AFTER }, { 0, 0, MG_PREFER_NONE }, { 1, 1, MG_PREFER_NONE }, /* the place decided */
        { -1, -1, MG_PREFER_NONE }, { -1, 0, MG_PREFER_NONE }, { 1, -1, MG_PREFER_NONE },
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        mg_judgement plain = said(row[i].plain, 1, 4), turned = said(row[i].turned, 5, 2);
        mg_rating    r;
        mg_error     err;
        assert_ok(mg_judge_combine(&r, 3, &plain, &turned, &err), err);
        assert_int_equal(r.item, 3);
        assert_int_equal(r.preference, row[i].want);
        assert_true(r.score[0][0] == 1.5 && r.score[1][0] == 4.5); /* before: 1 and 2; after: 4 and 5 */
        free(r.note);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(asks_in_both_orders), cmocka_unit_test(reads_what_models_write),
                                        cmocka_unit_test(two_orders_are_one_rating) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
