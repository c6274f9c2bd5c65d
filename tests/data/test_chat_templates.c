/* test_chat_templates.c -- the loss mask on tokens, for every real template and conversation of the reference.
 *
 * The reference has no masks for templates without {% generation %} blocks, but it has the text. Where an assistant's
 * message stands in it is found here by search, which is safe as no two messages of these conversations are alike:
 * each run of trained tokens must hold one such message, in order, little else, and nothing of anybody else. Where Python
 * refuses a conversation so does the sample, in the template's words. */
#include "fixtures.h"

typedef struct {
    const char *rendered, *tokenizer;
} family;

static const family families[] = {
    { "gemma-2", "gemma2" },
    { "gemma-2-TRLtraining", "gemma2" },
    { "gemma-3", "gemma3" },
    { "gemma-3-TRLtraining", "gemma3" },
    { "llama-2-chat", "llama2" },
    { "llama-3", "llama3_1" },
    { "llama-3-TRLtraining", "llama3_1" },
    { "llama-3.1", "llama3_1" },
    { "llama-3.2", "llama3_1" },
    { "mistral-v0.1", "mistral/v0.1" },
    { "mistral-v2v3-axolotl", "mistral/v0.1" },
    { "mistral-nemo", "mistral/v0.1" },
    { "qwen2.5", "qwen3" },
    { "qwen2.5-TRLtraining", "qwen3" },
    { "qwen3", "qwen3" },
    { "qwen3-TRLtraining", "qwen3" },
    { "smollm2", "qwen3" },
    { "chatml-axolotl", "qwen3" },
    { "phi-3.5", "phi3" },
    { "llm-jp-4-alpha", "llama2" },
    { "alpaca-axolotl", "llama2" },
};

/* Phi-3's tokenizer is Llama 2's and eleven control tokens, which take the white space behind them. */
static mg_tokenizer *phi3_tokenizer(void) {
    static const char *const names[] = { "<|endoftext|>", "<|assistant|>", "<|placeholder1|>", "<|placeholder2|>",
                                         "<|placeholder3|>", "<|placeholder4|>", "<|system|>", "<|end|>",
                                         "<|placeholder5|>", "<|placeholder6|>", "<|user|>" };
    mg_error      err;
    mg_buf        file = { 0 }, json = { 0 };
    mg_tokenizer *t = NULL;
    assert_ok(mg_read_file(&file, ref_path("tokenizers/llama2/tokenizer.generated.json"), 1 << 24, &err), err);
    char *list = strstr(file.data, "\"added_tokens\"");
    assert_non_null(list);
    list = strchr(list, '[') + 1;
    mg_buf_add(&json, file.data, (size_t)(list - file.data));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        mg_buf_printf(&json, "{\"id\":%zu,\"content\":\"%s\",\"rstrip\":%s,\"normalized\":false,\"special\":true},", 32000 + i, names[i],
                      i ? "true" : "false");
    mg_buf_str(&json, list);
    assert_ok(mg_tokenizer_parse_json(&t, json.data, json.len, "phi3", &err), err);
    mg_buf_free(&file);
    mg_buf_free(&json);
    return t;
}

static const char *text_of(yyjson_val *object, const char *key) { return yyjson_get_str(yyjson_obj_get(object, key)); }

static model_text open_family(const family *f, const mg_json *rendered) {
    const char *template_file = text_of(rendered->root, "template_file");
    bool        phi = !strcmp(f->tokenizer, "phi3");
    model_text  m = open_model_text(phi ? "llama2" : f->tokenizer, template_file, text_of(rendered->root, "bos_token"),
                        text_of(rendered->root, "eos_token"));
    if (!phi) return m;
    mg_tokenizer_free(m.tokenizer);
    m.tokenizer = phi3_tokenizer();
    m.chat.tokenizer = m.tokenizer;
    return m;
}

static bool is_blank(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

/* What must be trained of a message: its text without blanks at the ends, without the thought if the template dropped it. */
static void expected(mg_buf *out, const char *content, const char *rendered) {
    const char *begin = content, *thought = strstr(content, "</think>");
    for (int drop = 0; drop < 2; drop++) {
        if (drop && thought) begin = thought + strlen("</think>");
        while (is_blank(*begin)) begin++;
        size_t n = strlen(begin);
        while (n && is_blank(begin[n - 1])) n--;
        out->len = 0;
        mg_buf_add(out, begin, n);
        if (strstr(rendered, out->data)) return;
    }
    fail_msg("'%s' is not in '%s'", content, rendered);
}

static bool is_role(yyjson_val *message, const char *role) {
    return !strcmp(text_of(message, "role"), role);
}

/* The next run of trained tokens from *at on as text; false: there is none. */
static bool next_run(const mg_sample *s, const mg_tokenizer *t, int32_t *at, mg_buf *text) {
    mg_error err;
    int32_t  begin;
    while (*at < s->n && s->label[*at] == MG_IGNORE) ++*at;
    begin = *at;
    while (*at < s->n && s->label[*at] != MG_IGNORE) ++*at;
    text->len = 0;
    assert_ok(mg_detokenize(t, s->ids + begin, (size_t)(*at - begin), false, text, &err), err);
    return *at > begin;
}

/* Each trained run is one answer and hardly more. */
static void check_runs(const char *what, const mg_sample *s, const model_text *m, yyjson_val *messages, const char *rendered) {
    mg_buf      run = { 0 }, want = { 0 };
    size_t      i, n, k, count;
    int32_t     at = 0;
    yyjson_val *message, *other;
    yyjson_arr_foreach(messages, i, n, message) {
        if (!is_role(message, "assistant")) continue;
        const char *content = text_of(message, "content");
        if (!content[strspn(content, " \n\t")]) { /* an empty answer: its end, or nothing at all */
            int32_t before = at;
            if (!next_run(s, m->tokenizer, &at, &run) || run.len > 40) at = before;
            continue;
        }
        expected(&want, content, rendered);
        if (!next_run(s, m->tokenizer, &at, &run)) fail_msg("%s: '%s' is not trained", what, want.data);
        if (!strstr(run.data, want.data)) fail_msg("%s: trained '%s', wanted '%s'", what, run.data, want.data);
        if (run.len > want.len + 50) fail_msg("%s: trained '%s', which is more than '%s'", what, run.data, want.data);
        yyjson_arr_foreach(messages, k, count, other) {
            const char *theirs = text_of(other, "content");
            if (!is_role(other, "assistant") && strlen(theirs) > 4 && strstr(run.data, theirs))
                fail_msg("%s: '%s' of another is trained", what, theirs);
        }
    }
    if (next_run(s, m->tokenizer, &at, &run)) fail_msg("%s: '%s' is trained, too", what, run.data);
    mg_buf_free(&run);
    mg_buf_free(&want);
}

static bool has_assistant(yyjson_val *messages) {
    size_t      i, n;
    yyjson_val *message;
    yyjson_arr_foreach(messages, i, n, message) if (is_role(message, "assistant")) return true;
    return false;
}

static void check_case(const family *f, const model_text *m, yyjson_val *c, yyjson_val *conversation) {
    yyjson_val     *messages = yyjson_obj_get(conversation, "messages"), *error = yyjson_obj_get(c, "error");
    mg_buf          json = { 0 };
    mg_error        err;
    mg_sample       s = { 0 };
    mg_data_options o = usual_options();
    char            what[200], *list = yyjson_val_write(messages, 0, NULL);
    snprintf(what, sizeof what, "%s, %s", f->rendered, text_of(conversation, "name"));
    mg_buf_printf(&json, "{\"messages\":");
    mg_buf_str(&json, list);
    mg_buf_char(&json, '}');
    mg_status st = sample_of(&s, json.data, &o, m, &err);
    if (error) {
        const char *says = strstr(yyjson_get_str(error), ": ") + 2;
        if (st != MG_TEMPLATE || !strstr(err.text, says)) fail_msg("%s: '%s' is not in '%s'", what, says, st ? err.text : "");
    } else if (st == MG_MASK && !strcmp(text_of(conversation, "name"), "empty_contents")) {
        assert_non_null(strstr(err.text, "an empty one")); /* where not even its end is the assistant's */
    } else if (st) {
        fail_msg("%s: %s", what, err.text);
    } else
        check_runs(what, &s, m, messages, text_of(c, "rendered"));
    mg_sample_free(&s);
    mg_buf_free(&json);
    free(list);
}

static void masks_hold_the_answers(void **state) {
    const family *f = *state;
    mg_error      err;
    mg_json       rendered = { 0 }, conversations = { 0 };
    char          path[200];
    size_t        i, n, k, m, checked = 0;
    yyjson_val   *c, *conversation;
    snprintf(path, sizeof path, "chat-templates/rendered/%s.json", f->rendered);
    assert_ok(mg_json_open(&rendered, shared_path(path), 1 << 20, &err), err);
    assert_ok(mg_json_open(&conversations, shared_path("chat-templates/rendered/conversations.json"), 1 << 20, &err), err);
    model_text text = open_family(f, &rendered);
    yyjson_arr_foreach(conversations.root, k, m, conversation) {
        if (yyjson_obj_get(conversation, "tools") || !has_assistant(yyjson_obj_get(conversation, "messages"))) continue;
        yyjson_arr_foreach(yyjson_obj_get(rendered.root, "cases"), i, n, c) {
            if (strcmp(text_of(conversation, "name"), text_of(c, "conversation")) != 0) continue;
            check_case(f, &text, c, conversation);
            checked++;
            break;
        }
    }
    assert_int_equal(checked, 8);
    close_model_text(&text);
    mg_json_free(&rendered);
    mg_json_free(&conversations);
}

int main(void) {
    enum { N = sizeof families / sizeof *families };
    struct CMUnitTest tests[N];
    for (size_t i = 0; i < N; i++)
        tests[i] = (struct CMUnitTest){ families[i].rendered, masks_hold_the_answers, NULL, NULL, (void *)&families[i] };
    return _cmocka_run_group_tests("chat_templates", tests, N, NULL, NULL);
}
