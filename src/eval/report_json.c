/* report_json.c -- report.json: the report's own data, and what is derived from it (report_facts.h). */
#include "eval/report_parts.h"

#include "base/file.h"
#include "base/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const mg_report_flaw_names[MG_ANSWER_FLAWS] = { "empty", "cut", "repeats", "long" };
const char *const mg_report_warning_names[MG_WARNINGS] = {
    [MG_WARN_CUT] = "cut", [MG_WARN_REPEATS] = "repeats", [MG_WARN_EMPTY] = "empty", [MG_WARN_SAME] = "same_answers",
    [MG_WARN_SHORTER] = "shorter", [MG_WARN_LONGER] = "longer", [MG_WARN_POORER] = "fewer_words",
    [MG_WARN_FORGOT] = "controls_lost", [MG_WARN_NLL] = "likelihood_lost",
};

static void quote(mg_buf *b, const char *s) {
    if (s) mg_json_quote(b, s, strlen(s));
    else mg_buf_str(b, "null");
}

static void member(mg_buf *b, const char *key, const char *s) {
    mg_buf_printf(b, ", \"%s\": ", key);
    quote(b, s);
}

static void judged(mg_buf *b, const char *key, int ok) {
    mg_buf_printf(b, ", \"%s\": %s", key, ok < 0 ? "null" : ok ? "true" : "false");
}

static void number(mg_buf *b, double x) {
    if (isfinite(x)) mg_buf_printf(b, "%.9g", x);
    else mg_buf_str(b, "null");
}

static void figure(mg_buf *b, const char *key, double x) {
    mg_buf_printf(b, ", \"%s\": ", key);
    number(b, x);
}

static void count(mg_buf *b, const char *key, size_t n) { mg_buf_printf(b, ", \"%s\": %zu", key, n); }

static void json_settings(mg_buf *b, const char *name, const mg_report_settings *s) {
    mg_buf_printf(b, ",\n  \"%s\": {", name);
    for (size_t i = 0; s && i < s->n; i++) {
        mg_buf_str(b, i ? ",\n    " : "\n    ");
        quote(b, s->item[i].key);
        mg_buf_str(b, ": {\"value\": ");
        quote(b, s->item[i].value);
        member(b, "origin", s->item[i].origin);
        mg_buf_char(b, '}');
    }
    mg_buf_str(b, "}");
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

static void json_score(mg_buf *b, const mg_report_score *x, bool only_after) {
    mg_buf_str(b, "    {\"data\": ");
    quote(b, x->data);
    member(b, "metric", x->metric);
    figure(b, "after", x->after);
    if (!only_after) {
        figure(b, "before", x->before);
        figure(b, "difference", x->difference);
        figure(b, "low", x->low);
        figure(b, "high", x->high);
        figure(b, "p", x->p);
    }
    mg_buf_printf(b, ", \"higher_is_better\": %s", x->lower_is_better ? "false" : "true");
    member(b, "signature", x->signature);
    mg_buf_char(b, '}');
}

static void json_share(mg_buf *b, const char *key, const mg_share *s) {
    mg_buf_printf(b, ", \"%s\": {\"right\": %zu, \"judged\": %zu", key, s->right, s->judged);
    figure(b, "share", s->share);
    mg_buf_str(b, ", \"wilson\": [");
    number(b, s->low);
    mg_buf_str(b, ", ");
    number(b, s->high);
    mg_buf_str(b, "], \"bootstrap\": [");
    number(b, s->boot_low);
    mg_buf_str(b, ", ");
    number(b, s->boot_high);
    mg_buf_str(b, "]}");
}

static void json_category(mg_buf *b, const mg_category *c, bool only_after) {
    mg_buf_str(b, "    {\"name\": ");
    quote(b, c->name);
    mg_buf_printf(b, ", \"control\": %s, \"questions\": %zu", c->control ? "true" : "false", c->n);
    if (!only_after) json_share(b, "before", &c->before);
    json_share(b, "after", &c->after);
    if (!only_after) {
        figure(b, "difference", c->difference);
        figure(b, "low", c->low);
        figure(b, "high", c->high);
        figure(b, "p", c->p);
        count(b, "gained", c->gained);
        count(b, "lost", c->lost);
    }
    mg_buf_char(b, '}');
}

static void json_text(mg_buf *b, const mg_report_text *t) {
    mg_buf_str(b, "      {\"data\": ");
    quote(b, t->data);
    figure(b, "texts", t->texts);
    figure(b, "tokens", t->tokens);
    figure(b, "nll_before", t->before);
    figure(b, "nll_after", t->after);
    figure(b, "difference", t->difference);
    figure(b, "low", t->low);
    figure(b, "high", t->high);
    figure(b, "p", t->p);
    member(b, "signature", t->signature);
    mg_buf_char(b, '}');
}

static void json_forgetting(mg_buf *b, const mg_report *r, const mg_report_facts *f) {
    mg_buf_printf(b, ",\n  \"forgetting\": {\"controls\": {\"right_before\": %zu, \"lost\": %zu", f->forgotten.judged, f->forgotten.right);
    figure(b, "share", f->forgotten.share);
    mg_buf_str(b, ", \"wilson\": [");
    number(b, f->forgotten.low);
    mg_buf_str(b, ", ");
    number(b, f->forgotten.high);
    mg_buf_str(b, "]}, \"texts\": [");
    for (size_t i = 0; i < r->texts; i++) {
        mg_buf_str(b, i ? ",\n" : "\n");
        json_text(b, &r->text[i]);
    }
    mg_buf_str(b, "]}");
}

static void json_side(mg_buf *b, const char *key, const mg_side_facts *s) {
    mg_buf_printf(b, "\"%s\": {\"answers\": %zu", key, s->n);
    figure(b, "mean_chars", s->mean_chars);
    figure(b, "median_chars", s->median_chars);
    for (int k = 0; k < MG_ANSWER_FLAWS; k++) count(b, mg_report_flaw_names[k], s->flaw[k]);
    count(b, "same_as_another", s->same);
    member(b, "words", s->words);
    for (int k = 0; k < MG_DISTINCT_ORDERS; k++) {
        char name[] = { 'd', 'i', 's', 't', 'i', 'n', 'c', 't', '_', (char)('1' + k), 0 };
        figure(b, name, s->distinct[k]);
    }
    mg_buf_char(b, '}');
}

static void json_answers(mg_buf *b, const mg_report *r, const mg_report_facts *f) {
    bool any = false;
    mg_buf_str(b, ",\n  \"answers\": {");
    if (!r->only_after) {
        json_side(b, "before", &f->side[0]);
        mg_buf_str(b, ", ");
    }
    json_side(b, "after", &f->side[1]);
    mg_buf_str(b, ", \"warnings\": [");
    for (int i = 0; i < MG_WARNINGS; i++) {
        if (!f->warning[i]) continue;
        mg_buf_str(b, any ? ", " : "");
        quote(b, mg_report_warning_names[i]);
        any = true;
    }
    mg_buf_str(b, "]}");
}

void mg_report_summary_json(mg_buf *b, const char *key, const mg_rating_summary *s) {
    mg_buf_printf(b, "\"%s\": {\"raters\": %zu, \"questions\": %zu, \"ratings\": %zu, \"wins\": %zu, \"ties\": %zu, \"losses\": %zu", key,
                  s->raters, s->items, s->ratings, s->wins, s->ties, s->losses);
    figure(b, "win_rate", s->win_rate);
    figure(b, "low", s->low);
    figure(b, "high", s->high);
    figure(b, "decided", s->decided);
    figure(b, "wilson_low", s->wilson_low);
    figure(b, "wilson_high", s->wilson_high);
    figure(b, "alpha", s->alpha);
    mg_buf_str(b, ", \"criteria\": [");
    bool any = false;
    for (int c = 0; c < MG_CRITERIA; c++) {
        const mg_rating_line *x = &s->line[c];
        if (!x->n) continue;
        mg_buf_str(b, any ? ",\n      {\"criterion\": " : "\n      {\"criterion\": ");
        any = true;
        quote(b, mg_criteria[c].key);
        member(b, "name", mg_criteria[c].ja);
        count(b, "ratings", x->n);
        figure(b, "before", x->before);
        figure(b, "after", x->after);
        figure(b, "difference", x->difference);
        figure(b, "low", x->low);
        figure(b, "high", x->high);
        figure(b, "p", x->p);
        figure(b, "alpha", x->alpha);
        mg_buf_char(b, '}');
    }
    mg_buf_str(b, "]}");
}

static void json_rating(mg_buf *b, const mg_ratings *r, const mg_rating *x) {
    static const char *const preferred[] = { "before", "tie", "after" };
    mg_buf_printf(b, "    {\"row\": %zu, \"rater\": ", x->item);
    quote(b, r->rater[x->rater].name);
    mg_buf_printf(b, ", \"machine\": %s", r->rater[x->rater].machine ? "true" : "false");
    member(b, "preference", x->preference == MG_PREFER_OPEN ? NULL : preferred[x->preference + 1]);
    for (int side = 0; side < 2; side++) {
        mg_buf_str(b, side ? ", \"after\": {" : ", \"before\": {");
        bool any = false;
        for (int c = 0; c < MG_CRITERIA; c++) {
            if (isnan(x->score[side][c])) continue;
            mg_buf_printf(b, "%s\"%s\": %g", any ? ", " : "", mg_criteria[c].key, x->score[side][c]);
            any = true;
        }
        mg_buf_char(b, '}');
    }
    member(b, "note", x->note);
    mg_buf_char(b, '}');
}

static void json_ratings(mg_buf *b, const mg_ratings *r, const mg_report_facts *f) {
    if (!r || !r->n) return;
    mg_buf_str(b, ",\n  \"ratings\": {");
    mg_report_summary_json(b, "people", &f->people);
    mg_buf_str(b, ",\n    ");
    mg_report_summary_json(b, "machines", &f->machines);
    figure(b, "alpha_all", f->alpha_all);
    mg_buf_str(b, ", \"each\": [");
    for (size_t i = 0; i < r->n; i++) {
        mg_buf_str(b, i ? ",\n" : "\n");
        json_rating(b, r, &r->rating[i]);
    }
    mg_buf_str(b, "]}");
}

static void json_flaws(mg_buf *b, const char *key, uint8_t flaws) {
    if (!flaws) return;
    mg_buf_printf(b, ", \"%s\": [", key);
    for (int k = 0, any = 0; k < MG_ANSWER_FLAWS; k++)
        if (flaws >> k & 1) {
            mg_buf_str(b, any++ ? ", " : "");
            quote(b, mg_report_flaw_names[k]);
        }
    mg_buf_char(b, ']');
}

static void json_row(mg_buf *b, const mg_report *r, const mg_report_facts *f, size_t i) {
    const mg_report_row *q = &r->row[i];
    mg_buf_str(b, "    {\"question\": ");
    quote(b, q->question);
    member(b, "category", q->category);
    member(b, "expected", q->expected);
    member(b, "before", q->before);
    member(b, "after", q->after);
    judged(b, "ok_before", q->ok_before);
    judged(b, "ok_after", q->ok_after);
    if (q->ok_before < 0 && f->ok[0][i] >= 0) judged(b, "people_ok_before", f->ok[0][i]);
    if (q->ok_after < 0 && f->ok[1][i] >= 0) judged(b, "people_ok_after", f->ok[1][i]);
    if (q->control) mg_buf_str(b, ", \"control\": true");
    if (q->cut_before) mg_buf_str(b, ", \"cut_before\": true");
    if (q->cut_after) mg_buf_str(b, ", \"cut_after\": true");
    json_flaws(b, "warnings_before", f->flaws[0][i]);
    json_flaws(b, "warnings_after", f->flaws[1][i]);
    member(b, "note", q->note);
    mg_buf_char(b, '}');
}

void mg_report_json_with(mg_buf *b, const mg_report *r, const mg_report_facts *f) {
    size_t last = f->categories <= MG_REPORT_CATEGORIES ? f->categories : 0;
    mg_buf_str(b, "{\n  \"format\": \"migaki report 1\",\n  \"title\": ");
    quote(b, r->title);
    member(b, "model", r->model);
    member(b, "run", r->run);
    member(b, "before_name", r->before_name);
    member(b, "after_name", r->after_name);
    member(b, "sheet", r->sheet);
    mg_buf_printf(b, ", \"created\": %lld, \"seed\": %llu, \"only_after\": %s", (long long)r->created, (unsigned long long)r->seed,
                  r->only_after ? "true" : "false");
    json_settings(b, "settings", r->settings);
    json_settings(b, "evaluation", r->evaluation);
    mg_buf_str(b, ",\n  \"curves\": [");
    for (size_t i = 0; i < r->curves; i++) {
        mg_buf_str(b, i ? ",\n" : "\n");
        json_curve(b, &r->curve[i]);
    }
    mg_buf_str(b, "\n  ],\n  \"scores\": [");
    for (size_t i = 0; i < r->scores; i++) {
        mg_buf_str(b, i ? ",\n" : "\n");
        json_score(b, &r->score[i], r->only_after);
    }
    mg_buf_str(b, "\n  ],\n  \"categories\": [");
    for (size_t i = 0; r->rows && i <= last; i++) {
        mg_buf_str(b, i ? ",\n" : "\n");
        json_category(b, &f->category[last ? i : f->categories], r->only_after);
    }
    mg_buf_str(b, "\n  ]");
    if (!r->only_after) json_forgetting(b, r, f);
    json_answers(b, r, f);
    json_ratings(b, r->ratings, f);
    mg_buf_str(b, ",\n  \"rows\": [");
    for (size_t i = 0; i < r->rows; i++) {
        mg_buf_str(b, i ? ",\n" : "\n");
        json_row(b, r, f, i);
    }
    mg_buf_str(b, "\n  ]\n}\n");
}

/* ---- settings ---- */

void mg_report_settings_free(mg_report_settings *s) {
    free(s->item);
    mg_buf_free(&s->text);
    *s = (mg_report_settings){ 0 };
}

static char *last_comment(char *line) {
    char *found = NULL;
    for (char *at = line; (at = strstr(at, "  # ")); at++) found = at;
    return found;
}

bool mg_report_settings_read(mg_report_settings *s, const char *yaml, size_t n) {
    mg_report_settings fresh = { 0 };
    char              *rest = NULL;
    mg_buf_add(&fresh.text, yaml, n);
    mg_buf_add(&fresh.text, "", 0);
    bool ok = !fresh.text.failed;
    for (char *line = ok && fresh.text.data ? strtok_r(fresh.text.data, "\n", &rest) : NULL; ok && line; line = strtok_r(NULL, "\n", &rest)) {
        char *colon = strstr(line, ": "), *comment = last_comment(line);
        if (!colon || *line == '#' || *line == ' ') continue;
        if (comment && comment < colon) comment = NULL;
        *colon = 0;
        if (comment) *comment = 0;
        ok = MG_GROW(fresh.item, fresh.cap, fresh.n + 1);
        if (ok) fresh.item[fresh.n++] = (mg_report_setting){ line, colon + 2, comment ? comment + 4 : NULL };
    }
    if (ok) {
        mg_report_settings_free(s);
        *s = fresh;
    } else
        mg_report_settings_free(&fresh);
    return ok;
}

/* ---- files ---- */

mg_status mg_report_json(mg_buf *b, const mg_report *r, mg_error *err) {
    mg_report_facts f;
    mg_status       st = mg_report_facts_of(&f, r, err);
    if (st) return st;
    mg_report_json_with(b, r, &f);
    mg_report_facts_free(&f);
    return b->failed ? mg_fail(err, MG_NOMEM, "no memory for a report") : MG_OK;
}

mg_status mg_report_html(mg_buf *b, const mg_report *r, const char *lang, mg_error *err) {
    mg_report_facts f;
    mg_status       st = mg_report_facts_of(&f, r, err);
    if (st) return st;
    mg_report_html_with(b, r, &f, lang);
    mg_report_facts_free(&f);
    return b->failed ? mg_fail(err, MG_NOMEM, "no memory for a report") : MG_OK;
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
    mg_buf          json = { 0 }, html = { 0 };
    mg_report_facts f;
    mg_status       st = mg_make_folder(folder, err);
    if (!st) st = mg_report_facts_of(&f, r, err);
    if (st) return st;
    mg_report_json_with(&json, r, &f);
    mg_report_html_with(&html, r, &f, lang);
    mg_report_facts_free(&f);
    st = write_part(folder, "report.json", &json, err);
    mg_status other = write_part(folder, "report.html", &html, st ? NULL : err);
    return st ? st : other;
}
