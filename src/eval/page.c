/* page.c -- head, policy and texts of the pages. */
#include "eval/page.h"

#include "base/plot.h"

#include <sha2.h>
#include <string.h>

/* 'sha256-...' of a constant, as a policy wants it. */
static void policy_hash(mg_buf *b, const char *text) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint8_t           d[SHA256_DIGEST_LENGTH + 1] = { 0 };
    SHA2_CTX          c;
    SHA256Init(&c);
    SHA256Update(&c, (const uint8_t *)text, strlen(text));
    SHA256Final(d, &c);
    mg_buf_str(b, " 'sha256-");
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

void mg_page_escape(const mg_page *p, const char *text) { mg_xml_escape(p->b, text ? text : ""); }

void mg_page_text(const mg_page *p, const char *en, const char *ja) {
    mg_buf_str(p->b, "<span lang=\"en\">");
    mg_xml_escape(p->b, en);
    mg_buf_str(p->b, "</span><span lang=\"ja\">");
    mg_xml_escape(p->b, ja);
    mg_buf_str(p->b, "</span>");
}

void mg_page_attribute(const mg_page *p, const char *name, const char *en, const char *ja) {
    const char *const pair[][2] = { { "data-en", en }, { "data-ja", ja }, { name, p->ja ? ja : en } };
    for (size_t i = 0; i < 3; i++) {
        if (!pair[i][0]) continue;
        mg_buf_printf(p->b, " %s=\"", pair[i][0]);
        mg_xml_escape(p->b, pair[i][1]);
        mg_buf_char(p->b, '"');
    }
}

void mg_page_begin(const mg_page *p) {
    mg_buf_printf(p->b, "<!doctype html>\n<html lang=\"%s\">\n<head>\n<meta charset=\"utf-8\">\n"
                        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; base-uri 'none'; "
                        "form-action 'none'; style-src", p->ja ? "ja" : "en");
    for (size_t i = 0; i < 2; i++)
        if (p->style[i]) policy_hash(p->b, p->style[i]);
    mg_buf_str(p->b, "; script-src");
    for (size_t i = 0; i < 2; i++)
        if (p->script[i]) policy_hash(p->b, p->script[i]);
    mg_buf_str(p->b, "\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>");
    mg_page_escape(p, p->title);
    mg_buf_str(p->b, "</title>\n");
    for (size_t i = 0; i < 2; i++)
        if (p->style[i]) mg_buf_printf(p->b, "<style>%s</style>\n", p->style[i]);
    mg_buf_str(p->b, "</head>\n<body>\n<button type=\"button\" id=\"language\" hidden>");
    mg_page_text(p, "日本語", "English");
    mg_buf_str(p->b, "</button>\n");
}

void mg_page_end(const mg_page *p) {
    for (size_t i = 0; i < 2; i++)
        if (p->script[i]) mg_buf_printf(p->b, "<script>%s</script>\n", p->script[i]);
    mg_buf_str(p->b, "</body>\n</html>\n");
}
