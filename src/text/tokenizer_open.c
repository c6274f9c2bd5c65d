/* tokenizer_open.c -- the tokenizer of a Hugging Face model folder.
 *
 * tokenizer.json is the tokenizer (or tokenizer.model, or vocab.txt); tokenizer_config.json and the older
 * special_tokens_map.json only name the special tokens (and, for the
 * other two, say what is added to a text). */
#include "base/file.h"
#include "text/tokenizer_impl.h"

#include <stdlib.h>
#include <string.h>

enum { FILE_LIMIT = 256 << 20, CONFIG_LIMIT = 16 << 20 };

/* A file of the folder when it is there. */
static mg_status open_optional(mg_json *out, const char *folder, const char *name, mg_error *err) {
    char *path = mg_path_join(folder, name);
    if (!path) return mg_fail(err, MG_NOMEM, "%s: no memory", folder);
    mg_status st = mg_is_file(path) ? mg_json_open(out, path, CONFIG_LIMIT, err) : MG_OK;
    free(path);
    return st;
}

/* "x" or {"content": "x"}; *id stays when there is no such entry, and -1 means null. */
static void named_token(const mg_tokenizer *t, yyjson_val *config, const char *key, int32_t *id) {
    yyjson_val *v = yyjson_obj_get(config, key);
    if (yyjson_is_obj(v)) v = yyjson_obj_get(v, "content");
    if (yyjson_is_str(v)) *id = tok_vocab_find(&t->vocab, yyjson_get_str(v), yyjson_get_len(v));
}

static void name_tokens(mg_tokenizer *t, yyjson_val *config) {
    named_token(t, config, "bos_token", &t->bos);
    named_token(t, config, "eos_token", &t->eos);
    named_token(t, config, "pad_token", &t->pad);
    named_token(t, config, "unk_token", &t->unk);
}

static mg_status open_spm(mg_tokenizer **out, const char *path, yyjson_val *config, mg_error *err) {
    mg_mapping     m = { 0 };
    tok_spm_config c = { .legacy = tok_parse_bool(config, "legacy", true),
                         .add_bos = tok_parse_bool(config, "add_bos_token", true),
                         .add_eos = tok_parse_bool(config, "add_eos_token", false) };
    mg_status      st = mg_map_file(&m, path, err);
    if (!st) st = tok_parse_spm(out, m.data, m.size, c, path, err);
    mg_unmap_file(&m);
    return st;
}

static mg_status open_json(mg_tokenizer **out, const char *path, mg_error *err) {
    mg_buf    text = { 0 };
    mg_status st = mg_read_file(&text, path, FILE_LIMIT, err);
    if (!st) st = mg_tokenizer_parse_json(out, text.data, text.len, path, err);
    mg_buf_free(&text);
    return st;
}

static mg_status open_vocab_txt(mg_tokenizer **out, const char *path, yyjson_val *config, mg_error *err) {
    mg_buf    text = { 0 };
    mg_status st = mg_read_file(&text, path, FILE_LIMIT, err);
    if (!st) st = tok_parse_vocab_txt(out, text.data ? text.data : "", text.len, config, path, err);
    mg_buf_free(&text);
    return st;
}

/* transformers' class for Japanese words takes vocab.txt, whatever else is there. */
static bool wants_vocab_txt(yyjson_val *config) {
    return yyjson_equals_str(yyjson_obj_get(config, "tokenizer_class"), "BertJapaneseTokenizer");
}

mg_status mg_tokenizer_open(mg_tokenizer **out, const char *folder, mg_error *err) {
    mg_json       config = { 0 }, map = { 0 };
    mg_tokenizer *t = NULL;
    char         *json = mg_path_join(folder, "tokenizer.json"), *model = mg_path_join(folder, "tokenizer.model");
    char         *words = mg_path_join(folder, "vocab.txt");
    mg_status     st = json && model && words ? MG_OK : mg_fail(err, MG_NOMEM, "%s: no memory", folder);
    if (!st) st = open_optional(&config, folder, "tokenizer_config.json", err);
    if (!st) st = open_optional(&map, folder, "special_tokens_map.json", err);
    if (st) goto done;
    if (mg_is_file(words) && (wants_vocab_txt(config.root) || (!mg_is_file(json) && !mg_is_file(model))))
        st = open_vocab_txt(&t, words, config.root, err);
    else if (mg_is_file(json))
        st = open_json(&t, json, err);
    else if (mg_is_file(model))
        st = open_spm(&t, model, config.root, err);
    else
        st = mg_fail(err, MG_NOTFOUND,
                     "%s: no tokenizer.json, tokenizer.model or vocab.txt; copy it from the base model", folder);
    if (st) goto done;
    name_tokens(t, map.root);
    name_tokens(t, config.root); /* the newer file has the last word */
    *out = t;
done:
    mg_json_free(&config);
    mg_json_free(&map);
    free(json);
    free(model);
    free(words);
    return st;
}
