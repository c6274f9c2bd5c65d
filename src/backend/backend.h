/* backend.h -- the kernel table: what a device must be able to do.
 *
 * A backend is one row: a name and a function for each line of kernels.def.
 *   ref32   plain loops in float: the definition of every kernel
 *   ref64   the same source in double (element f64): gradient checks
 *   cpu     fast, fp32;  cpu_bf16: fast, GEMM inputs rounded to bf16, sums in fp32
 *   null    does nothing, in the place of another: the tape runs over it to plan memory
 *
 * Kernels take one small struct by value.  A matrix is rows x cols, contiguous,
 * row-major.  Matrices named w may have any storage format; the others hold the
 * backend's element type (mg_backend.element).  `accumulate` adds to the output
 * instead of overwriting it; without it the output may hold anything, NaN too, and
 * is not read (so does gemm with beta 0).  Gradients named "+=" are always added to.
 * Kernels allocate nothing: `work` is memory of the caller, 64-byte aligned, as many
 * bytes as the *_work function says, with any content.
 *
 * Dimensions: N token rows, I inputs, O outputs, D width, H heads, K KV heads,
 * hd head width, V vocabulary, R rank. */
#ifndef MG_BACKEND_BACKEND_H
#define MG_BACKEND_BACKEND_H

#include "base/rng.h"
#include "tensor/format.h"

typedef struct mg_mat {
    void            *data;
    int64_t          rows, cols;
    const mg_format *format;
    const void      *side; /* side table of the format, else NULL */
} mg_mat;

/* y[n] = value */
typedef struct { mg_mat y; float value; } mg_fill_args;

/* y = (accumulate ? y : 0) + scale x; y may be x when not accumulating.  Elements and scalars mix: this converts. */
typedef struct { mg_mat y, x; float scale; bool accumulate; } mg_add_args;

/* c = alpha op(a) op(b) + beta c + onto, op = transpose where ta / tb; all plain.  onto.data NULL: nothing; it has c's format
 * and is rounded with the sum, once. */
typedef struct { mg_mat c, a, b; bool ta, tb; float alpha, beta; mg_mat onto; } mg_gemm_args;

/* y [N,O] = x [N,I] w[O,I]^T + bias [1,O] (bias.data may be NULL); with `accumulate`, plus `onto`
 * [N,O], which is y itself when its data is NULL */
typedef struct { mg_mat y, x, w, bias, onto; bool accumulate; void *work; } mg_linear_args;
/* dx [N,I] = dy [N,O] w[O,I] */
typedef struct { mg_mat dx, dy, w; bool accumulate; void *work; } mg_linear_dx_args;

/* y [1,C] += column sums of x [N,C] */
typedef struct { mg_mat y, x; } mg_column_sum_args;

/* y [N,C] = (accumulate ? y : 0) + (x - shift) g h, plus shift again with put_back; g is [N,C] or a row [1,C] for all,
 * h and shift are such rows or have no data.  y may be x or g. */
typedef struct { mg_mat y, x, g, h, shift; bool accumulate, put_back; } mg_multiply_args;
/* inv [1,O] = 1 / norm of row o of W + s b a, from square [1,O] (of W's rows), b [O,R], wa [R,O] = a W^T, aa [R,R] = a a^T:
 * square + 2 s b.wa + s^2 b aa b (DoRA, arXiv 2402.09353) */
typedef struct { mg_mat inv, square, b, wa, aa; float scale; } mg_dora_norm_args;
/* y [ac, bd] = scale a [a,b] kron b [c,d]; and da, db (may have no data) += what dy gives them.  a, b, dy, y of one format */
typedef struct { mg_mat y, a, b; float scale; } mg_kron_args;
typedef struct { mg_mat da, db, dy, a, b; float scale; } mg_kron_back_args;

/* y [N,D] = scale * w[ids[r]] */
typedef struct { mg_mat y, w; const int32_t *ids; float scale; } mg_embed_args;
/* dw[ids[r]] += scale * dy[r] */
typedef struct { mg_mat dw, dy; const int32_t *ids; float scale; } mg_embed_dw_args;

/* Over groups of g.cols columns of x: y = x r g, r = 1/sqrt(mean(x^2) + eps), plus `residual`
 * when its data is set.  inv [groups] of scalars keeps r. */
typedef struct { mg_mat y, x, g, residual; void *inv; float eps; } mg_rmsnorm_args;
/* dx = r (g dy - x r^2 mean(g dy x)); dg [1,C] += sum dy x r.  dx.data or dg.data may be NULL.
 * work: 256 rows of C doubles. */
typedef struct { mg_mat dx, dg, dy, x, g; const void *inv; bool accumulate; void *work; } mg_rmsnorm_back_args;

/* Layer norm of rows (Ba et al. 2016): y = (x - mean) r g + b, r = 1/sqrt(mean((x - mean)^2) + eps).
 * g, b [1,D]; b.data may be NULL.  stats [N,2] keeps mean and r of each row. */
typedef struct { mg_mat y, x, g, b; void *stats; float eps; } mg_layernorm_args;
/* With n = (x - mean) r: dx = r (g dy - mean(g dy) - n mean(g dy n)); dg [1,D] += sum dy n.  dx.data or dg.data may
 * be NULL.  db is column_sum of dy.  work: 256 rows of D doubles. */
typedef struct { mg_mat dx, dg, dy, x, g; const void *stats; bool accumulate; void *work; } mg_layernorm_back_args;

/* In place on x [N, heads*hd]: rotate (x[i], x[i + rot/2]) of the first `rot` columns of each head by the
 * angle of row pos[r] of the tables cos, sin [positions, rot/2]; `back` rotates the other way. */
typedef struct { mg_mat x; const int32_t *pos; const float *cos, *sin; int hd, rot; bool back; } mg_rope_args;

/* Columns of a fused product: x [N, G*group] is G groups of `group` columns; y [N, G*n] is columns
 * first .. first+n-1 of every group, n = y.cols / G.  Forward overwrites y.  With `back` y is only read and those
 * columns of x are overwritten, or added to with `accumulate`; x's other columns are not touched. */
typedef struct { mg_mat y, x; int64_t group, first; bool back, accumulate; } mg_columns_args;

/* Rows that lie elsewhere: y[row[i]] = x[id[i]] for i < n; other rows of y are not touched. */
typedef struct { mg_mat y, x; const int32_t *row, *id; int64_t n; } mg_put_rows_args;
/* dx[id[i]] += dy[row[i]] in the order of i; then dy[row[i]] = 0.  dx.data NULL: only the latter.  A row occurs once. */
typedef struct { mg_mat dx, dy; const int32_t *row, *id; int64_t n; } mg_put_rows_back_args;

/* z sigmoid(z); z/2 (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3))); z/2 (1 + erf(z / sqrt(2))); tanh(z); max(z, 0), slope 0 at
 * 0; sigmoid(z) = 1 / (1 + e^-z) */
typedef enum mg_activation { MG_SILU, MG_GELU_TANH, MG_GELU, MG_TANH, MG_RELU, MG_SIGMOID } mg_activation;
/* y = f(gate) up, or f(gate) when up.data is NULL */
typedef struct { mg_mat y, gate, up; mg_activation kind; } mg_glu_args;
/* dgate = dy up f'(gate), dup = dy f(gate); either may have NULL data; dy may be dup's memory or dgate's.
 * Without up (up.data and dup.data NULL) dgate = dy f'(gate). */
typedef struct { mg_mat dgate, dup, dy, gate, up; mg_activation kind; } mg_glu_back_args;

/* Causal (or bidirectional) grouped-query attention over packed sequences: query head h reads KV head h / (H/K).
 * Sequence s has queries in rows q_start[s] .. q_start[s+1]-1 of q [N,H*hd] and keys in rows
 * k_start[s] .. +k_len[s]-1 of k, v [.,K*hd]; k_start and k_len NULL: the keys lie where the queries do
 * (training).  The queries stand at the end of the keys.  window > 0: a query sees itself and window-1
 * keys before.  bidirectional (encoders; window is 0): a query sees all keys of its sequence.  softcap > 0: scores become softcap tanh(scale q k / softcap).  lse [N,H] keeps the
 * log-sum-exp of the scores. */
typedef struct mg_attention_shape {
    int            n_seq;
    const int32_t *q_start, *k_start, *k_len;
    int            heads, kv_heads, hd, window;
    float          scale, softcap;
    bool           bidirectional;
} mg_attention_shape;
typedef struct { mg_mat y, q, k, v; void *lse; mg_attention_shape s; void *work; } mg_attention_args;
/* Overwrites dq, dk, dv; any of them may have NULL data.  Rows of keys that no sequence has are not touched. */
typedef struct {
    mg_mat             dq, dk, dv, dy, y, q, k, v;
    const void        *lse;
    mg_attention_shape s;
    void              *work;
} mg_attention_back_args;

/* The head: for each of the n labelled rows r = row[i], logp[i] = log softmax(f(h[r] w^T))[target[i]] with
 * f(z) = softcap tanh(z / softcap) or f(z) = z.  lse [n].  When dh [n,D] has data it receives
 * d logp[i] / d h[row[i]], so that the backward pass needs no second look at w.
 * When top_id is set, the largest logit's index per row, the first of equals (greedy accuracy).
 * Logits are never stored whole.  logp, lse: scalars. */
typedef struct {
    mg_mat         h, w, dh;
    const int32_t *row, *target;
    int64_t        n;
    void          *logp, *lse;
    int32_t       *top_id;
    float          softcap;
    void          *work;
} mg_logprob_args;
/* dh[row[i]] += dlogp[i] d logp[i]/d h; dw [V,D] += the same for w.  Either may be NULL; makes the logits again
 * tile by tile.  When w.data is NULL, h [n,D] holds what `logprob` left in its dh (row i, not row[i]), and
 * all that is done is dh[row[i]] += dlogp[i] h[i]: no dw, lse, target and work are not read. */
typedef struct {
    mg_mat         dh, dw, h, w;
    const int32_t *row, *target;
    int64_t        n;
    const void    *dlogp, *lse;
    float          softcap;
    void          *work;
} mg_logprob_back_args;

/* y = x * mask / (1 - p); y may be x when not accumulating.  Element i, counted from 0 over the whole
 * matrix, stays when mg_rng_uniform(rng, i) >= p: four neighbours share a block of random numbers. */
typedef struct { mg_mat y, x; float p; mg_rng rng; bool accumulate; } mg_dropout_args;

/* What LLM.int8 (arXiv 2208.07339) makes of the inputs of a product: y = x, but all columns without an outlier rounded to
 * 127 steps of the largest |x| of the row that is no outlier, after rounding to fp16's 11 bits, ties to even.  An outlier
 * is one of |x| >= threshold after that rounding (0: none); its whole column keeps its numbers, or with `alone` only itself (rows then do not know
 * of each other).  y is not x.  work: mg_int8_round_work bytes. */
typedef struct { mg_mat y, x; float threshold; bool alone; void *work; } mg_int8_round_args;
static inline size_t mg_int8_round_work(int64_t cols) { return (size_t)cols; }
/* x to 11 bits, as fp16 has them; below fp16's normal numbers more of them stay. */
#ifdef __CUDACC__
__host__ __device__
#endif
static inline float mg_to_11_bits(float x) {
    union { float f; uint32_t u; } v = { x };
    v.u = (v.u + 0xfffu + (v.u >> 13 & 1)) & 0xffffe000u;
    return v.f;
}

/* *out (one element) = scale * sum x */
typedef struct { mg_mat x; float scale; void *out; } mg_weighted_sum_args;

/* AdamW with decoupled decay on n numbers (Loshchilov & Hutter 2019), as torch.optim.AdamW:
 * p -= lr decay p; m, v updated; p -= lr/c1 m / (sqrt(v)/sqrt(c2) + eps).  grad is multiplied by grad_scale first.
 * `shadow`, when set, receives the new p as elements:
 * for backends whose elements are no scalars. */
typedef struct {
    float       *p, *m, *v;
    const float *grad;
    void        *shadow;
    const mg_format *shadow_format;
    int64_t      n;
    float        lr, beta1, beta2, eps, decay, grad_scale;
    double       c1, c2; /* 1 - beta1^t, 1 - beta2^t */
} mg_adamw_args;
/* Lion (Chen et al. 2023, arXiv 2302.06675): p -= lr decay p; p -= lr sign(beta1 m + (1 - beta1) g);
 * m = beta2 m + (1 - beta2) g; sign(0) = 0.  Shadow and grad_scale as above. */
typedef struct {
    float       *p, *m;
    const float *grad;
    void        *shadow;
    const mg_format *shadow_format;
    int64_t      n;
    float        lr, beta1, beta2, decay, grad_scale;
} mg_lion_args;
/* Adafactor (Shazeer & Stern 2018, arXiv 1804.04235) on a matrix, as transformers.Adafactor.  With u = g^2 + eps:
 *   row [rows], col [cols] = their running means of u over a row, a column (decay beta2); g / sqrt(row col / mean row)
 *   or, when `square` [rows * cols] is set instead of them, its running mean; g / sqrt(square)
 * is scaled down to a root mean square of at most `clip`, multiplied by lr, and by max(param_eps, rms(p)) when
 * param_eps > 0; averaged in `mean` [rows * cols] with beta1 when that is set; and taken from p after p -= lr decay p.
 * work: mg_adafactor_work doubles. */
typedef struct {
    float  *p, *row, *col, *square, *mean;
    const float *grad;
    void   *shadow;
    const mg_format *shadow_format;
    int64_t rows, cols;
    float   lr, beta1, beta2, eps, clip, param_eps, decay, grad_scale;
    double *work;
} mg_adafactor_args;
enum { MG_ADAFACTOR_PARTS = 256 }; /* pieces that sums are made of, at most */
static inline size_t mg_adafactor_work(int64_t rows, int64_t cols) {
    return (size_t)(4 + rows + 3 * MG_ADAFACTOR_PARTS + cols * (rows < MG_ADAFACTOR_PARTS ? rows : MG_ADAFACTOR_PARTS));
}
/* Block-wise dynamic 8-bit numbers of optimizer state (Dettmers et al. 2021, arXiv 2110.02861): x[i] = map[code[i]]
 * absmax[i / 256]; encode finds absmax and the nearest code of x / absmax (the lower one at a tie).  map: 256 values,
 * ascending (mg_dynamic_map), on the device. */
enum { MG_DYNAMIC8_BLOCK = 256 };
typedef struct { float *x; int64_t n; const uint8_t *code; const float *absmax, *map; } mg_dynamic8_decode_args;
typedef struct { const float *x; int64_t n; uint8_t *code; float *absmax; const float *map; } mg_dynamic8_encode_args;
/* y[i] += scale r[i], r uniform in [-1, 1) from mg_rng_uniform(rng, i), or with `normal` mg_rng_normal(rng, i). */
typedef struct { mg_mat y; float scale; mg_rng rng; bool normal; } mg_noise_args;
/* *out += sum of squares in double, in a fixed order; out lies on the device */
typedef struct { const float *x; int64_t n; double *out; } mg_square_sum_args;

/* Where the matrices of a backend lie.  The host is a device too: its memory is this process's. */
typedef struct mg_device {
    const char *name;   /* "cpu", "cuda:0" */
    const char *detail; /* "NVIDIA H200, 139.8 GB" */
    bool        host;   /* pointers may be followed by the program itself */
    void *(*alloc)(size_t bytes); /* 64-byte aligned; NULL: none left */
    void (*free)(void *p);
    void (*put)(void *to, const void *host_from, size_t bytes); /* `host_from` may be reused at once */
    void (*get)(void *host_to, const void *from, size_t bytes); /* waits for all kernels before it */
    void (*move)(void *to, const void *from, size_t bytes);     /* within the device; may overlap */
    void (*zero)(void *p, size_t bytes);
    size_t (*available)(void); /* bytes that can still be had */
    /* The first error of a kernel or copy, MG_DEVICE; waits for all kernels. */
    mg_status (*status)(mg_error *err);
    size_t program_bytes; /* libraries and their work memory, taken at the first use */
    /* Memory of the host for copies that run beside kernels; NULL where host is true: nothing needs to be copied there.
     * page_in: kernels launched after it see the copy.  page_out: it copies what the kernels launched so far have
     * written.  Both return at once and keep their order; status waits for them. */
    void *(*page_alloc)(size_t bytes);
    void (*page_free)(void *p);
    void (*page_in)(void *to, const void *page, size_t bytes);
    void (*page_out)(void *page, const void *from, size_t bytes);
    /* What is asked of the device between record and recorded is noted, not done; replay does it again and again, with the
     * same arguments.  NULL: the device cannot.  recorded gives NULL where something asked for cannot be repeated as it stands
     * (random numbers); nothing of it was done then either. */
    void (*record)(void);
    void *(*recorded)(void);
    void (*replay)(void *graph);
    void (*forget)(void *graph);
} mg_device;
extern const mg_device mg_device_host;

typedef struct mg_backend {
    const char      *name;
    const mg_format *element; /* of activations and their gradients */
    const mg_format *scalar;  /* of log-probabilities, lse, inv, and of gradients and moments of parameters */
    const mg_device *device;
    const char      *compute; /* arithmetic of GEMMs, for messages: "float32", "bfloat16" */
    /* Instruction set and libraries, all that the last bits of a result depend on beside its input; NULL: nothing. */
    const char *(*machine)(void);
    /* In batches of at most so many rows each row has the bits that it has alone; 0: that is not promised. */
    int64_t          steady_rows;
    /* Adapters of layers that read one input are one product, and what an adapter adds is rounded together with what it is
     * added to: right where elements are narrow and passes over memory dear. */
    bool             joins_adapters;
    /* Bytes of work memory: for linear and linear_dx alike; attention and, with `back`, attention_back;
     * logprob, and without `with_dh` logprob_back as well. */
    size_t (*linear_work)(int64_t n, mg_mat w); /* w.data is not read */
    size_t (*attention_work)(const mg_attention_shape *s, int64_t q_rows, bool back);
    size_t (*logprob_work)(int64_t n, mg_mat w, bool with_dh);
#define KERNEL(x) void (*x)(mg_##x##_args a);
#include "backend/kernels.def"
#undef KERNEL
} mg_backend;

extern const mg_backend mg_backend_ref32, mg_backend_ref64, mg_backend_cpu, mg_backend_cpu_bf16;

const mg_backend *mg_backend_find(const char *name); /* NULL: unknown or not usable on this machine */

/* The backend for what the user asked for.  device: "auto" (a GPU when one can be used, else the CPU), "cpu", "cuda",
 * "cuda:1"; dtype: "auto", "float32", "bfloat16", "float16".  MG_DEVICE: not there, and why; MG_USAGE: no such word. */
mg_status mg_backend_open(const mg_backend **out, const char *device, const char *dtype, mg_error *err);
/* The CUDA devices that can be used, in one line for people; nothing when there is none. */
struct mg_buf;
void mg_cuda_report(struct mg_buf *out);
/* Why CUDA cannot be used; NULL: it can. */
const char *mg_cuda_missing(void);

/* A backend whose kernels do nothing, with the element type and the work sizes of `real`: a tape over it and
 * a dry arena asks for exactly the memory that `real` will need. */
mg_backend mg_backend_null_for(const mg_backend *real);

/* What this CPU can do, found once: "v4" (AVX-512), "v3" (AVX2 + FMA), "base".
 * MIGAKI_CPU_ISA=v3|base in the environment lowers it (for tests and measurements). */
const char *mg_cpu_isa(void);
bool        mg_cpu_has_bf16(void); /* AVX512-BF16 or AMX-BF16 */

#endif
