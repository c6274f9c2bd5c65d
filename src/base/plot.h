/* plot.h -- a line chart as SVG: curves over steps, axes with round numbers, a legend.
 *
 * The picture uses presentation attributes only (no style sheet, no script), so it
 * is allowed under a strict content security policy, and `currentColor` for text
 * and axes, so that it follows a dark page.  Values that are not finite interrupt
 * their curve; more than 1,200 points are thinned to the mean of each bin. */
#ifndef MG_BASE_PLOT_H
#define MG_BASE_PLOT_H

#include "base/mem.h"

typedef struct mg_plot_series {
    const char   *name;
    const double *x, *y; /* [n], x ascending */
    size_t        n;
} mg_plot_series;

typedef struct mg_plot {
    const char           *title, *x_label;
    const mg_plot_series *series;
    size_t                n; /* at most 6 have colours of their own */
    unsigned              dots; /* bit i: series i is points, not a line */
} mg_plot;

/* Append a whole <svg> element, 480 x 260. */
void mg_plot_svg(mg_buf *b, const mg_plot *p);

/* Append `s` with & < > " ' escaped, for XML and HTML text and attributes; control characters that
 * XML forbids and invalid UTF-8 become U+FFFD. */
void mg_xml_escape(mg_buf *b, const char *s);

#endif
