/* fuzz_questions.c -- a question file: the first byte says JSONL or CSV, the rest is its content; accepted questions judge. */
#include "eval/questions.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char  folder[] = "/tmp/migaki-fuzz-XXXXXX";
    static bool  made;
    char         path[100];
    mg_questions q = { 0 };
    mg_error     err;
    if (!size || size > 20000) return 0;
    if (!made && !mkdtemp(folder)) abort();
    made = true;
    snprintf(path, sizeof path, "%s/q.%s", folder, data[0] & 1 ? "csv" : "jsonl");
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data + 1, 1, size - 1, f) != size - 1 || fclose(f)) abort();
    if (!mg_questions_load(&q, path, &err)) {
        if (!q.n) abort();
        for (size_t i = 0; i < q.n; i++) {
            int verdict = mg_question_judge(&q.question[i], q.question[i].text);
            if (verdict < -1 || verdict > 1 || !q.question[i].expected || !q.question[i].category) abort();
            mg_question_judge(&q.question[i], "525-8577 \xe5\xa4");
        }
    }
    mg_questions_free(&q);
    unlink(path);
    return 0;
}
