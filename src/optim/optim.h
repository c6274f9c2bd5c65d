/* optim.h -- what the optimizers share with the file that runs them; for them alone. */
#ifndef MG_OPTIM_OPTIM_H
#define MG_OPTIM_OPTIM_H

#include "optim/optimizer.h"

/* One array that is kept from step to step.  Blocks of `block` numbers of the parameters have one entry of
 * `size` bytes each: 1 and 4 for a moment, 256 and 4 for the scale of a block. */
typedef struct mg_state {
    char       *name;  /* as in the file: "exp_avg", "exp_avg.model.layers.0..." */
    const char *dtype; /* of safetensors: "F32", "U8" */
    int64_t     n;     /* entries */
    int64_t     block;
    size_t      size;
    bool        paged;
    uint8_t    *data; /* on the device; paged: memory of the host */
} mg_state;

enum { MG_OPTIM_VIEWS = 4, MG_OPTIM_SLOTS = 2 };

struct mg_optim {
    const mg_optimizer   *kind;
    mg_optimizer_settings s;
    mg_params            *p;
    mg_state             *state;
    size_t                n_states, cap_states;
    size_t               *first;      /* [p->n] a tensor's first state, for optimizers that have some of each tensor */
    size_t                work_bytes; /* asked for by lay_out */
    void                 *work;       /* on the device */
    size_t                page_bytes; /* of one slot; 0: nothing is paged */
    uint8_t              *page[MG_OPTIM_SLOTS];
    uint8_t              *memory; /* of all states on the device */
    size_t                average; /* number of the state that is the average of the values, + 1; 0: none */
};

/* Add an array for `count` numbers (NULL: no memory); `tensor`, when not NULL, becomes part of the name. */
mg_state *mg_optim_add_state(mg_optim *o, const char *name, const mg_tensor *tensor, const char *dtype, int64_t block, int64_t count);

/* Numbers at .. at+n-1 of the parameters under one rule, with the state that belongs to them. */
typedef struct mg_piece {
    float *p, *grad;
    void  *shadow; /* NULL: none */
    int64_t n;
    void   *state[MG_OPTIM_VIEWS];
    float   lr, decay; /* the learning rate and weight decay that hold here */
} mg_piece;
typedef void (*mg_piece_fn)(mg_optim *o, const mg_update *u, const mg_piece *x);

/* fn over all parameters, states 0..n-1 having an entry for each block of the whole array: as few pieces as rules
 * and pages allow. */
void mg_optim_each(mg_optim *o, const mg_update *u, int n, mg_piece_fn fn);
/* All of one tensor, without state. */
mg_piece mg_optim_piece(const mg_optim *o, const mg_update *u, size_t tensor);
/* fn over piece x with the entries of states first .. first+n-1 from number `from` on, page by page where they are paged. */
void mg_optim_stream(mg_optim *o, const mg_update *u, size_t first, int n, int64_t from, const mg_piece *x, mg_piece_fn fn);

/* A matrix that is no embedding and no head, whose rows are looked up one by one; their names say so. */
bool   mg_optim_is_hidden(const mg_tensor *x);
/* y = (accumulate ? y : 0) + scale x on n numbers of the device */
void   mg_optim_sum(const mg_optim *o, float *y, const float *x, float scale, bool accumulate, int64_t n);
double mg_optim_norm(const mg_optim *o, const float *x, int64_t n); /* waits for the device */
void   mg_optim_shadow(const mg_optim *o, const mg_piece *x);       /* the new values as elements, where there is a shadow */

/* extras.c: what goes with every optimizer. */
mg_status mg_average_lay_out(mg_optim *o, mg_error *err);
void      mg_average_update(mg_optim *o, int64_t step);
void      mg_gradient_noise(mg_optim *o, int64_t step);

#endif
