/* draft.c -- samples for heads, put together from pieces of tokenized text. */
#include "data/labelled.h"
#include "data/sample_parts.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

/* ---- tokens and the bytes that they stand for ---- */

mg_status mg_place_ids(mg_placed_ids *out, const mg_tokenizer *t, const char *text, unsigned flags, mg_error *err) {
    mg_aligned a = { .tokenizer = t, .text = text, .n = strlen(text), .flags = flags };
    *out = (mg_placed_ids){ 0 };
    mg_status st = mg_align(&a, err);
    if (!st && !a.exact) st = mg_align_folded(&a, err);
    if (!st && !a.exact)
        st = mg_fail(err, MG_MASK, "the tokenizer rewrites this text, so tokens cannot be told to belong to its words");
    if (!st && !(out->at = mg_calloc(a.ids.len + 1, sizeof *out->at))) st = mg_fail(err, MG_NOMEM, "no memory for %zu tokens", a.ids.len);
    for (size_t i = 0, begin = 0; !st && i < a.ids.len; begin = a.end[i], i++) {
        while (begin < a.end[i] && strchr(" \t\r\n", text[begin])) begin++; /* a blank in front is not the word's */
        out->at[i] = (mg_span){ begin, a.end[i] };
    }
    if (!st) {
        out->ids = a.ids;
        a.ids = (mg_ids){ 0 };
    }
    mg_align_free(&a);
    return st;
}

void mg_placed_ids_free(mg_placed_ids *p) {
    mg_ids_free(&p->ids);
    free(p->at);
    *p = (mg_placed_ids){ 0 };
}

/* ---- what stands around a text ---- */

mg_status mg_frame_of(mg_frame *out, const mg_tokenizer *t, mg_error *err) {
    mg_frame  f = { 0 };
    mg_ids    all = { 0 };
    mg_status st = mg_tokenize(t, "a", 1, MG_TOKENIZE_SPECIAL, &all, err);
    size_t    i = 0, end = all.len;
    while (i < all.len && mg_tokenizer_is_special(t, all.data[i])) i++;
    while (end > i && mg_tokenizer_is_special(t, all.data[end - 1])) end--;
    for (size_t k = 0; !st && k < all.len; k++)
        if ((k < i && !mg_ids_push(&f.before, all.data[k])) || (k >= end && !mg_ids_push(&f.after, all.data[k])))
            st = mg_fail(err, MG_NOMEM, "no memory for special tokens");
    mg_ids_free(&all);
    if (st)
        mg_frame_free(&f);
    else
        *out = f;
    return st;
}

void mg_frame_free(mg_frame *f) {
    mg_ids_free(&f->before);
    mg_ids_free(&f->after);
}

/* ---- the draft ---- */

static bool push(mg_sample_draft *d, int32_t id, mg_span at) {
    if (!MG_GROW(d->at, d->cap, d->ids.len + 1)) return false;
    d->at[d->ids.len] = at;
    return mg_ids_push(&d->ids, id);
}

bool mg_draft_add(mg_sample_draft *d, const mg_placed_ids *p, size_t first, size_t n, bool placed) {
    for (size_t i = first; i < first + n; i++)
        if (!push(d, p->ids.data[i], placed ? p->at[i] : (mg_span){ 0, 0 })) return false;
    return true;
}

bool mg_draft_ids(mg_sample_draft *d, const mg_ids *ids) {
    for (size_t i = 0; i < ids->len; i++)
        if (!push(d, ids->data[i], (mg_span){ 0, 0 })) return false;
    return true;
}

bool mg_draft_label(mg_sample_draft *d, int32_t row, int32_t label) { return mg_ids_push(&d->row, row) && mg_ids_push(&d->label, label); }

void mg_draft_free(mg_sample_draft *d) {
    mg_ids_free(&d->ids);
    mg_ids_free(&d->row);
    mg_ids_free(&d->label);
    free(d->at);
    *d = (mg_sample_draft){ 0 };
}

mg_status mg_draft_end(mg_sample_draft *s, const mg_labelled_set *set, size_t item, mg_dataset *d, mg_error *err) {
    size_t    n = s->ids.len, labels = s->row.len;
    mg_sample x = { .n = (int32_t)n, .n_labels = (int32_t)labels, .line = set->item[item].line, .goal = set->goal, .value = (float)s->value,
                    .second = s->second, .item = (uint32_t)item };
    mg_status st = MG_OK;
    if (!n || n > INT32_MAX / 8) st = mg_fail(err, MG_DATA, "%zu tokens in one sample", n);
    if (!st && (!MG_GROW(d->sample, d->cap, d->n + 1) || !(x.ids = mg_calloc(3 * n + 2 * labels, sizeof *x.ids))))
        st = mg_fail(err, MG_NOMEM, "no memory for %zu tokens", n);
    if (!st) { /* one block: ids, places, rows, labels */
        x.place = x.ids + n;
        x.row = x.place + 2 * n;
        x.label = x.row + labels;
        for (size_t i = 0; i < n; i++) {
            x.ids[i] = s->ids.data[i];
            x.place[2 * i] = (int32_t)s->at[i].begin;
            x.place[2 * i + 1] = (int32_t)s->at[i].end;
        }
        for (size_t k = 0; k < labels; k++) x.row[k] = s->row.data[k], x.label[k] = s->label.data[k];
        d->sample[d->n++] = x;
    }
    mg_draft_free(s);
    return st;
}
