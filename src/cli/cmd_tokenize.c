/* cmd_tokenize.c -- `tokenize`: the ids of a text, as the model gets them. */
#include "cli/inference.h"

#include "base/json.h"

#include <stdlib.h>

typedef struct {
    mg_inference_options model;
    bool                 special;
} tokenize_options;

static const mg_option rows[] = {
    MG_TEXT_ROWS(tokenize_options, model),
    { .name = "special", .type = &mg_option_bool, .offset = offsetof(tokenize_options, special), .def = "true", .group = "",
      .help = MG_N("add the tokens that stand around a text, such as BOS") },
    { 0 },
};

/* id, tab, the token as the vocabulary spells it. */
static void list_tokens(mg_buf *out, const mg_tokenizer *t, const mg_ids *ids) {
    for (size_t i = 0; i < ids->len; i++) {
        size_t      n = 0;
        const char *token = mg_tokenizer_token(t, ids->data[i], &n);
        mg_buf_printf(out, "%d\t", (int)ids->data[i]);
        if (token) mg_json_quote(out, token, n);
        mg_buf_char(out, '\n');
    }
}

static mg_status run(mg_cli *cli, void *values, mg_error *err) {
    const tokenize_options *o = values;
    mg_inference_paths      paths = { 0 };
    mg_bundle               b = { 0 };
    mg_buf                  text = { 0 }, out = { 0 };
    mg_ids                  ids = { 0 };
    mg_status               st = mg_inference_find(&paths, &o->model, err);
    if (!st) st = mg_inference_open(&b, &paths, false, err);
    if (!st) st = mg_read_input(&text, err);
    if (!st)
        st = mg_tokenize(b.tokenizer, text.data, text.len, MG_TOKENIZE_PARSE | (o->special ? MG_TOKENIZE_SPECIAL : 0), &ids, err);
    if (st) goto done;
    if (cli->global.json) {
        mg_buf_str(&out, "{\"ids\":");
        mg_json_ids(&out, ids.data, ids.len);
        mg_buf_str(&out, "}\n");
    } else
        list_tokens(&out, b.tokenizer, &ids);
    st = mg_print(&out, err);
done:
    mg_ids_free(&ids);
    mg_buf_free(&text);
    mg_buf_free(&out);
    mg_bundle_close(&b);
    mg_inference_paths_free(&paths);
    return st;
}

const mg_command mg_command_tokenize = {
    .name = "tokenize", .group = "data", .usage = "-m MODEL < TEXT", .summary = MG_N("show the tokens of a text"),
    .details = MG_N("Reads a text from standard input. With --json prints {\"ids\":[...]}. Text that spells a special token "
                    "becomes that token."),
    .rows = rows, .values_size = sizeof(tokenize_options), .run = run,
};
