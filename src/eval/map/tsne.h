/* tsne.h -- t-SNE: a picture in which near points stay near (van der Maaten and Hinton 2008).
 *
 * Repulsion is summed over cells of a quadtree (Barnes-Hut, van der Maaten 2014).  Defaults and schedule are
 * scikit-learn's: perplexity 30, PCA start, learning rate max(n / early_exaggeration / 4, 50), 250 rounds of early
 * exaggeration 12 with momentum 0.5, then momentum 0.8.  Everything is in double; one seed gives one picture, with
 * any number of threads. */
#ifndef MG_EVAL_MAP_TSNE_H
#define MG_EVAL_MAP_TSNE_H

#include "base/mem.h"

typedef struct mg_tsne_options {
    double   perplexity;         /* about how many neighbours count; less than n - 1 */
    double   learning_rate;      /* 0: auto */
    double   early_exaggeration; /* >= 1 */
    double   angle;              /* 0..1: how wide a cell may look to count as one point */
    int64_t  max_iter;           /* >= 250 */
    bool     random_start;       /* instead of PCA */
    uint64_t seed;               /* of a random start */
    bool (*cancelled)(void *context); /* NULL: never */
    void *context;
} mg_tsne_options;

mg_tsne_options mg_tsne_defaults(void);

typedef struct mg_tsne_result {
    double  kl;         /* Kullback-Leibler divergence of the picture, with the cells' approximation as scikit-learn's */
    double  learning_rate;
    int64_t rounds;     /* made; fewer than max_iter when nothing moved any more */
} mg_tsne_result;

/* y [n, 2] = the picture of x [n, d]; n >= 3.  MG_CONFIG: an option out of range, MG_STOPPED: cancelled. */
mg_status mg_tsne(const float *x, int64_t n, int64_t d, const mg_tsne_options *o, double *y, mg_tsne_result *out, mg_error *err);

#endif
