/* step.c -- packing and the two passes of a micro-batch. */
#include "train/step.h"

#include "autograd/repeat.h"

#include <stdlib.h>
#include <string.h>

/* Labels of tokens: the row before predicts each. */
static int64_t next_tokens(const mg_sample *s, int64_t first, int32_t *row, int32_t *label) {
    int64_t n = 0;
    for (int32_t i = 1; i < s->n; i++) {
        if (s->label[i] == MG_IGNORE) continue;
        row[n] = (int32_t)first + i - 1;
        label[n++] = s->label[i];
    }
    return n;
}

/* Labels of rows of the sequence; of columns, when each has its own. */
static int64_t own_rows(const mg_sample *s, int64_t first, int32_t *row, int32_t *label, float *value) {
    for (int32_t i = 0; i < s->n_labels; i++) {
        row[i] = s->goal->columns ? s->row[i] : (int32_t)first + s->row[i];
        label[i] = s->label[i];
        value[i] = s->value;
    }
    return s->n_labels;
}

mg_status mg_pack_for(mg_packed *p, const mg_sample *const *sample, int n, const mg_head *head, mg_error *err) {
    size_t rows = 0, labels = 0;
    for (int s = 0; s < n; s++) {
        rows += (size_t)sample[s]->n;
        labels += (size_t)sample[s]->n_labels;
    }
    size_t need = (size_t)n + 1 + 2 * rows + 2 * labels + (head ? rows + labels : 0);
    if (!MG_GROW(p->memory, p->cap, need)) return mg_fail(err, MG_NOMEM, "no memory for a batch of %zu tokens", rows);
    int32_t *start = p->memory, *ids = start + n + 1, *pos = ids + rows, *row = pos + rows, *label = row + labels, *type = label + labels;
    float   *value = (float *)(void *)(type + rows);
    int64_t  at = 0, count = 0;
    for (int s = 0; s < n; s++) {
        const mg_sample *x = sample[s];
        MG_ASSERT(head ? x->goal == head->kind->goal : !x->goal);
        start[s] = (int32_t)at;
        count += head ? own_rows(x, at, row + count, label + count, value + count) : next_tokens(x, at, row + count, label + count);
        for (int32_t i = 0; i < x->n; i++, at++) {
            ids[at] = x->ids[i];
            pos[at] = i;
            if (head) type[at] = x->second && i >= x->second;
        }
    }
    start[n] = (int32_t)at;
    p->batch = (mg_batch){ .n_seq = n, .start = start, .ids = ids, .pos = pos, .n_labels = count, .label_row = row, .label = label };
    if (head) p->batch.head = head, p->batch.type = type, p->batch.value = value;
    if (head && p->virtual_rows && head->kind->goal->columns)
        return mg_fail(err, MG_UNSUPPORTED, "the places of an answer cannot be learnt with virtual tokens in front of the text; choose another method");
    return mg_virtual_insert(&p->prompted, &p->batch, p->virtual_rows, err);
}

mg_status mg_pack(mg_packed *p, const mg_sample *const *sample, int n, mg_error *err) { return mg_pack_for(p, sample, n, NULL, err); }

void mg_packed_free(mg_packed *p) {
    free(p->memory);
    mg_virtual_free(&p->prompted);
    *p = (mg_packed){ 0 };
}

typedef struct { const mg_model *m; mg_tensor *scale; } both_passes;
static mg_tensor *run_passes(mg_tape *t, void *context) {
    const both_passes *p = context;
    mg_tensor         *sum = mg_sum(t, mg_model_logprobs(t, p->m, NULL), -1);
    mg_backward_weighted(t, sum, p->scale);
    return sum;
}

mg_status mg_step_train(mg_tape *t, const mg_model *m, const mg_batch *b, float scale, double *loss, mg_error *err) {
    mg_tensor     sum;
    mg_repeat_key key = { m, b->n_seq, mg_batch_rows(b), b->n_labels };
    mg_tape_reset(t);
    mg_tape_batch(t, b);
    t->off = false;
    t->training = true;
    both_passes passes = { m, mg_tape_number(t, scale) }; /* the scale differs from step to step */
    if (!b->head) {
        mg_repeat(t, &key, run_passes, &passes, &sum);
    } else { /* which rows make a sequence is an argument of a head's kernels, so another batch is another pass */
        mg_tensor *x = run_passes(t, &passes);
        if (x) sum = *x;
    }
    mg_status st = mg_tape_status(t, err);
    if (st || t->mem->dry) return st;
    *loss = (double)scale * mg_tape_read(t, &sum);
    return t->mem->device->status(err);
}

static void sum_up(const float *logp, const mg_batch *b, const int32_t *top, double *nll, int64_t *right) {
    *nll = 0;
    *right = 0;
    for (int64_t i = 0; i < b->n_labels; i++) {
        *nll -= (double)logp[i];
        *right += top && top[i] == b->label[i];
    }
}

mg_status mg_step_evaluate(mg_tape *t, const mg_model *m, const mg_batch *b, int32_t *top, double *nll, int64_t *right, mg_error *err) {
    mg_tape_reset(t);
    mg_tape_batch(t, b);
    t->off = true;
    t->training = false;
    mg_tensor *logp = mg_model_logprobs(t, m, top);
    t->off = false;
    t->training = true;
    float       *room = t->mem->device->host ? NULL : mg_calloc((size_t)b->n_labels, sizeof *room);
    const float *p = logp ? mg_tape_floats(t, logp, room) : NULL;
    mg_status    st = mg_tape_status(t, err);
    if (!st && !t->mem->dry) st = t->mem->device->status(err);
    if (!st && p) sum_up(p, b, top, nll, right);
    free(room);
    return st;
}

mg_status mg_step_head(mg_tape *t, const mg_model *m, const mg_batch *b, float *z, double *nll, mg_error *err) {
    mg_tensor *logits = NULL;
    mg_tape_reset(t);
    mg_tape_batch(t, b);
    t->off = true;
    t->training = false;
    mg_tensor *sum = mg_sum(t, mg_head_logprobs(t, m, b->head, NULL, &logits), -1);
    t->off = false;
    t->training = true;
    const float *x = logits ? mg_tape_floats(t, logits, z) : NULL;
    mg_status    st = mg_tape_status(t, err);
    if (st || t->mem->dry) return st;
    *nll = mg_tape_read(t, sum);
    if (x && x != z) memcpy(z, x, (size_t)(logits->rows * logits->cols) * sizeof *z);
    return t->mem->device->status(err);
}
