/* rouge.c -- ROUGE (Lin 2004): recall, precision and F1 of n-grams (1, 2), of the longest common subsequence of the
 * whole text (L), and of the union of those of its lines (Lsum).
 *
 * The score is the mean F1 (or precision, or recall) of the segments; of several references the one with the best F1 counts.  Words are those
 * of the tokenizer: rouge_score's for English (without its stemmer), MeCab's for Japanese, where the numbers are those
 * of ROUGE-1.5.5 over the same words. */
#include "eval/metrics/metric.h"

#include <stdlib.h>
#include <string.h>

typedef struct part {
    double precision, recall, f;
} part;

static part make_part(double hits, double hyp, double ref) {
    part p = { .precision = hits / (hyp > 1 ? hyp : 1), .recall = hits / (ref > 1 ? ref : 1) };
    if (p.precision + p.recall > 0) p.f = 2 * p.precision * p.recall / (p.precision + p.recall);
    return p;
}

/* ---- n-grams ---- */

/* Numbers of the n-grams into chain. */
static size_t ngrams(mg_intern *t, const uint32_t *word, size_t words, int order, uint32_t *chain) {
    memcpy(chain, word, words * sizeof *chain);
    for (int n = 2; n <= order; n++)
        for (size_t i = 0; i + (size_t)n <= words; i++)
            chain[i] = mg_intern_pair(t, chain[i], word[i + (size_t)n - 1]);
    return words >= (size_t)order ? words - (size_t)order + 1 : 0;
}

static part score_ngrams(mg_scorer *s, size_t hyp_n, size_t ref_n, uint32_t *chain) {
    mg_intern *t = &s->intern;
    double     hits = 0;
    size_t     refs = ngrams(t, s->ids[1], ref_n, s->metric->order, chain);
    for (size_t i = 0; !t->failed && i < refs; i++) t->tally[chain[i]].b++;
    size_t hyps = ngrams(t, s->ids[0], hyp_n, s->metric->order, chain);
    for (size_t i = 0; !t->failed && i < hyps; i++) {
        mg_tally *x = &t->tally[chain[i]];
        hits += ++x->a <= x->b;
    }
    return make_part(hits, (double)hyps, (double)refs);
}

/* ---- common subsequences ---- */

/* table [(ref_n + 1) * (hyp_n + 1)] */
static void fill_lcs(const uint32_t *ref, size_t ref_n, const uint32_t *hyp, size_t hyp_n, uint32_t *table) {
    size_t w = hyp_n + 1;
    memset(table, 0, w * sizeof *table);
    for (size_t i = 1; i <= ref_n; i++) {
        table[i * w] = 0;
        for (size_t j = 1; j <= hyp_n; j++) {
            uint32_t up = table[(i - 1) * w + j], left = table[i * w + j - 1];
            table[i * w + j] = ref[i - 1] == hyp[j - 1] ? table[(i - 1) * w + j - 1] + 1 : up > left ? up : left;
        }
    }
}

/* Mark the words of `ref` that one longest subsequence has. */
static void mark_lcs(const uint32_t *ref, size_t ref_n, const uint32_t *hyp, size_t hyp_n, const uint32_t *table,
                     uint8_t *marked) {
    size_t i = ref_n, j = hyp_n, w = hyp_n + 1;
    while (i && j) {
        if (ref[i - 1] == hyp[j - 1]) marked[--i] = 1, j--;
        else if (table[i * w + j - 1] > table[(i - 1) * w + j]) j--;
        else i--;
    }
}

/* Where each line begins in the words of one side. */
typedef struct lines {
    size_t *end;
    size_t  n, cap;
} lines;

static mg_status number_lines(mg_scorer *s, int side, const char *text, size_t *n, lines *l, mg_error *err) {
    mg_words *w = side ? &s->reference : &s->hypothesis;
    size_t    total = 0;
    for (const char *line = text; line;) {
        const char *stop = strchr(line, '\n');
        size_t      len = stop ? (size_t)(stop - line) : strlen(line);
        mg_status   st = mg_split_words(s->settings.splitter, &s->work, line, len, w, err);
        if (st) return st;
        if (!mg_scorer_room(s, side, total + w->at.n + 1) || !MG_GROW(l->end, l->cap, l->n + 1))
            return mg_fail(err, MG_NOMEM, "not enough memory for the words of a text");
        for (size_t i = 0; i < w->at.n; i++)
            s->ids[side][total++] = mg_intern_word(&s->intern, w->text.data + w->at.span[i].at, w->at.span[i].len);
        if (len) l->end[l->n++] = total;
        line = stop ? stop + 1 : NULL;
    }
    *n = total;
    return MG_OK;
}

/* Hits are words of the union, each counted at most as often as either side has it. */
static double union_hits(mg_scorer *s, const lines *hyp, const lines *ref, size_t hyp_n, size_t ref_n, uint32_t *table,
                         uint8_t *marked) {
    mg_intern *t = &s->intern;
    double     hits = 0;
    for (size_t i = 0; i < hyp_n; i++) t->tally[s->ids[0][i]].a++;
    for (size_t i = 0; i < ref_n; i++) t->tally[s->ids[1][i]].b++;
    for (size_t r = 0, from = 0; r < ref->n; from = ref->end[r++]) {
        size_t n = ref->end[r] - from;
        memset(marked, 0, n + 1);
        for (size_t h = 0, begin = 0; h < hyp->n; begin = hyp->end[h++]) {
            fill_lcs(s->ids[1] + from, n, s->ids[0] + begin, hyp->end[h] - begin, table);
            mark_lcs(s->ids[1] + from, n, s->ids[0] + begin, hyp->end[h] - begin, table, marked);
        }
        for (size_t i = 0; i < n; i++) {
            mg_tally *x = &t->tally[s->ids[1][from + i]];
            if (!marked[i] || !x->a || !x->b) continue;
            hits++;
            x->a--, x->b--;
        }
    }
    return hits;
}

static mg_status no_memory(mg_error *err) { return mg_fail(err, MG_NOMEM, "not enough memory for the words of a text"); }

/* ---- the metrics ---- */

typedef mg_status (*pair_fn)(mg_scorer *s, const char *hypothesis, size_t len, const char *reference, part *out, mg_error *err);

static mg_status both_words(mg_scorer *s, const char *hypothesis, size_t len, const char *reference, size_t *hyp_n,
                            size_t *ref_n, mg_error *err) {
    mg_intern_clear(&s->intern);
    mg_status st = mg_scorer_words(s, 0, hypothesis, len, hyp_n, err);
    if (!st) st = mg_scorer_words(s, 1, reference, strlen(reference), ref_n, err);
    return st;
}

static mg_status pair_ngrams(mg_scorer *s, const char *hypothesis, size_t len, const char *reference, part *out, mg_error *err) {
    size_t    hyp_n, ref_n;
    mg_status st = both_words(s, hypothesis, len, reference, &hyp_n, &ref_n, err);
    if (st) return st;
    uint32_t *chain = mg_scorer_extra(s, (hyp_n + ref_n + 1) * sizeof *chain);
    if (!chain || !mg_scorer_room(s, 0, hyp_n + 1) || !mg_scorer_room(s, 1, ref_n + 1)) return no_memory(err);
    *out = score_ngrams(s, hyp_n, ref_n, chain);
    return MG_OK;
}

static mg_status pair_lcs(mg_scorer *s, const char *hypothesis, size_t len, const char *reference, part *out, mg_error *err) {
    size_t    hyp_n, ref_n, cells;
    mg_status st = both_words(s, hypothesis, len, reference, &hyp_n, &ref_n, err);
    if (st) return st;
    if (!mg_size_mul(hyp_n + 1, ref_n + 1, &cells) || !mg_size_mul(cells, sizeof(uint32_t), &cells)) return no_memory(err);
    uint32_t *table = mg_scorer_extra(s, cells);
    if (!table) return no_memory(err);
    fill_lcs(s->ids[1], ref_n, s->ids[0], hyp_n, table);
    *out = make_part(table[ref_n * (hyp_n + 1) + hyp_n], (double)hyp_n, (double)ref_n);
    return MG_OK;
}

static mg_status pair_union(mg_scorer *s, const char *hypothesis, size_t len, const char *reference, part *out, mg_error *err) {
    size_t    hyp_n = 0, ref_n = 0, cells;
    lines     hyp = { 0 }, ref = { 0 };
    (void)len;
    mg_intern_clear(&s->intern);
    mg_status st = number_lines(s, 0, hypothesis, &hyp_n, &hyp, err);
    if (!st) st = number_lines(s, 1, reference, &ref_n, &ref, err);
    if (!st && (!mg_size_mul(hyp_n + 1, ref_n + 1, &cells) || !mg_size_mul(cells, sizeof(uint32_t), &cells) ||
                !mg_size_add(cells, ref_n + 1, &cells) || !mg_scorer_extra(s, cells) || s->intern.failed))
        st = no_memory(err);
    if (!st) {
        uint32_t *table = s->extra;
        uint8_t  *marked = (uint8_t *)(table + (hyp_n + 1) * (ref_n + 1));
        *out = make_part(union_hits(s, &hyp, &ref, hyp_n, ref_n, table, marked), (double)hyp_n, (double)ref_n);
    }
    free(hyp.end);
    free(ref.end);
    return st;
}

static mg_status best_pair(pair_fn pair, mg_scorer *s, const char *hypothesis, size_t len, const char *const *reference,
                           size_t references, double *stats, mg_error *err) {
    part best = { .f = -1 }, one = { 0 };
    for (size_t r = 0; r < references; r++) {
        mg_status st = pair(s, hypothesis, len, reference[r], &one, err);
        if (st) return st;
        if (one.f > best.f) best = one;
    }
    stats[0] = best.f;
    stats[1] = best.precision;
    stats[2] = best.recall;
    stats[3] = 1;
    return MG_OK;
}

static mg_status segment_ngrams(mg_scorer *s, const char *h, size_t n, const char *const *r, size_t k, double *stats, mg_error *err) {
    return best_pair(pair_ngrams, s, h, n, r, k, stats, err);
}
static mg_status segment_lcs(mg_scorer *s, const char *h, size_t n, const char *const *r, size_t k, double *stats, mg_error *err) {
    return best_pair(pair_lcs, s, h, n, r, k, stats, err);
}
static mg_status segment_union(mg_scorer *s, const char *h, size_t n, const char *const *r, size_t k, double *stats, mg_error *err) {
    return best_pair(pair_union, s, h, n, r, k, stats, err);
}

static int width(const mg_metric *m, const mg_metric_settings *s) {
    (void)m, (void)s;
    return 4;
}

static double score(const mg_metric *m, const mg_metric_settings *s, const double *sum) {
    return sum[3] > 0 ? m->scale * sum[s->rouge_part] / sum[3] : 0;
}

static void sign(const mg_scorer *s, mg_buf *out) {
    mg_buf_printf(out, "case:%s|tok:", s->settings.lowercase ? "lc" : "mixed");
    mg_splitter_sign(s->settings.splitter, &s->work, out);
    mg_buf_str(out, "|stem:no|refs:best");
    if (s->settings.rouge_part) mg_buf_str(out, s->settings.rouge_part == 1 ? "|score:precision" : "|score:recall");
}

static void detail(const mg_scorer *s, const double *sum, mg_buf *out) {
    double n = sum[3] > 0 ? sum[3] : 1;
    mg_buf_printf(out, ",\"precision\":%.9g,\"recall\":%.9g", s->metric->scale * sum[1] / n, s->metric->scale * sum[2] / n);
}

#define ROUGE(x, title, n, fn)                                                                                       \
    const mg_metric mg_metric_##x = { .name = #x, .label = title, .splitter = "rouge", .scale = 100, .order = (n),    \
                                      .width = width, .segment = (fn), .score = score, .sign = sign, .detail = detail };
ROUGE(rouge1, "ROUGE-1", 1, segment_ngrams)
ROUGE(rouge2, "ROUGE-2", 2, segment_ngrams)
ROUGE(rougeL, "ROUGE-L", 0, segment_lcs)
ROUGE(rougeLsum, "ROUGE-Lsum", 0, segment_union)
