/* tokenizer.c -- the way of a text through a tokenizer, and what callers ask about one. */
#include "text/tokenizer_impl.h"

#include <stdlib.h>
#include <string.h>

mg_status tok_no_memory(const mg_tokenizer *t, mg_error *err) {
    return mg_fail(err, MG_NOMEM, "%s: no memory", t->name);
}

static const tok_model_row *const model_rows[] = {
#define MODEL(x) &tok_model_##x,
#include "text/tokenizer_models.def"
#undef MODEL
};

const tok_model_row *tok_model_find(const char *type) {
    for (size_t i = 0; i < sizeof model_rows / sizeof *model_rows; i++)
        if (!strcmp(model_rows[i]->type, type)) return model_rows[i];
    return NULL;
}

/* --- work records --- */

mg_tok_work *tok_work_new(const mg_tokenizer *t) {
    mg_tok_work *w = mg_calloc(1, sizeof *w);
    if (!w) return NULL;
    w->t = t;
    w->regex = mg_regex_work_new();
    w->cache = mg_calloc(TOK_CACHE_SLOTS, sizeof *w->cache);
    if (w->regex && w->cache) return w;
    tok_work_free(w);
    return NULL;
}

void tok_work_free(mg_tok_work *w) {
    if (!w) return;
    mg_regex_work_free(w->regex);
    mg_buf_free(&w->lossy);
    for (int i = 0; i < 2; i++) mg_buf_free(&w->normal[i]);
    for (int i = 0; i < TOK_MAX_STAGES; i++) {
        mg_buf_free(&w->stage[i]);
        free(w->range[i]);
    }
    free(w->symbol);
    free(w->heap);
    free(w->cache);
    mg_mecab_close(w->mecab);
    free(w);
}

/* The pool is no part of what a constant tokenizer means, so const is cast away here. */
static mg_tok_work *take_work(const mg_tokenizer *t) {
    mg_tokenizer *own = (mg_tokenizer *)t;
    pthread_mutex_lock(&own->lock);
    mg_tok_work *w = own->pool;
    if (w) own->pool = w->next;
    pthread_mutex_unlock(&own->lock);
    return w ? w : tok_work_new(t);
}

static void give_work(const mg_tokenizer *t, mg_tok_work *w) {
    mg_tokenizer *own = (mg_tokenizer *)t;
    if (w->cap_symbol > TOK_KEPT_BYTES ||
        w->cap_heap > TOK_KEPT_BYTES) { /* a text like a book: rare, give it back */
        free(w->symbol);
        free(w->heap);
        w->symbol = w->heap = NULL;
        w->cap_symbol = w->cap_heap = 0;
    }
    pthread_mutex_lock(&own->lock);
    w->next = own->pool;
    own->pool = w;
    pthread_mutex_unlock(&own->lock);
}

/* --- encoding --- */

/* Through the normalizer, from buffer to buffer; *text is where the result stands. */
static mg_status normalize(mg_tok_work *w, const char **text, size_t *n, mg_buf *a, mg_buf *b) {
    const tok_chain *c = &w->t->normalizer;
    size_t           most = tok_growth_limit(*n);
    for (int i = 0; i < c->n; i++) {
        mg_buf *out = *text == a->data && a->data ? b : a;
        out->len = 0;
        mg_buf_add(out, "", 0);
        bool ok = c->stage[i].row->normalize(&c->stage[i], w, *text, *n, out);
        if (out->failed) return tok_no_memory(w->t, w->err);
        if (!ok || out->len > most)
            return mg_fail(w->err, MG_DATA, "%s: the normalizer takes too long on a text or makes it too long",
                           w->t->name);
        *text = out->data;
        *n = out->len;
    }
    return MG_OK;
}

mg_status tok_normalize_one(const mg_tokenizer *t, mg_tok_work **w, const char **text, size_t *n, mg_buf *a,
                            mg_buf *b, mg_error *err) {
    if (!*w) *w = tok_work_new(t);
    if (!*w) return tok_no_memory(t, err);
    (*w)->err = err;
    return normalize(*w, text, n, a, b);
}

static mg_status encode_part(mg_tok_work *w, const char *part, size_t n) {
    const mg_tokenizer *t = w->t;
    if (n > TOK_CACHE_KEY) return t->model_row->encode(t->model, w, part, n);
    tok_cached *c = &w->cache[tok_hash(part, n) & (TOK_CACHE_SLOTS - 1)];
    mg_ids     *ids = w->ids;
    if (c->len == n && !memcmp(c->key, part, n)) {
        if (!MG_GROW(ids->data, ids->cap, ids->len + TOK_CACHE_IDS)) return tok_no_memory(t, w->err);
        memcpy(ids->data + ids->len, c->id, sizeof c->id);
        ids->len += c->n;
        return MG_OK;
    }
    size_t    before = ids->len;
    mg_status st = t->model_row->encode(t->model, w, part, n);
    if (st || ids->len - before > TOK_CACHE_IDS) return st;
    c->len = (uint8_t)n;
    c->n = (uint8_t)(ids->len - before);
    memcpy(c->key, part, n);
    if (c->n) memcpy(c->id, ids->data + before, c->n * sizeof *c->id);
    return MG_OK;
}

mg_status tok_encode_word(mg_tok_work *w, const char *word, size_t n) {
    const tok_model_row *row = w->t->model_row;
    mg_status            st = MG_OK;
    while (n && !st) {
        size_t part = row->cut ? row->cut(w->t->model, word, n) : n;
        st = encode_part(w, word, part);
        word += part;
        n -= part;
    }
    return st;
}

/* Text between added tokens; `first` when it begins the whole text. */
static mg_status encode_gap(mg_tok_work *w, const char *text, size_t n, bool first, bool skip_special) {
    if (!n) return MG_OK;
    mg_status st = normalize(w, &text, &n, &w->normal[0], &w->normal[1]);
    tok_cut   cut = { .t = w->t, .trie = &w->t->normalized, .text = text, .n = n, .skip_special = skip_special };
    if (!st && !cut.trie->n) return n ? tok_pretokenize_from(w, 0, text, n, first) : MG_OK;
    for (bool more = true; more && !st;) {
        tok_piece p = tok_cut_next(&cut);
        if (p.end > p.begin) st = tok_pretokenize_from(w, 0, text + p.begin, p.end - p.begin, first && !p.begin);
        more = p.added >= 0;
        if (more && !st && !mg_ids_push(w->ids, w->t->added[p.added].id)) st = tok_no_memory(w->t, w->err);
    }
    return st;
}

static mg_status push_all(mg_tok_work *w, const tok_ids *ids) {
    for (size_t i = 0; i < ids->n; i++)
        if (!mg_ids_push(w->ids, ids->id[i])) return tok_no_memory(w->t, w->err);
    return MG_OK;
}

/* Special tokens found behind the normalizer, in a text or in what is left when the marked bytes are blanked out.
 */
static mg_status count_special(mg_tok_work *w, const char *text, const uint8_t *plain, size_t n, size_t *count) {
    mg_buf blank = { 0 };
    for (size_t i = 0; plain && i < n; i++) mg_buf_char(&blank, plain[i] ? '\n' : text[i]);
    mg_status st = blank.failed ? tok_no_memory(w->t, w->err) : MG_OK;
    if (plain) text = blank.data;
    if (!st) st = normalize(w, &text, &n, &w->normal[0], &w->normal[1]);
    tok_cut cut = { .t = w->t, .trie = &w->t->normalized, .text = text, .n = n };
    for (tok_piece p; !st && (p = tok_cut_next(&cut)).added >= 0;) *count += w->t->added[p.added].special;
    mg_buf_free(&blank);
    return st;
}

static bool any(const uint8_t *plain, size_t n) {
    for (size_t i = 0; plain && i < n; i++)
        if (plain[i]) return true;
    return false;
}

/* Tokens that are looked for behind the normalizer have no place in the text as it was.  In a gap that a user had
 * a hand in they are counted with and without the user's bytes: all the program's, they count; all the user's,
 * they do not; both, and nobody can tell which is which. */
static mg_status decide_gap(mg_tok_work *w, const char *text, const uint8_t *plain, size_t n, bool *skip_special) {
    size_t all = 0, own = 0;
    if (*skip_special || !w->t->normalized.n || !any(plain, n)) return MG_OK;
    mg_status st = count_special(w, text, NULL, n, &all);
    if (!st && all) st = count_special(w, text, plain, n, &own);
    if (st || own == all) return st;
    *skip_special = true;
    return !own ? MG_OK
                : mg_fail(w->err, MG_DATA,
                          "%s: a message spells a control token that cannot be told from the template's;"
                          " take it out of the message",
                          w->t->name);
}

static mg_status encode_text(mg_tok_work *w, const char *text, size_t n, const uint8_t *plain, bool skip_special) {
    tok_cut cut = {
        .t = w->t, .trie = &w->t->raw, .text = text, .n = n, .skip_special = skip_special, .plain = plain
    };
    mg_status st = MG_OK;
    for (bool more = true; more && !st;) {
        tok_piece p = tok_cut_next(&cut);
        bool      skip = skip_special;
        st = decide_gap(w, text + p.begin, plain ? plain + p.begin : NULL, p.end - p.begin, &skip);
        if (!st) st = encode_gap(w, text + p.begin, p.end - p.begin, p.begin == 0, skip);
        more = p.added >= 0;
        if (more && !st && !mg_ids_push(w->ids, w->t->added[p.added].id)) st = tok_no_memory(w->t, w->err);
    }
    return st;
}

mg_status mg_tokenize(const mg_tokenizer *t, const char *text, size_t n, unsigned flags, mg_ids *out,
                      mg_error *err) {
    return mg_tokenize_marked(t, text, n, NULL, flags, out, err);
}

mg_status mg_tokenize_marked(const mg_tokenizer *t, const char *text, size_t n, const uint8_t *plain,
                             unsigned flags, mg_ids *out, mg_error *err) {
    size_t before = out->len;
    if (n > INT32_MAX / 4)
        return mg_fail(err, MG_DATA, "%s: a text of %zu bytes, at most %d are encoded at once; cut it", t->name, n,
                       INT32_MAX / 4);
    mg_tok_work *w = take_work(t);
    if (!w) return tok_no_memory(t, err);
    w->ids = out;
    w->err = err;
    mg_status st = MG_OK;
    if (n && plain && !mg_utf8_valid(text, n)) st = mg_fail(err, MG_DATA, "%s: the text is not UTF-8", t->name);
    if (!st && n &&
        !mg_utf8_valid(text, n)) { /* a broken byte is U+FFFD, as when Python reads with errors="replace" */
        w->lossy.len = 0;
        mg_utf8_lossy(&w->lossy, text, n);
        if (w->lossy.failed) st = tok_no_memory(t, err);
        text = w->lossy.data;
        n = w->lossy.len;
    }
    if (!st && flags & MG_TOKENIZE_SPECIAL) st = push_all(w, &t->before);
    if (!st && n) st = encode_text(w, text, n, plain, !(flags & MG_TOKENIZE_PARSE));
    if (!st && flags & MG_TOKENIZE_SPECIAL) st = push_all(w, &t->behind);
    if (st) {
        out->len = before;
        tok_work_free(w); /* its buffers may have failed */
    } else
        give_work(t, w);
    return st;
}

/* --- building --- */

mg_tokenizer *tok_new(const char *name) {
    mg_tokenizer *t = mg_calloc(1, sizeof *t);
    if (!t) return NULL;
    t->name = mg_strdup(name);
    t->bos = t->eos = t->pad = t->unk = -1;
    pthread_mutex_init(&t->lock, NULL);
    if (t->name) return t;
    mg_tokenizer_free(t);
    return NULL;
}

void mg_tokenizer_free(mg_tokenizer *t) {
    if (!t) return;
    while (t->pool) {
        mg_tok_work *w = t->pool;
        t->pool = w->next;
        tok_work_free(w);
    }
    if (t->model_row && t->model) t->model_row->free(t->model);
    tok_vocab_free(&t->vocab);
    tok_chain_free(&t->normalizer);
    tok_chain_free(&t->pretokenizer);
    tok_chain_free(&t->decoder);
    free(t->raw.node);
    free(t->normalized.node);
    free(t->added);
    free(t->special);
    free(t->outside);
    free(t->post_json);
    free(t->before.id);
    free(t->behind.id);
    free(t->name);
    free(t->pre);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

mg_status tok_set_components(mg_tokenizer *t, yyjson_val *normalizer, yyjson_val *pretokenizer,
                             yyjson_val *decoder, mg_error *err) {
    mg_status st =
        tok_chain_parse(&t->normalizer, tok_normalizers, "normalizers", normalizer, "normalizer", t->name, err);
    if (!st)
        st = tok_chain_parse(&t->pretokenizer, tok_pretokenizers, "pretokenizers", pretokenizer, "pre-tokenizer",
                             t->name, err);
    if (!st) st = tok_chain_parse(&t->decoder, tok_decoders, "decoders", decoder, "decoder", t->name, err);
    return st;
}

mg_status tok_add(mg_tokenizer *t, tok_added token, mg_error *err) {
    if (!token.len) return MG_OK; /* Hugging Face skips these, too */
    int32_t known = tok_vocab_find(&t->vocab, token.text, token.len);
    if (known < 0) {
        mg_status st = tok_vocab_add(&t->vocab, token.id, token.text, token.len, t->name, err);
        if (st) return st;
        known = token.id;
    }
    token.id = known;
    token.text = t->vocab.text[known];
    if (!MG_GROW(t->added, t->cap_added, t->n_added + 1)) return tok_no_memory(t, err);
    t->added[t->n_added++] = token;
    return MG_OK;
}

mg_status tok_finish(mg_tokenizer *t, mg_error *err) {
    t->special = mg_calloc(t->vocab.n, 1);
    if (!t->special) return tok_no_memory(t, err);
    for (size_t i = 0; i < t->n_added; i++)
        if (t->added[i].special) t->special[t->added[i].id] = 1;
    if (t->bos < 0 && t->before.n) t->bos = t->before.id[0];
    if (t->eos < 0 && t->behind.n) t->eos = t->behind.id[t->behind.n - 1];
    mg_status st = t->model_row->forbid(t, t->special, err);
    return st ? st : tok_trie_build(t, err);
}

/* --- questions --- */

int32_t mg_tokenizer_size(const mg_tokenizer *t) { return (int32_t)t->vocab.n; }

int32_t mg_tokenizer_id(const mg_tokenizer *t, const char *token) {
    return tok_vocab_find(&t->vocab, token, strlen(token));
}

const char *mg_tokenizer_token(const mg_tokenizer *t, int32_t id, size_t *len) {
    if (id < 0 || (size_t)id >= t->vocab.n || !t->vocab.text[id]) return NULL;
    if (len) *len = t->vocab.len[id];
    return t->vocab.text[id];
}

bool mg_tokenizer_is_special(const mg_tokenizer *t, int32_t id) {
    return id >= 0 && (size_t)id < t->vocab.n && t->special[id];
}

int32_t mg_tokenizer_bos(const mg_tokenizer *t) { return t->bos; }
int32_t mg_tokenizer_eos(const mg_tokenizer *t) { return t->eos; }
int32_t mg_tokenizer_pad(const mg_tokenizer *t) { return t->pad; }
int32_t mg_tokenizer_unk(const mg_tokenizer *t) { return t->unk; }

bool mg_tokenizer_adds_bos(const mg_tokenizer *t) {
    return t->bos >= 0 && t->before.n && t->before.id[0] == t->bos;
}

const char *mg_tokenizer_kind(const mg_tokenizer *t) { return t->model_row->kind(t); }
