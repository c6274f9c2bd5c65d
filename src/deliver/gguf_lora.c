/* gguf_lora.c -- a LoRA adapter in llama.cpp's own format.
 *
 *   general.type "adapter", adapter.type "lora", adapter.lora.alpha
 *   blk.0.attn_q.weight.lora_a [I, r]   blk.0.attn_q.weight.lora_b [r, O]     (ggml's order of dimensions)
 *
 * llama.cpp computes y + (alpha / r) B A x with one alpha for all, so what is written is r times the scale of the
 * hooks: the alpha of a rank-stabilised adapter multiplied by sqrt(r).  Where the model's GGUF file has the rows of q and k in another order, so must B. */
#include "deliver/deliver.h"
#include "format/gguf_write.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MOST = 63 }; /* ggml's limit */

static mg_status add(mg_pieces *out, const mg_piece *w, const mg_tensor *x, const char *end, bool rows_of_w, const mg_format *format,
                     mg_error *err) {
    if (!MG_GROW(out->item, out->cap, out->n + 1)) return mg_fail(err, MG_NOMEM, "no memory for a list of tensors");
    mg_piece *p = &out->item[out->n++];
    *p = (mg_piece){ .n_dims = 2, .rows = x->rows, .cols = x->cols, .format = format, .from = x->format, .data = x->data,
                     
                     .order = rows_of_w ? w->order : 0, .config = w->config, .layer = w->layer };
    if (snprintf(p->name, sizeof p->name, "%s.%s", w->name, end) > NAME_MOST)
        return mg_fail(err, MG_UNSUPPORTED, "'%s' is too long for a tensor's name in GGUF", p->name);
    return MG_OK;
}

/* A and B of every hook, under the names of the weights they belong to. */
static mg_status list(mg_pieces *out, const mg_pieces *weights, const mg_adapter *a, const mg_format *format, mg_error *err) {
    size_t    found = 0;
    mg_status st = MG_OK;
    for (size_t i = 0; !st && i < weights->n; i++) {
        const mg_piece *w = &weights->item[i];
        for (const mg_hook *h = w->linear ? w->linear->hooks : NULL; !st && h; h = h->next) {
            if (h->owner != a) continue;
            st = add(out, w, h->p[0], "lora_a", false, format, err);
            if (!st) st = add(out, w, h->p[1], "lora_b", true, format, err);
            found++;
        }
    }
    if (!st && found != a->n_hooks)
        st = mg_fail(err, MG_UNSUPPORTED, "%zu of the adapter's %zu parts have no weight in a GGUF file to stand beside", a->n_hooks - found,
                     a->n_hooks);
    return st;
}

/* r times the scale, the same for all parts. */
static mg_status common_alpha(float *alpha, const mg_adapter *a, mg_error *err) {
    for (size_t i = 0; i < a->n_hooks; i++) {
        float own = a->hook[i]->scale * (float)a->hook[i]->p[0]->rows;
        if (i && fabsf(own - *alpha) > 1e-5f * fabsf(*alpha))
            return mg_fail(err, MG_UNSUPPORTED, "the adapter's layers have different alphas, a GGUF LoRA holds one; export the merged model");
        if (!i) *alpha = own;
    }
    return MG_OK;
}

static mg_status write_piece(void *context, size_t i, mg_new_file *out, mg_error *err) {
    return mg_piece_write(&((const mg_pieces *)context)->item[i], out, NULL, err);
}

static void put_text(mg_gguf_writer *w, const char *key, const char *s) { mg_gguf_put_str(w, key, s, strlen(s)); }

mg_status mg_deliver_gguf_lora(const mg_delivery *d, mg_new_file *out, const mg_format *format, mg_error *err) {
    const mg_adapter *a = d->bundle->adapter;
    const mg_model   *m = d->bundle->model;
    mg_gguf_writer    w = { 0 };
    mg_pieces         weights = { 0 }, pieces = { 0 };
    if (!a) return mg_fail(err, MG_USAGE, "there is no adapter to export; name a run, or an adapter with -a");
    if (strcmp(a->c.method->name, "lora"))
        return mg_fail(err, MG_UNSUPPORTED, "llama.cpp loads LoRA adapters only, not %s; export the merged model with --to gguf",
                       a->c.method->peft_type);
    if (*a->c.modules_to_save)
        return mg_fail(err, MG_UNSUPPORTED, "a GGUF LoRA cannot hold modules that were trained as a whole (%s); export the merged model with --to gguf",
                       a->c.modules_to_save);
    const char *arch = m->from_gguf ? m->c.arch : m->arch->gguf_archs[0];
    float       alpha = 0;
    if (!arch) return mg_fail(err, MG_UNSUPPORTED, "llama.cpp has no architecture for %s, so there is no GGUF file of it", m->c.arch);
    mg_status st = mg_pieces_list(&weights, m, true, err);
    if (!st) st = common_alpha(&alpha, a, err);
    if (!st) st = list(&pieces, &weights, a, format, err);
    if (!st) {
        put_text(&w, "general.architecture", arch);
        put_text(&w, "general.type", "adapter");
        if (d->name) put_text(&w, "general.name", d->name);
        mg_gguf_put_u32(&w, "general.file_type", (uint32_t)mg_mix_find(format->name)->file_type);
        put_text(&w, "adapter.type", "lora");
        mg_gguf_put_f32(&w, "adapter.lora.alpha", alpha);
        for (size_t i = 0; i < pieces.n; i++)
            mg_gguf_put_tensor(&w, pieces.item[i].name, 2, (const int64_t[]){ pieces.item[i].cols, pieces.item[i].rows }, format);
        st = mg_gguf_write(&w, out, write_piece, &pieces, err);
    }
    mg_gguf_writer_free(&w);
    mg_pieces_free(&weights);
    mg_pieces_free(&pieces);
    return st;
}

/* ---- reading back ---- */

static mg_status fill(mg_tensor *x, const mg_piece *w, const char *end, bool rows_of_w, const mg_gguf *g, mg_error *err) {
    mg_piece order = { .order = rows_of_w ? w->order : 0, .config = w->config };
    char     name[sizeof w->name + 8];
    snprintf(name, sizeof name, "%s.%s", w->name, end);
    const mg_gguf_tensor *t = mg_gguf_find_tensor(g, name);
    if (!t || t->dims[0] != x->cols || t->dims[1] != x->rows || t->dims[2] != 1 || t->dims[3] != 1)
        return mg_fail(err, MG_SELFCHECK, "%s: '%s' is missing or has another shape", g->path, name);
    for (int64_t r = 0; r < x->rows; r++)
        t->format->decode((float *)x->data + mg_piece_row(&order, r) * x->cols, t->data, NULL, r * x->cols, x->cols);
    return MG_OK;
}

mg_status mg_gguf_lora_load(mg_bundle *b, const mg_adapter_config *c, const char *path, const mg_backend *backend, mg_error *err) {
    mg_gguf  *g = NULL;
    mg_pieces weights = { 0 };
    double    alpha = 0;
    size_t    n = 0;
    mg_status st = mg_gguf_open(&g, path, err);
    if (!st && !mg_gguf_float(g, "adapter.lora.alpha", &alpha)) st = mg_fail(err, MG_SELFCHECK, "%s: has no adapter.lora.alpha", path);
    if (!st) st = mg_adapter_attach(&b->adapter, c, &b->model->net, &b->params, err);
    if (!st) st = mg_params_seal(&b->params, backend, err);
    if (!st) st = mg_pieces_list(&weights, b->model, true, err);
    for (size_t i = 0; !st && i < weights.n; i++)
        for (mg_hook *h = weights.item[i].linear ? weights.item[i].linear->hooks : NULL; !st && h; h = h->next) {
            h->scale = (float)alpha / (float)h->p[0]->rows;
            st = fill(h->p[0], &weights.item[i], "lora_a", false, g, err);
            if (!st) st = fill(h->p[1], &weights.item[i], "lora_b", true, g, err);
            n += 2;
        }
    if (!st && n != g->n_tensors)
        st = mg_fail(err, MG_SELFCHECK, "%s: holds %zu tensors, the adapter has %zu", path, g->n_tensors, n);
    mg_pieces_free(&weights);
    mg_gguf_close(g);
    return st;
}
