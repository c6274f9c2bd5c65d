/* gradients.c -- the gradient of every weight for one text, for other programs to compare (tests/interop).
 *
 *   gradients MODEL OUT LABEL ID...
 *
 * The loss is the mean -log p of the next tokens, or of class LABEL where the model is a classifier (LABEL is not used
 * otherwise).  OUT receives the gradients as raw floats, stdout a line "name rows columns" for each, in order; the first
 * line is "loss X". */
#include "base/mem.h"
#include "train/step.h"

#include <stdio.h>
#include <stdlib.h>

enum { IDS = 512, ARENA = 256 << 20, NODES = 4096 };

static bool adopt(mg_tensor *w, void *params) { return mg_params_adopt(params, w); }

static bool write_gradients(const mg_params *p, const char *path) {
    FILE *f = fopen(path, "wb");
    bool  ok = f != NULL;
    for (size_t i = 0; ok && i < p->n; i++) {
        const mg_tensor *w = p->item[i];
        size_t           n = (size_t)(w->rows * w->cols);
        printf("%s %lld %lld\n", w->name, (long long)w->rows, (long long)w->cols);
        ok = fwrite(w->grad, sizeof(float), n, f) == n;
    }
    return f && !fclose(f) && ok;
}

/* The classifier's one label stands at the row that it looks at. */
static void label_class(mg_batch *b, const mg_model *m, int32_t label) {
    static int32_t row, class;
    row = mg_model_class_row(m, b, 0), class = label;
    b->n_labels = 1, b->label_row = &row, b->label = &class;
}

int main(int argc, char **argv) {
    int32_t           ids[IDS], labels[IDS];
    int64_t           n = argc - 4;
    mg_error          err = { .text = "usage: gradients MODEL OUT LABEL ID..." };
    mg_sample         sample = { .ids = ids, .label = labels, .n = n, .n_labels = n - 1 };
    const mg_sample  *list = &sample;
    const mg_backend *cpu = mg_backend_find("cpu");
    mg_model         *m = NULL;
    mg_model_options  o = { .positions = IDS };
    mg_params         params = { 0 };
    mg_arena          mem = { 0 };
    mg_tape           tape = { 0 };
    mg_packed         packed = { 0 };
    double            loss = 0;
    mg_status         st = n > 1 && n <= IDS ? mg_model_open(&m, argv[1], &o, &err) : MG_USAGE;
    for (int i = 0; !st && i < n; i++) labels[i] = i ? atoi(argv[4 + i]) : MG_IGNORE, ids[i] = atoi(argv[4 + i]);
    if (!st) st = mg_arena_open(&mem, cpu->device, ARENA, false, &err);
    if (!st) st = mg_tape_open(&tape, cpu, &mem, NODES, &err);
    if (!st) st = mg_pack(&packed, &list, 1, &err);
    if (!st) {
        mg_model_each_weight(m, adopt, &params);
        st = mg_params_seal(&params, cpu, &err);
    }
    if (!st && m->c.labels) label_class(&packed.batch, m, atoi(argv[3]));
    if (!st) st = mg_step_train(&tape, m, &packed.batch, 1.0f / (float)packed.batch.n_labels, &loss, &err);
    if (!st) {
        printf("loss %.9g\n", loss);
        if (!write_gradients(&params, argv[2])) st = mg_fail(&err, MG_IO, "%s: cannot be written", argv[2]);
    }
    mg_packed_free(&packed);
    mg_tape_close(&tape);
    mg_arena_close(&mem);
    mg_params_free(&params);
    mg_model_close(m);
    if (st) fprintf(stderr, "gradients: %s\n", err.text);
    return mg_exit_code(st);
}
