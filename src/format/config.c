/* config.c -- reading config.json and GGUF metadata into one description.
 *
 * Fields are looked up where either generation of Hugging Face's files keeps
 * them; what an architecture needs beyond these is a default in its own file
 * (mg_arch.adjust).  Everything is range-checked here, so that the loader can
 * multiply without fear. */
#include "format/config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    yyjson_val *top; /* the text part of the configuration */
    const char *name;
    mg_error   *err;
    mg_status   st; /* first trouble */
} reader;

static yyjson_val *get(const reader *r, const char *key) {
    yyjson_val *v = yyjson_obj_get(r->top, key);
    return yyjson_is_null(v) ? NULL : v;
}

static void trouble(reader *r, const char *key, const char *wanted) {
    if (!r->st) r->st = mg_fail(r->err, MG_FORMAT, "%s: '%s' must be %s", r->name, key, wanted);
}

static double number(reader *r, yyjson_val *v, const char *key, double otherwise) {
    if (!v || yyjson_is_null(v)) return otherwise;
    double x = yyjson_get_num(v);
    if (!yyjson_is_num(v) || !isfinite(x)) trouble(r, key, "a finite number");
    return x;
}

static int64_t integer(reader *r, const char *key, int64_t otherwise, int64_t low, int64_t high) {
    yyjson_val *v = get(r, key);
    if (!v) return otherwise;
    double x = yyjson_get_num(v);
    if (!yyjson_is_num(v) || !(x >= (double)low && x <= (double)high) || x != floor(x)) {
        char wanted[80];
        snprintf(wanted, sizeof wanted, "an integer from %lld to %lld", (long long)low, (long long)high);
        trouble(r, key, wanted);
        return otherwise;
    }
    return (int64_t)x;
}

static bool boolean(reader *r, const char *key, bool otherwise) {
    yyjson_val *v = get(r, key);
    if (!v) return otherwise;
    if (!yyjson_is_bool(v)) trouble(r, key, "true or false");
    return yyjson_get_bool(v);
}

static float *factors(reader *r, yyjson_val *list, const char *key, int64_t n) {
    if (!list) return NULL;
    if (!yyjson_is_arr(list) || (int64_t)yyjson_arr_size(list) != n) {
        trouble(r, key, "a list of half a head's width of numbers");
        return NULL;
    }
    float *out = mg_calloc((size_t)n, sizeof *out);
    for (int64_t i = 0; out && i < n; i++) {
        double x = number(r, yyjson_arr_get(list, (size_t)i), key, 1);
        if (!(x > 0)) trouble(r, key, "a list of positive numbers");
        out[i] = (float)x;
    }
    return out;
}

static const struct { const char *name; mg_rope_kind kind; } rope_kinds[] = {
    { "default", MG_ROPE_DEFAULT }, { "linear", MG_ROPE_LINEAR }, { "dynamic", MG_ROPE_DYNAMIC },
    { "llama3", MG_ROPE_LLAMA3 },   { "yarn", MG_ROPE_YARN },     { "longrope", MG_ROPE_LONGROPE },
    { "su", MG_ROPE_LONGROPE },     { "none", MG_ROPE_DEFAULT },
};

static void rope_kind(reader *r, const char *name, size_t len, mg_rope_config *out) {
    for (size_t i = 0; i < sizeof rope_kinds / sizeof *rope_kinds; i++)
        if (strlen(rope_kinds[i].name) == len && !memcmp(rope_kinds[i].name, name, len)) {
            out->kind = rope_kinds[i].kind;
            return;
        }
    if (!r->st) r->st = mg_fail(r->err, MG_UNSUPPORTED, "%s: rope type '%.*s' is not known here", r->name, (int)len, name);
}

/* One rope_parameters or rope_scaling object. */
static void rope_object(reader *r, yyjson_val *o, mg_rope_config *out, int64_t half) {
    if (!o || yyjson_is_null(o)) return;
    if (!yyjson_is_obj(o)) {
        trouble(r, "rope_scaling", "an object");
        return;
    }
    yyjson_val *type = yyjson_obj_get(o, "rope_type");
    if (!type) type = yyjson_obj_get(o, "type");
    if (yyjson_is_str(type)) rope_kind(r, yyjson_get_str(type), yyjson_get_len(type), out);
    const struct { const char *key; double *to; } numbers[] = {
        { "rope_theta", &out->theta }, { "factor", &out->factor }, { "low_freq_factor", &out->low_freq_factor },
        { "high_freq_factor", &out->high_freq_factor }, { "beta_fast", &out->beta_fast }, { "beta_slow", &out->beta_slow },
        { "attention_factor", &out->attention_factor }, { "mscale", &out->mscale },
        { "mscale_all_dim", &out->mscale_all_dim }, { "partial_rotary_factor", &out->partial },
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        *numbers[i].to = number(r, yyjson_obj_get(o, numbers[i].key), numbers[i].key, *numbers[i].to);
    out->original_positions =
        (int64_t)number(r, yyjson_obj_get(o, "original_max_position_embeddings"), "original_max_position_embeddings",
                        (double)out->original_positions);
    out->no_truncate = yyjson_is_false(yyjson_obj_get(o, "truncate"));
    if (out->kind == MG_ROPE_LONGROPE) {
        out->short_factor = factors(r, yyjson_obj_get(o, "short_factor"), "short_factor", half);
        out->long_factor = factors(r, yyjson_obj_get(o, "long_factor"), "long_factor", half);
        if (!out->short_factor || !out->long_factor) trouble(r, "short_factor", "given for a longrope model");
    }
    if (out->kind != MG_ROPE_DEFAULT && out->kind != MG_ROPE_LONGROPE && !(out->factor > 0))
        trouble(r, "factor", "a positive number for a scaled rope");
}

static void read_rope(reader *r, mg_config *c) {
    c->rope.theta = number(r, get(r, "rope_theta"), "rope_theta", 10000);
    c->rope.partial = number(r, get(r, "partial_rotary_factor"), "partial_rotary_factor", 1);
    c->rope.original_positions = integer(r, "original_max_position_embeddings", 0, 1, INT32_MAX);
    yyjson_val *parameters = get(r, "rope_parameters"), *local = yyjson_obj_get(parameters, "sliding_attention");
    yyjson_val *theta = get(r, "rope_local_base_freq");
    c->rope_local = c->rope;
    if (yyjson_is_obj(local)) {
        rope_object(r, yyjson_obj_get(parameters, "full_attention"), &c->rope, c->hd / 2);
        rope_object(r, local, &c->rope_local, c->hd / 2);
        c->has_local = true;
    } else {
        rope_object(r, parameters ? parameters : get(r, "rope_scaling"), &c->rope, c->hd / 2);
        if (theta) {
            c->rope_local.theta = number(r, theta, "rope_local_base_freq", 10000);
            c->has_local = true;
        }
    }
    if (!(c->rope.theta > 0) || !(c->rope_local.theta > 0)) trouble(r, "rope_theta", "positive");
    if (!(c->rope.partial > 0 && c->rope.partial <= 1)) trouble(r, "partial_rotary_factor", "above 0, at most 1");
    if (c->rope.original_positions <= 0) c->rope.original_positions = c->max_positions;
}

/* Which layers see only a window: layer_types, or the older pattern keys. */
static void read_windows(reader *r, mg_config *c) {
    c->window = integer(r, "sliding_window", 0, 0, INT32_MAX);
    if (!boolean(r, "use_sliding_window", true)) c->window = 0;
    yyjson_val *types = get(r, "layer_types");
    int64_t     pattern = integer(r, "sliding_window_pattern", 0, 0, 1000);
    if (!pattern) pattern = integer(r, "_sliding_window_pattern", 0, 0, 1000);
    int64_t first = integer(r, "max_window_layers", 0, 0, 1000000);
    if (types && (!yyjson_is_arr(types) || (int64_t)yyjson_arr_size(types) != c->layers)) {
        trouble(r, "layer_types", "a list with one entry a layer");
        return;
    }
    for (int64_t i = 0; i < c->layers; i++) {
        if (types)
            c->windowed[i] = yyjson_equals_str(yyjson_arr_get(types, (size_t)i), "sliding_attention");
        else if (pattern)
            c->windowed[i] = (i + 1) % pattern != 0;
        else
            c->windowed[i] = i >= first;
        c->windowed[i] = c->windowed[i] && c->window > 0;
    }
}

static void read_eos(reader *r, mg_config *c) {
    yyjson_val *eos = get(r, "eos_token_id");
    c->bos = (int32_t)integer(r, "bos_token_id", -1, -1, INT32_MAX);
    if (yyjson_is_int(eos)) c->eos[c->n_eos++] = (int32_t)yyjson_get_sint(eos);
    size_t      i, n;
    yyjson_val *v;
    yyjson_arr_foreach(eos, i, n, v) {
        if (c->n_eos == MG_CONFIG_EOS) break;
        c->eos[c->n_eos++] = (int32_t)yyjson_get_sint(v);
    }
}

static mg_status check(const mg_config *c, const char *name, mg_error *err) {
    const struct { const char *what; int64_t value, high; } sizes[] = {
        { "vocabulary", c->vocab, 1 << 24 }, { "width", c->dim, 1 << 20 },    { "layers", c->layers, MG_CONFIG_LAYERS },
        { "heads", c->heads, 4096 },         { "KV heads", c->kv_heads, 4096 }, { "head width", c->hd, 4096 },
        { "feed-forward width", c->ffn, 1 << 22 },
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].value < 1 || sizes[i].value > sizes[i].high)
            return mg_fail(err, MG_FORMAT, "%s: %s is %lld, allowed are 1 to %lld", name, sizes[i].what,
                           (long long)sizes[i].value, (long long)sizes[i].high);
    if (c->heads % c->kv_heads)
        return mg_fail(err, MG_FORMAT, "%s: %lld heads cannot share %lld KV heads evenly", name, (long long)c->heads,
                       (long long)c->kv_heads);
    if (c->hd % 2) return mg_fail(err, MG_FORMAT, "%s: the head width %lld is odd", name, (long long)c->hd);
    if (!(c->eps > 0 && c->eps < 1)) return mg_fail(err, MG_FORMAT, "%s: the norm's eps %g is out of range", name, c->eps);
    return MG_OK;
}

mg_status mg_config_from_json(mg_config *out, const mg_json *json, const char *name, mg_error *err) {
    mg_config   c = { .eps = 1e-6, .bos = -1 };
    yyjson_val *text = yyjson_obj_get(json->root, "text_config");
    reader      r = { text ? text : json->root, name, err, MG_OK };
    yyjson_val *type = get(&r, "model_type"), *act = get(&r, "hidden_activation");
    if (!yyjson_is_str(type)) return mg_fail(err, MG_FORMAT, "%s: has no 'model_type'", name);
    snprintf(c.arch, sizeof c.arch, "%s", yyjson_get_str(type));
    c.vocab = integer(&r, "vocab_size", 0, 1, 1 << 24);
    c.dim = integer(&r, "hidden_size", 0, 1, 1 << 20);
    c.layers = integer(&r, "num_hidden_layers", 0, 1, MG_CONFIG_LAYERS);
    c.heads = integer(&r, "num_attention_heads", 0, 1, 4096);
    c.kv_heads = integer(&r, "num_key_value_heads", c.heads, 1, 4096);
    c.hd = integer(&r, "head_dim", c.heads ? c.dim / c.heads : 0, 1, 4096);
    c.ffn = integer(&r, "intermediate_size", 0, 1, 1 << 22);
    c.max_positions = integer(&r, "max_position_embeddings", 2048, 1, INT32_MAX);
    c.eps = number(&r, get(&r, "rms_norm_eps"), "rms_norm_eps", c.eps);
    c.tied = boolean(&r, "tie_word_embeddings", boolean(&(reader){ json->root, name, err, MG_OK }, "tie_word_embeddings", false));
    c.attention_bias = boolean(&r, "attention_bias", false);
    c.mlp_bias = boolean(&r, "mlp_bias", false);
    c.query_scale = number(&r, get(&r, "query_pre_attn_scalar"), "query_pre_attn_scalar", 0);
    c.attention_softcap = number(&r, get(&r, "attn_logit_softcapping"), "attn_logit_softcapping", 0);
    c.final_softcap = number(&r, get(&r, "final_logit_softcapping"), "final_logit_softcapping", 0);
    if (!act) act = get(&r, "hidden_act");
    if (act && !yyjson_is_str(act)) trouble(&r, "hidden_act", "a string");
    snprintf(c.activation, sizeof c.activation, "%s", yyjson_is_str(act) ? yyjson_get_str(act) : "silu");
    if (!r.st) r.st = check(&c, name, err);
    if (!r.st) read_rope(&r, &c);
    if (!r.st) read_windows(&r, &c);
    if (!r.st) read_eos(&r, &c);
    if (r.st)
        mg_config_free(&c);
    else
        *out = c;
    return r.st;
}

/* ---- GGUF ---- */

static int64_t gguf_int(const mg_gguf *g, const mg_config *c, const char *key, int64_t otherwise) {
    char    full[128];
    int64_t v;
    snprintf(full, sizeof full, "%s.%s", c->arch, key);
    const mg_gguf_value *value = mg_gguf_find(g, full);
    if (value && value->kind == MG_GGUF_ARRAY && value->count) return mg_gguf_item_int(value, 0);
    return mg_gguf_int(g, full, &v) ? v : otherwise;
}

static double gguf_float(const mg_gguf *g, const mg_config *c, const char *key, double otherwise) {
    char   full[128];
    double v;
    snprintf(full, sizeof full, "%s.%s", c->arch, key);
    return mg_gguf_float(g, full, &v) && isfinite(v) ? v : otherwise;
}

static mg_status gguf_rope(mg_config *c, const mg_gguf *g, mg_error *err) {
    char           key[128];
    mg_gguf_string kind;
    reader         r = { NULL, g->path, err, MG_OK };
    c->rope = (mg_rope_config){ .theta = gguf_float(g, c, "rope.freq_base", 10000), .partial = 1 };
    c->rope.factor = gguf_float(g, c, "rope.scaling.factor", gguf_float(g, c, "rope.scale_linear", 0));
    c->rope.original_positions = gguf_int(g, c, "rope.scaling.original_context_length", c->max_positions);
    c->rope.attention_factor = gguf_float(g, c, "rope.scaling.attn_factor", 0);
    c->rope.partial = (double)gguf_int(g, c, "rope.dimension_count", c->hd) / (double)c->hd;
    if (!(c->rope.partial > 0 && c->rope.partial <= 1) || !(c->rope.theta > 0))
        return mg_fail(err, MG_FORMAT, "%s: rope.dimension_count or rope.freq_base is out of range", g->path);
    snprintf(key, sizeof key, "%s.rope.scaling.type", c->arch);
    if (mg_gguf_str(g, key, &kind))
        rope_kind(&r, kind.data, kind.len, &c->rope);
    else if (c->rope.factor > 0 && c->rope.factor != 1)
        c->rope.kind = MG_ROPE_LINEAR;
    c->rope_local = (mg_rope_config){ .theta = gguf_float(g, c, "rope.freq_base_swa", 10000), .partial = c->rope.partial };
    const mg_gguf_tensor *divisor = mg_gguf_find_tensor(g, "rope_freqs.weight");
    if (divisor && strcmp(divisor->format->name, "f32") == 0 && divisor->dims[0] == c->hd / 2)
        c->rope.frequency_divisor = (float *)divisor->data;
    return r.st;
}

mg_status mg_config_from_gguf(mg_config *out, const mg_gguf *g, mg_error *err) {
    mg_config      c = { .bos = -1, .activation = "silu" };
    mg_gguf_string arch;
    int64_t        id;
    if (!mg_gguf_str(g, "general.architecture", &arch) || arch.len >= sizeof c.arch)
        return mg_fail(err, MG_FORMAT, "%s: has no general.architecture", g->path);
    memcpy(c.arch, arch.data, arch.len);
    const mg_gguf_tensor *embed = mg_gguf_find_tensor(g, "token_embd.weight");
    if (!embed) return mg_fail(err, MG_FORMAT, "%s: has no token_embd.weight: is it a whole model?", g->path);
    c.vocab = embed->dims[1];
    c.dim = gguf_int(g, &c, "embedding_length", 0);
    c.layers = gguf_int(g, &c, "block_count", 0);
    c.heads = gguf_int(g, &c, "attention.head_count", 0);
    c.kv_heads = gguf_int(g, &c, "attention.head_count_kv", c.heads);
    c.hd = gguf_int(g, &c, "attention.key_length", c.heads > 0 ? c.dim / c.heads : 0);
    c.ffn = gguf_int(g, &c, "feed_forward_length", 0);
    c.max_positions = gguf_int(g, &c, "context_length", 2048);
    c.eps = gguf_float(g, &c, "attention.layer_norm_rms_epsilon", 1e-6);
    c.window = gguf_int(g, &c, "attention.sliding_window", 0);
    c.attention_softcap = gguf_float(g, &c, "attn_logit_softcapping", 0);
    c.final_softcap = gguf_float(g, &c, "final_logit_softcapping", 0);
    c.tied = !mg_gguf_find_tensor(g, "output.weight");
    if (mg_gguf_int(g, "tokenizer.ggml.bos_token_id", &id)) c.bos = (int32_t)id;
    if (mg_gguf_int(g, "tokenizer.ggml.eos_token_id", &id)) c.eos[c.n_eos++] = (int32_t)id;
    if (mg_gguf_int(g, "tokenizer.ggml.eot_token_id", &id) && (!c.n_eos || c.eos[0] != id)) c.eos[c.n_eos++] = (int32_t)id;
    mg_status st = check(&c, g->path, err);
    if (!st) st = gguf_rope(&c, g, err);
    for (int64_t i = 0; !st && i < c.layers; i++) c.windowed[i] = c.window > 0;
    if (!st) *out = c;
    return st;
}

void mg_config_free(mg_config *c) {
    free(c->rope.short_factor);
    free(c->rope.long_factor);
    if (c->has_local && c->rope_local.short_factor != c->rope.short_factor) {
        free(c->rope_local.short_factor);
        free(c->rope_local.long_factor);
    }
    *c = (mg_config){ 0 };
}
