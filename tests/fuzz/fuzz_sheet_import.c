/* fuzz_sheet_import.c -- a file of ratings: what is accepted is in range, of the sheet, and can be summed up. */
#include "eval/sheet.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const mg_report_row row[] = {
        { .question = "a", .before = "b", .after = "c", .ok_before = -1, .ok_after = -1 }, { .question = "d", .before = "e" },
        { .question = "f", .before = "g", .after = "h", .ok_before = 1, .ok_after = 0 } };
    const mg_report   report = { .title = "fuzz", .row = row, .rows = 3 };
    mg_sheet          sheet;
    mg_sheet_ratings  r = { 0 };
    mg_ratings        all = { .items = 3 };
    mg_rating_summary s;
    mg_error          err;
    if (mg_sheet_of(&sheet, &report, 1, &err)) abort();
    strcpy(sheet.id, "s"); /* short enough for a fuzzer to find */
    if (!mg_sheet_import(&r, &sheet, (const char *)data, size, "fuzz", &err)) {
        if (!mg_rater_name_ok(r.rater) || r.n > 2 || mg_ratings_rater(&all, r.rater, false)) abort();
        for (size_t i = 0; i < r.n; i++) {
            if (r.rating[i].item != 0 && r.rating[i].item != 2) abort();
            for (int c = 0; c < 2 * MG_CRITERIA; c++) {
                double x = r.rating[i].score[c / MG_CRITERIA][c % MG_CRITERIA];
                if (!isnan(x) && !(x >= 0 && x <= 5)) abort();
            }
        }
        all.rating = r.rating;
        all.n = r.n;
        if (mg_ratings_summarise(&all, MG_RATERS_ALL, 1, &s, &err) || s.wins + s.ties + s.losses > r.n) abort();
        all.rating = NULL;
        all.n = 0;
    }
    mg_ratings_free(&all);
    mg_sheet_ratings_free(&r);
    mg_sheet_free(&sheet);
    return 0;
}
