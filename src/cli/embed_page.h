/* embed_page.h -- pictures of vectors: SVG and PNG files, and one page that works without a network. */
#ifndef MG_CLI_EMBED_PAGE_H
#define MG_CLI_EMBED_PAGE_H

#include "cli/embed_show.h"

/* "43% of the variance · trustworthiness 0.971 (5 neighbours)" */
void mg_embed_note(mg_buf *b, const mg_embed_result *r, const mg_embed_map *m, int side);

/* pca.svg, pca.png, tsne.svg, tsne.png (what was drawn) and embed.html in `lang`. */
mg_status mg_embed_write_pictures(const mg_embed_result *r, const char *folder, const char *lang, mg_buf *note, mg_error *err);

#endif
