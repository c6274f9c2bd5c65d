/* questions.c -- read question files, judge answers by what occurs in them.
 *
 * Substrings, not whole answers: a model may say the same in many words, and a
 * wrong answer is told by the words it must not hold.  Parts are normalised once,
 * when read; an answer when it is judged. */
#include "eval/questions.h"

#include "base/file.h"
#include "base/json.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

enum { FILE_BYTES = 16 << 20 };

static void free_phrases(mg_phrases *p) {
    for (size_t i = 0; i < p->n; i++) free(p->phrase[i]);
    free(p->phrase);
}

static void free_question(mg_question *q) {
    free(q->text);
    free(q->category);
    free(q->expected);
    for (size_t i = 0; i < q->n_expect; i++) free_phrases(&q->expect[i]);
    free(q->expect);
    free_phrases(&q->reject);
}

static void cut(mg_questions *q, size_t n) {
    while (q->n > n) free_question(&q->question[--q->n]);
}

void mg_questions_free(mg_questions *q) {
    cut(q, 0);
    free(q->question);
    *q = (mg_questions){ 0 };
}

/* "where" is "FILE, line N" in all of the following. */
static mg_status read_phrase(char **out, yyjson_val *v, const char *where, mg_error *err) {
    if (!yyjson_is_str(v) || !yyjson_get_len(v))
        return mg_fail(err, MG_DATA, "%s: 'expect' and 'reject' hold texts that are not empty", where);
    if (strlen(yyjson_get_str(v)) != yyjson_get_len(v))
        return mg_fail(err, MG_DATA, "%s: a text holds a zero byte", where);
    mg_buf b = { 0 };
    if (!mg_normalize(MG_NFKC, yyjson_get_str(v), yyjson_get_len(v), &b) || b.failed) {
        mg_buf_free(&b);
        return mg_fail(err, MG_NOMEM, "%s: not enough memory", where);
    }
    *out = b.data;
    return MG_OK;
}

/* A text, or a list of texts. */
static mg_status read_phrases(mg_phrases *out, yyjson_val *v, const char *where, mg_error *err) {
    bool   list = yyjson_is_arr(v);
    size_t n = list ? yyjson_arr_size(v) : 1;
    out->phrase = mg_calloc(n, sizeof *out->phrase);
    if (!out->phrase) return mg_fail(err, MG_NOMEM, "%s: not enough memory", where);
    yyjson_arr_iter it = yyjson_arr_iter_with(v);
    for (size_t i = 0; i < n; i++) {
        mg_status st = read_phrase(&out->phrase[i], list ? yyjson_arr_iter_next(&it) : v, where, err);
        if (st) return st;
        out->n++;
    }
    return MG_OK;
}

/* "A / B, C" for [["A", "B"], "C"]. */
static void describe(mg_buf *b, yyjson_val *expect) {
    yyjson_arr_iter it = yyjson_arr_iter_with(expect);
    for (yyjson_val *e; (e = yyjson_arr_iter_next(&it));) {
        if (b->len) mg_buf_str(b, ", ");
        if (yyjson_is_str(e)) mg_buf_str(b, yyjson_get_str(e));
        yyjson_arr_iter any = yyjson_arr_iter_with(e);
        for (yyjson_val *a; (a = yyjson_arr_iter_next(&any));) {
            if (a != yyjson_arr_get_first(e)) mg_buf_str(b, " / ");
            mg_buf_str(b, yyjson_get_str(a));
        }
    }
    mg_buf_add(b, "", 0);
}

static mg_status read_expect(mg_question *q, yyjson_val *expect, const char *where, mg_error *err) {
    if (expect && !yyjson_is_arr(expect)) return mg_fail(err, MG_DATA, "%s: 'expect' must be a list", where);
    size_t n = yyjson_arr_size(expect);
    q->expect = mg_calloc(n, sizeof *q->expect);
    if (!q->expect) return mg_fail(err, MG_NOMEM, "%s: not enough memory", where);
    yyjson_arr_iter it = yyjson_arr_iter_with(expect);
    for (yyjson_val *e; (e = yyjson_arr_iter_next(&it));) {
        if (yyjson_is_arr(e) && !yyjson_arr_size(e))
            return mg_fail(err, MG_DATA, "%s: an empty list in 'expect' can never be met", where);
        mg_status st = read_phrases(&q->expect[q->n_expect++], e, where, err);
        if (st) return st;
    }
    mg_buf b = { 0 };
    describe(&b, expect);
    q->expected = b.failed || !b.data ? mg_strdup("") : b.data;
    return q->expected && !b.failed ? MG_OK : mg_fail(err, MG_NOMEM, "%s: not enough memory", where);
}

static mg_status known_keys(yyjson_val *record, const char *where, mg_error *err) {
    static const char *const known[] = { "question", "prompt", "expect", "reject", "category" };
    yyjson_obj_iter          it = yyjson_obj_iter_with(record);
    for (yyjson_val *k; (k = yyjson_obj_iter_next(&it));) {
        size_t i = 0;
        while (i < sizeof known / sizeof *known && !yyjson_equals_str(k, known[i])) i++;
        if (i == sizeof known / sizeof *known)
            return mg_fail(err, MG_DATA, "%s: the key '%.80s' is not known; there are question, prompt, expect, "
                           "reject and category", where, yyjson_get_str(k));
    }
    return MG_OK;
}

static mg_status read_record(mg_question *q, yyjson_val *record, const char *stem, const char *where, mg_error *err) {
    if (!yyjson_is_obj(record)) return mg_fail(err, MG_DATA, "%s: must be a JSON object", where);
    mg_status st = known_keys(record, where, err);
    if (st) return st;
    yyjson_val *question = yyjson_obj_get(record, "question"), *prompt = yyjson_obj_get(record, "prompt");
    yyjson_val *text = question ? question : prompt, *category = yyjson_obj_get(record, "category");
    if ((question && prompt) || !yyjson_is_str(text) || !yyjson_get_len(text))
        return mg_fail(err, MG_DATA, "%s: needs either 'question' or 'prompt', a text that is not empty", where);
    if (category && !yyjson_is_str(category)) return mg_fail(err, MG_DATA, "%s: 'category' must be a text", where);
    q->raw = !question;
    q->text = mg_strdup(yyjson_get_str(text));
    q->category = mg_strdup(category ? yyjson_get_str(category) : stem);
    if (!q->text || !q->category) return mg_fail(err, MG_NOMEM, "%s: not enough memory", where);
    st = read_expect(q, yyjson_obj_get(record, "expect"), where, err);
    yyjson_val *reject = yyjson_obj_get(record, "reject");
    if (!st && reject && !yyjson_is_arr(reject)) st = mg_fail(err, MG_DATA, "%s: 'reject' must be a list", where);
    return st || !reject ? st : read_phrases(&q->reject, reject, where, err);
}

static mg_status read_line(mg_questions *q, const char *line, size_t n, const char *stem, const char *where, mg_error *err) {
    mg_json     j = { 0 };
    mg_question one = { 0 };
    mg_status   st = mg_json_parse(&j, line, n, where, err);
    if (st) return st;
    st = read_record(&one, j.root, stem, where, err);
    if (!st && !MG_GROW(q->question, q->cap, q->n + 1)) st = mg_fail(err, MG_NOMEM, "%s: not enough memory", where);
    if (st) free_question(&one);
    else q->question[q->n++] = one;
    mg_json_free(&j);
    return st;
}

/* The file's name without folder and ending; heap. */
static char *stem_of(const char *path) {
    const char *base = mg_path_base(path), *dot = strrchr(base, '.');
    return mg_strndup(base, dot && dot != base ? (size_t)(dot - base) : strlen(base));
}

mg_status mg_questions_load(mg_questions *q, const char *path, mg_error *err) {
    mg_buf    file = { 0 }, where = { 0 };
    size_t    before = q->n, number = 0;
    char     *stem = stem_of(path);
    mg_status st = stem ? mg_read_file(&file, path, FILE_BYTES, err) : mg_fail(err, MG_NOMEM, "%s: not enough memory", path);
    for (const char *line = file.data; !st && line && line < file.data + file.len;) {
        const char *end = memchr(line, '\n', (size_t)(file.data + file.len - line));
        if (!end) end = file.data + file.len;
        number++;
        where.len = 0;
        mg_buf_printf(&where, "%s, line %zu", path, number);
        if (where.failed) st = mg_fail(err, MG_NOMEM, "%s: not enough memory", path);
        else if (end > line && strspn(line, " \t\r") < (size_t)(end - line))
            st = read_line(q, line, (size_t)(end - line), stem, where.data, err);
        line = end + 1;
    }
    if (!st && q->n == before) st = mg_fail(err, MG_DATA, "%s: holds no question", path);
    if (st) cut(q, before);
    mg_buf_free(&file);
    mg_buf_free(&where);
    free(stem);
    return st;
}

static bool occurs(const mg_phrases *p, const char *text) {
    for (size_t i = 0; i < p->n; i++)
        if (strstr(text, p->phrase[i])) return true;
    return false;
}

int mg_question_judge(const mg_question *q, const char *answer) {
    if (!q->n_expect && !q->reject.n) return -1;
    mg_buf clean = { 0 }, text = { 0 };
    int    verdict = -1;
    mg_utf8_lossy(&clean, answer, strlen(answer));
    mg_buf_add(&clean, "", 0);
    if (clean.failed || !mg_normalize(MG_NFKC, clean.data ? clean.data : "", clean.len, &text)) goto done;
    mg_buf_add(&text, "", 0);
    if (text.failed) goto done;
    verdict = !occurs(&q->reject, text.data);
    for (size_t i = 0; i < q->n_expect && verdict; i++) verdict = occurs(&q->expect[i], text.data);
done:
    mg_buf_free(&clean);
    mg_buf_free(&text);
    return verdict;
}
