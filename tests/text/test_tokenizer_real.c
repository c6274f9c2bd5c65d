/* test_tokenizer_real.c -- the tokenizers inside of the three real GGUF files.
 *
 * reference.json of a model has texts with the ids that transformers gives for
 * them (for Gemma with BOS).  tokenizer-reference has 227 strings for Gemma 3's
 * own tokenizer.json, and for Qwen 3, whose ordinary tokens are those of Qwen 2.5. */
#include "tokenizer_reference.h"

#include "format/gguf_tokenizer.h"

#include <time.h>

static mg_tokenizer *of_gguf(const char *path, double *ms) {
    mg_error        err;
    mg_gguf        *g = NULL;
    mg_tokenizer   *t = NULL;
    struct timespec a, b;
    assert_ok(mg_gguf_open(&g, path, &err), err);
    clock_gettime(CLOCK_MONOTONIC, &a);
    assert_ok(mg_gguf_tokenizer(&t, g, &err), err);
    clock_gettime(CLOCK_MONOTONIC, &b);
    *ms = (double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) * 1e-6;
    mg_gguf_close(g);
    return t;
}

typedef struct {
    const char *file, *reference, *strings; /* strings: of tokenizer-reference, NULL: none */
    int32_t     bos, eos;
    bool        adds_bos;
} real_case;

static const real_case cases[] = {
    { "smollm2.gguf", "real/smollm2/reference.json", NULL, 1, 2, false },
    { "gemma3.gguf", "real/gemma3/reference.json", "tokenizer-reference/gemma3.json", 2, 1, true },
    { "qwen.gguf", "real/qwen/reference.json", "tokenizer-reference/qwen3.json", 151643, 151645, false },
};

static void compare_texts(const mg_tokenizer *t, const char *path) {
    mg_error    err;
    mg_json     j = { 0 };
    size_t      i, n;
    yyjson_val *item;
    int         differ = 0;
    assert_ok(mg_json_open(&j, path, REFERENCE_FILE_LIMIT, &err), err);
    yyjson_arr_foreach(yyjson_obj_get(j.root, "texts"), i, n, item) differ +=
        ids_differ(t, yyjson_obj_get(item, "text"), MG_TOKENIZE_SPECIAL, yyjson_obj_get(item, "ids"));
    assert_true(n >= 5);
    yyjson_arr_foreach(yyjson_obj_get(j.root, "greedy"), i, n, item) differ +=
        ids_differ(t, yyjson_obj_get(item, "prompt"), MG_TOKENIZE_SPECIAL, yyjson_obj_get(item, "ids"));
    assert_int_equal(differ, 0);
    mg_json_free(&j);
}

/* As compare_with, without the strings whose ids or text name a token that this vocabulary lacks
 * (Qwen 3 has <think> and four more, Gemma 3's file has <image_soft_token>). */
static void compare_strings(const mg_tokenizer *t, const char *path) {
    mg_error    err;
    mg_json     j = { 0 };
    size_t      i, n, compared = 0, k, m;
    yyjson_val *item, *id;
    int         differ = 0;
    assert_ok(mg_json_open(&j, path, REFERENCE_FILE_LIMIT, &err), err);
    yyjson_arr_foreach(j.root, i, n, item) {
        yyjson_val *text = yyjson_obj_get(item, "text"), *ids = yyjson_obj_get(item, "ids");
        bool        known = true;
        yyjson_arr_foreach(ids, k, m, id) known &=
            mg_tokenizer_token(t, (int32_t)yyjson_get_int(id), NULL) != NULL;
        if (!known) continue;
        compared++;
        differ += ids_differ(t, text, MG_TOKENIZE_PARSE, ids);
        differ += text_differs(t, ids, yyjson_obj_get(item, "decoded"));
    }
    mg_json_free(&j);
    if (differ) fail_msg("%s: %d differences in %zu strings", path, differ, compared);
    assert_true(compared > 220);
}

static void test_real(void **state) {
    const real_case *c = *state;
    double           ms;
    mg_tokenizer    *t = of_gguf(model_path(c->file), &ms);
    print_message("             %s: %.1f ms, %s\n", c->file, ms, mg_tokenizer_kind(t));
    assert_int_equal(mg_tokenizer_bos(t), c->bos);
    assert_int_equal(mg_tokenizer_eos(t), c->eos);
    assert_int_equal(mg_tokenizer_adds_bos(t), c->adds_bos);
    compare_texts(t, ref_path(c->reference));
    if (c->strings) compare_strings(t, shared_path(c->strings));
    mg_tokenizer *again = written_and_read(t);
    assert_int_equal(mg_tokenizer_size(again), mg_tokenizer_size(t));
    compare_texts(again, ref_path(c->reference));
    if (c->strings) compare_strings(again, shared_path(c->strings));
    mg_tokenizer_free(again);
    mg_tokenizer_free(t);
}

/* What a user types does not become a control token; a template's text does. */
static void test_special_text(void **state) {
    static const char text[] = "<|im_start|>user\n<|im_end|>";
    (void)state;
    mg_error      err;
    double        ms;
    mg_ids        plain = { 0 }, parsed = { 0 };
    mg_buf        back = { 0 };
    mg_tokenizer *t = of_gguf(model_path("smollm2.gguf"), &ms);
    assert_ok(mg_tokenize(t, text, strlen(text), 0, &plain, &err), err);
    assert_ok(mg_tokenize(t, text, strlen(text), MG_TOKENIZE_PARSE, &parsed, &err), err);
    for (size_t i = 0; i < plain.len; i++) assert_false(mg_tokenizer_is_special(t, plain.data[i]));
    assert_int_equal(parsed.data[0], mg_tokenizer_id(t, "<|im_start|>"));
    assert_int_equal(parsed.data[parsed.len - 1], mg_tokenizer_id(t, "<|im_end|>"));
    assert_ok(mg_detokenize(t, plain.data, plain.len, true, &back, &err), err);
    assert_string_equal(back.data, text);
    back.len = 0;
    assert_ok(mg_detokenize(t, parsed.data, parsed.len, true, &back, &err), err);
    assert_string_equal(back.data, "user\n");
    mg_ids_free(&plain);
    mg_ids_free(&parsed);
    mg_buf_free(&back);
    mg_tokenizer_free(t);
}

/* llama.cpp's own lists, for the vocabularies of which only a GGUF file is there. */
static void compare_inp_out(const char *gguf, const char *inp, const char *out) {
    static const char separator[] = "\n__ggml_vocab_test__\n";
    mg_error          err;
    double            ms;
    mg_buf            in = { 0 }, want = { 0 };
    int               n = 0;
    mg_tokenizer     *t = of_gguf(gguf, &ms);
    assert_ok(mg_read_file(&in, inp, 1 << 20, &err), err);
    assert_ok(mg_read_file(&want, out, 1 << 20, &err), err);
    char *line = want.data;
    for (char *text = in.data, *next; text && *text && *line; text = next, n++) {
        mg_ids got = { 0 };
        next = strstr(text, separator);
        size_t len = next ? (size_t)(next - text) : strlen(text);
        if (next) next += sizeof separator - 1;
        assert_ok(mg_tokenize(t, text, len, 0, &got, &err), err);
        char *end = strchr(line, '\n');
        for (size_t i = 0; i < got.len; i++) assert_int_equal(strtol(line, &line, 10), got.data[i]);
        while (*line == ' ') line++;
        assert_ptr_equal(line, end);
        line = end + 1;
        mg_ids_free(&got);
    }
    assert_true(n > 40);
    mg_buf_free(&in);
    mg_buf_free(&want);
    mg_tokenizer_free(t);
}

static void test_vocabularies(void **state) {
    (void)state;
    compare_inp_out(ref_path("tokenizers/gguf-vocab/gpt-2.gguf"), ref_path("tokenizers/gguf-vocab/gpt-2.gguf.inp"),
                    ref_path("tokenizers/gguf-vocab/gpt-2.gguf.out"));
    compare_inp_out(ref_path("tokenizers/gguf-vocab/llama-spm.gguf"),
                    ref_path("tokenizers/gguf-vocab/llama-spm.gguf.inp"),
                    ref_path("tokenizers/gguf-vocab/llama-spm.gguf.out"));
    double        ms;
    mg_tokenizer *t = of_gguf(ref_path("tokenizers/gguf-vocab/llama-spm.gguf"), &ms);
    compare_with(t, shared_path("tokenizer-reference/llama2.json"), MG_TOKENIZE_PARSE, true);
    mg_tokenizer_free(t);
    t = of_gguf(ref_path("tokenizers/gguf-vocab/gpt-2.gguf"), &ms);
    compare_with(t, shared_path("tokenizer-reference/gpt2.json"), MG_TOKENIZE_PARSE, true);
    mg_tokenizer_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        { "smollm2", test_real, NULL, NULL, (void *)&cases[0] },
        { "gemma3", test_real, NULL, NULL, (void *)&cases[1] },
        { "qwen", test_real, NULL, NULL, (void *)&cases[2] },
        cmocka_unit_test(test_special_text),
        cmocka_unit_test(test_vocabularies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
