/* lora.h -- what LoRA and its kin (DoRA, PiSSA, OLoRA, LoftQ) share. */
#ifndef MG_PEFT_LORA_H
#define MG_PEFT_LORA_H

#include "peft/adapter.h"

typedef struct mg_lora_settings {
    double loraplus_lr_ratio; /* 0: B learns like A */
} mg_lora_settings;

extern const mg_option   mg_lora_options[];
extern const char *const mg_lora_keys[];

/* Scale, dropout and the tensors p[0] = A [r,I] and p[1] = B [O,r] of one layer; the hook's kind is the caller's. */
mg_status mg_lora_pair(mg_adapter *a, mg_linear *l, mg_hook *h, mg_error *err);
mg_status mg_lora_attach(mg_adapter *a, mg_net *net, mg_error *err);
mg_status mg_lora_init(mg_adapter *a, uint64_t seed, mg_error *err); /* A uniform, B zero */
void      mg_lora_write_config(const mg_adapter *a, mg_buf *out);
mg_status mg_lora_read_config(mg_adapter_config *c, yyjson_val *json, const char *name, mg_error *err);
/* The stream of a hook's dropout in this step. */
mg_rng    mg_lora_stream(const mg_tape *t, const mg_hook *h, const mg_linear *l);
/* w [n,I] += s B A, rows from `first`. */
void      mg_lora_add(const mg_hook *h, float *w, int64_t first, int64_t n);
/* x [n] uniform in +-bound, of stream `index`. */
void      mg_uniform(float *x, int64_t n, float bound, uint64_t seed, uint32_t index);

#endif
