/* encoding.c -- UTF-8, UTF-16 and cp932, told apart by BOM and by what is valid.
 *
 * Japanese text in cp932 is hardly ever valid UTF-8 and the other way round, so lines vote: a file in which more
 * lines with non-ASCII bytes are valid UTF-8 than not is UTF-8 with damage, not cp932. */
#include "data/encoding.h"

#include <errno.h>
#include <iconv.h>
#include <string.h>
#include <utf8proc.h>

bool mg_encoding_is_utf8(const char *s, size_t n) {
    utf8proc_int32_t code;
    for (size_t i = 0; i < n;) {
        if (!(s[i] & 0x80)) {
            i++;
            continue;
        }
        utf8proc_ssize_t k = utf8proc_iterate((const utf8proc_uint8_t *)s + i, (utf8proc_ssize_t)(n - i), &code);
        if (k < 1) return false;
        i += (size_t)k;
    }
    return true;
}

static bool is_ascii(const char *s, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (s[i] & 0x80) return false;
    return true;
}

/* Do most of the lines with non-ASCII bytes read as UTF-8? */
static bool votes_utf8(const char *s, size_t n) {
    size_t yes = 0, no = 0;
    for (size_t at = 0; at < n;) {
        const char *end = memchr(s + at, '\n', n - at);
        size_t      len = end ? (size_t)(end - s) - at : n - at;
        if (!is_ascii(s + at, len)) {
            if (mg_encoding_is_utf8(s + at, len))
                yes++;
            else
                no++;
        }
        at += len + 1;
    }
    return yes > no || !no;
}

/* False: the bytes are not in that encoding, or memory is short (out->failed). */
static bool convert(mg_buf *out, const char *from, const char *bytes, size_t n) {
    iconv_t cd = iconv_open("UTF-8", from);
    char    chunk[65536], *in = (char *)bytes;
    size_t  left = n;
    bool    ok = cd != (iconv_t)-1;
    while (ok && left && !out->failed) {
        char  *to = chunk;
        size_t room = sizeof chunk;
        size_t r = iconv(cd, &in, &left, &to, &room);
        mg_buf_add(out, chunk, sizeof chunk - room);
        ok = r != (size_t)-1 || errno == E2BIG;
    }
    if (cd != (iconv_t)-1) iconv_close(cd);
    return ok && !out->failed;
}

mg_status mg_encoding_read(const char **text, size_t *text_n, const char **encoding, mg_buf *converted,
                           const char *bytes, size_t n, const char *name, mg_error *err) {
    static const struct {
        const char *bom, *iconv_name, *name;
        size_t      n;
    } boms[] = {
        { "\xef\xbb\xbf", NULL, "UTF-8 with BOM", 3 },
        { "\xff\xfe", "UTF-16LE", "UTF-16", 2 },
        { "\xfe\xff", "UTF-16BE", "UTF-16", 2 },
    };
    const char *from = NULL;
    *encoding = "UTF-8";
    for (size_t i = 0; i < sizeof boms / sizeof *boms; i++) {
        if (n < boms[i].n || memcmp(bytes, boms[i].bom, boms[i].n)) continue;
        *encoding = boms[i].name;
        from = boms[i].iconv_name;
        bytes += boms[i].n;
        n -= boms[i].n;
        break;
    }
    if (!from && !votes_utf8(bytes, n)) {
        if (convert(converted, "CP932", bytes, n)) {
            *encoding = "cp932";
            goto converted;
        }
        if (converted->failed) return mg_fail(err, MG_NOMEM, "%s: no memory for its text", name);
        mg_buf_free(converted);
    }
    if (from) {
        if (!convert(converted, from, bytes, n))
            return mg_fail(err, converted->failed ? MG_NOMEM : MG_DATA,
                           "%s: begins as UTF-16 but is not all of it; save it as UTF-8", name);
        goto converted;
    }
    *text = bytes;
    *text_n = n;
    return MG_OK;
converted:
    mg_buf_add(converted, "", 0);
    *text = converted->data;
    *text_n = converted->len;
    return converted->failed ? mg_fail(err, MG_NOMEM, "%s: no memory for its text", name) : MG_OK;
}
