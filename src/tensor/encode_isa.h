/* encode_isa.h -- what the encode_*.isa.c share; compiled once an instruction set. */
#ifndef MG_TENSOR_ENCODE_ISA_H
#define MG_TENSOR_ENCODE_ISA_H

#include "tensor/encode.h"

#include <float.h>
#include <math.h>

#define ISA_PASTE(a, b, c) a##b##_##c
#define ISA_NAME(a, b, c)  ISA_PASTE(a, b, c)
/* The table of one file: mg_encoders_legacy_v3. */
#define ENCODERS(file, ...)                                            \
    extern const mg_encoders ISA_NAME(mg_encoders_, file, MG_ISA);     \
    const mg_encoders        ISA_NAME(mg_encoders_, file, MG_ISA) = { __VA_ARGS__ }

/* To the nearest integer, halves to even, for |x| < 2^22: the sum has no bits left below 1. */
static inline float to_nearest(float x) { return (x + 0x1.8p23f) - 0x1.8p23f; }

/* Written so that a NaN gives `low`. */
static inline float within(float x, float low, float high) {
    x = x > low ? x : low;
    return x < high ? x : high;
}

/* Vectors of the compiler: 16 numbers, or masks of all ones and zeros, whatever the instruction set has. */
typedef float   v16 __attribute__((vector_size(64)));
typedef int32_t m16 __attribute__((vector_size(64)));
typedef float   v8 __attribute__((vector_size(32)));
typedef int32_t m8 __attribute__((vector_size(32)));

#endif
