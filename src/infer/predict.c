/* predict.c -- from logits to labels, tags and answers. */
#include "infer/predict.h"

#include "base/json.h"
#include "infer/plan.h"
#include "text/unicode.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH_TOKENS = 4096, LONGEST_ANSWER = 30 /* tokens, as run_qa has it */ };

mg_status mg_predictions_open(mg_predictions *p, const mg_labelled_set *set, const mg_head *head, bool no_answer, mg_error *err) {
    *p = (mg_predictions){ .set = set, .head = head, .no_answer = no_answer, .x = mg_calloc(set->n + 1, sizeof *p->x) };
    bool ok = p->x != NULL;
    for (size_t i = 0; ok && i < set->n; i++) {
        mg_prediction *x = &p->x[i];
        *x = (mg_prediction){ .label = -1, .score = -INFINITY, .none = INFINITY };
        x->probability = mg_calloc((size_t)head->columns, sizeof *x->probability);
        x->tag = set->item[i].n_words ? mg_calloc(set->item[i].n_words, sizeof *x->tag) : NULL;
        ok = x->probability && (x->tag || !set->item[i].n_words);
        for (size_t k = 0; ok && k < set->item[i].n_words; k++) x->tag[k] = -1;
    }
    if (!ok) mg_predictions_free(p);
    return ok ? MG_OK : mg_fail(err, MG_NOMEM, "no memory for %zu predictions", set->n);
}

void mg_predictions_free(mg_predictions *p) {
    for (size_t i = 0; p->x && i < p->set->n; i++) {
        free(p->x[i].probability);
        free(p->x[i].tag);
    }
    free(p->x);
    *p = (mg_predictions){ 0 };
}

/* ---- decoding ---- */

static int32_t best_of(const float *z, int64_t n) {
    int32_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (z[i] > z[best]) best = (int32_t)i;
    return best;
}

static void take_class(mg_prediction *x, const float *z, int64_t n) {
    double sum = 0;
    x->label = best_of(z, n);
    for (int64_t i = 0; i < n; i++) sum += exp((double)z[i] - (double)z[x->label]);
    for (int64_t i = 0; i < n; i++) x->probability[i] = (float)(exp((double)z[i] - (double)z[x->label]) / sum);
}

/* The tag of a later word that shares its token: what began goes on. */
static int32_t going_on(const mg_labels *l, int32_t tag) {
    char        name[256];
    const char *s = l->name[tag];
    if (strncmp(s, "B-", 2) != 0) return tag;
    snprintf(name, sizeof name, "I-%s", s + 2);
    int32_t inside = mg_labels_find(l, name);
    return inside >= 0 ? inside : tag;
}

static void take_tags(const mg_predictions *p, mg_prediction *x, const mg_sample *s, const float *z) {
    const mg_labelled *item = &p->set->item[s->item];
    int64_t            n = p->head->columns;
    size_t             k = 0;
    for (int32_t i = 0; i < s->n; i++) {
        size_t begin = (size_t)s->place[2 * i], end = (size_t)s->place[2 * i + 1];
        bool   first = true;
        if (end <= begin) continue;
        while (k > 0 && item->word[k - 1].begin >= begin) k--;
        while (k < item->n_words && item->word[k].begin < begin) k++;
        for (; k < item->n_words && item->word[k].begin < end; k++, first = false) {
            int32_t tag = best_of(z + i * n, n);
            if (x->tag[k] < 0) x->tag[k] = first ? tag : going_on(&p->head->labels, tag);
        }
    }
}

static bool in_context(const mg_sample *s, int32_t i) { return s->place[2 * i + 1] > s->place[2 * i]; }

static void take_answer(mg_prediction *x, const mg_sample *s, const float *z) {
    double none = (double)z[0] + (double)z[1];
    if (none < x->none) x->none = none; /* every window must deny it */
    for (int32_t i = 0; i < s->n; i++) {
        if (!in_context(s, i)) continue;
        for (int32_t k = i; k < s->n && k < i + LONGEST_ANSWER; k++) {
            double score = (double)z[2 * i] + (double)z[2 * k + 1];
            if (!in_context(s, k) || score <= x->score) continue;
            x->score = score;
            x->place = (mg_span){ (size_t)s->place[2 * i], (size_t)s->place[2 * k + 1] };
        }
    }
}

/* Bytes of whole characters: a byte-level token may begin or end within one. */
static void whole_characters(const char *text, mg_span *at) {
    while (at->begin > 0 && ((unsigned char)text[at->begin] & 0xc0) == 0x80) at->begin--;
    while (text[at->end] && ((unsigned char)text[at->end] & 0xc0) == 0x80) at->end++;
}

void mg_predictions_take(mg_predictions *p, const mg_sample *s, const float *z) {
    mg_prediction *x = &p->x[s->item];
    int64_t        n = p->head->columns;
    x->seen = true;
    if (s->goal->columns) {
        take_answer(x, s, z);
        whole_characters(p->set->item[s->item].pair, &x->place);
    } else if (p->set->item[s->item].n_words)
        take_tags(p, x, s, z);
    else if (s->goal->named)
        take_class(x, z + s->row[0] * n, n);
    else
        x->value = (double)z[s->row[0] * n];
}

static bool denied(const mg_predictions *p, const mg_prediction *x) { return x->place.end <= x->place.begin || (p->no_answer && x->none > x->score); }

/* ---- lines ---- */

static void quoted(mg_buf *b, const char *s) { mg_json_quote(b, s, strlen(s)); }

static void write_tags(const mg_predictions *p, const mg_labelled *item, const mg_prediction *x, mg_buf *b) {
    mg_buf_str(b, "\"tokens\": [");
    for (size_t k = 0; k < item->n_words; k++) {
        if (k) mg_buf_str(b, ", ");
        mg_json_quote(b, item->text + item->word[k].begin, item->word[k].end - item->word[k].begin);
    }
    mg_buf_str(b, "], \"tags\": [");
    for (size_t k = 0; k < item->n_words; k++) {
        if (k) mg_buf_str(b, ", ");
        if (x->tag[k] < 0) mg_buf_str(b, "null");
        else quoted(b, p->head->labels.name[x->tag[k]]);
    }
    mg_buf_char(b, ']');
}

static void write_answer(const mg_predictions *p, const mg_labelled *item, const mg_prediction *x, mg_buf *b) {
    bool none = denied(p, x);
    mg_buf_str(b, "\"answer\": ");
    mg_json_quote(b, item->pair + x->place.begin, none ? 0 : x->place.end - x->place.begin);
    if (!none) mg_buf_printf(b, ", \"start\": %zu", mg_utf8_count(item->pair, x->place.begin));
    mg_buf_printf(b, ", \"score\": %.6g", none ? x->none : x->score);
}

void mg_predictions_write(const mg_predictions *p, size_t i, mg_buf *b) {
    const mg_labelled   *item = &p->set->item[i];
    const mg_prediction *x = &p->x[i];
    const mg_goal       *goal = p->head->kind->goal;
    mg_buf_char(b, '{');
    if (item->id) {
        mg_buf_str(b, "\"id\": ");
        quoted(b, item->id);
        mg_buf_str(b, ", ");
    }
    mg_buf_printf(b, "\"line\": %lld, ", (long long)item->line);
    if (goal->columns)
        write_answer(p, item, x, b);
    else if (item->n_words)
        write_tags(p, item, x, b);
    else if (goal->named) {
        mg_buf_str(b, "\"label\": ");
        quoted(b, x->label < 0 ? "" : p->head->labels.name[x->label]);
        mg_buf_str(b, ", \"probabilities\": {");
        for (int64_t k = 0; k < p->head->columns; k++) {
            if (k) mg_buf_str(b, ", ");
            quoted(b, p->head->labels.name[k]);
            mg_buf_printf(b, ": %.6f", (double)x->probability[k]);
        }
        mg_buf_char(b, '}');
    } else
        mg_buf_printf(b, "\"value\": %.7g", x->value);
    mg_buf_str(b, "}\n");
}

/* ---- running ---- */

typedef struct {
    const mg_model *m;
    mg_batch        batch;
    bool            adapters_off;
    float          *z;
} job;

static void pass(mg_tape *t, void *context) {
    job *j = context;
    mg_tape_reset(t);
    mg_tape_batch(t, &j->batch);
    t->off = true;
    t->training = false;
    t->adapters_off = j->adapters_off;
    mg_tensor   *z = mg_head_logits(t, j->m, j->batch.head);
    const float *x = z ? mg_tape_floats(t, z, j->z) : NULL;
    if (x && x != j->z) memcpy(j->z, x, (size_t)(z->rows * z->cols) * sizeof *x);
}

/* Samples first..end-1 side by side. */
static mg_status run(mg_predictions *p, const mg_model *m, const mg_backend *b, const mg_dataset *d, size_t first, size_t end, bool adapters_off,
                     mg_error *err) {
    size_t n = end - first, rows = 0;
    for (size_t i = first; i < end; i++) rows += (size_t)d->sample[i].n;
    int32_t  *numbers = mg_calloc(n + 1 + 3 * rows, sizeof *numbers), *ids = numbers ? numbers + n + 1 : NULL;
    job       j = { .m = m, .adapters_off = adapters_off, .z = mg_calloc(rows * (size_t)p->head->columns, sizeof *j.z) };
    mg_arena  mem = { 0 };
    mg_tape   t = { 0 };
    mg_status st = numbers && j.z ? MG_OK : mg_fail(err, MG_NOMEM, "no memory for a batch of %zu tokens", rows);
    for (size_t i = first, at = 0; !st && i < end; i++) {
        const mg_sample *s = &d->sample[i];
        for (int32_t k = 0; k < s->n; k++, at++) {
            ids[at] = s->ids[k];
            ids[rows + at] = k;
            ids[2 * rows + at] = s->second && k >= s->second;
        }
        numbers[i - first + 1] = (int32_t)at;
    }
    if (!st) {
        j.batch = (mg_batch){ .n_seq = (int)n, .start = numbers, .ids = ids, .pos = ids + rows, .type = ids + 2 * rows, .head = p->head };
        st = mg_plan_open(&t, &mem, b, pass, &j, err);
    }
    if (!st) {
        pass(&t, &j);
        st = mg_tape_status(&t, err);
        mg_plan_close(&t, &mem);
    }
    for (size_t i = first; !st && i < end; i++)
        mg_predictions_take(p, &d->sample[i], j.z + (int64_t)numbers[i - first] * p->head->columns);
    free(numbers);
    free(j.z);
    return st;
}

mg_status mg_predict(mg_predictions *p, const mg_model *m, const mg_backend *b, const mg_dataset *d, bool adapters_off, bool (*cancelled)(void),
                     mg_error *err) {
    mg_status st = MG_OK;
    for (size_t first = 0, end; !st && first < d->n; first = end) {
        int64_t rows = 0;
        for (end = first; end < d->n && (end == first || rows + d->sample[end].n <= BATCH_TOKENS); end++) {
            rows += d->sample[end].n;
            for (int32_t k = 0; k < d->sample[end].n; k++)
                if (d->sample[end].ids[k] >= m->c.vocab)
                    return mg_fail(err, MG_MISMATCH, "token %d does not exist, the model has %lld", (int)d->sample[end].ids[k], (long long)m->c.vocab);
        }
        st = cancelled && cancelled() ? mg_fail(err, MG_STOPPED, "stopped") : run(p, m, b, d, first, end, adapters_off, err);
    }
    return st;
}
