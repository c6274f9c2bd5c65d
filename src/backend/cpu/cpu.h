/* cpu.h -- what the files of the fast CPU backend share.
 *
 *   isa.c        which instruction set
 *   *.isa.c      the vectorised loops, compiled once an instruction set; loops.h picks
 *   gemm.c       dense products of one thread, by oneDNN or OpenBLAS
 *   decode.c     storage formats to fp32 and bf16; weights.c gives blocks of them
 *   scratch.c    memory of a thread that stays in its cache
 *   linear.c, attention.c, logprob.c, rows.c, optim.c, cpu.c    the kernels
 *
 * The rule of the whole: our own pool splits an op over threads, and every
 * thread calls single-threaded products on pieces that fit its cache. */
#ifndef MG_BACKEND_CPU_CPU_H
#define MG_BACKEND_CPU_CPU_H

#include "backend/backend.h"
#include "base/error.h"
#include "base/thread.h"

typedef enum mg_cpu_level { MG_CPU_BASE, MG_CPU_V3, MG_CPU_V4 } mg_cpu_level;
mg_cpu_level mg_cpu_level_now(void);

enum {
    MG_CPU_THREADS_MAX = 256,            /* of base/thread.c */
    MG_CPU_SCRATCH_BYTES = 4 << 20,      /* of a thread */
    MG_CPU_BLOCK_BYTES = 384 << 10,      /* of decoded weights: fits L2 beside the rows that meet it */
    MG_CPU_FEW_ROWS = 32,                /* up to here products are summed in an order independent of the rows */
};

/* The scratch memory of pool thread `thread`, 64-byte aligned.  It is made at first use and kept, so that its
 * lines stay in the caches; contents are lost between kernels. */
void *mg_cpu_scratch(int thread);

/* Rows row..row+rows-1, columns col..col+cols-1 of w as a matrix of fp32 or bf16 with *ld elements a row: w's
 * own memory when that is what it holds, else decoded into `room`.  Columns are multiples of the format's block.
 * `spread`: for a product that reads columns, rows a multiple of 2 KB apart would share a few sets of the cache
 * (69 instead of 179 GFLOP/s at 4 KB), so they are laid a line further apart; room has a line more a row. */
typedef struct mg_cpu_part { int64_t row, rows, col, cols; } mg_cpu_part;
const void *mg_cpu_block(mg_mat w, mg_cpu_part p, void *room, bool bf16, bool spread, int64_t *ld);

static inline float *mg_cpu_at(mg_mat m, int64_t row) { return (float *)m.data + row * m.cols; }
static inline int64_t mg_cpu_min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t mg_cpu_max(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t mg_cpu_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
static inline size_t  mg_cpu_pad(size_t bytes) { return (bytes + 63) & ~(size_t)63; }

/* The kernels, by file.  `bf16`: round what enters products. */
void mg_cpu_linear(mg_linear_args a, bool bf16);
void mg_cpu_linear_dx(mg_linear_dx_args a, bool bf16);
void mg_cpu_gemm(mg_gemm_args a, bool bf16);
size_t mg_cpu_linear_work(int64_t n, int64_t i, int64_t o, bool bf16);

void mg_cpu_attention(mg_attention_args a, bool bf16);
void mg_cpu_attention_back(mg_attention_back_args a, bool bf16);
size_t mg_cpu_attention_work(const mg_attention_shape *s, int64_t q_rows, bool back);

void mg_cpu_logprob(mg_logprob_args a, bool bf16);
void mg_cpu_logprob_back(mg_logprob_back_args a, bool bf16);
size_t mg_cpu_logprob_work(int64_t n, int64_t d, int64_t v, bool with_dh);

void mg_cpu_fill(mg_fill_args a);
void mg_cpu_add(mg_add_args a);
void mg_cpu_column_sum(mg_column_sum_args a);
void mg_cpu_multiply(mg_multiply_args a);
void mg_cpu_dora_norm(mg_dora_norm_args a);
void mg_cpu_kron(mg_kron_args a);
void mg_cpu_kron_back(mg_kron_back_args a);
void mg_cpu_embed(mg_embed_args a);
void mg_cpu_embed_dw(mg_embed_dw_args a);
void mg_cpu_rmsnorm(mg_rmsnorm_args a);
void mg_cpu_rmsnorm_back(mg_rmsnorm_back_args a);
void mg_cpu_layernorm(mg_layernorm_args a);
void mg_cpu_layernorm_back(mg_layernorm_back_args a);
void mg_cpu_rope(mg_rope_args a);
void mg_cpu_columns(mg_columns_args a);
void mg_cpu_put_rows(mg_put_rows_args a);
void mg_cpu_put_rows_back(mg_put_rows_back_args a);
void mg_cpu_glu(mg_glu_args a);
void mg_cpu_glu_back(mg_glu_back_args a);
void mg_cpu_dropout(mg_dropout_args a);
void mg_cpu_int8_round(mg_int8_round_args a);
void mg_cpu_weighted_sum(mg_weighted_sum_args a);
void mg_cpu_adamw(mg_adamw_args a);
void mg_cpu_lion(mg_lion_args a);
void mg_cpu_adafactor(mg_adafactor_args a);
void mg_cpu_dynamic8_decode(mg_dynamic8_decode_args a);
void mg_cpu_dynamic8_encode(mg_dynamic8_encode_args a);
void mg_cpu_noise(mg_noise_args a);
void mg_cpu_square_sum(mg_square_sum_args a);

#endif
