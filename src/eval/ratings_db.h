/* ratings_db.h -- ratings in SQLite.
 *
 * Ratings are the work of people and cannot be made again from any folder, so they do not live in runs.db, which is
 * an index that may be set aside and rebuilt, nor in a run's folder, which `runs rm` deletes: ratings.db stands
 * beside runs.db and nothing of this program removes it or a row of it.  Each answer of a rater is one transaction that
 * is on the disk when the call returns (synchronous=FULL).  A damaged file is an error, never replaced. */
#ifndef MG_EVAL_RATINGS_DB_H
#define MG_EVAL_RATINGS_DB_H

#include "eval/sheet.h"

typedef struct mg_ratings_db mg_ratings_db;

/* With `make` a file that is not there is made; else that is MG_NOTFOUND. */
mg_status mg_ratings_open(mg_ratings_db **out, const char *path, bool make, mg_error *err);
void      mg_ratings_close(mg_ratings_db *db); /* NULL is fine */

/* Enter the sheet with its texts and order.  One that is there already keeps its order, and `s` gets it. */
mg_status mg_ratings_enter(mg_ratings_db *db, mg_sheet *s, mg_error *err);
/* All ratings of a sheet; `rows` is the number of rows of its report.  None is no error. */
mg_status mg_ratings_load(mg_ratings_db *db, const char *sheet, size_t rows, mg_ratings *out, mg_error *err);
/* Write one rater's rating of one item over what was there. */
mg_status mg_ratings_put(mg_ratings_db *db, const char *sheet, const char *rater, bool machine, const mg_rating *x, mg_error *err);

/* Replies of judges by a key; *found says whether there is one, which is then appended. */
mg_status mg_ratings_reply(mg_ratings_db *db, const char *key, mg_buf *out, bool *found, mg_error *err);
mg_status mg_ratings_keep_reply(mg_ratings_db *db, const char *key, const char *text, size_t n, mg_error *err);

#endif
