/* width.h -- text measured in terminal columns.
 *
 * A kanji takes two columns, a combining mark none; alignment by bytes or by
 * characters breaks every Japanese table.  Widths are utf8proc's; characters of
 * ambiguous width count one, as terminals with a UTF-8 locale draw them.
 * Invalid bytes count one column each. */
#ifndef MG_BASE_WIDTH_H
#define MG_BASE_WIDTH_H

#include "base/mem.h"

/* Columns that the first `n` bytes of `s` take on a terminal. */
int mg_width_bytes(const char *s, size_t n);
int mg_width(const char *s);

/* How many bytes of `s` fit into `columns` without cutting a character. */
size_t mg_width_cut(const char *s, int columns);

/* Append `s` and spaces up to `columns`; a longer text ends in an ellipsis.
 * mg_pad_left puts the spaces first (numbers). */
void mg_pad(mg_buf *b, const char *s, int columns);
void mg_pad_left(mg_buf *b, const char *s, int columns);

/* Append `text`, broken into lines of at most `columns`, each line after the
 * first preceded by `indent` spaces.  Breaks at spaces, and before or after any
 * double-width character except before closing punctuation.  The first line is
 * taken to start at `indent` as well.  Ends without a newline. */
void mg_wrap(mg_buf *b, const char *text, int indent, int columns);

#endif
