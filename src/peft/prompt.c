/* prompt.c -- prompt tuning (Lester et al. 2021): P rows of the embedding that are no words, trained as they are.
 *
 * They start random (torch's embedding: normal), as the embeddings of a text, repeated or cut to P tokens, or as those of
 * tokens drawn from the vocabulary.  Gemma's factor on embeddings belongs to its table, as in transformers 5: these rows are
 * taken as they are. */
#include "peft/prompt.h"

#include "base/rng.h"
#include "peft/lora.h"
#include "text/tokenizer.h"

#include <stddef.h>
#include <string.h>

enum { SITE_PROMPT = 0x9a0, STREAM_TOKENS = 0x9b0 };

#define AT(field) offsetof(mg_prompt_settings, field)
#define PROMPT MG_N("Prompt, prefix and P-tuning")
const mg_option mg_prompt_options[] = {
    { .name = "num_virtual_tokens", .aliases = "prefix_len,pre_seq_len", .type = &mg_option_int, .offset = AT(num_virtual_tokens), .def = "20", .min = 1,
      .max = 4096, .group = PROMPT, .help = MG_N("virtual tokens in front of every text") },
    { .name = "prompt_tuning_init", .type = &mg_option_enum, .offset = AT(init), .def = "random",
      .choices = "random,RANDOM|text,TEXT|sample_vocab,SAMPLE_VOCAB", .group = PROMPT,
      .help = MG_N("first values of prompt tuning: random, those of a text, or of tokens drawn from the vocabulary") },
    { .name = "prompt_tuning_init_text", .type = &mg_option_string, .offset = AT(init_text), .metavar = "TEXT", .group = PROMPT,
      .help = MG_N("the text of prompt_tuning_init=text") },
    { .name = "encoder_reparameterization_type", .type = &mg_option_enum, .offset = AT(reparameterization), .def = "mlp", .choices = "mlp,MLP|lstm,LSTM",
      .group = PROMPT, .help = MG_N("P-tuning: what makes the prompt") },
    { .name = "encoder_hidden_size", .type = &mg_option_int, .offset = AT(encoder_hidden_size), .def = "0", .min = 0, .max = 65536, .group = PROMPT,
      .help = MG_N("width of the encoder; 0: that of the model") },
    { .name = "encoder_num_layers", .type = &mg_option_int, .offset = AT(encoder_num_layers), .def = "2", .min = 1, .max = MG_ENCODER_LSTMS,
      .group = PROMPT, .help = MG_N("P-tuning: layers of the LSTM") },
    { .name = "encoder_dropout", .type = &mg_option_float, .offset = AT(encoder_dropout), .def = "0", .min = 0, .max = 0.95, .group = PROMPT,
      .help = MG_N("P-tuning: dropout between the layers of the LSTM") },
    { .name = "prefix_projection", .type = &mg_option_bool, .offset = AT(projection), .def = "false", .group = PROMPT,
      .help = MG_N("prefix tuning: train an encoder that makes the prefix") },
    { 0 },
};

mg_status mg_prompt_check(const mg_adapter_config *c, mg_error *err) {
    const mg_prompt_settings *s = mg_prompt_of(c);
    if (s->num_virtual_tokens < 1 || s->num_virtual_tokens > 4096)
        return mg_fail(err, MG_CONFIG, "num_virtual_tokens is %lld; allowed are 1 to 4096", (long long)s->num_virtual_tokens);
    if (s->encoder_num_layers < 0 || s->encoder_num_layers > MG_ENCODER_LSTMS || s->encoder_hidden_size < 0 || s->encoder_hidden_size > 65536)
        return mg_fail(err, MG_CONFIG, "the prompt encoder has %lld layers of %lld; allowed are up to %d of 65536", (long long)s->encoder_num_layers,
                       (long long)s->encoder_hidden_size, (int)MG_ENCODER_LSTMS);
    return MG_OK;
}

int64_t mg_prompt_rows(const mg_adapter_config *c) { return mg_prompt_of(c)->num_virtual_tokens; }

void mg_normal(float *x, int64_t n, uint64_t seed, uint32_t index) {
    mg_rng stream = { seed, mg_rng_where(1, index, SITE_PROMPT) };
    for (int64_t i = 0; i < n; i++) x[i] = mg_rng_normal(stream, (uint64_t)i);
}

static mg_tensor *embed(mg_tape *t, const mg_hook *h, mg_tensor *y) { return mg_put_rows(t, y, h->p[0]); }

static const mg_hook_kind hook_prompt = { .name = "prompt_tuning", .embed = embed };

static mg_status attach(mg_adapter *a, mg_net *net, mg_error *err) {
    int64_t   P = mg_prompt_of(&a->c)->num_virtual_tokens;
    mg_status st = mg_prompt_check(&a->c, err);
    if (st) return st;
    mg_hook *h = mg_adapter_hook(a, &net->embed_hooks, &hook_prompt);
    if (!h) return mg_fail(err, MG_NOMEM, "no memory for an adapter");
    h->p[0] = mg_adapter_add(a, MG_PART_BARE, P, net->dim, "prompt_embeddings");
    h->virtual_rows = (int)P;
    return MG_OK;
}

/* The embedding of a token as the model's own rows have it when the prompt joins them. */
static void take_token(const mg_adapter *a, float *row, int32_t id) {
    const mg_tensor *table = a->net->embed;
    float            scale = a->net->embed_scale;
    table->format->decode(row, table->data, table->side, (int64_t)id * table->cols, table->cols);
    for (int64_t i = 0; i < table->cols; i++) row[i] *= scale;
}

static mg_status init_from_text(mg_adapter *a, float *x, mg_error *err) {
    const mg_prompt_settings *s = mg_prompt_of(&a->c);
    mg_ids                    ids = { 0 };
    if (!s->init_text || !*s->init_text)
        return mg_fail(err, MG_CONFIG, "prompt_tuning_init is text, but there is none; give prompt_tuning_init_text");
    if (!a->c.tokenizer) return mg_fail(err, MG_CONFIG, "prompt_tuning_init is text, but the model has no tokenizer here");
    mg_status st = mg_tokenize(a->c.tokenizer, s->init_text, strlen(s->init_text), 0, &ids, err);
    if (!st && !ids.len) st = mg_fail(err, MG_CONFIG, "prompt_tuning_init_text has no token");
    for (int64_t i = 0; !st && i < s->num_virtual_tokens; i++) take_token(a, x + i * a->net->dim, ids.data[(size_t)i % ids.len]);
    mg_ids_free(&ids);
    return st;
}

static mg_status init(mg_adapter *a, uint64_t seed, mg_error *err) {
    const mg_prompt_settings *s = mg_prompt_of(&a->c);
    const mg_tensor          *p = a->part[0].x;
    float                    *x = mg_adapter_values(a, p);
    if (s->init == MG_PROMPT_TEXT) return init_from_text(a, x, err);
    mg_rng stream = { seed, mg_rng_where(1, 0, STREAM_TOKENS) };
    for (int64_t i = 0; s->init == MG_PROMPT_SAMPLE_VOCAB && i < p->rows; i++)
        take_token(a, x + i * p->cols, (int32_t)(mg_rng_u32(stream, (uint64_t)i) % (uint32_t)a->net->embed->rows));
    if (s->init == MG_PROMPT_RANDOM) mg_normal(x, p->rows * p->cols, seed, 0);
    return MG_OK;
}

/* ---- adapter_config.json ---- */

void mg_prompt_write_config(const mg_adapter *a, int64_t cols, int64_t heads, mg_buf *out) {
    mg_buf_printf(out, "  \"num_virtual_tokens\": %lld,\n  \"token_dim\": %lld,\n  \"num_transformer_submodules\": 1,\n"
                       "  \"num_attention_heads\": %lld,\n  \"num_layers\": %d,\n",
                  (long long)mg_prompt_of(&a->c)->num_virtual_tokens, (long long)cols, (long long)heads, a->net->layers);
}

mg_status mg_prompt_read_config(mg_adapter_config *c, yyjson_val *json, const char *name, mg_error *err) {
    mg_prompt_settings *s = (void *)c->own;
    int                 tokens, submodules = 1, hidden = 0, layers = 0;
    mg_status           st = mg_config_int(&tokens, json, "num_virtual_tokens", name, err);
    if (!st && yyjson_obj_get(json, "num_transformer_submodules")) st = mg_config_int(&submodules, json, "num_transformer_submodules", name, err);
    if (!st && submodules != 1) st = mg_fail(err, MG_UNSUPPORTED, "%s: num_transformer_submodules is %d; decoders have 1", name, submodules);
    if (!st && yyjson_obj_get(json, "encoder_hidden_size")) st = mg_config_int(&hidden, json, "encoder_hidden_size", name, err);
    if (!st && yyjson_obj_get(json, "encoder_num_layers")) st = mg_config_int(&layers, json, "encoder_num_layers", name, err);
    if (st) return st;
    yyjson_val *kind = yyjson_obj_get(json, "encoder_reparameterization_type");
    s->num_virtual_tokens = tokens;
    if (hidden) s->encoder_hidden_size = hidden;
    if (layers) s->encoder_num_layers = layers;
    if (kind) s->reparameterization = yyjson_equals_str(kind, "LSTM") ? MG_ENCODER_LSTM : MG_ENCODER_MLP;
    if (yyjson_obj_get(json, "prefix_projection")) s->projection = yyjson_get_bool(yyjson_obj_get(json, "prefix_projection"));
    if (yyjson_obj_get(json, "encoder_dropout")) s->encoder_dropout = yyjson_get_num(yyjson_obj_get(json, "encoder_dropout"));
    return mg_prompt_check(c, err);
}

const char *const mg_prompt_keys[] = { "num_virtual_tokens", "token_dim", "num_transformer_submodules", "num_attention_heads", "num_layers",
                                       "prompt_tuning_init", "prompt_tuning_init_text", "tokenizer_name_or_path", "tokenizer_kwargs",
                                       "encoder_reparameterization_type", "encoder_hidden_size", "encoder_num_layers", "encoder_dropout",
                                       "prefix_projection", NULL };

/* "RANDOM" also where it began as a text: PEFT would look for a tokenizer to begin anew. */
static void write_config(const mg_adapter *a, mg_buf *out) {
    mg_prompt_write_config(a, a->net->dim, a->net->heads, out);
    mg_buf_printf(out, "  \"prompt_tuning_init\": \"%s\",\n", mg_prompt_of(&a->c)->init == MG_PROMPT_SAMPLE_VOCAB ? "SAMPLE_VOCAB" : "RANDOM");
}

const mg_method mg_method_prompt_tuning = {
    .name = "prompt_tuning", .peft_type = "PROMPT_TUNING", .title = "prompt tuning", .virtual_rows = mg_prompt_rows, .options = mg_prompt_options, .own = sizeof(mg_prompt_settings),
    .attach = attach, .init = init, .write_config = write_config, .read_config = mg_prompt_read_config, .keys = mg_prompt_keys,
};
