/* embed_show.h -- vectors as tables, pictures and files. */
#ifndef MG_CLI_EMBED_SHOW_H
#define MG_CLI_EMBED_SHOW_H

#include "cli/embed_texts.h"
#include "eval/map/tsne.h"

enum { MG_EMBED_SIDES = 2, MG_EMBED_MAPS = 2 };

typedef struct mg_embed_map { /* one way to draw, of both sides */
    const char *name;                 /* "PCA", "t-SNE" */
    double     *y[MG_EMBED_SIDES];    /* [n, 2]; NULL: not drawn */
    double      trust[MG_EMBED_SIDES]; /* NaN: too few points */
    double      part[MG_EMBED_SIDES];  /* PCA: of the variance, in both axes together */
    mg_tsne_result tsne[MG_EMBED_SIDES];
} mg_embed_map;

typedef struct mg_embed_result {
    const mg_embed_items *items;
    const char           *model, *run;          /* names; run NULL: none */
    const char           *source;               /* "last layer, mean" for people, translated */
    const char           *pooling;
    int64_t               layer;                /* -1: the input table */
    int64_t               dim, neighbours;
    double                perplexity;
    float                *vector[MG_EMBED_SIDES]; /* [n, dim] after, before; before NULL: one side */
    mg_embed_map          map[MG_EMBED_MAPS];
    size_t                maps;
} mg_embed_result;

double mg_embed_cosine(const float *a, const float *b, int64_t d);

/* Cosine tables (12 texts and fewer) or nearest texts, and a line for each picture. */
void mg_embed_show(mg_buf *b, const mg_embed_result *r, int columns);
/* One object: settings, texts with places and, if wanted, vectors, cosines of up to 200 texts. */
void mg_embed_json(mg_buf *b, const mg_embed_result *r, bool vectors);

/* embed.html, embed.json, MAP.svg and MAP.png, and the vectors as embeddings.FORMAT (jsonl, safetensors or csv).
 * `note` receives why no PNG could be drawn, if so: that is no failure. */
mg_status mg_embed_write(const mg_embed_result *r, const char *folder, const mg_list *formats, const char *lang, mg_buf *note, mg_error *err);

#endif
