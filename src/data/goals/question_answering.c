/* question_answering.c -- a question whose answer stands in a context, word for word.
 *
 *     {"data": [{"paragraphs": [{"context": "...", "qas": [{"id": "...", "question": "...",
 *         "answers": [{"text": "...", "answer_start": 25}], "is_impossible": false}]}]}]}         SQuAD, JSQuAD
 *     {"context": "...", "question": "...", "answers": {"text": ["..."], "answer_start": [25]}}   of `datasets`
 *     {"context": "...", "question": "...", "answer": "...", "answer_start": 25}
 *
 * answer_start counts characters; without it the first place where the answer stands is taken.  No answers, or
 * is_impossible: the context does not say it, and the first token is the place to point at.
 *
 * The model reads question, then context: a decoder must know what is asked when it reads the answer.  A context that
 * is too long is read in windows that share `stride` tokens; a window without the whole answer has none. */
#include "data/labelled.h"

#include <stdlib.h>
#include <string.h>

enum { LEAST_ROOM = 8 };

static bool fits(yyjson_val *row) {
    if (!yyjson_is_str(yyjson_obj_get(row, "context"))) return false;
    return yyjson_is_arr(yyjson_obj_get(row, "qas")) ||
           (yyjson_is_str(yyjson_obj_get(row, "question")) && mg_labelled_key(row, "answers,answer") != NULL);
}

/* ---- records ---- */

static mg_status add_answer(mg_labelled *x, const char *text, yyjson_val *start, mg_error *err) {
    size_t begin = SIZE_MAX, len = text ? strlen(text) : 0;
    if (!len) return mg_fail(err, MG_DATA, "an answer is no text, or empty");
    if (yyjson_is_int(start)) {
        begin = mg_labelled_bytes(x->pair, yyjson_get_sint(start));
        if (begin == SIZE_MAX || strncmp(x->pair + begin, text, len) != 0)
            return mg_fail(err, MG_DATA, "the answer '%.80s' does not stand in the context at character %lld, but '%.*s'", text,
                           (long long)yyjson_get_sint(start), begin == SIZE_MAX ? 0 : (int)(len < 80 ? strnlen(x->pair + begin, len) : 0),
                           begin == SIZE_MAX ? "" : x->pair + begin);
    } else {
        const char *found = strstr(x->pair, text);
        if (!found) return mg_fail(err, MG_DATA, "the answer '%.80s' does not stand in the context", text);
        begin = (size_t)(found - x->pair);
    }
    char   **answer = mg_realloc(x->answer, x->n_answers + 1, sizeof *answer);
    mg_span *place = answer ? mg_realloc(x->place, x->n_answers + 1, sizeof *place) : NULL;
    if (answer) x->answer = answer;
    if (place) x->place = place;
    char *copy = place ? mg_strdup(text) : NULL;
    if (!copy) return mg_fail(err, MG_NOMEM, "no memory for a record");
    x->answer[x->n_answers] = copy;
    x->place[x->n_answers++] = (mg_span){ begin, begin + len };
    return MG_OK;
}

static mg_status read_answers(mg_labelled *x, yyjson_val *qa, mg_error *err) {
    yyjson_val *answers = yyjson_obj_get(qa, "answers"), *one = yyjson_obj_get(qa, "answer"), *v;
    size_t      i, n;
    mg_status   st = MG_OK;
    x->has_target = answers || one || yyjson_get_bool(yyjson_obj_get(qa, "is_impossible"));
    if (yyjson_get_bool(yyjson_obj_get(qa, "is_impossible"))) return MG_OK;
    if (yyjson_is_obj(answers)) {
        yyjson_val *texts = yyjson_obj_get(answers, "text"), *starts = yyjson_obj_get(answers, "answer_start");
        yyjson_arr_foreach(texts, i, n, v) {
            if (!st) st = add_answer(x, yyjson_get_str(v), yyjson_arr_get(starts, i), err);
        }
    } else if (answers) {
        yyjson_arr_foreach(answers, i, n, v) {
            if (!st) st = yyjson_is_str(v) ? add_answer(x, yyjson_get_str(v), NULL, err)
                                           : add_answer(x, yyjson_get_str(yyjson_obj_get(v, "text")), yyjson_obj_get(v, "answer_start"), err);
        }
    } else if (one)
        st = add_answer(x, yyjson_get_str(one), mg_labelled_key(qa, "answer_start,start"), err);
    return st;
}

static mg_status read_question(mg_labelled_set *set, yyjson_val *qa, yyjson_val *context, int64_t line, mg_error *err) {
    mg_labelled *x = mg_labelled_add(set, line);
    if (!x) return mg_fail(err, MG_NOMEM, "no memory for a record");
    mg_status st = mg_labelled_text(&x->text, qa, "question", err);
    if (!st) st = mg_labelled_text(&x->pair, context, "context", err);
    if (!st && (!x->text || !x->pair || !*x->text || !*x->pair)) st = mg_fail(err, MG_DATA, "'question' or 'context' is missing or empty");
    if (!st && yyjson_is_str(yyjson_obj_get(qa, "id"))) st = mg_labelled_text(&x->id, qa, "id", err);
    return st ? st : read_answers(x, qa, err);
}

static mg_status read(mg_labelled_set *set, yyjson_val *row, int64_t line, bool collect, mg_error *err) {
    yyjson_val *qas = yyjson_obj_get(row, "qas"), *qa;
    size_t      i, n;
    mg_status   st = MG_OK;
    (void)collect;
    if (!yyjson_is_arr(qas)) return read_question(set, row, row, line, err);
    yyjson_arr_foreach(qas, i, n, qa) {
        if (!st) st = read_question(set, qa, row, line, err);
    }
    return st;
}

/* ---- windows ---- */

/* The tokens of the answer; false: it has none of its own. */
static bool tokens_of(const mg_placed_ids *p, mg_span place, size_t *first, size_t *last) {
    size_t i = 0;
    while (i < p->ids.len && p->at[i].end <= place.begin) i++;
    *first = *last = i;
    while (*last + 1 < p->ids.len && p->at[*last + 1].begin < place.end) ++*last;
    return i < p->ids.len;
}

typedef struct {
    mg_frame      f;
    mg_placed_ids question, context, between;
} pieces;

static mg_status cut(pieces *p, const mg_labelled *x, const mg_windows *w, mg_error *err) {
    mg_status st = mg_frame_of(&p->f, w->tokenizer, err);
    if (!st) st = mg_tokenize(w->tokenizer, x->text, strlen(x->text), 0, &p->question.ids, err);
    if (!st && !w->encoder) st = mg_tokenize(w->tokenizer, "\n", 1, 0, &p->between.ids, err);
    return st ? st : mg_place_ids(&p->context, w->tokenizer, x->pair, 0, err);
}

static mg_status window(const mg_labelled_set *set, size_t item, const pieces *p, bool encoder, size_t first, size_t n, mg_dataset *d,
                        mg_error *err) {
    const mg_labelled *x = &set->item[item];
    mg_sample_draft    s = { 0 };
    size_t             begin, end;
    bool ok = mg_draft_ids(&s, &p->f.before) && mg_draft_ids(&s, &p->question.ids) && mg_draft_ids(&s, encoder ? &p->f.after : &p->between.ids);
    size_t head = s.ids.len;
    s.second = encoder ? (int32_t)head : 0;
    ok = ok && mg_draft_add(&s, &p->context, first, n, true) && mg_draft_ids(&s, &p->f.after);
    bool inside = x->n_answers && tokens_of(&p->context, x->place[0], &begin, &end) && begin >= first && end < first + n;
    ok = ok && mg_draft_label(&s, 0, inside ? (int32_t)(head + begin - first) : 0);
    ok = ok && mg_draft_label(&s, 1, inside ? (int32_t)(head + end - first) : 0);
    mg_status st = ok ? mg_draft_end(&s, set, item, d, err) : mg_fail(err, MG_NOMEM, "no memory for a record");
    mg_draft_free(&s);
    return st;
}

static mg_status encode(const mg_labelled_set *set, size_t item, const mg_windows *w, mg_dataset *d, mg_error *err) {
    pieces    p = { 0 };
    mg_status st = cut(&p, &set->item[item], w, err);
    size_t    around = p.f.before.len + p.question.ids.len + (w->encoder ? p.f.after.len : p.between.ids.len) + p.f.after.len, n = 0, first = 0;
    size_t    room = (size_t)w->max_length > around ? (size_t)w->max_length - around : 0, total = p.context.ids.len;
    size_t    shared = (size_t)w->stride < room / 2 ? (size_t)w->stride : room / 2;
    if (!st && room < LEAST_ROOM && room < total)
        st = mg_fail(err, MG_TRUNCATED, "the question has %zu tokens, max_length is %d; no room is left for the context", p.question.ids.len,
                     (int)w->max_length);
    while (!st && first + n < total) {
        if (n) first += n - shared;
        n = total - first < room ? total - first : room;
        st = window(set, item, &p, w->encoder, first, n, d, err);
    }
    if (!st && !total) st = mg_fail(err, MG_DATA, "the context has no tokens");
    mg_placed_ids_free(&p.question);
    mg_placed_ids_free(&p.context);
    mg_placed_ids_free(&p.between);
    mg_frame_free(&p.f);
    return st;
}

const mg_goal mg_goal_question_answering = {
    .name = "question_answering", .other_names = "extractive_qa,qa,QUESTION_ANS,squad,jsquad", .target = "'answers'", .columns = true, .fits = fits,
    .read = read, .encode = encode,
};
