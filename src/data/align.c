/* align.c -- which bytes of a text each token stands for.
 *
 * A loss mask is drawn on text (this is what the assistant said) and needed on tokens.  Tokenizers here give ids
 * and no offsets, but what a token spells is in the vocabulary, so walking along text and tokens side by side
 * finds the offsets and proves at once that the tokens spell the text.  Three differences are expected: a blank
 * that a SentencePiece tokenizer puts in front, white space that a special token swallows, and special tokens put
 * around the text.
 *
 * A normalizer (NFC, NFKC) may change the text; then the walk fails and places are counted in the bytes that the
 * tokens spell instead: a border lies where the tokens of the text before it end, provided that these spell the
 * beginning of the whole.  Nothing is ever searched for. */
#include "data/sample_parts.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* The byte that a character of a byte-level vocabulary stands for (GPT-2's table), -1: none. */
static int byte_of(int32_t c) {
    if ((c >= 33 && c <= 126) || (c >= 161 && c <= 172) || (c >= 174 && c <= 255)) return c;
    if (c < 256 || c >= 256 + 68) return -1;
    int i = c - 256; /* the 68 bytes without a printable character of their own, in order */
    return i < 33 ? i : i < 67 ? i + 94 : 173;
}

static bool spell_byte_level(const char *s, size_t n, mg_buf *out) {
    size_t           before = out->len;
    utf8proc_int32_t c;
    for (size_t i = 0; i < n;) {
        utf8proc_ssize_t k = utf8proc_iterate((const utf8proc_uint8_t *)s + i, (utf8proc_ssize_t)(n - i), &c);
        int              byte = k < 1 ? -1 : byte_of(c);
        if (byte < 0) { /* an added token, it stands for itself */
            out->len = before;
            return false;
        }
        mg_buf_char(out, (char)byte);
        i += (size_t)k;
    }
    return true;
}

static void spell_sentencepiece(const char *s, size_t n, mg_buf *out) {
    unsigned byte;
    char     text[8] = "";
    if (n == 6) memcpy(text, s, 6);
    if (n == 6 && sscanf(text, "<0x%2X>", &byte) == 1 && text[5] == '>') {
        mg_buf_char(out, (char)byte);
        return;
    }
    for (size_t i = 0; i < n; i++)
        if (n - i >= 3 && !memcmp(s + i, "\xe2\x96\x81", 3)) {
            mg_buf_char(out, ' ');
            i += 2;
        } else
            mg_buf_char(out, s[i]);
}

/* Append what a token spells. */
static void spell(const mg_tokenizer *t, int32_t id, mg_buf *out) {
    size_t      n = 0;
    const char *s = mg_tokenizer_token(t, id, &n);
    if (!s) return;
    if (mg_tokenizer_is_special(t, id))
        mg_buf_add(out, s, n);
    else if (strncmp(mg_tokenizer_kind(t), "byte-level", 10))
        spell_sentencepiece(s, n, out);
    else if (!spell_byte_level(s, n, out))
        mg_buf_add(out, s, n);
}

static size_t skip_space(const mg_aligned *a, size_t at) {
    while (at < a->n && strchr(" \t\r\n", a->text[at]) && a->text[at]) at++;
    return at;
}

static bool stands_at(const mg_aligned *a, size_t at, const char *s, size_t n) {
    return a->n - at >= n && (!n || !memcmp(a->text + at, s, n));
}

/* One token at *at, moved behind it; false: the text says something else. */
static bool step(const mg_aligned *a, size_t i, const char *s, size_t n, size_t *at) {
    bool after_special = i == 0 || mg_tokenizer_is_special(a->tokenizer, a->ids.data[i - 1]);
    bool special = mg_tokenizer_is_special(a->tokenizer, a->ids.data[i]);
    if (stands_at(a, *at, s, n)) {
        *at += n;
        return true;
    }
    if (after_special && n && s[0] == ' ' && stands_at(a, *at, s + 1, n - 1)) {
        *at += n - 1;
        return true;
    }
    size_t behind = after_special || special ? skip_space(a, *at) : *at;
    if (behind > *at && stands_at(a, behind, s, n)) {
        *at = behind + n;
        return true;
    }
    /* what the post-processor puts in front and behind has no bytes */
    return (a->flags & MG_TOKENIZE_SPECIAL) && special && (*at == 0 || *at == a->n);
}

static bool walk(mg_aligned *a, mg_buf *word) {
    size_t at = 0;
    for (size_t i = 0; i < a->ids.len; i++) {
        word->len = 0;
        spell(a->tokenizer, a->ids.data[i], word);
        if (word->failed || !step(a, i, word->data ? word->data : "", word->len, &at)) return false;
        a->end[i] = at;
    }
    return skip_space(a, at) == a->n;
}

mg_status mg_align(mg_aligned *a, mg_error *err) {
    mg_buf    word = { 0 };
    mg_status st = mg_tokenize_marked(a->tokenizer, a->text, a->n, a->plain, a->flags, &a->ids, err);
    if (st) return st;
    a->end = mg_calloc(a->ids.len + 1, sizeof *a->end);
    if (!a->end) return mg_fail(err, MG_NOMEM, "no memory for %zu tokens", a->ids.len);
    a->exact = walk(a, &word);
    word.len = 0;
    for (size_t i = 0; !a->exact && i < a->ids.len; i++) {
        spell(a->tokenizer, a->ids.data[i], &word);
        a->end[i] = word.len;
    }
    if (word.failed) st = mg_fail(err, MG_NOMEM, "no memory for %zu tokens", a->ids.len);
    mg_buf_free(&word);
    return st;
}

void mg_align_free(mg_aligned *a) {
    mg_ids_free(&a->ids);
    free(a->end);
    a->end = NULL;
}

mg_status mg_align_place(const mg_aligned *a, size_t at, size_t *place, mg_error *err) {
    mg_ids    head = { 0 };
    mg_buf    all = { 0 }, begin = { 0 };
    mg_status st = MG_OK;
    if (a->exact) {
        *place = at;
        return MG_OK;
    }
    st = mg_tokenize_marked(a->tokenizer, a->text, at, a->plain, a->flags & ~(unsigned)MG_TOKENIZE_SPECIAL, &head,
                            err);
    size_t added = 0; /* tokens in front that the post-processor put there */
    while (a->flags & MG_TOKENIZE_SPECIAL && added < a->ids.len &&
           mg_tokenizer_is_special(a->tokenizer, a->ids.data[added]) &&
           (!head.len || a->ids.data[added] != head.data[0]))
        added++;
    for (size_t i = 0; i < added; i++) spell(a->tokenizer, a->ids.data[i], &begin);
    for (size_t i = 0; i < head.len; i++) spell(a->tokenizer, head.data[i], &begin);
    for (size_t i = 0; i < a->ids.len; i++) spell(a->tokenizer, a->ids.data[i], &all);
    if (st)
        ;
    else if (all.failed || begin.failed)
        st = mg_fail(err, MG_NOMEM, "no memory for %zu tokens", a->ids.len);
    else if (begin.len > all.len || (begin.len && memcmp(begin.data, all.data, begin.len)))
        st = mg_fail(err, MG_MASK,
                     "the tokenizer rewrites the text around byte %zu, where an answer begins or ends, so what"
                     " is trained cannot be told; write the text in its normal form (NFC)",
                     at);
    else
        *place = begin.len;
    mg_ids_free(&head);
    mg_buf_free(&all);
    mg_buf_free(&begin);
    return st;
}

/* ---- what folding explains ---- */

/* The text's characters without case, width and accents, and where each byte of that came from. */
typedef struct folded {
    mg_buf  bytes;
    size_t *end; /* [bytes.len] of the character in the text */
    size_t  cap;
} folded;

/* One character of a text, folded: decomposed for compatibility, without marks, in lower case. */
static bool fold(const char *s, size_t n, mg_buf *out) {
    mg_buf   parts = { 0 };
    uint32_t c;
    bool     ok = mg_normalize(MG_NFKD, s, n, &parts);
    for (size_t i = 0, len; ok && i < parts.len; i += len) {
        char put[4];
        len = mg_utf8_next(parts.data + i, parts.len - i, &c);
        if (!len) break;
        if (!mg_char_is_mark(c)) mg_buf_add(out, put, mg_utf8_put(put, mg_char_lower(c)));
    }
    mg_buf_free(&parts);
    return ok && !out->failed;
}

static bool fold_text(const mg_aligned *a, folded *f) {
    uint32_t c;
    for (size_t i = 0, len; i < a->n; i += len) {
        size_t before = f->bytes.len;
        len = mg_utf8_next(a->text + i, a->n - i, &c);
        if (!len || !fold(a->text + i, len, &f->bytes) || !MG_GROW(f->end, f->cap, f->bytes.len + 1)) return false;
        for (size_t k = before; k < f->bytes.len; k++) f->end[k] = i + len;
    }
    return true;
}

static bool is_space(const char *s, size_t n) {
    uint32_t c;
    return n && mg_utf8_next(s, n, &c) && mg_char_is_space(c);
}

static size_t behind_space(const folded *f, size_t at) {
    while (is_space(f->bytes.data + at, f->bytes.len - at)) at += mg_utf8_width(f->bytes.data[at]);
    return at;
}

/* An unknown token stands for a word, or for one character between words. */
static size_t behind_unknown(const folded *f, size_t at) {
    size_t   begin = at, len;
    uint32_t c;
    for (; at < f->bytes.len; at += len) {
        len = mg_utf8_next(f->bytes.data + at, f->bytes.len - at, &c);
        if (!len || mg_char_is_space(c) || ((mg_char_is_punct(c) || mg_char_is_chinese(c)) && at > begin)) break;
        if (mg_char_is_punct(c) || mg_char_is_chinese(c)) return at + len;
    }
    return at;
}

static bool walk_folded(mg_aligned *a, const folded *f) {
    mg_buf word = { 0 }, plain = { 0 };
    size_t at = 0;
    bool   ok = true;
    for (size_t i = 0; ok && i < a->ids.len; i++) {
        int32_t id = a->ids.data[i];
        word.len = plain.len = 0;
        size_t last = at ? f->end[at - 1] : 0;
        if (id == mg_tokenizer_unk(a->tokenizer)) {
            at = behind_unknown(f, behind_space(f, at));
        } else if (!mg_tokenizer_is_special(a->tokenizer, id)) {
            spell(a->tokenizer, id, &word);
            size_t skip = word.len > 2 && !memcmp(word.data, "##", 2) ? 2 : 0; /* WordPiece's sign of going on */
            while (skip < word.len && is_space(word.data + skip, word.len - skip)) skip += mg_utf8_width(word.data[skip]);
            ok = !word.failed && (!word.len || (mg_utf8_valid(word.data + skip, word.len - skip) && fold(word.data + skip, word.len - skip, &plain)));
            size_t from = behind_space(f, at);
            ok = ok && f->bytes.len - from >= plain.len && (!plain.len || !memcmp(f->bytes.data + from, plain.data, plain.len));
            if (plain.len) at = from + plain.len;
        }
        a->end[i] = at ? f->end[at - 1] : last;
    }
    ok = ok && behind_space(f, at) == f->bytes.len;
    mg_buf_free(&word);
    mg_buf_free(&plain);
    return ok;
}

mg_status mg_align_folded(mg_aligned *a, mg_error *err) {
    folded f = { 0 };
    mg_buf_str(&f.bytes, "");
    bool ok = fold_text(a, &f);
    a->exact = ok && walk_folded(a, &f);
    bool failed = f.bytes.failed;
    mg_buf_free(&f.bytes);
    free(f.end);
    return failed ? mg_fail(err, MG_NOMEM, "no memory for a text") : MG_OK;
}
