/* fuzz_labelled.c -- records for heads: the first byte names format and goal, the rest is the file.
 *
 * Whatever is accepted keeps its promises: labels are among the names, places lie within their texts. */
#include "data/labelled.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const mg_labelled_set *s) {
    for (size_t i = 0; i < s->n; i++) {
        const mg_labelled *x = &s->item[i];
        if (!x->text || x->label >= (int32_t)s->labels.n) abort();
        for (size_t k = 0; k < x->n_words; k++)
            if (x->word[k].begin >= x->word[k].end || x->word[k].end > strlen(x->text) || x->tag[k] >= (int32_t)s->labels.n) abort();
        for (size_t k = 0; k < x->n_answers; k++)
            if (x->place[k].end > strlen(x->pair) || strncmp(x->pair + x->place[k].begin, x->answer[k], strlen(x->answer[k])) != 0) abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const suffix[] = { "jsonl", "json", "csv", "tsv" };
    static const char *const goals[] = { NULL, "classification", "regression", "token_classification", "question_answering" };
    static char     folder[] = "/tmp/migaki-fuzz-XXXXXX";
    static bool     made;
    char            path[100];
    mg_labelled_set s = { 0 };
    mg_error        err;
    if (!size) return 0;
    if (!made && !(made = mkdtemp(folder) != NULL)) abort();
    const char *name = goals[(data[0] >> 2) % 5];
    snprintf(path, sizeof path, "%s/data.%s", folder, suffix[data[0] & 3]);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data + 1, 1, size - 1, f) != size - 1 || fclose(f)) abort();
    const mg_goal *goal = name ? mg_goal_find(name) : NULL;
    if ((goal || (!mg_goal_of_file(&goal, path, &err) && goal)) &&
        !mg_labelled_load(&s, path, goal, NULL, data[0] & 64, MG_TROUBLE_DROP, 0, &err))
        use(&s);
    mg_labelled_free(&s);
    unlink(path);
    return 0;
}
