/* fuzz_judge.c -- a judge's reply, as the server sends it, and as the content of a well-formed reply. */
#include "base/json.h"
#include "eval/judge.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_reply(const char *text, size_t n) {
    mg_judgement j;
    mg_rating    r;
    mg_error     err;
    if (mg_judge_reply(&j, text, n, &err)) return;
    if (j.preference < -1 || j.preference > 1) abort();
    for (int c = 0; c < 2 * MG_CRITERION_OK; c++) {
        double x = j.score[c / MG_CRITERION_OK][c % MG_CRITERION_OK];
        if (!(x >= 1 && x <= 5)) abort();
    }
    if (!memchr(j.reason, 0, sizeof j.reason) || mg_judge_combine(&r, 0, &j, &j, &err)) abort();
    free(r.note);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char  *text = malloc(size + 1);
    mg_buf reply = { 0 };
    if (!text) return 0;
    memcpy(text, data, size);
    text[size] = 0; /* as the client hands it over */
    try_reply(text, size);
    mg_buf_str(&reply, "{\"choices\": [{\"message\": {\"content\": ");
    mg_json_quote(&reply, text, size);
    mg_buf_str(&reply, "}}]}");
    try_reply(reply.data, reply.len);
    mg_buf_free(&reply);
    free(text);
    return 0;
}
