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
    const mg_backend *backend;
    void       *value, *grad; /* [count] scalars of the backend, on its device */
    void       *shadow;       /* [count] the values as elements, which kernels read; NULL: elements are scalars */
    float      *m, *v;        /* [count] AdamW moments on the device, NULL until an optimizer asks */
    void       *host;         /* [count] values for the program: `value` itself on the host, else a copy */
    double     *squares;      /* one number on the device: the squared norm of the gradients */
    int64_t     count;
} mg_params;

/* A new trainable tensor, with memory after mg_params_seal; NULL: no memory.  `name` is copied. */
mg_tensor *mg_params_add(mg_params *p, const char *name, int64_t rows, int64_t cols);
/* Take a weight of the model into the set (full fine-tuning): seal copies its values in as floats.
 * The model must not be used after mg_params_free. */
bool       mg_params_adopt(mg_params *p, mg_tensor *weight);
mg_status  mg_params_seal(mg_params *p, const mg_backend *b, mg_error *err);
mg_status  mg_params_add_moments(mg_params *p, mg_error *err); /* zeroed m and v */
void       mg_params_zero_grad(mg_params *p);

/* The values of one tensor of a sealed set, for the program to read and write.  pull fetches all of them from the
 * device, push sends all of them there; on the host both do nothing. */
float *mg_params_values(const mg_params *p, const mg_tensor *x);
void   mg_params_pull(const mg_params *p);
void   mg_params_push(mg_params *p);
/* A tensor's place in the arrays, counted in numbers. */
int64_t mg_params_at(const mg_params *p, const mg_tensor *x);
void       mg_params_free(mg_params *p);

#endif
