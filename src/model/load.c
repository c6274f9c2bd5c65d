/* load.c -- from a file to a model, following the architecture's table of weights.
 *
 * Matrices stay where the file maps them, in the types they have there.  Copies
 * are made only of vectors (as fp32), of rows that GGUF keeps in another order,
 * and of what is packed to nf4/fp4 on the way.  Every shape is held against the
 * table before anything is allocated for it. */
#include "model/model.h"

#include "base/file.h"
#include "base/thread.h"
#include "model/bnb.h"
#include "model/place.h"
#include "model/source.h"
#include "model/rope_table.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct mg_model_store {
    mg_source   source;
    char       *path;
    mg_tensor **tensor; /* every weight, in table order */
    size_t      n_tensors, cap_tensors;
    struct { const mg_weight_row *row; bool bias; } *origin; /* of each */
    size_t      cap_origin;
    void      **buffer;
    size_t      n_buffers, cap_buffers;
    mg_tensor   unit;
    char        formats[160];
    void       *placed; /* on m->device, all weights */
} store;

typedef struct {
    mg_model               *m;
    const mg_model_options *o;
    mg_error               *err;
    const mg_weight_row    *row; /* being loaded */
    bool                    bias;
} loader;

static int64_t dim_of(const mg_config *c, mg_dim d) {
    const int64_t size[] = { [MG_DIM_1] = 1, [MG_DIM_D] = c->dim, [MG_DIM_Q] = c->heads * c->hd, [MG_DIM_KV] = c->kv_heads * c->hd,
                             [MG_DIM_QKV] = (c->heads + 2 * c->kv_heads) * c->hd, [MG_DIM_F] = c->ffn, [MG_DIM_2F] = 2 * c->ffn,
                             [MG_DIM_HD] = c->hd, [MG_DIM_V] = c->vocab, [MG_DIM_POSITIONS] = c->max_positions,
                             [MG_DIM_TYPES] = c->types, [MG_DIM_LABELS] = c->labels };
    return size[d];
}

static void *new_buffer(loader *ld, size_t bytes) {
    store *s = ld->m->store;
    if (!MG_GROW(s->buffer, s->cap_buffers, s->n_buffers + 1)) return NULL;
    void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (p) {
        s->buffer[s->n_buffers++] = p;
        ld->m->copied_bytes += bytes;
    }
    return p;
}

static mg_tensor *new_tensor(loader *ld, const char *name, const mg_found *f) {
    store     *s = ld->m->store;
    mg_tensor *x = mg_calloc(1, sizeof *x);
    char      *copy = mg_strdup(name);
    if (!x || !copy || !MG_GROW(s->tensor, s->cap_tensors, s->n_tensors + 1) ||
        !MG_GROW(s->origin, s->cap_origin, s->n_tensors + 1)) {
        free(x);
        free(copy);
        return NULL;
    }
    *x = (mg_tensor){ .name = copy, .rows = f->rows, .cols = f->cols, .format = f->format, .data = (void *)f->data, .param = true };
    s->origin[s->n_tensors].row = ld->row;
    s->origin[s->n_tensors].bias = ld->bias;
    return s->tensor[s->n_tensors++] = x;
}

static mg_status no_memory(loader *ld, const char *name) {
    return mg_fail(ld->err, MG_NOMEM, "%s: no memory for '%s'", ld->m->store->path, name);
}

static mg_status found_or_fail(loader *ld, const char *name, int64_t rows, int64_t cols, mg_found *f) {
    const char *path = ld->m->store->path;
    if (!mg_source_find(&ld->m->store->source, name, f))
        return mg_fail(ld->err, MG_FORMAT, "%s: the weight '%s' is missing; is the download complete?", path, name);
    if (!f->format)
        return mg_fail(ld->err, MG_UNSUPPORTED, "%s: '%s' has a number type that weights cannot have", path, name);
    if (f->rows != rows || f->cols != cols)
        return mg_fail(ld->err, MG_FORMAT, "%s: '%s' is %lld x %lld, this architecture wants %lld x %lld", path, name,
                       (long long)f->rows, (long long)f->cols, (long long)rows, (long long)cols);
    if (cols % f->format->block)
        return mg_fail(ld->err, MG_FORMAT, "%s: '%s' has rows of %lld, not whole blocks of %d", path, name, (long long)cols,
                       f->format->block);
    return MG_OK;
}

static bool other_order(const mg_model *m, unsigned flags) {
    return m->from_gguf && flags & MG_WEIGHT_OTHER_ROWS;
}

/* A vector in fp32, in Hugging Face's order, with Gemma's + 1 where the file stores g - 1. */
static mg_status load_vector(loader *ld, const char *name, const char *own_name, int64_t n, unsigned flags, mg_tensor **out) {
    mg_found  f;
    mg_status st = found_or_fail(ld, name, 1, n, &f);
    if (st) return st;
    float *copy = new_buffer(ld, (size_t)n * sizeof *copy);
    if (!copy) return no_memory(ld, name);
    f.format->decode(copy, f.data, NULL, 0, n);
    for (int64_t i = 0; flags & MG_WEIGHT_PLUS_ONE && !ld->m->from_gguf && i < n; i++) copy[i] += 1;
    if (other_order(ld->m, flags)) /* only the biases of q, k and qkv */
        for (int64_t i = 0; i < n; i++) f.format->decode(copy + i, f.data, NULL, mg_weight_row_in_gguf(&ld->m->c, flags, i), 1);
    f.data = copy;
    f.format = &mg_format_f32;
    *out = new_tensor(ld, own_name, &f);
    if (!*out) return no_memory(ld, name);
    (*out)->plus_one = flags & MG_WEIGHT_PLUS_ONE;
    ld->m->weight_bytes += (size_t)n * sizeof *copy;
    ld->m->parameters += n;
    return MG_OK;
}

/* Rows are whole blocks, so they are put back without decoding. */
static void restore_rows(const mg_config *c, unsigned flags, uint8_t *to, const uint8_t *from, int64_t rows, size_t row_bytes) {
    for (int64_t r = 0; r < rows; r++)
        memcpy(to + (size_t)r * row_bytes, from + (size_t)mg_weight_row_in_gguf(c, flags, r) * row_bytes, row_bytes);
}

/* to [rows, cols] = from [cols, rows]^T, in tiles that stay in the cache */
static void transpose(uint8_t *to, const uint8_t *from, int64_t rows, int64_t cols, size_t size) {
    enum { TILE = 32 };
    for (int64_t r0 = 0; r0 < rows; r0 += TILE)
        for (int64_t c0 = 0; c0 < cols; c0 += TILE)
            for (int64_t r = r0; r < rows && r < r0 + TILE; r++)
                for (int64_t c = c0; c < cols && c < c0 + TILE; c++)
                    memcpy(to + (size_t)(r * cols + c) * size, from + (size_t)(c * rows + r) * size, size);
}

/* The mapped pages behind a copy are not needed any more. */
static void forget_pages(const void *p, size_t bytes) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = ((uintptr_t)p + page - 1) / page * page;
    uintptr_t end = ((uintptr_t)p + bytes) / page * page;
    if (begin < end) madvise((void *)begin, end - begin, MADV_DONTNEED);
}

typedef struct { const mg_found *from; float *to; int64_t unit; } decoding;
static void decode_range(void *context, int64_t begin, int64_t end, int thread) {
    const decoding *d = context;
    (void)thread;
    if (begin < end)
        d->from->format->decode(d->to + begin * d->unit, d->from->data, NULL, begin * d->unit, (end - begin) * d->unit);
}

static mg_status pack(loader *ld, mg_found *f, const void **side) {
    const mg_model_options *o = ld->o;
    mg_packing              how = { .block = o->quant_block, .nested = o->quant_nested };
    int64_t                 n = f->rows * f->cols;
    size_t                  bytes;
    if (o->quant == &mg_format_int8 ? f->cols % o->quant->block : n % o->quant_block)
        return mg_fail(ld->err, MG_UNSUPPORTED, "'%s' has %lld numbers in rows of %lld, not whole blocks of %d", f->name, (long long)n,
                       (long long)f->cols, o->quant == &mg_format_int8 ? o->quant->block : o->quant_block);
    if (!o->quant->packed_bytes(f->rows, f->cols, &how, &bytes)) return no_memory(ld, f->name);
    float *plain = mg_calloc((size_t)n, sizeof *plain);
    void  *room = plain ? new_buffer(ld, bytes) : NULL;
    if (!room) {
        free(plain);
        return no_memory(ld, f->name);
    }
    decoding d = { f, plain, mg_format_is_plain(f->format) ? 1 : f->format->block };
    mg_parallel(n / d.unit, 1 << 14, decode_range, &d);
    const void *table, *data;
    o->quant->pack(o->quant, plain, f->rows, f->cols, &how, room, &data, &table);
    free(plain);
    forget_pages(f->data, f->bytes);
    f->data = data;
    f->format = o->quant;
    f->bytes = bytes;
    *side = table;
    return MG_OK;
}

static void note_format(mg_model *m, const mg_format *f) {
    char  *list = m->store->formats;
    size_t n = strlen(list), len = strlen(f->name);
    for (char *p = list; (p = strstr(p, f->name)); p += len)
        if (p[len] == ',' || !p[len]) return;
    snprintf(list + n, sizeof m->store->formats - n, "%s%s", n ? ", " : "", f->name);
}

/* The matrix as we want it, where the file has it otherwise or nothing may point to it. */
static mg_status rearrange(loader *ld, mg_found *f, int64_t rows, int64_t cols, unsigned flags, bool turned) {
    mg_model *m = ld->m;
    bool      aligned = (uintptr_t)f->data % 4 == 0 || !mg_format_is_plain(f->format);
    if (aligned && !turned && !other_order(m, flags)) return MG_OK;
    if (turned && !mg_format_is_plain(f->format))
        return mg_fail(ld->err, MG_UNSUPPORTED, "%s: '%s' is packed as %s and stored with inputs first; only plain numbers can be turned",
                       m->store->path, f->name, f->format->name);
    uint8_t *copy = new_buffer(ld, f->bytes);
    if (!copy) return no_memory(ld, f->name);
    if (turned)
        transpose(copy, f->data, rows, cols, f->format->block_bytes);
    else if (other_order(m, flags))
        restore_rows(&m->c, flags, copy, f->data, rows, f->bytes / (size_t)rows);
    else
        memcpy(copy, f->data, f->bytes);
    forget_pages(f->data, f->bytes);
    f->data = copy;
    f->rows = rows;
    f->cols = cols;
    return MG_OK;
}

/* Is one of the comma-separated names a part of the path of this weight, "model.layers.3.mlp.down_proj.weight"? */
static bool skipped(const char *list, const char *name) {
    for (const char *p = list ? list : ""; *p; p += strspn(p, ", ")) {
        size_t len = strcspn(p, ", ");
        for (const char *at = name; len && (at = strchr(at, *p)); at++)
            if (!strncmp(at, p, len) && (at == name || at[-1] == '.') && (at[len] == '.' || !at[len])) return true;
        p += len;
    }
    return false;
}

/* As bitsandbytes has packed it; load_in_4bit and the like then say nothing new. */
static mg_status find_packed(loader *ld, const char *name, int64_t rows, int64_t cols, mg_found *f, const void **side) {
    store             *s = ld->m->store;
    const mg_nf4_side *table;
    void              *room;
    size_t             bytes;
    if (!MG_GROW(s->buffer, s->cap_buffers, s->n_buffers + 1)) return no_memory(ld, name);
    mg_status st = mg_bnb_find(&s->source, name, rows, cols, f, &room, &bytes, &table, ld->err);
    if (st) return st;
    s->buffer[s->n_buffers++] = room;
    ld->m->copied_bytes += bytes;
    ld->m->weight_bytes += bytes;
    *side = table;
    return MG_OK;
}

static mg_status load_matrix(loader *ld, const char *name, const char *own_name, int64_t rows, int64_t cols, unsigned flags,
                             bool may_pack, mg_tensor **out) {
    mg_found    f;
    const void *side = NULL;
    mg_model   *m = ld->m;
    bool        turned = flags & MG_WEIGHT_TRANSPOSED && !m->from_gguf;
    bool        packed = mg_bnb_packed(&m->store->source, name);
    mg_status   st = packed ? find_packed(ld, name, rows, cols, &f, &side) : found_or_fail(ld, name, turned ? cols : rows, turned ? rows : cols, &f);
    mg_tensor  *whole = NULL;
    if (!st) st = rearrange(ld, &f, rows, cols, flags, turned);
    if (st) return st;
    if (may_pack && !packed && ld->o->quant && !skipped(ld->o->quant_skip, own_name)) {
        if (!mg_format_is_plain(f.format))
            return mg_fail(ld->err, MG_CONFIG,
                           "%s: '%s' is packed as %s already; load_in_4bit and load_in_8bit are for models in f32, f16 or bf16: leave them out",
                           m->store->path, name, f.format->name);
        whole = mg_calloc(1, sizeof *whole);
        if (!whole) return no_memory(ld, name);
        *whole = (mg_tensor){ .rows = f.rows, .cols = f.cols, .format = f.format, .data = (void *)f.data };
        if ((st = pack(ld, &f, &side))) {
            free(whole);
            return st;
        }
    }
    *out = new_tensor(ld, own_name, &f);
    if (!*out) {
        free(whole);
        return no_memory(ld, name);
    }
    (*out)->packed_of = whole;
    (*out)->side = side;
    (*out)->outlier = packed ? (float)m->c.int8_threshold : ld->o->outlier;
    m->weight_bytes += f.bytes;
    m->parameters += rows * cols;
    note_format(m, f.format);
    return MG_OK;
}

static bool present(loader *ld, const char *name) {
    mg_found f;
    return mg_source_find(&ld->m->store->source, name, &f);
}

typedef struct { char file[192], own[192]; } weight_names;

/* What a row's weight or bias is called in this file, and in Hugging Face's scheme: a task's head stands outside the
 * base model, BERT's pooler does not. */
static weight_names names_of(loader *ld, const char *hf, const char *gguf, const char *end, int layer) {
    const mg_source *s = &ld->m->store->source;
    bool             head = ld->row->role == MG_ROLE_HEAD && ld->row->field == MG_MODEL(head);
    const char      *kept = *ld->m->arch->prefix || head ? "" : s->prefix;
    char             pattern[160];
    weight_names     n;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* patterns of the architecture's own table */
    snprintf(pattern, sizeof pattern, "%s%s", ld->m->from_gguf ? gguf : hf, end);
    snprintf(n.file, sizeof n.file, pattern, layer);
    snprintf(pattern, sizeof pattern, "%s%s%s", kept, hf, end);
    snprintf(n.own, sizeof n.own, pattern, layer);
#pragma GCC diagnostic pop
    return n;
}

static mg_status load_bias(loader *ld, int layer, int64_t size, mg_tensor **out) {
    const mg_weight_row *row = ld->row;
    if (!row->hf_bias) return MG_OK;
    weight_names n = names_of(ld, row->hf_bias, row->gguf_bias, "", layer);
    if (!present(ld, n.file)) return MG_OK;
    ld->bias = true;
    mg_status st = load_vector(ld, n.file, n.own, size, row->flags & ~(unsigned)MG_WEIGHT_PLUS_ONE, out);
    ld->bias = false;
    return st;
}

static mg_status add_linear(loader *ld, mg_linear *l) {
    mg_net *net = &ld->m->net;
    if (!MG_GROW(net->linear, net->cap_linear, net->n_linear + 1)) return no_memory(ld, l->name);
    net->linear[net->n_linear++] = l;
    return MG_OK;
}

static mg_status load_linear(loader *ld, const weight_names *n, int layer, int64_t rows, int64_t cols, mg_linear *l) {
    bool inside = ld->row->role != MG_ROLE_HEAD; /* heads are not packed, and no adapter finds them */
    l->role = ld->row->role;
    l->layer = layer;
    snprintf(l->name, sizeof l->name, "%.*s", (int)(strlen(n->own) - strlen(".weight")), n->own);
    mg_status st = load_matrix(ld, n->file, n->own, rows, cols, ld->row->flags, inside, &l->w);
    if (!st) st = load_bias(ld, layer, rows, &l->bias);
    return st || !inside ? st : add_linear(ld, l);
}

/* `base`: the layer (or the model, layer -1) that the row's field is in. */
static mg_status load_row(loader *ld, const mg_weight_row *row, void *base, int layer) {
    mg_model *m = ld->m;
    void     *field = (char *)base + row->field;
    int64_t   rows = dim_of(&m->c, row->rows), cols = dim_of(&m->c, row->cols);
    ld->row = row;
    if (m->from_gguf && !row->gguf) return MG_OK;
    weight_names n = names_of(ld, row->hf, row->gguf, ".weight", layer);
    if (row->flags & MG_WEIGHT_OPTIONAL && !present(ld, n.file)) return MG_OK;
    if (row->role) return load_linear(ld, &n, layer, rows, cols, field);
    if (row->rows != MG_DIM_1) return load_matrix(ld, n.file, n.own, rows, cols, row->flags, false, field);
    mg_norm  *norm = field;
    mg_status st = load_vector(ld, n.file, n.own, cols, row->flags, &norm->g);
    return st ? st : load_bias(ld, layer, cols, &norm->b);
}

static void set_attention(mg_model *m, int i) {
    mg_layer        *l = &m->layer[i];
    const mg_config *c = &m->c;
    l->attention = (mg_attention_kind){ .heads = (int)c->heads, .kv_heads = (int)c->kv_heads, .hd = (int)c->hd,
                                        .window = c->windowed[i] ? (int)c->window : 0,
                                        .scale = (float)(1 / sqrt(c->query_scale > 0 ? c->query_scale : (double)c->hd)),
                                        .softcap = (float)c->attention_softcap,
                                        .bidirectional = m->arch->encoder };
    l->rope = c->has_local && c->windowed[i] ? &m->rope_local : &m->rope;
}

static const struct { const char *name; mg_activation kind; } activations[] = {
    { "silu", MG_SILU },         { "swish", MG_SILU },          { "gelu", MG_GELU }, { "gelu_python", MG_GELU },
    { "gelu_new", MG_GELU_TANH }, { "gelu_fast", MG_GELU_TANH }, { "gelu_pytorch_tanh", MG_GELU_TANH },
};

static mg_status set_activation(loader *ld) {
    char *name = ld->m->c.activation;
    if (!*name) snprintf(name, sizeof ld->m->c.activation, "%s", ld->m->arch->activation);
    for (size_t i = 0; i < sizeof activations / sizeof *activations; i++)
        if (!strcmp(activations[i].name, ld->m->c.activation)) {
            ld->m->activation = activations[i].kind;
            return MG_OK;
        }
    return mg_fail(ld->err, MG_UNSUPPORTED, "%s: the activation '%s' is not known here (known: silu, gelu and its tanh forms)",
                   ld->m->store->path, name);
}

static const mg_weight_row score[] = {
    { MG_MODEL(head), MG_ROLE_HEAD, "score", "cls.output", NULL, NULL, MG_DIM_LABELS, MG_DIM_D, 0 },
    { 0 },
};

const mg_weight_row *mg_model_classifier(const mg_model *m) { return m->arch->classifier ? m->arch->classifier : score; }

/* [labels, labels], for a classifier whose head has a bias: see mg_model_logprobs. */
static mg_status make_unit(loader *ld) {
    int64_t n = ld->m->c.labels;
    float  *one = new_buffer(ld, (size_t)(n * n) * sizeof *one);
    if (!one) return no_memory(ld, "the classifier");
    memset(one, 0, (size_t)(n * n) * sizeof *one);
    for (int64_t i = 0; i < n; i++) one[i * n + i] = 1;
    ld->m->store->unit = (mg_tensor){ .rows = n, .cols = n, .format = &mg_format_f32, .data = one };
    ld->m->unit = &ld->m->store->unit;
    return MG_OK;
}

static mg_status load_ends(loader *ld) {
    mg_model *m = ld->m;
    mg_status st = MG_OK;
    for (const mg_weight_row *row = m->arch->ends; !st && row->hf; row++)
        if (row->field != MG_MODEL(head) || !(m->c.tied || m->c.labels)) st = load_row(ld, row, m, -1);
    if (!st && m->c.labels) st = load_row(ld, mg_model_classifier(m), m, -1);
    if (!st && m->head.bias) st = make_unit(ld);
    if (!st && !m->head.w && !m->arch->encoder)
        m->head = (mg_linear){ .name = "lm_head", .role = MG_ROLE_HEAD, .layer = -1, .w = m->embed };
    return st;
}

static void each_weight_of_net(mg_net *net, mg_weight_fn f, void *context) {
    mg_model_each_weight((mg_model *)((char *)net - offsetof(mg_model, net)), f, context);
}

/* Only what the file maps: copies of our own stay. */
static void done_with(mg_net *net, const mg_tensor *w) {
    const mg_source *s = &((mg_model *)((char *)net - offsetof(mg_model, net)))->store->source;
    for (size_t i = 0; i < s->n; i++)
        if (s->all[i].data == w->data) forget_pages(s->all[i].data, s->all[i].bytes);
}

static mg_status load_layers(loader *ld) {
    mg_model *m = ld->m;
    m->layer = mg_calloc((size_t)m->c.layers, sizeof *m->layer);
    m->net.layers = (int)m->c.layers;
    m->net.dim = m->c.dim;
    m->net.heads = m->c.heads;
    m->net.kv_heads = m->c.kv_heads;
    m->net.hd = m->c.hd;
    m->net.embed_scale = m->embed_scale;
    m->net.head = &m->head;
    m->net.embed = m->embed;
    m->net.each_weight = each_weight_of_net;
    m->net.done_with = done_with;
    m->net.attend_hooks = mg_calloc((size_t)m->c.layers, sizeof *m->net.attend_hooks);
    m->net.residual_hooks = mg_calloc((size_t)m->c.layers * MG_SITES, sizeof *m->net.residual_hooks);
    if (!m->layer || !m->net.attend_hooks || !m->net.residual_hooks) return no_memory(ld, "layers");
    mg_status st = MG_OK;
    for (int i = 0; !st && i < m->c.layers; i++) {
        set_attention(m, i);
        for (const mg_weight_row *row = m->arch->weights; !st && row->hf; row++) st = load_row(ld, row, &m->layer[i], i);
    }
    return st;
}

static const mg_arch *arch_of(const char *name, bool gguf) {
    for (const mg_arch *const *a = mg_archs(); *a; a++) {
        const char *const *names = gguf ? (*a)->gguf_archs : (*a)->hf_types;
        for (int i = 0; i < 4 && names[i]; i++)
            if (!strcmp(names[i], name)) return *a;
    }
    return NULL;
}

static mg_status unknown_arch(loader *ld) {
    mg_buf list = { 0 };
    for (const mg_arch *const *a = mg_archs(); *a; a++) mg_buf_printf(&list, "%s%s", list.len ? ", " : "", (*a)->name);
    mg_status st = mg_fail(ld->err, MG_UNSUPPORTED, "%s: the architecture '%s' is not known here (known: %s)", ld->m->store->path,
                           ld->m->c.arch, list.data ? list.data : "");
    mg_buf_free(&list);
    return st;
}

static mg_status read_config(loader *ld) {
    mg_model *m = ld->m;
    store    *s = m->store;
    mg_status st;
    if (m->from_gguf)
        st = mg_config_from_gguf(&m->c, s->source.gguf, ld->err);
    else {
        char   *path = mg_path_join(s->path, "config.json");
        mg_json json = { 0 };
        st = path ? mg_json_open(&json, path, 16 << 20, ld->err) : no_memory(ld, "config.json");
        if (!st) st = mg_config_from_json(&m->c, &json, path, ld->err);
        mg_json_free(&json);
        free(path);
    }
    if (st) return st;
    m->arch = arch_of(m->c.arch, m->from_gguf);
    if (!m->arch) return unknown_arch(ld);
    mg_source_choose_prefix(&s->source, m->arch->prefix, m->arch->ends->hf); /* the first row is the embedding */
    st = m->arch->adjust ? m->arch->adjust(&m->c, m->from_gguf, ld->err) : MG_OK;
    m->embed_scale = m->arch->embedding_scale ? (float)m->arch->embedding_scale(&m->c) : 1;
    return st ? st : set_activation(ld);
}

static mg_status make_ropes(loader *ld) {
    mg_model        *m = ld->m;
    const mg_config *c = &m->c;
    m->positions = ld->o->positions ? ld->o->positions : 2048;
    if (m->position) { /* learned: there are no more than these */
        if (m->positions > m->position->rows) m->positions = m->position->rows;
        return MG_OK;
    }
    mg_status st = mg_rope_table_make(&m->rope, &c->rope, c->hd, m->positions, c->max_positions, false, ld->err);
    if (!st && c->has_local)
        st = mg_rope_table_make(&m->rope_local, &c->rope_local, c->hd, m->positions, c->max_positions, false, ld->err);
    if (!st && c->rope.kind == MG_ROPE_LONGROPE && m->positions > c->rope.original_positions)
        st = mg_rope_table_make(&m->rope_long, &c->rope, c->hd, m->positions, c->max_positions, true, ld->err);
    return st;
}

mg_status mg_model_open(mg_model **out, const char *path, const mg_model_options *o, mg_error *err) {
    mg_model *m = mg_calloc(1, sizeof *m);
    store    *s = mg_calloc(1, sizeof *s);
    loader    ld = { .m = m, .o = o, .err = err };
    mg_status st = MG_OK;
    if (!m || !s || !(s->path = mg_strdup(path))) {
        free(m);
        free(s);
        return mg_fail(err, MG_NOMEM, "%s: no memory", path);
    }
    m->store = s;
    m->device = &mg_device_host;
    m->from_gguf = mg_is_file(path);
    if (!m->from_gguf && !mg_is_folder(path))
        st = mg_fail(err, MG_NOTFOUND, "%s: no such model; give a .gguf file or a folder in Hugging Face's layout", path);
    else
        st = m->from_gguf ? mg_source_open_gguf(&s->source, path, err) : mg_source_open_folder(&s->source, path, err);
    if (!st) s->source.path = s->path;
    if (!st) st = read_config(&ld);
    if (!st) st = load_ends(&ld);
    if (!st) st = load_layers(&ld);
    const char *leftover = st ? NULL : mg_source_leftover(&s->source);
    if (leftover)
        st = mg_fail(err, MG_UNSUPPORTED, "%s: holds '%s', which %s has no use for: the model computes something else", path, leftover,
                     m->arch->name);
    if (!st) st = make_ropes(&ld);
    m->format_summary = s->formats;
    if (st)
        mg_model_close(m);
    else
        *out = m;
    return st;
}

void mg_model_close(mg_model *m) {
    if (!m) return;
    store *s = m->store;
    for (size_t i = 0; i < s->n_tensors; i++) {
        free((char *)s->tensor[i]->name);
        free((mg_tensor *)s->tensor[i]->packed_of);
        free(s->tensor[i]);
    }
    for (size_t i = 0; i < s->n_buffers; i++) free(s->buffer[i]);
    free(s->tensor);
    free(s->origin);
    free(s->buffer);
    mg_source_close(&s->source);
    free(s->path);
    if (s->placed)
        m->device->free(s->placed);
    else {
        mg_rope_table_free(&m->rope);
        mg_rope_table_free(&m->rope_local);
        mg_rope_table_free(&m->rope_long);
    }
    free(s);
    mg_config_free(&m->c);
    free(m->layer);
    free(m->net.linear);
    free(m->net.attend_hooks);
    free(m->net.residual_hooks);
    free(m);
}

void mg_model_placed(mg_model *m, const mg_device *d, void *memory) {
    store *s = m->store;
    for (size_t i = 0; i < s->n_buffers; i++) free(s->buffer[i]);
    s->n_buffers = 0;
    mg_rope_table_free(&m->rope);
    mg_rope_table_free(&m->rope_local);
    mg_rope_table_free(&m->rope_long);
    m->copied_bytes = 0;
    m->device = d;
    s->placed = memory;
}

const mg_gguf *mg_model_gguf(const mg_model *m) { return m->store->source.gguf; }

const mg_weight_row *mg_model_weight_row(const mg_model *m, const mg_tensor *w, bool *bias) {
    const store *s = m->store;
    for (size_t i = 0; i < s->n_tensors; i++)
        if (s->tensor[i] == w) {
            *bias = s->origin[i].bias;
            return s->origin[i].row;
        }
    return NULL;
}

void mg_model_each_weight(mg_model *m, mg_weight_fn f, void *context) {
    for (size_t i = 0; i < m->store->n_tensors; i++)
        if (!f(m->store->tensor[i], context)) return;
}
