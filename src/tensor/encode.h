/* encode.h -- the encoders of block formats, private to src/tensor.
 *
 * encode_*.isa.c is compiled once an instruction set; the functions here pick the widest
 * that this CPU has.  All give the same bits: no multiplication is fused with an addition,
 * and sums keep their order inside of a sub-block (sub-blocks lie side by side in a vector). */
#ifndef MG_TENSOR_ENCODE_H
#define MG_TENSOR_ENCODE_H

#include "tensor/blocks.h"

/* data = n elements of `in`, n a multiple of the block; both may lie anywhere. */
void mg_q4_0_encode(void *data, const float *in, int64_t n);
void mg_q4_1_encode(void *data, const float *in, int64_t n);
void mg_q5_0_encode(void *data, const float *in, int64_t n);
void mg_q5_1_encode(void *data, const float *in, int64_t n);
void mg_q8_0_encode(void *data, const float *in, int64_t n);
void mg_q4_k_encode(void *data, const float *in, int64_t n);
void mg_q5_k_encode(void *data, const float *in, int64_t n);
void mg_q6_k_encode(void *data, const float *in, int64_t n);

/* What one instruction set offers. */
typedef struct mg_encoders {
    void (*q4_0)(block_q4_0 *b, const float *x, int64_t blocks);
    void (*q4_1)(block_q4_1 *b, const float *x, int64_t blocks);
    void (*q5_0)(block_q5_0 *b, const float *x, int64_t blocks);
    void (*q5_1)(block_q5_1 *b, const float *x, int64_t blocks);
    void (*q8_0)(block_q8_0 *b, const float *x, int64_t blocks);
    void (*q4_k)(block_q4_k *b, const float *x, int64_t blocks);
    void (*q5_k)(block_q5_k *b, const float *x, int64_t blocks);
    void (*q6_k)(block_q6_k *b, const float *x, int64_t blocks);
    /* Codes of steps * 64 numbers w * inverse, clamped to [-1, 1]: the first of the nearest entries of `table`; two_zeros: fp4. */
    void (*four_bits)(uint8_t *packed, const float *w, int64_t steps, float inverse, const float table[16], bool two_zeros);
    float (*absmax)(const float *w, int64_t n); /* n a multiple of 16 */
} mg_encoders;

/* For nf4.c. */
void (*mg_encode_4bit(void))(uint8_t *packed, const float *w, int64_t steps, float inverse, const float table[16], bool two_zeros);
float (*mg_find_absmax(void))(const float *w, int64_t n);

#endif
