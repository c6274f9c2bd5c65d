/* width.c -- columns, padding and line breaking.
 *
 * Line breaking is the part of Unicode's rules that help texts need: a space
 * may become a break, a double-width character may begin a line unless it is
 * closing punctuation (the kinsoku rule), and what follows one may begin a line
 * too.  Everything else stays together, so `--option=value` is never torn. */
#include "base/width.h"

#include <string.h>
#include <utf8proc.h>

/* Length of the character at `s`, at least 1; *width its columns, *c the code point (-1: invalid). */
static size_t step(const char *s, size_t n, int *width, utf8proc_int32_t *c) {
    utf8proc_ssize_t len = utf8proc_iterate((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)n, c);
    if (len <= 0) {
        *c = -1;
        *width = 1;
        return 1;
    }
    *width = utf8proc_charwidth(*c);
    return (size_t)len;
}

int mg_width_bytes(const char *s, size_t n) {
    int total = 0;
    for (size_t i = 0; i < n;) {
        int              width;
        utf8proc_int32_t c;
        i += step(s + i, n - i, &width, &c);
        total += width;
    }
    return total;
}

int mg_width(const char *s) { return mg_width_bytes(s, strlen(s)); }

size_t mg_width_cut(const char *s, int columns) {
    size_t n = strlen(s), i = 0;
    int    used = 0;
    while (i < n) {
        int              width;
        utf8proc_int32_t c;
        size_t           len = step(s + i, n - i, &width, &c);
        if (used + width > columns) break;
        used += width;
        i += len;
    }
    return i;
}

static void spaces(mg_buf *b, int n) {
    while (n-- > 0) mg_buf_char(b, ' ');
}

/* `s`, or as much of it as leaves room for the ellipsis; returns the columns used. */
static int add_cut(mg_buf *b, const char *s, int columns) {
    int width = mg_width(s);
    if (width <= columns) {
        mg_buf_str(b, s);
        return width;
    }
    size_t n = mg_width_cut(s, columns - 1);
    mg_buf_add(b, s, n);
    mg_buf_str(b, "…");
    return mg_width_bytes(s, n) + 1;
}

void mg_pad(mg_buf *b, const char *s, int columns) { spaces(b, columns - add_cut(b, s, columns)); }

void mg_pad_left(mg_buf *b, const char *s, int columns) {
    spaces(b, columns - mg_width(s));
    add_cut(b, s, columns);
}

/* Closing punctuation must not begin a line. */
static bool closes(utf8proc_int32_t c) {
    static const utf8proc_int32_t closing[] = { 0x3001, 0x3002, 0x300d, 0x300f, 0x3011, 0x30fb, 0x30fc, 0xff01,
                                                0xff09, 0xff0c, 0xff0e, 0xff1a, 0xff1b, 0xff1f, ')',    ',',
                                                '.',    ':',    ';',    '?',    '!' };
    for (size_t i = 0; i < sizeof closing / sizeof *closing; i++)
        if (closing[i] == c) return true;
    return false;
}

/* Bytes of the unbreakable piece at `s` (not a space), its columns in *width. */
static size_t piece(const char *s, size_t n, int *width) {
    int              w;
    utf8proc_int32_t c;
    size_t           i = step(s, n, &w, &c);
    bool             wide = w == 2, opens = c == 0x300c || c == 0x300e || c == 0xff08;
    *width = w;
    while (i < n && s[i] != ' ' && s[i] != '\n') {
        size_t len = step(s + i, n - i, &w, &c);
        if ((wide || w == 2) && w != 0 && !closes(c) && !opens) break;
        wide = w == 2 || (wide && w == 0);
        opens = false;
        *width += w;
        i += len;
    }
    return i;
}

void mg_wrap(mg_buf *b, const char *text, int indent, int columns) {
    int    at = indent;
    bool   space = false;
    size_t n = strlen(text);
    for (size_t i = 0; i < n;) {
        if (text[i] == ' ') {
            space = true;
            i++;
            continue;
        }
        if (text[i] == '\n') {
            mg_buf_char(b, '\n');
            spaces(b, indent);
            at = indent;
            space = false;
            i++;
            continue;
        }
        int    width;
        size_t len = piece(text + i, n - i, &width);
        if (at > indent && at + space + width > columns) {
            mg_buf_char(b, '\n');
            spaces(b, indent);
            at = indent;
        } else if (space && at > indent) {
            mg_buf_char(b, ' ');
            at++;
        }
        mg_buf_add(b, text + i, len);
        at += width;
        space = false;
        i += len;
    }
}
