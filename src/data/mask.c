/* mask.c -- from spans of text to labels of tokens.
 *
 * A token belongs where its last byte does.  What an assistant says ends with the token that ends its turn
 * (<end_of_turn>, <|im_end|>, </s>): a model that is not trained on it never stops; the newline that a template
 * writes behind it is not the model's to write. */
#include "data/sample_parts.h"

#include <stdlib.h>
#include <string.h>

static bool is_special(const mg_aligned *a, size_t i) {
    return mg_tokenizer_is_special(a->tokenizer, a->ids.data[i]);
}

/* Only white space, in whichever way the vocabulary writes it. */
static bool is_blank(const mg_aligned *a, size_t i) {
    static const char *const blanks[] = { " ",        "\n",       "\r",       "\t",      "\xe2\x96\x81",
                                          "\xc4\x8a", "\xc4\xa0", "\xc4\x89", "\xc4\x8d" };
    size_t                   n = 0;
    const char              *s = mg_tokenizer_token(a->tokenizer, a->ids.data[i], &n);
    if (n == 6 && (!memcmp(s, "<0x0A>", 6) || !memcmp(s, "<0x0D>", 6) || !memcmp(s, "<0x09>", 6))) return true;
    for (size_t at = 0; s && at < n;) {
        size_t k = 0, len = 0;
        for (; k < sizeof blanks / sizeof *blanks; k++) {
            len = strlen(blanks[k]);
            if (n - at >= len && !memcmp(s + at, blanks[k], len)) break;
        }
        if (k == sizeof blanks / sizeof *blanks) return false;
        at += len;
    }
    return s && n > 0;
}

/* The tokens [begin, end) of a turn, its end put where the model stops. */
static size_t end_of_turn(const mg_aligned *a, size_t begin, size_t end) {
    size_t i = end;
    while (i > begin && is_blank(a, i - 1)) i--;
    if (i > begin && is_special(a, i - 1)) return i;
    i = end;
    while (i < a->ids.len && is_blank(a, i)) i++;
    if (i < a->ids.len && is_special(a, i) && a->ids.data[i] != mg_tokenizer_bos(a->tokenizer)) return i + 1;
    return end;
}

mg_status mg_mask_spans(const mg_aligned *a, const mg_span *span, size_t n_spans, bool turns, uint8_t *trained,
                        mg_error *err) {
    size_t i = 0;
    for (size_t k = 0; k < n_spans; k++) {
        size_t    begin = 0, end = 0;
        mg_status st = mg_align_place(a, span[k].begin, &begin, err);
        if (!st) st = mg_align_place(a, span[k].end, &end, err);
        if (st) return st;
        while (i < a->ids.len && a->end[i] <= begin) i++;
        size_t first = i;
        while (i < a->ids.len && a->end[i] <= end) i++;
        if (turns && (end > begin || i > first)) i = end_of_turn(a, first, i);
        for (size_t j = first; j < i; j++) trained[j] = 1;
        if (end > begin && i == first)
            return mg_fail(err, MG_MASK, "an answer of %zu bytes has no token of its own", end - begin);
    }
    return MG_OK;
}

mg_status mg_sample_make(mg_sample *out, const int32_t *ids, const uint8_t *trained, size_t n, mg_error *err) {
    if (n > INT32_MAX / 2) return mg_fail(err, MG_DATA, "%zu tokens in one sample", n);
    mg_sample s = { .ids = mg_calloc(n ? n : 1, 2 * sizeof *s.ids),
                    .n = (int32_t)n }; /* labels lie behind the ids */
    if (!s.ids) return mg_fail(err, MG_NOMEM, "no memory for %zu tokens", n);
    s.label = s.ids + n;
    for (size_t i = 0; i < n; i++) {
        s.ids[i] = ids[i];
        s.label[i] = i && trained[i] ? ids[i] : MG_IGNORE;
        s.n_labels += s.label[i] != MG_IGNORE;
    }
    *out = s;
    return MG_OK;
}

void mg_sample_free(mg_sample *s) {
    free(s->ids);
    *s = (mg_sample){ 0 };
}
