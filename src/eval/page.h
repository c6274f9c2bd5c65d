/* page.h -- what HTML pages of one file have in common: a head with a strict policy, texts in two languages.
 *
 * A page outlives the terminal's locale and is handed on, so it holds both languages and shows one; a button switches
 * (page/common.js).  Style and script are constants of the program, named in the policy by their SHA-256, so nothing
 * else can run: not even markup that would slip through the escaping. */
#ifndef MG_EVAL_PAGE_H
#define MG_EVAL_PAGE_H

#include "base/mem.h"

extern const char mg_page_common_css[], mg_page_common_js[], mg_page_report_css[], mg_page_report_js[], mg_page_rate_css[],
    mg_page_rate_js[];

typedef struct mg_page {
    mg_buf     *b;
    bool        ja;     /* the language that is shown first */
    const char *title;
    const char *style[2], *script[2]; /* constants; NULL: none */
} mg_page;

/* <!doctype html> up to <body> with the switch of languages; and the scripts, up to </html>. */
void mg_page_begin(const mg_page *p);
void mg_page_end(const mg_page *p);

/* Text of a model or user, escaped; NULL is "". */
void mg_page_escape(const mg_page *p, const char *text);
/* A text of the program in both languages, of which one is visible. */
void mg_page_text(const mg_page *p, const char *en, const char *ja);
/* The attributes data-en and data-ja, with `name` set to the one shown first, for attributes and options. */
void mg_page_attribute(const mg_page *p, const char *name, const char *en, const char *ja);

#endif
