/* tape.c -- recording, walking back, and the three ways to keep a block.
 *
 * A segment is an operation like any other.  Its backward pass restores what the
 * forward pass gave away (nothing, the cheap results, or everything but the
 * input), walks its stretch of tape, and gives the memory back.  Only the
 * gradient of its input survives; because a residual stream hands its gradient
 * memory from layer to layer (mg_grad_pass), that is one buffer for the model. */
#include "autograd/repeat.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ALIGN = 64 };

static size_t bytes_of(int64_t rows, int64_t cols, const mg_format *f) { return (size_t)(rows * cols) * f->block_bytes; }

static mg_status open_on_device(mg_arena *a, const mg_device *d, size_t bytes, mg_error *err) {
    uint8_t *p = d->alloc(bytes);
    if (!p)
        return mg_fail(err, MG_NOMEM, "%s: no memory for a step of %.2f GB; %.2f GB are free", d->name, (double)bytes / 1e9,
                       (double)d->available() / 1e9);
    *a = (mg_arena){ .base = p, .cap = bytes, .hi = bytes, .device = d };
    return MG_OK;
}

mg_status mg_arena_open(mg_arena *a, const mg_device *d, size_t bytes, bool dry, mg_error *err) {
    if (bytes < ALIGN) bytes = ALIGN; /* the system maps no empty range */
    if (!dry && !d->host) return open_on_device(a, d, (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1), err);
    int   flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *p = mmap(NULL, bytes, dry ? PROT_NONE : PROT_READ | PROT_WRITE, flags, -1, 0);
    if (p == MAP_FAILED)
        return mg_fail(err, MG_NOMEM, "cannot reserve %zu bytes for a training step: %s", bytes, strerror(errno));
    if (!dry) madvise(p, bytes, MADV_HUGEPAGE);
    bytes = (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1); /* still in the last page; the high end must be aligned too */
    *a = (mg_arena){ .base = p, .cap = bytes, .hi = bytes, .dry = dry, .device = d };
    return MG_OK;
}

void mg_arena_close(mg_arena *a) {
    if (a->base && !a->dry && !a->device->host)
        a->device->free(a->base);
    else if (a->base)
        munmap(a->base, a->cap);
    *a = (mg_arena){ 0 };
}

static bool arena_room(mg_arena *a, size_t *bytes) {
    *bytes = (*bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (*bytes > a->hi - a->lo) return false;
    size_t used = a->lo + (a->cap - a->hi) + *bytes;
    if (used > a->peak) a->peak = used;
    return true;
}

void *mg_arena_lo(mg_arena *a, size_t bytes) {
    if (!arena_room(a, &bytes)) return NULL;
    a->lo += bytes;
    return a->base + a->lo - bytes;
}

void *mg_arena_hi(mg_arena *a, size_t bytes) {
    if (!arena_room(a, &bytes)) return NULL;
    a->hi -= bytes;
    return a->base + a->hi;
}

mg_status mg_tape_open(mg_tape *t, const mg_backend *b, mg_arena *mem, int cap_nodes, mg_error *err) {
    mg_tape fresh = { .backend = b, .mem = mem, .cap_nodes = cap_nodes, .cap_tensors = 2 * cap_nodes, .training = true };
    fresh.node = mg_calloc((size_t)fresh.cap_nodes, sizeof *fresh.node);
    fresh.tensor = mg_calloc((size_t)fresh.cap_tensors, sizeof *fresh.tensor);
    if (!fresh.node || !fresh.tensor) {
        mg_tape_close(&fresh);
        return mg_fail(err, MG_NOMEM, "no memory for a tape of %d operations", cap_nodes);
    }
    *t = fresh;
    return MG_OK;
}

void mg_tape_close(mg_tape *t) {
    mg_repeats_free(t);
    free(t->node);
    free(t->tensor);
    *t = (mg_tape){ 0 };
}

mg_status mg_tape_status(const mg_tape *t, mg_error *err) {
    return t->error ? mg_fail(err, t->error, "%s", t->error_text) : MG_OK;
}

mg_status mg_tape_measure(size_t *bytes, const mg_backend *real, int cap_nodes, mg_pass_fn f, void *context, mg_error *err) {
    enum { ADDRESS_BITS = 42 };
    mg_backend null = mg_backend_null_for(real);
    mg_arena   dry = { 0 };
    mg_tape    t = { 0 };
    mg_status  st = mg_arena_open(&dry, real->device, (size_t)1 << ADDRESS_BITS, true, err);
    if (!st) st = mg_tape_open(&t, &null, &dry, cap_nodes, err);
    if (!st) {
        f(&t, context);
        st = mg_tape_status(&t, err);
    }
    if (!st) *bytes = dry.peak;
    mg_tape_close(&t);
    mg_arena_close(&dry);
    return st;
}

void mg_tape_reset(mg_tape *t) {
    t->n_nodes = t->n_tensors = 0;
    t->mem->lo = 0;
    t->mem->hi = t->mem->cap;
    t->transient = t->rerunning = t->unread = false;
    t->error = MG_OK;
    t->error_text = NULL;
}

/* n numbers of four bytes */
static const void *placed(mg_tape *t, const void *from, int64_t n) {
    if (!from || !n) return from;
    void *to = mg_keep_bytes(t, (size_t)n * sizeof(int32_t));
    if (to && !t->mem->dry) t->mem->device->put(to, from, (size_t)n * sizeof(int32_t));
    return to;
}

void mg_tape_batch(mg_tape *t, const mg_batch *b) {
    int64_t rows = mg_batch_rows(b);
    t->batch = b;
    if (t->mem->device->host) return; /* kernels read what the program reads */
    t->placed = *b;
    t->placed.q_start = placed(t, b->start, b->n_seq + 1);
    t->placed.ids = placed(t, b->ids, rows);
    t->placed.pos = placed(t, b->pos, rows);
    t->placed.type = placed(t, b->type, rows);
    t->placed.label_row = placed(t, b->label_row, b->n_labels);
    t->placed.label = placed(t, b->label, b->n_labels);
    t->placed.virtual_row = placed(t, b->virtual_row, b->n_virtual);
    t->placed.virtual_id = placed(t, b->virtual_id, b->n_virtual);
    t->placed.value = placed(t, b->value, b->value ? b->n_labels : 0);
    t->batch = &t->placed;
}

mg_tensor *mg_tape_number(mg_tape *t, float x) {
    mg_tensor *y = mg_result_scalars(t, 1, 1);
    double     wide = (double)x;
    bool       narrow = t->backend->scalar->block_bytes == sizeof x;
    if (y && !t->mem->dry) t->mem->device->put(y->data, narrow ? (const void *)&x : (const void *)&wide, t->backend->scalar->block_bytes);
    return y;
}

double mg_tape_read(const mg_tape *t, const mg_tensor *x) {
    union { float f; double d; } one;
    MG_ASSERT(x->rows == 1 && x->cols == 1 && x->format == t->backend->scalar && x->format->block_bytes <= sizeof one);
    t->mem->device->get(&one, x->data, x->format->block_bytes);
    return x->format->block_bytes == sizeof one.f ? (double)one.f : one.d;
}

const float *mg_tape_floats(mg_tape *t, const mg_tensor *x, float *room) {
    size_t mark, bytes = bytes_of(x->rows, x->cols, &mg_format_f32);
    if (x->format == &mg_format_f32 && t->mem->device->host) return t->mem->dry ? NULL : x->data;
    mg_mat plain = { mg_work_begin(t, bytes, &mark), x->rows, x->cols, &mg_format_f32, NULL };
    if (plain.data && !t->mem->dry) {
        t->backend->add((mg_add_args){ .y = plain, .x = mg_mat_of(x), .scale = 1 });
        t->mem->device->get(room, plain.data, bytes);
    }
    mg_work_end(t, mark);
    return plain.data && !t->mem->dry ? room : NULL;
}

mg_tensor *mg_tape_fail(mg_tape *t, mg_status st, const char *why) {
    if (!t->error) {
        t->error = st;
        t->error_text = why;
    }
    return NULL;
}

static size_t tensor_bytes(const mg_tensor *x) { return bytes_of(x->rows, x->cols, x->format); }

static mg_tensor *new_tensor(mg_tape *t, int64_t rows, int64_t cols, const mg_format *f, void *data) {
    if (!data) return mg_tape_fail(t, MG_NOMEM, "the arena of the step is full");
    MG_ASSERT(t->n_tensors < t->cap_tensors);
    mg_tensor *x = &t->tensor[t->n_tensors++];
    *x = (mg_tensor){ .rows = rows, .cols = cols, .format = f, .data = data };
    return x;
}

mg_tensor *mg_result(mg_tape *t, int64_t rows, int64_t cols) {
    const mg_format *f = t->backend->element;
    return new_tensor(t, rows, cols, f, mg_arena_lo(t->mem, bytes_of(rows, cols, f)));
}

mg_tensor *mg_result_scalars(mg_tape *t, int64_t rows, int64_t cols) {
    const mg_format *f = t->backend->scalar;
    return new_tensor(t, rows, cols, f, mg_arena_lo(t->mem, bytes_of(rows, cols, f)));
}

mg_tensor *mg_result_cheap(mg_tape *t, int64_t rows, int64_t cols) {
    if (!t->transient) return mg_result(t, rows, cols);
    const mg_format *f = t->backend->element;
    mg_tensor       *x = new_tensor(t, rows, cols, f, mg_arena_hi(t->mem, bytes_of(rows, cols, f)));
    if (x) x->transient = true;
    return x;
}

mg_tensor *mg_result_in_place(mg_tape *t, mg_tensor *x) {
    mg_tensor *y = new_tensor(t, x->rows, x->cols, x->format, x->data);
    y->transient = x->transient;
    y->in_place_of = x;
    return y;
}

void *mg_keep_bytes(mg_tape *t, size_t bytes) {
    void *p = mg_arena_lo(t->mem, bytes);
    if (!p) mg_tape_fail(t, MG_NOMEM, "the arena of the step is full");
    return p;
}

mg_node *mg_record(mg_tape *t, const mg_op *op, mg_tensor *out, mg_tensor *const *in, int n) {
    static _Thread_local mg_node nobody; /* written to and never read, so callers need no test */
    MG_ASSERT(n <= MG_NODE_INPUTS);
    for (int i = 0; i < n; i++) out->needs_grad |= in[i] && in[i]->needs_grad;
    /* a transient result is recorded in any case: an adapter's gradient may read it */
    if (t->off || !(out->needs_grad || out->transient)) return &nobody;
    MG_ASSERT(t->n_nodes < t->cap_nodes);
    mg_node *node = &t->node[t->n_nodes++];
    *node = (mg_node){ .op = op, .out = out };
    for (int i = 0; i < n; i++) node->in[i] = in[i];
    return node;
}

void *mg_work_begin(mg_tape *t, size_t bytes, size_t *mark) {
    *mark = t->mem->hi;
    void *p = mg_arena_hi(t->mem, bytes);
    if (!p) mg_tape_fail(t, MG_NOMEM, "the arena of the step is full");
    return p;
}

void mg_work_end(mg_tape *t, size_t mark) { t->mem->hi = mark; }

mg_mat mg_grad_of(const mg_tensor *out) {
    return (mg_mat){ out->grad, out->rows, out->cols, out->param ? NULL : out->format, NULL };
}

mg_mat mg_grad(mg_tape *t, mg_tensor *x, bool *accumulate) {
    mg_mat g = { 0 };
    *accumulate = false;
    if (!x || !x->needs_grad) return g;
    g.format = x->param ? t->backend->scalar : x->format;
    g.rows = x->rows;
    g.cols = x->cols;
    *accumulate = x->grad != NULL;
    if (!x->grad && x->param && t->mem->dry) { /* planning comes before parameters have memory */
        *accumulate = true;
        g.data = t->mem->base;
        return g;
    }
    if (!x->grad) {
        MG_ASSERT(!x->param);
        x->grad = mg_arena_hi(t->mem, tensor_bytes(x));
        if (!x->grad) mg_tape_fail(t, MG_NOMEM, "the arena of the step is full");
    }
    g.data = x->grad;
    return g;
}

mg_tensor *mg_share(mg_tape *t, mg_tensor *x) {
    if (!x || x->param || t->off || !x->needs_grad) return x;
    MG_ASSERT(!x->grad);
    x->grad = mg_keep_bytes(t, tensor_bytes(x));
    if (x->grad) t->backend->fill((mg_fill_args){ { x->grad, x->rows, x->cols, x->format, NULL }, 0 });
    return x;
}

void mg_grad_pass(mg_tape *t, mg_tensor *x, const mg_tensor *out) {
    if (!x->needs_grad) return;
    MG_ASSERT_EQ(x->rows * x->cols, out->rows * out->cols);
    if (!x->grad && !x->param) {
        x->grad = out->grad;
        return;
    }
    mg_mat to = { x->grad, x->rows, x->cols, x->param ? t->backend->scalar : x->format, NULL };
    mg_mat from = { out->grad, x->rows, x->cols, out->format, NULL };
    if (to.data != from.data) t->backend->add((mg_add_args){ .y = to, .x = from, .scale = 1, .accumulate = true });
}

static void unwind(mg_tape *t, int down_to) {
    while (t->n_nodes > down_to) {
        mg_node n = t->node[--t->n_nodes]; /* a copy: a segment records over this slot */
        if (n.out->grad && !t->error) n.op->backward(t, &n);
    }
}

void mg_backward_weighted(mg_tape *t, mg_tensor *loss, const mg_tensor *weight) {
    if (t->error || !loss) return;
    MG_ASSERT(loss->rows == 1 && loss->cols == 1);
    if (!loss->needs_grad) return;
    bool   fresh;
    mg_mat g = mg_grad(t, loss, &fresh);
    if (g.data && weight)
        t->backend->add((mg_add_args){ .y = g, .x = mg_mat_of(weight), .scale = 1 });
    else if (g.data)
        t->backend->fill((mg_fill_args){ g, 1 });
    unwind(t, 0);
}

void mg_backward(mg_tape *t, mg_tensor *loss) { mg_backward_weighted(t, loss, NULL); }

/* ---- segments ---- */

/* Everything of the segment is given back; the gradient of its input moves above the mark if it was made inside. */
static void give_back(mg_tape *t, mg_tensor *x, size_t lo, size_t hi) {
    uint8_t *grad = x->grad, *mark = t->mem->base + hi;
    t->mem->lo = lo;
    t->mem->hi = hi;
    if (!grad || x->param || grad >= mark) return;
    size_t   bytes = tensor_bytes(x);
    uint8_t *to = mg_arena_hi(t->mem, bytes);
    MG_ASSERT(to);
    if (!t->mem->dry) t->mem->device->move(to, grad, bytes);
    x->grad = to;
}

static void kept_backward(mg_tape *t, mg_node *n) {
    size_t hi = t->mem->hi, lo = t->mem->lo;
    int    first = (int)n->i[0], last = t->n_nodes;
    for (int i = first; i < last; i++) {
        mg_node *inner = &t->node[i];
        if (!inner->out->transient) continue;
        inner->out->data = inner->out->in_place_of
                               ? inner->out->in_place_of->data
                               : mg_arena_hi(t->mem, tensor_bytes(inner->out));
        if (!inner->out->data) {
            mg_tape_fail(t, MG_NOMEM, "the arena of the step is full");
            return;
        }
        inner->op->redo(t, inner);
    }
    unwind(t, first);
    give_back(t, n->in[0], lo, hi);
}

static void rerun_backward(mg_tape *t, mg_node *n) {
    size_t lo = t->mem->lo, hi = t->mem->hi;
    int    first = t->n_nodes, tensors = t->n_tensors;
    mg_block_fn fn;
    memcpy(&fn, &n->saved[0], sizeof fn);
    t->rerunning = true;
    mg_tensor *y = fn(t, n->ref[0], (int)n->i[0], n->in[0]);
    t->rerunning = false;
    if (!y) return;
    y->grad = n->out->grad;
    unwind(t, first);
    t->n_tensors = tensors;
    give_back(t, n->in[0], lo, hi);
}

static const mg_op op_kept_segment = { "segment", kept_backward, NULL };
static const mg_op op_rerun_segment = { "checkpoint", rerun_backward, NULL };

/* The block runs unrecorded and leaves only its result; recorded as one node unless the tape is off. */
static mg_tensor *run_and_drop(mg_tape *t, mg_block_fn fn, const void *self, int layer, mg_tensor *x) {
    mg_tensor *out = mg_result(t, x->rows, x->cols);
    if (!out) return NULL;
    size_t lo = t->mem->lo;
    int    tensors = t->n_tensors;
    bool   was_off = t->off;
    t->off = true;
    mg_tensor *y = fn(t, self, layer, x);
    t->off = was_off;
    if (!y) return NULL;
    t->backend->add((mg_add_args){ .y = mg_mat_of(out), .x = mg_mat_of(y), .scale = 1 });
    out->needs_grad = y->needs_grad; /* also when only the weights of the block want one */
    t->mem->lo = lo;
    t->n_tensors = tensors;
    if (t->off) return out;
    mg_node *n = mg_record(t, &op_rerun_segment, out, &x, 1);
    memcpy(&n->saved[0], &fn, sizeof fn);
    n->ref[0] = self;
    n->i[0] = layer;
    return out;
}

mg_tensor *mg_segment(mg_tape *t, mg_block_fn fn, const void *self, int layer, mg_tensor *x) {
    if (!x) return NULL;
    mg_keep keep = t->keep ? t->keep[layer] : MG_KEEP_LINEAR;
    if (t->off || keep == MG_KEEP_NONE) return run_and_drop(t, fn, self, layer, x);
    size_t hi = t->mem->hi;
    int    first = t->n_nodes;
    t->transient = keep == MG_KEEP_LINEAR;
    mg_tensor *y = fn(t, self, layer, x);
    t->transient = false;
    t->mem->hi = hi;
    if (!y) return NULL;
    MG_ASSERT(!y->transient);
    mg_record(t, &op_kept_segment, y, &x, 1)->i[0] = first;
    return y;
}
