/* csv.h -- one record of a CSV or TSV text (RFC 4180). */
#ifndef MG_DATA_CSV_H
#define MG_DATA_CSV_H

#include "base/mem.h"

typedef struct mg_csv_row {
    mg_buf  text; /* all cells behind one another, unquoted */
    size_t *end;  /* [n] where each cell ends in `text` */
    size_t  n, cap;
} mg_csv_row;
void mg_csv_row_free(mg_csv_row *row);

/* Read the record at text[at..n) into *row (its memory is used again) and give the place behind it; SIZE_MAX when
 * it is malformed, with *why a short reason.  A record is at most `limit` bytes long. */
size_t mg_csv_read(mg_csv_row *row, const char *text, size_t n, size_t at, char separator, size_t limit,
                   const char **why);

#endif
