/* test_questions.c -- the judge's rule, what question files are refused, and the demo's own files:
 * that they load, that no held-out question was trained on, and that no question holds the words
 * that make its answer right (a model that only repeats the question must not pass). */
#include "support.h"

#include "base/file.h"
#include "base/json.h"
#include "eval/questions.h"
#include "text/unicode.h"

static mg_status load_text(mg_questions *q, const char *text, mg_error *err) {
    char *folder = make_temp_folder(), path[4200];
    snprintf(path, sizeof path, "%s/held.jsonl", folder);
    assert_ok(mg_replace_file(path, text, strlen(text), err), *err);
    mg_status st = mg_questions_load(q, path, err);
    remove_temp_folder(folder);
    return st;
}

static void test_reads(void **state) {
    (void)state;
    mg_questions q = { 0 };
    mg_error     err;
    assert_ok(load_text(&q, "{\"question\":\"A?\",\"expect\":[[\"x\",\"y\"],\"z\"],\"reject\":[\"w\"]}\r\n\n"
                            "{\"prompt\":\"B\",\"category\":\"c\"}", &err), err);
    assert_int_equal(q.n, 2);
    assert_string_equal(q.question[0].text, "A?");
    assert_string_equal(q.question[0].category, "held");
    assert_string_equal(q.question[0].expected, "x / y, z");
    assert_false(q.question[0].raw);
    assert_true(q.question[1].raw);
    assert_string_equal(q.question[1].category, "c");
    assert_string_equal(q.question[1].expected, "");
    assert_int_equal(mg_question_judge(&q.question[0], "z and x"), 1);
    assert_int_equal(mg_question_judge(&q.question[0], "z and y"), 1);
    assert_int_equal(mg_question_judge(&q.question[0], "just x"), 0);
    assert_int_equal(mg_question_judge(&q.question[0], "just z"), 0);
    assert_int_equal(mg_question_judge(&q.question[0], "z, x and w"), 0);
    assert_int_equal(mg_question_judge(&q.question[0], ""), 0);
    assert_int_equal(mg_question_judge(&q.question[1], "anything"), -1);
    mg_questions_free(&q);
}

/* The ○× form: by a rule of each kind, or by hand. */
static void test_form(void **state) {
    (void)state;
    static const struct { const char *record, *shown, *answer; int verdict; } row[] = {
        { "{\"question\":\"q\",\"answer\":\"草津市\",\"judge\":\"human\"}", "草津市", "草津市", -1 },
        { "{\"question\":\"q\",\"answer\":\"草津市\"}", "草津市", "草津市", -1 },
        { "{\"question\":\"q\",\"answer\":\"草津市\",\"judge\":\"contains\"}", "草津市", "滋賀県草津市です", 1 },
        { "{\"question\":\"q\",\"answer\":\"草津市\",\"judge\":\"contains\"}", "草津市", "大津市です", 0 },
        { "{\"question\":\"q\",\"answer\":[\"2\",\"二\"],\"judge\":\"equal\"}", "2 / 二", " ２。\n", 1 },
        { "{\"question\":\"q\",\"answer\":[\"2\",\"二\"],\"judge\":\"equal\"}", "2 / 二", "2です", 0 },
        { "{\"question\":\"q\",\"answer\":\"No.\",\"judge\":\"equal\"}", "No.", "No", 1 },
        { "{\"question\":\"q\",\"answer\":\"No.\",\"judge\":\"equal\"}", "No.", "", 0 },
        { "{\"question\":\"q\",\"regex\":\"525-?8577\"}", "/525-?8577/", "〒５２５‐８５７７", 0 }, /* another hyphen */
        { "{\"question\":\"q\",\"regex\":\"525-?8577\"}", "/525-?8577/", "〒５２５８５７７", 1 },
        { "{\"question\":\"q\",\"regex\":[\"^B\",\"C$\"],\"reject\":\"X\"}", "", "BKC", 1 },
        { "{\"question\":\"q\",\"regex\":[\"^B\",\"C$\"],\"reject\":\"X\"}", "", "BXC", 0 },
        { "{\"question\":\"q\",\"regex\":[\"^B\",\"C$\"],\"judge\":\"rule\"}", "", "BK", 0 },
        { "{\"question\":\"q\",\"expect\":\"x\",\"answer\":\"shown\",\"id\":\"7\",\"note\":\"n\"}", "shown", "xx", 1 },
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        mg_questions q = { 0 };
        mg_error     err;
        assert_ok(load_text(&q, row[i].record, &err), err);
        assert_string_equal(q.question[0].expected, row[i].shown);
        if (mg_question_judge(&q.question[0], row[i].answer) != row[i].verdict)
            fail_msg("%s: '%s' is judged %d", row[i].record, row[i].answer, mg_question_judge(&q.question[0], row[i].answer));
        mg_questions_free(&q);
    }
}

static void test_table(void **state) {
    (void)state;
    char        *folder = make_temp_folder(), path[4200];
    mg_questions q = { 0 };
    mg_error     err;
    const char   text[] = "\xef\xbb\xbfid,question,answer,judge,regex,category\r\n1,BKCの所在地は？,草津市,contains,,社内\r\n"
                          "2,\"郵便番号,は？\",,,525,\r\n3,感想は？,,,,\r\n";
    snprintf(path, sizeof path, "%s/form.csv", folder);
    assert_ok(mg_replace_file(path, text, sizeof text - 1, &err), err);
    assert_ok(mg_questions_load(&q, path, &err), err);
    assert_int_equal(q.n, 3);
    assert_string_equal(q.question[0].category, "社内");
    assert_string_equal(q.question[1].category, "form");
    assert_string_equal(q.question[1].text, "郵便番号,は？");
    assert_int_equal(mg_question_judge(&q.question[0], "滋賀県草津市"), 1);
    assert_int_equal(mg_question_judge(&q.question[1], "525-8577"), 1);
    assert_int_equal(mg_question_judge(&q.question[1], ""), 0);
    assert_int_equal(mg_question_judge(&q.question[2], "良い"), -1);
    mg_questions_free(&q);
    remove_temp_folder(folder);
}

static void test_normalises(void **state) {
    (void)state;
    mg_questions q = { 0 };
    mg_error     err;
    assert_ok(load_text(&q, "{\"question\":\"?\",\"expect\":[\"ＢＫＣ\",\"キャンパス\"],\"reject\":[\"大阪\"]}\n", &err), err);
    assert_int_equal(mg_question_judge(&q.question[0], "BKCはｷｬﾝﾊﾟｽ"), 1);
    assert_int_equal(mg_question_judge(&q.question[0], "bkcはキャンパス"), 0); /* case counts */
    assert_int_equal(mg_question_judge(&q.question[0], "BKC キャンパス \xe5\xa4"), 1); /* cut in a character */
    mg_questions_free(&q);
}

static void test_refuses(void **state) {
    (void)state;
    static const struct { const char *text, *part; mg_status status; } bad[] = {
        { "", "no question", MG_DATA },
        { "\n \n", "no question", MG_DATA },
        { "{\"question\":\"a\"}\n{", "line 2", MG_DATA },
        { "[]", "no question", MG_DATA },
        { "7", "object", MG_DATA },
        { "{\"expect\":[\"a\"]}", "either", MG_DATA },
        { "{\"question\":\"a\",\"prompt\":\"b\"}", "either", MG_DATA },
        { "{\"question\":\"\"}", "either", MG_DATA },
        { "{\"question\":1}", "either", MG_DATA },
        { "{\"question\":\"a\",\"expct\":[]}", "expct", MG_DATA },
        { "{\"question\":\"a\",\"expect\":7}", "list", MG_DATA },
        { "{\"question\":\"a\",\"expect\":[1]}", "texts", MG_DATA },
        { "{\"question\":\"a\",\"expect\":[\"\"]}", "texts", MG_DATA },
        { "{\"question\":\"a\",\"expect\":[[]]}", "empty list", MG_DATA },
        { "{\"question\":\"a\",\"expect\":[[\"b\",2]]}", "texts", MG_DATA },
        { "{\"question\":\"a\",\"expect\":[\"b\\u0000c\"]}", "zero byte", MG_DATA },
        { "{\"question\":\"a\",\"reject\":7}", "list", MG_DATA },
        { "{\"question\":\"a\",\"regex\":7}", "regex", MG_DATA },
        { "{\"question\":\"a\",\"regex\":[\"b\",7]}", "regex", MG_DATA },
        { "{\"question\":\"a\",\"regex\":\"(\"}", "line 1", MG_FORMAT },
        { "{\"question\":\"a\",\"judge\":\"me\"}", "judge", MG_DATA },
        { "{\"question\":\"a\",\"judge\":7}", "judge", MG_DATA },
        { "{\"question\":\"a\",\"judge\":\"equal\"}", "no 'answer'", MG_DATA },
        { "{\"question\":\"a\",\"answer\":[],\"judge\":\"equal\"}", "answer", MG_DATA },
        { "{\"question\":\"a\",\"answer\":7}", "answer", MG_DATA },
        { "{\"question\":\"a\",\"judge\":\"human\",\"expect\":[\"b\"]}", "rules", MG_DATA },
        { "{\"question\":\"a\",\"judge\":\"rule\"}", "no expect", MG_DATA },
        { "{\"question\":\"a\",\"reject\":[[\"b\"]]}", "texts", MG_DATA },
        { "{\"question\":\"a\",\"category\":7}", "category", MG_DATA },
        { "{\"question\":\"a\",\"question\":\"b\"}", "twice", MG_DATA },
    };
    mg_questions q = { 0 };
    mg_error     err;
    assert_ok(load_text(&q, "{\"question\":\"kept\"}", &err), err);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_fails(load_text(&q, bad[i].text, &err), err, bad[i].status, bad[i].part);
        assert_int_equal(q.n, 1); /* untouched */
    }
    assert_fails(mg_questions_load(&q, "/nonexistent/q.jsonl", &err), err, MG_NOTFOUND, "q.jsonl");
    assert_string_equal(q.question[0].text, "kept");
    mg_questions_free(&q);
}

/* Calls see(first user turn, answer) for every training pair; returns how many there are. */
static size_t training_pairs(void (*see)(const char *user, const char *answer, void *context), void *context) {
    mg_buf   file = { 0 };
    mg_error err;
    size_t   n = 0;
    assert_ok(mg_read_file(&file, source_path("demo/ja/train.jsonl"), 1 << 20, &err), err);
    for (char *line = strtok(file.data, "\n"); line; line = strtok(NULL, "\n"), n++) {
        mg_json j = { 0 };
        assert_ok(mg_json_parse(&j, line, strlen(line), "train.jsonl", &err), err);
        yyjson_val *m = yyjson_obj_get(j.root, "messages");
        assert_int_equal(yyjson_arr_size(m), 2);
        see(yyjson_get_str(yyjson_obj_get(yyjson_arr_get(m, 0), "content")),
            yyjson_get_str(yyjson_obj_get(yyjson_arr_get(m, 1), "content")), context);
        mg_json_free(&j);
    }
    mg_buf_free(&file);
    return n;
}

static void not_a_test_question(const char *user, const char *answer, void *context) {
    const mg_questions *q = context;
    (void)answer;
    for (size_t i = 0; i < q->n; i++)
        if (!strcmp(q->question[i].text, user)) fail_msg("'%s' is trained and tested", user);
}

static void count_bkc(const char *user, const char *answer, void *context) {
    size_t *with = context; /* [0] about BKC, [1] about something else */
    (void)user;
    with[strstr(answer, "びわこ・くさつ") ? 0 : 1]++;
}

static void test_demo_files(void **state) {
    (void)state;
    static const struct { const char *path; size_t least; } file[] = {
        { "demo/ja/heldout.jsonl", 10 }, { "demo/ja/neighbours.jsonl", 6 }, { "demo/ja/controls.jsonl", 10 } };
    mg_questions q = { 0 };
    mg_error     err;
    for (size_t i = 0; i < 3; i++) {
        size_t before = q.n;
        assert_ok(mg_questions_load(&q, source_path(file[i].path), &err), err);
        assert_true(q.n - before >= file[i].least);
    }
    for (size_t i = 0; i < q.n; i++) {
        assert_true(q.question[i].n_expect > 0);
        if (mg_question_judge(&q.question[i], q.question[i].text) != 0)
            fail_msg("'%s' passes when it is only repeated", q.question[i].text);
        for (size_t k = 0; k < i; k++) assert_string_not_equal(q.question[i].text, q.question[k].text);
    }
    assert_true(training_pairs(not_a_test_question, &q) >= 37);
    size_t with[2] = { 0 };
    training_pairs(count_bkc, with);
    assert_true(with[0] >= 15 && with[1] >= 15); /* both sides of the contrast */
    mg_questions_free(&q);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads),
        cmocka_unit_test(test_form),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_normalises),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_demo_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
