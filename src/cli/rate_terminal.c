/* rate_terminal.c -- a rater at the terminal: a question, two answers without names, a line for each criterion.
 *
 * Every line is in the database before the next one is asked, so Ctrl-C, a closed terminal or a power cut lose the
 * line that was being typed and nothing else; the same command goes on where it stopped. */
#include "cli/rate.h"

#include "cli/locale.h"
#include "text/unicode.h"

#include <libintl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_BYTES = 9000 };

typedef enum reply { REPLY_TEXT, REPLY_EMPTY, REPLY_BACK, REPLY_QUIT } reply;

typedef struct session {
    mg_ratings_db   *db;
    const mg_sheet  *s;
    mg_sheet_form    form;
    const char      *rater;
    mg_rating       *rating; /* [n] of the sheet's items */
    const mg_sheet_item **asked; /* [n_asked] */
    size_t           n_asked;
    mg_buf           line;
} session;

static bool uses(const session *w, const mg_sheet_item *x, int c) {
    if (c == MG_CRITERION_OK) return w->form != MG_FORM_RUBRIC && !x->ruled;
    return w->form != MG_FORM_OX && !x->same;
}

static bool prefers(const session *w, const mg_sheet_item *x) { return w->form != MG_FORM_OX && !x->same; }

static bool given(const mg_rating *r, int c) { return !isnan(r->score[0][c]) && !isnan(r->score[1][c]); }

static mg_rating *rating_of(const session *w, const mg_sheet_item *x) { return &w->rating[x - w->s->item]; }

static bool complete(const session *w, const mg_sheet_item *x) {
    const mg_rating *r = rating_of(w, x);
    for (int c = 0; c < MG_CRITERIA; c++)
        if (uses(w, x, c) && !given(r, c)) return false;
    return !prefers(w, x) || r->preference != MG_PREFER_OPEN;
}

/* ---- reading ---- */

static void show(const char *text) {
    mg_show_text(text, strlen(text));
}

/* A line without its end; END of input and an interrupt are REPLY_QUIT. */
static reply read_line(session *w, const char *prompt) {
    char byte;
    int  n;
    show(prompt);
    fflush(stdout);
    w->line.len = 0;
    while ((n = mg_read_byte(&byte)) == 1 && byte != '\n')
        if (w->line.len < LINE_BYTES) mg_buf_char(&w->line, byte);
    mg_buf_add(&w->line, "", 0);
    if (n < 0 || mg_interrupted() || (n == 0 && !w->line.len) || w->line.failed) {
        show("\n");
        return REPLY_QUIT;
    }
    while (w->line.len && strchr(" \t\r", w->line.data[w->line.len - 1])) w->line.data[--w->line.len] = 0;
    const char *text = w->line.data;
    return !*text ? REPLY_EMPTY : !strcmp(text, "q") ? REPLY_QUIT : !strcmp(text, "b") ? REPLY_BACK : REPLY_TEXT;
}

/* One mark at *text: a digit (also full-width), o or x in several spellings; -1: none. */
static int read_mark(const char **text, size_t *n, int c) {
    static const uint32_t yes[] = { 'o', 'O', 0x25cb, 0x3007, 0x25ef, '1' }, no[] = { 'x', 'X', 0xd7, 0x2715, 0x2716, 0x274c, '0' };
    uint32_t              x;
    for (size_t len; *n && (len = mg_utf8_next(*text, *n, &x)); ) {
        *text += len;
        *n -= len;
        if (x == ' ' || x == '\t' || x == ',' || x == '/' || x == 0x3000) continue;
        if (x >= 0xff10 && x <= 0xff19) x = x - 0xff10 + '0';
        if (c != MG_CRITERION_OK) return x >= '0' && x <= '9' ? (int)(x - '0') : -1;
        for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
            if (x == yes[i]) return 1;
        for (size_t i = 0; i < sizeof no / sizeof *no; i++)
            if (x == no[i]) return 0;
        return -1;
    }
    return -1;
}

/* Two marks, for the answers as they are shown; one where they are equal.  False: not understood. */
static bool read_marks(const session *w, const mg_sheet_item *x, int c, double out[2]) {
    const char *text = w->line.data;
    size_t      n = w->line.len;
    int         first = read_mark(&text, &n, c), second = x->same ? first : read_mark(&text, &n, c);
    const mg_criterion *k = &mg_criteria[c];
    if (first < k->least || first > k->most || second < k->least || second > k->most) return false;
    while (n && (*text == ' ' || *text == '\t')) text++, n--;
    out[x->swapped] = first;
    out[!x->swapped] = second;
    return n == 0;
}

/* ---- asking ---- */

static void show_item(const session *w, size_t at) {
    const mg_sheet_item *x = w->asked[at];
    mg_buf               b = { 0 };
    mg_buf_printf(&b, "\n── %zu/%zu ──\n%s\n", at + 1, w->n_asked, x->question);
    if (x->expected && *x->expected) mg_buf_printf(&b, gettext("expected: %s\n"), x->expected);
    for (int k = 0; k < (x->same ? 1 : 2); k++) {
        const char *said = x->answer[k ? !x->swapped : x->swapped];
        if (x->same) mg_buf_printf(&b, "\n%s\n", gettext("[both answers are the same]"));
        else mg_buf_printf(&b, "\n[%d]\n", k + 1);
        mg_buf_printf(&b, "%s\n", *said ? said : gettext("(empty)"));
    }
    mg_buf_char(&b, '\n');
    if (!b.failed) show(b.data);
    mg_buf_free(&b);
}

static mg_status put(const session *w, const mg_sheet_item *x, mg_error *err) {
    return mg_ratings_put(w->db, w->s->id, w->rater, false, rating_of(w, x), err);
}

static reply ask_criterion(session *w, const mg_sheet_item *x, int c, mg_status *st, mg_error *err) {
    mg_rating *r = rating_of(w, x);
    char       prompt[200];
    const char *name = !strcmp(mg_locale_lang(), "ja") ? mg_criteria[c].ja : mg_criteria[c].en;
    if (c == MG_CRITERION_OK) snprintf(prompt, sizeof prompt, "○× (o/x) %s: ", x->same ? "" : "[1] [2]");
    else snprintf(prompt, sizeof prompt, "%s (%d-%d) [1] [2]: ", name, mg_criteria[c].least, mg_criteria[c].most);
    for (;;) {
        reply  got = read_line(w, prompt);
        double value[2];
        if (got != REPLY_TEXT) return got;
        if (read_marks(w, x, c, value)) {
            r->score[0][c] = value[0];
            r->score[1][c] = value[1];
            *st = put(w, x, err);
            return *st ? REPLY_QUIT : REPLY_TEXT;
        }
        show(c == MG_CRITERION_OK ? gettext("o for right, x for wrong, for both answers: ox\n") : gettext("two numbers, for answer 1 and answer 2: 4 5\n"));
    }
}

static reply ask_preference(session *w, const mg_sheet_item *x, mg_status *st, mg_error *err) {
    mg_rating *r = rating_of(w, x);
    for (;;) {
        reply got = read_line(w, gettext("better: 1, 2, or 0 for equal: "));
        if (got != REPLY_TEXT) return got;
        const char *text = w->line.data;
        size_t      n = w->line.len;
        int         mark = read_mark(&text, &n, 0);
        if (n || mark < 0 || mark > 2) continue;
        r->preference = !mark ? MG_PREFER_NONE : (mark == 2) == !x->swapped ? MG_PREFER_AFTER : MG_PREFER_BEFORE;
        *st = put(w, x, err);
        return *st ? REPLY_QUIT : REPLY_TEXT;
    }
}

static reply ask_note(session *w, const mg_sheet_item *x, mg_status *st, mg_error *err) {
    mg_rating *r = rating_of(w, x);
    reply      got = read_line(w, gettext("remarks (Enter: none): "));
    if (got != REPLY_TEXT) return got;
    mg_buf clean = { 0 };
    mg_utf8_lossy(&clean, w->line.data, w->line.len);
    mg_buf_add(&clean, "", 0);
    free(r->note);
    r->note = clean.failed ? NULL : clean.data;
    *st = r->note ? put(w, x, err) : mg_fail(err, MG_NOMEM, "no memory for a rating");
    return *st ? REPLY_QUIT : REPLY_TEXT;
}

/* All that is open of one item, or with `again` everything. */
static reply ask_item(session *w, size_t at, bool again, mg_status *st, mg_error *err) {
    const mg_sheet_item *x = w->asked[at];
    reply                got = REPLY_TEXT;
    show_item(w, at);
    for (int c = 0; c < MG_CRITERIA && (got == REPLY_TEXT || got == REPLY_EMPTY); c++)
        if (uses(w, x, c) && (again || !given(rating_of(w, x), c))) got = ask_criterion(w, x, c, st, err);
    if ((got == REPLY_TEXT || got == REPLY_EMPTY) && prefers(w, x) && (again || rating_of(w, x)->preference == MG_PREFER_OPEN))
        got = ask_preference(w, x, st, err);
    if (got == REPLY_TEXT || got == REPLY_EMPTY) got = ask_note(w, x, st, err);
    return got;
}

static mg_status ask_all(session *w, bool *finished, mg_error *err) {
    mg_status st = MG_OK;
    size_t    at = 0, done = 0;
    bool      again = false;
    reply     got = REPLY_TEXT;
    while (at < w->n_asked && got != REPLY_QUIT) {
        if (!again && complete(w, w->asked[at])) {
            at++;
            continue;
        }
        got = ask_item(w, at, again, &st, err);
        again = got == REPLY_BACK && at > 0;
        if (again) at--;
        else if (got != REPLY_QUIT && got != REPLY_BACK) at++;
    }
    for (size_t i = 0; i < w->n_asked; i++) done += complete(w, w->asked[i]);
    *finished = done == w->n_asked;
    if (st) return st;
    mg_buf b = { 0 };
    mg_buf_printf(&b, gettext("\nrated: %zu of %zu questions by %s\n"), done, w->n_asked, w->rater);
    if (done < w->n_asked) mg_buf_str(&b, gettext("everything is kept; the same command goes on\n"));
    if (!b.failed) show(b.data);
    mg_buf_free(&b);
    return mg_interrupted() ? mg_fail(err, MG_STOPPED, "stopped") : MG_OK;
}

/* What the rater has said before. */
static mg_status recall(session *w, mg_error *err) {
    mg_ratings all = { 0 };
    mg_status  st = mg_ratings_load(w->db, w->s->id, w->s->rows, &all, err);
    for (size_t i = 0; i < w->s->n; i++) w->rating[i] = mg_rating_empty(w->s->item[i].row, 0);
    for (size_t k = 0, i = 0; !st && k < all.n; k++) { /* both ascend by row */
        mg_rating *r = &all.rating[k];
        while (i < w->s->n && w->s->item[i].row < r->item) i++;
        if (i == w->s->n || w->s->item[i].row != r->item || all.rater[r->rater].machine || strcmp(all.rater[r->rater].name, w->rater) != 0) continue;
        w->rating[i] = *r;
        r->note = NULL; /* moved */
    }
    mg_ratings_free(&all);
    return st;
}

mg_status mg_rate_terminal(mg_ratings_db *db, const mg_sheet *s, mg_sheet_form form, const char *rater, bool *finished, mg_error *err) {
    session   w = { .db = db, .s = s, .form = form, .rater = rater };
    mg_status st = MG_OK;
    w.rating = mg_calloc(s->n, sizeof *w.rating);
    w.asked = mg_calloc(s->n, sizeof *w.asked);
    if (!w.rating || !w.asked) st = mg_fail(err, MG_NOMEM, "no memory for the ratings");
    for (size_t i = 0; !st && i < s->n; i++)
        if (mg_sheet_asks(&s->item[i], form)) w.asked[w.n_asked++] = &s->item[i];
    if (!st && !w.n_asked) st = mg_fail(err, MG_DATA, "there is nothing to rate in this form: the answers are equal, or rules have judged them");
    if (!st) st = recall(&w, err);
    if (!st) {
        show(gettext("Two models answered; which is [1] and which [2] changes by chance. Enter: leave open, b: back, q: stop. Everything is kept at once.\n"));
        mg_interrupts_begin();
        st = ask_all(&w, finished, err);
        mg_interrupts_end();
    }
    for (size_t i = 0; w.rating && i < s->n; i++) free(w.rating[i].note);
    free(w.rating);
    free(w.asked);
    mg_buf_free(&w.line);
    return st;
}
