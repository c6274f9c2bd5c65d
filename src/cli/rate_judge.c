/* rate_judge.c -- a sheet to an OpenAI-compatible endpoint, twice a question.
 *
 * What will be sent is said before the first call; nothing is sent that was answered before (ratings.db keeps replies by
 * the hash of model and request), so a judge that was interrupted goes on where it was, and asking again costs nothing. */
#include "cli/rate.h"

#include "base/http.h"
#include "eval/judge.h"

#include <libintl.h>
#include <sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { REPLY_BYTES = 8 << 20, ATTEMPTS = 4, BYTES_A_TOKEN = 3, REPLY_TOKENS = 150, KEY_CHARS = 65 };

typedef struct judge {
    mg_ratings_db         *db;
    const mg_sheet        *s;
    const mg_rate_options *o;
    char                   url[2000], bearer[4200];
    const char            *headers[2];
    size_t                 n_headers, calls, cached, unreadable;
    double                 bytes; /* of the requests to send */
} judge;

static void key_of(char out[KEY_CHARS], const judge *j, const mg_buf *request) {
    SHA2_CTX c;
    uint8_t  d[SHA256_DIGEST_LENGTH];
    SHA256Init(&c);
    SHA256Update(&c, (const uint8_t *)j->url, strlen(j->url) + 1);
    SHA256Update(&c, (const uint8_t *)request->data, request->len);
    SHA256Final(d, &c);
    for (int i = 0; i < SHA256_DIGEST_LENGTH; i++) snprintf(out + 2 * i, 3, "%02x", d[i]);
}

static mg_status make_request(const judge *j, const mg_sheet_item *x, bool turned, mg_buf *request, char key[KEY_CHARS], mg_error *err) {
    mg_judge_request(request, x, turned, j->o->judge_model);
    if (request->failed) return mg_fail(err, MG_NOMEM, "no memory for a request");
    key_of(key, j, request);
    return MG_OK;
}

/* ---- before ---- */

static mg_status set_up(judge *j, mg_error *err) {
    const char *url = j->o->judge, *key = getenv(j->o->judge_key);
    size_t      n = strlen(url);
    const char *path = "/chat/completions";
    if (!j->o->judge_model) return mg_fail(err, MG_USAGE, "--judge needs the model to ask for: --judge_model NAME");
    while (n && url[n - 1] == '/') n--;
    bool whole = n >= strlen(path) && !strncmp(url + n - strlen(path), path, strlen(path));
    if (snprintf(j->url, sizeof j->url, "%.*s%s", (int)n, url, whole ? "" : path) >= (int)sizeof j->url)
        return mg_fail(err, MG_USAGE, "the address of the judge is too long");
    j->headers[j->n_headers++] = "Content-Type: application/json";
    if (key && *key) {
        if (strpbrk(key, "\r\n") || snprintf(j->bearer, sizeof j->bearer, "Authorization: Bearer %s", key) >= (int)sizeof j->bearer)
            return mg_fail(err, MG_USAGE, "%s: the key has a line break, or is too long", j->o->judge_key);
        j->headers[j->n_headers++] = j->bearer;
    }
    return mg_http_missing() ? mg_fail(err, MG_LIBRARY, "a judge needs libcurl: %s", mg_http_missing()) : MG_OK;
}

static mg_status count_calls(judge *j, mg_error *err) {
    mg_status st = MG_OK;
    for (size_t i = 0; !st && i < j->s->n; i++)
        for (int turned = 0; !st && turned < 2; turned++) {
            mg_buf request = { 0 }, reply = { 0 };
            char   key[KEY_CHARS];
            bool   found = false;
            if (!mg_sheet_asks(&j->s->item[i], MG_FORM_RUBRIC)) break;
            st = make_request(j, &j->s->item[i], turned, &request, key, err);
            if (!st) st = mg_ratings_reply(j->db, key, &reply, &found, err);
            if (!st && found) j->cached++;
            else if (!st) j->calls++, j->bytes += (double)request.len;
            mg_buf_free(&request);
            mg_buf_free(&reply);
        }
    return st;
}

/* What it will take, and on a terminal the question whether to go on. */
static mg_status announce(const judge *j, mg_error *err) {
    double in = j->bytes / BYTES_A_TOKEN, out = (double)j->calls * REPLY_TOKENS;
    fprintf(stderr, gettext("judge %s at %s: %zu calls (%zu more are answered already), about %.0f tokens to send and %.0f to receive"), j->o->judge_model,
            j->url, j->calls, j->cached, in, out);
    if (j->o->judge_price_in > 0 || j->o->judge_price_out > 0)
        fprintf(stderr, gettext(", about %.4f in all"), (in * j->o->judge_price_in + out * j->o->judge_price_out) / 1e6);
    fputc('\n', stderr);
    if (!j->calls || j->o->yes || !isatty(STDIN_FILENO) || !isatty(STDERR_FILENO)) return MG_OK;
    char line[16] = { 0 };
    fputs(gettext("send them? [y/N] "), stderr);
    if (fgets(line, sizeof line, stdin) && (*line == 'y' || *line == 'Y')) return MG_OK;
    return mg_fail(err, MG_STOPPED, "nothing was sent");
}

/* ---- calls ---- */

static void wait_for(double seconds) {
    struct timespec slice = { .tv_nsec = 50 * 1000 * 1000 };
    for (double waited = 0; waited < seconds && !mg_interrupted(); waited += 0.05) nanosleep(&slice, NULL);
}

static mg_status refusal(const judge *j, const mg_http_reply *r, mg_error *err) {
    const char *why = r->status == 401 || r->status == 403 ? gettext("the key is missing or wrong; --judge_key_env names its variable")
                      : r->status == 404                   ? gettext("no such model or path; is the address the one that ends in /v1?")
                      : r->status == 429                   ? gettext("too many calls; try again later, what was answered is kept")
                                                           : gettext("the server has failed; what was answered is kept");
    return mg_fail(err, MG_NETWORK, "%s: HTTP %ld: %s: %.200s", j->url, r->status, why, r->body.data ? r->body.data : "");
}

/* Busy and failing servers are asked again, with growing pauses. */
static mg_status call(const judge *j, const mg_buf *request, mg_buf *reply, mg_error *err) {
    mg_http_request q = { .url = j->url, .header = j->headers, .headers = j->n_headers, .body = request->data, .body_bytes = request->len,
                          .timeout_s = (long)j->o->judge_timeout, .limit_bytes = REPLY_BYTES, .cancelled = mg_interrupted };
    mg_status       st = MG_OK;
    for (int attempt = 1;; attempt++) {
        mg_http_reply r = { 0 };
        st = mg_http(&q, &r, err);
        if (!st && r.status == 200) *reply = r.body, r.body = (mg_buf){ 0 };
        bool again = !st && (r.status == 429 || r.status >= 500) && attempt < ATTEMPTS && !mg_interrupted();
        if (!st && r.status != 200 && !again) st = refusal(j, &r, err);
        double pause = r.retry_after > 0 ? (double)(r.retry_after < 60 ? r.retry_after : 60) : 0.5 * (1 << attempt);
        mg_http_reply_free(&r);
        if (!again) return st;
        wait_for(pause);
        if (mg_interrupted()) return mg_fail(err, MG_STOPPED, "stopped");
    }
}

static mg_status judge_once(judge *j, const mg_sheet_item *x, bool turned, mg_judgement *out, bool *readable, mg_error *err) {
    mg_buf    request = { 0 }, reply = { 0 };
    char      key[KEY_CHARS];
    bool      found = false;
    mg_error  why;
    mg_status st = make_request(j, x, turned, &request, key, err);
    if (!st) st = mg_ratings_reply(j->db, key, &reply, &found, err);
    if (!st && !found) st = call(j, &request, &reply, err);
    if (!st) {
        mg_buf_add(&reply, "", 0);
        mg_status read = mg_judge_reply(out, reply.data ? reply.data : "", reply.len, &why);
        *readable = !read;
        if (read && !j->unreadable++) fprintf(stderr, "%s\n", why.text);
        if (!read && !found) st = mg_ratings_keep_reply(j->db, key, reply.data, reply.len, err); /* what cannot be read is asked again */
    }
    mg_buf_free(&request);
    mg_buf_free(&reply);
    return st;
}

static mg_status judge_item(judge *j, const mg_sheet_item *x, mg_error *err) {
    mg_judgement both[2];
    bool         readable = true;
    mg_rating    rating;
    char         name[300];
    mg_status    st = MG_OK;
    for (int turned = 0; !st && readable && turned < 2; turned++) st = judge_once(j, x, turned, &both[turned], &readable, err);
    if (st || !readable) return st;
    st = mg_judge_combine(&rating, x->row, &both[0], &both[1], err);
    if (st) return st;
    snprintf(name, sizeof name, "%.250s", j->o->judge_model);
    st = mg_ratings_put(j->db, j->s->id, name, true, &rating, err);
    free(rating.note);
    return st;
}

mg_status mg_rate_judge(mg_ratings_db *db, const mg_sheet *s, const mg_rate_options *o, mg_error *err) {
    judge     j = { .db = db, .s = s, .o = o };
    mg_status st = set_up(&j, err);
    if (!st) st = count_calls(&j, err);
    if (!st) st = announce(&j, err);
    if (st) return st;
    mg_interrupts_begin();
    for (size_t i = 0; !st && i < s->n; i++) {
        if (!mg_sheet_asks(&s->item[i], MG_FORM_RUBRIC)) continue;
        st = judge_item(&j, &s->item[i], err);
        if (!st && mg_interrupted()) st = mg_fail(err, MG_STOPPED, "stopped");
    }
    mg_interrupts_end();
    if (!st && j.unreadable) fprintf(stderr, gettext("%zu replies could not be read and were not counted; the same command asks for them again\n"), j.unreadable);
    return st;
}
