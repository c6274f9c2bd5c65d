/* svg_png.h -- our own SVG pictures as PNG, with whatever script their texts are in.
 *
 * Shaping and drawing Japanese text needs fonts and a library that knows them.  librsvg draws the very SVG that is written
 * beside it, so there is one drawing; it is opened when the first PNG is wanted, and a machine without it (servers) loses
 * PNG and nothing else. */
#ifndef MG_BASE_SVG_PNG_H
#define MG_BASE_SVG_PNG_H

#include "base/mem.h"

/* Append a PNG of the svg text, width x height pixels times `scale`.  `text`: a sample of the characters that must be
 * drawn.  MG_LIBRARY: the library is missing, or no font has these characters; the message says what to install. */
mg_status mg_svg_png(mg_buf *out, const mg_buf *svg, int width, int height, double scale, const char *text, mg_error *err);

/* Why no PNG with Japanese text can be drawn here; NULL: it can.  Static. */
const char *mg_svg_png_missing(void);

#endif
