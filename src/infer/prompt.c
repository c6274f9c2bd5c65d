/* prompt.c -- from a user's words to the tokens that a model is asked with. */
#include "infer/prompt.h"

#include "base/json.h"

#include <string.h>

mg_status mg_raw_prompt(const mg_bundle *b, const char *text, size_t n, mg_ids *out, mg_error *err) {
    int32_t   bos = mg_tokenizer_bos(b->tokenizer);
    mg_status st = mg_tokenize(b->tokenizer, text, n, MG_TOKENIZE_SPECIAL | MG_TOKENIZE_PARSE, out, err);
    if (!st && bos >= 0 && out->len > 1 && out->data[0] == bos && out->data[1] == bos)
        memmove(out->data, out->data + 1, --out->len * sizeof *out->data);
    return st;
}

mg_status mg_question_prompt(const mg_bundle *b, const char *system, const char *question, mg_ids *out, mg_error *err) {
    mg_buf  text = { 0 };
    mg_json json = { 0 };
    mg_buf_str(&text, "[");
    if (system) {
        mg_buf_str(&text, "{\"role\": \"system\", \"content\": ");
        mg_json_quote(&text, system, strlen(system));
        mg_buf_str(&text, "}, ");
    }
    mg_buf_str(&text, "{\"role\": \"user\", \"content\": ");
    mg_json_quote(&text, question, strlen(question));
    mg_buf_str(&text, "}]");
    mg_status st = text.failed ? mg_fail(err, MG_NOMEM, "no memory for a question")
                               : mg_json_parse(&json, text.data, text.len, "the question", err);
    if (!st) st = mg_chat_prompt(&b->chat, json.root, out, err);
    mg_json_free(&json);
    mg_buf_free(&text);
    return st;
}
