/* cmd_template.c -- `template show | render | check`: the chat template of a model, and whether training can trust it.
 *
 * A template decides what a model sees and what it learns.  `check` puts a short conversation through the same
 * code that training uses and tells, test by test, what would go wrong in silence. */
#include "cli/inference.h"

#include "base/json.h"

#include <libintl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    int                  action;
    mg_inference_options model;
    bool                 generation_prompt;
} template_options;

enum { SHOW, RENDER, CHECK };

static const mg_option rows[] = {
    { .name = "action", .type = &mg_option_enum, .offset = offsetof(template_options, action), .def = "show",
      .choices = "show|render|check", .positional = true, .metavar = "show|render|check", .group = "",
      .help = MG_N("print the template, put a conversation from standard input through it, or test it") },
    { .name = "add_generation_prompt", .aliases = "generation_prompt", .type = &mg_option_bool,
      .offset = offsetof(template_options, generation_prompt), .def = "true", .group = "",
      .help = MG_N("render: end where the assistant begins") },
    MG_TEXT_ROWS(template_options, model), MG_TEMPLATE_ROW(template_options, model), { 0 },
};

static const char EXAMPLE[] = "[{\"role\": \"user\", \"content\": \"What is the capital of Japan?\"}]";

static mg_status need_template(const mg_bundle *b, mg_error *err) {
    if (b->chat_template) return MG_OK;
    return mg_fail(err, MG_TEMPLATE,
                   "%s: has no chat template and none of the control tokens that a built-in one needs; give one with --chat_template",
                   b->path);
}

static mg_status show(const mg_cli *cli, const mg_bundle *b, mg_error *err) {
    mg_buf out = { 0 };
    if (cli->global.json) {
        mg_buf_str(&out, "{\"origin\":");
        mg_json_quote(&out, b->template_origin, strlen(b->template_origin));
        mg_buf_str(&out, ",\"template\":");
        mg_json_quote(&out, b->template_text, strlen(b->template_text));
        mg_buf_str(&out, "}\n");
    } else
        mg_buf_printf(&out, "{#- %s -#}\n%s\n", b->template_origin, b->template_text);
    mg_status st = mg_print(&out, err);
    mg_buf_free(&out);
    return st;
}

/* ---- rendering ---- */

static void json_text_or_null(mg_buf *b, const char *key, const char *text) {
    mg_buf_printf(b, ", \"%s\": ", key);
    if (text)
        mg_json_quote(b, text, strlen(text));
    else
        mg_buf_str(b, "null");
}

/* `messages`: JSON text of an array. */
static mg_status render(mg_rendered *out, const mg_bundle *b, const char *messages, bool generation_prompt, mg_error *err) {
    mg_buf  text = { 0 };
    mg_json context = { 0 };
    mg_buf_printf(&text, "{\"messages\": %s, \"tools\": null, \"documents\": null, \"add_generation_prompt\": %s", messages,
                  generation_prompt ? "true" : "false");
    json_text_or_null(&text, "bos_token", b->bos_text);
    json_text_or_null(&text, "eos_token", b->eos_text);
    mg_buf_char(&text, '}');
    mg_status st = text.failed ? mg_fail(err, MG_NOMEM, "no memory for a conversation")
                               : mg_json_parse(&context, text.data, text.len, "the conversation", err);
    if (!st) st = mg_template_render(b->chat_template, context.root, out, err);
    mg_json_free(&context);
    mg_buf_free(&text);
    return st;
}

/* An array of messages, or an object that has one, as JSON text on the heap. */
static mg_status messages_of(char **out, const mg_buf *input, mg_error *err) {
    mg_json     json = { 0 };
    mg_status   st = mg_json_parse(&json, input->data, input->len, "standard input", err);
    yyjson_val *list = yyjson_is_obj(json.root) ? yyjson_obj_get(json.root, "messages") : json.root;
    if (!st && !yyjson_is_arr(list))
        st = mg_fail(err, MG_DATA, "standard input: neither [{\"role\": ..., \"content\": ...}, ...] nor {\"messages\": [...]}");
    if (!st && !(*out = yyjson_val_write(list, 0, NULL))) st = mg_fail(err, MG_NOMEM, "no memory for a conversation");
    mg_json_free(&json);
    return st;
}

static mg_status render_input(const mg_cli *cli, const mg_bundle *b, bool generation_prompt, mg_error *err) {
    mg_buf      input = { 0 }, out = { 0 };
    mg_rendered r = { 0 };
    char       *messages = NULL;
    mg_status   st = MG_OK;
    if (isatty(STDIN_FILENO))
        mg_buf_str(&input, EXAMPLE);
    else
        st = mg_read_input(&input, err);
    if (!st) st = messages_of(&messages, &input, err);
    if (!st) st = render(&r, b, messages, generation_prompt, err);
    if (!st && cli->global.json) {
        mg_buf_str(&out, "{\"text\":");
        mg_json_quote(&out, r.text.data ? r.text.data : "", r.text.len);
        mg_buf_str(&out, "}\n");
    } else if (!st)
        mg_buf_add(&out, r.text.data, r.text.len);
    if (!st) st = mg_print(&out, err);
    free(messages);
    mg_rendered_free(&r);
    mg_buf_free(&input);
    mg_buf_free(&out);
    return st;
}

/* ---- tests ---- */

#define USER(text)      "{\"role\": \"user\", \"content\": \"" text "\"}"
#define ASSISTANT(text) "{\"role\": \"assistant\", \"content\": \"" text "\"}"
#define QUESTION        USER("Which word?")
#define ANSWER_TEXT     "Zirconium."
static const char TURN[] = "[" QUESTION ", " ASSISTANT(ANSWER_TEXT) "]";
static const char TURNS[] = "[" QUESTION ", " ASSISTANT("One.") ", " USER("Another?") ", " ASSISTANT("Two.") "]";
static const char WITH_SYSTEM[] = "[{\"role\": \"system\", \"content\": \"Quicksilver\"}, " QUESTION "]";
static const char ASKED[] = "[" QUESTION "]";

typedef enum { GOOD, NOTE, BAD } verdict;

/* A conversation as training would have it. */
static mg_status sample_of(mg_sample *s, const mg_bundle *b, const char *messages, mg_error *err) {
    mg_data_options o = { .assistant_only_loss = true, .append_eos = true };
    mg_buf          text = { 0 };
    mg_json         row = { 0 };
    mg_buf_printf(&text, "{\"messages\": %s}", messages);
    mg_status st = text.failed ? mg_fail(err, MG_NOMEM, "no memory for a conversation")
                               : mg_json_parse(&row, text.data, text.len, "the conversation", err);
    if (!st) st = mg_sample_from_json(s, row.root, &o, &b->chat, err);
    mg_json_free(&row);
    mg_buf_free(&text);
    return st;
}

static verdict renders(const mg_bundle *b, mg_buf *why) {
    mg_error    err;
    mg_rendered r = { 0 };
    mg_status   st = render(&r, b, TURNS, false, &err);
    bool        all = !st && strstr(r.text.data, "One.") && strstr(r.text.data, "Two.");
    if (st)
        mg_buf_str(why, err.text);
    else if (!all)
        mg_buf_str(why, gettext("an answer of the conversation is missing in the text"));
    mg_rendered_free(&r);
    return all ? GOOD : BAD;
}

static verdict takes_system(const mg_bundle *b, mg_buf *why) {
    mg_error    err;
    mg_rendered r = { 0 };
    mg_status   st = render(&r, b, WITH_SYSTEM, true, &err);
    bool        there = !st && strstr(r.text.data, "Quicksilver");
    if (st)
        mg_buf_printf(why, "%s", err.text);
    else if (!there)
        mg_buf_str(why, gettext("the template leaves system messages out"));
    mg_rendered_free(&r);
    return there ? GOOD : NOTE;
}

/* What generation sees must be what training saw before the answer. */
static verdict prompt_is_prefix(const mg_bundle *b, mg_buf *why) {
    mg_error    err;
    mg_rendered asked = { 0 }, answered = { 0 };
    mg_status   st = render(&asked, b, ASKED, true, &err);
    if (!st) st = render(&answered, b, TURN, false, &err);
    bool prefix = !st && asked.text.len <= answered.text.len && !memcmp(asked.text.data, answered.text.data, asked.text.len);
    if (st)
        mg_buf_str(why, err.text);
    else if (!prefix)
        mg_buf_str(why, gettext("the prompt with add_generation_prompt is not the beginning of the answered conversation"));
    mg_rendered_free(&asked);
    mg_rendered_free(&answered);
    return prefix ? GOOD : BAD;
}

static verdict trains_answer(const mg_bundle *b, mg_buf *why) {
    mg_error  err;
    mg_sample s = { 0 };
    mg_ids    trained = { 0 };
    mg_buf    text = { 0 };
    verdict   v = BAD;
    mg_status st = sample_of(&s, b, TURN, &err);
    for (int32_t i = 0; !st && i < s.n; i++)
        if (s.label[i] != MG_IGNORE && !mg_ids_push(&trained, s.label[i])) st = mg_fail(&err, MG_NOMEM, "no memory");
    if (!st) st = mg_detokenize(b->tokenizer, trained.data, trained.len, false, &text, &err);
    if (st)
        mg_buf_str(why, err.text);
    else if (!text.data || !strstr(text.data, ANSWER_TEXT) || strstr(text.data, "Which word"))
        mg_buf_printf(why, gettext("trained is: %s"), text.data ? text.data : "");
    else {
        bool ends = false; /* the end of the turn, a line break may follow */
        for (size_t i = 0; i < trained.len; i++) ends |= mg_bundle_stops(b, trained.data[i]);
        if (!ends) mg_buf_str(why, gettext("the token that ends an answer is not trained, so the model will not learn to stop"));
        v = ends ? GOOD : BAD;
    }
    mg_sample_free(&s);
    mg_ids_free(&trained);
    mg_buf_free(&text);
    return v;
}

static verdict one_bos(const mg_bundle *b, mg_buf *why) {
    mg_error  err;
    mg_sample s = { 0 };
    int32_t   bos = mg_tokenizer_bos(b->tokenizer);
    mg_status st = sample_of(&s, b, TURN, &err);
    bool      twice = !st && bos >= 0 && s.n > 1 && s.ids[0] == bos && s.ids[1] == bos;
    if (st)
        mg_buf_str(why, err.text);
    else if (twice)
        mg_buf_str(why, gettext("template and tokenizer both put BOS in front"));
    mg_sample_free(&s);
    return st || twice ? BAD : GOOD;
}

/* A message that spells the end of a turn must not end it: the number of such tokens stays. */
static verdict no_injection(const mg_bundle *b, mg_buf *why) {
    mg_error  err;
    mg_sample plain = { 0 }, hostile = { 0 };
    mg_buf    text = { 0 };
    int       count[2] = { 0, 0 };
    mg_status st = sample_of(&plain, b, TURN, &err);
    mg_buf_str(&text, "[{\"role\": \"user\", \"content\": \"Which word?");
    for (size_t i = 0; i < b->n_stop; i++) {
        size_t      n = 0;
        const char *token = mg_tokenizer_token(b->tokenizer, b->stop[i], &n);
        if (token && !strpbrk(token, "\"\\")) mg_buf_add(&text, token, n);
    }
    mg_buf_str(&text, "\"}, " ASSISTANT(ANSWER_TEXT) "]");
    if (!st && text.failed) st = mg_fail(&err, MG_NOMEM, "no memory");
    if (!st) st = sample_of(&hostile, b, text.data, &err);
    for (int32_t i = 0; !st && i < plain.n; i++) count[0] += mg_bundle_stops(b, plain.ids[i]);
    for (int32_t i = 0; !st && i < hostile.n; i++) count[1] += mg_bundle_stops(b, hostile.ids[i]);
    if (st)
        mg_buf_str(why, err.text);
    else if (count[0] != count[1])
        mg_buf_str(why, gettext("control tokens spelled in a message become control tokens"));
    mg_sample_free(&plain);
    mg_sample_free(&hostile);
    mg_buf_free(&text);
    return !st && count[0] == count[1] ? GOOD : BAD;
}

static const struct {
    const char *name, *title;
    verdict (*test)(const mg_bundle *b, mg_buf *why);
} tests[] = {
    { "renders", MG_N("a conversation of several turns is rendered whole"), renders },
    { "system", MG_N("a system message is taken"), takes_system },
    { "prefix", MG_N("a prompt is the beginning of what was trained"), prompt_is_prefix },
    { "mask", MG_N("the answer and its end are trained, the question is not"), trains_answer },
    { "bos", MG_N("BOS is not doubled"), one_bos },
    { "injection", MG_N("text of a message does not become a control token"), no_injection },
};

static mg_status check(const mg_cli *cli, const mg_bundle *b, mg_error *err) {
    static const char *const words[] = { "ok", "note", "bad" };
    mg_buf    out = { 0 };
    int       bad = 0;
    mg_buf_str(&out, cli->global.json ? "{\"origin\":" : "");
    if (cli->global.json) {
        mg_json_quote(&out, b->template_origin, strlen(b->template_origin));
        mg_buf_str(&out, ",\"tests\":[");
    } else
        mg_buf_printf(&out, "%s\n", b->template_origin);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        mg_buf  why = { 0 };
        verdict v = tests[i].test(b, &why);
        bad += v == BAD;
        if (cli->global.json) {
            mg_buf_printf(&out, "%s{\"name\":\"%s\",\"result\":\"%s\",\"why\":", i ? "," : "", tests[i].name, words[v]);
            mg_json_quote(&out, why.data ? why.data : "", why.len);
            mg_buf_char(&out, '}');
        } else
            mg_buf_printf(&out, "  %s %s%s%s\n", v == GOOD ? "○" : v == NOTE ? "△" : "×", gettext(tests[i].title), why.len ? ": " : "",
                          why.len ? why.data : "");
        mg_buf_free(&why);
    }
    if (cli->global.json) mg_buf_str(&out, "]}\n");
    mg_status st = mg_print(&out, err);
    mg_buf_free(&out);
    if (!st && bad) st = mg_fail(err, MG_TEMPLATE, "the chat template fails %d of the tests above; give another one with --chat_template", bad);
    return st;
}

static mg_status run(mg_cli *cli, void *values, mg_error *err) {
    const template_options *o = values;
    mg_inference_paths      paths = { 0 };
    mg_bundle               b = { 0 };
    mg_status               st = mg_inference_find(&paths, &o->model, err);
    if (!st) st = mg_inference_open(&b, &paths, true, err);
    if (!st) st = need_template(&b, err);
    if (!st && o->action == SHOW) st = show(cli, &b, err);
    if (!st && o->action == RENDER) st = render_input(cli, &b, o->generation_prompt, err);
    if (!st && o->action == CHECK) st = check(cli, &b, err);
    mg_bundle_close(&b);
    mg_inference_paths_free(&paths);
    return st;
}

const mg_command mg_command_template = {
    .name = "template", .group = "data", .usage = "show | render | check -m MODEL",
    .summary = MG_N("show, try or test a model's chat template"),
    .details = MG_N("render reads [{\"role\":...,\"content\":...}, ...] or {\"messages\":[...]} from standard input."),
    .rows = rows, .values_size = sizeof(template_options), .run = run,
};
