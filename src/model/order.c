/* order.c -- the rows of a weight in Hugging Face's order and in GGUF's: what llama.cpp's converter does, both ways. */
#include "model/model.h"

/* Each head turned so that a rope of neighbouring pairs works: row 2i holds what was i, row 2i + 1 what was i + hd/2. */
static int64_t interleaved(const mg_config *c, int64_t r) {
    int64_t i = r % c->hd, half = c->hd / 2;
    return r - i + (i < half ? 2 * i : 2 * (i - half) + 1);
}

static int64_t apart(const mg_config *c, int64_t r) {
    int64_t i = r % c->hd, half = c->hd / 2;
    return r - i + (i % 2 ? half : 0) + i / 2;
}

/* [q k v] of head 0, of head 1, ... become q of all heads, k of all, v of all. */
static int64_t by_part(const mg_config *c, int64_t r) {
    int64_t head = r / (3 * c->hd), part = r / c->hd % 3;
    return (part * c->heads + head) * c->hd + r % c->hd;
}

static int64_t by_head(const mg_config *c, int64_t r) {
    int64_t part = r / (c->heads * c->hd), head = r / c->hd % c->heads;
    return (head * 3 + part) * c->hd + r % c->hd;
}

static const struct { unsigned flag; int64_t (*to_gguf)(const mg_config *c, int64_t r), (*to_hf)(const mg_config *c, int64_t r); } orders[] = {
    { MG_WEIGHT_INTERLEAVED, interleaved, apart },
    { MG_WEIGHT_BY_HEAD, by_part, by_head },
};

int64_t mg_weight_row_in_gguf(const mg_config *c, unsigned flags, int64_t r) {
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++)
        if (flags & orders[i].flag) return orders[i].to_gguf(c, r);
    return r;
}

int64_t mg_weight_row_in_hf(const mg_config *c, unsigned flags, int64_t r) {
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++)
        if (flags & orders[i].flag) return orders[i].to_hf(c, r);
    return r;
}
