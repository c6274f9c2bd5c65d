/* test_task.c -- the forms of test sets, real files and wrong ones. */
#include "support.h"

#include "eval/task.h"

static void load_text(mg_task *t, const char *name, const char *text, mg_status wanted, const char *part) {
    char    *folder = make_temp_folder(), path[4200];
    mg_error err = { 0 };
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    if (wanted) assert_fails(mg_task_load(t, path, 0, &err), err, wanted, part);
    else assert_ok(mg_task_load(t, path, 0, &err), err);
    remove_temp_folder(folder);
}

static void real_test_sets(void **state) {
    (void)state;
    static const struct {
        const char  *path, *form;
        mg_task_kind kind;
        size_t       n, choices;
        bool         same;
    } row[] = {
        { "data/jcommonsenseqa/valid.jsonl", "jcommonsenseqa", MG_TASK_CHOICE, 1119, 5, false },
        { "data/jnli/valid.jsonl", "jnli", MG_TASK_CHOICE, 2434, 3, true },
        { "data/jsquad/valid.json", "jsquad", MG_TASK_ANSWER, 4442, 3, false },
    };
    for (size_t i = 0; i < 3; i++) {
        mg_task  t;
        mg_error err = { 0 };
        assert_ok(mg_task_load(&t, ref_path(row[i].path), 0, &err), err);
        assert_string_equal(t.form, row[i].form);
        assert_int_equal(t.kind, row[i].kind);
        assert_int_equal(t.n, row[i].n);
        assert_int_equal(t.item[0].n, row[i].choices);
        assert_int_equal(t.same_choices, row[i].same);
        mg_task_free(&t);
        assert_ok(mg_task_load(&t, ref_path(row[i].path), 7, &err), err);
        assert_int_equal(t.n, 7);
        mg_task_free(&t);
    }
    mg_task  t;
    mg_error err = { 0 };
    assert_ok(mg_task_load(&t, ref_path("data/jcommonsenseqa/valid.jsonl"), 1, &err), err);
    assert_string_equal(t.item[0].prompt, "質問：電子機器で使用される最も主要な電子回路基板の事をなんと言う？\n回答：");
    assert_string_equal(t.item[0].choice[t.item[0].gold], "マザーボード");
    mg_task_free(&t);
    assert_ok(mg_task_load(&t, source_path("demo/ja/controls.jsonl"), 0, &err), err);
    assert_int_equal(t.kind, MG_TASK_JUDGED);
    assert_int_equal(t.n, t.questions.n);
    assert_int_equal(mg_question_judge(&t.questions.question[0], "ローマです"), 1);
    mg_task_free(&t);
}

static void forms_of_ones_own(void **state) {
    (void)state;
    mg_task t;
    load_text(&t, "a.jsonl", "{\"question\":\"Q\",\"choices\":[\"x\",\"y\"],\"answer\":\"y\",\"category\":\"c\"}\n", MG_OK, NULL);
    assert_int_equal(t.item[0].gold, 1);
    assert_string_equal(t.item[0].category, "c");
    mg_task_free(&t);
    load_text(&t, "b.csv", "question,A,B,C,D,answer\nQ,a,b,c,d,C\n", MG_OK, NULL);
    assert_string_equal(t.form, "jmmlu");
    assert_string_equal(t.item[0].prompt, "質問：Q\nA. a\nB. b\nC. c\nD. d\n回答：");
    assert_int_equal(t.item[0].gold, 2);
    mg_task_free(&t);
    load_text(&t, "c.jsonl", "{\"instruction\":\"do\",\"input\":\"this\",\"output\":\"done\"}\n", MG_OK, NULL);
    assert_string_equal(t.item[0].prompt, "do\nthis");
    assert_string_equal(t.item[0].choice[0], "done");
    mg_task_free(&t);
    load_text(&t, "d.jsonl", "{\"question\":\"q\",\"answers\":[\"a\",\"b\"]}\n{\"question\":\"r\",\"answers\":[\"c\"]}\n", MG_OK, NULL);
    assert_int_equal(t.item[0].n, 2);
    mg_task_free(&t);
    load_text(&t, "e.txt", "本文", MG_OK, NULL);
    assert_int_equal(t.kind, MG_TASK_TEXT);
    mg_task_free(&t);
    load_text(&t, "f.jsonl", "{\"text\":\"one\"}\n{\"text\":\"two\"}\n", MG_OK, NULL);
    assert_int_equal(t.n, 2);
    mg_task_free(&t);
}

static void wrong_files_are_named(void **state) {
    (void)state;
    mg_task t = { 0 };
    load_text(&t, "a.jsonl", "{\"what\":1}\n", MG_DATA, "line 1");
    load_text(&t, "a.jsonl", "{\"question\":\"Q\",\"choices\":[\"x\"],\"answer\":3}\n", MG_DATA, "number 3");
    load_text(&t, "a.jsonl", "{\"question\":\"Q\",\"choices\":[\"x\",1],\"answer\":0}\n", MG_DATA, "line 1");
    load_text(&t, "a.jsonl", "{\"text\":\"x\"}\n{\"question\":\"y\"}\n", MG_DATA, "line 2");
    load_text(&t, "a.jsonl", "{\"text\":\"x\"}\n{broken\n", MG_DATA, "line 2");
    load_text(&t, "a.jsonl", "{\"question\":1,\"choice0\":\"x\",\"label\":0}\n", MG_DATA, "question");
    load_text(&t, "a.jsonl", "", MG_DATA, "a.jsonl");
    load_text(&t, "a.txt", "\xff", MG_DATA, "UTF-8");
    load_text(&t, "a.json", "{\"data\":[{\"paragraphs\":[{\"context\":\"c\",\"qas\":[{\"question\":\"q\",\"answers\":[]}]}]}]}", MG_DATA, "no answer");
    assert_null(t.item);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real_test_sets),
        cmocka_unit_test(forms_of_ones_own),
        cmocka_unit_test(wrong_files_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
