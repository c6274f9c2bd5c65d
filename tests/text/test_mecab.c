/* test_mecab.c -- Japanese words against sacreBLEU's MeCab, line by line. */
#include "support.h"

#include "base/file.h"
#include "base/json.h"
#include "text/mecab.h"

/* Words with a space between them, white space at the ends taken off: what the reference holds. */
static void join(mg_mecab *m, const char *text, mg_buf *out) {
    mg_spans s = { 0 };
    mg_error err = { 0 };
    assert_ok(mg_mecab_split(m, text, strlen(text), &s, &err), err);
    for (size_t i = 0; i < s.n; i++) {
        if (i) mg_buf_char(out, ' ');
        mg_buf_add(out, text + s.span[i].at, s.span[i].len);
    }
    mg_buf_add(out, "", 0);
    mg_spans_free(&s);
}

static const char *strip(char *s) {
    char *end = s + strlen(s);
    for (;;) {
        if (end > s && strchr(" \t\n\r", end[-1])) *--end = 0;
        else if (end - s >= 3 && !memcmp(end - 3, "\xe3\x80\x80", 3)) *(end -= 3) = 0;
        else break;
    }
    for (;;) {
        if (*s && strchr(" \t\n\r", *s)) s++;
        else if (!strncmp(s, "\xe3\x80\x80", 3)) s += 3;
        else return s;
    }
}

/* How many lines of the reference are split otherwise; texts with `but` in them are not looked at. */
static size_t wrong_lines(mg_mecab *m, const char *but) {
    mg_error err = { 0 };
    mg_buf   file = { 0 };
    size_t   lines = 0, wrong = 0, left_out = 0;
    assert_ok(mg_read_file(&file, shared_path("metrics/japanese/wakati.jsonl"), 1 << 24, &err), err);
    for (char *line = file.data; line && *line; lines++) {
        char   *end = strchr(line, '\n');
        mg_json j = { 0 };
        mg_buf  got = { 0 };
        assert_ok(mg_json_parse(&j, line, end ? (size_t)(end - line) : strlen(line), "wakati", &err), err);
        char       *text = mg_strdup(yyjson_get_str(yyjson_obj_get(j.root, "text")));
        const char *want = yyjson_get_str(yyjson_obj_get(j.root, "ja_mecab"));
        join(m, strip(text), &got);
        if (but && strstr(text, but)) {
            left_out++;
        } else if (strcmp(strip(got.data), want) != 0) {
            print_error("line %zu: '%s', wanted '%s'\n", lines + 1, got.data, want);
            wrong++;
        }
        free(text);
        mg_buf_free(&got);
        mg_json_free(&j);
        line = end ? end + 1 : NULL;
    }
    assert_int_equal(lines, 1033);
    assert_int_equal(left_out, but ? 1 : 0);
    mg_buf_free(&file);
    return wrong;
}

/* The reference was made with Debian's dictionary, which has one word more than sacreBLEU's. */
static void every_reference_line_with_debians_words(void **state) {
    (void)state;
    mg_mecab *m = NULL;
    mg_error  err = { 0 };
    char     *folder = make_temp_folder(), command[8600], dictionary[4200];
    snprintf(dictionary, sizeof dictionary, "%s/all", folder);
    snprintf(command, sizeof command, "MECAB_IPADIC_LEAVE_OUT= '%s' '%s'", source_path("tools/dictionary.sh"), dictionary);
    if (system(command)) fail_msg("%s: failed", command); /* NOLINT: our own script */
    assert_ok(mg_mecab_open(&m, dictionary, &err), err);
    assert_int_equal(mg_mecab_words(m), 392127);
    assert_int_equal(wrong_lines(m, NULL), 0);
    mg_mecab_close(m);
    remove_temp_folder(folder);
}

static void our_dictionary_is_sacrebleus(void **state) {
    (void)state;
    mg_mecab *m = NULL;
    mg_error  err = { 0 };
    mg_buf    got = { 0 };
    assert_ok(mg_mecab_open(&m, NULL, &err), err);
    assert_int_equal(mg_mecab_words(m), 392126);
    assert_string_equal(mg_mecab_signature(m), "0.996-IPA");
    assert_int_equal(wrong_lines(m, "令和"), 0);
    join(m, "令和6年6月7日（金）午後3時45分", &got); /* as sacreBLEU 2.6.0 with ipadic 1.0.0 of PyPI has it */
    assert_string_equal(got.data, "令 和 6 年 6 月 7 日 （ 金 ） 午後 3 時 45 分");
    mg_buf_free(&got);
    mg_mecab_close(m);
}

static void spans_point_into_the_text(void **state) {
    (void)state;
    mg_mecab *m = NULL;
    mg_error  err = { 0 };
    mg_spans  s = { 0 };
    static const char text[] = "  磨き は\t楽しい。 ";
    assert_ok(mg_mecab_open(&m, NULL, &err), err);
    assert_ok(mg_mecab_split(m, "", 0, &s, &err), err);
    assert_int_equal(s.n, 0);
    assert_ok(mg_mecab_split(m, text, sizeof text - 1, &s, &err), err);
    assert_int_equal(s.n, 4);
    static const char *const want[] = { "磨き", "は", "楽しい", "。" };
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(s.span[i].len, strlen(want[i]));
        assert_memory_equal(text + s.span[i].at, want[i], s.span[i].len);
    }
    /* nothing is read behind the end, not even behind white space */
    char *heap = malloc(7);
    assert_non_null(heap);
    memcpy(heap, "abc \t \n", 7);
    s.n = 0;
    assert_ok(mg_mecab_split(m, heap, 7, &s, &err), err);
    assert_int_equal(s.n, 1);
    free(heap);
    /* bytes that are no UTF-8, and a text that is not terminated */
    static const char odd[] = { (char)0xff, (char)0xe3, (char)0x81, 'a', 0, (char)0xc3 };
    s.n = 0;
    assert_ok(mg_mecab_split(m, odd, sizeof odd, &s, &err), err);
    for (size_t i = 0; i < s.n; i++) assert_true(s.span[i].at + s.span[i].len <= sizeof odd);
    mg_spans_free(&s);
    mg_mecab_close(m);
}

static void a_missing_or_broken_dictionary_is_named(void **state) {
    (void)state;
    mg_mecab *m = NULL;
    mg_error  err;
    assert_fails(mg_mecab_open(&m, "/nonexistent", &err), err, MG_LIBRARY, "/nonexistent");
    char  *folder = make_temp_folder(), path[4200];
    FILE  *f;
    snprintf(path, sizeof path, "%s/sys.dic", folder);
    assert_non_null(f = fopen(path, "w"));
    fputs("no dictionary", f);
    fclose(f);
    assert_fails(mg_mecab_open(&m, folder, &err), err, MG_LIBRARY, folder);
    assert_null(m);
    remove_temp_folder(folder);
}

/* The words up to `most` bytes of two splits of texts that begin alike. */
static void same_words(const mg_spans *a, const mg_spans *b, size_t most) {
    for (size_t i = 0; i < a->n && a->span[i].at + a->span[i].len <= most; i++)
        if (i >= b->n || a->span[i].at != b->span[i].at || a->span[i].len != b->span[i].len)
            fail_msg("word %zu at byte %zu is cut otherwise in the long text", i, a->span[i].at);
}

enum { WHOLE = 32 << 10, LOOKED_AT = 30 << 10 };

/* A text beyond 32 KB goes through MeCab in windows: the words are those of its beginning alone, which does not. */
static void long_texts_are_cut_as_short_ones(void **state) {
    (void)state;
    static const char *const books[] = { "data/aozora/kokoro.txt", "data/aozora/gingatetsudou.txt", "data/aozora/bottyan.txt" };
    mg_mecab *m = NULL;
    mg_error  err = { 0 };
    size_t    compared = 0;
    assert_ok(mg_mecab_open(&m, NULL, &err), err);
    for (size_t k = 0; k < 3; k++) {
        mg_buf book = { 0 };
        assert_ok(mg_read_file(&book, ref_path(books[k]), 1 << 24, &err), err);
        for (size_t at = 0; at + 2 * WHOLE <= book.len; at += 20000) {
            mg_spans a = { 0 }, b = { 0 };
            while (((unsigned char)book.data[at] & 0xc0) == 0x80) at++;
            assert_ok(mg_mecab_split(m, book.data + at, WHOLE, &a, &err), err);
            assert_ok(mg_mecab_split(m, book.data + at, 2 * WHOLE, &b, &err), err);
            same_words(&a, &b, LOOKED_AT);
            compared += a.n;
            mg_spans_free(&a);
            mg_spans_free(&b);
        }
        mg_buf_free(&book);
    }
    assert_true(compared > 100000);
    mg_mecab_close(m);
}

/* Nothing is lost and nothing comes twice, whatever stands in a megabyte: one letter, spaces with words far apart, bytes
 * that are no UTF-8. */
static void a_megabyte_of_anything(void **state) {
    (void)state;
    enum { N = 1000000 };
    mg_mecab *m = NULL;
    mg_error  err = { 0 };
    char     *text = malloc(N);
    assert_non_null(text);
    assert_ok(mg_mecab_open(&m, NULL, &err), err);
    for (int kind = 0; kind < 4; kind++) {
        mg_spans s = { 0 };
        for (size_t i = 0; i < N; i++)
            text[i] = (char)(kind == 0 ? 'a' : kind == 1 ? (i % 700 < 2 ? 'a' : ' ') : kind == 2 ? (i % 5000 ? ' ' : 'a') : 0x80 | i % 61);
        assert_ok(mg_mecab_split(m, text, N, &s, &err), err);
        size_t covered = 0, end = 0;
        for (size_t i = 0; i < s.n; i++) {
            assert_true(s.span[i].at >= end);
            end = s.span[i].at + s.span[i].len;
            covered += s.span[i].len;
        }
        assert_true(end <= N);
        if (kind == 0) assert_int_equal(covered, N);
        if (kind == 1) assert_int_equal(covered, 2858);
        if (kind == 2) assert_int_equal(covered, 200);
        mg_spans_free(&s);
    }
    free(text);
    mg_mecab_close(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_reference_line_with_debians_words),
        cmocka_unit_test(our_dictionary_is_sacrebleus),
        cmocka_unit_test(spans_point_into_the_text),
        cmocka_unit_test(long_texts_are_cut_as_short_ones), cmocka_unit_test(a_megabyte_of_anything),
        cmocka_unit_test(a_missing_or_broken_dictionary_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
