/* isa.c -- what this CPU can do, found once.
 *
 * The levels are those of the x86-64 psABI.  A level that the environment names
 * lowers ours, never raises it, so a wrong value cannot crash the program. */
#include "backend/cpu/cpu.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static mg_cpu_level   level;
static bool           bf16;

static const char *const names[] = { [MG_CPU_BASE] = "base", [MG_CPU_V3] = "v3", [MG_CPU_V4] = "v4" };

#if defined(__x86_64__)
#include <cpuid.h>

static mg_cpu_level found(void) {
    __builtin_cpu_init();
    if (!(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
          __builtin_cpu_supports("bmi2")))
        return MG_CPU_BASE;
    if (!(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
          __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
          __builtin_cpu_supports("avx512vl")))
        return MG_CPU_V3;
    return MG_CPU_V4;
}

/* AVX512-BF16 is leaf 7.1 EAX bit 5, AMX-BF16 is leaf 7.0 EDX bit 22; the system's support of the wide
 * registers is part of level v4. */
static bool found_bf16(void) {
    unsigned a, b, c, d;
    if (__get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 5 & 1)) return true;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 22 & 1);
}
#else
static mg_cpu_level found(void) { return MG_CPU_BASE; }
static bool         found_bf16(void) { return false; }
#endif

static void find(void) {
    const char *wanted = getenv("MIGAKI_CPU_ISA");
    level = found();
    for (int i = MG_CPU_BASE; wanted && i < (int)level; i++)
        if (!strcmp(wanted, names[i])) level = (mg_cpu_level)i;
    bf16 = level == MG_CPU_V4 && found_bf16();
}

mg_cpu_level mg_cpu_level_now(void) {
    pthread_once(&once, find);
    return level;
}

const char *mg_cpu_isa(void) { return names[mg_cpu_level_now()]; }

bool mg_cpu_has_bf16(void) {
    pthread_once(&once, find);
    return bf16;
}
