/* rate.h -- blind ratings of a report's answers: in the terminal, by pages, by a language model. */
#ifndef MG_CLI_RATE_H
#define MG_CLI_RATE_H

#include "cli/command.h"
#include "cli/compare.h"
#include "eval/ratings_db.h"

/* Rows of `compare`'s table. */
#define MG_RATE_ROWS(T, f) \
    { .name = "blind", .type = &mg_option_bool, .offset = offsetof(T, f.blind), .def = "false", .group = MG_N("Blind rating"), \
      .help = MG_N("rate the answers in random order, without names; without questions those of the report; Ctrl-C loses nothing") }, \
    { .name = "form", .type = &mg_option_enum, .offset = offsetof(T, f.form), .def = "rubric", .choices = "rubric|ox|both", .group = MG_N("Blind rating"), \
      .help = MG_N("rubric: four criteria of 1 to 5 points and the better answer; ox: right or wrong where no rule says; or both") }, \
    { .name = "rater", .type = &mg_option_string, .offset = offsetof(T, f.rater), .metavar = "NAME", .group = MG_N("Blind rating"), \
      .help = MG_N("who rates; otherwise the user's name") }, \
    { .name = "page", .type = &mg_option_string, .offset = offsetof(T, f.page), .metavar = "FILE.html", .group = MG_N("Blind rating"), \
      .help = MG_N("write a page that raters fill in anywhere, instead of asking here") }, \
    { .name = "import", .type = &mg_option_texts, .offset = offsetof(T, f.import), .metavar = "FILE", .group = MG_N("Blind rating"), \
      .help = MG_N("take ratings that such a page has saved; may be given several times") }, \
    { .name = "ratings", .type = &mg_option_string, .offset = offsetof(T, f.ratings), .metavar = "FILE", .group = MG_N("Blind rating"), \
      .help = MG_N("database of ratings; otherwise ratings.db in the folder of runs") }, \
    { .name = "judge", .type = &mg_option_string, .offset = offsetof(T, f.judge), .metavar = "URL", .group = MG_N("Language model as judge"), \
      .help = MG_N("an OpenAI-compatible endpoint that rates as well: http://HOST:PORT/v1") }, \
    { .name = "judge_model", .type = &mg_option_string, .offset = offsetof(T, f.judge_model), .metavar = "NAME", .group = MG_N("Language model as judge"), \
      .help = MG_N("the model that the endpoint is asked for") }, \
    { .name = "judge_key_env", .type = &mg_option_string, .offset = offsetof(T, f.judge_key), .def = "OPENAI_API_KEY", .metavar = "VARIABLE", \
      .group = MG_N("Language model as judge"), .help = MG_N("environment variable that holds the key") }, \
    { .name = "judge_price_in", .type = &mg_option_float, .offset = offsetof(T, f.judge_price_in), .def = "0", .max = 1e6, .metavar = "PRICE", \
      .group = MG_N("Language model as judge"), .help = MG_N("price of a million tokens sent, to show what it will cost") }, \
    { .name = "judge_price_out", .type = &mg_option_float, .offset = offsetof(T, f.judge_price_out), .def = "0", .max = 1e6, .metavar = "PRICE", \
      .group = MG_N("Language model as judge"), .help = MG_N("price of a million tokens received") }, \
    { .name = "judge_timeout", .type = &mg_option_int, .offset = offsetof(T, f.judge_timeout), .def = "120", .min = 1, .max = 86400, .metavar = "SECONDS", \
      .group = MG_N("Language model as judge"), .help = MG_N("the longest wait for one reply") }, \
    { .name = "yes", .type = &mg_option_bool, .offset = offsetof(T, f.yes), .def = "false", .group = MG_N("Language model as judge"), \
      .help = MG_N("do not ask whether to send the calls") }

/* Does anything of the options ask for ratings? */
bool mg_rate_wanted(const mg_rate_options *o);

/* What they ask for, on the report in `folder`; report.html and report.json are written again with the ratings. */
mg_status mg_rate(const mg_cli *cli, const mg_rate_options *o, const char *folder, uint64_t seed, mg_error *err);

/* Ratings that the database holds of the report's answers, into *store and r->ratings; r->sheet is `id`.  A database
 * that is not there is no error. */
mg_status mg_rate_join(mg_report *r, mg_ratings *store, char id[33], const char *database, mg_error *err);

/* The parts, in files of their own. */
/* *finished: the rater has nothing left to say.  Until then he is shown no result, which would tell him which is which. */
mg_status mg_rate_terminal(mg_ratings_db *db, const mg_sheet *s, mg_sheet_form form, const char *rater, bool *finished, mg_error *err);
mg_status mg_rate_judge(mg_ratings_db *db, const mg_sheet *s, const mg_rate_options *o, mg_error *err);

#endif
