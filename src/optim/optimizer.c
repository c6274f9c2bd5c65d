/* optimizer.c -- an optimizer at work: its memory, its pieces, and clipping by the global norm as torch computes it.
 *
 * Pages: state k of a piece is copied in, the kernel runs, it is copied out, in two slots by turns, so that the
 * copies of one piece run beside the kernel of another.  A page is PAGE numbers of the parameters, whatever the
 * tensors, and pieces of a page are what the unpaged optimizer would do in one go: element by element nothing differs. */
#include "format/safetensors.h"
#include "optim/optim.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE = 1 << 20, ALIGN = 256 };

#define OPTIMIZER(x, also) extern const mg_optimizer mg_optimizer_##x;
#include "optim/optim.def"
#undef OPTIMIZER

static const mg_optimizer *const optimizers[] = {
#define OPTIMIZER(x, also) &mg_optimizer_##x,
#include "optim/optim.def"
#undef OPTIMIZER
};

const mg_optimizer *mg_optimizer_at(size_t i) { return i < sizeof optimizers / sizeof *optimizers ? optimizers[i] : NULL; }

const mg_optimizer *mg_optimizer_find(const char *name) {
    for (size_t i = 0; mg_optimizer_at(i); i++)
        if (!strcmp(optimizers[i]->name, name)) return optimizers[i];
    return NULL;
}

mg_optimizer_settings mg_optimizer_defaults(void) {
    return (mg_optimizer_settings){ .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .max_grad_norm = 1,
                                    .adafactor = { .eps1 = 1e-30f, .eps2 = 1e-3f, .clip_threshold = 1, .decay_rate = -0.8f },
                                    .muon = { .momentum = 0.95f, .nesterov = true, .ns_steps = 5 },
                                    .galore = { .rank = 128, .gap = 200, .scale = 0.25f } };
}

/* The patterns bias, layernorm, rmsnorm, (^|.)norm($|.) and _norm($|.) of a lower-case name. */
static bool is_norm_or_bias(const char *name) {
    char lower[256];
    snprintf(lower, sizeof lower, "%s", name);
    for (char *c = lower; *c; c++) *c = (char)tolower((unsigned char)*c);
    if (strstr(lower, "bias") || strstr(lower, "layernorm") || strstr(lower, "rmsnorm")) return true;
    for (char *at = lower; (at = strstr(at, "norm")); at++)
        if ((at == lower || at[-1] == '.' || at[-1] == '_') && (at[4] == 0 || at[4] == '.')) return true;
    return false;
}

void mg_optim_spare_norms(mg_params *p) {
    for (size_t i = 0; i < p->n; i++)
        if (is_norm_or_bias(p->item[i]->name)) p->rule[i].decay = 0;
}

bool mg_optim_is_hidden(const mg_tensor *x) {
    static const char *const others[] = { "embed", "lm_head", "wte", "wpe", "score", "classifier" };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strstr(x->name, others[i])) return false;
    return x->rows > 1 && x->cols > 1;
}

/* ---- memory ---- */

static size_t padded(size_t bytes) { return (bytes + ALIGN - 1) / ALIGN * ALIGN; }
static size_t bytes_of(const mg_state *s) { return (size_t)s->n * s->size; }

mg_state *mg_optim_add_state(mg_optim *o, const char *name, const mg_tensor *tensor, const char *dtype, int64_t block, int64_t count) {
    char full[256];
    snprintf(full, sizeof full, "%s%s%s", name, tensor ? "." : "", tensor ? tensor->name : "");
    char *copy = mg_strdup(full);
    if (!copy || !MG_GROW(o->state, o->cap_states, o->n_states + 1)) {
        free(copy);
        return NULL;
    }
    mg_state *s = &o->state[o->n_states++];
    *s = (mg_state){ .name = copy, .dtype = dtype, .n = (count + block - 1) / block, .block = block, .size = mg_st_dtype_size(dtype),
                     .paged = o->kind->paged };
    size_t page = padded((size_t)(PAGE / block) * s->size) * MG_OPTIM_VIEWS;
    if (s->paged && page > o->page_bytes) o->page_bytes = page;
    return s;
}

mg_status mg_optim_open(mg_optim **out, const mg_optimizer *kind, const mg_optimizer_settings *s, mg_params *p, mg_error *err) {
    mg_optim *o = mg_calloc(1, sizeof *o);
    mg_status st = MG_OK;
    if (o) *o = (mg_optim){ .kind = kind, .s = *s, .p = p, .first = mg_calloc(p->n + 1, sizeof *o->first) };
    if (!o || !o->first) st = mg_fail(err, MG_NOMEM, "no memory for an optimizer");
    if (!st) st = kind->lay_out(o, err);
    if (!st) st = mg_average_lay_out(o, err);
    if (st)
        mg_optim_close(o);
    else
        *out = o;
    return st;
}

/* Bytes of the states that lie on the device, or of those that are paged. */
static size_t state_bytes(const mg_optim *o, bool paged) {
    size_t sum = 0;
    for (size_t i = 0; i < o->n_states; i++)
        if (o->state[i].paged == paged) sum += padded(bytes_of(&o->state[i]));
    return sum;
}

/* On the host a page is the state itself. */
size_t mg_optim_bytes(const mg_optim *o, const mg_device *d) {
    return state_bytes(o, false) + o->work_bytes + (d->host ? state_bytes(o, true) : MG_OPTIM_SLOTS * o->page_bytes);
}

static mg_status no_memory(const mg_optim *o, mg_error *err) {
    return mg_fail(err, MG_NOMEM, "no memory for the optimizer's state (%.2f GB; an optimizer in 8 bits takes a quarter)",
                   (double)(state_bytes(o, true) + state_bytes(o, false)) / 1e9);
}

static bool take_pages(mg_optim *o, const mg_device *d) {
    if (!o->page_bytes) return true;
    for (int i = 0; !d->host && i < MG_OPTIM_SLOTS; i++)
        if (!(o->page[i] = d->alloc(o->page_bytes))) return false;
    for (size_t i = 0; i < o->n_states; i++) {
        mg_state *s = &o->state[i];
        size_t    bytes = padded(bytes_of(s));
        if (!s->paged) continue;
        s->data = d->host ? d->alloc(bytes) : d->page_alloc(bytes);
        if (!s->data) return false;
        memset(s->data, 0, bytes);
    }
    return true;
}

mg_status mg_optim_allocate(mg_optim *o, mg_error *err) {
    const mg_device *d = o->p->backend->device;
    size_t           bytes = state_bytes(o, false), at = 0;
    if (bytes && !(o->memory = d->alloc(bytes))) return no_memory(o, err);
    if (bytes) d->zero(o->memory, bytes);
    for (size_t i = 0; i < o->n_states; i++)
        if (!o->state[i].paged) {
            o->state[i].data = o->memory + at;
            at += padded(bytes_of(&o->state[i]));
        }
    if (o->work_bytes && !(o->work = d->alloc(o->work_bytes))) return no_memory(o, err);
    if (!take_pages(o, d)) return no_memory(o, err);
    if (o->kind->start) o->kind->start(o);
    return MG_OK;
}

void mg_optim_close(mg_optim *o) {
    if (!o) return;
    const mg_device *d = o->p && o->p->backend ? o->p->backend->device : &mg_device_host;
    for (size_t i = 0; i < o->n_states; i++) {
        if (o->state[i].paged && o->state[i].data) (d->host ? d->free : d->page_free)(o->state[i].data);
        free(o->state[i].name);
    }
    for (int i = 0; i < MG_OPTIM_SLOTS; i++)
        if (o->page[i]) d->free(o->page[i]);
    if (o->memory) d->free(o->memory);
    if (o->work) d->free(o->work);
    free(o->state);
    free(o->first);
    free(o);
}

/* ---- pieces ---- */

typedef struct {
    mg_optim        *o;
    const mg_update *u;
    const mg_state  *state; /* [n] */
    int              n;
    mg_piece_fn      fn;
} walk;

/* Numbers at .. at+n-1 of the parameters, under one rule. */
static mg_piece piece_of(const mg_optim *o, const mg_update *u, mg_param_rule rule, int64_t at, int64_t n) {
    const mg_params *p = o->p;
    return (mg_piece){ .p = (float *)p->value + at, .grad = (float *)p->grad + at,
                       .shadow = p->shadow ? (uint8_t *)p->shadow + (size_t)at * p->backend->element->block_bytes : NULL, .n = n,
                       .lr = (float)(u->lr * (double)rule.lr), .decay = o->s.weight_decay * rule.decay };
}

mg_piece mg_optim_piece(const mg_optim *o, const mg_update *u, size_t tensor) {
    const mg_tensor *x = o->p->item[tensor];
    return piece_of(o, u, o->p->rule[tensor], mg_params_at(o->p, x), x->rows * x->cols);
}

static void advance(const walk *w, mg_piece *x, int64_t n) {
    size_t element = w->o->p->backend->element->block_bytes;
    x->p += n;
    x->grad += n;
    if (x->shadow) x->shadow = (uint8_t *)x->shadow + (size_t)n * element;
}

/* The entries of state k for numbers from .. from+n-1. */
static uint8_t *entries(const mg_state *s, int64_t from, int64_t n, size_t *bytes) {
    *bytes = (size_t)((n + s->block - 1) / s->block) * s->size;
    return s->data + (size_t)(from / s->block) * s->size;
}

static void page(const walk *w, int slot, int64_t from, int64_t n, bool in) {
    const mg_device *d = w->o->p->backend->device;
    for (int k = 0; k < w->n; k++) {
        size_t   bytes;
        uint8_t *far = entries(&w->state[k], from, n, &bytes), *near = w->o->page[slot] + (size_t)k * (w->o->page_bytes / MG_OPTIM_VIEWS);
        if (in)
            d->page_in(near, far, bytes);
        else
            d->page_out(far, near, bytes);
    }
}

/* The next page is asked for before this one is given back, so that its copy runs beside the kernel. */
static void each_page(const walk *w, mg_piece x, int64_t from) {
    int64_t left = x.n, n = left < PAGE ? left : PAGE;
    page(w, 0, from, n, true);
    for (int slot = 0; left; slot = !slot) {
        x.n = n;
        for (int k = 0; k < w->n; k++) x.state[k] = w->o->page[slot] + (size_t)k * (w->o->page_bytes / MG_OPTIM_VIEWS);
        w->fn(w->o, w->u, &x);
        int64_t next = left - n < PAGE ? left - n : PAGE;
        if (next) page(w, !slot, from + n, next, true);
        page(w, slot, from, n, false);
        advance(w, &x, n);
        from += n;
        left -= n;
        n = next;
    }
}

void mg_optim_stream(mg_optim *o, const mg_update *u, size_t first, int n, int64_t from, const mg_piece *x, mg_piece_fn fn) {
    walk     w = { o, u, o->state + first, n, fn };
    mg_piece all = *x;
    size_t   unused;
    MG_ASSERT(n <= MG_OPTIM_VIEWS);
    if (!x->n) return;
    if (n && w.state[0].paged && !o->p->backend->device->host) {
        each_page(&w, all, from);
        return;
    }
    for (int k = 0; k < n; k++) all.state[k] = entries(&w.state[k], from, x->n, &unused);
    fn(o, u, &all);
}

void mg_optim_each(mg_optim *o, const mg_update *u, int n, mg_piece_fn fn) {
    const mg_params *p = o->p;
    int64_t          begin = 0, end = 0;
    for (size_t i = 0; i < p->n; i++) {
        end += mg_params_room(p->item[i]);
        bool last = i + 1 == p->n || p->rule[i + 1].lr != p->rule[i].lr || p->rule[i + 1].decay != p->rule[i].decay;
        if (!last) continue;
        mg_piece x = piece_of(o, u, p->rule[i], begin, end - begin);
        mg_optim_stream(o, u, 0, n, begin, &x, fn);
        begin = end;
    }
}

/* ---- arithmetic that several have in common ---- */

static mg_mat row_of(const mg_backend *b, const float *x, int64_t n) { return (mg_mat){ (void *)(uintptr_t)x, 1, n, b->scalar, NULL }; }

void mg_optim_sum(const mg_optim *o, float *y, const float *x, float scale, bool accumulate, int64_t n) {
    const mg_backend *b = o->p->backend;
    b->add((mg_add_args){ .y = row_of(b, y, n), .x = row_of(b, x, n), .scale = scale, .accumulate = accumulate });
}

double mg_optim_norm(const mg_optim *o, const float *x, int64_t n) {
    const mg_params *p = o->p;
    double           squares;
    p->backend->device->zero(p->squares, sizeof squares);
    p->backend->square_sum((mg_square_sum_args){ x, n, p->squares });
    p->backend->device->get(&squares, p->squares, sizeof squares);
    return sqrt(squares);
}

void mg_optim_shadow(const mg_optim *o, const mg_piece *x) {
    const mg_backend *b = o->p->backend;
    if (!x->shadow) return;
    b->add((mg_add_args){ .y = { x->shadow, 1, x->n, b->element, NULL }, .x = row_of(b, x->p, x->n), .scale = 1 });
}

/* ---- one update ---- */

bool mg_optim_update(mg_optim *o, double lr, int64_t step, double *norm) {
    mg_params *p = o->p;
    if (p->before_update) p->before_update(p->updated_context);
    mg_gradient_noise(o, step);
    *norm = mg_optim_norm(o, p->grad, p->count);
    bool finite = isfinite(*norm);
    if (finite) {
        /* torch adds 1e-6 to the norm and never scales up */
        double scale = o->s.max_grad_norm > 0 ? (double)o->s.max_grad_norm / (*norm + 1e-6) : 1;
        o->kind->step(o, &(mg_update){ .lr = lr, .grad_scale = (float)fmin(scale, 1), .step = step });
        mg_average_update(o, step);
        if (p->updated) p->updated(p->updated_context, (float)fmin(scale, 1), step);
    }
    mg_params_zero_grad(p);
    return finite;
}
