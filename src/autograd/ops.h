/* ops.h -- the differentiable operations; each lives in ops/NAME.c, forward beside backward.
 *
 * Rules: a forward pass writes every element of its result; a backward pass only
 * adds to gradients; operations handed NULL return NULL.  Shapes are asserted. */
#ifndef MG_AUTOGRAD_OPS_H
#define MG_AUTOGRAD_OPS_H

#include "autograd/tape.h"

/* [N,D] = scale * table[ids of the batch] */
mg_tensor *mg_embed(mg_tape *t, mg_tensor *table, float scale);
/* NEFTune: noise of t->neftune_alpha added to y in place, when training. */
void mg_embed_noise(mg_tape *t, mg_tensor *y);
/* x [N,D] + table[ids]: learned positions (ids = pos of the batch), token types; ids NULL: row 0 everywhere */
mg_tensor *mg_embed_onto(mg_tape *t, mg_tensor *x, mg_tensor *table, const int32_t *ids);

/* [N,O] = x [N,I] w[O,I]^T + bias [1,O] (or NULL) + residual [N,O] (or NULL) */
mg_tensor *mg_matmul(mg_tape *t, mg_tensor *x, mg_tensor *w, mg_tensor *bias, mg_tensor *residual);
/* In place on start [N,O]: start += x w^T + bias */
mg_tensor *mg_matmul_onto(mg_tape *t, mg_tensor *x, mg_tensor *w, mg_tensor *bias, mg_tensor *start);

/* In place on y [N,O]: y += scale (dropout(x) a^T) b^T, a [R,I], b [O,R]; p is the dropout probability */
mg_tensor *mg_lora(mg_tape *t, mg_tensor *y, mg_tensor *x, mg_tensor *a, mg_tensor *b, float scale, float p, mg_rng rng);

/* The same, and + residual [N,O], rounded once */
mg_tensor *mg_lora_onto(mg_tape *t, mg_tensor *y, mg_tensor *x, mg_tensor *a, mg_tensor *b, mg_tensor *residual, float scale, float p,
                        mg_rng rng);

/* What layers of one x add, without dropout, for mg_matmul_onto; in two steps that save passes over x and dx:
 * u [n R,N] = [a_0; a_1; ..] x^T, where a_i lies right behind a_(i-1) (mg_tensor.behind) and n <= MG_LORAS; then
 * [N,O] = scale (rows part R .. part R + R-1 of u)^T b^T. */
enum { MG_LORAS = 4 };
mg_tensor *mg_lora_down(mg_tape *t, mg_tensor *x, mg_tensor *const *a, int n);
mg_tensor *mg_lora_up(mg_tape *t, mg_tensor *u, int part, mg_tensor *b, float scale);

/* (x - shift) g h + shift: columns scaled by g [1,C] (trained) and h [1,C] (or NULL), a bias `shift` (or NULL) left out of
 * it.  `kept`: the result is written over by what follows. */
mg_tensor *mg_scale_columns(mg_tape *t, mg_tensor *x, mg_tensor *g, mg_tensor *h, mg_tensor *shift, bool kept);

/* [1,O] = 1 / norm of each row of w + scale b a; `square` [O] are the squared norms of w's rows.  A constant. */
mg_tensor *mg_dora_norm(mg_tape *t, mg_tensor *w, mg_tensor *a, mg_tensor *b, mg_tensor *square, float scale);

/* In place on y [N,O]: y += x [N,I] dW^T, dW [O,I] made of up to four small matrices. */
enum { MG_DELTA_PARTS = 4 };
typedef struct mg_delta_kind {
    const char *name;
    /* work: memory for two matrices of w's size and a little more */
    void (*build)(const mg_backend *b, const mg_mat *p, float scale, mg_mat w, mg_mat work);
    /* Add what dw (which may be written over) gives the parts to those dp that have data. */
    void (*back)(const mg_backend *b, const mg_mat *p, const mg_mat *dp, float scale, mg_mat dw, mg_mat work);
} mg_delta_kind;
extern const mg_delta_kind mg_delta_hadamard; /* scale (p0 p1) * (p2 p3), element by element */
extern const mg_delta_kind mg_delta_kron;     /* scale (p0 p1) kron (p2 p3); p1 or p3 NULL: the one before is the whole factor */
mg_tensor *mg_delta(mg_tape *t, mg_tensor *y, mg_tensor *x, const mg_delta_kind *kind, mg_tensor *const part[MG_DELTA_PARTS], float scale);

/* a + scale b */
mg_tensor *mg_add(mg_tape *t, mg_tensor *a, mg_tensor *b, float scale);

/* RMS norm over groups of g->cols columns, plus `residual` (or NULL).  Zhang & Sennrich 2019. */
mg_tensor *mg_rmsnorm(mg_tape *t, mg_tensor *x, mg_tensor *g, mg_tensor *residual, float eps);

/* Layer norm of rows, g and b (or NULL) [1,D].  `kept`: the result of a block.  Ba et al. 2016. */
mg_tensor *mg_layernorm(mg_tape *t, mg_tensor *x, mg_tensor *g, mg_tensor *b, float eps, bool kept);

/* [N, G*n]: columns first .. first+n-1 of every group of `group` columns of x [N, G*group] */
mg_tensor *mg_columns(mg_tape *t, mg_tensor *x, int64_t group, int64_t first, int64_t n);

/* [n,D]: rows of x; `row` lives as long as the batch */
mg_tensor *mg_rows(mg_tape *t, mg_tensor *x, const int32_t *row, int64_t n);
/* [n_seq,D]: the mean over the rows of each sequence of the batch; none is empty */
mg_tensor *mg_mean_rows(mg_tape *t, mg_tensor *x);

/* In place on y: the rows of the batch's virtual tokens are those of x [virtual tokens, D]; y itself when it has none. */
mg_tensor *mg_put_rows(mg_tape *t, mg_tensor *y, mg_tensor *x);
/* [N, A + B]: two matrices side by side */
mg_tensor *mg_beside(mg_tape *t, mg_tensor *a, mg_tensor *b);
/* x with a part p of its numbers dropped and the others grown; x itself outside of training */
mg_tensor *mg_dropout(mg_tape *t, mg_tensor *x, float p, mg_rng rng);
/* [N,H]: the states h of an LSTM walking over the rows of one sequence; x [N,4H] are its inputs' products, gates in the
 * order i f g o, w [4H,H], b [1,4H].  `backwards`: from the last row to the first. */
mg_tensor *mg_lstm(mg_tape *t, mg_tensor *x, mg_tensor *w, mg_tensor *b, bool backwards);

/* Angles of rotary position embedding, made once a model: rows are positions. */
typedef struct mg_rope_table {
    float  *cos, *sin; /* [positions, rot/2] */
    int64_t positions;
    int     rot; /* columns of a head that turn */
} mg_rope_table;
/* In place on x [N, heads*hd]; Su et al. 2021, halves rotated as in Hugging Face's llama */
mg_tensor *mg_rope(mg_tape *t, mg_tensor *x, const mg_rope_table *table, int hd);

typedef struct mg_attention_kind {
    int   heads, kv_heads, hd, window; /* window 0: everything before */
    float scale, softcap;              /* softcap 0: none */
    bool  bidirectional;               /* sees what comes after, too; no window, no cache */
} mg_attention_kind;
/* Grouped-query, causal unless bidirectional, over the sequences of the batch.  With t->batch->cache the keys and values of
 * earlier tokens are read from there (`layer`), and these are added. */
mg_tensor *mg_attention(mg_tape *t, mg_tensor *q, mg_tensor *k, mg_tensor *v, mg_attention_kind kind, int layer);

/* f(gate) up: SwiGLU, GeGLU (Shazeer 2020); up NULL: f(gate) */
mg_tensor *mg_glu(mg_tape *t, mg_tensor *gate, mg_tensor *up, mg_activation kind);

/* [n_labels,1]: log-probabilities of the labelled rows' targets; the logits never exist as a whole.
 * top_id (or NULL) receives the most likely token of each labelled row. */
mg_tensor *mg_logprob(mg_tape *t, mg_tensor *h, mg_tensor *head, float softcap, int32_t *top_id);

/* [K n_seq,1]: z [N,K], log softmax of each column over the rows of each sequence, at row label[K s + k] of sequence s.
 * The batch has K labels a sequence, label_row[K s + k] = k; `eye` is the identity [K,K], a constant. */
mg_tensor *mg_places(mg_tape *t, mg_tensor *z, mg_tensor *eye);

/* [1,1] = sum of (z - value of the batch)^2; z [n_labels,1] */
mg_tensor *mg_square_error(mg_tape *t, mg_tensor *z);

/* [1,1] = scale * sum of all elements */
mg_tensor *mg_sum(mg_tape *t, mg_tensor *x, float scale);

#endif
