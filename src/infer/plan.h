/* plan.h -- how much memory a forward pass will take, found by running it over nothing. */
#ifndef MG_INFER_PLAN_H
#define MG_INFER_PLAN_H

#include "autograd/tape.h"

enum { MG_INFER_NODES = 1024 };

/* A tape over `b` with an arena that is exactly as large as `f` asks for: f runs once over a backend that
 * computes nothing, then the memory is made.  Close with mg_plan_close. */
mg_status mg_plan_open(mg_tape *t, mg_arena *mem, const mg_backend *b, mg_pass_fn f, void *context, mg_error *err);
void      mg_plan_close(mg_tape *t, mg_arena *mem);

#endif
