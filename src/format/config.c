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

/* `key` may name alternatives, "hidden_size|n_embd".  null counts as absent. */
static yyjson_val *get(const reader *r, const char *key) {
    for (const char *p = key;; p++) {
        size_t      n = strcspn(p, "|");
        yyjson_val *v = yyjson_obj_getn(r->top, p, n);
        if (v && !yyjson_is_null(v)) return v;
        p += n;
        if (!*p) return NULL;
    }
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
        trouble(r, key, "a list of numbers, one for every two columns that turn");
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

/* What transformers 5 takes when config.json leaves a key out, where it is not the rule (0: the rule). */
typedef struct {
    const char *type;
    int64_t     vocab, heads, kv_heads, hd, positions, window;
    bool        window_off; /* use_sliding_window must be said */
    bool        tied;
    double      eps, theta, local_theta, partial, query_scale, attention_softcap, final_softcap;
} class_defaults;

static const class_defaults classes[] = {
    { .type = "mistral", .kv_heads = 8, .positions = 131072, .window = 4096 },
    { .type = "qwen2", .positions = 32768, .window_off = true, .window = 4096 },
    { .type = "qwen3", .positions = 32768, .window_off = true, .window = 4096, .hd = 128 },
    { .type = "phi3", .positions = 4096, .eps = 1e-5 },
    { .type = "gemma", .vocab = 256000, .heads = 16, .kv_heads = 16, .hd = 256, .positions = 8192, .tied = true },
    { .type = "gemma2", .vocab = 256000, .heads = 8, .kv_heads = 4, .hd = 256, .positions = 8192, .window = 4096, .tied = true,
      .query_scale = 256, .attention_softcap = 50, .final_softcap = 30 },
    { .type = "gemma3_text", .vocab = 262208, .heads = 8, .kv_heads = 4, .hd = 256, .positions = 131072, .window = 4096,
      .tied = true, .query_scale = 256, .theta = 1e6, .local_theta = 1e4 },
    { .type = "gpt2", .vocab = 50257, .positions = 1024, .eps = 1e-5, .tied = true },
    { .type = "gpt_neox", .positions = 2048, .eps = 1e-5, .partial = 0.25 },
    { .type = "bert", .vocab = 30522, .positions = 512, .eps = 1e-12, .tied = true },
    { .type = NULL },
};

static const class_defaults *class_of(const char *type) {
    const class_defaults *d = classes;
    while (d->type && strcmp(d->type, type)) d++;
    return d;
}

/* Keys whose presence with another value means that something else is computed. */
static const struct { const char *key, *harmless; } foreign[] = {
    { "position_embedding_type", "absolute" },
    { "add_cross_attention", "false" },
    { "is_decoder", "false" },
    { "scale_attn_by_inverse_layer_idx", "false" },
    { "scale_attn_weights", "true" },
    { "use_bidirectional_attention", "false" },
    { "alibi", "false" },
};

static bool says(yyjson_val *v, const char *text) {
    if (yyjson_is_bool(v)) return !strcmp(text, yyjson_get_bool(v) ? "true" : "false");
    if (yyjson_is_num(v)) return !strcmp(text, "0") && yyjson_get_num(v) == 0;
    return yyjson_equals_str(v, text);
}

static void refuse_foreign(reader *r, mg_config *c) {
    yyjson_val *packed = get(r, "quantization_config"), *method = yyjson_obj_get(packed, "quant_method");
    if (packed && yyjson_equals_str(method, "bitsandbytes")) {
        yyjson_val *threshold = yyjson_obj_get(packed, "llm_int8_threshold");
        c->int8_threshold = yyjson_is_num(threshold) ? yyjson_get_num(threshold) : 6;
    } else if (packed && !r->st)
        r->st = mg_fail(r->err, MG_UNSUPPORTED,
                        "%s: quantization_config: the weights are packed by '%.40s', which is not read here; give the plain model "
                        "(load_in_4bit packs it while loading) or a GGUF file",
                        r->name, yyjson_is_str(method) ? yyjson_get_str(method) : "?");
    if (get(r, "num_local_experts|num_experts|n_routed_experts|moe_num_experts") && !r->st)
        r->st = mg_fail(r->err, MG_UNSUPPORTED, "%s: this model is a mixture of experts; that is not computed here", r->name);
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        yyjson_val *v = get(r, foreign[i].key);
        if (v && !says(v, foreign[i].harmless) && !r->st)
            r->st = mg_fail(r->err, MG_UNSUPPORTED, "%s: '%s' changes what the model computes, and only '%s' is known here", r->name,
                            foreign[i].key, foreign[i].harmless);
    }
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
    if (!r->st) r->st = mg_fail(r->err, MG_UNSUPPORTED, "%s: rope type '%.*s' is not known here (known: default, linear, dynamic, llama3, yarn, longrope)", r->name,
                              (int)len, name);
}

/* One rope_parameters or rope_scaling object. */
static void rope_object(reader *r, yyjson_val *o, mg_rope_config *out, int64_t hd) {
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
    if (!(out->partial > 0 && out->partial <= 1)) {
        trouble(r, "partial_rotary_factor", "above 0, at most 1");
        return;
    }
    if (out->kind == MG_ROPE_LONGROPE) {
        int64_t half = (int64_t)((double)hd * out->partial) / 2;
        out->short_factor = factors(r, yyjson_obj_get(o, "short_factor"), "short_factor", half);
        out->long_factor = factors(r, yyjson_obj_get(o, "long_factor"), "long_factor", half);
        if (!out->short_factor || !out->long_factor) trouble(r, "short_factor", "given for a longrope model");
    }
    if (out->kind != MG_ROPE_DEFAULT && out->kind != MG_ROPE_LONGROPE && !(out->factor > 0))
        trouble(r, "factor", "a positive number for a scaled rope");
}

static void read_rope(reader *r, mg_config *c, const class_defaults *d) {
    c->rope.theta = number(r, get(r, "rope_theta|rotary_emb_base"), "rope_theta", d->theta > 0 ? d->theta : 10000);
    c->rope.partial = number(r, get(r, "partial_rotary_factor|rotary_pct"), "partial_rotary_factor", d->partial > 0 ? d->partial : 1);
    c->rope.original_positions = integer(r, "original_max_position_embeddings", 0, 1, INT32_MAX);
    yyjson_val *parameters = get(r, "rope_parameters"), *local = yyjson_obj_get(parameters, "sliding_attention");
    yyjson_val *theta = get(r, "rope_local_base_freq");
    c->rope_local = c->rope;
    if (yyjson_is_obj(local)) {
        rope_object(r, yyjson_obj_get(parameters, "full_attention"), &c->rope, c->hd);
        rope_object(r, local, &c->rope_local, c->hd);
        c->has_local = true;
    } else {
        rope_object(r, parameters ? parameters : get(r, "rope_scaling"), &c->rope, c->hd);
        if (theta || d->local_theta > 0) {
            c->rope_local.theta = number(r, theta, "rope_local_base_freq", d->local_theta);
            c->has_local = true;
        }
    }
    if (!(c->rope.theta > 0) || !(c->rope_local.theta > 0)) trouble(r, "rope_theta", "positive");
    if (!(c->rope.partial > 0 && c->rope.partial <= 1) || !(c->rope_local.partial > 0 && c->rope_local.partial <= 1))
        trouble(r, "partial_rotary_factor", "above 0, at most 1");
    if (c->rope.original_positions <= 0) c->rope.original_positions = c->max_positions;
}

static bool known_layer_type(yyjson_val *v) {
    return yyjson_equals_str(v, "full_attention") || yyjson_equals_str(v, "sliding_attention");
}

/* Which layers see only a window: layer_types, or the older pattern keys. */
static void read_windows(reader *r, mg_config *c, const class_defaults *d) {
    c->window = integer(r, "sliding_window", yyjson_obj_get(r->top, "sliding_window") ? 0 : d->window, 0, INT32_MAX);
    if (!boolean(r, "use_sliding_window", !d->window_off)) c->window = 0;
    yyjson_val *types = get(r, "layer_types");
    int64_t     pattern = integer(r, "sliding_window_pattern|_sliding_window_pattern", 0, 0, 1000);
    int64_t     first = integer(r, "max_window_layers", 0, 0, 1000000);
    if (types && (!yyjson_is_arr(types) || (int64_t)yyjson_arr_size(types) != c->layers)) {
        trouble(r, "layer_types", "a list with one entry a layer");
        return;
    }
    c->windows_given = types || pattern;
    for (int64_t i = 0; i < c->layers; i++) {
        yyjson_val *type = yyjson_arr_get(types, (size_t)i);
        if (types && !known_layer_type(type) && !r->st)
            r->st = mg_fail(r->err, MG_UNSUPPORTED, "%s: layer_types: layers of the kind '%.40s' are not known here", r->name,
                            yyjson_is_str(type) ? yyjson_get_str(type) : "?");
        if (types)
            c->windowed[i] = yyjson_equals_str(type, "sliding_attention");
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

/* Labels of a model whose class is ...ForSequenceClassification; 2 is transformers' default. */
static void read_labels(reader *r, yyjson_val *root, mg_config *c) {
    static const char suffix[] = "ForSequenceClassification";
    yyjson_val       *class_name = yyjson_arr_get_first(yyjson_obj_get(root, "architectures"));
    size_t            n = yyjson_get_len(class_name), len = sizeof suffix - 1;
    if (!yyjson_is_str(class_name) || n < len || memcmp(yyjson_get_str(class_name) + n - len, suffix, len) != 0) return;
    yyjson_val *names = get(r, "id2label");
    c->labels = yyjson_is_obj(names) ? (int64_t)yyjson_obj_size(names) : integer(r, "num_labels", 2, 1, 1 << 20);
    if (c->labels < 1) trouble(r, "id2label", "an object with an entry a label");
}

static void read_sizes(reader *r, mg_config *c, const class_defaults *d) {
    c->vocab = integer(r, "vocab_size", d->vocab, 1, 1 << 24);
    c->dim = integer(r, "hidden_size|n_embd", 0, 1, 1 << 20);
    c->layers = integer(r, "num_hidden_layers|n_layer", 0, 1, MG_CONFIG_LAYERS);
    c->heads = integer(r, "num_attention_heads|n_head", d->heads, 1, 4096);
    c->kv_heads = integer(r, "num_key_value_heads", d->kv_heads ? d->kv_heads : c->heads, 1, 4096);
    c->hd = integer(r, "head_dim", d->hd ? d->hd : c->heads ? c->dim / c->heads : 0, 1, 4096);
    c->ffn = integer(r, "intermediate_size|n_inner", get(r, "n_embd") ? 4 * c->dim : 0, 1, 1 << 22);
    c->max_positions = integer(r, "max_position_embeddings|n_positions", d->positions ? d->positions : 2048, 1, INT32_MAX);
    c->types = integer(r, "type_vocab_size", 0, 0, 1 << 20);
}

/* A softcap: absent is the class's, null is none. */
static double cap(reader *r, const char *key, double otherwise) {
    double x = number(r, get(r, key), key, yyjson_obj_get(r->top, key) ? 0 : otherwise);
    if (x < 0) trouble(r, key, "positive or null");
    return x;
}

mg_status mg_config_from_json(mg_config *out, const mg_json *json, const char *name, mg_error *err) {
    mg_config   c = { .bos = -1 };
    yyjson_val *text = yyjson_obj_get(json->root, "text_config");
    reader      r = { text ? text : json->root, name, err, MG_OK };
    yyjson_val *type = get(&r, "model_type"), *act = get(&r, "hidden_activation|hidden_act|activation_function");
    if (!yyjson_is_str(type)) return mg_fail(err, MG_FORMAT, "%s: has no 'model_type'", name);
    snprintf(c.arch, sizeof c.arch, "%s", yyjson_get_str(type));
    const class_defaults *d = class_of(c.arch);
    read_sizes(&r, &c, d);
    c.eps = number(&r, get(&r, "rms_norm_eps|layer_norm_eps|layer_norm_epsilon"), "rms_norm_eps", d->eps > 0 ? d->eps : 1e-6);
    c.tied = boolean(&r, "tie_word_embeddings", boolean(&(reader){ json->root, name, err, MG_OK }, "tie_word_embeddings", d->tied));
    c.attention_bias = boolean(&r, "attention_bias", false);
    c.mlp_bias = boolean(&r, "mlp_bias", false);
    c.serial_residual = !boolean(&r, "use_parallel_residual", true);
    c.query_scale = number(&r, get(&r, "query_pre_attn_scalar"), "query_pre_attn_scalar", d->query_scale);
    c.attention_softcap = cap(&r, "attn_logit_softcapping", d->attention_softcap);
    c.final_softcap = cap(&r, "final_logit_softcapping", d->final_softcap);
    if (act && !yyjson_is_str(act)) trouble(&r, "hidden_act", "a string");
    snprintf(c.activation, sizeof c.activation, "%s", yyjson_is_str(act) ? yyjson_get_str(act) : "");
    refuse_foreign(&r, &c);
    if (!r.st) r.st = check(&c, name, err);
    if (!r.st) read_rope(&r, &c, d);
    if (!r.st) read_windows(&r, &c, d);
    if (!r.st) read_eos(&r, &c);
    if (!r.st) read_labels(&r, json->root, &c);
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

/* longrope's factors are tensors; without them it is another rope. */
static mg_status gguf_longrope(mg_config *c, const mg_gguf *g, mg_error *err) {
    const mg_gguf_tensor *from[] = { mg_gguf_find_tensor(g, "rope_factors_short.weight"), mg_gguf_find_tensor(g, "rope_factors_long.weight") };
    float               **to[] = { &c->rope.short_factor, &c->rope.long_factor };
    int64_t               half = (int64_t)((double)c->hd * c->rope.partial) / 2;
    if (!from[0] && !from[1]) return MG_OK;
    for (int i = 0; i < 2; i++) {
        if (!from[i] || from[i]->format != &mg_format_f32 || from[i]->dims[0] != half)
            return mg_fail(err, MG_FORMAT, "%s: rope_factors_short and rope_factors_long must be %lld numbers each", g->path,
                           (long long)half);
        *to[i] = mg_calloc((size_t)half, sizeof **to[i]);
        if (!*to[i]) return mg_fail(err, MG_NOMEM, "%s: no memory", g->path);
        memcpy(*to[i], from[i]->data, (size_t)half * sizeof **to[i]);
        for (int64_t k = 0; k < half; k++)
            if (!((*to[i])[k] > 0)) return mg_fail(err, MG_FORMAT, "%s: '%s' holds a number that is not positive", g->path, from[i]->name);
    }
    c->rope.kind = MG_ROPE_LONGROPE;
    return MG_OK;
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
    if (!r.st) r.st = gguf_longrope(c, g, err);
    const mg_gguf_tensor *divisor = mg_gguf_find_tensor(g, "rope_freqs.weight");
    if (divisor && divisor->format == &mg_format_f32 && divisor->dims[0] == c->hd / 2)
        c->rope.frequency_divisor = (float *)divisor->data;
    return r.st;
}

mg_status mg_config_from_gguf(mg_config *out, const mg_gguf *g, mg_error *err) {
    mg_config      c = { .bos = -1 };
    mg_gguf_string arch;
    int64_t        id;
    if (!mg_gguf_str(g, "general.architecture", &arch) || arch.len >= sizeof c.arch)
        return mg_fail(err, MG_FORMAT, "%s: has no general.architecture", g->path);
    memcpy(c.arch, arch.data, arch.len);
    const mg_gguf_tensor *embed = mg_gguf_find_tensor(g, "token_embd.weight"), *types = mg_gguf_find_tensor(g, "token_types.weight");
    if (!embed) return mg_fail(err, MG_FORMAT, "%s: has no token_embd.weight: is it a whole model?", g->path);
    c.vocab = embed->dims[1];
    c.types = types ? types->dims[1] : 0;
    c.dim = gguf_int(g, &c, "embedding_length", 0);
    c.layers = gguf_int(g, &c, "block_count", 0);
    c.heads = gguf_int(g, &c, "attention.head_count", 0);
    c.kv_heads = gguf_int(g, &c, "attention.head_count_kv", c.heads);
    c.hd = gguf_int(g, &c, "attention.key_length", c.heads > 0 ? c.dim / c.heads : 0);
    c.ffn = gguf_int(g, &c, "feed_forward_length", 0);
    c.max_positions = gguf_int(g, &c, "context_length", 2048);
    c.eps = gguf_float(g, &c, "attention.layer_norm_rms_epsilon", gguf_float(g, &c, "attention.layer_norm_epsilon", 1e-6));
    c.serial_residual = !gguf_int(g, &c, "use_parallel_residual", 1);
    if (gguf_int(g, &c, "expert_count", 0) > 0)
        return mg_fail(err, MG_UNSUPPORTED, "%s: this model is a mixture of experts; that is not computed here", g->path);
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
    if (st)
        mg_config_free(&c);
    else
        *out = c;
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
