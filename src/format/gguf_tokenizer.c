/* gguf_tokenizer.c -- gather tokenizer.ggml.* of a GGUF file and check that it fits together.
 *
 * Keys as in ggml's docs/gguf.md.  Counts are those that the reader has held
 * against the bytes of the file, so what is allocated here is bounded by it. */
#include "format/gguf_tokenizer.h"

#include <stdlib.h>

#define KEY(name) "tokenizer.ggml." name

/* Strings of an array as pointers and lengths. */
typedef struct {
    mg_gguf_string *item;
    const char    **text;
    size_t         *len;
    size_t          n;
} strings;

static void free_strings(strings *s) {
    free(s->item);
    free(s->text);
    free(s->len);
}

static mg_status get_strings(strings *s, const mg_gguf *g, const char *key, mg_error *err) {
    const mg_gguf_value *v = mg_gguf_find(g, key);
    if (!v) return MG_OK;
    if (v->kind != MG_GGUF_ARRAY || v->item != MG_GGUF_STRING)
        return mg_fail(err, MG_FORMAT, "%s: %s is not an array of strings", g->path, key);
    s->n = (size_t)v->count;
    s->item = mg_calloc(s->n, sizeof *s->item);
    s->text = mg_calloc(s->n, sizeof *s->text);
    s->len = mg_calloc(s->n, sizeof *s->len);
    if (!s->item || !s->text || !s->len) return mg_fail(err, MG_NOMEM, "%s: no memory for %s", g->path, key);
    mg_gguf_strings(v, s->item);
    for (size_t i = 0; i < s->n; i++) {
        s->text[i] = s->item[i].data;
        s->len[i] = s->item[i].len;
    }
    return MG_OK;
}

/* An array that goes with the tokens; *v NULL when it is absent. */
static mg_status get_beside_tokens(const mg_gguf_value **v, const mg_gguf *g, const char *key, bool floats,
                                   size_t n, mg_error *err) {
    const mg_gguf_value *found = mg_gguf_find(g, key);
    *v = NULL;
    if (!found) return MG_OK;
    bool right = found->kind == MG_GGUF_ARRAY &&
                 (floats ? found->item == MG_GGUF_F32 || found->item == MG_GGUF_F64 : found->item <= MG_GGUF_I32);
    if (!right) return mg_fail(err, MG_FORMAT, "%s: %s is not an array of numbers", g->path, key);
    if (found->count != n)
        return mg_fail(err, MG_FORMAT, "%s: %s has %llu entries for %zu tokens", g->path, key,
                       (unsigned long long)found->count, n);
    *v = found;
    return MG_OK;
}

static mg_status get_id(int32_t *out, const mg_gguf *g, const char *key, size_t n, mg_error *err) {
    int64_t id;
    *out = -1;
    /* some writers put 2^32 - 1 or a number beyond the vocabulary for "none" */
    if (!mg_gguf_int(g, key, &id) || id == -1 || id == UINT32_MAX) return MG_OK;
    if (id < 0 || (uint64_t)id >= n)
        return mg_fail(err, MG_FORMAT, "%s: %s is %lld, the vocabulary has %zu tokens", g->path, key,
                       (long long)id, n);
    *out = (int32_t)id;
    return MG_OK;
}

static int get_flag(const mg_gguf *g, const char *key) {
    int64_t v;
    return mg_gguf_int(g, key, &v) ? v != 0 : -1;
}

static mg_status get_ids(mg_gguf_vocab *v, const mg_gguf *g, mg_error *err) {
    mg_status st = get_id(&v->bos, g, KEY("bos_token_id"), v->n, err);
    if (!st) st = get_id(&v->eos, g, KEY("eos_token_id"), v->n, err);
    if (!st) st = get_id(&v->unk, g, KEY("unknown_token_id"), v->n, err);
    if (!st) st = get_id(&v->pad, g, KEY("padding_token_id"), v->n, err);
    if (!st) st = get_id(&v->eot, g, KEY("eot_token_id"), v->n, err);
    return st;
}

static char *copy_string(const mg_gguf *g, const char *key) {
    mg_gguf_string s;
    return mg_gguf_str(g, key, &s) ? mg_strndup(s.data, s.len) : NULL;
}

mg_status mg_gguf_tokenizer(mg_tokenizer **out, const mg_gguf *g, mg_error *err) {
    const mg_gguf_value *scores = NULL, *types = NULL;
    strings              tokens = { 0 }, merges = { 0 };
    float               *score = NULL;
    int32_t             *type = NULL;
    char                *model = copy_string(g, KEY("model")), *pre = copy_string(g, KEY("pre"));
    mg_gguf_vocab        v = { .model = model, .pre = pre };
    mg_status            st = MG_OK;
    if (!model || !mg_gguf_find(g, KEY("tokens"))) {
        st =
            mg_fail(err, MG_NOTFOUND, "%s: the file has no tokenizer (tokenizer.ggml.model and .tokens)", g->path);
        goto done;
    }
    st = get_strings(&tokens, g, KEY("tokens"), err);
    if (!st) st = get_strings(&merges, g, KEY("merges"), err);
    if (!st) st = get_beside_tokens(&scores, g, KEY("scores"), true, tokens.n, err);
    if (!st) st = get_beside_tokens(&types, g, KEY("token_type"), false, tokens.n, err);
    if (st) goto done;
    score = scores ? mg_calloc(tokens.n, sizeof *score) : NULL;
    type = types ? mg_calloc(tokens.n, sizeof *type) : NULL;
    if ((scores && !score) || (types && !type)) {
        st = mg_fail(err, MG_NOMEM, "%s: no memory for %zu tokens", g->path, tokens.n);
        goto done;
    }
    for (size_t i = 0; score && i < tokens.n; i++) score[i] = (float)mg_gguf_item_float(scores, i);
    for (size_t i = 0; type && i < tokens.n; i++) type[i] = (int32_t)mg_gguf_item_int(types, i);
    v.n = tokens.n, v.token = tokens.text, v.token_len = tokens.len;
    v.n_merges = merges.n, v.merge = merges.text, v.merge_len = merges.len;
    v.score = score, v.type = type;
    v.add_bos = get_flag(g, KEY("add_bos_token"));
    v.add_eos = get_flag(g, KEY("add_eos_token"));
    v.add_space_prefix = get_flag(g, KEY("add_space_prefix"));
    v.remove_extra_whitespaces = get_flag(g, KEY("remove_extra_whitespaces"));
    st = get_ids(&v, g, err);
    if (!st) st = mg_tokenizer_from_gguf(out, &v, g->path, err);
done:
    free_strings(&tokens);
    free_strings(&merges);
    free(score);
    free(type);
    free(model);
    free(pre);
    return st;
}
