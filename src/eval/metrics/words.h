/* words.h -- texts into the words that scores count, exactly as sacreBLEU 2.6.0 and rouge_score split them.
 *
 * A score is only comparable with its tokenizer.  13a and intl take Japanese, which has no spaces, for one long word:
 * two identical Japanese sentences score 0.0 there, because no 2-gram exists.  mg_splitter_for therefore looks at the
 * texts and never answers 13a for Japanese. */
#ifndef MG_EVAL_METRICS_WORDS_H
#define MG_EVAL_METRICS_WORDS_H

#include "text/mecab.h"

/* The words of one text: spans of `text`. */
typedef struct mg_words {
    mg_buf   text;
    mg_spans at;
} mg_words;
void mg_words_free(mg_words *w);

typedef struct mg_word_work { /* what a splitter may need; zero-initialise */
    mg_buf    pass[2];
    mg_spans  spans;
    mg_mecab *mecab;
} mg_word_work;
void mg_word_work_close(mg_word_work *w);

typedef struct mg_splitter {
    const char *name;    /* "13a", as in --tokenize */
    const char *suits;   /* what it is for, MG_N */
    bool        mecab;   /* needs the dictionary */
    bool        asian;   /* splits Japanese and Chinese */
    /* Append to w->at and w->text; `text` is valid UTF-8. */
    mg_status (*split)(mg_word_work *work, const char *text, size_t n, mg_words *w, mg_error *err);
} mg_splitter;

extern const mg_splitter *const mg_splitters[]; /* NULL-terminated, in the order of words.def */
const mg_splitter *mg_splitter_find(const char *name); /* NULL: none */

/* What to use for texts in an unknown language: ja-mecab as soon as there is kana, zh for Han without kana, else
 * `otherwise` ("13a", "rouge"). */
const mg_splitter *mg_splitter_for(const char *const *text, size_t n, const char *otherwise);

/* Open what the splitter needs (MG_LIBRARY without a dictionary). */
mg_status mg_splitter_open(const mg_splitter *s, mg_word_work *work, mg_error *err);
/* "ja-mecab-0.996-IPA", for signatures. */
void mg_splitter_sign(const mg_splitter *s, const mg_word_work *work, mg_buf *out);

/* Forget what is in `w` and split a text.  White space, also U+3000, is never part of a word. */
mg_status mg_split_words(const mg_splitter *s, mg_word_work *work, const char *text, size_t n, mg_words *w,
                         mg_error *err);

/* White space as Python's str.split() and str.strip() know it. */
bool mg_is_blank(uint32_t c);
/* Cut it off the end, and off the beginning. */
size_t      mg_blank_tail(const char *text, size_t n); /* the length without it */
const char *mg_blank_head(const char *text, size_t *n);
/* Append the words between white space. */
bool mg_split_blanks(const char *text, size_t n, mg_words *w);
/* Lower case like Python's str.lower(): simple mappings, the final sigma and the dotted I. */
void mg_lower_text(const char *text, size_t n, mg_buf *out);

/* One pass of tokenizers that put spaces around what they cut: regular expressions of two neighbours, taken from
 * left to right without overlap, as re.sub does. */
typedef bool (*mg_char_test)(uint32_t c);
enum { MG_BEFORE_FIRST = 1, MG_BETWEEN = 2, MG_BEHIND_SECOND = 4 }; /* where the spaces go */
void mg_space_pairs(const char *text, size_t n, mg_char_test first, mg_char_test second, int spaces, mg_buf *out);
void mg_space_chars(const char *text, size_t n, mg_char_test test, mg_buf *out);

/* Passes over work->pass[0]: the next one was written into pass[1], and takes its place. */
void mg_next_pass(mg_word_work *work);
void mg_replace_pass(mg_word_work *work, const char *what, const char *with); /* every `what` */
void mg_entities_pass(mg_word_work *work);                                    /* &quot; &amp; &lt; &gt; */

/* What 13a, zh and TER's normalisation share, from work->pass[0] to work->pass[0]: spaces around punctuation but dots,
 * commas, dashes and apostrophes; then dots and commas beside no digit, and dashes behind one. */
void mg_split_punctuation(mg_word_work *work);
void mg_split_stops(mg_word_work *work);

#endif
