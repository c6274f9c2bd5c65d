/* http.c -- libcurl's easy interface, by its binary interface. */
#include "base/http.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* From curl.h: kinds are longs from 0, pointers from 10000, functions from 20000, offsets from 30000. */
enum {
    OPT_WRITEDATA = 10001, OPT_URL = 10002, OPT_WRITEFUNCTION = 20011, OPT_POSTFIELDS = 10015, OPT_HTTPHEADER = 10023,
    OPT_HEADERDATA = 10029, OPT_NOPROGRESS = 43, OPT_TIMEOUT = 13, OPT_HEADERFUNCTION = 20079, OPT_CONNECTTIMEOUT = 78, OPT_NOSIGNAL = 99,
    OPT_POSTFIELDSIZE_LARGE = 30120, OPT_XFERINFOFUNCTION = 20219, OPT_XFERINFODATA = 10057, OPT_PROTOCOLS = 181, OPT_HTTP_VERSION = 84, OPT_ERRORBUFFER = 10010,
    INFO_RESPONSE_CODE = 0x200002, PROTOCOLS_HTTP = 3, HTTP_1_1 = 2, CODE_ABORTED = 42, CONNECT_SECONDS = 15,
};

static struct {
    void *library;
    char  missing[300];
    int (*global_init)(long);
    void *(*init)(void);
    int (*setopt)(void *, int, ...);
    int (*perform)(void *);
    int (*getinfo)(void *, int, ...);
    void (*cleanup)(void *);
    void *(*append)(void *, const char *);
    void (*free_list)(void *);
    const char *(*error_text)(int);
    char *(*version)(void);
} curl;

static pthread_once_t opened = PTHREAD_ONCE_INIT;

static void open_library(void) {
    static const char *const name[] = { "libcurl.so.4", "libcurl-gnutls.so.4" };
    const struct {
        const char *symbol;
        void       *to;
    } need[] = {
        { "curl_global_init", &curl.global_init }, { "curl_easy_init", &curl.init },       { "curl_easy_setopt", &curl.setopt },
        { "curl_easy_perform", &curl.perform },    { "curl_easy_getinfo", &curl.getinfo }, { "curl_easy_cleanup", &curl.cleanup },
        { "curl_slist_append", &curl.append },     { "curl_slist_free_all", &curl.free_list },
        { "curl_easy_strerror", &curl.error_text }, { "curl_version", &curl.version },
    };
    for (size_t i = 0; i < sizeof name / sizeof *name && !curl.library; i++) curl.library = dlopen(name[i], RTLD_NOW | RTLD_LOCAL);
    if (!curl.library) {
        snprintf(curl.missing, sizeof curl.missing, "libcurl.so.4 cannot be opened; Debian's package is libcurl4");
        return;
    }
    for (size_t i = 0; i < sizeof need / sizeof *need; i++) {
        void *symbol = dlsym(curl.library, need[i].symbol);
        if (!symbol) {
            snprintf(curl.missing, sizeof curl.missing, "libcurl has no %s", need[i].symbol);
            return;
        }
        memcpy(need[i].to, &symbol, sizeof symbol);
    }
    if (curl.global_init(3)) snprintf(curl.missing, sizeof curl.missing, "libcurl cannot be started");
}

const char *mg_http_missing(void) {
    pthread_once(&opened, open_library);
    return *curl.missing ? curl.missing : NULL;
}

const char *mg_http_version(void) { return mg_http_missing() ? "" : curl.version(); }

typedef struct transfer {
    const mg_http_request *q;
    mg_http_reply         *reply;
    bool                   too_long;
} transfer;

static size_t take_body(char *data, size_t size, size_t n, void *context) {
    transfer *t = context;
    size_t    bytes = size * n;
    if (bytes > t->q->limit_bytes || t->reply->body.len > t->q->limit_bytes - bytes) {
        t->too_long = true;
        return 0;
    }
    mg_buf_add(&t->reply->body, data, bytes);
    return t->reply->body.failed ? 0 : bytes;
}

static size_t take_header(char *data, size_t size, size_t n, void *context) {
    static const char name[] = "retry-after:";
    transfer         *t = context;
    size_t            bytes = size * n;
    if (bytes > sizeof name && !strncasecmp(data, name, sizeof name - 1)) {
        char text[32];
        snprintf(text, sizeof text, "%.*s", (int)(bytes - sizeof name + 1), data + sizeof name - 1);
        long seconds = strtol(text, NULL, 10); /* a date gives 0: not said */
        t->reply->retry_after = seconds > 0 && seconds < 86400 ? seconds : 0;
    }
    return bytes;
}

static int look(void *context, int64_t a, int64_t b, int64_t c, int64_t d) {
    const transfer *t = context;
    (void)a, (void)b, (void)c, (void)d;
    return t->q->cancelled && t->q->cancelled();
}

static bool is_web(const char *url) { return !strncasecmp(url, "http://", 7) || !strncasecmp(url, "https://", 8); }

static mg_status set_up(void *easy, transfer *t, void **list, char *text) {
    const mg_http_request *q = t->q;
    for (size_t i = 0; i < q->headers; i++) {
        void *longer = curl.append(*list, q->header[i]);
        if (!longer) return MG_NOMEM;
        *list = longer;
    }
    int bad = curl.setopt(easy, OPT_URL, q->url) | curl.setopt(easy, OPT_HTTPHEADER, *list) | curl.setopt(easy, OPT_NOSIGNAL, 1L)
              | curl.setopt(easy, OPT_TIMEOUT, q->timeout_s) | curl.setopt(easy, OPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS)
              | curl.setopt(easy, OPT_HTTP_VERSION, (long)HTTP_1_1) | curl.setopt(easy, OPT_ERRORBUFFER, text)
              | curl.setopt(easy, OPT_WRITEFUNCTION, take_body) | curl.setopt(easy, OPT_WRITEDATA, t)
              | curl.setopt(easy, OPT_HEADERFUNCTION, take_header) | curl.setopt(easy, OPT_HEADERDATA, t)
              | curl.setopt(easy, OPT_NOPROGRESS, 0L) | curl.setopt(easy, OPT_XFERINFOFUNCTION, look) | curl.setopt(easy, OPT_XFERINFODATA, t);
    curl.setopt(easy, OPT_PROTOCOLS, (long)PROTOCOLS_HTTP); /* is_web has looked as well */
    if (q->body)
        bad |= curl.setopt(easy, OPT_POSTFIELDSIZE_LARGE, (int64_t)q->body_bytes) | curl.setopt(easy, OPT_POSTFIELDS, q->body);
    return bad ? MG_LIBRARY : MG_OK;
}

mg_status mg_http(const mg_http_request *q, mg_http_reply *out, mg_error *err) {
    char          text[256] = { 0 };
    mg_http_reply reply = { 0 };
    transfer      t = { q, &reply, false };
    void         *easy = NULL, *list = NULL;
    mg_status     st = MG_OK;
    if (!is_web(q->url)) return mg_fail(err, MG_USAGE, "'%.200s' is no address; it must begin with http:// or https://", q->url);
    if (mg_http_missing()) return mg_fail(err, MG_LIBRARY, "%s", mg_http_missing());
    easy = curl.init();
    st = easy ? set_up(easy, &t, &list, text) : MG_NOMEM;
    if (st) {
        mg_fail(err, st, "libcurl refuses to be set up for %.200s", q->url);
        goto done;
    }
    int code = curl.perform(easy);
    curl.getinfo(easy, INFO_RESPONSE_CODE, &reply.status);
    if (t.too_long) st = mg_fail(err, MG_NETWORK, "%.200s: the reply is longer than %zu bytes", q->url, q->limit_bytes);
    else if (code == CODE_ABORTED) st = mg_fail(err, MG_STOPPED, "stopped");
    else if (code) st = mg_fail(err, MG_NETWORK, "%.200s: no reply: %s", q->url, *text ? text : curl.error_text(code));
    else {
        mg_buf_add(&reply.body, "", 0);
        *out = reply;
        reply = (mg_http_reply){ 0 };
    }
done:
    if (easy) curl.cleanup(easy);
    curl.free_list(list);
    mg_http_reply_free(&reply);
    return st;
}

void mg_http_reply_free(mg_http_reply *r) {
    mg_buf_free(&r->body);
    *r = (mg_http_reply){ 0 };
}
