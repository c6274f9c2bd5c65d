/* scatter.c -- frame, points, names that do not cover each other.
 *
 * Both axes of a panel have one scale: distances in the picture mean something.  The colours are Okabe and Ito's,
 * told apart by colour-blind readers as well; groups beyond them begin again with hollow points. */
#include "base/scatter.h"

#include "base/plot.h"
#include "base/width.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WIDE = 380, TALL = 380, GAP = 16, MARGIN = 10, TITLE = 28, NOTE = 22, LEGEND = 22, TEXT = 13, INSIDE = 34, CROWD = 400,
       LABEL = 28 /* columns of a name */ };

static const char *const colours[] = { "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9" };
enum { COLOURS = sizeof colours / sizeof *colours };

typedef struct box { double left, top, right, bottom; } box;

typedef struct drawing {
    mg_buf           *b;
    const mg_scatter *s;
    double            left, top; /* of the panel at work */
    box              *taken;     /* names and points that stand already */
    size_t            n;
} drawing;

/* Width of a text: half an em a column is true for kanji and a little wide for Latin letters. */
static double text_width(const char *text) { return mg_width(text) * TEXT * 0.52; }

static bool overlap(const box *a, const box *b) {
    return a->left < b->right && b->left < a->right && a->top < b->bottom && b->top < a->bottom;
}

static bool is_free(const drawing *d, const box *x) {
    if (x->left < d->left + 2 || x->right > d->left + WIDE - 2 || x->top < d->top + 2 || x->bottom > d->top + TALL - 2) return false;
    for (size_t i = 0; i < d->n; i++)
        if (overlap(&d->taken[i], x)) return false;
    return true;
}

/* Try eight places around the point. */
static void draw_name(drawing *d, double x, double y, const char *label, double radius) {
    mg_buf name = { 0 };
    mg_pad(&name, label, mg_width(label) < LABEL ? mg_width(label) : LABEL);
    static const signed char places[][2] = { { 1, 0 }, { -1, 0 }, { 0, -1 }, { 0, 1 }, { 1, -1 }, { -1, -1 }, { 1, 1 }, { -1, 1 } };
    double width = text_width(name.data ? name.data : ""), far = radius + 3;
    for (size_t i = 0; name.data && i < sizeof places / sizeof *places; i++) {
        double cx = x + places[i][0] * (far + width / 2), cy = y + places[i][1] * (far + TEXT * 0.6);
        box    at = { cx - width / 2, cy - TEXT * 0.6, cx + width / 2, cy + TEXT * 0.6 };
        if (!is_free(d, &at)) continue;
        d->taken[d->n++] = at;
        mg_buf_printf(d->b, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\"%s>", cx, cy + TEXT * 0.36,
                      d->s->paper ? " paint-order=\"stroke\" stroke=\"#fff\" stroke-width=\"3\" stroke-linejoin=\"round\"" : "");
        mg_xml_escape(d->b, name.data);
        mg_buf_str(d->b, "</text>\n");
        break;
    }
    if (name.failed) d->b->failed = true;
    mg_buf_free(&name);
}

static void draw_dot(mg_buf *b, double x, double y, double radius, int group, bool crowd) {
    const char *colour = colours[group % COLOURS];
    bool        hollow = group / COLOURS % 2;
    mg_buf_printf(b, "<circle cx=\"%.2f\" cy=\"%.2f\" r=\"%g\" fill=\"%s\" ", x, y, radius, hollow ? "none" : colour);
    if (crowd && !hollow) mg_buf_str(b, "fill-opacity=\"0.4\"");
    else mg_buf_printf(b, "stroke=\"%s\"%s", colour, hollow ? "" : " fill-opacity=\"0.8\"");
}

typedef struct frame { double x, y, scale; } frame;

static frame fit(const mg_scatter_panel *p) {
    double low[2] = { INFINITY, INFINITY }, high[2] = { -INFINITY, -INFINITY };
    for (size_t i = 0; i < p->n; i++) {
        if (!isfinite(p->point[i].x) || !isfinite(p->point[i].y)) continue;
        low[0] = fmin(low[0], p->point[i].x), high[0] = fmax(high[0], p->point[i].x);
        low[1] = fmin(low[1], p->point[i].y), high[1] = fmax(high[1], p->point[i].y);
    }
    if (!(low[0] <= high[0])) return (frame){ 0, 0, 1 };
    double wide = fmax(high[0] - low[0], high[1] - low[1]);
    return (frame){ (low[0] + high[0]) / 2, (low[1] + high[1]) / 2, wide > 0 ? (WIDE - 2 * INSIDE) / wide : 1 };
}

static void draw_points(drawing *d, const mg_scatter_panel *p) {
    frame  f = fit(p);
    double radius = p->n <= 60 ? 4.5 : p->n <= CROWD ? 3 : 2;
    d->n = 0;
    for (int pass = 0; pass < 2; pass++) /* names stand above all points */
        for (size_t i = 0; i < p->n; i++) {
            const mg_scatter_point *q = &p->point[i];
            double x = d->left + WIDE / 2.0 + (q->x - f.x) * f.scale, y = d->top + TALL / 2.0 - (q->y - f.y) * f.scale;
            if (!isfinite(x) || !isfinite(y)) continue;
            if (pass && q->label && *q->label) draw_name(d, x, y, q->label, radius);
            if (pass) continue;
            draw_dot(d->b, x, y, radius, q->group, p->n > CROWD);
            mg_buf_str(d->b, q->label ? "><title>" : "/>\n");
            if (q->label) {
                mg_xml_escape(d->b, q->label);
                mg_buf_str(d->b, "</title></circle>\n");
            }
            if (p->n <= CROWD) d->taken[d->n++] = (box){ x - radius, y - radius, x + radius, y + radius };
        }
}

static void draw_text(mg_buf *b, double x, double y, const char *more, const char *text) {
    mg_buf_printf(b, "<text x=\"%.1f\" y=\"%.1f\"%s>", x, y, more);
    mg_xml_escape(b, text);
    mg_buf_str(b, "</text>\n");
}

/* The legend, in lines of `width`; its height.  With b NULL nothing is drawn. */
static int legend(mg_buf *b, const mg_scatter *s, double top, double width) {
    double x = MARGIN, y = top + 15;
    if (!s->group || s->groups < 2) return 0;
    for (size_t i = 0; i < s->groups; i++) {
        double need = 20 + text_width(s->group[i]) + 14;
        if (x > MARGIN && x + need > width) {
            x = MARGIN;
            y += LEGEND;
        }
        if (b) {
            draw_dot(b, x + 6, y - 4, 4.5, (int)i, false);
            mg_buf_str(b, "/>");
            draw_text(b, x + 16, y, "", s->group[i]);
        }
        x += need;
    }
    return (int)(y - top) + 8;
}

void mg_scatter_svg(mg_buf *b, const mg_scatter *s, int *width, int *height) {
    bool   titled = false, noted = false;
    size_t most = 1;
    for (size_t i = 0; i < s->n; i++) {
        titled |= s->panel[i].title != NULL;
        noted |= s->panel[i].note != NULL;
        most = s->panel[i].n > most ? s->panel[i].n : most;
    }
    int     wide = (int)s->n * (WIDE + GAP) - GAP + 2 * MARGIN, above = MARGIN + (titled ? TITLE : 0), below = above + TALL + (noted ? NOTE : 0);
    int     tall = below + legend(NULL, s, below, wide) + MARGIN;
    drawing d = { .b = b, .s = s, .top = above, .taken = mg_calloc(2 * most, sizeof *d.taken) };
    if (!d.taken) b->failed = true;
    mg_buf_printf(b, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" role=\"img\" font-size=\"%d\" %s "
                     "font-family=\"'Noto Sans CJK JP','Noto Sans JP','Hiragino Sans','Yu Gothic',IPAGothic,sans-serif\">\n<title>",
                  wide, tall, TEXT, s->paper ? "fill=\"#000\" color=\"#000\"" : "fill=\"currentColor\"");
    mg_xml_escape(b, s->title);
    mg_buf_str(b, "</title>\n");
    if (s->paper) mg_buf_printf(b, "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n", wide, tall);
    for (size_t i = 0; d.taken && i < s->n; i++) {
        const mg_scatter_panel *p = &s->panel[i];
        d.left = MARGIN + (double)i * (WIDE + GAP);
        mg_buf_printf(b, "<rect x=\"%.1f\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"none\" stroke=\"currentColor\" stroke-opacity=\"0.3\"/>\n",
                      d.left, above, WIDE, TALL);
        if (p->title) draw_text(b, d.left + 2, MARGIN + 16, " font-weight=\"bold\"", p->title);
        draw_points(&d, p);
        if (p->note) draw_text(b, d.left + 2, above + TALL + 16, " font-size=\"12\" fill-opacity=\"0.75\"", p->note);
    }
    legend(b, s, below, wide);
    mg_buf_str(b, "</svg>\n");
    free(d.taken);
    if (width) *width = wide;
    if (height) *height = tall;
}
