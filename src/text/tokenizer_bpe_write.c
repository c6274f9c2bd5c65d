/* tokenizer_bpe_write.c -- a BPE model as tokenizer.json has it, and as a GGUF file has it. */
#include "text/tokenizer_bpe.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    tok_pair_key key;
    int32_t      left, right;
} merge;

static int by_key(const void *x, const void *y) {
    const merge *a = x, *b = y;
    if (a->key.a != b->key.a) return a->key.a < b->key.a ? -1 : 1;
    return a->key.b < b->key.b ? -1 : a->key.b > b->key.b;
}

/* All ways to cut each token in two tokens, for a model with scores. */
static bool list_scored(const tok_bpe *m, merge **list, size_t *count) {
    const tok_vocab *v = m->vocab;
    size_t           cap = 0;
    for (size_t id = 0; id < v->n; id++) {
        const char *s = v->text[id];
        size_t      n = s ? v->len[id] : 0;
        for (size_t at = 1; at < n; at++) {
            if (((unsigned char)s[at] & 0xc0) == 0x80) continue;
            int32_t left = tok_vocab_find(v, s, at), right = left < 0 ? -1 : tok_vocab_find(v, s + at, n - at);
            if (right < 0) continue;
            tok_symbol l = { .id = left, .end = (uint32_t)at },
                       r = { .id = right, .begin = (uint32_t)at, .end = (uint32_t)n };
            tok_pair_key key = tok_bpe_scored_key(m, s, &l, &r);
            if (key.merged < 0) continue;
            if (!MG_GROW(*list, cap, *count + 1)) return false;
            (*list)[(*count)++] = (merge){ key, left, right };
        }
    }
    return true;
}

static bool list_merges(const tok_bpe *m, merge **list, size_t *count) {
    if (!m->pair) return list_scored(m, list, count);
    *list = mg_calloc(m->n_merges, sizeof **list);
    if (!*list) return false;
    for (size_t i = 0; i < m->pairs; i++)
        if (m->pair[i].left >= 0)
            (*list)[(*count)++] = (merge){ { m->pair[i].rank, 0, 0 }, m->pair[i].left, m->pair[i].right };
    return true;
}

static void write_string(mg_buf *out, const char *key, const char *s, size_t n) {
    mg_buf_printf(out, ",\n    \"%s\": ", key);
    if (s)
        mg_json_quote(out, s, n);
    else
        mg_buf_str(out, "null");
}

mg_status tok_bpe_write(const mg_tokenizer *t, mg_buf *out, mg_error *err) {
    const tok_bpe *m = t->model;
    merge     *list = NULL;
    size_t     count = 0;
    if (!list_merges(m, &list, &count)) {
        free(list);
        return tok_no_memory(t, err);
    }
    if (count) qsort(list, count, sizeof *list, by_key);
    mg_buf_str(out, ",\n    \"dropout\": null");
    write_string(out, "unk_token", m->unk < 0 ? NULL : t->vocab.text[m->unk],
                 m->unk < 0 ? 0 : t->vocab.len[m->unk]);
    write_string(out, "continuing_subword_prefix", m->prefix, m->prefix_len);
    write_string(out, "end_of_word_suffix", m->suffix, m->suffix_len);
    mg_buf_printf(
        out, ",\n    \"fuse_unk\": %s,\n    \"byte_fallback\": %s,\n    \"ignore_merges\": %s",
        m->fuse_unk ? "true" : "false", m->byte_fallback ? "true" : "false", m->ignore_merges ? "true" : "false");
    tok_vocab_write(t, out);
    mg_buf_str(out, ",\n    \"merges\": [");
    for (size_t i = 0; i < count; i++) {
        mg_buf_str(out, i ? ",\n      [" : "\n      [");
        mg_json_quote(out, t->vocab.text[list[i].left], t->vocab.len[list[i].left]);
        mg_buf_str(out, ", ");
        mg_json_quote(out, t->vocab.text[list[i].right], t->vocab.len[list[i].right]);
        mg_buf_char(out, ']');
    }
    mg_buf_str(out, "\n    ]");
    free(list);
    return MG_OK;
}

/* --- for GGUF files --- */

static bool byte_of(const tok_bpe *m, int32_t id) {
    for (int b = 0; b < 256; b++)
        if (m->byte_id[b] == id) return true;
    return false;
}

static int32_t merge_result(const tok_bpe *m, const merge *p) {
    int32_t id = tok_bpe_find_pair(m, p->left, p->right)->merged;
    return id < 0 ? ~id : id;
}

/* A score is the place of a token's first merge, counted down from 0; tokens that no merge makes come last. */
static void scores_of_merges(const mg_tokenizer *t, const merge *list, size_t count, float *score) {
    const tok_bpe *m = t->model;
    size_t         made = 0;
    for (size_t id = 0; id < t->vocab.n; id++) score[id] = 1;
    for (size_t i = 0; i < count; i++) {
        int32_t id = merge_result(m, &list[i]);
        if (score[id] > 0) score[id] = -(float)made++;
    }
    for (size_t id = 0; id < t->vocab.n; id++)
        if (score[id] > 0) score[id] = -(float)made++;
}

static void scores_as_read(const mg_tokenizer *t, float *score) {
    const tok_bpe *m = t->model;
    for (size_t id = 0; id < t->vocab.n; id++) {
        uint32_t bits = m->order[id] >> 31 ? m->order[id] : ~m->order[id] & 0x7fffffff;
        memcpy(&score[id], &bits, sizeof bits);
    }
}

static mg_status sentencepiece_to_gguf(const mg_tokenizer *t, tok_gguf *g, const merge *list, size_t count,
                                       mg_error *err) {
    const tok_bpe *m = t->model;
    g->v.model = "llama";
    g->v.pre = "default";
    if (!m->pair)
        scores_as_read(t, g->score);
    else
        scores_of_merges(t, list, count, g->score);
    for (size_t id = 0; id < t->vocab.n; id++) {
        if (g->type[id] == TOK_GGUF_USER || g->type[id] == TOK_GGUF_CONTROL) g->score[id] = -1000;
        if (g->type[id] == TOK_GGUF_NORMAL && t->vocab.len[id] == 6 && byte_of(m, (int32_t)id))
            g->type[id] = TOK_GGUF_BYTE;
    }
    return tok_gguf_spaces(t, g, err);
}

static mg_status byte_level_to_gguf(const mg_tokenizer *t, tok_gguf *g, const merge *list, size_t count,
                                    mg_error *err) {
    const tok_bpe *m = t->model;
    g->v.model = "gpt2";
    g->v.pre = t->pre ? t->pre : tok_gguf_pre(t, m->ignore_merges);
    if (!g->v.pre)
        return mg_fail(err, MG_UNSUPPORTED,
                       "%s: GGUF has no name for the way in which this tokenizer cuts text (normalizer and "
                       "pre-tokenizer); keep the model in Hugging Face's layout",
                       t->name);
    for (size_t i = 0; i < count; i++) {
        size_t from = g->merges.len;
        mg_buf_add(&g->merges, t->vocab.text[list[i].left], t->vocab.len[list[i].left]);
        mg_buf_char(&g->merges, ' ');
        mg_buf_add(&g->merges, t->vocab.text[list[i].right], t->vocab.len[list[i].right]);
        g->merge_len[i] = g->merges.len - from;
    }
    g->v.n_merges = count;
    return MG_OK;
}

mg_status tok_bpe_to_gguf(const mg_tokenizer *t, tok_gguf *g, mg_error *err) {
    const tok_bpe *m = t->model;
    bool           bytes = tok_is_byte_level(t);
    merge         *list = NULL;
    size_t         count = 0;
    if (m->prefix || m->suffix || (!bytes && !m->byte_fallback))
        return mg_fail(err, MG_UNSUPPORTED,
                       "%s: GGUF has byte-level and SentencePiece BPE, this one is neither; keep the model in "
                       "Hugging Face's layout",
                       t->name);
    bool ok = !m->pair || list_merges(m, &list, &count);
    if (ok && count) qsort(list, count, sizeof *list, by_key);
    g->merge_len = ok && bytes ? mg_calloc(count, sizeof *g->merge_len) : NULL;
    mg_status st = ok && (g->merge_len || !bytes) ? MG_OK : tok_no_memory(t, err);
    if (!st)
        st = bytes ? byte_level_to_gguf(t, g, list, count, err) : sentencepiece_to_gguf(t, g, list, count, err);
    free(list);
    return st;
}
