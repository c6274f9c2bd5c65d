/* nf4.h -- 4-bit codes with block scales as bitsandbytes stores them.
 *
 * Two weights a byte, the earlier one in the high nibble.  Each block of `block`
 * (64 or 128) weights has one absolute maximum.  Nested ("double") quantisation
 * stores (absmax - offset) in an 8-bit dynamic code with blocks of 256 absmaxes.
 * Equal to bitsandbytes 0.50 bit for bit, but that the 8-bit code is always the nearest one, as
 * on CUDA; its CPU code can be one beside that (nf4.c says why, tests/tensor/test_nf4.c shows it). */
#ifndef MG_TENSOR_NF4_H
#define MG_TENSOR_NF4_H

#include "tensor/format.h"

typedef struct mg_nf4_side {
    int            block;         /* weights that share a scale: 64 or 128, of int8 a row */
    const float   *absmax;        /* [n/block], NULL when nested */
    const uint8_t *absmax_code;   /* [n/block] codes, NULL when plain */
    const float   *nested_absmax; /* [ceil(n/block/256)] */
    const float   *nested_code;   /* [256] the signed dynamic map */
    float          offset;        /* mean of the absmaxes */
} mg_nf4_side;

/* Bytes of one allocation that holds codes, side table and its arrays for n weights. */
bool mg_nf4_bytes(int64_t n, int block, bool nested, size_t *bytes);

/* Quantise w[0..n) into `memory` (64-byte aligned, mg_nf4_bytes long).  *data and *side
 * point into it.  `format` is &mg_format_nf4 or &mg_format_fp4; n is a multiple of block. */
void mg_nf4_encode(const mg_format *format, const float *w, int64_t n, int block, bool nested, void *memory,
                   const void **data, const mg_nf4_side **side);

/* The 256 values of bitsandbytes' dynamic 8-bit map, ascending. */
const float *mg_dynamic_map(bool is_signed);
/* Block-wise dynamic 8-bit: code[i] indexes the map, absmax[ceil(n/block)].  For
 * nested scales and 8-bit optimizer state. */
void mg_dynamic8_encode(const float *x, int64_t n, int block, bool is_signed, uint8_t *code, float *absmax);
void mg_dynamic8_decode(float *x, int64_t n, int block, bool is_signed, const uint8_t *code, const float *absmax);

#endif
