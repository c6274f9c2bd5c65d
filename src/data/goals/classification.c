/* classification.c -- a text, or two, and the class they belong to; or a number, which is regression.
 *
 *     {"text": "...", "label": "positive"}                     also sentence, review, content
 *     {"sentence1": "...", "sentence2": "...", "label": 2}     also premise/hypothesis, text1/text2, text/text_pair
 *     {"sentence1": "...", "sentence2": "...", "label": 3.4}   a number: regression; also "score"
 *
 * An encoder reads a pair as two segments and is asked at its first token; a decoder reads them as two lines and is
 * asked at the last token, as transformers' classes do. */
#include "data/labelled.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char texts[] = "sentence1,premise,text,text1,sentence,review,content";
static const char pairs[] = "sentence2,hypothesis,text_pair,text2";
static const char labels[] = "label,labels,score,class";

static bool is_label(yyjson_val *v) { return yyjson_is_str(v) || yyjson_is_num(v) || yyjson_is_bool(v); }

static bool fits(yyjson_val *row) {
    return yyjson_is_str(mg_labelled_key(row, texts)) && (is_label(mg_labelled_key(row, labels)) || yyjson_is_str(mg_labelled_key(row, pairs)));
}

static bool fits_number(yyjson_val *row) { return fits(row) && yyjson_is_real(mg_labelled_key(row, labels)); }

/* A label of a JSON file or of a CSV cell as the name of its class. */
static mg_status class_of(mg_labelled_set *set, yyjson_val *v, bool collect, int32_t *out, mg_error *err) {
    char        number[40];
    const char *name = yyjson_get_str(v);
    if (yyjson_is_real(v))
        return mg_fail(err, MG_DATA, "the label %g is no class; say task: regression to learn numbers", yyjson_get_num(v));
    if (yyjson_is_bool(v)) name = yyjson_get_bool(v) ? "true" : "false";
    if (yyjson_is_int(v)) {
        snprintf(number, sizeof number, "%lld", (long long)yyjson_get_sint(v));
        name = number;
    }
    if (!name) return mg_fail(err, MG_DATA, "'label' is neither a text nor a number");
    if (strlen(name) > 200) return mg_fail(err, MG_DATA, "a label of %zu bytes", strlen(name));
    return mg_labelled_class(set, name, collect, out, err);
}

static mg_status number_of(yyjson_val *v, double *out, mg_error *err) {
    char       *end;
    const char *s = yyjson_get_str(v);
    *out = yyjson_is_num(v) ? yyjson_get_num(v) : s && *s ? strtod(s, &end) : NAN;
    if (!isfinite(*out) || (s && *s && *end)) return mg_fail(err, MG_DATA, "the label '%.40s' is no number", s ? s : "");
    return MG_OK;
}

static mg_status read_texts(mg_labelled_set *set, yyjson_val *row, int64_t line, mg_labelled **out, mg_error *err) {
    mg_labelled *x = mg_labelled_add(set, line);
    if (!x) return mg_fail(err, MG_NOMEM, "no memory for a record");
    *out = x;
    mg_status st = mg_labelled_text(&x->text, row, texts, err);
    if (!st && !x->text) st = mg_fail(err, MG_DATA, "there is no text; wanted is one of the keys %s", texts);
    if (!st) st = mg_labelled_text(&x->pair, row, pairs, err);
    if (!st && yyjson_is_str(yyjson_obj_get(row, "id"))) st = mg_labelled_text(&x->id, row, "id", err);
    return st;
}

static mg_status read_class(mg_labelled_set *set, yyjson_val *row, int64_t line, bool collect, mg_error *err) {
    mg_labelled *x = NULL;
    yyjson_val  *v = mg_labelled_key(row, labels);
    mg_status    st = read_texts(set, row, line, &x, err);
    if (st || !v) return st;
    x->has_target = true;
    return class_of(set, v, collect, &x->label, err);
}

static mg_status read_number(mg_labelled_set *set, yyjson_val *row, int64_t line, bool collect, mg_error *err) {
    mg_labelled *x = NULL;
    yyjson_val  *v = mg_labelled_key(row, labels);
    (void)collect;
    mg_status st = read_texts(set, row, line, &x, err);
    if (st || !v) return st;
    x->has_target = true;
    return number_of(v, &x->value, err);
}

/* Ids of the text, cut to `room`. */
static mg_status body(const mg_windows *w, const char *text, size_t room, bool *cut, mg_ids *out, mg_error *err) {
    mg_status st = mg_tokenize(w->tokenizer, text, strlen(text), 0, out, err);
    if (!st && out->len > room) {
        if (w->on_truncation != MG_TROUBLE_KEEP)
            return mg_fail(err, MG_TRUNCATED, "%zu tokens, there is room for %zu; raise max_length, or cut or drop long samples with truncation",
                           out->len, room);
        out->len = room;
        *cut = true;
    }
    return st;
}

static mg_status joined(const mg_labelled *x, bool encoder, char **first, char **second, mg_error *err) {
    mg_buf b = { 0 };
    mg_buf_str(&b, x->text);
    if (x->pair && !encoder) mg_buf_printf(&b, "\n%s", x->pair);
    *first = b.failed ? NULL : b.data;
    *second = x->pair && encoder ? mg_strdup(x->pair) : NULL;
    if (*first && (*second || !x->pair || !encoder)) return MG_OK;
    mg_buf_free(&b);
    *first = NULL;
    return mg_fail(err, MG_NOMEM, "no memory for a record");
}

static mg_status encode(const mg_labelled_set *set, size_t i, const mg_windows *w, mg_dataset *d, mg_error *err) {
    const mg_labelled *x = &set->item[i];
    mg_frame           f = { 0 };
    mg_ids             a = { 0 }, b = { 0 };
    mg_sample_draft    s = { .value = isnan(x->value) ? 0 : x->value };
    char              *first = NULL, *second = NULL;
    bool               cut = false;
    size_t             room = 0;
    mg_status          st = mg_frame_of(&f, w->tokenizer, err);
    if (!st) st = joined(x, w->encoder, &first, &second, err);
    if (!st) {
        size_t frame = f.before.len + f.after.len + (second ? f.after.len : 0);
        room = (size_t)w->max_length > frame + 1 ? (size_t)w->max_length - frame : 1;
        st = body(w, first, second ? room - room / 2 : room, &cut, &a, err);
    }
    if (!st && second) st = body(w, second, room - a.len, &cut, &b, err);
    if (!st && !a.len && !f.before.len) st = mg_fail(err, MG_DATA, "the text is empty");
    if (!st) {
        bool ok = mg_draft_ids(&s, &f.before) && mg_draft_ids(&s, &a) && mg_draft_ids(&s, &f.after);
        s.second = second ? (int32_t)s.ids.len : 0;
        if (second) ok = ok && mg_draft_ids(&s, &b) && mg_draft_ids(&s, &f.after);
        ok = ok && mg_draft_label(&s, w->encoder ? 0 : (int32_t)s.ids.len - 1, x->label < 0 ? 0 : x->label);
        st = ok ? mg_draft_end(&s, set, i, d, err) : mg_fail(err, MG_NOMEM, "no memory for a record");
        if (!st) d->sample[d->n - 1].truncated = cut;
    }
    mg_draft_free(&s);
    mg_frame_free(&f);
    mg_ids_free(&a);
    mg_ids_free(&b);
    free(first);
    free(second);
    return st;
}

const mg_goal mg_goal_classification = {
    .name = "classification", .other_names = "text_classification,sequence_classification,seq_cls,SEQ_CLS,sentiment_analysis,nli",
    .target = "'label'", .named = true, .fits = fits, .read = read_class, .encode = encode,
};

const mg_goal mg_goal_regression = {
    .name = "regression", .other_names = "text_regression,sequence_regression,sts", .target = "'label' or 'score'", .fits = fits_number,
    .read = read_number, .encode = encode,
};
