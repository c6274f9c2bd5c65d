/* tokenizer_decode.c -- the decoders of tokenizer.json, and streaming.
 *
 * A chain of decoders is a chain of filters over a list of tokens.  Each
 * filter gets a token in chunks whose edges are marked, and passes on what no
 * later token can change; so decoding at once and decoding a stream are the
 * same code, and what a stream has printed never needs to be taken back.
 * Chunks are whole characters. */
#include "text/tokenizer_impl.h"

#include <stdlib.h>
#include <string.h>

enum { EDGE_BEGIN = 1, EDGE_END = 2, EDGE_BOTH = 3, CHUNK_MAX = 64 << 20 /* what a hostile decoder may make */ };

typedef struct {
    mg_buf hold;  /* what is not certain yet */
    size_t count; /* tokens or characters, by kind */
    bool   open;  /* a token has begun downstream */
} decode_state;

struct mg_detok_stream {
    const mg_tokenizer *t;
    bool                skip_special;
    decode_state        state[TOK_MAX_STAGES + 1]; /* the last one joins tokens without a decoder */
    mg_buf             *out;
};

#define FEED(fn) \
    static bool fn(const tok_stage *s, mg_detok_stream *d, int stage, const char *text, size_t n, unsigned edges)
#define FLUSH(fn) static bool fn(const tok_stage *s, mg_detok_stream *d, int stage)

static bool feed_from(mg_detok_stream *d, int stage, const char *text, size_t n, unsigned edges) {
    const tok_chain *c = &d->t->decoder;
    if (n > CHUNK_MAX) return false;
    if (stage < c->n) return c->stage[stage].row->feed(&c->stage[stage], d, stage, text, n, edges);
    decode_state *end = &d->state[stage];
    if (!c->n && (edges & EDGE_BEGIN) && end->count++) mg_buf_char(d->out, ' '); /* no decoder: words */
    mg_buf_add(d->out, text, n);
    return !d->out->failed;
}

static bool flush_from(mg_detok_stream *d, int stage) {
    const tok_chain *c = &d->t->decoder;
    if (stage == c->n) return true;
    const tok_stage *s = &c->stage[stage];
    return (!s->row->flush || s->row->flush(s, d, stage)) && flush_from(d, stage + 1);
}

/* For filters that look at whole tokens: true when *text is one, collected when need be. */
static bool whole_token(mg_detok_stream *d, int stage, const char **text, size_t *n, unsigned edges, bool *ok) {
    mg_buf *hold = &d->state[stage].hold;
    *ok = true;
    if (edges == EDGE_BOTH) return true;
    if (edges & EDGE_BEGIN) hold->len = 0;
    mg_buf_add(hold, *text, *n);
    *ok = !hold->failed;
    if (!*ok || !(edges & EDGE_END)) return false;
    *text = hold->data;
    *n = hold->len;
    return true;
}

/* --- Fuse --- */

FEED(fuse_feed) {
    (void)s, (void)edges;
    decode_state *state = &d->state[stage];
    unsigned      begin = state->open ? 0 : EDGE_BEGIN;
    state->open = true;
    return feed_from(d, stage + 1, text, n, begin);
}

FLUSH(fuse_flush) {
    (void)s;
    return !d->state[stage].open || feed_from(d, stage + 1, "", 0, EDGE_END);
}

static const tok_stage_row row_fuse = { .type = "Fuse", .feed = fuse_feed, .flush = fuse_flush };

/* --- ByteLevel: all tokens become one text --- */

static bool spelled_bytes(const char *text, size_t n, mg_buf *out) {
    size_t before = out->len;
    for (size_t i = 0; i < n;) {
        uint32_t c;
        i += mg_utf8_next(text + i, n - i, &c);
        int byte = tok_char_byte(c);
        if (byte < 0) { /* not a byte-level token, it stands for itself */
            out->len = before;
            mg_buf_add(out, text, n);
            break;
        }
        mg_buf_char(out, (char)byte);
    }
    return !out->failed;
}

static bool pass_lossy(mg_detok_stream *d, int stage, size_t n, unsigned edges) {
    decode_state *state = &d->state[stage];
    mg_buf        clean = { 0 };
    mg_utf8_lossy(&clean, state->hold.data, n);
    bool ok = !clean.failed;
    if (!state->open) edges |= EDGE_BEGIN;
    state->open = true;
    memmove(state->hold.data, state->hold.data + n, state->hold.len - n);
    state->hold.len -= n;
    ok = ok && feed_from(d, stage + 1, clean.data ? clean.data : "", clean.len, edges);
    mg_buf_free(&clean);
    return ok;
}

FEED(byte_level_feed) {
    (void)s;
    bool          ok;
    decode_state *state = &d->state[stage];
    if (edges != EDGE_BOTH)
        return fuse_feed(s, d, stage, text, n, edges); /* behind another filter: text already */
    if (!spelled_bytes(text, n, &state->hold)) return false;
    size_t sure = state->hold.len - (state->hold.len ? mg_utf8_open_tail(state->hold.data, state->hold.len) : 0);
    ok = !sure || pass_lossy(d, stage, sure, 0);
    return ok;
}

FLUSH(byte_level_flush) {
    (void)s;
    decode_state *state = &d->state[stage];
    if (state->hold.len) return pass_lossy(d, stage, state->hold.len, EDGE_END);
    return fuse_flush(s, d, stage);
}

static const tok_stage_row row_byte_level = { .type = "ByteLevel",
                                              .feed = byte_level_feed,
                                              .flush = byte_level_flush };

/* --- ByteFallback: a run of <0xXX> is text when all of it is UTF-8 --- */

static int hex_value(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static int byte_token(const char *text, size_t n) {
    if (n != 6 || memcmp(text, "<0x", 3) || text[5] != '>') return -1;
    int low = hex_value(text[4]), high = text[3] == '+' ? 0 : hex_value(text[3]); /* Rust reads "+F" as 15 */
    return low < 0 || high < 0 ? -1 : high << 4 | low;
}

FLUSH(byte_fallback_flush) {
    (void)s;
    mg_buf *run = &d->state[stage].hold;
    size_t  n = run->len;
    bool    ok = true;
    run->len = 0;
    if (n && mg_utf8_valid(run->data, n)) return feed_from(d, stage + 1, run->data, n, EDGE_BOTH);
    for (size_t i = 0; i < n && ok; i++) ok = feed_from(d, stage + 1, "\xef\xbf\xbd", 3, EDGE_BOTH);
    return ok;
}

FEED(byte_fallback_feed) {
    mg_buf *run = &d->state[stage].hold;
    if (edges != EDGE_BOTH) return feed_from(d, stage + 1, text, n, edges); /* fused already: no byte tokens */
    int byte = byte_token(text, n);
    if (byte < 0) return byte_fallback_flush(s, d, stage) && feed_from(d, stage + 1, text, n, edges);
    mg_buf_char(run, (char)byte);
    return !run->failed;
}

static const tok_stage_row row_byte_fallback = { .type = "ByteFallback",
                                                 .feed = byte_fallback_feed,
                                                 .flush = byte_fallback_flush };

/* --- Strip: some of one character off both ends of each token --- */

static mg_status parse_strip(tok_stage *s, yyjson_val *config, const char *name, mg_error *err) {
    s->start = (size_t)yyjson_get_uint(yyjson_obj_get(config, "start"));
    s->stop = (size_t)yyjson_get_uint(yyjson_obj_get(config, "stop"));
    mg_status st = tok_parse_string(&s->pattern, &s->pattern_len, config, "content", name, err);
    if (!st && !s->pattern_len) st = mg_fail(err, MG_FORMAT, "%s: the Strip decoder has no character", name);
    return st;
}

static size_t strip_end(const tok_stage *s, const char *text, size_t n) {
    for (size_t i = 0; i < s->stop && n >= s->pattern_len; i++) {
        if (memcmp(text + n - s->pattern_len, s->pattern, s->pattern_len)) break;
        n -= s->pattern_len;
    }
    return n;
}

FEED(strip_feed) {
    decode_state *state = &d->state[stage];
    bool          ok;
    if (s->stop && !whole_token(d, stage, &text, &n, edges, &ok)) return ok;
    if (s->stop) edges = EDGE_BOTH;
    if (edges & EDGE_BEGIN) state->count = s->start;
    for (; state->count && n; state->count--) {
        if (n < s->pattern_len || memcmp(text, s->pattern, s->pattern_len)) {
            state->count = 0;
            break;
        }
        text += s->pattern_len;
        n -= s->pattern_len;
    }
    return feed_from(d, stage + 1, text, strip_end(s, text, n), edges);
}

static const tok_stage_row row_strip = { .type = "Strip", .parse = parse_strip, .feed = strip_feed };

/* --- Replace --- */

/* "(?<!\n)^x" deletes x at the very beginning: a Strip, which streams where a
 * regular expression would wait for the end of the text (llm-jp's decoder). */
static bool is_strip(yyjson_val *config, const char **content) {
    const char *regex = yyjson_get_str(yyjson_obj_get(yyjson_obj_get(config, "pattern"), "Regex"));
    const char *with = yyjson_get_str(yyjson_obj_get(config, "content"));
    if (!regex || !with || *with || strncmp(regex, "(?<!\\n)^", 8) ||
        strcspn(regex + 8, "\\^$.|?*+()[]{}") != strlen(regex + 8))
        return false;
    *content = regex + 8;
    return *content[0] != 0;
}

static mg_status parse_replace(tok_stage *s, yyjson_val *config, const char *name, mg_error *err) {
    const char *stripped;
    if (is_strip(config, &stripped)) {
        s->row = &row_strip;
        s->start = 1;
        s->pattern_len = strlen(stripped);
        s->pattern = mg_strdup(stripped);
        return s->pattern ? MG_OK : mg_fail(err, MG_NOMEM, "%s: no memory", name);
    }
    mg_status st = tok_parse_pattern(s, config, name, err);
    return st ? st : tok_parse_string(&s->content, &s->content_len, config, "content", name, err);
}

/* How many bytes at the end of s could begin the pattern. */
static size_t pattern_tail(const tok_stage *s, const char *text, size_t n) {
    size_t most = s->pattern_len ? s->pattern_len - 1 : 0;
    for (size_t k = most < n ? most : n; k > 0; k--)
        if (!memcmp(text + n - k, s->pattern, k)) return k;
    return 0;
}

static bool replace_and_pass(const tok_stage *s, mg_detok_stream *d, int stage, const char *text, size_t n,
                             unsigned edges) {
    mg_buf         changed = { 0 };
    mg_regex_work *w = s->regex ? mg_regex_work_new() : NULL;
    bool           ok = (!s->regex || w) && tok_replace(s, w, text, n, &changed);
    ok = ok && feed_from(d, stage + 1, changed.data ? changed.data : "", changed.len, edges);
    mg_regex_work_free(w);
    mg_buf_free(&changed);
    return ok;
}

FEED(replace_feed) {
    mg_buf *hold = &d->state[stage].hold;
    bool    ok;
    if (edges == EDGE_BOTH && !s->regex && s->pattern_len && !memmem(text, n, s->pattern, s->pattern_len))
        return feed_from(d, stage + 1, text, n, edges);
    if (s->regex || edges == EDGE_BOTH) {
        if (!whole_token(d, stage, &text, &n, edges, &ok)) return ok;
        return replace_and_pass(s, d, stage, text, n, EDGE_BOTH);
    }
    if (edges & EDGE_BEGIN) hold->len = 0;
    mg_buf_add(hold, text, n);
    if (hold->failed) return false;
    /* keep back what may be the beginning of the pattern; scanning for a whole match
     * goes first, or the tail of a match would be kept */
    size_t at = 0;
    for (const char *hit; s->pattern_len && hold->len - at >= s->pattern_len &&
                          (hit = memmem(hold->data + at, hold->len - at, s->pattern, s->pattern_len));)
        at = (size_t)(hit - hold->data) + s->pattern_len;
    size_t keep = edges & EDGE_END ? 0 : pattern_tail(s, hold->data + at, hold->len - at), sure = hold->len - keep;
    ok = replace_and_pass(s, d, stage, hold->data, sure, edges);
    memmove(hold->data, hold->data + sure, keep);
    hold->len = keep;
    return ok;
}

static const tok_stage_row row_replace = { .type = "Replace", .parse = parse_replace, .feed = replace_feed };

/* --- Metaspace --- */

static mg_status parse_metaspace(tok_stage *s, yyjson_val *config, const char *name, mg_error *err) {
    const char *scheme = yyjson_get_str(yyjson_obj_get(config, "prepend_scheme"));
    bool        never = scheme ? !strcmp(scheme, "never") : !tok_parse_bool(config, "add_prefix_space", true);
    mg_status   st = tok_parse_string(&s->pattern, &s->pattern_len, config, "replacement", name, err);
    s->prepend = never ? TOK_PREPEND_NEVER : TOK_PREPEND_ALWAYS;
    if (!st && !s->pattern_len) st = mg_fail(err, MG_FORMAT, "%s: the Metaspace decoder has no character", name);
    return st;
}

FEED(metaspace_feed) {
    decode_state *state = &d->state[stage];
    mg_buf        out = { 0 };
    state->count += (edges & EDGE_BEGIN) != 0;
    bool drop = state->count == 1 && s->prepend != TOK_PREPEND_NEVER; /* in the first token they are no spaces */
    for (const char *p = text, *end = text + n; p < end;) {
        const char *hit = memmem(p, (size_t)(end - p), s->pattern, s->pattern_len);
        mg_buf_add(&out, p, (size_t)((hit ? hit : end) - p));
        if (hit && !drop) mg_buf_char(&out, ' ');
        p = hit ? hit + s->pattern_len : end;
    }
    bool ok = !out.failed && feed_from(d, stage + 1, out.data ? out.data : "", out.len, edges);
    mg_buf_free(&out);
    return ok;
}

static const tok_stage_row row_metaspace = { .type = "Metaspace",
                                             .parse = parse_metaspace,
                                             .feed = metaspace_feed };

/* --- WordPiece --- */

static mg_status parse_word_piece(tok_stage *s, yyjson_val *config, const char *name, mg_error *err) {
    s->clean = tok_parse_bool(config, "cleanup", true);
    return tok_parse_string(&s->pattern, &s->pattern_len, config, "prefix", name, err);
}

/* Blanks that English does not write, each of these after the other, as in Hugging Face tokenizers. */
static bool clean_up(mg_buf *text) {
    static const char *const rows[][2] = { { " .", "." },     { " ?", "?" },     { " !", "!" },       { " ,", "," },
                                           { " ' ", "'" },    { " n't", "n't" }, { " 'm", "'m" },     { " do not", " don't" },
                                           { " 's", "'s" },   { " 've", "'ve" }, { " 're", "'re" } };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        tok_stage s = { .pattern = (char *)rows[i][0],
                        .pattern_len = strlen(rows[i][0]),
                        .content = (char *)rows[i][1],
                        .content_len = strlen(rows[i][1]) };
        if (!memmem(text->data, text->len, s.pattern, s.pattern_len)) continue;
        mg_buf changed = { 0 };
        bool   ok = tok_replace(&s, NULL, text->data, text->len, &changed);
        mg_buf_free(text);
        *text = changed;
        if (!ok) return false;
    }
    return true;
}

/* A token that does not continue a word has a blank before it. */
FEED(word_piece_feed) {
    decode_state *state = &d->state[stage];
    mg_buf        out = { 0 };
    bool          ok;
    if (!whole_token(d, stage, &text, &n, edges, &ok)) return ok;
    bool more = n >= s->pattern_len && !memcmp(text, s->pattern, s->pattern_len), begins = !state->count++;
    size_t skip = more && !begins ? s->pattern_len : 0;
    if (!more && !begins) mg_buf_char(&out, ' ');
    mg_buf_add(&out, text + skip, n - skip);
    ok = !out.failed && (!s->clean || clean_up(&out)) && feed_from(d, stage + 1, out.data, out.len, EDGE_BOTH);
    mg_buf_free(&out);
    return ok;
}

static const tok_stage_row row_word_piece = { .type = "WordPiece", .parse = parse_word_piece, .feed = word_piece_feed };

const tok_stage_row *const tok_decoders[] = {
    &row_byte_level, &row_byte_fallback, &row_fuse, &row_strip, &row_replace, &row_metaspace, &row_word_piece, NULL,
};

/* --- the public side --- */

mg_detok_stream *mg_detok_new(const mg_tokenizer *t, bool skip_special) {
    mg_detok_stream *d = mg_calloc(1, sizeof *d);
    if (!d) return NULL;
    d->t = t;
    d->skip_special = skip_special;
    return d;
}

bool mg_detok_feed(mg_detok_stream *d, int32_t id, mg_buf *out) {
    size_t      n;
    const char *text = mg_tokenizer_token(d->t, id, &n);
    if (!text || (d->skip_special && mg_tokenizer_is_special(d->t, id))) return true;
    d->out = out;
    return feed_from(d, 0, text, n, EDGE_BOTH);
}

bool mg_detok_flush(mg_detok_stream *d, mg_buf *out) {
    d->out = out;
    return flush_from(d, 0);
}

void mg_detok_free(mg_detok_stream *d) {
    if (!d) return;
    for (size_t i = 0; i < sizeof d->state / sizeof *d->state; i++) mg_buf_free(&d->state[i].hold);
    free(d);
}

mg_status mg_detokenize(const mg_tokenizer *t, const int32_t *ids, size_t n, bool skip_special, mg_buf *out,
                        mg_error *err) {
    mg_detok_stream *d = mg_detok_new(t, skip_special);
    size_t           before = out->len;
    bool             ok = d != NULL;
    for (size_t i = 0; i < n && ok; i++) ok = mg_detok_feed(d, ids[i], out);
    ok = ok && mg_detok_flush(d, out);
    mg_detok_free(d);
    if (ok) return MG_OK;
    out->len = before;
    return mg_fail(err, MG_NOMEM, "%s: no memory to decode %zu tokens, or they make too much text", t->name, n);
}
