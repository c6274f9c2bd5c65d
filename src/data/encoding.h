/* encoding.h -- what a text file is written in, and its UTF-8. */
#ifndef MG_DATA_ENCODING_H
#define MG_DATA_ENCODING_H

#include "base/mem.h"

/* Name the encoding of bytes[0..n) and give where its text lies in UTF-8: inside the bytes themselves (*text
 * points into them) or converted into *converted.  Bytes that are nothing known stay as they are, as "UTF-8":
 * their lines are then bad one by one. */
mg_status mg_encoding_read(const char **text, size_t *text_n, const char **encoding, mg_buf *converted,
                           const char *bytes, size_t n, const char *name, mg_error *err);

bool mg_encoding_is_utf8(const char *s, size_t n);

#endif
