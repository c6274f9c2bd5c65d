/* cuda.h -- what the files of the CUDA backend share; for them alone.
 *
 * The backend is a plugin, libmigaki-cuda.so: one function `mg_cuda_<kernel>` for each line of
 * kernels.def, taking the same structs by value as on the CPU.  Each launches on mg_cuda_stream and
 * returns; none allocates, reads back or waits, so a whole step can be captured into a graph.  All
 * pointers in the structs lead to device memory, all other fields are host values.
 *
 * Elements are bf16, fp16 or fp32, as each matrix's format says; sums are formed in fp32.  Scalars
 * (log-probabilities, log-sum-exp, inverse norms, gradients of parameters) are fp32 always.  No kernel
 * adds floating-point numbers atomically: same input, same bits. */
#ifndef MG_BACKEND_CUDA_CUDA_H
#define MG_BACKEND_CUDA_CUDA_H

#include <cuda_runtime.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "backend/backend.h" /* C names, mg_bug's too */

extern cudaStream_t mg_cuda_stream;
/* The formats of elements; the tables live in the program, the plugin gets their addresses when it is opened. */
extern const mg_format *mg_cuda_f32, *mg_cuda_bf16, *mg_cuda_f16;
extern int mg_cuda_cc, mg_cuda_sms; /* compute capability x 10 (90), number of multiprocessors */

/* Keeps the first error; later ones follow from it.  `what` is a literal. */
void mg_cuda_check(cudaError_t e, const char *what);
/* A step is being recorded.  Kernels whose host values change from step to step say so: their step is not replayed. */
extern bool mg_cuda_recording;
void mg_cuda_cannot_repeat(void);
/* After a launch: configuration errors. */
#define MG_CUDA_LAUNCHED(what) mg_cuda_check(cudaGetLastError(), what)

#define KERNEL(x) void mg_cuda_##x(mg_##x##_args a);
#include "backend/kernels.def"
#undef KERNEL

/* Rows row0 .. row0+rows-1 of a weight in any storage format, as plain numbers of format `to` (f32, bf16, f16).
 * Quantised weights and what they are decoded to lie on 16 bytes. */
void mg_cuda_decode(mg_mat w, int64_t row0, int64_t rows, void *to, const mg_format *to_format);

size_t mg_cuda_attention_work(const mg_attention_shape *s, int64_t q_rows, bool back);

#ifdef __cplusplus
}
#endif
#endif
