/* test_nf4.c -- nf4, fp4 and dynamic 8-bit against bitsandbytes 0.50.2 on the CPU
 * (quant/bitsandbytes.safetensors: six kinds of inputs, blocks of 64 and 128, plain and nested).
 *
 * All bits are equal but for one thing: bitsandbytes' CPU code rounds x / absmax to one of
 * 65,536 points in [-1, 1] before it looks up the 8-bit code.  With that step put in front,
 * our codes are its codes; without it, ours are the nearest ones. */
#include "support.h"

#include "base/mem.h"
#include "format/safetensors.h"
#include "tensor/nf4.h"

static const char *const inputs[] = { "gauss", "heavy", "large", "one_spike", "tiny", "zeros_and_ties" };
enum { N_INPUTS = sizeof inputs / sizeof *inputs };

static mg_safetensors *source, *reference;

static const mg_st_entry *get(const mg_safetensors *f, const char *key) {
    const mg_st_entry *e = mg_safetensors_find(f, key);
    if (!e) fail_msg("%s is missing", key);
    return e;
}

static const mg_st_entry *part(const char *prefix, const char *name) {
    char key[100];
    snprintf(key, sizeof key, "%s/%s", prefix, name);
    return get(reference, key);
}

static void same_bytes(const void *got, const mg_st_entry *want, const char *prefix) {
    if (memcmp(got, want->data, want->bytes)) fail_msg("%s: %s differs", prefix, want->name);
}

/* What bitsandbytes' CPU code makes of x / absmax before it looks for the nearest code. */
static float on_grid(float x) { return (float)(floorf((x + 1) * 32767.5f + 0.5f) / 32767.5 - 1); }

static double distance(const float *map, uint8_t code, float x) { return fabs((double)map[code] - x); }

/* Our codes of x[0..n) (absmax given) against the reference's; ours are never farther away, and
 * all that differ are explained by the grid.  Returns how many differ. */
static int compare_codes(const float *x, int64_t n, const uint8_t *ours, const uint8_t *theirs,
                         const float *absmax, const char *what) {
    const float *map = mg_dynamic_map(true);
    int          differ = 0;
    for (int64_t i = 0; i < n; i++) {
        float max = absmax[i / 256];
        if (max == 0) continue; /* any code is worth 0 */
        float   scaled = x[i] / max, gridded = on_grid(scaled), one = 1, unused;
        uint8_t code;
        if (ours[i] == theirs[i]) continue;
        differ++;
        float   pair[2] = { gridded, one }; /* the 1 keeps absmax at 1 */
        uint8_t codes[2];
        mg_dynamic8_encode(pair, 2, 256, true, codes, &unused);
        code = codes[0];
        if (code != theirs[i])
            fail_msg("%s: code %ld is %d, theirs %d, on the grid %d", what, (long)i, ours[i], theirs[i], code);
        assert_true(distance(map, ours[i], scaled) <= distance(map, theirs[i], scaled));
        assert_true(distance(map, theirs[i], scaled) <= distance(map, ours[i], scaled) + 2 * 1.6e-5);
    }
    return differ;
}

static void maps_are_equal(void **state) {
    (void)state;
    same_bytes(mg_dynamic_map(true), get(reference, "code/dynamic_signed"), "map");
    same_bytes(mg_dynamic_map(false), get(reference, "code/dynamic_unsigned"), "map");
}

static void check_4bit(const char *input, const mg_format *format, int block, bool nested) {
    char prefix[80];
    snprintf(prefix, sizeof prefix, "%s/%s-%d%s", input, format->name, block, nested ? "-nested" : "");
    const mg_st_entry *in = get(source, input);
    int64_t            n = (int64_t)(in->bytes / sizeof(float)), blocks = n / block;
    size_t             bytes;
    assert_true(mg_nf4_bytes(n, block, nested, &bytes));
    void              *memory = aligned_alloc(64, bytes);
    const void        *data;
    const mg_nf4_side *side;
    memset(memory, 0xa5, bytes);
    mg_nf4_encode(format, in->data, n, block, nested, memory, &data, &side);
    same_bytes(data, part(prefix, "packed"), prefix);
    mg_nf4_side theirs = *side;
    if (nested) {
        const mg_st_entry *codes = part(prefix, "absmax");
        float             *residue = malloc((size_t)blocks * sizeof(float));
        same_bytes(&side->offset, part(prefix, "nested_offset"), prefix);
        same_bytes(side->nested_absmax, part(prefix, "nested_absmax"), prefix);
        same_bytes(side->nested_code, part(prefix, "nested_code"), prefix);
        for (int64_t b = 0; b < blocks; b++) {
            float max = 0;
            for (int i = 0; i < block; i++) max = fmaxf(max, fabsf(((const float *)in->data)[b * block + i]));
            residue[b] = max - side->offset;
        }
        int differ = compare_codes(residue, blocks, side->absmax_code, codes->data, side->nested_absmax, prefix);
        if (differ > 2) fail_msg("%s: %d nested codes differ, at most 2 are known to", prefix, differ);
        free(residue);
        theirs.absmax_code = codes->data;
    } else
        same_bytes(side->absmax, part(prefix, "absmax"), prefix);

    /* Decoding their codes gives their values, from every start. */
    float *out = malloc(in->bytes);
    format->decode(out, data, &theirs, 0, n);
    same_bytes(out, part(prefix, "dequant"), prefix);
    memset(out, 0xff, in->bytes);
    for (int64_t i = 0; i < n; i += 64) format->decode(out + i, data, &theirs, i, 64);
    same_bytes(out, part(prefix, "dequant"), prefix);
    free(out);
    free(memory);
}

static void four_bits_are_equal(void **state) {
    (void)state;
    for (int i = 0; i < N_INPUTS; i++)
        for (int k = 0; k < 8; k++)
            check_4bit(inputs[i], k & 4 ? &mg_format_fp4 : &mg_format_nf4, k & 2 ? 128 : 64, k & 1);
}

static void dynamic8_is_nearest(void **state) {
    (void)state;
    for (int i = 0; i < N_INPUTS; i++) {
        char prefix[80];
        snprintf(prefix, sizeof prefix, "%s/dynamic8-256", inputs[i]);
        const mg_st_entry *in = get(source, inputs[i]), *q = part(prefix, "q"), *absmax = part(prefix, "absmax");
        int64_t            n = (int64_t)q->bytes;
        uint8_t           *code = malloc(q->bytes);
        float             *max = malloc(absmax->bytes), *out = malloc(in->bytes);
        mg_dynamic8_encode(in->data, n, 256, true, code, max);
        same_bytes(max, absmax, prefix);
        int differ = compare_codes(in->data, n, code, q->data, max, prefix);
        /* one_spike is all zeros but for one value: bitsandbytes makes 2.1e-5 of each. */
        int allowed = strcmp(inputs[i], "one_spike") ? (int)(n / 200) : 255;
        if (differ > allowed)
            fail_msg("%s: %d of %ld codes differ, at most %d are known to", prefix, differ, (long)n, allowed);
        mg_dynamic8_decode(out, n, 256, true, q->data, max);
        same_bytes(out, part(prefix, "dequant"), prefix);
        free(code);
        free(max);
        free(out);
    }
}

/* Every code survives decode and encode; a short last block and the unsigned map work. */
static void dynamic8_round_trip(void **state) {
    (void)state;
    for (int is_signed = 0; is_signed < 2; is_signed++) {
        uint8_t code[300], again[300];
        float   x[300], absmax[2] = { 3, 0.5f }, got[2];
        for (int i = 0; i < 300; i++) code[i] = (uint8_t)(i < 256 ? i : 255 - (i - 256));
        mg_dynamic8_decode(x, 300, 256, is_signed, code, absmax);
        mg_dynamic8_encode(x, 300, 256, is_signed, again, got);
        assert_memory_equal(code, again, sizeof code);
        assert_memory_equal(absmax, got, sizeof got);
        const float zeros[3] = { 0, -0.0f, 0 };
        mg_dynamic8_encode(zeros, 3, 256, is_signed, again, got);
        mg_dynamic8_decode(x, 3, 256, is_signed, again, got);
        assert_true(x[0] == 0 && x[1] == 0 && x[2] == 0 && got[0] == 0);
    }
}

/* Subnormal blocks become zeros instead of NaN; sizes that cannot be are refused. */
static void limits(void **state) {
    (void)state;
    size_t bytes;
    assert_false(mg_nf4_bytes(100, 64, false, &bytes));
    assert_false(mg_nf4_bytes(64, 32, false, &bytes));
    assert_false(mg_nf4_bytes(-64, 64, true, &bytes));
    assert_true(mg_nf4_bytes(0, 64, true, &bytes));
    float              w[128] = { 1e-40f, -1e-40f }, out[128];
    const void        *data;
    const mg_nf4_side *side;
    w[64] = 2;
    assert_true(mg_nf4_bytes(128, 64, false, &bytes));
    void *memory = aligned_alloc(64, bytes);
    mg_nf4_encode(&mg_format_nf4, w, 128, 64, false, memory, &data, &side);
    mg_format_nf4.decode(out, data, side, 0, 128);
    for (int i = 0; i < 128; i++) assert_true(out[i] == (i == 64 ? 2 : 0));
    free(memory);
}

/* The offset of nested scales is torch's mean in torch's order: numbers printed by torch 2.15 on
 * one thread, for absmaxes of 24 random bits. */
static void offset_is_torchs_mean(void **state) {
    (void)state;
    static const struct {
        int   n;
        float mean;
    } means[] = {
        { 61, 0x1.f7a578p-2f },  { 2777, 0x1.ffe186p-2f }, { 12345, 0x1.ffef74p-2f }, { 30007, 0x1.fff95ap-2f },
        { 1, 0x1.8p-19f },       { 5, 0x1.be895ap-2f },    { 7, 0x1.b3bf04p-2f },     { 8, 0x1.a70966p-2f },
        { 9, 0x1.e37856p-2f },   { 37, 0x1.e763ap-2f },    { 100, 0x1.f88278p-2f },   { 1000, 0x1.fffa9p-2f },
        { 5000, 0x1.fff3ap-2f }, { 20011, 0x1.fff37p-2f }, { 32768, 0x1.fffaccp-2f },
    };
    for (size_t k = 0; k < sizeof means / sizeof *means; k++) {
        int64_t            n = (int64_t)means[k].n * 64;
        size_t             bytes;
        const void        *data;
        const mg_nf4_side *side;
        float             *w = calloc((size_t)n, sizeof *w);
        assert_true(mg_nf4_bytes(n, 64, true, &bytes));
        void *memory = aligned_alloc(64, bytes);
        for (uint32_t b = 0; b < (uint32_t)means[k].n; b++)
            w[b * 64 + b % 64] = (float)((b * 2654435761u + 12345) >> 8) * (b % 2 ? -0x1p-24f : 0x1p-24f);
        mg_nf4_encode(&mg_format_nf4, w, n, 64, true, memory, &data, &side);
        if (side->offset != means[k].mean)
            fail_msg("%d absmaxes: mean %a, torch's is %a", means[k].n, side->offset, means[k].mean);
        free(memory);
        free(w);
    }
}

int main(void) {
    mg_error    err;
    const char *folder = getenv("MIGAKI_REF");
    char        path[4096];
    snprintf(path, sizeof path, "%s/quant/inputs.safetensors", folder ? folder : ".");
    mg_status st = mg_safetensors_open(&source, path, &err);
    snprintf(path, sizeof path, "%s/quant/bitsandbytes.safetensors", folder ? folder : ".");
    if (!st) st = mg_safetensors_open(&reference, path, &err);
    if (st) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maps_are_equal),
        cmocka_unit_test(four_bits_are_equal),
        cmocka_unit_test(dynamic8_is_nearest),
        cmocka_unit_test(dynamic8_round_trip),
        cmocka_unit_test(limits),
        cmocka_unit_test(offset_is_torchs_mean),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    mg_safetensors_close(source);
    mg_safetensors_close(reference);
    return failed;
}
