/* http.h -- one request to an HTTP server, by libcurl.
 *
 * libcurl is opened when the first request is made and not before: a program that asks nobody needs no network
 * library, and a build needs none of its headers (its option numbers are part of its binary interface and never
 * change).  Only http and https, no redirects (a key must not follow one), TLS as libcurl is set up. */
#ifndef MG_BASE_HTTP_H
#define MG_BASE_HTTP_H

#include "base/mem.h"

/* NULL when libcurl can be used; else why not, for `doctor`. */
const char *mg_http_missing(void);
/* "libcurl/7.88.1 OpenSSL/3.0.17 ..."; "" without it. */
const char *mg_http_version(void);

typedef struct mg_http_request {
    const char        *url;
    const char *const *header; /* "Name: value", [headers] */
    size_t             headers;
    const char        *body;   /* [body_bytes]; NULL: GET */
    size_t             body_bytes;
    long               timeout_s;  /* for all of it */
    size_t             limit_bytes; /* a longer reply is an error */
    bool (*cancelled)(void);       /* asked again and again; true ends the request with MG_STOPPED; NULL: never */
} mg_http_request;

typedef struct mg_http_reply {
    long   status;      /* 200, 404, ... */
    mg_buf body;
    long   retry_after; /* seconds that the server asks to wait, 0: it does not say */
} mg_http_reply;

/* MG_OK for every reply, whatever its status.  MG_LIBRARY without libcurl; MG_NETWORK: no reply (libcurl's reason is named);
 * MG_USAGE: the address is not http or https. */
mg_status mg_http(const mg_http_request *q, mg_http_reply *out, mg_error *err);
void      mg_http_reply_free(mg_http_reply *r);

#endif
