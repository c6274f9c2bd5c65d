/* diversity.c -- distinct-n over a corpus, and phrases in direct succession. */
#include "eval/metrics/diversity.h"

#include "eval/metrics/intern.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

enum { PHRASE_CHARS = 30, STUCK_TIMES = 3, STUCK_CHARS = 12 };

/* The n-grams of all texts, one behind the other. */
typedef struct { uint32_t *id; uint8_t *order; size_t n, cap_id, cap_order; } gram_list;

static bool push(gram_list *l, uint32_t id, size_t order) {
    if (!MG_GROW(l->id, l->cap_id, l->n + 1) || !MG_GROW(l->order, l->cap_order, l->n + 1)) return false;
    l->id[l->n] = id;
    l->order[l->n++] = (uint8_t)order;
    return true;
}

static mg_status grams_of(mg_intern *t, const mg_words *words, gram_list *list, mg_error *err) {
    uint32_t last[MG_DISTINCT_ORDERS] = { 0 };
    for (size_t w = 0; w < words->at.n; w++) {
        uint32_t word = mg_intern_word(t, words->text.data + words->at.span[w].at, words->at.span[w].len);
        uint32_t longer[MG_DISTINCT_ORDERS] = { 0 };
        for (size_t k = 0; k < MG_DISTINCT_ORDERS && k <= w; k++) {
            longer[k] = k ? mg_intern_pair(t, last[k - 1], word) : word;
            if (t->failed || !push(list, longer[k], k)) return mg_fail(err, MG_NOMEM, "not enough memory for the n-grams of an answer");
            t->tally[longer[k]].a++;
        }
        memcpy(last, longer, sizeof last);
    }
    return MG_OK;
}

typedef struct { double all, different; } counts;
static double share(counts c) { return c.all > 0 ? c.different / c.all : 0; }

/* What is left without the n-grams from..to: those that stand nowhere else are gone. */
static void leave_out(const mg_intern *t, const gram_list *l, size_t from, size_t to, const counts *all, double *out) {
    counts rest[MG_DISTINCT_ORDERS];
    memcpy(rest, all, sizeof rest);
    for (size_t i = from; i < to; i++) {
        mg_tally *x = &t->tally[l->id[i]];
        rest[l->order[i]].all--;
        rest[l->order[i]].different -= ++x->b == x->a;
    }
    for (size_t i = from; i < to; i++) t->tally[l->id[i]].b = 0;
    for (size_t k = 0; k < MG_DISTINCT_ORDERS; k++) out[k] = share(rest[k]);
}

mg_status mg_distinct_without(const mg_splitter *s, const char *const *text, size_t n, double out[MG_DISTINCT_ORDERS],
                              double (*without)[MG_DISTINCT_ORDERS], mg_error *err) {
    mg_word_work work = { 0 };
    mg_words     words = { 0 };
    mg_intern    t = { 0 };
    mg_buf       clean = { 0 };
    gram_list    list = { 0 };
    counts       all[MG_DISTINCT_ORDERS] = { { 0 } };
    size_t      *end = mg_calloc(n + 1, sizeof *end);
    mg_status    st = end ? mg_splitter_open(s, &work, err) : mg_fail(err, MG_NOMEM, "not enough memory for the n-grams of an answer");
    for (size_t i = 0; !st && i < n; i++) {
        clean.len = 0;
        mg_utf8_lossy(&clean, text[i], strlen(text[i]));
        st = mg_split_words(s, &work, clean.data ? clean.data : "", clean.len, &words, err);
        if (!st) st = grams_of(&t, &words, &list, err);
        end[i] = list.n;
    }
    for (size_t i = 0; !st && i < list.n; i++) {
        all[list.order[i]].all++;
        all[list.order[i]].different += ++t.tally[list.id[i]].b == 1;
    }
    for (size_t i = 0; i < t.n; i++) t.tally[i].b = 0;
    for (size_t i = 0; !st && without && i < n; i++) leave_out(&t, &list, i ? end[i - 1] : 0, end[i], all, without[i]);
    for (size_t k = 0; !st && k < MG_DISTINCT_ORDERS; k++) out[k] = share(all[k]);
    free(end);
    free(list.id);
    free(list.order);
    mg_buf_free(&clean);
    mg_intern_free(&t);
    mg_words_free(&words);
    mg_word_work_close(&work);
    return st;
}

mg_status mg_distinct(const mg_splitter *s, const char *const *text, size_t n, double out[MG_DISTINCT_ORDERS], mg_error *err) {
    return mg_distinct_without(s, text, n, out, NULL, err);
}

static bool all_blank(const char *s, size_t n) {
    mg_blank_head(s, &n);
    return n == 0;
}

bool mg_repeated_phrase(const char *text, size_t n, int times, mg_place *out) {
    for (size_t i = 0; i < n;) {
        size_t len = 0;
        for (int c = 0; c < PHRASE_CHARS; c++) {
            uint32_t x;
            size_t   step = i + len < n ? mg_utf8_next(text + i + len, n - i - len, &x) : 0;
            if (!step) break;
            len += step;
            if (len > (n - i) / (size_t)times) break;
            int k = 1;
            while (k < times && !memcmp(text + i, text + i + (size_t)k * len, len)) k++;
            if (k == times && !all_blank(text + i, len)) {
                *out = (mg_place){ .at = i, .len = len };
                return true;
            }
        }
        i += mg_utf8_width(text[i]) <= n - i ? mg_utf8_width(text[i]) : 1;
    }
    return false;
}

static size_t chars(const char *s, size_t n) {
    size_t k = 0;
    for (size_t i = 0; i < n; i++) k += ((unsigned char)s[i] & 0xc0) != 0x80;
    return k;
}

static bool has_word(const char *s, size_t n) {
    uint32_t c;
    for (size_t i = 0, len; i < n; i += len ? len : 1)
        if ((len = mg_utf8_next(s + i, n - i, &c)) && mg_char_is_word(c) && c != '_') return true;
    return false;
}

bool mg_stuck_phrase(const char *text, size_t n, mg_place *out, size_t *times) {
    for (size_t from = 0; from < n;) {
        mg_place at;
        size_t   k = STUCK_TIMES;
        if (!mg_repeated_phrase(text + from, n - from, STUCK_TIMES, &at)) return false;
        at.at += from;
        while ((k + 1) * at.len <= n - at.at && !memcmp(text + at.at, text + at.at + k * at.len, at.len)) k++;
        if (chars(text + at.at, k * at.len) >= STUCK_CHARS && has_word(text + at.at, at.len)) {
            *out = at;
            if (times) *times = k;
            return true;
        }
        from = at.at + mg_utf8_width(text[at.at]);
    }
    return false;
}
