/* load.c -- from a file to a model, following the architecture's table of weights.
 *
 * Matrices stay where the file maps them, in the types they have there.  Copies
 * are made only of vectors (as fp32), of rows that GGUF keeps in another order,
 * and of what is packed to nf4/fp4 on the way.  Every shape is held against the
 * table before anything is allocated for it. */
#include "model/model.h"

#include "base/file.h"
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
    void      **buffer;
    size_t      n_buffers, cap_buffers;
    char        formats[160];
    void       *placed; /* on m->device, all weights */
} store;

typedef struct {
    mg_model               *m;
    const mg_model_options *o;
    mg_error               *err;
} loader;

static int64_t dim_of(const mg_config *c, mg_dim d) {
    const int64_t size[] = { [MG_DIM_1] = 1, [MG_DIM_D] = c->dim, [MG_DIM_Q] = c->heads * c->hd, [MG_DIM_KV] = c->kv_heads * c->hd,
                             [MG_DIM_F] = c->ffn, [MG_DIM_HD] = c->hd, [MG_DIM_V] = c->vocab };
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
    if (!x || !copy || !MG_GROW(s->tensor, s->cap_tensors, s->n_tensors + 1)) {
        free(x);
        free(copy);
        return NULL;
    }
    *x = (mg_tensor){ .name = copy, .rows = f->rows, .cols = f->cols, .format = f->format, .data = (void *)f->data, .param = true };
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

/* A vector in fp32, with Gemma's + 1 where the file stores g - 1. */
static mg_status load_vector(loader *ld, const char *name, const char *own_name, int64_t n, bool plus_one, mg_tensor **out) {
    mg_found  f;
    mg_status st = found_or_fail(ld, name, 1, n, &f);
    if (st) return st;
    float *copy = new_buffer(ld, (size_t)n * sizeof *copy);
    if (!copy) return no_memory(ld, name);
    f.format->decode(copy, f.data, NULL, 0, n);
    for (int64_t i = 0; plus_one && i < n; i++) copy[i] += 1;
    f.data = copy;
    f.format = &mg_format_f32;
    *out = new_tensor(ld, own_name, &f);
    ld->m->weight_bytes += (size_t)n * sizeof *copy;
    ld->m->parameters += n;
    return *out ? MG_OK : no_memory(ld, name);
}

/* GGUF's llama files turn each head's rows so that a rope of neighbouring pairs works: row 2i holds what was row i,
 * row 2i + 1 what was row i + hd/2.  Rows are whole blocks, so they are put back without decoding. */
static void restore_rows(uint8_t *to, const uint8_t *from, int64_t rows, int64_t hd, size_t row_bytes) {
    for (int64_t r = 0; r < rows; r++) {
        int64_t head = r / hd * hd, i = r % hd;
        int64_t source = head + (i < hd / 2 ? 2 * i : 2 * (i - hd / 2) + 1);
        memcpy(to + (size_t)r * row_bytes, from + (size_t)source * row_bytes, row_bytes);
    }
}

/* The mapped pages behind a copy are not needed any more. */
static void forget_pages(const void *p, size_t bytes) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = ((uintptr_t)p + page - 1) / page * page;
    uintptr_t end = ((uintptr_t)p + bytes) / page * page;
    if (begin < end) madvise((void *)begin, end - begin, MADV_DONTNEED);
}

static mg_status pack(loader *ld, mg_found *f, const void **side) {
    const mg_model_options *o = ld->o;
    int64_t                 n = f->rows * f->cols;
    size_t                  bytes;
    if (n % o->quant_block)
        return mg_fail(ld->err, MG_UNSUPPORTED, "'%s' has %lld numbers, not whole blocks of %d", f->name, (long long)n, o->quant_block);
    if (!mg_nf4_bytes(n, o->quant_block, o->quant_nested, &bytes)) return no_memory(ld, f->name);
    float *plain = mg_calloc((size_t)n, sizeof *plain);
    void  *room = plain ? new_buffer(ld, bytes) : NULL;
    if (!room) {
        free(plain);
        return no_memory(ld, f->name);
    }
    f->format->decode(plain, f->data, NULL, 0, n);
    const mg_nf4_side *table;
    const void        *data;
    mg_nf4_encode(o->quant, plain, n, o->quant_block, o->quant_nested, room, &data, &table);
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

static mg_status load_matrix(loader *ld, const char *name, const char *own_name, int64_t rows, int64_t cols, unsigned flags,
                             bool may_pack, mg_tensor **out) {
    mg_found    f;
    const void *side = NULL;
    mg_model   *m = ld->m;
    mg_status   st = found_or_fail(ld, name, rows, cols, &f);
    if (st) return st;
    bool aligned = (uintptr_t)f.data % 4 == 0 || !mg_format_is_plain(f.format);
    if ((flags & MG_WEIGHT_INTERLEAVED && m->from_gguf) || !aligned) {
        uint8_t *copy = new_buffer(ld, f.bytes);
        if (!copy) return no_memory(ld, name);
        if (m->from_gguf)
            restore_rows(copy, f.data, rows, m->c.hd, f.bytes / (size_t)rows);
        else
            memcpy(copy, f.data, f.bytes);
        forget_pages(f.data, f.bytes);
        f.data = copy;
    }
    if (may_pack && ld->o->quant) {
        if (!mg_format_is_plain(f.format))
            return mg_fail(ld->err, MG_CONFIG,
                           "%s: '%s' is packed as %s already; load_in_4bit is for models in f32, f16 or bf16: leave it out",
                           m->store->path, name, f.format->name);
        if ((st = pack(ld, &f, &side))) return st;
    }
    *out = new_tensor(ld, own_name, &f);
    if (!*out) return no_memory(ld, name);
    (*out)->side = side;
    m->weight_bytes += f.bytes;
    m->parameters += rows * cols;
    note_format(m, f.format);
    return MG_OK;
}

static bool present(loader *ld, const char *name) {
    mg_found f;
    return mg_source_find(&ld->m->store->source, name, &f);
}

/* The name of a row in this file and in Hugging Face's scheme. */
static void names_of(const mg_weight_row *row, bool gguf, int layer, char *file, char *own, size_t n) {
    char pattern[128];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* patterns of the architecture's own table */
    snprintf(pattern, sizeof pattern, "%s.weight", gguf ? row->gguf : row->hf);
    snprintf(file, n, pattern, layer);
    snprintf(pattern, sizeof pattern, "%s.weight", row->hf);
    snprintf(own, n, pattern, layer);
#pragma GCC diagnostic pop
}

static mg_status load_bias(loader *ld, const mg_weight_row *row, int layer, int64_t rows, mg_linear *l) {
    char file[128], own[128];
    if (!row->hf_bias) return MG_OK;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(file, sizeof file, ld->m->from_gguf ? row->gguf_bias : row->hf_bias, layer);
    snprintf(own, sizeof own, row->hf_bias, layer);
#pragma GCC diagnostic pop
    return present(ld, file) ? load_vector(ld, file, own, rows, false, &l->bias) : MG_OK;
}

static mg_status add_linear(loader *ld, mg_linear *l) {
    mg_net *net = &ld->m->net;
    if (!MG_GROW(net->linear, net->cap_linear, net->n_linear + 1)) return no_memory(ld, l->name);
    net->linear[net->n_linear++] = l;
    return MG_OK;
}

static mg_status load_row(loader *ld, const mg_weight_row *row, int layer) {
    mg_model *m = ld->m;
    void     *field = (char *)&m->layer[layer] + row->field;
    int64_t   rows = dim_of(&m->c, row->rows), cols = dim_of(&m->c, row->cols);
    char      file[128], own[128];
    names_of(row, m->from_gguf, layer, file, own, sizeof file);
    if (row->flags & MG_WEIGHT_OPTIONAL && !present(ld, file)) return MG_OK;
    if (!row->role) return load_vector(ld, file, own, cols, row->flags & MG_WEIGHT_PLUS_ONE && !m->from_gguf, field);
    mg_linear *l = field;
    l->role = row->role;
    l->layer = layer;
    snprintf(l->name, sizeof l->name, "%.*s", (int)(strlen(own) - strlen(".weight")), own);
    mg_status st = load_matrix(ld, file, own, rows, cols, row->flags, true, &l->w);
    if (!st) st = load_bias(ld, row, layer, rows, l);
    return st ? st : add_linear(ld, l);
}

static void set_attention(mg_model *m, int i) {
    mg_layer        *l = &m->layer[i];
    const mg_config *c = &m->c;
    l->attention = (mg_attention_kind){ .heads = (int)c->heads, .kv_heads = (int)c->kv_heads, .hd = (int)c->hd,
                                        .window = c->windowed[i] ? (int)c->window : 0,
                                        .scale = (float)(1 / sqrt(c->query_scale > 0 ? c->query_scale : (double)c->hd)),
                                        .softcap = (float)c->attention_softcap };
    l->rope = c->has_local && c->windowed[i] ? &m->rope_local : &m->rope;
}

static const struct { const char *name; mg_activation kind; } activations[] = {
    { "silu", MG_SILU }, { "swish", MG_SILU }, { "gelu_pytorch_tanh", MG_GELU_TANH }, { "gelu_new", MG_GELU_TANH },
};

static mg_status set_activation(loader *ld) {
    for (size_t i = 0; i < sizeof activations / sizeof *activations; i++)
        if (!strcmp(activations[i].name, ld->m->c.activation)) {
            ld->m->activation = activations[i].kind;
            return MG_OK;
        }
    return mg_fail(ld->err, MG_UNSUPPORTED, "%s: the activation '%s' is not known here", ld->m->store->path, ld->m->c.activation);
}

static mg_status load_ends(loader *ld) {
    mg_model *m = ld->m;
    bool      gguf = m->from_gguf;
    const char *head = gguf ? "output.weight" : "lm_head.weight";
    mg_status st = load_matrix(ld, gguf ? "token_embd.weight" : "model.embed_tokens.weight", "model.embed_tokens.weight",
                               m->c.vocab, m->c.dim, 0, false, &m->embed);
    if (!st) st = load_vector(ld, gguf ? "output_norm.weight" : "model.norm.weight", "model.norm.weight", m->c.dim,
                              m->arch->norms_plus_one && !gguf, &m->norm);
    if (st) return st;
    m->head = (mg_linear){ .name = "lm_head", .role = MG_ROLE_HEAD, .layer = -1, .w = m->embed };
    if (m->c.tied) return MG_OK;
    return load_matrix(ld, head, "lm_head.weight", m->c.vocab, m->c.dim, 0, false, &m->head.w);
}

static mg_status load_layers(loader *ld) {
    mg_model *m = ld->m;
    m->layer = mg_calloc((size_t)m->c.layers, sizeof *m->layer);
    m->net.layers = (int)m->c.layers;
    m->net.attend_hooks = mg_calloc((size_t)m->c.layers, sizeof *m->net.attend_hooks);
    m->net.residual_hooks = mg_calloc((size_t)m->c.layers * MG_SITES, sizeof *m->net.residual_hooks);
    if (!m->layer || !m->net.attend_hooks || !m->net.residual_hooks) return no_memory(ld, "layers");
    mg_status st = MG_OK;
    for (int i = 0; !st && i < m->c.layers; i++) {
        set_attention(m, i);
        for (const mg_weight_row *row = m->arch->weights; !st && row->hf; row++) st = load_row(ld, row, i);
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
    st = m->arch->adjust ? m->arch->adjust(&m->c, m->from_gguf, ld->err) : MG_OK;
    m->embed_scale = m->arch->embedding_scale ? (float)m->arch->embedding_scale(&m->c) : 1;
    return st ? st : set_activation(ld);
}

static mg_status make_ropes(loader *ld) {
    mg_model *m = ld->m;
    int64_t   positions = ld->o->positions ? ld->o->positions : 2048;
    mg_status st = mg_rope_table_make(&m->rope, &m->c.rope, m->c.hd, positions, m->c.max_positions, ld->err);
    if (!st && m->c.has_local)
        st = mg_rope_table_make(&m->rope_local, &m->c.rope_local, m->c.hd, positions, m->c.max_positions, ld->err);
    return st;
}

mg_status mg_model_open(mg_model **out, const char *path, const mg_model_options *o, mg_error *err) {
    mg_model *m = mg_calloc(1, sizeof *m);
    store    *s = mg_calloc(1, sizeof *s);
    loader    ld = { m, o, err };
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
        free(s->tensor[i]);
    }
    for (size_t i = 0; i < s->n_buffers; i++) free(s->buffer[i]);
    free(s->tensor);
    free(s->buffer);
    mg_source_close(&s->source);
    free(s->path);
    if (s->placed)
        m->device->free(s->placed);
    else {
        mg_rope_table_free(&m->rope);
        mg_rope_table_free(&m->rope_local);
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
    m->copied_bytes = 0;
    m->device = d;
    s->placed = memory;
}

const mg_gguf *mg_model_gguf(const mg_model *m) { return m->store->source.gguf; }

void mg_model_each_weight(mg_model *m, mg_weight_fn f, void *context) {
    for (size_t i = 0; i < m->store->n_tensors; i++)
        if (!f(m->store->tensor[i], context)) return;
}
