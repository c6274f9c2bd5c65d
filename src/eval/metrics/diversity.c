/* diversity.c -- distinct-n over a corpus, and phrases in direct succession. */
#include "eval/metrics/diversity.h"

#include "eval/metrics/intern.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

enum { PHRASE_CHARS = 30, STUCK_TIMES = 3, STUCK_CHARS = 12 };

mg_status mg_distinct(const mg_splitter *s, const char *const *text, size_t n, double out[MG_DISTINCT_ORDERS],
                      mg_error *err) {
    mg_word_work work = { 0 };
    mg_words     words = { 0 };
    mg_intern    t = { 0 };
    mg_buf       clean = { 0 };
    double       total[MG_DISTINCT_ORDERS] = { 0 }, different[MG_DISTINCT_ORDERS] = { 0 };
    mg_status    st = mg_splitter_open(s, &work, err);
    for (size_t i = 0; !st && i < n; i++) {
        clean.len = 0;
        mg_utf8_lossy(&clean, text[i], strlen(text[i]));
        st = mg_split_words(s, &work, clean.data ? clean.data : "", clean.len, &words, err);
        uint32_t last[MG_DISTINCT_ORDERS] = { 0 };
        for (size_t w = 0; !st && w < words.at.n; w++) {
            uint32_t id = mg_intern_word(&t, words.text.data + words.at.span[w].at, words.at.span[w].len), word = id;
            uint32_t longer[MG_DISTINCT_ORDERS] = { 0 };
            for (size_t k = 0; k < MG_DISTINCT_ORDERS && k <= w; k++) {
                longer[k] = k ? mg_intern_pair(&t, last[k - 1], word) : id;
                if (t.failed) break;
                total[k]++;
                different[k] += t.tally[longer[k]].a++ == 0;
            }
            if (t.failed) st = mg_fail(err, MG_NOMEM, "not enough memory for the n-grams of an answer");
            memcpy(last, longer, sizeof last);
        }
    }
    for (size_t k = 0; !st && k < MG_DISTINCT_ORDERS; k++) out[k] = total[k] > 0 ? different[k] / total[k] : 0;
    mg_buf_free(&clean);
    mg_intern_free(&t);
    mg_words_free(&words);
    mg_word_work_close(&work);
    return st;
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
