/* test_labelled.c -- records for heads: forms, labels, places of tokens, windows, and what is refused. */
#include "support.h"

#include "base/file.h"
#include "data/labelled.h"

static mg_error err;
static char    *home;

static const char *file(const char *name, const char *text) {
    static char path[4][4200];
    static int  next;
    char       *p = path[next++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", home, name);
    assert_ok(mg_replace_file(p, text, strlen(text), &err), err);
    return p;
}

static mg_status load(mg_labelled_set *s, const char *path, const char *goal, const mg_labels *known) {
    const mg_goal *g = goal ? mg_goal_find(goal) : NULL;
    if (!goal) assert_ok(mg_goal_of_file(&g, path, &err), err);
    assert_non_null(g);
    return mg_labelled_load(s, path, g, known, true, MG_TROUBLE_REFUSE, 0, &err);
}

static void classes_are_sorted_and_known(void **state) {
    (void)state;
    mg_labelled_set s, t;
    assert_ok(load(&s, file("a.jsonl", "{\"sentence1\": \"a\", \"sentence2\": \"b\", \"label\": 10}\n{\"sentence1\": \"a\", \"sentence2\": \"b\", \"label\": 9}\n"),
                   NULL, NULL), err);
    assert_string_equal(s.goal->name, "classification");
    assert_int_equal(s.labels.n, 2);
    assert_string_equal(s.labels.name[0], "9"); /* by value */
    assert_int_equal(s.item[0].label, 1);
    assert_fails(load(&t, file("b.jsonl", "{\"text\": \"x\", \"label\": \"11\"}\n"), "classification", &s.labels), err, MG_DATA, "'11' is none of the head's (9, 10)");
    assert_fails(load(&t, file("b.jsonl", "{\"text\": \"x\", \"label\": \"\"}\n"), "classification", NULL), err, MG_DATA, "empty");
    assert_fails(load(&t, file("b.jsonl", "{\"text\": \"x\", \"label\": \"p\"}\n{\"text\": \"y\", \"label\": \"p\"}\n"), "classification", NULL), err, MG_DATA,
                 "every record has the label 'p'");
    assert_fails(load(&t, file("b.jsonl", "{\"text\": \"x\"}\n"), "classification", NULL), err, MG_DATA, "no 'label'");
    mg_labelled_free(&s);
    assert_ok(load(&s, file("c.jsonl", "{\"text\": \"x\", \"label\": 1}\n{\"text\": \"y\", \"label\": 1.5}\n"), NULL, NULL), err);
    assert_string_equal(s.goal->name, "regression");
    assert_true(s.item[0].value == 1 && s.item[1].value == 1.5);
    mg_labelled_free(&s);
}

static void entities_become_tags(void **state) {
    (void)state;
    mg_labelled_set s;
    assert_ok(load(&s, file("e.jsonl", "{\"text\": \"京都のBKC\", \"entities\": [{\"span\": [0, 2], \"type\": \"地名\"}]}\n"), NULL, NULL), err);
    assert_int_equal(s.item[0].n_words, 6);
    assert_string_equal(s.labels.name[s.item[0].tag[0]], "B-地名");
    assert_string_equal(s.labels.name[s.item[0].tag[1]], "I-地名");
    assert_string_equal(s.labels.name[s.item[0].tag[2]], "O");
    mg_labelled_free(&s);
    assert_ok(load(&s, file("w.jsonl", "{\"tokens\": [\"Alan\", \"Turing\", \"京都\", \"に\"], \"ner_tags\": [\"B\", \"I\", \"B\", \"O\"]}\n"), NULL, NULL), err);
    assert_string_equal(s.item[0].text, "Alan Turing京都に"); /* blanks where scripts write them */
    mg_labelled_free(&s);
    assert_fails(load(&s, file("w.jsonl", "{\"tokens\": [\"a\", \"b\"], \"tags\": [\"O\"]}\n"), NULL, NULL), err, MG_DATA, "2 words have 1 tags");
    assert_fails(load(&s, file("e.jsonl", "{\"text\": \"ab\", \"entities\": [{\"start\": 1, \"end\": 9, \"label\": \"X\"}]}\n"), NULL, NULL), err, MG_DATA,
                 "characters 1 to 9 of 2");
}

static void answers_stand_in_their_context(void **state) {
    (void)state;
    mg_labelled_set s;
    const char *squad = "{\"data\": [{\"paragraphs\": [{\"context\": \"梅雨は雨季です\", \"qas\": [{\"id\": \"q\", \"question\": \"何?\", "
                        "\"answers\": [{\"text\": \"雨季\", \"answer_start\": %d}]}]}]}]}";
    char text[400];
    snprintf(text, sizeof text, squad, 3);
    assert_ok(load(&s, file("s.json", text), NULL, NULL), err);
    assert_int_equal(s.item[0].place[0].begin, 9); /* three characters of three bytes */
    mg_labelled_free(&s);
    snprintf(text, sizeof text, squad, 2);
    assert_fails(load(&s, file("s.json", text), NULL, NULL), err, MG_DATA, "does not stand in the context at character 2");
    assert_fails(load(&s, file("f.jsonl", "{\"context\": \"abc\", \"question\": \"?\", \"answer\": \"xyz\"}\n"), NULL, NULL), err, MG_DATA, "does not stand");
    assert_ok(load(&s, file("f.jsonl", "{\"context\": \"abc\", \"question\": \"?\", \"answers\": []}\n"), NULL, NULL), err);
    assert_true(s.item[0].has_target && !s.item[0].n_answers);
    mg_labelled_free(&s);
    assert_ok(load(&s, ref_path("data/jsquad/valid.json"), NULL, NULL), err); /* as it is */
    assert_int_equal(s.n, 4442);
    mg_labelled_free(&s);
    assert_ok(load(&s, ref_path("data/jnli/valid.jsonl"), NULL, NULL), err);
    assert_int_equal(s.labels.n, 3);
    mg_labelled_free(&s);
}

static mg_tokenizer *tokenizer(void) {
    mg_tokenizer *t;
    assert_ok(mg_tokenizer_open(&t, ref_path("tokenizers/gemma2"), &err), err);
    return t;
}

/* What the tokens of a window stand for, put together, is the answer; windows overlap and none is longer than allowed. */
static void windows_map_back_to_the_text(void **state) {
    (void)state;
    mg_labelled_set s;
    mg_dataset      d;
    mg_tokenizer   *t = tokenizer();
    mg_windows      w = { .tokenizer = t, .max_length = 40, .stride = 8, .on_truncation = MG_TROUBLE_REFUSE };
    const char     *answer = "Lily";
    char            text[2400], context[2000] = "";
    for (int i = 0; i < 40; i++) strcat(context, i == 29 ? "Then Lily came. " : "The cat sat down. ");
    snprintf(text, sizeof text, "{\"context\": \"%s\", \"question\": \"Who came?\", \"answer\": \"%s\"}\n", context, answer);
    assert_ok(load(&s, file("l.jsonl", text), NULL, NULL), err);
    assert_ok(mg_labelled_encode(&d, &s, &w, &err), err);
    assert_true(d.n > 4);
    int with = 0;
    for (size_t i = 0; i < d.n; i++) {
        const mg_sample *x = &d.sample[i];
        assert_true(x->n <= 40 && x->n_labels == 2);
        if (!x->label[0] && !x->label[1]) continue;
        with++;
        const char *at = s.item[0].pair + x->place[2 * x->label[0]];
        assert_int_equal(x->place[2 * x->label[1] + 1] - x->place[2 * x->label[0]], strlen(answer));
        assert_memory_equal(at, answer, strlen(answer));
    }
    assert_true(with >= 1);
    mg_dataset_free(&d);
    mg_labelled_free(&s);
    w.max_length = 9;
    assert_ok(load(&s, file("l.jsonl", text), NULL, NULL), err);
    assert_fails(mg_labelled_encode(&d, &s, &w, &err), err, MG_TRUNCATED, "no room is left");
    mg_labelled_free(&s);
    mg_tokenizer_free(t);
}

static int set_up(void **state) {
    (void)state;
    home = make_temp_folder();
    return 0;
}
static int tear_down(void **state) {
    (void)state;
    remove_temp_folder(home);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes_are_sorted_and_known), cmocka_unit_test(entities_become_tags),
        cmocka_unit_test(answers_stand_in_their_context), cmocka_unit_test(windows_map_back_to_the_text),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
