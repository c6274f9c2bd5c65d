/* scratch.c -- memory of a pool thread, kept from kernel to kernel.
 *
 * A block of decoded weights written into fresh arena memory costs a trip to DRAM
 * (about 50 us for 512 KB, twice a linear layer); the same addresses again and
 * again stay in L2.  Indexed by the pool's thread number, so that a restarted
 * pool finds it again and nothing leaks. */
#include "backend/cpu/cpu.h"

#include <sys/mman.h>

static void *scratch[MG_CPU_THREADS_MAX];

void *mg_cpu_scratch(int thread) {
    MG_ASSERT(thread >= 0 && thread < MG_CPU_THREADS_MAX);
    if (scratch[thread]) return scratch[thread];
    enum { HUGE_PAGE = 2 << 20 };
    size_t bytes = MG_CPU_SCRATCH_BYTES + HUGE_PAGE;
    char  *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    MG_ASSERT(p != MAP_FAILED); /* address space only */
    p = (char *)(((uintptr_t)p + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1));
    (void)madvise(p, MG_CPU_SCRATCH_BYTES, MADV_HUGEPAGE); /* a wish */
    return scratch[thread] = p;
}
