/* rig.h -- a training run in a few lines, for the tests of the trainer.
 *
 * Models: the golden ones with a tokenizer of one token a byte beside them (the folder that transformers wrote has
 * none), written into a temporary folder; or any path.  Options go through the real table, as texts. */
#ifndef MG_TESTS_TRAIN_RIG_H
#define MG_TESTS_TRAIN_RIG_H

#include "support.h"

#include "base/file.h"
#include "../format/sample_gguf.h"
#include "cli/sft_judge.h"
#include "cli/sft_options.h"
#include "data/dataset.h"
#include "format/safetensors.h"
#include "tensor/format.h"
#include "train/sft.h"

enum { RIG_STEPS = 512 };

typedef struct rig {
    char          *home; /* temporary folder of the test: runs, data, models */
    mg_sft_options o;
    mg_options    *options;
    mg_sft_result  result;
    mg_sft_step    step[RIG_STEPS];
    int            steps;
    double         eval[RIG_STEPS]; /* loss of every evaluation */
    int64_t        eval_step[RIG_STEPS];
    int            evals;
    int64_t        sampled_step[RIG_STEPS]; /* of every round of sample_prompts */
    int            sampled;
    mg_buf         warnings;
    mg_memory_plan plan;
    int64_t        stop_after; /* the listener's stop is raised after this step; 0: never */
    int64_t        stop_after_evaluation; /* the same after the evaluation at this step; -1: never */
    volatile sig_atomic_t stop;
    double         pause; /* the listener's */
    mg_error       err;
} rig;

static mg_list rig_paths; /* of the test at hand */

/* A path in the test's folder; it lives until rig_close. */
static inline const char *rig_path(const rig *r, const char *name) {
    char *path = mg_path_join(r->home, name);
    assert_true(path && MG_GROW(rig_paths.item, rig_paths.cap, rig_paths.n + 1));
    return rig_paths.item[rig_paths.n++] = path;
}

static inline void rig_open(rig *r) {
    memset(r, 0, sizeof *r);
    r->stop_after_evaluation = -1;
    r->home = make_temp_folder();
    setenv("MIGAKI_RUNS", rig_path(r, "runs"), 1);
}

static inline void rig_close(rig *r) {
    mg_options_free(r->options);
    mg_buf_free(&r->warnings);
    remove_temp_folder(r->home);
    for (size_t i = 0; i < rig_paths.n; i++) free(rig_paths.item[i]);
    free(rig_paths.item);
    rig_paths = (mg_list){ 0 };
}

static inline void rig_write(const char *path, const char *text) {
    mg_error err;
    assert_ok(mg_replace_file(path, text, strlen(text), &err), err);
}

/* A tokenizer of 256 bytes and 64 special tokens: what a golden model needs to be a whole model. */
static inline void rig_write_tokenizer(const char *path) {
    mg_buf b = { 0 };
    mg_buf_str(&b, "{\"version\":\"1.0\",\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
                   "\"trim_offsets\":true,\"use_regex\":false},\"post_processor\":null,\"decoder\":{\"type\":\"ByteLevel\"},\"added_tokens\":[");
    for (int i = 0; i < 64; i++)
        mg_buf_printf(&b, "%s{\"id\":%d,\"content\":\"<s%d>\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":true}",
                      i ? "," : "", i, i);
    mg_buf_str(&b, "],\"model\":{\"type\":\"BPE\",\"vocab\":{");
    for (int i = 0; i < 64; i++) mg_buf_printf(&b, "%s\"<s%d>\":%d", i ? "," : "", i, i);
    for (int i = 0, n = 0; i < 256; i++) { /* GPT-2's alphabet of printable characters for bytes */
        bool plain = (i >= 33 && i <= 126) || (i >= 161 && i <= 172) || i >= 174;
        int  c = plain ? i : 256 + n++;
        mg_buf_str(&b, ",\"");
        if (c == '"' || c == '\\') mg_buf_char(&b, '\\');
        if (c < 128)
            mg_buf_char(&b, (char)c);
        else {
            mg_buf_char(&b, (char)(0xc0 | c >> 6));
            mg_buf_char(&b, (char)(0x80 | (c & 63)));
        }
        mg_buf_printf(&b, "\":%d", 64 + i);
    }
    mg_buf_str(&b, "},\"merges\":[]}}\n");
    assert_false(b.failed);
    rig_write(path, b.data);
    mg_buf_free(&b);
}

/* A golden model ("llama2") as a whole folder; its path. */
static inline const char *rig_golden(rig *r, const char *name) {
    static const char *const files[] = { "config.json", "model.safetensors", "generation_config.json" };
    mg_error    err;
    char        source[300], target[300];
    const char *folder = rig_path(r, name);
    assert_ok(mg_make_folder(folder, &err), err);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(source, sizeof source, "golden/%s/%s", name, files[i]);
        snprintf(target, sizeof target, "%s/%s", name, files[i]);
        if (!mg_is_file(rig_path(r, target))) assert_int_equal(symlink(ref_path(source), rig_path(r, target)), 0);
    }
    snprintf(target, sizeof target, "%s/tokenizer.json", name);
    rig_write_tokenizer(rig_path(r, target));
    return folder;
}

/* `n` weights of about 0.1 in a format: fixed scales for q8_0, encoded ones, or random blocks of that size. */
static inline void rig_blocks(mg_buf *data, const mg_format *f, uint64_t n, uint32_t *x) {
    uint8_t block[256 * sizeof(double)];
    float   value[256];
    for (uint64_t k = 0; k < n / (uint64_t)f->block; k++) {
        float largest = 0;
        if (f == &mg_format_q8_0) {
            mg_buf_add(data, &(uint16_t){ mg_f32_to_f16(0.0015f) }, 2);
            for (int q = 0; q < 32; q++) mg_buf_char(data, (char)((*x = *x * 1664525u + 1013904223u) >> 24));
            continue;
        }
        for (int i = 0; f->encode && i < f->block; i++)
            value[i] = ((float)((*x = *x * 1664525u + 1013904223u) >> 8) * 0x1p-23f - 1) * 0.19f;
        if (f->encode) f->encode(block, value, f->block);
        while (!f->encode && !(largest > 0.01f && largest < 0.5f)) {
            for (size_t i = 0; i < f->block_bytes; i++) block[i] = (uint8_t)((*x = *x * 1664525u + 1013904223u) >> 24);
            f->decode(value, block, NULL, 0, f->block);
            largest = 0;
            for (int i = 0; i < f->block; i++) largest = isfinite(value[i]) && largest < INFINITY ? fmaxf(largest, fabsf(value[i])) : INFINITY;
        }
        mg_buf_add(data, block, f->block_bytes);
    }
}

/* A llama of two layers and `width` (64, 256) columns in a format of GGUF, with a SentencePiece vocabulary of 320, as one
 * file; its path. */
static inline const char *rig_gguf_of(rig *r, const char *name, const mg_format *f, uint64_t width) {
    static const struct { const char *name; uint64_t rows, cols; } weights[] = {
        { "token_embd", 320, 64 },         { "output_norm", 1, 64 },         { "blk.%d.attn_norm", 1, 64 },
        { "blk.%d.attn_q", 64, 64 },       { "blk.%d.attn_k", 32, 64 },      { "blk.%d.attn_v", 32, 64 },
        { "blk.%d.attn_output", 64, 64 },  { "blk.%d.ffn_norm", 1, 64 },     { "blk.%d.ffn_gate", 128, 64 },
        { "blk.%d.ffn_up", 128, 64 },      { "blk.%d.ffn_down", 64, 128 },
    };
    enum { VOCABULARY = 320, LAYERS = 2, ONCE = 2, EACH = sizeof weights / sizeof *weights - ONCE };
    mg_buf   b = { 0 }, data = { 0 };
    uint32_t x = 99;
    put_header(&b, 3, ONCE + LAYERS * EACH, 13);
    put_string(&b, "general.architecture", "llama");
    put_int(&b, "llama.context_length", 128);
    put_int(&b, "llama.embedding_length", (int64_t)width);
    put_int(&b, "llama.block_count", LAYERS);
    put_int(&b, "llama.feed_forward_length", (int64_t)width * 2);
    put_int(&b, "llama.attention.head_count", 4);
    put_int(&b, "llama.attention.head_count_kv", 2);
    put_int(&b, "tokenizer.ggml.bos_token_id", 1);
    put_int(&b, "tokenizer.ggml.eos_token_id", 2);
    put_string(&b, "tokenizer.ggml.model", "llama");
    put_array(&b, "tokenizer.ggml.tokens", MG_GGUF_STRING, VOCABULARY);
    for (int i = 0; i < VOCABULARY; i++) {
        char token[16];
        snprintf(token, sizeof token, i < 3 ? "<s%d>" : i < 259 ? "<0x%02X>" : "t%d", i < 3 || i >= 259 ? i : i - 3);
        put_text(&b, token);
    }
    put_array(&b, "tokenizer.ggml.scores", MG_GGUF_F32, VOCABULARY);
    for (int i = 0; i < VOCABULARY; i++) mg_buf_add(&b, &(float){ -(float)i }, 4);
    put_array(&b, "tokenizer.ggml.token_type", MG_GGUF_I32, VOCABULARY);
    for (int i = 0; i < VOCABULARY; i++) put_u32(&b, i < 3 ? 3 : i < 259 ? 6 : 1); /* control, byte, normal */
    for (size_t i = 0; i < ONCE + LAYERS * EACH; i++) {
        size_t   w = i < ONCE ? i : ONCE + (i - ONCE) % EACH;
        char     weight[64] = "", full[80];
        uint64_t wide = width / 64, cols = weights[w].cols * wide;
        uint64_t rows = weights[w].rows == 1 || weights[w].rows == VOCABULARY ? weights[w].rows : weights[w].rows * wide;
        if (i < ONCE)
            snprintf(weight, sizeof weight, "%s", weights[w].name);
        else
            snprintf(weight, sizeof weight, "blk.%d%s", (int)((i - ONCE) / EACH), weights[w].name + strlen("blk.%d"));
        snprintf(full, sizeof full, "%s.weight", weight);
        pad_to(&data, 32);
        put_tensor(&b, full, rows == 1 ? 1 : 2, (uint64_t[]){ cols, rows }, rows == 1 ? 0 : (uint32_t)f->gguf_type, data.len);
        for (uint64_t k = 0; rows == 1 && k < cols; k++) mg_buf_add(&data, &(float){ 1 }, 4);
        if (rows > 1) rig_blocks(&data, f, rows * cols, &x);
    }
    pad_to(&b, 32);
    mg_buf_add(&b, data.data, data.len);
    assert_false(b.failed || data.failed);
    mg_error    err;
    const char *path = rig_path(r, name);
    assert_ok(mg_replace_file(path, b.data, b.len, &err), err);
    mg_buf_free(&b);
    mg_buf_free(&data);
    return path;
}
static inline const char *rig_gguf(rig *r, const char *name) { return rig_gguf_of(r, name, &mg_format_q8_0, 64); }

/* Rows of input_ids and labels that can be learnt: token i + 1 follows token i in a cycle of its own, lengths
 * shortest..longest, the first two labels are not trained. */
static inline const char *rig_rows(rig *r, const char *name, int n, int shortest, int longest, int vocabulary) {
    mg_buf   b = { 0 };
    uint32_t x = 12345;
    for (int i = 0; i < n; i++) {
        int length = shortest + (int)((x = x * 1664525u + 1013904223u) >> 16) % (longest - shortest + 1), first = (i * 37) % 200;
        mg_buf_str(&b, "{\"input_ids\": [");
        for (int k = 0; k < length; k++) mg_buf_printf(&b, "%s%d", k ? ", " : "", 64 + (first + k * (1 + i % 3)) % (vocabulary - 64));
        mg_buf_str(&b, "], \"labels\": [");
        for (int k = 0; k < length; k++)
            mg_buf_printf(&b, "%s%d", k ? ", " : "", k < 2 ? -100 : 64 + (first + k * (1 + i % 3)) % (vocabulary - 64));
        mg_buf_str(&b, "]}\n");
    }
    assert_false(b.failed);
    const char *path = rig_path(r, name);
    rig_write(path, b.data);
    mg_buf_free(&b);
    return path;
}

/* Fresh options: names and values by turns, NULL ends.  What every small test wants stands before them. */
static inline void rig_set(rig *r, const char *const *pairs) {
    static const char *const usual[] = { "dtype", "float32", "lora_r", "4", "lora_alpha", "8", "lora_dropout", "0", "threads", "2",
                                         "max_length", "128", "warmup_steps", "0", "learning_rate", "1e-3", NULL };
    mg_options_free(r->options);
    memset(&r->o, 0, sizeof r->o);
    r->options = mg_options_new(mg_foreign_options);
    assert_non_null(r->options);
    assert_ok(mg_options_add(r->options, mg_sft_option_rows, &r->o, &r->err), r->err);
    for (const char *const *p = usual; *p; p += 2) assert_ok(mg_options_set(r->options, p[0], p[1], "test", &r->err), r->err);
    for (const char *const *p = pairs; *p; p += 2) assert_ok(mg_options_set(r->options, p[0], p[1], "test", &r->err), r->err);
    assert_ok(mg_sft_options_check(&r->o, &r->err), r->err);
}
#define SET(r, ...) rig_set(r, (const char *const[]){ __VA_ARGS__, NULL })

static inline void rig_on_facts(void *context, const mg_sft_facts *f) { ((rig *)context)->plan = *f->plan; }
static inline void rig_on_step(void *context, const mg_sft_step *s) {
    rig *r = context;
    assert_true(r->steps < RIG_STEPS);
    r->step[r->steps++] = *s;
    if (s->step == r->stop_after) r->stop = 1;
}
static inline void rig_on_evaluated(void *context, int64_t step, double loss, double accuracy) {
    rig *r = context;
    assert_true(r->evals < RIG_STEPS && accuracy >= 0 && accuracy <= 1);
    r->eval_step[r->evals] = step;
    r->eval[r->evals++] = loss;
    if (step == r->stop_after_evaluation) r->stop = 1;
}
static inline void rig_on_sampled(void *context, int64_t step, const mg_run_sample *s, size_t n) {
    rig *r = context;
    assert_true(r->sampled < RIG_STEPS && n > 0 && s->prompt && s->answer);
    r->sampled_step[r->sampled++] = step;
}
static inline void rig_on_warn(void *context, const char *text) { mg_buf_printf(&((rig *)context)->warnings, "%s\n", text); }

static inline mg_status rig_train(rig *r) {
    mg_sft_listener l = { .context = r, .facts = rig_on_facts, .step = rig_on_step, .evaluated = rig_on_evaluated, .sampled = rig_on_sampled, .warn = rig_on_warn, .judge = &mg_sft_judge,
                          .stop = &r->stop, .pause = r->pause };
    mg_buf yaml = { 0 };
    r->steps = r->evals = r->sampled = 0;
    r->stop = 0;
    mg_buf_free(&r->warnings);
    r->plan = (mg_memory_plan){ 0 };
    mg_options_write_yaml(&yaml, r->options);
    assert_false(yaml.failed);
    mg_status st = mg_sft_train(&r->o, yaml.data, 0, NULL, &l, &r->result, &r->err);
    mg_buf_free(&yaml);
    return st;
}

/* Train to the end into the folder `name` of the test. */
#define TRAIN(r, name, ...)                                                \
    do {                                                                   \
        SET(r, "output_dir", rig_path(r, name), __VA_ARGS__);              \
        assert_ok(rig_train(r), (r)->err);                                 \
    } while (0)

/* The adapter of a run as one array of floats; free it. */
static inline float *rig_adapter(const rig *r, const char *run, size_t *n) {
    mg_safetensors *f = NULL;
    mg_error        err;
    char            name[600];
    mg_buf          all = { 0 };
    snprintf(name, sizeof name, "%s/adapter_model.safetensors", run);
    assert_ok(mg_safetensors_open(&f, rig_path(r, name), &err), err);
    for (size_t i = 0; i < f->n; i++) {
        const mg_st_entry *e = &f->entries[i];
        mg_buf_add(&all, e->data, e->bytes);
    }
    mg_safetensors_close(f);
    assert_false(all.failed);
    *n = all.len / sizeof(float);
    return (float *)(void *)all.data;
}

/* Distance between the adapters of two runs, relative to the largest number; bits equal: 0. */
static inline double rig_distance(const rig *r, const char *a, const char *b) {
    size_t n, m;
    float *x = rig_adapter(r, a, &n), *y = rig_adapter(r, b, &m);
    assert_int_equal(n, m);
    double d = memcmp(x, y, n * sizeof *x) ? fmax(relative_distance(x, y, n), 1e-30) : 0;
    free(x);
    free(y);
    return d;
}

#endif
