/* piece.c -- the list of a model's tensors, and the stream of rows.
 *
 * What does not change (same format, no adapter) is copied as bytes, so that lossless ways there and back
 * are equal bit for bit. */
#include "deliver/piece.h"

#include "base/thread.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PART_NUMBERS = 1 << 20 }; /* decoded at a time: 4 MiB */
static const float F16_MOST = 65504;

/* ---- the list ---- */

static mg_piece *add(mg_pieces *p, const mg_tensor *x, int layer) {
    bool tuned = x->instead != NULL;
    if (tuned) x = x->instead; /* an adapter's */
    if (!MG_GROW(p->item, p->cap, p->n + 1)) return NULL;
    mg_piece *made = &p->item[p->n++];
    *made = (mg_piece){ .n_dims = x->rows == 1 ? 1 : 2, .rows = x->rows, .cols = x->cols, .from = x->format, .data = x->data,
                        .side = x->side, .layer = layer, .tuned = tuned };
    return made;
}

/* Patterns are those of the architecture's own table. */
static void name_it(mg_piece *p, const char *pattern, int layer, const char *end) {
    char full[128];
    snprintf(full, sizeof full, "%s%s", pattern, end);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(p->name, sizeof p->name, full, layer);
#pragma GCC diagnostic pop
}

static const mg_hook *active(const mg_hook *h) {
    while (h && h->off) h = h->next;
    return h;
}

static mg_status check_linear(const mg_linear *l, mg_error *err) {
    for (const mg_hook *h = active(l->hooks); h; h = active(h->next))
        if (!h->kind->merge)
            return mg_fail(err, MG_UNSUPPORTED, "%s: its adapter (%s) cannot be merged into a weight; export the adapter by itself",
                           l->name, h->kind->name);
    return MG_OK;
}

/* Everything that hangs on the model must find a place in the file: nothing is left out in silence. */
static mg_status check_hooks(const mg_model *m, mg_error *err) {
    const mg_net *net = &m->net;
    mg_status     st = check_linear(&m->head, err);
    for (size_t i = 0; i < net->n_linear && !st; i++) st = check_linear(net->linear[i], err);
    if (!st && m->head.w == m->embed && active(m->head.hooks))
        st = mg_fail(err, MG_UNSUPPORTED,
                     "the head has an adapter, but its weight is that of the embedding, which would change with it: no file of "
                     "this model can hold that; train without the head, or keep the adapter as it is");
    const mg_hook *other = active(net->embed_hooks);
    while (other && other->kind->weight) other = active(other->next);
    for (int i = 0; i < net->layers && !other; i++) other = active(net->attend_hooks[i]);
    for (int i = 0; i < net->layers * MG_SITES && !other; i++) other = active(net->residual_hooks[i]);
    if (!st && other)
        st = mg_fail(err, MG_UNSUPPORTED, "a part of the adapter (%s) is no change of a weight and cannot be merged; export the adapter by itself",
                     other->kind->name);
    return st;
}

typedef struct { const mg_model *m; bool gguf; } listing;

static bool add_linear(mg_pieces *p, const listing *g, const mg_weight_row *row, const mg_linear *l, int layer) {
    if (!l->w) return true;
    mg_piece *w = add(p, l->w, layer);
    if (!w) return false;
    name_it(w, g->gguf ? row->gguf : row->hf, layer, ".weight");
    w->n_dims = 2;
    w->linear = l;
    w->role = row->role == MG_ROLE_HEAD ? 0 : row->role;
    w->order = g->gguf ? row->flags & MG_WEIGHT_OTHER_ROWS : 0;
    w->turned = !g->gguf && row->flags & MG_WEIGHT_TRANSPOSED;
    w->config = &g->m->c;
    if (!l->bias) return true;
    mg_piece *b = add(p, l->bias, layer);
    if (!b) return false;
    name_it(b, g->gguf ? row->gguf_bias : row->hf_bias, layer, "");
    for (const mg_hook *h = active(l->hooks); h; h = active(h->next))
        if (h->kind->merge_bias) b->bias_of = l;
    if (g->gguf && row->flags & MG_WEIGHT_OTHER_ROWS) {
        b->rows = b->cols;
        b->cols = 1;
        b->order = row->flags & MG_WEIGHT_OTHER_ROWS;
        b->config = &g->m->c;
    }
    return true;
}

static bool add_norm(mg_pieces *p, const listing *g, const mg_weight_row *row, const mg_norm *norm, int layer) {
    mg_piece *v = norm->g ? add(p, norm->g, layer) : NULL;
    if (!norm->g) return true;
    if (!v) return false;
    name_it(v, g->gguf ? row->gguf : row->hf, layer, ".weight");
    v->offset = row->flags & MG_WEIGHT_PLUS_ONE && !g->gguf ? -1.0f : 0.0f;
    mg_piece *b = norm->b ? add(p, norm->b, layer) : NULL;
    if (b) name_it(b, g->gguf ? row->gguf_bias : row->hf_bias, layer, "");
    return b || !norm->b;
}

static bool add_table(mg_pieces *p, const listing *g, const mg_weight_row *row, const mg_tensor *x, int layer) {
    mg_piece *made = x ? add(p, x, layer) : NULL;
    if (!made) return !x;
    name_it(made, g->gguf ? row->gguf : row->hf, layer, ".weight");
    for (const mg_hook *h = x == g->m->embed ? active(g->m->net.embed_hooks) : NULL; h; h = active(h->next)) {
        const mg_tensor *whole = h->kind->weight(h);
        made->from = whole->format;
        made->data = whole->data;
        made->side = whole->side;
        made->tuned = true;
    }
    made->n_dims = 2;
    return true;
}

static bool add_row(mg_pieces *p, const listing *g, const mg_weight_row *row, const void *base, int layer) {
    const void *field = (const char *)base + row->field;
    if (g->gguf && !row->gguf) return true; /* such files have no place for it, and nobody who reads them uses it */
    if (row->role) return add_linear(p, g, row, field, layer);
    if (row->rows == MG_DIM_1) return add_norm(p, g, row, field, layer);
    return add_table(p, g, row, *(mg_tensor *const *)field, layer);
}

/* Tables come before the blocks, norms and heads behind them. */
static bool add_ends(mg_pieces *p, const listing *g, bool before) {
    bool ok = true;
    for (const mg_weight_row *row = g->m->arch->ends; ok && row->hf; row++) {
        bool table = !row->role && row->rows != MG_DIM_1, head = row->field == MG_MODEL(head);
        if (table == before && !(head && (g->m->head.w == g->m->embed || g->m->c.labels))) ok = add_row(p, g, row, g->m, -1);
    }
    return ok;
}

mg_status mg_pieces_list(mg_pieces *out, const mg_model *m, bool gguf, mg_error *err) {
    mg_pieces p = { 0 };
    listing   g = { m, gguf };
    mg_status st = check_hooks(m, err);
    if (!st && gguf && m->c.labels)
        st = mg_fail(err, MG_UNSUPPORTED, "a GGUF file cannot hold this model's classifier; write a Hugging Face folder");
    if (st) return st;
    bool ok = add_ends(&p, &g, true);
    for (int i = 0; ok && i < m->c.layers; i++)
        for (const mg_weight_row *row = m->arch->weights; ok && row->hf; row++) ok = add_row(&p, &g, row, &m->layer[i], i);
    ok = ok && add_ends(&p, &g, false);
    if (ok && m->c.labels) ok = add_row(&p, &g, mg_model_classifier(m), m, -1);
    if (!ok) {
        mg_pieces_free(&p);
        return mg_fail(err, MG_NOMEM, "no memory for a list of tensors");
    }
    *out = p;
    return MG_OK;
}

void mg_pieces_free(mg_pieces *p) {
    free(p->item);
    *p = (mg_pieces){ 0 };
}

/* ---- rows ---- */

bool mg_piece_is_merged(const mg_piece *p) { return p->tuned || p->bias_of || (p->linear && active(p->linear->hooks)); }

int64_t mg_piece_row(const mg_piece *p, int64_t row) { return p->order ? mg_weight_row_in_hf(p->config, p->order, row) : row; }

size_t mg_piece_bytes(const mg_piece *p) {
    size_t bytes = 0;
    MG_ASSERT(mg_format_bytes(p->format, p->rows * p->cols, &bytes)); /* it lies in memory or in a mapped file */
    return bytes;
}

typedef struct {
    const mg_piece *p;
    int64_t         first;
    float          *plain;   /* [rows of the part, cols] */
    char           *encoded;
    size_t          row_bytes;
    bool            as_is;
    atomic_bool     not_finite, too_large;
} part;

static void make_row(part *c, int64_t row) {
    const mg_piece *p = c->p;
    int64_t         from = mg_piece_row(p, c->first + row);
    char           *to = c->encoded + (size_t)row * c->row_bytes;
    float          *x = c->plain + row * p->cols;
    if (c->as_is) {
        memcpy(to, (const char *)p->data + (size_t)from * c->row_bytes, c->row_bytes);
        return;
    }
    p->from->decode(x, p->data, p->side, from * p->cols, p->cols);
    for (const mg_hook *h = p->linear ? active(p->linear->hooks) : NULL; h; h = active(h->next))
        h->kind->merge(h, p->linear, x, from, 1);
    for (const mg_hook *h = p->bias_of ? active(p->bias_of->hooks) : NULL; h; h = active(h->next))
        if (h->kind->merge_bias) h->kind->merge_bias(h, x, p->cols == 1 ? from : 0, p->cols);
    float most = 0, sum = 0;
    for (int64_t i = 0; i < p->cols; i++) {
        x[i] += p->offset;
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
        sum += x[i] - x[i]; /* 0, or NaN when one is not finite */
    }
    if (!(sum == 0)) atomic_store(&c->not_finite, true);
    if (p->format != &mg_format_f32 && p->format != &mg_format_bf16 && most > F16_MOST) atomic_store(&c->too_large, true);
    p->format->encode(to, x, p->cols);
}

static void make_rows(void *context, int64_t begin, int64_t end, int thread) {
    (void)thread;
    for (int64_t r = begin; r < end; r++) make_row(context, r);
}

static mg_status write_part(part *c, int64_t rows, mg_new_file *out, mg_piece_progress *progress, mg_error *err) {
    mg_parallel(rows, 1 + 4096 / c->p->cols, make_rows, c);
    if (atomic_load(&c->not_finite))
        return mg_fail(err, MG_DATA, "'%s' would hold a number that is not finite; was the training's loss finite?", c->p->name);
    if (atomic_load(&c->too_large))
        return mg_fail(err, MG_DATA, "'%s' holds numbers beyond 65504, which %s cannot; write bf16 or f32 instead", c->p->name,
                       c->p->format->name);
    mg_status st = mg_new_file_write(out, c->encoded, (size_t)rows * c->row_bytes, err);
    if (st || !progress) return st;
    progress->done += (size_t)rows * c->row_bytes;
    if (progress->go_on && !progress->go_on(progress->context, progress->done, progress->total))
        return mg_fail(err, MG_STOPPED, "stopped; nothing was written to %s", out->path);
    return MG_OK;
}

/* A piece whose file has columns for rows: decoded, merged and turned as a whole, then written like any other.  Only
 * GPT-2 has such, and its matrices are small. */
static mg_status write_turned(const mg_piece *p, mg_new_file *out, mg_piece_progress *progress, mg_error *err) {
    mg_piece  plain = *p;
    float    *x = mg_calloc((size_t)p->rows, (size_t)p->cols * sizeof *x), *turned = mg_calloc((size_t)p->rows, (size_t)p->cols * sizeof *x);
    mg_status st = x && turned ? MG_OK : mg_fail(err, MG_NOMEM, "%s: no memory for rows of '%s'", out->path, p->name);
    if (!st) {
        p->from->decode(x, p->data, p->side, 0, p->rows * p->cols);
        for (const mg_hook *h = p->linear ? active(p->linear->hooks) : NULL; h; h = active(h->next)) h->kind->merge(h, p->linear, x, 0, p->rows);
        for (int64_t r = 0; r < p->rows; r++)
            for (int64_t c = 0; c < p->cols; c++) turned[c * p->rows + r] = x[r * p->cols + c];
        plain.turned = false;
        plain.linear = NULL;
        plain.from = &mg_format_f32;
        plain.data = turned;
        plain.side = NULL;
        plain.rows = p->cols;
        plain.cols = p->rows;
        st = mg_piece_write(&plain, out, progress, err);
    }
    free(x);
    free(turned);
    return st;
}

mg_status mg_piece_write(const mg_piece *p, mg_new_file *out, mg_piece_progress *progress, mg_error *err) {
    if (p->turned) return write_turned(p, out, progress, err);
    int64_t   rows = PART_NUMBERS / p->cols;
    part      c = { .p = p };
    mg_status st = MG_OK;
    if (rows < 1) rows = 1;
    if (rows > p->rows) rows = p->rows;
    c.as_is = p->format == p->from && !mg_piece_is_merged(p) && p->offset == 0;
    MG_ASSERT(c.as_is || p->format->encode);
    MG_ASSERT(mg_format_bytes(p->format, p->cols, &c.row_bytes));
    c.plain = c.as_is ? NULL : mg_calloc((size_t)rows, (size_t)p->cols * sizeof(float));
    c.encoded = mg_calloc((size_t)rows, c.row_bytes);
    if (!c.encoded || (!c.as_is && !c.plain)) st = mg_fail(err, MG_NOMEM, "%s: no memory for rows of '%s'", out->path, p->name);
    for (; !st && c.first < p->rows; c.first += rows)
        st = write_part(&c, p->rows - c.first < rows ? p->rows - c.first : rows, out, progress, err);
    free(c.plain);
    free(c.encoded);
    return st;
}
