/* tokenizer_added.c -- finding added tokens in text.
 *
 * The leftmost match counts, and of those the longest, as with the Aho-Corasick
 * automaton in Hugging Face tokenizers.  A plain trie tried at every position
 * is enough: nearly every position fails at the table of first bytes. */
#include "text/tokenizer_impl.h"

#include <stdlib.h>
#include <string.h>

static int32_t find_child(const tok_trie *t, int32_t first, char byte) {
    while (first >= 0 && t->node[first].byte != byte) first = t->node[first].sibling;
    return first;
}

static bool trie_add(tok_trie *t, const char *s, size_t n, int32_t added) {
    int32_t *link = &t->root[(uint8_t)s[0]];
    for (size_t i = 0; i < n; i++) {
        int32_t at = find_child(t, *link, s[i]);
        if (at < 0) {
            size_t where = (size_t)((char *)link - (char *)t->node); /* growing may move the link */
            bool   in_root = i == 0;
            if (!MG_GROW(t->node, t->cap, t->n + 1)) return false;
            if (!in_root) link = (int32_t *)(void *)((char *)t->node + where);
            at = (int32_t)t->n++;
            t->node[at] = (tok_trie_node){ .child = -1, .sibling = *link, .added = -1, .byte = s[i] };
            *link = at;
        }
        if (i + 1 == n)
            t->node[at].added = added; /* equal texts: the later one, as in a map */
        else
            link = &t->node[at].child;
    }
    return true;
}

mg_status tok_trie_build(mg_tokenizer *t, mg_error *err) {
    mg_status    st = MG_OK;
    mg_buf       text = { 0 }, other = { 0 };
    mg_tok_work *w = NULL;
    memset(t->raw.root, 0xff, sizeof t->raw.root);
    memset(t->normalized.root, 0xff, sizeof t->normalized.root);
    for (size_t i = 0; i < t->n_added && !st; i++) {
        const tok_added *a = &t->added[i];
        const char      *s = a->text;
        size_t           n = a->len;
        if (a->normalized) st = tok_normalize_one(t, &w, &s, &n, &text, &other, err);
        if (!st && n && !trie_add(a->normalized ? &t->normalized : &t->raw, s, n, (int32_t)i))
            st = tok_no_memory(t, err);
    }
    tok_work_free(w);
    mg_buf_free(&text);
    mg_buf_free(&other);
    return st;
}

static bool trie_find(const tok_cut *c, size_t *begin, size_t *end, int32_t *added) {
    const tok_trie *t = c->trie;
    for (size_t i = c->at; i < c->n; i++) {
        int32_t at = t->root[(uint8_t)c->text[i]];
        *added = -1;
        for (size_t j = i; at >= 0;) {
            if (t->node[at].added >= 0) {
                *added = t->node[at].added;
                *end = j + 1;
            }
            if (++j == c->n) break;
            at = find_child(t, t->node[at].child, c->text[j]);
        }
        if (*added >= 0) {
            *begin = i;
            return true;
        }
    }
    return false;
}

static size_t previous(const char *s, size_t at) {
    do at--;
    while (at > 0 && ((unsigned char)s[at] & 0xc0) == 0x80);
    return at;
}

/* Does a word character end before `begin`, or begin at `end`? */
static bool touches_word(const tok_cut *c, size_t begin, size_t end) {
    uint32_t before = ' ', behind = ' ';
    if (begin > 0) {
        size_t at = previous(c->text, begin);
        mg_utf8_next(c->text + at, begin - at, &before);
    }
    if (end < c->n) mg_utf8_next(c->text + end, c->n - end, &behind);
    return mg_char_is_word(before) || mg_char_is_word(behind);
}

static size_t spaces_before(const tok_cut *c, size_t begin) {
    while (begin > c->gap) {
        uint32_t ch;
        size_t   at = previous(c->text, begin);
        mg_utf8_next(c->text + at, begin - at, &ch);
        if (!mg_char_is_space(ch)) break;
        begin = at;
    }
    return begin;
}

static size_t spaces_behind(const tok_cut *c, size_t end) {
    while (end < c->n) {
        uint32_t ch;
        size_t   len = mg_utf8_next(c->text + end, c->n - end, &ch);
        if (!mg_char_is_space(ch)) break;
        end += len;
    }
    return end;
}

static bool touches_plain(const tok_cut *c, size_t begin, size_t end) {
    for (size_t i = begin; c->plain && i < end; i++)
        if (c->plain[i]) return true;
    return false;
}

tok_piece tok_cut_next(tok_cut *c) {
    size_t  begin, end;
    int32_t added;
    while (trie_find(c, &begin, &end, &added)) {
        const tok_added *a = &c->t->added[added];
        c->at = end; /* matches do not overlap, a refused one hides what it covers */
        if (a->special && (c->skip_special || touches_plain(c, begin, end))) continue;
        if (a->single_word && touches_word(c, begin, end)) continue;
        if (begin < c->gap) begin = c->gap; /* the spaces that the token before took */
        if (a->lstrip) begin = spaces_before(c, begin);
        if (a->rstrip) end = spaces_behind(c, end);
        tok_piece piece = { c->gap, begin, added };
        c->gap = end > c->gap ? end : c->gap;
        return piece;
    }
    tok_piece rest = { c->gap, c->n, -1 };
    c->gap = c->at = c->n;
    return rest;
}
