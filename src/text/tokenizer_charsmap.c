/* tokenizer_charsmap.c -- apply SentencePiece's precompiled character map.
 *
 * Layout: the size of the trie in bytes (u32), the trie's units (u32 each), the
 * replacements.  A unit of Darts-clone: bit 8 says that a value hangs at this
 * node, bits 0-7 and 31 are the label, the rest the offset to the children;
 * every index is checked, for the file is not to be trusted.  Text is walked by
 * grapheme cluster first and by character then, as in Hugging Face's
 * "Precompiled" (spm_precompiled). */
#include "text/tokenizer_charsmap.h"

#include "text/unicode.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

struct tok_charsmap {
    size_t   units, bytes; /* of the trie; of the replacements */
    uint32_t size;         /* of the trie, as in the file: data[] goes on where this ends */
    uint32_t data[];       /* units, then the replacements */
};

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void tok_base64(mg_buf *out, const void *bytes, size_t n) {
    const uint8_t *b = bytes;
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v =
            (uint32_t)b[i] << 16 | (i + 1 < n ? (uint32_t)b[i + 1] << 8 : 0) | (i + 2 < n ? b[i + 2] : 0u);
        mg_buf_char(out, alphabet[v >> 18]);
        mg_buf_char(out, alphabet[v >> 12 & 63]);
        mg_buf_char(out, i + 1 < n ? alphabet[v >> 6 & 63] : '=');
        mg_buf_char(out, i + 2 < n ? alphabet[v & 63] : '=');
    }
}

static bool from_base64(mg_buf *out, const char *s, size_t n) {
    uint32_t v = 0;
    int      bits = 0;
    while (n && s[n - 1] == '=') n--;
    for (size_t i = 0; i < n; i++) {
        const char *at = s[i] ? strchr(alphabet, s[i]) : NULL;
        if (!at) return false;
        v = v << 6 | (uint32_t)(at - alphabet);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            mg_buf_char(out, (char)(v >> bits & 0xff));
        }
    }
    return true;
}

mg_status tok_charsmap_parse(struct tok_charsmap **out, const char *base64, size_t n, const char *name,
                             mg_error *err) {
    mg_buf    raw = { 0 };
    uint32_t  trie = 0;
    mg_status st = MG_OK;
    bool      ok = from_base64(&raw, base64, n) && raw.len >= 4;
    if (ok) memcpy(&trie, raw.data, 4);
    if (raw.failed)
        st = mg_fail(err, MG_NOMEM, "%s: no memory for the character map", name);
    else if (!ok || trie % 4 || trie > raw.len - 4)
        st = mg_fail(err, MG_FORMAT, "%s: the precompiled character map is damaged", name);
    struct tok_charsmap *m = st ? NULL : mg_calloc(1, sizeof *m + raw.len);
    if (!st && !m) st = mg_fail(err, MG_NOMEM, "%s: no memory for the character map", name);
    if (!st) {
        m->units = trie / 4;
        m->bytes = raw.len - 4 - trie;
        m->size = trie;
        memcpy(m->data, raw.data + 4, raw.len - 4);
        *out = m;
    }
    mg_buf_free(&raw);
    return st;
}

const void *tok_charsmap_bytes(const struct tok_charsmap *m, size_t *n) {
    *n = 4 + 4 * m->units + m->bytes;
    return (const char *)m + offsetof(struct tok_charsmap, size);
}

static size_t offset_of(uint32_t unit) { return (size_t)(unit >> 10) << ((unit & (1u << 9)) >> 6); }

/* Where the replacement of the shortest prefix of s that has one begins; -1: none. */
static int64_t find_prefix(const struct tok_charsmap *m, const char *s, size_t n) {
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (at >= m->units) return -1;
        uint32_t unit = m->data[at]; /* of the root, then of the child found last */
        at ^= i ? 0 : offset_of(unit);
        at ^= (uint8_t)s[i];
        if (at >= m->units) return -1;
        unit = m->data[at];
        if ((unit & 0x800000ffu) != (uint8_t)s[i]) return -1;
        at ^= offset_of(unit); /* the value's place, and the base of the children */
        if (!(unit >> 8 & 1)) continue;
        uint32_t value = at < m->units ? m->data[at] & 0x7fffffffu : UINT32_MAX;
        return value < m->bytes ? (int64_t)value : -1;
    }
    return -1;
}

static bool replace_part(const struct tok_charsmap *m, const char *s, size_t n, mg_buf *out) {
    int64_t at = find_prefix(m, s, n);
    if (at < 0) return false;
    const char *text = (const char *)m->data + 4 * m->units + at;
    mg_buf_add(out, text, strnlen(text, m->bytes - (size_t)at));
    return true;
}

static size_t cluster_length(const char *s, size_t n) {
    uint32_t         c, next;
    utf8proc_int32_t state = 0;
    size_t           len = mg_utf8_next(s, n, &c);
    while (len < n) {
        size_t k = mg_utf8_next(s + len, n - len, &next);
        if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)c, (utf8proc_int32_t)next, &state)) break;
        len += k;
        c = next;
    }
    return len;
}

bool tok_charsmap_apply(const struct tok_charsmap *m, const char *text, size_t n, mg_buf *out) {
    for (size_t i = 0; i < n;) {
        size_t cluster = cluster_length(text + i, n - i);
        if (cluster < 6 && replace_part(m, text + i, cluster, out)) {
            i += cluster;
            continue;
        }
        for (size_t end = i + cluster; i < end;) {
            size_t len = mg_utf8_width(text[i]);
            if (!replace_part(m, text + i, len, out)) mg_buf_add(out, text + i, len);
            i += len;
        }
    }
    return !out->failed;
}
