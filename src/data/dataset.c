/* dataset.c -- a file of records to samples, with everything that went wrong counted and named.
 *
 * The form is that of the first record that has one; a later record of another form is a bad line.  A record that
 * cannot be used ends the loading or is dropped, as the options say, and never vanishes without a word. */
#include "data/records.h"
#include "data/sample_parts.h"
#include "base/file.h"

#include <stdlib.h>
#include <string.h>

void mg_note(mg_dataset *d, int64_t *count, const char *path, int64_t line, const char *what) {
    if ((*count)++ < MG_NOTES_MAX)
        mg_buf_printf(&d->notes, "%s:%lld: %s\n", mg_path_base(path), (long long)line, what);
}

void mg_notes_end(mg_dataset *d, int64_t count) {
    if (count > MG_NOTES_MAX) mg_buf_printf(&d->notes, "... and %lld more\n", (long long)(count - MG_NOTES_MAX));
}

/* What failed is the record; anything else (memory, a missing template) ends the loading. */
static bool is_about_record(mg_status st) {
    return st == MG_DATA || st == MG_TEMPLATE || st == MG_MASK || st == MG_TRUNCATED;
}

typedef struct {
    mg_dataset            *d;
    const mg_data_options *o;
    const mg_chat         *chat;
    const mg_form         *form;
    const char            *path;
    int64_t                n_notes, no_end;
} loader;

/* Why a record is not used, counted where it belongs; the status that ends the loading, or MG_OK. */
static mg_status refuse(loader *l, mg_status st, int64_t line, mg_error *why, mg_error *err) {
    char          place[400];
    mg_on_trouble how = st == MG_TRUNCATED ? l->o->on_truncation
                        : st == MG_MASK    ? l->o->on_empty_mask
                                           : l->o->on_bad_line;
    if (!is_about_record(st) || how == MG_TROUBLE_REFUSE) {
        snprintf(place, sizeof place, "%s:%lld", mg_path_base(l->path), (long long)line);
        mg_fail_in(why, place);
        if (err) *err = *why;
        return st;
    }
    if (st == MG_TRUNCATED)
        l->d->truncated++;
    else if (st == MG_MASK)
        l->d->empty_masks++;
    else
        l->d->bad_lines++;
    l->d->dropped++;
    mg_note(l->d, &l->n_notes, l->path, line, why->text);
    return MG_OK;
}

static mg_status keep(loader *l, mg_sample *s, mg_error *err) {
    mg_dataset *d = l->d;
    char        what[160];
    if (!MG_GROW(d->sample, d->cap, d->n + 1))
        return mg_fail(err, MG_NOMEM, "%s: no memory for %zu samples", l->path, d->n);
    if (s->truncated) {
        d->truncated++;
        snprintf(what, sizeof what, "cut to %d tokens; its end is lost%s", (int)s->n,
                 l->form->is_chat || l->o->append_eos ? " and the token that ends an answer with it" : "");
        mg_note(d, &l->n_notes, l->path, s->line, what);
    }
    if (!s->n_labels) {
        d->empty_masks++;
        mg_note(d, &l->n_notes, l->path, s->line, "no trained token");
    }
    int32_t last = s->n - 1;
    while (last > 0 && s->label[last] == MG_IGNORE) last--;
    if (last > 0 && l->chat->tokenizer && !mg_tokenizer_is_special(l->chat->tokenizer, s->ids[last]) &&
        s->ids[last] != mg_tokenizer_eos(l->chat->tokenizer))
        l->no_end++;
    d->tokens += s->n;
    d->labelled += s->n_labels;
    d->sample[d->n++] = *s;
    return MG_OK;
}

static mg_status load_record(loader *l, yyjson_val *row, int64_t line, mg_error *err) {
    mg_error  why = { 0 };
    mg_sample s = { 0 };
    mg_status st = MG_OK;
    if (!l->form) l->form = mg_form_find(row);
    if (!l->form || !l->form->matches(row) || mg_form_find(row) != l->form)
        st = mg_form_unknown(row, &why);
    else if (l->form->is_chat && !l->chat->chat_template) /* no record could be used: not this one's fault */
        return mg_fail(err, MG_TEMPLATE,
                       "%s: conversations (%s), but the model has no chat template; name one with"
                       " chat_template (gemma, chatml, llama2, llama3, mistral or a file)",
                       l->path, l->form->name);
    else
        st = mg_form_sample(l->form, &s, row, l->o, l->chat, &why);
    if (st) return refuse(l, st, line, &why, err);
    s.line = line;
    st = keep(l, &s, err);
    if (st) mg_sample_free(&s);
    return st;
}

static mg_status load_all(loader *l, mg_records *r, mg_error *err) {
    mg_status st = MG_OK;
    while (!st && (!l->o->max_samples || (int64_t)l->d->n < l->o->max_samples)) {
        yyjson_val     *row;
        int64_t         line = 0;
        mg_error        why = { 0 };
        mg_record_state state = mg_records_next(r, &row, &line, &why);
        if (state == MG_RECORD_END) break;
        l->d->read++;
        st = state == MG_RECORD_OK ? load_record(l, row, line, err) : refuse(l, why.status, line, &why, err);
    }
    return st;
}

mg_status mg_dataset_load(mg_dataset *out, const char *path, const mg_data_options *o, const mg_chat *chat,
                          mg_error *err) {
    mg_dataset  d = { 0 };
    mg_records *r = NULL;
    mg_status   st = mg_records_open(&r, path, err);
    if (st) return st;
    loader l = { .d = &d, .o = o, .chat = chat, .path = mg_records_path(r) };
    d.encoding = mg_records_encoding(r);
    st = load_all(&l, r, err);
    if (!st && !d.n)
        st = mg_fail(err, MG_DATA, "%s: none of %lld records can be used%s%.300s", l.path, (long long)d.read,
                     d.notes.len ? "; the first: " : "", d.notes.len ? d.notes.data : "");
    if (!st) {
        MG_ASSERT(l.form); /* a sample was kept */
        d.form = l.form->name;
        mg_notes_end(&d, l.n_notes);
        if (l.no_end)
            mg_buf_printf(
                &d.notes,
                "%lld samples end without an end-of-turn token, so they do not teach the model to stop\n",
                (long long)l.no_end);
        if (d.notes.failed) st = mg_fail(err, MG_NOMEM, "%s: no memory", path);
    }
    mg_records_close(r);
    if (st)
        mg_dataset_free(&d);
    else
        *out = d;
    return st;
}

void mg_dataset_free(mg_dataset *d) {
    for (size_t i = 0; i < d->n; i++) mg_sample_free(&d->sample[i]);
    free(d->sample);
    mg_buf_free(&d->notes);
    *d = (mg_dataset){ 0 };
}
