/* quadtree.h -- points of a plane in nested cells, for sums over far points (Barnes and Hut 1986). */
#ifndef MG_EVAL_MAP_QUADTREE_H
#define MG_EVAL_MAP_QUADTREE_H

#include "base/mem.h"

typedef struct mg_cell {
    double  x, y;   /* centre of its points */
    double  width2; /* squared width of the cell; 0 for a leaf: it is always taken whole */
    double  count;
    int32_t next;   /* the cell behind this one's children, in the order of the walk */
    int32_t leaf;   /* its points are order[leaf .. leaf + count); -1: it has children, the first right behind it */
} mg_cell;

typedef struct mg_quadtree {
    mg_cell *cell; /* [n] parents before children */
    size_t   n, cap;
    int32_t *order; /* [points] neighbours in the plane stand together */
    int32_t *spare; /* [points] work memory */
} mg_quadtree;

/* Room for `points`; false: no memory.  Free with mg_quadtree_free, also after a failure. */
bool mg_quadtree_open(mg_quadtree *t, int64_t points);
/* The tree of y [points, 2]; false: no memory. */
bool mg_quadtree_build(mg_quadtree *t, const double *y, int64_t points);
void mg_quadtree_free(mg_quadtree *t);

#endif
