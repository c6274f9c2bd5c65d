/* loops.h -- the table of vectorised loops, one per instruction set, and the choice among them. */
#ifndef MG_BACKEND_CPU_LOOPS_H
#define MG_BACKEND_CPU_LOOPS_H

#include "backend/backend.h"
#include "backend/cpu/gemm.h"

#include <stdatomic.h>

typedef struct mg_cpu_loops {
#define LOOP(type, name, args) type(*name) args;
#include "backend/cpu/loops.def"
#undef LOOP
} mg_cpu_loops;

extern _Atomic(const mg_cpu_loops *) mg_cpu_loops_chosen; /* NULL before the first use */
const mg_cpu_loops        *mg_cpu_loops_choose(void);

static inline const mg_cpu_loops *mg_cpu_loops_now(void) {
    const mg_cpu_loops *l = atomic_load_explicit(&mg_cpu_loops_chosen, memory_order_relaxed);
    return l ? l : mg_cpu_loops_choose();
}

/* In NAME.isa.c: MG_LOOP(add) is the name of this build's add. */
#if defined(MG_ISA)
#define MG_LOOP_JOIN(name, isa) mg_loop_##name##_##isa
#define MG_LOOP_NAME(name, isa) MG_LOOP_JOIN(name, isa)
#define MG_LOOP(name)           MG_LOOP_NAME(name, MG_ISA)
#define LOOP(type, name, args)  type MG_LOOP(name) args;
#include "backend/cpu/loops.def"
#undef LOOP

/* In front of a loop: its iterations do not depend on each other, though pointers may be equal. */
#if defined(__clang__)
#define MG_VECTOR _Pragma("clang loop vectorize(assume_safety)")
#else
#define MG_VECTOR _Pragma("GCC ivdep")
#endif
#endif

#endif
