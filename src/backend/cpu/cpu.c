/* cpu.c -- the tables of the two fast backends.  They differ in what enters the products. */
#include "backend/cpu/cpu.h"

#include "backend/cpu/gemm.h"

#include <stdio.h>

#define PRODUCT(x)                                                          \
    static void x##_f32(mg_##x##_args a) { mg_cpu_##x(a, false); }          \
    static void x##_bf16(mg_##x##_args a) { mg_cpu_##x(a, true); }
PRODUCT(linear_dx)
PRODUCT(gemm)
PRODUCT(logprob)
PRODUCT(logprob_back)
PRODUCT(attention)
PRODUCT(attention_back)

/* A kernel without products serves both; one that is missing here does not compile. */
#define SHARED(x)                                                           \
    static void x##_f32(mg_##x##_args a) { mg_cpu_##x(a); }                 \
    static void x##_bf16(mg_##x##_args a) { mg_cpu_##x(a); }
SHARED(fill)
SHARED(add)
SHARED(column_sum)
SHARED(multiply)
SHARED(dora_norm)
SHARED(kron)
SHARED(kron_back)
SHARED(embed)
SHARED(embed_dw)
SHARED(rmsnorm)
SHARED(rmsnorm_back)
SHARED(layernorm)
SHARED(layernorm_back)
SHARED(rope)
SHARED(columns)
SHARED(put_rows)
SHARED(put_rows_back)
SHARED(glu)
SHARED(glu_back)
SHARED(dropout)
SHARED(int8_round)
SHARED(weighted_sum)
SHARED(adamw)
SHARED(lion)
SHARED(adafactor)
SHARED(dynamic8_decode)
SHARED(dynamic8_encode)
SHARED(noise)
SHARED(square_sum)

/* The products add to y alone: what lies elsewhere is put there first. */
static void linear(mg_linear_args a, bool bf16) {
    if (a.accumulate && a.onto.data && a.onto.data != a.y.data) mg_cpu_add((mg_add_args){ .y = a.y, .x = a.onto, .scale = 1 });
    mg_cpu_linear(a, bf16);
}
static void linear_f32(mg_linear_args a) { linear(a, false); }
static void linear_bf16(mg_linear_args a) { linear(a, true); }

static size_t work_f32(int64_t n, mg_mat w) { return mg_cpu_linear_work(n, w.cols, w.rows, false); }
static size_t work_bf16(int64_t n, mg_mat w) { return mg_cpu_linear_work(n, w.cols, w.rows, true); }

static const char *machine(void) {
    static char text[100];
    snprintf(text, sizeof text, "%s%s, %s", mg_cpu_isa(), mg_cpu_has_bf16() ? " bf16" : "", mg_gemm_library());
    return text;
}
static size_t head_work(int64_t n, mg_mat w, bool with_dh) { return mg_cpu_logprob_work(n, w.cols, w.rows, with_dh); }

const mg_backend mg_backend_cpu = {
    .name = "cpu",
    .element = &mg_format_f32,
    .scalar = &mg_format_f32,
    .device = &mg_device_host,
    .compute = "float32",
    .machine = machine,
    .steady_rows = MG_CPU_FEW_ROWS,
    .linear_work = work_f32,
    .attention_work = mg_cpu_attention_work,
    .logprob_work = head_work,
#define KERNEL(x) .x = x##_f32,
#include "backend/kernels.def"
#undef KERNEL
};

const mg_backend mg_backend_cpu_bf16 = {
    .name = "cpu_bf16",
    .element = &mg_format_f32,
    .scalar = &mg_format_f32,
    .device = &mg_device_host,
    .compute = "bfloat16",
    .machine = machine,
    .steady_rows = MG_CPU_FEW_ROWS,
    .linear_work = work_bf16,
    .attention_work = mg_cpu_attention_work,
    .logprob_work = head_work,
#define KERNEL(x) .x = x##_bf16,
#include "backend/kernels.def"
#undef KERNEL
};
