/* hf_text.c -- tokenizer files, chat template and generation settings of a Hugging Face folder. */
#include "deliver/hf.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

enum { TEXT_LIMIT = 256 << 20 };

static mg_status save(const char *folder, const char *name, const mg_buf *b, mg_error *err) {
    char     *path = mg_path_join(folder, name);
    mg_status st = path && !b->failed ? mg_replace_file(path, b->data ? b->data : "", b->len, err) : mg_fail(err, MG_NOMEM, "%s: no memory", folder);
    free(path);
    return st;
}

/* ---- from a folder ---- */

static mg_status copy_one(const char *from, const char *to, const char *name, mg_error *err) {
    char     *path = mg_path_join(from, name);
    mg_buf    text = { 0 };
    mg_status st = path ? MG_OK : mg_fail(err, MG_NOMEM, "%s: no memory", from);
    if (!st && mg_is_file(path)) {
        st = mg_read_file(&text, path, TEXT_LIMIT, err);
        if (!st) st = save(to, name, &text, err);
    }
    mg_buf_free(&text);
    free(path);
    return st;
}

static mg_status copy_files(const mg_bundle *b, const char *folder, mg_error *err) {
    mg_status st = copy_one(b->path, folder, "generation_config.json", err);
    for (const char *const *name = mg_tokenizer_files; !st && *name; name++) st = copy_one(b->path, folder, *name, err);
    return st;
}

/* ---- from GGUF ---- */

static void put_token(mg_buf *b, const mg_tokenizer *t, const char *key, int32_t id) {
    size_t      n;
    const char *s = id < 0 ? NULL : mg_tokenizer_token(t, id, &n);
    if (!s) return;
    mg_buf_printf(b, ",\n  \"%s\": ", key);
    mg_json_quote(b, s, n);
}

static mg_status make_tokenizer_config(const mg_bundle *b, const char *folder, mg_error *err) {
    const mg_tokenizer *t = b->tokenizer;
    mg_buf              out = { 0 };
    mg_buf_str(&out, "{\n  \"tokenizer_class\": \"PreTrainedTokenizerFast\",\n  \"clean_up_tokenization_spaces\": false");
    mg_buf_printf(&out, ",\n  \"model_max_length\": %lld", (long long)b->model->c.max_positions);
    put_token(&out, t, "bos_token", mg_tokenizer_bos(t));
    put_token(&out, t, "eos_token", mg_tokenizer_eos(t));
    put_token(&out, t, "pad_token", mg_tokenizer_pad(t));
    put_token(&out, t, "unk_token", mg_tokenizer_unk(t));
    if (b->template_text) {
        mg_buf_str(&out, ",\n  \"chat_template\": ");
        mg_json_quote(&out, b->template_text, strlen(b->template_text));
    }
    mg_buf_str(&out, "\n}\n");
    mg_status st = save(folder, "tokenizer_config.json", &out, err);
    mg_buf_free(&out);
    return st;
}

/* Every token that ends an answer: GGUF names one or two, the bundle has looked for all. */
static mg_status make_generation_config(const mg_bundle *b, const char *folder, mg_error *err) {
    mg_buf out = { 0 };
    mg_buf_str(&out, "{\n  \"_from_model_config\": false");
    if (mg_tokenizer_bos(b->tokenizer) >= 0) mg_buf_printf(&out, ",\n  \"bos_token_id\": %d", (int)mg_tokenizer_bos(b->tokenizer));
    if (b->n_stop) {
        mg_buf_str(&out, ",\n  \"eos_token_id\": [");
        for (size_t i = 0; i < b->n_stop; i++) mg_buf_printf(&out, "%s%d", i ? ", " : "", (int)b->stop[i]);
        mg_buf_char(&out, ']');
    }
    if (mg_tokenizer_pad(b->tokenizer) >= 0) mg_buf_printf(&out, ",\n  \"pad_token_id\": %d", (int)mg_tokenizer_pad(b->tokenizer));
    mg_buf_str(&out, "\n}\n");
    mg_status st = save(folder, "generation_config.json", &out, err);
    mg_buf_free(&out);
    return st;
}

static mg_status make_files(const mg_bundle *b, const char *folder, mg_error *err) {
    mg_buf    json = { 0 };
    mg_status st = mg_tokenizer_write_json(b->tokenizer, &json, err);
    if (!st) st = save(folder, "tokenizer.json", &json, err);
    mg_buf_free(&json);
    if (!st) st = make_tokenizer_config(b, folder, err);
    return st ? st : make_generation_config(b, folder, err);
}

/* The template goes into a file of its own, too: newer readers look there first, and it may be the run's and
 * not the base model's. */
mg_status mg_hf_write_text(const mg_bundle *b, const char *folder, mg_error *err) {
    mg_status st = mg_model_gguf(b->model) ? make_files(b, folder, err) : copy_files(b, folder, err);
    if (st || !b->template_text) return st;
    mg_buf text = { 0 };
    mg_buf_str(&text, b->template_text);
    st = save(folder, "chat_template.jinja", &text, err);
    mg_buf_free(&text);
    return st;
}
