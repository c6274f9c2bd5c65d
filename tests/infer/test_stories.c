/* test_stories.c -- stories260K, a real Llama of 260,000 weights, against a float64 forward pass in numpy.
 *
 * Its llama2.c file (seven integers, then float32 tensors) is laid out as a Hugging Face folder first: names, and
 * the rows of q and k, which llama2.c turns as neighbouring pairs and Hugging Face as halves.  Scores within 1e-4,
 * last logits within 1e-3, 257 greedy tokens equal, a prompt of 492 tokens goes on as without a cache; the ids of
 * the texts come from its own vocabulary. */
#include "../support.h"

#include "base/file.h"
#include "base/json.h"
#include "format/safetensors.h"
#include "infer/generate.h"
#include "infer/score.h"

enum { D = 64, F = 172, L = 5, KV = 32, V = 512, HD = 8, SEQ = 512 };

static mg_error err;
#define OK(call) assert_ok(call, err)

typedef struct {
    mg_st_entry  entry[64];
    char         name[64][64];
    size_t       n;
    const float *next;
    float        turned[L][2][D * D];
} converter;

static void put(converter *c, const char *name, int layer, const float *data, int64_t rows, int64_t cols) {
    if (layer < 0)
        snprintf(c->name[c->n], sizeof c->name[0], "model.%s.weight", name);
    else
        snprintf(c->name[c->n], sizeof c->name[0], "model.layers.%d.%s.weight", layer, name);
    c->entry[c->n] = (mg_st_entry){ .name = c->name[c->n],
                                    .dtype = "F32",
                                    .n_dims = rows ? 2 : 1,
                                    .data = data,
                                    .dims = { rows ? rows : cols, rows ? cols : 0 },
                                    .bytes = (size_t)((rows ? rows : 1) * cols) * 4 };
    c->n++;
}

/* One tensor for each layer lies together in the file. */
static void put_layers(converter *c, const char *name, int64_t rows, int64_t cols) {
    for (int l = 0; l < L; l++) {
        put(c, name, l, c->next, rows, cols);
        c->next += (rows ? rows : 1) * cols;
    }
}

static void put_turned(converter *c, const char *name, int which, int64_t rows) {
    for (int l = 0; l < L; l++) {
        for (int64_t r = 0; r < rows; r++) {
            int64_t i = r % HD, from = r - i + (i < HD / 2 ? 2 * i : 2 * (i - HD / 2) + 1);
            memcpy(c->turned[l][which] + r * D, c->next + from * D, D * sizeof(float));
        }
        put(c, name, l, c->turned[l][which], rows, D);
        c->next += rows * D;
    }
}

static void write_folder(const char *folder) {
    static const char config[] =
        "{\"model_type\": \"llama\", \"hidden_size\": 64, \"intermediate_size\": 172, \"num_hidden_layers\": 5,"
        " \"num_attention_heads\": 8, \"num_key_value_heads\": 4, \"vocab_size\": 512, "
        "\"max_position_embeddings\": 512,"
        " \"rms_norm_eps\": 1e-05, \"rope_theta\": 10000.0, \"hidden_act\": \"silu\", \"tie_word_embeddings\": "
        "true}";
    static converter c;
    mg_mapping       file;
    char             path[4200];
    OK(mg_map_file(&file, shared_path("models/stories260K/stories260K.bin"), &err));
    const int32_t want[7] = { D, F, L, 8, 4, V, SEQ };
    assert_memory_equal(file.data, want, sizeof want);
    c.next = (const float *)(const void *)(file.data + sizeof want);
    put(&c, "embed_tokens", -1, c.next, V, D);
    c.next += V * D;
    put_layers(&c, "input_layernorm", 0, D);
    put_turned(&c, "self_attn.q_proj", 0, D);
    put_turned(&c, "self_attn.k_proj", 1, KV);
    put_layers(&c, "self_attn.v_proj", KV, D);
    put_layers(&c, "self_attn.o_proj", D, D);
    put_layers(&c, "post_attention_layernorm", 0, D);
    put_layers(&c, "mlp.gate_proj", F, D);
    put_layers(&c, "mlp.down_proj", D, F);
    put_layers(&c, "mlp.up_proj", F, D);
    put(&c, "norm", -1, c.next, 0, D);
    c.next += D + (size_t)SEQ * HD; /* and the tables of angles */
    assert_true((const uint8_t *)c.next == file.data + file.size);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    OK(mg_safetensors_save(path, c.entry, c.n, (const char *const[]){ NULL }, &err));
    snprintf(path, sizeof path, "%s/config.json", folder);
    OK(mg_replace_file(path, config, sizeof config - 1, &err));
    mg_unmap_file(&file);
}

/* tok512.bin: the longest token's length, then score, length and bytes of each.  Spaces are stored as such. */
static mg_tokenizer *open_tokenizer(void) {
    static char        text[V][64];
    static const char *token[V];
    static size_t      len[V];
    static float       score[V];
    static int32_t     type[V];
    mg_mapping         file;
    mg_tokenizer      *t;
    OK(mg_map_file(&file, shared_path("models/stories260K/tok512.bin"), &err));
    const uint8_t *p = file.data + 4;
    for (int i = 0; i < V; i++) {
        int32_t n;
        mg_buf  b = { 0 };
        memcpy(&score[i], p, 4);
        memcpy(&n, p + 4, 4);
        for (int32_t k = 0; k < n; k++)
            if (p[8 + k] == ' ')
                mg_buf_str(&b, "▁");
            else
                mg_buf_char(&b, (char)p[8 + k]);
        p += 8 + n;
        if (i == 1) b.len = 0, mg_buf_str(&b, "<s>"); /* stored with newlines around */
        if (i == 2) b.len = 0, mg_buf_str(&b, "</s>");
        assert_true(b.len < sizeof text[0]);
        memcpy(text[i], b.data, b.len + 1);
        token[i] = text[i];
        len[i] = b.len;
        type[i] = i == 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1;
        mg_buf_free(&b);
    }
    assert_true(p == file.data + file.size);
    mg_gguf_vocab v = { .model = "llama",
                        .n = V,
                        .token = token,
                        .token_len = len,
                        .score = score,
                        .type = type,
                        .bos = 1,
                        .eos = 2,
                        .unk = 0,
                        .pad = -1,
                        .eot = -1,
                        .add_bos = 1,
                        .add_eos = 0,
                        .add_space_prefix = 1 };
    OK(mg_tokenizer_from_gguf(&t, &v, "tok512.bin", &err));
    mg_unmap_file(&file);
    return t;
}

static void last_logits(void *context, int64_t position, const float *logit) {
    (void)position;
    memcpy(context, logit, V * sizeof *logit);
}

static void one_case(const mg_model *m, const mg_tokenizer *t, const mg_backend *b, yyjson_val *c) {
    mg_ids      ids = { 0 };
    float       nll[SEQ], logit[V];
    double      sum = 0;
    yyjson_val *want = yyjson_obj_get(c, "ids_with_bos"), *text = yyjson_obj_get(c, "text");
    OK(mg_tokenize(t, yyjson_get_str(text), yyjson_get_len(text), MG_TOKENIZE_SPECIAL, &ids, &err));
    assert_int_equal(ids.len, yyjson_arr_size(want));
    for (size_t i = 0; i < ids.len; i++) assert_int_equal(ids.data[i], yyjson_get_sint(yyjson_arr_get(want, i)));
    OK(mg_score(m, b, ids.data, (int64_t)ids.len, false, nll, &err));
    for (size_t i = 0; i + 1 < ids.len; i++) {
        assert_near(nll[i], yyjson_get_num(yyjson_arr_get(yyjson_obj_get(c, "token_nll"), i)), 1e-4, "nll");
        sum += (double)nll[i];
    }
    assert_near(sum, yyjson_get_num(yyjson_obj_get(c, "sum_nll_nats")), 1e-4, "sum of nll");
    OK(mg_score_logits(m, b, ids.data, (int64_t)ids.len, false, last_logits, logit, &err));
    for (size_t i = 0; i < V; i++)
        assert_near(logit[i], yyjson_get_num(yyjson_arr_get(yyjson_obj_get(c, "last_logits"), i)), 1e-3,
                    "last logit");
    mg_ids_free(&ids);
}

static void greedy(const mg_model *m, const mg_tokenizer *t, const mg_backend *b, yyjson_val *want) {
    yyjson_val         *ids = yyjson_obj_get(want, "ids");
    size_t              n = yyjson_arr_size(ids);
    int32_t             bos = (int32_t)yyjson_get_sint(yyjson_arr_get(ids, 0));
    mg_ids              prompt = { &bos, 1, 1 };
    mg_generation       out;
    mg_generate_options o = { .sampling = mg_sampling_greedy(), .max_new_tokens = (int64_t)n - 1 };
    OK(mg_generate_all(m, t, b, &prompt, 1, &o, &out, &err));
    assert_int_equal(out.ids.len, n - 1);
    for (size_t i = 1; i < n; i++) assert_int_equal(out.ids.data[i - 1], yyjson_get_sint(yyjson_arr_get(ids, i)));
    assert_non_null(
        strstr(out.text.data, "big, red ball. She wanted to play with it, but it was too high.\nLily's mom said"));
    mg_generation_free(&out);
}

static int32_t argmax[SEQ];

static void note_argmax(void *context, int64_t position, const float *logit) {
    int32_t best = 0;
    (void)context;
    for (int32_t k = 1; k < V; k++)
        if (logit[k] > logit[best]) best = k;
    argmax[position] = best;
}

/* A prompt that is read in two pieces, up to the end of the context. */
static void long_prompt(const mg_model *m, const mg_backend *b, yyjson_val *want) {
    yyjson_val         *ids = yyjson_obj_get(want, "ids");
    mg_ids              prompt = { 0 };
    mg_generation       out;
    mg_generate_options o = { .sampling = mg_sampling_greedy() };
    for (size_t i = 0; i < SEQ - 20; i++)
        assert_true(mg_ids_push(&prompt, (int32_t)yyjson_get_sint(yyjson_arr_get(ids, i % yyjson_arr_size(ids)))));
    OK(mg_generate_all(m, NULL, b, &prompt, 1, &o, &out, &err));
    assert_int_equal(out.finish, MG_FINISH_CONTEXT);
    assert_int_equal(out.ids.len, 20);
    for (size_t i = 0; i < out.ids.len; i++) assert_true(mg_ids_push(&prompt, out.ids.data[i]));
    OK(mg_score_logits(m, b, prompt.data, SEQ, false, note_argmax, NULL, &err));
    for (size_t i = SEQ - 20; i < SEQ; i++) assert_int_equal(prompt.data[i], argmax[i - 1]);
    mg_generation_free(&out);
    mg_ids_free(&prompt);
}

static void stories(void **state) {
    (void)state;
    static const char *const backends[] = { "ref32", "cpu" };
    char                    *folder = make_temp_folder();
    mg_json                  j;
    mg_model                *m;
    size_t                   i, n;
    yyjson_val              *c;
    write_folder(folder);
    mg_tokenizer    *t = open_tokenizer();
    mg_model_options o = { .positions = SEQ };
    OK(mg_model_open(&m, folder, &o, &err));
    OK(mg_json_open(&j, shared_path("models/stories260K/reference.json"), 1 << 20, &err));
    for (size_t b = 0; b < 2; b++) {
        yyjson_arr_foreach(yyjson_obj_get(j.root, "cases"), i, n, c)
            one_case(m, t, mg_backend_find(backends[b]), c);
        assert_int_equal(n, 6);
        greedy(m, t, mg_backend_find(backends[b]), yyjson_obj_get(j.root, "greedy"));
        long_prompt(m, mg_backend_find(backends[b]), yyjson_obj_get(j.root, "greedy"));
    }
    mg_json_free(&j);
    mg_model_close(m);
    mg_tokenizer_free(t);
    remove_temp_folder(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(stories) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
