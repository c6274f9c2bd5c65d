/* tokenizer_json.c -- read tokenizer.json, and write it. */
#include "text/tokenizer_impl.h"

#include <stdlib.h>
#include <string.h>

bool tok_room(void **p, size_t *cap, size_t n, size_t size) {
    size_t bytes;
    if (!mg_size_mul(n, size, &bytes)) return false;
    return mg_grow(p, cap, bytes, 1);
}

mg_status tok_vocab_parse(mg_tokenizer *t, yyjson_val *vocab, mg_error *err) {
    size_t      i, n, highest = 0, bytes = 0;
    yyjson_val *key, *id;
    if (!yyjson_is_obj(vocab) || !yyjson_obj_size(vocab))
        return mg_fail(err, MG_FORMAT, "%s: the model has no vocabulary", t->name);
    yyjson_obj_foreach(vocab, i, n, key, id) {
        if (!yyjson_is_uint(id) || yyjson_get_uint(id) >= TOK_MAX_ID)
            return mg_fail(err, MG_FORMAT, "%s: the id of the token '%.80s' is not a number from 0 to %d", t->name,
                           yyjson_get_str(key), TOK_MAX_ID - 1);
        if (yyjson_get_uint(id) > highest) highest = (size_t)yyjson_get_uint(id);
        bytes += yyjson_get_len(key); /* at most the file's size */
    }
    n = yyjson_obj_size(vocab);
    if (highest > 2 * n + 65536)
        return mg_fail(err, MG_FORMAT, "%s: %zu tokens have ids up to %zu, that is too sparse", t->name, n,
                       highest);
    mg_status st = tok_vocab_reserve(&t->vocab, highest + 1, bytes, t->name, err);
    yyjson_obj_foreach(vocab, i, n, key, id) {
        if (st) return st;
        st = tok_vocab_add(&t->vocab, (int32_t)yyjson_get_uint(id), yyjson_get_str(key), yyjson_get_len(key),
                           t->name, err);
    }
    return st;
}

void tok_vocab_write(const mg_tokenizer *t, mg_buf *out) {
    const char *separator = "\n      ";
    mg_buf_str(out, ",\n    \"vocab\": {");
    for (size_t id = 0; id < t->model_tokens; id++) {
        if (!t->vocab.text[id] || t->outside[id]) continue;
        mg_buf_str(out, separator);
        mg_json_quote(out, t->vocab.text[id], t->vocab.len[id]);
        mg_buf_printf(out, ": %zu", id);
        separator = ",\n      ";
    }
    mg_buf_str(out, "\n    }");
}

static mg_status parse_model(mg_tokenizer *t, yyjson_val *config, mg_error *err) {
    const char *type = yyjson_get_str(yyjson_obj_get(config, "type"));
    /* files from before "type" was written: Unigram has a list of tokens, BPE has merges,
     * WordPiece a limit */
    if (!type)
        type = yyjson_is_arr(yyjson_obj_get(config, "vocab"))                ? "Unigram"
               : yyjson_obj_get(config, "merges")                            ? "BPE"
               : yyjson_obj_get(config, "max_input_chars_per_word")          ? "WordPiece"
                                                                             : "";
    const tok_model_row *row = tok_model_find(type);
    if (!row)
        return mg_fail(err, MG_UNSUPPORTED, "%s: the tokenizer model '%.60s' is not known here", t->name, type);
    mg_status st = row->parse(t, config, err);
    t->model_tokens = t->vocab.n;
    t->outside = mg_calloc(t->vocab.n, 1);
    return st || t->outside ? st : tok_no_memory(t, err);
}

static mg_status parse_added(mg_tokenizer *t, yyjson_val *list, mg_error *err) {
    yyjson_val *item;
    size_t      i, n;
    yyjson_arr_foreach(list, i, n, item) {
        yyjson_val *id = yyjson_obj_get(item, "id"), *content = yyjson_obj_get(item, "content");
        if (!yyjson_is_uint(id) || yyjson_get_uint(id) >= TOK_MAX_ID || !yyjson_is_str(content))
            return mg_fail(err, MG_FORMAT, "%s: added token %zu has no id and content", t->name, i);
        if (yyjson_get_uint(id) > 2 * (t->vocab.count + n) + 65536)
            return mg_fail(err, MG_FORMAT, "%s: the added token '%.80s' has the id %llu, far beyond the others",
                           t->name, yyjson_get_str(content), (unsigned long long)yyjson_get_uint(id));
        bool      special = tok_parse_bool(item, "special", false);
        mg_status st = tok_add(t,
                               (tok_added){ .id = (int32_t)yyjson_get_uint(id),
                                            .text = yyjson_get_str(content),
                                            .len = (uint32_t)yyjson_get_len(content),
                                            .single_word = tok_parse_bool(item, "single_word", false),
                                            .lstrip = tok_parse_bool(item, "lstrip", false),
                                            .rstrip = tok_parse_bool(item, "rstrip", false),
                                            .normalized = tok_parse_bool(item, "normalized", !special),
                                            .special = special },
                               err);
        if (st) return st;
    }
    return MG_OK;
}

mg_status mg_tokenizer_parse_json(mg_tokenizer **out, const char *text, size_t n, const char *name,
                                  mg_error *err) {
    mg_json       json = { 0 };
    mg_status     st = mg_json_parse(&json, text, n, name, err);
    mg_tokenizer *t = st ? NULL : tok_new(name);
    if (st) return st;
    if (!t)
        st = mg_fail(err, MG_NOMEM, "%s: no memory", name);
    else
        st = parse_model(t, yyjson_obj_get(json.root, "model"), err);
    if (!st)
        st = tok_set_components(t, yyjson_obj_get(json.root, "normalizer"),
                                yyjson_obj_get(json.root, "pre_tokenizer"), yyjson_obj_get(json.root, "decoder"),
                                err);
    if (!st) st = parse_added(t, yyjson_obj_get(json.root, "added_tokens"), err);
    if (!st) st = tok_set_post(t, yyjson_obj_get(json.root, "post_processor"), err);
    if (!st) st = tok_finish(t, err);
    mg_json_free(&json);
    if (st)
        mg_tokenizer_free(t);
    else
        *out = t;
    return st;
}

static void write_component(mg_buf *out, const char *key, const char *json) {
    mg_buf_printf(out, ",\n  \"%s\": ", key);
    mg_buf_str(out, json ? json : "null");
}

static const char *truth(bool b) { return b ? "true" : "false"; }

static int by_id(const void *x, const void *y) {
    int32_t a = ((const tok_added *)x)->id, b = ((const tok_added *)y)->id;
    return a < b ? -1 : a > b;
}

/* By id, because readers number tokens that the vocabulary lacks in the order of the list. */
static bool write_added(const mg_tokenizer *t, mg_buf *out) {
    tok_added *sorted = mg_calloc(t->n_added, sizeof *sorted);
    if (!sorted) return false;
    if (t->n_added) memcpy(sorted, t->added, t->n_added * sizeof *sorted);
    if (t->n_added) qsort(sorted, t->n_added, sizeof *sorted, by_id);
    mg_buf_str(out, ",\n  \"added_tokens\": [");
    for (size_t i = 0; i < t->n_added; i++) {
        const tok_added *a = &sorted[i];
        mg_buf_printf(out, "%s\n    {\"id\": %d, \"content\": ", i ? "," : "", (int)a->id);
        mg_json_quote(out, a->text, a->len);
        mg_buf_printf(
            out, ", \"single_word\": %s, \"lstrip\": %s, \"rstrip\": %s, \"normalized\": %s, \"special\": %s}",
            truth(a->single_word), truth(a->lstrip), truth(a->rstrip), truth(a->normalized), truth(a->special));
    }
    mg_buf_str(out, "\n  ]");
    free(sorted);
    return true;
}

mg_status mg_tokenizer_write_json(const mg_tokenizer *t, mg_buf *out, mg_error *err) {
    mg_buf b = { 0 };
    mg_buf_str(&b, "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null");
    mg_status st = write_added(t, &b) ? MG_OK : tok_no_memory(t, err);
    write_component(&b, "normalizer", t->normalizer.json);
    write_component(&b, "pre_tokenizer", t->pretokenizer.json);
    write_component(&b, "post_processor", t->post_json);
    write_component(&b, "decoder", t->decoder.json);
    mg_buf_printf(&b, ",\n  \"model\": {\n    \"type\": \"%s\"", t->model_row->type);
    if (!st) st = t->model_row->write(t, &b, err);
    mg_buf_str(&b, "\n  }\n}\n");
    if (!st) mg_buf_add(out, b.data, b.len);
    if (!st && (b.failed || out->failed)) st = tok_no_memory(t, err);
    mg_buf_free(&b);
    return st;
}
