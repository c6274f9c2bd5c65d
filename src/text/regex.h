/* regex.h -- the regular expressions of tokenizer.json, on PCRE2 with JIT.
 *
 * The files are written for Oniguruma in its Ruby syntax (what Hugging Face
 * tokenizers uses); mg_regex_compile rewrites a pattern so that PCRE2 finds the
 * same matches.  A pattern is hostile: matching has a limit. */
#ifndef MG_TEXT_REGEX_H
#define MG_TEXT_REGEX_H

#include "base/mem.h"

typedef struct mg_regex mg_regex;

/* `name` stands in messages. */
mg_status mg_regex_compile(mg_regex **out, const char *pattern, size_t n, const char *name, mg_error *err);
void      mg_regex_free(mg_regex *r);

/* What a thread needs to match; one serves all patterns. */
typedef struct mg_regex_work mg_regex_work;
mg_regex_work               *mg_regex_work_new(void); /* NULL: no memory */
void                         mg_regex_work_free(mg_regex_work *w);

typedef enum mg_found { MG_FOUND_NONE, MG_FOUND, MG_FOUND_LIMIT } mg_found;
/* The first match in text[from..n), valid UTF-8; what lies before `from` is seen by
 * look-behind.  LIMIT: given up, the pattern backtracks too much on this text. */
mg_found mg_regex_find(const mg_regex *r, mg_regex_work *w, const char *text, size_t n, size_t from, size_t *begin,
                       size_t *end);

/* The rewriter alone, for tests: append the PCRE2 pattern. */
mg_status mg_regex_rewrite(mg_buf *out, const char *pattern, size_t n, const char *name, mg_error *err);

#endif
