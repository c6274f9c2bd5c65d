/* lstm.c -- one direction of a layer of long short-term memory (Hochreiter & Schmidhuber 1997), gates as torch orders them.
 *
 *     [i f g o]_t = x_t + W h_(t-1) + b      c_t = s(f) c_(t-1) + s(i) tanh(g)      h_t = s(o) tanh(c_t)
 *
 * x is the product with the inputs, made for all rows at once before.  The rows of a prompt are few, so this is written
 * for the reader: each step is a handful of kernels on single rows, which every backend has.
 *
 *     dtc = dh s(o)      dc += dtc tanh'(c)      di = dc tanh(g) s'(i), ...      dh_(t-1) = dgates W      dW = dgates^T h_(t-1) */
#include "autograd/ops.h"

/* What a pass keeps, [rows, H] each but the gates [rows, 4H]. */
typedef struct {
    mg_mat gates, tanh_g, c, tanh_c, h;
    mg_mat zero; /* [1, H]: what was before the first step */
} states;

enum { WIDE = 4 }; /* gates a number of h */

static mg_mat part(mg_mat m, int64_t row, int64_t first, int64_t n) {
    m.data = (uint8_t *)m.data + (size_t)(row * m.cols + first) * m.format->block_bytes;
    m.rows = 1;
    m.cols = n;
    return m;
}

static mg_mat row_of(mg_mat m, int64_t row) { return part(m, row, 0, m.cols); }
static mg_mat gate_of(const states *s, int64_t row, int which) { return part(s->gates, row, which * s->h.cols, s->h.cols); }
static mg_mat earlier(mg_mat of, const states *s, int64_t row, int64_t step) {
    return row - step < 0 || row - step >= of.rows ? s->zero : row_of(of, row - step);
}

static states lay_out(const mg_tape *t, void *room, int64_t rows, int64_t H) {
    const mg_format *f = t->backend->element;
    uint8_t         *at = room;
    size_t           one = (size_t)(rows * H) * f->block_bytes;
    states           s;
    s.gates = (mg_mat){ at, rows, WIDE * H, f, NULL };
    mg_mat *const each[] = { &s.tanh_g, &s.c, &s.tanh_c, &s.h };
    for (size_t i = 0; i < 4; i++) *each[i] = (mg_mat){ at + (WIDE + i) * one, rows, H, f, NULL };
    s.zero = (mg_mat){ at + (WIDE + 4) * one, 1, H, f, NULL };
    return s;
}

static size_t states_bytes(const mg_tape *t, int64_t rows, int64_t H) {
    return (size_t)((rows * (WIDE + 4) + 1) * H) * t->backend->element->block_bytes;
}

enum { I, F, G, O };

static void step_forward(mg_tape *t, const states *s, int64_t r, int64_t step, mg_mat x, mg_mat w, mg_mat b, void *work) {
    const mg_backend *k = t->backend;
    mg_mat            before = earlier(s->c, s, r, step), c = row_of(s->c, r), tg = row_of(s->tanh_g, r), tc = row_of(s->tanh_c, r);
    k->linear((mg_linear_args){ .y = row_of(s->gates, r), .x = earlier(s->h, s, r, step), .w = w, .bias = b, .onto = row_of(x, r),
                                .accumulate = true, .work = work });
    k->glu((mg_glu_args){ .y = tg, .gate = gate_of(s, r, G), .kind = MG_TANH });
    k->glu((mg_glu_args){ .y = c, .gate = gate_of(s, r, I), .up = tg, .kind = MG_SIGMOID });
    k->glu((mg_glu_args){ .y = tc, .gate = gate_of(s, r, F), .up = before, .kind = MG_SIGMOID });
    k->add((mg_add_args){ .y = c, .x = tc, .scale = 1, .accumulate = true });
    k->glu((mg_glu_args){ .y = tc, .gate = c, .kind = MG_TANH });
    k->glu((mg_glu_args){ .y = row_of(s->h, r), .gate = gate_of(s, r, O), .up = tc, .kind = MG_SIGMOID });
}

/* dgates of row r from dh (of the output and of the step behind) and dc; dc becomes that of the step before. */
static void step_back(mg_tape *t, const states *s, const states *d, int64_t r, int64_t step, mg_mat dh, mg_mat dc) {
    const mg_backend *k = t->backend;
    mg_mat            dtc = row_of(d->tanh_c, r), dtg = row_of(d->tanh_g, r), dc_here = row_of(d->c, r);
    k->glu_back((mg_glu_back_args){ .dgate = gate_of(d, r, O), .dup = dtc, .dy = dh, .gate = gate_of(s, r, O),
                                    .up = row_of(s->tanh_c, r), .kind = MG_SIGMOID });
    k->glu_back((mg_glu_back_args){ .dgate = dc_here, .dy = dtc, .gate = row_of(s->c, r), .kind = MG_TANH });
    k->add((mg_add_args){ .y = dc_here, .x = dc, .scale = 1, .accumulate = true });
    k->glu_back((mg_glu_back_args){ .dgate = gate_of(d, r, F), .dup = dc, .dy = dc_here, .gate = gate_of(s, r, F),
                                    .up = earlier(s->c, s, r, step), .kind = MG_SIGMOID });
    k->glu_back((mg_glu_back_args){ .dgate = gate_of(d, r, I), .dup = dtg, .dy = dc_here, .gate = gate_of(s, r, I),
                                    .up = row_of(s->tanh_g, r), .kind = MG_SIGMOID });
    k->glu_back((mg_glu_back_args){ .dgate = gate_of(d, r, G), .dy = dtg, .gate = gate_of(s, r, G), .kind = MG_TANH });
}

static void weights_back(mg_tape *t, const mg_node *n, const states *s, const states *d, int64_t step) {
    const mg_backend *k = t->backend;
    bool              accumulate;
    int64_t           rows = s->h.rows;
    mg_mat            dw = mg_grad(t, n->in[1], &accumulate), a = d->gates, b = s->h;
    if (dw.data && rows > 1) { /* row r of the gates met row r - step of h; the first met zero */
        a.rows = b.rows = rows - 1;
        if (step > 0)
            a.data = row_of(d->gates, 1).data;
        else
            b.data = row_of(s->h, 1).data;
        k->gemm((mg_gemm_args){ .c = dw, .a = a, .b = b, .ta = true, .alpha = 1, .beta = accumulate });
    } else if (dw.data && !accumulate)
        k->fill((mg_fill_args){ dw, 0 });
    mg_mat db = mg_grad(t, n->in[2], &accumulate);
    if (db.data && !accumulate) k->fill((mg_fill_args){ db, 0 });
    if (db.data) k->column_sum((mg_column_sum_args){ db, d->gates });
}

static void lstm_back(mg_tape *t, mg_node *n) {
    mg_tensor    *x = n->in[0], *w = n->in[1];
    int64_t       rows = x->rows, H = w->cols, step = n->i[0];
    const states  s = lay_out(t, n->saved[0], rows, H);
    size_t        mark, unused;
    bool          accumulate;
    mg_mat        dx = mg_grad(t, x, &accumulate);
    void         *room = mg_work_begin(t, states_bytes(t, rows, H), &mark);
    void         *work = mg_work_begin(t, t->backend->linear_work(1, mg_mat_of(w)), &unused);
    if (!room || !work) return;
    const states d = lay_out(t, room, rows, H);
    mg_mat       dc = d.zero;
    t->backend->fill((mg_fill_args){ dc, 0 });
    t->backend->add((mg_add_args){ .y = d.h, .x = mg_grad_of(n->out), .scale = 1 });
    for (int64_t k = 0; k < rows; k++) {
        int64_t r = step > 0 ? rows - 1 - k : k;
        step_back(t, &s, &d, r, step, row_of(d.h, r), dc);
        if (k + 1 < rows)
            t->backend->linear_dx((mg_linear_dx_args){ .dx = row_of(d.h, r - step), .dy = row_of(d.gates, r), .w = mg_mat_of(w),
                                                       .accumulate = true, .work = work });
    }
    weights_back(t, n, &s, &d, step);
    if (dx.data) t->backend->add((mg_add_args){ .y = dx, .x = d.gates, .scale = 1, .accumulate = accumulate });
    mg_work_end(t, mark);
}

static const mg_op op_lstm = { "lstm", lstm_back, NULL };

mg_tensor *mg_lstm(mg_tape *t, mg_tensor *x, mg_tensor *w, mg_tensor *b, bool backwards) {
    if (!x) return NULL;
    int64_t H = w->cols, rows = x->rows, step = backwards ? -1 : 1;
    MG_ASSERT(w->rows == WIDE * H && x->cols == WIDE * H && b->cols == WIDE * H);
    mg_tensor *y = mg_result(t, rows, H);
    void      *room = mg_keep_bytes(t, states_bytes(t, rows, H));
    size_t     mark;
    if (!y || !room) return NULL;
    void *work = mg_work_begin(t, t->backend->linear_work(1, mg_mat_of(w)), &mark);
    if (!work) return NULL;
    const states s = lay_out(t, room, rows, H);
    t->backend->fill((mg_fill_args){ s.zero, 0 });
    for (int64_t k = 0; k < rows; k++)
        step_forward(t, &s, backwards ? rows - 1 - k : k, step, mg_mat_of(x), mg_mat_of(w), mg_mat_of(b), work);
    t->backend->add((mg_add_args){ .y = mg_mat_of(y), .x = s.h, .scale = 1 });
    mg_work_end(t, mark);
    mg_node *n = MG_RECORD(t, &op_lstm, y, x, w, b);
    n->saved[0] = room;
    n->i[0] = step;
    return y;
}
