/* plan.c -- a dry run in reserved address space that nobody may touch, then the real arena. */
#include "infer/plan.h"

static const size_t ADDRESSES = (size_t)1 << 42;

static mg_status measure(size_t *bytes, const mg_backend *b, mg_pass_fn f, void *context, mg_error *err) {
    mg_backend null = mg_backend_null_for(b);
    mg_arena   dry = { 0 };
    mg_tape    t = { 0 };
    mg_status  st = mg_arena_open(&dry, b->device, ADDRESSES, true, err);
    if (!st) st = mg_tape_open(&t, &null, &dry, MG_INFER_NODES, err);
    if (!st) {
        f(&t, context);
        st = mg_plan_status(&t, err);
        *bytes = dry.peak;
    }
    mg_plan_close(&t, &dry);
    return st;
}

mg_status mg_plan_open(mg_tape *t, mg_arena *mem, const mg_backend *b, mg_pass_fn f, void *context,
                       mg_error *err) {
    size_t    bytes;
    mg_status st = measure(&bytes, b, f, context, err);
    if (!st) st = mg_arena_open(mem, b->device, bytes, false, err);
    if (!st && (st = mg_tape_open(t, b, mem, MG_INFER_NODES, err))) mg_arena_close(mem);
    return st;
}

void mg_plan_close(mg_tape *t, mg_arena *mem) {
    mg_tape_close(t);
    mg_arena_close(mem);
}

mg_status mg_plan_status(const mg_tape *t, mg_error *err) {
    return t->error ? mg_fail(err, t->error, "%s", t->error_text) : MG_OK;
}
