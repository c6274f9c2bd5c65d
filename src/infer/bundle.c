/* bundle.c -- where a model's parts are looked for, in which order.
 *
 * What ends an answer is scattered over four places that disagree in real models (Qwen's config names the end
 * of a text and not the end of a turn, Gemma's GGUF the other one), so the union of all is taken. */
#include "infer/bundle.h"

#include "base/file.h"
#include "format/gguf_tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEMPLATE_BYTES = 1 << 20, CONFIG_BYTES = 16 << 20 };

/* Families of control tokens.  A model that has both marks in its vocabulary was made for that template. */
static const struct {
    const char *name, *begin, *end; /* end of a turn */
} families[] = {
    { "gemma", "<start_of_turn>", "<end_of_turn>" },
    { "chatml", "<|im_start|>", "<|im_end|>" },
    { "llama3", "<|start_header_id|>", "<|eot_id|>" },
};
static const char *const other_ends[] = { "<|eom_id|>", "<|end|>", "<|end_of_text|>", "<|endoftext|>" };
#define COUNT(a) (sizeof(a) / sizeof *(a))

static mg_status no_memory(const char *path, mg_error *err) {
    return mg_fail(err, MG_NOMEM, "%s: no memory", path);
}

/* ---- finding ---- */

static bool is_there(const char *path) { return mg_is_file(path) || mg_is_folder(path); }

/* FOLDER/NAME or FOLDER/NAME.gguf; NULL: neither. */
static char *in_folder(const char *folder, const char *name) {
    mg_buf b = { 0 };
    mg_buf_printf(&b, "%s/%s.gguf", folder, name);
    if (!b.failed && mg_is_file(b.data)) return b.data;
    if (!b.failed) b.data[b.len - strlen(".gguf")] = 0;
    if (!b.failed && is_there(b.data)) return b.data;
    mg_buf_free(&b);
    return NULL;
}

mg_status mg_bundle_find(char **path, const char *name, mg_error *err) {
    const char *models = getenv("MIGAKI_MODELS");
    char       *found = NULL;
    if (is_there(name)) {
        if (!(found = mg_strdup(name))) return no_memory(name, err);
    } else if (*name && *name != '/' && *name != '.') {
        if (models && *models) found = in_folder(models, name);
        if (!found) found = in_folder("models", name);
    }
    if (!found)
        return mg_fail(err, MG_NOTFOUND,
                       "%s: no such model here. Give a .gguf file, a folder in Hugging Face's layout, or the name "
                       "of one in %s. "
                       "Nothing is downloaded on its own: to use a model of the hub, fetch it first",
                       name, models && *models ? models : "models/");
    *path = found;
    return MG_OK;
}

/* ---- the template ---- */

static mg_status set_template(mg_bundle *b, char *text, size_t n, char *origin, mg_error *err) {
    mg_status st =
        text && origin ? mg_template_parse(&b->chat_template, text, n, origin, err) : no_memory(b->path, err);
    if (st) {
        free(text);
        free(origin);
        return st;
    }
    b->template_text = text;
    b->template_origin = origin;
    return MG_OK;
}

static mg_status template_from_file(mg_bundle *b, const char *path, mg_error *err) {
    mg_buf    text = { 0 };
    mg_status st = mg_read_file(&text, path, TEMPLATE_BYTES, err);
    if (st) return st;
    /* An editor's newline at the end is no part of it. */
    if (text.len && text.data[text.len - 1] == '\n') text.data[--text.len] = 0;
    return set_template(b, text.data, text.len, mg_strdup(path), err);
}

static mg_status template_builtin(mg_bundle *b, const char *name, mg_error *err) {
    const char *text = mg_template_builtin(name);
    mg_buf      origin = { 0 };
    mg_buf_printf(&origin, "built-in %s", name);
    return set_template(b, mg_strdup(text), strlen(text), origin.failed ? NULL : origin.data, err);
}

static mg_status template_by_user(mg_bundle *b, const char *given, mg_error *err) {
    if (mg_is_file(given)) return template_from_file(b, given, err);
    if (mg_template_builtin(given)) return template_builtin(b, given, err);
    return mg_fail(
        err, MG_NOTFOUND,
        "chat_template: %s is neither a file nor a built-in template (gemma, chatml, llama2, llama3, mistral)",
        given);
}

/* A string, or a list of {"name", "template"} of which "default" is taken. */
static yyjson_val *template_of_config(yyjson_val *root) {
    yyjson_val *v = yyjson_obj_get(root, "chat_template"), *item;
    size_t      i, n;
    if (!yyjson_is_arr(v)) return v;
    yyjson_arr_foreach(v, i, n, item) if (yyjson_equals_str(yyjson_obj_get(item, "name"),
                                                            "default")) return yyjson_obj_get(item, "template");
    return NULL;
}

static mg_status template_from_config(mg_bundle *b, const char *path, mg_error *err) {
    mg_json   json = { 0 };
    mg_status st = mg_json_open(&json, path, CONFIG_BYTES, err);
    if (st) return st;
    yyjson_val *v = template_of_config(json.root);
    if (yyjson_is_str(v)) {
        size_t n = yyjson_get_len(v);
        st = set_template(b, mg_strndup(yyjson_get_str(v), n), n, mg_strdup(path), err);
    }
    mg_json_free(&json);
    return st;
}

static mg_status template_from_folder(mg_bundle *b, mg_error *err) {
    char *own = mg_path_join(b->path, "chat_template.jinja"),
         *config = mg_path_join(b->path, "tokenizer_config.json");
    mg_status st = MG_OK;
    if (!own || !config)
        st = no_memory(b->path, err);
    else if (mg_is_file(own))
        st = template_from_file(b, own, err);
    else if (mg_is_file(config))
        st = template_from_config(b, config, err);
    free(own);
    free(config);
    return st;
}

static mg_status template_from_gguf(mg_bundle *b, const mg_gguf *g, mg_error *err) {
    mg_gguf_string s;
    mg_buf         origin = { 0 };
    if (!mg_gguf_str(g, "tokenizer.chat_template", &s)) return MG_OK;
    mg_buf_printf(&origin, "tokenizer.chat_template of %s", b->path);
    return set_template(b, mg_strndup(s.data, s.len), s.len, origin.failed ? NULL : origin.data, err);
}

static mg_status template_by_family(mg_bundle *b, mg_error *err) {
    for (size_t i = 0; i < COUNT(families); i++)
        if (mg_tokenizer_id(b->tokenizer, families[i].begin) >= 0 &&
            mg_tokenizer_id(b->tokenizer, families[i].end) >= 0)
            return template_builtin(b, families[i].name, err);
    return MG_OK;
}

static mg_status find_template(mg_bundle *b, const mg_gguf *g, const char *given, mg_error *err) {
    if (given && !strcmp(given, "none")) return MG_OK;
    if (given && *given) return template_by_user(b, given, err);
    mg_status st = g ? template_from_gguf(b, g, err) : template_from_folder(b, err);
    return st || b->chat_template ? st : template_by_family(b, err);
}

/* ---- stop tokens ---- */

static bool add_stop(mg_bundle *b, int64_t id) {
    if (id < 0 || id >= mg_tokenizer_size(b->tokenizer)) return true;
    size_t at = 0;
    while (at < b->n_stop && b->stop[at] < id) at++;
    if (at < b->n_stop && b->stop[at] == id) return true;
    int32_t *grown = mg_realloc(b->stop, b->n_stop + 1, sizeof *grown);
    if (!grown) return false;
    memmove(grown + at + 1, grown + at, (b->n_stop - at) * sizeof *grown);
    grown[at] = (int32_t)id;
    b->stop = grown;
    b->n_stop++;
    return true;
}

/* Only a token that the tokenizer treats as a control token: text that spells one by chance ends nothing. */
static bool add_special(mg_bundle *b, const char *token) {
    int32_t id = mg_tokenizer_id(b->tokenizer, token);
    return id < 0 || !mg_tokenizer_is_special(b->tokenizer, id) || add_stop(b, id);
}

/* eos_token_id: a number, or a list of them. */
static mg_status stops_of_file(mg_bundle *b, const char *name, mg_error *err) {
    char     *path = mg_path_join(b->path, name);
    mg_json   json = { 0 };
    mg_status st = path ? MG_OK : no_memory(b->path, err);
    if (!st && mg_is_file(path)) {
        st = mg_json_open(&json, path, CONFIG_BYTES, err);
        yyjson_val *eos = st ? NULL : yyjson_obj_get(json.root, "eos_token_id"), *item;
        size_t      i, n;
        bool        ok = !yyjson_is_int(eos) || add_stop(b, yyjson_get_sint(eos));
        yyjson_arr_foreach(eos, i, n, item) ok =
            ok && (!yyjson_is_int(item) || add_stop(b, yyjson_get_sint(item)));
        if (!ok) st = no_memory(path, err);
    }
    mg_json_free(&json);
    free(path);
    return st;
}

static bool stops_of_gguf(mg_bundle *b, const mg_gguf *g) {
    static const char *const keys[] = { "tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                        "tokenizer.ggml.eom_token_id" };
    bool                     ok = true;
    int64_t                  id;
    for (size_t i = 0; i < COUNT(keys); i++)
        if (mg_gguf_int(g, keys[i], &id)) ok = ok && add_stop(b, id);
    return ok;
}

static mg_status find_stops(mg_bundle *b, const mg_gguf *g, mg_error *err) {
    mg_status st = MG_OK;
    bool      ok = add_stop(b, mg_tokenizer_eos(b->tokenizer));
    for (size_t i = 0; i < COUNT(families); i++) ok = ok && add_special(b, families[i].end);
    for (size_t i = 0; i < COUNT(other_ends); i++) ok = ok && add_special(b, other_ends[i]);
    if (g)
        ok = ok && stops_of_gguf(b, g);
    else {
        st = stops_of_file(b, "generation_config.json", err);
        if (!st) st = stops_of_file(b, "config.json", err);
    }
    return st || ok ? st : no_memory(b->path, err);
}

/* ---- the whole ---- */

static char *token_text(const mg_bundle *b, int32_t id) {
    size_t      n;
    const char *s = id < 0 ? NULL : mg_tokenizer_token(b->tokenizer, id, &n);
    return s ? mg_strndup(s, n) : NULL;
}

/* Tokenizer, template and stop tokens; `g` is the open GGUF file, NULL for a folder. */
static mg_status open_text(mg_bundle *b, const mg_gguf *g, const char *chat_template, mg_error *err) {
    mg_status st = g ? mg_gguf_tokenizer(&b->tokenizer, g, err) : mg_tokenizer_open(&b->tokenizer, b->path, err);
    if (!st) st = find_template(b, g, chat_template, err);
    if (!st) st = find_stops(b, g, err);
    if (st) return st;
    b->bos_text = token_text(b, mg_tokenizer_bos(b->tokenizer));
    b->eos_text = token_text(b, mg_tokenizer_eos(b->tokenizer));
    b->chat = (mg_chat){ b->tokenizer, b->chat_template, b->bos_text, b->eos_text };
    return MG_OK;
}

static mg_status start(mg_bundle *b, const char *name, mg_error *err) {
    *b = (mg_bundle){ 0 };
    return mg_bundle_find(&b->path, name, err);
}

mg_status mg_bundle_open(mg_bundle *out, const char *name, const mg_model_options *o, const char *chat_template,
                         mg_error *err) {
    mg_bundle b;
    mg_status st = start(&b, name, err);
    if (!st) st = mg_bundle_load(&b, o, err);
    if (!st) st = open_text(&b, mg_model_gguf(b.model), chat_template, err);
    if (st)
        mg_bundle_close(&b);
    else
        *out = b;
    return st;
}

mg_status mg_bundle_open_text(mg_bundle *out, const char *name, const char *chat_template, mg_error *err) {
    mg_bundle b;
    mg_gguf  *g = NULL;
    mg_status st = start(&b, name, err);
    if (!st && mg_is_file(b.path)) st = mg_gguf_open(&g, b.path, err);
    if (!st) st = open_text(&b, g, chat_template, err);
    mg_gguf_close(g);
    if (st)
        mg_bundle_close(&b);
    else
        *out = b;
    return st;
}

mg_status mg_bundle_load(mg_bundle *b, const mg_model_options *o, mg_error *err) {
    MG_ASSERT(!b->model);
    const mg_model_options defaults = { 0 };
    return mg_model_open(&b->model, b->path, o ? o : &defaults, err);
}

typedef struct { mg_tensor **w; size_t n, cap; bool failed; } weights;

static bool list_weight(mg_tensor *w, void *context) {
    weights *l = context;
    if (!MG_GROW(l->w, l->cap, l->n + 1)) return !(l->failed = true);
    l->w[l->n++] = w;
    return true;
}

/* The base's weights, and those of a model trained from it, which must be the same ones. */
static mg_status stand_in(mg_model *base, mg_model *whole, const char *folder, mg_error *err) {
    weights to = { 0 }, from = { 0 };
    mg_model_each_weight(base, list_weight, &to);
    mg_model_each_weight(whole, list_weight, &from);
    mg_status st = to.failed || from.failed ? no_memory(folder, err) : MG_OK;
    bool      same = to.n == from.n;
    for (size_t i = 0; !st && same && i < to.n; i++)
        same = !strcmp(to.w[i]->name, from.w[i]->name) && to.w[i]->rows == from.w[i]->rows && to.w[i]->cols == from.w[i]->cols;
    if (!st && !same)
        st = mg_fail(err, MG_MISMATCH, "%s: is no model that was trained from this base: their weights differ in number or shape; name its own base "
                     "with -m", folder);
    for (size_t i = 0; !st && i < to.n; i++) to.w[i]->instead = from.w[i];
    free(to.w);
    free(from.w);
    return st;
}

static mg_status adapt_whole(mg_bundle *b, const char *folder, const mg_backend *backend, mg_error *err) {
    const mg_model_options o = { .positions = 2 };
    mg_model  *whole = NULL;
    mg_status  st = mg_model_open(&whole, folder, &o, err);
    if (!st) st = mg_model_place(whole, backend, err);
    if (!st) st = stand_in(b->model, whole, folder, err);
    if (st)
        mg_model_close(whole);
    else
        b->whole = whole;
    return st;
}

static bool holds(const char *folder, const char *name) {
    char *path = mg_path_join(folder, name);
    bool  there = path && mg_is_file(path);
    free(path);
    return there;
}

mg_status mg_bundle_adapt(mg_bundle *b, const char *folder, const mg_backend *backend, mg_error *err) {
    MG_ASSERT(b->model && !mg_bundle_is_tuned(b));
    if (!holds(folder, "adapter_config.json") && holds(folder, "config.json")) return adapt_whole(b, folder, backend, err);
    mg_adapter_config c;
    mg_status         st = mg_adapter_read_config(&c, folder, err);
    if (!st) st = mg_heads_read(&b->heads, folder, &c, err);
    if (!st) mg_heads_configure(&b->heads, b->model, &c);
    if (!st) st = mg_adapter_attach(&b->adapter, &c, &b->model->net, &b->params, err);
    if (!st) st = mg_heads_attach(&b->heads, b->adapter, b->model, err);
    if (!st) st = mg_params_seal(&b->params, backend, err);
    if (!st) mg_heads_init(&b->heads, b->adapter, false);
    if (!st) st = mg_adapter_load(b->adapter, folder, err);
    if (st) {
        mg_heads_free(&b->heads);
        mg_adapter_detach(b->adapter, &b->model->net);
        mg_params_free(&b->params);
        b->adapter = NULL;
        b->params = (mg_params){ 0 };
    }
    return st;
}

bool mg_bundle_is_tuned(const mg_bundle *b) { return b->adapter || b->whole; }

void mg_bundle_close(mg_bundle *b) {
    if (b->adapter) mg_adapter_detach(b->adapter, &b->model->net);
    mg_params_free(&b->params);
    mg_heads_free(&b->heads);
    mg_model_close(b->model);
    mg_model_close(b->whole);
    mg_tokenizer_free(b->tokenizer);
    mg_template_free(b->chat_template);
    free(b->template_text);
    free(b->template_origin);
    free(b->bos_text);
    free(b->eos_text);
    free(b->stop);
    free(b->path);
    *b = (mg_bundle){ 0 };
}

bool mg_bundle_stops(const mg_bundle *b, int32_t id) {
    for (size_t i = 0; i < b->n_stop; i++)
        if (b->stop[i] == id) return true;
    return false;
}
