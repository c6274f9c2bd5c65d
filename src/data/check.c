/* check.c -- what is wrong or odd in a data file.
 *
 * Question and answer of each record are kept as 128 bits of hash; sorted, equal questions lie side by side, so
 * duplicates and contradictions cost one sort, whatever the size of the texts. */
#include "data/check.h"
#include "data/records.h"
#include "data/sample_parts.h"
#include "base/file.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    uint64_t question, answer;
    int64_t  line;
} asked;

typedef struct {
    asked   *item;
    size_t   n, cap;
    int32_t *length;
    size_t   n_lengths, cap_lengths;
} gathered;

static void find(mg_finding *f, int64_t line) {
    if (f->count < MG_CHECK_EXAMPLES) f->line[f->count] = line;
    f->count++;
}

static uint64_t hash(const char *s, size_t n) {
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++) h = (h ^ (uint8_t)s[i]) * 0x100000001b3u;
    return h ^ h >> 29;
}

/* Without white space at the ends. */
static void trim(const char **s, size_t *n) {
    while (*n && strchr(" \t\r\n", **s) && **s) ++*s, --*n;
    while (*n && strchr(" \t\r\n", (*s)[*n - 1]) && (*s)[*n - 1]) --*n;
}

static mg_status look_at_words(mg_data_report *r, gathered *g, const mg_form *form, yyjson_val *row, int64_t line,
                               mg_error *err) {
    MG_ASSERT(form); /* of a record that was read */
    MG_ASSERT(form); /* the first record has named it */
    mg_buf      question = { 0 }, answer = { 0 };
    bool        has_answer = form->words(row, &question, &answer);
    const char *q = question.data ? question.data : "", *a = answer.data ? answer.data : "";
    size_t      q_n = question.len, a_n = answer.len;
    bool        ok = !question.failed && !answer.failed && MG_GROW(g->item, g->cap, g->n + 1);
    if (ok) {
        trim(&q, &q_n);
        trim(&a, &a_n);
        g->item[g->n++] = (asked){ hash(q, q_n), hash(a, a_n), line };
        if (has_answer && !a_n) find(&r->empty_answer, line);
        if (has_answer && a_n && a_n == q_n && !memcmp(a, q, a_n)) find(&r->echo, line);
    }
    mg_buf_free(&question);
    mg_buf_free(&answer);
    return ok ? MG_OK : mg_fail(err, MG_NOMEM, "no memory to check %zu records", g->n);
}

static void note(mg_data_report *r, const char *path, int64_t line, const char *what) {
    find(&r->bad, line);
    if (r->bad.count <= MG_NOTES_MAX)
        mg_buf_printf(&r->notes, "%s:%lld: %s\n", mg_path_base(path), (long long)line, what);
}

static mg_status look_at_sample(mg_data_report *r, gathered *g, const mg_form *form, yyjson_val *row, int64_t line,
                                const char *path, const mg_data_options *o, const mg_chat *chat, mg_error *err) {
    mg_error  why = { 0 };
    mg_sample s = { 0 };
    if (!chat->tokenizer) {
        r->usable++;
        return MG_OK;
    }
    mg_status st = form->sample(&s, row, o, chat, &why);
    if (st == MG_DATA || st == MG_MASK || (st == MG_TEMPLATE && chat->chat_template)) {
        note(r, path, line, why.text);
        return MG_OK;
    }
    if (st) {
        if (err) *err = why;
        return st;
    }
    if (o->max_length > 0 && s.n > o->max_length) find(&r->too_long, line);
    if (!s.n_labels)
        find(&r->no_label, line);
    else {
        r->usable++;
        r->tokens += s.n;
        r->labelled += s.n_labels;
    }
    if (MG_GROW(g->length, g->cap_lengths, g->n_lengths + 1))
        g->length[g->n_lengths++] = s.n;
    else
        st = mg_fail(err, MG_NOMEM, "no memory to check %zu records", g->n);
    mg_sample_free(&s);
    return st;
}

static int by_question(const void *a, const void *b) {
    const asked *x = a, *y = b;
    if (x->question != y->question) return x->question < y->question ? -1 : 1;
    if (x->answer != y->answer) return x->answer < y->answer ? -1 : 1;
    return (x->line > y->line) - (x->line < y->line);
}

static int by_length(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static int by_line(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* The findings of one kind, in the order of the file. */
static void find_sorted(mg_finding *f, int64_t *line, size_t n) {
    qsort(line, n, sizeof *line, by_line);
    for (size_t i = 0; i < n; i++) find(f, line[i]);
}

static mg_status compare_questions(mg_data_report *r, gathered *g, mg_error *err) {
    int64_t *again = mg_calloc(g->n + 1, sizeof *again), *other = mg_calloc(g->n + 1, sizeof *other);
    size_t   n_again = 0, n_other = 0;
    if (!again || !other) {
        free(again);
        free(other);
        return mg_fail(err, MG_NOMEM, "no memory to check %zu records", g->n);
    }
    if (g->n) qsort(g->item, g->n, sizeof *g->item, by_question);
    for (size_t i = 1; i < g->n; i++) {
        const asked *a = &g->item[i - 1], *b = &g->item[i];
        if (a->question != b->question) continue;
        if (a->answer == b->answer)
            again[n_again++] = b->line;
        else
            other[n_other++] = b->line;
    }
    find_sorted(&r->duplicate, again, n_again);
    find_sorted(&r->contradiction, other, n_other);
    free(again);
    free(other);
    return MG_OK;
}

static void measure(mg_data_report *r, gathered *g) {
    size_t n = g->n_lengths;
    if (!n) return;
    qsort(g->length, n, sizeof *g->length, by_length);
    r->shortest = g->length[0];
    r->median = g->length[n / 2];
    r->p95 = g->length[n * 95 / 100];
    r->longest = g->length[n - 1];
}

static mg_status look(mg_data_report *r, gathered *g, mg_records *records, const mg_data_options *o,
                      const mg_chat *chat, mg_error *err) {
    const mg_form *form = NULL;
    const char    *path = mg_records_path(records);
    mg_status      st = MG_OK;
    while (!st && (!o->max_samples || r->records < o->max_samples)) {
        yyjson_val     *row;
        int64_t         line = 0;
        mg_error        why = { 0 };
        mg_record_state state = mg_records_next(records, &row, &line, &why);
        if (state == MG_RECORD_END) break;
        r->records++;
        if (state == MG_RECORD_OK && !form) form = mg_form_find(row);
        if (state == MG_RECORD_OK && (!form || mg_form_find(row) != form)) {
            mg_form_unknown(row, &why);
            state = MG_RECORD_BAD;
        }
        if (why.status == MG_NOMEM) {
            if (err) *err = why;
            return MG_NOMEM;
        }
        if (state == MG_RECORD_BAD)
            note(r, path, line, why.text);
        else
            st = look_at_words(r, g, form, row, line, err);
        if (!st && state == MG_RECORD_OK) st = look_at_sample(r, g, form, row, line, path, o, chat, err);
    }
    r->form = form ? form->name : "none known";
    return st;
}

mg_status mg_data_check(mg_data_report *out, const char *path, const mg_data_options *o, const mg_chat *chat,
                        mg_error *err) {
    mg_data_report r = { 0 };
    gathered       g = { 0 };
    mg_records    *records = NULL;
    mg_status      st = mg_records_open(&records, path, err);
    if (st) return st;
    r.encoding = mg_records_encoding(records);
    r.format = mg_records_format(records);
    st = look(&r, &g, records, o, chat, err);
    if (!st) st = compare_questions(&r, &g, err);
    if (!st) measure(&r, &g);
    if (!st && r.notes.failed) st = mg_fail(err, MG_NOMEM, "%s: no memory", path);
    mg_records_close(records);
    free(g.item);
    free(g.length);
    if (st)
        mg_data_report_free(&r);
    else
        *out = r;
    return st;
}

void mg_data_report_free(mg_data_report *r) {
    mg_buf_free(&r->notes);
    *r = (mg_data_report){ 0 };
}

/* ---- telling it */

typedef struct {
    const char *key, *text;
    size_t      at; /* of the finding in the report */
} finding_row;
static const finding_row findings[] = {
    { "bad", "cannot be used", offsetof(mg_data_report, bad) },
    { "too_long", "longer than max_length", offsetof(mg_data_report, too_long) },
    { "no_label", "nothing to train", offsetof(mg_data_report, no_label) },
    { "empty_answer", "empty answer", offsetof(mg_data_report, empty_answer) },
    { "duplicate", "duplicate", offsetof(mg_data_report, duplicate) },
    { "contradiction", "same question, other answer", offsetof(mg_data_report, contradiction) },
    { "echo", "answer is the question", offsetof(mg_data_report, echo) },
};
enum { N_FINDINGS = sizeof findings / sizeof *findings };

static const mg_finding *finding(const mg_data_report *r, size_t i) {
    return (const mg_finding *)(const void *)((const char *)r + findings[i].at);
}

static void lines_of(const mg_finding *f, const char *between, mg_buf *out) {
    for (int64_t i = 0; i < f->count && i < MG_CHECK_EXAMPLES; i++)
        mg_buf_printf(out, "%s%lld", i ? between : "", (long long)f->line[i]);
}

static double percent(int64_t a, int64_t b) { return b ? 100.0 * (double)a / (double)b : 0; }

void mg_data_report_text(const mg_data_report *r, mg_buf *out) {
    mg_buf_printf(out, "%s, %s, form %s\n", r->format, r->encoding, r->form);
    mg_buf_printf(out, "records %lld, usable %lld\n", (long long)r->records, (long long)r->usable);
    if (r->tokens)
        mg_buf_printf(out,
                      "tokens %lld, trained %.1f%%; of a sample: least %d, median %d, 95%% below %d, most %d\n",
                      (long long)r->tokens, percent(r->labelled, r->tokens), (int)r->shortest, (int)r->median,
                      (int)r->p95, (int)r->longest);
    for (size_t i = 0; i < N_FINDINGS; i++) {
        const mg_finding *f = finding(r, i);
        if (!f->count) continue;
        mg_buf_printf(out, "%s: %lld (line ", findings[i].text, (long long)f->count);
        lines_of(f, ", ", out);
        mg_buf_str(out, f->count > MG_CHECK_EXAMPLES ? ", ...)\n" : ")\n");
    }
    if (r->notes.len) mg_buf_add(out, r->notes.data, r->notes.len);
    if (r->bad.count > MG_NOTES_MAX)
        mg_buf_printf(out, "... and %lld more\n", (long long)(r->bad.count - MG_NOTES_MAX));
}

static void json_string(mg_buf *out, const char *key, const char *value) {
    mg_buf_printf(out, "\"%s\": ", key);
    mg_json_quote(out, value, strlen(value));
    mg_buf_str(out, ", ");
}

void mg_data_report_json(const mg_data_report *r, mg_buf *out) {
    mg_buf_str(out, "{");
    json_string(out, "format", r->format);
    json_string(out, "encoding", r->encoding);
    json_string(out, "form", r->form);
    mg_buf_printf(out, "\"records\": %lld, \"usable\": %lld, \"tokens\": %lld, \"labelled\": %lld, ",
                  (long long)r->records, (long long)r->usable, (long long)r->tokens, (long long)r->labelled);
    mg_buf_printf(out, "\"labelled_percent\": %.4f, ", percent(r->labelled, r->tokens));
    mg_buf_printf(out, "\"length\": {\"min\": %d, \"median\": %d, \"p95\": %d, \"max\": %d}", (int)r->shortest,
                  (int)r->median, (int)r->p95, (int)r->longest);
    for (size_t i = 0; i < N_FINDINGS; i++) {
        mg_buf_printf(out, ", \"%s\": {\"count\": %lld, \"lines\": [", findings[i].key,
                      (long long)finding(r, i)->count);
        lines_of(finding(r, i), ", ", out);
        mg_buf_str(out, "]}");
    }
    mg_buf_str(out, "}\n");
}
