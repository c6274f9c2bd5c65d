/* tokenizer_unigram.c -- the Unigram model: the most probable cut into tokens.
 *
 * Kudo, "Subword regularization" (arXiv 1804.10959); Viterbi over byte positions
 * with the sums in double precision, as in Hugging Face tokenizers, or in single precision for a SentencePiece
 * model, as in SentencePiece: of two cuts with equal sums rounding decides.  A character
 * that no token covers costs ten below the worst token and becomes its
 * bytes, or the unknown token.  A walk through the trie finds the candidates. */
#include "text/tokenizer_charsmap.h"
#include "text/tokenizer_trie.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double unknown_penalty = 10;

typedef struct {
    const tok_vocab *vocab;
    double          *score; /* [n] by id; ids from n on are added tokens, not the model's */
    size_t           n;
    tok_walk         walk; /* of the tokens that text may become */
    double           unknown; /* the score of a character that no token covers */
    int32_t          unk;
    uint8_t         *aside;   /* [n] or NULL: never made from text */
    bool             byte_fallback, single; /* single: precision */
    int32_t          byte_id[256];
} unigram;

typedef struct {
    double  score;
    int32_t id, begin; /* begin -1: not reached */
} node;

static void reach(const unigram *m, node *to, double score, int32_t id, size_t begin) {
    if (m->single) score = (double)(float)score;
    if (to->begin < 0 || score > to->score) *to = (node){ score, id, (int32_t)begin };
}

static bool find_path(const unigram *m, node *path, const char *word, size_t n) {
    for (size_t i = 0; i <= n; i++) path[i] = (node){ 0, -1, -1 };
    for (size_t i = 0, len; i < n; i += len) {
        len = mg_utf8_width(word[i]);
        bool single = false;
        for (size_t k = i, at = 0; k < n; k++) {
            int32_t next = tok_walk_next(&m->walk, (int32_t)at, (uint8_t)word[k]);
            if (next < 0) break;
            at = (size_t)next;
            int32_t id = m->walk.step[at].id;
            if (id < 0) continue;
            reach(m, &path[k + 1], path[i].score + m->score[id], id, i);
            single |= k + 1 == i + len;
        }
        if (single) continue;
        if (m->unk < 0) return false;
        reach(m, &path[i + len], path[i].score + m->unknown, m->unk, i);
    }
    return true;
}

/* Text that is no token: its bytes when all of them are tokens, else one unknown token. */
static bool push_unknown(const unigram *m, mg_ids *ids, const char *s, size_t n) {
    bool bytes = m->byte_fallback;
    for (size_t i = 0; i < n && bytes; i++) bytes = m->byte_id[(uint8_t)s[i]] >= 0;
    if (!bytes) return mg_ids_push(ids, m->unk);
    for (size_t i = 0; i < n; i++)
        if (!mg_ids_push(ids, m->byte_id[(uint8_t)s[i]])) return false;
    return true;
}

static mg_status encode(const void *model, mg_tok_work *w, const char *word, size_t n) {
    const unigram *m = model;
    if (!tok_room(&w->symbol, &w->cap_symbol, n + 1, sizeof(node))) return tok_no_memory(w->t, w->err);
    node *path = w->symbol;
    if (!find_path(m, path, word, n))
        return mg_fail(w->err, MG_DATA,
                       "%s: a text has a character without a token, and the tokenizer has no unknown token",
                       w->t->name);
    int32_t next = -1; /* turn the links round: path[i].score is done with, so id of the step from i goes there */
    for (int32_t at = (int32_t)n; at > 0;) {
        node here = path[at];
        path[at].begin = next;
        next = at;
        at = here.begin;
    }
    path[0].begin = next;
    bool ok = true;
    for (size_t at = 0; at < n && ok;) {
        size_t to = (size_t)path[at].begin;
        if (path[to].id != m->unk) {
            ok = mg_ids_push(w->ids, path[to].id);
        } else { /* unknown characters in a row fuse */
            while (to < n && path[path[to].begin].id == m->unk) to = (size_t)path[to].begin;
            ok = push_unknown(m, w->ids, word + at, to - at);
        }
        at = to;
    }
    return ok ? MG_OK : tok_no_memory(w->t, w->err);
}

static void free_unigram(void *model) {
    unigram *m = model;
    free(m->score);
    free(m->aside);
    tok_walk_free(&m->walk);
    free(m);
}

static mg_status forbid(mg_tokenizer *t, const uint8_t *special, mg_error *err) {
    unigram *m = t->model;
    for (size_t id = 0; m->aside && id < m->n; id++) m->aside[id] |= special[id];
    return tok_walk_build(&m->walk, &t->vocab, m->n, m->aside ? m->aside : special) ? MG_OK : tok_no_memory(t, err);
}

/* The model over a filled vocabulary; scores are set by the caller, then finish(). */
static unigram *new_unigram(mg_tokenizer *t, int32_t unk, bool byte_fallback) {
    unigram *m = mg_calloc(1, sizeof *m);
    if (!m) return NULL;
    t->model_row = &tok_model_unigram;
    t->model = m;
    t->unk = m->unk = unk;
    m->vocab = &t->vocab;
    m->n = t->vocab.n;
    m->byte_fallback = byte_fallback;
    for (int b = 0; b < 256; b++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", (unsigned)b);
        m->byte_id[b] = tok_vocab_find(&t->vocab, text, 6);
    }
    m->score = mg_calloc(m->n, sizeof *m->score);
    return m->score ? m : NULL;
}

static mg_status finish(mg_tokenizer *t, unigram *m, mg_error *err) {
    double worst = INFINITY;
    for (size_t id = 0; id < m->n; id++) {
        const char *s = t->vocab.text[id];
        if (!isfinite(m->score[id]))
            return mg_fail(err, MG_FORMAT, "%s: the score of token %zu is not a finite number", t->name, id);
        if (!s || !t->vocab.len[id]) continue;
        if (m->score[id] < worst && !(m->aside && m->aside[id])) worst = m->score[id];
    }
    m->unknown = worst - unknown_penalty;
    if (m->single) m->unknown = (double)(float)m->unknown;
    return MG_OK;
}

mg_status tok_unigram_from_scores(mg_tokenizer *t, const float *score, int32_t unk, bool byte_fallback,
                                  const uint8_t *aside, mg_error *err) {
    unigram *m = new_unigram(t, unk, byte_fallback);
    if (!m) return tok_no_memory(t, err);
    m->single = aside != NULL;
    m->aside = aside ? mg_calloc(m->n, 1) : NULL;
    if (aside && !m->aside) return tok_no_memory(t, err);
    if (aside) memcpy(m->aside, aside, m->n);
    for (size_t id = 0; id < m->n; id++) m->score[id] = (double)score[id];
    return finish(t, m, err);
}

static mg_status parse(mg_tokenizer *t, yyjson_val *config, mg_error *err) {
    yyjson_val *list = yyjson_obj_get(config, "vocab"), *item, *unk = yyjson_obj_get(config, "unk_id");
    size_t      i, n, bytes = 0;
    if (!yyjson_is_arr(list) || !yyjson_arr_size(list))
        return mg_fail(err, MG_FORMAT, "%s: the Unigram model has no list of tokens", t->name);
    yyjson_arr_foreach(list, i, n, item) bytes += yyjson_get_len(yyjson_arr_get(item, 0));
    mg_status st = tok_vocab_reserve(&t->vocab, yyjson_arr_size(list), bytes, t->name, err);
    yyjson_arr_foreach(list, i, n, item) {
        yyjson_val *text = yyjson_arr_get(item, 0);
        if (st) return st;
        if (!yyjson_is_str(text) || !yyjson_is_num(yyjson_arr_get(item, 1)))
            return mg_fail(err, MG_FORMAT, "%s: token %zu is not a text and a score", t->name, i);
        st = tok_vocab_add(&t->vocab, (int32_t)i, yyjson_get_str(text), yyjson_get_len(text), t->name, err);
    }
    if (st) return st;
    if (yyjson_is_num(unk) && (!yyjson_is_uint(unk) || yyjson_get_uint(unk) >= t->vocab.n))
        return mg_fail(err, MG_FORMAT, "%s: the unknown token's id is outside the vocabulary", t->name);
    unigram *m = new_unigram(t, yyjson_is_uint(unk) ? (int32_t)yyjson_get_uint(unk) : -1,
                             tok_parse_bool(config, "byte_fallback", false));
    if (!m) return tok_no_memory(t, err);
    yyjson_arr_foreach(list, i, n, item) m->score[i] = yyjson_get_num(yyjson_arr_get(item, 1));
    return finish(t, m, err);
}

static mg_status write_unigram(const mg_tokenizer *t, mg_buf *out, mg_error *err) {
    const unigram *m = t->model;
    (void)err;
    if (m->unk >= 0)
        mg_buf_printf(out, ",\n    \"unk_id\": %d", (int)m->unk);
    else
        mg_buf_str(out, ",\n    \"unk_id\": null");
    mg_buf_printf(out, ",\n    \"byte_fallback\": %s,\n    \"vocab\": [", m->byte_fallback ? "true" : "false");
    for (size_t id = 0; id < m->n; id++) {
        mg_buf_str(out, id ? ",\n      [" : "\n      [");
        mg_json_quote(out, t->vocab.text[id], t->vocab.len[id]);
        mg_buf_printf(out, ", %.17g]", m->score[id]);
    }
    mg_buf_str(out, "\n    ]");
    return MG_OK;
}

static mg_status to_gguf(const mg_tokenizer *t, tok_gguf *g, mg_error *err) {
    const unigram *m = t->model;
    g->v.model = "t5";
    g->v.pre = "default";
    for (size_t id = 0; id < m->n; id++) g->score[id] = (float)m->score[id];
    for (int b = 0; b < 256 && m->byte_fallback; b++)
        if (m->byte_id[b] >= 0) g->type[m->byte_id[b]] = TOK_GGUF_BYTE;
    for (int i = 0; i < t->normalizer.n; i++)
        if (t->normalizer.stage[i].charsmap)
            g->v.charsmap = tok_charsmap_bytes(t->normalizer.stage[i].charsmap, &g->v.charsmap_bytes);
    return tok_gguf_spaces(t, g, err);
}

static const char *kind(const mg_tokenizer *t) {
    (void)t;
    return "Unigram";
}

const tok_model_row tok_model_unigram = {
    .type = "Unigram",
    .kind = kind,
    .parse = parse,
    .encode = encode,
    .forbid = forbid,
    .write = write_unigram,
    .to_gguf = to_gguf,
    .gguf_text = tok_gguf_blanks,
    .free = free_unigram,
};
