/* records.h -- the records of a file, one after the other, as JSON objects.
 *
 * JSONL, a JSON array, CSV and TSV give the same thing: an object and the line it began on.  UTF-8 with or without
 * BOM, UTF-16 with BOM and cp932 (the Windows code page of Japan) are recognised.  A record that cannot be read
 * does not end the walk. */
#ifndef MG_DATA_RECORDS_H
#define MG_DATA_RECORDS_H

#include "base/json.h"

enum { MG_RECORD_MAX = 16 << 20 }; /* bytes of one line or CSV record */

typedef struct mg_records mg_records;

/* `path` is a file, or a folder that has train.jsonl, train.json, train.csv or train.tsv. */
mg_status mg_records_open(mg_records **out, const char *path, mg_error *err);
void      mg_records_close(mg_records *r);

/* The file "part".jsonl, .json, .csv or .tsv of a data folder ("train", "valid", "test"), for free(); NULL: none.
 */
char *mg_records_find(const char *folder, const char *part);

typedef enum mg_record_state { MG_RECORD_END, MG_RECORD_OK, MG_RECORD_BAD } mg_record_state;
/* The next record.  *row is borrowed until the next call; *line is its line, in a JSON array its number.
 * MG_RECORD_BAD: err says what is wrong with this one (status MG_DATA; MG_NOMEM ends the walk). */
mg_record_state mg_records_next(mg_records *r, yyjson_val **row, int64_t *line, mg_error *err);

const char *mg_records_path(const mg_records *r);     /* of the file itself, when a folder was named */
const char *mg_records_encoding(const mg_records *r); /* "UTF-8", "UTF-8 with BOM", "UTF-16", "cp932" */
const char *mg_records_format(const mg_records *r);   /* "JSONL", "JSON", "CSV", "TSV" */

#endif
