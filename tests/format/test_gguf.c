/* test_gguf.c -- GGUF: what a file says is read back, and files that lie are refused by name.
 *
 * The sample is damaged at every byte and cut at every length; what is still accepted is used
 * (use.h), so under the sanitizers nothing may be believed that was not checked. */
#include "support.h"

#include "base/file.h"
#include "format/sample_gguf.h"
#include "format/use.h"

#include <time.h>

static void values_are_read(void **state) {
    (void)state;
    for (uint32_t version = 2; version <= 3; version++) {
        mg_buf         b = { 0 };
        mg_error       err;
        mg_gguf       *g = NULL;
        int64_t        i;
        double         d;
        mg_gguf_string s, tokens[3];
        sample_gguf(&b, version);
        assert_ok(mg_gguf_parse(&g, b.data, b.len, "sample", &err), err);
        assert_int_equal(g->n_values, 19);
        assert_int_equal(g->n_tensors, 3);
        assert_int_equal(g->file_bytes, b.len);
        assert_string_equal(g->path, "sample");
        assert_true(mg_gguf_str(g, "general.architecture", &s) && s.len == 5 && !memcmp(s.data, "llama", 5));
        static const struct {
            const char *key;
            int64_t     value;
        } ints[] = {
            { "u8", 255 }, { "i8", -1 },  { "u16", 65535 }, { "i16", -1 },
            { "i32", -1 }, { "i64", -1 }, { "bool", 1 },    { "general.alignment", 16 },
        };
        for (size_t k = 0; k < sizeof ints / sizeof *ints; k++) {
            assert_true(mg_gguf_int(g, ints[k].key, &i));
            assert_true(i == ints[k].value);
            assert_true(mg_gguf_float(g, ints[k].key, &d));
            assert_true(d == (double)ints[k].value);
        }
        i = 7;
        assert_false(mg_gguf_int(g, "u64", &i)); /* out of range */
        assert_false(mg_gguf_int(g, "f32", &i));
        assert_false(mg_gguf_int(g, "flags", &i));
        assert_false(mg_gguf_int(g, "general.architecture", &i));
        assert_false(mg_gguf_int(g, "absent", &i));
        assert_int_equal(i, 7);
        assert_true(mg_gguf_float(g, "u64", &d) && d == 0x1p64);
        assert_true(mg_gguf_float(g, "f32", &d) && d == 1.5);
        assert_true(mg_gguf_float(g, "f64", &d) && d == -2.25);
        assert_false(mg_gguf_float(g, "general.architecture", &d));
        assert_false(mg_gguf_str(g, "u8", &s));

        const mg_gguf_value *v = mg_gguf_find(g, "tokenizer.ggml.tokens");
        assert_true(v && v->kind == MG_GGUF_ARRAY && v->item == MG_GGUF_STRING && v->count == 3);
        mg_gguf_strings(v, tokens);
        assert_true(tokens[0].len == 1 && tokens[0].data[0] == 'a' && tokens[1].len == 0 && tokens[2].len == 6);
        v = mg_gguf_find(g, "tokenizer.ggml.token_type");
        for (int k = 0; k < 3; k++) assert_true(mg_gguf_item_int(v, (uint64_t)k) == k - 1);
        v = mg_gguf_find(g, "tokenizer.ggml.scores");
        assert_true(mg_gguf_item_float(v, 2) == 1.5);
        assert_true(mg_gguf_find(g, "none")->count == 0);
        assert_true(mg_gguf_item_int(mg_gguf_find(g, "flags"), 0) == 1);
        mg_gguf_close(g);
        mg_buf_free(&b);
    }
}

static void tensors_are_read(void **state) {
    (void)state;
    mg_buf   b = { 0 };
    mg_error err;
    mg_gguf *g = NULL;
    float    x[32];
    sample_gguf(&b, 3);
    assert_ok(mg_gguf_parse(&g, b.data, b.len, "sample", &err), err);
    assert_null(mg_gguf_find_tensor(g, "blk.0"));
    const mg_gguf_tensor *t = mg_gguf_find_tensor(g, "token_embd.weight");
    assert_true(t && t->n_dims == 2 && t->dims[0] == 3 && t->dims[1] == 2 && t->dims[2] == 1 && t->dims[3] == 1);
    assert_true(t->format == &mg_format_f32 && t->bytes == 24);
    t->format->decode(x, t->data, NULL, 0, 6);
    for (int i = 0; i < 6; i++) assert_true(x[i] == (float)i);
    t = &g->tensors[1];
    assert_string_equal(t->name, "blk.0.attn_q.weight");
    assert_ptr_equal(t->format, &mg_format_q8_0);
    t->format->decode(x, t->data, NULL, 0, 32);
    for (int i = 0; i < 32; i++) assert_true(x[i] == (float)(i - 16));
    t = mg_gguf_find_tensor(g, "output_norm.weight");
    assert_true(t && t->n_dims == 4 && t->format == &mg_format_f16);
    t->format->decode(x, t->data, NULL, 0, 4);
    assert_true(x[0] == 1 && x[1] == -1 && x[2] == 2 && x[3] == 0);
    mg_gguf_close(g);
    mg_buf_free(&b);
}

/* Parse a copy of exactly n bytes, so that the sanitizer sees a read of one more; use it if accepted. */
static bool try(const void *bytes, size_t n) {
    mg_error err = { .status = MG_OK };
    mg_gguf *g = NULL;
    void    *copy = malloc(n ? n : 1);
    memcpy(copy, bytes, n);
    mg_status st = mg_gguf_parse(&g, copy, n, "damaged", &err);
    if (st) {
        assert_null(g);
        assert_int_equal(err.status, st);
        assert_true(st == MG_FORMAT || st == MG_UNSUPPORTED);
        assert_non_null(strstr(err.text, "damaged: "));
    } else
        use_gguf(g);
    mg_gguf_close(g);
    free(copy);
    return !st;
}

static void every_prefix_is_refused(void **state) {
    (void)state;
    mg_buf b = { 0 };
    sample_gguf(&b, 3);
    for (size_t n = 0; n < b.len; n++)
        if (try(b.data, n)) fail_msg("the first %zu of %zu bytes were accepted", n, b.len);
    assert_true(try(b.data, b.len));
    mg_buf_free(&b);
}

static void every_flip_is_harmless(void **state) {
    (void)state;
    static const uint8_t masks[] = { 0x01, 0x02, 0x08, 0x20, 0x40, 0x80, 0x7f, 0xff };
    mg_buf               b = { 0 };
    size_t               refused = 0;
    sample_gguf(&b, 3);
    for (size_t i = 0; i < b.len; i++)
        for (size_t m = 0; m < sizeof masks; m++) {
            b.data[i] = (char)(b.data[i] ^ masks[m]);
            refused += !try(b.data, b.len);
            b.data[i] = (char)(b.data[i] ^ masks[m]);
        }
    assert_true(refused > b.len); /* values and data may change, structure may not */
    mg_buf_free(&b);
}

static void refuse(mg_buf *b, mg_status want, const char *part) {
    mg_error err;
    mg_gguf *g = NULL;
    assert_false(b->failed);
    assert_fails(mg_gguf_parse(&g, b->data, b->len, "attack", &err), err, want, part);
    assert_null(g);
    mg_buf_free(b);
}

/* One tensor of the given dimensions, type and offset, and `data` bytes behind it. */
static mg_buf one_tensor(int rank, const uint64_t *dims, uint32_t type, uint64_t offset, size_t data) {
    mg_buf b = { 0 };
    put_header(&b, 3, 1, 0);
    put_tensor(&b, "w", rank, dims, type, offset);
    pad_to(&b, 32);
    put_zeros(&b, data);
    return b;
}

static void wrong_shapes(void **state) {
    (void)state;
    const uint64_t max = INT64_MAX;
    mg_buf         b = one_tensor(4, (uint64_t[]){ max, 2, 1, 1 }, 0, 0, 64);
    refuse(&b, MG_FORMAT, "dimension 1 of 'w'");
    b = one_tensor(4, (uint64_t[]){ max, max, 0, 1 }, 0, 0, 64); /* a zero must not make a huge product small */
    refuse(&b, MG_FORMAT, "dimension 1 of 'w'");
    b = one_tensor(4, (uint64_t[]){ 1u << 31, 1u << 31, 4, 1 }, 0, 0, 64); /* 2^64: wraps to 0 */
    refuse(&b, MG_FORMAT, "dimension 2 of 'w'");
    b = one_tensor(2, (uint64_t[]){ 1ull << 61, 2 }, 0, 0, 64); /* elements fit, bytes do not */
    refuse(&b, MG_FORMAT, "size of 'w'");
    b = one_tensor(1, (uint64_t[]){ UINT64_MAX }, 0, 0, 64);
    refuse(&b, MG_FORMAT, "dimension 0 of 'w'");
    b = one_tensor(2, (uint64_t[]){ 0, 4 }, 0, 0, 64);
    refuse(&b, MG_FORMAT, "dimension 0 of 'w'");
    b = one_tensor(2, (uint64_t[]){ 48, 4 }, 8, 0, 1024); /* 192 elements are six blocks, a row is not */
    refuse(&b, MG_FORMAT, "multiple of 32");
    b = one_tensor(0, NULL, 0, 0, 64);
    refuse(&b, MG_FORMAT, "0 dimensions");
    b = one_tensor(4, (uint64_t[]){ 1, 1, 1, 1 }, 0, 0, 64);
    b.data[24 + 9] = 5; /* the rank */
    refuse(&b, MG_FORMAT, "5 dimensions");
    b = one_tensor(1, (uint64_t[]){ 32 }, 16, 0, 64);
    refuse(&b, MG_UNSUPPORTED, "ggml type 16");
    b = one_tensor(1, (uint64_t[]){ 32 }, UINT32_MAX, 0, 64);
    refuse(&b, MG_UNSUPPORTED, "ggml type");
}

static void wrong_places(void **state) {
    (void)state;
    mg_buf b = one_tensor(1, (uint64_t[]){ 16 }, 0, 32, 128); /* a hole in front */
    refuse(&b, MG_FORMAT, "start at 32");
    b = one_tensor(1, (uint64_t[]){ 16 }, 0, 0, 63);
    refuse(&b, MG_FORMAT, "needs 64 bytes");
    b = one_tensor(1, (uint64_t[]){ 16 }, 0, UINT64_MAX - 31, 64);
    refuse(&b, MG_FORMAT, "start at");
    for (int kind = 0; kind < 3; kind++) { /* overlap, hole, right */
        static const uint64_t second[3] = { 0, 96, 64 };
        b = (mg_buf){ 0 };
        put_header(&b, 3, 2, 0);
        put_tensor(&b, "v", 1, (uint64_t[]){ 9 }, 0, 0);
        put_tensor(&b, "w", 1, (uint64_t[]){ 8 }, 0, second[kind]);
        pad_to(&b, 32);
        put_zeros(&b, 64 + 32 + 32);
        if (kind == 2) {
            assert_true(try(b.data, b.len));
            mg_buf_free(&b);
        } else
            refuse(&b, MG_FORMAT, "data of 'w'");
    }
    b = (mg_buf){ 0 }; /* sizes whose running sum wraps */
    put_header(&b, 3, 3, 0);
    put_tensor(&b, "u", 1, (uint64_t[]){ 1ull << 61 }, 0, 0);
    put_tensor(&b, "v", 1, (uint64_t[]){ 1ull << 61 }, 0, 1ull << 63);
    put_tensor(&b, "w", 1, (uint64_t[]){ 8 }, 0, 0);
    pad_to(&b, 32);
    put_zeros(&b, 64);
    refuse(&b, MG_FORMAT, "sum of the sizes up to 'v'");
}

static void wrong_counts(void **state) {
    (void)state;
    mg_buf b = { 0 };
    put_header(&b, 3, 0, UINT64_MAX);
    put_zeros(&b, 100);
    refuse(&b, MG_FORMAT, "values");
    put_header(&b, 3, 1ull << 60, 0);
    put_zeros(&b, 100);
    refuse(&b, MG_FORMAT, "tensors");
    put_header(&b, 3, 0, 1);
    put_array(&b, "a", MG_GGUF_F64, 1ull << 61); /* times 8 is 0 */
    put_zeros(&b, 64);
    refuse(&b, MG_FORMAT, "values of kind f64");
    put_header(&b, 3, 0, 1);
    put_array(&b, "a", MG_GGUF_STRING, 9);
    put_zeros(&b, 64); /* eight empty strings */
    refuse(&b, MG_FORMAT, "values of kind string");
    put_header(&b, 3, 0, 1);
    put_key(&b, "a", MG_GGUF_STRING);
    put_u64(&b, UINT64_MAX);
    put_zeros(&b, 64);
    refuse(&b, MG_FORMAT, "of a string");
    put_header(&b, 3, 0, 1);
    put_key(&b, "a", MG_GGUF_STRING);
    put_u64(&b, (16u << 20) + 1); /* is there, but longer than any string may be */
    put_zeros(&b, (16u << 20) + 1);
    refuse(&b, MG_FORMAT, "of a string");
}

static void wrong_values(void **state) {
    (void)state;
    mg_buf b = { 0 };
    put_header(&b, 3, 0, 2);
    put_int(&b, "twice", 1);
    put_int(&b, "twice", 1);
    refuse(&b, MG_FORMAT, "'twice' stands twice");
    put_header(&b, 3, 2, 0);
    put_tensor(&b, "w", 1, (uint64_t[]){ 8 }, 0, 0);
    put_tensor(&b, "w", 1, (uint64_t[]){ 8 }, 0, 32);
    put_zeros(&b, 128);
    refuse(&b, MG_FORMAT, "'w' stands twice");
    put_header(&b, 3, 0, 1);
    put_array(&b, "deep", MG_GGUF_ARRAY, 1);
    put_zeros(&b, 64);
    refuse(&b, MG_FORMAT, "array of arrays");
    put_header(&b, 3, 0, 1);
    put_key(&b, "odd", (mg_gguf_kind)13);
    put_zeros(&b, 64);
    refuse(&b, MG_FORMAT, "kind 13");
    put_header(&b, 3, 0, 1);
    put_key(&b, "b", MG_GGUF_BOOL);
    mg_buf_char(&b, 2);
    refuse(&b, MG_FORMAT, "a bool is 2");
    put_header(&b, 3, 0, 1);
    put_key(&b, "", MG_GGUF_U8);
    put_zeros(&b, 64);
    refuse(&b, MG_FORMAT, "a key is empty");
    put_header(&b, 3, 0, 1);
    put_u64(&b, 3);
    mg_buf_add(&b, "a\0b", 3);
    put_zeros(&b, 64);
    refuse(&b, MG_FORMAT, "NUL");
    static const uint32_t alignments[] = { 0, 3, 48, 1u << 21, UINT32_MAX };
    for (size_t i = 0; i < sizeof alignments / sizeof *alignments; i++) {
        put_header(&b, 3, 0, 1);
        put_int(&b, "general.alignment", alignments[i]);
        refuse(&b, MG_FORMAT, "general.alignment");
    }
    put_header(&b, 3, 0, 1);
    put_string(&b, "general.alignment", "32");
    refuse(&b, MG_FORMAT, "general.alignment");
    put_header(&b, 3, 0, 3);
    put_string(&b, "general.architecture", "x");
    put_int(&b, "x.attention.head_count", 7);
    put_int(&b, "x.attention.head_count_kv", 2);
    refuse(&b, MG_FORMAT, "7 attention heads");
    put_header(&b, 3, 0, 3);
    put_string(&b, "general.architecture", "x");
    put_int(&b, "x.attention.head_count", 7);
    put_int(&b, "x.attention.head_count_kv", 0);
    refuse(&b, MG_FORMAT, "0 key heads");
    put_header(&b, 3, 0, 2);
    put_array(&b, "tokenizer.ggml.tokens", MG_GGUF_STRING, 1);
    put_text(&b, "a");
    put_array(&b, "tokenizer.ggml.scores", MG_GGUF_F32, 2);
    put_zeros(&b, 8);
    refuse(&b, MG_FORMAT, "tokenizer.ggml.scores has 2 entries");
    put_header(&b, 3, 0, 1);
    put_array(&b, "tokenizer.ggml.tokens", MG_GGUF_U8, 1);
    put_zeros(&b, 1);
    refuse(&b, MG_FORMAT, "tokenizer.ggml.tokens is no array of strings");
}

static void wrong_headers(void **state) {
    (void)state;
    mg_buf b = { 0 };
    put_header(&b, 1, 0, 0);
    refuse(&b, MG_UNSUPPORTED, "version 1");
    put_header(&b, 0x03000000, 0, 0); /* big endian */
    refuse(&b, MG_UNSUPPORTED, "little endian");
    mg_buf_str(&b, "GGML....................");
    refuse(&b, MG_FORMAT, "no GGUF file");
    put_header(&b, 3, 0, 0);
    assert_true(try(b.data, b.len)); /* nothing in it is no fault */
    mg_buf_free(&b);
}

/* A million keys are checked for twins in under 2 seconds. */
static void many_keys_are_quick(void **state) {
    (void)state;
    enum { MANY = 1000000 };
    mg_buf   b = { 0 };
    mg_error err;
    mg_gguf *g = NULL;
    char     key[16];
    int64_t  value;
    put_header(&b, 3, 0, MANY);
    for (int i = 0; i < MANY; i++) {
        snprintf(key, sizeof key, "k%d", i);
        put_int(&b, key, (uint32_t)i);
    }
    clock_t start = clock();
    assert_ok(mg_gguf_parse(&g, b.data, b.len, "many", &err), err);
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    assert_true(mg_gguf_int(g, "k777777", &value) && value == 777777);
    if (seconds > 2) fail_msg("%d keys took %.2f s, at most 2 s are allowed", MANY, seconds);
    mg_gguf_close(g);
    mg_buf_free(&b);
}

static void files_are_opened(void **state) {
    (void)state;
    mg_buf   b = { 0 };
    mg_error err;
    mg_gguf *g = NULL;
    char    *folder = make_temp_folder(), *path = mg_path_join(folder, "model.gguf");
    assert_fails(mg_gguf_open(&g, path, &err), err, MG_NOTFOUND, "model.gguf");
    assert_fails(mg_gguf_open(&g, folder, &err), err, MG_NOTFOUND, "regular file");
    assert_ok(mg_replace_file(path, "", 0, &err), err);
    assert_fails(mg_gguf_open(&g, path, &err), err, MG_FORMAT, "model.gguf");
    sample_gguf(&b, 3);
    assert_ok(mg_replace_file(path, b.data, b.len, &err), err);
    assert_null(g);
    assert_ok(mg_gguf_open(&g, path, &err), err);
    assert_string_equal(g->path, path);
    use_gguf(g);
    mg_gguf_close(g);
    mg_gguf_close(NULL);
    mg_buf_free(&b);
    free(path);
    remove_temp_folder(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_read),
        cmocka_unit_test(tensors_are_read),
        cmocka_unit_test(every_prefix_is_refused),
        cmocka_unit_test(every_flip_is_harmless),
        cmocka_unit_test(wrong_shapes),
        cmocka_unit_test(wrong_places),
        cmocka_unit_test(wrong_counts),
        cmocka_unit_test(wrong_values),
        cmocka_unit_test(wrong_headers),
        cmocka_unit_test(many_keys_are_quick),
        cmocka_unit_test(files_are_opened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
