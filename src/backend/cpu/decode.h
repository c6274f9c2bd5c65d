/* decode.h -- storage formats to fp32 and to bf16, fast, for each instruction set.
 *
 * The functions do what mg_format.decode does and give the same bits (of a NaN only that it
 * is one); the bf16 ones give the decoded values rounded to nearest even, as mg_f32_to_bf16
 * does.  `first` and `n` are multiples of the format's block.  Neither data nor out need
 * any alignment.  Every format of formats.def has both functions in every set.
 *
 * The sets are compiled for the CPUs their names say: only call what the CPU can run. */
#ifndef MG_BACKEND_CPU_DECODE_H
#define MG_BACKEND_CPU_DECODE_H

#include "tensor/format.h"

/* out[0..n) = elements first .. first+n-1; side: the tensor's side table or NULL. */
typedef void (*mg_decode_fn)(float *out, const void *data, const void *side, int64_t first, int64_t n);
typedef void (*mg_decode_bf16_fn)(uint16_t *out, const void *data, const void *side, int64_t first, int64_t n);

mg_decode_fn      mg_cpu_decode_base(const mg_format *f);
mg_decode_bf16_fn mg_cpu_decode_bf16_base(const mg_format *f);
#ifdef __x86_64__
mg_decode_fn      mg_cpu_decode_v3(const mg_format *f); /* x86-64-v3: AVX2, F16C */
mg_decode_bf16_fn mg_cpu_decode_bf16_v3(const mg_format *f);
mg_decode_fn      mg_cpu_decode_v4(const mg_format *f); /* x86-64-v4: AVX-512 F, BW, CD, DQ, VL */
mg_decode_bf16_fn mg_cpu_decode_bf16_v4(const mg_format *f);
#endif

#endif
