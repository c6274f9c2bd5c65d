/* mecab.h -- Japanese words, by MeCab and a dictionary of the ipadic family.
 *
 * BLEU's ja-mecab tokenizer, ROUGE over Japanese words and the word-piece tokenizers of Japanese BERT models all stand
 * on the same splits, so the dictionary is part of the authority: the build makes it from mecab-ipadic's sources
 * without the one word that Debian added (tools/dictionary.sh), and then holds the 392,126 words of the reference. */
#ifndef MG_TEXT_MECAB_H
#define MG_TEXT_MECAB_H

#include "base/mem.h"

typedef struct mg_mecab mg_mecab;

/* A part of a text, in bytes. */
typedef struct mg_place {
    size_t at, len;
} mg_place;

typedef struct mg_spans {
    mg_place *span;
    size_t   n, cap;
} mg_spans;
void mg_spans_free(mg_spans *s);

/* Open the dictionary in a folder; NULL means mg_mecab_folder().  MG_LIBRARY: it is not there, is not UTF-8 or MeCab
 * refuses it.  One handle serves one thread at a time. */
mg_status mg_mecab_open(mg_mecab **out, const char *folder, mg_error *err);
void      mg_mecab_close(mg_mecab *m);

/* The folder to use when none is named, static: $MIGAKI_MECAB_DICT, else share/migaki/ipadic beside the program, else
 * Debian's; the first that holds a sys.dic, NULL when none does. */
const char *mg_mecab_folder(void);

/* "0.996-IPA", the way sacreBLEU signs. */
const char *mg_mecab_signature(const mg_mecab *m);
/* How many words the dictionary holds. */
size_t mg_mecab_words(const mg_mecab *m);

/* Append the words of `text` (n bytes of UTF-8) to `out` in order.  White space between words belongs to none, and
 * an ideographic space is a word.  On failure (MG_NOMEM, MG_LIBRARY) `out` is as it was. */
mg_status mg_mecab_split(mg_mecab *m, const char *text, size_t n, mg_spans *out, mg_error *err);

#endif
