/* interrupt.h -- catching a signal without breaking what it interrupts.
 *
 * The kernel lays the interrupted registers (3 KB with AVX-512, 11 KB with AMX) below the stack pointer.  The code
 * that oneDNN 2.6 compiles for its matrix products uses the stack pointer as one more register that points into its
 * buffers on the heap, some 5% of the time of a small training run; a handler on the ordinary stack then overwrites
 * the heap.  So every handler of this program runs on a stack of its own. */
#ifndef MG_BASE_INTERRUPT_H
#define MG_BASE_INTERRUPT_H

#include <signal.h>

/* Let `handler` answer signal `number`; `flags` of sigaction (SA_RESTART, SA_RESETHAND).  Call from the main thread,
 * which is the one that the kernel gives the signals of a process to.  `before` (may be NULL) receives what was there. */
void mg_interrupt_catch(int number, void (*handler)(int), int flags, struct sigaction *before);

#endif
