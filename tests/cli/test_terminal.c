/* test_terminal.c -- the progress line fits every width; tables align with kanji in them. */
#include "support.h"

#include "base/json.h"
#include "base/width.h"
#include "cli/terminal.h"

static const mg_progress sample = { .step = 312, .steps = 602, .epoch = 1.5, .loss = 1.423, .has_eval = true, .eval_loss = 1.511,
                                    .learning_rate = 1.5e-4, .grad_norm = 0.83, .tokens_per_second = 214, .eta_s = 201,
                                    .log = true };

static void test_bar(void **state) {
    (void)state;
    mg_buf b = { 0 };
    mg_progress_bar(&b, &sample, 110);
    assert_non_null(strstr(b.data, " 51% ━"));
    assert_non_null(strstr(b.data, " 312/602  loss 1.423 (eval 1.511)  lr 1.5e-4  grad 0.83  214 tok/s  left 3:21"));
    mg_buf_free(&b);
    for (int columns = 24; columns <= 200; columns++)
        for (int steps = 1; steps <= 1000000; steps *= 100) {
            mg_progress p = sample;
            p.step = p.steps = steps;
            p.loss = columns % 3 ? 1.5 : NAN;
            p.grad_norm = columns % 5 ? 123456.5 : INFINITY;
            mg_progress_bar(&b, &p, columns);
            if (mg_width(b.data) > columns) fail_msg("%d columns of %d: %s", mg_width(b.data), columns, b.data);
            assert_non_null(strstr(b.data, "100%"));
            mg_buf_free(&b);
        }
    mg_progress_bar(&b, &sample, 80); /* at 80 columns the loss and the time left are there */
    assert_non_null(strstr(b.data, "loss 1.423"));
    assert_non_null(strstr(b.data, "left 3:21"));
    mg_buf_free(&b);
    mg_progress nan = sample;
    nan.loss = NAN;
    mg_progress_bar(&b, &nan, 110);
    assert_non_null(strstr(b.data, "loss NaN"));
    mg_buf_free(&b);
}

static void test_lines(void **state) {
    (void)state;
    mg_buf      b = { 0 };
    mg_json     j = { 0 };
    mg_error    err;
    mg_progress p = sample;
    mg_progress_fields(&b, &p);
    assert_string_equal(b.data, "step=312 steps=602 epoch=1.5 loss=1.423 eval_loss=1.511 learning_rate=0.00015 "
                                "grad_norm=0.83 tokens_per_second=214 eta_s=201");
    mg_buf_free(&b);
    p.loss = NAN;
    mg_progress_json(&b, &p);
    assert_ok(mg_json_parse(&j, b.data, b.len, "line", &err), err);
    assert_string_equal(yyjson_get_str(yyjson_obj_get(j.root, "loss")), "NaN");
    mg_json_free(&j);
    mg_buf_free(&b);
}

/* To a file: only logging steps, no control characters; to JSON: every line is JSON. */
static void test_streams(void **state) {
    (void)state;
    for (int kind = MG_TERMINAL_BAR; kind <= MG_TERMINAL_QUIET; kind++) {
        char        text[8192];
        FILE       *f = tmpfile();
        mg_terminal t = { .kind = (mg_terminal_kind)kind, .out = f, .columns = 80 };
        mg_terminal_line(&t, "こんにちは");
        for (int i = 1; i <= 20; i++) {
            mg_progress p = sample;
            p.step = i;
            p.log = i % 10 == 0;
            mg_terminal_progress(&t, &p);
        }
        mg_terminal_warn(&t, "loss spike");
        mg_terminal_end(&t);
        rewind(f);
        size_t n = fread(text, 1, sizeof text - 1, f);
        text[n] = 0;
        fclose(f);
        int lines = 0;
        for (char *p = text; *p; p++) lines += *p == '\n';
        if (kind == MG_TERMINAL_BAR) assert_non_null(strstr(text, "\x1b[K"));
        if (kind != MG_TERMINAL_BAR) assert_null(strchr(text, '\x1b'));
        if (kind == MG_TERMINAL_LINES || kind == MG_TERMINAL_JSON) assert_int_equal(lines, 4);
        if (kind == MG_TERMINAL_QUIET) assert_string_equal(text, "warning: loss spike\n");
        for (char *line = kind == MG_TERMINAL_JSON ? strtok(text, "\n") : NULL; line; line = strtok(NULL, "\n")) {
            mg_json  j = { 0 };
            mg_error err;
            assert_ok(mg_json_parse(&j, line, strlen(line), "line", &err), err);
            mg_json_free(&j);
        }
    }
}

/* On a terminal a long line is broken between words, and goes on under its text; elsewhere it stays one line. */
static void test_long_lines(void **state) {
    (void)state;
    static const char *const texts[] = {
        "Plan     memory 0.55 of 24.5 GB (weights 0.10, adapter and optimizer 0.08, activations 0.32, rest 0.05) · 6 steps · 58.6 MB a checkpoint",
        "見積り   メモリ 0.55 / 24.7 GB（重み 0.10、アダプターと最適化 0.08、活性 0.32、その他 0.05）· 6 ステップ · 保存 58.6 MB/回",
        "エラー: 1 行目\n  案1  --per_device_train_batch_size 1 --gradient_accumulation_steps 4 → 0.37 GB（結果は同じ）、速度もほとんど同じ",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        for (int columns = 40; columns <= 120; columns += 8) {
            char        text[1024];
            FILE       *f = tmpfile();
            mg_terminal t = { .kind = MG_TERMINAL_BAR, .out = f, .columns = columns };
            mg_terminal_line(&t, texts[i]);
            rewind(f);
            text[fread(text, 1, sizeof text - 1, f)] = 0;
            fclose(f);
            mg_buf again = { 0 };
            for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
                if (mg_width(line) >= columns) fail_msg("%d columns of %d: %s", mg_width(line), columns, line);
                for (char *p = line; *p; p++)
                    if (*p != ' ') mg_buf_char(&again, *p);
            }
            mg_buf_str(&again, "");
            char *rest = again.data;
            for (const char *p = texts[i]; *p; p++)
                if (*p != ' ' && *p != '\n' && *rest++ != *p) fail_msg("%s is not %s", again.data, texts[i]);
            assert_int_equal(*rest, 0);
            mg_buf_free(&again);
        }
}

static void test_table(void **state) {
    (void)state;
    mg_table t = { .fields = 3, .numbers = 1u << 1 };
    mg_buf   b = { 0 };
    assert_true(mg_table_row(&t, "名前", "n", "x"));
    assert_true(mg_table_row(&t, "gemma", "1.5", "研究用のとても長い説明の文章"));
    assert_true(mg_table_row(&t, "ｶﾅ", "10", ""));
    mg_table_print(&b, &t, 80);
    assert_string_equal(b.data, "名前     n  x\ngemma  1.5  研究用のとても長い説明の文章\nｶﾅ      10  \n");
    mg_buf_free(&b);
    mg_table_print(&b, &t, 30);
    for (char *line = strtok(b.data, "\n"); line; line = strtok(NULL, "\n")) assert_true(mg_width(line) <= 30);
    mg_buf_free(&b);
    mg_table_free(&t);
}

static void test_texts(void **state) {
    (void)state;
    static const struct {
        double      seconds;
        const char *text;
    } durations[] = { { 0, "0:00" }, { 201, "3:21" }, { 3723, "1:02:03" }, { -1, "–" }, { NAN, "–" } };
    mg_buf b = { 0 };
    for (size_t i = 0; i < 5; i++) {
        mg_print_duration(&b, durations[i].seconds);
        assert_string_equal(b.data, durations[i].text);
        mg_buf_free(&b);
    }
    mg_print_bytes(&b, 14.2e9);
    mg_print_bytes(&b, 41e6);
    mg_print_bytes(&b, 512);
    mg_print_count(&b, 4812);
    mg_print_count(&b, -1234567);
    mg_print_count(&b, 7);
    assert_string_equal(b.data, "14.2 GB41.0 MB512 B4,812-1,234,5677");
    mg_buf_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bar),   cmocka_unit_test(test_lines), cmocka_unit_test(test_streams),
        cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_table), cmocka_unit_test(test_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
