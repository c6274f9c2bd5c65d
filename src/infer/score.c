/* score.c -- one pass over the whole text; the logits never exist as a whole.
 *
 * Scores take the head and the softmax as one op.  Who wants the logits themselves gets them in blocks of
 * rows that give their memory back. */
#include "infer/score.h"

#include "infer/plan.h"
#include "nn/virtual.h"

#include <math.h>
#include <stdlib.h>

enum { ROWS = 16 };

typedef struct {
    const mg_model *m;
    mg_batch        batch;
    int32_t        *numbers; /* start [2], pos [n], rows [n] */
    bool            adapters_off;
    mg_virtual      prompted;
    int64_t         front; /* virtual tokens before the text */
    float          *nll;
    int32_t        *top; /* [n_labels], or NULL */
    mg_logits_fn    f; /* else: */
    void           *context;
    float          *room; /* [ROWS, V] logits */
} job;

static mg_status check_text(const mg_model *m, const int32_t *ids, int64_t n, mg_error *err) {
    mg_status st = mg_model_require_text(m, err);
    if (st) return st;
    int64_t room = m->positions - mg_net_virtual(&m->net, true);
    if (n > room)
        return mg_fail(err, MG_TRUNCATED, "the text has %lld tokens, the model was opened for %lld (max_length)",
                       (long long)n, (long long)room);
    for (int64_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= m->c.vocab)
            return mg_fail(err, MG_MISMATCH, "token %d does not exist, the model has %lld", (int)ids[i],
                           (long long)m->c.vocab);
    return MG_OK;
}

static int64_t front_of(const job *j) { return j->adapters_off ? 0 : mg_net_virtual(&j->m->net, false); }

static mg_status put_prompt(job *j, mg_error *err) {
    j->front = front_of(j);
    return mg_virtual_insert(&j->prompted, &j->batch, j->front, err);
}

static void close_job(job *j) {
    mg_virtual_free(&j->prompted);
    free(j->numbers);
}

static mg_status open_job(job *j, const mg_model *m, const int32_t *ids, int64_t n, mg_error *err) {
    mg_status st = check_text(m, ids, n, err);
    if (st) return st;
    j->m = m;
    j->numbers = mg_calloc((size_t)(2 + 2 * n), sizeof *j->numbers);
    if (!j->numbers) return mg_fail(err, MG_NOMEM, "no memory for a text of %lld tokens", (long long)n);
    int32_t *start = j->numbers, *pos = start + 2, *row = pos + n;
    start[1] = (int32_t)n;
    for (int64_t i = 0; i < n; i++) pos[i] = row[i] = (int32_t)i;
    j->batch = (mg_batch){
        .n_seq = 1, .start = start, .ids = ids, .pos = pos, .n_labels = n - 1, .label_row = row, .label = ids + 1
    };
    return put_prompt(j, err);
}

static void begin(mg_tape *t, const job *j) {
    mg_tape_reset(t);
    mg_tape_batch(t, &j->batch);
    t->off = true;
    t->training = false;
    t->adapters_off = j->adapters_off;
}

static void score(mg_tape *t, void *context) {
    job *j = context;
    begin(t, j);
    mg_tensor *logp = mg_model_logprobs(t, j->m, j->top);
    const float *p = logp ? mg_tape_floats(t, logp, j->nll) : NULL;
    for (int64_t i = 0; p && i < j->batch.n_labels; i++) j->nll[i] = -p[i];
}

static void hand_over(const job *j, int64_t first, int64_t n, const float *raw) {
    int64_t V = j->m->c.vocab;
    double  cap = j->m->c.final_softcap;
    float  *logit = j->room;
    for (int64_t i = 0; i < n * V; i++) logit[i] = cap > 0 ? (float)(cap * tanh(raw[i] / cap)) : raw[i];
    for (int64_t i = 0; i < n; i++) j->f(j->context, first + i, logit + i * V);
}

static void show_logits(mg_tape *t, void *context) {
    job *j = context;
    begin(t, j);
    mg_tensor *h = mg_model_hidden(t, j->m);
    int64_t    n = mg_batch_rows(&j->batch) - j->front;
    size_t     lo = t->mem->lo;
    int        tensors = t->n_tensors;
    for (int64_t i = 0; h && i < n; i += ROWS) {
        int64_t    rows = n - i < ROWS ? n - i : ROWS;
        mg_tensor *z = mg_model_logits(t, j->m, h, j->batch.pos + j->front + i, rows); /* position i is row i */
        const float *logit = z ? mg_tape_floats(t, z, j->room) : NULL;
        if (logit) hand_over(j, i, rows, logit);
        t->mem->lo = lo;
        t->n_tensors = tensors;
    }
}

static mg_status run(const mg_backend *b, mg_pass_fn pass, job *j, mg_error *err) {
    mg_arena  mem = { 0 };
    mg_tape   t = { 0 };
    mg_status st = mg_plan_open(&t, &mem, b, pass, j, err);
    if (st) return st;
    pass(&t, j);
    st = mg_tape_status(&t, err);
    mg_plan_close(&t, &mem);
    return st;
}

mg_status mg_score(const mg_model *m, const mg_backend *b, const int32_t *ids, int64_t n, bool adapters_off,
                   float *nll, mg_error *err) {
    job       j = { .nll = nll, .adapters_off = adapters_off };
    mg_status st = open_job(&j, m, ids, n, err);
    if (!st && n > 1) st = run(b, score, &j, err);
    close_job(&j);
    return st;
}

/* start [n + 1], then ids, pos, label_row and label [rows] each, top [rows]. */
static mg_status open_texts(job *j, const mg_model *m, const mg_score_text *text, size_t n, mg_error *err) {
    int64_t rows = 0, labels = 0, at = 0;
    for (size_t i = 0; i < n; i++) {
        MG_ASSERT(text[i].from >= 1 && text[i].from <= text[i].n);
        mg_status st = check_text(m, text[i].ids, text[i].n, err);
        if (st) return st;
        rows += text[i].n;
    }
    j->m = m;
    j->numbers = mg_calloc((size_t)(5 * rows) + n + 1, sizeof *j->numbers);
    j->nll = mg_calloc((size_t)rows + 1, sizeof *j->nll);
    if (!j->numbers || !j->nll) return mg_fail(err, MG_NOMEM, "no memory for a text of %lld tokens", (long long)rows);
    int32_t *start = j->numbers, *ids = start + n + 1, *pos = ids + rows, *row = pos + rows, *label = row + rows;
    j->top = label + rows;
    for (size_t i = 0; i < n; i++) {
        for (int64_t k = 0; k < text[i].n; k++) {
            ids[at + k] = text[i].ids[k];
            pos[at + k] = (int32_t)k;
            if (k < text[i].from) continue;
            row[labels] = (int32_t)(at + k - 1);
            label[labels++] = text[i].ids[k];
        }
        start[i + 1] = (int32_t)(at += text[i].n);
    }
    j->batch = (mg_batch){ .n_seq = (int)n, .start = start, .ids = ids, .pos = pos, .n_labels = labels, .label_row = row,
                           .label = label };
    return put_prompt(j, err);
}

mg_status mg_score_texts(const mg_model *m, const mg_backend *b, const mg_score_text *text, size_t n, bool adapters_off,
                         mg_error *err) {
    job       j = { .adapters_off = adapters_off };
    int64_t   at = 0;
    mg_status st = open_texts(&j, m, text, n, err);
    if (!st && j.batch.n_labels) st = run(b, score, &j, err);
    for (size_t i = 0; !st && i < n; at += text[i].n - text[i].from, i++)
        for (int64_t k = 0; k < text[i].n - text[i].from; k++) {
            text[i].nll[k] = j.nll[at + k];
            if (text[i].top) text[i].top[k] = j.top[at + k];
        }
    free(j.nll);
    close_job(&j);
    return st;
}

mg_status mg_score_logits(const mg_model *m, const mg_backend *b, const int32_t *ids, int64_t n, bool adapters_off,
                          mg_logits_fn f, void *context, mg_error *err) {
    job       j = { .f = f, .context = context, .adapters_off = adapters_off };
    mg_status st = open_job(&j, m, ids, n, err);
    if (!st && !(j.room = mg_calloc((size_t)m->c.vocab, ROWS * sizeof *j.room))) st = mg_fail(err, MG_NOMEM, "no memory for logits");
    if (!st && n > 0) st = run(b, show_logits, &j, err);
    free(j.room);
    close_job(&j);
    return st;
}
