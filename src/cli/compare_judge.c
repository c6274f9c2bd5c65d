/* compare_judge.c -- counting ○ and ×.
 *
 * What training was for and what it may have broken stand side by side: every file of questions is a category, and
 * the summary says for each what was gained and what was lost. */
#include "cli/compare_judge.h"

#include <libintl.h>
#include <string.h>

void mg_judge_all(const mg_questions *q, const char *const *before, const char *const *after, mg_verdict *out) {
    for (size_t i = 0; i < q->n; i++)
        out[i] = (mg_verdict){ mg_question_judge(&q->question[i], before[i]), mg_question_judge(&q->question[i], after[i]) };
}

const char *mg_verdict_mark(int verdict) { return verdict < 0 ? " " : verdict ? "○" : "×"; }

static bool seen_before(const mg_questions *q, size_t i) {
    for (size_t k = 0; k < i; k++)
        if (!strcmp(q->question[k].category, q->question[i].category)) return true;
    return false;
}

void mg_judge_summary(mg_buf *out, const mg_questions *q, const mg_verdict *v) {
    for (size_t i = 0; i < q->n; i++) {
        if (seen_before(q, i)) continue;
        int n = 0, before = 0, after = 0, lost = 0;
        for (size_t k = i; k < q->n; k++) {
            if (strcmp(q->question[k].category, q->question[i].category) || v[k].after < 0) continue;
            n++;
            before += v[k].before == 1;
            after += v[k].after == 1;
            lost += v[k].before == 1 && v[k].after == 0;
        }
        mg_buf_printf(out, gettext("%s: right before %d of %d, after %d of %d; lost %d\n"), q->question[i].category, before, n, after, n, lost);
    }
}
