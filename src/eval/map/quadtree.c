/* quadtree.c -- built top down by sorting points into quarters; the walk needs no stack.
 *
 * Cells lie in the order of the walk: behind a cell come its children, and `next` leaps over them.  A walk is then one
 * pass forward through memory. */
#include "eval/map/quadtree.h"

#include <stdlib.h>
#include <string.h>

enum { DEEPEST = 64 }; /* points that 64 halvings cannot part are one leaf */

bool mg_quadtree_open(mg_quadtree *t, int64_t points) {
    *t = (mg_quadtree){ 0 };
    t->order = mg_calloc((size_t)points, sizeof *t->order);
    t->spare = mg_calloc((size_t)points, sizeof *t->spare);
    return t->order && t->spare;
}

void mg_quadtree_free(mg_quadtree *t) {
    free(t->cell);
    free(t->order);
    free(t->spare);
    *t = (mg_quadtree){ 0 };
}

typedef struct square { double x, y, half; } square; /* its middle */

static bool one_place(const mg_quadtree *t, const double *p, int64_t begin, int64_t end) {
    const double *first = p + 2 * t->order[begin];
    for (int64_t i = begin + 1; i < end; i++)
        if (p[2 * t->order[i]] != first[0] || p[2 * t->order[i] + 1] != first[1]) return false;
    return true;
}

/* Sort order[begin..end) into quarters of `s`; start [5] receives their borders. */
static void into_quarters(mg_quadtree *t, const double *p, int64_t begin, int64_t end, square s, int64_t start[5]) {
    int64_t count[4] = { 0 }, at[4];
    for (int64_t i = begin; i < end; i++) {
        const double *q = p + 2 * t->order[i];
        count[(q[0] >= s.x) + 2 * (q[1] >= s.y)]++;
    }
    start[0] = begin;
    for (int c = 0; c < 4; c++) {
        at[c] = start[c];
        start[c + 1] = start[c] + count[c];
    }
    for (int64_t i = begin; i < end; i++) {
        const double *q = p + 2 * t->order[i];
        t->spare[at[(q[0] >= s.x) + 2 * (q[1] >= s.y)]++] = t->order[i];
    }
    memcpy(t->order + begin, t->spare + begin, (size_t)(end - begin) * sizeof *t->order);
}

static bool build(mg_quadtree *t, const double *p, int64_t begin, int64_t end, square s, int depth) {
    size_t  me = t->n;
    int64_t start[5];
    double  x = 0, y = 0, count = (double)(end - begin);
    if (!MG_GROW(t->cell, t->cap, t->n + 1)) return false;
    t->n++;
    for (int64_t i = begin; i < end; i++) {
        x += p[2 * t->order[i]];
        y += p[2 * t->order[i] + 1];
    }
    mg_cell cell = { .x = x / count, .y = y / count, .count = count, .leaf = -1, .width2 = 4 * s.half * s.half };
    if (end - begin == 1 || depth == DEEPEST || one_place(t, p, begin, end)) {
        cell.leaf = (int32_t)begin;
        cell.width2 = 0;
    } else {
        double h = s.half / 2;
        into_quarters(t, p, begin, end, s, start);
        for (int c = 0; c < 4; c++) {
            square quarter = { s.x + (c & 1 ? h : -h), s.y + (c & 2 ? h : -h), h };
            if (start[c + 1] > start[c] && !build(t, p, start[c], start[c + 1], quarter, depth + 1)) return false;
        }
    }
    cell.next = (int32_t)t->n;
    t->cell[me] = cell;
    return true;
}

bool mg_quadtree_build(mg_quadtree *t, const double *y, int64_t points) {
    double low[2] = { y[0], y[1] }, high[2] = { y[0], y[1] };
    for (int64_t i = 0; i < points; i++) {
        t->order[i] = (int32_t)i;
        for (int c = 0; c < 2; c++) {
            low[c] = y[2 * i + c] < low[c] ? y[2 * i + c] : low[c];
            high[c] = y[2 * i + c] > high[c] ? y[2 * i + c] : high[c];
        }
    }
    double half = high[0] - low[0] > high[1] - low[1] ? (high[0] - low[0]) / 2 : (high[1] - low[1]) / 2;
    t->n = 0;
    return build(t, y, 0, points, (square){ (low[0] + high[0]) / 2, (low[1] + high[1]) / 2, half }, 0);
}
