/* report_rows.c -- the questions with their filters, and what raters said.
 *
 * A row is as small as it can be, because there may be ten thousand: labels, marks and colours come from its classes
 * (page/report.css), so both languages cost nothing a row, and rows outside the window are not laid out. */
#include "eval/report_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void text(const mg_report_page *p, const char *en, const char *ja) { mg_page_text(&p->page, en, ja); }
static void escape(const mg_report_page *p, const char *s) { mg_page_escape(&p->page, s); }

/* ---- what raters said ---- */

static void preference_row(const mg_report_page *p, const mg_rating_summary *s, const char *en, const char *ja) {
    mg_buf *b = p->page.b;
    mg_buf_str(b, "<p>");
    text(p, en, ja);
    mg_buf_printf(b, ": %zu ", s->raters);
    text(p, "raters", "名");
    mg_buf_printf(b, ", %zu ", s->items);
    text(p, "questions", "問");
    if (s->wins + s->ties + s->losses) {
        mg_buf_str(b, " · ");
        text(p, p->r->before_name ? "B better" : "after better", p->r->before_name ? "B の勝ち" : "学習後の勝ち");
        mg_buf_printf(b, " %zu, ", s->wins);
        text(p, "tie", "引き分け");
        mg_buf_printf(b, " %zu, ", s->ties);
        text(p, p->r->before_name ? "A better" : "before better", p->r->before_name ? "A の勝ち" : "学習前の勝ち");
        mg_buf_printf(b, " %zu · <b class=\"%s\">", s->losses, s->wilson_low > 0.5 ? "up" : s->wilson_high < 0.5 ? "down" : "");
        text(p, "win rate", "勝率");
        mg_buf_printf(b, " %.1f%%</b> [%.1f, %.1f]", 100 * s->win_rate, 100 * s->low, 100 * s->high);
        if (isfinite(s->decided)) {
            mg_buf_str(b, ", ");
            text(p, "without ties", "引き分けを除く");
            mg_buf_printf(b, " %.1f%% [%.1f, %.1f]", 100 * s->decided, 100 * s->wilson_low, 100 * s->wilson_high);
        }
        if (isfinite(s->alpha)) mg_buf_printf(b, " · α = %.3f", s->alpha);
    }
    mg_buf_str(b, "</p>\n");
}

static void criteria(const mg_report_page *p, const mg_rating_summary *s) {
    mg_buf *b = p->page.b;
    size_t  any = 0;
    for (int c = 0; c < MG_CRITERIA; c++) any += s->line[c].n;
    if (!any) return;
    mg_buf_str(b, "<div class=\"scroll\"><table><thead><tr>");
    mg_report_column(p, false, "Criterion", "観点");
    mg_report_column(p, true, "Ratings", "評価数");
    mg_report_column(p, true, p->r->before_name ? "A" : "Before", p->r->before_name ? "A" : "学習前");
    mg_report_column(p, true, p->r->before_name ? "B" : "After", p->r->before_name ? "B" : "学習後");
    mg_report_column(p, true, "Difference", "差");
    mg_report_column(p, true, "p", "p");
    mg_report_column(p, true, "Agreement α", "一致度 α");
    mg_buf_str(b, "</tr></thead><tbody>\n");
    for (int c = 0; c < MG_CRITERIA; c++) {
        const mg_rating_line *x = &s->line[c];
        if (!x->n) continue;
        mg_buf_str(b, "<tr><td>");
        text(p, mg_criteria[c].en, mg_criteria[c].ja);
        mg_buf_printf(b, "</td><td class=\"n\">%zu</td>", x->n);
        mg_report_number(p, x->before, "%.2f");
        mg_report_number(p, x->after, "%.2f");
        mg_report_difference(p, x->difference, x->low, x->high, x->p, false, 1, 2);
        mg_report_number(p, x->alpha, "%.3f");
        mg_buf_str(b, "</tr>\n");
    }
    mg_buf_str(b, "</tbody></table></div>\n");
}

void mg_report_rated(const mg_report_page *p) {
    if (!p->r->ratings || !p->r->ratings->n) return;
    mg_report_heading(p, "Blind ratings", "ブラインド評価");
    if (p->f->people.ratings) {
        preference_row(p, &p->f->people, "People", "人");
        criteria(p, &p->f->people);
    }
    if (p->f->machines.ratings) {
        preference_row(p, &p->f->machines, "Language models as judges", "LLM による評価");
        criteria(p, &p->f->machines);
    }
    if (p->f->people.ratings && p->f->machines.ratings && isfinite(p->f->alpha_all)) {
        mg_buf_str(p->page.b, "<p>");
        text(p, "Agreement of people and models about the better answer", "人と LLM を合わせた好みの一致度");
        mg_buf_printf(p->page.b, ": α = %.3f</p>\n", p->f->alpha_all);
    }
    mg_buf_str(p->page.b, "<p class=\"small\">");
    text(p, "Answers were shown in random order, without names. Points are 1 to 5. Win rate: a tie is half a win; 95% interval by resampling questions, "
            "without ties Wilson's. α: Krippendorff's, 1 is full agreement, 0 chance; below 0.667 raters do not agree enough to conclude anything.",
         "答えは名前を伏せ、無作為な順で見せた。点数は 1〜5。勝率では引き分けを半勝とし、95% 区間は質問の再抽出、引き分けを除く場合はウィルソン。"
         "α はクリッペンドルフの一致度で、1 が完全一致、0 が偶然。0.667 未満なら評価者の判断はそろっていない。");
    mg_buf_str(p->page.b, "</p>\n");
}

/* Ratings of the rows: ratings are in the order of their entry, so a list for each row is made first. */
typedef struct by_row {
    size_t *first, *next; /* SIZE_MAX ends a list */
} by_row;

static void ratings_by_row(const mg_report *r, by_row *w) {
    const mg_ratings *x = r->ratings;
    if (!x || !x->n) return;
    w->first = mg_calloc(r->rows + 1, sizeof *w->first);
    w->next = mg_calloc(x->n, sizeof *w->next);
    if (!w->first || !w->next) {
        free(w->first);
        free(w->next);
        *w = (by_row){ 0 };
        return;
    }
    for (size_t i = 0; i < r->rows; i++) w->first[i] = SIZE_MAX;
    for (size_t i = x->n; i-- > 0;) {
        if (x->rating[i].item >= r->rows) continue;
        w->next[i] = w->first[x->rating[i].item];
        w->first[x->rating[i].item] = i;
    }
}

static void rating(const mg_report_page *p, const mg_rating *x) {
    mg_buf *b = p->page.b;
    bool    two = p->r->before_name != NULL;
    mg_buf_str(b, "<p class=\"m small\">");
    escape(p, p->r->ratings->rater[x->rater].name);
    mg_buf_str(b, ": ");
    if (x->preference == MG_PREFER_AFTER) text(p, two ? "B better" : "after better", two ? "B が良い" : "学習後が良い");
    if (x->preference == MG_PREFER_NONE) text(p, "tie", "引き分け");
    if (x->preference == MG_PREFER_BEFORE) text(p, two ? "A better" : "before better", two ? "A が良い" : "学習前が良い");
    for (int c = 0; c < MG_CRITERIA; c++) {
        const double *s[2] = { &x->score[0][c], &x->score[1][c] };
        if (isnan(*s[0]) && isnan(*s[1])) continue;
        mg_buf_str(b, " · ");
        text(p, mg_criteria[c].en, mg_criteria[c].ja);
        for (int side = 0; side < 2; side++) {
            mg_buf_str(b, side ? " → " : " ");
            if (isnan(*s[side])) mg_buf_str(b, "–");
            else if (c == MG_CRITERION_OK) mg_buf_str(b, *s[side] > 0.5 ? "○" : "×");
            else mg_buf_printf(b, "%g", *s[side]);
        }
    }
    if (x->note && *x->note) {
        mg_buf_str(b, " · ");
        escape(p, x->note);
    }
    mg_buf_str(b, "</p>\n");
}

/* ---- a question ---- */

static void flaws(const mg_report_page *p, size_t i, int side) {
    static const char *const said[MG_ANSWER_FLAWS][2] = {
        { "empty", "空" }, { "cut off", "打ち切り" }, { "repeats", "繰り返し" }, { "unusually long", "際立って長い" } };
    mg_buf *b = p->page.b;
    uint8_t set = p->f->flaws[side][i];
    if (!set) return;
    mg_buf_str(b, "<span class=\"w\">");
    for (int k = 0, any = 0; k < MG_ANSWER_FLAWS; k++) {
        if (!(set >> k & 1)) continue;
        mg_buf_str(b, any++ ? ", " : "");
        text(p, said[k][0], said[k][1]);
        if (1 << k != MG_ANSWER_REPEATS) continue;
        const char *text_of = side ? p->r->row[i].after : p->r->row[i].before;
        char       *phrase = mg_strndup(text_of + p->f->phrase[side][i].at, p->f->phrase[side][i].len);
        if (!phrase) b->failed = true;
        else {
            mg_buf_str(b, " “");
            escape(p, phrase);
            mg_buf_str(b, "”");
        }
        free(phrase);
    }
    mg_buf_str(b, "</span>");
}

static void answer(const mg_report_page *p, size_t i, int side) {
    const char *said = side ? p->r->row[i].after : p->r->row[i].before;
    int         ok = p->f->ok[side][i];
    mg_buf_printf(p->page.b, "<div class=\"t %c%s%s\">", side ? 'a' : 'b', ok < 0 ? "" : ok ? " o" : " z", said && *said ? "" : " empty");
    escape(p, said);
    flaws(p, i, side);
    mg_buf_str(p->page.b, "</div>\n");
}

/* Classes that the filter asks for: right, wrong, changed, gained, lost, control, warned, open. */
static void states(const mg_report_page *p, size_t i) {
    int         before = p->f->ok[0][i], after = p->f->ok[1][i];
    const char *a = p->r->row[i].before, *z = p->r->row[i].after;
    bool        changed = p->r->only_after ? false : before != after || strcmp(a ? a : "", z ? z : "") != 0;
    mg_buf_printf(p->page.b, "%s%s%s%s%s%s", after < 0 ? " open" : after ? " right" : " wrong", changed ? " changed" : "",
                  before == 0 && after == 1 ? " gained" : "", before == 1 && after == 0 ? " lost" : "", p->r->row[i].control ? " control" : "",
                  p->f->flaws[0][i] | p->f->flaws[1][i] ? " warned" : "");
}

static void question(const mg_report_page *p, size_t i, const by_row *rated) {
    const mg_report_row *q = &p->r->row[i];
    mg_buf              *b = p->page.b;
    mg_buf_str(b, "<article class=\"q");
    states(p, i);
    mg_buf_printf(b, "\" data-c=\"%u\"><div><h3>", p->f->of_row[i]);
    if (q->category && *q->category) {
        mg_buf_str(b, "<small>");
        mg_report_category_text(p, q->category, false);
        mg_buf_str(b, "</small>");
    }
    escape(p, q->question);
    mg_buf_str(b, "</h3>");
    if (q->expected && *q->expected) {
        mg_buf_str(b, "<p class=\"x\">");
        escape(p, q->expected);
        mg_buf_str(b, "</p>");
    }
    mg_buf_str(b, "</div>\n");
    if (!p->r->only_after) answer(p, i, 0);
    answer(p, i, 1);
    if (q->note && *q->note) {
        mg_buf_str(b, "<p class=\"m\">");
        escape(p, q->note);
        mg_buf_str(b, "</p>\n");
    }
    for (size_t k = rated->first ? rated->first[i] : SIZE_MAX; k != SIZE_MAX; k = rated->next[k]) rating(p, &p->r->ratings->rating[k]);
    mg_buf_str(b, "</article>\n");
}

static void filters(const mg_report_page *p) {
    static const char *const state[][3] = { { "", "All", "すべて" }, { "right", "Right ○", "正解 ○" }, { "wrong", "Wrong ×", "不正解 ×" },
                                            { "changed", "Changed", "変化あり" }, { "gained", "Gained", "改善" }, { "lost", "Lost", "忘却" },
                                            { "warned", "⚠", "⚠" } };
    mg_buf *b = p->page.b;
    mg_buf_str(b, "<div class=\"filter screen\" hidden>\n");
    for (size_t i = 0; i < sizeof state / sizeof *state; i++) {
        if (p->r->only_after && i > 2 && i < 6) continue;
        mg_buf_printf(b, "<button type=\"button\" value=\"%s\" aria-pressed=\"%s\">", state[i][0], i ? "false" : "true");
        text(p, state[i][1], state[i][2]);
        mg_buf_str(b, "</button>\n");
    }
    mg_buf_str(b, "<select");
    mg_page_attribute(&p->page, "aria-label", "Category", "分類");
    mg_buf_str(b, "><option value=\"\"");
    mg_page_attribute(&p->page, NULL, "every category", "すべての分類");
    mg_buf_str(b, p->page.ja ? ">すべての分類</option>\n" : ">every category</option>\n");
    for (size_t i = 0; i < p->f->categories; i++) {
        mg_buf_printf(b, "<option value=\"%zu\"", i);
        mg_report_category_text(p, p->f->category[i].name, true);
        mg_buf_char(b, '>');
        escape(p, p->f->category[i].name);
        mg_buf_str(b, "</option>\n");
    }
    mg_buf_str(b, "</select>\n<input type=\"search\"");
    mg_page_attribute(&p->page, "placeholder", "search in questions and answers", "質問と答えを検索");
    mg_buf_str(b, "><output class=\"small\"></output>\n</div>\n");
}

void mg_report_questions(const mg_report_page *p) {
    by_row rated = { 0 };
    if (!p->r->rows) return;
    if (p->r->only_after) mg_report_heading(p, "Questions and answers", "質問と答え");
    else if (p->r->before_name) mg_report_heading(p, "Questions: A and B", "質問: A と B");
    else mg_report_heading(p, "Questions: before and after", "質問: 学習前と学習後");
    filters(p);
    ratings_by_row(p->r, &rated);
    for (size_t i = 0; i < p->r->rows; i++) question(p, i, &rated);
    free(rated.first);
    free(rated.next);
}
