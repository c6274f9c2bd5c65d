/* params.c -- one block of memory each for values, gradients and moments.
 *
 * Each tensor starts at a multiple of 16 numbers, so that vector loops over the
 * whole array and over one tensor see the same alignment; the gaps stay zero. */
#include "nn/params.h"

#include <stdlib.h>
#include <string.h>

enum { STRIDE = 16 };

static int64_t room(const mg_tensor *x) { return (x->rows * x->cols + STRIDE - 1) / STRIDE * STRIDE; }

static bool append(mg_params *p, mg_tensor *x, bool owned) {
    size_t cap = p->cap;
    if (!MG_GROW(p->owned, cap, p->n + 1) || !MG_GROW(p->item, p->cap, p->n + 1)) return false;
    p->owned[p->n] = owned;
    p->item[p->n++] = x;
    p->count += room(x);
    return true;
}

mg_tensor *mg_params_add(mg_params *p, const char *name, int64_t rows, int64_t cols) {
    MG_ASSERT(!p->value);
    mg_tensor *x = mg_calloc(1, sizeof *x);
    char      *copy = mg_strdup(name);
    if (x) *x = (mg_tensor){ .name = copy, .rows = rows, .cols = cols, .param = true, .needs_grad = true };
    if (!x || !copy || !append(p, x, true)) {
        free(x);
        free(copy);
        return NULL;
    }
    return x;
}

bool mg_params_adopt(mg_params *p, mg_tensor *weight) {
    MG_ASSERT(!p->value && weight->param);
    if (!append(p, weight, false)) return false;
    weight->needs_grad = true;
    return true;
}

static void *zeroed(int64_t n, size_t size) {
    void *p = aligned_alloc(64, (size_t)n * size);
    if (p) memset(p, 0, (size_t)n * size);
    return p;
}

mg_status mg_params_seal(mg_params *p, const mg_format *element, mg_error *err) {
    size_t size = element->block_bytes;
    void  *value = zeroed(p->count ? p->count : STRIDE, size), *grad = zeroed(p->count ? p->count : STRIDE, size);
    if (!value || !grad) {
        free(value);
        free(grad);
        return mg_fail(err, MG_NOMEM, "no memory for %lld trainable numbers", (long long)p->count);
    }
    p->element = element;
    p->value = value;
    p->grad = grad;
    int64_t at = 0;
    for (size_t i = 0; i < p->n; i++) {
        mg_tensor *x = p->item[i];
        void      *to = (uint8_t *)value + (size_t)at * size;
        if (x->data) {
            MG_ASSERT(element->block_bytes == sizeof(float)); /* adopted weights train in fp32 */
            x->format->decode(to, x->data, x->side, 0, x->rows * x->cols);
        }
        x->data = to;
        x->side = NULL;
        x->format = element;
        x->grad = (uint8_t *)grad + (size_t)at * size;
        at += room(x);
    }
    return MG_OK;
}

mg_status mg_params_add_moments(mg_params *p, mg_error *err) {
    if (p->m) return MG_OK;
    p->m = zeroed(p->count ? p->count : STRIDE, sizeof(float));
    p->v = zeroed(p->count ? p->count : STRIDE, sizeof(float));
    return p->m && p->v ? MG_OK : mg_fail(err, MG_NOMEM, "no memory for the optimizer's state (%lld numbers)",
                                          (long long)p->count);
}

void mg_params_zero_grad(mg_params *p) { memset(p->grad, 0, (size_t)p->count * p->element->block_bytes); }

void mg_params_free(mg_params *p) {
    for (size_t i = 0; i < p->n; i++) {
        if (!p->owned[i]) continue;
        free((char *)p->item[i]->name);
        free(p->item[i]);
    }
    free(p->item);
    free(p->owned);
    free(p->value);
    free(p->grad);
    free(p->m);
    free(p->v);
    *p = (mg_params){ 0 };
}
