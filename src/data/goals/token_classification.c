/* token_classification.c -- a tag a word: named entities, parts of speech.
 *
 *     {"tokens": ["Alan", "Turing", "slept"], "tags": ["B-PER", "I-PER", "O"]}         also words, ner_tags, labels
 *     {"text": "Alan Turing slept", "entities": [{"start": 0, "end": 11, "label": "PER"}]}   also spans; type; span: [0, 11]
 *
 * Places count characters.  Entities become tags by IOB2, a character a word.  Words are joined with blanks, but not
 * where a script writes none, so the model reads what it has learned to read.  The tag of a word is asked for at the
 * token that its first character lies in; a token that two words share stands for the first. */
#include "data/labelled.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

static const char words[] = "tokens,words", tags[] = "tags,ner_tags,ner,pos_tags,labels", entities[] = "entities,spans,ents";

static bool fits(yyjson_val *row) {
    if (yyjson_is_arr(mg_labelled_key(row, words))) return yyjson_is_arr(mg_labelled_key(row, tags));
    return yyjson_is_str(yyjson_obj_get(row, "text")) && yyjson_is_arr(mg_labelled_key(row, entities));
}

/* ---- words and tags ---- */

/* Scripts without blanks: everything from the CJK radicals on, but for Hangul. */
static bool is_dense(uint32_t c) { return c >= 0x2e80 && !(c >= 0xac00 && c <= 0xd7a3); }

static bool joins(const mg_buf *before, const char *word) {
    uint32_t a = 0, b = 0;
    size_t   i = before->len;
    while (i > 0 && ((unsigned char)before->data[i - 1] & 0xc0) == 0x80) i--;
    if (!i || !mg_utf8_next(before->data + i - 1, before->len - i + 1, &a) || !mg_utf8_next(word, strlen(word), &b)) return true;
    return is_dense(a) || is_dense(b);
}

static mg_status read_word(mg_labelled *x, mg_buf *text, yyjson_val *v, mg_error *err) {
    const char *s = yyjson_get_str(v);
    if (!s || !*s || strlen(s) != yyjson_get_len(v)) return mg_fail(err, MG_DATA, "word %zu is no text", x->n_words + 1);
    if (text->len && !joins(text, s)) mg_buf_char(text, ' ');
    x->word[x->n_words++] = (mg_span){ text->len, text->len + strlen(s) };
    mg_buf_str(text, s);
    return MG_OK;
}

static mg_status read_tag(mg_labelled_set *set, yyjson_val *v, bool collect, int32_t *out, mg_error *err) {
    char number[32];
    if (yyjson_is_str(v)) return mg_labelled_class(set, yyjson_get_str(v), collect, out, err);
    if (!yyjson_is_int(v)) return mg_fail(err, MG_DATA, "a tag is neither a text nor a number");
    snprintf(number, sizeof number, "%lld", (long long)yyjson_get_sint(v));
    return mg_labelled_class(set, number, collect, out, err);
}

static bool room(mg_labelled *x, size_t n) {
    x->word = mg_calloc(n + 1, sizeof *x->word);
    x->tag = mg_calloc(n + 1, sizeof *x->tag);
    for (size_t i = 0; x->tag && i < n; i++) x->tag[i] = -1;
    return x->word && x->tag;
}

static mg_status read_words(mg_labelled_set *set, mg_labelled *x, yyjson_val *row, bool collect, mg_error *err) {
    yyjson_val *list = mg_labelled_key(row, words), *gold = mg_labelled_key(row, tags), *v;
    size_t      i, n, size = yyjson_arr_size(list);
    mg_buf      text = { 0 };
    mg_status   st = room(x, size) ? MG_OK : mg_fail(err, MG_NOMEM, "no memory for a record");
    if (!st && gold && (!yyjson_is_arr(gold) || yyjson_arr_size(gold) != size))
        st = mg_fail(err, MG_DATA, "%zu words have %zu tags", size, yyjson_arr_size(gold));
    yyjson_arr_foreach(list, i, n, v) {
        if (!st) st = read_word(x, &text, v, err);
    }
    yyjson_arr_foreach(gold, i, n, v) {
        if (!st) st = read_tag(set, v, collect, &x->tag[i], err);
    }
    if (!st && !size) st = mg_fail(err, MG_DATA, "there are no words");
    if (!st && text.failed) st = mg_fail(err, MG_NOMEM, "no memory for a record");
    x->has_target = gold != NULL;
    if (st)
        mg_buf_free(&text);
    else
        x->text = text.data;
    return st;
}

/* ---- a text and its entities ---- */

static mg_status read_entity(mg_labelled_set *set, mg_labelled *x, yyjson_val *v, bool collect, mg_error *err) {
    char        name[160];
    yyjson_val *span = yyjson_obj_get(v, "span"), *kind = mg_labelled_key(v, "label,type,entity,entity_group");
    int64_t     begin = yyjson_get_sint(span ? yyjson_arr_get(span, 0) : mg_labelled_key(v, "start,begin"));
    int64_t     end = yyjson_get_sint(span ? yyjson_arr_get(span, 1) : yyjson_obj_get(v, "end"));
    if (!yyjson_is_str(kind) || yyjson_get_len(kind) > 100 || !yyjson_get_len(kind)) return mg_fail(err, MG_DATA, "an entity has no 'label'");
    if (begin < 0 || end <= begin || end > (int64_t)x->n_words)
        return mg_fail(err, MG_DATA, "the entity '%s' stands at characters %lld to %lld of %zu", yyjson_get_str(kind), (long long)begin,
                       (long long)end, x->n_words);
    mg_status st = MG_OK;
    for (int64_t i = begin; !st && i < end; i++) {
        snprintf(name, sizeof name, "%c-%s", i == begin ? 'B' : 'I', yyjson_get_str(kind));
        st = mg_labelled_class(set, name, collect, &x->tag[i], err);
    }
    return st;
}

/* Every character is a word. */
static mg_status read_text(mg_labelled_set *set, mg_labelled *x, yyjson_val *row, bool collect, mg_error *err) {
    yyjson_val *list = mg_labelled_key(row, entities), *v;
    size_t      i, n, at = 0;
    int32_t     outside = -1;
    mg_status   st = mg_labelled_text(&x->text, row, "text", err);
    if (!st && (!x->text || !*x->text)) st = mg_fail(err, MG_DATA, "there is no text; wanted is 'tokens' or 'text'");
    if (!st && list && !yyjson_is_arr(list)) st = mg_fail(err, MG_DATA, "'entities' is no list");
    if (!st && !room(x, strlen(x->text))) st = mg_fail(err, MG_NOMEM, "no memory for a record");
    if (!st && list) st = mg_labelled_class(set, "O", collect, &outside, err);
    if (st) return st;
    for (; x->text[at]; at += mg_utf8_width(x->text[at])) {
        x->tag[x->n_words] = outside;
        x->word[x->n_words++] = (mg_span){ at, at + mg_utf8_width(x->text[at]) };
    }
    yyjson_arr_foreach(list, i, n, v) {
        if (!st) st = read_entity(set, x, v, collect, err);
    }
    x->has_target = list != NULL;
    return st;
}

static mg_status read(mg_labelled_set *set, yyjson_val *row, int64_t line, bool collect, mg_error *err) {
    mg_labelled *x = mg_labelled_add(set, line);
    if (!x) return mg_fail(err, MG_NOMEM, "no memory for a record");
    return yyjson_is_arr(mg_labelled_key(row, words)) ? read_words(set, x, row, collect, err) : read_text(set, x, row, collect, err);
}

/* ---- samples: a text that is too long is cut into several ---- */

/* The token that byte `at` lies in, from token *i on. */
static bool token_at(const mg_placed_ids *p, size_t at, size_t *i) {
    while (*i < p->ids.len && p->at[*i].end <= at) ++*i;
    return *i < p->ids.len && p->at[*i].begin <= at;
}

static mg_status window(const mg_labelled_set *set, size_t item, const mg_frame *f, const mg_placed_ids *p, size_t first, size_t n, mg_dataset *d,
                        mg_error *err) {
    const mg_labelled *x = &set->item[item];
    mg_sample_draft    s = { 0 };
    size_t             token = 0, taken = SIZE_MAX;
    bool               ok = mg_draft_ids(&s, &f->before) && mg_draft_add(&s, p, first, n, true) && mg_draft_ids(&s, &f->after);
    for (size_t k = 0; ok && k < x->n_words; k++) {
        if (!token_at(p, x->word[k].begin, &token) || token < first || token >= first + n || token == taken) continue;
        taken = token;
        if (x->tag[k] >= 0) ok = mg_draft_label(&s, (int32_t)(f->before.len + token - first), x->tag[k]);
    }
    if (ok && !s.row.len && !x->has_target) ok = mg_draft_label(&s, 0, 0); /* to be asked, not to be learned */
    mg_status st = !ok ? mg_fail(err, MG_NOMEM, "no memory for a record") : s.row.len ? mg_draft_end(&s, set, item, d, err) : MG_OK;
    mg_draft_free(&s);
    return st;
}

static mg_status encode(const mg_labelled_set *set, size_t item, const mg_windows *w, mg_dataset *d, mg_error *err) {
    mg_frame      f = { 0 };
    mg_placed_ids p = { 0 };
    mg_status     st = mg_frame_of(&f, w->tokenizer, err);
    if (!st) st = mg_place_ids(&p, w->tokenizer, set->item[item].text, 0, err);
    size_t frame = f.before.len + f.after.len, most = (size_t)w->max_length > frame + 1 ? (size_t)w->max_length - frame : 1;
    for (size_t first = 0, n; !st && first < p.ids.len; first += n) {
        n = p.ids.len - first < most ? p.ids.len - first : most;
        st = window(set, item, &f, &p, first, n, d, err);
    }
    mg_placed_ids_free(&p);
    mg_frame_free(&f);
    return st;
}

const mg_goal mg_goal_token_classification = {
    .name = "token_classification", .other_names = "token_cls,TOKEN_CLS,ner,tagging,pos", .target = "'tags' or 'entities'", .named = true,
    .fits = fits, .read = read, .encode = encode,
};
