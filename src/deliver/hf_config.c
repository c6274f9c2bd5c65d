/* hf_config.c -- config.json as transformers reads it.
 *
 * A source folder's own file is taken over with the new number type; what described how its weights were packed is
 * dropped.  From GGUF the keys are written in the older generation (rope_theta, rope_scaling, torch_dtype), which
 * transformers 4 and 5 both read. */
#include "deliver/hf.h"
#include "deliver/gguf_meta.h"

#include "base/file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static mg_status save(const char *folder, const char *name, const char *text, size_t n, mg_error *err) {
    char     *path = mg_path_join(folder, name);
    mg_status st = path ? mg_replace_file(path, text, n, err) : mg_fail(err, MG_NOMEM, "%s: no memory", folder);
    free(path);
    return st;
}

/* ---- from a folder ---- */

static void set_dtype(yyjson_mut_doc *doc, yyjson_mut_val *o, const char *dtype) {
    static const char *const keys[] = { "dtype", "torch_dtype" };
    if (!o) return;
    yyjson_mut_obj_remove_key(o, "quantization_config");
    for (size_t i = 0; i < 2; i++)
        if (yyjson_mut_obj_get(o, keys[i])) {
            yyjson_mut_obj_remove_key(o, keys[i]);
            yyjson_mut_obj_add_strcpy(doc, o, keys[i], dtype);
        }
}

static mg_status take_over(const mg_bundle *b, const char *folder, const char *dtype, mg_error *err) {
    mg_json         json = { 0 };
    char           *path = mg_path_join(b->path, "config.json"), *text = NULL;
    size_t          n = 0;
    mg_status       st = path ? mg_json_open(&json, path, 16 << 20, err) : mg_fail(err, MG_NOMEM, "%s: no memory", folder);
    yyjson_mut_doc *doc = st ? NULL : yyjson_doc_mut_copy(json.doc, NULL);
    if (doc) {
        yyjson_mut_val *root = yyjson_mut_doc_get_root(doc), *inner = yyjson_mut_obj_get(root, "text_config");
        set_dtype(doc, root, dtype);
        set_dtype(doc, inner, dtype);
        if (!yyjson_mut_obj_get(root, "dtype") && !yyjson_mut_obj_get(root, "torch_dtype"))
            yyjson_mut_obj_add_strcpy(doc, root, "torch_dtype", dtype);
        text = yyjson_mut_write(doc, YYJSON_WRITE_PRETTY_TWO_SPACES | YYJSON_WRITE_NEWLINE_AT_END, &n);
    }
    if (!st) st = text ? save(folder, "config.json", text, n, err) : mg_fail(err, MG_NOMEM, "%s: no memory", folder);
    free(text);
    yyjson_mut_doc_free(doc);
    mg_json_free(&json);
    free(path);
    return st;
}

/* ---- from GGUF ---- */

/* The shortest decimal that reads back as the float the file holds. */
static void put_number(mg_buf *b, const char *key, double v) {
    char text[40];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if ((float)strtod(text, NULL) == (float)v) break;
    }
    mg_buf_printf(b, ",\n  \"%s\": %s%s", key, text, strpbrk(text, ".e") ? "" : ".0");
}

static void put_int(mg_buf *b, const char *key, int64_t v) { mg_buf_printf(b, ",\n  \"%s\": %lld", key, (long long)v); }
static void put_bool(mg_buf *b, const char *key, bool v) { mg_buf_printf(b, ",\n  \"%s\": %s", key, v ? "true" : "false"); }

/* transformers 5 refuses 256.0 where its class says int. */
static void put_scale(mg_buf *b, double v) {
    if (v == floor(v))
        put_int(b, "query_pre_attn_scalar", (int64_t)v);
    else
        put_number(b, "query_pre_attn_scalar", v);
}

static void put_text(mg_buf *b, const char *key, const char *s) {
    mg_buf_printf(b, ",\n  \"%s\": ", key);
    mg_json_quote(b, s, strlen(s));
}

/* null is said, too: what is left out gets the class's default, which may be an id that this vocabulary has not. */
static void put_id(mg_buf *b, const char *key, int32_t id) {
    if (id >= 0)
        put_int(b, key, id);
    else
        mg_buf_printf(b, ",\n  \"%s\": null", key);
}

static void put_ids(mg_buf *b, const mg_bundle *bundle) {
    const mg_config *c = &bundle->model->c;
    put_id(b, "bos_token_id", c->bos);
    put_id(b, "eos_token_id", c->n_eos ? c->eos[0] : -1);
    put_id(b, "pad_token_id", mg_tokenizer_pad(bundle->tokenizer));
}

/* GGUF keeps the factors of Llama 3's rope and not the four numbers they are made of.  Low and high are 1 and 4 in every
 * published model, the factor is the largest divisor; the original length is a power of two, and must give these factors. */
static bool find_llama3(const mg_config *c, mg_rope_config *out) {
    float made[2048];
    if (c->hd / 2 > (int64_t)(sizeof made / sizeof *made)) return false;
    *out = (mg_rope_config){ .kind = MG_ROPE_LLAMA3, .theta = c->rope.theta, .factor = 1, .low_freq_factor = 1, .high_freq_factor = 4, .partial = 1 };
    for (int64_t i = 0; i < c->hd / 2; i++) out->factor = fmax(out->factor, (double)c->rope.frequency_divisor[i]);
    for (int64_t length = 16; length <= 1 << 20; length *= 2) {
        int64_t equal = 0;
        out->original_positions = length;
        mg_llama3_divisors(out, c->hd, made);
        while (equal < c->hd / 2 && fabsf(made[equal] - c->rope.frequency_divisor[equal]) <= 1e-4f * made[equal]) equal++;
        if (equal == c->hd / 2) return true;
    }
    return false;
}

static void put_factors(mg_buf *b, const char *key, const float *v, int64_t n) {
    mg_buf_printf(b, ", \"%s\": [", key);
    for (int64_t i = 0; i < n; i++) mg_buf_printf(b, "%s%.9g", i ? ", " : "", (double)v[i]);
    mg_buf_char(b, ']');
}

static mg_status put_rope(mg_buf *b, const mg_config *c, const char *path, mg_error *err) {
    mg_rope_config r = c->rope;
    put_number(b, "rope_theta", r.theta);
    if (r.partial != 1) put_number(b, "partial_rotary_factor", r.partial);
    if (c->has_local) put_number(b, "rope_local_base_freq", c->rope_local.theta);
    if (r.frequency_divisor && !find_llama3(c, &r))
        return mg_fail(err, MG_UNSUPPORTED, "%s: its rope_freqs.weight is none of Llama 3's, and config.json cannot hold the factors themselves", path);
    if (r.kind == MG_ROPE_DEFAULT) return MG_OK;
    if (r.kind == MG_ROPE_LONGROPE) {
        int64_t half = (int64_t)((double)c->hd * r.partial) / 2;
        put_int(b, "original_max_position_embeddings", r.original_positions);
        mg_buf_str(b, ",\n  \"rope_scaling\": {\"type\": \"longrope\", \"rope_type\": \"longrope\"");
        put_factors(b, "short_factor", r.short_factor, half);
        put_factors(b, "long_factor", r.long_factor, half);
        mg_buf_char(b, '}');
        return MG_OK;
    }
    if (r.kind != MG_ROPE_LINEAR && r.kind != MG_ROPE_YARN && r.kind != MG_ROPE_LLAMA3)
        return mg_fail(err, MG_UNSUPPORTED, "%s: its rope scales in a way that cannot be written to config.json", path);
    const char *name = r.kind == MG_ROPE_LINEAR ? "linear" : r.kind == MG_ROPE_YARN ? "yarn" : "llama3";
    mg_buf_printf(b, ",\n  \"rope_scaling\": {\"rope_type\": \"%s\", \"factor\": %.9g", name, r.factor);
    if (r.kind != MG_ROPE_LINEAR) mg_buf_printf(b, ", \"original_max_position_embeddings\": %lld", (long long)r.original_positions);
    if (r.kind == MG_ROPE_LLAMA3)
        mg_buf_printf(b, ", \"low_freq_factor\": %.9g, \"high_freq_factor\": %.9g", r.low_freq_factor, r.high_freq_factor);
    if (r.attention_factor > 0) mg_buf_printf(b, ", \"attention_factor\": %.9g", r.attention_factor);
    mg_buf_char(b, '}');
    return MG_OK;
}

static void put_windows(mg_buf *b, const mg_config *c) {
    bool any = false;
    for (int64_t i = 0; i < c->layers; i++) any |= c->windowed[i];
    if (!any) return;
    put_int(b, "sliding_window", c->window);
    put_bool(b, "use_sliding_window", true);
    mg_buf_str(b, ",\n  \"layer_types\": [");
    for (int64_t i = 0; i < c->layers; i++)
        mg_buf_printf(b, "%s\"%s\"", i ? ", " : "", c->windowed[i] ? "sliding_attention" : "full_attention");
    mg_buf_char(b, ']');
}

static void put_cap(mg_buf *b, const char *key, double v) {
    if (v > 0)
        put_number(b, key, v);
    else
        mg_buf_printf(b, ",\n  \"%s\": null", key);
}

/* Gemma 2 and 3 scale and cap their scores.  All is said: what is left out gets a number of the class, not the head
 * width that GGUF implies, and Gemma 2's has caps. */
static void put_scores(mg_buf *b, const mg_model *m) {
    const mg_config *c = &m->c;
    if (!m->layer[0].post_attn_norm.g) return;
    put_scale(b, c->query_scale > 0 ? c->query_scale : (double)c->hd);
    put_cap(b, "attn_logit_softcapping", c->attention_softcap);
    put_cap(b, "final_logit_softcapping", c->final_softcap);
}

/* What the classes with layer norms call things: GPT-2 its sizes, too. */
static void put_older_names(mg_buf *b, const mg_model *m) {
    const mg_config *c = &m->c;
    if (!m->layer[0].attn_norm.b) return;
    put_number(b, "layer_norm_eps", c->eps);
    put_number(b, "layer_norm_epsilon", c->eps);
    if (!m->position) {
        put_number(b, "rotary_pct", c->rope.partial);
        put_bool(b, "use_parallel_residual", !c->serial_residual);
        return;
    }
    put_int(b, "n_embd", c->dim);
    put_int(b, "n_layer", c->layers);
    put_int(b, "n_head", c->heads);
    put_int(b, "n_positions", c->max_positions);
    put_int(b, "n_inner", c->ffn);
    put_text(b, "activation_function", c->activation);
}

static bool has_bias(const mg_linear *l) { return l->w && l->bias; }

static mg_status make(const mg_bundle *bundle, const char *folder, const char *dtype, mg_error *err) {
    const mg_model  *m = bundle->model;
    const mg_config *c = &m->c;
    mg_buf           b = { 0 };
    mg_buf_printf(&b, "{\n  \"architectures\": [\"%s\"]", m->arch->hf_class);
    put_text(&b, "model_type", m->arch->hf_types[0]);
    put_text(&b, "torch_dtype", dtype);
    put_int(&b, "vocab_size", c->vocab);
    put_int(&b, "hidden_size", c->dim);
    put_int(&b, "intermediate_size", c->ffn);
    put_int(&b, "num_hidden_layers", c->layers);
    put_int(&b, "num_attention_heads", c->heads);
    put_int(&b, "num_key_value_heads", c->kv_heads);
    put_int(&b, "head_dim", c->hd);
    put_int(&b, "max_position_embeddings", c->max_positions);
    put_text(&b, "hidden_act", c->activation);
    put_text(&b, "hidden_activation", c->activation);
    put_number(&b, "rms_norm_eps", c->eps);
    put_bool(&b, "tie_word_embeddings", c->tied);
    put_bool(&b, "attention_bias", has_bias(&m->layer[0].o));
    put_bool(&b, "mlp_bias", has_bias(&m->layer[0].down));
    put_scores(&b, m);
    put_older_names(&b, m);
    put_windows(&b, c);
    put_ids(&b, bundle);
    mg_status st = m->position ? MG_OK : put_rope(&b, c, bundle->path, err);
    mg_buf_str(&b, "\n}\n");
    if (!st) st = b.failed ? mg_fail(err, MG_NOMEM, "%s: no memory", folder) : save(folder, "config.json", b.data, b.len, err);
    mg_buf_free(&b);
    return st;
}

mg_status mg_hf_write_config(const mg_bundle *b, const char *folder, const char *dtype, mg_error *err) {
    return mg_model_gguf(b->model) ? make(b, folder, dtype, err) : take_over(b, folder, dtype, err);
}
