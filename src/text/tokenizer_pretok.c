/* tokenizer_pretok.c -- the pre-tokenizers of tokenizer.json, a row each.
 *
 * Most of them cut text at matches of a pattern, so they are the one "split"
 * with a pattern of their own.  Pieces go to the next stage at once, no list
 * of pieces is kept. */
#include "text/tokenizer_impl.h"

#include <string.h>

typedef mg_status (*split_fn)(const tok_stage *s, mg_tok_work *w, int stage, const char *text, size_t n,
                              bool first);

static mg_status limit_reached(const mg_tok_work *w) {
    return mg_fail(w->err, MG_DATA,
                   "%s: the pattern of the pre-tokenizer takes too long on a text; shorten the text", w->t->name);
}

/* --- Split: where the matches are, and what becomes of them --- */

static mg_found find_char(bool (*is)(uint32_t c), const char *text, size_t n, size_t from, size_t *begin, size_t *end) {
    uint32_t c;
    for (size_t len; from < n; from += len) {
        len = mg_utf8_next(text + from, n - from, &c);
        if (!is(c)) continue;
        *begin = from;
        *end = from + len;
        return MG_FOUND;
    }
    return MG_FOUND_NONE;
}

static mg_found find_match(const tok_stage *s, mg_tok_work *w, const char *text, size_t n, size_t from,
                           size_t *begin, size_t *end) {
    if (s->regex) return mg_regex_find(s->regex, w->regex, text, n, from, begin, end);
    if (s->chars) return find_char(s->chars, text, n, from, begin, end);
    const char *hit = s->pattern_len ? memmem(text + from, n - from, s->pattern, s->pattern_len) : NULL;
    if (!hit) return MG_FOUND_NONE;
    *begin = (size_t)(hit - text);
    *end = *begin + s->pattern_len;
    return MG_FOUND;
}

/* The next match that is not an empty one right behind the last. */
static mg_found next_match(const tok_stage *s, mg_tok_work *w, const char *text, size_t n, size_t *from,
                           size_t last_end, size_t *begin, size_t *end) {
    while (*from <= n) {
        mg_found f = find_match(s, w, text, n, *from, begin, end);
        if (f != MG_FOUND || *begin < *end || *end != last_end) return f;
        *from = *end < n ? *end + mg_utf8_width(text[*end]) : n + 1;
    }
    return MG_FOUND_NONE;
}

static mg_status hand_on(mg_tok_work *w, int stage, const char *text, size_t begin, size_t end, bool first) {
    if (begin == end) return MG_OK;
    return tok_pretokenize_from(w, stage + 1, text + begin, end - begin, first && begin == 0);
}

/* REMOVED and ISOLATED need no look at the neighbours. */
static mg_status split_simply(const tok_stage *s, mg_tok_work *w, int stage, const char *text, size_t n,
                              bool first) {
    size_t    done = 0, from = 0, last_end = SIZE_MAX, begin, end;
    mg_found  f;
    mg_status st = MG_OK;
    bool      keep_match = s->behavior == TOK_ISOLATED || s->invert,
         keep_gap = s->behavior == TOK_ISOLATED || !s->invert;
    while (!st && (f = next_match(s, w, text, n, &from, last_end, &begin, &end)) != MG_FOUND_NONE) {
        if (f == MG_FOUND_LIMIT) return limit_reached(w);
        if (keep_gap) st = hand_on(w, stage, text, done, begin, first);
        if (keep_match && !st) st = hand_on(w, stage, text, begin, end, first);
        done = from = last_end = end;
    }
    return st || !keep_gap ? st : hand_on(w, stage, text, done, n, first);
}

static bool push_range(mg_tok_work *w, int stage, size_t *count, size_t begin, size_t end, bool match) {
    if (!MG_GROW(w->range[stage], w->cap_range[stage], *count + 1)) return false;
    w->range[stage][(*count)++] = (tok_range){ begin, end, match };
    return true;
}

/* All gaps and matches of the text, in order. */
static mg_status list_ranges(const tok_stage *s, mg_tok_work *w, int stage, const char *text, size_t n,
                             size_t *count) {
    size_t   done = 0, from = 0, last_end = SIZE_MAX, begin, end;
    mg_found f;
    while ((f = next_match(s, w, text, n, &from, last_end, &begin, &end)) != MG_FOUND_NONE) {
        if (f == MG_FOUND_LIMIT) return limit_reached(w);
        if ((done != begin && !push_range(w, stage, count, done, begin, s->invert)) ||
            !push_range(w, stage, count, begin, end, !s->invert))
            return tok_no_memory(w->t, w->err);
        done = from = last_end = end;
    }
    return done == n || push_range(w, stage, count, done, n, s->invert) ? MG_OK : tok_no_memory(w->t, w->err);
}

/* Join each match with a neighbour (of several matches in a row only the first), or equals with
 * equals; returns the new count.  `r` holds count ranges and is overwritten. */
static size_t join_ranges(tok_behavior behavior, tok_range *r, size_t count) {
    size_t kept = 0;
    bool   before = false;
    if (behavior == TOK_MERGED_WITH_NEXT) { /* as with the previous, from the end */
        size_t at = count;
        for (size_t i = count; i-- > 0;) {
            bool match = r[i].match;
            if (match && !before && at < count)
                r[at].begin = r[i].begin;
            else
                r[--at] = r[i];
            before = match;
        }
        memmove(r, r + at, (count - at) * sizeof *r);
        return count - at;
    }
    for (size_t i = 0; i < count; i++) {
        bool match = r[i].match;
        bool join = behavior == TOK_CONTIGUOUS ? match == before : match && !before;
        if (join && kept)
            r[kept - 1].end = r[i].end;
        else
            r[kept++] = r[i];
        before = match;
    }
    return kept;
}

static mg_status split(const tok_stage *s, mg_tok_work *w, int stage, const char *text, size_t n, bool first) {
    if (s->behavior == TOK_REMOVED || s->behavior == TOK_ISOLATED)
        return split_simply(s, w, stage, text, n, first);
    size_t    count = 0;
    mg_status st = list_ranges(s, w, stage, text, n, &count);
    if (st) return st;
    count = join_ranges(s->behavior, w->range[stage], count);
    for (size_t i = 0; i < count && !st; i++) {
        tok_range r = w->range[stage][i]; /* later stages do not touch this stage's list */
        st = hand_on(w, stage, text, r.begin, r.end, first);
    }
    return st;
}

static mg_status parse_behavior(tok_stage *s, yyjson_val *config, const char *name, mg_error *err) {
    static const char *const names[] = {
        [TOK_REMOVED] = "Removed",
        [TOK_ISOLATED] = "Isolated",
        [TOK_MERGED_WITH_PREVIOUS] = "MergedWithPrevious",
        [TOK_MERGED_WITH_NEXT] = "MergedWithNext",
        [TOK_CONTIGUOUS] = "Contiguous",
    };
    const char *behavior = yyjson_get_str(yyjson_obj_get(config, "behavior"));
    for (size_t i = 0; behavior && i < sizeof names / sizeof *names; i++)
        if (!strcmp(names[i], behavior)) {
            s->behavior = (tok_behavior)i;
            return MG_OK;
        }
    return mg_fail(err, MG_FORMAT, "%s: '%.40s' is no behavior of a splitting pre-tokenizer", name,
                   behavior ? behavior : "");
}

static mg_status parse_split(tok_stage *s, yyjson_val *config, const char *name, mg_error *err) {
    mg_status st = tok_parse_pattern(s, config, name, err);
    s->invert = tok_parse_bool(config, "invert", false);
    return st ? st : parse_behavior(s, config, name, err);
}

static const tok_stage_row row_split = { .type = "Split", .parse = parse_split, .split = split };

static mg_status split_at(tok_stage *s, const char *regex, tok_behavior behavior, const char *name,
                          mg_error *err) {
    s->behavior = behavior;
    return mg_regex_compile(&s->regex, regex, strlen(regex), name, err);
}

static mg_status parse_digits(tok_stage *s, yyjson_val *config, const char *name, mg_error *err) {
    bool one_by_one = tok_parse_bool(config, "individual_digits", false);
    return split_at(s, one_by_one ? "\\p{N}" : "\\p{N}+", TOK_ISOLATED, name, err);
}

static mg_status parse_whitespace(tok_stage *s, yyjson_val *config, const char *name, mg_error *err) {
    (void)config;
    s->invert = true;
    return split_at(s, "\\w+|[^\\w\\s]+", TOK_REMOVED, name, err);
}

static mg_status parse_whitespace_split(tok_stage *s, yyjson_val *config, const char *name, mg_error *err) {
    (void)config;
    return split_at(s, "\\s", TOK_REMOVED, name, err);
}

static mg_status parse_punctuation(tok_stage *s, yyjson_val *config, const char *name, mg_error *err) {
    s->behavior = TOK_ISOLATED;
    s->chars = mg_char_is_punct;
    return yyjson_obj_get(config, "behavior") ? parse_behavior(s, config, name, err) : MG_OK;
}

/* White space goes, each punctuation mark stands alone. */
static mg_status split_bert(const tok_stage *s, mg_tok_work *w, int stage, const char *text, size_t n, bool first) {
    size_t    begin = 0, len;
    mg_status st = MG_OK;
    (void)s;
    for (size_t i = 0; i < n && !st; i += len) {
        uint32_t c;
        len = mg_utf8_next(text + i, n - i, &c);
        bool space = mg_char_is_space(c);
        if (!space && !mg_char_is_punct(c)) continue;
        st = hand_on(w, stage, text, begin, i, first);
        if (!st && !space) st = hand_on(w, stage, text, i, i + len, first);
        begin = i + len;
    }
    return st ? st : hand_on(w, stage, text, begin, n, first);
}

static mg_status parse_delimiter(tok_stage *s, yyjson_val *config, const char *name, mg_error *err) {
    return tok_parse_string(&s->pattern, &s->pattern_len, config, "delimiter", name, err);
}

static const tok_stage_row row_digits = { .type = "Digits", .parse = parse_digits, .split = split };
static const tok_stage_row row_whitespace = { .type = "Whitespace", .parse = parse_whitespace, .split = split };
static const tok_stage_row row_whitespace_split = { .type = "WhitespaceSplit",
                                                    .parse = parse_whitespace_split,
                                                    .split = split };
static const tok_stage_row row_punctuation = { .type = "Punctuation", .parse = parse_punctuation, .split = split };
static const tok_stage_row row_bert = { .type = "BertPreTokenizer", .split = split_bert };
static const tok_stage_row row_delimiter = { .type = "CharDelimiterSplit",
                                             .parse = parse_delimiter,
                                             .split = split };

/* --- ByteLevel --- */

typedef struct {
    char    text[2];
    uint8_t len;
} byte_char;

#define SELF(b)                                                                                     \
    {                                                                                               \
        { (char)((b) < 0x80 ? (b) : 0xc0 | (b) >> 6), (char)((b) < 0x80 ? 0 : 0x80 | ((b)&0x3f)) }, \
            (b) < 0x80 ? 1 : 2                                                                      \
    }
#define MOVED(c) \
    { { (char)(0xc0 | (c) >> 6), (char)(0x80 | ((c)&0x3f)) }, 2 }
#define SELF2(b) SELF(b), SELF(b + 1)
#define SELF4(b) SELF2(b), SELF2(b + 2)
#define SELF8(b) SELF4(b), SELF4(b + 4)
#define SELF16(b) SELF8(b), SELF8(b + 8)
#define SELF32(b) SELF16(b), SELF16(b + 16)
#define MOVED2(c) MOVED(c), MOVED(c + 1)
#define MOVED4(c) MOVED2(c), MOVED2(c + 2)
#define MOVED8(c) MOVED4(c), MOVED4(c + 4)
#define MOVED16(c) MOVED8(c), MOVED8(c + 8)
#define MOVED32(c) MOVED16(c), MOVED16(c + 16)

/* GPT-2: printable Latin-1 stands for itself, the other bytes in order for U+0100 and on. */
static const byte_char byte_chars[256] = {
    MOVED32(0x100), MOVED(0x120), /* 00-20 */
    SELF(0x21),     SELF2(0x22),    SELF4(0x24),  SELF8(0x28), SELF16(0x30), SELF32(0x40),
    SELF16(0x60),   SELF8(0x70),    SELF4(0x78),  SELF2(0x7c), SELF(0x7e), /* 21-7e */
    MOVED2(0x121),  MOVED32(0x123),                                        /* 7f-a0 */
    SELF(0xa1),     SELF2(0xa2),    SELF8(0xa4),  SELF(0xac),  MOVED(0x143), SELF2(0xae),
    SELF16(0xb0),   SELF32(0xc0),   SELF32(0xe0),
};

const char *tok_byte_char(unsigned char b, size_t *len) {
    *len = byte_chars[b].len;
    return byte_chars[b].text;
}

int tok_char_byte(uint32_t c) {
    if (c >= 0x100 && c <= 0x120) return (int)c - 0x100;
    if (c >= 0x121 && c <= 0x142) return (int)c - 0x121 + 0x7f;
    if (c == 0x143) return 0xad;
    return (c >= 0x21 && c <= 0x7e) || (c >= 0xa1 && c <= 0xff && c != 0xad) ? (int)c : -1;
}

#define GPT2_WORDS "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

static mg_status parse_byte_level(tok_stage *s, yyjson_val *config, const char *name, mg_error *err) {
    s->prefix = tok_parse_bool(config, "add_prefix_space", true);
    s->use_regex = tok_parse_bool(config, "use_regex", true);
    s->behavior = TOK_ISOLATED;
    return s->use_regex ? mg_regex_compile(&s->regex, GPT2_WORDS, sizeof GPT2_WORDS - 1, name, err) : MG_OK;
}

static mg_status spell_bytes(mg_tok_work *w, int stage, const char *text, size_t n, bool first) {
    mg_buf *b = &w->stage[stage];
    b->len = 0;
    if (!MG_GROW(b->data, b->cap, 2 * n + 1)) return tok_no_memory(w->t, w->err);
    char *put = b->data;
    for (size_t i = 0; i < n; i++) {
        const byte_char *c = &byte_chars[(uint8_t)text[i]];
        put[0] = c->text[0];
        put[1] = c->text[1];
        put += c->len;
    }
    return tok_pretokenize_from(w, stage + 1, b->data, (size_t)(put - b->data), first);
}

static mg_status byte_level_words(const tok_stage *s, mg_tok_work *w, int stage, const char *text, size_t n,
                                  bool first) {
    size_t    from = 0, begin, end;
    mg_found  f;
    mg_status st = MG_OK;
    if (!s->use_regex) return spell_bytes(w, stage, text, n, first);
    while (!st && from < n &&
           (f = mg_regex_find(s->regex, w->regex, text, n, from, &begin, &end)) != MG_FOUND_NONE) {
        if (f == MG_FOUND_LIMIT) return limit_reached(w);
        if (begin > from) st = spell_bytes(w, stage, text + from, begin - from, first && from == 0);
        if (!st) st = spell_bytes(w, stage, text + begin, end - begin, first && begin == 0);
        from = end; /* the pattern has no empty match */
    }
    return st || from == n ? st : spell_bytes(w, stage, text + from, n - from, first && from == 0);
}

static mg_status byte_level(const tok_stage *s, mg_tok_work *w, int stage, const char *text, size_t n,
                            bool first) {
    if (!s->prefix || text[0] == ' ') return byte_level_words(s, w, stage, text, n, first);
    mg_buf prefixed = { 0 }; /* add_prefix_space is rare, a buffer of its own is fine */
    mg_buf_char(&prefixed, ' ');
    mg_buf_add(&prefixed, text, n);
    mg_status st = prefixed.failed ? tok_no_memory(w->t, w->err)
                                   : byte_level_words(s, w, stage, prefixed.data, prefixed.len, first);
    mg_buf_free(&prefixed);
    return st;
}

static const tok_stage_row row_byte_level = { .type = "ByteLevel",
                                              .parse = parse_byte_level,
                                              .split = byte_level };

/* --- Metaspace --- */

static mg_status parse_metaspace(tok_stage *s, yyjson_val *config, const char *name, mg_error *err) {
    static const char *const schemes[] = {
        [TOK_PREPEND_ALWAYS] = "always", [TOK_PREPEND_FIRST] = "first", [TOK_PREPEND_NEVER] = "never"
    };
    const char *scheme = yyjson_get_str(yyjson_obj_get(config, "prepend_scheme"));
    int         i = 0;
    mg_status   st = tok_parse_string(&s->pattern, &s->pattern_len, config, "replacement", name, err);
    if (st) return st;
    if (!s->pattern_len || mg_utf8_count(s->pattern, s->pattern_len) != 1)
        return mg_fail(err, MG_FORMAT, "%s: the replacement of Metaspace is not one character", name);
    if (!scheme) scheme = tok_parse_bool(config, "add_prefix_space", true) ? "always" : "never"; /* older files */
    while (i < 3 && strcmp(schemes[i], scheme)) i++;
    if (i == 3) return mg_fail(err, MG_FORMAT, "%s: '%.40s' is no prepend_scheme of Metaspace", name, scheme);
    s->prepend = i;
    s->invert = false;
    s->behavior = TOK_MERGED_WITH_NEXT;
    s->use_regex = tok_parse_bool(config, "split", true); /* "split" takes the flag that ByteLevel has */
    return MG_OK;
}

static mg_status metaspace(const tok_stage *s, mg_tok_work *w, int stage, const char *text, size_t n, bool first) {
    mg_buf *b = &w->stage[stage];
    b->len = 0;
    bool begins = text[0] == ' ' || (n >= s->pattern_len && !memcmp(text, s->pattern, s->pattern_len));
    if (!begins && (s->prepend == TOK_PREPEND_ALWAYS || (s->prepend == TOK_PREPEND_FIRST && first)))
        mg_buf_add(b, s->pattern, s->pattern_len);
    for (const char *p = text, *end = text + n; p < end;) {
        const char *space = memchr(p, ' ', (size_t)(end - p));
        mg_buf_add(b, p, (size_t)((space ? space : end) - p));
        if (space) mg_buf_add(b, s->pattern, s->pattern_len);
        p = space ? space + 1 : end;
    }
    if (b->failed) return tok_no_memory(w->t, w->err);
    if (s->use_regex) return split(s, w, stage, b->data, b->len, first);
    return tok_pretokenize_from(w, stage + 1, b->data, b->len, first);
}

static const tok_stage_row row_metaspace = { .type = "Metaspace", .parse = parse_metaspace, .split = metaspace };

const tok_stage_row *const tok_pretokenizers[] = {
    &row_split,
    &row_digits,
    &row_whitespace,
    &row_whitespace_split,
    &row_punctuation,
    &row_bert,
    &tok_row_mecab,
    &row_delimiter,
    &row_byte_level,
    &row_metaspace,
    NULL,
};

mg_status tok_pretokenize_from(mg_tok_work *w, int stage, const char *text, size_t n, bool first) {
    const tok_chain *c = &w->t->pretokenizer;
    if (stage == c->n) return tok_encode_word(w, text, n);
    return c->stage[stage].row->split(&c->stage[stage], w, stage, text, n, first);
}
