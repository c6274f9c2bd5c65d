/* sheet.c -- id, order and form of a sheet; ratings that come back from a page. */
#include "eval/sheet.h"

#include "base/json.h"
#include "base/rng.h"
#include "text/unicode.h"

#include <math.h>
#include <sha2.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

enum { NOTE_BYTES = 10000, NAME_BYTES = 80, STREAM_ORDER = 7 };

static bool has_both(const mg_report_row *q) { return q->before && q->after; }

static void hash_text(SHA2_CTX *c, const char *s) { SHA256Update(c, (const uint8_t *)(s ? s : ""), strlen(s ? s : "") + 1); }

void mg_sheet_id(char out[33], const mg_report *r) {
    SHA2_CTX c;
    uint8_t  d[SHA256_DIGEST_LENGTH];
    size_t   n = 0;
    SHA256Init(&c);
    hash_text(&c, "migaki sheet 1");
    for (size_t i = 0; i < r->rows; i++) {
        const mg_report_row *q = &r->row[i];
        uint8_t              both = has_both(q);
        SHA256Update(&c, &both, 1);
        if (!both) continue;
        hash_text(&c, q->question);
        hash_text(&c, q->expected);
        hash_text(&c, q->before);
        hash_text(&c, q->after);
        n++;
    }
    SHA256Final(d, &c);
    *out = 0;
    for (int i = 0; n && i < 16; i++) snprintf(out + 2 * i, 3, "%02x", d[i]);
}

void mg_sheet_free(mg_sheet *s) {
    free(s->item);
    *s = (mg_sheet){ 0 };
}

mg_status mg_sheet_of(mg_sheet *out, const mg_report *r, uint64_t seed, mg_error *err) {
    mg_sheet  s = { .title = r->title, .seed = seed, .rows = r->rows };
    uint32_t *order = mg_calloc(r->rows + 1, sizeof *order);
    s.item = mg_calloc(r->rows + 1, sizeof *s.item);
    if (!s.item || !order || r->rows > UINT32_MAX) {
        free(order);
        free(s.item);
        return mg_fail(err, MG_NOMEM, "no memory for the questions");
    }
    for (size_t i = 0; i < r->rows; i++) {
        const mg_report_row *q = &r->row[i];
        if (!has_both(q)) continue;
        s.item[s.n++] = (mg_sheet_item){ .row = i, .question = q->question, .category = q->category, .expected = q->expected,
                                         .answer = { q->before, q->after }, .same = !strcmp(q->before, q->after),
                                         .ruled = q->ok_before >= 0 && q->ok_after >= 0 };
    }
    mg_sheet_id(s.id, r);
    mg_rng_shuffle((mg_rng){ .seed = seed, .where = mg_rng_where(0, 0, STREAM_ORDER) }, order, (uint32_t)s.n);
    for (size_t i = 0; i < s.n; i++) s.item[i].swapped = order[i] % 2;
    free(order);
    if (!s.n) {
        mg_sheet_free(&s);
        return mg_fail(err, MG_DATA, "the report has no question with two answers; ask some first: migaki compare RUN -d QUESTIONS.jsonl");
    }
    *out = s;
    return MG_OK;
}

bool mg_sheet_asks(const mg_sheet_item *x, mg_sheet_form form) {
    return form == MG_FORM_OX ? !x->ruled : form == MG_FORM_RUBRIC ? !x->same : !x->ruled || !x->same;
}

bool mg_rater_name_ok(const char *name) {
    size_t n = name ? strlen(name) : 0;
    if (!n || n > NAME_BYTES || !mg_utf8_valid(name, n) || name[strspn(name, " ")] == 0) return false;
    for (; *name; name++)
        if ((unsigned char)*name < 0x20 || *name == 0x7f) return false;
    return true;
}

/* ---- ratings from a page ---- */

void mg_sheet_ratings_free(mg_sheet_ratings *r) {
    for (size_t i = 0; i < r->n; i++) free(r->rating[i].note);
    free(r->rating);
    free(r->rater);
    *r = (mg_sheet_ratings){ 0 };
}

static mg_status read_scores(double *out, yyjson_val *v, const char *where, mg_error *err) {
    if (v && !yyjson_is_obj(v)) return mg_fail(err, MG_DATA, "%s: 'first' and 'second' must be objects", where);
    yyjson_obj_iter it = yyjson_obj_iter_with(v);
    for (yyjson_val *k; (k = yyjson_obj_iter_next(&it));) {
        yyjson_val *x = yyjson_obj_iter_get_val(k);
        int         c = 0;
        while (c < MG_CRITERIA && !yyjson_equals_str(k, mg_criteria[c].key)) c++;
        if (c == MG_CRITERIA) return mg_fail(err, MG_DATA, "%s: '%.80s' is no criterion", where, yyjson_get_str(k));
        if (!yyjson_is_int(x) || yyjson_get_sint(x) < mg_criteria[c].least || yyjson_get_sint(x) > mg_criteria[c].most)
            return mg_fail(err, MG_DATA, "%s: '%s' must be a whole number from %d to %d", where, mg_criteria[c].key, mg_criteria[c].least,
                           mg_criteria[c].most);
        out[c] = (double)yyjson_get_sint(x);
    }
    return MG_OK;
}

static mg_status read_preference(mg_rating *x, bool swapped, yyjson_val *v, const char *where, mg_error *err) {
    if (!v || yyjson_is_null(v)) return MG_OK;
    if (yyjson_equals_str(v, "tie")) x->preference = MG_PREFER_NONE;
    else if (yyjson_equals_str(v, "first")) x->preference = swapped ? MG_PREFER_AFTER : MG_PREFER_BEFORE;
    else if (yyjson_equals_str(v, "second")) x->preference = swapped ? MG_PREFER_BEFORE : MG_PREFER_AFTER;
    else return mg_fail(err, MG_DATA, "%s: 'preference' is first, second or tie", where);
    return MG_OK;
}

static mg_status read_rating(mg_rating *x, const mg_sheet_item *item, yyjson_val *v, const char *where, mg_error *err) {
    yyjson_val *note = yyjson_obj_get(v, "note");
    *x = mg_rating_empty(item->row, 0);
    mg_status st = read_scores(x->score[item->swapped], yyjson_obj_get(v, "first"), where, err);
    if (!st) st = read_scores(x->score[!item->swapped], yyjson_obj_get(v, "second"), where, err);
    if (!st) st = read_preference(x, item->swapped, yyjson_obj_get(v, "preference"), where, err);
    if (st || !note || yyjson_is_null(note)) return st;
    if (!yyjson_is_str(note) || yyjson_get_len(note) > NOTE_BYTES || strlen(yyjson_get_str(note)) != yyjson_get_len(note))
        return mg_fail(err, MG_DATA, "%s: 'note' must be a text of at most %d bytes", where, (int)NOTE_BYTES);
    x->note = mg_strdup(yyjson_get_str(note));
    return x->note ? MG_OK : mg_fail(err, MG_NOMEM, "%s: not enough memory", where);
}

static const mg_sheet_item *item_of_row(const mg_sheet *s, int64_t row) {
    size_t low = 0, high = s->n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if ((int64_t)s->item[middle].row < row) low = middle + 1;
        else high = middle;
    }
    return low < s->n && (int64_t)s->item[low].row == row ? &s->item[low] : NULL;
}

static mg_status read_ratings(mg_sheet_ratings *out, const mg_sheet *s, yyjson_val *list, const char *name, mg_error *err) {
    bool       *seen = mg_calloc(s->rows + 1, sizeof *seen);
    mg_status   st = MG_OK;
    size_t      i, n;
    yyjson_val *v;
    out->rating = mg_calloc(yyjson_arr_size(list) + 1, sizeof *out->rating);
    if (!seen || !out->rating) st = mg_fail(err, MG_NOMEM, "%s: not enough memory", name);
    yyjson_arr_foreach(list, i, n, v) {
        char        where[600];
        yyjson_val *row = yyjson_obj_get(v, "item");
        if (st) break;
        snprintf(where, sizeof where, "%.500s, rating %zu", name, i + 1);
        const mg_sheet_item *item = yyjson_is_int(row) && yyjson_get_sint(row) >= 0 ? item_of_row(s, yyjson_get_sint(row)) : NULL;
        if (!item) st = mg_fail(err, MG_DATA, "%s: 'item' is no question of this sheet", where);
        else if (seen[item->row]) st = mg_fail(err, MG_DATA, "%s: item %zu is rated twice", where, item->row);
        else {
            seen[item->row] = true;
            st = read_rating(&out->rating[out->n], item, v, where, err);
            out->n++;
        }
    }
    free(seen);
    return st;
}

mg_status mg_sheet_import(mg_sheet_ratings *out, const mg_sheet *s, const char *text, size_t n, const char *name, mg_error *err) {
    mg_json          j = { 0 };
    mg_sheet_ratings r = { 0 };
    mg_status        st = mg_json_parse(&j, text, n, name, err);
    if (st) return st;
    yyjson_val *sheet = yyjson_obj_get(j.root, "sheet"), *rater = yyjson_obj_get(j.root, "rater"), *list = yyjson_obj_get(j.root, "ratings");
    if (!yyjson_equals_str(yyjson_obj_get(j.root, "format"), "migaki ratings 1"))
        st = mg_fail(err, MG_DATA, "%s: is no file of ratings; its 'format' must be \"migaki ratings 1\"", name);
    else if (!yyjson_is_str(sheet) || strcmp(yyjson_get_str(sheet), s->id) != 0)
        st = mg_fail(err, MG_DATA, "%s: rates other answers (sheet %.40s) than this report holds (sheet %s)", name,
                     yyjson_is_str(sheet) ? yyjson_get_str(sheet) : "–", s->id);
    else if (!yyjson_is_str(rater) || strlen(yyjson_get_str(rater)) != yyjson_get_len(rater) || !mg_rater_name_ok(yyjson_get_str(rater)))
        st = mg_fail(err, MG_DATA, "%s: 'rater' must be a name of 1 to %d bytes without control characters", name, (int)NAME_BYTES);
    else if (!yyjson_is_arr(list))
        st = mg_fail(err, MG_DATA, "%s: 'ratings' must be a list", name);
    else if (!(r.rater = mg_strdup(yyjson_get_str(rater))))
        st = mg_fail(err, MG_NOMEM, "%s: not enough memory", name);
    else
        st = read_ratings(&r, s, list, name, err);
    mg_json_free(&j);
    if (st) mg_sheet_ratings_free(&r);
    else *out = r;
    return st;
}
