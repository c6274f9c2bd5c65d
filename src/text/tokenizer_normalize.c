/* tokenizer_normalize.c -- the normalizers of tokenizer.json, a row each. */
#include "text/tokenizer_charsmap.h"
#include "text/tokenizer_impl.h"

#include <stdlib.h>
#include <string.h>

#define NORMALIZE(fn) static bool fn(const tok_stage *s, mg_tok_work *w, const char *text, size_t n, mg_buf *out)

/* --- Prepend --- */

static mg_status parse_prepend(tok_stage *s, yyjson_val *config, const char *name, mg_error *err) {
    return tok_parse_string(&s->content, &s->content_len, config, "prepend", name, err);
}

NORMALIZE(prepend) {
    (void)w;
    if (n) mg_buf_add(out, s->content, s->content_len);
    mg_buf_add(out, text, n);
    return !out->failed;
}

static const tok_stage_row row_prepend = { .type = "Prepend", .parse = parse_prepend, .normalize = prepend };

/* --- Replace --- */

/* "(?<!\n)^" is the beginning of the text and nothing else: a Prepend, without a search (llm-jp's normalizer). */
static bool is_prepend(yyjson_val *config) {
    return yyjson_equals_str(yyjson_obj_get(yyjson_obj_get(config, "pattern"), "Regex"), "(?<!\\n)^");
}

static mg_status parse_replace(tok_stage *s, yyjson_val *config, const char *name, mg_error *err) {
    mg_status st = tok_parse_string(&s->content, &s->content_len, config, "content", name, err);
    if (!st && is_prepend(config)) {
        s->row = &row_prepend;
        return MG_OK;
    }
    return st ? st : tok_parse_pattern(s, config, name, err);
}

NORMALIZE(replace) { return tok_replace(s, w->regex, text, n, out); }

static const tok_stage_row row_replace = { .type = "Replace", .parse = parse_replace, .normalize = replace };

/* --- NFC, NFD, NFKC, NFKD --- */

static mg_status parse_form(tok_stage *s, yyjson_val *config, const char *name, mg_error *err) {
    static const char *const form[] = {
        [MG_NFC] = "NFC", [MG_NFD] = "NFD", [MG_NFKC] = "NFKC", [MG_NFKD] = "NFKD"
    };
    (void)config, (void)name, (void)err;
    while (strcmp(form[s->form], s->row->type)) s->form++;
    return MG_OK;
}

NORMALIZE(normal_form) {
    (void)w;
    if (!mg_is_normalized(s->form, text, n)) return mg_normalize(s->form, text, n, out);
    mg_buf_add(out, text, n);
    return !out->failed;
}

static const tok_stage_row row_nfc = { .type = "NFC", .parse = parse_form, .normalize = normal_form };
static const tok_stage_row row_nfd = { .type = "NFD", .parse = parse_form, .normalize = normal_form };
static const tok_stage_row row_nfkc = { .type = "NFKC", .parse = parse_form, .normalize = normal_form };
static const tok_stage_row row_nfkd = { .type = "NFKD", .parse = parse_form, .normalize = normal_form };

/* --- Lowercase, StripAccents: a character becomes one or none --- */

static bool is_ascii(const char *text, size_t n) {
    unsigned char any = 0;
    for (size_t i = 0; i < n; i++) any |= (unsigned char)text[i];
    return any < 0x80;
}

NORMALIZE(lowercase) {
    (void)s, (void)w;
    if (is_ascii(text, n)) {
        size_t before = out->len;
        mg_buf_add(out, text, n);
        for (char *p = out->data + before; !out->failed && n--; p++) *p = (char)mg_char_lower((unsigned char)*p);
        return !out->failed;
    }
    for (size_t i = 0; i < n;) {
        uint32_t c;
        char     put[4];
        i += mg_utf8_next(text + i, n - i, &c);
        if (c == 0x130) /* the one letter whose lower case is two characters */
            mg_buf_str(out, "i\xcc\x87");
        else
            mg_buf_add(out, put, mg_utf8_put(put, mg_char_lower(c)));
    }
    return !out->failed;
}

NORMALIZE(strip_accents) {
    (void)s, (void)w;
    for (size_t i = 0; i < n;) {
        uint32_t c;
        size_t   len = mg_utf8_next(text + i, n - i, &c);
        if (!mg_char_is_mark(c)) mg_buf_add(out, text + i, len);
        i += len;
    }
    return !out->failed;
}

static const tok_stage_row row_lowercase = { .type = "Lowercase", .normalize = lowercase };
static const tok_stage_row row_strip_accents = { .type = "StripAccents", .normalize = strip_accents };

/* --- BertNormalizer --- */

static mg_status parse_bert(tok_stage *s, yyjson_val *config, const char *name, mg_error *err) {
    (void)name, (void)err;
    s->clean = tok_parse_bool(config, "clean_text", true);
    s->chinese = tok_parse_bool(config, "handle_chinese_chars", true);
    s->lower = tok_parse_bool(config, "lowercase", true);
    s->accents = tok_parse_bool(config, "strip_accents", s->lower); /* null: with lower case */
    return MG_OK;
}

static bool bert_characters(const tok_stage *s, const char *text, size_t n, mg_buf *out) {
    size_t from = 0; /* what stands behind it was not copied yet */
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t c;
        len = mg_utf8_next(text + i, n - i, &c);
        if (c >= ' ' && c < 0x7f) continue;
        bool gone = s->clean && (c == 0 || c == 0xfffd || mg_char_is_control(c));
        bool space = s->clean && !gone && mg_char_is_space(c), apart = s->chinese && mg_char_is_chinese(c);
        if (!gone && !space && !apart) continue;
        mg_buf_add(out, text + from, i - from);
        from = i + len;
        if (space || apart) mg_buf_char(out, ' ');
        if (apart) mg_buf_add(out, text + i, len);
        if (apart) mg_buf_char(out, ' ');
    }
    mg_buf_add(out, text + from, n - from);
    return !out->failed;
}

static bool remove_accents(const char *text, size_t n, mg_buf *out) {
    mg_buf apart = { 0 };
    bool   ok = mg_is_normalized(MG_NFD, text, n);
    if (!ok) {
        ok = mg_normalize(MG_NFD, text, n, &apart);
        text = apart.data;
        n = apart.len;
    }
    for (size_t i = 0, len; ok && i < n; i += len) {
        uint32_t c;
        len = mg_utf8_next(text + i, n - i, &c);
        if (c < 0x300 || !mg_char_is_accent(c)) mg_buf_add(out, text + i, len);
    }
    mg_buf_free(&apart);
    return ok && !out->failed;
}

NORMALIZE(bert) {
    mg_buf a = { 0 }, b = { 0 };
    bool   ok = true;
    if (s->clean || s->chinese) {
        ok = bert_characters(s, text, n, &a);
        text = a.data ? a.data : "";
        n = a.len;
    }
    if (ok && s->accents && !is_ascii(text, n)) {
        ok = remove_accents(text, n, &b);
        text = b.data ? b.data : "";
        n = b.len;
    }
    if (ok && s->lower)
        ok = lowercase(s, w, text, n, out);
    else
        mg_buf_add(out, text, n);
    mg_buf_free(&a);
    mg_buf_free(&b);
    return ok && !out->failed;
}

static const tok_stage_row row_bert = { .type = "BertNormalizer", .parse = parse_bert, .normalize = bert };

/* --- Strip --- */

static mg_status parse_strip(tok_stage *s, yyjson_val *config, const char *name, mg_error *err) {
    (void)name, (void)err;
    s->left = tok_parse_bool(config, "strip_left", true);
    s->right = tok_parse_bool(config, "strip_right", true);
    return MG_OK;
}

NORMALIZE(strip) {
    (void)w;
    size_t   begin = 0, end = n;
    uint32_t c;
    while (s->left && begin < end) {
        size_t len = mg_utf8_next(text + begin, end - begin, &c);
        if (!mg_char_is_space(c)) break;
        begin += len;
    }
    while (s->right && begin < end) {
        size_t at = end - 1;
        while (at > begin && ((unsigned char)text[at] & 0xc0) == 0x80) at--;
        mg_utf8_next(text + at, end - at, &c);
        if (!mg_char_is_space(c)) break;
        end = at;
    }
    mg_buf_add(out, text + begin, end - begin);
    return !out->failed;
}

static const tok_stage_row row_strip = { .type = "Strip", .parse = parse_strip, .normalize = strip };

/* --- Precompiled: the character map of a SentencePiece model --- */

static mg_status parse_precompiled(tok_stage *s, yyjson_val *config, const char *name, mg_error *err) {
    yyjson_val *map = yyjson_obj_get(config, "precompiled_charsmap");
    if (!yyjson_is_str(map)) return mg_fail(err, MG_FORMAT, "%s: a Precompiled normalizer without a map", name);
    return tok_charsmap_parse(&s->charsmap, yyjson_get_str(map), yyjson_get_len(map), name, err);
}

NORMALIZE(precompiled) {
    (void)w;
    return tok_charsmap_apply(s->charsmap, text, n, out);
}

static const tok_stage_row row_precompiled = { .type = "Precompiled",
                                               .parse = parse_precompiled,
                                               .normalize = precompiled };

const tok_stage_row *const tok_normalizers[] = {
    &row_prepend,   &row_replace,       &row_nfc,   &row_nfd,         &row_nfkc, &row_nfkd,
    &row_lowercase, &row_strip_accents, &row_strip, &row_bert,      &row_precompiled,
    NULL,
};
