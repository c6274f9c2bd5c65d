/* adapter.h -- adapters: attached at the seams, saved and loaded as PEFT does.
 *
 * A method is one row (peft.def).  The folder written holds adapter_config.json
 * with few keys (newer ones crash older PEFT) and adapter_model.safetensors with
 * PEFT's tensor names, so that PEFT, vLLM and llama.cpp's converter take it as it is. */
#ifndef MG_PEFT_ADAPTER_H
#define MG_PEFT_ADAPTER_H

#include "base/json.h"
#include "nn/params.h"
#include "nn/seam.h"

typedef struct mg_method mg_method;

typedef struct mg_adapter_config {
    const mg_method *method;
    int              r;
    float            alpha, dropout;
    bool             rslora;        /* scale alpha / sqrt(r), arXiv 2312.03732 */
    char             targets[512];  /* "all-linear", or module names and roles: "q_proj,v_proj", "q,v" */
    char             base[512];     /* base_model_name_or_path */
} mg_adapter_config;

typedef struct mg_adapter {
    mg_adapter_config c;
    mg_params        *params; /* borrowed: where the trainable tensors live */
    mg_hook          *hook;   /* [n_hooks] */
    size_t            n_hooks;
    int64_t           parameters;
} mg_adapter;

struct mg_method {
    const char *name, *peft_type; /* "lora", "LORA" */
    /* Check the settings and hook the method into one linear layer; `h` is a zeroed hook of the adapter. */
    mg_status (*attach)(const mg_adapter_config *c, mg_linear *l, mg_hook *h, mg_params *p, mg_error *err);
    /* Fresh values, a pure function of the seed. */
    void (*init)(const mg_adapter_config *c, mg_params *p, const mg_hook *h, uint64_t seed, uint32_t index);
    /* Method-specific keys of adapter_config.json. */
    void (*write_config)(const mg_adapter_config *c, mg_buf *out);
    mg_status (*read_config)(mg_adapter_config *c, yyjson_val *json, const char *name, mg_error *err);
    /* Keys of adapter_config.json that it reads; others must have a default value. */
    const char *const *keys;
};

const mg_method *mg_method_find(const char *name); /* NULL: unknown */

/* Hook an adapter into the linears of `net` that its targets name.  The tensors join `p`, which the caller
 * seals afterwards.  MG_CONFIG when a target names nothing. */
mg_status mg_adapter_attach(mg_adapter **out, const mg_adapter_config *c, mg_net *net, mg_params *p, mg_error *err);
void      mg_adapter_init(mg_adapter *a, uint64_t seed);
void      mg_adapter_switch(mg_adapter *a, bool on);
/* The hooks leave the model's lists; the tensors stay in their set. */
void      mg_adapter_detach(mg_adapter *a, mg_net *net);

/* Settings of a saved adapter. */
mg_status mg_adapter_read_config(mg_adapter_config *out, const char *folder, mg_error *err);
/* Values into the attached, sealed adapter.  File and adapter must agree exactly: a tensor too many, too few or
 * of another shape is an error, because half an adapter trains without complaint and answers nonsense.
 * Everything is checked before the first number is written. */
mg_status mg_adapter_load(mg_adapter *a, const char *folder, mg_error *err);
/* adapter_config.json and adapter_model.safetensors, each replaced atomically. */
mg_status mg_adapter_save(const mg_adapter *a, const char *folder, mg_error *err);

#endif
