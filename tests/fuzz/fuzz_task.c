/* fuzz_task.c -- a test set: the first byte names its format and how many items are read, the rest is its content.
 *
 * What is accepted is used: every item has a prompt, a choice's right answer is one of them, judged questions stand
 * beside their items, and the limit was kept. */
#include "base/file.h"
#include "eval/task.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const mg_task *t, size_t limit) {
    mg_buf all = { 0 };
    MG_ASSERT(t->form && t->name && t->n > 0 && (!limit || t->n <= limit));
    for (size_t i = 0; i < t->n; i++) {
        const mg_item *x = &t->item[i];
        MG_ASSERT(x->prompt && x->category);
        mg_buf_str(&all, x->prompt);
        mg_buf_str(&all, x->category);
        for (size_t k = 0; k < x->n; k++) mg_buf_str(&all, x->choice[k]);
        if (t->kind == MG_TASK_CHOICE) MG_ASSERT(x->gold >= 0 && (size_t)x->gold < x->n);
        if (t->kind == MG_TASK_ANSWER) MG_ASSERT(x->n > 0);
        if (t->kind != MG_TASK_JUDGED) continue;
        MG_ASSERT(i < t->questions.n);
        int verdict = mg_question_judge(&t->questions.question[i], x->prompt);
        MG_ASSERT(verdict >= -1 && verdict <= 1);
    }
    mg_buf_free(&all);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const endings[] = { "jsonl", "json", "csv", "txt" };
    static char              folder[] = "/tmp/migaki-fuzz-XXXXXX";
    static bool              ready;
    mg_task                  t = { 0 };
    mg_error                 err;
    mg_buf                   path = { 0 };
    if (!size) return 0;
    if (!ready && !mkdtemp(folder)) abort();
    ready = true;
    size_t limit = data[0] >> 2 & 3;
    mg_buf_printf(&path, "%s/set.%s", folder, endings[data[0] & 3]);
    if (mg_replace_file(path.data, data + 1, size - 1, &err)) abort();
    if (!mg_task_load(&t, path.data, limit, &err)) {
        use(&t, limit);
        mg_task_free(&t);
    } else
        MG_ASSERT(!t.item && !t.n && *err.text);
    unlink(path.data);
    mg_buf_free(&path);
    return 0;
}
