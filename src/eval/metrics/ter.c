/* ter.c -- translation edit rate (Snover et al. 2006): edits and block shifts that turn an answer into its reference,
 * by the length of the reference; over several references the fewest edits and the mean length.
 *
 * Shifts are searched greedily, with Tercom's limits as sacreBLEU has them: blocks of at most 10 words, at most 50
 * words away, 1,000 candidates a segment, and an edit distance that looks at 25 words on either side of the diagonal.
 * A candidate keeps the rows of the distance up to the first word it moves. */
#include "eval/metrics/metric.h"

#include "text/unicode.h"

#include <math.h>
#include <string.h>

enum { SHIFT_SIZE = 10, SHIFT_DISTANCE = 50, BEAM = 25, CANDIDATES = 1000, FAR = 1 << 30 };

typedef enum { OP_KEEP, OP_REPLACE, OP_DELETE, OP_INSERT, OP_NONE } op; /* of the hypothesis, towards the reference */

typedef struct cell {
    int32_t cost;
    uint8_t op;
} cell;

typedef struct distance {
    const uint32_t *ref;
    size_t          hyp_n, ref_n;
    cell           *row; /* [(hyp_n + 1) * (ref_n + 1)] */
} distance;

static cell *at(const distance *d, size_t i, size_t j) { return d->row + i * (d->ref_n + 1) + j; }

static void first_row(distance *d) {
    for (size_t j = 0; j <= d->ref_n; j++) *at(d, 0, j) = (cell){ .cost = (int32_t)j, .op = OP_INSERT };
}

static void compute_cell(const distance *d, const uint32_t *hyp, size_t i, size_t j) {
    cell *c = at(d, i, j);
    if (!j) {
        *c = (cell){ .cost = at(d, i - 1, 0)->cost + 1, .op = OP_DELETE };
        return;
    }
    bool    same = hyp[i - 1] == d->ref[j - 1];
    int32_t keep = at(d, i - 1, j - 1)->cost + !same, drop = at(d, i - 1, j)->cost + 1, add = at(d, i, j - 1)->cost + 1;
    *c = (cell){ .cost = FAR, .op = OP_NONE };
    if (keep < c->cost) *c = (cell){ .cost = keep, .op = same ? OP_KEEP : OP_REPLACE };
    if (drop < c->cost) *c = (cell){ .cost = drop, .op = OP_DELETE };
    if (add < c->cost) *c = (cell){ .cost = add, .op = OP_INSERT };
}

/* Rows from `from` on; those before hold. */
static int32_t edit_distance(const distance *d, const uint32_t *hyp, size_t from) {
    double ratio = d->hyp_n ? (double)d->ref_n / (double)d->hyp_n : 1;
    double beam = BEAM < ratio / 2 ? ceil(ratio / 2 + BEAM) : BEAM;
    for (size_t i = from; i <= d->hyp_n; i++) {
        double diagonal = floor((double)i * ratio);
        size_t low = diagonal > beam ? (size_t)(diagonal - beam) : 0;
        size_t high = diagonal + beam < (double)(d->ref_n + 1) ? (size_t)(diagonal + beam) : d->ref_n + 1;
        if (i == d->hyp_n) high = d->ref_n + 1;
        for (size_t j = 0; j <= d->ref_n; j++) *at(d, i, j) = (cell){ .cost = FAR, .op = OP_NONE };
        for (size_t j = low; j < high; j++) compute_cell(d, hyp, i, j);
    }
    return at(d, d->hyp_n, d->ref_n)->cost;
}

typedef struct alignment {
    size_t  *to;      /* [ref_n] the place in the hypothesis + 1; 0: before all */
    uint8_t *ref_err; /* [ref_n] */
    uint8_t *hyp_err; /* [hyp_n] */
} alignment;

/* Read backwards: at (i, j) the words before are aligned. */
static void align(const distance *d, const alignment *a) {
    size_t i = d->hyp_n, j = d->ref_n;
    while (i || j) {
        uint8_t o = at(d, i, j)->op;
        bool    both = o == OP_KEEP || o == OP_REPLACE;
        if (j && (both || o == OP_INSERT)) {
            a->to[j - 1] = i;
            a->ref_err[j - 1] = o != OP_KEEP;
        }
        if (i && (both || o == OP_DELETE)) a->hyp_err[i - 1] = o != OP_KEEP;
        MG_ASSERT(o != OP_NONE);
        i -= both || o == OP_DELETE;
        j -= both || o == OP_INSERT;
    }
}

static bool any(const uint8_t *error, size_t n) { return memchr(error, 1, n) != NULL; }

/* `out` = words with the block taken to `target`, a place in the old numbering. */
static void shift(const uint32_t *words, size_t n, size_t start, size_t length, size_t target, uint32_t *out) {
    size_t k = 0;
#define TAKE(from, to)                                                   \
    for (size_t i_ = (from), end_ = (to) < n ? (to) : n; i_ < end_; i_++) \
    out[k++] = words[i_]
    if (target < start) {
        TAKE(0, target);
        TAKE(start, start + length);
        TAKE(target, start);
        TAKE(start + length, n);
    } else {
        size_t until = target > start + length ? target : length + target;
        TAKE(0, start);
        TAKE(start + length, until);
        TAKE(start, start + length);
        TAKE(until, n);
    }
#undef TAKE
    MG_ASSERT_EQ(k, n);
}

typedef struct search {
    distance  d, trial; /* of the words as they are, and of a candidate */
    alignment a;
    uint32_t *words, *moved, *best; /* [hyp_n] */
    int       checked;
} search;

typedef struct candidate {
    int32_t gain;
    size_t  length, start, target;
} candidate;

static bool better(const candidate *a, const candidate *b) {
    if (a->gain != b->gain) return a->gain > b->gain;
    if (a->length != b->length) return a->length > b->length;
    if (a->start != b->start) return a->start < b->start;
    return a->target < b->target;
}

/* Try one pair of equal blocks at every place that its alignment suggests. */
static void try_block(search *s, size_t start, size_t ref_start, size_t length, int32_t before, candidate *best,
                      bool *found) {
    size_t previous = SIZE_MAX, hyp_n = s->d.hyp_n;
    if (!any(s->a.hyp_err + start, length) || !any(s->a.ref_err + ref_start, length)) return;
    size_t place = s->a.to[ref_start]; /* + 1 */
    if (place > start && place - 1 < start + length) return;
    for (size_t offset = 0; offset <= length; offset++) {
        size_t k = ref_start + offset, target; /* one behind the word that it follows */
        if (!k) target = 0;
        else if (k - 1 < s->d.ref_n) target = s->a.to[k - 1];
        else break;
        if (target == previous) continue;
        previous = target;
        shift(s->words, hyp_n, start, length, target, s->moved);
        size_t same = 0;
        while (same < hyp_n && s->moved[same] == s->words[same]) same++;
        memcpy(at(&s->trial, 0, 0), at(&s->d, 0, 0), (same + 1) * (s->d.ref_n + 1) * sizeof(cell));
        candidate c = { .gain = before - edit_distance(&s->trial, s->moved, same + 1), .length = length, .start = start,
                        .target = target };
        s->checked++;
        if (*found && !better(&c, best)) continue;
        *found = true;
        *best = c;
        memcpy(s->best, s->moved, hyp_n * sizeof *s->best);
    }
}

/* The best shift into s->best; what it gains. */
static int32_t best_shift(search *s) {
    candidate best = { 0 };
    bool      found = false;
    int32_t   before = at(&s->d, s->d.hyp_n, s->d.ref_n)->cost;
    align(&s->d, &s->a);
    for (size_t h = 0; h < s->d.hyp_n; h++) {
        for (size_t r = 0; r < s->d.ref_n; r++) {
            if ((h > r ? h - r : r - h) > SHIFT_DISTANCE) continue;
            for (size_t n = 0; n < SHIFT_SIZE && h + n < s->d.hyp_n && r + n < s->d.ref_n &&
                               s->words[h + n] == s->d.ref[r + n]; n++) {
                try_block(s, h, r, n + 1, before, &best, &found);
                if (s->checked >= CANDIDATES) return best.gain;
            }
        }
    }
    return best.gain;
}

static size_t search_bytes(size_t hyp_n, size_t ref_n) {
    return 2 * (hyp_n + 1) * (ref_n + 1) * sizeof(cell) + ref_n * (sizeof(size_t) + 1) + hyp_n * (3 * sizeof(uint32_t) + 1) + 64;
}

/* Edits with shifts. */
static int32_t edits(search *s, const uint32_t *hyp) {
    size_t  n = s->d.hyp_n;
    int32_t shifts = 0;
    memcpy(s->words, hyp, n * sizeof *hyp);
    first_row(&s->d);
    int32_t cost = edit_distance(&s->d, s->words, 1);
    for (;;) {
        int32_t gain = best_shift(s);
        if (s->checked >= CANDIDATES || gain <= 0) return shifts + cost;
        shifts++;
        memcpy(s->words, s->best, n * sizeof *s->words);
        cost = edit_distance(&s->d, s->words, 1);
    }
}

static mg_status segment_edits(mg_scorer *s, size_t hyp_n, size_t ref_n, double *out, mg_error *err) {
    if (!ref_n) {
        *out = (double)hyp_n;
        return MG_OK;
    }
    char *p = mg_scorer_extra(s, search_bytes(hyp_n, ref_n));
    if (!p) return mg_fail(err, MG_NOMEM, "not enough memory for the edits from %zu words to %zu", hyp_n, ref_n);
    size_t cells = (hyp_n + 1) * (ref_n + 1);
    search x = { 0 };
    x.a.to = (size_t *)(void *)p;
    x.d.row = (cell *)(void *)(x.a.to + ref_n);
    x.trial.row = x.d.row + cells;
    x.words = (uint32_t *)(void *)(x.trial.row + cells);
    x.moved = x.words + hyp_n;
    x.best = x.moved + hyp_n;
    x.a.ref_err = (uint8_t *)(x.best + hyp_n);
    x.a.hyp_err = x.a.ref_err + ref_n;
    x.d.ref = x.trial.ref = s->ids[1];
    x.d.hyp_n = x.trial.hyp_n = hyp_n;
    x.d.ref_n = x.trial.ref_n = ref_n;
    *out = edits(&x, s->ids[0]);
    return MG_OK;
}

/* ---- Tercom's normalisation ---- */

static bool in(uint32_t c, const uint32_t (*range)[2], size_t n) {
    for (size_t i = 0; i < n; i++)
        if (c >= range[i][0] && c <= range[i][1]) return true;
    return false;
}
static bool is_asian_punctuation(uint32_t c) {
    static const uint32_t range[][2] = { { 0x3001, 0x3002 }, { 0x3008, 0x3011 }, { 0x3014, 0x301f }, { 0xff61, 0xff65 },
                                         { 0x30fb, 0x30fb }, { 0xff0e, 0xff0e }, { 0xff0c, 0xff0c }, { 0xff1f, 0xff1f },
                                         { 0xff1a, 0xff1b }, { 0xff01, 0xff02 }, { 0xff08, 0xff09 } };
    return in(c, range, sizeof range / sizeof *range);
}
/* Kanji and their relatives become words of one character; U+3200..U+3F22 is sacreBLEU's own range. */
static bool is_ideograph(uint32_t c) {
    static const uint32_t range[][2] = { { 0x4e00, 0x9fff }, { 0x3400, 0x4dbf }, { 0x31c0, 0x31ef }, { 0x2e80, 0x2eff },
                                         { 0x3300, 0x33ff }, { 0xf900, 0xfaff }, { 0xfe30, 0xfe4f }, { 0x3200, 0x3f22 } };
    return in(c, range, sizeof range / sizeof *range) || is_asian_punctuation(c);
}

static void normalise(mg_word_work *w, bool asian) {
    mg_replace_pass(w, "\n-", "");
    mg_replace_pass(w, "\n", " ");
    mg_entities_pass(w);
    mg_buf_char(&w->pass[1], ' ');
    mg_buf_add(&w->pass[1], w->pass[0].data ? w->pass[0].data : "", w->pass[0].len);
    mg_buf_char(&w->pass[1], ' ');
    mg_next_pass(w);
    mg_split_punctuation(w);
    mg_replace_pass(w, "'s ", " 's ");
    mg_split_stops(w);
    if (!asian) return;
    mg_space_chars(w->pass[0].data, w->pass[0].len, is_ideograph, &w->pass[1]);
    mg_next_pass(w);
}

static bool is_asian_removed(uint32_t c) { return is_asian_punctuation(c) || (c < 0x80 && c && strchr(".,?:;!\"()", (int)c)); }
static bool is_removed(uint32_t c) { return c < 0x80 && c && strchr(".,?:;!\"()", (int)c); }

static void remove_chars(mg_word_work *w, mg_char_test test) {
    uint32_t c;
    size_t   len;
    for (size_t i = 0; i < w->pass[0].len; i += len) {
        len = mg_utf8_next(w->pass[0].data + i, w->pass[0].len - i, &c);
        if (!test(c)) mg_buf_add(&w->pass[1], w->pass[0].data + i, len);
    }
    mg_next_pass(w);
}

static mg_status words(mg_scorer *s, int side, const char *text, size_t n, size_t *count, mg_error *err) {
    mg_words     *out = side ? &s->reference : &s->hypothesis;
    mg_word_work *w = &s->work;
    out->text.len = out->at.n = w->pass[0].len = w->pass[1].len = 0;
    n = mg_blank_tail(text, n);
    if (s->settings.ter_case) mg_buf_add(&w->pass[0], text, n);
    else mg_lower_text(text, n, &w->pass[0]);
    if (s->settings.ter_normalized && n) normalise(w, s->settings.ter_asian);
    if (s->settings.ter_no_punct) remove_chars(w, s->settings.ter_asian ? is_asian_removed : is_removed);
    bool ok = !w->pass[0].failed && !w->pass[1].failed &&
              mg_split_blanks(w->pass[0].data ? w->pass[0].data : "", w->pass[0].len, out) &&
              mg_scorer_room(s, side, out->at.n + 1) && mg_scorer_number(s, side, out);
    *count = out->at.n;
    return ok ? MG_OK : mg_fail(err, MG_NOMEM, "not enough memory for the words of a text");
}

/* ---- the metric ---- */

static int width(const mg_metric *m, const mg_metric_settings *s) {
    (void)m, (void)s;
    return 2;
}

static double score(const mg_metric *m, const mg_metric_settings *s, const double *sum) {
    (void)m, (void)s;
    return sum[1] > 0 ? 100 * (sum[0] / sum[1]) : sum[0] > 0 ? 100 : 0;
}

static mg_status segment(mg_scorer *s, const char *hypothesis, size_t len, const char *const *reference,
                         size_t references, double *stats, mg_error *err) {
    size_t    hyp_n, ref_n;
    double    fewest = INFINITY, total = 0, cost = 0;
    mg_intern_clear(&s->intern);
    mg_status st = words(s, 0, hypothesis, len, &hyp_n, err);
    for (size_t r = 0; !st && r < references; r++) {
        st = words(s, 1, reference[r], strlen(reference[r]), &ref_n, err);
        if (!st) st = segment_edits(s, hyp_n, ref_n, &cost, err);
        if (cost < fewest) fewest = cost;
        total += (double)ref_n;
    }
    if (st) return st;
    stats[0] = fewest;
    stats[1] = total / (double)references;
    return MG_OK;
}

static void sign(const mg_scorer *s, mg_buf *out) {
    const mg_metric_settings *t = &s->settings;
    mg_buf_printf(out, "case:%s|tok:tercom|norm:%s|punct:%s|asian:%s", t->ter_case ? "mixed" : "lc",
                  t->ter_normalized ? "yes" : "no", t->ter_no_punct ? "no" : "yes", t->ter_asian ? "yes" : "no");
}

const mg_metric mg_metric_ter = {
    .name = "ter", .label = "TER", .scale = 100, .lower_is_better = true,
    .width = width, .segment = segment, .score = score, .sign = sign,
};
