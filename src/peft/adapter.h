/* adapter.h -- adapters: attached at the seams, saved and loaded as PEFT does.
 *
 * A method is one row in a file of its own and one line in peft.def.  Its row says
 * how it takes hold of the model, what its first values are, which options it has,
 * and what adapter_config.json says about it; everything else -- choosing layers,
 * modules_to_save, the two files, checks, switching -- is here, once.
 *
 * The folder written holds adapter_config.json with few keys (newer ones crash older
 * PEFT) and adapter_model.safetensors with PEFT's tensor names, so that PEFT, vLLM and
 * llama.cpp's converter take it as it is.  What PEFT does not save but a resumed run
 * needs (an encoder of prompts, a schedule's averages) stands beside them in
 * adapter_training.safetensors. */
#ifndef MG_PEFT_ADAPTER_H
#define MG_PEFT_ADAPTER_H

#include "base/json.h"
#include "base/option.h"
#include "nn/params.h"
#include "nn/seam.h"

typedef struct mg_method  mg_method;
typedef struct mg_adapter mg_adapter;

enum { MG_METHOD_OWN = 256, MG_METHODS_MOST = 48 };

/* Settings of one adapter: plain values, to be copied as they are. */
typedef struct mg_adapter_config {
    const mg_method *method;
    int              r;             /* rank, of methods that have one */
    float            alpha, dropout;
    bool             rslora;        /* scale alpha / sqrt(r), arXiv 2312.03732 */
    char             targets[512];  /* "all-linear", or module names and roles: "q_proj,v_proj", "q,v" */
    char             layers[256];   /* only these blocks: "0,1,5-8"; "": all */
    char             rank_pattern[1024], alpha_pattern[1024]; /* "q_proj=8,layers.0.mlp.up_proj=4" */
    char             modules_to_save[512]; /* "lm_head,embed_tokens": trained as a whole */
    char             base[512];     /* base_model_name_or_path */
    const struct mg_tokenizer *tokenizer; /* borrowed, for first values made of a text; NULL: none */
    /* Of a task other than text: PEFT's task_type, the head's module, and how the model's names begin below such a head
     * ("model." is "transformer." there); all "" for text. */
    char             task_type[24], head[24], inner_from[24], inner_to[24];
    bool             frozen;        /* attached to be used, not to be trained: no training state */
    _Alignas(max_align_t) char own[MG_METHOD_OWN]; /* the struct that the method's own options fill */
} mg_adapter_config;

/* How a tensor of an adapter is kept. */
enum {
    MG_PART_FIXED = 1,    /* a constant: it never trains */
    MG_PART_PRIVATE = 2,  /* for training alone: in adapter_training.safetensors, not there when frozen */
    MG_PART_UNSAVED = 4,  /* in no file: init and after_load make it */
    MG_PART_BARE = 8,     /* its name stands in the file without PEFT's prefix */
    MG_PART_VECTOR = 16,  /* one dimension in the file */
    MG_PART_HEAD = 32,    /* of a task's head, not of the method */
    MG_PART_LESS_ONE = 64, /* the file holds the number less one (Gemma's norms), in F64, so that nothing is lost */
};
typedef struct mg_part {
    mg_tensor       *x;
    unsigned         how;
    const mg_tensor *from; /* starts as a copy of this weight; NULL: init says */
    char             file[224]; /* its name in the file, whole */
} mg_part;

/* A weight of the model and what stands in its place. */
typedef struct mg_replaced {
    mg_tensor *weight, *by;
} mg_replaced;

struct mg_adapter {
    mg_adapter_config c;
    mg_params        *params; /* borrowed: where the tensors live */
    mg_net           *net;    /* borrowed */
    mg_part          *part;
    size_t            n_parts, cap_parts;
    mg_hook         **hook;   /* all of its hooks, at whichever seam */
    size_t            n_hooks, cap_hooks;
    mg_linear       **linear; /* those that its targets chose, in the net's order: hook[i] is in linear[i] */
    size_t            n_linear, cap_linear;
    mg_replaced      *replaced;
    size_t            n_replaced, cap_replaced;
    const int64_t    *total_steps; /* of the run, for schedules; NULL when it does not train */
    void             *state;  /* the method's, released by its row */
    int64_t           parameters; /* that train */
    bool              failed; /* memory ran out while it was put together */
};

struct mg_method {
    const char *name, *peft_type, *title; /* "lora", "LORA", "LoRA" */
    bool             ranked;  /* c.r and c.alpha say something about it */
    int64_t (*virtual_rows)(const mg_adapter_config *c); /* rows that it wants in front of every text; NULL: none */
    bool             whole;   /* a run's result is a model, not an adapter */
    const mg_option *options; /* of this method alone, fields of the struct in config.own; methods may share a table */
    size_t           own;     /* size of that struct */
    /* Which of several rows with one peft_type a file means; NULL: the one that no other claims. */
    bool (*claims)(yyjson_val *json);
    /* Check the settings, make parts and hooks (the functions below). */
    mg_status (*attach)(mg_adapter *a, mg_net *net, mg_error *err);
    /* First values, a pure function of the seed and of the model, whose weights are still on the host.  Parts that are
     * copies are filled already.  NULL: all zeros. */
    mg_status (*init)(mg_adapter *a, uint64_t seed, mg_error *err);
    /* Fill what is computed from other parts: before the files are written, after they are read (a->c.frozen says
     * what for).  NULL: nothing is. */
    mg_status (*before_save)(mg_adapter *a, mg_error *err);
    mg_status (*after_load)(mg_adapter *a, mg_error *err);
    /* Method-specific keys of adapter_config.json, each line ending in ",\n"; target_modules and modules_to_save are
     * written for it. */
    void (*write_config)(const mg_adapter *a, mg_buf *out);
    mg_status (*read_config)(mg_adapter_config *c, yyjson_val *json, const char *name, mg_error *err);
    /* Keys of adapter_config.json that it reads; others must have a default value. */
    const char *const *keys;
    /* What happens after update `step` (from 1): values and gradients (times grad_scale) are still there.  NULL: nothing. */
    void (*updated)(mg_adapter *a, float grad_scale, int64_t step);
    /* Add the gradient of a penalty, before gradients are measured and clipped; the penalty.  NULL: there is none. */
    double (*before_update)(mg_adapter *a);
    void (*free_state)(void *state);
};

const mg_method *mg_method_find(const char *name); /* by name or peft_type; NULL: unknown */
const mg_method *mg_method_at(size_t i);           /* in the order of peft.def; NULL ends */
size_t           mg_method_index(const mg_method *m);
/* The tables of the methods' own options for mg_option.tables: fields lie in a char[MG_METHODS_MOST][MG_METHOD_OWN]. */
const mg_option *mg_method_tables(size_t i, size_t *offset);
/* Copy the method's own settings out of such an array into c->own; c->method is set. */
void mg_method_own(mg_adapter_config *c, char (*own)[MG_METHOD_OWN]);

/* Virtual tokens of an adapter with these settings (nn/virtual.h): a model must be opened with room for them. */
static inline int64_t mg_adapter_virtual(const mg_adapter_config *c) { return c->method->virtual_rows ? c->method->virtual_rows(c) : 0; }

/* Hook an adapter into `net`.  The tensors join `p`, which the caller seals afterwards.  MG_CONFIG when a target names
 * nothing. */
mg_status mg_adapter_attach(mg_adapter **out, const mg_adapter_config *c, mg_net *net, mg_params *p, mg_error *err);
mg_status mg_adapter_init(mg_adapter *a, uint64_t seed, mg_error *err);
void      mg_adapter_switch(mg_adapter *a, bool on);
/* The hooks leave the model's lists; the tensors stay in their set.  NULL is fine. */
void      mg_adapter_detach(mg_adapter *a, mg_net *net);

/* Settings of a saved adapter. */
mg_status mg_adapter_read_config(mg_adapter_config *out, const char *folder, mg_error *err);
/* The same to go on training: what the file does not say is as in `own` (see mg_method_own). */
mg_status mg_adapter_read_config_over(mg_adapter_config *out, char (*own)[MG_METHOD_OWN], const char *folder, mg_error *err);
/* Values into the attached, sealed adapter.  File and adapter must agree exactly: a tensor too many, too few or
 * of another shape is an error, because half an adapter trains without complaint and answers nonsense.
 * Everything is checked before the first number is written. */
mg_status mg_adapter_load(mg_adapter *a, const char *folder, mg_error *err);
/* The files, each replaced atomically: mg_adapter_files names them. */
mg_status mg_adapter_save(mg_adapter *a, const char *folder, mg_error *err);
/* Name `i` of the files that this adapter is saved in; NULL ends. */
const char *mg_adapter_file(const mg_adapter *a, size_t i);

/* ---- for methods ---- */

/* A tensor of the adapter, with memory once the set is sealed; the name, printed from `format`, is that of the file
 * without PEFT's prefix.  NULL: no memory (a->failed), which the caller may leave to mg_adapter_attach. */
__attribute__((format(printf, 5, 6))) mg_tensor *mg_adapter_add(mg_adapter *a, unsigned how, int64_t rows, int64_t cols,
                                                                const char *format, ...);
/* A hook at the end of `list`, switched with the adapter; NULL as above. */
mg_hook *mg_adapter_hook(mg_adapter *a, mg_hook **list, const mg_hook_kind *kind);
/* Train a copy of a weight of the model in its place (the parameters seam); NULL as above. */
mg_tensor *mg_adapter_replace(mg_adapter *a, mg_tensor *weight, unsigned how, const char *file);
/* Call f with a new hook (zeroed but for site and owner) for each linear that the targets choose; f sets its kind and
 * tensors.  MG_CONFIG: a target names no layer, or none is chosen. */
typedef mg_status (*mg_linear_fn)(mg_adapter *a, mg_linear *l, mg_hook *h, mg_error *err);
mg_status mg_adapter_each_linear(mg_adapter *a, mg_net *net, mg_linear_fn f, mg_error *err);
/* Is block `layer` among c->layers?  For methods without linears; a list that is none counts as one that has it not. */
bool mg_adapter_takes_layer(const mg_adapter_config *c, int layer);
/* One entry of a list of targets ("q", "q_proj", "layers.0.self_attn.q_proj", "all-linear") against a layer. */
bool mg_target_is(const char *target, size_t len, const mg_linear *l);
bool mg_targets_have(const char *list, const mg_linear *l); /* any entry of a comma list */
/* Is a block in "0,1,5-8" ("": all)?  *bad points at what is no list of blocks; it stays as it is otherwise. */
bool mg_layers_have(const char *list, int layer, const char **bad);
/* The rank and alpha of a layer: c->r and c->alpha unless a pattern names it. */
int   mg_adapter_rank(const mg_adapter_config *c, const mg_linear *l);
float mg_adapter_alpha(const mg_adapter_config *c, const mg_linear *l);
/* "key": ["q_proj", ...]: the chosen linears that `pick` takes (NULL: all), by the last part of their paths where
 * that means the same. */
void mg_adapter_write_modules(const mg_adapter *a, const char *key, bool (*pick)(const mg_adapter *, const mg_linear *), mg_buf *out);
/* The values of a part, for init and the like. */
static inline float *mg_adapter_values(const mg_adapter *a, const mg_tensor *x) { return mg_params_values(a->params, x); }
/* Reading adapter_config.json: an integer from 1, a number, a list of names as "a,b"; the first two fail when the key is
 * missing or wrong. */
mg_status mg_config_int(int *out, yyjson_val *json, const char *key, const char *file, mg_error *err);
mg_status mg_config_number(float *out, yyjson_val *json, const char *key, const char *file, mg_error *err);
mg_status mg_config_names(char *out, size_t size, yyjson_val *v, const char *key, const char *file, mg_error *err);
/* {"name": 8} as "name=8". */
mg_status mg_config_pattern(char *out, size_t size, yyjson_val *v, const char *key, const char *file, mg_error *err);
void      mg_config_write_pattern(const char *pattern, const char *key, mg_buf *out);
/* "a,b" as "key": ["a", "b"],\n. */
void      mg_config_write_names(const char *list, const char *key, mg_buf *out);

/* ---- modules trained as a whole (modules.c) ---- */
mg_status mg_adapter_attach_modules(mg_adapter *a, mg_net *net, mg_error *err);

#endif
