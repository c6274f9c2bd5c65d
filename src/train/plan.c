/* plan.c -- dry runs, and the choice of what to keep.
 *
 * The policies are ordered by memory: keep the results of products (norms and
 * activations are redone, 1-2% of the time), and, from the first layer on, run
 * whole blocks again (a third more time each).  More layers that run again never
 * need more memory, so the number is found by bisection. */
#include "train/plan.h"

#include "train/step.h"

enum { NODES_PER_LAYER = 96, NODES_BESIDE = 256 };

typedef struct {
    const mg_model  *m;
    const mg_keep   *keep;
    mg_plan_batch_fn batches;
    void            *context;
} dry_run;

/* Every micro-batch and every evaluation. */
static void run_dry(mg_tape *t, void *context) {
    const dry_run *d = context;
    mg_error       err;
    mg_batch       b;
    bool           evaluation;
    t->keep = d->keep;
    for (int64_t i = 0; !t->error && d->batches(d->context, i, &b, &evaluation); i++) {
        double  loss = 0;
        int64_t right;
        if (evaluation && b.head)
            mg_step_head(t, d->m, &b, NULL, &loss, &err);
        else if (evaluation)
            mg_step_evaluate(t, d->m, &b, NULL, &loss, &right, &err);
        else
            mg_step_train(t, d->m, &b, 1, &loss, &err);
    }
}

size_t mg_plan_arena(const mg_model *m, const mg_backend *real, const mg_keep *keep, mg_plan_batch_fn batches, void *context,
                     int *nodes) {
    dry_run  d = { m, keep, batches, context };
    size_t   peak = 0;
    mg_error err;
    *nodes = (int)m->c.layers * NODES_PER_LAYER + NODES_BESIDE;
    MG_ASSERT(!mg_tape_measure(&peak, real, *nodes, run_dry, &d, &err)); /* address space and a few megabytes */
    return peak;
}

static void choose(mg_memory_plan *plan, int64_t layers, int rerun, mg_keep otherwise) {
    for (int64_t i = 0; i < layers; i++) plan->keep[i] = i < rerun ? MG_KEEP_NONE : otherwise;
    plan->rerun_layers = rerun;
}

mg_status mg_plan_memory(mg_memory_plan *plan, const mg_model *m, const mg_params *p, const mg_backend *real, int policy,
                         size_t state, size_t program, size_t limit, mg_plan_batch_fn batches, void *context, mg_error *err) {
    int64_t layers = m->c.layers;
    *plan = (mg_memory_plan){ .weights = mg_model_placed_bytes(m, real), .program = program, .available = limit ? limit : real->device->available() };
    plan->adapter = (size_t)p->count * (sizeof(float) + (real->element == real->scalar ? 0 : real->element->block_bytes));
    plan->optimizer = (size_t)p->count * sizeof(float) + state;
    size_t fixed = plan->weights + plan->adapter + plan->optimizer + plan->program;
    int    low = policy == MG_PLAN_RERUN_ALL ? (int)layers : 0, high = policy == MG_PLAN_KEEP_ALL ? 0 : (int)layers;
    /* the least number of layers that must run again; `low` first, because it usually fits */
    for (int rerun = low;; rerun = (low + high) / 2) {
        choose(plan, layers, rerun, policy == MG_PLAN_KEEP_ALL ? MG_KEEP_ALL : MG_KEEP_LINEAR);
        plan->arena = mg_plan_arena(m, real, plan->keep, batches, context, &plan->nodes);
        plan->total = fixed + plan->arena;
        bool fits = plan->total <= plan->available;
        if (fits && (rerun == low || rerun == high)) return MG_OK;
        if (fits)
            high = rerun;
        else if (rerun == high)
            break;
        else
            low = rerun + 1;
        if (low > high) break;
    }
    return mg_fail(err, MG_NOFIT, "not enough memory: %.2f GB needed, %.2f GB free", (double)plan->total / 1e9,
                   (double)plan->available / 1e9);
}
