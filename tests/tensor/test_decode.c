/* test_decode.c -- the fast decoders of every instruction set give the bits of the plain ones.
 *
 * Data are random bytes, so that scales are also subnormal, infinite and NaN; of a NaN only
 * that it is one is compared.  Data and output lie at odd addresses, starts and lengths vary,
 * and what lies behind the output must stay as it was.  A set that this CPU cannot run is
 * skipped, by name. */
#include "support.h"

#include "backend/cpu/decode.h"
#include "tensor/nf4.h"

typedef struct {
    const char *name;
    mg_decode_fn (*fp32)(const mg_format *);
    mg_decode_bf16_fn (*bf16)(const mg_format *);
} isa_row;

static const isa_row base = { "base", mg_cpu_decode_base, mg_cpu_decode_bf16_base };
#ifdef __x86_64__
static const isa_row v3 = { "v3", mg_cpu_decode_v3, mg_cpu_decode_bf16_v3 };
static const isa_row v4 = { "v4", mg_cpu_decode_v4, mg_cpu_decode_bf16_v4 };
#endif

static bool runs(const isa_row *isa) {
#ifdef __x86_64__
    __builtin_cpu_init();
    if (isa == &v3) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c");
    if (isa == &v4)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#endif
    return isa == &base;
}

enum { MOST = 2048, GUARD = 64 };

static uint32_t seed = 1;
static uint32_t random_bits(void) { /* xorshift: the test is the same everywhere */
    seed ^= seed << 13;
    seed ^= seed >> 17;
    return seed ^= seed << 5;
}
static void random_bytes(void *p, size_t n) {
    for (size_t i = 0; i < n; i++) ((uint8_t *)p)[i] = (uint8_t)(random_bits() >> 11);
}

static void compare(const isa_row *isa, const mg_format *f, const char *data, const void *side, int64_t first,
                    int64_t n) {
    static float             want[MOST], got[MOST + GUARD + 1];
    static _Alignas(64) char room[(MOST + GUARD) * 2];
    f->decode(want, data, side, first, n);

    float *out = got + 1; /* four bytes off any vector */
    memset(got, 0x5a, sizeof got);
    isa->fp32(f)(out, data, side, first, n);
    for (int64_t i = 0; i < n; i++)
        if (memcmp(&want[i], &out[i], 4) && !(isnan(want[i]) && isnan(out[i])))
            fail_msg("%s %s: element %ld+%ld is %a, not %a", isa->name, f->name, (long)first, (long)i, out[i],
                     want[i]);
    for (int i = 0; i < GUARD; i++) assert_int_equal(((uint8_t *)(out + n))[i], 0x5a);

    uint16_t *halves = (uint16_t *)(void *)room + 1; /* two bytes off any vector */
    memset(room, 0x5a, sizeof room);
    isa->bf16(f)(halves, data, side, first, n);
    for (int64_t i = 0; i < n; i++) {
        uint16_t wanted = mg_f32_to_bf16(want[i]);
        if (halves[i] != wanted && !(isnan(want[i]) && isnan(mg_bf16_to_f32(halves[i]))))
            fail_msg("%s %s to bf16: element %ld+%ld is %04x, not %04x", isa->name, f->name, (long)first, (long)i,
                     halves[i], wanted);
    }
    for (int i = 0; i < GUARD; i++) assert_int_equal(((uint8_t *)(halves + n))[i], 0x5a);
}

/* Sides for nf4, fp4 and int8, of all four kinds (int8 has no nested scales). */
static const void *side_of(const mg_format *f, int kind) {
    static float       absmax[MOST / 64], nested[1], map[256];
    static uint8_t     codes[MOST / 64];
    static mg_nf4_side side;
    if (!f->pack) return NULL;
    for (int i = 0; i < MOST / 64; i++) absmax[i] = (float)random_bits() * 0x1p-30f;
    for (int i = 0; i < 256; i++) map[i] = (float)random_bits() * 0x1p-31f - 1;
    random_bytes(codes, sizeof codes);
    nested[0] = 0.37f;
    side = kind & 1 && f != &mg_format_int8
               ? (mg_nf4_side){ .absmax_code = codes, .nested_absmax = nested, .nested_code = map, .offset = 0.9f }
               : (mg_nf4_side){ .absmax = absmax };
    side.block = kind & 2 ? 128 : 64;
    return &side;
}

static void equals_plain(void **state) {
    const isa_row *isa = *state;
    if (!runs(isa)) {
        print_message("this CPU does not run %s\n", isa->name);
        skip();
    }
    static char data[MOST * 8 + 1];
    for (const mg_format *const *f = mg_formats(); *f; f++)
        for (int round = 0; round < 60; round++) {
            int64_t     blocks = MOST / (*f)->block;
            int64_t     first = random_bits() % blocks, n = 1 + random_bits() % (blocks - first);
            size_t      size;
            const void *side = side_of(*f, round);
            assert_true(mg_format_bytes(*f, MOST, &size));
            random_bytes(data + 1, size);
            compare(isa, *f, data + 1, side, first * (*f)->block, n * (*f)->block);
            compare(isa, *f, data + 1, side, 0, 0);
        }
}

/* Every half there is, so that the conversions of F16C are the plain one's. */
static void every_half(void **state) {
    const isa_row *isa = *state;
    if (!runs(isa)) skip();
    uint16_t all[MOST];
    for (unsigned begin = 0; begin < 65536; begin += MOST) {
        for (unsigned i = 0; i < MOST; i++) all[i] = (uint16_t)(begin + i);
        compare(isa, &mg_format_f16, (const char *)all, NULL, 0, MOST);
        compare(isa, &mg_format_bf16, (const char *)all, NULL, 0, MOST);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(equals_plain, (void *)&base),
        cmocka_unit_test_prestate(every_half, (void *)&base),
#ifdef __x86_64__
        cmocka_unit_test_prestate(equals_plain, (void *)&v3),
        cmocka_unit_test_prestate(every_half, (void *)&v3),
        cmocka_unit_test_prestate(equals_plain, (void *)&v4),
        cmocka_unit_test_prestate(every_half, (void *)&v4),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
