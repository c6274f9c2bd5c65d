/* test_dataset.c -- files of every format and encoding, good and bad, and the samples made of them. */
#include "fixtures.h"

#include "data/preview.h"
#include "data/records.h"

#include <iconv.h>

static model_text gemma; /* opening a vocabulary of 262,144 tokens takes a second under the sanitizers */

static int open_gemma(void **state) {
    (void)state;
    gemma = open_model_text("gemma3", "gemma", "<bos>", "<eos>");
    return 0;
}
static int close_gemma(void **state) {
    (void)state;
    close_model_text(&gemma);
    return 0;
}

static mg_dataset load(const char *path, const mg_data_options *o) {
    mg_dataset d = { 0 };
    mg_error   err;
    assert_ok(mg_dataset_load(&d, path, o, &gemma.chat, &err), err);
    return d;
}

/* Write text as a file, load it. */
static mg_dataset load_text(const char *name, const char *text, size_t n, const mg_data_options *o) {
    char      *folder = make_temp_folder();
    mg_dataset d = load(write_file(folder, name, text, n), o);
    remove_temp_folder(folder);
    return d;
}

static mg_data_options dropping(void) {
    mg_data_options o = usual_options();
    o.on_truncation = o.on_empty_mask = o.on_bad_line = MG_TROUBLE_DROP;
    return o;
}

static void assert_trained(const mg_sample *s, const char *wanted) {
    mg_buf text = { 0 };
    trained_text(s, gemma.tokenizer, &text);
    assert_string_equal(text.data, wanted);
    mg_buf_free(&text);
}

/* ---- real files */

static void real_files_load(void **state) {
    (void)state;
    static const struct {
        const char *path, *form;
        int64_t     read, kept;
    } rows[] = {
        { "data/llm-japanese-dataset-sample/dolly-ja-000000.first-rows.transcribed.json", "alpaca", 12, 12 },
        { "data/instruction_ja/sft.derived.jsonl", "messages", 669, 669 },
        { "data/instruction_ja/data.jsonl", "sharegpt", 669, 669 },
        { "data/formats-en/alpaca_en_demo.json", "alpaca", 999, 999 },
        { "data/formats-en/kto_en_demo.json", "messages", 300, 300 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        mg_data_options o = usual_options();
        mg_dataset      d = load(ref_path(rows[i].path), &o);
        print_message("           %s: %lld samples, %lld tokens, %.1f%% trained\n", rows[i].path, (long long)d.n,
                      (long long)d.tokens, 100.0 * (double)d.labelled / (double)d.tokens);
        assert_string_equal(d.form, rows[i].form);
        assert_string_equal(d.encoding, "UTF-8");
        assert_int_equal(d.read, rows[i].read);
        assert_int_equal(d.n, rows[i].kept);
        assert_int_equal(d.bad_lines + d.truncated + d.dropped + d.empty_masks, 0);
        assert_true(d.labelled > 0 && d.labelled < d.tokens);
        int32_t end = mg_tokenizer_id(gemma.tokenizer, "<end_of_turn>");
        for (size_t k = 0; k < d.n; k++) { /* every answer's end is trained, nothing behind it */
            const mg_sample *s = &d.sample[k];
            int32_t          last = s->n - 1;
            while (last > 0 && s->label[last] == MG_IGNORE) last--;
            assert_int_equal(s->label[last], end);
        }
        mg_dataset_free(&d);
    }
}

static void preference_files_say_where_they_belong(void **state) {
    (void)state;
    mg_data_options o = usual_options();
    mg_dataset      d = { 0 };
    mg_error        err;
    assert_fails(mg_dataset_load(&d, ref_path("data/formats-en/dpo_en_demo.json"), &o, &gemma.chat, &err), err,
                 MG_DATA, "dpo");
}

/* ---- formats */

static void formats_give_the_same(void **state) {
    (void)state;
    static const struct {
        const char *name, *text;
    } rows[] = {
        { "a.jsonl", "{\"instruction\":\"q\",\"input\":\"\",\"output\":\"東京\"}\n\n{\"instruction\":\"r\","
                     "\"input\":\"i\\nj\",\"output\":\"a,\\\"b\\\"\"}" },
        { "a.jsonl", "\xef\xbb\xbf{\"instruction\":\"q\",\"input\":\"\",\"output\":\"東京\"}\r\n{\"instruction\":"
                     "\"r\",\"input\":\"i\\nj\",\"output\":\"a,\\\"b\\\"\"}\r\n" },
        { "a.json", " [ "
                    "{\"instruction\":\"q\",\"input\":\"\",\"output\":\"東京\"},\n{\"instruction\":\"r\","
                    "\"input\":\"i\\nj\",\"output\":\"a,\\\"b\\\"\"}]" },
        { "a.json", "{\"instruction\":\"q\",\"input\":\"\",\"output\":\"東京\"}\n{\"instruction\":\"r\",\"input\":"
                    "\"i\\nj\",\"output\":\"a,\\\"b\\\"\"}\n" },
        { "a.csv", "instruction,input,output\nq,,東京\nr,\"i\nj\",\"a,\"\"b\"\"\"\n" },
        { "a.csv", "\xef\xbb\xbf"
                   "instruction,input,output\r\nq,,東京\r\nr,\"i\nj\",\"a,\"\"b\"\"\"" },
        { "a.csv", "instruction;input;output\nq;;東京\nr;\"i\nj\";\"a,\"\"b\"\"\"\n" },
        { "a.tsv", "instruction\tinput\toutput\nq\t\t東京\nr\t\"i\nj\"\t\"a,\"\"b\"\"\"\n" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        mg_data_options o = usual_options();
        mg_dataset      d = load_text(rows[i].name, rows[i].text, strlen(rows[i].text), &o);
        assert_int_equal(d.n, 2);
        assert_string_equal(d.form, "alpaca");
        assert_string_equal(d.encoding, rows[i].text[0] == '\xef' ? "UTF-8 with BOM" : "UTF-8");
        assert_trained(&d.sample[0], "東京<end_of_turn>");
        assert_trained(&d.sample[1], "a,\"b\"<end_of_turn>");
        mg_dataset_free(&d);
    }
}

static void other_encodings(void **state) {
    (void)state;
    static const struct {
        const char *iconv_name, *bom, *encoding;
    } rows[] = {
        { "CP932", "", "cp932" },
        { "UTF-16LE", "\xff\xfe", "UTF-16" },
        { "UTF-16BE", "\xfe\xff", "UTF-16" },
    };
    static const char text[] = "prompt,completion\n\"①髙い山は?\",富士山です。ソ表\n二つ目,はい～\n";
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char   bytes[400], *in = (char *)text, *to = bytes + strlen(rows[i].bom);
        size_t left = sizeof text - 1, room = sizeof bytes - 4;
        strcpy(bytes, rows[i].bom);
        iconv_t cd = iconv_open(rows[i].iconv_name, "UTF-8");
        assert_true(cd != (iconv_t)-1);
        assert_int_equal(iconv(cd, &in, &left, &to, &room), 0);
        iconv_close(cd);
        mg_data_options o = usual_options();
        mg_dataset      d = load_text("a.csv", bytes, (size_t)(to - bytes), &o);
        assert_string_equal(d.encoding, rows[i].encoding);
        assert_int_equal(d.n, 2);
        assert_trained(&d.sample[0], "富士山です。ソ表<end_of_turn>");
        mg_dataset_free(&d);
    }
}

static void folders_have_parts(void **state) {
    (void)state;
    static const char train[] = "{\"prompt\":\"a\",\"completion\":\"b\"}\n";
    char             *folder = make_temp_folder();
    mg_data_options   o = usual_options();
    mg_dataset        d = { 0 };
    mg_error          err;
    assert_fails(mg_dataset_load(&d, folder, &o, &gemma.chat, &err), err, MG_NOTFOUND, "train.jsonl");
    write_file(folder, "train.jsonl", train, sizeof train - 1);
    assert_ok(mg_dataset_load(&d, folder, &o, &gemma.chat, &err), err);
    assert_int_equal(d.n, 1);
    char *none = mg_records_find(folder, "valid"), *found = mg_records_find(folder, "train");
    assert_null(none);
    assert_non_null(found);
    free(found);
    mg_dataset_free(&d);
    remove_temp_folder(folder);
}

/* ---- what is wrong is counted and named */

static void bad_lines_are_named(void **state) {
    (void)state;
    static const char text[] =
        "{\"prompt\":\"a\",\"completion\":\"b\"}\nnot json\n{\"prompt\":\"a\",\"completion\":\"c\"}\n"
        "{\"text\":\"other form\"}\n[1]\n{\"prompt\":\"x\xff\",\"completion\":\"y\"}\n"
        "{\"prompt\":\"a\",\"prompt\":\"a\",\"completion\":\"b\"}\n";
    mg_data_options o = dropping();
    mg_dataset      d = load_text("t.jsonl", text, sizeof text - 1, &o);
    assert_int_equal(d.read, 7);
    assert_int_equal(d.n, 2);
    assert_int_equal(d.bad_lines, 5);
    assert_int_equal(d.sample[1].line, 3);
    assert_non_null(strstr(d.notes.data, "t.jsonl:2: record: not valid JSON"));
    assert_non_null(strstr(d.notes.data, "t.jsonl:4: a record of no known form (its keys: text)"));
    assert_non_null(strstr(d.notes.data, "t.jsonl:5: not a JSON object"));
    assert_non_null(strstr(d.notes.data, "t.jsonl:6: "));
    assert_non_null(strstr(d.notes.data, "t.jsonl:7: record: the key 'prompt' stands twice"));
    mg_dataset_free(&d);
    o.on_bad_line = MG_TROUBLE_REFUSE;
    char    *folder = make_temp_folder();
    mg_error err;
    assert_fails(mg_dataset_load(&d, write_file(folder, "t.jsonl", text, sizeof text - 1), &o, &gemma.chat, &err),
                 err, MG_DATA, "t.jsonl:2: record: not valid JSON");
    assert_null(d.sample);
    remove_temp_folder(folder);
}

static void notes_end_after_twenty(void **state) {
    (void)state;
    mg_buf          text = { 0 };
    mg_data_options o = dropping();
    mg_buf_str(&text, "{\"prompt\":\"a\",\"completion\":\"b\"}\n");
    for (int i = 0; i < 33; i++) mg_buf_str(&text, "{\n");
    mg_dataset d = load_text("t.jsonl", text.data, text.len, &o);
    size_t     lines = 0;
    for (size_t i = 0; i < d.notes.len; i++) lines += d.notes.data[i] == '\n';
    assert_int_equal(lines, 21);
    assert_non_null(strstr(d.notes.data, "... and 13 more\n"));
    assert_int_equal(d.bad_lines, 33);
    mg_buf_free(&text);
    mg_dataset_free(&d);
}

/* An unclosed quote costs its own line, not the file. */
static void unclosed_quotes(void **state) {
    (void)state;
    static const char text[] = "prompt,completion\na,b\nc,\"open\ne,f\n\"g\",\"h\"\ni,j,k\n\"x\"y,z\nl,m\n";
    mg_data_options   o = dropping();
    mg_dataset        d = load_text("t.csv", text, sizeof text - 1, &o);
    assert_int_equal(d.n, 4);
    assert_int_equal(d.bad_lines, 3);
    assert_trained(&d.sample[1], "f<end_of_turn>");
    assert_trained(&d.sample[2], "h<end_of_turn>");
    assert_int_equal(d.sample[3].line, 8);
    assert_non_null(strstr(d.notes.data, "t.csv:3: "));
    assert_non_null(strstr(d.notes.data, "t.csv:6: 3 cells, but the header has 2"));
    assert_non_null(strstr(d.notes.data, "t.csv:7: text behind a closing quote"));
    mg_dataset_free(&d);
}

static void long_lines_are_refused(void **state) {
    (void)state;
    mg_data_options o = dropping();
    size_t          n = MG_RECORD_MAX + 100;
    char           *text = mg_calloc(n + 100, 1);
    memset(text, 'x', n);
    strcpy(text + n, "\n{\"prompt\":\"a\",\"completion\":\"b\"}\n");
    mg_dataset d = load_text("t.jsonl", text, strlen(text), &o);
    assert_int_equal(d.n, 1);
    assert_int_equal(d.sample[0].line, 2);
    assert_non_null(strstr(d.notes.data, "16 MiB"));
    mg_dataset_free(&d);
    free(text);
}

static const char lengths[] =
    "{\"prompt\":\"a\",\"completion\":\"b\"}\n"
    "{\"prompt\":\"a\",\"completion\":\"one two three four five six seven eight nine ten\"}\n"
    "{\"prompt\":\"one two three four five six seven eight nine ten\",\"completion\":\"b\"}\n";

static void truncation(void **state) {
    (void)state;
    char           *folder = make_temp_folder();
    const char     *path = write_file(folder, "t.jsonl", lengths, sizeof lengths - 1);
    mg_data_options o = usual_options();
    mg_dataset      d = { 0 };
    mg_error        err;
    o.max_length = 15;
    assert_fails(mg_dataset_load(&d, path, &o, &gemma.chat, &err), err, MG_TRUNCATED, "t.jsonl:2: ");
    o.on_truncation = MG_TROUBLE_DROP;
    d = load(path, &o);
    assert_int_equal(d.n, 1);
    assert_int_equal(d.truncated, 2);
    assert_int_equal(d.dropped, 2);
    mg_dataset_free(&d);
    o.on_truncation = MG_TROUBLE_KEEP;
    o.on_empty_mask = MG_TROUBLE_DROP; /* the third has no answer left */
    d = load(path, &o);
    assert_int_equal(d.n, 2);
    assert_int_equal(d.sample[1].n, 15);
    assert_true(d.sample[1].truncated);
    assert_int_equal(d.truncated, 1);
    assert_int_equal(d.empty_masks, 1);
    assert_non_null(strstr(d.notes.data, "t.jsonl:2: cut to 15 tokens; its end is lost"));
    assert_non_null(strstr(d.notes.data, "t.jsonl:3: cut to max_length it has no trained token"));
    assert_non_null(strstr(d.notes.data, "1 samples end without an end-of-turn token"));
    mg_dataset_free(&d);
    remove_temp_folder(folder);
}

static void only_so_many(void **state) {
    (void)state;
    mg_data_options o = usual_options();
    o.max_samples = 2;
    mg_dataset d = load_text("t.jsonl", lengths, sizeof lengths - 1, &o);
    assert_int_equal(d.n, 2);
    mg_dataset_free(&d);
}

static void nothing_usable_is_an_error(void **state) {
    (void)state;
    static const struct {
        const char *name, *text, *part;
    } rows[] = {
        { "t.jsonl", "", "none of 0 records" },
        { "t.csv", "", "no header" },
        { "t.csv", "prompt,completion\n", "none of 0 records" },
        { "t.jsonl", "x\ny\n", "none of 2 records" },
        { "t.json", "[1, 2", "not valid JSON" },
        { "t.jsonl", "{\"a\":1}\n", "known are messages" },
    };
    char           *folder = make_temp_folder();
    mg_data_options o = dropping();
    mg_error        err;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        mg_dataset d = { 0 };
        assert_fails(mg_dataset_load(&d, write_file(folder, rows[i].name, rows[i].text, strlen(rows[i].text)), &o,
                                     &gemma.chat, &err),
                     err, MG_DATA, rows[i].part);
        assert_null(d.sample);
    }
    mg_dataset d = { 0 };
    assert_fails(mg_dataset_load(&d, "/nonexistent.jsonl", &o, &gemma.chat, &err), err, MG_NOTFOUND,
                 "nonexistent");
    mg_chat           bare = { .tokenizer = gemma.tokenizer };
    static const char chat[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}";
    assert_fails(mg_dataset_load(&d, write_file(folder, "m.jsonl", chat, sizeof chat - 1), &o, &bare, &err), err,
                 MG_TEMPLATE, "no chat template");
    remove_temp_folder(folder);
}

/* ---- split and preview */

static void splits_are_a_function_of_the_seed(void **state) {
    (void)state;
    mg_data_options o = usual_options();
    int64_t         first[67] = { 0 };
    for (int round = 0; round < 3; round++) {
        mg_dataset d = load(ref_path("data/instruction_ja/sft.derived.jsonl"), &o), v = { 0 };
        mg_error   err;
        int64_t    tokens = d.tokens;
        bool       same = true;
        assert_ok(mg_dataset_split(&d, 0.1, round < 2 ? 42 : 43, &v, &err), err);
        assert_int_equal(v.n, 67);
        assert_int_equal(d.n, 602);
        assert_int_equal(d.tokens + v.tokens, tokens);
        for (size_t i = 0; i < v.n; i++) {
            if (i) assert_true(v.sample[i].line > v.sample[i - 1].line);
            if (!round) first[i] = v.sample[i].line;
            same &= first[i] == v.sample[i].line;
        }
        assert_int_equal(same, round < 2);
        mg_dataset_free(&d);
        mg_dataset_free(&v);
    }
    mg_dataset d = load(ref_path("data/llm-japanese-dataset-sample/dolly-ja-000000.first-rows.transcribed.json"),
                        &o),
               v = { 0 };
    mg_error err;
    assert_fails(mg_dataset_split(&d, 12, 1, &v, &err), err, MG_CONFIG, "val_size");
    assert_fails(mg_dataset_split(&d, -1, 1, &v, &err), err, MG_CONFIG, "val_size");
    assert_ok(mg_dataset_split(&d, 5, 1, &v, &err), err);
    assert_int_equal(v.n, 5);
    mg_dataset_free(&v);
    assert_ok(mg_dataset_split(&d, 0.01, 1, &v, &err), err); /* never none */
    assert_int_equal(v.n, 1);
    mg_dataset_free(&v);
    mg_dataset_free(&d);
}

static void preview_shows_the_mask(void **state) {
    (void)state;
    mg_data_options o = usual_options();
    mg_sample       s = { 0 };
    mg_buf          out = { 0 };
    mg_error        err;
    assert_ok(sample_of(&s, "{\"prompt\":\"q\\u001b[31m\",\"completion\":\"東京\\nです\"}", &o, &gemma, &err),
              err);
    assert_ok(mg_data_preview(&s, gemma.tokenizer, false, &out, &err), err);
    char *text = strchr(out.data, '\n') + 1;
    assert_string_equal(text, "<bos><start_of_turn>user⏎\nq\xe2\x90\x9b[31m<end_of_turn>⏎\n<start_of_turn>model⏎\n"
                              "【東京⏎\nです<end_of_turn>】⏎\n\n");
    assert_non_null(strstr(out.data, "trained "));
    out.len = 0;
    assert_ok(mg_data_preview(&s, gemma.tokenizer, true, &out, &err), err);
    assert_non_null(strstr(out.data, "\x1b[32m東京⏎\nです<end_of_turn>\x1b[0m"));
    assert_null(strstr(out.data, "\x1b[31m"));
    mg_buf_free(&out);
    mg_sample_free(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real_files_load),
        cmocka_unit_test(preference_files_say_where_they_belong),
        cmocka_unit_test(formats_give_the_same),
        cmocka_unit_test(other_encodings),
        cmocka_unit_test(folders_have_parts),
        cmocka_unit_test(bad_lines_are_named),
        cmocka_unit_test(notes_end_after_twenty),
        cmocka_unit_test(unclosed_quotes),
        cmocka_unit_test(long_lines_are_refused),
        cmocka_unit_test(truncation),
        cmocka_unit_test(only_so_many),
        cmocka_unit_test(nothing_usable_is_an_error),
        cmocka_unit_test(splits_are_a_function_of_the_seed),
        cmocka_unit_test(preview_shows_the_mask),
    };
    return cmocka_run_group_tests(tests, open_gemma, close_gemma);
}
