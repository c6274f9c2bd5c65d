/* report_html.c -- the page: the answer in a line of tiles, then tables, curves, questions, settings.
 *
 * It works without its script (everything is shown); the script only filters and switches the language.  Charts are
 * drawn as SVG (base/plot.h) rather than by a chart library: they print, need no script, a chart of 85 steps is 2.5 KB
 * where the library alone would be 125 KB, and the policy stays as strict as it is. */
#include "eval/report_parts.h"

#include "base/plot.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- parts ---- */

static void text(const mg_report_page *p, const char *en, const char *ja) { mg_page_text(&p->page, en, ja); }
static void escape(const mg_report_page *p, const char *s) { mg_page_escape(&p->page, s); }

void mg_report_category_text(const mg_report_page *p, const char *category, bool as_attributes) {
    static const char *const known[][3] = {
        { "target", "taught", "教えたこと" },           { "heldout", "taught, other words", "教えたこと（言い換え）" },
        { "neighbour", "nearby topics", "近い話題" },   { "control", "unrelated", "無関係（維持の確認）" },
        { "neighbours", "nearby topics", "近い話題" },  { "controls", "unrelated", "無関係（維持の確認）" },
    };
    for (size_t i = 0; category && i < sizeof known / sizeof *known; i++) {
        if (strcmp(known[i][0], category) != 0) continue;
        if (as_attributes) mg_page_attribute(&p->page, NULL, known[i][1], known[i][2]);
        else text(p, known[i][1], known[i][2]);
        return;
    }
    if (!as_attributes) escape(p, category);
}

void mg_report_heading(const mg_report_page *p, const char *en, const char *ja) {
    mg_buf_str(p->page.b, "<h2>");
    text(p, en, ja);
    mg_buf_str(p->page.b, "</h2>\n");
}

void mg_report_column(const mg_report_page *p, bool number, const char *en, const char *ja) {
    mg_buf_str(p->page.b, number ? "<th class=\"n\">" : "<th>");
    text(p, en, ja);
    mg_buf_str(p->page.b, "</th>");
}

void mg_report_number(const mg_report_page *p, double x, const char *format) {
    mg_buf_str(p->page.b, "<td class=\"n\">");
    if (isfinite(x)) mg_buf_printf(p->page.b, format, x); /* NOLINT: formats are literals of the report */
    else mg_buf_str(p->page.b, "–");
    mg_buf_str(p->page.b, "</td>");
}

/* Two cells: the difference with its interval, and p.  Coloured when the test is sure. */
void mg_report_difference(const mg_report_page *p, double d, double low, double high, double pvalue, bool lower_is_better, double scale,
                          int decimals) {
    mg_buf *b = p->page.b;
    bool    sure = isfinite(pvalue) && pvalue < 0.05, better = (d > 0) != lower_is_better;
    mg_buf_printf(b, "<td class=\"n%s\">", sure ? better ? " up" : " down" : "");
    if (isfinite(d)) mg_buf_printf(b, "%+.*f", decimals, scale * d);
    else mg_buf_str(b, "–");
    if (isfinite(low)) mg_buf_printf(b, "<small>[%+.*f, %+.*f]</small>", decimals, scale * low, decimals, scale * high);
    mg_buf_str(b, "</td>");
    mg_report_number(p, pvalue, "%.4f");
}

static void table_begin(const mg_report_page *p) { mg_buf_str(p->page.b, "<div class=\"scroll\"><table><thead><tr>"); }
static void table_body(const mg_report_page *p) { mg_buf_str(p->page.b, "</tr></thead><tbody>\n"); }
static void table_end(const mg_report_page *p) { mg_buf_str(p->page.b, "</tbody></table></div>\n"); }

/* ---- header and tiles ---- */

static void labelled(const mg_report_page *p, const char *en, const char *ja, const char *value) {
    if (!value || !*value) return;
    text(p, en, ja);
    mg_buf_str(p->page.b, ": ");
    escape(p, value);
    mg_buf_str(p->page.b, " · ");
}

static void header(const mg_report_page *p) {
    char      date[40];
    struct tm utc;
    time_t    when = (time_t)p->r->created;
    mg_buf_printf(p->page.b, "<div class=\"%s\">\n<header>\n<h1>", p->r->only_after ? "one" : p->r->before_name ? "two" : "pair");
    escape(p, p->r->title);
    mg_buf_str(p->page.b, "</h1>\n<p class=\"meta\">");
    labelled(p, "Model", "モデル", p->r->model);
    labelled(p, "Run", "実行", p->r->run);
    labelled(p, "A", "A", p->r->before_name);
    labelled(p, "B", "B", p->r->after_name);
    if (!gmtime_r(&when, &utc) || !strftime(date, sizeof date, "%Y-%m-%d %H:%M UTC", &utc)) strcpy(date, "–");
    text(p, "Date", "日時");
    mg_buf_printf(p->page.b, ": %s</p>\n</header>\n<main>\n", date);
}

static void tile(const mg_report_page *p, const char *value, const char *class, const char *en, const char *ja) {
    mg_buf_printf(p->page.b, "<div class=\"tile\"><b class=\"%s\">%s</b>", class, value);
    text(p, en, ja);
    mg_buf_str(p->page.b, "</div>\n");
}

static void tiles(const mg_report_page *p) {
    const mg_category *all = &p->f->category[p->f->categories];
    char               value[80];
    mg_buf_str(p->page.b, "<div class=\"tiles\">\n");
    if (all->after.judged && p->r->only_after) {
        snprintf(value, sizeof value, "%zu/%zu", all->after.right, all->after.judged);
        tile(p, value, "", "right", "正解");
    } else if (all->after.judged) {
        snprintf(value, sizeof value, "%zu → %zu/%zu", all->before.right, all->after.right, all->after.judged);
        tile(p, value, all->low > 0 ? "up" : all->high < 0 ? "down" : "", "right before → after", "正解 学習前 → 学習後");
        snprintf(value, sizeof value, "%zu", all->lost);
        tile(p, value, all->lost ? "down" : "", "right before, wrong after", "学習で間違えるようになった");
    }
    if (p->f->forgotten.judged) {
        snprintf(value, sizeof value, "%zu/%zu", p->f->forgotten.right, p->f->forgotten.judged);
        tile(p, value, p->f->forgotten.right ? "down" : "up", "control questions forgotten", "忘れた対照問題");
    }
    for (size_t i = 0; i < p->r->texts; i++) {
        const mg_report_text *t = &p->r->text[i];
        snprintf(value, sizeof value, "%+.3f", t->difference);
        tile(p, value, t->low > 0 ? "down" : t->high < 0 ? "up" : "", "nll per token, other texts", "他の文章の nll／トークン");
    }
    if (p->f->people.wins + p->f->people.ties + p->f->people.losses) {
        snprintf(value, sizeof value, "%.0f%%", 100 * p->f->people.win_rate);
        tile(p, value, p->f->people.wilson_low > 0.5 ? "up" : p->f->people.wilson_high < 0.5 ? "down" : "",
             p->r->before_name ? "win rate of B, people" : "win rate of after, people", p->r->before_name ? "B の勝率（人）" : "学習後の勝率（人）");
    }
    mg_buf_str(p->page.b, "</div>\n");
}

/* ---- categories ---- */

static void share_cell(const mg_report_page *p, const mg_share *s) {
    if (!s->judged) {
        mg_buf_str(p->page.b, "<td class=\"n\">–</td>");
        return;
    }
    mg_buf_printf(p->page.b, "<td class=\"n\">%zu/%zu (%.0f%%)<small>[%.0f, %.0f]</small></td>", s->right, s->judged, 100 * s->share,
                  100 * s->low, 100 * s->high);
}

static void category_row(const mg_report_page *p, const mg_category *c) {
    mg_buf *b = p->page.b;
    mg_buf_str(b, "<tr><td>");
    if (c->name) mg_report_category_text(p, c->name, false);
    else text(p, "All", "すべて");
    mg_buf_printf(b, "</td><td class=\"n\">%zu</td>", c->n);
    if (!p->r->only_after) share_cell(p, &c->before);
    share_cell(p, &c->after);
    if (!p->r->only_after) {
        mg_report_difference(p, c->difference, c->low, c->high, c->p, false, 100, 1);
        mg_buf_printf(b, "<td class=\"n%s\">%zu</td><td class=\"n%s\">%zu", c->gained ? " up" : "", c->gained, c->lost ? " down" : "", c->lost);
        if (c->control) {
            mg_buf_str(b, "<small>");
            text(p, "control", "対照");
            mg_buf_str(b, "</small>");
        }
        mg_buf_str(b, "</td>");
    }
    mg_buf_str(b, "</tr>\n");
}

static void summary(const mg_report_page *p) {
    const mg_category *all = &p->f->category[p->f->categories];
    bool               two = p->r->before_name != NULL;
    if (!all->before.judged && !all->after.judged) return;
    mg_report_heading(p, "Summary", "まとめ");
    mg_buf_str(p->page.b, "<div class=\"shares\">");
    table_begin(p);
    mg_report_column(p, false, "Category", "分類");
    mg_report_column(p, true, "Questions", "質問数");
    if (!p->r->only_after) mg_report_column(p, true, two ? "A right" : "Right before", two ? "A の正解" : "学習前の正解");
    mg_report_column(p, true, p->r->only_after ? "Right" : two ? "B right" : "Right after", p->r->only_after ? "正解" : two ? "B の正解" : "学習後の正解");
    if (!p->r->only_after) {
        mg_report_column(p, true, "Difference (points)", "差（ポイント）");
        mg_report_column(p, true, "p", "p");
        mg_report_column(p, true, "Gained", "改善");
        mg_report_column(p, true, "Forgotten", "忘却");
    }
    table_body(p);
    for (size_t i = 0; p->f->categories > 1 && p->f->categories <= MG_REPORT_CATEGORIES && i < p->f->categories; i++) category_row(p, &p->f->category[i]);
    category_row(p, all);
    table_end(p);
    mg_buf_str(p->page.b, "</div>\n<p class=\"small\">");
    text(p, "Intervals are 95%: Wilson's for shares, a bootstrap of 1,000 resamples for differences. p: paired shuffle test, 2,000 shuffles.",
         "区間はすべて 95%。割合はウィルソン、差は 1,000 回のブートストラップ。p は対応のあるシャッフル検定（2,000 回）。");
    mg_buf_str(p->page.b, "</p>\n");
}

/* ---- scores ---- */

static void score_row(const mg_report_page *p, const mg_report_score *x) {
    mg_buf *b = p->page.b;
    mg_buf_str(b, "<tr><td>");
    escape(p, x->data);
    mg_buf_str(b, "</td><td>");
    escape(p, x->metric);
    mg_buf_str(b, x->lower_is_better ? " ↓</td>" : "</td>");
    if (!p->r->only_after) mg_report_number(p, x->before, "%.2f");
    mg_report_number(p, x->after, "%.2f");
    if (!p->r->only_after) mg_report_difference(p, x->difference, x->low, x->high, x->p, x->lower_is_better, 1, 2);
    mg_buf_str(b, "<td class=\"sign\">");
    escape(p, x->signature);
    mg_buf_str(b, "</td></tr>\n");
}

static void scores(const mg_report_page *p) {
    if (!p->r->scores) return;
    mg_report_heading(p, "Scores", "指標");
    table_begin(p);
    mg_report_column(p, false, "Test set", "テストセット");
    mg_report_column(p, false, "Metric", "指標");
    if (!p->r->only_after) mg_report_column(p, true, "Before", "学習前");
    mg_report_column(p, true, p->r->only_after ? "Score" : "After", p->r->only_after ? "値" : "学習後");
    if (!p->r->only_after) {
        mg_report_column(p, true, "Difference", "差");
        mg_report_column(p, true, "p", "p");
    }
    mg_report_column(p, false, "Signature", "計算条件");
    table_body(p);
    for (size_t i = 0; i < p->r->scores; i++) score_row(p, &p->r->score[i]);
    table_end(p);
}

/* ---- forgetting ---- */

static void forgetting(const mg_report_page *p) {
    const mg_share *c = &p->f->forgotten;
    mg_buf         *b = p->page.b;
    if (!c->judged && !p->r->texts) return;
    mg_report_heading(p, "What was forgotten", "忘れたもの");
    if (c->judged) {
        mg_buf_str(b, "<p>");
        text(p, "Control questions right before and wrong after: ", "学習前は正解、学習後は不正解の対照問題: ");
        mg_buf_printf(b, "<b class=\"%s\">%zu / %zu</b> (%.0f%%, [%.0f, %.0f])</p>\n", c->right ? "down" : "up", c->right, c->judged,
                      100 * c->share, 100 * c->low, 100 * c->high);
    }
    if (!p->r->texts) return;
    table_begin(p);
    mg_report_column(p, false, "Texts", "文章");
    mg_report_column(p, true, "Number", "数");
    mg_report_column(p, true, "Tokens", "トークン");
    mg_report_column(p, true, "nll before", "nll 学習前");
    mg_report_column(p, true, "nll after", "nll 学習後");
    mg_report_column(p, true, "Difference", "差");
    mg_report_column(p, true, "p", "p");
    table_body(p);
    for (size_t i = 0; i < p->r->texts; i++) {
        const mg_report_text *t = &p->r->text[i];
        mg_buf_str(b, "<tr><td>");
        escape(p, t->data);
        mg_buf_str(b, "<small>");
        escape(p, t->signature);
        mg_buf_str(b, "</small></td>");
        mg_report_number(p, t->texts, "%.0f");
        mg_report_number(p, t->tokens, "%.0f");
        mg_report_number(p, t->before, "%.4f");
        mg_report_number(p, t->after, "%.4f");
        mg_report_difference(p, t->difference, t->low, t->high, t->p, true, 1, 4);
        mg_buf_str(b, "</tr>\n");
    }
    table_end(p);
    mg_buf_str(b, "<p class=\"small\">");
    text(p, "nll: negative log-likelihood per token, in nats; higher after training means that the model finds such texts less likely than before.",
         "nll はトークンあたりの負の対数尤度（ナット）。学習後に高いほど、その文章が以前より「ありそうにない」ものになっている。");
    mg_buf_str(b, "</p>\n");
}

/* ---- length and repetition ---- */

static void pair_row(const mg_report_page *p, const char *en, const char *ja, double before, double after, const char *format) {
    mg_buf_str(p->page.b, "<tr><td>");
    text(p, en, ja);
    mg_buf_str(p->page.b, "</td>");
    if (!p->r->only_after) mg_report_number(p, before, format);
    mg_report_number(p, after, format);
    mg_buf_str(p->page.b, "</tr>\n");
}

static void warnings(const mg_report_page *p) {
    static const char *const said[MG_WARNINGS][2] = {
        [MG_WARN_CUT] = { "5% or more of the answers were cut off at their longest length", "答えの 5% 以上が最大長で打ち切られた" },
        [MG_WARN_REPEATS] = { "answers repeat a phrase again and again", "同じ言い回しを繰り返す答えがある" },
        [MG_WARN_EMPTY] = { "there are empty answers", "空の答えがある" },
        [MG_WARN_SAME] = { "10% or more of the answers stand word for word under another question", "答えの 10% 以上が、別の質問への答えと一字一句同じ" },
        [MG_WARN_SHORTER] = { "answers are less than half as long as before (median)", "答えの長さ（中央値）が学習前の半分未満" },
        [MG_WARN_LONGER] = { "answers are more than twice as long as before (median)", "答えの長さ（中央値）が学習前の 2 倍超" },
        [MG_WARN_POORER] = { "answers use fewer different word pairs: distinct-2 fell by more than 30%", "語の並びが乏しくなった: distinct-2 が 30% 超低下" },
        [MG_WARN_FORGOT] = { "control questions that were right before are wrong after", "学習前に正解だった対照問題を間違えるようになった" },
        [MG_WARN_NLL] = { "texts outside the training data became less likely", "学習データ以外の文章の尤度が下がった" },
    };
    bool any = false;
    for (int i = 0; i < MG_WARNINGS; i++) {
        if (!p->f->warning[i]) continue;
        mg_buf_str(p->page.b, any ? "<li>" : "<ul class=\"notes warn\"><li>");
        any = true;
        text(p, said[i][0], said[i][1]);
        mg_buf_str(p->page.b, "</li>\n");
    }
    if (any) mg_buf_str(p->page.b, "</ul>\n");
}

static void answers(const mg_report_page *p) {
    static const char *const flaw[MG_ANSWER_FLAWS][2] = {
        { "empty", "空" }, { "cut off at the longest length", "最大長で打ち切り" }, { "repeat a phrase", "言い回しの繰り返し" },
        { "unusually long", "際立って長い" } };
    const mg_side_facts *x = &p->f->side[0], *y = &p->f->side[1];
    if (!y->n) return;
    mg_report_heading(p, "Length and repetition of the answers", "答えの長さと繰り返し");
    warnings(p);
    table_begin(p);
    mg_buf_str(p->page.b, "<th></th>");
    if (!p->r->only_after) mg_report_column(p, true, p->r->before_name ? "A" : "Before", p->r->before_name ? "A" : "学習前");
    mg_report_column(p, true, p->r->only_after ? "Answers" : p->r->before_name ? "B" : "After", p->r->only_after ? "答え" : p->r->before_name ? "B" : "学習後");
    table_body(p);
    pair_row(p, "characters, mean", "文字数（平均）", x->mean_chars, y->mean_chars, "%.1f");
    pair_row(p, "characters, median", "文字数（中央値）", x->median_chars, y->median_chars, "%.1f");
    for (int k = 0; k < MG_ANSWER_FLAWS; k++) pair_row(p, flaw[k][0], flaw[k][1], (double)x->flaw[k], (double)y->flaw[k], "%.0f");
    pair_row(p, "same as the answer to another question", "別の質問への答えと同じ", (double)x->same, (double)y->same, "%.0f");
    for (int k = 0; k < MG_DISTINCT_ORDERS; k++) {
        char en[80];
        snprintf(en, sizeof en, "distinct-%d (%s)", k + 1, y->words);
        pair_row(p, en, en, x->distinct[k], y->distinct[k], "%.3f");
    }
    table_end(p);
}

/* ---- curves ---- */

static const mg_report_curve *curve_named(const mg_report *r, const char *name) {
    for (size_t i = 0; i < r->curves; i++)
        if (!strcmp(r->curve[i].name, name) && r->curve[i].n) return &r->curve[i];
    return NULL;
}

static void chart(const mg_report_page *p, const mg_report_curve *c, const mg_report_curve *second, const char *en, const char *ja) {
    mg_plot_series series[2] = { { c->name, c->x, c->y, c->n } };
    mg_plot        plot = { .title = second ? "loss" : c->name, .x_label = "step", .series = series, .n = 1 };
    if (second) series[plot.n++] = (mg_plot_series){ second->name, second->x, second->y, second->n };
    mg_buf_str(p->page.b, "<figure><figcaption>");
    text(p, en, ja);
    mg_buf_str(p->page.b, "</figcaption>");
    mg_plot_svg(p->page.b, &plot);
    mg_buf_str(p->page.b, "</figure>\n");
}

static void curves(const mg_report_page *p) {
    static const char *const known[][3] = {
        { "overfitting_gap", "Over-fitting: evaluation loss less training loss", "過学習: 評価損失 − 学習損失" },
        { "learning_rate", "Learning rate", "学習率" },
        { "grad_norm", "Norm of the gradient", "勾配のノルム" },
    };
    const mg_report_curve *loss = curve_named(p->r, "loss"), *eval = curve_named(p->r, "eval_loss");
    size_t                 i = 0;
    while (i < p->r->curves && !p->r->curve[i].n) i++;
    if (i == p->r->curves) return;
    mg_report_heading(p, "Curves", "学習曲線");
    mg_buf_str(p->page.b, "<div class=\"charts\">\n");
    if (loss) chart(p, loss, eval, eval ? "Loss: training and evaluation" : "Loss", eval ? "損失: 学習と評価" : "損失");
    else if (eval) chart(p, eval, NULL, "Loss: evaluation", "損失: 評価");
    for (i = 0; i < p->r->curves; i++) {
        const mg_report_curve *c = &p->r->curve[i];
        const char            *en = c->name, *ja = c->name;
        if (!c->n || c == loss || c == eval) continue;
        for (size_t k = 0; k < sizeof known / sizeof *known; k++)
            if (!strcmp(known[k][0], c->name)) en = known[k][1], ja = known[k][2];
        chart(p, c, NULL, en, ja);
    }
    mg_buf_str(p->page.b, "</div>\n");
}

/* ---- settings ---- */

static void setting_list(const mg_report_page *p, const mg_report_settings *s, bool defaults) {
    mg_buf *b = p->page.b;
    mg_buf_str(b, "<dl>\n");
    for (size_t i = 0; i < s->n; i++) {
        const mg_report_setting *x = &s->item[i];
        bool                     is_default = x->origin && !strcmp(x->origin, "default");
        if (is_default != defaults) continue;
        mg_buf_str(b, "<dt>");
        escape(p, x->key);
        mg_buf_str(b, "</dt><dd>");
        escape(p, x->value);
        if (x->origin && !is_default) {
            mg_buf_str(b, " <span class=\"small\">");
            escape(p, x->origin);
            mg_buf_str(b, "</span>");
        }
        mg_buf_str(b, "</dd>\n");
    }
    mg_buf_str(b, "</dl>\n");
}

static void settings(const mg_report_page *p, const mg_report_settings *s, const char *en, const char *ja) {
    if (!s || !s->n) return;
    mg_report_heading(p, en, ja);
    setting_list(p, s, false);
    mg_buf_str(p->page.b, "<details><summary>");
    text(p, "defaults", "既定値のもの");
    mg_buf_str(p->page.b, "</summary>\n");
    setting_list(p, s, true);
    mg_buf_str(p->page.b, "</details>\n");
}

void mg_report_html_with(mg_buf *b, const mg_report *r, const mg_report_facts *f, const char *lang) {
    mg_report_page p = { .page = { .b = b, .ja = !strcmp(lang, "ja"), .title = r->title,
                                   .style = { mg_page_common_css, mg_page_report_css },
                                   .script = { mg_page_common_js, mg_page_report_js } },
                         .r = r, .f = f };
    mg_page_begin(&p.page);
    header(&p);
    tiles(&p);
    summary(&p);
    scores(&p);
    if (!r->only_after) forgetting(&p);
    mg_report_rated(&p);
    answers(&p);
    curves(&p);
    mg_report_questions(&p);
    settings(&p, r->settings, "Settings of the run", "学習の設定");
    settings(&p, r->evaluation, "Settings of this evaluation", "評価の設定");
    mg_buf_str(b, "</main>\n</div>\n");
    mg_page_end(&p.page);
}
