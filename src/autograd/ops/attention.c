/* attention.c -- causal (for encoders: bidirectional) grouped-query attention over packed sequences.
 *
 *     s = scale q k^T (soft-capped)   p = softmax(s over the keys seen)   y = p v
 *
 * Forward keeps the log-sum-exp of each row and head; backward makes p again from
 * it (Dao et al., FlashAttention, 2022):
 *
 *     dv = p^T dy     ds = p (dy v^T - rowsum(dy y))     dq = scale ds k     dk = scale ds^T q
 *
 * In generation the keys and values of earlier tokens live in a cache; the same
 * kernel reads them there, and nothing is recorded. */
#include "autograd/ops.h"

#include "autograd/cache.h"

static mg_attention_shape shape_of(const mg_batch *b, mg_attention_kind kind) {
    return (mg_attention_shape){ .n_seq = b->n_seq, .q_start = mg_batch_starts(b), .heads = kind.heads, .kv_heads = kind.kv_heads,
                                 .hd = kind.hd, .window = kind.window, .scale = kind.scale, .softcap = kind.softcap,
                                 .bidirectional = kind.bidirectional };
}

static void attention_back(mg_tape *t, mg_node *n) {
    mg_tensor         *q = n->in[0], *k = n->in[1], *v = n->in[2];
    bool               add_q, add_k, add_v;
    mg_attention_kind  kind = { (int)n->i[0], (int)n->i[1], (int)n->i[2], (int)n->i[3], n->f[0], n->f[1], n->i[4] };
    mg_attention_shape s = shape_of(n->ref[0], kind);
    mg_mat             dq = mg_grad(t, q, &add_q), dk = mg_grad(t, k, &add_k), dv = mg_grad(t, v, &add_v);
    MG_ASSERT(!add_q && !add_k && !add_v); /* q, k and v have no other reader */
    size_t mark;
    void  *work = mg_work_begin(t, t->backend->attention_work(&s, q->rows, true), &mark);
    if (!work) return;
    t->backend->attention_back((mg_attention_back_args){ .dq = dq, .dk = dk, .dv = dv, .dy = mg_grad_of(n->out),
                                                         .y = mg_mat_of(n->out), .q = mg_mat_of(q), .k = mg_mat_of(k),
                                                         .v = mg_mat_of(v), .lse = n->saved[0], .s = s, .work = work });
    mg_work_end(t, mark);
}

static const mg_op op_attention = { "attention", attention_back, NULL };

mg_tensor *mg_attention(mg_tape *t, mg_tensor *q, mg_tensor *k, mg_tensor *v, mg_attention_kind kind, int layer) {
    if (!q || !k || !v) return NULL;
    MG_ASSERT_EQ(q->cols, kind.heads * kind.hd);
    MG_ASSERT_EQ(k->cols, kind.kv_heads * kind.hd);
    MG_ASSERT(v->cols == k->cols && kind.heads % kind.kv_heads == 0);
    mg_attention_shape s = shape_of(t->batch, kind);
    mg_mat             km = mg_mat_of(k), vm = mg_mat_of(v);
    if (t->batch->cache) {
        MG_ASSERT(t->off && !kind.bidirectional);
        mg_cache_extend(t, layer, &km, &vm, &s);
    }
    mg_tensor *y = mg_result(t, q->rows, q->cols);
    void      *lse = mg_keep_bytes(t, (size_t)(q->rows * kind.heads) * t->backend->scalar->block_bytes);
    if (!y || !lse) return NULL;
    size_t mark;
    void  *work = mg_work_begin(t, t->backend->attention_work(&s, q->rows, false), &mark);
    if (!work) return NULL;
    t->backend->attention((mg_attention_args){ mg_mat_of(y), mg_mat_of(q), km, vm, lse, s, work });
    mg_work_end(t, mark);
    mg_node *n = MG_RECORD(t, &op_attention, y, q, k, v);
    n->saved[0] = lse;
    n->i[0] = kind.heads;
    n->i[1] = kind.kv_heads;
    n->i[2] = kind.hd;
    n->i[3] = kind.window;
    n->i[4] = kind.bidirectional;
    n->f[0] = kind.scale;
    n->f[1] = kind.softcap;
    n->ref[0] = t->batch;
    return y;
}
