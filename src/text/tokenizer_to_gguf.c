/* tokenizer_to_gguf.c -- what a GGUF file says of a tokenizer; tokenizer_gguf.c reads it back. */
#include "text/tokenizer_impl.h"

#include <stdlib.h>
#include <string.h>

const char *const mg_tokenizer_files[] = {
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.txt",      "vocab.json",      "merges.txt",            "chat_template.jinja",     NULL,
};

/* GGUF has a flag for BOS and one for EOS; whatever else is put round a text cannot be said. */
static mg_status check_ends(const mg_tokenizer *t, mg_error *err) {
    bool begin = !t->before.n || (t->before.n == 1 && t->before.id[0] == t->bos);
    bool end = !t->behind.n || (t->behind.n == 1 && t->behind.id[0] == t->eos);
    if (begin && end) return MG_OK;
    return mg_fail(err, MG_UNSUPPORTED,
                   "%s: the post-processor adds more than BOS and EOS, which GGUF cannot say; keep the model in Hugging "
                   "Face's layout",
                   t->name);
}

/* The last word on a token has the entry of the added tokens. */
static void set_types(const mg_tokenizer *t, tok_gguf *g) {
    MG_ASSERT(g->type); /* the caller has failed before */
    for (size_t id = 0; id < g->v.n; id++)
        g->type[id] = id < t->vocab.n && t->vocab.text[id] ? TOK_GGUF_NORMAL : TOK_GGUF_UNUSED;
    for (size_t i = 0; i < t->n_added; i++)
        g->type[t->added[i].id] = t->added[i].special ? TOK_GGUF_CONTROL : TOK_GGUF_USER;
    if (t->unk >= 0) g->type[t->unk] = TOK_GGUF_UNKNOWN;
}

static bool set_texts(const mg_tokenizer *t, tok_gguf *g, mg_buf *text, size_t *len) {
    for (size_t id = 0; id < g->v.n; id++) {
        size_t from = text->len;
        if (g->type[id] == TOK_GGUF_UNUSED)
            mg_buf_printf(text, "[PAD%zu]", id);
        else
            t->model_row->gguf_text(t, (int32_t)id, g->type[id], text);
        len[id] = text->len - from;
    }
    return !text->failed;
}

static const char **pointers(const char *text, const size_t *len, size_t n) {
    const char **p = mg_calloc(n, sizeof *p);
    for (size_t i = 0; p && i < n; i++) {
        p[i] = text;
        text += len[i];
    }
    return p;
}

void tok_gguf_blanks(const mg_tokenizer *t, int32_t id, int32_t type, mg_buf *out) {
    const char *p = t->vocab.text[id], *end = p + t->vocab.len[id];
    for (const char *hit; type == TOK_GGUF_USER && (hit = memmem(p, (size_t)(end - p), TOK_SPACE_MARK, 3));) {
        mg_buf_add(out, p, (size_t)(hit - p));
        mg_buf_char(out, ' ');
        p = hit + 3;
    }
    mg_buf_add(out, p, (size_t)(end - p));
}

mg_status tok_gguf_spaces(const mg_tokenizer *t, tok_gguf *g, mg_error *err) {
    g->v.add_space_prefix = 0;
    g->v.remove_extra_whitespaces = t->normalizer.json && strstr(t->normalizer.json, "\"\\\\A +\"");
    for (int i = 0; i < t->normalizer.n; i++) {
        const tok_stage *s = &t->normalizer.stage[i];
        if (!strcmp(s->row->type, "Prepend")) g->v.add_space_prefix = 1;
        if (strcmp(s->row->type, "Prepend") && strcmp(s->row->type, "Replace") && strcmp(s->row->type, "Precompiled"))
            return mg_fail(err, MG_UNSUPPORTED,
                           "%s: GGUF cannot say that text goes through the normalizer '%s'; keep the model in Hugging "
                           "Face's layout",
                           t->name, s->row->type);
    }
    for (int i = 0; i < t->pretokenizer.n; i++)
        if (!strcmp(t->pretokenizer.stage[i].row->type, "Metaspace"))
            g->v.add_space_prefix = t->pretokenizer.stage[i].prepend != TOK_PREPEND_NEVER;
    return MG_OK;
}

mg_status mg_tokenizer_to_gguf(const mg_tokenizer *t, size_t n, mg_gguf_vocab *out, mg_error *err) {
    tok_gguf g = { .v = { .n = n ? n : t->vocab.n,
                          .bos = t->bos,
                          .eos = t->eos,
                          .unk = t->unk,
                          .pad = t->pad,
                          .eot = -1,
                          .add_bos = t->before.n > 0,
                          .add_eos = t->behind.n > 0,
                          .add_space_prefix = -1,
                          .remove_extra_whitespaces = -1 } };
    if (g.v.n < t->vocab.n)
        return mg_fail(err, MG_MISMATCH, "%s: %zu tokens, but the model has rows for %zu", t->name, t->vocab.n, n);
    if (!t->model_row->to_gguf)
        return mg_fail(err, MG_UNSUPPORTED, "%s: GGUF has no tokenizer model '%s'", t->name, t->model_row->type);
    mg_buf    text = { 0 };
    size_t   *len = mg_calloc(g.v.n, sizeof *len);
    mg_status st = MG_OK;
    g.score = mg_calloc(g.v.n, sizeof *g.score);
    g.type = mg_calloc(g.v.n, sizeof *g.type);
    if (!len || !g.score || !g.type) st = tok_no_memory(t, err);
    if (!st) st = check_ends(t, err);
    if (!st) set_types(t, &g);
    if (!st) st = t->model_row->to_gguf(t, &g, err);
    if (!st && !set_texts(t, &g, &text, len)) st = tok_no_memory(t, err);
    if (!st) {
        size_t tokens = text.len;
        mg_buf_add(&text, g.merges.data ? g.merges.data : "", g.merges.len);
        if (!text.failed && !g.merges.failed) {
            g.v.token = pointers(text.data, len, g.v.n);
            g.v.merge = pointers(text.data + tokens, g.merge_len, g.v.n_merges);
        }
        if (!g.v.token || !g.v.merge) st = tok_no_memory(t, err);
    }
    g.v.token_len = len, g.v.merge_len = g.merge_len;
    g.v.score = g.score, g.v.type = g.type, g.v.owned = text.data;
    if (g.v.n_merges) { /* byte-level files have merges and no scores */
        free(g.score);
        g.v.score = NULL;
    }
    mg_buf_free(&g.merges);
    if (st)
        mg_gguf_vocab_free(&g.v);
    else
        *out = g.v;
    return st;
}

void mg_gguf_vocab_free(mg_gguf_vocab *v) {
    free((void *)v->token);
    free((void *)v->token_len);
    free((void *)v->score);
    free((void *)v->type);
    free((void *)v->merge);
    free((void *)v->merge_len);
    free(v->owned);
    *v = (mg_gguf_vocab){ 0 };
}
