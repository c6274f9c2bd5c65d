/* loops.c -- one table of loops an instruction set; the choice is made once. */
#include "backend/cpu/loops.h"

#include "backend/cpu/cpu.h"


#define LOOP(type, name, args) type mg_loop_##name##_base args;
#include "backend/cpu/loops.def"
#undef LOOP
static const mg_cpu_loops base = {
#define LOOP(type, name, args) .name = mg_loop_##name##_base,
#include "backend/cpu/loops.def"
#undef LOOP
};

#if defined(__x86_64__)
#define LOOP(type, name, args) type mg_loop_##name##_v3 args; type mg_loop_##name##_v4 args;
#include "backend/cpu/loops.def"
#undef LOOP
static const mg_cpu_loops v3 = {
#define LOOP(type, name, args) .name = mg_loop_##name##_v3,
#include "backend/cpu/loops.def"
#undef LOOP
};
static const mg_cpu_loops v4 = {
#define LOOP(type, name, args) .name = mg_loop_##name##_v4,
#include "backend/cpu/loops.def"
#undef LOOP
};
static const mg_cpu_loops *const tables[] = { [MG_CPU_BASE] = &base, [MG_CPU_V3] = &v3, [MG_CPU_V4] = &v4 };
#else
static const mg_cpu_loops *const tables[] = { [MG_CPU_BASE] = &base };
#endif

_Atomic(const mg_cpu_loops *) mg_cpu_loops_chosen;

/* Threads that meet here write the same pointer. */
const mg_cpu_loops *mg_cpu_loops_choose(void) {
    const mg_cpu_loops *l = tables[mg_cpu_level_now()];
    atomic_store_explicit(&mg_cpu_loops_chosen, l, memory_order_relaxed);
    return l;
}
