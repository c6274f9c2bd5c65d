/* test_safetensors.c -- what is saved is read back; files that lie are refused by name; a save
 * that fails leaves the old file as it was and no rubbish beside it. */
#include "support.h"

#include "base/file.h"
#include "format/use.h"

#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>

static const float    f32_data[6] = { 0, 1, -2, 3.5f, 1e-3f, -1e30f };
static const uint16_t bf16_data[3] = { 0x3f80, 0xc000, 0x4040 };
static const int64_t  i64_data[2] = { -1, INT64_MAX };
static const uint8_t  u8_data[5] = { 1, 2, 3, 4, 255 };

static const mg_st_entry sample[] = {
    { "b.bytes", "U8", 1, { 5 }, u8_data, 5 },
    { "w.bf16", "BF16", 2, { 3, 1 }, bf16_data, 6 },
    { "a.weight", "F32", 2, { 2, 3 }, f32_data, 24 },
    { "\xe7\xa3\xa8\xe3\x81\x8d \"q\" \\", "I64", 1, { 2 }, i64_data, 16 },
    { "scalar", "F32", 0, { 0 }, f32_data + 3, 4 },
    { "empty", "F16", 2, { 0, 7 }, NULL, 0 },
};
enum { N_SAMPLE = sizeof sample / sizeof *sample };
static const char *const metadata[] = { "format", "pt", "note", "line\n\"quoted\"", NULL };

static char *folder, *path;

static int make_folder(void **state) {
    (void)state;
    folder = make_temp_folder();
    path = mg_path_join(folder, "model.safetensors");
    return !path;
}

static int remove_folder(void **state) {
    (void)state;
    free(path);
    remove_temp_folder(folder);
    return 0;
}

static int count_files(void) {
    int  n = 0;
    DIR *d = opendir(folder);
    for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static void same_entry(const mg_st_entry *got, const mg_st_entry *want) {
    assert_non_null(got);
    assert_string_equal(got->name, want->name);
    assert_string_equal(got->dtype, want->dtype);
    assert_int_equal(got->n_dims, want->n_dims);
    assert_int_equal(got->bytes, want->bytes);
    for (int d = 0; d < want->n_dims; d++) assert_int_equal(got->dims[d], want->dims[d]);
    if (want->bytes) assert_memory_equal(got->data, want->data, want->bytes);
}

static void round_trip(void **state) {
    (void)state;
    mg_error        err;
    mg_safetensors *f = NULL;
    assert_ok(mg_safetensors_save(path, sample, N_SAMPLE, metadata, &err), err);
    assert_int_equal(count_files(), 1);
    assert_ok(mg_safetensors_open(&f, path, &err), err);
    assert_string_equal(f->path, path);
    assert_int_equal(f->n, N_SAMPLE);
    for (int i = 0; i < N_SAMPLE; i++) {
        const mg_st_entry *e = mg_safetensors_find(f, sample[i].name);
        same_entry(e, &sample[i]);
        assert_int_equal((uintptr_t)e->data % mg_st_dtype_size(e->dtype), 0); /* usable without memcpy */
    }
    /* Wide elements first, then by name: the bytes are a function of the contents. */
    static const char *const order[] = { sample[3].name, "a.weight", "scalar", "empty", "w.bf16", "b.bytes" };
    for (int i = 0; i < N_SAMPLE; i++) assert_string_equal(f->entries[i].name, order[i]);
    assert_null(mg_safetensors_find(f, "a.weigh"));
    assert_null(mg_safetensors_find(f, "__metadata__"));
    assert_string_equal(mg_safetensors_meta(f, "format"), "pt");
    assert_string_equal(mg_safetensors_meta(f, "note"), metadata[3]);
    assert_null(mg_safetensors_meta(f, "absent"));
    use_safetensors(f);

    /* Saving what was read gives the same file; saving over a mapped file leaves the map as it was. */
    mg_buf before = { 0 }, after = { 0 };
    assert_ok(mg_read_file(&before, path, SIZE_MAX, &err), err);
    assert_ok(mg_safetensors_save(path, f->entries, f->n, metadata, &err), err);
    assert_ok(mg_read_file(&after, path, SIZE_MAX, &err), err);
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.data, after.data, before.len);
    assert_ok(mg_safetensors_save(path, sample, 1, NULL, &err), err);
    same_entry(mg_safetensors_find(f, "a.weight"), &sample[2]);
    mg_buf_free(&before);
    mg_buf_free(&after);
    mg_safetensors_close(f);
    mg_safetensors_close(NULL);
}

static void nothing_is_a_file_too(void **state) {
    (void)state;
    mg_error        err;
    mg_safetensors *f = NULL;
    assert_ok(mg_safetensors_save(path, NULL, 0, NULL, &err), err);
    assert_ok(mg_safetensors_open(&f, path, &err), err);
    assert_int_equal(f->n, 0);
    assert_null(mg_safetensors_meta(f, "format"));
    mg_safetensors_close(f);
}

static void bad_saves_change_nothing(void **state) {
    (void)state;
    mg_error    err;
    mg_buf      before = { 0 }, after = { 0 };
    mg_st_entry bad[2] = { sample[2], sample[2] };
    assert_ok(mg_safetensors_save(path, sample, N_SAMPLE, metadata, &err), err);
    assert_ok(mg_read_file(&before, path, SIZE_MAX, &err), err);
    assert_fails(mg_safetensors_save(path, bad, 2, NULL, &err), err, MG_FORMAT, "a.weight");
    bad[0].bytes = 20;
    assert_fails(mg_safetensors_save(path, bad, 1, NULL, &err), err, MG_FORMAT, "a.weight");
    bad[0] = sample[2];
    bad[0].name = "no\xff utf";
    assert_fails(mg_safetensors_save(path, bad, 1, NULL, &err), err, MG_FORMAT, "UTF-8");
    bad[0].name = "";
    assert_fails(mg_safetensors_save(path, bad, 1, NULL, &err), err, MG_FORMAT, "name");
    bad[0].name = "__metadata__";
    assert_fails(mg_safetensors_save(path, bad, 1, NULL, &err), err, MG_FORMAT, "__metadata__");
    assert_fails(mg_safetensors_save("/nonexistent/x", sample, 1, NULL, &err), err, MG_IO, "/nonexistent/x");
    assert_fails(mg_safetensors_save(folder, sample, 1, NULL, &err), err, MG_IO,
                 "no regular file");
    assert_ok(mg_read_file(&after, path, SIZE_MAX, &err), err);
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.data, after.data, before.len);
    assert_int_equal(count_files(), 1);
    mg_buf_free(&before);
    mg_buf_free(&after);
}

/* The disk is "full" after every number of bytes: the old file stays, the part is removed. */
static void a_full_disk_changes_nothing(void **state) {
    (void)state;
    mg_error        err;
    mg_safetensors *f = NULL;
    struct rlimit   old, small;
    assert_ok(mg_safetensors_save(path, sample, 1, NULL, &err), err);
    signal(SIGXFSZ, SIG_IGN); /* then write() fails with EFBIG */
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    for (rlim_t limit = 0; limit < 500; limit += 7) {
        small = (struct rlimit){ limit, old.rlim_max };
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        mg_status st = mg_safetensors_save(path, sample, N_SAMPLE, metadata, &err);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        assert_int_equal(st, MG_IO);
        assert_non_null(strstr(err.text, path));
        assert_int_equal(count_files(), 1);
    }
    assert_ok(mg_safetensors_open(&f, path, &err), err);
    assert_int_equal(f->n, 1);
    same_entry(f->entries, &sample[0]);
    mg_safetensors_close(f);
}

/* ---- files that lie ---- */

/* A file of a header and `data` zero bytes. */
static mg_buf file_of(const char *header, size_t data) {
    mg_buf   b = { 0 };
    uint64_t n = strlen(header);
    mg_buf_add(&b, &n, 8);
    mg_buf_str(&b, header);
    while (data--) mg_buf_char(&b, 0);
    return b;
}

static bool try(const void *bytes, size_t n) {
    mg_error        err = { .status = MG_OK };
    mg_safetensors *f = NULL;
    void           *copy = malloc(n ? n : 1);
    memcpy(copy, bytes, n);
    mg_status st = mg_safetensors_parse(&f, copy, n, "damaged", &err);
    if (st) {
        assert_null(f);
        assert_int_equal(err.status, st);
        assert_true(st == MG_FORMAT || st == MG_UNSUPPORTED);
        assert_non_null(strstr(err.text, "damaged: "));
    } else
        use_safetensors(f);
    mg_safetensors_close(f);
    free(copy);
    return !st;
}

static void accept(const char *header, size_t data) {
    mg_buf b = file_of(header, data);
    if (!try(b.data, b.len)) fail_msg("was refused: %s", header);
    mg_buf_free(&b);
}

static void refuse(const char *header, size_t data, mg_status want, const char *part) {
    mg_buf          b = file_of(header, data);
    mg_error        err;
    mg_safetensors *f = NULL;
    try(b.data, b.len);
    assert_fails(mg_safetensors_parse(&f, b.data, b.len, "attack", &err), err, want, part);
    assert_null(f);
    mg_buf_free(&b);
}

#define W(shape, from, to) "{\"w\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[" #from "," #to "]}}"

static void wrong_shapes(void **state) {
    (void)state;
    accept(W("[2]", 0, 8), 8);
    accept(W("[]", 0, 4), 4);
    accept(W("[1,1,1,1,1,1,1,2]", 0, 8), 8);
    refuse(W("[1,1,1,1,1,1,1,1,2]", 0, 8), 8, MG_FORMAT, "shape of 'w'");
    refuse(W("[3]", 0, 8), 8, MG_FORMAT, "make 12");
    refuse(W("[-2]", 0, 8), 8, MG_FORMAT, "shape of 'w'");
    refuse(W("[2.0]", 0, 8), 8, MG_FORMAT, "shape of 'w'");
    refuse(W("[\"2\"]", 0, 8), 8, MG_FORMAT, "shape of 'w'");
    refuse(W("[true]", 0, 4), 4, MG_FORMAT, "shape of 'w'");
    refuse(W("2", 0, 8), 8, MG_FORMAT, "shape of 'w'");
    refuse(W("{}", 0, 4), 4, MG_FORMAT, "shape of 'w'");
    refuse(W("[4611686018427387904]", 0, 0), 0, MG_FORMAT, "shape of 'w'"); /* times 4 is 0 */
    refuse(W("[4294967296,1073741824]", 0, 0), 0, MG_FORMAT, "shape of 'w'");
    refuse(W("[0,4294967296,4294967296]", 0, 0), 0, MG_FORMAT, "shape of 'w'");
    refuse(W("[18446744073709551616]", 0, 0), 0, MG_FORMAT, "shape of 'w'");
}

static void wrong_places(void **state) {
    (void)state;
#define TWO(a, b, c, d)                                                         \
    "{\"v\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[" #a "," #b "]}," \
    "\"w\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[" #c "," #d "]}}"
    accept(TWO(0, 4, 4, 8), 8);
    accept(TWO(4, 8, 0, 4), 8); /* the order of the keys is free */
    refuse(TWO(0, 4, 0, 4), 8, MG_FORMAT, "starts at byte 0");
    refuse(TWO(0, 4, 3, 7), 8, MG_FORMAT, "'w' starts at byte 3");
    refuse(TWO(0, 4, 5, 9), 9, MG_FORMAT, "'w' starts at byte 5");
    refuse(TWO(1, 5, 5, 9), 9, MG_FORMAT, "'v' starts at byte 1");
    refuse(TWO(0, 4, 4, 8), 9, MG_FORMAT, "take 8 bytes, the file has 9");
    refuse(TWO(0, 4, 4, 8), 7, MG_FORMAT, "data_offsets of 'w'");
    refuse(W("[2]", 8, 0), 8, MG_FORMAT, "data_offsets of 'w'");
    refuse(W("[2]", -8, 0), 8, MG_FORMAT, "data_offsets of 'w'");
    refuse(W("[2]", 0.0, 8.0), 8, MG_FORMAT, "data_offsets of 'w'");
    refuse(W("[2]", 18446744073709551608, 18446744073709551615), 8, MG_FORMAT, "data_offsets of 'w'");
    accept("{\"e\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},"
           "\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
           "\"z\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[4,4]}}",
           4);
    refuse("{\"e\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[2,2]},"
           "\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
           4, MG_FORMAT, "'e' starts at byte 2");
}

static void wrong_members(void **state) {
    (void)state;
    refuse("{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
           "\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
           8, MG_FORMAT, "'w' stands twice");
    refuse("{\"w\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, MG_FORMAT,
           "twice");
    refuse("{\"w\":{\"dtype\":\"F33\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, MG_UNSUPPORTED, "'F33'");
    refuse("{\"w\":{\"dtype\":5,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, MG_FORMAT, "'w' must have");
    refuse("{\"w\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, MG_FORMAT, "'w' must have");
    refuse("{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", 4, MG_FORMAT,
           "nothing else");
    refuse("{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, MG_FORMAT, "'w' must have");
    refuse("{\"w\":[]}", 0, MG_FORMAT, "'w' must have");
    refuse("{\"w\":null}", 0, MG_FORMAT, "'w' must have");
    refuse("{\"\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, MG_FORMAT, "name is empty");
    refuse("{\"a\\u0000b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, MG_FORMAT, "NUL");
    refuse("{\"a\xff\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, MG_FORMAT, "JSON");
    refuse("{\"__metadata__\":{\"a\":1}}", 0, MG_FORMAT, "__metadata__");
    refuse("{\"__metadata__\":{\"a\":\"x\\u0000\"}}", 0, MG_FORMAT, "__metadata__");
    refuse("{\"__metadata__\":[]}", 0, MG_FORMAT, "__metadata__");
    accept("{\"__metadata__\":{\"a\":\"1\"}}    ", 0);
    mg_buf long_name = { 0 };
    for (int length = 512; length <= 513; length++) {
        mg_buf_str(&long_name, "{\"");
        for (int i = 0; i < length; i++) mg_buf_char(&long_name, 'n');
        mg_buf_str(&long_name, "\":{\"dtype\":\"I8\",\"shape\":[4],\"data_offsets\":[0,4]}}");
        if (length == 512)
            accept(long_name.data, 4);
        else
            refuse(long_name.data, 4, MG_FORMAT, "512 bytes");
        mg_buf_free(&long_name);
    }
}

static void wrong_headers(void **state) {
    (void)state;
    mg_error        err;
    mg_safetensors *f = NULL;
    refuse("", 0, MG_FORMAT, "'{'");
    refuse(" {}", 0, MG_FORMAT, "'{'");
    refuse("[]", 0, MG_FORMAT, "'{'");
    refuse("{", 0, MG_FORMAT, "JSON");
    refuse("{}x", 0, MG_FORMAT, "JSON");
    refuse("{/**/}", 0, MG_FORMAT, "JSON");
    refuse("{}", 1, MG_FORMAT, "the file has 1");
    static const uint64_t lengths[] = { 3, 100000001, UINT64_MAX, UINT64_MAX - 7, 1ull << 63 };
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        char bytes[10] = "........{}";
        memcpy(bytes, &lengths[i], 8);
        assert_false(try(bytes, 10));
    }
    /* Over the limit, although the file is that long. */
    size_t n = 100000001;
    char  *big = malloc(n + 8);
    memset(big, ' ', n + 8);
    uint64_t length = n;
    memcpy(big, &length, 8);
    big[8] = '{';
    big[9] = '}';
    assert_fails(mg_safetensors_parse(&f, big, n + 8, "attack", &err), err, MG_FORMAT, "100000001");
    free(big);
    mg_buf deep = { 0 };
    for (int i = 0; i < 100000; i++) mg_buf_str(&deep, "{\"a\":");
    refuse(deep.data, 0, MG_FORMAT, "JSON");
    mg_buf_free(&deep);
}

static void every_prefix_and_flip(void **state) {
    (void)state;
    static const uint8_t masks[] = { 0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xff };
    mg_error             err;
    mg_buf               b = { 0 };
    size_t               refused = 0;
    assert_ok(mg_safetensors_save(path, sample, N_SAMPLE, metadata, &err), err);
    assert_ok(mg_read_file(&b, path, SIZE_MAX, &err), err);
    for (size_t n = 0; n < b.len; n++)
        if (try(b.data, n)) fail_msg("the first %zu of %zu bytes were accepted", n, b.len);
    assert_true(try(b.data, b.len));
    for (size_t i = 0; i < b.len; i++)
        for (size_t m = 0; m < sizeof masks; m++) {
            b.data[i] = (char)(b.data[i] ^ masks[m]);
            refused += !try(b.data, b.len);
            b.data[i] = (char)(b.data[i] ^ masks[m]);
        }
    assert_true(refused > 4 * b.len); /* the header is most of it */
    mg_buf_free(&b);
}

static void dtypes(void **state) {
    (void)state;
    assert_int_equal(mg_st_dtype_size("F64"), 8);
    assert_int_equal(mg_st_dtype_size("BF16"), 2);
    assert_int_equal(mg_st_dtype_size("BOOL"), 1);
    assert_int_equal(mg_st_dtype_size("f32"), 0);
    assert_int_equal(mg_st_dtype_size(""), 0);
}

/* Written by the Python package: found, and as long as they say. */
static void reads_reference_files(void **state) {
    (void)state;
    static const char *const files[] = { "quant/ggml.safetensors", "golden/gemma2/adamw.safetensors",
                                         "golden/bert/model.safetensors" };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        mg_error        err;
        mg_safetensors *f = NULL;
        assert_ok(mg_safetensors_open(&f, ref_path(files[i]), &err), err);
        assert_true(f->n > 0);
        use_safetensors(f);
        mg_safetensors_close(f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(round_trip, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(nothing_is_a_file_too, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(bad_saves_change_nothing, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_full_disk_changes_nothing, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(every_prefix_and_flip, make_folder, remove_folder),
        cmocka_unit_test(wrong_shapes),
        cmocka_unit_test(wrong_places),
        cmocka_unit_test(wrong_members),
        cmocka_unit_test(wrong_headers),
        cmocka_unit_test(dtypes),
        cmocka_unit_test(reads_reference_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
