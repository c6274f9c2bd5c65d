/* report.c -- the before/after report as JSON and as one HTML page.
 *
 * The page works without its script (everything is shown); the script only
 * filters.  Style and script are constants, named in the policy by their SHA-256, so
 * nothing else can run: not even markup that would slip through the escaping.
 * Texts of the page are rows of two languages, because the page outlives the
 * terminal's locale. */
#include "eval/report.h"

#include "base/file.h"
#include "base/json.h"
#include "base/plot.h"

#include <math.h>
#include <sha2.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- texts ---- */

typedef enum {
    T_BEFORE, T_AFTER, T_EXPECTED, T_ALL, T_SETTINGS, T_CURVES, T_SUMMARY, T_CATEGORY, T_QUESTIONS, T_CORRECT_BEFORE,
    T_CORRECT_AFTER, T_GAINED, T_LOST, T_CHANGED_ONLY, T_MODEL, T_RUN, T_DATE, T_STEP, T_YES, T_NO, T_OPEN, T_NONE, T_SCORES, T_DATA, T_METRIC, T_DIFFERENCE, T_INTERVAL, T_SIGNATURE, T_ANSWER, TEXTS
} text_id;

static const char *const texts[TEXTS][2] = {
    [T_BEFORE] = { "Before", "学習前" },
    [T_AFTER] = { "After", "学習後" },
    [T_EXPECTED] = { "Expected", "期待する答え" },
    [T_ALL] = { "All", "すべて" },
    [T_SETTINGS] = { "Settings", "設定" },
    [T_CURVES] = { "Curves", "学習曲線" },
    [T_SUMMARY] = { "Summary", "まとめ" },
    [T_CATEGORY] = { "Category", "分類" },
    [T_QUESTIONS] = { "Questions", "質問数" },
    [T_CORRECT_BEFORE] = { "Correct before", "学習前の正解" },
    [T_CORRECT_AFTER] = { "Correct after", "学習後の正解" },
    [T_GAINED] = { "Gained", "改善" },
    [T_LOST] = { "Lost", "悪化" },
    [T_CHANGED_ONLY] = { "Only answers judged differently", "判定が変わった答えだけ" },
    [T_MODEL] = { "Model", "モデル" },
    [T_RUN] = { "Run", "実行" },
    [T_DATE] = { "Date", "日時" },
    [T_STEP] = { "step", "ステップ" },
    [T_YES] = { "correct", "正解" },
    [T_NO] = { "wrong", "不正解" },
    [T_OPEN] = { "not judged", "判定なし" },
    [T_SCORES] = { "Scores", "指標" },
    [T_DATA] = { "Test set", "テストセット" },
    [T_METRIC] = { "Metric", "指標" },
    [T_DIFFERENCE] = { "Difference", "差" },
    [T_INTERVAL] = { "95% interval", "95% 区間" },
    [T_SIGNATURE] = { "Signature", "計算条件" },
    [T_ANSWER] = { "Answer", "答え" },
    [T_NONE] = { "(empty)", "（空）" },
};

static const char style[] =
    ":root{color-scheme:light dark;--bg:#fff;--fg:#1c1c1e;--soft:#f3f4f6;--line:#d5d8dd;--good:#0a6b47;--goodbg:#e2f5ec;"
    "--bad:#a3231a;--badbg:#fdeae8;--accent:#0b5cad}"
    "@media(prefers-color-scheme:dark){:root{--bg:#16181c;--fg:#e8e8ea;--soft:#22252b;--line:#3a3f47;--good:#6fdcae;"
    "--goodbg:#12372a;--bad:#ff9d94;--badbg:#45201d;--accent:#7db9f5}}"
    "*{box-sizing:border-box}td.n{white-space:nowrap}.sign{font-size:.75rem;min-width:12rem;overflow-wrap:anywhere}"
    "body{margin:0 auto;padding:1rem;max-width:76rem;background:var(--bg);color:var(--fg);"
    "font:16px/1.65 system-ui,'Hiragino Sans','Noto Sans CJK JP','Yu Gothic',sans-serif}"
    "h1{font-size:1.5rem;line-height:1.3;margin:.3rem 0}h2{font-size:1.15rem;margin:2rem 0 .6rem}"
    ".meta{color:var(--fg);opacity:.75;font-size:.9rem;overflow-wrap:anywhere}"
    ".scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.95rem}"
    "th,td{padding:.35rem .6rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}"
    "@media(max-width:30rem){th,td{padding:.3rem .25rem}table{font-size:.82rem}" /* the right ones say of how many */
    "th:nth-child(2),td:nth-child(2){display:none}}"
    "td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}"
    ".filter{display:flex;flex-wrap:wrap;gap:.4rem;margin:.6rem 0;align-items:center}"
    "button{font:inherit;font-size:.9rem;padding:.25rem .8rem;border:1px solid var(--line);border-radius:1rem;"
    "background:var(--soft);color:inherit;cursor:pointer}"
    "button[aria-pressed=true]{background:var(--accent);border-color:var(--accent);color:var(--bg)}"
    "button:focus-visible,input:focus-visible{outline:2px solid var(--accent);outline-offset:2px}"
    "article{border:1px solid var(--line);border-radius:.6rem;margin:.8rem 0;padding:.8rem;break-inside:avoid}"
    "article h3{font-size:1rem;margin:0 0 .5rem;overflow-wrap:anywhere;white-space:pre-wrap}"
    ".tag{display:inline-block;font-size:.78rem;font-weight:400;border:1px solid var(--line);border-radius:.8rem;"
    "padding:0 .55rem;margin-right:.5rem;vertical-align:.1em}"
    ".pair{display:grid;grid-template-columns:1fr;gap:.6rem}"
    ".answer{background:var(--soft);border-radius:.4rem;padding:.5rem .7rem;overflow-wrap:anywhere;white-space:pre-wrap;"
    "border-left:4px solid var(--line)}"
    ".answer b{display:block;font-size:.8rem;white-space:normal}"
    ".good{background:var(--goodbg);border-left-color:var(--good)}.good b{color:var(--good)}"
    ".bad{background:var(--badbg);border-left-color:var(--bad)}.bad b{color:var(--bad)}"
    ".note,.expected{font-size:.9rem;margin:.5rem 0 0;overflow-wrap:anywhere;white-space:pre-wrap}"
    ".up{color:var(--good)}.down{color:var(--bad)}"
    ".charts{display:grid;grid-template-columns:1fr;gap:1rem}svg{width:100%;height:auto;display:block}"
    "dl{display:grid;grid-template-columns:minmax(8rem,auto) 1fr;gap:.15rem 1rem;margin:0;font-size:.92rem}"
    "dt{opacity:.8;overflow-wrap:anywhere}dd{margin:0;overflow-wrap:anywhere}"
    "@media(min-width:48rem){.pair{grid-template-columns:1fr 1fr}.charts{grid-template-columns:1fr 1fr}body{padding:2rem}}"
    "@media print{.filter{display:none}body{max-width:none;padding:0;font-size:11pt}"
    ":root{--bg:#fff;--fg:#000;--soft:#f5f5f5;--goodbg:#eef8f3;--badbg:#fdf1f0;--good:#0a6b47;--bad:#a3231a;--line:#bbb}}"
    "[hidden]{display:none}";

static const char script[] =
    "'use strict';(()=>{const f=document.querySelector('.filter');f.hidden=false;"
    "const b=[...f.querySelectorAll('button')],c=f.querySelector('input'),a=[...document.querySelectorAll('article')];"
    "let k='';const s=()=>a.forEach(e=>{e.hidden=(k&&e.dataset.category!==k)||(c.checked&&!e.dataset.changed)});"
    "b.forEach(x=>x.addEventListener('click',()=>{k=x.dataset.category;"
    "b.forEach(y=>y.setAttribute('aria-pressed',y===x));s()}));c.addEventListener('change',s)})()";

/* ---- JSON ---- */

static void quote(mg_buf *b, const char *s) {
    if (s)
        mg_json_quote(b, s, strlen(s));
    else
        mg_buf_str(b, "null");
}

static void member(mg_buf *b, const char *key, const char *s) {
    mg_buf_printf(b, ", \"%s\": ", key);
    quote(b, s);
}

static void judged(mg_buf *b, const char *key, int ok) {
    mg_buf_printf(b, ", \"%s\": %s", key, ok < 0 ? "null" : ok ? "true" : "false");
}

static void number(mg_buf *b, double x) {
    if (isfinite(x))
        mg_buf_printf(b, "%.9g", x);
    else
        mg_buf_str(b, "null");
}

static void json_curve(mg_buf *b, const mg_report_curve *c) {
    mg_buf_str(b, "    {\"name\": ");
    quote(b, c->name);
    mg_buf_str(b, ", \"points\": [");
    for (size_t i = 0; i < c->n; i++) {
        mg_buf_str(b, i ? ", [" : "[");
        number(b, c->x[i]);
        mg_buf_str(b, ", ");
        number(b, c->y[i]);
        mg_buf_char(b, ']');
    }
    mg_buf_str(b, "]}");
}

static void json_score(mg_buf *b, const mg_report_score *x, bool only_after, bool more) {
    mg_buf_str(b, more ? ",\n    {\"data\": " : "\n    {\"data\": ");
    quote(b, x->data);
    member(b, "metric", x->metric);
    const struct {
        const char *key;
        double      value;
    } v[] = { { "after", x->after }, { "before", x->before }, { "difference", x->difference }, { "low", x->low },
              { "high", x->high }, { "p", x->p } };
    for (size_t i = 0; i < (only_after ? 1 : sizeof v / sizeof *v); i++) {
        mg_buf_printf(b, ", \"%s\": ", v[i].key);
        number(b, v[i].value);
    }
    mg_buf_printf(b, ", \"higher_is_better\": %s", x->lower_is_better ? "false" : "true");
    member(b, "signature", x->signature);
    mg_buf_char(b, '}');
}

void mg_report_json(mg_buf *b, const mg_report *r) {
    mg_buf_str(b, "{\n  \"title\": ");
    quote(b, r->title);
    member(b, "model", r->model);
    member(b, "run", r->run);
    mg_buf_printf(b, ", \"created\": %lld,\n  \"settings\": {", (long long)r->created);
    for (size_t i = 0; i < r->settings; i++) {
        mg_buf_str(b, i ? ",\n    " : "\n    ");
        quote(b, r->setting[i].key);
        mg_buf_str(b, ": ");
        quote(b, r->setting[i].value);
    }
    mg_buf_str(b, "\n  },\n  \"curves\": [");
    for (size_t i = 0; i < r->curves; i++) {
        mg_buf_str(b, i ? ",\n" : "\n");
        json_curve(b, &r->curve[i]);
    }
    mg_buf_str(b, "\n  ],\n  \"scores\": [");
    for (size_t i = 0; i < r->scores; i++) json_score(b, &r->score[i], r->only_after, i > 0);
    mg_buf_str(b, "\n  ],\n  \"rows\": [");
    for (size_t i = 0; i < r->rows; i++) {
        const mg_report_row *q = &r->row[i];
        mg_buf_str(b, i ? ",\n    {\"question\": " : "\n    {\"question\": ");
        quote(b, q->question);
        member(b, "category", q->category);
        member(b, "expected", q->expected);
        member(b, "before", q->before);
        member(b, "after", q->after);
        judged(b, "ok_before", q->ok_before);
        judged(b, "ok_after", q->ok_after);
        member(b, "note", q->note);
        mg_buf_char(b, '}');
    }
    mg_buf_str(b, "\n  ]\n}\n");
}

/* ---- HTML ---- */

typedef struct {
    mg_buf          *b;
    const mg_report *r;
    int              lang; /* 0 en, 1 ja */
} page;

static const char *t(const page *p, text_id id) { return texts[id][p->lang]; }
static void        escape(const page *p, const char *s) { mg_xml_escape(p->b, s ? s : ""); }

/* The categories of the demo have names in both languages; others stand as they are. */
static const char *category_text(const page *p, const char *category) {
    static const char *const known[][3] = {
        { "target", "taught", "教えたこと" },           { "heldout", "taught, other words", "教えたこと（言い換え）" },
        { "neighbour", "nearby topics", "近い話題" },   { "control", "unrelated", "無関係（維持の確認）" },
        { "neighbours", "nearby topics", "近い話題" },  { "controls", "unrelated", "無関係（維持の確認）" },
    };
    for (size_t i = 0; category && i < sizeof known / sizeof *known; i++)
        if (!strcmp(known[i][0], category)) return known[i][1 + p->lang];
    return category;
}

/* "sha256-..." of a constant, as a policy wants it. */
static void policy_hash(mg_buf *b, const char *text) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint8_t           d[SHA256_DIGEST_LENGTH + 1] = { 0 };
    SHA2_CTX          c;
    SHA256Init(&c);
    SHA256Update(&c, (const uint8_t *)text, strlen(text));
    SHA256Final(d, &c);
    mg_buf_str(b, "'sha256-");
    for (int i = 0; i < SHA256_DIGEST_LENGTH; i += 3) {
        uint32_t v = (uint32_t)d[i] << 16 | (uint32_t)(i + 1 < SHA256_DIGEST_LENGTH ? d[i + 1] : 0) << 8
                     | (i + 2 < SHA256_DIGEST_LENGTH ? d[i + 2] : 0);
        for (int k = 0; k < 4; k++) {
            bool padding = i + k > SHA256_DIGEST_LENGTH; /* 32 bytes: the last group has two */
            mg_buf_char(b, padding ? '=' : letters[v >> (18 - 6 * k) & 63]);
        }
    }
    mg_buf_char(b, '\'');
}

static void head(const page *p) {
    mg_buf_printf(p->b, "<!doctype html>\n<html lang=\"%s\">\n<head>\n<meta charset=\"utf-8\">\n"
                        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; base-uri 'none'; "
                        "form-action 'none'; style-src ", p->lang ? "ja" : "en");
    policy_hash(p->b, style);
    mg_buf_str(p->b, "; script-src ");
    policy_hash(p->b, script);
    mg_buf_str(p->b, "\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>");
    escape(p, p->r->title);
    mg_buf_printf(p->b, "</title>\n<style>%s</style>\n</head>\n<body>\n<header>\n<h1>", style);
    escape(p, p->r->title);
    mg_buf_printf(p->b, "</h1>\n<p class=\"meta\">%s: ", t(p, T_MODEL));
    escape(p, p->r->model);
    mg_buf_printf(p->b, " · %s: ", t(p, T_RUN));
    escape(p, p->r->run);
    char      date[40];
    struct tm utc;
    time_t    when = (time_t)p->r->created;
    gmtime_r(&when, &utc);
    strftime(date, sizeof date, "%Y-%m-%d %H:%M UTC", &utc);
    mg_buf_printf(p->b, " · %s: %s</p>\n</header>\n<main>\n", t(p, T_DATE), date);
}

typedef struct {
    const char *name; /* NULL: all */
    size_t      n, judged_before, right_before, judged_after, right_after, gained, lost;
} tally;

static bool same(const char *a, const char *b) { return !strcmp(a ? a : "", b ? b : ""); }

static tally count(const mg_report *r, const char *category) {
    tally c = { .name = category };
    for (size_t i = 0; i < r->rows; i++) {
        const mg_report_row *q = &r->row[i];
        if (category && !same(q->category, category)) continue;
        c.n++;
        c.judged_before += q->ok_before >= 0;
        c.right_before += q->ok_before > 0;
        c.judged_after += q->ok_after >= 0;
        c.right_after += q->ok_after > 0;
        c.gained += q->ok_before == 0 && q->ok_after > 0;
        c.lost += q->ok_before > 0 && q->ok_after == 0;
    }
    return c;
}

/* Is row `i` the first of its category? */
static bool first_of_category(const mg_report *r, size_t i) {
    for (size_t k = 0; k < i; k++)
        if (same(r->row[k].category, r->row[i].category)) return false;
    return true;
}

static void part(const page *p, size_t right, size_t all) {
    if (all)
        mg_buf_printf(p->b, "<td class=\"n\">%zu/%zu (%.0f%%)</td>", right, all, 100.0 * (double)right / (double)all);
    else
        mg_buf_str(p->b, "<td class=\"n\">–</td>");
}

static void summary_row(const page *p, const tally *c) {
    mg_buf_str(p->b, "<tr><td>");
    escape(p, c->name ? category_text(p, c->name) : t(p, T_ALL));
    mg_buf_printf(p->b, "</td><td class=\"n\">%zu</td>", c->n);
    part(p, c->right_before, c->judged_before);
    part(p, c->right_after, c->judged_after);
    mg_buf_printf(p->b, "<td class=\"n%s\">%zu</td><td class=\"n%s\">%zu</td></tr>\n", c->gained ? " up" : "", c->gained,
                  c->lost ? " down" : "", c->lost);
}

static void summary(const page *p) {
    static const text_id columns[] = { T_QUESTIONS, T_CORRECT_BEFORE, T_CORRECT_AFTER, T_GAINED, T_LOST };
    mg_buf_printf(p->b, "<h2>%s</h2>\n<div class=\"scroll\"><table><thead><tr><th>%s</th>", t(p, T_SUMMARY), t(p, T_CATEGORY));
    for (size_t i = 0; i < 5; i++) mg_buf_printf(p->b, "<th class=\"n\">%s</th>", t(p, columns[i]));
    mg_buf_str(p->b, "</tr></thead><tbody>\n");
    for (size_t i = 0; i < p->r->rows; i++)
        if (first_of_category(p->r, i)) {
            tally c = count(p->r, p->r->row[i].category ? p->r->row[i].category : "");
            summary_row(p, &c);
        }
    tally all = count(p->r, NULL);
    summary_row(p, &all);
    mg_buf_str(p->b, "</tbody></table></div>\n");
}

static void value(const page *p, double x, const char *format) {
    mg_buf_str(p->b, "<td class=\"n\">");
    if (isfinite(x)) mg_buf_printf(p->b, format, x);
    else mg_buf_str(p->b, "–");
    mg_buf_str(p->b, "</td>");
}

static void score_row(const page *p, const mg_report_score *x) {
    bool sure = isfinite(x->p) && x->p < 0.05, better = (x->difference > 0) != x->lower_is_better;
    mg_buf_str(p->b, "<tr><td>");
    escape(p, x->data);
    mg_buf_str(p->b, "</td><td>");
    escape(p, x->metric);
    mg_buf_str(p->b, x->lower_is_better ? " ↓</td>" : "</td>");
    if (!p->r->only_after) value(p, x->before, "%.2f");
    value(p, x->after, "%.2f");
    if (!p->r->only_after) {
        mg_buf_printf(p->b, "<td class=\"n%s\">%+.2f</td>", sure ? better ? " up" : " down" : "", x->difference);
        mg_buf_str(p->b, "<td class=\"n\">");
        if (isfinite(x->low)) mg_buf_printf(p->b, "%+.2f … %+.2f", x->low, x->high);
        mg_buf_str(p->b, "</td>");
        value(p, x->p, "%.4f");
    }
    mg_buf_str(p->b, "<td class=\"sign\">");
    escape(p, x->signature);
    mg_buf_str(p->b, "</td></tr>\n");
}

static void scores(const page *p) {
    if (!p->r->scores) return;
    mg_buf_printf(p->b, "<h2>%s</h2>\n<div class=\"scroll\"><table><thead><tr><th>%s</th><th>%s</th>", t(p, T_SCORES), t(p, T_DATA),
                  t(p, T_METRIC));
    if (!p->r->only_after) mg_buf_printf(p->b, "<th class=\"n\">%s</th>", t(p, T_BEFORE));
    mg_buf_printf(p->b, "<th class=\"n\">%s</th>", p->r->only_after ? t(p, T_ANSWER) : t(p, T_AFTER));
    if (!p->r->only_after)
        mg_buf_printf(p->b, "<th class=\"n\">%s</th><th class=\"n\">%s</th><th class=\"n\">p</th>", t(p, T_DIFFERENCE), t(p, T_INTERVAL));
    mg_buf_printf(p->b, "<th>%s</th></tr></thead><tbody>\n", t(p, T_SIGNATURE));
    for (size_t i = 0; i < p->r->scores; i++) score_row(p, &p->r->score[i]);
    mg_buf_str(p->b, "</tbody></table></div>\n");
}

static void curves(const page *p) {
    bool heading = false;
    for (size_t i = 0; i < p->r->curves; i++) {
        const mg_report_curve *c = &p->r->curve[i];
        mg_plot_series         series[2] = { { c->name, c->x, c->y, c->n } };
        mg_plot                plot = { .title = c->name, .x_label = t(p, T_STEP), .series = series, .n = 1 };
        if (same(c->name, "eval_loss") && i && same(p->r->curve[i - 1].name, "loss")) continue; /* drawn with it */
        if (same(c->name, "loss") && i + 1 < p->r->curves && same(p->r->curve[i + 1].name, "eval_loss")) {
            series[1] = (mg_plot_series){ c[1].name, c[1].x, c[1].y, c[1].n };
            plot.n = 2;
        }
        if (!heading) mg_buf_printf(p->b, "<h2>%s</h2>\n<div class=\"charts\">\n", t(p, T_CURVES));
        heading = true;
        mg_buf_str(p->b, "<div>");
        mg_plot_svg(p->b, &plot);
        mg_buf_str(p->b, "</div>\n");
    }
    if (heading) mg_buf_str(p->b, "</div>\n");
}

static void answer(const page *p, text_id title, const char *text, int ok) {
    text_id verdict = ok < 0 ? T_OPEN : ok ? T_YES : T_NO;
    mg_buf_printf(p->b, "<div class=\"answer%s\"><b>%s · %s%s</b>", ok < 0 ? "" : ok ? " good" : " bad", t(p, title),
                  ok < 0 ? "" : ok ? "✓ " : "✗ ", t(p, verdict));
    escape(p, text && *text ? text : t(p, T_NONE));
    mg_buf_str(p->b, "</div>\n");
}

static void question(const page *p, const mg_report_row *q) {
    mg_buf_str(p->b, "<article data-category=\"");
    escape(p, q->category);
    mg_buf_printf(p->b, "\"%s>\n<h3><span class=\"tag\">", q->ok_before != q->ok_after ? " data-changed=\"1\"" : "");
    escape(p, category_text(p, q->category));
    mg_buf_str(p->b, "</span>");
    escape(p, q->question);
    mg_buf_str(p->b, "</h3>\n<div class=\"pair\">\n");
    if (!p->r->only_after) answer(p, T_BEFORE, q->before, q->ok_before);
    answer(p, p->r->only_after ? T_ANSWER : T_AFTER, q->after, q->ok_after);
    mg_buf_str(p->b, "</div>\n");
    if (q->expected && *q->expected) {
        mg_buf_printf(p->b, "<p class=\"expected\"><b>%s:</b> ", t(p, T_EXPECTED));
        escape(p, q->expected);
        mg_buf_str(p->b, "</p>\n");
    }
    if (q->note && *q->note) {
        mg_buf_str(p->b, "<p class=\"note\">");
        escape(p, q->note);
        mg_buf_str(p->b, "</p>\n");
    }
    mg_buf_str(p->b, "</article>\n");
}

static void questions(const page *p) {
    if (!p->r->rows) return;
    mg_buf_printf(p->b, "<h2>%s · %s</h2>\n<div class=\"filter\" hidden>\n"
                        "<button type=\"button\" data-category=\"\" aria-pressed=\"true\">%s</button>\n",
                  t(p, p->r->only_after ? T_QUESTIONS : T_BEFORE), t(p, p->r->only_after ? T_ANSWER : T_AFTER), t(p, T_ALL));
    for (size_t i = 0; i < p->r->rows; i++)
        if (first_of_category(p->r, i) && p->r->row[i].category && *p->r->row[i].category) {
            mg_buf_str(p->b, "<button type=\"button\" aria-pressed=\"false\" data-category=\"");
            escape(p, p->r->row[i].category);
            mg_buf_str(p->b, "\">");
            escape(p, category_text(p, p->r->row[i].category));
            mg_buf_str(p->b, "</button>\n");
        }
    mg_buf_printf(p->b, "<label><input type=\"checkbox\"> %s</label>\n</div>\n", t(p, T_CHANGED_ONLY));
    for (size_t i = 0; i < p->r->rows; i++) question(p, &p->r->row[i]);
}

static void settings(const page *p) {
    if (!p->r->settings) return;
    mg_buf_printf(p->b, "<h2>%s</h2>\n<dl>\n", t(p, T_SETTINGS));
    for (size_t i = 0; i < p->r->settings; i++) {
        mg_buf_str(p->b, "<dt>");
        escape(p, p->r->setting[i].key);
        mg_buf_str(p->b, "</dt><dd>");
        escape(p, p->r->setting[i].value);
        mg_buf_str(p->b, "</dd>\n");
    }
    mg_buf_str(p->b, "</dl>\n");
}

void mg_report_html(mg_buf *b, const mg_report *r, const char *lang) {
    page p = { b, r, !strcmp(lang, "ja") };
    head(&p);
    if (r->rows && !r->only_after) summary(&p);
    scores(&p);
    curves(&p);
    questions(&p);
    settings(&p);
    mg_buf_printf(b, "</main>\n<script>%s</script>\n</body>\n</html>\n", script);
}

static mg_status write_part(const char *folder, const char *name, mg_buf *b, mg_error *err) {
    char     *path = mg_path_join(folder, name);
    mg_status st = path && !b->failed ? mg_replace_file(path, b->data, b->len, err)
                                      : mg_fail(err, MG_NOMEM, "%s: no memory for %s", folder, name);
    free(path);
    mg_buf_free(b);
    return st;
}

mg_status mg_report_write(const mg_report *r, const char *folder, const char *lang, mg_error *err) {
    mg_buf    json = { 0 }, html = { 0 };
    mg_status st = mg_make_folder(folder, err);
    if (st) return st;
    mg_report_json(&json, r);
    mg_report_html(&html, r, lang);
    st = write_part(folder, "report.json", &json, err);
    mg_status other = write_part(folder, "report.html", &html, st ? NULL : err);
    return st ? st : other;
}
