/* predict_score.c -- the scores of predictions: classes, numbers, entities, answers. */
#include "infer/predict.h"

#include "text/unicode.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool mg_head_score_is(const char *name, bool *lower) {
    static const struct { const char *name; bool lower; } all[] = {
        { "loss", true }, { "accuracy", false }, { "f1", false }, { "mse", true }, { "pearson", false }, { "spearman", false },
        { "precision", false }, { "recall", false }, { "em", false },
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!strcmp(all[i].name, name)) {
            *lower = all[i].lower;
            return true;
        }
    return false;
}

static double ratio(double a, double b) { return b > 0 ? a / b : 0; }
static bool   counts(const mg_predictions *p, size_t i) { return p->set->item[i].has_target && p->x[i].seen; }

/* ---- classes ---- */

static int score_classes(const mg_predictions *p, mg_head_score *out) {
    int64_t n = p->head->columns, present = 0;
    double  right = 0, all = 0, f1 = 0;
    double *hit = mg_calloc((size_t)(3 * n), sizeof *hit), *gold = hit ? hit + n : NULL, *guess = hit ? hit + 2 * n : NULL;
    if (!hit) return -1;
    for (size_t i = 0; i < p->set->n; i++) {
        int32_t want = p->set->item[i].label, got = p->x[i].label;
        if (!counts(p, i) || want < 0) continue;
        all++;
        gold[want]++;
        if (got >= 0) guess[got]++;
        if (got == want) hit[want]++, right++;
    }
    for (int64_t k = 0; k < n; k++) {
        present += gold[k] + guess[k] > 0;
        f1 += ratio(2 * hit[k], gold[k] + guess[k]);
    }
    free(hit);
    out[0] = (mg_head_score){ "accuracy", ratio(right, all) };
    out[1] = (mg_head_score){ "f1", ratio(f1, (double)present) };
    return 2;
}

/* ---- numbers ---- */

static double correlation(const double *a, const double *b, size_t n) {
    double ma = 0, mb = 0, ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < n; i++) ma += a[i] / (double)n, mb += b[i] / (double)n;
    for (size_t i = 0; i < n; i++) ab += (a[i] - ma) * (b[i] - mb), aa += (a[i] - ma) * (a[i] - ma), bb += (b[i] - mb) * (b[i] - mb);
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : NAN;
}

typedef struct { double value; size_t at; } ranked;
static int by_value(const void *a, const void *b) {
    double x = ((const ranked *)a)->value, y = ((const ranked *)b)->value;
    return x < y ? -1 : x > y;
}

/* Ranks from 1, equal values share their mean. */
static void ranks_of(const double *x, size_t n, ranked *work, double *out) {
    for (size_t i = 0; i < n; i++) work[i] = (ranked){ x[i], i };
    qsort(work, n, sizeof *work, by_value);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i; end < n && work[end].value <= work[i].value; end++) {}
        for (size_t k = i; k < end; k++) out[work[k].at] = (double)(i + end + 1) / 2;
    }
}

static int score_numbers(const mg_predictions *p, mg_head_score *out) {
    size_t  n = 0, most = p->set->n + 1;
    double  mse = 0, *a = mg_calloc(4 * most, sizeof *a);
    ranked *work = mg_calloc(most, sizeof *work);
    if (!a || !work) {
        free(a);
        free(work);
        return -1;
    }
    double *b = a + most, *ra = b + most, *rb = ra + most;
    for (size_t i = 0; i < p->set->n; i++) {
        if (!counts(p, i)) continue;
        a[n] = p->x[i].value, b[n] = p->set->item[i].value;
        mse += (a[n] - b[n]) * (a[n] - b[n]);
        n++;
    }
    ranks_of(a, n, work, ra);
    ranks_of(b, n, work, rb);
    out[0] = (mg_head_score){ "pearson", correlation(a, b, n) };
    out[1] = (mg_head_score){ "spearman", correlation(ra, rb, n) };
    out[2] = (mg_head_score){ "mse", ratio(mse, (double)n) };
    free(a);
    free(work);
    return 3;
}

/* ---- entities, as seqeval's default mode finds them ---- */

typedef struct chunk { size_t begin, end; const char *kind; } chunk;

static const char *name_of(const mg_labels *l, int32_t tag) { return tag < 0 ? "O" : l->name[tag]; }

/* "B-PER": B and PER; "PER": P stands for I there, the whole for the kind, as in seqeval ("_" when nothing follows). */
static void parts(const char *tag, char *mark, const char **kind) {
    const char *dash = strchr(tag, '-');
    *mark = *tag;
    *kind = dash ? dash + 1 : tag[0] && tag[1] ? tag + 1 : "_";
}

/* The entity that begins at or behind *at; false: none. */
static bool next_chunk(const mg_labels *l, const int32_t *tag, size_t n, size_t *at, chunk *out) {
    char        mark = 'O', before = 'O';
    const char *kind = "", *last = "";
    size_t      i = *at;
    if (i > 0) parts(name_of(l, tag[i - 1]), &before, &last);
    for (; i < n; i++) {
        parts(name_of(l, tag[i]), &mark, &kind);
        bool starts = mark != 'O' && mark != '.' &&
                      (mark == 'B' || mark == 'S' || before == 'O' || before == 'E' || before == 'S' || before == '.' || strcmp(kind, last) != 0);
        if (starts) break;
        before = mark, last = kind;
    }
    if (i == n) return false;
    out->begin = i;
    out->kind = kind;
    for (before = mark; ++i < n; before = mark) {
        const char *k;
        parts(name_of(l, tag[i]), &mark, &k);
        if (before == 'E' || before == 'S' || mark == 'B' || mark == 'S' || mark == 'O' || mark == '.' || strcmp(k, kind) != 0) break;
    }
    out->end = *at = i;
    return true;
}

static int score_tags(const mg_predictions *p, mg_head_score *out) {
    double right = 0, words = 0, hits = 0, gold = 0, guessed = 0;
    for (size_t i = 0; i < p->set->n; i++) {
        const mg_labelled *x = &p->set->item[i];
        const int32_t     *got = p->x[i].tag;
        size_t             a = 0, b = 0;
        chunk              want = { 0 }, have = { 0 };
        if (!counts(p, i)) continue;
        for (size_t k = 0; k < x->n_words; k++) words++, right += got[k] == x->tag[k];
        bool is_want = next_chunk(&p->head->labels, x->tag, x->n_words, &a, &want), is_have = next_chunk(&p->head->labels, got, x->n_words, &b, &have);
        while (is_want || is_have) {
            bool same = is_want && is_have && want.begin == have.begin;
            hits += same && want.end == have.end && !strcmp(want.kind, have.kind);
            bool first = is_want && (!is_have || want.begin <= have.begin), second = is_have && (!is_want || have.begin <= want.begin);
            if (first) gold++, is_want = next_chunk(&p->head->labels, x->tag, x->n_words, &a, &want);
            if (second) guessed++, is_have = next_chunk(&p->head->labels, got, x->n_words, &b, &have);
        }
    }
    out[0] = (mg_head_score){ "f1", ratio(2 * hits, gold + guessed) };
    out[1] = (mg_head_score){ "precision", ratio(hits, guessed) };
    out[2] = (mg_head_score){ "recall", ratio(hits, gold) };
    out[3] = (mg_head_score){ "accuracy", ratio(right, words) };
    return 4;
}

/* ---- answers ---- */

static bool is_blank(uint32_t c) { return mg_char_is_space(c); }

/* NFKC without white space, a character an entry. */
static bool characters(const char *s, size_t n, mg_ids *out) {
    mg_buf   b = { 0 };
    uint32_t c;
    bool     ok = mg_normalize(MG_NFKC, s, n, &b);
    out->len = 0;
    for (size_t i = 0, len; ok && i < b.len; i += len) {
        len = mg_utf8_next(b.data + i, b.len - i, &c);
        if (!len) break;
        if (!is_blank(c)) ok = mg_ids_push(out, (int32_t)c);
    }
    mg_buf_free(&b);
    return ok;
}

static int by_number(const void *a, const void *b) { return *(const int32_t *)a < *(const int32_t *)b ? -1 : *(const int32_t *)a > *(const int32_t *)b; }

static double shared(mg_ids *a, mg_ids *b) {
    double hits = 0;
    if (a->len) qsort(a->data, a->len, sizeof *a->data, by_number);
    if (b->len) qsort(b->data, b->len, sizeof *b->data, by_number);
    for (size_t i = 0, k = 0; i < a->len && k < b->len;) {
        if (a->data[i] == b->data[k]) hits++, i++, k++;
        else if (a->data[i] < b->data[k]) i++;
        else k++;
    }
    return hits;
}

static bool compare(const char *got, size_t n, const char *want, mg_ids *a, mg_ids *b, double *em, double *f1) {
    if (!characters(got, n, a) || !characters(want, strlen(want), b)) return false;
    if (a->len == b->len && (!a->len || !memcmp(a->data, b->data, a->len * sizeof *a->data))) *em = 1;
    double f = a->len + b->len ? 2 * shared(a, b) / (double)(a->len + b->len) : 1;
    if (f > *f1) *f1 = f;
    return true;
}

static int score_answers(const mg_predictions *p, mg_head_score *out) {
    double em = 0, f1 = 0, all = 0;
    mg_ids a = { 0 }, b = { 0 };
    bool   ok = true;
    for (size_t i = 0; ok && i < p->set->n; i++) {
        const mg_labelled   *x = &p->set->item[i];
        const mg_prediction *y = &p->x[i];
        double               e = 0, f = 0;
        if (!counts(p, i)) continue;
        bool   none = y->place.end <= y->place.begin || (p->no_answer && y->none > y->score);
        size_t len = none ? 0 : y->place.end - y->place.begin;
        if (!x->n_answers) e = f = none;
        for (size_t k = 0; ok && k < x->n_answers; k++) ok = compare(x->pair + y->place.begin, len, x->answer[k], &a, &b, &e, &f);
        em += e, f1 += f, all++;
    }
    mg_ids_free(&a);
    mg_ids_free(&b);
    out[0] = (mg_head_score){ "f1", ratio(f1, all) };
    out[1] = (mg_head_score){ "em", ratio(em, all) };
    return ok ? 2 : -1;
}

int mg_predictions_score(const mg_predictions *p, mg_head_score score[MG_HEAD_SCORES], mg_error *err) {
    const mg_goal *goal = p->head->kind->goal;
    int            n;
    if (goal->columns) n = score_answers(p, score);
    else if (p->set->n && p->set->item[0].n_words) n = score_tags(p, score);
    else n = goal->named ? score_classes(p, score) : score_numbers(p, score);
    if (n < 0) mg_fail(err, MG_NOMEM, "no memory for the scores of %zu predictions", p->set->n);
    return n;
}
