/* perplexity.c -- a walk of windows over the text. */
#include "eval/perplexity.h"

#include "infer/score.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int64_t mg_perplexity_windows(int64_t n, int64_t max_length, int64_t stride) {
    return n <= max_length ? 1 : 1 + (n - max_length + stride - 1) / stride;
}

mg_status mg_perplexity_of(const mg_model *m, const mg_backend *b, const int32_t *ids, int64_t n, int64_t max_length,
                           int64_t stride, bool adapters_off, mg_perplexity *out, mg_error *err) {
    return mg_perplexity_by_window(m, b, ids, n, max_length, stride, adapters_off, NULL, out, err);
}

mg_status mg_perplexity_by_window(const mg_model *m, const mg_backend *b, const int32_t *ids, int64_t n, int64_t max_length,
                                  int64_t stride, bool adapters_off, double *window, mg_perplexity *out, mg_error *err) {
    if (n < 2) return mg_fail(err, MG_DATA, "the text has %lld tokens, perplexity needs 2", (long long)n);
    if (max_length < 2 || stride < 1 || stride > max_length)
        return mg_fail(err, MG_CONFIG, "max_length %lld and stride %lld: wanted is 1 <= stride <= max_length, 2 <= max_length",
                       (long long)max_length, (long long)stride);
    float        *nll = mg_calloc((size_t)max_length, sizeof *nll);
    int32_t      *top = mg_calloc((size_t)max_length, sizeof *top);
    double        weighted = 0;
    int64_t       weight = 0;
    mg_perplexity p = { 0 };
    mg_status     st = nll && top ? MG_OK : mg_fail(err, MG_NOMEM, "no memory for a text of %lld tokens", (long long)n);
    for (int64_t begin = 0, scored = 0; !st && scored < n; begin += stride) {
        int64_t end = begin + max_length < n ? begin + max_length : n, wanted = end - scored;
        int64_t from = scored > begin ? scored - begin : 1;
        double  sum = 0;
        st = mg_score_texts(m, b, &(mg_score_text){ ids + begin, end - begin, from, nll, top }, 1, adapters_off, err);
        int64_t count = end - begin - from, correct = 0;
        for (int64_t i = 0; !st && i < count; i++) {
            sum += (double)nll[i];
            correct += top[i] == ids[begin + from + i];
        }
        double here = count ? sum / (double)count * (double)(wanted - 1) : 0, share = count ? (double)(wanted - 1) : 0;
        if (window) memcpy(window + 4 * p.windows, (double[]){ here, share, (double)count, (double)correct }, 4 * sizeof *window);
        p.correct += correct;
        weighted += here;
        weight += count ? wanted - 1 : 0;
        p.nll += sum;
        p.tokens += count;
        p.windows++;
        scored = end;
    }
    if (!st) {
        p.mean_nll = weight ? weighted / (double)weight : p.nll / (double)p.tokens;
        p.perplexity = exp(p.mean_nll);
        p.exact = exp(p.nll / (double)p.tokens);
        *out = p;
    }
    free(nll);
    free(top);
    return st;
}
