/* logprob.cu -- the head and its cross-entropy, some rows at a time with the whole vocabulary.
 *
 *     for each chunk of labelled rows:  z = h w^T   softmax, logp, slopes of z   dh = slopes w
 *
 * A chunk is as many rows as fit a fixed budget, so the memory does not grow with the batch, the softmax of a row
 * is one launch, and each logit is made once: two products with the head, as many as the gradient itself needs.
 * Logits are fp32 (the loss of a large vocabulary lives in their differences), slopes are elements. */
#include "backend/cuda/logprob.h"

#include "backend/cuda/gemm.h"
#include "backend/cuda/logits.h"

enum { BUDGET = 256 << 20, LEAST_ROWS = 128, ALIGN = 256 };

typedef struct {
    int64_t rows; /* of a chunk */
    size_t  h, z, slopes, dh, head, total; /* offsets */
} layout;

static size_t up(size_t n) { return (n + ALIGN - 1) / ALIGN * ALIGN; }

static layout layout_of(int64_t n, int64_t d, mg_mat w, const mg_format *element) {
    layout  l = {};
    size_t  e = element->block_bytes, row = (size_t)w.rows * (sizeof(float) + e);
    int64_t fit = (int64_t)(BUDGET / row) / 16 * 16;
    l.rows = fit < LEAST_ROWS ? LEAST_ROWS : fit;
    if (l.rows > n) l.rows = n;
    l.z = up((size_t)(l.rows * d) * e);
    l.slopes = l.z + up((size_t)(l.rows * w.rows) * sizeof(float));
    l.dh = l.slopes + up((size_t)(l.rows * w.rows) * e);
    l.head = l.dh + up((size_t)(l.rows * d) * e);
    l.total = l.head + (w.format == element ? 0 : up((size_t)(w.rows * d) * e));
    return l;
}

size_t mg_cuda_logprob_work(int64_t n, mg_mat w, const mg_format *element) { return layout_of(n, w.cols, w, element).total; }

static mg_mat matrix(void *work, size_t at, int64_t rows, int64_t cols, const mg_format *f) {
    mg_mat m = { (uint8_t *)work + at, rows, cols, f, NULL };
    return m;
}

static mg_mat rows_of(mg_mat m, int64_t first, int64_t rows) {
    m.data = (uint8_t *)m.data + (size_t)(first * m.cols) * m.format->block_bytes;
    m.rows = rows;
    return m;
}

/* z = h[row[first..]] w^T */
static mg_cuda_logits logits_of(const layout *l, void *work, mg_mat h, mg_mat w, const int32_t *row, const int32_t *target, int64_t first,
                                int64_t n, float softcap, mg_mat *chosen) {
    mg_mat none = {};
    *chosen = matrix(work, 0, n, h.cols, h.format);
    mg_cuda_gather_rows(*chosen, h, row + first);
    mg_cuda_logits t = { matrix(work, l->z, n, w.rows, mg_cuda_f32), 0, target + first, softcap };
    mg_cuda_product(t.z, *chosen, false, w, true, 1, 0, none, none);
    return t;
}

void mg_cuda_logprob(mg_logprob_args a) {
    const mg_format *e = a.h.format;
    layout           l = layout_of(a.n, a.h.cols, a.w, e);
    mg_mat           w = mg_cuda_plain(a.w, e, (uint8_t *)a.work + l.head), none = {}, h;
    for (int64_t i = 0; i < a.n; i += l.rows) {
        int64_t        n = a.n - i < l.rows ? a.n - i : l.rows;
        mg_cuda_logits t = logits_of(&l, a.work, a.h, w, a.row, a.target, i, n, a.softcap, &h);
        mg_mat         slopes = a.dh.data ? matrix(a.work, l.slopes, n, w.rows, e) : none;
        mg_cuda_logit_whole(t, slopes, (float *)a.logp + i, (float *)a.lse + i, a.top_id ? a.top_id + i : NULL, NULL);
        if (a.dh.data) mg_cuda_product(rows_of(a.dh, i, n), slopes, false, w, false, 1, 0, none, none);
    }
}

void mg_cuda_logprob_back(mg_logprob_back_args a) {
    if (!a.w.data) {
        mg_cuda_scatter_rows(a.dh, rows_of(a.h, 0, a.n), a.row, (const float *)a.dlogp);
        return;
    }
    const mg_format *e = a.h.format;
    layout           l = layout_of(a.n, a.h.cols, a.w, e);
    mg_mat           w = mg_cuda_plain(a.w, e, (uint8_t *)a.work + l.head), none = {}, h;
    for (int64_t i = 0; i < a.n; i += l.rows) {
        int64_t        n = a.n - i < l.rows ? a.n - i : l.rows;
        mg_cuda_logits t = logits_of(&l, a.work, a.h, w, a.row, a.target, i, n, a.softcap, &h);
        mg_mat         slopes = matrix(a.work, l.slopes, n, w.rows, e), dh = matrix(a.work, l.dh, n, w.cols, e);
        mg_cuda_logit_slopes(t, slopes, (const float *)a.lse + i, (const float *)a.dlogp + i);
        if (a.dw.data) mg_cuda_product(a.dw, slopes, true, h, false, 1, 1, none, none);
        if (!a.dh.data) continue;
        mg_cuda_product(dh, slopes, false, w, false, 1, 0, none, none);
        mg_cuda_scatter_rows(a.dh, dh, a.row + i, NULL);
    }
}
