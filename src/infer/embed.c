/* embed.c -- texts to vectors: batches of whole texts, one pass each, one pooled row a text. */
#include "infer/embed.h"

#include "infer/plan.h"
#include "nn/virtual.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH_TOKENS = 4096 };

/* ---- pooling ---- */

static mg_tensor *mean(mg_tape *t, const mg_model *m, mg_tensor *h) {
    (void)m;
    return mg_mean_rows(t, h);
}

static mg_tensor *cls(mg_tape *t, const mg_model *m, mg_tensor *h) {
    (void)m;
    return mg_rows(t, h, mg_batch_starts(t->batch), t->batch->n_seq);
}

static mg_tensor *last(mg_tape *t, const mg_model *m, mg_tensor *h) {
    (void)m;
    return mg_rows(t, h, t->batch->label_row, t->batch->n_seq); /* where the batch below marks the ends */
}

static mg_tensor *pooler(mg_tape *t, const mg_model *m, mg_tensor *h) {
    return mg_model_pooled(t, m, h, mg_batch_starts(t->batch), t->batch->n_seq);
}

static const mg_pooling poolings[] = { { "mean", mean }, { "cls", cls }, { "last", last }, { "pooler", pooler } };

const mg_pooling *mg_pooling_find(const char *name) {
    for (size_t i = 0; i < sizeof poolings / sizeof *poolings; i++)
        if (!strcmp(poolings[i].name, name)) return &poolings[i];
    return NULL;
}

const char *mg_pooling_name(size_t i) { return i < sizeof poolings / sizeof *poolings ? poolings[i].name : NULL; }

/* ---- what is pooled ---- */

static mg_tensor *states(mg_tape *t, const mg_model *m, const mg_embed_options *o) {
    if (o->from == MG_EMBED_TABLE) return mg_embed(t, m->embed, 1);
    return mg_model_hidden_at(t, m, o->from == MG_EMBED_LAYER ? o->layer : (int)m->c.layers);
}

/* ---- a batch ---- */

typedef struct {
    const mg_model         *m;
    const mg_embed_options *o;
    const mg_pooling       *pooling;
    mg_batch                batch;
    int32_t                *numbers; /* start [n + 1], end [n], ids and pos [rows] */
    float                  *out;     /* of the batch's first text */
} job;

static mg_status pack(job *j, const mg_embed_text *text, size_t n, int64_t rows, mg_error *err) {
    j->numbers = mg_calloc(2 * n + 1 + 2 * (size_t)rows, sizeof *j->numbers);
    if (!j->numbers) return mg_fail(err, MG_NOMEM, "no memory for a batch of %lld tokens", (long long)rows);
    int32_t *start = j->numbers, *end = start + n + 1, *ids = end + n, *pos = ids + rows;
    for (size_t s = 0; s < n; s++) {
        start[s + 1] = start[s] + (int32_t)text[s].n;
        end[s] = start[s + 1] - 1;
        memcpy(ids + start[s], text[s].ids, (size_t)text[s].n * sizeof *ids);
        for (int32_t i = 0; i < text[s].n; i++) pos[start[s] + i] = i;
    }
    j->batch = (mg_batch){ .n_seq = (int)n, .start = start, .ids = ids, .pos = pos, .n_labels = (int64_t)n, .label_row = end };
    return MG_OK;
}

static void to_length_one(float *v, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)v[i] * v[i];
    double scale = sum > 0 ? 1 / sqrt(sum) : 0;
    for (int64_t i = 0; i < n; i++) v[i] = (float)(v[i] * scale);
}

static void embed(mg_tape *t, void *context) {
    const job *j = context;
    int64_t    D = j->m->c.dim, n = j->batch.n_seq;
    mg_tape_reset(t);
    mg_tape_batch(t, &j->batch);
    t->off = true;
    t->training = false;
    t->adapters_off = j->o->adapters_off;
    mg_tensor *h = states(t, j->m, j->o), *v = h ? j->pooling->pool(t, j->m, h) : NULL;
    const float *x = v ? mg_tape_floats(t, v, j->out) : NULL;
    if (!x) return;
    if (x != j->out) memcpy(j->out, x, (size_t)(n * D) * sizeof *x);
    for (int64_t i = 0; j->o->normalise && i < n; i++) to_length_one(j->out + i * D, D);
}

static mg_status run(job *j, const mg_backend *b, const mg_embed_text *text, size_t n, int64_t rows, mg_error *err) {
    mg_arena  mem = { 0 };
    mg_tape   t = { 0 };
    mg_status st = pack(j, text, n, rows, err);
    if (!st && !(st = mg_plan_open(&t, &mem, b, embed, j, err))) {
        embed(&t, j);
        st = mg_tape_status(&t, err);
        mg_plan_close(&t, &mem);
    }
    free(j->numbers);
    j->numbers = NULL;
    return st;
}

static mg_status check(const mg_model *m, const mg_embed_text *text, size_t n, mg_error *err) {
    for (size_t i = 0; i < n; i++) {
        if (text[i].n < 1) return mg_fail(err, MG_DATA, "text %zu has no tokens", i + 1);
        if (text[i].n > m->positions)
            return mg_fail(err, MG_TRUNCATED, "text %zu has %lld tokens, the model was opened for %lld", i + 1, (long long)text[i].n,
                           (long long)m->positions);
        for (int64_t k = 0; k < text[i].n; k++)
            if (text[i].ids[k] < 0 || text[i].ids[k] >= m->c.vocab)
                return mg_fail(err, MG_MISMATCH, "token %d does not exist, the model has %lld", (int)text[i].ids[k],
                               (long long)m->c.vocab);
    }
    return MG_OK;
}

mg_status mg_embed_texts(const mg_model *m, const mg_backend *b, const mg_embed_text *text, size_t n, const mg_embed_options *o,
                         float *out, mg_error *err) {
    job       j = { .m = m, .o = o, .pooling = o->pooling ? o->pooling : &poolings[0] };
    int64_t   most = o->batch_tokens > 0 ? o->batch_tokens : BATCH_TOKENS;
    mg_status st = check(m, text, n, err);
    if (!st && !o->adapters_off && mg_net_virtual(&m->net, false))
        st = mg_fail(err, MG_UNSUPPORTED, "vectors of texts behind virtual tokens are not offered: a mean would be of the prompt, too; "
                                          "take the base model, or an adapter of another method");
    if (!st && j.pooling->pool == pooler && !m->pooler.w)
        st = mg_fail(err, MG_UNSUPPORTED, "this model has no pooler (GGUF files leave it out); take another pooling: mean, cls or last");
    if (!st && o->from == MG_EMBED_LAYER && (o->layer < 0 || o->layer > m->c.layers))
        st = mg_fail(err, MG_CONFIG, "layer %d: this model has %lld; 0 is what enters the first", o->layer, (long long)m->c.layers);
    if (!st && j.pooling->pool == pooler && o->from != MG_EMBED_LAST)
        st = mg_fail(err, MG_CONFIG, "the pooler belongs to the last layer; take another pooling: mean, cls or last");
    for (size_t first = 0, end; !st && first < n; first = end) {
        int64_t rows = 0;
        for (end = first; end < n && (end == first || rows + text[end].n <= most); end++) rows += text[end].n;
        j.out = out + (int64_t)first * m->c.dim;
        st = run(&j, b, text + first, end - first, rows, err);
    }
    return st;
}
