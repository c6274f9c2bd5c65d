/* dora.c -- one over the norm of each row of W + s B A (Liu et al., arXiv 2402.09353), without the matrix itself:
 *
 *     |w_o + s b_o A|^2 = |w_o|^2 + 2 s b_o (A w_o) + s^2 b_o (A A^T) b_o
 *
 * A W^T is a product with as many rows as A has, so a packed W is read by the kernels that know it.  DoRA takes the
 * norm as a constant: it has no gradient. */
#include "autograd/ops.h"

mg_tensor *mg_dora_norm(mg_tape *t, mg_tensor *w, mg_tensor *a, mg_tensor *b, mg_tensor *square, float scale) {
    const mg_backend *k = t->backend;
    mg_tensor        *inv = mg_result(t, 1, w->rows);
    size_t            element = k->element->block_bytes, mark, unused;
    if (!inv) return NULL;
    w = mg_tuned(t, w);
    mg_mat wa = { mg_work_begin(t, (size_t)(a->rows * w->rows) * element, &mark), a->rows, w->rows, k->element, NULL };
    mg_mat aa = { mg_work_begin(t, (size_t)(a->rows * a->rows) * element, &unused), a->rows, a->rows, k->element, NULL };
    void  *work = mg_work_begin(t, k->linear_work(a->rows, mg_mat_of(w)), &unused);
    if (wa.data && aa.data && work) {
        k->linear((mg_linear_args){ .y = wa, .x = mg_mat_of(a), .w = mg_mat_of(w), .work = work });
        k->gemm((mg_gemm_args){ .c = aa, .a = mg_mat_of(a), .b = mg_mat_of(a), .tb = true, .alpha = 1 });
        mg_mat norms = mg_mat_of(square);
        norms.cols *= norms.rows;
        norms.rows = 1;
        k->dora_norm((mg_dora_norm_args){ .inv = mg_mat_of(inv), .square = norms, .b = mg_mat_of(b), .wa = wa, .aa = aa, .scale = scale });
    }
    mg_work_end(t, mark);
    return work ? inv : NULL;
}
