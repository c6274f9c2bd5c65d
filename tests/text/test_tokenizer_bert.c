/* test_tokenizer_bert.c -- BERT's vocab.txt against transformers' BertTokenizer and BertJapaneseTokenizer.
 *
 * bert_cases.json is made by make_bert_cases.py; the Japanese sets were made with the ipadic of PyPI, whose words are
 * those of the dictionary that the build makes. */
#include "tokenizer_reference.h"

#include "text/unicode.h"

static mg_json cases;

static int open_cases(void **state) {
    mg_error err;
    (void)state;
    return mg_json_open(&cases, source_path("tests/text/bert_cases.json"), 1 << 22, &err) != MG_OK;
}

static int close_cases(void **state) {
    (void)state;
    mg_json_free(&cases);
    return 0;
}

static void write_file(const char *folder, const char *name, const char *text, size_t n) {
    char path[4200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* A folder with vocab.txt and tokenizer_config.json, as transformers saves it. */
static char *folder_of(yyjson_val *vocab, yyjson_val *config) {
    char       *folder = make_temp_folder(), *json = yyjson_val_write(config, 0, NULL);
    mg_buf      text = { 0 };
    size_t      i, n;
    yyjson_val *word;
    yyjson_arr_foreach(vocab, i, n, word) {
        mg_buf_add(&text, yyjson_get_str(word), yyjson_get_len(word));
        mg_buf_char(&text, '\n');
    }
    write_file(folder, "vocab.txt", text.data, text.len);
    write_file(folder, "tokenizer_config.json", json, strlen(json));
    mg_buf_free(&text);
    free(json);
    return folder;
}

static mg_tokenizer *open_set(yyjson_val *set) {
    mg_error      err;
    mg_tokenizer *t = NULL;
    char         *folder = folder_of(yyjson_obj_get(set, "vocab"), yyjson_obj_get(set, "config"));
    assert_ok(mg_tokenizer_open(&t, folder, &err), err);
    remove_temp_folder(folder);
    return t;
}

static int differences(const mg_tokenizer *t, yyjson_val *set) {
    yyjson_val *texts = yyjson_obj_get(cases.root, "texts"), *text, *decoded = yyjson_obj_get(set, "decoded");
    size_t      i, n;
    int         differ = 0;
    yyjson_arr_foreach(texts, i, n, text) {
        yyjson_val *want = yyjson_arr_get(yyjson_obj_get(set, "ids"), i);
        mg_error    err;
        mg_ids      got = { 0 };
        differ += ids_differ(t, text, MG_TOKENIZE_PARSE, want);
        differ += text_differs(t, want, yyjson_arr_get(decoded, i));
        assert_ok(mg_tokenize(t, yyjson_get_str(text), yyjson_get_len(text), MG_TOKENIZE_PARSE | MG_TOKENIZE_SPECIAL, &got, &err),
                  err);
        assert_int_equal(got.len, yyjson_arr_size(want) + 2);
        assert_int_equal(got.data[0], 2);
        assert_int_equal(got.data[got.len - 1], 3);
        mg_ids_free(&got);
    }
    assert_true(n > 100);
    return differ;
}

static void as_transformers(void **state) {
    (void)state;
    size_t      i, n;
    yyjson_val *set;
    yyjson_arr_foreach(yyjson_obj_get(cases.root, "sets"), i, n, set) {
        mg_tokenizer *t = open_set(set), *again;
        const char   *name = yyjson_get_str(yyjson_obj_get(set, "name"));
        assert_string_equal(mg_tokenizer_kind(t), "WordPiece");
        assert_int_equal(mg_tokenizer_unk(t), 1);
        if (differences(t, set)) fail_msg("%s", name);
        again = written_and_read(t);
        if (differences(again, set)) fail_msg("%s, written and read", name);
        mg_tokenizer_free(again);
        mg_tokenizer_free(t);
    }
    assert_int_equal(n, 6);
}

/* GGUF does not say whether letters become lower case: the vocabulary shows it. */
static void through_gguf_metadata(void **state) {
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        yyjson_val   *set = yyjson_arr_get(yyjson_obj_get(cases.root, "sets"), i);
        mg_tokenizer *t = open_set(set), *again = through_gguf(t);
        assert_int_equal(differences(again, set), 0);
        mg_tokenizer_free(again);
        mg_tokenizer_free(t);
    }
    mg_error      err;
    mg_gguf_vocab v;
    mg_tokenizer *t = open_set(yyjson_arr_get(yyjson_obj_get(cases.root, "sets"), 3));
    assert_int_equal(mg_tokenizer_to_gguf(t, 0, &v, &err), MG_UNSUPPORTED);
    mg_tokenizer_free(t);
}

/* "[MASK]" that a user typed is no mask. */
static void special_text_stays_text(void **state) {
    (void)state;
    mg_error      err;
    mg_ids        ids = { 0 };
    mg_tokenizer *t = open_set(yyjson_arr_get(yyjson_obj_get(cases.root, "sets"), 3));
    assert_ok(mg_tokenize(t, "\xe6\x9d\xb1\xe4\xba\xac[MASK]", 12, 0, &ids, &err), err);
    for (size_t i = 0; i < ids.len; i++) assert_int_not_equal(ids.data[i], mg_tokenizer_id(t, "[MASK]"));
    mg_ids_free(&ids);
    mg_tokenizer_free(t);
}

static void refused(const char *vocab, const char *config, mg_status wanted, const char *says) {
    mg_error      err;
    mg_tokenizer *t = NULL;
    char         *folder = make_temp_folder();
    write_file(folder, "vocab.txt", vocab, strlen(vocab));
    write_file(folder, "tokenizer_config.json", config, strlen(config));
    mg_status st = mg_tokenizer_open(&t, folder, &err);
    if (st != wanted || !strstr(err.text, says)) fail_msg("E%d '%s', wanted '%s'", (int)st, st ? err.text : "", says);
    assert_null(t);
    remove_temp_folder(folder);
}

#define SPECIAL "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"
#define JAPANESE "\"tokenizer_class\":\"BertJapaneseTokenizer\","

static void errors_name_what_is_wrong(void **state) {
    (void)state;
    refused("", "{}", MG_FORMAT, "vocabulary is empty");
    refused("a\nb\n", "{}", MG_FORMAT, "stand around a text");
    refused("[CLS]\n[SEP]\n", "{}", MG_FORMAT, "unknown token");
    refused(SPECIAL "a\na\n", "{}", MG_FORMAT, "line 7 has the token 'a' for the second time");
    refused(SPECIAL "\xff\n", "{}", MG_FORMAT, "line 6 is not UTF-8");
    refused(SPECIAL, "{" JAPANESE "\"word_tokenizer_type\":\"sudachi\"}", MG_UNSUPPORTED, "sudachi");
    refused(SPECIAL, "{" JAPANESE "\"word_tokenizer_type\":\"mecab\",\"subword_tokenizer_type\":\"sentencepiece\"}", MG_UNSUPPORTED,
            "sentencepiece");
    refused(SPECIAL, "{" JAPANESE "\"word_tokenizer_type\":\"mecab\",\"mecab_kwargs\":{\"mecab_option\":\"-x\"}}", MG_UNSUPPORTED,
            "mecab_option");
    refused(SPECIAL, "{" JAPANESE "\"word_tokenizer_type\":\"mecab\",\"mecab_kwargs\":{\"mecab_option\":\"-d '/no such'\"}}",
            MG_LIBRARY, "/no such: no MeCab dictionary");
    unsetenv("MIGAKI_MECAB_DICT");
    refused(SPECIAL, "{" JAPANESE "\"word_tokenizer_type\":\"mecab\",\"mecab_kwargs\":{\"mecab_dic\":\"unidic_lite\"}}", MG_LIBRARY,
            "'unidic_lite', which is not here");
}

/* Tables of Unicode 8 for BERT, newest for lower case; counted over all of Unicode by asking Hugging Face tokenizers. */
static void characters_as_the_reference_has_them(void **state) {
    (void)state;
    size_t control = 0, accent = 0, punct = 0, chinese = 0, lower = 0;
    for (uint32_t c = 0; c < 0x110000; c++) {
        if (c >= 0xd800 && c < 0xe000) continue;
        control += mg_char_is_control(c);
        accent += mg_char_is_accent(c);
        punct += mg_char_is_punct(c);
        chinese += mg_char_is_chinese(c);
        lower += mg_char_lower(c) != c;
    }
    assert_int_equal(control, 137680);
    assert_int_equal(accent, 1567);
    assert_int_equal(punct, 726);
    assert_int_equal(chinese, 81264);
    assert_int_equal(lower, 1488);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_transformers),
        cmocka_unit_test(through_gguf_metadata),
        cmocka_unit_test(special_text_stays_text),
        cmocka_unit_test(errors_name_what_is_wrong),
        cmocka_unit_test(characters_as_the_reference_has_them),
    };
    return cmocka_run_group_tests(tests, open_cases, close_cases);
}
