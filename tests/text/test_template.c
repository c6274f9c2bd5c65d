/* test_template.c -- the template engine against Python's jinja2, and against hostile templates. */
#include "support.h"

#include "base/file.h"
#include "text/template.h"

#include <time.h>

/* The day that the reference renderings were made on: 26 Jul 2024. */
static int set_day(void **state) {
    (void)state;
    return setenv("SOURCE_DATE_EPOCH", "1721952000", 1);
}

static mg_status render(mg_rendered *out, const char *text, size_t n, yyjson_val *context, mg_error *err) {
    mg_template *t = NULL;
    mg_status    st = mg_template_parse(&t, text, n, "template", err);
    if (!st) st = mg_template_render(t, context, out, err);
    mg_template_free(t);
    return st;
}

/* Render with a context given as JSON text. */
static mg_status render_text(mg_rendered *out, const char *text, const char *context, mg_error *err) {
    mg_json json = { 0 };
    assert_ok(mg_json_parse(&json, context, strlen(context), "context", err), *err);
    mg_status st = render(out, text, strlen(text), json.root, err);
    mg_json_free(&json);
    return st;
}

static void assert_renders(const char *text, const char *context, const char *wanted) {
    mg_rendered r = { 0 };
    mg_error    err;
    assert_ok(render_text(&r, text, context, &err), err);
    assert_string_equal(r.text.data, wanted);
    mg_rendered_free(&r);
}

/* Bytes of the first `chars` code points. */
static size_t byte_offset(const char *s, size_t chars) {
    size_t i = 0;
    while (s[i] && (chars || (s[i] & 0xc0) == 0x80)) chars -= (s[i++] & 0xc0) != 0x80;
    return i;
}

/* Compare one rendering with {"rendered" or "text", "error", "spans" in bytes or "assistant_char_spans"}. */
static void compare(const char *what, yyjson_val *c, mg_status st, const mg_rendered *r, const mg_error *err) {
    yyjson_val *error = yyjson_obj_get(c, "error"), *text = yyjson_obj_get(c, "rendered");
    yyjson_val *spans = yyjson_obj_get(c, "spans"), *char_spans = yyjson_obj_get(c, "assistant_char_spans");
    if (!text) text = yyjson_obj_get(c, "text");
    if (error) {
        const char *message = strstr(yyjson_get_str(error), ": ");
        message = message ? message + 2 : yyjson_get_str(error);
        if (st != MG_TEMPLATE)
            fail_msg("%s: Python fails (%s), here '%s'", what, message, st ? err->text : r->text.data);
        if (!strstr(err->text, message)) fail_msg("%s: '%s' is not in '%s'", what, message, err->text);
        return;
    }
    if (st) fail_msg("%s: %s", what, err->text);
    if (strcmp(r->text.data, yyjson_get_str(text)))
        fail_msg("%s:\n got '%s'\nwant '%s'", what, r->text.data, yyjson_get_str(text));
    yyjson_val *list = spans ? spans : char_spans;
    if (!list) return;
    assert_int_equal(r->n_spans, yyjson_arr_size(list));
    for (size_t i = 0; i < r->n_spans; i++)
        for (size_t k = 0; k < 2; k++) {
            size_t at = yyjson_get_uint(yyjson_arr_get(yyjson_arr_get(list, i), k));
            if (!spans) at = byte_offset(r->text.data, at);
            if ((k ? r->span[i].end : r->span[i].begin) != at) fail_msg("%s: span %zu", what, i);
        }
}

static void small_templates_as_python(void **state) {
    (void)state;
    mg_json     file = { 0 };
    mg_error    err;
    yyjson_val *c;
    assert_ok(mg_json_open(&file, source_path("tests/text/template_cases.json"), 1 << 22, &err), err);
    yyjson_val     *cases = yyjson_obj_get(file.root, "cases"), *context = yyjson_obj_get(file.root, "context");
    yyjson_arr_iter it = yyjson_arr_iter_with(cases);
    assert_true(yyjson_arr_size(cases) > 150);
    while ((c = yyjson_arr_iter_next(&it))) {
        yyjson_val *t = yyjson_obj_get(c, "template");
        mg_rendered r = { 0 };
        mg_status   st = render(&r, yyjson_get_str(t), yyjson_get_len(t), context, &err);
        compare(yyjson_get_str(t), c, st, &r, &err);
        mg_rendered_free(&r);
    }
    mg_json_free(&file);
}

static yyjson_val *conversation(const mg_json *all, const char *name) {
    yyjson_arr_iter it = yyjson_arr_iter_with(all->root);
    for (yyjson_val *c; (c = yyjson_arr_iter_next(&it));)
        if (yyjson_equals_str(yyjson_obj_get(c, "name"), name)) return c;
    fail_msg("no conversation '%s'", name);
    return NULL;
}

/* messages, tools, add_generation_prompt and the tokens, as transformers hands them to a template. */
static yyjson_mut_doc *context_of(yyjson_val *file, yyjson_val *conv, yyjson_val *c) {
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc);
    yyjson_val     *tools = yyjson_obj_get(conv, "tools"), *thinking = yyjson_obj_get(c, "enable_thinking");
    yyjson_mut_doc_set_root(doc, root);
    yyjson_mut_obj_add_val(doc, root, "messages", yyjson_val_mut_copy(doc, yyjson_obj_get(conv, "messages")));
    yyjson_mut_obj_add_val(doc, root, "tools", tools ? yyjson_val_mut_copy(doc, tools) : yyjson_mut_null(doc));
    yyjson_mut_obj_add_null(doc, root, "documents");
    yyjson_mut_obj_add_bool(doc, root, "add_generation_prompt",
                            yyjson_get_bool(yyjson_obj_get(c, "add_generation_prompt")));
    for (int i = 0; i < 2; i++) {
        const char *key = i ? "eos_token" : "bos_token";
        yyjson_mut_obj_add_val(doc, root, key, yyjson_val_mut_copy(doc, yyjson_obj_get(file, key)));
    }
    if (thinking) yyjson_mut_obj_add_val(doc, root, "enable_thinking", yyjson_val_mut_copy(doc, thinking));
    return doc;
}

static void real_template(const char *name, const mg_json *conversations, size_t *n_cases) {
    char         path[200], what[300];
    mg_json      file = { 0 };
    mg_buf       text = { 0 };
    mg_error     err;
    mg_template *t = NULL;
    snprintf(path, sizeof path, "chat-templates/rendered/%s.json", name);
    assert_ok(mg_json_open(&file, shared_path(path), 1 << 20, &err), err);
    snprintf(path, sizeof path, "chat-templates/%s", yyjson_get_str(yyjson_obj_get(file.root, "template_file")));
    assert_ok(mg_read_file(&text, shared_path(path), 1 << 20, &err), err);
    assert_ok(mg_template_parse(&t, text.data, text.len, path, &err), err);
    yyjson_arr_iter it = yyjson_arr_iter_with(yyjson_obj_get(file.root, "cases"));
    for (yyjson_val *c; (c = yyjson_arr_iter_next(&it)); ++*n_cases) {
        const char     *conv = yyjson_get_str(yyjson_obj_get(c, "conversation"));
        yyjson_mut_doc *mut = context_of(file.root, conversation(conversations, conv), c);
        yyjson_doc     *context = yyjson_mut_doc_imut_copy(mut, NULL);
        mg_rendered     r = { 0 };
        mg_status       st = mg_template_render(t, yyjson_doc_get_root(context), &r, &err);
        /* the reference fixed strftime_now to one text, here the format is honoured */
        char *iso = st ? NULL : strstr(r.text.data, "Current date: 2024-07-26");
        if (iso) {
            char *plain = mg_calloc(r.text.len + 8, 1);
            sprintf(plain, "%.*sCurrent date: 26 Jul 2024%s", (int)(iso - r.text.data), r.text.data, iso + 24);
            mg_buf_free(&r.text);
            mg_buf_str(&r.text, plain);
            free(plain);
        }
        snprintf(what, sizeof what, "%s, %s", name, conv);
        compare(what, c, st, &r, &err);
        mg_rendered_free(&r);
        yyjson_doc_free(context);
        yyjson_mut_doc_free(mut);
    }
    mg_template_free(t);
    mg_buf_free(&text);
    mg_json_free(&file);
}

static void real_templates_as_python(void **state) {
    (void)state;
    static const char *const names[] = {
        "alpaca-axolotl",
        "chatml-axolotl",
        "gemma-2",
        "gemma-2-TRLtraining",
        "gemma-3",
        "gemma-3-TRLtraining",
        "llama-2-chat",
        "llama-3",
        "llama-3-TRLtraining",
        "llama-3.1",
        "llama-3.2",
        "llm-jp-4-alpha",
        "mistral-nemo",
        "mistral-v0.1",
        "mistral-v2v3-axolotl",
        "phi-3.5",
        "qwen2.5",
        "qwen2.5-TRLtraining",
        "qwen3",
        "qwen3-TRLtraining",
        "smollm2",
    };
    mg_json  conversations = { 0 };
    mg_error err;
    size_t   n = 0;
    assert_ok(
        mg_json_open(&conversations, shared_path("chat-templates/rendered/conversations.json"), 1 << 20, &err),
        err);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) real_template(names[i], &conversations, &n);
    assert_int_equal(n, 287);
    mg_json_free(&conversations);
}

/* Renderings that others recorded from transformers. */
static void recorded_from_transformers(void **state) {
    (void)state;
    mg_json     file = { 0 };
    mg_error    err;
    size_t      i, n, compared = 0;
    yyjson_val *c;
    assert_ok(mg_json_open(&file, shared_path("chat-templates/rendered/transformers-expected.json"), 1 << 20, &err), err);
    yyjson_arr_foreach(yyjson_obj_get(file.root, "cases"), i, n, c) {
        const char *name = yyjson_get_str(yyjson_obj_get(c, "template_file"));
        if (!name) continue; /* a model whose template is not at hand */
        char        path[300], *messages = yyjson_val_write(yyjson_obj_get(file.root, "conversation_full"), 0, NULL);
        mg_buf      text = { 0 }, context = { 0 };
        mg_rendered r = { 0 };
        snprintf(path, sizeof path, "chat-templates/%s", name);
        assert_ok(mg_read_file(&text, shared_path(path), 1 << 20, &err), err);
        mg_buf_printf(&context, "{\"bos_token\":\"<s>\",\"eos_token\":\"</s>\",\"add_generation_prompt\":true,\"messages\":");
        mg_buf_str(&context, messages);
        mg_buf_char(&context, '}');
        assert_ok(render_text(&r, text.data, context.data, &err), err);
        assert_string_equal(r.text.data, yyjson_get_str(yyjson_obj_get(c, "expected")));
        compared++;
        mg_rendered_free(&r);
        mg_buf_free(&text);
        mg_buf_free(&context);
        free(messages);
    }
    assert_true(compared >= 1);
    mg_json_free(&file);
}

/* Every template file that there is parses. */
static void every_template_parses(void **state) {
    (void)state;
    mg_error err;
    char     command[4200], path[4200];
    int      n = 0;
    snprintf(command, sizeof command, "ls %s/*/*.jinja", shared_path("chat-templates"));
    FILE *list = popen(command, "r"); /* NOLINT: our own path */
    assert_non_null(list);
    while (fgets(path, sizeof path, list)) {
        mg_template *t = NULL;
        mg_buf       text = { 0 };
        path[strcspn(path, "\n")] = 0;
        assert_ok(mg_read_file(&text, path, 1 << 20, &err), err);
        assert_ok(mg_template_parse(&t, text.data, text.len, path, &err), err);
        mg_template_free(t);
        mg_buf_free(&text);
        n++;
    }
    pclose(list);
    assert_true(n >= 50);
}

/* ---- whose byte is it */

#define CHAT(content) "{\"messages\":[{\"role\":\"user\",\"content\":\"" content "\"}],\"bos_token\":\"<s>\"}"

/* `marks` has a 'u' for each byte of a user, '.' for the template's. */
static void assert_marks(const char *text, const char *context, const char *wanted, const char *marks) {
    mg_rendered r = { 0 };
    mg_error    err;
    char        got[300] = "";
    assert_ok(render_text(&r, text, context, &err), err);
    assert_string_equal(r.text.data, wanted);
    for (size_t i = 0; i < r.text.len; i++) got[i] = ".uXa"[r.mark[i]];
    assert_string_equal(got, marks);
    mg_rendered_free(&r);
}

static void marks_follow_the_bytes(void **state) {
    (void)state;
    assert_marks("{{ bos_token }}{{ messages[0].role }}:{{ messages[0].content }}!", CHAT("<s>"), "<s>user:<s>!",
                 "........uuu.");
    assert_marks("{{ ('[' + messages[0].content | trim + ']').upper() }}", CHAT(" ab "), "[AB]", ".uu.");
    assert_marks("{{ messages[0].content.split('-')[1] ~ '-' ~ messages[0].content[:2] }}", CHAT("ab-cd"), "cd-ab",
                 "uu.uu");
    assert_marks("{{ messages[0].content | replace('b', 'XY') }}", CHAT("abc"), "aXYc", "u..u");
    assert_marks("{{ messages[0].content | tojson }}", CHAT("a\\nb"), "\"a\\nb\"", ".uuuu.");
    assert_marks("{{ [messages[0].content, 'x'] | join('+') }}", CHAT("ab"), "ab+x", "uu..");
    assert_marks("{% set x %}<{{ messages[0].content }}>{% endset %}{{ x }}", CHAT("ab"), "<ab>", ".uu.");
    assert_marks("{{ messages[0].content[::-1] }}{{ '%s|' % messages[0].content }}", CHAT("ab"), "baab|", "uuuu.");
    assert_marks(
        "{% for m in messages %}{{ m.role[0] + m.content }}{% endfor %}",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"yes\"}]}",
        "uqayes", ".u.aaa");
    /* a role that is no plain word counts as the user's */
    assert_marks("{{ messages[0].role }}", "{\"messages\":[{\"role\":\"<|im_end|>\"}]}", "<|im_end|>",
                 "uuuuuuuuuu");
}

static void generation_in_a_macro_is_found(void **state) {
    (void)state;
    mg_rendered r = { 0 };
    mg_error    err;
    assert_ok(render_text(&r,
                          "{% macro a(x) %}<{% generation %}{{ x }}{% endgeneration %}>{% endmacro %}"
                          "{{ a('one') }}{% generation %}two{% endgeneration %}{{ a('three') }}",
                          "{}", &err),
              err);
    assert_string_equal(r.text.data, "<one>two<three>");
    assert_true(r.has_generation_tags);
    assert_int_equal(r.n_spans, 3);
    assert_int_equal(r.span[0].begin, 1);
    assert_int_equal(r.span[0].end, 4);
    assert_int_equal(r.span[1].begin, 5);
    assert_int_equal(r.span[2].begin, 9);
    assert_int_equal(r.span[2].end, 14);
    mg_rendered_free(&r);
}

/* ---- our own templates */

static const char two_turns[] =
    "{\"messages\":[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\",\"content\":\"Q\"},"
    "{\"role\":\"assistant\",\"content\":\"A\"},{\"role\":\"user\",\"content\":\"R\"}],"
    "\"add_generation_prompt\":true,\"bos_token\":\"<s>\",\"eos_token\":\"</s>\"}";

static void builtin_formats(void **state) {
    (void)state;
    static const struct {
        const char *name, *wanted, *answer;
    } rows[] = {
        { "gemma",
          "<s><start_of_turn>user\nS\n\nQ<end_of_turn>\n<start_of_turn>model\nA<end_of_turn>\n"
          "<start_of_turn>user\nR<end_of_turn>\n<start_of_turn>model\n",
          "A<end_of_turn>" },
        { "chatml",
          "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n"
          "<|im_start|>user\nR<|im_end|>\n<|im_start|>assistant\n",
          "A<|im_end|>" },
        { "llama2", "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nQ [/INST] A </s><s>[INST] R [/INST]", " A </s>" },
        { "llama3",
          "<s><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user<|end_header_id|>"
          "\n\n"
          "Q<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nA<|eot_id|>"
          "<|start_header_id|>user<|end_header_id|>\n\nR<|eot_id|><|start_header_id|>assistant<|end_header_id|>"
          "\n\n",
          "A<|eot_id|>" },
        { "mistral", "<s>[INST] S\n\nQ [/INST]A</s>[INST] R [/INST]", "A</s>" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        mg_rendered r = { 0 };
        mg_error    err;
        const char *text = mg_template_builtin(rows[i].name);
        assert_non_null(text);
        assert_ok(render_text(&r, text, two_turns, &err), err);
        assert_string_equal(r.text.data, rows[i].wanted);
        assert_int_equal(r.n_spans, 1);
        assert_int_equal(r.span[0].end - r.span[0].begin, strlen(rows[i].answer));
        assert_memory_equal(r.text.data + r.span[0].begin, rows[i].answer, strlen(rows[i].answer));
        mg_rendered_free(&r);
    }
    assert_null(mg_template_builtin("no such"));
}

/* "gemma" gives what the real Gemma 3 template gives, for every conversation that it takes. */
static void builtin_gemma_equals_the_real_one(void **state) {
    (void)state;
    mg_json     file = { 0 }, conversations = { 0 };
    mg_error    err;
    size_t      equal = 0;
    const char *text = mg_template_builtin("gemma");
    assert_ok(mg_json_open(&file, shared_path("chat-templates/rendered/gemma-3.json"), 1 << 20, &err), err);
    assert_ok(
        mg_json_open(&conversations, shared_path("chat-templates/rendered/conversations.json"), 1 << 20, &err),
        err);
    yyjson_arr_iter it = yyjson_arr_iter_with(yyjson_obj_get(file.root, "cases"));
    for (yyjson_val *c; (c = yyjson_arr_iter_next(&it));) {
        if (!yyjson_obj_get(c, "rendered")) continue;
        const char     *name = yyjson_get_str(yyjson_obj_get(c, "conversation"));
        yyjson_mut_doc *mut = context_of(file.root, conversation(&conversations, name), c);
        yyjson_doc     *context = yyjson_mut_doc_imut_copy(mut, NULL);
        mg_rendered     r = { 0 };
        assert_ok(render(&r, text, strlen(text), yyjson_doc_get_root(context), &err), err);
        compare(name, c, MG_OK, &r, &err);
        mg_rendered_free(&r);
        yyjson_doc_free(context);
        yyjson_mut_doc_free(mut);
        equal++;
    }
    assert_true(equal >= 8);
    mg_json_free(&conversations);
    mg_json_free(&file);
}

/* ---- hostile templates end in an error, soon */

static void assert_refused(const char *text, const char *part) {
    mg_rendered r = { 0 };
    mg_error    err;
    clock_t     begin = clock();
    mg_status   st = render_text(&r, text, CHAT("x"), &err);
    double      seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
    if (st != MG_TEMPLATE && st != MG_NOMEM) fail_msg("'%.60s' was taken", text);
    if (!strstr(err.text, part)) fail_msg("'%.60s': wanted '%s', got '%s'", text, part, err.text);
    if (seconds > 20) fail_msg("'%.60s' took %.1f s", text, seconds);
    assert_null(r.text.data);
}

static void hostile_templates(void **state) {
    (void)state;
    char  deep[4000] = "{{ ";
    char *end = deep + 3;
    assert_refused("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
                   "runs on and on");
    assert_refused("{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}", "deeper than 64");
    assert_refused("{{ range(99999) }}", "range of more than 10000");
    assert_refused(
        "{% set x = namespace(s='abcdefgh') %}{% for i in range(60) %}{% set x.s = x.s + x.s %}{% endfor %}", "");
    assert_refused("{{ 'x' * 999999999999 }}", "");
    assert_refused("{{ [0] * 999999999999 }}", "");
    assert_refused(
        "{% set x = namespace(v=[]) %}{% for i in range(200) %}{% set x.v = [x.v] %}{% endfor %}{{ x.v }}",
        "nested");
    assert_refused("{% set x = namespace(v=[]) %}{% for i in range(200) %}{% set x.v = [x.v] %}{% endfor %}{{ x.v "
                   "| tojson }}",
                   "nested");
    assert_refused("{% set x = namespace(v=[]) %}{% for i in range(40) %}{% set x.v = [x.v, x.v] %}{% endfor %}{{ "
                   "x.v == [1] + x.v }}{{ x.v | tojson }}",
                   "");
    assert_refused("{{ 9223372036854775807 + 1 }}", "64 bits");
    assert_refused("{{ -9223372036854775807 - 2 }}", "64 bits");
    assert_refused("{{ 2 ** 64 }}", "64 bits");
    assert_refused("{{ 99999999999999999999 }}", "64 bits");
    assert_refused("{{ 1 % 0 }}", "zero");
    assert_refused("{{ 'x'.__class__.__mro__ }}", "undefined");
    assert_refused("\xff", "UTF-8");
    for (int i = 0; i < 300; i++) *end++ = '(';
    strcpy(end, "1");
    assert_refused(deep, "deeper than 64");
    end = deep + 3;
    for (int i = 0; i < 900; i++) end = stpcpy(end, "-");
    strcpy(end, "1 }}");
    assert_refused(deep, "deeper than 64");
    end = deep + 3;
    for (int i = 0; i < 1500; i++) end = stpcpy(end, "1+");
    strcpy(end, "1 }}");
    assert_refused(deep, "deeper than 1000");
}

/* Every prefix and every flipped byte of a real template: parsed, rendered or refused, nothing else. */
static void damaged_templates(void **state) {
    (void)state;
    mg_buf      text = { 0 };
    mg_json     context = { 0 };
    mg_error    err;
    mg_rendered r;
    assert_ok(mg_json_parse(&context, two_turns, strlen(two_turns), "context", &err), err);
    assert_ok(mg_read_file(&text, shared_path("chat-templates/npm/gemma-3-it.jinja"), 1 << 20, &err), err);
    for (size_t n = 0; n < text.len; n++) {
        char *exact = mg_strndup(text.data, n);
        r = (mg_rendered){ 0 };
        render(&r, exact, n, context.root, &err);
        mg_rendered_free(&r);
        free(exact);
    }
    for (size_t i = 0; i < text.len; i++)
        for (int bit = 0; bit < 8; bit += 3) {
            text.data[i] ^= (char)(1 << bit);
            r = (mg_rendered){ 0 };
            render(&r, text.data, text.len, context.root, &err);
            mg_rendered_free(&r);
            text.data[i] ^= (char)(1 << bit);
        }
    mg_buf_free(&text);
    mg_json_free(&context);
}

static void zero_bytes_pass_through(void **state) {
    (void)state;
    mg_rendered r = { 0 };
    mg_error    err;
    assert_ok(render_text(&r, "[{{ messages[0].content }}]", CHAT("a\\u0000b"), &err), err);
    assert_int_equal(r.text.len, 5);
    assert_memory_equal(r.text.data, "[a\0b]", 5);
    mg_rendered_free(&r);
}

static void errors_name_the_line(void **state) {
    (void)state;
    mg_rendered r = { 0 };
    mg_error    err;
    assert_fails(render_text(&r, "a\n\n{{ nope.x }}", "{}", &err), err, MG_TEMPLATE,
                 "template: line 3: 'nope' is undefined");
    assert_fails(render_text(&r, "a\n{% if x %}", "{}", &err), err, MG_TEMPLATE, "inside a block");
    assert_fails(render_text(&r, "{{ 1 | nofilter }}", "{}", &err), err, MG_TEMPLATE,
                 "no filter named 'nofilter'");
    assert_fails(render_text(&r, "{{ 1 }}", "[]", &err), err, MG_TEMPLATE, "JSON object");
    assert_renders("{% if false %}{{ 1 | nofilter }}{% endif %}ok", "{}", "ok");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_templates_as_python),
        cmocka_unit_test(real_templates_as_python),
        cmocka_unit_test(recorded_from_transformers),
        cmocka_unit_test(every_template_parses),
        cmocka_unit_test(marks_follow_the_bytes),
        cmocka_unit_test(generation_in_a_macro_is_found),
        cmocka_unit_test(builtin_formats),
        cmocka_unit_test(builtin_gemma_equals_the_real_one),
        cmocka_unit_test(hostile_templates),
        cmocka_unit_test(damaged_templates),
        cmocka_unit_test(zero_bytes_pass_through),
        cmocka_unit_test(errors_name_the_line),
    };
    return cmocka_run_group_tests(tests, set_day, NULL);
}
