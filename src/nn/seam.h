/* seam.h -- the five places where a fine-tuning method can take hold of a model.
 *
 * A layer declares its role when it is built; a method selects roles, so no list
 * of model names exists.  Methods attach hooks; a model's forward pass only calls
 * the functions below and knows no method.
 *
 *   linear      mg_linear_apply      LoRA, IA3, DoRA, ... (mg_linears_apply: several of one input)
 *   embedding   mg_embedding_apply   prompt tuning, new tokens
 *   attention   mg_attend            prefix tuning
 *   residual    mg_residual          bottleneck adapters
 *   parameters  nn/params.h          full, BitFit, norms only
 */
#ifndef MG_NN_SEAM_H
#define MG_NN_SEAM_H

#include "autograd/ops.h"

typedef enum mg_role {
    MG_ROLE_Q = 1, MG_ROLE_K = 2, MG_ROLE_V = 4, MG_ROLE_O = 8, MG_ROLE_GATE = 16, MG_ROLE_UP = 32, MG_ROLE_DOWN = 64,
    MG_ROLE_EXPERT = 128, MG_ROLE_ROUTER = 256, MG_ROLE_HEAD = 512,
    MG_ROLES_ALL_LINEAR = MG_ROLE_Q | MG_ROLE_K | MG_ROLE_V | MG_ROLE_O | MG_ROLE_GATE | MG_ROLE_UP | MG_ROLE_DOWN |
                          MG_ROLE_EXPERT,
} mg_role;

typedef struct mg_linear  mg_linear;
typedef struct mg_hook    mg_hook;
typedef struct mg_net     mg_net;

/* One row for each kind of hook; a kind sets the functions of its seams and leaves the others NULL. */
typedef struct mg_hook_kind {
    const char *name;
    bool        additive; /* apply only adds to y: it commutes with a residual */
    mg_tensor *(*before)(mg_tape *t, const mg_hook *h, const mg_linear *l, mg_tensor *x);
    mg_tensor *(*apply)(mg_tape *t, const mg_hook *h, const mg_linear *l, mg_tensor *x, mg_tensor *y);
    /* For backends that join adapters (mg_backend.joins_adapters).  start_all: what hook h[i] adds at layer l[i], for n layers
     * that read one x; their products are added to y[i] in its memory.  onto: `apply`, and the residual added.  false,
     * NULL: this cannot be, and nothing was done. */
    bool (*start_all)(mg_tape *t, const mg_hook *const *h, const mg_linear *const *l, int n, mg_tensor *x, mg_tensor **y);
    mg_tensor *(*onto)(mg_tape *t, const mg_hook *h, const mg_linear *l, mg_tensor *x, mg_tensor *y, mg_tensor *residual);
    mg_tensor *(*embed)(mg_tape *t, const mg_hook *h, mg_tensor *y);
    mg_tensor *(*attend)(mg_tape *t, const mg_hook *h, mg_tensor *q, mg_tensor *k, mg_tensor *v, mg_attention_kind kind,
                         int layer);
    /* What joins the stream x in place of the branch. */
    mg_tensor *(*residual)(mg_tape *t, const mg_hook *h, mg_tensor *branch, mg_tensor *x);
    /* What stands in place of the layer's weight, or of the embedding's table. */
    mg_tensor *(*weight)(const mg_hook *h);
    /* Turn rows first .. first+n-1 of the layer's weight, w [n,I], into those with which the layer alone computes what
     * it computes with the hook (dropout aside).  Called from several threads.  NULL: no weight can say it. */
    void (*merge)(const mg_hook *h, const mg_linear *l, float *w, int64_t first, int64_t n);
    /* The same for numbers first .. first+n-1 of its bias; NULL: the bias stays. */
    void (*merge_bias)(const mg_hook *h, float *bias, int64_t first, int64_t n);
} mg_hook_kind;

enum { MG_HOOK_PARAMS = 4 };
struct mg_hook {
    const mg_hook_kind *kind;
    mg_hook            *next;
    const void         *owner; /* the adapter */
    mg_tensor          *p[MG_HOOK_PARAMS]; /* tensors of a parameter set */
    float               scale, dropout;
    uint32_t            site; /* stream of random numbers */
    int                 virtual_rows; /* rows that it wants in front of every sequence (nn/virtual.h) */
    bool                off;  /* loaded, but switched off by name */
};

struct mg_linear {
    char       name[96]; /* Hugging Face module path: "model.layers.3.self_attn.q_proj" */
    mg_role    role;
    int        layer; /* -1: outside the blocks */
    mg_tensor *w, *bias; /* w [O,I]; bias NULL: none */
    mg_hook   *hooks;
};

typedef enum mg_site { MG_SITE_ATTENTION, MG_SITE_FFN, MG_SITES } mg_site;

/* What a method may attach to. */
struct mg_net {
    mg_linear **linear; /* in the order of the file format: layer by layer */
    size_t      n_linear, cap_linear;
    int         layers;
    int64_t     dim, heads, kv_heads, hd; /* width of the stream; attention's heads and their width */
    float       embed_scale; /* on rows of the table */
    mg_linear  *head;  /* to the vocabulary or the classes; not in `linear`, w NULL: none */
    mg_tensor  *embed; /* table of tokens */
    void (*each_weight)(mg_net *net, bool (*f)(mg_tensor *w, void *context), void *context); /* every weight of the model, by its Hugging Face name */
    void (*done_with)(mg_net *net, const mg_tensor *w); /* nothing reads this weight any more: its pages of a file may go */
    mg_hook    *embed_hooks;
    mg_hook   **attend_hooks;   /* [layers] */
    mg_hook   **residual_hooks; /* [layers * MG_SITES] */
};

/* The weight that counts: a hook's in place of the layer's. */
mg_tensor *mg_linear_weight(const mg_tape *t, const mg_linear *l);
/* y = x w^T + bias, then the hooks. */
mg_tensor *mg_linear_apply(mg_tape *t, const mg_linear *l, mg_tensor *x);
/* The same for n layers that read one x: y[i] is what layer l[i] makes of it. */
enum { MG_LINEARS = 4 };
void mg_linears_apply(mg_tape *t, const mg_linear *const *l, int n, mg_tensor *x, mg_tensor **y);
/* Arguments l and n of mg_linears_apply. */
#define MG_LIST(...) (const mg_linear *[]){ __VA_ARGS__ }, (int)(sizeof((const mg_linear *[]){ __VA_ARGS__ }) / sizeof(void *))
/* The last product of a branch, added to the stream: x + l(a), unless a hook stands at the residual. */
mg_tensor *mg_linear_onto(mg_tape *t, const mg_net *net, const mg_linear *l, mg_tensor *a, mg_tensor *x, int layer,
                          mg_site site);
/* The same where the sum is what the block gives back: when the block runs again for its backward pass, nobody reads it,
 * and the products are left out. */
mg_tensor *mg_linear_end(mg_tape *t, const mg_net *net, const mg_linear *l, mg_tensor *a, mg_tensor *x, int layer, mg_site site);
/* x + norm(branch), Gemma's order; the residual hook sees the normed branch. */
mg_tensor *mg_residual_norm(mg_tape *t, const mg_net *net, mg_tensor *x, mg_tensor *branch, mg_tensor *g, float eps,
                            int layer, mg_site site);
mg_tensor *mg_embedding_apply(mg_tape *t, const mg_net *net, mg_tensor *table, float scale);
mg_tensor *mg_attend(mg_tape *t, const mg_net *net, mg_tensor *q, mg_tensor *k, mg_tensor *v, mg_attention_kind kind,
                     int layer);

/* Put h at the end of a list of hooks. */
void mg_hook_attach(mg_hook **list, mg_hook *h);

#endif
