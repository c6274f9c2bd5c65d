/* encoder.c -- the small networks that make prompts in training: dense layers, and LSTMs that walk both ways.
 *
 * They see P rows, so nothing here is about speed: plain operations of the tape, with gradients as everything has.  First values
 * are torch's: normal for the embedding, uniform in +-1/sqrt(inputs) for dense layers, in +-1/sqrt(H) for LSTMs. */
#include "peft/lora.h"
#include "peft/prompt.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { STREAM = 0x800, ROOM_EACH = 64 };

static mg_dense dense(mg_adapter *a, int64_t in, int64_t out, const char *weight, const char *bias) {
    mg_dense d = { mg_adapter_add(a, MG_PART_PRIVATE | MG_PART_BARE, out, in, "prompt_encoder.default.%s", weight),
                   mg_adapter_add(a, MG_PART_PRIVATE | MG_PART_BARE | MG_PART_VECTOR, 1, out, "prompt_encoder.default.%s", bias) };
    return d;
}

void mg_encoder_add(mg_adapter *a, mg_encoder *e, int64_t in, int64_t out, const char *name) {
    char weight[64], bias[64];
    MG_ASSERT(e->n_dense < MG_ENCODER_DENSE);
    snprintf(weight, sizeof weight, "%s.weight", name);
    snprintf(bias, sizeof bias, "%s.bias", name);
    e->dense[e->n_dense++] = dense(a, in, out, weight, bias);
}

static mg_tensor *apply(mg_tape *t, const mg_dense *d, mg_tensor *x) { return mg_matmul(t, x, d->w, d->b, NULL); }

mg_tensor *mg_encode(mg_tape *t, const mg_encoder *e, mg_rng rng) {
    mg_tensor *x = e->embedding;
    for (int i = 0; i < e->n_lstm; i++) {
        mg_tensor *way[2];
        for (int k = 0; k < 2; k++) way[k] = mg_lstm(t, apply(t, &e->lstm[i][k].in, x), e->lstm[i][k].state.w, e->lstm[i][k].state.b, k);
        x = mg_beside(t, way[0], way[1]);
        rng.where += (uint64_t)i;
        if (e->dropout > 0 && i + 1 < e->n_lstm) x = mg_dropout(t, x, e->dropout, rng);
    }
    for (int i = 0; i < e->n_dense; i++) {
        x = apply(t, &e->dense[i], x);
        if (i + 1 < e->n_dense) x = mg_glu(t, x, NULL, e->between);
    }
    return x;
}

static void fill(const mg_adapter *a, const mg_dense *d, float bound, uint64_t seed, uint32_t index) {
    mg_uniform(mg_adapter_values(a, d->w), d->w->rows * d->w->cols, bound, seed, index);
    mg_uniform(mg_adapter_values(a, d->b), d->b->cols, bound, seed, index + 1);
}

mg_status mg_encoder_init(mg_adapter *a, uint64_t seed, mg_error *err) {
    mg_encoder *e = a->state;
    uint32_t    index = STREAM;
    (void)err;
    if (!e || !e->embedding) return MG_OK;
    mg_normal(mg_adapter_values(a, e->embedding), e->embedding->rows * e->embedding->cols, seed, 0);
    for (int i = 0; i < e->n_lstm; i++)
        for (int k = 0; k < 2; k++, index += 4) {
            float bound = 1 / sqrtf((float)e->lstm[i][k].state.w->cols);
            fill(a, &e->lstm[i][k].in, bound, seed, index);
            fill(a, &e->lstm[i][k].state, bound, seed, index + 2);
        }
    for (int i = 0; i < e->n_dense; i++, index += 2) fill(a, &e->dense[i], 1 / sqrtf((float)e->dense[i].w->cols), seed, index);
    return MG_OK;
}

/* ---- what is saved: the encoder's result, computed on the host from the values as they are there ---- */

static mg_tensor *on_host(const mg_adapter *a, const mg_tensor *x, mg_tensor *copy) {
    *copy = *x;
    copy->format = &mg_format_f32;
    copy->data = mg_adapter_values(a, x);
    copy->grad = NULL;
    copy->needs_grad = false;
    return copy;
}

static mg_dense dense_on_host(const mg_adapter *a, mg_dense d, mg_tensor copy[2]) {
    return (mg_dense){ on_host(a, d.w, &copy[0]), on_host(a, d.b, &copy[1]) };
}

mg_status mg_encoder_before_save(mg_adapter *a, mg_error *err) {
    mg_encoder *e = a->state;
    if (!e || !e->embedding) return MG_OK;
    mg_encoder host = *e;
    mg_tensor  copy[1 + 2 * MG_ENCODER_DENSE + 8 * MG_ENCODER_LSTMS];
    int        n = 1;
    int64_t    widest = e->made->cols;
    host.embedding = on_host(a, e->embedding, &copy[0]);
    for (int i = 0; i < e->n_dense; i++, n += 2) {
        host.dense[i] = dense_on_host(a, e->dense[i], &copy[n]);
        if (e->dense[i].w->rows > widest) widest = e->dense[i].w->rows;
    }
    for (int i = 0; i < e->n_lstm; i++)
        for (int k = 0; k < 2; k++, n += 4) {
            host.lstm[i][k].in = dense_on_host(a, e->lstm[i][k].in, &copy[n]);
            host.lstm[i][k].state = dense_on_host(a, e->lstm[i][k].state, &copy[n + 2]);
            if (e->lstm[i][k].in.w->rows > widest) widest = e->lstm[i][k].in.w->rows;
        }
    mg_arena  mem = { 0 };
    mg_tape   t = { 0 };
    size_t    bytes = (size_t)(e->embedding->rows + 8) * (size_t)widest * sizeof(float) * ROOM_EACH + (1 << 20);
    mg_batch  none = { .start = (const int32_t[]){ 0 } };
    mg_status st = mg_arena_open(&mem, mg_backend_cpu.device, bytes, false, err);
    if (!st) st = mg_tape_open(&t, &mg_backend_cpu, &mem, 256, err);
    if (!st) {
        t.off = true;
        t.batch = &none;
        const mg_tensor *made = mg_encode(&t, &host, (mg_rng){ 0, 0 });
        st = mg_tape_status(&t, err);
        if (!st) memcpy(mg_adapter_values(a, e->made), made->data, (size_t)(made->rows * made->cols) * sizeof(float));
    }
    mg_tape_close(&t);
    mg_arena_close(&mem);
    return st;
}

void mg_encoder_free(void *state) { free(state); }
