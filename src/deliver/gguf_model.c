/* gguf_model.c -- a whole model as one GGUF file.
 *
 * From GGUF to GGUF the file's own tensors go out in their order, those the model makes no use of, too; from
 * a Hugging Face folder they go out in the order of the architecture's table. */
#include "deliver/deliver.h"
#include "deliver/gguf_meta.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

enum { QUANTIZATION_VERSION = 2 };

/* A tensor of the file that the model knows nothing of. */
static void foreign_piece(mg_piece *p, const mg_gguf_tensor *t) {
    *p = (mg_piece){ .n_dims = t->n_dims, .rows = t->dims[1] * t->dims[2] * t->dims[3], .cols = t->dims[0], .format = t->format,
                     .from = t->format, .data = t->data, .layer = -1 };
    strncpy(p->name, t->name, sizeof p->name - 1);
}

/* The pieces of `known` in the order of the file, its other tensors between them. */
static mg_status in_file_order(mg_pieces *out, const mg_pieces *known, const mg_gguf *g, mg_error *err) {
    mg_map   *index = mg_map_new(known->n);
    mg_piece *item = mg_calloc(g->n_tensors, sizeof *item);
    mg_status st = index && item ? MG_OK : mg_fail(err, MG_NOMEM, "%s: no memory for a list of tensors", g->path);
    for (size_t i = 0; !st && i < known->n; i++)
        if (mg_map_put(index, known->item[i].name, strlen(known->item[i].name), (int64_t)i) < 0)
            st = mg_fail(err, MG_NOMEM, "%s: no memory for a list of tensors", g->path);
    for (size_t i = 0; !st && i < g->n_tensors; i++) {
        const mg_gguf_tensor *t = &g->tensors[i];
        int64_t               k;
        foreign_piece(&item[i], t);
        if (mg_map_get(index, t->name, strlen(t->name), &k)) item[i] = known->item[k];
    }
    mg_map_free(index);
    if (st)
        free(item);
    else
        *out = (mg_pieces){ item, g->n_tensors, g->n_tensors };
    return st;
}

static mg_status add_factors(mg_pieces *p, const char *name, const float *factors, int64_t n, mg_error *err) {
    if (!MG_GROW(p->item, p->cap, p->n + 1)) return mg_fail(err, MG_NOMEM, "no memory for a list of tensors");
    mg_piece *made = &p->item[p->n++];
    *made = (mg_piece){ .n_dims = 1, .rows = 1, .cols = n, .from = &mg_format_f32, .data = factors, .layer = -1 };
    strncpy(made->name, name, sizeof made->name - 1);
    return MG_OK;
}

/* llama3 and longrope: what divides the frequencies, as tensors.  *made is the caller's to free. */
static mg_status add_rope_factors(mg_pieces *p, const mg_model *m, float **made, mg_error *err) {
    const mg_rope_config *r = &m->c.rope;
    int64_t               half = (int64_t)((double)m->c.hd * r->partial) / 2;
    if (r->kind == MG_ROPE_LONGROPE) {
        mg_status st = add_factors(p, "rope_factors_long.weight", r->long_factor, half, err);
        return st ? st : add_factors(p, "rope_factors_short.weight", r->short_factor, half, err);
    }
    if (r->kind != MG_ROPE_LLAMA3) return MG_OK;
    *made = mg_calloc((size_t)half, sizeof **made);
    if (!*made) return mg_fail(err, MG_NOMEM, "no memory for a list of tensors");
    mg_llama3_divisors(r, m->c.hd, *made);
    return add_factors(p, "rope_freqs.weight", *made, half, err);
}

/* What is merged or packed by us keeps its format where that can be written; q2_k, q3_k and nf4 become f16. */
static const mg_format *kept(const mg_piece *p) {
    if (p->n_dims == 1) return &mg_format_f32;
    return p->from->encode && p->from->gguf_type >= 0 ? p->from : &mg_format_f16;
}

static void choose_format(mg_piece *p, const mg_mix *mix, const mg_model *m) {
    if (p->format && (!mix || p->n_dims == 1)) return; /* of the file alone: as it is */
    bool as_is = !mix && !mg_piece_is_merged(p) && p->n_dims > 1 && p->from->gguf_type >= 0;
    p->format = mix ? mg_mix_format(mix, p, m) : as_is ? p->from : kept(p);
}

/* general.file_type of a file whose formats were kept: that of its source, else by its largest format. */
static uint32_t file_type(const mg_delivery *d, const mg_mix *mix) {
    int64_t        v;
    const mg_gguf *g = mg_model_gguf(d->bundle->model);
    if (mix) return (uint32_t)mix->file_type;
    if (g && mg_gguf_int(g, "general.file_type", &v)) return (uint32_t)v;
    const mg_mix *plain = mg_mix_find(d->bundle->model->net.linear[0]->w->format->name);
    return plain ? (uint32_t)plain->file_type : 1;
}

static void put_tensors(mg_gguf_writer *w, const mg_pieces *p) {
    for (size_t i = 0; i < p->n; i++) {
        const mg_piece *x = &p->item[i];
        int64_t         dims[4] = { x->n_dims == 1 ? x->rows * x->cols : x->cols, x->rows, 1, 1 };
        mg_gguf_put_tensor(w, x->name, x->n_dims > 2 ? 2 : x->n_dims, dims, x->format);
    }
}

typedef struct {
    const mg_pieces   *pieces;
    mg_piece_progress *progress;
} source;

static mg_status write_piece(void *context, size_t i, mg_new_file *out, mg_error *err) {
    const source *s = context;
    return mg_piece_write(&s->pieces->item[i], out, s->progress, err);
}

mg_status mg_deliver_gguf(const mg_delivery *d, mg_new_file *out, const mg_mix *mix, mg_error *err) {
    const mg_model *m = d->bundle->model;
    const mg_gguf  *g = mg_model_gguf(m);
    mg_gguf_writer  w = { 0 };
    mg_pieces       known = { 0 }, ordered = { 0 };
    float          *factors = NULL;
    const char     *name = d->name ? d->name : mg_path_base(d->bundle->path);
    mg_status       st = mg_pieces_list(&known, m, true, err);
    if (!st) st = g ? in_file_order(&ordered, &known, g, err) : add_rope_factors(&known, m, &factors, err);
    const mg_pieces *pieces = g ? &ordered : &known;
    for (size_t i = 0; !st && i < pieces->n; i++) choose_format(&pieces->item[i], mix, m);
    if (!st) st = g ? mg_gguf_meta_copy(&w, d->bundle, err) : mg_gguf_meta_from_config(&w, d->bundle, name, err);
    if (!st) {
        mg_gguf_put_u32(&w, "general.file_type", file_type(d, mix));
        mg_gguf_put_u32(&w, "general.quantization_version", QUANTIZATION_VERSION);
        put_tensors(&w, pieces);
        if (d->progress) d->progress->total = mg_gguf_writer_bytes(&w);
        st = mg_gguf_write(&w, out, write_piece, &(source){ pieces, d->progress }, err);
    }
    mg_gguf_writer_free(&w);
    mg_pieces_free(&known);
    mg_pieces_free(&ordered);
    free(factors);
    return st;
}
