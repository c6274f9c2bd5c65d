/* params.c -- one block of memory each for values and gradients, on the backend's device.
 *
 * Each tensor starts at a multiple of 16 numbers, so that vector loops over the
 * whole array and over one tensor see the same alignment; the gaps stay zero. */
#include "nn/params.h"

#include <stdlib.h>
#include <string.h>

enum { STRIDE = 16 };

int64_t mg_params_room(const mg_tensor *x) { return (x->rows * x->cols + STRIDE - 1) / STRIDE * STRIDE; }

static bool append(mg_params *p, mg_tensor *x, bool owned) {
    size_t cap = p->cap, cap_rules = p->cap, cap_stacked = p->cap;
    if (!MG_GROW(p->owned, cap, p->n + 1) || !MG_GROW(p->rule, cap_rules, p->n + 1) || !MG_GROW(p->stacked, cap_stacked, p->n + 1) ||
        !MG_GROW(p->item, p->cap, p->n + 1))
        return false;
    p->rule[p->n] = (mg_param_rule){ 1, 1 };
    p->owned[p->n] = owned;
    p->stacked[p->n] = false;
    p->item[p->n++] = x;
    p->count += mg_params_room(x);
    return true;
}

static void free_tensor(mg_tensor *x) {
    if (x) free((char *)x->name);
    free(x);
}

static mg_tensor *new_tensor(const char *name, int64_t rows, int64_t cols, bool trains) {
    mg_tensor *x = mg_calloc(1, sizeof *x);
    char      *copy = mg_strdup(name);
    if (x) *x = (mg_tensor){ .name = copy, .rows = rows, .cols = cols, .param = true, .needs_grad = trains };
    if (x && copy) return x;
    free(copy);
    free(x);
    return NULL;
}

mg_tensor *mg_params_add(mg_params *p, const char *name, int64_t rows, int64_t cols) {
    MG_ASSERT(!p->value);
    mg_tensor *x = new_tensor(name, rows, cols, true);
    if (x && append(p, x, true)) return x;
    free_tensor(x);
    return NULL;
}

mg_tensor *mg_params_add_fixed(mg_params *p, const char *name, int64_t rows, int64_t cols) {
    MG_ASSERT(!p->value);
    mg_tensor *x = new_tensor(name, rows, cols, false);
    if (x && MG_GROW(p->fixed, p->cap_fixed, p->n_fixed + 1)) {
        p->fixed[p->n_fixed++] = x;
        p->fixed_count += mg_params_room(x);
        return x;
    }
    free_tensor(x);
    return NULL;
}

void mg_params_stack(mg_params *p, mg_tensor *x) {
    MG_ASSERT(!p->value);
    if (!p->n || p->item[p->n - 1] != x) return;
    size_t at = 0, behind = p->n - 1;
    while (at < behind && p->stacked[at]) at++;
    const mg_tensor *above = at ? p->item[at - 1] : NULL;
    mg_param_rule    rule = p->rule[behind];
    bool             owned = p->owned[behind];
    memmove(p->item + at + 1, p->item + at, (behind - at) * sizeof *p->item);
    memmove(p->rule + at + 1, p->rule + at, (behind - at) * sizeof *p->rule);
    memmove(p->owned + at + 1, p->owned + at, (behind - at) * sizeof *p->owned);
    memmove(p->stacked + at + 1, p->stacked + at, (behind - at) * sizeof *p->stacked);
    p->item[at] = x;
    p->rule[at] = rule;
    p->owned[at] = owned;
    p->stacked[at] = true;
    if (above && above->cols == x->cols && mg_params_room(above) == above->rows * above->cols) x->behind = above;
}

bool mg_params_adopt(mg_params *p, mg_tensor *weight) {
    MG_ASSERT(!p->value && weight->param);
    if (!append(p, weight, false)) return false;
    weight->needs_grad = true;
    return true;
}

void mg_params_set_rule(mg_params *p, const mg_tensor *x, mg_param_rule rule) {
    for (size_t i = 0; i < p->n; i++)
        if (p->item[i] == x) p->rule[i] = rule;
}

/* A set without tensors has memory too, so that no caller meets NULL. */
static int64_t numbers(const mg_params *p) { return p->count ? p->count : STRIDE; }

static void *zeroed(const mg_device *d, int64_t n, size_t size) {
    void *p = d->alloc((size_t)n * size);
    if (p) d->zero(p, (size_t)n * size);
    return p;
}

static void release(mg_params *p) {
    const mg_device *d = p->backend ? p->backend->device : &mg_device_host;
    if (!d->host) free(p->host);
    if (p->fixed_host != p->fixed_value) free(p->fixed_host);
    p->fixed_host = NULL;
    void **all[] = { &p->value, &p->grad, &p->shadow, (void **)&p->squares, &p->fixed_value };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (*all[i]) d->free(*all[i]);
        *all[i] = NULL;
    }
    p->host = NULL;
}

/* Constants are elements where kernels read them, and floats for the program: the same memory where that is one. */
static bool take_fixed_memory(mg_params *p, const mg_backend *b) {
    if (!p->fixed_count) return true;
    bool same = b->device->host && b->element == &mg_format_f32;
    p->fixed_value = zeroed(b->device, p->fixed_count, b->element->block_bytes);
    p->fixed_host = same ? p->fixed_value : zeroed(&mg_device_host, p->fixed_count, sizeof(float));
    return p->fixed_value && p->fixed_host;
}

static bool take_memory(mg_params *p, const mg_backend *b) {
    const mg_device *d = b->device;
    size_t           size = b->scalar->block_bytes;
    p->value = zeroed(d, numbers(p), size);
    p->grad = zeroed(d, numbers(p), size);
    if (b->element != b->scalar) p->shadow = zeroed(d, numbers(p), b->element->block_bytes);
    p->squares = d->alloc(sizeof *p->squares);
    p->host = d->host ? p->value : zeroed(&mg_device_host, numbers(p), size);
    return p->value && p->grad && p->squares && p->host && (p->shadow || b->element == b->scalar) && take_fixed_memory(p, b);
}

mg_status mg_params_seal(mg_params *p, const mg_backend *b, mg_error *err) {
    p->backend = b;
    if (!take_memory(p, b)) {
        release(p);
        return mg_fail(err, MG_NOMEM, "no memory for %lld trainable numbers", (long long)p->count);
    }
    const mg_format *seen = p->shadow ? b->element : b->scalar;
    int64_t          at = 0;
    for (size_t i = 0; i < p->n; i++) {
        mg_tensor *x = p->item[i];
        if (x->data) {
            MG_ASSERT(b->scalar == &mg_format_f32); /* adopted weights train in fp32 */
            x->format->decode((float *)p->host + at, x->data, x->side, 0, x->rows * x->cols);
        }
        x->data = (uint8_t *)(p->shadow ? p->shadow : p->value) + (size_t)at * seen->block_bytes;
        x->side = NULL;
        x->format = seen;
        x->grad = (uint8_t *)p->grad + (size_t)at * b->scalar->block_bytes;
        at += mg_params_room(x);
    }
    at = 0;
    for (size_t i = 0; i < p->n_fixed; i++) {
        p->fixed[i]->data = (uint8_t *)p->fixed_value + (size_t)at * b->element->block_bytes;
        p->fixed[i]->format = b->element;
        at += mg_params_room(p->fixed[i]);
    }
    mg_params_push(p);
    return MG_OK;
}

void mg_params_zero_grad(mg_params *p) {
    p->backend->device->zero(p->grad, (size_t)p->count * p->backend->scalar->block_bytes);
}

int64_t mg_params_at(const mg_params *p, const mg_tensor *x) {
    return (int64_t)((size_t)((uint8_t *)x->grad - (uint8_t *)p->grad) / p->backend->scalar->block_bytes);
}

float *mg_params_values(const mg_params *p, const mg_tensor *x) {
    const mg_backend *b = p->backend;
    MG_ASSERT(b->scalar == &mg_format_f32);
    if (x->grad) return (float *)p->host + mg_params_at(p, x);
    return p->fixed_host + (size_t)((uint8_t *)x->data - (uint8_t *)p->fixed_value) / b->element->block_bytes;
}

void mg_params_pull(const mg_params *p) {
    if (p->host != p->value) p->backend->device->get(p->host, p->value, (size_t)p->count * p->backend->scalar->block_bytes);
}

/* Elements are made on the host, for a device part by part. */
static void push_fixed(mg_params *p) {
    const mg_backend *b = p->backend;
    if (!p->fixed_count || p->fixed_host == p->fixed_value) return;
    size_t bytes = b->element->block_bytes;
    if (b->device->host) {
        b->element->encode(p->fixed_value, p->fixed_host, p->fixed_count);
        return;
    }
    enum { PART = 2048 };
    char part[PART * sizeof(double)];
    for (int64_t at = 0; at < p->fixed_count; at += PART) {
        int64_t n = p->fixed_count - at < PART ? p->fixed_count - at : PART;
        b->element->encode(part, p->fixed_host + at, n);
        b->device->put((uint8_t *)p->fixed_value + (size_t)at * bytes, part, (size_t)n * bytes);
    }
}

void mg_params_push(mg_params *p) {
    const mg_backend *b = p->backend;
    if (p->host != p->value) b->device->put(p->value, p->host, (size_t)p->count * b->scalar->block_bytes);
    if (p->shadow)
        b->add((mg_add_args){ .y = { p->shadow, 1, p->count, b->element, NULL }, .x = { p->value, 1, p->count, b->scalar, NULL },
                              .scale = 1 });
    push_fixed(p);
}

void mg_params_free(mg_params *p) {
    for (size_t i = 0; i < p->n; i++)
        if (p->owned[i]) free_tensor(p->item[i]);
    for (size_t i = 0; i < p->n_fixed; i++) free_tensor(p->fixed[i]);
    free(p->item);
    free(p->owned);
    free(p->rule);
    free(p->stacked);
    free(p->fixed);
    release(p);
    *p = (mg_params){ 0 };
}
