/* test_tokenizer_parts.c -- regular expressions, normal forms, streaming, added tokens, bad files. */
#include "tokenizer_reference.h"

#include "text/regex.h"
#include "text/unicode.h"

#include <pthread.h>

static mg_tokenizer *parse(const char *json) {
    mg_error      err;
    mg_tokenizer *t = NULL;
    assert_ok(mg_tokenizer_parse_json(&t, json, strlen(json), "test", &err), err);
    return t;
}

/* --- regular expressions --- */

/* The first match of the pattern, "" for none. */
static void assert_match(const char *pattern, const char *text, const char *want) {
    mg_error       err;
    mg_regex      *r = NULL;
    mg_regex_work *w = mg_regex_work_new();
    size_t         begin = 0, end = 0;
    assert_non_null(w);
    assert_ok(mg_regex_compile(&r, pattern, strlen(pattern), "test", &err), err);
    mg_found f = mg_regex_find(r, w, text, strlen(text), 0, &begin, &end);
    assert_true(f == MG_FOUND || !*want);
    if (end - begin != strlen(want) || memcmp(text + begin, want, end - begin))
        fail_msg("%s on '%s': '%.*s', wanted '%s'", pattern, text, (int)(end - begin), text + begin, want);
    mg_regex_free(r);
    mg_regex_work_free(w);
}

/* What Oniguruma 6.9.10 (Ruby syntax, Unicode 16) matches, where PCRE2 left alone differs. */
static void test_regex(void **state) {
    (void)state;
    assert_match("\\s+", "a\xe1\xa0\x8e", "");                        /* U+180E is no space */
    assert_match("\\p{L}+", "\xf0\x90\x97\x80!", "\xf0\x90\x97\x80"); /* U+105C0, Unicode 16 */
    assert_match("\\p{N}+", "x\xf0\x90\xb5\x80", "\xf0\x90\xb5\x80"); /* U+10D40, Unicode 16 */
    assert_match("[^\\s\\p{L}\\p{N}]+", "\xf0\x90\x97\x80!", "!");
    assert_match("\\p{Han}+", "\xe3\x80\x81\xe6\xbc\xa2",
                 "\xe6\xbc\xa2"); /* not the comma, whatever its extensions */
    assert_match("\\h+", "xyz09af", "09af");
    assert_match("[^\\S\\n]+", "\n \t\n", " \t");
    assert_match("[a-z&&[^aeiou]]+", "aeixyz", "xyz");
    assert_match("[[:punct:]]+", "a$+b", "$+");
    assert_match("(?m:a.b)", "a\nb", "a\nb");
    assert_match("a.b", "a\nb", "");
    assert_match("\\d{2}+5", "12345", "12345"); /* in Ruby this repeats, it does not possess */
    assert_match("x{,2}y", "xxxy", "xxy");
    assert_match("(?i:'S)", "it's", "'s");
    assert_match("^b", "a\nb", "b");
}

static void test_regex_refused(void **state) {
    (void)state;
    static const char *const bad[] = { "[a", "\\p{L", "\\p{Cn}", "(",      "[[:nothing:]]",
                                       "\\", "[z-a]", "\\N",     "(?'a'b)" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        mg_error  err = { .status = MG_OK };
        mg_regex *r = NULL;
        assert_int_not_equal(mg_regex_compile(&r, bad[i], strlen(bad[i]), "file.json", &err), MG_OK);
        assert_null(r);
        assert_non_null(strstr(err.text, "file.json"));
    }
}

/* A pattern that backtracks without end is given up, not waited for. */
static void test_regex_limit(void **state) {
    (void)state;
    mg_error       err;
    mg_regex      *r = NULL;
    mg_regex_work *w = mg_regex_work_new();
    char           text[64];
    size_t         begin, end;
    memset(text, 'a', sizeof text);
    assert_ok(mg_regex_compile(&r, "(a|a)*b|(a*)*c", 14, "test", &err), err);
    assert_int_equal(mg_regex_find(r, w, text, sizeof text, 0, &begin, &end), MG_FOUND_LIMIT);
    mg_regex_free(r);
    mg_regex_work_free(w);
}

/* --- Unicode --- */

static void assert_form(mg_normal_form form, const char *text, const char *want) {
    mg_buf b = { 0 };
    assert_true(mg_normalize(form, text, strlen(text), &b));
    assert_string_equal(b.data, want);
    if (strcmp(text, want)) assert_false(mg_is_normalized(form, text, strlen(text)));
    mg_buf_free(&b);
}

static void test_normal_forms(void **state) {
    (void)state;
    assert_form(MG_NFC, "\xe3\x81\x8b\xe3\x82\x99", "\xe3\x81\x8c"); /* ka and a voicing mark */
    assert_form(MG_NFD, "\xe3\x81\x8c", "\xe3\x81\x8b\xe3\x82\x99");
    assert_form(MG_NFC, "\xe2\x84\xab", "\xc3\x85"); /* angstrom */
    assert_form(MG_NFKC, "\xef\xbd\xb1\xef\xbc\x91",
                "\xe3\x82\xa2"
                "1");                                     /* half- and full-width */
    assert_form(MG_NFKC, "\xe3\x8b\xbf", "\xe3\x8b\xbf"); /* the era of 2019 is later than Unicode 9 */
    assert_true(mg_is_normalized(MG_NFC, "\xe3\x81\x8c\xe6\xbc\xa2 abc", 10));
}

static void test_lossy(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        { "a\xff"
          "b",
          "a\xef\xbf\xbd"
          "b" },
        { "\xe6\x97", "\xef\xbf\xbd" }, /* one mark for what began a character */
        { "\xe6\x97\x41", "\xef\xbf\xbd"
                          "A" },
        { "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" }, /* a surrogate: three */
        { "\xc0\x80", "\xef\xbf\xbd\xef\xbf\xbd" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mg_buf b = { 0 };
        mg_utf8_lossy(&b, cases[i][0], strlen(cases[i][0]));
        assert_string_equal(b.data, cases[i][1]);
        mg_buf_free(&b);
    }
    assert_int_equal(mg_utf8_open_tail("a\xe6\x97", 3), 2);
    assert_int_equal(mg_utf8_open_tail("a\xe6\x97\xa5", 4), 0);
    assert_int_equal(mg_utf8_open_tail("a\xff", 2), 0);
    assert_int_equal(mg_utf8_open_tail("\xf0\x9f\x98", 3), 3);
}

/* --- streaming --- */

/* Byte by byte: nothing comes out before a character is whole. */
static void stream_text(const mg_tokenizer *t, const char *text) {
    mg_error         err;
    mg_ids           ids = { 0 };
    mg_buf           out = { 0 };
    mg_detok_stream *s = mg_detok_new(t, false);
    assert_ok(mg_tokenize(t, text, strlen(text), 0, &ids, &err), err);
    assert_true(ids.len > 8);
    for (size_t i = 0; i < ids.len; i++) {
        size_t before = out.len;
        assert_true(mg_detok_feed(s, ids.data[i], &out));
        assert_true(out.len == before || mg_utf8_valid(out.data + before, out.len - before));
        assert_memory_equal(out.data ? out.data : "", text, out.len);
    }
    assert_true(mg_detok_flush(s, &out));
    assert_string_equal(out.data, text);
    mg_detok_free(s);
    mg_ids_free(&ids);
    mg_buf_free(&out);
}

static void test_stream(void **state) {
    (void)state;
    static const char text[] = "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e \xf0\xa0\xae\x9f\xe3\x82\x8b "
                               "\xf0\x9f\x91\xa8\xe2\x80\x8d\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x91\xa7!";
    mg_tokenizer     *t = tokenizer_of_file(ref_path("tokenizers/gpt2/tokenizer.generated.json"));
    stream_text(t, text);
    mg_tokenizer_free(t);
    t = tokenizer_of_file(ref_path("tokenizers/llama2/tokenizer.generated.json"));
    stream_text(t, text);
    mg_tokenizer_free(t);
}

/* A character that never gets whole is U+FFFD, at the end or as soon as it is broken. */
static void test_stream_broken(void **state) {
    (void)state;
    mg_tokenizer    *t = tokenizer_of_file(ref_path("tokenizers/gpt2/tokenizer.generated.json"));
    mg_detok_stream *s = mg_detok_new(t, false);
    mg_buf           out = { 0 };
    int32_t          e6 = mg_tokenizer_id(t, "\xc3\xa6"), a = mg_tokenizer_id(t, "a");
    assert_true(e6 >= 0 && a >= 0);
    assert_true(mg_detok_feed(s, e6, &out));
    assert_int_equal(out.len, 0);
    assert_true(mg_detok_feed(s, a, &out));
    assert_string_equal(out.data, "\xef\xbf\xbd"
                                  "a");
    assert_true(mg_detok_feed(s, e6, &out));
    assert_true(mg_detok_flush(s, &out));
    assert_string_equal(out.data, "\xef\xbf\xbd"
                                  "a\xef\xbf\xbd");
    mg_detok_free(s);
    mg_buf_free(&out);
    mg_tokenizer_free(t);
}

/* --- added tokens --- */

#define VOCAB                                    \
    "\"vocab\":{\"<unk>\":0,\"a\":1,\"b\":2,\" " \
    "\":3,\"s\":4,\"<\":5,\">\":6,\"/\":7,\"</\":8,\"s>\":9,\"</s>\":10}"
#define MODEL_JSON \
    "\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\"," VOCAB ",\"merges\":[\"< /\",\"s >\",\"</ s>\"]}"

static void assert_ids(const mg_tokenizer *t, const char *text, unsigned flags, const char *want) {
    mg_error err;
    mg_ids   ids = { 0 };
    mg_buf   got = { 0 };
    assert_ok(mg_tokenize(t, text, strlen(text), flags, &ids, &err), err);
    mg_buf_add(&got, "", 0);
    for (size_t i = 0; i < ids.len; i++) mg_buf_printf(&got, "%s%d", i ? " " : "", (int)ids.data[i]);
    assert_string_equal(got.data, want);
    mg_ids_free(&ids);
    mg_buf_free(&got);
}

/* Neither the list of added tokens nor the merges turn typed text into a control token. */
static void test_special_text(void **state) {
    (void)state;
    mg_tokenizer *t =
        parse("{\"added_tokens\":[{\"id\":10,\"content\":\"</s>\",\"special\":true}]," MODEL_JSON "}");
    assert_ids(t, "a</s>b", MG_TOKENIZE_PARSE, "1 10 2");
    assert_ids(t, "a</s>b", 0, "1 8 9 2");
    mg_tokenizer_free(t);
}

static void test_added_flags(void **state) {
    (void)state;
    mg_tokenizer *t = parse("{\"added_tokens\":["
                            "{\"id\":20,\"content\":\"ab\",\"single_word\":true,\"normalized\":false},"
                            "{\"id\":21,\"content\":\"<l>\",\"lstrip\":true,\"normalized\":false},"
                            "{\"id\":22,\"content\":\"<r>\",\"rstrip\":true,\"normalized\":false},"
                            "{\"id\":23,\"content\":\"<l>b\",\"normalized\":false}]," MODEL_JSON "}");
    assert_ids(t, "ab", 0, "20");
    assert_ids(t, "abb", 0, "1 2 2");
    assert_ids(t, "a  <l> a", 0, "1 21 3 1");
    assert_ids(t, "a <r>  a", 0, "1 3 22 1");
    assert_ids(t, "a<l>b", 0, "1 23"); /* the longest of those that begin here */
    assert_int_equal(mg_tokenizer_size(t), 24);
    assert_null(mg_tokenizer_token(t, 15, NULL));
    mg_tokenizer_free(t);
}

/* --- bad files --- */

static void test_refused(void **state) {
    (void)state;
    static const struct {
        const char *json, *named;
        mg_status   status;
    } bad[] = {
        { "{\"model\":{\"type\":\"Magic\"}}", "Magic", MG_UNSUPPORTED },
        { "{\"normalizer\":{\"type\":\"Upside\"}," MODEL_JSON "}", "Upside", MG_UNSUPPORTED },
        { "{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Odd\"}]}," MODEL_JSON "}",
          "Odd", MG_UNSUPPORTED },
        { "{\"decoder\":{\"type\":\"Strange\"}," MODEL_JSON "}", "Strange", MG_UNSUPPORTED },
        { "{\"post_processor\":{\"type\":\"Late\"}," MODEL_JSON "}", "Late", MG_UNSUPPORTED },
        { "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}", "id 0", MG_FORMAT },
        { "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":900000},\"merges\":[]}}", "900000", MG_FORMAT },
        { "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1},\"merges\":[\"a b\"]}}", "merge 0",
          MG_FORMAT },
        { "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a\"]}}", "merge 0", MG_FORMAT },
        { "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1},\"merges\":[]}}", "'a'", MG_FORMAT },
        { "{\"model\":{\"type\":\"BPE\",\"dropout\":0.1,\"vocab\":{\"a\":0},\"merges\":[]}}", "dropout",
          MG_UNSUPPORTED },
        { "{\"model\":{\"type\":\"BPE\",\"unk_token\":\"?\",\"vocab\":{\"a\":0},\"merges\":[]}}", "'?'",
          MG_FORMAT },
        { "{\"model\":{\"type\":\"Unigram\",\"unk_id\":7,\"vocab\":[[\"a\",0]]}}", "unknown", MG_FORMAT },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        mg_error      err;
        mg_tokenizer *t = NULL;
        assert_fails(mg_tokenizer_parse_json(&t, bad[i].json, strlen(bad[i].json), "x", &err), err, bad[i].status,
                     bad[i].named);
        assert_null(t);
    }
}

/* Every prefix and every byte flip of a small valid file is refused or usable. */
static void test_hostile_spm(void **state) {
    (void)state;
    mg_error   err;
    mg_mapping m = { 0 };
    assert_ok(mg_map_file(&m, source_path("tests/fuzz/corpus/tokenizer_spm/bpe.model"), &err), err);
    uint8_t *copy = malloc(m.size);
    assert_non_null(copy);
    for (size_t i = 0; i < m.size * 9; i++) {
        size_t        n = i < m.size ? i : m.size;
        mg_tokenizer *t = NULL;
        mg_ids        ids = { 0 };
        memcpy(copy, m.data, m.size);
        if (i >= m.size) copy[i / 8 - m.size / 8 < m.size ? i / 8 - m.size / 8 : 0] ^= (uint8_t)(1 << i % 8);
        if (!mg_tokenizer_parse_spm(&t, copy, n, "hostile", &err)) {
            mg_tokenize(t, "ab </s>\xe6", 9, MG_TOKENIZE_SPECIAL, &ids, &err);
            mg_tokenizer_free(t);
        }
        mg_ids_free(&ids);
    }
    free(copy);
    mg_unmap_file(&m);
}

/* A million characters without a space; the limit is ten times what it takes. */
static void test_long_word(void **state) {
    (void)state;
    enum { LONG = 1000000 };
    mg_error      err;
    mg_ids        ids = { 0 };
    mg_buf        back = { 0 };
    mg_tokenizer *t = tokenizer_of_file(ref_path("tokenizers/mistral/v0.1/tokenizer.json"));
    char         *text = malloc(LONG);
    assert_non_null(text);
    for (size_t i = 0; i < LONG; i++) text[i] = (char)('a' + (i * i / 7 + i / 13) % 26);
    alarm(20);
    assert_ok(mg_tokenize(t, text, LONG, 0, &ids, &err), err);
    alarm(0);
    assert_ok(mg_detokenize(t, ids.data, ids.len, false, &back, &err), err);
    assert_int_equal(back.len, LONG);
    assert_memory_equal(back.data, text, LONG);
    free(text);
    mg_ids_free(&ids);
    mg_buf_free(&back);
    mg_tokenizer_free(t);
}

/* --- threads --- */

static void *encode_often(void *arg) {
    static const char   text[] = "The quick brown fox \xe6\x97\xa5\xe6\x9c\xac jumps over 12345 lazy dogs";
    const mg_tokenizer *t = arg;
    mg_error            err;
    mg_ids              first = { 0 };
    if (mg_tokenize(t, text, sizeof text - 1, 0, &first, &err)) return (void *)1;
    for (int i = 0; i < 500; i++) {
        mg_ids again = { 0 };
        bool   same = !mg_tokenize(t, text, sizeof text - 1, 0, &again, &err) && again.len == first.len &&
                    !memcmp(again.data, first.data, first.len * sizeof *first.data);
        mg_ids_free(&again);
        if (!same) return (void *)1;
    }
    mg_ids_free(&first);
    return NULL;
}

static void test_threads(void **state) {
    (void)state;
    pthread_t     thread[4];
    mg_tokenizer *t = tokenizer_of_file(ref_path("tokenizers/gpt2/tokenizer.generated.json"));
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&thread[i], NULL, encode_often, t), 0);
    for (int i = 0; i < 4; i++) {
        void *failed;
        assert_int_equal(pthread_join(thread[i], &failed), 0);
        assert_null(failed);
    }
    mg_tokenizer_free(t);
}

/* --- a folder --- */

static void test_folder(void **state) {
    (void)state;
    mg_error      err;
    mg_tokenizer *t = NULL;
    assert_ok(mg_tokenizer_open(&t, ref_path("tokenizers/qwen3"), &err), err);
    assert_int_equal(mg_tokenizer_bos(t), -1);
    assert_int_equal(mg_tokenizer_eos(t), mg_tokenizer_id(t, "<|im_end|>"));
    assert_int_equal(mg_tokenizer_pad(t), mg_tokenizer_id(t, "<|endoftext|>"));
    mg_tokenizer_free(t);
    assert_ok(mg_tokenizer_open(&t, ref_path("tokenizers/llama2"), &err), err); /* tokenizer.model only */
    assert_int_equal(mg_tokenizer_bos(t), 1);
    assert_int_equal(mg_tokenizer_unk(t), 0);
    mg_tokenizer_free(t);
    assert_fails(mg_tokenizer_open(&t, ref_path("tokenizers/gguf-vocab"), &err), err, MG_NOTFOUND,
                 "tokenizer.json");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_regex),         cmocka_unit_test(test_regex_refused),
        cmocka_unit_test(test_regex_limit),   cmocka_unit_test(test_normal_forms),
        cmocka_unit_test(test_lossy),         cmocka_unit_test(test_stream),
        cmocka_unit_test(test_stream_broken), cmocka_unit_test(test_special_text),
        cmocka_unit_test(test_added_flags),   cmocka_unit_test(test_refused),
        cmocka_unit_test(test_hostile_spm),   cmocka_unit_test(test_long_word),
        cmocka_unit_test(test_threads),       cmocka_unit_test(test_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
