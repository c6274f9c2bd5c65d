/* thread.c -- a fork-join pool.
 *
 * A job is published by raising `generation`; workers that spin see it within
 * a microsecond, sleeping ones are woken through a futex-backed condition.  A
 * training step has some thousand short loops, so a wake-up of 50 us each
 * would cost more than the arithmetic of a small model. */
#include "base/thread.h"

#include "base/error.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

enum { THREADS_MAX = 256, SPINS = 4000 };

static struct {
    pthread_t       id[THREADS_MAX];
    int             threads; /* 0: not started */
    pthread_mutex_t lock;
    pthread_cond_t  wake;
    atomic_uint     generation;
    atomic_int      running, sleeping;
    atomic_bool     quit;
    mg_range_fn     fn;
    void           *context;
    int64_t         n, grain;
    bool            items;
    atomic_int_fast64_t next;
} pool = { .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER };

static _Thread_local bool inside;

static inline void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void work(int thread) {
    inside = true;
    if (pool.items) {
        for (int64_t i; (i = atomic_fetch_add(&pool.next, 1)) < pool.n;) pool.fn(pool.context, i, i + 1, thread);
    } else {
        int64_t pieces = (pool.n + pool.grain - 1) / pool.grain;
        int64_t begin = pieces * thread / pool.threads * pool.grain;
        int64_t end = pieces * (thread + 1) / pool.threads * pool.grain;
        if (end > pool.n) end = pool.n;
        if (begin < end) pool.fn(pool.context, begin, end, thread);
    }
    inside = false;
}

static void *worker(void *arg) {
    int      thread = (int)(intptr_t)arg;
    unsigned seen = 0;
    for (;;) {
        int spins = 0;
        while (atomic_load_explicit(&pool.generation, memory_order_acquire) == seen && spins++ < SPINS) relax();
        if (atomic_load(&pool.generation) == seen) {
            pthread_mutex_lock(&pool.lock);
            atomic_fetch_add(&pool.sleeping, 1);
            while (atomic_load(&pool.generation) == seen) pthread_cond_wait(&pool.wake, &pool.lock);
            atomic_fetch_sub(&pool.sleeping, 1);
            pthread_mutex_unlock(&pool.lock);
        }
        seen = atomic_load(&pool.generation);
        if (atomic_load(&pool.quit)) return NULL;
        work(thread);
        atomic_fetch_sub_explicit(&pool.running, 1, memory_order_release);
    }
}

static void publish(void) {
    atomic_fetch_add(&pool.generation, 1);
    if (!atomic_load(&pool.sleeping)) return;
    pthread_mutex_lock(&pool.lock);
    pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.lock);
}

static int usable_cores(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set)) return 1;
    return CPU_COUNT(&set);
}

void mg_threads_start(int threads) {
    if (threads <= 0) threads = usable_cores();
    if (threads > THREADS_MAX) threads = THREADS_MAX;
    if (threads == pool.threads) return;
    mg_threads_stop();
    atomic_store(&pool.generation, 0);
    pool.threads = 1;
    for (int i = 1; i < threads; i++) {
        if (pthread_create(&pool.id[i], NULL, worker, (void *)(intptr_t)i)) break;
        pool.threads = i + 1;
    }
}

void mg_threads_stop(void) {
    if (pool.threads > 1) {
        atomic_store(&pool.quit, true);
        publish();
        for (int i = 1; i < pool.threads; i++) pthread_join(pool.id[i], NULL);
        atomic_store(&pool.quit, false);
    }
    pool.threads = 0;
}

int mg_threads(void) {
    if (!pool.threads) mg_threads_start(0);
    return pool.threads;
}

static void run(int64_t n, int64_t grain, bool items, mg_range_fn fn, void *context) {
    if (n <= 0) return;
    if (inside || mg_threads() == 1 || n <= grain) {
        if (!items)
            fn(context, 0, n, 0);
        else
            for (int64_t i = 0; i < n; i++) fn(context, i, i + 1, 0);
        return;
    }
    pool.fn = fn;
    pool.context = context;
    pool.n = n;
    pool.grain = grain;
    pool.items = items;
    atomic_store(&pool.next, 0);
    atomic_store(&pool.running, pool.threads - 1);
    publish();
    work(0);
    for (int spins = 0; atomic_load_explicit(&pool.running, memory_order_acquire); spins++)
        if (spins < 20 * SPINS)
            relax();
        else
            sched_yield();
}

void mg_parallel(int64_t n, int64_t grain, mg_range_fn fn, void *context) {
    MG_ASSERT(grain > 0);
    run(n, grain, false, fn, context);
}

void mg_parallel_items(int64_t n, mg_range_fn fn, void *context) { run(n, 1, true, fn, context); }
