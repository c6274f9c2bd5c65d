/* sheet_page.c -- a page on which a rater answers: one question at a time, kept in the browser, saved as a file.
 *
 * The page holds the answers as "first" and "second" and nothing that says which model wrote which, not even in its
 * source: the order is in the database alone.  Texts lie in a JSON block that the script reads; they become text nodes. */
#include "eval/page.h"
#include "eval/sheet.h"

#include "base/json.h"

#include <string.h>

static void member(mg_buf *b, const char *key, const char *s) {
    mg_buf_printf(b, "\"%s\": ", key);
    if (s) mg_json_quote(b, s, strlen(s));
    else mg_buf_str(b, "null");
}

static void json_sheet(mg_buf *b, const mg_sheet *s, mg_sheet_form form) {
    bool any = false;
    mg_buf_char(b, '{');
    member(b, "sheet", s->id);
    mg_buf_str(b, ", ");
    member(b, "title", s->title);
    mg_buf_str(b, ", \"criteria\": [");
    for (int c = 0; c < MG_CRITERIA; c++) {
        if (c == MG_CRITERION_OK ? form == MG_FORM_RUBRIC : form == MG_FORM_OX) continue;
        mg_buf_str(b, any ? ", {" : "{");
        any = true;
        member(b, "key", mg_criteria[c].key);
        mg_buf_str(b, ", ");
        member(b, "en", mg_criteria[c].en);
        mg_buf_str(b, ", ");
        member(b, "ja", mg_criteria[c].ja);
        mg_buf_printf(b, ", \"least\": %d, \"most\": %d}", mg_criteria[c].least, mg_criteria[c].most);
    }
    mg_buf_printf(b, "], \"preference\": %s, \"items\": [", form == MG_FORM_OX ? "false" : "true");
    any = false;
    for (size_t i = 0; i < s->n; i++) {
        const mg_sheet_item *x = &s->item[i];
        if (!mg_sheet_asks(x, form)) continue;
        mg_buf_printf(b, "%s\n{\"item\": %zu, ", any ? "," : "", x->row);
        any = true;
        member(b, "question", x->question);
        mg_buf_str(b, ", ");
        member(b, "expected", x->expected);
        mg_buf_str(b, ", ");
        member(b, "first", x->answer[x->swapped]);
        mg_buf_str(b, ", ");
        member(b, "second", x->answer[!x->swapped]);
        mg_buf_char(b, '}');
    }
    mg_buf_str(b, "]}");
}

static void button(const mg_page *p, const char *id, const char *en, const char *ja) {
    mg_buf_printf(p->b, "<button type=\"button\" id=\"%s\">", id);
    mg_page_text(p, en, ja);
    mg_buf_str(p->b, "</button>\n");
}

void mg_sheet_page(mg_buf *b, const mg_sheet *s, mg_sheet_form form, const char *lang) {
    mg_page p = { .b = b, .ja = !strcmp(lang, "ja"), .title = s->title, .style = { mg_page_common_css, mg_page_rate_css },
                  .script = { mg_page_common_js, mg_page_rate_js } };
    mg_buf  json = { 0 };
    mg_page_begin(&p);
    mg_buf_str(b, "<header>\n<h1>");
    mg_page_text(&p, "Which answer is better?", "どちらの答えが良いですか");
    mg_buf_str(b, "</h1>\n<p class=\"small\">");
    mg_page_text(&p, "Two models answered the same questions; which is which is hidden and changes from question to question. What you enter stays in "
                     "this browser until you save it as a file; send that file to whoever gave you this page.",
                 "二つのモデルが同じ質問に答えました。どちらがどのモデルかは伏せてあり、質問ごとに入れ替わります。入力はこのブラウザに残ります。"
                 "最後に「保存」を押し、できたファイルをこのページの送り主に返してください。");
    mg_buf_str(b, "</p>\n</header>\n<main>\n<noscript><p>");
    mg_page_text(&p, "This page needs its script.", "このページにはスクリプトが必要です。");
    mg_buf_str(b, "</p></noscript>\n<div class=\"bar\"><input id=\"rater\" maxlength=\"40\"");
    mg_page_attribute(&p, "placeholder", "your name", "お名前");
    mg_buf_str(b, "><progress id=\"done\" value=\"0\" max=\"1\"></progress><output id=\"count\"></output></div>\n<article id=\"item\"></article>\n<div class=\"bar\">");
    button(&p, "back", "← Back", "← 戻る");
    button(&p, "next", "Next →", "次へ →");
    button(&p, "open", "Next open one", "未入力へ");
    button(&p, "save", "Save as a file", "ファイルに保存");
    mg_buf_str(b, "<label class=\"file\"><input type=\"file\" id=\"load\" accept=\".json,application/json\">");
    mg_page_text(&p, "go on from a file", "ファイルから続ける");
    mg_buf_str(b, "</label></div>\n<p id=\"said\" role=\"status\"></p>\n</main>\n<script type=\"application/json\" id=\"sheet\">");
    json_sheet(&json, s, form);
    mg_buf_add(&json, "", 0);
    if (json.failed) b->failed = true;
    for (const char *c = json.failed ? "" : json.data; *c; c++) /* "<" would end the block */
        if (*c == '<') mg_buf_str(b, "\\u003c");
        else mg_buf_char(b, *c);
    mg_buf_free(&json);
    mg_buf_str(b, "</script>\n");
    mg_page_end(&p);
}
