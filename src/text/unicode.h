/* unicode.h -- UTF-8 and the few character properties that tokenizers ask for.
 *
 * Normal forms and categories come from utf8proc; nothing here has tables of
 * its own but the 25 white-space characters and what tells versions of Unicode
 * apart (unicode_new.def, unicode_late.def). */
#ifndef MG_TEXT_UNICODE_H
#define MG_TEXT_UNICODE_H

#include "base/mem.h"

/* The length of the well-formed sequence at s (n > 0 bytes remain) and its
 * character; 0 when there is none (Unicode 16, table 3-7). */
size_t mg_utf8_next(const char *s, size_t n, uint32_t *c);
/* The length 1..4 of a sequence by its first byte, for text known to be valid. */
size_t mg_utf8_width(char first);
/* Writes 1..4 bytes and returns how many; c is a character, not a surrogate. */
size_t mg_utf8_put(char out[4], uint32_t c);
bool   mg_utf8_valid(const char *s, size_t n);
size_t mg_utf8_count(const char *s, size_t n); /* characters of valid text */
/* Append s with each maximal ill-formed part as one U+FFFD, like Rust's from_utf8_lossy. */
void mg_utf8_lossy(mg_buf *out, const char *s, size_t n);
/* How many bytes at the end of s are the beginning of a character that more bytes may
 * complete: 0..3. */
size_t mg_utf8_open_tail(const char *s, size_t n);

bool     mg_char_is_space(uint32_t c); /* White_Space */
bool     mg_char_is_word(uint32_t c);  /* \w: letters, marks, digits, connectors */
bool     mg_char_is_mark(uint32_t c);  /* Mn, Mc, Me */
bool     mg_char_is_cased(uint32_t c); /* Lu, Ll, Lt */
uint32_t mg_char_lower(uint32_t c);    /* simple mapping */

/* The next three as BERT's tokenizer in Hugging Face tokenizers has them: by the tables of Unicode 8. */
bool mg_char_is_control(uint32_t c); /* Cc, Cf, Co, but for tab, newline and carriage return */
bool mg_char_is_accent(uint32_t c);  /* Mn */
bool mg_char_is_punct(uint32_t c);   /* P and the ASCII symbols */
bool mg_char_is_chinese(uint32_t c); /* a CJK ideograph, by the ranges of BERT */

typedef enum mg_normal_form { MG_NFC, MG_NFD, MG_NFKC, MG_NFKD } mg_normal_form;
/* The forms are those of Unicode 9, as in the normalizers of Hugging Face tokenizers: characters
 * assigned later are left where they are.
 * True when a quick look shows that s is in the form already (false: unknown). */
bool mg_is_normalized(mg_normal_form form, const char *s, size_t n);
/* Append s in the form; s is valid UTF-8.  False: no memory. */
bool mg_normalize(mg_normal_form form, const char *s, size_t n, mg_buf *out);
/* The same by the newest tables that there are. */
bool mg_normalize_latest(mg_normal_form form, const char *s, size_t n, mg_buf *out);

#endif
