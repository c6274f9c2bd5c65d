/* virtual.c -- a batch is laid out anew with the rows of a prompt in front of every sequence. */
#include "nn/virtual.h"

#include <stdlib.h>

static int64_t most_of(const mg_hook *h, bool loaded) {
    int64_t most = 0;
    for (; h; h = h->next)
        if ((loaded || !h->off) && h->virtual_rows > most) most = h->virtual_rows;
    return most;
}

int64_t mg_net_virtual(const mg_net *net, bool loaded) {
    int64_t embed = most_of(net->embed_hooks, loaded), attend = net->layers ? most_of(net->attend_hooks[0], loaded) : 0;
    return embed > attend ? embed : attend;
}

/* Which sequence a row of the batch is in; rows are asked for in any order, so by bisection. */
static int sequence_of(const mg_batch *b, int32_t row) {
    int low = 0, high = b->n_seq - 1;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (b->start[middle] <= row)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

mg_status mg_virtual_insert(mg_virtual *v, mg_batch *b, int64_t n, mg_error *err) {
    if (!n) return MG_OK;
    MG_ASSERT(!b->cache && !b->n_virtual);
    size_t rows, extra;
    bool   fits = mg_size_mul((size_t)b->n_seq, (size_t)n, &extra) && mg_size_add((size_t)mg_batch_rows(b), extra, &rows) &&
                rows <= INT32_MAX && MG_GROW(v->memory, v->cap, (size_t)b->n_seq + 1 + 3 * rows + (size_t)b->n_labels + 2 * extra);
    if (!fits) return mg_fail(err, MG_NOMEM, "no memory for a batch with %lld virtual tokens a sequence", (long long)n);
    int32_t *start = v->memory, *ids = start + b->n_seq + 1, *pos = ids + rows, *label_row = pos + rows, *row = label_row + b->n_labels,
            *id = row + extra, *type = id + extra;
    int32_t  at = 0, k = 0;
    for (int s = 0; s < b->n_seq; s++) {
        start[s] = at;
        for (int32_t i = 0; i < n; i++, k++, at++) {
            ids[at] = 0;
            pos[at] = id[k] = i;
            type[at] = 0;
            row[k] = at;
        }
        for (int32_t r = b->start[s]; r < b->start[s + 1]; r++, at++) {
            ids[at] = b->ids[r];
            pos[at] = b->pos[r] + (int32_t)n;
            type[at] = b->type ? b->type[r] : 0;
        }
    }
    start[b->n_seq] = at;
    for (int64_t i = 0; i < b->n_labels; i++) label_row[i] = b->label_row[i] + (sequence_of(b, b->label_row[i]) + 1) * (int32_t)n;
    b->start = start;
    b->ids = ids;
    b->pos = pos;
    if (b->type) b->type = type;
    if (b->label_row) b->label_row = label_row;
    b->n_virtual = k;
    b->virtual_row = row;
    b->virtual_id = id;
    return MG_OK;
}

void mg_virtual_free(mg_virtual *v) {
    free(v->memory);
    *v = (mg_virtual){ 0 };
}
