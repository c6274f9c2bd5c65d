/* encode.c -- which encoders this CPU runs, and rows spread over the threads. */
#include "tensor/encode.h"

#include "base/thread.h"

#define TABLES(isa) extern const mg_encoders mg_encoders_legacy_##isa, mg_encoders_k_##isa, mg_encoders_nf4_##isa;
TABLES(base)
#if defined(__x86_64__)
TABLES(v3)
TABLES(v4)
#endif

/* The same instruction sets as backend/cpu/isa.c asks for; the bits are equal in all. */
static int level(void) {
#if defined(__x86_64__)
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("bmi") ||
        !__builtin_cpu_supports("bmi2"))
        return 0;
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
                   __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")
               ? 2
               : 1;
#else
    return 0;
#endif
}

#if defined(__x86_64__)
#define PICK(file) \
    ((const mg_encoders *const[]){ &mg_encoders_##file##_base, &mg_encoders_##file##_v3, &mg_encoders_##file##_v4 })[level()]
#else
#define PICK(file) (&mg_encoders_##file##_base)
#endif

#define ENCODE(x, file, block) \
    void mg_##x##_encode(void *data, const float *in, int64_t n) { PICK(file)->x(data, in, n / (block)); }
ENCODE(q4_0, legacy, 32)
ENCODE(q4_1, legacy, 32)
ENCODE(q5_0, legacy, 32)
ENCODE(q5_1, legacy, 32)
ENCODE(q8_0, legacy, 32)
ENCODE(q4_k, k, 256)
ENCODE(q5_k, k, 256)
ENCODE(q6_k, k, 256)

void (*mg_encode_4bit(void))(uint8_t *, const float *, int64_t, float, const float[16], bool) { return PICK(nf4)->four_bits; }
float (*mg_find_absmax(void))(const float *, int64_t) { return PICK(nf4)->absmax; }

typedef struct {
    const mg_format *f;
    char            *data;
    const float     *in;
} job;

static void encode_blocks(void *context, int64_t begin, int64_t end, int thread) {
    const job *j = context;
    (void)thread;
    j->f->encode(j->data + (size_t)begin * j->f->block_bytes, j->in + begin * j->f->block, (end - begin) * j->f->block);
}

void mg_format_encode(const mg_format *f, void *data, const float *in, int64_t n) {
    enum { PIECE = 4096 }; /* numbers worth a thread's while */
    job j = { f, data, in };
    MG_ASSERT(f->encode && n % f->block == 0);
    mg_parallel(n / f->block, PIECE / f->block, encode_blocks, &j);
}
