/* embed_page.c -- panels side by side in a file, below each other on a narrow page.
 *
 * The page has no script and loads nothing.  Each panel is an SVG of its own there, so that a telephone shows them one
 * below the other with letters of a readable size. */
#include "cli/embed_page.h"

#include "base/file.h"
#include "base/plot.h"
#include "base/scatter.h"
#include "base/svg_png.h"

#include <libintl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TABLE_MOST = 30 };

void mg_embed_note(mg_buf *b, const mg_embed_result *r, const mg_embed_map *m, int side) {
    if (m->tsne[side].rounds)
        mg_buf_printf(b, gettext("perplexity %g · KL divergence %.3f"), r->perplexity, m->tsne[side].kl);
    else
        mg_buf_printf(b, gettext("%.0f%% of the variance"), 100 * m->part[side]);
    if (isfinite(m->trust[side])) mg_buf_printf(b, gettext(" · trustworthiness %.3f"), m->trust[side]);
}

/* ---- panels ---- */

typedef struct panels {
    mg_scatter_point *point[MG_EMBED_SIDES];
    mg_buf            title[MG_EMBED_SIDES], note[MG_EMBED_SIDES];
    mg_scatter_panel  panel[MG_EMBED_SIDES]; /* before first, as one reads */
    size_t            n;
    mg_scatter        scatter;
} panels;

static void free_panels(panels *p) {
    for (int k = 0; k < MG_EMBED_SIDES; k++) {
        free(p->point[k]);
        mg_buf_free(&p->title[k]);
        mg_buf_free(&p->note[k]);
    }
}

static mg_status make_panels(panels *p, const mg_embed_result *r, const mg_embed_map *m, mg_error *err) {
    const mg_embed_items *s = r->items;
    bool                  failed = false;
    for (int side = MG_EMBED_SIDES - 1; side >= 0; side--) {
        if (!m->y[side]) continue;
        mg_scatter_point *q = p->point[p->n] = mg_calloc(s->n, sizeof *q);
        if (!q) return mg_fail(err, MG_NOMEM, "no memory for a picture");
        for (size_t i = 0; i < s->n; i++) q[i] = (mg_scatter_point){ m->y[side][2 * i], m->y[side][2 * i + 1], s->item[i].label, s->item[i].group };
        mg_buf_printf(&p->title[p->n], "%s · %s", m->name, r->vector[1] ? (side ? gettext("before") : gettext("after")) : r->run ? r->run : r->model);
        mg_embed_note(&p->note[p->n], r, m, side);
        failed |= p->title[p->n].failed || p->note[p->n].failed;
        p->panel[p->n] = (mg_scatter_panel){ p->title[p->n].data, p->note[p->n].data, q, s->n };
        p->n++;
    }
    p->scatter = (mg_scatter){ .title = m->name, .panel = p->panel, .n = p->n, .groups = s->groups };
    if (s->groups > 1) p->scatter.group = (const char *const *)s->group;
    return failed ? mg_fail(err, MG_NOMEM, "no memory for a picture") : MG_OK;
}

/* ---- files of their own ---- */

static mg_status write_file(const char *folder, const char *stem, const char *ending, const mg_buf *b, mg_error *err) {
    mg_buf    path = { 0 };
    mg_status st;
    mg_buf_printf(&path, "%s/%s.%s", folder, stem, ending);
    st = path.failed || b->failed ? mg_fail(err, MG_NOMEM, "no memory for %s.%s", stem, ending) : mg_replace_file(path.data, b->data, b->len, err);
    mg_buf_free(&path);
    return st;
}

/* All labels, a sample of what a font must have. */
static void all_labels(const mg_embed_items *s, mg_buf *b) {
    for (size_t i = 0; i < s->n; i++) mg_buf_str(b, s->item[i].label);
    mg_buf_str(b, "");
}

static mg_status write_picture(const mg_embed_result *r, const panels *p, const char *folder, const char *stem, mg_buf *note, mg_error *err) {
    mg_buf     svg = { 0 }, png = { 0 }, labels = { 0 };
    mg_scatter s = p->scatter;
    mg_error   why;
    int        width, height;
    s.paper = true;
    mg_scatter_svg(&svg, &s, &width, &height);
    mg_status st = write_file(folder, stem, "svg", &svg, err);
    all_labels(r->items, &labels);
    if (!st && !labels.failed) {
        if (!mg_svg_png(&png, &svg, width, height, 2, labels.data, &why)) st = write_file(folder, stem, "png", &png, err);
        else if (!note->len) mg_buf_str(note, why.text);
    }
    mg_buf_free(&svg);
    mg_buf_free(&png);
    mg_buf_free(&labels);
    return st;
}

/* ---- the page ---- */

static const char style[] =
    ":root{color-scheme:light dark;--bg:#fff;--fg:#1c1c1e;--line:#d5d8dd;--hot:213,94,0}"
    "@media(prefers-color-scheme:dark){:root{--bg:#16181c;--fg:#e8e8ea;--line:#3a3f47}}"
    "*{box-sizing:border-box}body{margin:0 auto;padding:1rem;max-width:76rem;background:var(--bg);color:var(--fg);"
    "font:16px/1.65 system-ui,'Hiragino Sans','Noto Sans CJK JP','Yu Gothic',sans-serif}"
    "h1{font-size:1.4rem;line-height:1.3;margin:.3rem 0}h2{font-size:1.15rem;margin:1.6rem 0 .6rem}"
    ".meta{opacity:.75;font-size:.9rem;overflow-wrap:anywhere}"
    ".panels{display:flex;flex-wrap:wrap;gap:1rem}.panels svg{flex:1 1 20rem;max-width:36rem;min-width:0;width:100%}"
    ".panels text{paint-order:stroke;stroke:var(--bg);stroke-width:3px;stroke-linejoin:round}"
    ".scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}"
    "th,td{padding:.3rem .5rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}"
    "th:first-child{text-align:left;position:sticky;left:0;background:var(--bg);max-width:12rem;overflow:hidden;text-overflow:ellipsis}"
    "@media(max-width:30rem){body{padding:.6rem}th,td{padding:.25rem .35rem;font-size:.8rem}th:first-child{max-width:7.5rem}}";

static void page_head(mg_buf *b, const mg_embed_result *r, const char *lang) {
    mg_buf_printf(b, "<!doctype html>\n<html lang=\"%s\">\n<head>\n<meta charset=\"utf-8\">\n"
                     "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                     "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n"
                     "<link rel=\"icon\" href=\"data:,\">\n<title>", lang);
    mg_xml_escape(b, gettext("Embeddings"));
    mg_buf_str(b, " · ");
    mg_xml_escape(b, r->run ? r->run : r->model);
    mg_buf_printf(b, "</title>\n<style>%s</style>\n</head>\n<body>\n<h1>", style);
    mg_xml_escape(b, gettext("Embeddings"));
    mg_buf_str(b, " · ");
    mg_xml_escape(b, r->run ? r->run : r->model);
    mg_buf_str(b, "</h1>\n<p class=\"meta\">");
    mg_buf line = { 0 };
    mg_buf_printf(&line, gettext("%s: %zu texts, vectors of %lld numbers (%s)\n"), r->model, r->items->n, (long long)r->dim, r->source);
    mg_xml_escape(b, line.data ? line.data : "");
    mg_buf_free(&line);
    mg_buf_str(b, "</p>\n");
}

static void page_map(mg_buf *b, const panels *p, const char *name) {
    mg_buf_printf(b, "<h2>%s</h2>\n<div class=\"panels\">\n", name);
    for (size_t i = 0; i < p->n; i++) {
        mg_scatter one = p->scatter;
        one.panel = &p->panel[i];
        one.n = 1;
        mg_scatter_svg(b, &one, NULL, NULL);
    }
    mg_buf_str(b, "</div>\n");
}

static void page_cosines(mg_buf *b, const mg_embed_result *r, int side) {
    const mg_embed_items *s = r->items;
    mg_buf_str(b, "<h2>");
    mg_xml_escape(b, gettext("Cosine similarity"));
    if (r->vector[1]) mg_buf_printf(b, " · %s", side ? gettext("before") : gettext("after"));
    mg_buf_str(b, "</h2>\n<div class=\"scroll\"><table>\n<tr><th></th>");
    for (size_t k = 0; k < s->n; k++) {
        mg_buf_str(b, "<th scope=\"col\">");
        mg_xml_escape(b, s->item[k].label);
        mg_buf_str(b, "</th>");
    }
    mg_buf_str(b, "</tr>\n");
    for (size_t i = 0; i < s->n; i++) {
        mg_buf_str(b, "<tr><th scope=\"row\">");
        mg_xml_escape(b, s->item[i].label);
        mg_buf_str(b, "</th>");
        for (size_t k = 0; k < s->n; k++) {
            double c = mg_embed_cosine(r->vector[side] + (int64_t)i * r->dim, r->vector[side] + (int64_t)k * r->dim, r->dim);
            mg_buf_printf(b, "<td style=\"background:rgba(var(--hot),%.2f)\">%.3f</td>", i == k || c < 0 ? 0 : 0.55 * c * c, c);
        }
        mg_buf_str(b, "</tr>\n");
    }
    mg_buf_str(b, "</table></div>\n");
}

mg_status mg_embed_write_pictures(const mg_embed_result *r, const char *folder, const char *lang, mg_buf *note, mg_error *err) {
    mg_buf    page = { 0 };
    mg_status st = MG_OK;
    page_head(&page, r, lang);
    for (size_t m = 0; !st && m < r->maps; m++) {
        panels p = { 0 };
        st = make_panels(&p, r, &r->map[m], err);
        if (!st) st = write_picture(r, &p, folder, r->map[m].tsne[0].rounds ? "tsne" : "pca", note, err);
        if (!st) page_map(&page, &p, r->map[m].name);
        free_panels(&p);
    }
    for (int side = MG_EMBED_SIDES - 1; side >= 0; side--)
        if (r->vector[side] && r->items->n <= TABLE_MOST && r->items->n > 1) page_cosines(&page, r, side);
    mg_buf_str(&page, "</body>\n</html>\n");
    if (!st) st = write_file(folder, "embed", "html", &page, err);
    mg_buf_free(&page);
    return st;
}
