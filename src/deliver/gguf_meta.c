/* gguf_meta.c -- hyperparameters as llama.cpp's converter writes them. */
#include "deliver/gguf_meta.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    mg_gguf_writer *w;
    const char     *arch;
    char            key[128];
} meta;

static const char *key(meta *m, const char *name) {
    snprintf(m->key, sizeof m->key, "%s.%s", m->arch, name);
    return m->key;
}
static void put_int(meta *m, const char *name, int64_t v) { mg_gguf_put_u32(m->w, key(m, name), (uint32_t)v); }
static void put_float(meta *m, const char *name, double v) { mg_gguf_put_f32(m->w, key(m, name), (float)v); }
static void put_text(mg_gguf_writer *w, const char *name, const char *s) { mg_gguf_put_str(w, name, s, strlen(s)); }

/* ---- rope ---- */

void mg_llama3_divisors(const mg_rope_config *r, int64_t hd, float *out) {
    double longest = (double)r->original_positions / r->low_freq_factor, shortest = (double)r->original_positions / r->high_freq_factor;
    for (int64_t i = 0; i < hd / 2; i++) {
        double wave = 2 * M_PI * pow(r->theta, 2 * (double)i / (double)hd);
        double smooth = ((double)r->original_positions / wave - r->low_freq_factor) / (r->high_freq_factor - r->low_freq_factor);
        out[i] = (float)(wave < shortest ? 1 : wave > longest ? r->factor : 1 / ((1 - smooth) / r->factor + smooth));
    }
}

/* How longrope stretches attention when config.json does not say: as transformers and llama.cpp's converter have it. */
static double longrope_attention(const mg_config *c) {
    double stretch = (double)c->max_positions / (double)c->rope.original_positions;
    if (c->rope.attention_factor > 0) return c->rope.attention_factor;
    return stretch > 1 ? sqrt(1 + log(stretch) / log((double)c->rope.original_positions)) : 1;
}

/* llama3 and longrope need no key for their factors, which are tensors. */
static mg_status put_rope(meta *m, const mg_config *c, mg_error *err) {
    const mg_rope_config *r = &c->rope;
    put_int(m, "rope.dimension_count", (int64_t)(r->partial * (double)c->hd));
    put_float(m, "rope.freq_base", r->theta);
    if (c->has_local) put_float(m, "rope.freq_base_swa", c->rope_local.theta);
    if (r->kind == MG_ROPE_DEFAULT || r->kind == MG_ROPE_LLAMA3) return MG_OK;
    if (r->kind == MG_ROPE_LONGROPE) {
        put_int(m, "rope.scaling.original_context_length", r->original_positions);
        put_float(m, "rope.scaling.attn_factor", longrope_attention(c));
        return MG_OK;
    }
    if (r->kind != MG_ROPE_LINEAR && r->kind != MG_ROPE_YARN)
        return mg_fail(err, MG_UNSUPPORTED, "the rope of this model scales with the length of the text (dynamic), which a GGUF file cannot say");
    put_text(m->w, key(m, "rope.scaling.type"), r->kind == MG_ROPE_YARN ? "yarn" : "linear");
    put_float(m, "rope.scaling.factor", r->factor);
    if (r->kind == MG_ROPE_YARN) put_int(m, "rope.scaling.original_context_length", r->original_positions);
    if (r->attention_factor > 0) put_float(m, "rope.scaling.attn_factor", r->attention_factor);
    return MG_OK;
}

/* ---- tokenizer ---- */

static void put_id(mg_gguf_writer *w, const char *name, int32_t id) {
    if (id >= 0) mg_gguf_put_u32(w, name, (uint32_t)id);
}
static void put_flag(mg_gguf_writer *w, const char *name, int flag) {
    if (flag >= 0) mg_gguf_put_bool(w, name, flag);
}

#define TOKENIZER(name) "tokenizer.ggml." name
static void put_template(mg_gguf_writer *w, const mg_bundle *b) {
    if (b->template_text) put_text(w, "tokenizer.chat_template", b->template_text);
}

static mg_status put_tokenizer(mg_gguf_writer *w, const mg_bundle *b, mg_error *err) {
    mg_gguf_vocab v;
    mg_status     st = mg_tokenizer_to_gguf(b->tokenizer, (size_t)b->model->c.vocab, &v, err);
    if (st) return st;
    put_text(w, TOKENIZER("model"), v.model);
    if (v.pre) put_text(w, TOKENIZER("pre"), v.pre);
    mg_gguf_put_strs(w, TOKENIZER("tokens"), v.token, v.token_len, v.n);
    if (v.score) mg_gguf_put_f32s(w, TOKENIZER("scores"), v.score, v.n);
    if (v.type) mg_gguf_put_i32s(w, TOKENIZER("token_type"), v.type, v.n);
    if (v.n_merges) mg_gguf_put_strs(w, TOKENIZER("merges"), v.merge, v.merge_len, v.n_merges);
    if (v.charsmap) mg_gguf_put_u8s(w, TOKENIZER("precompiled_charsmap"), v.charsmap, v.charsmap_bytes);
    put_id(w, TOKENIZER("bos_token_id"), v.bos);
    put_id(w, TOKENIZER("eos_token_id"), v.eos);
    put_id(w, TOKENIZER("unknown_token_id"), v.unk);
    put_id(w, TOKENIZER("padding_token_id"), v.pad);
    put_id(w, TOKENIZER("eot_token_id"), v.eot);
    put_flag(w, TOKENIZER("add_bos_token"), v.add_bos);
    put_flag(w, TOKENIZER("add_eos_token"), v.add_eos);
    put_flag(w, TOKENIZER("add_space_prefix"), v.add_space_prefix);
    put_flag(w, TOKENIZER("remove_extra_whitespaces"), v.remove_extra_whitespaces);
    put_template(w, b);
    mg_gguf_vocab_free(&v);
    return MG_OK;
}

/* ---- the whole ---- */

static bool has_layer_norms(const mg_model *m) { return m->layer[0].attn_norm.b != NULL; }

/* llama.cpp knows no window for "llama", which Mistral's files are: up to the window's length nothing is lost. */
static int64_t context_length(const mg_model *m, const char *arch) {
    const mg_config *c = &m->c;
    bool             windowed = false;
    for (int64_t i = 0; i < c->layers; i++) windowed |= c->windowed[i];
    return windowed && !strcmp(arch, "llama") && c->window < c->max_positions ? c->window : c->max_positions;
}

static void put_sizes(meta *m, const mg_model *model) {
    const mg_config *c = &model->c;
    put_int(m, "block_count", c->layers);
    put_int(m, "context_length", context_length(model, m->arch));
    put_int(m, "embedding_length", c->dim);
    put_int(m, "feed_forward_length", c->ffn);
    put_int(m, "attention.head_count", c->heads);
    put_int(m, "attention.head_count_kv", c->kv_heads);
    put_int(m, "attention.key_length", c->hd);
    put_int(m, "attention.value_length", c->hd);
    put_int(m, "vocab_size", c->vocab);
    put_float(m, has_layer_norms(model) ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon", c->eps);
    if (!strcmp(m->arch, "gptneox")) mg_gguf_put_bool(m->w, key(m, "use_parallel_residual"), !c->serial_residual);
    if (c->window && strcmp(m->arch, "llama") != 0) put_int(m, "attention.sliding_window", c->window);
    if (c->attention_softcap > 0) put_float(m, "attn_logit_softcapping", c->attention_softcap);
    if (c->final_softcap > 0) put_float(m, "final_logit_softcapping", c->final_softcap);
}

static double query_scale(const mg_config *c) { return c->query_scale > 0 ? c->query_scale : (double)c->hd; }

/* GGUF leaves out what its readers know of an architecture: query_pre_attn_scalar, Gemma 2's caps where there is none, and which layers have a window.  A
 * model that departs from it would be another one there. */
static mg_status check_implied(const mg_model *model, const char *arch, mg_error *err) {
    const mg_config *c = &model->c;
    mg_config        seen = *c; /* what is read back */
    mg_status        st = MG_OK;
    seen.query_scale = 0;
    seen.windows_given = false;
    for (int64_t i = 0; i < c->layers; i++) seen.windowed[i] = c->window > 0;
    if (model->arch->adjust) st = model->arch->adjust(&seen, true, err);
    if (st) return st;
    if (query_scale(&seen) != query_scale(c))
        return mg_fail(err, MG_UNSUPPORTED, "query_pre_attn_scalar is %g; a GGUF file cannot say that, and its readers take %g", query_scale(c),
                       query_scale(&seen));
    if (seen.attention_softcap != c->attention_softcap || seen.final_softcap != c->final_softcap)
        return mg_fail(err, MG_UNSUPPORTED, "soft caps of %g and %g; a GGUF file cannot say that there is none, and its readers take %g and %g",
                       c->attention_softcap, c->final_softcap, seen.attention_softcap, seen.final_softcap);
    for (int64_t i = 0; i < c->layers && strcmp(arch, "llama") != 0; i++)
        if (seen.windowed[i] != c->windowed[i])
            return mg_fail(err, MG_UNSUPPORTED, "which layers have a sliding window differs from what readers of GGUF files take for %s (layer %lld)", arch,
                           (long long)i);
    return MG_OK;
}

mg_status mg_gguf_meta_from_config(mg_gguf_writer *w, const mg_bundle *b, const char *name, mg_error *err) {
    const mg_model *model = b->model;
    meta            m = { .w = w, .arch = model->arch->gguf_archs[0] };
    if (!m.arch) return mg_fail(err, MG_UNSUPPORTED, "llama.cpp has no architecture for %s, so there is no GGUF file of it", model->c.arch);
    mg_status st = check_implied(model, m.arch, err);
    if (st) return st;
    put_text(w, "general.architecture", m.arch);
    put_text(w, "general.type", "model");
    put_text(w, "general.name", name);
    put_sizes(&m, model);
    st = model->position ? MG_OK : put_rope(&m, &model->c, err); /* learned positions turn nothing */
    return st ? st : put_tokenizer(w, b, err);
}

static bool is_key(const mg_gguf_value *v, const char *name) { return v->key.len == strlen(name) && !memcmp(v->key.data, name, v->key.len); }

/* Said anew by who writes the tensors, or true of the old file only (imatrix). */
static bool said_anew(const mg_gguf_value *v) {
    static const char *const names[] = { "general.file_type", "general.quantization_version", "general.alignment", "tokenizer.chat_template" };
    static const char *const families[] = { "quantize.", "split." };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (is_key(v, names[i])) return true;
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (v->key.len > strlen(families[i]) && !memcmp(v->key.data, families[i], strlen(families[i]))) return true;
    return false;
}

mg_status mg_gguf_meta_copy(mg_gguf_writer *w, const mg_bundle *b, mg_error *err) {
    const mg_gguf *g = mg_model_gguf(b->model);
    (void)err;
    for (size_t i = 0; i < g->n_values; i++)
        if (!said_anew(&g->values[i])) mg_gguf_put_value(w, &g->values[i]);
    put_template(w, b);
    return MG_OK;
}
