/* test_formats.c -- every GGUF format decodes to the values of the Python package gguf, bit for
 * bit (quant/ggml.safetensors: ggml's own blocks of six kinds of inputs), and the plain formats
 * convert exactly and round to nearest even. */
#include "support.h"

#include "format/safetensors.h"
#include "tensor/format.h"

#include <ctype.h>

static const char *const inputs[] = { "gauss", "heavy", "large", "one_spike", "tiny", "zeros_and_ties" };
static const char *const types[] = { "F16",  "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1",
                                     "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K" };

static const mg_format *format_of(const char *type) {
    char lower[16] = { 0 };
    for (size_t i = 0; type[i]; i++) lower[i] = (char)tolower((unsigned char)type[i]);
    const mg_format *f = mg_format_find(lower);
    if (!f) fail_msg("no format %s", lower);
    return f;
}

static const mg_st_entry *entry(const mg_safetensors *f, const char *input, const char *type, const char *part) {
    char key[100];
    snprintf(key, sizeof key, "%s/%s/%s", input, type, part);
    const mg_st_entry *e = mg_safetensors_find(f, key);
    if (!e) fail_msg("%s is missing", key);
    return e;
}

/* Whole, block by block, and from an odd address: the same bits. */
static void decodes_exactly(void **state) {
    const mg_safetensors *file = *state;
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++)
        for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
            const mg_format   *f = format_of(types[t]);
            const mg_st_entry *bytes = entry(file, inputs[i], types[t], "bytes");
            const mg_st_entry *want = entry(file, inputs[i], types[t], "dequant");
            int64_t            n = (int64_t)(want->bytes / sizeof(float));
            size_t             size;
            assert_true(mg_format_bytes(f, n, &size));
            assert_int_equal(size, bytes->bytes);
            char *odd = malloc(size + 1);
            memcpy(odd + 1, bytes->data, size);
            float *got = malloc(want->bytes);
            f->decode(got, odd + 1, NULL, 0, n);
            if (memcmp(got, want->data, want->bytes)) fail_msg("%s of %s: other bits", types[t], inputs[i]);
            memset(got, 0xff, want->bytes);
            for (int64_t k = 0; k < n; k += f->block) f->decode(got + k, bytes->data, NULL, k, f->block);
            if (memcmp(got, want->data, want->bytes))
                fail_msg("%s of %s: other bits in parts", types[t], inputs[i]);
            free(got);
            free(odd);
        }
}

/* What ggml_quantize_chunk makes without an importance matrix, byte for byte; also on several threads and in parts. */
static void encodes_exactly(void **state) {
    const mg_safetensors *file = *state;
    mg_safetensors       *plain;
    mg_error              err;
    assert_int_equal(mg_safetensors_open(&plain, ref_path("quant/inputs.safetensors"), &err), MG_OK);
    int tested = 0;
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++)
        for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
            const mg_format   *f = format_of(types[t]);
            const mg_st_entry *want = entry(file, inputs[i], types[t], "bytes"), *in = mg_safetensors_find(plain, inputs[i]);
            if (!f->encode) continue;
            int64_t n = (int64_t)(in->bytes / sizeof(float));
            char   *got = malloc(want->bytes), *parts = malloc(want->bytes + 1);
            mg_format_encode(f, got, in->data, n);
            for (size_t b = 0; b < want->bytes / f->block_bytes; b++)
                if (memcmp(got + b * f->block_bytes, (const char *)want->data + b * f->block_bytes, f->block_bytes))
                    fail_msg("%s of %s: block %zu has other bytes", types[t], inputs[i], b);
            for (int64_t k = 0; k < n; k += f->block)
                f->encode(parts + 1 + (size_t)(k / f->block) * f->block_bytes, (const float *)in->data + k, f->block);
            assert_memory_equal(parts + 1, want->data, want->bytes);
            free(got);
            free(parts);
            tested++;
        }
    assert_int_equal(tested, 10 * 6);
    mg_safetensors_close(plain);
}

/* The table: names and numbers lead back to their row. */
static void table_is_consistent(void **state) {
    (void)state;
    int n = 0;
    for (const mg_format *const *f = mg_formats(); *f; f++, n++) {
        assert_ptr_equal(mg_format_find((*f)->name), *f);
        if ((*f)->gguf_type >= 0) assert_ptr_equal(mg_format_of_gguf((*f)->gguf_type), *f);
        if ((*f)->safetensors) assert_ptr_equal(mg_format_of_safetensors((*f)->safetensors), *f);
        assert_non_null((*f)->decode);
        assert_int_equal(mg_format_is_plain(*f), (*f)->block == 1);
    }
    assert_int_equal(n, 17);
    assert_null(mg_format_find("q9_9"));
    assert_null(mg_format_of_gguf(-1));
    assert_null(mg_format_of_gguf(4)); /* removed from ggml */
    assert_null(mg_format_of_safetensors("I64"));
}

static void sizes_are_checked(void **state) {
    (void)state;
    size_t bytes = 7;
    assert_true(mg_format_bytes(&mg_format_q4_k, 512, &bytes));
    assert_int_equal(bytes, 288);
    assert_false(mg_format_bytes(&mg_format_q4_k, 500, &bytes));
    assert_false(mg_format_bytes(&mg_format_f32, -1, &bytes));
    assert_false(mg_format_bytes(&mg_format_f32, INT64_MAX, &bytes));
    assert_true(mg_format_bytes(&mg_format_bf16, INT64_MAX, &bytes));
    assert_true(bytes == (size_t)INT64_MAX * 2);
}

/* All 65,536 halves against ldexp, and back to the same half. */
static void halves_are_exact(void **state) {
    (void)state;
    for (unsigned h = 0; h < 65536; h++) {
        int    exponent = h >> 10 & 31, fraction = h & 1023;
        float  f = mg_f16_to_f32((uint16_t)h);
        double want = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
        if (exponent == 31 && fraction) {
            assert_true(isnan(f));
            assert_true(isnan(mg_f16_to_f32(mg_f32_to_f16(f))));
            continue;
        }
        if (exponent == 31) want = INFINITY;
        assert_true(f == (float)(h & 0x8000 ? -want : want));
        assert_int_equal(signbit(f) != 0, h >> 15);
        assert_int_equal(mg_f32_to_f16(f), h);
        assert_int_equal(mg_f32_to_bf16(mg_bf16_to_f32((uint16_t)h)),
                         isnan(mg_bf16_to_f32((uint16_t)h)) ? h | 0x40 : h);
    }
}

/* Between two neighbouring halves: nearest, the even one from the middle. */
static void halves_round_to_even(void **state) {
    (void)state;
    for (unsigned h = 0; h < 0x7bff; h++) {
        float low = mg_f16_to_f32((uint16_t)h), high = mg_f16_to_f32((uint16_t)(h + 1));
        float middle = (low + high) / 2; /* exact: twelve bits */
        assert_int_equal(mg_f32_to_f16(middle), h + (h & 1));
        assert_int_equal(mg_f32_to_f16(nextafterf(middle, 0)), h);
        assert_int_equal(mg_f32_to_f16(-nextafterf(middle, INFINITY)), (h + 1) | 0x8000);
    }
    assert_int_equal(mg_f32_to_f16(65519.996f), 0x7bff);
    assert_int_equal(mg_f32_to_f16(65520), 0x7c00);
    assert_int_equal(mg_f32_to_f16(-1e30f), 0xfc00);
    assert_int_equal(mg_f32_to_f16(1e-30f), 0);
    assert_int_equal(mg_f32_to_bf16(1.00390625f), 0x3f80); /* the middle between 1 and 1 + 2^-7 */
    assert_int_equal(mg_f32_to_bf16(1.01171875f), 0x3f82);
}

static void plain_formats_encode(void **state) {
    (void)state;
    static const mg_format *const plain[] = { &mg_format_f32, &mg_format_f16, &mg_format_bf16 };
    float                         in[37], out[37], part[5];
    uint8_t                       bytes[37 * 4 + 1];
    for (int i = 0; i < 37; i++) in[i] = (float)(i - 18) * 0.25f; /* exact in all three */
    for (int k = 0; k < 3; k++) {
        plain[k]->encode(bytes + 1, in, 37);
        plain[k]->decode(out, bytes + 1, NULL, 0, 37);
        assert_memory_equal(in, out, sizeof in);
        plain[k]->decode(part, bytes + 1, NULL, 11, 5);
        assert_memory_equal(in + 11, part, sizeof part);
    }
}

int main(void) {
    mg_safetensors *file = NULL;
    mg_error        err;
    const char     *folder = getenv("MIGAKI_REF");
    char            path[4096];
    snprintf(path, sizeof path, "%s/quant/ggml.safetensors", folder ? folder : ".");
    if (mg_safetensors_open(&file, path, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(decodes_exactly, file),
        cmocka_unit_test_prestate(encodes_exactly, file),
        cmocka_unit_test(table_is_consistent),
        cmocka_unit_test(sizes_are_checked),
        cmocka_unit_test(halves_are_exact),
        cmocka_unit_test(halves_round_to_even),
        cmocka_unit_test(plain_formats_encode),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    mg_safetensors_close(file);
    return failed;
}
