/* tokenizer_wordpiece.c -- WordPiece: the longest token that fits, from left to right.
 *
 * Devlin et al., "BERT" (arXiv 1810.04805), appendix of the code: what continues a word is spelled with "##"
 * before it; a word with a part that is no token is unknown as a whole.  No candidate is longer than the longest
 * token, so a long word takes time in proportion to its length. */
#include "text/tokenizer_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const tok_vocab *vocab;
    uint8_t         *special;
    char            *prefix;
    size_t           prefix_len, n; /* n: ids from here on are added tokens */
    size_t           most;          /* characters of a word */
    int32_t          unk;
} wordpiece;

/* The longest token at the beginning of s, -1: none.  `room` holds the prefix and space for a token behind it. */
static int32_t longest(const wordpiece *m, const char *s, size_t n, char *room, size_t skip, size_t *len) {
    size_t most = m->vocab->longest - skip;
    if (m->vocab->longest < skip) return -1;
    if (n < most) most = n;
    while (most && most < n && ((unsigned char)s[most] & 0xc0) == 0x80) most--;
    if (skip) memcpy(room + skip, s, most);
    for (*len = most; *len;) {
        int32_t id = tok_vocab_find(m->vocab, skip ? room : s, skip + *len);
        if (id >= 0 && (size_t)id < m->n && !m->special[id]) return id;
        do --*len;
        while (*len && ((unsigned char)s[*len] & 0xc0) == 0x80);
    }
    return -1;
}

static mg_status encode(const void *model, mg_tok_work *w, const char *word, size_t n) {
    const wordpiece *m = model;
    size_t           before = w->ids->len, len;
    bool             unknown = n > m->most && mg_utf8_count(word, n) > m->most;
    if (!tok_room(&w->symbol, &w->cap_symbol, m->vocab->longest + m->prefix_len + 1, 1))
        return tok_no_memory(w->t, w->err);
    char *room = w->symbol;
    memcpy(room, m->prefix, m->prefix_len);
    for (size_t at = 0; at < n && !unknown; at += len) {
        int32_t id = longest(m, word + at, n - at, room, at ? m->prefix_len : 0, &len);
        unknown = id < 0;
        if (!unknown && !mg_ids_push(w->ids, id)) return tok_no_memory(w->t, w->err);
    }
    if (!unknown) return MG_OK;
    w->ids->len = before;
    return mg_ids_push(w->ids, m->unk) ? MG_OK : tok_no_memory(w->t, w->err);
}

static void free_wordpiece(void *model) {
    wordpiece *m = model;
    free(m->special);
    free(m->prefix);
    free(m);
}

static mg_status forbid(mg_tokenizer *t, const uint8_t *special, mg_error *err) {
    wordpiece *m = t->model;
    m->special = mg_calloc(t->vocab.n, 1);
    if (!m->special) return tok_no_memory(t, err);
    memcpy(m->special, special, t->vocab.n);
    return MG_OK;
}

mg_status tok_wordpiece_over_vocab(mg_tokenizer *t, int32_t unk, mg_error *err) {
    wordpiece *m = mg_calloc(1, sizeof *m);
    if (!m) return tok_no_memory(t, err);
    t->model_row = &tok_model_wordpiece;
    t->model = m;
    t->unk = m->unk = unk;
    m->vocab = &t->vocab;
    m->n = t->vocab.n;
    m->most = 100;
    m->prefix_len = 2;
    m->prefix = mg_strdup("##");
    if (!m->prefix) return tok_no_memory(t, err);
    return unk >= 0 ? MG_OK : mg_fail(err, MG_FORMAT, "%s: a WordPiece vocabulary without its unknown token", t->name);
}

static mg_status parse(mg_tokenizer *t, yyjson_val *config, mg_error *err) {
    yyjson_val *most = yyjson_obj_get(config, "max_input_chars_per_word");
    const char *unk = yyjson_get_str(yyjson_obj_get(config, "unk_token"));
    mg_status   st = tok_vocab_parse(t, yyjson_obj_get(config, "vocab"), err);
    if (!st) st = tok_wordpiece_over_vocab(t, mg_tokenizer_id(t, unk ? unk : "[UNK]"), err);
    if (st) return st;
    wordpiece *m = t->model;
    if (yyjson_is_uint(most)) m->most = (size_t)yyjson_get_uint(most);
    if (!yyjson_is_str(yyjson_obj_get(config, "continuing_subword_prefix"))) return MG_OK;
    free(m->prefix);
    m->prefix = NULL;
    return tok_parse_string(&m->prefix, &m->prefix_len, config, "continuing_subword_prefix", t->name, err);
}

static mg_status write_wordpiece(const mg_tokenizer *t, mg_buf *out, mg_error *err) {
    const wordpiece *m = t->model;
    (void)err;
    mg_buf_str(out, ",\n    \"unk_token\": ");
    mg_json_quote(out, t->vocab.text[m->unk], t->vocab.len[m->unk]);
    mg_buf_str(out, ",\n    \"continuing_subword_prefix\": ");
    mg_json_quote(out, m->prefix, m->prefix_len);
    mg_buf_printf(out, ",\n    \"max_input_chars_per_word\": %zu", m->most);
    tok_vocab_write(t, out);
    return MG_OK;
}

/* "##x" is x there, and what begins a word has U+2581 before it; "[CLS]" and its like stay. */
static void gguf_text(const mg_tokenizer *t, int32_t id, int32_t type, mg_buf *out) {
    const wordpiece *m = t->model;
    const char      *s = t->vocab.text[id];
    size_t           n = t->vocab.len[id];
    (void)type;
    bool bracketed = n > 1 && s[0] == '[' && s[n - 1] == ']';
    bool more = n >= m->prefix_len && !memcmp(s, m->prefix, m->prefix_len);
    if (!bracketed && !more) mg_buf_str(out, TOK_SPACE_MARK);
    if (!bracketed && more) s += m->prefix_len, n -= m->prefix_len;
    mg_buf_add(out, s, n);
}

static mg_status to_gguf(const mg_tokenizer *t, tok_gguf *g, mg_error *err) {
    bool bert = t->normalizer.n == 1 && !strcmp(t->normalizer.stage[0].row->type, "BertNormalizer") &&
                t->pretokenizer.n == 1 && !strcmp(t->pretokenizer.stage[0].row->type, "BertPreTokenizer");
    if (!bert)
        return mg_fail(err, MG_UNSUPPORTED,
                       "%s: GGUF has WordPiece behind BERT's own words only; keep the model in Hugging Face's layout",
                       t->name);
    for (size_t id = 0; id < t->vocab.n; id++)
        if (t->vocab.text[id] && t->vocab.len[id] > 5 && !memcmp(t->vocab.text[id], "##" TOK_SPACE_MARK, 5))
            return mg_fail(err, MG_UNSUPPORTED, "%s: GGUF cannot spell the token '%.80s'; keep the model in Hugging Face's layout",
                           t->name, t->vocab.text[id]);
    g->v.model = "bert";
    g->v.pre = "default";
    return MG_OK;
}

static const char *kind(const mg_tokenizer *t) {
    (void)t;
    return "WordPiece";
}

const tok_model_row tok_model_wordpiece = {
    .type = "WordPiece",
    .kind = kind,
    .parse = parse,
    .encode = encode,
    .forbid = forbid,
    .write = write_wordpiece,
    .to_gguf = to_gguf,
    .gguf_text = gguf_text,
    .free = free_wordpiece,
};
