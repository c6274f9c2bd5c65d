/* tokenizer_trie.h -- all tokens that begin at a place of a text, in one walk.
 *
 * A double array (Aoe, 1989): the child of node s for byte b is at base[s] ^ b and names s as its parent, so a step is
 * one look at one record. */
#ifndef MG_TEXT_TOKENIZER_TRIE_H
#define MG_TEXT_TOKENIZER_TRIE_H

#include "text/tokenizer_impl.h"

typedef struct tok_step {
    int32_t base, parent, id; /* parent -1: free; id -1: no token ends here */
} tok_step;

typedef struct tok_walk {
    tok_step *step; /* [n], the root is 0 */
    size_t    n;
} tok_walk;

/* From the vocabulary's tokens with ids below n that `skip` (by id, or NULL) does not name; false: no memory. */
bool tok_walk_build(tok_walk *w, const tok_vocab *v, size_t n, const uint8_t *skip);
void tok_walk_free(tok_walk *w);

/* The node behind `node` for a byte, -1: none. */
static inline int32_t tok_walk_next(const tok_walk *w, int32_t node, uint8_t byte) {
    int32_t child = w->step[node].base ^ byte;
    return w->step[child].parent == node ? child : -1;
}

#endif
