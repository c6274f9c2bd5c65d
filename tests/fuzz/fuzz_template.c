/* fuzz_template.c -- template source and variables from one input: the source up to a NUL, JSON behind it. */
#include "text/template.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char usual[] =
    "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\" q \"},"
    "{\"role\":\"assistant\",\"content\":\"a\"}],\"add_generation_prompt\":true,"
    "\"bos_token\":\"<s>\",\"eos_token\":\"</s>\",\"tools\":null}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char  *text = (const char *)data, *context = usual;
    size_t       n = size, context_n = sizeof usual - 1;
    const char  *zero = size ? memchr(text, 0, size) : NULL;
    mg_template *t = NULL;
    mg_json      json = { 0 };
    mg_rendered  r = { 0 };
    mg_error     err;
    if (zero) {
        n = (size_t)(zero - text);
        context = zero + 1;
        context_n = size - n - 1;
    }
    if (mg_template_parse(&t, text, n, "fuzz", &err)) return 0;
    if (!mg_json_parse(&json, context, context_n, "context", &err) &&
        !mg_template_render(t, json.root, &r, &err)) {
        /* what was accepted must hold: spans inside the text, a mark for each byte */
        for (size_t i = 0; i < r.n_spans; i++)
            if (r.span[i].begin > r.span[i].end || r.span[i].end > r.text.len) __builtin_trap();
        for (size_t i = 0; i < r.text.len; i++)
            if (r.mark[i] & ~(MG_MARK_USER | MG_MARK_ASSISTANT)) __builtin_trap();
    }
    mg_rendered_free(&r);
    mg_json_free(&json);
    mg_template_free(t);
    return 0;
}
