/* unicode.c -- UTF-8 by hand, because it is ten lines; the rest through utf8proc.
 *
 * Most text is in normal form C already.  mg_is_normalized finds that out from
 * the category and the decomposition of each character, which saves utf8proc's
 * decompose-and-compose round (some 50 ns a character) on all of it. */
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

size_t mg_utf8_next(const char *s, size_t n, uint32_t *c) {
    const unsigned char *u = (const unsigned char *)s;
    if (u[0] < 0x80) {
        *c = u[0];
        return 1;
    }
    if (u[0] < 0xc2 || u[0] > 0xf4) return 0;
    size_t len = u[0] < 0xe0 ? 2 : u[0] < 0xf0 ? 3 : 4;
    if (len > n) return 0;
    uint32_t v = u[0] & (0xffu >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if ((u[i] & 0xc0) != 0x80) return 0;
        v = v << 6 | (u[i] & 0x3fu);
    }
    if ((len == 3 && (v < 0x800 || (v >= 0xd800 && v < 0xe000))) || (len == 4 && (v < 0x10000 || v > 0x10ffff)))
        return 0;
    *c = v;
    return len;
}

size_t mg_utf8_width(char first) {
    unsigned char u = (unsigned char)first;
    return u < 0x80 ? 1 : u < 0xe0 ? 2 : u < 0xf0 ? 3 : 4;
}

size_t mg_utf8_put(char out[4], uint32_t c) {
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t len = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = len - 1; i > 0; i--, c >>= 6) out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(0xff00 >> len | (int)c);
    return len;
}

bool mg_utf8_valid(const char *s, size_t n) {
    for (size_t i = 0; i < n;) {
        uint64_t word;
        if (n - i >= 8 && (memcpy(&word, s + i, 8), !(word & 0x8080808080808080u))) {
            i += 8;
            continue;
        }
        uint32_t c;
        size_t   len = mg_utf8_next(s + i, n - i, &c);
        if (!len) return false;
        i += len;
    }
    return true;
}

size_t mg_utf8_count(const char *s, size_t n) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) count += ((unsigned char)s[i] & 0xc0) != 0x80;
    return count;
}

/* The length of the maximal part of an ill-formed sequence that could have begun a
 * character (1 when nothing could): what one U+FFFD stands for.  `open` tells
 * whether it reaches the end of the text, so that more bytes might complete it. */
static size_t ill_formed(const char *s, size_t n, bool *open) {
    const unsigned char *u = (const unsigned char *)s;
    *open = false;
    if (u[0] < 0xc2 || u[0] > 0xf4) return 1;
    size_t        len = u[0] < 0xe0 ? 2 : u[0] < 0xf0 ? 3 : 4;
    unsigned char low = u[0] == 0xe0 ? 0xa0 : u[0] == 0xf0 ? 0x90 : 0x80;
    unsigned char high = u[0] == 0xed ? 0x9f : u[0] == 0xf4 ? 0x8f : 0xbf;
    for (size_t i = 1; i < len; i++) {
        if (i == n) {
            *open = true;
            return i;
        }
        if (u[i] < low || u[i] > high) return i;
        low = 0x80, high = 0xbf;
    }
    return len;
}

void mg_utf8_lossy(mg_buf *out, const char *s, size_t n) {
    size_t from = 0;
    for (size_t i = 0; i < n;) {
        uint32_t c;
        bool     open;
        size_t   len = mg_utf8_next(s + i, n - i, &c);
        if (len) {
            i += len;
            continue;
        }
        mg_buf_add(out, s + from, i - from);
        mg_buf_str(out, "\xef\xbf\xbd");
        i += ill_formed(s + i, n - i, &open);
        from = i;
    }
    mg_buf_add(out, s + from, n - from);
}

size_t mg_utf8_open_tail(const char *s, size_t n) {
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        uint32_t    c;
        bool        open;
        const char *p = s + n - back;
        if (((unsigned char)*p & 0xc0) == 0x80) continue;
        if (mg_utf8_next(p, back, &c)) return 0;
        size_t part = ill_formed(p, back, &open);
        return open && part == back ? back : 0;
    }
    return 0;
}

typedef struct {
    uint32_t first, last;
} code_range;

bool mg_char_is_space(uint32_t c) {
    if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13);
    return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}

bool mg_char_is_mark(uint32_t c) {
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_MC || k == UTF8PROC_CATEGORY_ME;
}

bool mg_char_is_cased(uint32_t c) {
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LL || k == UTF8PROC_CATEGORY_LT;
}

bool mg_char_is_word(uint32_t c) {
    static const bool word[32] = {
        [UTF8PROC_CATEGORY_LU] = true, [UTF8PROC_CATEGORY_LL] = true, [UTF8PROC_CATEGORY_LT] = true,
        [UTF8PROC_CATEGORY_LM] = true, [UTF8PROC_CATEGORY_LO] = true, [UTF8PROC_CATEGORY_MN] = true,
        [UTF8PROC_CATEGORY_MC] = true, [UTF8PROC_CATEGORY_ME] = true, [UTF8PROC_CATEGORY_ND] = true,
        [UTF8PROC_CATEGORY_NL] = true, [UTF8PROC_CATEGORY_PC] = true,
    };
    bool circled = (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) ||
                   (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189);
    return word[utf8proc_category((utf8proc_int32_t)c) & 31] || circled || c == 0x200c || c == 0x200d;
}

/* Capital letters of Unicode 16 and 17, which an older utf8proc does not know. */
static const struct {
    uint32_t first, last;
    int32_t  step;
} new_lower[] = {
    { 0x1c89, 0x1c89, 1 },        { 0xa7cb, 0xa7cb, 0x264 - 0xa7cb }, { 0xa7cc, 0xa7cc, 1 },     { 0xa7ce, 0xa7ce, 1 },
    { 0xa7d2, 0xa7d2, 1 },        { 0xa7d4, 0xa7d4, 1 },              { 0xa7da, 0xa7da, 1 },
    { 0xa7dc, 0xa7dc, 0x19b - 0xa7dc }, { 0x10d50, 0x10d65, 0x20 },   { 0x16ea0, 0x16eb8, 0x1b },
};

uint32_t mg_char_lower(uint32_t c) {
    if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + 32 : c;
    for (size_t i = 0; c >= new_lower[0].first && i < sizeof new_lower / sizeof *new_lower; i++)
        if (c >= new_lower[i].first && c <= new_lower[i].last) return c + (uint32_t)new_lower[i].step;
    return (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
}

/* --- as of Unicode 8 --- */

static bool in_ranges(const code_range *r, size_t n, uint32_t c) {
    size_t low = 0;
    while (n > 1) { /* the last range that begins at or below c */
        size_t half = n / 2;
        if (r[low + half].first <= c) low += half;
        n -= half;
    }
    return c >= r[low].first && c <= r[low].last;
}

static bool is_young(uint32_t c) {
    static const code_range young[] = {
#define YOUNG(first, last) { first, last },
#include "text/unicode_young.def"
#undef YOUNG
    };
    return c >= young[0].first && in_ranges(young, sizeof young / sizeof *young, c);
}

bool mg_char_is_control(uint32_t c) {
    if (c < 0x7f) return c < 0x20 && c != '\t' && c != '\n' && c != '\r';
    if (c < 0xa0) return true;
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return (k == UTF8PROC_CATEGORY_CF && !is_young(c)) || k == UTF8PROC_CATEGORY_CO;
}

/* U+1734 and U+1171E were Mn, U+166D and U+111C9 were Po. */
bool mg_char_is_accent(uint32_t c) {
    if (c < 0x300) return false;
    if (c == 0x1734 || c == 0x1171e) return true;
    return utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_MN && c != 0x111c9 && !is_young(c);
}

bool mg_char_is_punct(uint32_t c) {
    if (c < 0x80) return (c > 0x20 && c < '0') || (c > '9' && c < 'A') || (c > 'Z' && c < 'a') || (c > 'z' && c < 0x7f);
    if (c == 0x166d || c == 0x111c9) return true;
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO && !is_young(c);
}

bool mg_char_is_chinese(uint32_t c) {
    static const code_range chinese[] = { { 0x3400, 0x4dbf },   { 0x4e00, 0x9fff },   { 0xf900, 0xfaff },
                                          { 0x20000, 0x2a6df }, { 0x2a700, 0x2b81f }, { 0x2b920, 0x2ceaf },
                                          { 0x2f800, 0x2fa1f } };
    return c >= 0x3400 && in_ranges(chinese, sizeof chinese / sizeof *chinese, c);
}

/* Blocks whose precomposed letters are all their own normal form C: Latin with
 * diacritics, kana with voicing marks, Hangul syllables. */
static bool composed_block(uint32_t c) {
    return (c >= 0xc0 && c <= 0x17f) || (c >= 0x1e00 && c <= 0x1e99) || (c >= 0x1ea0 && c <= 0x1ef9) ||
           (c >= 0x3041 && c <= 0x30ff);
}

static bool quick_character(mg_normal_form form, uint32_t c) {
    const utf8proc_property_t *p = utf8proc_get_property((utf8proc_int32_t)c);
    bool compose = form == MG_NFC || form == MG_NFKC, compat = form == MG_NFKC || form == MG_NFKD;
    if (p->category >= UTF8PROC_CATEGORY_MN && p->category <= UTF8PROC_CATEGORY_ME) return false;
    if (c >= 0x1100 && c <= 0x11ff) return false; /* conjoining Hangul */
    if (c >= 0xac00 && c <= 0xd7a3) return compose;
    if (p->decomp_seqindex == UINT16_MAX) return true;
    if (p->decomp_type != 0) return !compat; /* a compatibility mapping */
    return compose && composed_block(c);
}

bool mg_is_normalized(mg_normal_form form, const char *s, size_t n) {
    for (size_t i = 0; i < n;) {
        uint32_t c;
        if ((unsigned char)s[i] < 0x80) {
            i++;
            continue;
        }
        i += mg_utf8_next(s + i, n - i, &c);
        if (!quick_character(form, c)) return false;
    }
    return true;
}

/* Characters that did not exist when the reference's tables were made. */
static const code_range late[] = {
#define LATE(first, last) { first, last },
#include "text/unicode_late.def"
#undef LATE
};
static const code_range newest[] = {
#define NEW(first, last, kind) { first, last },
#include "text/unicode_new.def"
#undef NEW
};

static bool is_late(uint32_t c) {
    if (c < late[0].first) return false;
    for (size_t i = 0; i < sizeof late / sizeof *late; i++)
        if (c >= late[i].first && c <= late[i].last) return true;
    for (size_t i = 0; i < sizeof newest / sizeof *newest; i++)
        if (c >= newest[i].first && c <= newest[i].last) return true;
    return false;
}

bool mg_normalize_latest(mg_normal_form form, const char *s, size_t n, mg_buf *out) {
    static const int option[] = {
        [MG_NFC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE,
        [MG_NFD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE,
        [MG_NFKC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
        [MG_NFKD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT,
    };
    utf8proc_uint8_t *text = NULL;
    if (!n) return true;
    utf8proc_ssize_t len =
        utf8proc_map((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)n, &text, (utf8proc_option_t)option[form]);
    if (len < 0) return false;
    mg_buf_add(out, text, (size_t)len);
    free(text);
    return !out->failed;
}

bool mg_normalize(mg_normal_form form, const char *s, size_t n, mg_buf *out) {
    size_t from = 0;
    for (size_t i = 0; i < n;) {
        uint32_t c;
        size_t   len = mg_utf8_next(s + i, n - i, &c);
        if (is_late(c)) { /* to the reference it is unassigned: nothing moves across it */
            if (!mg_normalize_latest(form, s + from, i - from, out)) return false;
            mg_buf_add(out, s + i, len);
            from = i + len;
        }
        i += len;
    }
    return mg_normalize_latest(form, s + from, n - from, out);
}
