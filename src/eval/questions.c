/* questions.c -- read question files, judge answers by what occurs in them.
 *
 * Substrings, not whole answers: a model may say the same in many words, and a
 * wrong answer is told by the words it must not hold.  Parts are normalised once,
 * when read; an answer when it is judged. */
#include "eval/questions.h"

#include "base/file.h"
#include "data/records.h"
#include "eval/metrics/words.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

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
    free_phrases(&q->answer);
    for (size_t i = 0; i < q->n_regex; i++) mg_regex_free(q->regex[i]);
    free(q->regex);
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
    if (yyjson_is_str(expect)) mg_buf_str(b, yyjson_get_str(expect));
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
    size_t n = yyjson_is_str(expect) ? 1 : yyjson_arr_size(expect);
    if (expect && !yyjson_is_arr(expect) && !yyjson_is_str(expect))
        return mg_fail(err, MG_DATA, "%s: 'expect' must be a text or a list", where);
    q->expect = mg_calloc(n, sizeof *q->expect);
    if (!q->expect) return mg_fail(err, MG_NOMEM, "%s: not enough memory", where);
    if (yyjson_is_str(expect)) return read_phrases(&q->expect[q->n_expect++], expect, where, err);
    yyjson_arr_iter it = yyjson_arr_iter_with(expect);
    for (yyjson_val *e; (e = yyjson_arr_iter_next(&it));) {
        if (yyjson_is_arr(e) && !yyjson_arr_size(e))
            return mg_fail(err, MG_DATA, "%s: an empty list in 'expect' can never be met", where);
        mg_status st = read_phrases(&q->expect[q->n_expect++], e, where, err);
        if (st) return st;
    }
    return MG_OK;
}

static mg_status add_regex(mg_question *q, yyjson_val *v, const char *where, mg_error *err) {
    mg_phrases one = { 0 };
    mg_status  st = read_phrases(&one, v, where, err); /* NFKC, as the answer is */
    if (!st) st = mg_regex_compile(&q->regex[q->n_regex], one.phrase[0], strlen(one.phrase[0]), where, err);
    if (!st) q->n_regex++;
    free_phrases(&one);
    return st;
}

static mg_status read_regex(mg_question *q, yyjson_val *v, const char *where, mg_error *err) {
    mg_status st = MG_OK;
    if (!v) return MG_OK;
    if (!yyjson_is_str(v) && !yyjson_is_arr(v)) return mg_fail(err, MG_DATA, "%s: 'regex' must be a text or a list", where);
    q->regex = mg_calloc(yyjson_arr_size(v) + 1, sizeof *q->regex);
    if (!q->regex) return mg_fail(err, MG_NOMEM, "%s: not enough memory", where);
    if (yyjson_is_str(v)) return add_regex(q, v, where, err);
    yyjson_arr_iter it = yyjson_arr_iter_with(v);
    for (yyjson_val *e; !st && (e = yyjson_arr_iter_next(&it));)
        st = yyjson_is_str(e) ? add_regex(q, e, where, err) : mg_fail(err, MG_DATA, "%s: 'regex' must be a text or a list", where);
    return st;
}

/* What is expected, and how it judges: "contains" is one more entry of `expect`. */
static mg_status read_answer(mg_question *q, yyjson_val *answer, yyjson_val *how, const char *where, mg_error *err) {
    const char *judge = how ? yyjson_get_str(how) : "human";
    bool        contains = judge && !strcmp(judge, "contains"), equal = judge && !strcmp(judge, "equal");
    if (!judge || (!contains && !equal && strcmp(judge, "human") != 0 && strcmp(judge, "rule") != 0))
        return mg_fail(err, MG_DATA, "%s: 'judge' is human, contains, equal or rule", where);
    if (answer && !yyjson_is_str(answer) && !yyjson_arr_size(answer))
        return mg_fail(err, MG_DATA, "%s: 'answer' must be a text or a list of texts", where);
    if (!answer && (contains || equal)) return mg_fail(err, MG_DATA, "%s: 'judge' is %s, but there is no 'answer'", where, judge);
    if (how && !strcmp(judge, "human") && (q->n_expect || q->reject.n || q->n_regex))
        return mg_fail(err, MG_DATA, "%s: 'judge' is human, but there are rules as well", where);
    if (how && !strcmp(judge, "rule") && !q->n_expect && !q->reject.n && !q->n_regex)
        return mg_fail(err, MG_DATA, "%s: 'judge' is rule, but there is no expect, reject or regex", where);
    q->equal = equal;
    if (equal) return read_phrases(&q->answer, answer, where, err);
    if (!contains) return MG_OK;
    mg_phrases *grown = mg_realloc(q->expect, q->n_expect + 1, sizeof *grown);
    if (!grown) return mg_fail(err, MG_NOMEM, "%s: not enough memory", where);
    q->expect = grown;
    q->expect[q->n_expect] = (mg_phrases){ 0 };
    return read_phrases(&q->expect[q->n_expect++], answer, where, err);
}

/* What to show: the expected answer where there is one, else the rules. */
static mg_status read_expected(mg_question *q, yyjson_val *record, const char *where, mg_error *err) {
    mg_buf      b = { 0 };
    yyjson_val *answer = yyjson_obj_get(record, "answer"), *regex = yyjson_obj_get(record, "regex");
    if (yyjson_is_arr(answer)) {
        size_t      i, n;
        yyjson_val *a;
        yyjson_arr_foreach(answer, i, n, a) mg_buf_printf(&b, "%s%s", i ? " / " : "", yyjson_is_str(a) ? yyjson_get_str(a) : "");
    } else if (answer)
        mg_buf_str(&b, yyjson_get_str(answer));
    else
        describe(&b, yyjson_obj_get(record, "expect"));
    if (!answer && yyjson_is_str(regex)) mg_buf_printf(&b, "%s/%s/", b.len ? ", " : "", yyjson_get_str(regex));
    mg_buf_add(&b, "", 0);
    q->expected = b.failed || !b.data ? mg_strdup("") : b.data;
    if (b.failed) mg_buf_free(&b);
    return q->expected ? MG_OK : mg_fail(err, MG_NOMEM, "%s: not enough memory", where);
}

static mg_status known_keys(yyjson_val *record, const char *where, mg_error *err) {
    static const char *const known[] = { "question", "prompt", "expect", "reject", "regex", "answer", "judge", "category", "id", "note" };
    yyjson_obj_iter          it = yyjson_obj_iter_with(record);
    for (yyjson_val *k; (k = yyjson_obj_iter_next(&it));) {
        size_t i = 0;
        while (i < sizeof known / sizeof *known && !yyjson_equals_str(k, known[i])) i++;
        if (i == sizeof known / sizeof *known)
            return mg_fail(err, MG_DATA, "%s: the key '%.80s' is not known; there are question, prompt, expect, "
                           "reject, regex, answer, judge, category, id and note", where, yyjson_get_str(k));
    }
    return MG_OK;
}

/* A key of the record; an empty cell of a table is no key. */
static yyjson_val *get(yyjson_val *record, const char *key, bool table) {
    yyjson_val *v = yyjson_obj_get(record, key);
    return table && yyjson_is_str(v) && !yyjson_get_len(v) ? NULL : v;
}

static mg_status read_record(mg_question *q, yyjson_val *record, const char *stem, bool table, const char *where, mg_error *err) {
    mg_status st = known_keys(record, where, err);
    if (st) return st;
    yyjson_val *question = get(record, "question", table), *prompt = get(record, "prompt", table);
    yyjson_val *text = question ? question : prompt, *category = get(record, "category", table);
    if ((question && prompt) || !yyjson_is_str(text) || !yyjson_get_len(text))
        return mg_fail(err, MG_DATA, "%s: needs either 'question' or 'prompt', a text that is not empty", where);
    if (category && !yyjson_is_str(category)) return mg_fail(err, MG_DATA, "%s: 'category' must be a text", where);
    q->raw = !question;
    q->text = mg_strdup(yyjson_get_str(text));
    q->category = mg_strdup(category ? yyjson_get_str(category) : stem);
    if (!q->text || !q->category) return mg_fail(err, MG_NOMEM, "%s: not enough memory", where);
    yyjson_val *reject = get(record, "reject", table);
    st = read_expect(q, get(record, "expect", table), where, err);
    if (!st && reject && !yyjson_is_arr(reject) && !yyjson_is_str(reject)) st = mg_fail(err, MG_DATA, "%s: 'reject' must be a text or a list", where);
    if (!st && reject) st = read_phrases(&q->reject, reject, where, err);
    if (!st) st = read_regex(q, get(record, "regex", table), where, err);
    if (!st) st = read_answer(q, get(record, "answer", table), get(record, "judge", table), where, err);
    return st ? st : read_expected(q, record, where, err);
}

/* The file's name without folder and ending; heap. */
static char *stem_of(const char *path) {
    const char *base = mg_path_base(path), *dot = strrchr(base, '.');
    return mg_strndup(base, dot && dot != base ? (size_t)(dot - base) : strlen(base));
}

mg_status mg_questions_load(mg_questions *q, const char *path, mg_error *err) {
    mg_records     *r = NULL;
    yyjson_val     *record;
    int64_t         line;
    mg_record_state state;
    mg_buf          where = { 0 };
    size_t          before = q->n;
    char           *stem = stem_of(path);
    mg_status       st = stem ? mg_records_open(&r, path, err) : mg_fail(err, MG_NOMEM, "%s: not enough memory", path);
    while (!st && (state = mg_records_next(r, &record, &line, err)) != MG_RECORD_END) {
        mg_question one = { 0 };
        bool        table = !strcmp(mg_records_format(r), "CSV") || !strcmp(mg_records_format(r), "TSV");
        where.len = 0;
        mg_buf_printf(&where, "%s, line %lld", path, (long long)line);
        if (where.failed) st = mg_fail(err, MG_NOMEM, "%s: not enough memory", path);
        else if (state == MG_RECORD_BAD) st = mg_fail_in(err, where.data);
        else st = read_record(&one, record, stem, table, where.data, err);
        if (!st && !MG_GROW(q->question, q->cap, q->n + 1)) st = mg_fail(err, MG_NOMEM, "%s: not enough memory", path);
        if (st) free_question(&one);
        else q->question[q->n++] = one;
    }
    if (!st && q->n == before) st = mg_fail(err, MG_DATA, "%s: holds no question", path);
    if (st) cut(q, before);
    mg_records_close(r);
    mg_buf_free(&where);
    free(stem);
    return st;
}

static bool occurs(const mg_phrases *p, const char *text) {
    for (size_t i = 0; i < p->n; i++)
        if (strstr(text, p->phrase[i])) return true;
    return false;
}

/* The whole text is one of the phrases, but for white space and full stops at its ends. */
static bool equals(const mg_phrases *p, const char *text) {
    for (size_t i = 0; i < p->n; i++) {
        const char *pair[2] = { text, p->phrase[i] };
        size_t      n[2];
        for (int k = 0; k < 2; k++) {
            n[k] = strlen(pair[k]);
            pair[k] = mg_blank_head(pair[k], &n[k]);
            n[k] = mg_blank_tail(pair[k], n[k]);
            while (n[k] && (pair[k][n[k] - 1] == '.' || (n[k] >= 3 && !memcmp(pair[k] + n[k] - 3, "。", 3))))
                n[k] -= pair[k][n[k] - 1] == '.' ? 1 : 3;
        }
        if (n[0] == n[1] && !memcmp(pair[0], pair[1], n[0])) return true;
    }
    return false;
}

static int matches(const mg_question *q, const mg_buf *text) {
    mg_regex_work *work = q->n_regex ? mg_regex_work_new() : NULL;
    size_t         begin, end;
    int            verdict = q->n_regex && !work ? -1 : 1;
    for (size_t i = 0; i < q->n_regex && verdict == 1; i++)
        verdict = mg_regex_find(q->regex[i], work, text->data, text->len, 0, &begin, &end) == MG_FOUND;
    mg_regex_work_free(work);
    return verdict;
}

int mg_question_judge(const mg_question *q, const char *answer) {
    if (!q->n_expect && !q->reject.n && !q->n_regex && !q->equal) return -1;
    mg_buf clean = { 0 }, text = { 0 };
    int    verdict = -1;
    mg_utf8_lossy(&clean, answer, strlen(answer));
    mg_buf_add(&clean, "", 0);
    if (clean.failed || !mg_normalize(MG_NFKC, clean.data ? clean.data : "", clean.len, &text)) goto done;
    mg_buf_add(&text, "", 0);
    if (text.failed) goto done;
    verdict = !occurs(&q->reject, text.data);
    for (size_t i = 0; i < q->n_expect && verdict == 1; i++) verdict = occurs(&q->expect[i], text.data);
    if (verdict == 1 && q->equal) verdict = equals(&q->answer, text.data);
    if (verdict == 1) verdict = matches(q, &text);
done:
    mg_buf_free(&clean);
    mg_buf_free(&text);
    return verdict;
}
