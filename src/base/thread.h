/* thread.h -- one pool of threads, and loops split over it.
 *
 * The split is a pure function of (n, threads), so results that depend on it
 * are the same in every run with the same number of threads.  Workers spin for
 * a few microseconds and then sleep, so a busy machine is not hurt. */
#ifndef MG_BASE_THREAD_H
#define MG_BASE_THREAD_H

#include <stdint.h>

/* Start the pool; 0 means one thread per usable core.  Call once, before the
 * first loop; later calls change the number of threads. */
void mg_threads_start(int threads);
void mg_threads_stop(void);
int  mg_threads(void); /* how many take part, the caller among them */

/* Run fn(context, begin, end, thread) over [0, n), cut into at most mg_threads()
 * ranges whose inner borders are multiples of `grain`.  Runs in the caller when
 * there is one range, or when called from within a loop. */
typedef void (*mg_range_fn)(void *context, int64_t begin, int64_t end, int thread);
void mg_parallel(int64_t n, int64_t grain, mg_range_fn fn, void *context);

/* Run fn(context, i, i + 1, thread) for each i, handed out first come first
 * served: for items of unequal cost that write to separate places. */
void mg_parallel_items(int64_t n, mg_range_fn fn, void *context);

#endif
