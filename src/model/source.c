/* source.c -- one view of both kinds of model files.
 *
 * Sharded folders name each tensor's file in model.safetensors.index.json; its
 * values must be plain file names, so that nothing outside the folder is opened.
 * Multimodal checkpoints keep the language model under a longer prefix. */
#include "model/source.h"

#include "base/file.h"
#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INDEX_LIMIT = 64 << 20 };

static mg_status add_all(mg_source *s, size_t n, mg_error *err) {
    s->all = mg_calloc(n, sizeof *s->all);
    s->used = mg_calloc(n, sizeof *s->used);
    s->names = mg_map_new(n);
    return s->all && s->used && s->names ? MG_OK : mg_fail(err, MG_NOMEM, "%s: no memory for %zu names", s->path, n);
}

mg_status mg_source_open_gguf(mg_source *s, const char *path, mg_error *err) {
    mg_source made = { .path = path, .canonical = "", .prefix = "" };
    mg_status st = mg_gguf_open(&made.gguf, path, err);
    if (!st) st = add_all(&made, made.gguf->n_tensors, err);
    for (size_t i = 0; !st && i < made.gguf->n_tensors; i++) {
        const mg_gguf_tensor *t = &made.gguf->tensors[i];
        made.all[made.n] = (mg_found){ t->name, t->format, t->data, t->bytes, t->dims[1] * t->dims[2] * t->dims[3], t->dims[0] };
        if (mg_map_put(made.names, t->name, strlen(t->name), (int64_t)made.n++) < 0) st = mg_fail(err, MG_NOMEM, "%s", path);
    }
    if (st)
        mg_source_close(&made);
    else
        *s = made;
    return st;
}

static mg_status add_shard(mg_source *s, const char *path, mg_error *err) {
    mg_safetensors **more = mg_realloc(s->shard, s->n_shards + 1, sizeof *more);
    if (!more) return mg_fail(err, MG_NOMEM, "%s: no memory", path);
    s->shard = more;
    mg_status st = mg_safetensors_open(&s->shard[s->n_shards], path, err);
    if (!st) s->n_shards++;
    return st;
}

/* A value of weight_map must be a bare file name. */
static bool is_base_name(const char *s, size_t len) {
    return len > 0 && len < 256 && !memchr(s, '/', len) && !memchr(s, 0, len) && s[0] != '.';
}

static mg_status open_sharded(mg_source *s, const char *folder, const char *index_path, mg_error *err) {
    mg_json   index = { 0 };
    mg_map   *seen = mg_map_new(64);
    mg_status st = seen ? mg_json_open(&index, index_path, INDEX_LIMIT, err) : mg_fail(err, MG_NOMEM, "%s", index_path);
    if (st) goto done;
    yyjson_val *map = yyjson_obj_get(index.root, "weight_map"), *key;
    if (!yyjson_is_obj(map)) {
        st = mg_fail(err, MG_FORMAT, "%s: has no weight_map", index_path);
        goto done;
    }
    yyjson_obj_iter it = yyjson_obj_iter_with(map);
    while (!st && (key = yyjson_obj_iter_next(&it))) {
        yyjson_val *v = yyjson_obj_iter_get_val(key);
        const char *file = yyjson_get_str(v);
        if (!file || !is_base_name(file, yyjson_get_len(v))) {
            st = mg_fail(err, MG_FORMAT, "%s: '%.80s' is no plain file name", index_path, file ? file : "?");
            break;
        }
        if (mg_map_put(seen, file, yyjson_get_len(v), 0) != 1) continue;
        char *path = mg_path_join(folder, file);
        st = path ? add_shard(s, path, err) : mg_fail(err, MG_NOMEM, "%s", index_path);
        free(path);
    }
done:
    mg_map_free(seen);
    mg_json_free(&index);
    return st;
}

static mg_status collect(mg_source *s, mg_error *err) {
    size_t n = 0;
    for (size_t i = 0; i < s->n_shards; i++) n += s->shard[i]->n;
    mg_status st = add_all(s, n, err);
    for (size_t i = 0; !st && i < s->n_shards; i++)
        for (size_t j = 0; !st && j < s->shard[i]->n; j++) {
            const mg_st_entry *e = &s->shard[i]->entries[j];
            mg_found f = { e->name, mg_format_of_safetensors(e->dtype), e->data, e->bytes, 1, e->n_dims ? e->dims[e->n_dims - 1] : 1 };
            for (int d = 0; d + 1 < e->n_dims; d++) f.rows *= e->dims[d];
            s->all[s->n] = f;
            int put = mg_map_put(s->names, e->name, strlen(e->name), (int64_t)s->n++);
            if (put < 0) st = mg_fail(err, MG_NOMEM, "%s: no memory", s->path);
            if (put == 0) st = mg_fail(err, MG_FORMAT, "%s: '%s' stands in two files", s->path, e->name);
        }
    return st;
}

void mg_source_choose_prefix(mg_source *s, const char *canonical, const char *probe) {
    const char *const known[] = { canonical, "language_model.model.", "model.language_model.", "bert.", "" };
    char              name[256];
    int64_t           i;
    s->canonical = s->prefix = canonical;
    for (size_t k = 0; !s->gguf && k < sizeof known / sizeof *known; k++) {
        int n = snprintf(name, sizeof name, "%s%s.weight", known[k], probe + strlen(canonical));
        if (n < 0 || (size_t)n >= sizeof name || !mg_map_get(s->names, name, (size_t)n, &i)) continue;
        s->prefix = known[k];
        return;
    }
}

mg_status mg_source_open_folder(mg_source *s, const char *folder, mg_error *err) {
    mg_source made = { .path = folder, .canonical = "", .prefix = "" };
    char     *one = mg_path_join(folder, "model.safetensors"), *index = mg_path_join(folder, "model.safetensors.index.json");
    mg_status st = one && index ? MG_OK : mg_fail(err, MG_NOMEM, "%s: no memory", folder);
    if (st) goto done;
    if (mg_is_file(one))
        st = add_shard(&made, one, err);
    else if (mg_is_file(index))
        st = open_sharded(&made, folder, index, err);
    else
        st = mg_fail(err, MG_NOTFOUND,
                     "%s: has neither model.safetensors nor model.safetensors.index.json; give a folder in Hugging Face's "
                     "layout or a .gguf file",
                     folder);
    if (!st) st = collect(&made, err);
done:
    free(one);
    free(index);
    if (st)
        mg_source_close(&made);
    else
        *s = made;
    return st;
}

void mg_source_close(mg_source *s) {
    mg_gguf_close(s->gguf);
    for (size_t i = 0; i < s->n_shards; i++) mg_safetensors_close(s->shard[i]);
    free(s->shard);
    free(s->all);
    free(s->used);
    mg_map_free(s->names);
    *s = (mg_source){ 0 };
}

bool mg_source_find(mg_source *s, const char *name, mg_found *out) {
    char    full[256];
    size_t  strip = strlen(s->canonical);
    int64_t i;
    int     n = strncmp(name, s->canonical, strip) != 0 ? -1 : snprintf(full, sizeof full, "%s%s", s->prefix, name + strip);
    bool    found = n > 0 && (size_t)n < sizeof full && mg_map_get(s->names, full, (size_t)n, &i);
    if (!found && !mg_map_get(s->names, name, strlen(name), &i)) return false;
    s->used[i] = true;
    *out = s->all[i];
    return true;
}

static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), len = strlen(end);
    return n >= len && !strcmp(s + n - len, end);
}

const char *mg_source_leftover(const mg_source *s) {
    /* computed anew; parts of a multimodal model that text does not touch; heads that nobody asks */
    static const char *const harmless[] = { "rotary_emb.inv_freq", "rope_freqs.weight", "rope_factors_", "vision_tower.",
                                            "multi_modal_projector.", "vision_model.", "lm_head.weight", "embed_out.weight",
                                            "attn.masked_bias", "attention.masked_bias", "cls.predictions.",
                                            "cls.seq_relationship.", "embeddings.position_ids" };
    static const char *const masks[] = { ".attn.bias", ".attention.bias" }; /* GPT-2's and NeoX's causal masks */
    for (size_t i = 0; i < s->n; i++) {
        bool fine = s->used[i];
        for (size_t k = 0; !fine && k < sizeof harmless / sizeof *harmless; k++) fine = strstr(s->all[i].name, harmless[k]);
        for (size_t k = 0; !fine && k < sizeof masks / sizeof *masks; k++) fine = ends_with(s->all[i].name, masks[k]);
        if (!fine) return s->all[i].name;
    }
    return NULL;
}
