/* params.h -- the numbers that train.
 *
 * Values and gradients of all trainable tensors lie in two arrays of one layout, so that clipping, the
 * optimizers, saving and zeroing are one loop each.  Adapters add tensors while they attach;
 * mg_params_seal makes the memory.  What an optimizer remembers is its own (optim/optimizer.h). */
#ifndef MG_NN_PARAMS_H
#define MG_NN_PARAMS_H

#include "autograd/tape.h"

/* How one tensor departs from the rest: factors on the learning rate and on the weight decay. */
typedef struct mg_param_rule { float lr, decay; } mg_param_rule;

typedef struct mg_params {
    mg_tensor    **item;  /* names as adapter files spell them, without a prefix */
    bool          *owned; /* made by mg_params_add, not adopted from a model */
    mg_param_rule *rule;  /* 1 and 1 unless mg_params_set_rule said otherwise */
    bool          *stacked; /* asked for by mg_params_stack */
    size_t         n, cap;
    const mg_backend *backend;
    void       *value, *grad; /* [count] scalars of the backend, on its device */
    void       *shadow;       /* [count] the values as elements, which kernels read; NULL: elements are scalars */
    void       *host;         /* [count] values for the program: `value` itself on the host, else a copy */
    double     *squares;      /* one number on the device: the squared norm of the gradients */
    int64_t     count;
    /* Called by every update before anything else: may add to the gradients. */
    void (*before_update)(void *context);
    /* Called by every update behind the optimizer's rule, gradients (to be scaled by grad_scale) still there; may be NULL. */
    void (*updated)(void *context, float grad_scale, int64_t step);
    void       *updated_context;
    mg_tensor **fixed;        /* [n_fixed] constants: no gradient, no optimizer state */
    size_t      n_fixed, cap_fixed;
    int64_t     fixed_count;
    float      *fixed_host;   /* [fixed_count] for the program; NULL where `fixed_value` is that itself */
    void       *fixed_value;  /* [fixed_count] elements on the device */
} mg_params;

/* A new trainable tensor, with memory after mg_params_seal; NULL: no memory.  `name` is copied. */
mg_tensor *mg_params_add(mg_params *p, const char *name, int64_t rows, int64_t cols);
/* Move x, just added, before all that is not stacked and right behind the tensor that was stacked last, so that neighbours
 * of one width are one matrix for a product (mg_tensor.behind).  Nothing happens to constants. */
void       mg_params_stack(mg_params *p, mg_tensor *x);
/* A new constant of an adapter: like the above, but it never trains and its values are elements. */
mg_tensor *mg_params_add_fixed(mg_params *p, const char *name, int64_t rows, int64_t cols);
/* Take a weight of the model into the set (full fine-tuning): seal copies its values in as floats.
 * The model must not be used after mg_params_free. */
bool       mg_params_adopt(mg_params *p, mg_tensor *weight);
/* Another learning rate (LoRA+: `lr` times the run's for B) or weight decay (0: none) for one tensor; any time. */
void       mg_params_set_rule(mg_params *p, const mg_tensor *x, mg_param_rule rule);
mg_status  mg_params_seal(mg_params *p, const mg_backend *b, mg_error *err);
void       mg_params_zero_grad(mg_params *p);

/* The values of one tensor of a sealed set (a constant, too), for the program to read and write.  pull fetches what
 * trains from the device, push sends all values there; on the host both do nothing. */
float *mg_params_values(const mg_params *p, const mg_tensor *x);
void   mg_params_pull(const mg_params *p);
void   mg_params_push(mg_params *p);
/* A tensor's place in the arrays, counted in numbers, and the numbers that it takes there: its own and a gap of
 * zeros up to the next multiple of 16. */
int64_t mg_params_at(const mg_params *p, const mg_tensor *x);
int64_t mg_params_room(const mg_tensor *x);
void       mg_params_free(mg_params *p);

#endif
