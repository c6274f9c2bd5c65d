/* task.c -- forms of test sets, a row each. */
#include "eval/task.h"

#include "base/file.h"
#include "data/records.h"
#include "text/unicode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_BYTES = 256 << 20, JSQUAD_BYTES = 256 << 20 };

typedef struct form {
    const char  *name;
    mg_task_kind kind;
    bool (*fits)(yyjson_val *record);
    mg_status (*read)(mg_task *t, yyjson_val *record, size_t limit, const char *where, mg_error *err);
} form;

static void free_item(mg_item *x) {
    for (size_t i = 0; i < x->n; i++) free(x->choice[i]);
    free(x->choice);
    free(x->prompt);
    free(x->category);
}

void mg_task_free(mg_task *t) {
    for (size_t i = 0; i < t->n; i++) free_item(&t->item[i]);
    free(t->item);
    free(t->name);
    mg_questions_free(&t->questions);
    *t = (mg_task){ 0 };
}

/* ---- helpers of the forms ---- */

static bool has(yyjson_val *v, const char *key) { return v && yyjson_obj_get(v, key) != NULL; }
static const char *text_of(yyjson_val *v, const char *key) { return v ? yyjson_get_str(yyjson_obj_get(v, key)) : NULL; }

static mg_status no_memory(const char *where, mg_error *err) { return mg_fail(err, MG_NOMEM, "%s: not enough memory", where); }

/* A new item with prompt and category; `prompt` is taken over. */
static mg_status begin(mg_task *t, mg_buf *prompt, yyjson_val *record, mg_item **out, const char *where, mg_error *err) {
    const char *category = text_of(record, "category") ? text_of(record, "category") : text_of(record, "subject");
    mg_buf_str(prompt, "");
    if (prompt->failed || !MG_GROW(t->item, t->cap, t->n + 1)) {
        mg_buf_free(prompt);
        return no_memory(where, err);
    }
    t->item[t->n] = (mg_item){ .prompt = prompt->data, .category = mg_strdup(category ? category : t->name) };
    *prompt = (mg_buf){ 0 };
    *out = &t->item[t->n++];
    return (*out)->category ? MG_OK : no_memory(where, err);
}

static mg_status add_choice(mg_item *x, const char *text, const char *where, mg_error *err) {
    if (!text) return mg_fail(err, MG_DATA, "%s: an answer is no text", where);
    char **grown = mg_realloc(x->choice, x->n + 1, sizeof *grown);
    if (!grown) return no_memory(where, err);
    x->choice = grown;
    x->choice[x->n] = mg_strdup(text);
    return x->choice[x->n++] ? MG_OK : no_memory(where, err);
}

static mg_status set_gold(mg_item *x, int64_t gold, const char *where, mg_error *err) {
    if (gold < 0 || gold >= (int64_t)x->n)
        return mg_fail(err, MG_DATA, "%s: the right answer is number %lld of %zu choices", where, (long long)gold, x->n);
    x->gold = (int)gold;
    return MG_OK;
}

/* A number, or a digit string (CSV). */
static int64_t index_of(yyjson_val *v) {
    if (yyjson_is_int(v)) return yyjson_get_sint(v);
    const char *s = yyjson_get_str(v);
    return s && s[0] >= '0' && s[0] <= '9' && !s[1] ? s[0] - '0' : -1;
}

/* ---- JCommonsenseQA ---- */

static bool fits_jcommonsenseqa(yyjson_val *v) { return has(v, "question") && has(v, "choice0") && has(v, "label"); }

static mg_status read_jcommonsenseqa(mg_task *t, yyjson_val *v, size_t limit, const char *where, mg_error *err) {
    mg_buf   prompt = { 0 };
    mg_item *x = NULL;
    (void)limit;
    if (!text_of(v, "question")) return mg_fail(err, MG_DATA, "%s: 'question' is no text", where);
    mg_buf_printf(&prompt, "質問：%s\n回答：", text_of(v, "question"));
    mg_status st = begin(t, &prompt, v, &x, where, err);
    for (int i = 0; !st && i < 10; i++) {
        char key[] = { 'c', 'h', 'o', 'i', 'c', 'e', (char)('0' + i), 0 };
        if (!has(v, key)) break;
        st = add_choice(x, text_of(v, key), where, err);
    }
    return st ? st : set_gold(x, index_of(yyjson_obj_get(v, "label")), where, err);
}

/* ---- JNLI ---- */

static bool fits_jnli(yyjson_val *v) { return has(v, "sentence1") && has(v, "sentence2") && has(v, "label"); }

static mg_status read_jnli(mg_task *t, yyjson_val *v, size_t limit, const char *where, mg_error *err) {
    static const char *const label[][2] = { { "entailment", "含意" }, { "contradiction", "矛盾" }, { "neutral", "中立" } };
    mg_buf      prompt = { 0 };
    mg_item    *x = NULL;
    const char *a = text_of(v, "sentence1"), *b = text_of(v, "sentence2"), *gold = text_of(v, "label");
    int64_t     right = index_of(yyjson_obj_get(v, "label"));
    (void)limit;
    if (!a || !b) return mg_fail(err, MG_DATA, "%s: 'sentence1' and 'sentence2' must be texts", where);
    mg_buf_printf(&prompt, "前提：%s\n仮説：%s\n前提と仮説の関係は、含意・矛盾・中立のどれですか？\n回答：", a, b);
    mg_status st = begin(t, &prompt, v, &x, where, err);
    for (size_t i = 0; !st && i < 3; i++) {
        st = add_choice(x, label[i][1], where, err);
        if (gold && (!strcmp(gold, label[i][0]) || !strcmp(gold, label[i][1]))) right = (int64_t)i;
    }
    return st ? st : set_gold(x, right, where, err);
}

/* ---- JSQuAD: one document holds all ---- */

static bool fits_jsquad(yyjson_val *v) { return yyjson_is_arr(yyjson_obj_get(v, "data")); }

static mg_status read_qa(mg_task *t, const char *title, const char *context, yyjson_val *qa, const char *where, mg_error *err) {
    mg_buf      prompt = { 0 };
    mg_item    *x = NULL;
    const char *question = text_of(qa, "question");
    size_t      i, n;
    yyjson_val *answer;
    if (!question || !context) return mg_fail(err, MG_DATA, "%s: a question or its context is no text", where);
    const char *body = strstr(context, " [SEP] ");
    mg_buf_printf(&prompt, "題名：%s\n文章：%s\n質問：%s\n文章から答えを抜き出してください。\n回答：", title ? title : "",
                  body ? body + 7 : context, question);
    mg_status st = begin(t, &prompt, qa, &x, where, err);
    yyjson_arr_foreach(yyjson_obj_get(qa, "answers"), i, n, answer) {
        if (!st) st = add_choice(x, text_of(answer, "text"), where, err);
    }
    if (!st && !x->n) st = mg_fail(err, MG_DATA, "%s: '%.80s' has no answer", where, question);
    return st;
}

static mg_status read_jsquad(mg_task *t, yyjson_val *v, size_t limit, const char *where, mg_error *err) {
    size_t      i, n, k, m, q, questions;
    yyjson_val *page, *paragraph, *qa;
    mg_status   st = MG_OK;
    yyjson_arr_foreach(yyjson_obj_get(v, "data"), i, n, page) {
        yyjson_arr_foreach(yyjson_obj_get(page, "paragraphs"), k, m, paragraph) {
            yyjson_arr_foreach(yyjson_obj_get(paragraph, "qas"), q, questions, qa) {
                if (!st && (!limit || t->n < limit))
                    st = read_qa(t, text_of(page, "title"), text_of(paragraph, "context"), qa, where, err);
            }
        }
    }
    return st;
}

/* ---- JMMLU ---- */

static bool fits_jmmlu(yyjson_val *v) { return has(v, "question") && has(v, "A") && has(v, "D") && has(v, "answer"); }

static mg_status read_jmmlu(mg_task *t, yyjson_val *v, size_t limit, const char *where, mg_error *err) {
    static const char *const letter[] = { "A", "B", "C", "D" };
    mg_buf      prompt = { 0 };
    mg_item    *x = NULL;
    const char *answer = text_of(v, "answer");
    int64_t     gold = answer && answer[0] >= 'A' && answer[0] <= 'D' && !answer[1] ? answer[0] - 'A' : -1;
    (void)limit;
    if (!text_of(v, "question")) return mg_fail(err, MG_DATA, "%s: 'question' is no text", where);
    mg_buf_printf(&prompt, "質問：%s\n", text_of(v, "question"));
    for (size_t i = 0; i < 4; i++) {
        if (!text_of(v, letter[i])) {
            mg_buf_free(&prompt);
            return mg_fail(err, MG_DATA, "%s: '%s' is no text", where, letter[i]);
        }
        mg_buf_printf(&prompt, "%s. %s\n", letter[i], text_of(v, letter[i]));
    }
    mg_buf_str(&prompt, "回答：");
    mg_status st = begin(t, &prompt, v, &x, where, err);
    for (size_t i = 0; !st && i < 4; i++) st = add_choice(x, letter[i], where, err);
    return st ? st : set_gold(x, gold, where, err);
}

/* ---- custom choices ---- */

static bool fits_choices(yyjson_val *v) { return (has(v, "question") || has(v, "prompt")) && yyjson_is_arr(yyjson_obj_get(v, "choices")); }

static mg_status read_choices(mg_task *t, yyjson_val *v, size_t limit, const char *where, mg_error *err) {
    mg_buf      prompt = { 0 };
    mg_item    *x = NULL;
    size_t      i, n;
    yyjson_val *choice, *answer = has(v, "answer") ? yyjson_obj_get(v, "answer") : yyjson_obj_get(v, "label");
    int64_t     gold = yyjson_is_int(answer) ? yyjson_get_sint(answer) : -1;
    const char *text = text_of(v, "question") ? text_of(v, "question") : text_of(v, "prompt");
    (void)limit;
    if (!text) return mg_fail(err, MG_DATA, "%s: 'question' is no text", where);
    mg_buf_str(&prompt, text);
    mg_status st = begin(t, &prompt, v, &x, where, err);
    if (st) return st;
    x->raw = !has(v, "question");
    yyjson_arr_foreach(yyjson_obj_get(v, "choices"), i, n, choice) {
        if (!st) st = add_choice(x, yyjson_get_str(choice), where, err);
        if (yyjson_is_str(answer) && yyjson_is_str(choice) && !strcmp(yyjson_get_str(answer), yyjson_get_str(choice))) gold = (int64_t)i;
    }
    return st ? st : set_gold(x, gold, where, err);
}

/* ---- phrases: read by questions.c, from the whole file ---- */

static bool fits_judged(yyjson_val *v) {
    return (has(v, "question") || has(v, "prompt")) && (has(v, "expect") || has(v, "reject") || has(v, "regex") || has(v, "judge"));
}

static mg_status take_questions(mg_task *t, const char *path, size_t limit, mg_error *err) {
    mg_status st = mg_questions_load(&t->questions, path, err);
    for (size_t i = 0; !st && i < t->questions.n && (!limit || i < limit); i++) {
        const mg_question *q = &t->questions.question[i];
        mg_buf             prompt = { 0 };
        mg_item           *x = NULL;
        mg_buf_str(&prompt, q->text);
        st = begin(t, &prompt, NULL, &x, path, err);
        if (st) break;
        free(x->category);
        x->raw = q->raw;
        x->category = mg_strdup(q->category);
        st = x->category ? add_choice(x, q->expected, path, err) : no_memory(path, err);
    }
    return st;
}

/* ---- answers ---- */

static const char *const asks[] = { "question", "prompt", "instruction", "input" };
static const char *const tells[] = { "answer", "answers", "reference", "references", "output", "completion", "target" };

static yyjson_val *first_of(yyjson_val *v, const char *const *key, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (has(v, key[i])) return yyjson_obj_get(v, key[i]);
    return NULL;
}

static bool fits_answers(yyjson_val *v) {
    return yyjson_is_str(first_of(v, asks, sizeof asks / sizeof *asks)) && first_of(v, tells, sizeof tells / sizeof *tells);
}

static mg_status read_answers(mg_task *t, yyjson_val *v, size_t limit, const char *where, mg_error *err) {
    mg_buf      prompt = { 0 };
    mg_item    *x = NULL;
    size_t      i, n;
    yyjson_val *ask = first_of(v, asks, sizeof asks / sizeof *asks), *tell = first_of(v, tells, sizeof tells / sizeof *tells), *one;
    const char *input = has(v, "instruction") ? text_of(v, "input") : NULL;
    (void)limit;
    if (!yyjson_is_str(ask)) return mg_fail(err, MG_DATA, "%s: nothing is asked", where);
    mg_buf_str(&prompt, yyjson_get_str(ask));
    if (input && *input) mg_buf_printf(&prompt, "\n%s", input);
    mg_status st = begin(t, &prompt, v, &x, where, err);
    if (!st && yyjson_is_str(tell)) st = add_choice(x, yyjson_get_str(tell), where, err);
    yyjson_arr_foreach(tell, i, n, one) {
        if (!st) st = add_choice(x, yyjson_is_obj(one) ? text_of(one, "text") : yyjson_get_str(one), where, err);
    }
    if (!st && !x->n) st = mg_fail(err, MG_DATA, "%s: there is no reference answer", where);
    return st;
}

/* ---- texts ---- */

static bool fits_text(yyjson_val *v) { return yyjson_is_str(yyjson_obj_get(v, "text")); }

static mg_status read_text(mg_task *t, yyjson_val *v, size_t limit, const char *where, mg_error *err) {
    mg_buf   prompt = { 0 };
    mg_item *x = NULL;
    (void)limit;
    if (!text_of(v, "text")) return mg_fail(err, MG_DATA, "%s: 'text' is no text", where);
    mg_buf_str(&prompt, text_of(v, "text"));
    return begin(t, &prompt, v, &x, where, err);
}

static const form forms[] = {
    { "jcommonsenseqa", MG_TASK_CHOICE, fits_jcommonsenseqa, read_jcommonsenseqa },
    { "jnli", MG_TASK_CHOICE, fits_jnli, read_jnli },
    { "jsquad", MG_TASK_ANSWER, fits_jsquad, read_jsquad },
    { "jmmlu", MG_TASK_CHOICE, fits_jmmlu, read_jmmlu },
    { "choices", MG_TASK_CHOICE, fits_choices, read_choices },
    { "judged", MG_TASK_JUDGED, fits_judged, NULL },
    { "answers", MG_TASK_ANSWER, fits_answers, read_answers },
    { "text", MG_TASK_TEXT, fits_text, read_text },
};

/* Labels mean the same when every item has the same choices. */
static bool same_choices(const mg_task *t) {
    for (size_t i = 1; i < t->n; i++) {
        if (t->item[i].n != t->item[0].n) return false;
        for (size_t k = 0; k < t->item[0].n; k++)
            if (strcmp(t->item[i].choice[k], t->item[0].choice[k]) != 0) return false;
    }
    return t->n > 1;
}

static bool ends_in(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n >= m && !strcmp(s + n - m, end);
}

static mg_status load_plain_text(mg_task *t, const char *path, mg_error *err) {
    mg_buf    text = { 0 };
    mg_item  *x = NULL;
    mg_status st = mg_read_file(&text, path, TEXT_BYTES, err);
    t->form = "text";
    t->kind = MG_TASK_TEXT;
    if (!st && !mg_utf8_valid(text.data ? text.data : "", text.len)) st = mg_fail(err, MG_DATA, "%s: is no UTF-8 text", path);
    if (!st) st = begin(t, &text, NULL, &x, path, err);
    mg_buf_free(&text);
    return st;
}

/* The SQuAD form is one object over many lines, which is no JSONL. */
static bool load_document(mg_task *t, const char *path, size_t limit, mg_status *st, mg_error *err) {
    mg_json j = { 0 };
    if (!ends_in(path, ".json") || mg_json_open(&j, path, JSQUAD_BYTES, NULL)) return false;
    bool fits = fits_jsquad(j.root);
    if (fits) {
        t->form = "jsquad";
        t->kind = MG_TASK_ANSWER;
        *st = read_jsquad(t, j.root, limit, path, err);
    }
    mg_json_free(&j);
    return fits;
}

static mg_status load_records(mg_task *t, const char *path, size_t limit, mg_error *err) {
    mg_records     *r = NULL;
    yyjson_val     *v;
    int64_t         line;
    const form     *f = NULL;
    mg_record_state state = MG_RECORD_END;
    mg_status       st = mg_records_open(&r, path, err);
    while (!st && (!limit || t->n < limit) && (state = mg_records_next(r, &v, &line, err)) != MG_RECORD_END) {
        char where[600];
        snprintf(where, sizeof where, "%.500s, line %lld", path, (long long)line);
        if (state == MG_RECORD_BAD) {
            st = mg_fail_in(err, where);
            break;
        }
        for (size_t i = 0; !f && i < sizeof forms / sizeof *forms; i++)
            if (forms[i].fits(v)) f = &forms[i];
        if (!f) st = mg_fail(err, MG_DATA, "%s: no form of test set has these keys; `migaki help eval` lists the forms", where);
        else if (!f->read) break;
        else if (!f->fits(v)) st = mg_fail(err, MG_DATA, "%s: the first record has the form %s, this one has not", where, f->name);
        else st = f->read(t, v, limit, where, err);
    }
    mg_records_close(r);
    if (!st && f) {
        t->form = f->name;
        t->kind = f->kind;
        if (!f->read) st = take_questions(t, path, limit, err);
    }
    return st;
}

mg_status mg_task_load(mg_task *out, const char *path, size_t limit, mg_error *err) {
    mg_task     t = { 0 };
    const char *base = mg_path_base(path), *dot = strrchr(base, '.');
    mg_status   st = MG_OK;
    t.name = mg_strndup(base, dot && dot != base ? (size_t)(dot - base) : strlen(base));
    if (!t.name) st = no_memory(path, err);
    else if (ends_in(path, ".txt")) st = load_plain_text(&t, path, err);
    else if (!load_document(&t, path, limit, &st, err)) st = load_records(&t, path, limit, err);
    if (!st && !t.n) st = mg_fail(err, MG_DATA, "%s: holds nothing to evaluate", path);
    t.same_choices = !st && t.kind == MG_TASK_CHOICE && same_choices(&t);
    if (st) mg_task_free(&t);
    else *out = t;
    return st;
}
