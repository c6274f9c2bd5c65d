/* params.h -- the numbers that train.
 *
 * Values, gradients and optimizer state of all trainable tensors lie in four
 * arrays of one layout, so that clipping, AdamW, saving and zeroing are one loop
 * each.  Adapters add tensors while they attach; mg_params_seal makes the memory. */
#ifndef MG_NN_PARAMS_H
#define MG_NN_PARAMS_H

#include "autograd/tape.h"

typedef struct mg_params {
    mg_tensor **item;  /* names as adapter files spell them, without a prefix */
    bool       *owned; /* made by mg_params_add, not adopted from a model */
    size_t      n, cap;
    const mg_format *element;
    void       *value, *grad; /* [count], element type */
    float      *m, *v;        /* [count] AdamW moments, NULL until an optimizer asks */
    int64_t     count;
} mg_params;

/* A new trainable tensor, with memory after mg_params_seal; NULL: no memory.  `name` is copied. */
mg_tensor *mg_params_add(mg_params *p, const char *name, int64_t rows, int64_t cols);
/* Take a weight of the model into the set (full fine-tuning): seal copies its values in as floats.
 * The model must not be used after mg_params_free. */
bool       mg_params_adopt(mg_params *p, mg_tensor *weight);
mg_status  mg_params_seal(mg_params *p, const mg_format *element, mg_error *err);
mg_status  mg_params_add_moments(mg_params *p, mg_error *err); /* zeroed m and v */
void       mg_params_zero_grad(mg_params *p);
void       mg_params_free(mg_params *p);

#endif
