/* plot.c -- scale, ticks, polylines.
 *
 * Ticks are 1, 2 or 5 times a power of ten, about five an axis.  Colours are the
 * first six of Okabe and Ito's palette, told apart by colour-blind readers as well;
 * every second curve is dashed for prints without colour. */
#include "base/plot.h"

#include <math.h>
#include <string.h>
#include <utf8proc.h>

enum { WIDTH = 480, HEIGHT = 260, LEFT = 58, RIGHT = 14, TOP = 30, BOTTOM = 38, POINTS = 1200 };

typedef struct {
    double least, most, step;
} axis;

void mg_xml_escape(mg_buf *b, const char *s) {
    for (size_t i = 0, n = strlen(s); i < n;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t len = utf8proc_iterate((const utf8proc_uint8_t *)s + i, (utf8proc_ssize_t)(n - i), &c);
        const char      *entity = c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '"' ? "&quot;"
                                  : c == '\'' ? "&#39;" : NULL;
        if (len <= 0 || (c < 0x20 && c != '\n' && c != '\t' && c != '\r') || c == 0x7f || (c & 0xfffe) == 0xfffe)
            mg_buf_str(b, "\xef\xbf\xbd");
        else if (entity)
            mg_buf_str(b, entity);
        else
            mg_buf_add(b, s + i, (size_t)len);
        i += len > 0 ? (size_t)len : 1;
    }
}

/* Widen [least, most] to whole ticks. */
static axis make_axis(double least, double most) {
    if (!(most - least > 1e-9 * fmax(fabs(least), fabs(most)))) { /* nearly equal: ticks would not advance */
        double pad = fabs(least) > 0 ? fabs(least) * 0.1 : 1;
        least -= pad;
        most += pad;
    }
    double raw = (most - least) / 5, power = pow(10, floor(log10(raw))), mantissa = raw / power;
    double step = power * (mantissa < 1.5 ? 1 : mantissa < 3.5 ? 2 : mantissa < 7.5 ? 5 : 10);
    return (axis){ floor(least / step) * step, ceil(most / step) * step, step };
}

static double place_x(axis a, double v) { return LEFT + (v - a.least) / (a.most - a.least) * (WIDTH - LEFT - RIGHT); }
static double place_y(axis a, double v) { return HEIGHT - BOTTOM - (v - a.least) / (a.most - a.least) * (HEIGHT - TOP - BOTTOM); }

/* The range of all finite points; false when there is none. */
static bool ranges(const mg_plot *p, axis *x, axis *y) {
    double lx = INFINITY, hx = -INFINITY, ly = INFINITY, hy = -INFINITY;
    for (size_t s = 0; s < p->n; s++)
        for (size_t i = 0; i < p->series[s].n; i++) {
            double a = p->series[s].x[i], b = p->series[s].y[i];
            if (!isfinite(a) || !isfinite(b) || fabs(a) > 1e150 || fabs(b) > 1e150) continue;
            lx = fmin(lx, a);
            hx = fmax(hx, a);
            ly = fmin(ly, b);
            hy = fmax(hy, b);
        }
    if (!(lx <= hx)) return false;
    *x = make_axis(lx, hx);
    x->least = lx; /* the curve fills the width */
    x->most = hx > lx ? hx : lx + 1;
    *y = make_axis(ly, hy);
    return true;
}

static void tick_text(mg_buf *b, double v, double step) {
    if (fabs(v) < step * 1e-6) v = 0;
    mg_buf_printf(b, "%.4g", v);
}

static void draw_axes(mg_buf *b, axis x, axis y) {
    for (double v = y.least; v < y.most + y.step / 2; v += y.step) {
        double at = place_y(y, v);
        mg_buf_printf(b, "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"currentColor\" stroke-opacity=\"0.15\"/>"
                         "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">", LEFT, WIDTH - RIGHT, at, at, LEFT - 6, at + 4);
        tick_text(b, v, y.step);
        mg_buf_str(b, "</text>\n");
    }
    for (double v = ceil(x.least / x.step) * x.step; v <= x.most + x.step * 1e-6; v += x.step) {
        mg_buf_printf(b, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">", place_x(x, v), HEIGHT - BOTTOM + 16);
        tick_text(b, v, x.step);
        mg_buf_str(b, "</text>\n");
    }
    mg_buf_printf(b, "<line x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\" stroke=\"currentColor\"/>\n", LEFT, WIDTH - RIGHT,
                  HEIGHT - BOTTOM, HEIGHT - BOTTOM);
}

static void draw_series(mg_buf *b, const mg_plot_series *s, axis x, axis y, const char *colour, bool dashed, bool dots) {
    size_t bin = s->n / POINTS + 1;
    bool   open = false;
    mg_buf_printf(b, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"%s\" stroke-linejoin=\"round\" stroke-linecap=\"round\"%s d=\"",
                  colour, dots ? "7" : "1.8", dashed && !dots ? " stroke-dasharray=\"6 3\"" : "");
    for (size_t i = 0; i < s->n; i += bin) {
        double sx = 0, sy = 0;
        size_t k = 0;
        for (size_t j = i; j < i + bin && j < s->n; j++, k++) {
            sx += s->x[j];
            sy += s->y[j];
        }
        double px = place_x(x, sx / (double)k), py = place_y(y, sy / (double)k);
        if (!isfinite(px) || !isfinite(py) || fabs(py) > 1e6) {
            open = false;
            continue;
        }
        if (dots) open = false;
        mg_buf_printf(b, "%s%.1f %.1f", open ? "L" : "M", px, py);
        if (!open) mg_buf_printf(b, "L%.1f %.1f", px, py); /* a lone point is a dot */
        open = true;
    }
    mg_buf_str(b, "\"/>\n");
}

void mg_plot_svg(mg_buf *b, const mg_plot *p) {
    static const char *const colours[] = { "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9" };
    axis                     x, y;
    mg_buf_printf(b, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" role=\"img\" font-family=\"sans-serif\" "
                     "font-size=\"11\" fill=\"currentColor\">\n<title>", WIDTH, HEIGHT);
    mg_xml_escape(b, p->title);
    mg_buf_printf(b, "</title>\n<text x=\"%d\" y=\"18\" font-size=\"13\" font-weight=\"bold\">", LEFT);
    mg_xml_escape(b, p->title);
    mg_buf_str(b, "</text>\n");
    if (ranges(p, &x, &y)) {
        draw_axes(b, x, y);
        mg_buf_printf(b, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">", WIDTH - RIGHT, HEIGHT - 6);
        mg_xml_escape(b, p->x_label);
        mg_buf_str(b, "</text>\n");
        for (size_t i = 0; i < p->n; i++) draw_series(b, &p->series[i], x, y, colours[i % 6], i % 2, p->dots >> i & 1);
        for (size_t i = 0; p->n > 1 && i < p->n; i++) {
            int at = WIDTH - RIGHT - 96 * (int)(p->n - i);
            mg_buf_printf(b, "<line x1=\"%d\" x2=\"%d\" y1=\"14\" y2=\"14\" stroke=\"%s\" stroke-width=\"2.5\"%s/><text x=\"%d\" y=\"18\">",
                          at, at + 18, colours[i % 6], i % 2 && !(p->dots >> i & 1) ? " stroke-dasharray=\"6 3\"" : "", at + 23);
            mg_xml_escape(b, p->series[i].name);
            mg_buf_str(b, "</text>\n");
        }
    }
    mg_buf_str(b, "</svg>\n");
}
