/* test_bundle.c -- where template and stop tokens come from, in which order, and how models are found by name. */
#include "../support.h"

#include "base/file.h"
#include "infer/bundle.h"

static mg_error err;
#define OK(call) assert_ok(call, err)

static void put(const char *folder, const char *name, const char *text) {
    char path[4200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (text)
        OK(mg_replace_file(path, text, strlen(text), &err));
    else
        remove(path);
}

/* A folder with Qwen 3's tokenizer (chatml tokens) and nothing else. */
static char *make_folder(void) {
    char  *folder = make_temp_folder();
    mg_buf text = { 0 };
    char   path[4200];
    OK(mg_read_file(&text, ref_path("tokenizers/qwen3/tokenizer.json"), 64 << 20, &err));
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    OK(mg_replace_file(path, text.data, text.len, &err));
    mg_buf_free(&text);
    return folder;
}

static void expect_template(const char *folder, const char *given, const char *origin, const char *part) {
    mg_bundle b;
    OK(mg_bundle_open_text(&b, folder, given, &err));
    if (!origin)
        assert_null(b.chat_template);
    else {
        assert_non_null(b.chat.chat_template);
        if (!strstr(b.template_origin, origin)) fail_msg("template from %s, wanted %s", b.template_origin, origin);
        assert_non_null(strstr(b.template_text, part));
    }
    mg_bundle_close(&b);
}

static void order_of_templates(void **state) {
    (void)state;
    char *folder = make_folder(), own[4200];
    snprintf(own, sizeof own, "%s/mine.jinja", folder);
    expect_template(folder, NULL, "built-in chatml", "<|im_start|>");
    put(folder, "tokenizer_config.json", "{\"chat_template\": \"one string\"}");
    expect_template(folder, NULL, "tokenizer_config.json", "one string");
    put(folder, "tokenizer_config.json",
        "{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"tools\"}, {\"name\": \"default\", "
        "\"template\": \"from a list\"}]}");
    expect_template(folder, NULL, "tokenizer_config.json", "from a list");
    put(folder, "chat_template.jinja", "a file\n");
    expect_template(folder, NULL, "chat_template.jinja", "a file");
    put(folder, "mine.jinja", "mine");
    expect_template(folder, own, "mine.jinja", "mine");
    expect_template(folder, "gemma", "built-in gemma", "<start_of_turn>");
    expect_template(folder, "none", NULL, NULL);

    mg_bundle b;
    assert_fails(mg_bundle_open_text(&b, folder, "no_such", &err), err, MG_NOTFOUND, "no_such");
    put(folder, "chat_template.jinja", "{% for %}");
    assert_fails(mg_bundle_open_text(&b, folder, NULL, &err), err, MG_TEMPLATE, "chat_template.jinja");
    expect_template(folder, "none", NULL, NULL); /* a broken template does not stop work on raw text */
    put(folder, "chat_template.jinja", NULL);
    put(folder, "tokenizer_config.json", "{\"chat_template\": ");
    assert_int_equal(mg_bundle_open_text(&b, folder, NULL, &err), MG_FORMAT);
    remove_temp_folder(folder);
}

static void expect_stops(const char *folder, const int32_t *want, size_t n) {
    mg_bundle b;
    OK(mg_bundle_open_text(&b, folder, NULL, &err));
    assert_int_equal(b.n_stop, n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(b.stop[i], want[i]);
        assert_true(mg_bundle_stops(&b, want[i]));
    }
    assert_false(mg_bundle_stops(&b, 17));
    mg_bundle_close(&b);
}

static void union_of_stop_tokens(void **state) {
    (void)state;
    char *folder = make_folder();
    expect_stops(folder, (int32_t[]){ 151643, 151645 },
                 2); /* <|endoftext|>, <|im_end|>: control tokens of the vocabulary */
    put(folder, "config.json", "{\"eos_token_id\": 3}");
    put(folder, "generation_config.json", "{\"eos_token_id\": [9, 5, 151645, 99999999, -4]}");
    expect_stops(folder, (int32_t[]){ 3, 5, 9, 151643, 151645 }, 5);
    remove_temp_folder(folder);
}

static void finding(void **state) {
    (void)state;
    char *folder = make_temp_folder(), *path = NULL, name[4200];
    assert_int_equal(setenv("MIGAKI_MODELS", folder, 1), 0);
    put(folder, "tiny.gguf", "x");
    OK(mg_bundle_find(&path, "tiny", &err));
    assert_non_null(strstr(path, "/tiny.gguf"));
    free(path);
    OK(mg_bundle_find(&path, "tiny.gguf", &err));
    free(path);
    snprintf(name, sizeof name, "%s/tiny.gguf", folder);
    OK(mg_bundle_find(&path, name, &err));
    assert_string_equal(path, name);
    free(path);
    path = NULL;
    assert_fails(mg_bundle_find(&path, "someone/a-model", &err), err, MG_NOTFOUND, "someone/a-model");
    assert_non_null(strstr(err.text, "downloaded"));
    assert_fails(mg_bundle_find(&path, "", &err), err, MG_NOTFOUND, "no such model");
    assert_null(path);
    mg_bundle b;
    assert_int_equal(mg_bundle_open(&b, "tiny", NULL, NULL, &err), MG_FORMAT);
    remove_temp_folder(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(order_of_templates),
                                        cmocka_unit_test(union_of_stop_tokens), cmocka_unit_test(finding) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
