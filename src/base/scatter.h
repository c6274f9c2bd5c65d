/* scatter.h -- points with names in a plane, as SVG: pictures of embeddings.
 *
 * Panels stand side by side.  Presentation attributes only, no style sheet and no script, like plot.h.  Names are
 * written where there is room, of two that collide the earlier one; every point tells its name when pointed at. */
#ifndef MG_BASE_SCATTER_H
#define MG_BASE_SCATTER_H

#include "base/mem.h"

typedef struct mg_scatter_point {
    double      x, y;
    const char *label; /* NULL: none */
    int         group; /* 0..groups - 1: its colour; the first six have one of their own */
} mg_scatter_point;

typedef struct mg_scatter_panel {
    const char             *title; /* NULL: none */
    const char             *note;  /* a line below the picture; NULL: none */
    const mg_scatter_point *point;
    size_t                  n;
} mg_scatter_panel;

typedef struct mg_scatter {
    const char             *title; /* for readers that do not see the picture */
    const mg_scatter_panel *panel;
    size_t                  n;
    const char *const      *group; /* [groups] names for the legend; NULL: no legend */
    size_t                  groups;
    bool                    paper; /* black on white, for a file of its own; else the page's colours */
} mg_scatter;

/* Append a whole <svg> element; its size in pixels into *width and *height, which may be NULL. */
void mg_scatter_svg(mg_buf *b, const mg_scatter *s, int *width, int *height);

#endif
