/* sft_result.c -- what a run leaves: the folder of an adapter, or a whole model beside the run's records.
 *
 * A model goes out as it would from `export`: under the names and in the types of its base (bf16 for a packed one), so
 * that everything which loads a model loads the run. */
#include "deliver/deliver.h"
#include "train/sft_parts.h"

#include <stdlib.h>
#include <string.h>

static const uint64_t SHARD_BYTES = 5000000000u; /* as Hugging Face's */

typedef struct { /* the weights of two models, in the order both have */
    mg_tensor **weight;
    size_t      n, cap;
    bool        failed;
} weights;

static bool list_one(mg_tensor *w, void *context) {
    weights *l = context;
    if (!MG_GROW(l->weight, l->cap, l->n + 1)) return !(l->failed = true);
    l->weight[l->n++] = w;
    return true;
}

/* What has been trained stands in place of the weights of `plain`, the base as its file has it: the program's floats, also
 * where a device holds others.  *view has room for all. */
static mg_status put_in(mg_trainer *r, mg_model *plain, mg_tensor **view, mg_error *err) {
    weights   from = { 0 }, to = { 0 };
    mg_status st = MG_OK;
    mg_model_each_weight(r->bundle.model, list_one, &from);
    mg_model_each_weight(plain, list_one, &to);
    *view = mg_calloc(to.n + 1, sizeof **view);
    if (from.failed || to.failed || !*view) st = mg_fail(err, MG_NOMEM, "no memory for a list of weights");
    if (!st && from.n != to.n)
        st = mg_fail(err, MG_MISMATCH, "%s: has other weights than when the run began; was the file exchanged?", r->bundle.path);
    for (size_t i = 0; !st && i < to.n; i++) {
        const mg_tensor *x = from.weight[i]->instead;
        if (!x) continue;
        (*view)[i] = (mg_tensor){ .name = to.weight[i]->name, .rows = x->rows, .cols = x->cols, .format = &mg_format_f32,
                                  .data = mg_params_values(&r->params, x), .param = true };
        to.weight[i]->instead = &(*view)[i];
    }
    free(from.weight);
    free(to.weight);
    return st;
}

static mg_status write_model(mg_trainer *r, mg_error *err) {
    const mg_model_options o = { .positions = 2 };
    const char      *folder = mg_run_folder(r->run);
    mg_bundle        plain = { 0 };
    mg_tensor       *view = NULL;
    const mg_format *dtype = NULL;
    mg_status        st = mg_bundle_open(&plain, r->bundle.path, &o, r->o->chat_template, err);
    if (!st && mg_model_gguf(plain.model)) dtype = &mg_format_bf16;
    mg_params_pull(&r->params);
    if (!st) st = put_in(r, plain.model, &view, err);
    if (!st) st = mg_deliver_hf(&(mg_delivery){ .bundle = &plain }, folder, dtype, SHARD_BYTES, err);
    mg_bundle_close(&plain);
    free(view);
    return st;
}

mg_status mg_trainer_write_result(mg_trainer *r, mg_error *err) {
    return r->adapter->c.method->whole ? write_model(r, err) : mg_adapter_save(r->adapter, mg_run_folder(r->run), err);
}
