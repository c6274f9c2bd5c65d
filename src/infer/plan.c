/* plan.c -- a dry run, then the real arena. */
#include "infer/plan.h"

mg_status mg_plan_open(mg_tape *t, mg_arena *mem, const mg_backend *b, mg_pass_fn f, void *context,
                       mg_error *err) {
    size_t    bytes;
    mg_status st = mg_tape_measure(&bytes, b, MG_INFER_NODES, f, context, err);
    if (!st) st = mg_arena_open(mem, b->device, bytes, false, err);
    if (!st && (st = mg_tape_open(t, b, mem, MG_INFER_NODES, err))) mg_arena_close(mem);
    return st;
}

void mg_plan_close(mg_tape *t, mg_arena *mem) {
    mg_tape_close(t);
    mg_arena_close(mem);
}
