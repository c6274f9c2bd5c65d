/* hf_model.c -- weights as safetensors, in shards when they are large, with an index.
 *
 * A source folder's tensors go out under the names they have there, those the model makes no use of (a vision tower)
 * too; from GGUF they get the names of the architecture's table.  In a file the order is that of safetensors.c. */
#include "model/bnb.h"
#include "deliver/hf.h"

#include "base/file.h"
#include "format/safetensors.h"
#include "model/source.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is written: an entry, and the piece that makes its data (entry.data is NULL then). */
typedef struct {
    mg_st_entry *entry;
    mg_piece    *piece; /* [n] */
    size_t       n, cap, cap_pieces;
    uint64_t     bytes;
    const mg_format *dtype; /* as asked for, NULL: as it is */
} plan;

static const struct {
    const mg_format *format;
    const char      *torch;
} torch_names[] = { { &mg_format_f32, "float32" }, { &mg_format_f16, "float16" }, { &mg_format_bf16, "bfloat16" }, { &mg_format_f64, "float64" } };

static const char *torch_name(const mg_format *f) {
    for (size_t i = 0; i < sizeof torch_names / sizeof *torch_names; i++)
        if (torch_names[i].format == f) return torch_names[i].torch;
    return "bfloat16";
}

static const mg_format *format_for(const plan *p, const mg_format *from) {
    return p->dtype ? p->dtype : mg_format_is_plain(from) ? from : &mg_format_bf16;
}

static mg_status add(plan *p, mg_st_entry e, const mg_piece *piece, mg_error *err) {
    if (!MG_GROW(p->entry, p->cap, p->n + 1) || !MG_GROW(p->piece, p->cap_pieces, p->n + 1))
        return mg_fail(err, MG_NOMEM, "no memory for a list of tensors");
    p->piece[p->n] = piece ? *piece : (mg_piece){ 0 };
    if (piece) {
        if (!piece->format) p->piece[p->n].format = format_for(p, piece->from);
        e.data = NULL;
        e.dtype = p->piece[p->n].format->safetensors;
        e.bytes = mg_piece_bytes(&p->piece[p->n]);
    }
    p->bytes += e.bytes;
    p->entry[p->n++] = e;
    return MG_OK;
}

/* ---- what goes out ---- */

static mg_status plan_from_gguf(plan *p, const mg_pieces *pieces, mg_error *err) {
    mg_status st = MG_OK;
    for (size_t i = 0; !st && i < pieces->n; i++) {
        const mg_piece *x = &pieces->item[i];
        mg_st_entry     e = { .name = x->name, .n_dims = x->n_dims, .dims = { x->turned ? x->cols : x->rows, x->turned ? x->rows : x->cols } };
        if (x->n_dims == 1) e.dims[0] = x->rows * x->cols;
        st = add(p, e, x, err);
    }
    return st;
}

/* Which tensors of the folder are no longer what lies there: weights with an adapter, or packed to nf4 for training. */
static bool is_changed(const mg_piece *p) { return mg_piece_is_merged(p) || !mg_format_is_plain(p->from); }

static mg_status merged_names(mg_map *index, mg_source *s, const mg_pieces *pieces, mg_error *err) {
    for (size_t i = 0; i < pieces->n; i++) {
        mg_found f;
        if (!is_changed(&pieces->item[i])) continue;
        if (!mg_source_find(s, pieces->item[i].name, &f))
            return mg_fail(err, MG_INTERNAL, "%s: '%s' is not in the folder", s->path, pieces->item[i].name);
        if (mg_map_put(index, f.name, strlen(f.name), (int64_t)i) < 0) return mg_fail(err, MG_NOMEM, "%s: no memory for its names", s->path);
    }
    return MG_OK;
}

/* A tensor as it lies in the folder. */
static mg_piece as_it_is(const mg_st_entry *e, const mg_format *f) {
    mg_piece p = { .n_dims = e->n_dims, .rows = 1, .cols = e->n_dims ? e->dims[e->n_dims - 1] : 1, .from = f, .data = e->data, .layer = -1 };
    for (int d = 0; d + 1 < e->n_dims; d++) p.rows *= e->dims[d];
    snprintf(p.name, sizeof p.name, "%s", e->name);
    return p;
}

static mg_status plan_from_folder(plan *p, mg_source *s, const mg_pieces *pieces, mg_error *err) {
    mg_map   *merged = mg_map_new(pieces->n);
    mg_status st = merged ? merged_names(merged, s, pieces, err) : mg_fail(err, MG_NOMEM, "%s: no memory", s->path);
    for (size_t i = 0; !st && i < s->n_shards; i++)
        for (size_t j = 0; !st && j < s->shard[i]->n; j++) {
            const mg_st_entry *e = &s->shard[i]->entries[j];
            const mg_format   *f = mg_format_of_safetensors(e->dtype);
            int64_t            k;
            mg_piece           raw;
            bool               known = mg_map_get(merged, e->name, strlen(e->name), &k);
            if (mg_bnb_is_beside(e->name)) continue; /* a plain weight needs none of that */
            if ((!f && !known) || !e->bytes) {
                st = add(p, *e, NULL, err);
                continue;
            }
            mg_st_entry entry = *e;
            if (known) {
                raw = pieces->item[k];
                raw.format = p->dtype ? p->dtype : f ? f : &mg_format_bf16; /* not that of nf4 */
                if (!f) entry.n_dims = 2, entry.dims[0] = raw.rows, entry.dims[1] = raw.cols;
            } else
                raw = as_it_is(e, f);
            st = add(p, entry, &raw, err);
        }
    mg_map_free(merged);
    return st;
}

/* ---- shards ---- */

typedef struct {
    const plan        *p;
    mg_map            *index; /* name -> piece */
    mg_piece_progress *progress;
} stream;

static mg_status write_entry(void *context, const mg_st_entry *e, mg_new_file *out, mg_error *err) {
    const stream *s = context;
    int64_t       i;
    MG_ASSERT(mg_map_get(s->index, e->name, strlen(e->name), &i));
    return mg_piece_write(&s->p->piece[i], out, s->progress, err);
}

/* The end of the shard that begins at `first`: as many tensors as fit, at least one. */
static size_t shard_end(const plan *p, size_t first, uint64_t most) {
    uint64_t bytes = p->entry[first].bytes;
    size_t   end = first + 1;
    while (end < p->n && bytes + p->entry[end].bytes <= most) bytes += p->entry[end++].bytes;
    return end;
}

static void shard_name(char *out, size_t size, size_t i, size_t n) {
    if (n == 1)
        snprintf(out, size, "model.safetensors");
    else
        snprintf(out, size, "model-%05zu-of-%05zu.safetensors", i + 1, n);
}

static mg_status write_index(const char *folder, const plan *p, const mg_buf *map, mg_error *err) {
    mg_buf b = { 0 };
    char  *path = mg_path_join(folder, "model.safetensors.index.json");
    mg_buf_printf(&b, "{\n  \"metadata\": {\"total_size\": %" PRIu64 "},\n  \"weight_map\": {%s\n  }\n}\n", p->bytes, map->data);
    mg_status st = path && !b.failed ? mg_replace_file(path, b.data, b.len, err) : mg_fail(err, MG_NOMEM, "%s: no memory", folder);
    mg_buf_free(&b);
    free(path);
    return st;
}

static mg_status write_shards(const char *folder, const plan *p, uint64_t most, stream *s, mg_error *err) {
    size_t    n = 0;
    mg_buf    map = { 0 };
    mg_status st = MG_OK;
    for (size_t at = 0; at < p->n; at = shard_end(p, at, most)) n++;
    for (size_t i = 0, at = 0, end; !st && i < n; i++, at = end) {
        char name[64];
        end = shard_end(p, at, most);
        shard_name(name, sizeof name, i, n);
        for (size_t k = at; k < end; k++) {
            mg_buf_printf(&map, "%s\n    ", map.len ? "," : "");
            mg_json_quote(&map, p->entry[k].name, strlen(p->entry[k].name));
            mg_buf_printf(&map, ": \"%s\"", name);
        }
        char *path = mg_path_join(folder, name);
        st = path && !map.failed ? mg_safetensors_stream(path, p->entry + at, end - at, (const char *const[]){ "format", "pt", NULL }, write_entry, s, err)
                                 : mg_fail(err, MG_NOMEM, "%s: no memory", folder);
        free(path);
    }
    if (!st && n > 1) st = write_index(folder, p, &map, err);
    mg_buf_free(&map);
    return st;
}

static mg_status write_weights(const mg_delivery *d, const char *folder, const plan *p, uint64_t shard_bytes, mg_error *err) {
    stream    s = { p, mg_map_new(p->n), d->progress };
    mg_status st = s.index ? MG_OK : mg_fail(err, MG_NOMEM, "%s: no memory", folder);
    for (size_t i = 0; !st && i < p->n; i++)
        if (mg_map_put(s.index, p->entry[i].name, strlen(p->entry[i].name), (int64_t)i) < 0) st = mg_fail(err, MG_NOMEM, "%s: no memory", folder);
    if (d->progress) d->progress->total = p->bytes;
    if (!st) st = write_shards(folder, p, shard_bytes ? shard_bytes : UINT64_MAX, &s, err);
    mg_map_free(s.index);
    return st;
}

mg_status mg_deliver_hf(const mg_delivery *d, const char *folder, const mg_format *dtype, uint64_t shard_bytes, mg_error *err) {
    const mg_model *m = d->bundle->model;
    bool            gguf = mg_model_gguf(m) != NULL;
    plan            p = { .dtype = dtype };
    mg_source       s = { 0 };
    mg_pieces       pieces = { 0 };
    mg_status       st = mg_pieces_list(&pieces, m, false, err);
    if (!st && !gguf) st = mg_source_open_folder(&s, d->bundle->path, err);
    if (!st && !gguf) mg_source_choose_prefix(&s, m->arch->prefix, m->arch->ends->hf);
    if (!st) st = gguf ? plan_from_gguf(&p, &pieces, err) : plan_from_folder(&p, &s, &pieces, err);
    if (!st) st = mg_hf_write_config(d->bundle, folder, torch_name(format_for(&p, m->embed->format)), err);
    if (!st) st = mg_hf_write_text(d->bundle, folder, err);
    if (!st) st = write_weights(d, folder, &p, shard_bytes, err);
    if (!st) st = mg_sync_folder(folder, err);
    mg_pieces_free(&pieces);
    mg_source_close(&s);
    free(p.entry);
    free(p.piece);
    return st;
}
