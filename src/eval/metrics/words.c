/* words.c -- the tokenizers of sacreBLEU as passes over characters.
 *
 * The originals are chains of regular expressions; each becomes one pass that keeps re.sub's way of going on behind a
 * match (in "a..b" the second dot is not looked at again as a first neighbour).  A pass reads one buffer and writes
 * the other, which costs some 10 ns a character and keeps every step comparable with its original. */
#include "eval/metrics/words.h"

#include "base/option.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

void mg_words_free(mg_words *w) {
    mg_buf_free(&w->text);
    mg_spans_free(&w->at);
}

void mg_word_work_close(mg_word_work *w) {
    mg_buf_free(&w->pass[0]);
    mg_buf_free(&w->pass[1]);
    mg_spans_free(&w->spans);
    mg_mecab_close(w->mecab);
    *w = (mg_word_work){ 0 };
}

/* ---- white space and case ---- */

bool mg_is_blank(uint32_t c) {
    if (c < 0x80) return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20);
    return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}

/* The next character of valid UTF-8; a stray byte counts as one. */
static size_t next(const char *s, size_t n, uint32_t *c) {
    size_t len = mg_utf8_next(s, n, c);
    if (len) return len;
    *c = 0xfffd;
    return 1;
}

size_t mg_blank_tail(const char *text, size_t n) {
    while (n) {
        size_t   at = n - 1;
        uint32_t c;
        while (at && ((unsigned char)text[at] & 0xc0) == 0x80) at--;
        if (at + next(text + at, n - at, &c) != n || !mg_is_blank(c)) break;
        n = at;
    }
    return n;
}

const char *mg_blank_head(const char *text, size_t *n) {
    uint32_t c;
    while (*n) {
        size_t len = next(text, *n, &c);
        if (!mg_is_blank(c)) break;
        text += len;
        *n -= len;
    }
    return text;
}

static bool add_word(mg_words *w, const char *text, size_t n) {
    if (!MG_GROW(w->at.span, w->at.cap, w->at.n + 1)) return false;
    w->at.span[w->at.n++] = (mg_place){ .at = w->text.len, .len = n };
    mg_buf_add(&w->text, text, n);
    return !w->text.failed;
}

/* The text is copied once; the words are spans of the copy. */
bool mg_split_blanks(const char *text, size_t n, mg_words *w) {
    size_t   start = 0, len, base = w->text.len;
    uint32_t c;
    mg_buf_add(&w->text, text, n);
    if (w->text.failed) return false;
    for (size_t i = 0; i <= n; i += len) {
        len = 1;
        if (i < n) {
            len = (unsigned char)text[i] < 0x80 ? (c = (unsigned char)text[i], 1) : next(text + i, n - i, &c);
            if (!mg_is_blank(c)) continue;
        }
        if (i > start) {
            if (!MG_GROW(w->at.span, w->at.cap, w->at.n + 1)) return false;
            w->at.span[w->at.n++] = (mg_place){ .at = base + start, .len = i - start };
        }
        start = i + len;
    }
    return true;
}

static bool is_letter(uint32_t c) {
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LL || k == UTF8PROC_CATEGORY_LT;
}

void mg_lower_text(const char *text, size_t n, mg_buf *out) {
    uint32_t c, before = 0, after;
    size_t   len;
    for (size_t i = 0; i < n; i += len, before = c) {
        char bytes[4];
        if ((unsigned char)text[i] < 0x80) {
            c = (unsigned char)text[i];
            len = 1;
            mg_buf_char(out, (char)mg_char_lower(c));
            continue;
        }
        len = next(text + i, n - i, &c);
        if (c == 0x130) { /* I with a dot: i and the dot */
            mg_buf_str(out, "i\xcc\x87");
            continue;
        }
        bool last = i + len >= n || (next(text + i + len, n - i - len, &after), !is_letter(after));
        uint32_t lower = c == 0x3a3 && is_letter(before) && last ? 0x3c2 : mg_char_lower(c);
        mg_buf_add(out, bytes, mg_utf8_put(bytes, lower));
    }
}

/* ---- passes ---- */

/* Where the result of a pass over n bytes goes, room for three times as much; NULL: no memory, `out` has failed. */
static char *room(mg_buf *out, size_t n) {
    size_t bytes;
    if (out->failed || !mg_size_mul(n, 3, &bytes) || !mg_size_add(bytes, out->len, &bytes) ||
        !mg_size_add(bytes, 1, &bytes) || !MG_GROW(out->data, out->cap, bytes)) {
        out->failed = true;
        return NULL;
    }
    return out->data + out->len;
}

static void written(mg_buf *out, char *end) {
    *end = 0;
    out->len = (size_t)(end - out->data);
}

/* Most characters are one byte. */
static inline size_t next_fast(const char *s, size_t n, uint32_t *c) {
    if ((unsigned char)*s >= 0x80) return next(s, n, c);
    *c = (unsigned char)*s;
    return 1;
}

static inline char *put(char *to, const char *from, size_t n) {
    do *to++ = *from++;
    while (--n);
    return to;
}

void mg_space_pairs(const char *text, size_t n, mg_char_test first, mg_char_test second, int spaces, mg_buf *out) {
    char *to = room(out, n);
    if (!to || !n) return;
    uint32_t a, b = 0;
    size_t   la = next_fast(text, n, &a), lb;
    for (size_t i = 0; i < n; a = b, la = lb) {
        lb = i + la < n ? next_fast(text + i + la, n - i - la, &b) : 0;
        bool met = lb && second(b) && first(a);
        if (met && (spaces & MG_BEFORE_FIRST)) *to++ = ' ';
        to = put(to, text + i, la);
        i += la;
        if (!met) continue;
        if (spaces & MG_BETWEEN) *to++ = ' ';
        to = put(to, text + i, lb);
        if (spaces & MG_BEHIND_SECOND) *to++ = ' ';
        i += lb;
        lb = i < n ? next_fast(text + i, n - i, &b) : 0;
    }
    written(out, to);
}

void mg_space_chars(const char *text, size_t n, mg_char_test test, mg_buf *out) {
    char    *to = room(out, n);
    uint32_t c;
    size_t   len;
    if (!to) return;
    for (size_t i = 0; i < n; i += len) {
        len = next_fast(text + i, n - i, &c);
        bool met = test(c);
        if (met) *to++ = ' ';
        to = put(to, text + i, len);
        if (met) *to++ = ' ';
    }
    written(out, to);
}

static void replace_all(const char *text, size_t n, const char *what, const char *with, mg_buf *out) {
    size_t      len = strlen(what);
    const char *end = text + n, *hit;
    while (text < end && (hit = memmem(text, (size_t)(end - text), what, len))) {
        mg_buf_add(out, text, (size_t)(hit - text));
        mg_buf_str(out, with);
        text = hit + len;
    }
    mg_buf_add(out, text, (size_t)(end - text));
}

/* The result of one pass becomes the text of the next. */
void mg_next_pass(mg_word_work *w) {
    mg_buf last = w->pass[0];
    w->pass[0] = w->pass[1];
    w->pass[1] = last;
    w->pass[1].len = 0;
}

static void pairs(mg_word_work *w, mg_char_test first, mg_char_test second, int spaces) {
    w->pass[1].len = 0;
    mg_space_pairs(w->pass[0].data, w->pass[0].len, first, second, spaces, &w->pass[1]);
    mg_next_pass(w);
}

static void chars(mg_word_work *w, mg_char_test test) {
    w->pass[1].len = 0;
    mg_space_chars(w->pass[0].data, w->pass[0].len, test, &w->pass[1]);
    mg_next_pass(w);
}

void mg_replace_pass(mg_word_work *w, const char *what, const char *with) {
    if (!w->pass[0].len || !memmem(w->pass[0].data, w->pass[0].len, what, strlen(what))) return;
    w->pass[1].len = 0;
    replace_all(w->pass[0].data, w->pass[0].len, what, with, &w->pass[1]);
    mg_next_pass(w);
}

static bool is_digit(uint32_t c) { return c >= '0' && c <= '9'; }
static bool is_no_digit(uint32_t c) { return !is_digit(c); }
static bool is_stop(uint32_t c) { return c == '.' || c == ','; }
static bool is_dash(uint32_t c) { return c == '-'; }
/* [{-~[-` -&(-+:-@/] */
static bool is_western(uint32_t c) {
    return (c >= '{' && c <= '~') || (c >= '[' && c <= '`') || (c >= ' ' && c <= '&') || (c >= '(' && c <= '+') ||
           (c >= ':' && c <= '@') || c == '/';
}

void mg_split_punctuation(mg_word_work *w) { chars(w, is_western); }

void mg_split_stops(mg_word_work *w) {
    pairs(w, is_no_digit, is_stop, MG_BETWEEN | MG_BEHIND_SECOND);
    pairs(w, is_stop, is_no_digit, MG_BEFORE_FIRST | MG_BETWEEN);
    pairs(w, is_digit, is_dash, MG_BETWEEN | MG_BEHIND_SECOND);
}

static mg_status finish(mg_word_work *work, mg_words *w, mg_error *err) {
    bool ok = !work->pass[0].failed && !work->pass[1].failed &&
              mg_split_blanks(work->pass[0].data ? work->pass[0].data : "", work->pass[0].len, w);
    return ok ? MG_OK : mg_fail(err, MG_NOMEM, "not enough memory for the words of a text");
}

void mg_entities_pass(mg_word_work *work) {
    mg_replace_pass(work, "&quot;", "\"");
    mg_replace_pass(work, "&amp;", "&");
    mg_replace_pass(work, "&lt;", "<");
    mg_replace_pass(work, "&gt;", ">");
}

static void start(mg_word_work *work, const char *text, size_t n) {
    work->pass[0].len = work->pass[1].len = 0;
    mg_buf_add(&work->pass[0], text, n);
}

/* ---- the tokenizers ---- */

static mg_status split_13a(mg_word_work *work, const char *text, size_t n, mg_words *w, mg_error *err) {
    start(work, " ", 1);
    mg_buf_add(&work->pass[0], text, n);
    mg_buf_char(&work->pass[0], ' ');
    mg_replace_pass(work, "<skipped>", "");
    mg_replace_pass(work, "-\n", "");
    mg_replace_pass(work, "\n", " ");
    mg_entities_pass(work);
    mg_split_punctuation(work);
    mg_split_stops(work);
    return finish(work, w, err);
}

static bool has_category(uint32_t c, utf8proc_category_t from, utf8proc_category_t to) {
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k >= from && k <= to;
}
static bool is_number(uint32_t c) { return has_category(c, UTF8PROC_CATEGORY_ND, UTF8PROC_CATEGORY_NO); }
static bool is_no_number(uint32_t c) { return !is_number(c); }
static bool is_punctuation(uint32_t c) { return has_category(c, UTF8PROC_CATEGORY_PC, UTF8PROC_CATEGORY_PO); }
static bool is_symbol(uint32_t c) { return has_category(c, UTF8PROC_CATEGORY_SM, UTF8PROC_CATEGORY_SO); }

static mg_status split_intl(mg_word_work *work, const char *text, size_t n, mg_words *w, mg_error *err) {
    start(work, text, n);
    pairs(work, is_no_number, is_punctuation, MG_BETWEEN | MG_BEHIND_SECOND);
    pairs(work, is_punctuation, is_no_number, MG_BEFORE_FIRST | MG_BETWEEN);
    chars(work, is_symbol);
    return finish(work, w, err);
}

/* The original names two ranges of the second plane with four digits, so that U+2001..U+2A6D and U+2F81..U+2FA1 are
 * Chinese to it and the second plane is not; scores are only equal with that. */
static bool is_chinese(uint32_t c) {
    static const uint32_t range[][2] = {
        { 0x3400, 0x4db5 }, { 0x4e00, 0x9fa5 }, { 0x9fa6, 0x9fbb }, { 0xf900, 0xfa2d }, { 0xfa30, 0xfa6a },
        { 0xfa70, 0xfad9 }, { 0x2001, 0x2a6d }, { 0x2f81, 0x2fa1 }, { 0xff00, 0xffef }, { 0x2e80, 0x2eff },
        { 0x3000, 0x303f }, { 0x31c0, 0x31ef }, { 0x2f00, 0x2fdf }, { 0x2ff0, 0x2fff }, { 0x3100, 0x312f },
        { 0x31a0, 0x31bf }, { 0xfe10, 0xfe1f }, { 0xfe30, 0xfe4f }, { 0x2600, 0x26ff }, { 0x2700, 0x27bf },
        { 0x3200, 0x32ff }, { 0x3300, 0x33ff },
    };
    if (c < 0x2001) return false;
    for (size_t i = 0; i < sizeof range / sizeof *range; i++)
        if (c >= range[i][0] && c <= range[i][1]) return true;
    return false;
}

static mg_status split_zh(mg_word_work *work, const char *text, size_t n, mg_words *w, mg_error *err) {
    text = mg_blank_head(text, &n);
    start(work, text, mg_blank_tail(text, n));
    chars(work, is_chinese);
    mg_split_punctuation(work);
    mg_split_stops(work);
    return finish(work, w, err);
}

static mg_status split_char(mg_word_work *work, const char *text, size_t n, mg_words *w, mg_error *err) {
    (void)work;
    uint32_t c;
    size_t   len;
    for (size_t i = 0; i < n; i += len) {
        len = next(text + i, n - i, &c);
        if (!mg_is_blank(c) && !add_word(w, text + i, len))
            return mg_fail(err, MG_NOMEM, "not enough memory for the words of a text");
    }
    return MG_OK;
}

static mg_status split_ja_mecab(mg_word_work *work, const char *text, size_t n, mg_words *w, mg_error *err) {
    text = mg_blank_head(text, &n);
    n = mg_blank_tail(text, n);
    work->spans.n = 0;
    mg_status st = mg_mecab_split(work->mecab, text, strnlen(text, n), &work->spans, err);
    for (size_t i = 0; !st && i < work->spans.n; i++)
        if (!mg_split_blanks(text + work->spans.span[i].at, work->spans.span[i].len, w))
            st = mg_fail(err, MG_NOMEM, "not enough memory for the words of a text");
    return st;
}

static mg_status split_none(mg_word_work *work, const char *text, size_t n, mg_words *w, mg_error *err) {
    start(work, text, n);
    return finish(work, w, err);
}

/* rouge_score's: lower case, words of a-z and 0-9. */
static mg_status split_rouge(mg_word_work *work, const char *text, size_t n, mg_words *w, mg_error *err) {
    work->pass[0].len = work->pass[1].len = 0;
    mg_lower_text(text, n, &work->pass[0]);
    for (size_t i = 0; i < work->pass[0].len; i++) {
        char *c = &work->pass[0].data[i];
        if (!(*c >= 'a' && *c <= 'z') && !is_digit((unsigned char)*c)) *c = ' ';
    }
    return finish(work, w, err);
}

static const mg_splitter splitter_13a = { .name = "13a", .split = split_13a,
    .suits = MG_N("European languages (mteval-v13a, the standard of WMT)") };
static const mg_splitter splitter_intl = { .name = "intl", .split = split_intl,
    .suits = MG_N("languages with spaces, by Unicode's punctuation and symbols (mteval-v14)") };
static const mg_splitter splitter_zh = { .name = "zh", .split = split_zh, .asian = true,
    .suits = MG_N("Chinese: characters, other text as 13a") };
static const mg_splitter splitter_char = { .name = "char", .split = split_char, .asian = true,
    .suits = MG_N("any language: characters") };
static const mg_splitter splitter_ja_mecab = { .name = "ja-mecab", .split = split_ja_mecab, .mecab = true, .asian = true,
    .suits = MG_N("Japanese: words by MeCab and ipadic") };
static const mg_splitter splitter_none = { .name = "none", .split = split_none,
    .suits = MG_N("text that is split by spaces already") };
static const mg_splitter splitter_rouge = { .name = "rouge", .split = split_rouge,
    .suits = MG_N("English for ROUGE: lower case, letters and digits") };

const mg_splitter *const mg_splitters[] = {
#define SPLITTER(x) &splitter_##x,
#include "eval/metrics/words.def"
#undef SPLITTER
    NULL,
};

const mg_splitter *mg_splitter_find(const char *name) {
    for (const mg_splitter *const *s = mg_splitters; *s; s++)
        if (!strcmp((*s)->name, name)) return *s;
    return NULL;
}

const mg_splitter *mg_splitter_for(const char *const *text, size_t n, const char *otherwise) {
    bool han = false;
    for (size_t i = 0; i < n; i++) {
        size_t   left = strlen(text[i]), len;
        uint32_t c;
        for (const char *s = text[i]; left; s += len, left -= len) {
            len = next(s, left, &c);
            if ((c >= 0x3041 && c <= 0x30ff && c != 0x30fb) || (c >= 0xff66 && c <= 0xff9f)) return &splitter_ja_mecab;
            han = han || (c >= 0x4e00 && c <= 0x9fff);
        }
    }
    return han ? &splitter_zh : mg_splitter_find(otherwise);
}

mg_status mg_splitter_open(const mg_splitter *s, mg_word_work *work, mg_error *err) {
    return s->mecab && !work->mecab ? mg_mecab_open(&work->mecab, NULL, err) : MG_OK;
}

void mg_splitter_sign(const mg_splitter *s, const mg_word_work *work, mg_buf *out) {
    mg_buf_str(out, s->name);
    if (s->mecab) mg_buf_printf(out, "-%s", mg_mecab_signature(work->mecab));
}

mg_status mg_split_words(const mg_splitter *s, mg_word_work *work, const char *text, size_t n, mg_words *w,
                         mg_error *err) {
    w->text.len = w->at.n = 0;
    return s->split(work, text, n, w, err);
}
