/* test_ratings.c -- sheets and their order, ratings that come back, the database, and what is made of them. */
#include "support.h"

#include "base/file.h"
#include "base/json.h"
#include "eval/ratings_db.h"

#include <sqlite3.h>

enum { ROWS = 41 };

static mg_report_row rows[ROWS];
static char          text[ROWS][3][40];
static mg_report     report = { .title = "t", .row = rows, .rows = ROWS, .seed = 3 };

static int setup(void **state) {
    (void)state;
    for (int i = 0; i < ROWS; i++) {
        for (int k = 0; k < 3; k++) snprintf(text[i][k], sizeof text[i][k], "%s %d", k == 0 ? "質問" : k == 1 ? "前" : "後", i);
        rows[i] = (mg_report_row){ .question = text[i][0], .before = text[i][1], .after = i == 7 ? text[i][1] : i == 9 ? NULL : text[i][2],
                                   .ok_before = i % 2 ? -1 : 0, .ok_after = i % 2 ? -1 : 1 };
    }
    return 0;
}

static void a_sheet_is_its_answers(void **state) {
    (void)state;
    mg_sheet s, t;
    mg_error err;
    char     id[33];
    assert_ok(mg_sheet_of(&s, &report, 1, &err), err);
    assert_int_equal(s.n, ROWS - 1); /* row 9 has one answer */
    assert_int_equal(strlen(s.id), 32);
    size_t swapped = 0, differ = 0;
    for (size_t i = 0; i < s.n; i++) swapped += s.item[i].swapped;
    assert_int_equal(swapped, (ROWS - 1) / 2); /* half each way round */
    assert_ok(mg_sheet_of(&t, &report, 2, &err), err);
    assert_string_equal(s.id, t.id);
    for (size_t i = 0; i < s.n; i++) differ += s.item[i].swapped != t.item[i].swapped;
    assert_true(differ > 8); /* another seed, another order */
    mg_sheet_free(&t);
    rows[5].after = "anders";
    mg_sheet_id(id, &report);
    assert_string_not_equal(id, s.id);
    rows[5].after = text[5][2];
    assert_true(s.item[7].same && !mg_sheet_asks(&s.item[7], MG_FORM_RUBRIC) && mg_sheet_asks(&s.item[7], MG_FORM_OX));
    assert_true(s.item[8].ruled && !mg_sheet_asks(&s.item[8], MG_FORM_OX) && mg_sheet_asks(&s.item[8], MG_FORM_BOTH));
    mg_report one = { .row = rows + 9, .rows = 1 };
    assert_fails(mg_sheet_of(&t, &one, 1, &err), err, MG_DATA, "two answers");
    mg_sheet_free(&s);
}

/* The page says nothing of who wrote what, and what it saves arrives at the right side. */
static void a_page_is_blind(void **state) {
    (void)state;
    mg_sheet s;
    mg_buf   b = { 0 };
    mg_error err;
    rows[0].after = "</script><script>alert(1)</script>";
    assert_ok(mg_sheet_of(&s, &report, 1, &err), err);
    mg_sheet_page(&b, &s, MG_FORM_BOTH, "ja");
    assert_false(b.failed);
    assert_null(strstr(b.data, "swapped"));
    assert_null(strstr(b.data, "\"before\""));
    assert_null(strstr(b.data, "\"after\""));
    assert_null(strstr(b.data, "<script>alert"));
    assert_non_null(strstr(b.data, "\\u003c/script>"));
    assert_null(strstr(b.data, "https://"));
    assert_null(strstr(b.data, "http://"));
    const char *at = strstr(b.data, "id=\"sheet\">"), *end = at ? strstr(at, "</script>") : NULL;
    assert_non_null(end);
    mg_json j = { 0 };
    assert_ok(mg_json_parse(&j, at + 11, (size_t)(end - at) - 11, "page", &err), err);
    yyjson_val *item = yyjson_arr_get(yyjson_obj_get(j.root, "items"), 0);
    assert_int_equal(yyjson_arr_size(yyjson_obj_get(j.root, "items")), ROWS - 1);
    assert_string_equal(yyjson_get_str(yyjson_obj_get(item, s.item[0].swapped ? "first" : "second")), rows[0].after);
    mg_json_free(&j);
    mg_buf_free(&b);
    mg_sheet_page(&b, &s, MG_FORM_RUBRIC, "en"); /* without ○× and the equal pair */
    assert_null(strstr(b.data, "\"key\": \"ok\""));
    assert_null(strstr(b.data, "\"item\": 7,"));
    mg_buf_free(&b);
    rows[0].after = text[0][2];
    mg_sheet_free(&s);
}

static void ratings_come_back(void **state) {
    (void)state;
    mg_sheet         s;
    mg_sheet_ratings r = { 0 };
    mg_error         err;
    char             file[2000];
    assert_ok(mg_sheet_of(&s, &report, 1, &err), err);
    for (size_t i = 0; i < 2; i++) { /* one of each order */
        size_t at = 0;
        while (s.item[at].swapped != (i == 1)) at++;
        snprintf(file, sizeof file, "{\"format\": \"migaki ratings 1\", \"sheet\": \"%s\", \"rater\": \"山田\", \"ratings\": [{\"item\": %zu, \"first\": "
                                    "{\"terms\": 5, \"ok\": 1}, \"second\": {\"terms\": 2, \"ok\": 0}, \"preference\": \"first\", \"note\": \"よい\"}]}",
                 s.id, s.item[at].row);
        assert_ok(mg_sheet_import(&r, &s, file, strlen(file), "r.json", &err), err);
        assert_int_equal(r.n, 1);
        assert_string_equal(r.rater, "山田");
        assert_true(r.rating[0].score[i][0] == 5 && r.rating[0].score[!i][0] == 2 && isnan(r.rating[0].score[0][1]));
        assert_true(r.rating[0].score[i][MG_CRITERION_OK] == 1);
        assert_int_equal(r.rating[0].preference, i ? MG_PREFER_AFTER : MG_PREFER_BEFORE);
        assert_string_equal(r.rating[0].note, "よい");
        mg_sheet_ratings_free(&r);
    }
    static const struct { const char *rater, *ratings, *part; } bad[] = {
        { "\"\"", "[]", "rater" }, { "\"a\\nb\"", "[]", "rater" }, { "7", "[]", "rater" }, { "\"a\"", "{}", "list" },
        { "\"a\"", "[7]", "item" }, { "\"a\"", "[{\"item\": 9}]", "item" }, { "\"a\"", "[{\"item\": 41}]", "item" }, { "\"a\"", "[{\"item\": -1}]", "item" },
        { "\"a\"", "[{\"item\": 1}, {\"item\": 1}]", "twice" }, { "\"a\"", "[{\"item\": 1, \"first\": 3}]", "objects" },
        { "\"a\"", "[{\"item\": 1, \"first\": {\"terms\": 6}}]", "1 to 5" }, { "\"a\"", "[{\"item\": 1, \"first\": {\"terms\": 0}}]", "1 to 5" },
        { "\"a\"", "[{\"item\": 1, \"second\": {\"ok\": 2}}]", "0 to 1" }, { "\"a\"", "[{\"item\": 1, \"first\": {\"terms\": 4.5}}]", "whole" },
        { "\"a\"", "[{\"item\": 1, \"first\": {\"look\": 4}}]", "criterion" }, { "\"a\"", "[{\"item\": 1, \"preference\": \"A\"}]", "preference" },
        { "\"a\"", "[{\"item\": 1, \"note\": 4}]", "note" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(file, sizeof file, "{\"format\": \"migaki ratings 1\", \"sheet\": \"%s\", \"rater\": %s, \"ratings\": %s}", s.id, bad[i].rater, bad[i].ratings);
        assert_fails(mg_sheet_import(&r, &s, file, strlen(file), "r.json", &err), err, MG_DATA, bad[i].part);
        assert_int_equal(r.n, 0);
    }
    snprintf(file, sizeof file, "{\"format\": \"migaki ratings 1\", \"sheet\": \"0123\", \"rater\": \"a\", \"ratings\": []}");
    assert_fails(mg_sheet_import(&r, &s, file, strlen(file), "r.json", &err), err, MG_DATA, "other answers");
    mg_sheet_free(&s);
}

static void the_database_keeps(void **state) {
    (void)state;
    char          *folder = make_temp_folder(), path[4200];
    mg_ratings_db *db = NULL;
    mg_sheet       s, again;
    mg_ratings     r;
    mg_error       err;
    mg_buf         reply = { 0 };
    bool           found;
    snprintf(path, sizeof path, "%s/ratings.db", folder);
    assert_fails(mg_ratings_open(&db, path, false, &err), err, MG_NOTFOUND, "ratings.db");
    assert_ok(mg_ratings_open(&db, path, true, &err), err);
    assert_ok(mg_sheet_of(&s, &report, 1, &err), err);
    assert_ok(mg_ratings_enter(db, &s, &err), err);
    assert_ok(mg_sheet_of(&again, &report, 2, &err), err);
    assert_ok(mg_ratings_enter(db, &again, &err), err); /* keeps the order of the first time */
    assert_int_equal(again.seed, 1);
    for (size_t i = 0; i < s.n; i++) assert_int_equal(s.item[i].swapped, again.item[i].swapped);
    static const char *const name[] = { "佐藤", "alice", "gpt" };
    for (size_t i = 0; i < 9; i++) {
        mg_rating x = mg_rating_empty(i / 3 * 2, 0);
        x.preference = i % 4 == 3 ? MG_PREFER_OPEN : (int)(i % 3) - 1;
        x.score[0][0] = 1 + (double)(i % 5);
        x.score[1][1] = 4.5;
        x.note = i == 4 ? (char *)(uintptr_t)"'; DROP TABLE ratings; --" : NULL;
        assert_ok(mg_ratings_put(db, s.id, name[i % 3], i % 3 == 2, &x, &err), err);
        x.score[1][1] = NAN; /* a second time replaces the first */
        x.score[1][2] = 3;
        assert_ok(mg_ratings_put(db, s.id, name[i % 3], i % 3 == 2, &x, &err), err);
    }
    mg_ratings_close(db);
    assert_ok(mg_ratings_open(&db, path, false, &err), err);
    assert_ok(mg_ratings_load(db, s.id, ROWS, &r, &err), err);
    assert_int_equal(r.n, 9);
    assert_int_equal(r.raters, 3);
    size_t notes = 0;
    for (size_t k = 0; k < r.n; k++) {
        const mg_rating *x = &r.rating[k];
        size_t           who = 0;
        while (strcmp(name[who], r.rater[x->rater].name) != 0) who++;
        size_t i = x->item / 2 * 3 + who;
        assert_int_equal(r.rater[x->rater].machine, who == 2);
        assert_int_equal(x->preference, i % 4 == 3 ? MG_PREFER_OPEN : (int)(i % 3) - 1);
        assert_true(x->score[0][0] == 1 + (double)(i % 5) && isnan(x->score[1][1]) && x->score[1][2] == 3);
        if (x->note) assert_string_equal(x->note, "'; DROP TABLE ratings; --");
        notes += x->note != NULL;
    }
    assert_int_equal(notes, 1);
    mg_ratings_free(&r);
    assert_ok(mg_ratings_load(db, "another", ROWS, &r, &err), err);
    assert_int_equal(r.n, 0);
    assert_ok(mg_ratings_reply(db, "k", &reply, &found, &err), err);
    assert_false(found);
    assert_ok(mg_ratings_keep_reply(db, "k", "a\0b", 3, &err), err);
    assert_ok(mg_ratings_reply(db, "k", &reply, &found, &err), err);
    assert_true(found && reply.len == 3 && !memcmp(reply.data, "a\0b", 3));
    mg_buf_free(&reply);
    mg_ratings_close(db);
    /* what is no database, or a newer one, is refused and stays as it is */
    mg_buf bytes = { 0 };
    snprintf(path, sizeof path, "%s/other.db", folder);
    assert_ok(mg_replace_file(path, "this is no database at all, just text that someone wrote", 56, &err), err);
    assert_fails(mg_ratings_open(&db, path, true, &err), err, MG_IO, "other.db");
    assert_ok(mg_read_file(&bytes, path, 1000, &err), err);
    assert_int_equal(bytes.len, 56);
    mg_buf_free(&bytes);
    sqlite3 *sql;
    snprintf(path, sizeof path, "%s/newer.db", folder);
    assert_int_equal(sqlite3_open(path, &sql), SQLITE_OK);
    assert_int_equal(sqlite3_exec(sql, "PRAGMA user_version=9", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(sql);
    assert_fails(mg_ratings_open(&db, path, true, &err), err, MG_UNSUPPORTED, "newer");
    mg_sheet_free(&s);
    mg_sheet_free(&again);
    remove_temp_folder(folder);
}

static void add(mg_ratings *r, size_t item, const char *name, bool machine, int preference, double before, double after, double ok) {
    assert_true(MG_GROW(r->rating, r->cap, r->n + 1));
    mg_rating x = mg_rating_empty(item, mg_ratings_rater(r, name, machine));
    x.preference = preference;
    x.score[0][0] = before;
    x.score[1][0] = after;
    x.score[1][MG_CRITERION_OK] = ok;
    r->rating[r->n++] = x;
}

static void sums_are_right(void **state) {
    (void)state;
    mg_ratings        r = { .items = 10 };
    mg_rating_summary s, again;
    mg_error          err;
    for (size_t i = 0; i < 10; i++) { /* two people: after wins 7, ties 1, loses 2; both agree but in item 9 */
        int p = i < 7 ? MG_PREFER_AFTER : i == 7 ? MG_PREFER_NONE : MG_PREFER_BEFORE;
        add(&r, i, "a", false, p, 2, 4, i < 6);
        add(&r, i, "b", false, i == 9 ? MG_PREFER_AFTER : p, 3, i < 5 ? 4 : 3, i < 6);
        add(&r, i, "m", true, MG_PREFER_BEFORE, 5, 1, NAN);
    }
    assert_ok(mg_ratings_summarise(&r, MG_RATERS_PEOPLE, 1, &s, &err), err);
    assert_int_equal(s.raters, 2);
    assert_int_equal(s.items, 10);
    assert_int_equal(s.ratings, 20);
    assert_true(s.wins == 15 && s.ties == 2 && s.losses == 3);
    assert_near(s.win_rate, 16.0 / 20, 1e-12, "win rate");
    assert_true(s.low < s.win_rate && s.win_rate < s.high && s.high <= 1);
    assert_near(s.decided, 15.0 / 18, 1e-12, "decided");
    assert_near(s.wilson_low, 0.6077796189608428, 1e-9, "Wilson, by scipy");
    assert_near(s.wilson_high, 0.9416342319413856, 1e-9, "Wilson, by scipy");
    assert_near(s.line[0].before, 2.5, 1e-12, "before");
    assert_near(s.line[0].after, (40 + 35) / 20.0, 1e-12, "after");
    assert_near(s.line[0].difference, 1.25, 1e-12, "difference");
    assert_true(s.line[0].p < 0.01 && s.line[0].low > 0);
    assert_int_equal(s.line[1].n, 0);
    assert_true(isnan(s.line[1].before));
    assert_near(s.line[MG_CRITERION_OK].alpha, 1, 1e-12, "agreement about right and wrong");
    assert_true(s.alpha > 0.6 && s.alpha < 0.9);
    assert_ok(mg_ratings_summarise(&r, MG_RATERS_PEOPLE, 1, &again, &err), err);
    assert_near(s.low, again.low, 0, "one seed, one interval");
    assert_ok(mg_ratings_summarise(&r, MG_RATERS_MACHINES, 1, &s, &err), err);
    assert_true(s.raters == 1 && s.losses == 10 && s.win_rate == 0 && isnan(s.alpha));
    mg_ratings none = { .items = 10 };
    assert_ok(mg_ratings_summarise(&none, MG_RATERS_ALL, 1, &s, &err), err);
    assert_true(s.raters == 0 && isnan(s.win_rate));
    mg_ratings_free(&r);
}

/* People's verdicts stand where no rule has judged, and are in the report. */
static void ratings_join_the_report(void **state) {
    (void)state;
    mg_ratings r = { .items = ROWS };
    mg_buf     json = { 0 }, html = { 0 };
    mg_json    j = { 0 };
    mg_error   err;
    for (size_t i = 0; i < 4; i++) {
        add(&r, i, "山田", false, MG_PREFER_AFTER, 2, 4, 1);
        add(&r, i, "佐藤", false, MG_PREFER_NONE, 3, 4, i > 1);
        add(&r, i, "鈴木", false, MG_PREFER_AFTER, 3, 4, 1);
    }
    r.rating[0].note = strdup("<i>note</i>");
    mg_report rated = report;
    rated.ratings = &r;
    assert_ok(mg_report_json(&json, &rated, &err), err);
    assert_ok(mg_json_parse(&j, json.data, json.len, "report.json", &err), err);
    yyjson_val *people = yyjson_obj_get(yyjson_obj_get(j.root, "ratings"), "people");
    assert_int_equal(yyjson_get_int(yyjson_obj_get(people, "raters")), 3);
    assert_int_equal(yyjson_arr_size(yyjson_obj_get(yyjson_obj_get(j.root, "ratings"), "each")), 12);
    assert_string_equal(yyjson_get_str(yyjson_obj_get(yyjson_arr_get(yyjson_obj_get(people, "criteria"), 0), "name")), "専門用語");
    yyjson_val *row = yyjson_arr_get(yyjson_obj_get(j.root, "rows"), 1);
    assert_true(yyjson_is_null(yyjson_obj_get(row, "ok_after")));
    assert_true(yyjson_is_true(yyjson_obj_get(row, "people_ok_after")));
    assert_null(yyjson_obj_get(row, "people_ok_before"));
    mg_json_free(&j);
    assert_ok(mg_report_html(&html, &rated, "ja", &err), err);
    assert_non_null(strstr(html.data, "ブラインド評価"));
    assert_non_null(strstr(html.data, "専門用語"));
    assert_non_null(strstr(html.data, "鈴木"));
    assert_non_null(strstr(html.data, "&lt;i&gt;note"));
    mg_buf_free(&json);
    mg_buf_free(&html);
    mg_ratings_free(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_sheet_is_its_answers), cmocka_unit_test(a_page_is_blind), cmocka_unit_test(ratings_come_back),
                                        cmocka_unit_test(the_database_keeps), cmocka_unit_test(sums_are_right), cmocka_unit_test(ratings_join_the_report) };
    return cmocka_run_group_tests(tests, setup, NULL);
}
