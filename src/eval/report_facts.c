/* report_facts.c -- counting, intervals and warnings.
 *
 * A share of ten questions has a wide interval, and when it is 0 or 1 every resample is the same: the bootstrap then
 * says [0, 0].  So shares carry Wilson's interval beside the bootstrap's; differences, which are paired, are
 * resampled and shuffled. */
#include "eval/report_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SHUFFLES = 2000, SAME_CHARS = 8 };

static mg_status no_memory(mg_error *err) { return mg_fail(err, MG_NOMEM, "no memory for a report"); }

bool mg_report_is_control(const char *category) {
    static const char *const known[] = { "control", "controls", "forgetting", "対照", "維持" };
    for (size_t i = 0; category && i < sizeof known / sizeof *known; i++)
        if (!strcmp(category, known[i])) return true;
    return false;
}

void mg_report_facts_free(mg_report_facts *f) {
    for (int k = 0; k < 2; k++) {
        free(f->ok[k]);
        free(f->flaws[k]);
        free(f->phrase[k]);
    }
    free(f->category);
    free(f->of_row);
    *f = (mg_report_facts){ 0 };
}

/* ---- verdicts and categories ---- */

static mg_status find_verdicts(mg_report_facts *f, const mg_report *r, mg_error *err) {
    int      *balance = mg_calloc(r->rows + 1, 2 * sizeof *balance);
    const int ok = MG_CRITERION_OK;
    if (!balance) return no_memory(err);
    for (size_t i = 0; r->ratings && i < r->ratings->n; i++) {
        const mg_rating *x = &r->ratings->rating[i];
        for (size_t k = 0; k < 2 && x->item < r->rows && !r->ratings->rater[x->rater].machine; k++)
            if (!isnan(x->score[k][ok])) balance[2 * x->item + k] += x->score[k][ok] > 0.5 ? 1 : -1;
    }
    for (size_t i = 0; i < r->rows; i++)
        for (size_t k = 0; k < 2; k++) {
            int rule = k ? r->row[i].ok_after : r->row[i].ok_before, b = balance[2 * i + k];
            f->ok[k][i] = rule >= 0 ? rule : b > 0 ? 1 : b < 0 ? 0 : -1;
        }
    free(balance);
    return MG_OK;
}

static mg_status find_categories(mg_report_facts *f, const mg_report *r, mg_error *err) {
    mg_map   *seen = mg_map_new(16);
    size_t    cap = 0;
    mg_status st = seen ? MG_OK : no_memory(err);
    for (size_t i = 0; !st && i < r->rows; i++) {
        const char *name = r->row[i].category ? r->row[i].category : "";
        int64_t     at = (int64_t)f->categories;
        int         added = mg_map_put(seen, name, strlen(name), at);
        if (added < 0 || (added && !MG_GROW(f->category, cap, f->categories + 2))) st = no_memory(err);
        else if (added) f->category[f->categories++] = (mg_category){ .name = name, .control = r->row[i].control };
        else mg_map_get(seen, name, strlen(name), &at);
        f->of_row[i] = (uint32_t)at;
    }
    if (!st && !f->category && !MG_GROW(f->category, cap, 1)) st = no_memory(err);
    if (!st) f->category[f->categories] = (mg_category){ 0 };
    mg_map_free(seen);
    return st;
}

static double right_share(const void *context, const double *sum) {
    (void)context;
    return sum[1] > 0 ? sum[0] / sum[1] : NAN;
}

/* The share of verdicts stats [n * 2]. */
static mg_status share_of(mg_share *out, const double *stats, size_t n, uint64_t seed, mg_error *err) {
    mg_resample s = { .stats = stats, .n = n, .width = 2, .score = right_share };
    mg_interval i = { NAN, NAN, NAN, NAN };
    mg_status   st = n ? mg_bootstrap(&s, seed, MG_RESAMPLES, &i, err) : MG_OK;
    size_t      right = 0;
    for (size_t k = 0; k < n; k++) right += stats[2 * k] > 0;
    *out = (mg_share){ .right = right, .judged = n, .share = i.score, .boot_low = i.low, .boot_high = i.high };
    mg_wilson((double)right, (double)n, &out->low, &out->high);
    return st;
}

/* Category c, or all with c = categories.  `stats` has room for 4 numbers a row. */
static mg_status measure_category(mg_report_facts *f, const mg_report *r, size_t c, double *stats, mg_error *err) {
    mg_category *x = &f->category[c];
    double      *side[2] = { stats, stats + 2 * r->rows };
    size_t       n[2] = { 0 }, both = 0;
    mg_status    st = MG_OK;
    for (size_t i = 0; i < r->rows; i++) {
        if (c < f->categories && f->of_row[i] != c) continue;
        x->n++;
        x->gained += f->ok[0][i] == 0 && f->ok[1][i] == 1;
        x->lost += f->ok[0][i] == 1 && f->ok[1][i] == 0;
        for (int k = 0; k < 2; k++) {
            if (f->ok[k][i] < 0) continue;
            side[k][2 * n[k]] = f->ok[k][i];
            side[k][2 * n[k]++ + 1] = 1;
        }
    }
    st = share_of(&x->before, side[0], n[0], r->seed, err);
    if (!st) st = share_of(&x->after, side[1], n[1], r->seed, err);
    for (size_t i = 0; i < r->rows; i++) {
        if ((c < f->categories && f->of_row[i] != c) || f->ok[0][i] < 0 || f->ok[1][i] < 0) continue;
        for (int k = 0; k < 2; k++) side[k][2 * both] = f->ok[k][i], side[k][2 * both + 1] = 1;
        both++;
    }
    x->difference = x->low = x->high = x->p = NAN;
    if (st || !both) return st;
    mg_resample   s = { .stats = side[0], .n = both, .width = 2, .score = right_share };
    mg_difference d;
    st = mg_paired_test(&s, side[1], r->seed, MG_RESAMPLES, SHUFFLES, &d, err);
    if (!st) x->difference = d.d.score, x->low = d.d.low, x->high = d.d.high, x->p = d.p_shuffle;
    return st;
}

static mg_status measure_categories(mg_report_facts *f, const mg_report *r, mg_error *err) {
    double   *stats = mg_calloc(r->rows + 1, 4 * sizeof *stats);
    mg_status st = stats ? MG_OK : no_memory(err);
    /* thousands of categories are names, not groups: their intervals would take longer than they are worth */
    for (size_t c = f->categories <= MG_REPORT_CATEGORIES ? 0 : f->categories; !st && c <= f->categories; c++) st = measure_category(f, r, c, stats, err);
    double known = 0, lost = 0;
    for (size_t i = 0; i < r->rows; i++) {
        if (!r->row[i].control || f->ok[0][i] != 1 || f->ok[1][i] < 0) continue;
        known++;
        lost += f->ok[1][i] == 0;
    }
    f->forgotten = (mg_share){ .right = (size_t)lost, .judged = (size_t)known, .share = known > 0 ? lost / known : NAN };
    mg_wilson(lost, known, &f->forgotten.low, &f->forgotten.high);
    free(stats);
    return st;
}

/* ---- the answers themselves ---- */

static size_t chars(const char *s) {
    size_t k = 0;
    for (; *s; s++) k += ((unsigned char)*s & 0xc0) != 0x80;
    return k;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static const char *answer_of(const mg_report *r, size_t i, int side) { return side ? r->row[i].after : r->row[i].before; }

/* Lengths: mean, median, and what is too long. */
static mg_status measure_lengths(mg_report_facts *f, const mg_report *r, int side, mg_error *err) {
    mg_side_facts *x = &f->side[side];
    double        *length = mg_calloc(r->rows + 1, sizeof *length);
    size_t         n = 0;
    if (!length) return no_memory(err);
    for (size_t i = 0; i < r->rows; i++)
        if (answer_of(r, i, side)) x->mean_chars += length[n++] = (double)chars(answer_of(r, i, side));
    x->n = n;
    if (n) {
        qsort(length, n, sizeof *length, ascending);
        double q1 = length[n / 4], q3 = length[(3 * n) / 4], limit = fmax(q3 + 3 * (q3 - q1), 2 * q3 + 20);
        x->mean_chars /= (double)n;
        x->median_chars = (length[(n - 1) / 2] + length[n / 2]) / 2;
        for (size_t i = 0; i < r->rows; i++)
            if (answer_of(r, i, side) && (double)chars(answer_of(r, i, side)) > limit) f->flaws[side][i] |= MG_ANSWER_LONG;
    }
    free(length);
    return MG_OK;
}

static void find_flaws(mg_report_facts *f, const mg_report *r, int side) {
    for (size_t i = 0; i < r->rows; i++) {
        const char *text = answer_of(r, i, side);
        uint8_t    *flaws = &f->flaws[side][i];
        if (!text) continue;
        if (!text[strspn(text, " \t\r\n")]) *flaws |= MG_ANSWER_EMPTY;
        if (side ? r->row[i].cut_after : r->row[i].cut_before) *flaws |= MG_ANSWER_CUT;
        if (mg_stuck_phrase(text, strlen(text), &f->phrase[side][i], NULL)) *flaws |= MG_ANSWER_REPEATS;
        for (int k = 0; k < MG_ANSWER_FLAWS; k++) f->side[side].flaw[k] += *flaws >> k & 1;
    }
}

/* Answers that stand word for word under another question; short ones (a choice, a number) may. */
static mg_status count_same(mg_report_facts *f, const mg_report *r, int side, mg_error *err) {
    mg_map   *seen = mg_map_new(r->rows);
    size_t   *times = mg_calloc(r->rows + 1, sizeof *times);
    mg_status st = seen && times ? MG_OK : no_memory(err);
    for (size_t i = 0; !st && i < r->rows; i++) {
        const char *text = answer_of(r, i, side);
        int64_t     first = (int64_t)i;
        if (!text || chars(text) < SAME_CHARS) continue;
        int added = mg_map_put(seen, text, strlen(text), first);
        if (added < 0) st = no_memory(err);
        else if (!added) mg_map_get(seen, text, strlen(text), &first);
        times[first]++;
    }
    for (size_t i = 0; !st && i < r->rows; i++)
        if (times[i] > 1) f->side[side].same += times[i];
    mg_map_free(seen);
    free(times);
    return st;
}

static mg_status count_words(mg_report_facts *f, const mg_report *r, int side, mg_error *err) {
    const char **text = mg_calloc(r->rows + 1, sizeof *text);
    size_t       n = 0;
    if (!text) return no_memory(err);
    for (size_t i = 0; i < r->rows; i++)
        if (answer_of(r, i, side)) text[n++] = answer_of(r, i, side);
    const mg_splitter *s = mg_splitter_for(text, n, "13a");
    mg_status          st = mg_distinct(s, text, n, f->side[side].distinct, err);
    if (st == MG_LIBRARY) st = mg_distinct(s = mg_splitter_find("char"), text, n, f->side[side].distinct, err); /* no dictionary */
    f->side[side].words = s->name;
    free(text);
    return st;
}

static void warn(mg_report_facts *f, const mg_report *r) {
    const mg_side_facts *a = &f->side[1], *b = &f->side[0];
    double               n = (double)a->n, flaw[MG_ANSWER_FLAWS];
    for (int k = 0; k < MG_ANSWER_FLAWS; k++) flaw[k] = (double)a->flaw[k];
    if (!a->n) return;
    f->warning[MG_WARN_EMPTY] = flaw[0] >= fmax(1, 0.01 * n);
    f->warning[MG_WARN_CUT] = flaw[1] >= fmax(1, 0.05 * n);
    f->warning[MG_WARN_REPEATS] = flaw[2] >= fmax(1, 0.02 * n);
    f->warning[MG_WARN_SAME] = (double)a->same >= fmax(3, 0.1 * n);
    f->warning[MG_WARN_FORGOT] = f->forgotten.right > 0;
    for (size_t i = 0; i < r->texts; i++) f->warning[MG_WARN_NLL] |= r->text[i].low > 0;
    if (b->n < 10) return;
    f->warning[MG_WARN_SHORTER] = a->median_chars * 2 < b->median_chars;
    f->warning[MG_WARN_LONGER] = a->median_chars > 2 * b->median_chars;
    f->warning[MG_WARN_POORER] = a->distinct[1] < 0.7 * b->distinct[1];
}

static mg_status make_room(mg_report_facts *f, const mg_report *r, mg_error *err) {
    f->of_row = mg_calloc(r->rows + 1, sizeof *f->of_row);
    bool ok = f->of_row != NULL;
    for (int k = 0; k < 2; k++) {
        f->ok[k] = mg_calloc(r->rows + 1, sizeof *f->ok[k]);
        f->flaws[k] = mg_calloc(r->rows + 1, sizeof *f->flaws[k]);
        f->phrase[k] = mg_calloc(r->rows + 1, sizeof *f->phrase[k]);
        ok = ok && f->ok[k] && f->flaws[k] && f->phrase[k];
    }
    return ok ? MG_OK : no_memory(err);
}

mg_status mg_report_facts_of(mg_report_facts *out, const mg_report *r, mg_error *err) {
    mg_report_facts f = { 0 };
    mg_status       st = make_room(&f, r, err);
    if (!st) st = find_verdicts(&f, r, err);
    if (!st) st = find_categories(&f, r, err);
    if (!st) st = measure_categories(&f, r, err);
    for (int side = r->only_after; !st && side < 2; side++) {
        st = measure_lengths(&f, r, side, err);
        if (!st) find_flaws(&f, r, side);
        if (!st) st = count_same(&f, r, side, err);
        if (!st) st = count_words(&f, r, side, err);
    }
    if (!st) warn(&f, r);
    if (!st && r->ratings && r->ratings->n) {
        mg_rating_summary all = { 0 };
        st = mg_ratings_summarise(r->ratings, MG_RATERS_PEOPLE, r->seed, &f.people, err);
        if (!st) st = mg_ratings_summarise(r->ratings, MG_RATERS_MACHINES, r->seed, &f.machines, err);
        if (!st) st = mg_ratings_summarise(r->ratings, MG_RATERS_ALL, r->seed, &all, err);
        f.alpha_all = all.alpha;
    }
    if (st) mg_report_facts_free(&f);
    else *out = f;
    return st;
}
