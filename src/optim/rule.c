/* rule.c -- a rule's state in 32 or in 8 bits. */
#include "optim/rule.h"

#include "tensor/nf4.h"

#include <stdio.h>
#include <string.h>

enum { CHUNK = 1 << 18, LEAST_8BIT = 4096, MAP = 256 };

static int moments(const mg_rule *r) {
    int n = 0;
    while (n < MG_RULE_MOMENTS && r->moment[n]) n++;
    return n;
}

static bool in_8_bits(const mg_optim *o, int64_t count) { return o->kind->eight && count >= LEAST_8BIT; }

mg_status mg_rule_add_state(mg_optim *o, const mg_rule *rule, size_t tensor, int64_t count, mg_error *err) {
    const mg_tensor *x = o->p->item[tensor];
    bool             ok = true;
    char             scale[64];
    o->first[tensor] = o->n_states;
    for (int k = 0; k < moments(rule); k++) {
        bool eight = in_8_bits(o, count);
        snprintf(scale, sizeof scale, "%s_max", rule->moment[k]);
        ok = ok && mg_optim_add_state(o, rule->moment[k], x, eight ? "U8" : "F32", 1, count);
        if (eight) ok = ok && mg_optim_add_state(o, scale, x, "F32", MG_DYNAMIC8_BLOCK, count);
    }
    return ok ? MG_OK : mg_fail(err, MG_NOMEM, "no memory for an optimizer");
}

/* Work memory: the two maps, then a chunk of each moment. */
static float *map_of(const mg_optim *o, bool is_signed) { return (float *)o->work + (is_signed ? 0 : MAP); }
static float *chunk_of(const mg_optim *o, int k) { return (float *)o->work + (ptrdiff_t)2 * MAP + (ptrdiff_t)k * CHUNK; }

static void code_chunk(mg_optim *o, const mg_rule *r, const mg_piece *x, int64_t at, int64_t n, bool decode) {
    const mg_backend *b = o->p->backend;
    for (int k = 0; k < moments(r); k++) {
        float   *map = map_of(o, r->is_signed[k]), *room = chunk_of(o, k);
        uint8_t *code = (uint8_t *)x->state[2 * k] + at;
        float   *max = (float *)x->state[2 * k + 1] + at / MG_DYNAMIC8_BLOCK;
        if (decode)
            b->dynamic8_decode((mg_dynamic8_decode_args){ room, n, code, max, map });
        else
            b->dynamic8_encode((mg_dynamic8_encode_args){ room, n, code, max, map });
    }
}

static void update_8bit(mg_optim *o, const mg_update *u, const mg_piece *x) {
    const mg_rule *r = o->kind->rule;
    size_t         element = o->p->backend->element->block_bytes;
    for (int64_t at = 0; at < x->n; at += CHUNK) {
        mg_piece part = *x;
        part.n = x->n - at < CHUNK ? x->n - at : CHUNK;
        part.p += at;
        part.grad += at;
        if (x->shadow) part.shadow = (uint8_t *)x->shadow + (size_t)at * element;
        for (int k = 0; k < moments(r); k++) part.state[k] = chunk_of(o, k);
        code_chunk(o, r, x, at, part.n, true);
        r->update(o, u, &part);
        code_chunk(o, r, x, at, part.n, false);
    }
}

void mg_rule_update(mg_optim *o, const mg_update *u, const mg_rule *rule, size_t tensor, const mg_piece *x) {
    bool eight = in_8_bits(o, x->n);
    mg_optim_stream(o, u, o->first[tensor], moments(rule) * (eight ? 2 : 1), 0, x, eight ? update_8bit : rule->update);
}

mg_status mg_rule_lay_out(mg_optim *o, mg_error *err) {
    const mg_rule *r = o->kind->rule;
    mg_status      st = MG_OK;
    if (o->kind->eight) {
        o->work_bytes = (size_t)(2 * MAP + moments(r) * CHUNK) * sizeof(float);
        for (size_t i = 0; !st && i < o->p->n; i++) st = mg_rule_add_state(o, r, i, o->p->item[i]->rows * o->p->item[i]->cols, err);
        return st;
    }
    for (int k = 0; k < moments(r); k++)
        if (!mg_optim_add_state(o, r->moment[k], NULL, "F32", 1, o->p->count)) st = mg_fail(err, MG_NOMEM, "no memory for an optimizer");
    return st;
}

void mg_rule_start(mg_optim *o) {
    if (!o->kind->eight) return;
    o->p->backend->device->put(map_of(o, true), mg_dynamic_map(true), MAP * sizeof(float));
    o->p->backend->device->put(map_of(o, false), mg_dynamic_map(false), MAP * sizeof(float));
}

void mg_rule_step(mg_optim *o, const mg_update *u) {
    const mg_rule *r = o->kind->rule;
    if (!o->kind->eight) {
        mg_optim_each(o, u, moments(r), r->update);
        return;
    }
    for (size_t i = 0; i < o->p->n; i++) {
        mg_piece x = mg_optim_piece(o, u, i);
        mg_rule_update(o, u, r, i, &x);
    }
}
