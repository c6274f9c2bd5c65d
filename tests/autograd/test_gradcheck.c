/* Every operation's gradient against central differences, in double on ref64, over random shapes.
 *
 * The loss is sum c y with random constants c, an operation of this file.  Differences are of fourth order,
 *     f'(x) = (8 (f(x+h) - f(x-h)) - (f(x+2h) - f(x-2h))) / 12h,  h = 1e-3,
 * whose error is about h^4 = 1e-12 of the fifth derivative.  A gradient passes when it differs by at most
 * 1e-8 of itself or of the root mean square of its tensor, whichever is larger.  The arena holds NaN before each
 * pass, gradients of parameters start at 0.5: an operation that forgets to write, or to add, is seen. */
#include "support.h"
#include "support_random.h"

#include "autograd/ops.h"

enum { SHAPES = 24, LEAVES = 6, ELEMENTS = 10, ARENA = 1 << 18, MOST_ROWS = 24 };
static const double LIMIT = 1e-8, STEP = 1e-3, START = 0.5;

typedef struct problem {
    support_random    r;
    mg_tape           tape;
    mg_arena          arena;
    mg_tensor         leaf[LEAVES];
    int               n_leaves, n_choices;
    double           *constants; /* of the loss */
    mg_batch          batch;
    int32_t           start[8], ids[MOST_ROWS], pos[MOST_ROWS], label_row[MOST_ROWS], label[MOST_ROWS];
    int               rows, choice; /* choice: variant of the case */
    float             scale, cap;
    int               hd;
    mg_attention_kind kind;
    mg_rope_table     table;
    float             angles[2][MOST_ROWS * 8];
    double            value[MOST_ROWS], eye[9];
    uint16_t          half[4096]; /* a frozen weight in another format */
} problem;

/* A leaf that is a parameter has its own gradient memory, which is added to; another gets its gradient from the
 * arena. */
static mg_tensor *leaf(problem *p, int64_t rows, int64_t cols, bool param) {
    MG_ASSERT(p->n_leaves < LEAVES);
    mg_tensor *x = &p->leaf[p->n_leaves++];
    double    *data = malloc((size_t)(rows * cols + 1) * sizeof *data);
    for (int64_t i = 0; i < rows * cols; i++) data[i] = random_normal(&p->r);
    *x = (mg_tensor){
        .rows = rows, .cols = cols, .format = &mg_format_f64, .data = data, .param = param, .needs_grad = true
    };
    if (param) x->grad = malloc((size_t)(rows * cols + 1) * sizeof(double));
    return x;
}

static void draw_batch(problem *p) {
    int rows = 0;
    p->batch = (mg_batch){
        .start = p->start, .ids = p->ids, .pos = p->pos, .label_row = p->label_row, .label = p->label
    };
    p->batch.n_seq = random_int(&p->r, 1, 4);
    for (int s = 0; s < p->batch.n_seq; s++) {
        int n = random_size(&p->r, 6);
        p->start[s] = rows;
        for (int i = 0; i < n; i++) p->pos[rows + i] = i;
        rows += n;
    }
    p->start[p->batch.n_seq] = p->rows = rows;
    for (int i = 0; i < rows; i++) p->ids[i] = random_int(&p->r, 0, 2); /* of a table of three rows: ids repeat */
    for (int i = 0; i < rows; i++) {
        if (random_int(&p->r, 0, 2) == 0) continue;
        p->label_row[p->batch.n_labels] = i;
        p->label[p->batch.n_labels++] = 0; /* drawn when the vocabulary is known */
    }
    mg_tape_batch(&p->tape, &p->batch);
}

/* ---- the loss ---- */

static void dot_back(mg_tape *t, mg_node *n) {
    bool          accumulate;
    mg_mat        dx = mg_grad(t, n->in[0], &accumulate);
    const double *c = n->ref[0], dy = *(double *)n->out->grad;
    for (int64_t i = 0; dx.data && i < dx.rows * dx.cols; i++) {
        double *g = (double *)dx.data + i;
        *g = (accumulate ? *g : 0) + c[i] * dy;
    }
}

static const mg_op op_dot = { "dot", dot_back, NULL };

static mg_tensor *dot_loss(mg_tape *t, mg_tensor *y, const double *c) {
    double sum = 0;
    assert_non_null(y);
    for (int64_t i = 0; i < y->rows * y->cols; i++) sum += c[i] * ((double *)y->data)[i];
    mg_tensor *loss = mg_result(t, 1, 1);
    *(double *)loss->data = sum;
    MG_RECORD(t, &op_dot, loss, y)->ref[0] = c;
    return loss;
}

/* ---- the cases: draw makes the leaves, build the result ---- */

typedef struct op_case {
    const char *name;
    int         choices; /* variants, tried in turn */
    void (*draw)(problem *p);
    mg_tensor *(*build)(mg_tape *t, problem *p);
} op_case;

/* In-place operations overwrite their input, so they get a copy of the leaf: 1.5 x. */
static mg_tensor *copy(mg_tape *t, mg_tensor *x) { return mg_add(t, x, x, 0.5f); }

static void       draw_embed(problem *p) { leaf(p, 3, random_size(&p->r, 9), true); }
static mg_tensor *build_embed(mg_tape *t, problem *p) { return mg_embed(t, &p->leaf[0], p->scale); }

/* bit 0: bias, bit 1: residual; 4: the residual is x; 5: a frozen bf16 weight */
static void draw_matmul(problem *p) {
    int in = random_size(&p->r, 9), out = p->choice == 4 ? in : random_size(&p->r, 9);
    leaf(p, p->rows, in, false);
    leaf(p, out, in, true);
    leaf(p, 1, out, true);
    leaf(p, p->rows, out, false);
    if (p->choice != 5) return;
    mg_tensor *w = &p->leaf[1];
    for (int i = 0; i < in * out; i++) p->half[i] = mg_f32_to_bf16((float)((double *)w->data)[i]);
    w->needs_grad = false;
}
static mg_tensor *build_matmul(mg_tape *t, problem *p) {
    mg_tensor *x = &p->leaf[0], *w = &p->leaf[1], packed = *w;
    if (p->choice == 4) return mg_matmul(t, x, w, NULL, x);
    if (p->choice != 5)
        return mg_matmul(t, x, w, p->choice & 1 ? &p->leaf[2] : NULL, p->choice & 2 ? &p->leaf[3] : NULL);
    packed.data = p->half;
    packed.format = &mg_format_bf16;
    p->leaf[5] = packed;
    return mg_matmul(t, x, &p->leaf[5], NULL, NULL);
}

/* 0, 1: on a copy; 2, 3: on a product of the same x; 4, 5: x is read again later; 6: a residual too; odd ones with dropout */
static void draw_lora(problem *p) {
    int in = random_size(&p->r, 9), out = random_size(&p->r, 9), rank = random_size(&p->r, 4);
    leaf(p, p->rows, out, false);
    leaf(p, p->rows, in, false);
    leaf(p, rank, in, true);
    leaf(p, out, rank, true);
    leaf(p, out, in, true);
}
static mg_tensor *build_lora(mg_tape *t, problem *p) {
    mg_tensor *x = &p->leaf[1], *y = p->choice == 2 || p->choice == 3 || p->choice == 6 ? mg_matmul(t, x, &p->leaf[4], NULL, NULL)
                                                                      : copy(t, &p->leaf[0]);
    float      drop = p->choice & 1 ? 0.4f : 0;
    mg_rng stream = { 5, mg_rng_where(3, 1, 2) };
    if (p->choice == 6) return mg_lora_onto(t, y, x, &p->leaf[2], &p->leaf[3], &p->leaf[0], p->scale, drop, stream);
    y = mg_lora(t, y, x, &p->leaf[2], &p->leaf[3], p->scale, drop, stream);
    return p->choice < 4 ? y : mg_add(t, y, mg_matmul(t, x, &p->leaf[4], NULL, NULL), 1);
}

/* Two or three layers of one x, their a as one; in odd choices nobody uses the result of the last. */
static void draw_loras(problem *p) {
    int in = random_size(&p->r, 9), rank = random_size(&p->r, 4), n = 2 + p->choice / 2;
    leaf(p, p->rows, in, false);
    leaf(p, n * rank, in, true);
    for (int i = 0; i < n; i++) leaf(p, in, rank, true);
    leaf(p, in, in, true);
}
static mg_tensor *build_loras(mg_tape *t, problem *p) {
    static mg_tensor part[MG_LORAS]; /* of the one gradient of a */
    mg_tensor       *x = &p->leaf[0], *list[MG_LORAS], *sum = NULL;
    int              n = 2 + p->choice / 2;
    for (int i = 0; i < n; i++) {
        part[i] = p->leaf[1];
        part[i].rows = p->leaf[2].cols;
        part[i].behind = i ? list[i - 1] : NULL;
        list[i] = &part[i];
    }
    mg_tensor *u = mg_lora_down(t, x, list, n);
    for (int i = 0; i < n - (p->choice & 1); i++) {
        mg_tensor *y = mg_matmul_onto(t, x, &p->leaf[2 + n], NULL, mg_lora_up(t, u, i, &p->leaf[2 + i], p->scale));
        sum = sum ? mg_add(t, sum, y, 0.5f) : y;
    }
    return sum;
}

/* bit 0: constants beside the trained numbers; bit 1: a shift */
static void draw_scale_columns(problem *p) {
    int cols = random_size(&p->r, 9);
    leaf(p, p->rows, cols, false);
    leaf(p, cols, 1, true);
    for (int i = 0; i < 2; i++) leaf(p, 1, cols, false)->needs_grad = false;
}
static mg_tensor *build_scale_columns(mg_tape *t, problem *p) {
    return mg_scale_columns(t, &p->leaf[0], &p->leaf[1], p->choice & 1 ? &p->leaf[2] : NULL, p->choice & 2 ? &p->leaf[3] : NULL, true);
}

/* 0: hadamard; 1 to 4: kron with whole and with factored sides */
static void draw_delta(problem *p) {
    int a = random_size(&p->r, 3), b = random_size(&p->r, 3), c = random_size(&p->r, 3), d = random_size(&p->r, 3), r = random_size(&p->r, 3);
    int in = b * d, out = a * c;
    bool whole_first = p->choice == 1 || p->choice == 2, whole_second = p->choice == 1 || p->choice == 3;
    leaf(p, p->rows, out, false);
    leaf(p, p->rows, in, false);
    if (!p->choice) {
        leaf(p, out, r, true), leaf(p, r, in, true), leaf(p, out, r, true), leaf(p, r, in, true);
        return;
    }
    leaf(p, a, whole_first ? b : r, true), leaf(p, r, b, true)->needs_grad = !whole_first;
    leaf(p, c, whole_second ? d : r, true), leaf(p, r, d, true)->needs_grad = !whole_second;
}
static mg_tensor *build_delta(mg_tape *t, problem *p) {
    bool       whole_first = p->choice == 1 || p->choice == 2, whole_second = p->choice == 1 || p->choice == 3;
    mg_tensor *part[MG_DELTA_PARTS] = { &p->leaf[2], whole_first ? NULL : &p->leaf[3], &p->leaf[4], whole_second ? NULL : &p->leaf[5] };
    return mg_delta(t, copy(t, &p->leaf[0]), &p->leaf[1], p->choice ? &mg_delta_kron : &mg_delta_hadamard, part, p->scale);
}

static void draw_add(problem *p) {
    int cols = random_size(&p->r, 9);
    leaf(p, p->rows, cols, false);
    leaf(p, p->rows, cols, false);
}
static mg_tensor *build_add(mg_tape *t, problem *p) {
    return mg_add(t, &p->leaf[0], &p->leaf[p->choice], p->scale); /* choice 0: x + s x */
}

/* bit 0: a residual; bit 1: several groups in a row; 4: the residual is x */
static void draw_rmsnorm(problem *p) {
    int n = random_size(&p->r, 9), groups = p->choice & 2 ? random_int(&p->r, 2, 4) : 1;
    leaf(p, p->rows, n * groups, false);
    leaf(p, 1, n, true);
    leaf(p, p->rows, n * groups, false);
}
static mg_tensor *build_rmsnorm(mg_tape *t, problem *p) {
    mg_tensor *residual = p->choice == 4 ? &p->leaf[0] : p->choice & 1 ? &p->leaf[2] : NULL;
    return mg_rmsnorm(t, &p->leaf[0], &p->leaf[1], residual, 0.1f);
}

/* 0: whole heads turn; 1: a part of each */
static void draw_rope(problem *p) {
    p->hd = 2 * random_int(&p->r, 1, 4) + p->choice;
    int rot = p->choice ? 2 * random_int(&p->r, 0, p->hd / 2) : p->hd;
    p->table = (mg_rope_table){ p->angles[0], p->angles[1], MOST_ROWS, rot };
    for (int i = 0; i < MOST_ROWS * 8; i++) {
        float turn = (float)random_normal(&p->r);
        p->angles[0][i] = cosf(turn);
        p->angles[1][i] = sinf(turn);
    }
    leaf(p, p->rows, p->hd * random_int(&p->r, 1, 3), false);
}
static mg_tensor *build_rope(mg_tape *t, problem *p) { return mg_rope(t, copy(t, &p->leaf[0]), &p->table, p->hd); }

/* each activation; 4 and more: without up */
/* relu has a corner at 0, where a difference means nothing: no number is near. */
static void draw_glu(problem *p) {
    mg_tensor *gate = leaf(p, p->rows, random_size(&p->r, 9), false);
    for (int64_t i = 0; i < gate->rows * gate->cols; i++) {
        double *z = (double *)gate->data + i;
        *z += *z > 0 ? 0.01 : -0.01;
    }
    leaf(p, p->rows, gate->cols, false);
}
enum { KINDS = MG_SIGMOID + 1 };
static mg_tensor *build_glu(mg_tape *t, problem *p) {
    return mg_glu(t, &p->leaf[0], p->choice < KINDS ? &p->leaf[1] : NULL, (mg_activation)(p->choice % KINDS));
}

/* 0: a table of positions; 1: row 0 everywhere; 2: x is read again */
static void draw_embed_onto(problem *p) {
    int cols = random_size(&p->r, 9);
    leaf(p, p->rows, cols, false);
    leaf(p, 3, cols, true);
}
static mg_tensor *build_embed_onto(mg_tape *t, problem *p) {
    mg_tensor *y = mg_embed_onto(t, &p->leaf[0], &p->leaf[1], p->choice == 1 ? NULL : p->ids);
    return p->choice < 2 ? y : mg_add(t, &p->leaf[0], y, 0.5f);
}

/* 0: no bias; 1: a bias; 2: x is read again */
static void draw_layernorm(problem *p) {
    int n = random_size(&p->r, 9);
    leaf(p, p->rows, n, false);
    leaf(p, 1, n, true);
    leaf(p, 1, n, true);
}
static mg_tensor *build_layernorm(mg_tape *t, problem *p) {
    mg_tensor *y = mg_layernorm(t, &p->leaf[0], &p->leaf[1], p->choice ? &p->leaf[2] : NULL, 0.1f, p->choice == 1);
    return p->choice < 2 ? y : mg_add(t, &p->leaf[0], y, 0.5f);
}

/* Three parts of different size; 0: one group, 1: several; 2: a part is left out */
static void draw_columns(problem *p) {
    p->hd = random_int(&p->r, 1, 3);
    leaf(p, p->rows, p->hd * 4 * (p->choice ? random_int(&p->r, 2, 3) : 1), false);
}
static mg_tensor *build_columns(mg_tape *t, problem *p) {
    mg_tensor *x = &p->leaf[0], *a = mg_columns(t, x, 4 * p->hd, 2 * p->hd, p->hd);
    mg_tensor *b = mg_columns(t, x, 4 * p->hd, 0, p->hd), *c = mg_columns(t, x, 4 * p->hd, 3 * p->hd, p->hd);
    if (p->choice == 2) return mg_glu(t, a, b, MG_SILU);
    return mg_add(t, mg_glu(t, a, b, MG_SILU), mg_glu(t, c, mg_columns(t, x, 4 * p->hd, p->hd, p->hd), MG_TANH), 0.5f);
}

/* Some rows of a copy are those of a prompt, of which each may come several times or never.  0, 1: the prompt is a
 * parameter or not; 2: it is read again */
static void draw_put_rows(problem *p) {
    leaf(p, p->rows, random_size(&p->r, 9), false);
    leaf(p, 3, p->leaf[0].cols, p->choice == 0);
}
static mg_tensor *build_put_rows(mg_tape *t, problem *p) {
    p->batch.n_virtual = 0;
    p->batch.virtual_row = p->pos, p->batch.virtual_id = p->ids;
    for (int i = 0; i < p->rows; i += 2) p->pos[p->batch.n_virtual++] = i;
    mg_tensor *y = mg_put_rows(t, copy(t, &p->leaf[0]), &p->leaf[1]);
    return p->choice < 2 ? y : mg_put_rows(t, mg_add(t, y, &p->leaf[0], 0.5f), mg_add(t, &p->leaf[1], &p->leaf[1], 0.5f));
}

static void draw_beside(problem *p) {
    leaf(p, p->rows, random_size(&p->r, 9), false);
    leaf(p, p->rows, random_size(&p->r, 9), false);
}
static mg_tensor *build_beside(mg_tape *t, problem *p) {
    mg_tensor *y = mg_beside(t, &p->leaf[0], &p->leaf[1]);
    return p->choice ? mg_beside(t, y, &p->leaf[0]) : y;
}

static mg_tensor *build_dropout(mg_tape *t, problem *p) {
    mg_tensor *y = mg_dropout(t, &p->leaf[0], 0.3f, (mg_rng){ 1, 2 });
    return p->choice ? mg_add(t, y, &p->leaf[0], 0.5f) : y;
}

/* 0: from the first row on; 1: from the last; 2: both, side by side, from one x.  The weights are small, or the states of
 * twenty steps would be too wild for differences of fourth order. */
static void draw_lstm(problem *p) {
    int H = random_size(&p->r, 4);
    leaf(p, p->rows, 4 * H, false);
    mg_tensor *w = leaf(p, 4 * H, H, true);
    for (int64_t i = 0; i < w->rows * w->cols; i++) ((double *)w->data)[i] *= 0.3;
    leaf(p, 1, 4 * H, true);
}
static mg_tensor *build_lstm(mg_tape *t, problem *p) {
    mg_tensor *x = &p->leaf[0], *w = &p->leaf[1], *b = &p->leaf[2];
    if (p->choice < 2) return mg_lstm(t, x, w, b, p->choice);
    return mg_beside(t, mg_lstm(t, x, w, b, false), mg_lstm(t, x, w, b, true));
}

/* 0: rows, some twice; 1: means; 2, 3: the same of an x that is read again */
static void       draw_pool(problem *p) { leaf(p, p->rows, random_size(&p->r, 9), false); }
static mg_tensor *pooled(mg_tape *t, problem *p) {
    for (int i = 0; i < p->rows; i++) p->label_row[i] = random_int(&(support_random){ { 3, 0 }, (uint64_t)i }, 0, p->rows - 1);
    return p->choice % 2 ? mg_mean_rows(t, &p->leaf[0]) : mg_rows(t, &p->leaf[0], p->label_row, p->batch.n_seq);
}
static mg_tensor *build_pool(mg_tape *t, problem *p) {
    mg_tensor *y = pooled(t, p);
    return p->choice < 2 ? y : mg_add(t, y, pooled(t, p), 0.5f);
}

/* bit 0: window; bit 1: softcap; bit 2: fewer KV heads; 8: only q and v want gradients; 9: bidirectional */
static void draw_attention(problem *p) {
    int kv = random_int(&p->r, 1, 2), per = p->choice & 4 ? random_int(&p->r, 2, 3) : 1;
    p->kind = (mg_attention_kind){ .heads = kv * per, .kv_heads = kv, .hd = random_size(&p->r, 5), .scale = 0.7f };
    p->kind.bidirectional = p->choice == 9;
    if (p->choice & 1 && !p->kind.bidirectional) p->kind.window = random_int(&p->r, 1, 4);
    if (p->choice & 2) p->kind.softcap = 1.5f;
    leaf(p, p->rows, p->kind.heads * p->kind.hd, false);
    leaf(p, p->rows, kv * p->kind.hd, false)->needs_grad = p->choice != 8;
    leaf(p, p->rows, kv * p->kind.hd, false);
}
static mg_tensor *build_attention(mg_tape *t, problem *p) {
    return mg_attention(t, &p->leaf[0], &p->leaf[1], &p->leaf[2], p->kind, 0);
}

/* bit 0: softcap; bit 1: the head trains; bit 2: h does not want a gradient; 8: h is read twice */
static void draw_logprob(problem *p) {
    int width = random_size(&p->r, 9), vocabulary = random_size(&p->r, 20);
    leaf(p, p->rows, width, false)->needs_grad = !(p->choice & 4);
    leaf(p, vocabulary, width, true)->needs_grad = p->choice & 2;
    for (int i = 0; i < p->batch.n_labels; i++) p->label[i] = random_int(&p->r, 0, vocabulary - 1);
    p->cap = p->choice & 1 ? 2 : 0;
}
static mg_tensor *build_logprob(mg_tape *t, problem *p) {
    mg_tensor *h = &p->leaf[0], *first = mg_logprob(t, h, &p->leaf[1], p->cap, NULL);
    return p->choice < 8 ? first : mg_add(t, first, mg_logprob(t, h, &p->leaf[1], p->cap, NULL), 0.3f);
}

/* A column or three; odd ones: z is read again.  A sequence may have one row. */
static void draw_places(problem *p) {
    int K = p->choice < 2 ? 1 : 3;
    leaf(p, p->rows, K, false);
    p->leaf[1] = (mg_tensor){ .rows = K, .cols = K, .format = &mg_format_f64, .data = p->eye };
    for (int i = 0; i < K * K; i++) p->eye[i] = i % (K + 1) == 0;
    p->batch.n_labels = K * p->batch.n_seq;
    for (int i = 0; i < p->batch.n_labels; i++) {
        p->label_row[i] = i % K;
        p->label[i] = random_int(&p->r, 0, p->start[i / K + 1] - p->start[i / K] - 1);
    }
}
static mg_tensor *build_places(mg_tape *t, problem *p) {
    mg_tensor *z = &p->leaf[0], *y = mg_places(t, z, &p->leaf[1]);
    return p->choice % 2 ? mg_add(t, y, mg_places(t, z, &p->leaf[1]), 0.3f) : y;
}

/* 1: z is read again */
static void draw_square_error(problem *p) {
    leaf(p, p->rows, 1, false);
    p->batch.n_labels = p->rows;
    p->batch.value = (const float *)(const void *)p->value; /* scalars of this backend */
    for (int i = 0; i < p->rows; i++) p->value[i] = random_normal(&p->r);
}
static mg_tensor *build_square_error(mg_tape *t, problem *p) {
    mg_tensor *y = mg_square_error(t, &p->leaf[0]);
    return p->choice ? mg_add(t, y, mg_sum(t, &p->leaf[0], 2), 0.5f) : y;
}

/* 1: x is read twice */
static mg_tensor *build_sum(mg_tape *t, problem *p) {
    mg_tensor *y = mg_sum(t, &p->leaf[0], p->scale);
    return p->choice ? mg_add(t, y, mg_sum(t, &p->leaf[0], 2), 0.5f) : y;
}

static const op_case cases[] = {
    { "embed", 1, draw_embed, build_embed },
    { "matmul", 6, draw_matmul, build_matmul },
    { "lora", 7, draw_lora, build_lora },
    { "loras", 4, draw_loras, build_loras },

    { "scale_columns", 4, draw_scale_columns, build_scale_columns },
    { "delta", 5, draw_delta, build_delta },
    { "add", 2, draw_add, build_add },
    { "rmsnorm", 5, draw_rmsnorm, build_rmsnorm },
    { "rope", 2, draw_rope, build_rope },
    { "glu", 2 * KINDS, draw_glu, build_glu },
    { "embed_onto", 3, draw_embed_onto, build_embed_onto },
    { "layernorm", 3, draw_layernorm, build_layernorm },
    { "columns", 3, draw_columns, build_columns },
    { "pool", 4, draw_pool, build_pool },
    { "put_rows", 3, draw_put_rows, build_put_rows },
    { "beside", 2, draw_beside, build_beside },
    { "dropout", 2, draw_add, build_dropout },
    { "lstm", 3, draw_lstm, build_lstm },
    { "attention", 10, draw_attention, build_attention },
    { "logprob", 9, draw_logprob, build_logprob },
    { "places", 4, draw_places, build_places },
    { "square_error", 2, draw_square_error, build_square_error },
    { "sum", 2, draw_add, build_sum },
};
enum { CASES = sizeof cases / sizeof *cases };

/* ---- the checker ---- */

static mg_tensor *forward(const op_case *c, problem *p, bool record) {
    memset(p->arena.base, 0xff, p->arena.cap); /* NaN everywhere */
    mg_tape_reset(&p->tape);
    p->tape.off = !record;
    mg_tensor *y = c->build(&p->tape, p);
    assert_non_null(y);
    if (!p->constants) { /* the shape of the result is only known now */
        p->constants = malloc((size_t)(y->rows * y->cols + 1) * sizeof(double));
        for (int64_t i = 0; i < y->rows * y->cols; i++) p->constants[i] = random_normal(&p->r);
    }
    return dot_loss(&p->tape, y, p->constants);
}

static double loss_with(const op_case *c, problem *p, double *x, double value) {
    double old = *x;
    *x = value;
    double loss = *(double *)forward(c, p, false)->data;
    *x = old;
    return loss;
}

static double difference(const op_case *c, problem *p, double *x) {
    double near = loss_with(c, p, x, *x + STEP) - loss_with(c, p, x, *x - STEP);
    double far = loss_with(c, p, x, *x + 2 * STEP) - loss_with(c, p, x, *x - 2 * STEP);
    return (8 * near - far) / (12 * STEP);
}

/* The gradients of a leaf in heap memory; zeros when nothing came. */
static double *take_gradient(mg_tensor *x) {
    int64_t n = x->rows * x->cols;
    double *g = calloc((size_t)n + 1, sizeof *g);
    for (int64_t i = 0; x->grad && i < n; i++) g[i] = ((double *)x->grad)[i] - (x->param ? START : 0);
    return g;
}

/* The largest distance of a leaf's gradient from the differences, relative as said above. */
static double leaf_error(const op_case *c, problem *p, mg_tensor *x, const double *g) {
    int64_t n = x->rows * x->cols;
    double  square = 0, worst = 0;
    for (int64_t i = 0; i < n; i++) square += g[i] * g[i];
    double rms = sqrt(square / (double)n);
    for (int e = 0; e < ELEMENTS; e++) {
        int64_t i = n <= ELEMENTS ? e : random_int(&p->r, 0, (int)n - 1);
        if (i >= n) break;
        double d = difference(c, p, (double *)x->data + i);
        double error =
            fabs(g[i] - d) / fmax(fmax(fabs(d), rms), 1e-4); /* 1e-4: gradients of nothing are zero to 1e-10 */
        if (!(error <= worst)) worst = error;
    }
    return worst;
}

static double worst_error(const op_case *c, const mg_backend *backend, int shape) {
    problem *p = calloc(1, sizeof *p);
    double  *gradient[LEAVES], worst = 0;
    mg_error err;
    p->r = random_of((uint64_t)shape + 1);
    p->arena = (mg_arena){ .base = aligned_alloc(64, ARENA), .cap = ARENA, .hi = ARENA, .device = &mg_device_host };
    assert_ok(mg_tape_open(&p->tape, backend, &p->arena, 64, &err), err);
    p->choice = shape % c->choices;
    p->scale = (float)random_normal(&p->r) + 0.1f;
    draw_batch(p);
    c->draw(p);
    for (int i = 0; i < p->n_leaves; i++)
        for (int64_t j = 0; p->leaf[i].param && j < p->leaf[i].rows * p->leaf[i].cols; j++)
            ((double *)p->leaf[i].grad)[j] = START;
    mg_backward(&p->tape, forward(c, p, true));
    assert_int_equal(p->tape.error, MG_OK);
    for (int i = 0; i < p->n_leaves; i++) gradient[i] = take_gradient(&p->leaf[i]);
    for (int i = 0; i < p->n_leaves; i++) {
        mg_tensor *x = &p->leaf[i];
        double     error = x->needs_grad ? leaf_error(c, p, x, gradient[i]) : 0;
        if (!(error <= worst)) worst = error;
        free(gradient[i]);
    }
    for (int i = 0; i < p->n_leaves; i++) {
        free(p->leaf[i].data);
        if (p->leaf[i].param) free(p->leaf[i].grad);
    }
    free(p->constants);
    mg_tape_close(&p->tape);
    free(p->arena.base);
    free(p);
    return worst;
}

static void every_gradient_agrees_with_differences(void **state) {
    (void)state;
    for (int i = 0; i < CASES; i++) {
        double worst = 0;
        for (int shape = 0; shape < SHAPES * cases[i].choices; shape++) {
            double error = worst_error(&cases[i], &mg_backend_ref64, shape);
            if (!(error <= LIMIT))
                fail_msg("%s, shape %d, variant %d: gradient is %.3g off", cases[i].name, shape,
                         shape % cases[i].choices, error);
            worst = fmax(worst, error);
        }
        print_message("  %-10s %3d shapes, at most %.1e off\n", cases[i].name, SHAPES * cases[i].choices, worst);
    }
}

/* ---- the checker checks: each backward kernel one part in 10^5 wrong ---- */

static void spoil(mg_mat m) {
    for (int64_t i = 0; m.data && i < m.rows * m.cols; i++) ((double *)m.data)[i] *= 1.00001;
}

static void bad_gemm(mg_gemm_args a) { mg_backend_ref64.gemm(a), spoil(a.c); }
static void bad_linear_dx(mg_linear_dx_args a) { mg_backend_ref64.linear_dx(a), spoil(a.dx); }
static void bad_column_sum(mg_column_sum_args a) { mg_backend_ref64.column_sum(a), spoil(a.y); }
static void bad_embed_dw(mg_embed_dw_args a) { mg_backend_ref64.embed_dw(a), spoil(a.dw); }
static void bad_rmsnorm_dx(mg_rmsnorm_back_args a) { mg_backend_ref64.rmsnorm_back(a), spoil(a.dx); }
static void bad_rmsnorm_dg(mg_rmsnorm_back_args a) { mg_backend_ref64.rmsnorm_back(a), spoil(a.dg); }
static void bad_layernorm_dx(mg_layernorm_back_args a) { mg_backend_ref64.layernorm_back(a), spoil(a.dx); }
static void bad_layernorm_dg(mg_layernorm_back_args a) { mg_backend_ref64.layernorm_back(a), spoil(a.dg); }
static void bad_columns(mg_columns_args a) {
    mg_backend_ref64.columns(a);
    if (a.back) spoil(a.x);
}
static void bad_taken(mg_columns_args a) {
    mg_backend_ref64.columns(a);
    if (!a.back) spoil(a.y);
}
static void bad_rope(mg_rope_args a) {
    mg_backend_ref64.rope(a);
    if (a.back) spoil(a.x);
}
static void bad_glu_gate(mg_glu_back_args a) { mg_backend_ref64.glu_back(a), spoil(a.dgate); }
static void bad_glu_up(mg_glu_back_args a) { mg_backend_ref64.glu_back(a), spoil(a.dup); }
static void bad_put_rows(mg_put_rows_back_args a) { mg_backend_ref64.put_rows_back(a), spoil(a.dx); }
static void bad_attention_q(mg_attention_back_args a) { mg_backend_ref64.attention_back(a), spoil(a.dq); }
static void bad_attention_k(mg_attention_back_args a) { mg_backend_ref64.attention_back(a), spoil(a.dk); }
static void bad_attention_v(mg_attention_back_args a) { mg_backend_ref64.attention_back(a), spoil(a.dv); }
static void bad_logprob_at_once(mg_logprob_args a) { mg_backend_ref64.logprob(a), spoil(a.dh); }
static void bad_logprob_h(mg_logprob_back_args a) { mg_backend_ref64.logprob_back(a), spoil(a.dh); }
static void bad_logprob_w(mg_logprob_back_args a) { mg_backend_ref64.logprob_back(a), spoil(a.dw); }
static void lazy_dropout(mg_dropout_args a) {
    if (a.accumulate) return; /* only a backward pass accumulates: as if its mask were all zeros */
    mg_backend_ref64.dropout(a);
}

static void wrong_gradients_are_caught(void **state) {
    (void)state;
    struct {
        const char *name;
        mg_backend  backend;
    } bad[40];
    int n = 0;
#define BAD(op, kernel, function)           \
    do {                                    \
        bad[n].name = op;                   \
        bad[n].backend = mg_backend_ref64;  \
        bad[n++].backend.kernel = function; \
    } while (0)
    BAD("embed", embed_dw, bad_embed_dw);
    BAD("matmul", gemm, bad_gemm);
    BAD("matmul", linear_dx, bad_linear_dx);
    BAD("matmul", column_sum, bad_column_sum);
    BAD("lora", gemm, bad_gemm);
    BAD("loras", gemm, bad_gemm);
    BAD("lora", dropout, lazy_dropout);
    BAD("rmsnorm", rmsnorm_back, bad_rmsnorm_dx);
    BAD("rmsnorm", rmsnorm_back, bad_rmsnorm_dg);
    BAD("layernorm", layernorm_back, bad_layernorm_dx);
    BAD("layernorm", layernorm_back, bad_layernorm_dg);
    BAD("layernorm", column_sum, bad_column_sum);
    BAD("columns", columns, bad_columns);
    BAD("embed_onto", embed_dw, bad_embed_dw);
    BAD("pool", embed_dw, bad_embed_dw);
    BAD("pool", gemm, bad_gemm);
    BAD("put_rows", put_rows_back, bad_put_rows);
    BAD("beside", columns, bad_taken);
    BAD("dropout", dropout, lazy_dropout);
    BAD("lstm", glu_back, bad_glu_gate);
    BAD("lstm", linear_dx, bad_linear_dx);
    BAD("lstm", gemm, bad_gemm);
    BAD("lstm", column_sum, bad_column_sum);
    BAD("rope", rope, bad_rope);
    BAD("glu", glu_back, bad_glu_gate);
    BAD("glu", glu_back, bad_glu_up);
    BAD("attention", attention_back, bad_attention_q);
    BAD("attention", attention_back, bad_attention_k);
    BAD("attention", attention_back, bad_attention_v);
    BAD("logprob", logprob, bad_logprob_at_once);
    BAD("logprob", logprob_back, bad_logprob_h);
    BAD("logprob", logprob_back, bad_logprob_w);
    BAD("places", logprob_back, bad_logprob_w);
    BAD("square_error", gemm, bad_gemm);
#undef BAD
    for (int i = 0; i < n; i++) {
        double worst = 0;
        for (int c = 0; c < CASES; c++)
            for (int shape = 0; !strcmp(cases[c].name, bad[i].name) && shape < 2 * cases[c].choices; shape++)
                worst = fmax(worst, worst_error(&cases[c], &bad[i].backend, shape));
        if (!(worst > LIMIT)) fail_msg("%s: fault %d went unseen (%.3g)", bad[i].name, i, worst);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_gradient_agrees_with_differences),
        cmocka_unit_test(wrong_gradients_are_caught),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
