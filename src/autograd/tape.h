/* tape.h -- matrices, the arena of a step, and the tape.
 *
 * Everything is a matrix: rows are the tokens of all sequences of the batch laid
 * end to end (packed, never padded), columns are features, always contiguous.
 * An operation computes at once and, when an input wants a gradient, records a
 * node; mg_backward walks the nodes in reverse.
 *
 * Memory has two ends.  Activations grow up from `lo`, gradients and short-lived
 * buffers grow down from `hi`; nothing calls malloc inside a step.  The tape runs
 * over a null backend with an arena that owns no memory to find the peak before
 * the first step.
 *
 * Errors are sticky: the first one is kept, operations handed NULL return NULL,
 * and the step is checked once (mg_tape.error). */
#ifndef MG_AUTOGRAD_TAPE_H
#define MG_AUTOGRAD_TAPE_H

#include "backend/backend.h"
#include "base/mem.h"

typedef struct mg_arena {
    uint8_t *base;
    size_t   cap, lo, hi, peak;
    bool     dry; /* planning: the addresses exist, the memory does not */
    const mg_device *device;
} mg_arena;

/* A dry arena reserves address space that faults when touched; a real one on the host asks for huge pages. */
mg_status mg_arena_open(mg_arena *a, const mg_device *d, size_t bytes, bool dry, mg_error *err);
void      mg_arena_close(mg_arena *a);
void     *mg_arena_lo(mg_arena *a, size_t bytes); /* 64-byte aligned; NULL: full */
void     *mg_arena_hi(mg_arena *a, size_t bytes);

typedef struct mg_tensor {
    const char      *name; /* parameters only */
    int64_t          rows, cols;
    const mg_format *format;
    void            *data;
    const void      *side; /* side table of a quantised weight */
    float            outlier; /* weights in int8: inputs from this size on keep their columns whole (LLM.int8); 0: none do */
    void            *grad; /* of the same format; parameters: scalars, owned by the parameter set */
    bool             param;     /* lives as long as the model; grad is only ever added to */
    bool             needs_grad;
    bool             transient;  /* data is given back at the end of its segment and redone */
    struct mg_tensor *in_place_of; /* shares this tensor's memory */
    const struct mg_tensor *packed_of; /* a weight that was packed on loading: what the file has; NULL: nothing else */
    struct mg_tensor *instead; /* a weight: what an adapter puts in its place; NULL: nothing */
    bool             idle;     /* a weight that nothing reads as long as that stands there: no device needs it */
    bool             plus_one; /* a gain that Hugging Face's files hold less one (Gemma's norms) */
    const struct mg_tensor *behind; /* parameters: lies right behind this one, which has as many columns; values and gradients both */
} mg_tensor;

static inline mg_mat mg_mat_of(const mg_tensor *x) {
    return (mg_mat){ x->data, x->rows, x->cols, x->format, x->side };
}

/* Keys and values of earlier tokens, for generation; see infer/cache.h. */
struct mg_cache;

/* Sequence s has the rows start[s] .. start[s+1]-1.  Callers hand the tape a batch in the program's own memory;
 * the tape's copy of it (mg_tape_batch) has its arrays where kernels read them, but for `start` and `slot`. */
typedef struct mg_batch {
    int            n_seq;
    const int32_t *start;   /* [n_seq + 1] */
    const int32_t *q_start; /* the same where kernels read it; NULL: `start` itself */
    const int32_t *ids;     /* [rows] */
    const int32_t *pos;   /* [rows] position within the sequence */
    const int32_t *type;  /* [rows] token types of an encoder; NULL: 0 */
    /* labelled rows: row label_row[i] must predict the token label[i] */
    int64_t        n_labels;
    const int32_t *label_row, *label;
    /* rows that stand for no token but for row virtual_id[i] of a prompt that an adapter has; their ids are 0 */
    int64_t        n_virtual;
    const int32_t *virtual_row, *virtual_id;
    const float   *value;       /* [n_labels] numbers to predict (scalars of the backend); NULL: labels are classes */
    const struct mg_head *head; /* of a task, model/head.h; NULL: the model's own */
    struct mg_cache *cache; /* NULL in training */
    const int32_t   *slot;  /* [n_seq] the cache slot of each sequence */
} mg_batch;
/* The first row of each sequence, where kernels read it. */
static inline const int32_t *mg_batch_starts(const mg_batch *b) { return b->q_start ? b->q_start : b->start; }
static inline int64_t mg_batch_rows(const mg_batch *b) { return b->start[b->n_seq]; }

typedef struct mg_tape mg_tape;
typedef struct mg_node mg_node;
typedef struct mg_repeats mg_repeats;

/* backward adds to the gradients of its inputs; redo computes a transient result again. */
typedef struct mg_op {
    const char *name;
    void (*backward)(mg_tape *t, mg_node *n);
    void (*redo)(mg_tape *t, mg_node *n); /* NULL: the result is never transient */
} mg_op;

enum { MG_NODE_INPUTS = 6, MG_NODE_SAVED = 3 };
struct mg_node {
    const mg_op *op;
    mg_tensor   *out, *in[MG_NODE_INPUTS];
    void        *saved[MG_NODE_SAVED];
    const void  *ref[3];
    int64_t      i[6];
    float        f[3];
    mg_rng       rng;
};

/* What a block of layers keeps for its backward pass. */
typedef enum mg_keep {
    MG_KEEP_ALL,    /* every result */
    MG_KEEP_LINEAR, /* results of matrix products and attention; norms and activations are redone */
    MG_KEEP_NONE,   /* its input only: the block runs again */
} mg_keep;

struct mg_tape {
    const mg_backend *backend;
    mg_arena         *mem;
    mg_node          *node; /* [cap_nodes] */
    mg_tensor        *tensor;
    int               n_nodes, cap_nodes, n_tensors, cap_tensors;
    bool              off;          /* compute, record nothing */
    bool              adapters_off; /* the base model */
    bool              transient;    /* cheap results go to the high end (inside a segment) */
    bool              rerunning;    /* a block runs for the second time, for its backward pass */
    bool              unread;       /* nobody reads the values of the next products: see mg_linear_end */
    const mg_keep    *keep;         /* [layers] policy of each segment; NULL: MG_KEEP_LINEAR for all */
    uint64_t          seed, step;   /* of random numbers */
    bool              training;     /* dropout is on */
    float             neftune_alpha; /* noise on the embeddings when training; 0: none */
    const mg_batch   *batch;
    mg_batch          placed; /* on the device */
    mg_status         error;        /* sticky */
    const char       *error_text;
    mg_repeats       *repeats;      /* recorded steps (autograd/repeat.h); NULL: none */
    bool              no_repeats;   /* every kernel is asked for one by one, for profiles */
};

/* The weight that counts: an adapter's in place of the model's, unless adapters are off. */
static inline mg_tensor *mg_tuned(const mg_tape *t, mg_tensor *w) { return w && w->instead && !t->adapters_off ? w->instead : w; }

/* Node and tensor slots; memory for the step comes from `mem`. */
mg_status mg_tape_open(mg_tape *t, const mg_backend *b, mg_arena *mem, int cap_nodes, mg_error *err);
void      mg_tape_close(mg_tape *t);
void      mg_tape_reset(mg_tape *t); /* forget the step; all its tensors are gone */
/* Run one or more passes on a tape; errors stay on it. */
typedef void (*mg_pass_fn)(mg_tape *t, void *context);
/* The bytes of arena that `f` asks for, by a dry run: the kernels of `real` compute nothing, and nobody may touch the memory. */
mg_status mg_tape_measure(size_t *bytes, const mg_backend *real, int cap_nodes, mg_pass_fn f, void *context, mg_error *err);
mg_status mg_tape_status(const mg_tape *t, mg_error *err); /* the sticky error as an ordinary one */

/* The batch of the step, after mg_tape_reset.  A device with memory of its own gets a copy of its arrays, in the
 * step's arena; from then on the tape must not move. */
void mg_tape_batch(mg_tape *t, const mg_batch *b);
/* A scalar of the device, such as a loss; waits for it. */
double mg_tape_read(const mg_tape *t, const mg_tensor *x);
/* A result as floats that the program can read: its own memory on the host, else copied to room[rows * cols] by
 * way of the arena.  NULL on a dry run or when the arena is full. */
const float *mg_tape_floats(mg_tape *t, const mg_tensor *x, float *room);

/* ---- for operations ---- */
mg_tensor *mg_result(mg_tape *t, int64_t rows, int64_t cols);
mg_tensor *mg_result_scalars(mg_tape *t, int64_t rows, int64_t cols); /* of the backend's scalar type */
mg_tensor *mg_result_cheap(mg_tape *t, int64_t rows, int64_t cols); /* transient inside a segment that redoes */
mg_tensor *mg_result_in_place(mg_tape *t, mg_tensor *x);            /* takes x's memory: x has no other reader */
void      *mg_keep_bytes(mg_tape *t, size_t bytes);                 /* until the step ends */
mg_tensor *mg_tape_fail(mg_tape *t, mg_status st, const char *why); /* always NULL */
/* A node with up to six inputs (NULL ends); a dummy when nothing wants a gradient. */
mg_node *mg_record(mg_tape *t, const mg_op *op, mg_tensor *out, mg_tensor *const *in, int n);
#define MG_RECORD(t, op, out, ...)                                                                       \
    mg_record((t), (op), (out), (mg_tensor *[]){ __VA_ARGS__ },                                          \
              (int)(sizeof((mg_tensor *[]){ __VA_ARGS__ }) / sizeof(mg_tensor *)))
/* Work memory until mg_work_end; call-scoped, at the high end. */
void *mg_work_begin(mg_tape *t, size_t bytes, size_t *mark);
void  mg_work_end(mg_tape *t, size_t mark);
/* The gradient of x to add to; data is NULL when x wants none.  *accumulate is false when the memory is
 * fresh and must be overwritten. */
mg_mat mg_grad(mg_tape *t, mg_tensor *x, bool *accumulate);
mg_mat mg_grad_of(const mg_tensor *out); /* of a result, in a backward function */
/* Before segments that read x: its gradient gets memory of its own, zeroed, that outlives each of them.  Returns x. */
mg_tensor *mg_share(mg_tape *t, mg_tensor *x);
/* x's gradient += g, where g is the gradient memory of a result that nobody reads any more: x may take it over. */
void mg_grad_pass(mg_tape *t, mg_tensor *x, const mg_tensor *out);

/* ---- for models and training ---- */
void mg_backward(mg_tape *t, mg_tensor *loss); /* loss is 1 x 1 */
/* The same for `weight` times the loss, a scalar where kernels read it. */
void mg_backward_weighted(mg_tape *t, mg_tensor *loss, const mg_tensor *weight);
/* A number of the program where kernels read it, until the step ends. */
mg_tensor *mg_tape_number(mg_tape *t, float x);

/* Run a block as one segment: a checkpoint boundary and an arena mark.  The policy is t->keep[layer]. */
typedef mg_tensor *(*mg_block_fn)(mg_tape *t, const void *self, int layer, mg_tensor *x);
mg_tensor *mg_segment(mg_tape *t, mg_block_fn fn, const void *self, int layer, mg_tensor *x);

#endif
