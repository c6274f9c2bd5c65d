/* tokenizer_bpe.c -- byte-pair encoding, with merges from a list or from scores.
 *
 * Of all neighbouring pairs in a word the one with the best rank merges, the
 * leftmost of equals, until none can.  Short words look for the best pair by
 * running over all of them; long ones keep a heap, whose stale entries are told
 * by their key: a million characters without a space take a second.
 *
 * Merges from scores are never listed: two neighbours merge when the text that
 * they cover is a token, and the rank is computed from its score.  That is what
 * transformers' conversion of SentencePiece models does ahead of time (sort by
 * score, then length of the left and the right part, all descending), and it
 * saves building 500,000 merges each time a program starts.
 *
 * Where no token has the SentencePiece space behind another character, no merge
 * crosses such a place, so a text without pre-tokenizer is cut into words
 * there without changing the result. */
#include "text/tokenizer_bpe.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FEW_SYMBOLS = 32 };

typedef struct {
    uint64_t a, b; /* b: tie << 32 | position */
} heap_entry;


/* --- ranks --- */

/* Most neighbours are no pair of the list: the bits, which the second-level cache holds, say so without a look at
 * the table, which it does not. */
static inline uint64_t maybe_bit(const tok_bpe *m, int32_t left, int32_t right) {
    return tok_bpe_pair_hash(left, right) >> 24 & (4 * m->pairs - 1);
}

static inline bool is_no_pair(const tok_bpe *m, int32_t left, int32_t right) {
    uint64_t bit = maybe_bit(m, left, right);
    return !(m->maybe[bit / 64] >> bit % 64 & 1);
}

static inline tok_pair_key no_pair(void) { return (tok_pair_key){ UINT64_MAX, UINT32_MAX, -1 }; }

tok_pair_key tok_bpe_scored_key(const tok_bpe *m, const char *word, const tok_symbol *l, const tok_symbol *r) {
    const tok_vocab *v = m->vocab;
    /* a byte or the unknown token does not spell what it covers, and never merges */
    if (v->len[l->id] != l->end - l->begin || v->len[r->id] != r->end - r->begin) return no_pair();
    if (l->id == m->unk || r->id == m->unk) return no_pair();
    int32_t id = tok_vocab_find(v, word + l->begin, r->end - l->begin);
    if (id < 0) return no_pair();
    uint64_t score = (uint64_t)m->order[id] << 32;
    if (m->ids_break_ties) return (tok_pair_key){ score | (uint32_t)id, (uint32_t)l->id, id };
    uint64_t lengths = (uint64_t)(0xffff - m->chars[l->id]) << 16 | (uint64_t)(0xffff - m->chars[r->id]);
    return (tok_pair_key){ score | lengths, (uint32_t)id, id };
}

static inline tok_pair_key key_of(const tok_bpe *m, const char *word, const tok_symbol *l, const tok_symbol *r) {
    if (!m->pair) {
        tok_pair_key key = tok_bpe_scored_key(m, word, l, r);
        return key.merged >= 0 && m->special[key.merged] ? no_pair() : key;
    }
    if (is_no_pair(m, l->id, r->id)) return no_pair();
    const tok_pair *s = tok_bpe_find_pair(m, l->id, r->id);
    return s->left < 0 || s->merged < 0 ? no_pair() : (tok_pair_key){ s->rank, 0, s->merged };
}

/* --- encoding --- */

/* The id of the character at `at`, with the affixes that its place asks for. */
static int32_t character_id(const tok_bpe *m, const char *word, size_t at, size_t len, size_t n) {
    uint32_t c;
    bool     affix = (m->prefix && at) || (m->suffix && at + len == n);
    if (!affix) {
        mg_utf8_next(word + at, len, &c);
        return c < TOK_BMP ? m->char_id[c] : tok_vocab_find(m->vocab, word + at, len);
    }
    mg_buf  text = { 0 };
    int32_t id = -1;
    if (m->prefix && at) mg_buf_add(&text, m->prefix, m->prefix_len);
    mg_buf_add(&text, word + at, len);
    if (m->suffix && at + len == n) mg_buf_add(&text, m->suffix, m->suffix_len);
    if (!text.failed) id = tok_vocab_find(m->vocab, text.data, text.len);
    mg_buf_free(&text);
    return id;
}

static bool has_bytes(const tok_bpe *m, const char *s, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (m->byte_id[(uint8_t)s[i]] < 0) return false;
    return true;
}

/* Cut the word into single characters; at most n symbols. */
static size_t first_symbols(const tok_bpe *m, tok_symbol *s, const char *word, size_t n) {
    size_t count = 0, unk_begin = 0, unk_end = 0; /* unknown characters wait, they may fuse */
    bool   waiting = false;
    for (size_t i = 0, len; i < n; i += len) {
        len = mg_utf8_width(word[i]);
        int32_t id = character_id(m, word, i, len, n);
        if (id < 0 && m->byte_fallback && has_bytes(m, word + i, len)) {
            for (size_t j = i; j < i + len; j++)
                s[count++] =
                    (tok_symbol){ .id = m->byte_id[(uint8_t)word[j]], .begin = (uint32_t)j, .end = (uint32_t)j + 1 };
            continue;
        }
        bool fuses = id < 0 && waiting && m->fuse_unk;
        if (waiting && !fuses && (id >= 0 || m->unk >= 0)) {
            s[count++] = (tok_symbol){ .id = m->unk, .begin = (uint32_t)unk_begin, .end = (uint32_t)unk_end };
            waiting = false;
        }
        if (id >= 0)
            s[count++] = (tok_symbol){ .id = id, .begin = (uint32_t)i, .end = (uint32_t)(i + len) };
        else if (m->unk >= 0) { /* without an unknown token the character is dropped */
            if (!waiting) unk_begin = i;
            unk_end = i + len;
            waiting = true;
        }
    }
    if (waiting) s[count++] = (tok_symbol){ .id = m->unk, .begin = (uint32_t)unk_begin, .end = (uint32_t)unk_end };
    return count;
}

static bool better(const tok_pair_key *x, const tok_pair_key *y) {
    return x->a < y->a || (x->a == y->a && x->b < y->b);
}

static size_t merge_few(const tok_bpe *m, tok_symbol *s, size_t n, const char *word) {
    for (size_t i = 0; i + 1 < n; i++) s[i].key = key_of(m, word, &s[i], &s[i + 1]);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (better(&s[i].key, &s[best].key)) best = i;
        if (s[best].key.merged < 0) break;
        s[best].id = s[best].key.merged;
        s[best].end = s[best + 1].end;
        memmove(s + best + 1, s + best + 2, (n - best - 2) * sizeof *s);
        n--;
        if (best + 1 < n) s[best].key = key_of(m, word, &s[best], &s[best + 1]);
        if (best) s[best - 1].key = key_of(m, word, &s[best - 1], &s[best]);
    }
    return n;
}

static bool entry_before(heap_entry x, heap_entry y) { return x.a < y.a || (x.a == y.a && x.b < y.b); }

static void sink(heap_entry *h, size_t n, size_t i) {
    heap_entry e = h[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && entry_before(h[child + 1], h[child])) child++;
        if (!entry_before(h[child], e)) break;
        h[i] = h[child];
    }
    h[i] = e;
}

static void rise(heap_entry *h, size_t i) {
    heap_entry e = h[i];
    for (; i && entry_before(e, h[(i - 1) / 2]); i = (i - 1) / 2) h[i] = h[(i - 1) / 2];
    h[i] = e;
}

static heap_entry entry_of(const tok_symbol *s, size_t at) {
    return (heap_entry){ s[at].key.a, (uint64_t)s[at].key.b << 32 | at };
}

typedef struct {
    const tok_bpe *m;
    const char    *word;
    tok_symbol    *s;
    heap_entry    *heap; /* room for 3 entries a symbol: one at the start, two a merge */
    size_t         entries;
} long_word;

static void renew_pair(long_word *l, int32_t at) {
    if (at < 0) return;
    tok_symbol *s = &l->s[at];
    s->key = s->next < 0 ? no_pair() : key_of(l->m, l->word, s, &l->s[s->next]);
    if (s->key.merged < 0) return;
    l->heap[l->entries] = entry_of(l->s, (size_t)at);
    rise(l->heap, l->entries++);
}

static void merge_many(long_word *l, size_t n) {
    tok_symbol *s = l->s;
    for (size_t i = 0; i < n; i++) {
        s[i].prev = (int32_t)i - 1;
        s[i].next = i + 1 < n ? (int32_t)i + 1 : -1;
        s[i].key = i + 1 < n ? key_of(l->m, l->word, &s[i], &s[i + 1]) : no_pair();
        if (s[i].key.merged >= 0) l->heap[l->entries++] = entry_of(s, i);
    }
    for (size_t i = l->entries / 2; i-- > 0;) sink(l->heap, l->entries, i);
    while (l->entries) {
        heap_entry top = l->heap[0];
        l->heap[0] = l->heap[--l->entries];
        if (l->entries) sink(l->heap, l->entries, 0);
        size_t     at = (size_t)(uint32_t)top.b;
        heap_entry now = entry_of(s, at);
        if (s[at].id < 0 || s[at].key.merged < 0 || now.a != top.a || now.b != top.b) continue; /* stale */
        int32_t gone = s[at].next;
        s[at].id = s[at].key.merged;
        s[at].end = s[gone].end;
        s[at].next = s[gone].next;
        s[gone].id = -1;
        if (s[at].next >= 0) s[s[at].next].prev = (int32_t)at;
        renew_pair(l, (int32_t)at);
        renew_pair(l, s[at].prev);
    }
}

static mg_status push_symbols(mg_tok_work *w, const tok_symbol *s, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (s[i].id >= 0 && !mg_ids_push(w->ids, s[i].id)) return tok_no_memory(w->t, w->err);
    return MG_OK;
}

static mg_status encode(const void *model, mg_tok_work *w, const char *word, size_t n) {
    const tok_bpe *m = model;
    tok_symbol     few[FEW_SYMBOLS];
    if (m->ignore_merges) {
        int32_t whole = tok_vocab_find(m->vocab, word, n);
        if (whole >= 0 && !m->special[whole])
            return mg_ids_push(w->ids, whole) ? MG_OK : tok_no_memory(w->t, w->err);
    }
    if (n <= FEW_SYMBOLS) return push_symbols(w, few, merge_few(m, few, first_symbols(m, few, word, n), word));
    if (!tok_room(&w->symbol, &w->cap_symbol, n, sizeof(tok_symbol))) return tok_no_memory(w->t, w->err);
    tok_symbol *s = w->symbol;
    size_t  count = first_symbols(m, s, word, n);
    if (count <= FEW_SYMBOLS) return push_symbols(w, s, merge_few(m, s, count, word));
    if (!tok_room(&w->heap, &w->cap_heap, 3 * count, sizeof(heap_entry))) return tok_no_memory(w->t, w->err);
    long_word l = { m, word, s, w->heap, 0 };
    merge_many(&l, count);
    return push_symbols(w, s, count);
}

static size_t cut(const void *model, const char *word, size_t n) {
    const tok_bpe *m = model;
    if (!m->cuts) return n;
    for (const char *p = word + 1; (size_t)(p - word) < n; p++) {
        p = memmem(p, n - (size_t)(p - word), TOK_SPACE_MARK, 3);
        if (!p) break;
        if (!m->glue[(uint8_t)p[-1]]) return (size_t)(p - word);
    }
    return n;
}

/* --- building --- */

static void free_bpe(void *model) {
    tok_bpe *m = model;
    free(m->pair);
    free(m->maybe);
    free(m->order);
    free(m->chars);
    free(m->special);
    free(m->prefix);
    free(m->suffix);
    free(m);
}

/* A file lists merges up to "</s>", too, and a user may have typed that. */
static mg_status forbid(mg_tokenizer *t, const uint8_t *special, mg_error *err) {
    tok_bpe *m = t->model;
    m->special = mg_calloc(t->vocab.n, 1);
    if (!m->special) return tok_no_memory(t, err);
    memcpy(m->special, special, t->vocab.n);
    for (size_t i = 0; i < m->pairs; i++)
        if (m->pair[i].left >= 0 && special[m->pair[i].merged]) m->pair[i].merged = ~m->pair[i].merged;
    return MG_OK;
}

/* An empty model over the tokenizer's vocabulary, owned by the tokenizer. */
static tok_bpe *new_bpe(mg_tokenizer *t) {
    tok_bpe *m = mg_calloc(1, sizeof *m);
    if (!m) return NULL;
    t->model_row = &tok_model_bpe;
    t->model = m;
    m->vocab = &t->vocab;
    m->unk = -1;
    memset(m->char_id, 0xff, sizeof m->char_id);
    for (int b = 0; b < 256; b++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", (unsigned)b);
        m->byte_id[b] = tok_vocab_find(&t->vocab, text, 6);
    }
    for (size_t id = 0; id < t->vocab.n; id++) {
        const char *s = t->vocab.text[id];
        uint32_t    c;
        if (s && t->vocab.len[id] && t->vocab.len[id] <= 3 && mg_utf8_width(*s) == t->vocab.len[id]) {
            mg_utf8_next(s, t->vocab.len[id], &c);
            m->char_id[c] = (int32_t)id;
        }
    }
    return m;
}

/* Note where the space stands inside of a token that merging can make. */
static void note_glue(tok_bpe *m, int32_t id) {
    const char *s = m->vocab->text[id], *end = s + m->vocab->len[id];
    for (const char *p = s + 1; end - p >= 3 && (p = memmem(p, (size_t)(end - p), TOK_SPACE_MARK, 3)); p++)
        m->glue[(uint8_t)p[-1]] = 1;
}

static void allow_cuts(tok_bpe *m) {
    m->cuts = !m->ignore_merges && !m->prefix && !m->suffix && m->char_id[0x2581] >= 0;
}

mg_status tok_bpe_from_scores(mg_tokenizer *t, const float *score, int32_t unk, bool ids_break_ties,
                              mg_error *err) {
    tok_bpe *m = new_bpe(t);
    if (!m) return tok_no_memory(t, err);
    size_t n = t->vocab.n;
    m->order = mg_calloc(n, sizeof *m->order);
    m->chars = mg_calloc(n, sizeof *m->chars);
    if (!m->order || !m->chars) return tok_no_memory(t, err);
    m->unk = unk;
    m->ids_break_ties = ids_break_ties;
    m->byte_fallback = m->fuse_unk = true;
    for (size_t id = 0; id < n; id++) {
        uint32_t bits;
        if (!t->vocab.text[id]) continue;
        if (isnan(score[id]))
            return mg_fail(err, MG_FORMAT, "%s: the score of token %zu is not a number", t->name, id);
        float value = score[id] + 0.0f; /* -0 becomes 0 */
        memcpy(&bits, &value, sizeof bits);
        m->order[id] = bits >> 31 ? bits : ~bits & 0x7fffffff; /* so that greater scores come first */
        m->chars[id] = (uint16_t)mg_utf8_count(t->vocab.text[id], t->vocab.len[id]);
        note_glue(m, (int32_t)id);
    }
    allow_cuts(m);
    return MG_OK;
}

static mg_status reserve_pairs(tok_bpe *m, const mg_tokenizer *t, size_t n, mg_error *err) {
    if (n > UINT32_MAX / 4) return mg_fail(err, MG_FORMAT, "%s: %zu merges are too many", t->name, n);
    for (m->pairs = 64; m->pairs < 2 * n;) m->pairs *= 2;
    m->pair = mg_calloc(m->pairs, sizeof *m->pair);
    m->maybe = mg_calloc(m->pairs / 16, sizeof *m->maybe);
    if (!m->pair || !m->maybe) return tok_no_memory(t, err);
    memset(m->pair, 0xff, m->pairs * sizeof *m->pair);
    m->n_merges = n;
    return MG_OK;
}

static mg_status add_merge(tok_bpe *m, const mg_tokenizer *t, size_t rank, const char *l, size_t ln, const char *r,
                           size_t rn, mg_error *err) {
    char    small[256], *text = small;
    int32_t left = tok_vocab_find(m->vocab, l, ln), right = tok_vocab_find(m->vocab, r, rn), merged = -1;
    size_t  skip = m->prefix_len < rn ? m->prefix_len : rn; /* the prefix of what continues a word goes */
    if (ln + rn > sizeof small && !(text = mg_calloc(ln + rn, 1))) return tok_no_memory(t, err);
    memcpy(text, l, ln);
    memcpy(text + ln, r + skip, rn - skip);
    if (left >= 0 && right >= 0) merged = tok_vocab_find(m->vocab, text, ln + rn - skip);
    if (text != small) free(text);
    if (merged < 0)
        return mg_fail(err, MG_FORMAT, "%s: merge %zu, '%.*s' and '%.*s', is about text that is no token", t->name,
                       rank, (int)(ln < 80 ? ln : 80), l, (int)(rn < 80 ? rn : 80), r);
    uint64_t bit = maybe_bit(m, left, right);
    m->maybe[bit / 64] |= (uint64_t)1 << bit % 64;
    *tok_bpe_find_pair(m, left, right) =
        (tok_pair){ left, right, (uint32_t)rank, merged }; /* the last of equals counts */
    note_glue(m, merged);
    return MG_OK;
}

/* "left right" */
static mg_status add_merge_line(tok_bpe *m, const mg_tokenizer *t, size_t rank, const char *s, size_t n,
                                mg_error *err) {
    const char *space = memchr(s, ' ', n);
    if (!space || memchr(space + 1, ' ', n - (size_t)(space + 1 - s)))
        return mg_fail(err, MG_FORMAT, "%s: merge %zu, '%.*s', is not two tokens and a space between", t->name,
                       rank, (int)(n < 80 ? n : 80), s);
    size_t ln = (size_t)(space - s);
    return add_merge(m, t, rank, s, ln, space + 1, n - ln - 1, err);
}

mg_status tok_bpe_from_merges(mg_tokenizer *t, const char *const *merge, const size_t *len, size_t n,
                              bool ignore_merges, mg_error *err) {
    tok_bpe *m = new_bpe(t);
    if (!m) return tok_no_memory(t, err);
    m->ignore_merges = ignore_merges;
    mg_status st = reserve_pairs(m, t, n, err);
    for (size_t i = 0; i < n && !st; i++) st = add_merge_line(m, t, i, merge[i], len[i], err);
    return st;
}

static mg_status parse_affix(char **out, size_t *n, yyjson_val *config, const char *key, const mg_tokenizer *t,
                             mg_error *err) {
    yyjson_val *v = yyjson_obj_get(config, key);
    if (!yyjson_is_str(v) || !yyjson_get_len(v)) return MG_OK;
    return tok_parse_string(out, n, config, key, t->name, err);
}

static mg_status parse_merges(tok_bpe *m, const mg_tokenizer *t, yyjson_val *merges, mg_error *err) {
    yyjson_val *item;
    size_t      i, n;
    if (!yyjson_is_arr(merges)) return mg_fail(err, MG_FORMAT, "%s: the BPE model has no list of merges", t->name);
    mg_status st = reserve_pairs(m, t, yyjson_arr_size(merges), err);
    if (st) return st;
    yyjson_arr_foreach(merges, i, n, item) {
        yyjson_val *l = yyjson_arr_get(item, 0), *r = yyjson_arr_get(item, 1);
        if (yyjson_is_str(item))
            st = add_merge_line(m, t, i, yyjson_get_str(item), yyjson_get_len(item), err);
        else if (yyjson_is_str(l) && yyjson_is_str(r) && yyjson_arr_size(item) == 2)
            st = add_merge(m, t, i, yyjson_get_str(l), yyjson_get_len(l), yyjson_get_str(r), yyjson_get_len(r),
                           err);
        else
            st = mg_fail(err, MG_FORMAT, "%s: merge %zu is neither a string nor two strings", t->name, i);
        if (st) return st;
    }
    return MG_OK;
}

static mg_status parse(mg_tokenizer *t, yyjson_val *config, mg_error *err) {
    yyjson_val *dropout = yyjson_obj_get(config, "dropout"), *unk = yyjson_obj_get(config, "unk_token");
    mg_status   st = tok_vocab_parse(t, yyjson_obj_get(config, "vocab"), err);
    tok_bpe    *m = st ? NULL : new_bpe(t);
    if (st) return st;
    if (!m) return tok_no_memory(t, err);
    if (yyjson_is_num(dropout) && yyjson_get_num(dropout) > 0)
        return mg_fail(err, MG_UNSUPPORTED,
                       "%s: merges are dropped at random (dropout %g); set \"dropout\" to null", t->name,
                       yyjson_get_num(dropout));
    m->byte_fallback = tok_parse_bool(config, "byte_fallback", false);
    m->fuse_unk = tok_parse_bool(config, "fuse_unk", false);
    m->ignore_merges = tok_parse_bool(config, "ignore_merges", false);
    st = parse_affix(&m->prefix, &m->prefix_len, config, "continuing_subword_prefix", t, err);
    if (!st) st = parse_affix(&m->suffix, &m->suffix_len, config, "end_of_word_suffix", t, err);
    if (!st && yyjson_is_str(unk)) {
        m->unk = tok_vocab_find(&t->vocab, yyjson_get_str(unk), yyjson_get_len(unk));
        if (m->unk < 0)
            return mg_fail(err, MG_FORMAT, "%s: the unknown token '%.80s' is not in the vocabulary", t->name,
                           yyjson_get_str(unk));
        t->unk = m->unk;
    }
    if (!st) st = parse_merges(m, t, yyjson_obj_get(config, "merges"), err);
    if (!st) allow_cuts(m);
    return st;
}

bool tok_is_byte_level(const mg_tokenizer *t) {
    for (int i = 0; i < t->pretokenizer.n; i++)
        if (!strcmp(t->pretokenizer.stage[i].row->type, "ByteLevel")) return true;
    return false;
}

static const char *kind(const mg_tokenizer *t) {
    if (tok_is_byte_level(t)) return "byte-level BPE";
    return ((const tok_bpe *)t->model)->byte_fallback ? "SentencePiece BPE" : "BPE";
}

static void gguf_text(const mg_tokenizer *t, int32_t id, int32_t type, mg_buf *out) {
    tok_gguf_blanks(t, id, tok_is_byte_level(t) ? TOK_GGUF_NORMAL : type, out);
}

const tok_model_row tok_model_bpe = {
    .type = "BPE",
    .kind = kind,
    .parse = parse,
    .encode = encode,
    .cut = cut,
    .forbid = forbid,
    .write = tok_bpe_write,
    .to_gguf = tok_bpe_to_gguf,
    .gguf_text = gguf_text,
    .free = free_bpe,
};
