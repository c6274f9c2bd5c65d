/* logits.c -- a model's logits for given ids as raw floats, for other programs to compare (tests/interop).
 *
 *   logits MODEL OUT ID...
 *
 * An encoder has none: of one the vector of the text is written, the mean of its hidden states. */
#include "infer/embed.h"
#include "infer/score.h"

#include <stdio.h>
#include <stdlib.h>

enum { IDS = 512 };

typedef struct { FILE *file; size_t vocab; bool ok; } sink;

static void write_row(void *context, int64_t position, const float *logit) {
    sink *s = context;
    (void)position;
    s->ok = s->ok && fwrite(logit, sizeof *logit, s->vocab, s->file) == s->vocab;
}

static mg_status write_vector(const mg_model *m, const int32_t *ids, int64_t n, sink *s, mg_error *err) {
    mg_embed_options o = { 0 };
    mg_embed_text    text = { ids, n };
    float           *vector = calloc((size_t)m->c.dim, sizeof *vector);
    mg_status        st = vector ? MG_OK : mg_fail(err, MG_NOMEM, "no memory for a vector");
    if (!st) st = mg_embed_texts(m, mg_backend_find("cpu"), &text, 1, &o, vector, err);
    s->vocab = (size_t)m->c.dim;
    if (!st) write_row(s, 0, vector);
    free(vector);
    return st;
}

int main(int argc, char **argv) {
    int32_t          ids[IDS];
    mg_error         err = { .text = "usage: logits MODEL OUT ID..." };
    mg_model        *m = NULL;
    mg_model_options o = { .positions = IDS };
    sink             s = { .ok = true };
    int64_t          n = argc - 3;
    mg_status        st = n > 0 && n <= IDS ? mg_model_open(&m, argv[1], &o, &err) : MG_USAGE;
    for (int i = 0; !st && i < n; i++) ids[i] = atoi(argv[3 + i]);
    if (!st && !(s.file = fopen(argv[2], "wb"))) st = mg_fail(&err, MG_IO, "%s: cannot be written", argv[2]);
    if (!st && m->arch->encoder)
        st = write_vector(m, ids, n, &s, &err);
    else if (!st) {
        s.vocab = (size_t)m->c.vocab;
        st = mg_score_logits(m, mg_backend_find("cpu"), ids, n, false, write_row, &s, &err);
    }
    if (s.file && (fclose(s.file) || !s.ok) && !st) st = mg_fail(&err, MG_IO, "%s: writing failed", argv[2]);
    mg_model_close(m);
    if (st) fprintf(stderr, "logits: %s\n", err.text);
    return mg_exit_code(st);
}
