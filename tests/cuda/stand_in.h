/* stand_in.h -- what the plugin's own file gives to the kernels, for programs that link kernels alone.
 * Included by one file of a program. */
#ifndef MG_TESTS_CUDA_STAND_IN_H
#define MG_TESTS_CUDA_STAND_IN_H

#include "backend/cuda/cuda.h"

#include <stdio.h>
#include <stdlib.h>

cudaStream_t     mg_cuda_stream;
const mg_format *mg_cuda_f32 = &mg_format_f32, *mg_cuda_bf16 = &mg_format_bf16, *mg_cuda_f16 = &mg_format_f16;
int              mg_cuda_cc, mg_cuda_sms;
bool             mg_cuda_recording;
void             mg_cuda_cannot_repeat(void) {}

void mg_cuda_check(cudaError_t e, const char *what) {
    if (e == cudaSuccess) return;
    printf("%s: %s\n", what, cudaGetErrorString(e));
    exit(1);
}

static void open_device(void) {
    cudaDeviceProp p;
    mg_cuda_check(cudaGetDeviceProperties(&p, 0), "device 0");
    mg_cuda_cc = p.major * 10 + p.minor;
    mg_cuda_sms = p.multiProcessorCount;
    mg_cuda_check(cudaStreamCreateWithFlags(&mg_cuda_stream, cudaStreamNonBlocking), "stream");
    printf("%s, sm_%d, %d multiprocessors\n", p.name, mg_cuda_cc, mg_cuda_sms);
}

#endif
